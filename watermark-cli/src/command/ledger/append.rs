use std::io::{BufRead, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use serde_json::json;
use watermark_core::evidence::ledger::LedgerKey;
use watermark_core::evidence::pairs::Draws;
use watermark_core::hex;
use watermark_core::key::KeyPath;
use watermark_core::profile::Profile;
use watermark_toolkit::files::read_profile;
use watermark_toolkit::keys::read_key;
use watermark_toolkit::ledger::{Ledger, Pending, Served};
use watermark_toolkit::read::{Limits, RequestId, ServedRecord, read_served};
use watermark_toolkit::timestamp::{now, now_ms};

use super::super::passphrase::PassphraseArgs;
use super::super::{print, say, spinner};

/// Append served answers from standard input, and acknowledge each when it is on the disk
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark key export --key master.key.json --path ledger/2026-11 --out ledger.key.json
  server | watermark ledger append --ledger answers --key ledger.key.json

Input lines:  {\"answer\": \"text as it was served\", \"account\": \"id\", \"key\": \"epoch/2026-11\"}
Output lines: {\"index\": 0, \"leaf\": \"…\"}, in the order of the input

A line that cannot be read is named on standard error and left out; the exit code is then 2.

With paired draws, an entry is of what was asked, served and withheld, and its place is the number of its request:
  watermark ledger append --ledger answers --key ledger.key.json --profile pairs.profile.json --served served.jsonl
The next request has the next number. One that ended without an answer is written with no tokens, so that it is not missing.")]
pub(crate) struct Args {
    /// The ledger's folder; made if it does not exist
    #[arg(long, value_name = "FOLDER")]
    ledger: PathBuf,
    /// The ledger's own key, which salts the digests
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Answers that were served with paired draws, as `watermark mark --ledger` writes them, in place of standard input (repeatable)
    #[arg(long, value_name = "FILE", requires = "profile")]
    served: Vec<PathBuf>,
    /// The profile that they were served under
    #[arg(long, value_name = "FILE", requires = "served")]
    profile: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServedLine {
    answer: String,
    account: String,
    key: String,
}

/// An answer longer than this is refused.
const MAX_LINE: u64 = 1 << 26;

/// Answers that are read ahead of their acknowledgement.
const UNDER_WAY: usize = 8192;

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let ledger = Ledger::open(&self.ledger, LedgerKey::new(&read_key(&self.key, passphrases)?))?;
        if let Some(profile) = &self.profile {
            return self.pairs(&ledger, read_profile(profile)?.profile);
        }
        let (send, receive) = sync_channel(UNDER_WAY);
        std::thread::scope(|scope| {
            let acknowledge = scope.spawn(move || acknowledge(&receive));
            let mut bad = 0_u64;
            let mut input = std::io::stdin().lock();
            let mut line = Vec::new();
            for number in 1_u64.. {
                line.clear();
                input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).context("standard input")?;
                if line.is_empty() {
                    break;
                }
                match served(&line) {
                    Ok(served) => {
                        // The other side ends early only with an error of its own.
                        if send.send(ledger.submit(served)?).is_err() {
                            break;
                        }
                    }
                    Err(why) => {
                        say(&format!("error: standard input, line {number}: {why}"));
                        bad += 1;
                    }
                }
                if line.last() != Some(&b'\n') && line.len() as u64 == MAX_LINE {
                    input.skip_until(b'\n').context("standard input")?;
                }
            }
            drop(send);
            acknowledge.join().map_err(|_| anyhow!("the acknowledging thread ended"))??;
            Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::from(2) })
        })
    }
}

impl Args {
    /// Appends served answers with paired draws.
    fn pairs(&self, ledger: &Ledger, profile: Profile) -> Result<ExitCode> {
        ensure!(profile.paired.is_some(), "profile {:?} has no paired draws", profile.name);
        let first = ledger.head(&now())?.size;
        let (mut next, mut pending, mut last) = (first, None, None::<RequestId>);
        let bar = spinner("Requests");
        for path in &self.served {
            for record in read_served(path, Limits::default())? {
                let ServedRecord { location, request, account, prompt_tokens, tokens, withheld } = record??;
                let follows = request.number() == next && last.as_ref().is_none_or(|last| request.follows(last));
                ensure!(
                    follows,
                    "{location}: request {request}, and the ledger's next one is number {next} of one name; write one that ended without an answer \
                     with no tokens"
                );
                let account = account.filter(|account| !account.is_empty());
                let account = account.with_context(|| format!("{location}: \"account\" is missing or empty"))?;
                let draws = Draws { prompt_tokens, request: request.to_string(), tokens, withheld };
                let (answer, key) = (draws.bytes()?, profile.path.clone());
                pending = Some(ledger.submit(Served { answer, account, key, time_ms: now_ms()? })?);
                last = Some(request);
                next += 1;
                bar.inc(1);
            }
        }
        // Entries are written in order, so that the last one is durable after all others.
        pending.map(Pending::wait).transpose()?;
        bar.finish_and_clear();
        print(&format!("Appended {} requests; the ledger has {next}.", next - first))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads a line of input; the message repeats nothing of it.
fn served(line: &[u8]) -> Result<Served> {
    let line: ServedLine = serde_json::from_slice(line).map_err(|error| {
        anyhow!("expected one object with the strings \"answer\", \"account\" and \"key\" (column {})", error.column())
    })?;
    ensure!(!line.account.is_empty(), "\"account\" is empty: all who are not known would be one account");
    let key: KeyPath = line.key.parse().map_err(|_| anyhow!("\"key\" is not a key path"))?;
    Ok(Served { answer: line.answer.into_bytes(), account: line.account, key, time_ms: now_ms()? })
}

fn acknowledge(pending: &Receiver<Pending>) -> Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    loop {
        // Lines are held back only while more are ready.
        let next = match pending.try_recv() {
            Ok(next) => next,
            Err(_) => {
                out.flush()?;
                match pending.recv() {
                    Ok(next) => next,
                    Err(_) => return Ok(()),
                }
            }
        };
        let receipt = next.wait()?;
        writeln!(out, "{}", json!({"index": receipt.index, "leaf": hex::encode(&receipt.leaf)}))?;
    }
}
