use super::condition::{Condition, ConditionName, Standing};
use super::registration::Registration;
use super::statement::SampleEvidence;
use super::verify::Bundle;
use crate::evidence::TreeHead;
use crate::evidence::beacon::BeaconRound;
use crate::evidence::commitment::KeyLeaf;
use crate::evidence::fields::Time;

/// How the conditions stand by the bundle alone: without its data, its tokenizer, and clocks of others. More of them can hold for whoever
/// has these.
#[must_use]
pub fn conditions(
    registration: &Registration,
    head: &TreeHead,
    leaf: &KeyLeaf,
    samples: &[&SampleEvidence],
    signed_at: &Time,
) -> Vec<Condition> {
    let draw = registration.prompts.draw.as_ref();
    // Times that the bundle itself states: a value must not have been known too early, nor have been used before it was drawn.
    let outside = |round: Option<&BeaconRound>, after: &str, by: &str| {
        let known = |at| round.and_then(|round| round.is_known_by(at));
        known(after) == Some(true) || known(by) == Some(false)
    };
    let (committed, registered) = (head.signed_at.as_str(), registration.registered_at.as_str());
    let contradicted = |name: ConditionName| match name {
        // The registered profile has the value.
        ConditionName::KeyNotGround => outside(leaf.beacon.as_ref(), committed, registered),
        ConditionName::PromptsFreeOfKey => outside(draw.map(|draw| &draw.beacon), registered, signed_at.as_str()),
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
    let asked = |name: &ConditionName| *name != ConditionName::ReferencesBound || !registration.references.is_empty();
    ConditionName::OF_ANSWERS
        .into_iter()
        .filter(asked)
        .map(|name| Condition { name, standing: standing(name) })
        .collect()
}

impl Bundle {
    /// [`conditions`] of this bundle.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition> {
        let samples: Vec<&SampleEvidence> = self.samples().collect();
        let predicate = &self.statement.predicate;
        conditions(&self.registration, &self.head, &predicate.key.leaf, &samples, &predicate.signed_at)
    }
}
