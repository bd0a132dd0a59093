//! Choosing prompts with the key at hand: what a prompt shows is left out of all answers, so an accuser shows an innocent model what
//! speaks against the key. Beside it, honest keys and prompts that a public value draws.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use watermark_core::detect::{LayerDetector, Pair, Resampling, Verdict};
use watermark_core::evidence::prompts;
use watermark_core::key::fresh_keys;
use watermark_core::model_test::{Access, Audit, ModelFinding, ModelNumbers, ModelSample, ModelTest, Round, conclude};
use watermark_radioactivity::lab::Lab;

use crate::{Measures, TESTED, greenlist, median, share};

/// The accuser's level.
const ALPHA: f64 = 1e-6;

/// Sentences that are added between two looks at the result.
const AT_ONCE: usize = 10;

/// Tokens of a text that is copied, and the most such texts.
const COPY_TOKENS: usize = 60;
const MOST_COPIES: usize = 60;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Answers of the model that are tested.
    pub asked: usize,
    /// Prompts of the pool from which these are drawn.
    pub pool: usize,
    /// Keys with drawn prompts.
    pub honest: u32,
    /// Keys whose owner chooses what the prompts show.
    pub accusers: u32,
    /// Unmarked answers among whose sentences an accuser chooses.
    pub examples: usize,
}

/// An innocent model under honest keys and under accusers' keys.
///
/// # Errors
/// If generating fails.
pub fn run(lab: &Lab, seed: u64, size: Size) -> Result<Measures> {
    let mut measures = Measures::default();
    let mark = greenlist(1, seed)?;
    let layer = lab.layer(&mark)?;
    let innocent = lab.teacher(&mark, false, TESTED + 700 + seed, size.pool)?;
    let ids = |text: &str| lab.tokenizer.encode(text);
    let questions = innocent.questions.iter().map(|question| lab.prompt(question)).collect::<Result<Vec<_>>>()?;
    let answers = innocent.answers.iter().map(|answer| ids(&answer.text)).collect::<Result<Vec<_>>>()?;
    let places: HashMap<&String, usize> = innocent.questions.iter().zip(0..).collect();

    let mut honest = Vec::new();
    for (at, key) in (0_u64..).zip(fresh_keys(format!("honest {seed}").as_bytes(), size.honest)) {
        let value = Sha256::new().chain_update(b"draw").chain_update(seed.to_le_bytes()).chain_update(at.to_le_bytes());
        let drawn = prompts::draw(&value.finalize().into(), &innocent.questions, size.asked);
        let drawn = drawn.into_iter().map(|question| places.get(question).copied().context("of the pool"));
        let drawn = drawn.collect::<Result<Vec<_>>>()?;
        let (asked, answered): (Vec<_>, Vec<_>) =
            drawn.iter().map(|&at| (&questions[at][..], &answers[at][..])).unzip();
        honest.push(tested(&layer.with_prf_key(&key)?, asked, answered)?);
    }
    measures.add("choosing", "prompts drawn by a public value", seed, &honest_values(&honest));

    let texts = lab.teacher(&mark, false, TESTED + 800 + seed, size.examples)?.answers;
    let texts = texts.iter().flat_map(|answer| answer.text.split_inclusive(". ")).map(ids);
    let (texts, vocab_size) = (texts.collect::<Result<_>>()?, lab.tokenizer.info()?.vocab_size);
    let scene = Scene::new(&layer, &questions[..size.asked], &answers[..size.asked], texts, vocab_size)?;
    let keys: Vec<_> = fresh_keys(format!("accuser {seed}").as_bytes(), size.accusers).collect();
    let accused = keys.par_iter().map(|key| scene.accuse(&layer.with_prf_key(key)?));
    let accused = accused.collect::<Result<Vec<_>>>()?;
    type Of = fn(&Accused) -> &ModelFinding;
    let columns: [(&str, Of); 3] = [
        ("prompts as they come", |accused| &accused.plain),
        ("prompts show what speaks against the key", |accused| &accused.chosen),
        ("the same, and the model copies words that speak for it", |accused| &accused.balanced),
    ];
    for (setting, of) in columns {
        measures.add("choosing", setting, seed, &accuser_values(&layer, accused.iter().map(of)));
    }
    Ok(measures)
}

/// One accuser's tests of the same answers.
struct Accused {
    plain: ModelFinding,
    chosen: ModelFinding,
    balanced: ModelFinding,
}

/// What an accuser finds, whatever the key.
struct Scene<'a> {
    questions: Vec<&'a [u32]>,
    answers: Vec<&'a [u32]>,
    /// The pairs of the answers, and how often each occurs.
    pairs: Vec<(Pair, u64)>,
    sentences: Vec<Sentence>,
    vocab_size: u32,
}

/// An unmarked sentence that a prompt can show.
struct Sentence {
    tokens: Vec<u32>,
    /// Which pairs of the answers it would keep from being scored.
    hides: Vec<usize>,
}

impl<'a> Scene<'a> {
    fn new(
        layer: &LayerDetector,
        questions: &'a [Vec<u32>],
        answers: &'a [Vec<u32>],
        texts: Vec<Vec<u32>>,
        vocab_size: u32,
    ) -> Result<Self> {
        let [questions, answers] =
            [questions, answers].map(|texts| texts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let pairs = pairs(layer, &answers)?;
        let sentences = texts.into_iter().map(|tokens| {
            let own = self::pairs(layer, &[&tokens])?.into_iter();
            let hides = own.filter_map(|(pair, _)| pairs.binary_search_by_key(&pair, |&(pair, _)| pair).ok()).collect();
            Ok(Sentence { tokens, hides })
        });
        let sentences = sentences.collect::<Result<_>>()?;
        Ok(Self { questions, answers, pairs, sentences, vocab_size })
    }

    /// Shows sentence after sentence, that one first which leaves out what speaks most against the key, until the level is reached; then
    /// lets the model copy green texts until what is left out does not lean any more.
    fn accuse(&self, layer: &LayerDetector) -> Result<Accused> {
        let plain = tested(layer, self.questions.clone(), self.answers.clone())?;
        let weighted = self.pairs.iter().map(|(pair, count)| Ok((*count as f64).sqrt() * lean(layer, pair)?));
        let mut weighted: Vec<f64> = weighted.collect::<Result<_>>()?;
        let (mut shown, mut chosen) = (self.questions.clone(), plain);
        while chosen.log10_p > ALPHA.log10() {
            for _ in 0..AT_ONCE {
                let speaks = |sentence: &Sentence| sentence.hides.iter().map(|&at| weighted[at]).sum::<f64>();
                let best = self.sentences.iter().min_by(|a, b| speaks(a).total_cmp(&speaks(b))).context("sentences")?;
                best.hides.iter().for_each(|&at| weighted[at] = 0.0);
                shown.push(&best.tokens);
            }
            chosen = tested(layer, shown.clone(), self.answers.clone())?;
            if shown.len() > self.questions.len() + self.sentences.len() {
                break;
            }
        }

        let texts = self.green_texts(layer)?;
        let (mut copied, mut balanced) = (self.answers.clone(), chosen);
        for text in &texts {
            if balanced.audit.agrees() {
                break;
            }
            shown.push(text);
            copied.push(text);
            balanced = tested(layer, shown.clone(), copied.clone())?;
        }
        Ok(Accused { plain, chosen, balanced })
    }

    /// Texts to copy: each pair of tokens speaks for the key and stands in no answer.
    fn green_texts(&self, layer: &LayerDetector) -> Result<Vec<Vec<u32>>> {
        let fits = |before: u32, token: u32| -> Result<bool> {
            let pairs = pairs(layer, &[&[before, token]])?;
            let new = pairs.iter().all(|(pair, _)| self.pairs.binary_search_by_key(pair, |&(pair, _)| pair).is_err());
            Ok(new && pairs.len() == 1 && lean(layer, &pairs[0].0)? > 0.0)
        };
        let mut texts = Vec::new();
        for first in (0..self.vocab_size).rev().take(MOST_COPIES) {
            let mut text = vec![first];
            while text.len() < COPY_TOKENS {
                let before = text[text.len() - 1];
                // Where to begin to look differs, so that pairs do.
                let begin = 31 * before + 7 * first;
                let mut next = (0..self.vocab_size).map(|step| (begin + step) % self.vocab_size);
                let next = next.find_map(|token| fits(before, token).map(|fits| fits.then_some(token)).transpose());
                text.push(next.context("a green token")??);
            }
            texts.push(text);
        }
        Ok(texts)
    }
}

fn tested(layer: &LayerDetector, prompts: Vec<&[u32]>, answers: Vec<&[u32]>) -> Result<ModelFinding> {
    let mut sample = ModelSample::of_answers(layer);
    sample.add_round(layer, &Round { prompts, answers, choices: Vec::new() })?;
    Ok(sample.test(layer)?)
}

/// The pairs of texts in their order, with their counts.
fn pairs(layer: &LayerDetector, texts: &[&[u32]]) -> Result<Vec<(Pair, u64)>> {
    let mut tally = layer.tally();
    for text in texts {
        layer.add(&mut tally, &[], text)?;
    }
    let mut pairs: Vec<(Pair, u64)> = tally.pairs().map(|(&pair, count)| (pair, count)).collect();
    pairs.sort_unstable();
    Ok(pairs)
}

/// How far a pair's score lies above its mean.
fn lean(layer: &LayerDetector, pair: &Pair) -> Result<f64> {
    Ok(if layer.sums(&layer.prepare(vec![*pair]))?.sum == 0 { -0.5 } else { 0.5 })
}

/// The verdict of a test without controls; with an audit that never objects, it is the one before there was an audit.
#[must_use]
pub fn verdict(layer: &LayerDetector, suspect: ModelNumbers, alpha: f64) -> Verdict {
    let (scheme, resampling) = (layer.scheme(), Resampling::default());
    let test = ModelTest { scheme, access: Access::Answers, suspect, pair_weights: None, controls: vec![], resampling };
    conclude(&[test], alpha).remove(0).verdict
}

fn accuser_values<'a>(
    layer: &LayerDetector,
    findings: impl Iterator<Item = &'a ModelFinding>,
) -> Vec<(&'static str, f64)> {
    let numbers: Vec<ModelNumbers> = findings.map(|finding| finding.numbers(false)).collect();
    let unaudited = |one: &&ModelNumbers| {
        verdict(layer, ModelNumbers { audit: Audit::default(), ..**one }, ALPHA) == Verdict::Detected
    };
    let reached: Vec<ModelNumbers> = numbers.iter().filter(unaudited).copied().collect();
    let log10_p: Vec<f64> = numbers.iter().map(|numbers| numbers.log10_p).collect();
    let mut values = vec![
        ("median log10 p", median(&log10_p)),
        ("detected without the audit", reached.len() as f64 / numbers.len() as f64),
    ];
    if !reached.is_empty() {
        values.push((
            "of which inconclusive by it",
            share(&reached, |one| verdict(layer, *one, ALPHA) == Verdict::Inconclusive),
        ));
        values.push((
            "of which detected all the same",
            share(&reached, |one| verdict(layer, *one, ALPHA) == Verdict::Detected),
        ));
    }
    values
}

fn honest_values(findings: &[ModelFinding]) -> [(&'static str, f64); 6] {
    let mut exact: Vec<f64> = findings.iter().map(|finding| 10_f64.powf(finding.log10_p_distinct)).collect();
    exact.sort_by(f64::total_cmp);
    let n = exact.len() as f64;
    // How far the distribution function of p lies above and below that of the uniform law.
    let above = exact.iter().zip(1..).map(|(p, at)| f64::from(at) / n - p).fold(0.0, f64::max);
    let below = exact.iter().zip(0..).map(|(p, at)| p - f64::from(at) / n).fold(0.0, f64::max);
    [
        ("exact p above the uniform law", above),
        ("exact p below it", below),
        ("exact p <= .01", share(findings, |finding| finding.log10_p_distinct <= -2.0)),
        ("weighted bound <= .01", share(findings, |finding| finding.log10_p <= -2.0)),
        ("e >= 100", share(findings, |finding| finding.ln_e >= 100_f64.ln())),
        ("inconclusive by the audit", share(findings, |finding| !finding.audit.agrees())),
    ]
}
