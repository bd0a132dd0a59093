use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use watermark_core::evidence::ledger::{ANSWERS, Entry, MAX_ENTRY};
use watermark_core::evidence::merkle::{self, Frontier, Hash};
use watermark_core::evidence::{PublicKey, TreeHead};

use super::{ENTRIES, HEADS};
use crate::files::read_bounded;

/// A signed head is some 700 bytes.
const MAX_HEAD: u64 = 1 << 14;

/// The leaves of a ledger as they are on the disk now: 32 bytes of memory each.
#[derive(Debug)]
pub struct Contents {
    leaves: Vec<Hash>,
    bytes: u64,
}

impl Contents {
    /// Reads and checks every entry, and that the ledger still begins as the newest signed head says. A last line without
    /// its end is left out.
    ///
    /// # Errors
    /// If an entry is damaged, out of place or was changed.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut contents = Self { leaves: Vec::new(), bytes: 0 };
        for_each(folder, |_, leaf, bytes| {
            contents.leaves.push(leaf);
            contents.bytes += bytes;
            true
        })?;
        if let Some((name, head)) = newest_head(folder)? {
            let then = usize::try_from(head.size).ok().and_then(|size| contents.leaves.get(..size));
            if then.map(merkle::root) != Some(head.root) {
                bail!(
                    "ledger {}: the entries are not those that {name} was signed over: some were changed or removed since",
                    folder.display()
                );
            }
        }
        Ok(contents)
    }

    /// The leaves in order.
    #[must_use]
    pub fn leaves(&self) -> &[Hash] {
        &self.leaves
    }

    /// The head over all entries, after they were written through to the disk.
    ///
    /// # Errors
    /// If the system cannot say that they are.
    pub fn head(&self, folder: &Path, signed_at: &str) -> Result<TreeHead> {
        // Read while a server writes, lines may not have reached the disk; a head must not be older than what it signs.
        File::open(folder.join(ENTRIES)).and_then(|file| file.sync_all())?;
        let (size, root) = (self.leaves.len() as u64, merkle::root(&self.leaves));
        Ok(TreeHead::of_answers(size, root, signed_at))
    }

    /// One entry.
    ///
    /// # Errors
    /// If the ledger has no such entry, or one before it is damaged.
    pub fn entry(folder: &Path, index: u64) -> Result<Entry> {
        let mut wanted = None;
        for_each(folder, |entry, _, _| {
            let found = entry.index == index;
            if found {
                wanted = Some(entry);
            }
            !found
        })?;
        wanted.with_context(|| format!("ledger {} has no entry {index}", folder.display()))
    }

    /// The first `n` entries, as many as there are.
    ///
    /// # Errors
    /// If one of them is damaged.
    pub fn entries(folder: &Path, n: u64) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for_each(folder, |entry, _, _| {
            let wanted = entry.index < n;
            if wanted {
                entries.push(entry);
            }
            wanted
        })?;
        Ok(entries)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn into_frontier(self) -> Frontier {
        let mut frontier = Frontier::new();
        self.leaves.into_iter().for_each(|leaf| frontier.append(leaf));
        frontier
    }
}

/// Calls `each` with every whole line's entry, leaf and length on the disk, until it says no.
fn for_each(folder: &Path, mut each: impl FnMut(Entry, Hash, u64) -> bool) -> Result<()> {
    let path = folder.join(ENTRIES);
    let mut file = BufReader::with_capacity(1 << 16, File::open(&path).with_context(|| path.display().to_string())?);
    let mut line = Vec::new();
    for index in 0_u64.. {
        let named = || format!("{}, entry {index}", path.display());
        line.clear();
        file.by_ref().take(MAX_ENTRY as u64 + 1).read_until(b'\n', &mut line).with_context(named)?;
        let Some((b'\n', content)) = line.split_last() else {
            if line.len() > MAX_ENTRY {
                bail!("{}: longer than {MAX_ENTRY} bytes", named());
            }
            return Ok(());
        };
        let entry = Entry::parse(content).with_context(named)?;
        if entry.index != index {
            bail!("{}: it says that it is entry {}", named(), entry.index);
        }
        if !each(entry, merkle::leaf_hash(content), line.len() as u64) {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads a signed head of a ledger, and says who signed.
///
/// # Errors
/// If it is missing, or its signature does not hold.
pub fn read_head(path: &Path) -> Result<(TreeHead, PublicKey)> {
    let named = || format!("head {}", path.display());
    let envelope = read_bounded(path, MAX_HEAD).with_context(named)?;
    TreeHead::verify(&envelope, ANSWERS).with_context(named)
}

fn newest_head(folder: &Path) -> Result<Option<(String, TreeHead)>> {
    let heads = folder.join(HEADS);
    let entries = std::fs::read_dir(&heads).with_context(|| heads.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    match paths.into_iter().max() {
        Some(path) => Ok(Some((path.display().to_string(), read_head(&path)?.0))),
        None => Ok(None),
    }
}
