use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use watermark_core::evidence::SigningKey;
use watermark_core::key::inspect_key_file;
use watermark_toolkit::files::{mode, read_secret};

use super::super::{print, print_json, table};

/// List key files: path, kind and permissions, never what is in them
#[derive(clap::Args)]
#[command(after_help = "Example:\n  watermark key list keys/ signing.key.json")]
pub(crate) struct Args {
    /// Key files, and folders whose key files are listed
    #[arg(required = true, value_name = "FILE|FOLDER")]
    paths: Vec<PathBuf>,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct KeyFileLine {
    file: String,
    kind: &'static str,
    path: Option<String>,
    sealed: bool,
    mode: Option<String>,
    others_can_read: bool,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let mut lines = Vec::new();
        for path in &self.paths {
            if !path.is_dir() {
                let Some(line) = describe(path)? else { bail!("{} is no key file", path.display()) };
                lines.push(line);
                continue;
            }
            let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
            let mut files = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
            files.sort();
            for file in files.iter().filter(|file| file.is_file()) {
                // What cannot be read as a small text is no key file.
                lines.extend(describe(file).ok().flatten());
            }
        }
        if self.json {
            return lines.iter().try_for_each(print_json).map(|()| ExitCode::SUCCESS);
        }
        let mut rows = vec![["file", "kind", "path", "sealed", "mode"].map(str::to_owned).to_vec()];
        for line in lines {
            let warning = if line.others_can_read { " (others can read it)" } else { "" };
            let sealed = if line.sealed { "yes" } else { "no" }.to_owned();
            let mode = line.mode.unwrap_or_else(|| "-".to_owned()) + warning;
            let path = line.path.map_or_else(|| "-".to_owned(), |path| format!("{path:?}"));
            rows.push(vec![line.file, line.kind.to_owned(), path, sealed, mode]);
        }
        print(table(&rows, 5).trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn describe(path: &Path) -> Result<Option<KeyFileLine>> {
    let (text, others_can_read) = read_secret(path).with_context(|| path.display().to_string())?;
    let (kind, at, sealed) = if let Ok((at, sealed)) = inspect_key_file(&text) {
        (if at.as_str().is_empty() { "master" } else { "subtree" }, Some(at.as_str().to_owned()), sealed)
    } else if let Some(sealed) = SigningKey::inspect(&text) {
        ("signing", None, sealed)
    } else {
        return Ok(None);
    };
    let mode = mode(&File::open(path)?)?.map(|mode| format!("{mode:04o}"));
    Ok(Some(KeyFileLine { file: path.display().to_string(), kind, path: at, sealed, mode, others_can_read }))
}
