//! Which files a scan reads.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Expands files, folders and patterns into files, sorted by path, each once. Hidden entries of folders and whatever lies
/// below `out` are left out.
///
/// # Errors
/// If a path does not exist, a pattern matches nothing, a folder leads back into itself, or nothing is left.
pub fn expand(given: &[PathBuf], out: &Path) -> Result<Vec<PathBuf>> {
    let mut walk = Walk { files: BTreeMap::new(), out: out.canonicalize().unwrap_or_else(|_| out.to_owned()) };
    for path in given {
        if path.exists() {
            walk.add(path, &mut Vec::new())?;
            continue;
        }
        let pattern = path.to_str().filter(|text| text.contains(['*', '?', '['])).with_context(|| {
            // A link to itself, or to nothing, does not exist either.
            let what = if path.is_symlink() { "is a symbolic link that leads nowhere" } else { "does not exist" };
            format!("{} {what}", path.display())
        })?;
        let mut matched = glob::glob(pattern).with_context(|| format!("pattern {pattern}"))?.peekable();
        if matched.peek().is_none() {
            bail!("no file matches {pattern}");
        }
        for path in matched {
            walk.add(&path.with_context(|| format!("pattern {pattern}"))?, &mut Vec::new())?;
        }
    }
    if walk.files.is_empty() {
        bail!("no files to read below the given paths");
    }
    let mut files: Vec<PathBuf> = walk.files.into_values().collect();
    files.sort();
    Ok(files)
}

struct Walk {
    /// By canonical path, so that a file reached twice counts once, under its first name in order.
    files: BTreeMap<PathBuf, PathBuf>,
    out: PathBuf,
}

impl Walk {
    fn add(&mut self, path: &Path, above: &mut Vec<PathBuf>) -> Result<()> {
        let canonical = path.canonicalize().with_context(|| format!("cannot read {}", path.display()))?;
        if canonical.starts_with(&self.out) {
            return Ok(());
        }
        if !canonical.is_dir() {
            let name = self.files.entry(canonical).or_insert_with(|| path.to_owned());
            if path < name.as_path() {
                path.clone_into(name);
            }
            return Ok(());
        }
        if above.contains(&canonical) {
            bail!("{} is a symbolic link to a folder that contains it; remove it or name the files", path.display());
        }
        above.push(canonical);
        let mut entries: Vec<PathBuf> = fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .with_context(|| format!("cannot list {}", path.display()))?;
        entries.retain(|entry| !entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")));
        entries.sort();
        for entry in entries {
            self.add(&entry, above)?;
        }
        above.pop();
        Ok(())
    }
}
