use super::condition::{Condition, ConditionName, Standing};
use super::registration::Registration;
use super::statement::SampleEvidence;
use super::verify::Bundle;
use crate::evidence::TreeHead;
use crate::evidence::commitment::KeyLeaf;

/// How the conditions stand by the bundle alone: without its data, its tokenizer, and clocks of others. More of them can hold for whoever
/// has these.
#[must_use]
pub fn conditions(
    registration: &Registration,
    head: &TreeHead,
    leaf: &KeyLeaf,
    samples: &[&SampleEvidence],
) -> Vec<Condition> {
    let draw = registration.prompts.draw.as_ref();
    // Times that the bundle itself states: could somebody have known a value too early?
    let contradicted = |name: ConditionName| match name {
        ConditionName::KeyNotGround => {
            leaf.beacon.as_ref().and_then(|round| round.is_known_by(&head.signed_at)) == Some(true)
        }
        ConditionName::PromptsFreeOfKey => {
            let at = registration.registered_at.as_str();
            draw.and_then(|draw| draw.beacon.is_known_by(at)) == Some(true)
        }
        ConditionName::RegisteredBeforeData => draw.and_then(|draw| draw.beacon.time()).is_some_and(|drawn| {
            let mut collected = samples.iter().filter_map(|sample| sample.collected.as_ref());
            collected.any(|times| times.first.as_str() < drawn.as_str())
        }),
        _ => false,
    };
    let standing = |name: ConditionName| match name {
        // Key and registration that do not fit are faults, and the level pays for every leaf of the tree.
        ConditionName::KeyBound => Standing::Holds,
        _ if contradicted(name) => Standing::Fails,
        _ => Standing::Word,
    };
    ConditionName::ALL.map(|name| Condition { name, standing: standing(name) }).to_vec()
}

impl Bundle {
    /// [`conditions`] of this bundle.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition> {
        let samples: Vec<&SampleEvidence> = self.samples().collect();
        conditions(&self.registration, &self.head, &self.statement.predicate.key.leaf, &samples)
    }
}
