use super::{Domain, Entry, Example, Given, Kind, NullLaw, Parameter, Parameters, Position, Spec, Value};
use crate::Result;

/// Most layers a tournament can have, ours or an engine's: the bits of one word, two of them left over.
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
    /// [`crate::ErrorKind::InvalidParameter`] outside it.
    pub fn new(depth: u32) -> Result<Self> {
        Self::SPEC.check("depth", depth)?;
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

    /// Scoring half: ones among the `depth` low bits, or their weights.
    #[must_use]
    pub fn score(&self, word: u32) -> u64 {
        if !self.weighted {
            return u64::from((word & ((1 << self.depth) - 1)).count_ones());
        }
        (0..self.depth).filter(|layer| (word >> layer) & 1 == 1).map(|layer| u64::from(self.weight(layer))).sum()
    }
}

impl Entry for Tournament {
    const SPEC: Spec = Spec {
        name: "tournament",
        source: "SynthID-Text, Dathathri et al., Nature 634 (2024)",
        summary: "Lets tokens meet in a tournament of keyed bits, layer after layer.",
        kind: Kind::Reweighting,
        distortion_free: true,
        parameters: &[
            Parameter::new("depth", "number of layers", Domain::Whole { low: 1, high: MAX_DEPTH })
                .usual(Value::Whole(30)),
            Parameter::new("weighted", "count upper layers up to ten times as much", Domain::Flag)
                .or(Value::Flag(false)),
        ],
        examples: &[
            Example { width: 4, parameters: &[("depth", Value::Whole(30))] },
            Example { width: 4, parameters: &[("depth", Value::Whole(30)), ("weighted", Value::Flag(true))] },
        ],
    };

    fn build(given: &Given<'_>) -> Result<Self> {
        let scheme = Self::new(given.whole("depth")?)?;
        Ok(if given.flag("weighted")? { scheme.weighted() } else { scheme })
    }

    fn parameters(&self) -> Parameters {
        let given = Parameters::new().with("depth", self.depth);
        if self.weighted { given.with("weighted", true) } else { given }
    }

    fn reweight(&self, position: &mut Position<'_>) {
        position.change_probabilities(|p, words, _| {
            for layer in 0..self.depth {
                let bit = |word: u32| f64::from((word >> layer) & 1);
                let mean: f64 = p.iter().zip(words).map(|(p, &word)| *p * bit(word)).sum();
                for (p, &word) in p.iter_mut().zip(words) {
                    *p *= 1.0 + bit(word) - mean;
                }
            }
        });
    }

    fn score(&self, word: u32, _: u32) -> u64 {
        self.score(word)
    }

    /// `depth` fair coins a pair.
    fn null_law(&self) -> NullLaw {
        if self.weighted { NullLaw::WeightedBits(*self) } else { NullLaw::Bits { gamma: 0.5, trials: self.depth } }
    }
}

#[cfg(all(test, feature = "detect"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::scheme::tests::outputs;

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

    #[test]
    fn outputs_are_pinned() {
        let expected = [
            (vec![1, 5, 6, 36, 38, 4, 13, 4, 31, 21, 0, 11, 2, 35, 21, 14, 37, 2, 39, 8, 17, 23, 12, 37], 305),
            (vec![1, 5, 6, 36, 38, 4, 13, 4, 31, 21, 0, 11, 2, 35, 21, 14, 37, 2, 39, 8, 17, 23, 12, 37], 1_685),
        ];
        assert_eq!(outputs("tournament"), expected);
    }
}
