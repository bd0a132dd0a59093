use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Result, bail, ensure};
use watermark_core::detect::Choice;

use super::Access;
use crate::ids::{Ids, Vocabulary, quoted};
use crate::read::Predicted;

/// One text of a model, or of ours that it read.
#[derive(Clone, Debug, Default)]
pub struct Item {
    /// Ids of what stood before the text.
    pub prompt: Vec<u32>,
    /// Ids of the text.
    pub tokens: Vec<u32>,
    /// Stretches of the text that it quotes from the prompt ([`quoted`]): excluded like prompts.
    pub quoted: Vec<Range<usize>>,
    /// [tokens], or empty for answers only: what the model could choose at each position.
    pub choices: Vec<Vec<Choice>>,
    /// Prompt and text of an answer that came as text.
    pub texts: Option<(String, String)>,
}

impl Item {
    /// What no text of its round may repeat for evidence: the prompt and what the text quotes from it.
    pub(super) fn excluded(&self) -> impl Iterator<Item = &[u32]> {
        let quoted = self.quoted.iter().map(|run| &self.tokens[run.clone()]);
        std::iter::once(self.prompt.as_slice()).chain(quoted)
    }

    /// Refuses rows that are no probabilities of tokens of the vocabulary.
    pub(super) fn check_choices(self, vocabulary: Vocabulary<'_>) -> Result<Self> {
        for (at, row) in self.choices.iter().enumerate() {
            let mut ids: Vec<u32> = row.iter().map(|choice| choice.token).collect();
            for &id in &ids {
                vocabulary.check_one(format_args!("choices[{at}] has token id"), id)?;
            }
            ids.sort_unstable();
            ensure!(ids.windows(2).all(|pair| pair[0] != pair[1]), "choices[{at}] names a token twice");
            let sum: u64 = row.iter().map(|choice| u64::from(choice.probability_q16)).sum();
            ensure!(sum <= MOST_Q16, "the probabilities of choices[{at}] add up to {:.3}", sum as f64 / 65_536.0);
        }
        Ok(self)
    }
}

/// What a row may add up to, in units of 2^-16: engines round.
const MOST_Q16: u64 = (1 << 16) + (1 << 10);

impl From<Ids> for Item {
    fn from(Ids { prompt, tokens, .. }: Ids) -> Self {
        Self { prompt, tokens, ..Self::default() }
    }
}

/// An answer in text.
///
/// # Errors
/// As [`Vocabulary::encode`].
pub fn item_of_text(vocabulary: Vocabulary<'_>, prompt: &str, text: &str) -> Result<Item> {
    let ids = vocabulary.encode(prompt, text, true)?;
    let quoted = quoted(prompt, text, ids.offsets.as_deref().unwrap_or_default())?;
    let texts = Some((prompt.to_owned(), text.to_owned()));
    Ok(Item { quoted, texts, ..Item::from(ids) })
}

/// A text with what the model could say at its bytes, aligned to the mark's tokenizer (as 2502.17259 and 2602.03812
/// do). A position counts if both tokenisations cut the text there, and a piece counts if it is one token of the mark's
/// vocabulary. Everything else has no weight, which keeps the null hypothesis valid.
///
/// # Errors
/// As [`Vocabulary::encode`]; while reading, if a position has no prediction.
pub(super) fn item_of_pieces(
    vocabulary: Vocabulary<'_>,
    access: Access,
    prompt: &str,
    text: &str,
    positions: &[Predicted],
) -> Result<Item> {
    let tokenizer = vocabulary.tokenizer()?;
    let ids = vocabulary.encode(prompt, text, true)?;
    let offsets = ids.offsets.as_deref().unwrap_or_default();
    let at: HashMap<usize, &Predicted> = positions.iter().map(|position| (position.at, position)).collect();
    let mut known: HashMap<&str, Option<u32>> = HashMap::new();
    let mut choices = Vec::with_capacity(offsets.len());
    let whole = access == Access::Reading;
    let mut end = 0;
    for &(start, stop) in offsets {
        let mut row = Vec::new();
        // Tokens that share a character have the same offsets; only the first of them begins at a cut.
        let position = at.get(&start).filter(|_| start == end);
        if whole && position.is_none() && start > 0 {
            // Whether the model's own tokens end here depends on the text that follows, so on the key.
            bail!(
                "no prediction at byte {start}, where a token of the mark begins; while reading, ask the model for what follows \
                 each of them, cutting its input there"
            );
        }
        end = stop;
        for (piece, ln_p) in position.map(|position| position.top.as_slice()).unwrap_or_default() {
            let id = match known.get(piece.as_str()) {
                Some(id) => *id,
                None => *known.entry(piece).or_insert(tokenizer.single_token(piece)?),
            };
            row.extend(id.map(|id| (id, *ln_p)));
        }
        choices.push(Choice::from_log_probabilities(row));
    }
    let quoted = quoted(prompt, text, offsets)?;
    Ok(Item { quoted, choices, ..Item::from(ids) })
}
