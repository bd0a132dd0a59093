//! A list stolen by counting (2402.19361): which token is more frequent after a context in marked text than in unmarked text.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use watermark_core::detect::LayerDetector;
use watermark_lab::answer::Answer;

/// Contexts are at most this wide here.
const WIDEST: usize = 4;
/// How many observations the general frequency of a token is worth, after a context.
const PRIOR: f64 = 4.0;
/// Log-ratios are cut here: more than the mark can have caused.
const LARGEST: f64 = 2.0;
/// A log-ratio beyond this is a guess.
const GUESS: f64 = 0.2;

type Context = [u32; WIDEST];

/// Tokens counted after contexts.
#[derive(Default)]
struct Counts {
    pairs: HashMap<(Context, u32), f64>,
    contexts: HashMap<Context, f64>,
    tokens: HashMap<u32, f64>,
    total: f64,
}

impl Counts {
    fn from_answers(width: usize, answers: &[Answer]) -> Self {
        let mut counts = Self::default();
        for answer in answers {
            for window in answer.tokens.windows(width + 1) {
                let (before, token) = (context(&window[..width]), window[width]);
                *counts.pairs.entry((before, token)).or_default() += 1.0;
                *counts.contexts.entry(before).or_default() += 1.0;
                *counts.tokens.entry(token).or_default() += 1.0;
                counts.total += 1.0;
            }
        }
        counts
    }
}

fn context(tokens: &[u32]) -> Context {
    let mut context = [u32::MAX; WIDEST];
    context[..tokens.len()].copy_from_slice(tokens);
    context
}

/// What an attacker believes of every (context, token).
pub struct StolenList {
    width: usize,
    log_ratios: HashMap<(Context, u32), f64>,
}

impl StolenList {
    /// Compares `marked` answers with `unmarked` ones of the same model. That is more than the attack of 2402.19361 needs: it
    /// takes another model's text for comparison.
    #[must_use]
    pub fn steal(width: usize, marked: &[Answer], unmarked: &[Answer]) -> Self {
        let [marked, unmarked] = [marked, unmarked].map(|answers| Counts::from_answers(width, answers));
        let seen: HashSet<&(Context, u32)> = marked.pairs.keys().chain(unmarked.pairs.keys()).collect();
        let log_ratios = seen.into_iter().map(|pair| {
            let count_in = |map: &HashMap<u32, f64>| map.get(&pair.1).copied().unwrap_or(0.0);
            let general = (count_in(&marked.tokens) + count_in(&unmarked.tokens)) / (marked.total + unmarked.total);
            let rate = |counts: &Counts| {
                let pairs = counts.pairs.get(pair).copied().unwrap_or(0.0);
                let contexts = counts.contexts.get(&pair.0).copied().unwrap_or(0.0);
                (pairs + PRIOR * general) / (contexts + PRIOR)
            };
            (*pair, (rate(&marked) / rate(&unmarked)).ln().clamp(-LARGEST, LARGEST))
        });
        Self { width, log_ratios: log_ratios.collect() }
    }

    /// How much likelier the mark makes `token` after `before`, as a logarithm; 0 where nothing was seen.
    #[must_use]
    pub fn log_ratio(&self, before: &[u32], token: u32) -> f64 {
        let Some(from) = before.len().checked_sub(self.width) else { return 0.0 };
        self.log_ratios.get(&(context(&before[from..]), token)).copied().unwrap_or(0.0)
    }

    /// Pairs that the list calls green, and the share of them that are.
    ///
    /// # Errors
    /// If a token is out of range.
    pub fn precision(&self, layer: &LayerDetector) -> Result<(u64, f64)> {
        let mut tally = layer.tally();
        for (&(before, token), _) in self.log_ratios.iter().filter(|(_, ratio)| **ratio > GUESS) {
            layer.add(&mut tally, &[], &[&before[..self.width], &[token]].concat())?;
        }
        let finding = layer.finding(&tally)?;
        Ok((finding.n_scored, finding.statistic as f64 / finding.n_scored as f64))
    }

    /// Whether the list calls a token green.
    #[must_use]
    pub fn is_green(&self, before: &[u32], token: u32) -> bool {
        self.log_ratio(before, token) > GUESS
    }
}
