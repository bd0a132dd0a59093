use std::process::ExitCode;

use anyhow::Result;
use clap::Command;
use clap_complete::Shell;

/// Print what a shell needs to complete commands and options
///
/// For example, once: `watermark completions bash > ~/.local/share/bash-completion/completions/watermark`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self, mut program: Command) -> Result<ExitCode> {
        clap_complete::generate(self.shell, &mut program, "watermark", &mut std::io::stdout());
        Ok(ExitCode::SUCCESS)
    }
}
