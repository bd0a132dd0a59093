use super::{Gumbel, NullLaw, TWO_32, choose_by};

/// Permute-and-flip (2402.05864): the token is `argmax_v l_v - ln(1 - u_v)`, u = (word + 1/2) / 2^32, with l_v the
/// logits over the temperature: exponential noise in place of Gumbel's.
///
/// Averaged over keys the token follows the permute-and-flip law, which is not the softmax: it prefers likely tokens
/// more. With two tokens, the less likely one is drawn with probability `e^-d / 2` at a distance of d nats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PermuteAndFlip;

impl PermuteAndFlip {
    /// Marking half: index of the chosen entry, as [`Gumbel`]'s.
    pub(crate) fn choose(logits: &[f32], words: &[u32]) -> Option<usize> {
        choose_by(logits, words, |word| -libm::log1p(-(f64::from(word) + 0.5) / TWO_32))
    }

    /// Scoring half: that of [`Gumbel`].
    #[must_use]
    pub fn score_q32(&self, word: u32) -> u64 {
        Gumbel.score_q32(word)
    }

    /// Exponential(1), rounded down.
    #[must_use]
    pub fn null_law(&self) -> NullLaw {
        NullLaw::ExponentialQ32
    }
}
