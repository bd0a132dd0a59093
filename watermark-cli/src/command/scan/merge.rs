use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use watermark_toolkit::scan::{self, Marks, Merging};

use super::super::passphrase::PassphraseArgs;
use super::marks::{KeyArgs, ProfileArgs};
use super::watch::Watch;
use super::{CostArgs, STOP, finish, stop_on_interrupt};

/// Make one result of the parts that several machines have read
///
/// `watermark scan --shard i/N --partials` reads and tokenises one machine's part of a corpus; it needs no key. `merge` takes
/// the folders of all N parts, deduplicates and scores them in bounded memory, and writes what `watermark scan` would have
/// written for the whole corpus, byte for byte.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark merge --profile chat.profile.json --key master.key.json --out run/ part-1/ part-2/ part-3/

A part that is missing, unfinished or damaged, or was read for another profile or otherwise than
the others, is an error.

Exit codes: 0 = detected under some key, 1 = under none, 2 = an error, a stop, an input not read
to its end, or too many bad records (the results of the others are written).")]
pub(crate) struct Args {
    /// Folders of the parts, in any order
    #[arg(required = true, value_name = "PART")]
    parts: Vec<PathBuf>,
    #[command(flatten)]
    profiles: ProfileArgs,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    cost: CostArgs,
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        self.cost.check()?;
        let profiles = self.profiles.of_parts(&self.parts)?;
        let keys = self.keys.read(&profiles, passphrases)?;
        let merging = Merging {
            parts: self.parts,
            out: self.cost.out.clone(),
            alpha: self.cost.alpha,
            memory: self.cost.memory,
            threads: self.cost.threads(),
        };
        stop_on_interrupt()?;
        let watch = Watch::new(&merging.out, self.cost.json);
        let marks = Marks { profiles: &profiles, keys: &keys };
        let outcome = scan::merge(&merging, &marks, &STOP, &|progress| watch.see(progress));
        finish(watch.outcome(outcome)?, &self.cost)
    }
}
