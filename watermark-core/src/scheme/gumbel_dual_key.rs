use super::{Gumbel, NullLaw, TWO_32};
use crate::{Error, ErrorKind, Result};

/// Gumbel-max under two keys (TextSeal, 2605.12456): a share `alpha` of the tokens is drawn under key B, the rest under
/// key A. Restores diversity where a single key would always give the same answer, and lets speculative decoding draft
/// under A and draw corrections under B.
///
/// Nobody has to know which key drew a token: the score is `(1 - alpha) A + alpha B`. On `chacha20-v1` the words of key B
/// are those at counter `0x00200000 | token >> 4` of the same key. Distortion-free per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GumbelDualKey {
    alpha: f64,
    share_b: u32,
}

impl GumbelDualKey {
    /// `alpha` in (0, 1): share of key B. It counts as `floor(alpha * 2^32) / 2^32`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] outside it.
    pub fn new(alpha: f64) -> Result<Self> {
        let share_b = libm::floor(alpha * TWO_32);
        if !(alpha < 1.0 && (1.0..TWO_32).contains(&share_b)) {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("the share alpha of key B is {alpha}; it must be between 0 and 1"),
            ));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "range checked above")]
        Ok(Self { alpha, share_b: share_b as u32 })
    }

    /// Share of key B, as given.
    #[must_use]
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Marking half: whether a uniform word hands the position to key B.
    pub(crate) fn uses_b(&self, coin: u32) -> bool {
        coin < self.share_b
    }

    /// Scoring half: `(1 - alpha) A + alpha B` of the two words' Gumbel scores in units of 2^-32, rounded down.
    #[must_use]
    pub fn score_q32(&self, word_a: u32, word_b: u32) -> u64 {
        let (a, b) = (Gumbel.score_q32(word_a), Gumbel.score_q32(word_b));
        self.mix_q32(a, b)
    }

    /// The same of two scores.
    pub(crate) fn mix_q32(&self, a: u64, b: u64) -> u64 {
        let share_b = u128::from(self.share_b);
        let sum = u128::from(a) * ((1 << 32) - share_b) + u128::from(b) * share_b;
        #[expect(clippy::cast_possible_truncation, reason = "a mean of two scores below 2^37")]
        let q32 = (sum >> 32) as u64;
        q32
    }

    /// The mean of two exponentials with weights `1 - alpha` and `alpha`, rounded down.
    #[must_use]
    pub fn null_law(&self) -> NullLaw {
        NullLaw::DualKeyQ32 { alpha: f64::from(self.share_b) / TWO_32 }
    }
}
