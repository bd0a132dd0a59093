use watermark_core::model_test::Collection;

use super::item::Item;

/// What a model showed, as rounds of texts in ids of the mark's tokenizer. All files together are one round.
#[derive(Clone, Debug, Default)]
pub struct Material {
    /// Names for people.
    pub name: String,
    /// Rounds in order.
    pub rounds: Vec<Vec<Item>>,
    /// Whether the collection was stopped by looking at the evidence, so that only the e-value may decide.
    pub stopped: bool,
    /// Who collected it.
    pub collection: Collection,
    /// When the first and the last answer came, where the input says so: RFC 3339, UTC, seconds.
    pub collected: Option<(String, String)>,
    /// Records that could not be used.
    pub bad: u64,
}

impl Material {
    /// Texts in all.
    #[must_use]
    pub fn texts(&self) -> u64 {
        self.rounds.iter().map(|round| round.len() as u64).sum()
    }

    /// Texts without a prompt.
    #[must_use]
    pub fn without_prompt(&self) -> u64 {
        self.rounds.iter().flatten().filter(|item| item.prompt.is_empty()).count() as u64
    }

    /// Their tokens.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.rounds.iter().flatten().map(|item| item.tokens.len() as u64).sum()
    }
}
