use std::ops::Bound;

use super::greenlist::threshold;
use super::{Domain, Entry, Example, Given, Kind, NullLaw, Parameter, Parameters, Position, Spec, TWO_32, Value};
use crate::Result;

const ALPHA: Domain =
    Domain::Real { low: Bound::Included(0.0), high: Bound::Included(0.5), words: "between 0 and 1/2" };

/// `DiPmark` (2310.07710): tokens in the order of their words, F the mass up to a token in that order, and
/// `F' = max(F - alpha, 0) + max(F - (1 - alpha), 0)`: mass moves to the upper end of the order.
///
/// Distortion-free per token, because the order is uniform over keys and so is its reverse. A token counts as upper iff
/// `word >= floor(gamma * 2^32)`, a coin of its own instead of a rank, so that the null is exactly binomial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dipmark {
    alpha: f64,
    gamma: f64,
    threshold: u32,
}

impl Dipmark {
    /// `alpha` in [0, 1/2]: strength (0 changes nothing; .45 is usual). `gamma` in (0, 1): where the upper part begins.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidParameter`] outside these domains.
    pub fn new(alpha: f64, gamma: f64) -> Result<Self> {
        Self::SPEC.check("alpha", alpha)?;
        Self::SPEC.check("gamma", gamma)?;
        Ok(Self { alpha, gamma, threshold: threshold(gamma) })
    }

    /// Strength.
    #[must_use]
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Where the upper part begins.
    #[must_use]
    pub fn gamma(&self) -> f64 {
        self.gamma
    }
}

impl Entry for Dipmark {
    const SPEC: Spec = Spec {
        name: "dipmark",
        source: "Wu et al. 2023, arXiv 2310.07710",
        summary: "Moves probability to the upper end of a keyed order of the tokens.",
        kind: Kind::Reweighting,
        distortion_free: true,
        parameters: &[
            Parameter::new("gamma", "where the upper part begins", Domain::SHARE).usual(Value::Real(0.5)),
            Parameter::new("alpha", "strength", ALPHA).or(Value::Real(0.45)).unscored(),
        ],
        examples: &[Example { width: 2, parameters: &[("gamma", Value::Real(0.5)), ("alpha", Value::Real(0.45))] }],
    };

    fn build(given: &Given<'_>) -> Result<Self> {
        Self::new(given.real("alpha")?, given.real("gamma")?)
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with("gamma", self.gamma).with("alpha", self.alpha)
    }

    /// Equal words keep their order.
    fn reweight(&self, position: &mut Position<'_>) {
        position.change_probabilities(|p, words, work| {
            let order = &mut work.order;
            order.clear();
            order.extend((0u32..).take(p.len()));
            order.sort_unstable_by_key(|&i| (words[i as usize], i));
            let moved = |f: f64| (f - self.alpha).max(0.0) + (f - (1.0 - self.alpha)).max(0.0);
            let (mut mass, mut below) = (0.0, 0.0);
            for &i in order.iter() {
                mass += p[i as usize];
                let up_to = moved(mass);
                p[i as usize] = up_to - below;
                below = up_to;
            }
        });
    }

    /// 1 in the upper part.
    fn score(&self, word: u32, _: u32) -> u64 {
        u64::from(word >= self.threshold)
    }

    /// A coin of probability `1 - floor(gamma * 2^32) / 2^32`.
    fn null_law(&self) -> NullLaw {
        NullLaw::Bits { gamma: 1.0 - f64::from(self.threshold) / TWO_32, trials: 1 }
    }
}

#[cfg(all(test, feature = "detect"))]
mod tests {
    use crate::scheme::tests::outputs;

    #[test]
    fn outputs_are_pinned() {
        let expected =
            [(vec![1, 5, 15, 5, 37, 31, 14, 33, 1, 39, 30, 21, 2, 8, 21, 6, 37, 36, 26, 34, 32, 34, 35, 11], 20)];
        assert_eq!(outputs("dipmark"), expected);
    }
}
