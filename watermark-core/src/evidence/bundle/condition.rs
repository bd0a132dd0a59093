use serde::{Deserialize, Serialize};

/// What a verdict is conditioned on. Section 5 of `verify/FORMAT.md` and of `verify/PAIRS.md` says of each when it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "one table for all languages")]
pub enum ConditionName {
    KeyBound,
    KeyNotGround,
    PromptsFreeOfKey,
    TokensRecomputed,
    ControlsBound,
    ReferencesBound,
    CollectionWitnessed,
    RegisteredBeforeData,
    EarlierAnalyses,
    LedgerBound,
    DrawsBlind,
}

impl ConditionName {
    /// Those of a closed test of answers, in the order of every table. One without references has no [`Self::ReferencesBound`].
    pub const OF_ANSWERS: [Self; 9] = [
        Self::KeyBound,
        Self::KeyNotGround,
        Self::PromptsFreeOfKey,
        Self::TokensRecomputed,
        Self::ControlsBound,
        Self::ReferencesBound,
        Self::CollectionWitnessed,
        Self::RegisteredBeforeData,
        Self::EarlierAnalyses,
    ];

    /// Those of a test of paired draws (`verify/PAIRS.md`, section 5). One without a reference has no [`Self::ReferencesBound`].
    pub const OF_PAIRS: [Self; 9] = [
        Self::KeyBound,
        Self::KeyNotGround,
        Self::LedgerBound,
        Self::DrawsBlind,
        Self::ControlsBound,
        Self::ReferencesBound,
        Self::CollectionWitnessed,
        Self::RegisteredBeforeData,
        Self::EarlierAnalyses,
    ];
}

/// How a condition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It follows from what was checked.
    Holds,
    /// It rests on somebody's word, also where nothing is said of it.
    Word,
    /// What was checked contradicts it.
    Fails,
}

/// One condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/FORMAT.md, section 5")]
pub struct Condition {
    pub name: ConditionName,
    pub standing: Standing,
}
