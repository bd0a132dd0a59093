use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use watermark_toolkit::calibrate::{Cell, Corpus, Test, calibrate, quantiles_svg};
use watermark_toolkit::files::write_new;
use watermark_toolkit::read::{self, Body, InputFormat, Limits};
use watermark_toolkit::tokenizer::Tokenizer;

use super::{claim, complain, print, print_json, progress, say, shown, table};

/// False-positive rates on your own unmarked text, with fresh keys
///
/// A trial is one fresh key and one text of 300 tokens: no key serves two trials, texts may recur. Under the null hypothesis
/// (the text is independent of the key, which it is) a test may reject at most 1 % of the trials at 1e-2, and so on.
/// Each file is one corpus. A cell is broken if so many rejections have a chance below 1e-3 over all cells together.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watermark calibrate --tokenizer tokenizer.json unmarked.jsonl code.txt
  watermark calibrate --tokenizer T --keys 100000 --seed 20261123 --plot quantiles.svg --json *.jsonl.gz > table.jsonl
  watermark calibrate --tokenizer T --test gumbel --test vllm unmarked.jsonl

With --json, one line per test and corpus: test, corpus, trials, texts, rejected, rate_bounds (one-sided 99.9 %
Clopper-Pearson), log10_chance, broken, quantiles.

Exit codes: 0 = every cell is calibrated, 1 = some is broken, 2 = an error or too many bad records.")]
pub(crate) struct Args {
    /// Unmarked text, one corpus a file
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// tokenizer.json; without it, the tokenizer of the embedded models
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Trials per corpus and test
    #[arg(long, default_value_t = 2000, value_name = "N")]
    keys: u32,
    /// Seed of the fresh keys
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Only tests whose name contains this (repeatable); also the way to run those on torch's generator, which are slow
    #[arg(long = "test", value_name = "NAME")]
    tests: Vec<String>,
    /// Tokens of a text
    #[arg(long, default_value_t = 300, value_name = "N")]
    tokens: usize,
    /// What the input holds
    #[arg(long, default_value_t, value_name = "auto|text|jsonl|tokens")]
    input_format: InputFormat,
    /// Write the quantiles of p as an SVG; never overwrites
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print JSON lines instead of a table
    #[arg(long)]
    json: bool,
    /// Records that may be unusable before the exit code is 2
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_bad_records: u64,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if self.keys == 0 || self.tokens < 2 {
            bail!("--keys must be at least 1 and --tokens at least 2");
        }
        if let Some(plot) = self.plot.as_deref().filter(|plot| plot.exists()) {
            bail!("{} exists and is not overwritten; choose another name", plot.display());
        }
        let tokenizer = self.tokenizer.as_deref().map_or_else(Tokenizer::embedded, Tokenizer::open)?;
        let tests = self.tests(tokenizer.info()?.vocab_size)?;
        let mut bad = 0;
        let mut corpora: Vec<Corpus> = Vec::new();
        for path in &self.inputs {
            let (corpus, unusable) = self.corpus(path, &tokenizer)?;
            if corpora.iter().any(|other| other.name() == corpus.name()) {
                bail!("two files are named {}; a corpus is known by its file name", corpus.name());
            }
            bad += unusable;
            corpora.push(corpus);
        }
        let cells = tests.len() * corpora.len();
        let bar = progress("Calibrating", cells as u64);
        let mut table = Vec::with_capacity(cells);
        for corpus in &corpora {
            for test in &tests {
                bar.set_message(format!("{}: {}", corpus.name(), test.name));
                let cell = calibrate(test, corpus, self.keys, self.seed, cells)?;
                if self.json {
                    bar.suspend(|| print_json(&cell))?;
                }
                bar.inc(1);
                table.push(cell);
            }
        }
        bar.finish_and_clear();
        if let Some(plot) = &self.plot {
            write_new(plot, quantiles_svg(&table).as_bytes())?;
        }
        if !self.json {
            print_cells(&table)?;
        }
        let broken: Vec<&Cell> = table.iter().filter(|cell| cell.broken).collect();
        for cell in &broken {
            say(&format!(
                "warning: {} breaks {}: {} of {} trials at 1e-2, {} at 1e-3, {} at 1e-4. Do not use this test on such text.",
                cell.corpus,
                cell.test,
                cell.rejected.percent,
                cell.trials,
                cell.rejected.per_mille,
                cell.rejected.per_myriad
            ));
        }
        if bad > self.max_bad_records {
            say(&format!("error: {bad} records could not be used (--max-bad-records {})", self.max_bad_records));
            return Ok(ExitCode::from(2));
        }
        Ok(claim(broken.is_empty()))
    }

    fn tests(&self, vocab_size: u32) -> Result<Vec<Test>> {
        let all = Test::all(vocab_size)?;
        let known: Vec<String> = all.iter().map(|test| test.name.clone()).collect();
        if let Some(name) = self.tests.iter().find(|name| !known.iter().any(|known| known.contains(name.as_str()))) {
            bail!("no test is named like {name:?}; there are: {}", known.join("; "));
        }
        let wanted = |test: &Test| {
            if self.tests.is_empty() {
                !test.slow
            } else {
                self.tests.iter().any(|name| test.name.contains(name.as_str()))
            }
        };
        Ok(all.into_iter().filter(wanted).collect())
    }

    fn corpus(&self, path: &Path, tokenizer: &Tokenizer) -> Result<(Corpus, u64)> {
        let mut bad = 0;
        let mut records = Vec::new();
        for record in read::open(path, self.input_format, Limits::default())? {
            match record? {
                Ok(record) => records.push(record),
                Err(error) => {
                    bad += 1;
                    complain(&error.into());
                }
            }
        }
        let ids = records.par_iter().map(|record| match &record.body {
            Body::Tokens { tokens, .. } => Ok(tokens.clone()),
            Body::Text { text, .. } => tokenizer.encode(text).with_context(|| record.location.to_string()),
        });
        let ids = ids.collect::<Result<Vec<Vec<u32>>>>()?.concat();
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        Ok((Corpus::new(&name, &ids, self.tokens)?, bad))
    }
}

fn print_cells(cells: &[Cell]) -> Result<()> {
    let header = ["corpus", "test", "trials", "texts", "at 1e-2", "at 1e-3", "at 1e-4", "bounds at 1e-2", ""];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let percent = |rejected: u64, trials: u64| format!("{:.3} %", 100.0 * rejected as f64 / trials as f64);
    rows.extend(cells.iter().map(|cell| {
        let (low, high) = cell.rate_bounds.percent;
        vec![
            shown(&cell.corpus),
            cell.test.clone(),
            cell.trials.to_string(),
            cell.texts.to_string(),
            percent(cell.rejected.percent, cell.trials),
            percent(cell.rejected.per_mille, cell.trials),
            percent(cell.rejected.per_myriad, cell.trials),
            format!("{:.2} to {:.2} %", 100.0 * low, 100.0 * high),
            if cell.broken { "BROKEN" } else { "ok" }.to_owned(),
        ]
    }));
    print(table(&rows, 2).trim_end())?;
    print(
        "\nShare of trials with p at most the level. A calibrated test stays at or below it; bounds (Chernoff, e-values) stay \
         far below.\nA broken cell exceeds it by more than chance allows over all cells.",
    )
}
