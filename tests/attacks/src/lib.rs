//! Attacks on marks and on evidence, measured in the laboratory: what each costs the attacker, and what is left.
//!
//! A *document* is five answers under one key, tested as one: about 300 scored pairs. The detector sees text, so whatever an
//! attacker writes is decoded and tokenised again.
#![allow(clippy::cast_sign_loss, reason = "shares are not negative")]

pub mod choosing;
pub mod edits;
pub mod forge;
pub mod framing;
pub mod list;
pub mod neutralise;
pub mod quoting;
pub mod repetition;
pub mod scrub;
pub mod separation;
mod writing;

use anyhow::Result;
use watermark_core::detect::LayerDetector;
use watermark_core::model_test::{ModelSample, Round};
use watermark_core::scheme::{Greenlist, Gumbel, Scheme};
use watermark_lab::answer::Answer;
use watermark_lab::fine_tune::FineTuning;
use watermark_radioactivity::lab::{Data, Lab, Mark, Start, Student};

/// Level at which a document counts as found: log10 of .001.
pub const LOG10_FOUND: f64 = -3.0;

/// Answers of one document.
pub const DOCUMENT: usize = 5;

/// Number of the prompts that harvested answers reply to; tested answers reply to others.
const HARVESTED: u64 = 40_000;
const TESTED: u64 = 41_000;

/// Answers that a student learns.
const LEARNED: usize = 1200;

/// One measured value.
#[derive(Clone, Debug)]
pub struct Measure {
    /// The attack.
    pub attack: &'static str,
    /// What the attacker has or does.
    pub setting: String,
    /// Number of keys and draws.
    pub seed: u64,
    /// What is measured, with its unit.
    pub measure: &'static str,
    /// The value.
    pub value: f64,
}

/// Measured values of one attack with one seed.
#[derive(Debug, Default)]
pub struct Measures(pub Vec<Measure>);

impl Measures {
    fn add(&mut self, attack: &'static str, setting: &str, seed: u64, values: &[(&'static str, f64)]) {
        for &(measure, value) in values {
            self.0.push(Measure { attack, setting: setting.to_owned(), seed, measure, value });
        }
    }

    /// The only value of this name; NaN if there is none, so that any comparison fails.
    #[must_use]
    pub fn get(&self, setting: &str, measure: &str) -> f64 {
        let mut found = self.0.iter().filter(|row| row.setting == setting && row.measure == measure);
        found.next().map_or(f64::NAN, |row| row.value)
    }
}

/// The demo's distillation layer, or the same scheme with a wider context.
///
/// # Errors
/// None for these parameters.
pub fn greenlist(width: usize, key: u64) -> Result<Mark> {
    Ok(Mark { scheme: Scheme::Greenlist(Greenlist::new(0.5, 2.0)?), width, key })
}

/// What an attacker has: `n` marked answers, and as many unmarked ones of the same model to other questions.
fn harvested(lab: &Lab, mark: &Mark, seed: u64, n: usize) -> Result<[Data; 2]> {
    // Unmarked answers are the same whatever the width.
    let unmarked = lab.teacher(&greenlist(1, seed)?, false, HARVESTED + 500 + seed, n)?;
    Ok([lab.teacher(mark, true, HARVESTED + seed, n)?, unmarked])
}

/// A student of marked answers, and what it learned.
fn marked_student(lab: &Lab, mark: &Mark, seed: u64) -> Result<(Student, Data)> {
    let learned = lab.teacher(mark, true, HARVESTED + seed, LEARNED)?;
    let student = lab.student(Start::Base, None, &learned, &FineTuning::with_seed(seed))?;
    Ok((student, learned))
}

/// The closed-model test of a suspect's answers.
fn student_values(lab: &Lab, mark: &Mark, answers: &[Answer]) -> Result<[(&'static str, f64); 3]> {
    let layer = lab.layer(mark)?;
    let texts = answers.iter().map(|answer| lab.tokenizer.encode(&answer.text)).collect::<Result<Vec<_>>>()?;
    let mut sample = ModelSample::of_answers(&layer);
    let round = Round {
        prompts: answers.iter().map(|answer| &answer.prompt_tokens[..]).collect(),
        answers: texts.iter().map(Vec::as_slice).collect(),
        choices: Vec::new(),
    };
    sample.add_round(&layer, &round)?;
    let finding = sample.test(&layer)?;
    Ok([
        ("log10 p, count weights", finding.log10_p),
        ("log10 p, distinct pairs", finding.log10_p_distinct),
        ("ln e", finding.ln_e),
    ])
}

/// The demo's provenance layer.
#[must_use]
pub fn gumbel(key: u64) -> Mark {
    Mark { scheme: Scheme::Gumbel(Gumbel), width: 4, key }
}

/// Documents under one key.
#[derive(Debug)]
struct Documents {
    /// log10 p of each.
    log10_p: Vec<f64>,
}

impl Documents {
    /// Tests `answers`, five at a time, each with its text tokenised anew.
    fn tested(lab: &Lab, layer: &LayerDetector, answers: &[Answer]) -> Result<Self> {
        let log10_p = answers.chunks_exact(DOCUMENT).map(|document| {
            let mut tally = layer.tally();
            for answer in document {
                layer.add(&mut tally, &answer.prompt_tokens, &lab.tokenizer.encode(&answer.text)?)?;
            }
            Ok(layer.finding(&tally)?.log10_p)
        });
        Ok(Self { log10_p: log10_p.collect::<Result<_>>()? })
    }

    /// Share of documents with p at most .001.
    fn found(&self) -> f64 {
        share(&self.log10_p, |&log10_p| log10_p <= LOG10_FOUND)
    }

    fn median(&self) -> f64 {
        median(&self.log10_p)
    }

    /// What every attack on documents reports.
    fn values(&self) -> [(&'static str, f64); 2] {
        [("documents with p <= .001", self.found()), ("median log10 p of a document", self.median())]
    }
}

fn share<T>(items: &[T], holds: impl Fn(&T) -> bool) -> f64 {
    items.iter().filter(|item| holds(item)).count() as f64 / items.len() as f64
}

/// The upper median; NaN of nothing.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
