use super::{Blocks, NullLaw, TWO_32};
use crate::{Error, ErrorKind, Result};

/// Green-list bias after Kirchenbauer et al. (2301.10226), with an independent coin per (context, token) instead of a
/// permutation, so that the green count is exactly binomial.
///
/// A token is green iff its word lies in `[first, first + floor(gamma * 2^32))`; the plain list starts at 0. Marking adds
/// `delta` (nats) to the logit of every green token of the truncated distribution, or forbids the others (hard list);
/// both change the distribution (not distortion-free). Width 0 is the fixed list of Unigram (2306.17439).
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
        let length = libm::floor(gamma * TWO_32);
        // NaN fails every comparison, so it lands here too.
        if !(gamma < 1.0 && (1.0..TWO_32).contains(&length)) {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("gamma is {gamma}; it must be between 0 and 1, at least 2^-32"),
            ));
        }
        if !(0.0..=1000.0).contains(&delta) && delta != f64::INFINITY {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("delta is {delta}; it must be between 0 and 1000 nats, or infinite for a hard list"),
            ));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "range checked above")]
        Ok(Self { gamma, delta, first: 0, length: length as u32 })
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

    /// Marking half: adds `delta` to the logits of green tokens, or takes the others away. Shapes: both [n], aligned.
    pub(crate) fn reweight(&self, logits: &mut [f32], words: &[u32]) {
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
    }

    /// Scoring half: 1 for green, 0 for red.
    #[must_use]
    pub fn score(&self, word: u32) -> u64 {
        u64::from(self.is_green(word))
    }

    /// Green is a coin of probability `floor(gamma * 2^32) / 2^32`, at most `gamma`.
    #[must_use]
    pub fn null_law(&self) -> NullLaw {
        NullLaw::Bits { gamma: self.gamma, trials: 1 }
    }
}
