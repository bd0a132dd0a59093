use super::{Given, NullLaw, Parameters, Position, SecondWord, Spec};
use crate::Result;

/// The interface of a scheme. The file that implements it holds everything about the scheme. The marking half and the
/// scoring half stand side by side, because the law of the score rests on both.
pub(crate) trait Entry: Copy {
    /// The spec, from which help texts, parsers and tests are made.
    const SPEC: Spec;

    /// What the score needs beside the word of (context, token).
    const SECOND_WORD: SecondWord = SecondWord::None;

    /// Makes the scheme from parameters that were checked against the spec.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidParameter`] for what a spec cannot say: parameters that do not go together.
    fn build(given: &Given<'_>) -> Result<Self>;

    /// The parameters that make this scheme again.
    fn parameters(&self) -> Parameters;

    /// Marking half of a reweighting scheme: changes the distribution at one position. A token that is -inf stays so.
    fn reweight(&self, _position: &mut Position<'_>) {}

    /// Marking half of a choosing scheme: index of the drawn entry, `None` if no logit is finite. Shapes: both [n], aligned.
    fn choose(&self, _logits: &[f32], _words: &[u32]) -> Option<usize> {
        None
    }

    /// Whether a public uniform word gives the position to the second of two keys.
    fn uses_second_key(&self, _coin: u32) -> bool {
        false
    }

    /// Scoring half: the integer score of a pair from its word and the word that [`Self::SECOND_WORD`] names (0 for none).
    fn score(&self, word: u32, second: u32) -> u64;

    /// The law of a pair's score over keys, when the text is independent of the key.
    fn null_law(&self) -> NullLaw;
}
