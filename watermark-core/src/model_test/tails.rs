use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::detect::{LayerDetector, Scores, Weights};
use crate::key::PrfKey;
use crate::profile::AnyScheme;
use crate::{Error, ErrorKind, Result};

/// The distinct pairs that occurred equally often. A test needs to know no more of them than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreClass {
    /// Occurrences of each pair.
    pub count: u64,
    /// Pairs.
    pub pairs: u64,
    /// Sum of their scores: green ones, or units of 2^-32.
    pub score: u128,
}

/// The numbers of a test that follow from its score classes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tails {
    /// Unweighted sum of scores.
    pub score: u128,
    /// Sum of weight times score.
    pub statistic: u128,
    /// Sum of the weights.
    pub weight: u128,
    /// log10 of the tail of `statistic`: exact without weights, else a rigorous bound.
    pub log10_p: f64,
    /// log10 of the exact tail of `score`.
    pub log10_p_distinct: f64,
    /// Natural logarithm of the e-value.
    pub ln_e: f64,
}

impl Tails {
    /// Computes the numbers of a test from stated score classes. No key is needed, because the classes hold the scores.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] if classes do not rise or their sums overflow, and as [`super::ModelSample::test`].
    pub fn of_classes(scheme: AnyScheme, classes: &[ScoreClass], weights: Weights) -> Result<Self> {
        Self::from_scores(&keyless(scheme)?, &scores_of(classes)?, weights)
    }

    /// log10 of a rigorous upper bound of the probability of a weighted statistic as small as that of the classes.
    ///
    /// # Errors
    /// As [`Self::of_classes`].
    pub fn low_of_classes(scheme: AnyScheme, classes: &[ScoreClass], weights: Weights) -> Result<f64> {
        keyless(scheme)?.weighted_low_tail(&scores_of(classes)?, weights)
    }

    pub(super) fn from_scores(layer: &LayerDetector, scores: &Scores, weights: Weights) -> Result<Self> {
        let log10_p_distinct = layer.log10_p(scores.sum, scores.draws)?;
        let plain = weights == Weights::None;
        let (statistic, log10_p) =
            if plain { (scores.sum, log10_p_distinct) } else { layer.weighted_tail(scores, weights)? };
        Ok(Self {
            score: scores.sum,
            statistic,
            weight: if plain { scores.draws.into() } else { layer.total_weight(scores, weights) },
            log10_p,
            log10_p_distinct,
            ln_e: if plain { layer.ln_e(scores, scores.draws)? } else { layer.weighted_ln_e(scores, weights)? },
        })
    }
}

/// The scores of stated classes.
fn scores_of(classes: &[ScoreClass]) -> Result<Scores> {
    let refused = |why: &str| Error::new(ErrorKind::InvalidParameter, format!("score classes: {why}"));
    if !classes.is_sorted_by(|a, b| a.count < b.count) {
        return Err(refused("their counts do not rise"));
    }
    let pairs = classes.iter().try_fold(0_u64, |sum, class| sum.checked_add(class.pairs));
    let sum = classes.iter().try_fold(0_u128, |sum, class| sum.checked_add(class.score));
    // A weight is below 2^48; scores of a test that anybody ran are far below 2^80.
    let (Some(draws), Some(sum)) = (pairs, sum.filter(|&sum| sum < 1 << 80)) else {
        return Err(refused("their sums are too large"));
    };
    let by_count: BTreeMap<u64, (u64, u128)> =
        classes.iter().map(|class| (class.count, (class.pairs, class.score))).collect();
    Ok(Scores { sum, draws, classes: by_count, layer_ones: Vec::new() })
}

/// A layer under a key of zeros, for computing what does not depend on the key.
fn keyless(scheme: AnyScheme) -> Result<LayerDetector> {
    LayerDetector::from_prf_key(scheme, 0, &PrfKey::from_bytes(Zeroizing::new([0; 32])))
}

pub(super) fn classes(scores: &Scores) -> Vec<ScoreClass> {
    scores.classes.iter().map(|(&count, &(pairs, score))| ScoreClass { count, pairs, score }).collect()
}
