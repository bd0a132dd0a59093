use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use watermark_core::key::{KeyPath, NodeKey};
use watermark_toolkit::files::random;
use watermark_toolkit::keys::write_key;

use super::passphrase::PassphraseArgs;
use super::{print, print_json};

/// Make a master key from the system's randomness
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watermark keygen --out master.key.json
  watermark keygen --out master.key.json --passphrase
  watermark keygen --out master.key.json --passphrase-file passphrase.txt")]
pub(crate) struct Args {
    /// The key file to write (mode 0600)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write only the subtree at this path, e.g. epoch/2026-11
    #[arg(long, default_value = "", value_name = "PATH")]
    path: KeyPath,
    /// Seal the file with a passphrase, asked for twice unless there is --passphrase-file
    #[arg(long)]
    passphrase: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output<'a> {
    key_file: &'a str,
    path: &'a str,
    sealed: bool,
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        // Whoever names a passphrase file does not expect a plain key.
        let sealed = self.passphrase || passphrases.is_from_file();
        let passphrase = sealed.then(|| passphrases.chosen()).transpose()?;
        let key = NodeKey::root(random::<32>()?.as_slice()).descend(&self.path)?;
        write_key(&self.out, &key, passphrase.as_ref().map(|passphrase| passphrase.as_str()))?;
        let name = self.out.display().to_string();
        if self.json {
            print_json(&Output { key_file: &name, path: self.path.as_str(), sealed })?;
        } else {
            let how = if sealed { "sealed, mode 0600" } else { "mode 0600" };
            print(&format!(
                "Wrote {name} ({how}). Whoever can open it can mark and forge: keep it off the machines that scan."
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
