use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use serde::Serialize;
use watermark_cli::files;
use watermark_core::key::{KeyPath, NodeKey};
use zeroize::Zeroizing;

use super::{print, print_json};

/// Make a master key from the system's randomness
#[derive(clap::Args)]
#[command(after_help = "Example:\n  watermark keygen --out master.key.json")]
pub(crate) struct Args {
    /// The key file to write (mode 0600)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write only the subtree at this path, e.g. epoch/2026-11
    #[arg(long, default_value = "", value_name = "PATH")]
    path: KeyPath,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output<'a> {
    key_file: &'a str,
    path: &'a str,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let mut master = Zeroizing::new([0u8; 32]);
        getrandom::fill(master.as_mut_slice()).map_err(|error| anyhow!("no randomness from the system: {error}"))?;
        let key = NodeKey::root(master.as_slice()).descend(&self.path)?;
        files::write_key(&self.out, &key)?;
        let name = self.out.display().to_string();
        if self.json {
            print_json(&Output { key_file: &name, path: self.path.as_str() })?;
        } else {
            print(&format!(
                "Wrote {name} (mode 0600). Whoever holds it can mark and forge: keep it off the machines that scan."
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
