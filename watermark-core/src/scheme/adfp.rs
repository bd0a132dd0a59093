use std::ops::Bound;

use super::{Domain, Entry, Example, Given, Greenlist, Kind, NullLaw, Parameter, Parameters, Position, Spec, Value};
use crate::Result;

const LAMBDA: Domain =
    Domain::Real { low: Bound::Included(0.0), high: Bound::Included(1e6), words: "between 0 and 1000000" };

/// Antidistillation fingerprinting (2602.03812): a bonus `lambda q_v (1[v green] - q(green))` on the logits, q the next-token
/// probabilities of a proxy for the student that the server hands in. It is the direction in which one step of training on the
/// sampled token raises the proxy's green mass most, so little is spent where a student has nothing to learn.
///
/// Changes the distribution. Scored as a green list of the same `gamma`. The bonus is added after the temperature, unless the profile's
/// sampling policy says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adfp {
    list: Greenlist,
    lambda: f64,
}

impl Adfp {
    /// `gamma` in (0, 1): share of green tokens. `lambda` from 0 to 10^6; where the proxy is torn between a green token and a red
    /// one, the bonus is plus and minus a quarter of it in nats.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidParameter`] outside these domains.
    pub fn new(gamma: f64, lambda: f64) -> Result<Self> {
        Self::SPEC.check("lambda", lambda)?;
        Ok(Self { list: Greenlist::new(gamma, 0.0)?, lambda })
    }

    /// Share of green tokens.
    #[must_use]
    pub fn gamma(&self) -> f64 {
        self.list.gamma()
    }

    /// Strength.
    #[must_use]
    pub fn lambda(&self) -> f64 {
        self.lambda
    }
}

impl Entry for Adfp {
    const SPEC: Spec = Spec {
        name: "adfp",
        source: "Antidistillation fingerprinting 2026, arXiv 2602.03812",
        summary: "Favours green tokens where that would teach a student most, by the probabilities of a proxy for it.",
        kind: Kind::ReweightingByProxy,
        distortion_free: false,
        parameters: &[
            Parameter::new("gamma", "share of green tokens", Domain::SHARE).usual(Value::Real(0.5)),
            Parameter::new("lambda", "strength; the server hands in a proxy's probabilities at every step", LAMBDA)
                .for_marking(None)
                .usual(Value::Real(40.0)),
        ],
        examples: &[Example { width: 1, parameters: &[("gamma", Value::Real(0.5)), ("lambda", Value::Real(40.0))] }],
    };

    fn build(given: &Given<'_>) -> Result<Self> {
        Self::new(given.real("gamma")?, given.real("lambda")?)
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with("gamma", self.gamma()).with("lambda", self.lambda)
    }

    fn reweight(&self, position: &mut Position<'_>) {
        position.add_by_proxy(self.list.red_word(), |q, words| {
            let green: f64 = q.iter().zip(words).filter(|&(_, &word)| self.list.is_green(word)).map(|(q, _)| q).sum();
            move |q, word| self.lambda * q * (f64::from(u8::from(self.list.is_green(word))) - green)
        });
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
    use crate::scheme::tests::outputs;

    #[test]
    fn outputs_are_pinned() {
        let expected =
            [(vec![1, 30, 15, 24, 8, 9, 7, 33, 31, 2, 3, 11, 2, 35, 9, 10, 29, 12, 34, 8, 17, 12, 5, 19], 21)];
        assert_eq!(outputs("adfp"), expected);
    }
}
