//! `watermark key`: keys after they were made.

mod check;
mod commit;
mod export;
mod list;
mod open;
mod rotate;
mod signing;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::passphrase::PassphraseArgs;

pub(super) use commit::{round, warn_of_known};
pub(super) use signing::SignerArgs;

/// Export, rotate, list, commit to and open keys
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

// A comment on a variant would hide the longer one of its `Args`.
#[derive(Subcommand)]
enum Action {
    #[command(visible_alias = "derive")]
    Export(export::Args),
    Rotate(rotate::Args),
    List(list::Args),
    Signing(signing::Args),
    Commit(commit::Args),
    Open(open::Args),
    Check(check::Args),
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        match self.action {
            Action::Export(args) => args.run(passphrases),
            Action::Rotate(args) => args.run(passphrases),
            Action::List(args) => args.run(),
            Action::Signing(args) => args.run(passphrases),
            Action::Commit(args) => args.run(passphrases),
            Action::Open(args) => args.run(passphrases),
            Action::Check(args) => args.run(),
        }
    }
}
