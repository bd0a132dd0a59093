//! `watermark ledger`: which answers were served, to whom, when.

mod append;
mod check;
mod head;
mod prove;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::passphrase::PassphraseArgs;

/// Keep and use a ledger of served answers: salted digests, signed heads, proofs
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

// A comment on a variant would hide the longer one of its `Args`.
#[derive(Subcommand)]
enum Action {
    Append(append::Args),
    Head(head::Args),
    Prove(prove::Args),
    Check(check::Args),
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        match self.action {
            Action::Append(args) => args.run(passphrases),
            Action::Head(args) => args.run(passphrases),
            Action::Prove(args) => args.run(passphrases),
            Action::Check(args) => args.run(),
        }
    }
}
