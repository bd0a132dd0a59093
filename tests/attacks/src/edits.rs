//! Edits at random, and a marked stretch copied into unmarked text.

use anyhow::{Context, Result};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use watermark_core::detect::LayerDetector;
use watermark_lab::answer::Answer;
use watermark_lab::shipped;
use watermark_radioactivity::lab::{Data, Lab, Mark};

use crate::scrub::{Replacement, rewritten};
use crate::{Documents, LOG10_FOUND, Measures, TESTED, greenlist, gumbel, share};

/// What happens to a token.
#[derive(Clone, Copy, Debug)]
enum Edit {
    /// Another token of the same answers stands in its place.
    Substituted,
    /// Another token stands there, drawn from a model that reads what is before it.
    Rewritten,
    /// It is gone.
    Deleted,
    /// Another token of the same answers stands before it.
    Inserted,
}

const EDITS: [(Edit, &str); 4] = [
    (Edit::Substituted, "substituted"),
    (Edit::Rewritten, "rewritten by a model"),
    (Edit::Deleted, "deleted"),
    (Edit::Inserted, "inserted"),
];

/// `data`'s answers with this share of their tokens edited, each independently.
fn edited(lab: &Lab, data: &Data, edit: Edit, rate: f64, seed: u64) -> Result<Vec<Answer>> {
    if matches!(edit, Edit::Rewritten) {
        return rewritten(lab, &shipped::base()?, data, seed, |_, _, _, draw| {
            (draw < rate).then_some(Replacement::Drawn)
        });
    }
    let all: Vec<u32> = data.answers.iter().flat_map(|answer| answer.tokens.clone()).collect();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let limit = (rate * 4_294_967_296.0) as u64;
    let answers = data.answers.iter().map(|answer| {
        let mut tokens = Vec::new();
        for &token in &answer.tokens {
            let other = all[rng.next_u32() as usize % all.len()];
            if u64::from(rng.next_u32()) >= limit {
                tokens.push(token);
                continue;
            }
            match edit {
                Edit::Deleted => (),
                Edit::Inserted => tokens.extend([other, token]),
                Edit::Substituted | Edit::Rewritten => tokens.push(other),
            }
        }
        let text = lab.tokenizer.decode(&tokens)?;
        Ok(Answer { prompt_tokens: answer.prompt_tokens.clone(), tokens, text, ..Answer::default() })
    });
    answers.collect()
}

/// Both of the demo's layers, each alone, at these rates; `tested` answers.
///
/// # Errors
/// If generating fails.
pub fn run(lab: &Lab, seed: u64, rates: &[f64], tested: usize) -> Result<Measures> {
    let mut measures = Measures::default();
    for (name, mark) in layers(seed)? {
        let layer = lab.layer(&mark)?;
        let genuine = lab.teacher(&mark, true, TESTED + seed, tested)?;
        let untouched = Documents::tested(lab, &layer, &genuine.answers)?;
        measures.add("edits", &format!("{name}, none"), seed, &untouched.values());
        for (edit, what) in EDITS {
            for &rate in rates {
                let answers = edited(lab, &genuine, edit, rate, seed)?;
                let documents = Documents::tested(lab, &layer, &answers)?;
                measures.add("edits", &format!("{name}, {:.0} % {what}", 100.0 * rate), seed, &documents.values());
            }
        }
    }
    Ok(measures)
}

/// One marked stretch of each length within unmarked tokens of `whole` tokens in all; as many texts as the answers give.
/// Each text is tested whole and by windows ([`LayerDetector::locate`]) at .001.
///
/// # Errors
/// If generating fails.
pub fn dilution(lab: &Lab, seed: u64, whole: usize, stretches: &[usize], texts: usize) -> Result<Measures> {
    let mut measures = Measures::default();
    for (name, mark) in layers(seed)? {
        let layer = lab.layer(&mark)?;
        // An answer has some 60 tokens; the texts get as many answers as they could need.
        let answers = |marked: bool, tokens: usize| -> Result<Vec<u32>> {
            let data = lab.teacher(&mark, marked, TESTED + 100 + seed, (tokens / 30).max(1))?;
            let tokens: Vec<u32> = data.answers.iter().flat_map(|answer| answer.tokens.clone()).collect();
            Ok(tokens)
        };
        let plain = answers(false, whole * texts)?;
        let longest = stretches.iter().copied().max().unwrap_or(0);
        let marked = answers(true, longest * texts)?;
        for &stretch in stretches {
            let found = (0..texts).map(|text| {
                let around =
                    plain.get(text * whole..(text + 1) * whole - stretch).context("too little unmarked text")?;
                let copied = marked.get(text * longest..text * longest + stretch).context("too little marked text")?;
                let middle = around.len() / 2;
                let tokens = [&around[..middle], copied, &around[middle..]].concat();
                let seen = lab.tokenizer.encode(&lab.tokenizer.decode(&tokens)?)?;
                both_ways(&layer, &seen)
            });
            let found = found.collect::<Result<Vec<_>>>()?;
            measures.add(
                "dilution",
                &format!("{name}, {stretch} of {whole} tokens marked"),
                seed,
                &[
                    ("texts with p <= .001, tested whole", share(&found, |(whole, _)| *whole)),
                    ("texts with a window found at .001", share(&found, |(_, windows)| *windows)),
                ],
            );
        }
    }
    Ok(measures)
}

fn both_ways(layer: &LayerDetector, tokens: &[u32]) -> Result<(bool, bool)> {
    let mut tally = layer.tally();
    layer.add(&mut tally, &[], tokens)?;
    let exclude = layer.pair_set();
    let windows = layer.count_windows(&exclude, &[], tokens)?;
    let spans = layer.locate(&exclude, &[], tokens, windows, 1e-3)?;
    Ok((layer.finding(&tally)?.log10_p <= LOG10_FOUND, !spans.is_empty()))
}

fn layers(seed: u64) -> Result<[(&'static str, Mark); 2]> {
    Ok([("green list, width 1", greenlist(1, seed)?), ("gumbel, width 4", gumbel(seed))])
}
