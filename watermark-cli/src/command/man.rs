use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Command;

use super::{print, shown};

/// Write a manual page for each command
///
/// For example, once: `watermark man ~/.local/share/man/man1`, and then `man watermark-detect`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder for watermark.1, watermark-detect.1 and the others; made if it is missing
    #[arg(value_name = "DIR")]
    out: PathBuf,
}

impl Args {
    pub(crate) fn run(self, program: Command) -> Result<ExitCode> {
        let at = || format!("{}: no manual pages could be written there", shown(&self.out.display().to_string()));
        std::fs::create_dir_all(&self.out).with_context(at)?;
        clap_mangen::generate_to(program, &self.out).with_context(at)?;
        print(&format!("Wrote the manual pages to {}.", shown(&self.out.display().to_string())))?;
        Ok(ExitCode::SUCCESS)
    }
}
