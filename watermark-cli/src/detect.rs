//! Detection over records from files.

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde::Serialize;
use watermark_core::detect::{Finding, LayerDetector, Tally, Verdict, decide};

use crate::read::{Body, Record};
use crate::tokenizer::Tokenizer;

/// Counts records into one tally per layer, and into one per record and layer where asked.
pub struct Run<'a> {
    layers: &'a [LayerDetector],
    tokenizer: Option<&'a Tokenizer>,
    vocab_size: Option<u32>,
    per_record: bool,
    pooled: Vec<Tally>,
    records: Vec<(String, Vec<Finding>)>,
}

/// One line of output: a layer over the whole input, or over one record.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The record's id, or its file and line; null for the pooled line.
    pub record: Option<String>,
    /// The layer's name; null for a raw PRF key.
    pub layer: Option<String>,
    /// The scheme's name.
    pub scheme: &'static str,
    /// Distinct PRF inputs.
    pub n_scored: u64,
    /// Positions whose PRF input had occurred before.
    pub n_duplicate: u64,
    /// Special tokens and pairs of the record's own prompt.
    pub n_excluded: u64,
    /// Positions without a full context.
    pub n_short_context: u64,
    /// Green tokens, ones, or the score sum in units of 2^-32.
    pub statistic: String,
    /// log10 of the exact tail.
    pub log10_p: f64,
    /// Natural logarithm of the e-value.
    pub ln_e: Option<f64>,
    /// log10 p by fresh keys; null until key resampling is part of `detect`.
    pub log10_p_resampled: Option<f64>,
    /// After Holm's adjustment over the pooled lines, or over all per-record lines.
    pub verdict: &'static str,
}

/// Pooled and per-record lines.
#[derive(Clone, Debug)]
pub struct Report {
    /// One line per layer.
    pub pooled: Vec<Line>,
    /// One line per record and layer, empty unless asked for.
    pub per_record: Vec<Line>,
    /// Whether any layer is detected in the whole input.
    pub detected: bool,
}

impl<'a> Run<'a> {
    /// Starts with nothing counted. `tokenizer` is needed for text; ids at or above `vocab_size` are refused.
    #[must_use]
    pub fn new(
        layers: &'a [LayerDetector],
        tokenizer: Option<&'a Tokenizer>,
        vocab_size: Option<u32>,
        per_record: bool,
    ) -> Self {
        let pooled = layers.iter().map(LayerDetector::tally).collect();
        Self { layers, tokenizer, vocab_size, per_record, pooled, records: Vec::new() }
    }

    /// Adds a batch of records, tokenising in parallel. The order of records does not matter for the pooled lines.
    /// One result per record: an error is a record that could not be used, and it left nothing behind.
    ///
    /// # Errors
    /// If scoring fails, which no record can cause.
    pub fn add(&mut self, batch: &[Record]) -> Result<Vec<Result<()>>> {
        let tokenised: Vec<Result<(Vec<u32>, Vec<u32>)>> = batch.par_iter().map(|record| self.ids(record)).collect();
        let mut results = Vec::with_capacity(batch.len());
        for (record, ids) in batch.iter().zip(tokenised) {
            results.push(match ids {
                Ok((prompt, tokens)) => {
                    self.count(record, &prompt, &tokens)?;
                    Ok(())
                }
                Err(error) => Err(error),
            });
        }
        Ok(results)
    }

    fn ids(&self, record: &Record) -> Result<(Vec<u32>, Vec<u32>)> {
        let (prompt, tokens) = match &record.body {
            Body::Tokens { prompt_tokens, tokens } => (prompt_tokens.clone(), tokens.clone()),
            Body::Text { prompt, text } => {
                let tokenizer = self.tokenizer.context("text needs a tokenizer; give one with --tokenizer")?;
                (tokenizer.encode(prompt.as_deref().unwrap_or(""))?, tokenizer.encode(text)?)
            }
        };
        if let Some(vocab_size) = self.vocab_size {
            for (side, ids) in [("prompt_tokens", &prompt), ("tokens", &tokens)] {
                if let Some(at) = ids.iter().position(|&id| id >= vocab_size) {
                    bail!("{side}[{at}] is {}, not below the profile's vocab_size {vocab_size}", ids[at]);
                }
            }
        }
        Ok((prompt, tokens))
    }

    fn count(&mut self, record: &Record, prompt: &[u32], tokens: &[u32]) -> Result<()> {
        for (layer, tally) in self.layers.iter().zip(&mut self.pooled) {
            layer.add(tally, prompt, tokens)?;
        }
        if self.per_record {
            let findings = self.layers.iter().map(|layer| {
                let mut tally = layer.tally();
                layer.add(&mut tally, prompt, tokens)?;
                layer.finding(&tally)
            });
            let id = record.id.clone().unwrap_or_else(|| record.location.to_string());
            self.records.push((id, findings.collect::<Result<_, _>>()?));
        }
        Ok(())
    }

    /// Scores what was counted; `alpha` is the family-wise level of the pooled lines and, separately, of the
    /// per-record lines.
    ///
    /// # Errors
    /// If a statistic leaves the domain of the exact tails.
    pub fn report(self, alpha: f64) -> Result<Report> {
        let pooled = self.layers.iter().zip(&self.pooled).map(|(layer, tally)| Ok((None, layer.finding(tally)?)));
        let pooled: Vec<_> = pooled.collect::<Result<_>>()?;
        let per_record = self.records.into_iter().flat_map(|(id, findings)| {
            findings.into_iter().map(move |finding| (Some(id.clone()), finding)).collect::<Vec<_>>()
        });
        let (pooled, detected) = lines(pooled, alpha);
        let (per_record, _) = lines(per_record.collect(), alpha);
        Ok(Report { pooled, per_record, detected })
    }
}

fn lines(findings: Vec<(Option<String>, Finding)>, alpha: f64) -> (Vec<Line>, bool) {
    let tests: Vec<_> = findings.iter().map(|(_, finding)| (finding.n_scored, finding.log10_p)).collect();
    let verdicts = decide(&tests, alpha);
    let detected = verdicts.contains(&Verdict::Detected);
    let lines = findings.into_iter().zip(verdicts).map(|((record, finding), verdict)| Line {
        record,
        layer: finding.layer,
        scheme: finding.scheme,
        n_scored: finding.n_scored,
        n_duplicate: finding.n_duplicate,
        n_excluded: finding.n_excluded,
        n_short_context: finding.n_short_context,
        statistic: finding.statistic.to_string(),
        log10_p: finding.log10_p,
        ln_e: finding.ln_e,
        log10_p_resampled: None,
        verdict: verdict.as_str(),
    });
    (lines.collect(), detected)
}
