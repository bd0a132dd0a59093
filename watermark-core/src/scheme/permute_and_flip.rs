use super::{Entry, Example, Given, Gumbel, Kind, NullLaw, Parameters, Spec, TWO_32, choose_by};
use crate::Result;

/// Permute-and-flip (2402.05864): the token is `argmax_v l_v - ln(1 - u_v)`, u = (word + 1/2) / 2^32, with l_v the
/// logits over the temperature: exponential noise in place of Gumbel's.
///
/// Averaged over keys the token follows the permute-and-flip law, which is not the softmax: it prefers likely tokens
/// more. With two tokens, the less likely one is drawn with probability `e^-d / 2` at a distance of d nats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PermuteAndFlip;

impl Entry for PermuteAndFlip {
    const SPEC: Spec = Spec {
        name: "permute_and_flip",
        source: "Zhao et al. 2024, arXiv 2402.05864",
        summary: "Draws the token by the permute-and-flip decoder with keyed exponential noise.",
        kind: Kind::Choosing,
        distortion_free: false,
        parameters: &[],
        examples: &[Example { width: 4, parameters: &[] }],
    };

    fn build(_: &Given<'_>) -> Result<Self> {
        Ok(Self)
    }

    fn parameters(&self) -> Parameters {
        Parameters::new()
    }

    fn choose(&self, logits: &[f32], words: &[u32]) -> Option<usize> {
        choose_by(logits, words, |word| -libm::log1p(-(f64::from(word) + 0.5) / TWO_32))
    }

    /// The score of [`Gumbel`].
    fn score(&self, word: u32, _: u32) -> u64 {
        Gumbel.score_q32(word)
    }

    /// Exponential(1), rounded down.
    fn null_law(&self) -> NullLaw {
        NullLaw::ExponentialQ32
    }
}

#[cfg(all(test, feature = "detect"))]
mod tests {
    use crate::scheme::tests::outputs;

    #[test]
    fn outputs_are_pinned() {
        let expected = [(
            vec![1, 5, 6, 36, 3, 31, 25, 33, 23, 14, 27, 9, 21, 19, 28, 29, 19, 16, 36, 8, 0, 12, 35, 11],
            277_355_756_272,
        )];
        assert_eq!(outputs("permute_and_flip"), expected);
    }
}
