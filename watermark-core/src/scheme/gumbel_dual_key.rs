use super::greenlist::threshold;
use super::{
    Domain, Entry, Example, Given, Gumbel, Kind, NullLaw, Parameter, Parameters, SecondWord, Spec, TWO_32, Value,
};
use crate::Result;

/// Gumbel-max under two keys (TextSeal, 2605.12456): a share `alpha` of the tokens is drawn under key B, the rest under
/// key A. Restores diversity where a single key would always give the same answer, and lets speculative decoding draft
/// under A and draw corrections under B.
///
/// The detector need not know which key drew a token: the score is `(1 - alpha) A + alpha B`. On `chacha20-v1` the
/// words of key B are those at counter `0x00200000 | token >> 4` of the same key. Distortion-free per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GumbelDualKey {
    alpha: f64,
    share_b: u32,
}

impl GumbelDualKey {
    /// `alpha` in (0, 1): share of key B. It counts as `floor(alpha * 2^32) / 2^32`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidParameter`] outside it.
    pub fn new(alpha: f64) -> Result<Self> {
        Self::SPEC.check("alpha", alpha)?;
        Ok(Self { alpha, share_b: threshold(alpha) })
    }

    /// Share of key B, as given.
    #[must_use]
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Whether both keys have the same share.
    pub(crate) fn is_fair(&self) -> bool {
        self.share_b == 1 << 31
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

    /// As [`Self::score_q32`], from the two Gumbel scores.
    pub(crate) fn mix_q32(&self, a: u64, b: u64) -> u64 {
        let share_b = u128::from(self.share_b);
        let sum = u128::from(a) * ((1 << 32) - share_b) + u128::from(b) * share_b;
        #[expect(clippy::cast_possible_truncation, reason = "a mean of two scores below 2^37")]
        let q32 = (sum >> 32) as u64;
        q32
    }
}

impl Entry for GumbelDualKey {
    const SPEC: Spec = Spec {
        name: "gumbel_dual_key",
        source: "TextSeal 2026, arXiv 2605.12456",
        summary: "Draws the token by Gumbel-max under one of two keys.",
        kind: Kind::Choosing,
        distortion_free: true,
        parameters: &[Parameter::new("alpha", "the share of the second key", Domain::SHARE)
            .option("key-b-share")
            .usual(Value::Real(0.1))],
        examples: &[Example { width: 4, parameters: &[("alpha", Value::Real(0.1))] }],
    };

    const SECOND_WORD: SecondWord = SecondWord::KeyB;

    fn build(given: &Given<'_>) -> Result<Self> {
        Self::new(given.real("alpha")?)
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with("alpha", self.alpha)
    }

    fn choose(&self, logits: &[f32], words: &[u32]) -> Option<usize> {
        Gumbel::choose(logits, words)
    }

    fn uses_second_key(&self, coin: u32) -> bool {
        self.uses_b(coin)
    }

    /// The score in units of 2^-32; `second` is the word of key B.
    fn score(&self, word: u32, second: u32) -> u64 {
        self.score_q32(word, second)
    }

    /// The mean of two exponentials with weights `1 - alpha` and `alpha`, rounded down.
    fn null_law(&self) -> NullLaw {
        NullLaw::DualKeyQ32 { alpha: f64::from(self.share_b) / TWO_32 }
    }
}

#[cfg(all(test, feature = "detect"))]
mod tests {
    use crate::scheme::tests::outputs;

    #[test]
    fn outputs_are_pinned() {
        let expected = [(
            vec![1, 5, 6, 36, 38, 12, 21, 37, 1, 21, 0, 11, 2, 35, 21, 7, 18, 9, 9, 13, 4, 31, 32, 14],
            224_750_061_260,
        )];
        assert_eq!(outputs("gumbel_dual_key"), expected);
    }
}
