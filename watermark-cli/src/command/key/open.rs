use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use watermark_core::evidence::commitment::{KeyCommitments, MAX_OPENINGS};
use watermark_core::key::KeyPath;
use watermark_toolkit::files::{read_private_bytes, read_profile, write_secret};
use watermark_toolkit::keys::read_key;

use super::super::passphrase::PassphraseArgs;
use super::super::print;

/// Disclose one committed key: the key of one node, and the proof that it was committed to
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark key open --openings commitment/openings.json --key master.key.json --profile chat.profile.json \\
    --path epoch/1/layer/distillation --out opening.json

The file holds the node's key: whoever reads it can mark, detect and forge below that path, and nothing else. A profile
that has its beacon since was committed to without it: give the one that awaits it.")]
pub(crate) struct Args {
    /// openings.json of `watermark key commit`
    #[arg(long, value_name = "FILE")]
    openings: PathBuf,
    /// A key at or above the path
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The profile that the commitment was made for
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// The node to open
    #[arg(long, value_name = "PATH")]
    path: KeyPath,
    /// The opening to write (mode 0600); never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let named = || format!("openings file {}", self.openings.display());
        let file = File::open(&self.openings).with_context(named)?;
        let bytes = read_private_bytes(file, &self.openings, MAX_OPENINGS as u64).with_context(named)?;
        let commitments = KeyCommitments::parse(&bytes).with_context(named)?;
        let profile = read_profile(&self.profile)?;
        let node = read_key(&self.key, passphrases)?.descend(&self.path)?;
        let opening = commitments.open(&node, &profile.sha256).with_context(named)?;
        write_secret(&self.out, &opening.print()?)?;
        print(&format!(
            "Wrote {}: the key at {:?} with its proof. Whoever reads it can mark and forge below that path.",
            self.out.display(),
            self.path.as_str()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
