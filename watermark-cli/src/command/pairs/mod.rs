//! `watermark pairs`: paired draws, from scores to evidence.

mod evidence;
mod plan;
mod register;
#[cfg(feature = "lab")]
mod score;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::passphrase::PassphraseArgs;

/// Paired draws: did a suspect learn answers that were served, and whose?
///
/// At each position two candidates are drawn from the very same distribution, a keyed coin serves one of them, and the other is withheld and
/// kept. The text is as it would be without a mark. A model that learned served answers prefers them to what was withheld; for any other
/// model every coin is fair, whatever it prefers. The question is about requests, so it does not matter how small their part of the training
/// data was; 25 answers of one account among 800 others were enough in the laboratory.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

// A comment on a variant would hide the longer one of its `Args`.
#[derive(Subcommand)]
enum Action {
    #[cfg(feature = "lab")]
    Score(score::Args),
    Test(test::Args),
    Register(register::Args),
    Evidence(evidence::Args),
    Plan(plan::Args),
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        match self.action {
            #[cfg(feature = "lab")]
            Action::Score(args) => args.run(),
            Action::Test(args) => args.run(passphrases),
            Action::Register(args) => args.run(passphrases),
            Action::Evidence(args) => args.run(passphrases),
            Action::Plan(args) => args.run(),
        }
    }
}
