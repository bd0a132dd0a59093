use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use watermark_core::mark::Sampling;
use watermark_lab::score::pair_scores;
use watermark_lab::shipped;
use watermark_toolkit::files::write_new;
use watermark_toolkit::read::{Limits, ServedRecord, print_scored, read_served};

use super::super::{print, progress};

/// Score both candidates of every position with a laboratory model
///
/// The scorer needs no key: it writes the model's log-probabilities of the two candidates, after the prompt and what was served before. It reads which
/// one was served, so a verdict rests on it; let a second party score again. For other models: python -m watermark_core.suspect --pairs.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark pairs score --model student.safetensors --out student.scores.jsonl served.jsonl
  watermark pairs score --model base --out base.scores.jsonl served.jsonl
  watermark pairs score --model teacher --law --temperature 0.8 --top-k 50 --out law.jsonl served.jsonl

Scores, one JSON object a request, in nats times 2^16:
  {\"request\": \"ledger/2026-11/17\", \"scores\": [[POSITION, ID, ID, SCORE, SCORE], …]}")]
pub(crate) struct Args {
    /// Served answers, as `watermark mark --ledger` writes them; several files follow each other in the ledger
    #[arg(required = true, value_name = "FILE")]
    served: Vec<PathBuf>,
    /// A model in the laboratory's safetensors format, or an embedded one: teacher, base
    #[arg(long, value_name = "FILE|teacher|base")]
    model: PathBuf,
    /// Write what the law says that the candidates were drawn from, in place of the model's own probabilities: for `pairs test --law`. The
    /// model is then the one that served, at these settings
    #[arg(long)]
    law: bool,
    /// Temperature of the law
    #[arg(long, default_value_t = 0.8, requires = "law")]
    temperature: f32,
    /// Tokens among which the law chooses
    #[arg(long, default_value_t = 50, value_name = "K", requires = "law")]
    top_k: usize,
    /// The law chooses among the fewest tokens that hold this probability
    #[arg(long, value_name = "P", requires = "law")]
    top_p: Option<f64>,
    /// The JSONL file to write; never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if self.out.exists() {
            bail!("{} exists and is not overwritten; choose another name", self.out.display());
        }
        let model = match self.model.to_str() {
            Some("teacher") => shipped::teacher()?,
            Some("base") => shipped::base()?,
            _ => super::super::mark::read_model(&self.model)?,
        };
        let mut records: Vec<ServedRecord> = Vec::new();
        for path in &self.served {
            for record in read_served(path, Limits::default())? {
                records.push(record??);
            }
        }
        let law = self.law.then_some(Sampling {
            temperature: self.temperature,
            top_k: Some(self.top_k),
            top_p: self.top_p,
            min_p: None,
        });
        let bar = progress("Scoring", records.len() as u64);
        let scored = records.par_iter().map(|record| {
            let ServedRecord { location, request, prompt_tokens, tokens, withheld, .. } = record;
            let scores = pair_scores(&model, prompt_tokens, tokens, withheld, law.as_ref())
                .with_context(|| location.to_string())?;
            bar.inc(1);
            Ok((scores.len(), print_scored(request, &scores)?))
        });
        let scored: Vec<(usize, Vec<u8>)> = scored.collect::<Result<_>>()?;
        bar.finish_and_clear();
        let lines: Vec<u8> = scored.iter().flat_map(|(_, line)| line).copied().collect();
        write_new(&self.out, &lines)?;
        let positions: usize = scored.iter().map(|(positions, _)| positions).sum();
        print(&format!(
            "Wrote scores of {positions} positions of {} requests to {}",
            scored.len(),
            self.out.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
