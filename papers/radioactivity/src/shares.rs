//! Students that learned a few marked answers among text that the teacher did not write.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use watermark_core::detect::LayerDetector;
use watermark_core::model_test::{ModelSample, log10_p_anytime};
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

pub(crate) const SHARES: [f64; 7] = [1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01];
/// Questions that a student is asked.
pub(crate) const ASKED: usize = 1600;
/// Served answers that it reads.
const READ: usize = 400;
/// Log-probabilities that an endpoint shows.
pub(crate) const TOP: usize = 20;
/// Temperatures at which answers are asked.
const TEMPERATURES: [f64; 2] = [0.5, 0.8];

/// Examples that a student of this share learns: a share of a few per cent is one of more.
fn examples(share: f64) -> usize {
    if share >= 0.1 { 4000 } else { 10_000 }
}

/// A student of so many passes over the examples of this share, with its mark and what it learned, marked answers first.
pub(crate) fn student(
    lab: &Lab,
    share: f64,
    seed: u64,
    passes: f64,
    others: &[(String, String)],
) -> Result<(Student, Mark, Data)> {
    let mark = Mark { scheme: Scheme::Greenlist(Greenlist::new(0.5, 2.0)?), width: 1, key: 300 + seed };
    let data = mixed(lab, &mark, share, seed, others)?;
    let tuning = FineTuning { epochs: passes, ..FineTuning::with_seed(seed) };
    Ok((lab.student(Start::Base, None, &data, &tuning)?, mark, data))
}

/// Seed of the questions that the students of a seed are asked.
pub(crate) fn questions(seed: u64) -> u64 {
    80_000 + seed
}

/// The unmarked teacher's answers to them.
pub(crate) fn unmarked(lab: &Lab, mark: &Mark, seed: u64) -> Result<Asked> {
    Asked::new(lab, &lab.teacher(&Mark { key: 0, ..*mark }, false, questions(seed), ASKED)?)
}

/// Kinds of access, in the order of the table.
const ACCESS: [&str; 5] = ["answers", "logprobs", "weights", "texts", "reading"];

/// Which students are made, or taken from the cache.
#[derive(clap::Args)]
pub(crate) struct Students {
    /// The corpora of text that the teacher did not write
    #[arg(long, default_value = "../shared/corpus")]
    pub(crate) corpus: PathBuf,
    /// Make only these shares of marked answers
    #[arg(long)]
    pub(crate) share: Vec<f64>,
    /// Seeds of keys and training
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    pub(crate) seeds: Vec<u64>,
    /// Passes over the data
    #[arg(long, default_value_t = 3.0)]
    pub(crate) passes: f64,
}

/// Students of all shares and seeds. What `out` has of a share, a seed and a kind of access is not made again.
pub(crate) fn run(lab: &Lab, students: &Students, out: &str) -> Result<()> {
    let Students { corpus, share: only, seeds, passes } = students;
    let others = answered(corpus)?;
    let references = [("base", shipped::base()?), ("teacher", shipped::teacher()?)];
    let mut table = if Path::new(out).exists() { Table::read(out)?.into_rows() } else { Vec::new() };
    let wanted = SHARES.into_iter().filter(|share| only.is_empty() || only.contains(share));
    let wanted = wanted.flat_map(|share| seeds.iter().map(move |&seed| (share, seed)));
    for (share, seed) in wanted {
        let has = |access: &str| {
            let known = [("share", share.to_string()), ("seed", seed.to_string()), ("access", access.to_owned())];
            table.iter().any(|row: &Row| known.iter().all(|(name, value)| row.get(name) == Some(value.as_str())))
        };
        let missing: Vec<&str> = ACCESS.into_iter().filter(|access| !has(access)).collect();
        if missing.is_empty() {
            continue;
        }
        let begun = Instant::now();
        let (student, mark, data) = student(lab, share, seed, *passes, &others)?;
        let subject = Subject { lab, mark: &mark, student: &student, data: &data, references: &references, seed };
        eprintln!("share {share}, seed {seed}: trained after {:.0} s", begun.elapsed().as_secs_f64());
        for Tested { access, temperature, weights, tokens, pairs, log10_p } in subject.test(&missing)? {
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

/// What a student is tested with.
struct Subject<'a> {
    lab: &'a Lab,
    mark: &'a Mark,
    student: &'a Student,
    /// What it learned, marked answers first.
    data: &'a Data,
    references: &'a [(&'static str, Model); 2],
    seed: u64,
}

impl Subject<'_> {
    /// Some kinds of access, by counts and beside each reference and both.
    fn test(&self, kinds: &[&'static str]) -> Result<Vec<Tested>> {
        let layer = self.lab.layer(self.mark)?;
        let mut found = Vec::new();
        let unmarked = || unmarked(self.lab, self.mark, self.seed);
        let asked = |temperature: f64| {
            Asked::new(self.lab, &self.lab.ask(self.student, questions(self.seed), ASKED, temperature as f32)?)
        };
        for &access in kinds {
            match access {
                "answers" => {
                    for temperature in TEMPERATURES {
                        let asked = asked(temperature)?;
                        let mut beside = Vec::new();
                        for (name, model) in self.references {
                            beside.push((*name, asked.expected(&layer, model, temperature)?));
                        }
                        beside.push(("teacher's answers", unmarked()?.counts(&layer)?));
                        let mut tests =
                            Tests { layer: &layer, access, temperature, tokens: asked.tokens(), found: &mut found };
                        tests.add(&asked.counts(&layer)?, beside)?;
                    }
                }
                "reading" => self.reading(&layer, &mut found)?,
                _ => {
                    let (texts, keep) = match access {
                        "texts" => (unmarked()?, usize::MAX),
                        "logprobs" => (asked(0.8)?, TOP),
                        _ => (asked(0.8)?, usize::MAX),
                    };
                    let shown = texts.shown(&self.student.model, keep)?;
                    let mut beside = Vec::new();
                    for (name, model) in self.references {
                        beside.push((*name, texts.beside(&layer, model, &shown)?));
                    }
                    let tokens = texts.tokens();
                    let mut tests = Tests { layer: &layer, access, temperature: 1.0, tokens, found: &mut found };
                    tests.add(&texts.probabilities(&layer, &shown)?, beside)?;
                }
            }
        }
        Ok(found)
    }

    /// What the student would choose in answers that it learned: the e-value decides, because the key had a part in those texts.
    fn reading(&self, layer: &LayerDetector, found: &mut Vec<Tested>) -> Result<()> {
        let learned = self.data.answers.iter().take_while(|answer| !answer.tokens.is_empty()).count();
        let texts = Asked::new(self.lab, &self.data.slice(0, learned.min(READ)))?;
        let student = texts.read(layer, &self.student.model)?;
        let mut push = |weights: &str, n_scored: u64, ln_e: f64| {
            let (tokens, log10_p, weights) = (texts.tokens(), log10_p_anytime(ln_e), weights.to_owned());
            found.push(Tested { access: "reading", temperature: 1.0, weights, tokens, pairs: n_scored, log10_p });
        };
        let alone = student.test(layer)?;
        push("sqrt", alone.n_scored, alone.ln_e);
        for (name, model) in self.references {
            let beside = student.clone().beside(&[texts.read(layer, model)?])?.test(layer)?;
            push(name, beside.n_scored, beside.ln_e);
        }
        Ok(())
    }
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
    among(others, lab.teacher(mark, true, 500 + seed, marked)?, n, seed)
}

/// Answers of a teacher, then answers of others that `seed` draws, `n` in all.
pub(crate) fn among(others: &[(String, String)], mut data: Data, n: usize, seed: u64) -> Result<Data> {
    let more = others_after(others, 0, n - data.questions.len(), seed)?;
    data.questions.extend(more.questions);
    data.answers.extend(more.answers);
    Ok(data)
}

/// `n` answers of others in the order that `seed` draws, after `skipped`.
pub(crate) fn others_after(others: &[(String, String)], skipped: usize, n: usize, seed: u64) -> Result<Data> {
    ensure!(others.len() >= skipped + n, "{} texts of others where {} are needed", others.len(), skipped + n);
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..others.len()).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, (rng.next_u64() % (i as u64 + 1)) as usize);
    }
    let mut data = Data::default();
    for &i in &order[skipped..skipped + n] {
        let (question, answer) = others[i].clone();
        data.questions.push(question);
        data.answers.push(Answer { text: answer, ..Answer::default() });
    }
    Ok(data)
}
