use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use watermark_cli::detect::{Line, Report, Run};
use watermark_cli::files::{read_key, read_profile};
use watermark_cli::read::{self, InputFormat, Limits, Record};
use watermark_cli::tokenizer::Tokenizer;
use watermark_core::detect::{Detector, LayerDetector};
use watermark_core::key::PrfKey;
use watermark_core::scheme::{Greenlist, Gumbel, Scheme, Tournament};
use zeroize::Zeroizing;

use super::{claim, complain, print, print_json, progress, say, table};

/// Test texts or token ids for marks
///
/// The null hypothesis is that the text is independent of the key; p is exact for any such text. Every distinct
/// (context, token) pair counts once over the whole input; pairs of a record's own prompt do not count.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watermark detect --profile chat.profile.json --key master.key.json answers.jsonl
  watermark detect --profile P --key K --tokenizer tokenizer.json --per-record --json suspect.txt
  watermark detect --scheme gumbel --context-width 4 --prf-key-hex @key.hex --input-format tokens ids.jsonl

Records: plain text (one record), or JSONL with `text`, `prompt`/`completion` or `question`/`answer`;
with --input-format tokens {\"id\": …, \"tokens\": […], \"prompt_tokens\": […]}. Any of them may be gzipped.

Exit codes: 0 = some layer is detected over the whole input, 1 = none, 2 = an error or too many bad records.")]
pub(crate) struct Args {
    /// Files to test together; - is standard input
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// The deployment's profile
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with_all = ["scheme", "prf_key_hex"])]
    profile: Option<PathBuf>,
    /// A key at or above the profile's path
    #[arg(long, value_name = "FILE", requires = "profile")]
    key: Option<PathBuf>,
    /// The account whose keys are tested, for layers with a key per account
    #[arg(long, value_name = "ID", requires = "profile")]
    account: Option<String>,
    /// tokenizer.json; default: the one beside the profile, else the embedded one, if its digest matches
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Without a profile: the scheme
    #[arg(long, requires = "prf_key_hex", required_unless_present = "profile")]
    scheme: Option<SchemeName>,
    /// Without a profile: the PRF key as 64 hexadecimal digits, or @FILE
    #[arg(long, value_name = "HEX|@FILE", requires = "scheme")]
    prf_key_hex: Option<Zeroizing<String>>,
    /// Without a profile: context width in tokens
    #[arg(long, value_name = "N", requires = "scheme")]
    context_width: Option<usize>,
    /// greenlist: share of green tokens
    #[arg(long, requires = "scheme")]
    gamma: Option<f64>,
    /// tournament: number of layers
    #[arg(long, requires = "scheme")]
    depth: Option<u32>,
    /// What the input holds
    #[arg(long, default_value_t, value_name = "auto|text|jsonl|tokens")]
    input_format: InputFormat,
    /// One more line per record and layer
    #[arg(long)]
    per_record: bool,
    /// Print JSON lines instead of a table
    #[arg(long)]
    json: bool,
    /// Family-wise level of a verdict
    #[arg(long, default_value_t = 1e-6)]
    alpha: f64,
    /// Records that may be unusable before the exit code is 2
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_bad_records: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum SchemeName {
    Greenlist,
    Gumbel,
    Tournament,
}

/// Records tokenised at a time.
const BATCH: usize = 256;

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if !(self.alpha > 0.0 && self.alpha < 1.0) {
            bail!("--alpha is {}; it must be between 0 and 1", self.alpha);
        }
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
                let detector = Detector::new(&file.profile, &read_key(key_path)?, self.account.as_deref())?;
                (detector.layers().to_vec(), tokenizer, Some(info.vocab_size))
            }
            _ => {
                let tokenizer = self.tokenizer.as_deref().map(Tokenizer::open).transpose()?;
                if tokenizer.is_none() && !ids_given {
                    bail!(
                        "text needs the tokenizer that the mark was made with: --tokenizer FILE, or --input-format tokens"
                    );
                }
                (vec![self.raw_layer()?], tokenizer, None)
            }
        };
        let mut run = Run::new(&layers, tokenizer.as_ref(), vocab_size, self.per_record);
        let (bad, unread) = self.read_all(&mut run)?;
        let report = run.report(self.alpha)?;
        if self.json {
            for line in report.pooled.iter().chain(&report.per_record) {
                print_json(line)?;
            }
        } else {
            print_table(&report, self.alpha)?;
        }
        if unread > 0 {
            say(&format!("error: {unread} inputs could not be read to their end; the results are of the rest"));
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

    fn raw_layer(&self) -> Result<LayerDetector> {
        let (scheme, hex) = self
            .scheme
            .zip(self.prf_key_hex.as_ref())
            .context("give --profile and --key, or --scheme and --prf-key-hex")?;
        let width = self.context_width.context("--scheme needs --context-width")?;
        let unused =
            |name: &str, given: bool| if given { bail!("--{name} does not apply to this scheme") } else { Ok(()) };
        let scheme = match scheme {
            SchemeName::Greenlist => {
                unused("depth", self.depth.is_some())?;
                Scheme::Greenlist(Greenlist::new(self.gamma.context("greenlist needs --gamma")?, 0.0)?)
            }
            SchemeName::Gumbel => {
                unused("depth", self.depth.is_some())?;
                unused("gamma", self.gamma.is_some())?;
                Scheme::Gumbel(Gumbel)
            }
            SchemeName::Tournament => {
                unused("gamma", self.gamma.is_some())?;
                Scheme::Tournament(Tournament::new(self.depth.context("tournament needs --depth")?)?)
            }
        };
        let key = match hex.strip_prefix('@') {
            Some(path) => {
                let text =
                    Zeroizing::new(std::fs::read_to_string(path).with_context(|| format!("PRF key file {path}"))?);
                PrfKey::from_hex(text.trim())?
            }
            None => {
                say("warning: a key on the command line shows in the process list; prefer --prf-key-hex @FILE");
                PrfKey::from_hex(hex)?
            }
        };
        Ok(LayerDetector::from_prf_key(scheme, width, &key)?)
    }

    /// Reads every input; returns how many records could not be used and how many inputs not be read to their end.
    fn read_all(&self, run: &mut Run<'_>) -> Result<(u64, u64)> {
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
                    bad += bar.suspend(|| flush(run, &mut batch))?;
                    bar.inc(BATCH as u64);
                }
            }
        }
        bad += flush(run, &mut batch)?;
        bar.finish_and_clear();
        Ok((bad, unread))
    }
}

fn flush(run: &mut Run<'_>, batch: &mut Vec<Record>) -> Result<u64> {
    let mut bad = 0;
    for (record, result) in batch.iter().zip(run.add(batch)?) {
        if let Err(error) = result {
            bad += 1;
            complain(&error.context(record.location.to_string()));
        }
    }
    batch.clear();
    Ok(bad)
}

fn print_table(report: &Report, alpha: f64) -> Result<()> {
    let header =
        ["record", "layer", "scheme", "scored", "duplicate", "excluded", "short", "log10 p", "ln e", "verdict"];
    let row = |line: &Line| {
        vec![
            // Ids are somebody else's text: no control sequences to the terminal.
            line.record.as_deref().map_or_else(|| "(all)".to_owned(), |id| id.escape_debug().to_string()),
            line.layer.clone().unwrap_or_else(|| "-".to_owned()),
            line.scheme.to_owned(),
            line.n_scored.to_string(),
            line.n_duplicate.to_string(),
            line.n_excluded.to_string(),
            line.n_short_context.to_string(),
            format!("{:.2}", line.log10_p),
            line.ln_e.map_or_else(|| "-".to_owned(), |ln_e| format!("{ln_e:.2}")),
            line.verdict.to_owned(),
        ]
    };
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(report.pooled.iter().chain(&report.per_record).map(row));
    print(table(&rows, 3).trim_end())?;
    print(&format!(
        "\nVerdicts at family-wise level {alpha:e} (Holm). p: chance of a score at least this high if the text is \
         independent of the key.\nA detection says that the text depends on the key. It does not say who copied it, \
         how, or why."
    ))
}
