use std::io::{BufRead, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use serde_json::json;
use watermark_core::evidence::ledger::LedgerKey;
use watermark_core::hex;
use watermark_core::key::KeyPath;
use watermark_toolkit::keys::read_key;
use watermark_toolkit::ledger::{Ledger, Pending, Served};

use super::super::passphrase::PassphraseArgs;
use super::super::say;

/// Append served answers from standard input, and acknowledge each when it is on the disk
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark key export --key master.key.json --path ledger/2026-11 --out ledger.key.json
  server | watermark ledger append --ledger answers --key ledger.key.json

Input lines:  {\"answer\": \"text as it was served\", \"account\": \"id\", \"key\": \"epoch/2026-11\"}
Output lines: {\"index\": 0, \"leaf\": \"…\"}, in the order of the input

A line that cannot be read is named on standard error and left out; the exit code is then 2.")]
pub(crate) struct Args {
    /// The ledger's folder; made if it does not exist
    #[arg(long, value_name = "FOLDER")]
    ledger: PathBuf,
    /// The ledger's own key, which salts the digests
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
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

/// Reads a line of input; the message repeats nothing of it.
fn served(line: &[u8]) -> Result<Served> {
    let line: ServedLine = serde_json::from_slice(line).map_err(|error| {
        anyhow!("expected one object with the strings \"answer\", \"account\" and \"key\" (column {})", error.column())
    })?;
    ensure!(!line.account.is_empty(), "\"account\" is empty: all who are not known would be one account");
    let key: KeyPath = line.key.parse().map_err(|_| anyhow!("\"key\" is not a key path"))?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let time_ms = u64::try_from(since.as_millis())?;
    Ok(Served { answer: line.answer.into_bytes(), account: line.account, key, time_ms })
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
