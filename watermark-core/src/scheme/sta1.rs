use super::{Domain, Entry, Example, Given, Greenlist, Kind, NullLaw, Parameter, Parameters, Position, Spec, Value};
use crate::Result;

/// STA-1, sampling one then accepting (2405.14604): a token is drawn; a green one stands, and in place of a red one a second
/// draw from the same distribution is taken, whatever its colour.
///
/// As a distribution that is `q(v) = p(v) (1[v green] + p(red))`. Distortion-free per token for any gamma, because over
/// independent lists 1[v green] is gamma and p(red) is 1 - gamma in the mean. The expected score is
/// `gamma + gamma (1 - gamma) (1 - sum p^2)`, .625 for two equal tokens and gamma 1/2, as that of a tournament of one layer: a
/// weak mark, under which no token becomes more than twice as likely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sta1 {
    list: Greenlist,
}

impl Sta1 {
    /// `gamma` in (0, 1): share of green tokens.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidParameter`] outside it.
    pub fn new(gamma: f64) -> Result<Self> {
        Ok(Self { list: Greenlist::new(gamma, 0.0)? })
    }

    /// Share of green tokens.
    #[must_use]
    pub fn gamma(&self) -> f64 {
        self.list.gamma()
    }

    /// Marking half on probabilities. Shapes: `p` (sums to 1) and `words` [n], aligned.
    fn accept(&self, p: &mut [f64], words: &[u32]) {
        let red: f64 = p.iter().zip(words).filter(|&(_, &word)| !self.list.is_green(word)).map(|(p, _)| *p).sum();
        for (p, &word) in p.iter_mut().zip(words) {
            *p *= f64::from(u8::from(self.list.is_green(word))) + red;
        }
    }
}

impl Entry for Sta1 {
    const SPEC: Spec = Spec {
        name: "sta1",
        source: "Mao et al. 2024, arXiv 2405.14604",
        summary: "Draws once more where the first draw is not on a keyed list of tokens.",
        kind: Kind::Reweighting,
        distortion_free: true,
        parameters: &[Parameter::new("gamma", "share of green tokens", Domain::SHARE).usual(Value::Real(0.5))],
        examples: &[
            Example { width: 1, parameters: &[("gamma", Value::Real(0.5))] },
            Example { width: 2, parameters: &[("gamma", Value::Real(0.25))] },
        ],
    };

    fn build(given: &Given<'_>) -> Result<Self> {
        Self::new(given.real("gamma")?)
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with("gamma", self.gamma())
    }

    fn reweight(&self, position: &mut Position<'_>) {
        position.change_probabilities(|p, words, _| self.accept(p, words));
    }

    /// 1 for green, 0 for red.
    fn score(&self, word: u32, second: u32) -> u64 {
        self.list.score(word, second)
    }

    /// The null law of the green list.
    fn null_law(&self) -> NullLaw {
        self.list.null_law()
    }
}

#[cfg(all(test, feature = "detect"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::scheme::tests::outputs;

    /// Over all 32 lists of five tokens, each with its probability: q sums to 1 under every list, its mean is p to rounding, and
    /// the mean green mass is the expected score.
    #[test]
    fn the_mean_over_lists_is_exact() {
        let p = [0.4, 0.3, 0.15, 0.1, 0.05];
        for gamma in [0.25, 0.5, 0.9] {
            let scheme = Sta1::new(gamma).unwrap();
            let (mut mean, mut score) = ([0.0; 5], 0.0);
            for list in 0..32u32 {
                let words: Vec<u32> = (0..5).map(|v| if list >> v & 1 == 1 { 0 } else { u32::MAX }).collect();
                let n_green = list.count_ones();
                let chance = libm::pow(gamma, n_green.into()) * libm::pow(1.0 - gamma, f64::from(5 - n_green));
                let mut q = p;
                scheme.accept(&mut q, &words);
                assert!((q.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                for (at, q) in q.iter().enumerate() {
                    mean[at] += chance * q;
                    score += chance * q * scheme.score(words[at], 0) as f64;
                }
            }
            assert!(mean.iter().zip(&p).all(|(mean, p)| (mean - p).abs() < 1e-12), "{mean:?}");
            let collision: f64 = p.iter().map(|p| p * p).sum();
            assert!((score - (gamma + gamma * (1.0 - gamma) * (1.0 - collision))).abs() < 1e-12, "{score}");
        }
    }

    #[test]
    fn outputs_are_pinned() {
        let expected = [
            (vec![1, 30, 6, 36, 8, 21, 7, 3, 31, 39, 30, 11, 2, 35, 21, 37, 29, 12, 34, 8, 32, 12, 35, 11], 19),
            (vec![1, 5, 6, 36, 6, 9, 7, 7, 31, 32, 30, 11, 2, 35, 21, 10, 29, 12, 20, 8, 32, 12, 35, 19], 10),
        ];
        assert_eq!(outputs("sta1"), expected);
    }
}
