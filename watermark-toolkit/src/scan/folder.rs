//! The run folder: what it was started for, so that only the same run continues it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use watermark_core::hex;

use crate::files::read_bounded;

/// What a run was started with. It is written before anything else, and a run with another manifest must not continue
/// in the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) scan: String,
    /// SHA-256 of profiles and tokenizers.
    pub(super) profiles: Vec<String>,
    pub(super) tokenizers: Vec<String>,
    /// Identifies the keys; null where only ids are made.
    pub(super) keys: Option<String>,
    /// Which part of the inputs, as `i/N`; null for all.
    pub(super) part: Option<String>,
    /// Identifies the inputs of all parts together; null for all.
    pub(super) list: Option<String>,
    pub(super) input_format: String,
    pub(super) field: Option<String>,
    pub(super) role: Option<String>,
    pub(super) shard_bytes: u64,
    pub(super) inputs: Vec<InputFile>,
}

/// A file as it was when the run began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InputFile {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// A few hundred bytes for each of the inputs of a large crawl.
const MAX_MANIFEST: u64 = 1 << 30;

pub(super) struct Folder {
    path: PathBuf,
    /// The lock on the folder. The system releases it however the process ends.
    _lock: File,
}

impl Folder {
    /// Opens and locks a new or empty folder, or one that an earlier run began.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let named = || format!("--out {}", path.display());
        fs::create_dir_all(path).with_context(named)?;
        let known = path.join(MANIFEST).exists() || path.join(LOCK).exists();
        if !known && fs::read_dir(path).with_context(named)?.next().is_some() {
            bail!("{} is not empty and holds no scan to continue; name another folder", named());
        }
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK)).with_context(named)?;
        if lock.try_lock().is_err() {
            bail!("{}: another scan is writing there", named());
        }
        fs::create_dir_all(path.join(SHARDS)).with_context(named)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Writes the manifest, or compares it with the one that is there.
    pub(super) fn begin(&self, manifest: &Manifest) -> Result<()> {
        if !self.path.join(MANIFEST).exists() {
            return self.write(MANIFEST, &serde_json::to_vec(manifest)?);
        }
        let found = Manifest::read(&self.path)?;
        if let Some(reason) = found.difference(manifest) {
            bail!("{} holds a scan that cannot be continued: {reason}; name another folder", self.path.display());
        }
        Ok(())
    }

    pub(super) fn shards(&self) -> PathBuf {
        shards(&self.path)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a folder in this one, unless it is there.
    pub(super) fn create(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))
    }

    /// Writes a file as a whole or not at all.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_whole(&self.path.join(name), &[bytes])
    }
}

/// Where a run folder keeps its shards.
pub(super) fn shards(folder: &Path) -> PathBuf {
    folder.join(SHARDS)
}

const MANIFEST: &str = "manifest.json";
const LOCK: &str = "lock";
const SHARDS: &str = "shards";

/// Writes a file under another name, synchronises and renames it, so that a file of this name is complete whenever the
/// process or the machine stops.
pub(super) fn write_whole(path: &Path, parts: &[&[u8]]) -> Result<()> {
    let aside = {
        // Two files of one shard differ in the extension only.
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        PathBuf::from(name)
    };
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&aside)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(&aside, path)?;
        // The folder is synchronised too, because the name is stored there.
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().with_context(|| format!("writing {}", path.display()))
}

impl Manifest {
    /// Reads the manifest of a run folder.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let bytes = read_bounded(&path, MAX_MANIFEST).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is not what this program writes; name another folder", path.display()))
    }

    /// Identifies what the ids of a shard depend on, besides its input.
    pub(super) fn config(&self) -> Result<String> {
        let reading = Self { keys: None, part: None, list: None, inputs: Vec::new(), ..self.clone() };
        Ok(hex::encode(&Sha256::digest(serde_json::to_vec(&reading)?)))
    }

    /// Why `self`, found in the folder, is not the run that is asked for.
    fn difference(&self, asked: &Self) -> Option<String> {
        let other = |what: &str| Some(format!("{what} is another one now"));
        if self.scan != asked.scan {
            return Some(format!("it was written as {:?}, this program writes {:?}", self.scan, asked.scan));
        }
        if self.profiles != asked.profiles {
            return other("the profile");
        }
        if self.tokenizers != asked.tokenizers {
            return other("the tokenizer");
        }
        if self.part != asked.part {
            return other("--shard");
        }
        if self.keys != asked.keys {
            return other("the set of keys or accounts");
        }
        if (&self.input_format, &self.field, &self.role) != (&asked.input_format, &asked.field, &asked.role) {
            return other("--input-format, --field or --role");
        }
        if self.list != asked.list {
            return other("the list of all machines' inputs");
        }
        if self.shard_bytes != asked.shard_bytes {
            return other("--shard-size");
        }
        let changed = self.inputs.iter().zip(&asked.inputs).find(|(found, asked)| found != asked);
        match changed {
            Some((found, asked)) if found.path == asked.path => Some(format!("input {} has changed", found.path)),
            Some((found, asked)) => Some(format!("the inputs are others: {} in place of {}", asked.path, found.path)),
            None if self.inputs.len() != asked.inputs.len() => {
                Some(format!("it has {} inputs, now there are {}", self.inputs.len(), asked.inputs.len()))
            }
            None => None,
        }
    }
}
