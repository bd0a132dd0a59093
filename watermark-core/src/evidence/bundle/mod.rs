//! Registrations of a test, made before its data, and bundles that an outsider can check and recompute.
//!
//! `verify/FORMAT.md` is the format, for verifiers in any language: every field, which bytes are hashed how, in which
//! order a verifier looks at them. Files, tokenizers and time-stamp authorities are the caller's.

mod conclusion;
mod fields;
mod measure;
mod record;
mod registration;
mod statement;
#[cfg(test)]
mod tests;
mod verify;

pub use conclusion::conclude;
pub use fields::{Decimal, Digest, Time};
pub use measure::{Origin, count, measure};
pub use record::{EvidenceRecord, RecordsDigest, n_empty, parse_records, print_records, prompts_root};
pub use registration::{
    MAX_REGISTRATION, MAX_RESAMPLE, Prompts, REGISTRATION_TYPE, REGISTRATION_VERSION, Registration, Stopping,
    prompt_leaf,
};
pub use statement::{
    ClassEvidence, Collected, Disclosed, Earlier, Family, KeyEvidence, LeafEvidence, Predicate, ResamplingEvidence,
    Rules, SampleEvidence, Statement, Subject, SubjectDigest, TimeStamps,
};
pub use verify::{Bundle, Checked, Code, Fault, beacon_of, close, layer_under, testable_layer, verify};

/// Payload type of a bundle's envelope.
pub const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";

/// `_type` of a statement.
pub const STATEMENT_VERSION: &str = "https://in-toto.io/Statement/v1";

/// `predicateType` of a statement.
pub const PREDICATE_TYPE: &str = "watermark-evidence/1";

/// `kind` of a predicate: the one analysis that this version knows.
pub const KIND: &str = "closed_test_of_answers";

/// The largest bundle.
pub const MAX_BUNDLE: usize = 1 << 24;

/// The null hypothesis.
pub const NULL_HYPOTHESIS: &str = "The answers are independent of the key.";

/// The alternative.
pub const ALTERNATIVE_HYPOTHESIS: &str = "The model that answered depends on the key: it learned, directly or through others, from text \
                                          marked under it.";

/// What a detection does not show.
pub const DOES_NOT_SHOW: [&str; 3] =
    ["that anybody used the provider's interface directly", "intent, or a breach of terms", "a probability of guilt"];

/// Other explanations of a detection.
pub const ALTERNATIVES: [&str; 4] = [
    "marked answers were published, bought or proxied",
    "the prompts dictated marked text in another form",
    "a distilled model stands in between",
    "somebody with a stolen list or key wrote marked text to frame the accused",
];

impl Rules {
    /// The rules of this version.
    #[must_use]
    pub fn fixed() -> Self {
        Self {
            context: "generated tokens of the same record since the last special token".to_owned(),
            dedup: "a pair of (context, token) counts once, with its count in the round that showed it first"
                .to_owned(),
            exclusion:
                "special tokens; pairs in a prompt of this or an earlier round; stretches that an answer quotes from \
                        its prompt"
                    .to_owned(),
            filter: "none".to_owned(),
        }
    }
}

impl Family {
    /// The family of a single test.
    #[must_use]
    pub fn single() -> Self {
        Self { method: "holm".to_owned(), size: 1 }
    }
}
