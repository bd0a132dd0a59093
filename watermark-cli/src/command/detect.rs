use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use watermark_core::detect::{Detector, RESAMPLING_KEYS, Resampling, Verdict, Weights, check_level};
use watermark_core::model_test::Access;
use watermark_toolkit::beside::Beside;
use watermark_toolkit::detect::{Detection, Exclude, LayerLine, Options, Report, SpanLine};
use watermark_toolkit::files::read_profile;
use watermark_toolkit::ids::Vocabulary;
use watermark_toolkit::keys::read_key;
use watermark_toolkit::model_test::{Reference, Source};
use watermark_toolkit::read::{self, InputFormat, Limits, Record};
use watermark_toolkit::tokenizer::Tokenizer;

use super::layer::LayerArgs;
use super::passphrase::PassphraseArgs;
use super::{
    advance, claim, complain, measured, one_of, print, print_json, print_references, progress, say, shown, table,
};

/// Test texts or token ids for marks
///
/// The null hypothesis is that the text is independent of the key; with our PRF, p is exact for any such text (engines' hash
/// functions have to be taken as ideal ones). Every distinct
/// PRF input (for most schemes: context and token) counts once over the whole input; pairs of a record's own prompt do
/// not count. Beside the tail, the same text is scored under fresh keys; a verdict is `inconclusive` if they disagree.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watermark detect --profile chat.profile.json --key master.key.json answers.jsonl
  watermark detect --profile P --key K --tokenizer tokenizer.json --per-record --json suspect.txt
  watermark detect --profile P --key K --locate report.txt          # which stretches are marked
  watermark detect --scheme gumbel --context-width 4 --prf-key-hex @key.hex --input-format tokens ids.jsonl
  watermark detect --profile P --key K --reference along.jsonl --per-record answers.jsonl   # text of low entropy
  watermark detect --engine vllm --engine-key @vllm.key --context-width 4 --tokenizer tokenizer.json answers.jsonl
  watermark detect --engine hf-kgw-lefthash --engine-key 15485863 --vocab-size 50257 --compare-peer --tokenizer T a.txt

Records: plain text (one record), or JSONL, a JSON array or Parquet with `messages` and other conversations (every assistant
text by itself), `prompt`/`completion`, `chosen` and `rejected`, several `generations`, `question`/`answer`, `instruction`/`output`,
`problem`/`solution` or `text`; `system`, `context`, `history` and their like are prompt in each. With --input-format tokens {\"id\": …, \"tokens\": […],
\"prompt_tokens\": […]} or `input_ids`, with `labels` and masks. Text may be in gzip or zstd.

References, for text in which most tokens are certain: probabilities of an unmarked model along the texts, decoded as they were served,
in lines {\"prompt_tokens\": […], \"tokens\": […], \"choices\": [[[id, ln p], …], …]} or {\"prompt\", \"text\", \"positions\"} that
`python -m watermark_core.suspect --texts answers.jsonl --temperature T` writes; or its answers to the same prompts. A pair weighs what the text has
of it beyond what they expect, so pairs that were expected and did not come count too, and p is a bound for such weights, which follow from text and
references alone. Every text stands after its own prompt alone (single turns) and needs its line along it; pairs of any prompt tested
together do not count. Whoever made a reference must not have known the key, and nothing here can show it. Choose this test or the plain one before you look.

Exit codes: 0 = some layer is detected over the whole input, 1 = none, 2 = an error or too many bad records.")]
pub(crate) struct Args {
    /// Files to test together; - is standard input
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// The deployment's profile
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with_all = ["raw", "prf_key_hex", "engine_key"])]
    profile: Option<PathBuf>,
    /// A key at or above the profile's path
    #[arg(long, value_name = "FILE", requires = "profile")]
    key: Option<PathBuf>,
    /// The account whose keys are tested, for layers with a key per account
    #[arg(long, value_name = "ID", requires = "profile")]
    account: Option<String>,
    /// tokenizer.json (special tokens are left out with a profile only); default: the one beside the profile, else the embedded one, if its digest matches
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// What the input holds
    #[arg(long, default_value_t, value_name = "auto|text|jsonl|tokens")]
    input_format: InputFormat,
    /// One more line per record and layer
    #[arg(long)]
    per_record: bool,
    /// Which stretches of each record are marked: overlapping windows, family-wise over all of them
    #[arg(long)]
    locate: bool,
    /// What an unmarked model says along the texts, or its answers to the same prompts; weighs pairs by what it does not expect (repeatable)
    #[arg(long = "reference", value_name = "FILE", conflicts_with_all = ["locate", "weights", "exclude", "engine"])]
    references: Vec<PathBuf>,
    /// How much a repeated pair counts: once, or by the square root of its count (a rigorous bound instead of the exact tail)
    #[arg(long, value_parser = one_of(Weights::COUNTED, Weights::as_str), default_value = "none")]
    weights: Weights,
    /// Whose prompts exclude a pair: the record's own, or any prompt of the run
    #[arg(long, value_enum, default_value = "record")]
    exclude: ExcludeArg,
    /// Fresh keys to score the same text under; below 999 they decide nothing, and with 0 a verdict rests on the tail alone
    #[arg(long, value_name = "N", default_value_t = RESAMPLING_KEYS)]
    resample: u32,
    /// Also show what the engine's own detector would report (never part of a verdict)
    #[arg(long, requires = "engine")]
    compare_peer: bool,
    /// Print JSON lines instead of a table
    #[arg(long)]
    json: bool,
    /// Family-wise level of a verdict
    #[arg(long, default_value_t = 1e-6)]
    alpha: f64,
    /// Records that may be unusable before the exit code is 2
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_bad_records: u64,
    #[command(flatten)]
    layer: LayerArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum ExcludeArg {
    Record,
    Run,
}

/// Records tokenised at a time.
const BATCH: usize = 256;

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        check_level(self.alpha).context("--alpha")?;
        Resampling::check_keys(self.resample).context("--resample")?;
        if self.inputs.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
            bail!("standard input (-) is named twice");
        }
        let ids_given = self.input_format == InputFormat::Tokens;
        let (layers, tokenizer, vocab_size) = match (&self.profile, &self.key) {
            (Some(profile_path), Some(key_path)) => {
                let file = read_profile(profile_path)?;
                let info = &file.profile.tokenizer;
                // A given tokenizer is checked even where ids make it unnecessary.
                let tokenizer = (!ids_given || self.tokenizer.is_some())
                    .then(|| Tokenizer::for_profile(self.tokenizer.as_deref(), profile_path, info))
                    .transpose()?;
                let detector =
                    Detector::new(&file.profile, &read_key(key_path, passphrases)?, self.account.as_deref())?;
                (detector.layers().to_vec(), tokenizer, Some(info.vocab_size))
            }
            _ => {
                let layer = self.layer.detector()?;
                let tokenizer = self.tokenizer.as_deref().map(Tokenizer::open).transpose()?;
                if tokenizer.is_none() && !ids_given {
                    bail!(
                        "text needs the tokenizer that the mark was made with: --tokenizer FILE, or --input-format tokens"
                    );
                }
                (vec![layer], tokenizer, self.layer.vocab_size())
            }
        };
        let options = Options {
            alpha: self.alpha,
            per_record: self.per_record,
            weights: self.weights,
            exclude: match self.exclude {
                ExcludeArg::Record => Exclude::Record,
                ExcludeArg::Run => Exclude::Run,
            },
            resample: self.resample,
            locate: self.locate,
            compare_peer: self.compare_peer && self.layer.is_engine(),
        };
        let vocabulary = Vocabulary { tokenizer: tokenizer.as_ref(), size: vocab_size };
        // A reference is JSONL, whatever the input is; its answers are taken in ids where the input's are.
        let input_format = if ids_given { InputFormat::Tokens } else { InputFormat::default() };
        let source = Source { vocabulary, input_format, complain: &complain };
        let read = |path: &PathBuf| Reference::read(path, Access::Answers, &source);
        let references = self.references.iter().map(read).collect::<Result<Vec<_>>>()?;
        let (report, bad, unread) = if references.is_empty() {
            let mut run = Detection::new(&layers, vocabulary, options);
            run.check()?;
            let (bad, unread) = self.read_all(&mut |batch| run.add(batch))?;
            (scored(run.fresh_keys(), |progress| run.report(progress))?, bad, unread)
        } else {
            let mut run = Beside::new(&layers, vocabulary, &references, options)?;
            let (bad, unread) = self.read_all(&mut |batch| Ok(run.add(batch)))?;
            let report = scored(run.fresh_keys(), |progress| run.report(progress))?;
            (report, bad + references.iter().map(|reference| reference.bad).sum::<u64>(), unread)
        };
        if self.json {
            for line in report.pooled.iter().chain(&report.per_record) {
                print_json(line)?;
            }
            for line in &report.spans {
                print_json(line)?;
            }
        } else if unread < self.inputs.len() as u64 || report.pooled.iter().any(|line| line.n_scored > 0) {
            self.print_tables(&report)?;
        } else {
            say("error: nothing could be read, so there is no result");
            return Ok(ExitCode::from(2));
        }
        if unread > 0 {
            say(&format!("error: inputs not read to their end: {unread}; the results are of the rest"));
            return Ok(ExitCode::from(2));
        }
        if bad > self.max_bad_records {
            say(&format!(
                "error: {bad} records could not be used (--max-bad-records {}); the results are of the others",
                self.max_bad_records
            ));
            return Ok(ExitCode::from(2));
        }
        Ok(claim(report.detected))
    }

    /// Reads every input; returns how many records could not be used and how many inputs not be read to their end.
    fn read_all(&self, add: &mut Add<'_>) -> Result<(u64, u64)> {
        let bar = progress("Reading records", 0);
        let (mut bad, mut unread, mut batch) = (0, 0, Vec::with_capacity(BATCH));
        for path in &self.inputs {
            let reader = match read::open(path, self.input_format, Limits::default()) {
                Ok(reader) => reader,
                Err(error) => {
                    unread += 1;
                    bar.suspend(|| complain(&error.into()));
                    continue;
                }
            };
            for record in reader {
                match record {
                    Ok(Ok(record)) => batch.push(record),
                    Ok(Err(error)) => {
                        bad += 1;
                        bar.suspend(|| complain(&error.into()));
                    }
                    Err(error) => {
                        unread += 1;
                        bar.suspend(|| complain(&error.into()));
                    }
                }
                if batch.len() == BATCH {
                    bad += bar.suspend(|| flush(add, &mut batch))?;
                    bar.inc(BATCH as u64);
                }
            }
        }
        bad += flush(add, &mut batch)?;
        bar.finish_and_clear();
        Ok((bad, unread))
    }

    fn print_tables(&self, report: &Report) -> Result<()> {
        let header = [
            "record",
            "layer",
            "scheme",
            "scored",
            "duplicate",
            "excluded",
            "short",
            "log10 p",
            "by fresh keys",
            "ln e",
            "verdict",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(report.pooled.iter().chain(&report.per_record).map(row));
        print(table(&rows, 3).trim_end())?;
        for line in &report.pooled {
            let name = line.layer.as_deref().unwrap_or(line.scheme);
            if let Some(effect) = &line.smallest_effect {
                let what = measured(effect.unit);
                let power = effect.power * 100.0;
                print(&format!("{name}: {what} {:.4} would have been detected with {power} % power.", effect.value))?;
            }
            if let Some(peer) = &line.peer {
                let p = peer.p_value.map_or_else(|| "none".to_owned(), |p| format!("{p:.3e}"));
                print(&format!(
                    "{name}, by its own detector over the whole input: n {}, statistic {:.4}, p {p} ({}). Not part of the verdict.",
                    peer.n, peer.statistic, peer.rule
                ))?;
            }
            if line.verdict == Verdict::Inconclusive && line.n_scored > 0 && line.references_agree {
                print(&format!(
                    "{name}: fresh keys do as well far more often than p says, so p is not to be trusted."
                ))?;
            }
        }
        if self.locate {
            print_spans(&report.spans)?;
        }
        let lean = report.pooled.iter().chain(&report.per_record).filter(|line| !line.references_agree).count();
        if lean > 0 {
            print(&format!(
                "In {lean} tests a reference leans away from the key, as one that was chosen with the key would, so they prove nothing."
            ))?;
        }
        let chance = if self.references.is_empty() { "chance" } else { "bound on the chance" };
        if !self.references.is_empty() {
            print_references(&report.pooled.iter().map(|line| line.references.as_slice()).collect::<Vec<_>>())?;
            print(
                "There are no controls here: what is found rests on whoever made the reference, who must not have known the key.",
            )?;
        }
        print(&format!(
            "\nVerdicts at family-wise level {:e} (Holm). p: {chance} of a score at least this high if the text is \
             independent of the key.\nA detection says that the text depends on the key. It does not say who copied it, \
             how, or why.\nThe input was taken as given: its collection is not independently witnessed.",
            self.alpha
        ))
    }
}

/// What `report` makes while a bar shows how many of the fresh keys are done.
fn scored(keys: u64, report: impl FnOnce(&(dyn Fn(u64) -> Result<()> + Sync)) -> Result<Report>) -> Result<Report> {
    let bar = progress("Scoring under fresh keys", keys);
    let report = report(&advance(&bar));
    bar.finish_and_clear();
    report
}

/// Takes a batch of records; says of each whether it could be used.
type Add<'a> = dyn FnMut(&[Record]) -> Result<Vec<Result<()>>> + 'a;

fn flush(add: &mut Add<'_>, batch: &mut Vec<Record>) -> Result<u64> {
    let mut bad = 0;
    for (record, result) in batch.iter().zip(add(batch)?) {
        if let Err(error) = result {
            bad += 1;
            complain(&error.context(record.location.to_string()));
        }
    }
    batch.clear();
    Ok(bad)
}

fn row(line: &LayerLine) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    vec![
        line.record.as_deref().map_or_else(|| "(all)".to_owned(), shown),
        line.layer.clone().unwrap_or_else(|| "-".to_owned()),
        line.scheme.to_owned(),
        line.n_scored.to_string(),
        line.n_duplicate.to_string(),
        line.n_excluded.to_string(),
        line.n_short_context.to_string(),
        format!("{:.2}", line.log10_p),
        number(line.log10_p_resampled),
        number(line.ln_e),
        line.verdict.as_str().to_owned(),
    ]
}

fn print_spans(spans: &[SpanLine]) -> Result<()> {
    if spans.is_empty() {
        return print("\nNo stretch of any record is significant after adjustment for all windows.");
    }
    let range = |(from, to): (usize, usize)| format!("{from}..{to}");
    let header = ["record", "layer", "tokens", "bytes", "tested window", "log10 p", "adjusted", "verdict"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(spans.iter().map(|span| {
        vec![
            shown(&span.record),
            span.layer.clone().unwrap_or_else(|| span.scheme.to_owned()),
            range(span.span.tokens),
            span.span.bytes.map_or_else(|| "-".to_owned(), range),
            range(span.window.tokens),
            format!("{:.2}", span.log10_p),
            format!("{:.2}", span.log10_p_adjusted),
            span.verdict.as_str().to_owned(),
        ]
    }));
    print("\nMarked stretches (estimated ends; p is that of the tested window):")?;
    print(table(&rows, 2).trim_end())
}
