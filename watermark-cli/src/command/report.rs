use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use watermark_toolkit::evidence::{Context, MAX_BUNDLE, pairs};
use watermark_toolkit::files::read_bounded;
use watermark_toolkit::report;

use super::verify::public_key;
use super::{claim, print, shown};

/// Make a page of an evidence bundle that people can read
///
/// The bundle is verified first, as `watermark verify` does, and the page says what was checked and what was not. One file, without
/// scripts, that loads nothing from elsewhere. With the answers (--data) it also shows the fresh keys, the evidence curve and
/// some answers.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watermark report evidence.json -o report.html
  watermark report evidence.json --data suspect.jsonl --data control.jsonl --trusted-key HEX -o report.html
  watermark report evidence.json --data suspect.jsonl --redact -o report.html

Exit codes: 0 = written, and the bundle holds, whatever its verdict; 1 = written, but the bundle does not hold; 2 = an error.")]
pub(crate) struct Args {
    /// The bundle
    evidence: PathBuf,
    /// The page to write; never overwritten
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// An answer file or a records file of the case (repeatable)
    #[arg(long, value_name = "FILE")]
    data: Vec<PathBuf>,
    /// The pool that the prompts were drawn from
    #[arg(long, value_name = "FILE")]
    pool: Option<PathBuf>,
    /// Show no answers
    #[arg(long)]
    redact: bool,
    /// A key whose signature you trust, 64 hexadecimal digits or a file with them (repeatable); all who signed must be named
    #[arg(long, value_name = "HEX|FILE")]
    trusted_key: Vec<String>,
    /// tokenizer.json of the mark; default: beside the bundle, else the embedded one
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Certificates (PEM) that time stamps must chain to, checked by the program openssl
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if self.out.exists() {
            bail!("{} exists and is not overwritten; choose another name", self.out.display());
        }
        let trusted = self.trusted_key.iter().map(|key| public_key(key)).collect::<Result<_>>()?;
        let context =
            Context { data: self.data, pool: self.pool, tokenizer: self.tokenizer, trusted, authority: self.authority };
        let named = || format!("reading {}", self.evidence.display());
        let bytes = read_bounded(&self.evidence, MAX_BUNDLE).with_context(named)?;
        let faults = if pairs::is_of_pairs(&bytes) {
            report::write_of_pairs(&self.evidence, &context, &self.out)?.faults
        } else {
            report::write(&self.evidence, &context, !self.redact, &self.out)?.faults
        };
        for fault in &faults {
            print(&format!("{:<15} {}", fault.code, shown(&fault.what)))?;
        }
        print(&format!("Wrote {}.", self.out.display()))?;
        Ok(claim(faults.is_empty()))
    }
}
