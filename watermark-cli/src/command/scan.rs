use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde_json::json;
use watermark_cli::files::{read_bounded, read_key, read_profile};
use watermark_cli::read::{InputFormat, Select};
use watermark_cli::scan::{self, Keys, Marks, Options, Outcome, Progress, Summary, expand, spool};
use watermark_cli::tokenizer::Tokenizer;

use super::{claim, print, print_json, say, spinner, table};

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
  watermark scan --profile P --keys keys.txt --tokenizer tokenizer.json --memory 512M --out run/ 'shards/*.parquet'
  watermark scan --profile P --key K --accounts accounts.txt --out run/ leaked.jsonl.zst
  zcat crawl.jsonl.gz | watermark scan --profile P --key K --field /data/answer --out run/ -

Inputs: files, folders (hidden entries left out), patterns and standard input; JSONL, a JSON array, Parquet or plain text; plain,
gzip or zstd; told apart by content. Read are, by preference: conversations in `messages`, `conversations` or `conversation`
(every assistant text by itself, what was said before it as prompt; `reasoning_content` too), `prompt`/`completion` or
`chosen`, `question`/`response` and the responses of OpenAI's batches, `instruction`/`input`/`output`, `question`/`answer`,
`problem`/`solution`, `text`; with --input-format tokens `tokens` or `input_ids`. result.json says what was read from which
fields of each file.

--out gets result.json, hits.jsonl (marked texts, strongest first), skipped.jsonl (records that could not be used; never
their text), status.json, command.txt, and shards/ with the token ids, by which the same command goes on after a stop of any
kind. shards/ may be deleted afterwards. The results do not depend on threads, memory or stops.

Profiles whose layers have contexts wider than 4 tokens, or marks of Hugging Face's KGW, three_bricks or TextSeal's
tournament, cannot be scanned; use `detect`.

Exit codes: 0 = detected under some key, 1 = under none, 2 = an error, a stop, an input not read to its end, or too many bad
records (the results of the others are written).")]
pub(crate) struct Args {
    /// Files, folders or patterns; - is standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// The deployment's profile
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// A key at or above the profile's path; may be given several times
    #[arg(long, value_name = "FILE", required_unless_present = "keys")]
    key: Vec<PathBuf>,
    /// A file that names a key file on every line
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Account ids, one a line, for layers with a key per account: each is tested
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// tokenizer.json; default: the one beside the profile, else the embedded one, if its digest matches
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Run folder: new, empty, or that of the same scan, which is then continued
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What the inputs hold
    #[arg(long, default_value_t, value_name = "auto|text|jsonl|tokens")]
    input_format: InputFormat,
    /// JSON pointer to the generated text, ids or conversation of a record, for example /data/answer
    #[arg(long, value_name = "POINTER")]
    field: Option<String>,
    /// The role whose turns count in a conversation, instead of the assistant's
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// Memory for deduplication (more goes through a file in --out) and for a zstd window (`zstd --long=31` needs 2G)
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = bytes)]
    memory: u64,
    /// Text after which a part of the work is saved
    #[arg(long, value_name = "BYTES", default_value = "8M", value_parser = bytes)]
    shard_size: u64,
    /// Threads; default: one per core
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Records that may be unusable before the exit code is 2
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_bad_records: u64,
    /// Family-wise level of the verdicts
    #[arg(long, default_value_t = 1e-6)]
    alpha: f64,
    /// Print result.json instead of tables
    #[arg(long)]
    json: bool,
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

/// A list of keys or accounts is at most some millions of lines.
const MAX_LIST: u64 = 1 << 30;

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if !(self.alpha > 0.0 && self.alpha < 1.0) {
            bail!("--alpha is {}; it must be between 0 and 1", self.alpha);
        }
        if self.field.as_ref().is_some_and(|field| !field.starts_with('/')) {
            bail!("--field is a JSON pointer, which begins with /, for example /text");
        }
        let file = read_profile(&self.profile)?;
        let ids_given = self.input_format == InputFormat::Tokens;
        let tokenizer = (!ids_given || self.tokenizer.is_some())
            .then(|| Tokenizer::for_profile(self.tokenizer.as_deref(), &self.profile, &file.profile.tokenizer))
            .transpose()?;
        let keys = self.read_keys(&file.profile)?;
        let options = self.options()?;
        static STOP: AtomicBool = AtomicBool::new(false);
        ctrlc::set_handler(|| {
            if STOP.swap(true, Ordering::Relaxed) {
                // Asked twice: whatever is unfinished is done again next time.
                std::process::exit(2);
            }
            say("stopping at the end of the shards in work; once more stops at once");
        })
        .context("listening for interrupts")?;
        let marks = Marks {
            profile: &file.profile,
            profile_sha256: file.sha256,
            tokenizer: tokenizer.as_ref().filter(|_| !ids_given),
            keys: &keys,
        };
        let watch = Watch::new(&options.out);
        let outcome = scan::scan(&options, &marks, &STOP, &|progress| watch.see(progress, false));
        watch.bar.finish_and_clear();
        let outcome = outcome?;
        watch.end();
        let Outcome::Finished(summary) = outcome else {
            say("stopped; the same command goes on from here");
            return Ok(ExitCode::from(2));
        };
        std::fs::write(options.out.join("command.txt"), command_line())
            .with_context(|| format!("writing to {}", options.out.display()))?;
        if self.json {
            print_json(&summary)?;
        } else {
            self.print_tables(&summary)?;
        }
        let bad: u64 = summary.totals.bad_records.values().sum();
        if summary.totals.unread_inputs > 0 {
            let n = summary.totals.unread_inputs;
            for (_, error) in summary.unread() {
                say(&format!("error: {error}"));
            }
            say(&format!("error: inputs not read to their end: {n}; the results are of the rest"));
            return Ok(ExitCode::from(2));
        }
        if bad > self.max_bad_records {
            say(&format!(
                "error: {bad} records could not be used (--max-bad-records {}); see {}; the results are of the others",
                self.max_bad_records,
                options.out.join("skipped.jsonl").display()
            ));
            return Ok(ExitCode::from(2));
        }
        Ok(claim(summary.findings.iter().any(|finding| finding.verdict == "detected")))
    }

    fn options(&self) -> Result<Options> {
        let mut named: Vec<PathBuf> = self.inputs.iter().filter(|path| path.as_os_str() != "-").cloned().collect();
        let mut inputs = Vec::new();
        match self.inputs.len() - named.len() {
            0 => {}
            1 => inputs.push(spool(std::io::stdin().lock(), &self.out)?),
            _ => bail!("standard input (-) is named twice"),
        }
        if !named.is_empty() {
            named.sort();
            inputs.extend(expand(&named, &self.out)?);
        }
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Options {
            inputs,
            out: self.out.clone(),
            input_format: self.input_format,
            select: Select { field: self.field.clone(), role: self.role.clone() },
            alpha: self.alpha,
            memory: self.memory,
            threads: self.threads.filter(|&n| n > 0).unwrap_or_else(cores),
            shard_bytes: self.shard_size,
        })
    }

    fn read_keys(&self, profile: &watermark_core::profile::Profile) -> Result<Keys> {
        let mut paths = self.key.clone();
        if let Some(list) = &self.keys {
            paths.extend(lines(list)?.into_iter().map(PathBuf::from));
        }
        let nodes = paths.iter().map(|path| Ok((path.display().to_string(), read_key(path)?)));
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        let accounts = self.accounts.as_deref().map(lines).transpose()?;
        Keys::new(profile, &nodes, accounts.as_deref())
    }

    fn print_tables(&self, summary: &Summary) -> Result<()> {
        let totals = &summary.totals;
        print(&format!(
            "{} inputs, {} records, {} texts of {} tokens; bad records {}\n",
            totals.inputs,
            totals.records,
            totals.texts,
            totals.tokens,
            totals.bad_records.values().sum::<u64>()
        ))?;
        let mut rows =
            vec![["input", "read from", "records", "bad", "texts", "tokens", "hits"].map(str::to_owned).to_vec()];
        rows.extend(summary.inputs.iter().take(ROWS).map(scan::InputLine::cells));
        print(&table(&rows, 2))?;
        let header = ["layer", "tokens", "short", "excluded", "duplicate", "scored"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(summary.positions.iter().map(|line| {
            let counts = [line.tokens, line.short_context, line.excluded, line.duplicate, line.scored];
            std::iter::once(line.layer.clone()).chain(counts.map(|n| n.to_string())).collect()
        }));
        print(&table(&rows, 1))?;
        let mut findings: Vec<_> = summary.findings.iter().collect();
        findings.sort_by(|a, b| a.log10_p.total_cmp(&b.log10_p));
        let header = ["key", "layer", "scheme", "scored", "log10 p", "by fresh keys", "ln e", "verdict"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(findings.iter().take(ROWS).map(|line| {
            vec![
                line.key.escape_debug().to_string(),
                line.layer.clone(),
                line.scheme.to_owned(),
                line.n_scored.to_string(),
                format!("{:.2}", line.log10_p),
                line.log10_p_resampled.map_or_else(|| "-".to_owned(), |p| format!("{p:.2}")),
                format!("{:.2}", line.ln_e),
                line.verdict.to_owned(),
            ]
        }));
        print(&table(&rows, 3))?;
        if findings.len() > ROWS {
            print(&format!("({} more in result.json)\n", findings.len() - ROWS))?;
        }
        print(&format!(
            "{}, level {:e}. Marked texts: {} ({}, false discovery rate {}).\nEverything is in {}.",
            summary.family,
            summary.alpha,
            summary.hits.n,
            summary.hits.family,
            summary.hits.false_discovery_rate,
            self.out.display()
        ))?;
        print(summary.does_not_show)
    }
}

/// Rows of a table on the terminal; result.json has all.
const ROWS: usize = 30;

fn lines(path: &Path) -> Result<Vec<String>> {
    let named = || format!("list {}", path.display());
    let bytes = read_bounded(path, MAX_LIST).with_context(named)?;
    let text = std::str::from_utf8(&bytes).ok().with_context(|| format!("{} is not UTF-8", named()))?;
    let lines: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if lines.is_empty() {
        bail!("{} names nothing; write one a line", named());
    }
    Ok(lines)
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

/// Progress on a terminal, and `status.json` for machines.
struct Watch {
    bar: ProgressBar,
    path: PathBuf,
    begun: Instant,
    last: Mutex<(Option<Instant>, Progress)>,
}

/// How often `status.json` is written.
const STATUS_EVERY: Duration = Duration::from_millis(500);

impl Watch {
    fn new(out: &Path) -> Self {
        let bar = spinner("Scanning");
        Self {
            bar,
            path: out.join("status.json"),
            begun: Instant::now(),
            last: Mutex::new((None, Progress::default())),
        }
    }

    fn see(&self, progress: Progress, ended: bool) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let rate = progress.tokens as f64 / seconds.max(1e-3);
        let phase = if progress.scoring { "scoring" } else { "reading" };
        self.bar.set_message(format!(
            "{phase}: {} shards ({} resumed), {} records, {} tokens, {} skipped, {rate:.0} tokens/s",
            progress.shards, progress.resumed_shards, progress.records, progress.tokens, progress.bad_records
        ));
        let Ok(mut last) = self.last.lock() else { return };
        last.1 = progress;
        if !ended && last.0.is_some_and(|at| at.elapsed() < STATUS_EVERY) {
            return;
        }
        last.0 = Some(Instant::now());
        let status = json!({
            "phase": if ended && progress.scoring { "ended" } else if ended { "stopped" } else { phase },
            "shards": progress.shards,
            "resumed_shards": progress.resumed_shards,
            "records": progress.records,
            "tokens": progress.tokens,
            "bad_records": progress.bad_records,
            "seconds": seconds,
        });
        // For onlookers only: the scan does not depend on it.
        let aside = self.path.with_extension("json.part");
        let _ = std::fs::write(&aside, format!("{status}\n")).and_then(|()| std::fs::rename(&aside, &self.path));
    }

    fn end(&self) {
        let progress = self.last.lock().map(|last| last.1).unwrap_or_default();
        self.see(progress, true);
    }
}
