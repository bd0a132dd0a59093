//! Key files, plain or sealed.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use watermark_core::evidence::SigningKey;
use watermark_core::key::{NodeKey, open_key_file, print_key_file, seal_key_file};

use crate::files::{random, read_private, write_secret};
use crate::passphrase::Passphrases;

/// Reads a key file that only its owner may read; `passphrases` is asked only if it is sealed.
///
/// # Errors
/// If it is missing, readable by group or others, malformed, or sealed by another passphrase. Messages never repeat its
/// content.
pub fn read_key(path: &Path, passphrases: &dyn Passphrases) -> Result<NodeKey> {
    let named = || format!("key file {}", path.display());
    let text = read_private(File::open(path).with_context(named)?, path).with_context(named)?;
    open_key_file(&text, || passphrases.existing(path)).with_context(named)
}

/// Reads a signing key file that only its owner may read, as [`read_key`] does.
///
/// # Errors
/// As [`read_key`].
pub fn read_signing_key(path: &Path, passphrases: &dyn Passphrases) -> Result<SigningKey> {
    let named = || format!("signing key file {}", path.display());
    let text = read_private(File::open(path).with_context(named)?, path).with_context(named)?;
    SigningKey::open(&text, || passphrases.existing(path)).with_context(named)
}

/// Writes a new key file with mode 0600, sealed if there is a passphrase; never overwrites.
///
/// # Errors
/// If the file exists or cannot be written, or the passphrase is empty.
pub fn write_key(path: &Path, key: &NodeKey, passphrase: Option<&str>) -> Result<()> {
    match passphrase {
        Some(passphrase) => write_secret(path, seal_key_file(key, passphrase, &*random()?)?.as_bytes()),
        None => write_secret(path, print_key_file(key).as_bytes()),
    }
}
