use super::NullLaw;
use crate::{Error, ErrorKind, Result};

/// Most layers a tournament can have: the bits of one word, two of them left over.
pub(crate) const MAX_DEPTH: u32 = 30;

/// Tournament sampling with two leaves (SynthID-Text, Nature 634, 2024) on our PRF: layer l's bit is `(word >> l) & 1`.
///
/// Each layer turns p into `p (1 + g - sum p g)`. Distortion-free per token. The expected bit of layer one is
/// `1/2 + (1 - sum p^2) / 4` (.625 for two equal tokens); later layers see a narrower distribution, so they carry less.
/// The weighted score counts layer l with weight [`Tournament::weight`], ten times as much at the top as at the bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tournament {
    depth: u32,
    weighted: bool,
}

impl Tournament {
    /// `depth` in 1..=30 layers, scored by the number of ones.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] outside it.
    pub fn new(depth: u32) -> Result<Self> {
        if !(1..=MAX_DEPTH).contains(&depth) {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("tournament depth is {depth}; it must be between 1 and {MAX_DEPTH}"),
            ));
        }
        Ok(Self { depth, weighted: false })
    }

    /// The same marking, scored by the weighted number of ones.
    #[must_use]
    pub fn weighted(self) -> Self {
        Self { weighted: true, ..self }
    }

    /// Number of layers.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// Whether the score is weighted.
    #[must_use]
    pub fn is_weighted(&self) -> bool {
        self.weighted
    }

    /// Weight of a layer's bit in the weighted score: from 10 down to 1 in equal steps, rounded to whole numbers, so that
    /// the score stays on a small lattice whose tail is exact.
    #[must_use]
    pub fn weight(&self, layer: u32) -> u32 {
        let steps = (self.depth - 1).max(1);
        10 - (18 * layer.min(steps) + steps) / (2 * steps)
    }

    /// The weights of all layers.
    #[must_use]
    pub fn weights(&self) -> Vec<u32> {
        (0..self.depth).map(|layer| self.weight(layer)).collect()
    }

    /// Marking half: changes `p` in place, layer after layer. Shapes: `p` (sums to 1) and `words` [n], aligned.
    pub(crate) fn reweight(&self, p: &mut [f64], words: &[u32]) {
        for layer in 0..self.depth {
            let bit = |word: u32| f64::from((word >> layer) & 1);
            let mean: f64 = p.iter().zip(words).map(|(p, &word)| p * bit(word)).sum();
            for (p, &word) in p.iter_mut().zip(words) {
                *p *= 1.0 + bit(word) - mean;
            }
        }
    }

    /// Scoring half: ones among the `depth` low bits, or their weights.
    #[must_use]
    pub fn score(&self, word: u32) -> u64 {
        if !self.weighted {
            return u64::from((word & ((1 << self.depth) - 1)).count_ones());
        }
        (0..self.depth).filter(|layer| (word >> layer) & 1 == 1).map(|layer| u64::from(self.weight(layer))).sum()
    }

    /// `depth` fair coins a pair.
    #[must_use]
    pub fn null_law(&self) -> NullLaw {
        if self.weighted { NullLaw::WeightedBits(*self) } else { NullLaw::Bits { gamma: 0.5, trials: self.depth } }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn weights_fall_from_ten_to_one() {
        let weights = |depth| Tournament::new(depth).unwrap().weights();
        assert_eq!(weights(1), [10]);
        assert_eq!(weights(2), [10, 1]);
        assert_eq!(weights(3), [10, 5, 1]); // 5.5
        assert_eq!(weights(10), [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
        let deepest = weights(30);
        assert_eq!((deepest[0], deepest[29], deepest.iter().sum::<u32>()), (10, 1, 165));
        assert!(deepest.is_sorted_by(|a, b| a >= b));
        let all_ones = Tournament::new(30).unwrap().weighted().score(u32::MAX);
        assert_eq!(all_ones, 165);
    }
}
