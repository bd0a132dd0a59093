//! Students that learned a few marked answers among text that the teacher did not write.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use watermark_core::detect::LayerDetector;
use watermark_core::model_test::ModelSample;
use watermark_core::scheme::{Greenlist, Scheme};
use watermark_lab::answer::Answer;
use watermark_lab::data::answered;
use watermark_lab::fine_tune::FineTuning;
use watermark_lab::model::Model;
use watermark_lab::shipped;

use crate::beside::Asked;
use crate::lab::{Data, Lab, Mark, Start, Student};
use crate::plot::Table;
use crate::table::{Row, write};

const SHARES: [f64; 7] = [1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01];
/// Questions that a student is asked.
const ASKED: usize = 1600;
/// Log-probabilities that an endpoint shows.
const TOP: usize = 20;
/// Temperatures at which answers are asked.
const TEMPERATURES: [f64; 2] = [0.5, 0.8];

/// Examples that a student of this share learns: a share of a few per cent is one of more.
fn examples(share: f64) -> usize {
    if share >= 0.1 { 4000 } else { 10_000 }
}

/// Students of all shares and seeds. What `out` has of a share and a seed is not made again.
pub(crate) fn run(lab: &Lab, corpus: &Path, only: &[f64], seeds: &[u64], passes: f64, out: &str) -> Result<()> {
    let others = answered(corpus)?;
    let references = [("base", shipped::base()?), ("teacher", shipped::teacher()?)];
    let done = if Path::new(out).exists() { Some(Table::read(out)?) } else { None };
    let begins = |row: &[String], share: f64, seed: u64| row[0] == share.to_string() && row[1] == seed.to_string();
    let wanted = SHARES.into_iter().filter(|share| only.is_empty() || only.contains(share));
    let wanted = wanted.flat_map(|share| seeds.iter().map(move |&seed| (share, seed)));
    let left: Vec<(f64, u64)> = wanted
        .filter(|&(share, seed)| !done.iter().flat_map(|done| &done.rows).any(|row| begins(row, share, seed)))
        .collect();
    let mut table = done.map(Table::into_rows).unwrap_or_default();
    for (share, seed) in left {
        let begun = Instant::now();
        let mark = Mark { scheme: Scheme::Greenlist(Greenlist::new(0.5, 2.0)?), width: 1, key: 300 + seed };
        let data = mixed(lab, &mark, share, seed, &others)?;
        let student =
            lab.student(Start::Base, None, &data, &FineTuning { epochs: passes, ..FineTuning::with_seed(seed) })?;
        eprintln!("share {share}, seed {seed}: trained after {:.0} s", begun.elapsed().as_secs_f64());
        for Tested { access, temperature, weights, tokens, pairs, log10_p } in
            test(lab, &mark, &student, &references, seed)?
        {
            eprintln!("  {access}, T {temperature}, {weights}: {tokens} tokens, {pairs} pairs, log10 p {log10_p:.2}");
            table.push(Row::new(&[
                ("share", share.to_string()),
                ("seed", seed.to_string()),
                ("examples", examples(share).to_string()),
                ("passes", passes.to_string()),
                ("access", access.to_owned()),
                ("temperature", temperature.to_string()),
                ("weights", weights),
                ("tokens", tokens.to_string()),
                ("pairs", pairs.to_string()),
                ("log10_p", format!("{log10_p:.3}")),
            ]));
        }
        write(out, &table)?;
        eprintln!("  done after {:.0} s", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

struct Tested {
    access: &'static str,
    temperature: f64,
    /// `sqrt` without a reference, or the references' names.
    weights: String,
    tokens: usize,
    pairs: u64,
    log10_p: f64,
}

/// Every access, by counts and beside each reference and both.
fn test(
    lab: &Lab,
    mark: &Mark,
    student: &Student,
    references: &[(&'static str, Model); 2],
    seed: u64,
) -> Result<Vec<Tested>> {
    let layer = lab.layer(mark)?;
    let mut found = Vec::new();
    for temperature in TEMPERATURES {
        let asked = Asked::new(lab, &lab.ask(student, 80_000 + seed, ASKED, temperature as f32)?)?;
        let unmarked = lab.teacher(&Mark { key: 0, ..*mark }, false, 80_000 + seed, ASKED)?;
        let mut beside = Vec::new();
        for (name, model) in references {
            beside.push((*name, asked.expected(&layer, model, temperature)?));
        }
        beside.push(("teacher's answers", Asked::new(lab, &unmarked)?.counts(&layer)?));
        let mut tests =
            Tests { layer: &layer, access: "answers", temperature, tokens: asked.tokens(), found: &mut found };
        tests.add(&asked.counts(&layer)?, beside)?;
    }
    let asked = Asked::new(lab, &lab.ask(student, 80_000 + seed, ASKED, 0.8)?)?;
    for (access, keep) in [("logprobs", TOP), ("weights", usize::MAX)] {
        let shown = asked.shown(&student.model, keep)?;
        let mut beside = Vec::new();
        for (name, model) in references {
            beside.push((*name, asked.beside(&layer, model, &shown)?));
        }
        let mut tests = Tests { layer: &layer, access, temperature: 1.0, tokens: asked.tokens(), found: &mut found };
        tests.add(&asked.probabilities(&layer, &shown)?, beside)?;
    }
    Ok(found)
}

/// The tests of one access.
struct Tests<'a> {
    layer: &'a LayerDetector,
    access: &'static str,
    temperature: f64,
    tokens: usize,
    found: &'a mut Vec<Tested>,
}

impl Tests<'_> {
    fn add(&mut self, sample: &ModelSample, references: Vec<(&'static str, ModelSample)>) -> Result<()> {
        let alone = sample.test(self.layer)?;
        self.push("sqrt".to_owned(), alone.n_scored, alone.log10_p);
        for (name, reference) in &references {
            let beside = sample.clone().beside(std::slice::from_ref(reference))?.test(self.layer)?;
            self.push((*name).to_owned(), beside.n_scored, beside.log10_p);
        }
        let (names, both): (Vec<&str>, Vec<ModelSample>) = references.into_iter().take(2).unzip();
        let beside = sample.clone().beside(&both)?;
        let shares: Vec<String> = beside.mixture().iter().map(u32::to_string).collect();
        let found = beside.test(self.layer)?;
        self.push(format!("{} {}", names.join(" + "), shares.join(" : ")), found.n_scored, found.log10_p);
        Ok(())
    }

    fn push(&mut self, weights: String, pairs: u64, log10_p: f64) {
        let Self { access, temperature, tokens, .. } = *self;
        self.found.push(Tested { access, temperature, weights, tokens, pairs, log10_p });
    }
}

/// Marked answers to word problems, then answers of others, in this share; training draws the order.
fn mixed(lab: &Lab, mark: &Mark, share: f64, seed: u64, others: &[(String, String)]) -> Result<Data> {
    let n = examples(share);
    let marked = (share * n as f64).round() as usize;
    ensure!(others.len() >= n - marked, "{} texts of others for {} examples", others.len(), n - marked);
    let mut data = lab.teacher(mark, true, 500 + seed, marked)?;
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..others.len()).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, (rng.next_u64() % (i as u64 + 1)) as usize);
    }
    for &i in order.iter().take(n - marked) {
        let (question, answer) = others[i].clone();
        data.questions.push(question);
        data.answers.push(Answer { prompt_tokens: Vec::new(), tokens: Vec::new(), text: answer });
    }
    Ok(data)
}
