use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use watermark_core::key::KeyPath;
use watermark_toolkit::keys::{read_key, write_key};
use watermark_toolkit::passphrase::read;
use zeroize::Zeroizing;

use super::super::passphrase::{PassphraseArgs, choose_at_terminal};
use super::super::print;

/// Write one subtree of a key as a key file: for one epoch's servers, a partner or a court
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watermark key export --key master.key.json --path epoch/2026-11 --out november.key.json
  watermark key export --key old.key.json --passphrase --out sealed.key.json    # the same node under another passphrase

A new epoch is a new path below the same master key, which itself never serves: `watermark key rotate` makes one with its profile
and commitment.")]
pub(crate) struct Args {
    /// A key at or above the path
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The subtree, e.g. epoch/2026-11; without it, all that the key has
    #[arg(long, value_name = "PATH")]
    path: Option<KeyPath>,
    /// The key file to write (mode 0600); never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    seal: SealArgs,
}

/// How a new key file is kept.
#[derive(clap::Args)]
pub(super) struct SealArgs {
    /// Seal the new file with a passphrase, asked for twice
    #[arg(long)]
    passphrase: bool,
    /// Seal the new file with the passphrase in this file (--passphrase-file opens --key)
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase")]
    new_passphrase_file: Option<PathBuf>,
}

impl SealArgs {
    /// The passphrase, if one was asked for.
    pub(super) fn passphrase(&self) -> Result<Option<Zeroizing<String>>> {
        match &self.new_passphrase_file {
            Some(path) => Ok(Some(read(path)?)),
            None => self.passphrase.then(choose_at_terminal).transpose(),
        }
    }
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let key = read_key(&self.key, passphrases)?;
        let node = key.descend(self.path.as_ref().unwrap_or(key.path()))?;
        let passphrase = self.seal.passphrase()?;
        write_key(&self.out, &node, passphrase.as_ref().map(|passphrase| passphrase.as_str()))?;
        let how = if passphrase.is_some() { "sealed" } else { "not sealed" };
        let (out, path) = (self.out.display(), node.path().as_str());
        print(&format!("Wrote {out}: the key at {path:?} ({how}, mode 0600) and of everything below it."))?;
        Ok(ExitCode::SUCCESS)
    }
}
