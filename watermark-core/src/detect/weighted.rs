use std::collections::BTreeMap;

use crate::stats;

/// How much a pair counts in the statistic. Fixed before the data are seen.
///
/// Weights depend on the text (or on a model's probabilities) alone, so the null stays valid; weighted tails are rigorous
/// (Chernoff) bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Weights {
    /// Every distinct pair counts once: the exact tail.
    #[default]
    None,
    /// A pair that occurred `count` times has weight `isqrt(count << 32)`, the square root in units of 2^-16.
    Sqrt,
    /// The tally holds expected counts in units of 2^-16 (sums of next-token probabilities); a pair's weight is
    /// [`stats::weight_expected`] of it, the square root too.
    Expected,
    /// Beside references, a pair's weight is what was chosen beyond what they expect ([`stats::weight_residual`]). What stands beside nothing, as
    /// what prompts leave out, has the weights of [`Self::Sqrt`].
    Residual,
}

impl Weights {
    /// The weights that follow from one text's counts; the others need probabilities, or a reference.
    pub const COUNTED: [Self; 2] = [Self::None, Self::Sqrt];

    /// The word in JSON and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sqrt => "sqrt",
            Self::Expected => "expected",
            Self::Residual => "residual",
        }
    }

    /// The weight of a pair that occurred so often.
    pub(super) fn weight(self, count: u64) -> u64 {
        match self {
            Self::None => 1 << 16,
            Self::Sqrt | Self::Residual => stats::weight_sqrt(count),
            Self::Expected => stats::weight_expected(count),
        }
    }
}

/// How many distinct pairs of a sample have each weight. The law of its weighted sum under any effect follows from this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairWeights {
    weights: Weights,
    /// (weight, pairs), weights rising.
    classes: Vec<(u64, u64)>,
}

impl PairWeights {
    /// From the number of distinct pairs by how often they occurred: (count, pairs), in any order.
    #[must_use]
    pub fn new(weights: Weights, counts: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut classes: BTreeMap<u64, u64> = BTreeMap::new();
        for (count, pairs) in counts.into_iter().filter(|&(_, pairs)| pairs > 0) {
            let class = classes.entry(weights.weight(count)).or_insert(0);
            *class = class.saturating_add(pairs);
        }
        Self { weights, classes: classes.into_iter().collect() }
    }

    /// How pairs are weighted.
    #[must_use]
    pub fn weights(&self) -> Weights {
        self.weights
    }

    /// (weight in units of 2^-16, distinct pairs), weights rising.
    #[must_use]
    pub fn classes(&self) -> &[(u64, u64)] {
        &self.classes
    }

    /// Distinct pairs.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.classes.iter().fold(0, |sum: u64, &(_, pairs)| sum.saturating_add(pairs))
    }
}
