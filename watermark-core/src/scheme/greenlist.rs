use std::ops::Bound;

use super::{
    Blocks, Domain, Entry, Example, Given, Kind, NullLaw, Parameter, Parameters, Position, Spec, TWO_32, Value,
};
use crate::{Error, ErrorKind, Result};

const DELTA: Domain =
    Domain::Real { low: Bound::Included(0.0), high: Bound::Included(1000.0), words: "between 0 and 1000 nats" };
/// The largest block of any gamma. The constructor, which knows gamma, checks what that one allows.
const BLOCK: Domain = Domain::Whole { low: 0, high: Blocks::MOST - 1 };

/// Green-list bias after Kirchenbauer et al. (2301.10226), with an independent coin per (context, token) instead of a
/// permutation, so that the green count is exactly binomial.
///
/// A token is green iff its word lies in `[first, first + floor(gamma * 2^32))`; the plain list starts at 0. Marking adds
/// `delta` (nats) to the logit of every green token that temperature and truncation leave, or before both where the profile's
/// policy says so ([`crate::profile::Boost`]), or forbids the others (hard list); both change the distribution (not
/// distortion-free). Width 0 is the fixed list of Unigram (2306.17439).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Greenlist {
    gamma: f64,
    delta: f64,
    first: u32,
    length: u32,
}

impl Greenlist {
    /// `gamma` in (0, 1): share of green tokens. `delta` >= 0 in nats; [`f64::INFINITY`] is the hard list, which forbids
    /// every other token (unless no token of the truncated distribution is green).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] outside these domains.
    pub fn new(gamma: f64, delta: f64) -> Result<Self> {
        Self::SPEC.check("gamma", gamma)?;
        if delta != f64::INFINITY {
            Self::SPEC.check("delta", delta)?;
        }
        Ok(Self { gamma, delta, first: 0, length: threshold(gamma) })
    }

    /// Favours `block` of the `1 / gamma` blocks instead of block 0.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] unless gamma is 1/2, 1/4, 1/8, … and `block` is below `1 / gamma`.
    pub fn with_block(self, block: u32) -> Result<Self> {
        let blocks = Blocks::from_gamma(self.gamma)?;
        if block >= blocks.count() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("block {block} of {}; blocks are numbered from 0", blocks.count()),
            ));
        }
        Ok(Self { first: block * self.length, ..self })
    }

    /// Share of green tokens.
    #[must_use]
    pub fn gamma(&self) -> f64 {
        self.gamma
    }

    /// Logit boost in nats; infinite for a hard list.
    #[must_use]
    pub fn delta(&self) -> f64 {
        self.delta
    }

    /// Whether a token with this word is green.
    #[must_use]
    pub fn is_green(&self, word: u32) -> bool {
        word.wrapping_sub(self.first) < self.length
    }

    /// Number of green words, `floor(gamma * 2^32)`.
    #[must_use]
    pub fn threshold(&self) -> u32 {
        self.length
    }

    /// Some word that is not green.
    pub(crate) fn red_word(&self) -> u32 {
        self.first.wrapping_sub(1)
    }

    /// The favoured block (0 for the plain list).
    #[must_use]
    pub fn block(&self) -> u32 {
        self.first / self.length
    }
}

/// `floor(share * 2^32)` of a share in [`Domain::SHARE`]: so many words are below it.
pub(super) fn threshold(share: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 2^32 - 1")]
    let threshold = libm::floor(share * TWO_32) as u32;
    threshold
}

impl Entry for Greenlist {
    const SPEC: Spec = Spec {
        name: "greenlist",
        source: "Kirchenbauer et al. 2023, arXiv 2301.10226; width 0: Zhao et al. 2023, arXiv 2306.17439",
        summary: "Favours a keyed list of tokens by a bonus on their logits, or forbids all others.",
        kind: Kind::Reweighting,
        distortion_free: false,
        parameters: &[
            Parameter::new("gamma", "share of green tokens", Domain::SHARE).usual(Value::Real(0.5)),
            Parameter::new("delta", "logit boost of green tokens in nats", DELTA)
                .for_marking(Some("hard"))
                .usual(Value::Real(2.0)),
            Parameter::new("hard", "forbid the other tokens instead of boosting the green ones", Domain::Flag)
                .or(Value::Flag(false))
                .unscored(),
            Parameter::new("block", "the favoured block of 1/gamma, if not the first", BLOCK).or(Value::Whole(0)),
        ],
        examples: &[
            Example { width: 0, parameters: &[("gamma", Value::Real(0.25)), ("delta", Value::Real(2.0))] },
            Example { width: 1, parameters: &[("gamma", Value::Real(0.5)), ("delta", Value::Real(2.0))] },
            Example { width: 1, parameters: &[("gamma", Value::Real(0.25)), ("delta", Value::Real(2.0))] },
            Example {
                width: 1,
                parameters: &[("gamma", Value::Real(0.25)), ("delta", Value::Real(2.0)), ("block", Value::Whole(3))],
            },
            Example { width: 2, parameters: &[("gamma", Value::Real(0.5)), ("hard", Value::Flag(true))] },
        ],
    };

    fn build(given: &Given<'_>) -> Result<Self> {
        let hard = given.flag("hard")?;
        if hard && given.has("delta") {
            return Err(Error::new(ErrorKind::InvalidParameter, "a hard list has no delta"));
        }
        let delta = if hard { f64::INFINITY } else { given.real("delta")? };
        let list = Self::new(given.real("gamma")?, delta)?;
        if given.has("block") { list.with_block(given.whole("block")?) } else { Ok(list) }
    }

    fn parameters(&self) -> Parameters {
        let given = Parameters::new().with("gamma", self.gamma);
        let given = if self.delta.is_infinite() { given.with("hard", true) } else { given.with("delta", self.delta) };
        if self.block() > 0 { given.with("block", self.block()) } else { given }
    }

    /// Adds `delta` to the logits of green tokens, or takes the others away.
    fn reweight(&self, position: &mut Position<'_>) {
        position.change_logits(self.red_word(), |logits, words| {
            if self.delta.is_infinite() {
                if words.iter().any(|&word| self.is_green(word)) {
                    for (logit, _) in logits.iter_mut().zip(words).filter(|&(_, &word)| !self.is_green(word)) {
                        *logit = f32::NEG_INFINITY;
                    }
                }
                return;
            }
            #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
            let delta = self.delta as f32;
            for (logit, &word) in logits.iter_mut().zip(words) {
                if self.is_green(word) {
                    *logit += delta;
                }
            }
        });
    }

    /// 1 for green, 0 for red.
    fn score(&self, word: u32, _: u32) -> u64 {
        u64::from(self.is_green(word))
    }

    /// Green is a coin of probability `floor(gamma * 2^32) / 2^32`, at most `gamma`.
    fn null_law(&self) -> NullLaw {
        NullLaw::Bits { gamma: self.gamma, trials: 1 }
    }
}

#[cfg(all(test, feature = "detect"))]
mod tests {
    use crate::scheme::tests::outputs;

    #[test]
    fn outputs_are_pinned() {
        let expected = [
            (vec![1, 36, 6, 36, 6, 16, 7, 22, 36, 17, 30, 11, 2, 8, 36, 6, 29, 17, 23, 8, 36, 12, 35, 11], 8),
            (vec![1, 36, 6, 37, 22, 16, 7, 7, 28, 25, 9, 11, 2, 8, 9, 37, 29, 12, 34, 10, 32, 12, 35, 11], 21),
            (vec![1, 16, 31, 36, 38, 16, 7, 3, 36, 39, 9, 11, 2, 35, 21, 37, 29, 6, 34, 26, 32, 12, 35, 11], 17),
            (vec![1, 5, 26, 36, 8, 21, 7, 3, 31, 32, 9, 12, 2, 7, 36, 10, 29, 12, 20, 8, 19, 12, 35, 19], 17),
            (vec![1, 5, 6, 36, 6, 9, 7, 3, 23, 39, 9, 11, 21, 35, 9, 37, 37, 6, 26, 8, 36, 12, 31, 11], 22),
        ];
        assert_eq!(outputs("greenlist"), expected);
    }
}
