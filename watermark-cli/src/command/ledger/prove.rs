use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use watermark_core::evidence::ledger::{AnswerProof, ConsistencyProof, LedgerKey};
use watermark_toolkit::files::write_new;
use watermark_toolkit::keys::read_key;
use watermark_toolkit::ledger::{Contents, check_key, read_head};

use super::super::passphrase::PassphraseArgs;
use super::super::print;

/// Prove that an answer was served, or that nothing was changed between two heads
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watermark ledger prove --ledger answers --head answers/heads/0000000000001000.json --index 17 --key ledger.key.json --out p.json
  watermark ledger prove --ledger answers --head NEWER --older OLDER --out consistency.json

The proof of an answer discloses one salt, and the account only with --account. It is of no use without the answer's text.")]
pub(crate) struct Args {
    /// The ledger's folder
    #[arg(long, value_name = "FOLDER")]
    ledger: PathBuf,
    /// The signed head that the proof leads to
    #[arg(long, value_name = "FILE")]
    head: PathBuf,
    /// The entry
    #[arg(long, value_name = "N", requires = "key", required_unless_present = "older")]
    index: Option<u64>,
    /// The ledger's key
    #[arg(long, value_name = "FILE", requires = "index")]
    key: Option<PathBuf>,
    /// Disclose that the answer went to this account
    #[arg(long, value_name = "ID", requires = "index")]
    account: Option<String>,
    /// An older signed head, whose entries must all be unchanged
    #[arg(long, value_name = "FILE", conflicts_with = "index")]
    older: Option<PathBuf>,
    /// The proof to write; never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let contents = Contents::read(&self.ledger)?;
        let (head, _) = read_head(&self.head)?;
        let Some(leaves) = usize::try_from(head.size).ok().and_then(|size| contents.leaves().get(..size)) else {
            bail!("{} is of a ledger of {} entries; this one is shorter", self.head.display(), head.size);
        };
        let (proof, proved) = match (&self.older, self.index, &self.key) {
            (Some(older), ..) => {
                let (older, _) = read_head(older)?;
                let proof = ConsistencyProof::new(leaves, older.size)?;
                proof.verify(&older, &head).context("the entries on the disk do not fit the heads")?;
                (proof.print()?, format!("the first {} of {} entries are unchanged", older.size, head.size))
            }
            (None, Some(index), Some(key)) => {
                let key = LedgerKey::new(&read_key(key, passphrases)?);
                check_key(&self.ledger, &key)?;
                let entry = Contents::entry(&self.ledger, index)?;
                let proof = AnswerProof::new(&key, entry, leaves, self.account.as_deref())?;
                (proof.print()?, format!("entry {index} is among the {} of the head", head.size))
            }
            _ => bail!("give --index and --key, or --older"),
        };
        write_new(&self.out, &proof)?;
        print(&format!("Wrote {}: {proved}.", self.out.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}
