use super::{NullLaw, TWO_32};
use crate::{Error, ErrorKind, Result};

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
    /// [`ErrorKind::InvalidParameter`] outside these domains.
    pub fn new(alpha: f64, gamma: f64) -> Result<Self> {
        let invalid = |message| Err(Error::new(ErrorKind::InvalidParameter, message));
        if !(0.0..=0.5).contains(&alpha) {
            return invalid(format!("dipmark's alpha is {alpha}; it must be between 0 and 1/2"));
        }
        let threshold = libm::floor(gamma * TWO_32);
        if !(gamma < 1.0 && (1.0..TWO_32).contains(&threshold)) {
            return invalid(format!("gamma is {gamma}; it must be between 0 and 1"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "range checked above")]
        Ok(Self { alpha, gamma, threshold: threshold as u32 })
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

    /// Marking half: changes `p` in place. Shapes: `p` (sums to 1) and `words` [n], aligned; equal words keep their order.
    pub(crate) fn reweight(&self, p: &mut [f64], words: &[u32], order: &mut Vec<u32>) {
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
    }

    /// Scoring half: 1 in the upper part.
    #[must_use]
    pub fn score(&self, word: u32) -> u64 {
        u64::from(word >= self.threshold)
    }

    /// A coin of probability `1 - floor(gamma * 2^32) / 2^32`.
    #[must_use]
    pub fn null_law(&self) -> NullLaw {
        NullLaw::Bits { gamma: 1.0 - f64::from(self.threshold) / TWO_32, trials: 1 }
    }
}
