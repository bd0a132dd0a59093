use super::NullLaw;
use crate::{Error, ErrorKind, Result};

/// Green-list bias after Kirchenbauer et al. (2301.10226), with an independent coin per (context, token) instead of a
/// permutation, so that the green count is exactly binomial.
///
/// A token is green iff `word < floor(gamma * 2^32)`. Marking adds `delta` (nats) to the logit of every green token
/// of the truncated distribution; that changes the distribution (not distortion-free).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Greenlist {
    gamma: f64,
    delta: f64,
    threshold: u32,
}

impl Greenlist {
    /// `gamma` in (0, 1): share of green tokens. `delta` >= 0 in nats.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] outside these domains.
    pub fn new(gamma: f64, delta: f64) -> Result<Self> {
        let threshold = libm::floor(gamma * 4_294_967_296.0);
        // NaN fails every comparison, so it lands here too.
        if !(gamma < 1.0 && (1.0..4_294_967_296.0).contains(&threshold)) {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("gamma is {gamma}; it must be between 0 and 1, at least 2^-32"),
            ));
        }
        if !(0.0..=1000.0).contains(&delta) {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("delta is {delta}; it must be between 0 and 1000 nats"),
            ));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "range checked above")]
        Ok(Self { gamma, delta, threshold: threshold as u32 })
    }

    /// Share of green tokens.
    #[must_use]
    pub fn gamma(&self) -> f64 {
        self.gamma
    }

    /// Logit boost in nats.
    #[must_use]
    pub fn delta(&self) -> f64 {
        self.delta
    }

    /// Whether a token with this word is green.
    #[must_use]
    pub fn is_green(&self, word: u32) -> bool {
        word < self.threshold
    }

    /// `floor(gamma * 2^32)`.
    #[must_use]
    pub fn threshold(&self) -> u32 {
        self.threshold
    }

    /// Marking half: adds `delta` to the logits of green tokens. Shapes: both [n], aligned.
    pub(crate) fn reweight(&self, logits: &mut [f32], words: &[u32]) {
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

    /// Green is a coin of probability `floor(gamma * 2^32) / 2^32 <= gamma`.
    #[must_use]
    pub fn null_law(&self) -> NullLaw {
        NullLaw::Bits { gamma: self.gamma, trials: 1 }
    }
}
