//! `watermark scan` and `watermark merge`.

mod marks;
pub(crate) mod merge;
mod tables;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use serde_json::json;
use watermark_core::detect::{Verdict, check_level};
use watermark_toolkit::read::{InputFormat, Select};
use watermark_toolkit::scan::{self, Marks, Options, Part, ScanEnd, Unusable, expand, spool};

use super::passphrase::PassphraseArgs;
use super::{claim, print_json, say};
use marks::{KeyArgs, ProfileArgs};
use watch::Watch;

/// Scan a corpus of any size for the marks of one or many keys
///
/// Answers whether a mark is in a corpus, how much of it, in which records, and under which key. Texts are tokenised once for
/// all keys; every distinct PRF input of the whole run (for most schemes: context and token) counts once, exactly, so
/// duplicate documents count for nothing; pairs of a record's own prompt do not count. The null hypothesis is that the corpus
/// is independent of the key; p is exact for any such corpus. Verdicts are Holm's over keys and layers; single texts are
/// named at a false discovery rate of 1 % (e-BH). Runs of up to 131,072 generated tokens are scored under 999 fresh keys as
/// well; a verdict is `inconclusive` where they disagree.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watermark scan --profile chat.profile.json --key master.key.json --out run/ corpus/
  watermark scan --profile P --keys keys.txt --memory 512M --out run/ 'shards/*.parquet'
  watermark scan --profile P --key K --accounts accounts.txt --out run/ leaked.jsonl.zst
  zcat crawl.jsonl.gz | watermark scan --profile P --key K --field /data/answer --out run/ -
On eight machines without a key, here the second; then on one that has it:
  watermark scan --profile P --shard 2/8 --partials --out part-2/ /lake/
  watermark merge --profile P --key K --out run/ part-*/

Inputs: files, folders (hidden entries left out), patterns and standard input; JSONL, a JSON
array, Parquet or plain text; plain, gzip or zstd; told apart by content. Read are, by preference:
conversations in `messages`, `conversations` or `conversation` (every assistant text by itself,
what was said before it as prompt; reasoning too), `prompt`/`completion`, `chosen` and `rejected`,
`question`/`response` and the responses of OpenAI's batches, `generations` and other lists of
answers, `instruction`/`input`/`output`, `question`/`answer`, `problem`/`solution`, `text` (a
dialogue of both sides in one string is read as one). `system`, `context`, `history` and their like
are prompt in each; text of a `role` that is not the model's is skipped and named. With
--input-format tokens `tokens` or `input_ids`, with `labels` and masks. sources.jsonl says what was read from which fields of each file.

--out gets
  result.json      tallies, tails, e-values, verdicts: the same bytes for the same texts, profiles
                   and keys, whatever the files, shards, machines and stops
  hits.jsonl       marked texts, strongest first, with record ids and bytes; also hits.parquet
  sources.jsonl    every input: what was read of it, its digest, the keys it is marked under
  skipped.jsonl    records that could not be used; never their text
  plots/*.svg      evidence by key, p-values of keys, inputs by share of marked texts
  status.json      how far the run is; command.txt: the command that repeats it
  shards/          token ids (Arrow), by which the same command goes on after a stop of any kind;
                   may be deleted afterwards

Several --profile (after a change of tokenizer, say) are tested at once; the family of tests then
is all pairs of a key and a layer that it opens. Records that hold `tokens` beside their text also
tell how many ids come out otherwise when the text is tokenised again.

With --json, stdout gets JSON lines: {\"event\": \"progress\", ...} while it runs, and at the end
{\"event\": \"result\", \"result\": ...} with result.json.

Up to 16 keys, every text and input is also scored under each of them; of more, only under those
that are detected in the run as a whole, so a few marked records in a large corpus are found with
few keys only.

Layers with contexts wider than 4 tokens, and engines' marks of which the key decides what
counts once, or whose tokens share draws, cannot be scanned; use `detect`.

Exit codes: 0 = detected under some key, 1 = under none, 2 = an error, a stop, an input not read
to its end, or too many bad records (the results of the others are written).")]
pub(crate) struct Args {
    /// Files, folders or patterns; - is standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    profiles: ProfileArgs,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    cost: CostArgs,
    /// tokenizer.json, or a .tiktoken file of known digest; default: the one beside the profile, else the embedded one, if its digest matches
    #[arg(long, value_name = "FILE")]
    tokenizer: Vec<PathBuf>,
    /// What the inputs hold
    #[arg(long, default_value_t, value_name = "auto|text|jsonl|tokens")]
    input_format: InputFormat,
    /// JSON pointer to the generated text, ids or conversation of a record, for example /data/answer
    #[arg(long, value_name = "POINTER")]
    field: Option<String>,
    /// The role whose turns count in a conversation, instead of the assistant's
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// Text after which a part of the work is saved
    #[arg(long, value_name = "BYTES", default_value = "8M", value_parser = bytes)]
    shard_size: u64,
    /// Only read and tokenise, for `watermark merge`; needs no key
    #[arg(long, conflicts_with_all = ["key", "keys", "accounts"])]
    partials: bool,
    /// Which part of the inputs this machine reads: the i-th of N, from 1/N to N/N, over the same inputs everywhere
    #[arg(long, value_name = "i/N", value_parser = part)]
    shard: Option<Part>,
}

/// What a run may take, and how it tells.
#[derive(clap::Args)]
struct CostArgs {
    /// Run folder: new, empty, or that of the same scan, which is then continued
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Memory for deduplication (more goes through a file in --out) and for a zstd window (`zstd --long=31` needs 2G)
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = bytes)]
    memory: u64,
    /// Threads; default: one per core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Family-wise level of the verdicts
    #[arg(long, default_value_t = 1e-6)]
    alpha: f64,
    /// Records that may be unusable before the exit code is 2
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_bad_records: u64,
    /// Print events and the result as JSON lines instead of tables
    #[arg(long)]
    json: bool,
}

impl CostArgs {
    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.threads.map_or_else(cores, usize::from)
    }

    fn check(&self) -> Result<()> {
        check_level(self.alpha).context("--alpha")
    }
}

/// A number of bytes with an optional binary unit.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        Some(b'T' | b't') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| "a number of bytes such as 512M or 2G".to_owned())?;
    let number = number.checked_mul(1 << shift).filter(|number| *number > 0);
    number.ok_or_else(|| "between 1 and 2^63 bytes".to_owned())
}

fn part(text: &str) -> Result<Part, String> {
    let parsed = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    let part =
        parsed.map(|(number, count)| Part { number, count }).filter(|part| (1..=part.count).contains(&part.number));
    part.ok_or_else(|| "a part such as 2/8, from 1/8 to 8/8".to_owned())
}

/// Set by an interrupt.
static STOP: AtomicBool = AtomicBool::new(false);

fn stop_on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            // Asked twice: whatever is unfinished is done again next time.
            std::process::exit(2);
        }
        say("stopping at the end of the shards in work; once more stops at once");
    })
    .context("listening for interrupts")
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        self.cost.check()?;
        if self.shard.is_some() && !self.partials {
            bail!("--shard makes a part for `watermark merge`; add --partials, and leave the key to `merge`");
        }
        let select = Select::new(self.field.clone(), self.role.clone()).context("--field")?;
        let profiles = self.profiles.read(&self.tokenizer, self.input_format == InputFormat::Tokens)?;
        if self.partials {
            let options = self.options(select)?;
            stop_on_interrupt()?;
            let part = self.shard.unwrap_or(Part { number: 1, count: 1 });
            let watch = Watch::new(&options.out, self.cost.json);
            let outcome = scan::partials(&options, &profiles, part, &STOP, &|progress| watch.see(progress));
            let Some(unusable) = watch.outcome(outcome)? else { return Ok(stopped()) };
            let made = format!("part {}/{} is in {}", part.number, part.count, options.out.display());
            say(&format!("{made}; `watermark merge` takes it with the others"));
            return Ok(if usable(&unusable, self.cost.max_bad_records) {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(2)
            });
        }
        let keys = self.keys.read(&profiles, passphrases)?;
        let options = self.options(select)?;
        stop_on_interrupt()?;
        let marks = Marks { profiles: &profiles, keys: &keys };
        let watch = Watch::new(&options.out, self.cost.json);
        let outcome = scan::scan(&options, &marks, &STOP, &|progress| watch.see(progress));
        finish(watch.outcome(outcome)?, &self.cost)
    }

    fn options(&self, select: Select) -> Result<Options> {
        let out = &self.cost.out;
        let mut named: Vec<PathBuf> = self.inputs.iter().filter(|path| path.as_os_str() != "-").cloned().collect();
        let mut inputs = Vec::new();
        match self.inputs.len() - named.len() {
            0 => {}
            1 => inputs.push(spool(std::io::stdin().lock(), out)?),
            _ => bail!("standard input (-) is named twice"),
        }
        if !named.is_empty() {
            named.sort();
            inputs.extend(expand(&named, out)?);
        }
        Ok(Options {
            inputs,
            out: out.clone(),
            input_format: self.input_format,
            select,
            alpha: self.cost.alpha,
            memory: self.cost.memory,
            threads: self.cost.threads(),
            shard_bytes: self.shard_size,
        })
    }
}

fn stopped() -> ExitCode {
    say("stopped; the same command goes on from here");
    ExitCode::from(2)
}

/// Says what could not be used; false if that is too much.
fn usable(unusable: &Unusable, max_bad_records: u64) -> bool {
    for (_, error) in &unusable.unread {
        // A name can hold anything.
        say(&format!("error: {}", error.replace(char::is_control, "?")));
    }
    let (unread, bad) = (unusable.unread.len(), unusable.bad_records);
    if unread > 0 {
        say(&format!("error: inputs not read to their end: {unread}; the results are of the rest"));
    } else if bad > max_bad_records {
        say(&format!(
            "error: {bad} records could not be used (--max-bad-records {max_bad_records}); skipped.jsonl says which; the results \
             are of the others"
        ));
    }
    unread == 0 && bad <= max_bad_records
}

/// Prints what came out, and says how the run ended.
fn finish(end: ScanEnd, cost: &CostArgs) -> Result<ExitCode> {
    let out = &cost.out;
    let ScanEnd::Finished(finished) = end else { return Ok(stopped()) };
    std::fs::write(out.join("command.txt"), command_line()).with_context(|| format!("writing to {}", out.display()))?;
    let summary = &finished.summary;
    if cost.json {
        print_json(&json!({"event": "result", "result": summary}))?;
    } else {
        tables::print_tables(&finished, out)?;
    }
    let unread = finished.sources.iter().filter_map(scan::Source::unread);
    let unusable = Unusable {
        bad_records: summary.totals.bad_records.values().sum(),
        unread: unread.map(|(path, error)| (path.to_owned(), error.to_owned())).collect(),
    };
    if !usable(&unusable, cost.max_bad_records) {
        return Ok(ExitCode::from(2));
    }
    Ok(claim(summary.findings.iter().any(|finding| finding.verdict == Verdict::Detected)))
}

/// The command as a shell would read it.
fn command_line() -> String {
    let quote = |argument: String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+".contains(c);
        if !argument.is_empty() && argument.chars().all(plain) {
            argument
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    };
    let mut arguments = vec!["watermark".to_owned()];
    arguments.extend(std::env::args_os().skip(1).map(|argument| quote(argument.to_string_lossy().into_owned())));
    arguments.join(" ") + "\n"
}
