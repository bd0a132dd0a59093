//! Evidence that a model learned answers which were served with paired draws: registrations, bundles, and the opened list.
//!
//! `verify/PAIRS.md` is the format. What an accuser could choose is bound before: the requests' secrets with the key, before its beacon
//! ([`super::requests`]); candidates and accounts in a ledger of which every entry is in the list; scores of reference and law by their
//! digests. The key stays secret: each request is opened alone.
//!
//! Null hypothesis: the model is independent of which candidates were served.

mod conclusion;
mod record;
mod registration;
mod statement;
#[cfg(test)]
mod tests;
mod verify;

pub use conclusion::conditions;
pub use record::{Draws, MAX_RECORD, Record};
pub use registration::{REGISTRATION_TYPE, REGISTRATION_VERSION, RegisteredLedger, RegisteredScores, Registration};
pub use statement::{
    AccountEvidence, DrawsEvidence, KeyEvidence, LedgerEvidence, ListEvidence, Predicate, ReferenceEvidence,
    SampleEvidence, Statement, TimeStamps,
};
pub use verify::{Bundle, Checked, ListCheck, paired_profile, verify};

/// `predicateType` of a statement.
pub const PREDICATE_TYPE: &str = "watermark-pairs-evidence/1";

/// `kind` of a predicate.
pub const KIND: &str = "paired_draws";

/// The null hypothesis.
pub const NULL_HYPOTHESIS: &str = "The model is independent of which candidates were served.";

/// The alternative.
pub const ALTERNATIVE_HYPOTHESIS: &str =
    "The model depends on which candidates were served: it learned, directly or through others, from these answers.";

/// Other explanations of a detection.
pub const ALTERNATIVES: [&str; 4] = [
    "served answers were published, bought or proxied",
    "a distilled model stands in between",
    "somebody who knew what was withheld trained the model to prefer it",
    "candidates were not drawn as the provider says",
];
