use serde::{Deserialize, Serialize};

use super::super::beacon::DrawnValue;
use super::super::bundle::{Condition, Earlier, Subject};
use super::super::canonical::to_canonical;
use super::super::commitment::KeyLeaf;
use super::super::dsse::Envelope;
use super::super::fields::{Digest, Time};
use crate::Result;
use crate::detect::Verdict;

/// An in-toto Statement v1 around a [`Predicate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/PAIRS.md, section 3")]
pub struct Statement {
    #[serde(rename = "_type")]
    pub type_: String,
    pub predicate: Predicate,
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    pub subject: Vec<Subject>,
}

/// What was tested, how, on what, and with which result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/PAIRS.md, section 3")]
pub struct Predicate {
    pub kind: String,
    pub signed_at: Time,
    pub software: String,
    pub null_hypothesis: String,
    pub alternative_hypothesis: String,
    pub registration: Envelope,
    pub profile: String,
    pub key: KeyEvidence,
    pub ledger: LedgerEvidence,
    pub list: ListEvidence,
    pub suspect: SampleEvidence,
    pub controls: Vec<SampleEvidence>,
    pub reference: Option<ReferenceEvidence>,
    pub draws: Option<DrawsEvidence>,
    pub accounts: Vec<AccountEvidence>,
    pub controls_agree: bool,
    pub reference_agrees: bool,
    pub draws_agree: bool,
    pub conditions: Vec<Condition>,
    pub verdict: Verdict,
    pub earlier: Vec<Earlier>,
    pub time_stamps: TimeStamps,
    pub does_not_show: Vec<String>,
    pub alternatives: Vec<String>,
}

/// The committed key, which stays secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/PAIRS.md, section 3")]
pub struct KeyEvidence {
    pub beacon: Option<DrawnValue>,
    pub head: Envelope,
    pub leaf: KeyLeaf,
    pub proof: Vec<Digest>,
}

/// The ledger, and that its requests are those that were planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/PAIRS.md, section 3")]
pub struct LedgerEvidence {
    pub head: Envelope,
    pub requests_proof: Vec<Digest>,
}

/// What the list holds, and what of it does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/PAIRS.md, section 3")]
pub struct ListEvidence {
    pub requests: u64,
    pub n_equal: u64,
    pub n_special: u64,
    pub n_without_candidate: u64,
}

/// What one model prefers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/PAIRS.md, section 3")]
pub struct SampleEvidence {
    pub model: String,
    pub n_scored: u64,
    pub n_served_preferred: u64,
    pub n_ties: u64,
    pub n_unscored: u64,
    pub whole_ln_e: f64,
    pub ln_e: f64,
}

/// Whether the reference prefers what was withheld.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/PAIRS.md, section 3")]
pub struct ReferenceEvidence {
    pub ln_e: f64,
}

/// Whether the candidates come from the law that they are said to come from, and whether it prefers what was served.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/PAIRS.md, section 3")]
pub struct DrawsEvidence {
    pub law_ln_e: f64,
    pub log10_p: f64,
    pub n: u64,
}

/// What the requests of one account show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/PAIRS.md, section 3")]
pub struct AccountEvidence {
    pub account: Digest,
    pub requests: u64,
    pub n_scored: u64,
    pub n_served_preferred: u64,
    pub n_ties: u64,
    pub n_unscored: u64,
    pub ln_e: f64,
    pub controls_ln_e: Vec<f64>,
    pub verdict: Verdict,
}

/// Time-stamp responses (RFC 3161) in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/PAIRS.md, section 3")]
pub struct TimeStamps {
    pub head: Option<String>,
    pub ledger: Option<String>,
    pub registration: Option<String>,
}

impl Statement {
    /// The bytes to sign, as payload of type [`super::super::bundle::STATEMENT_TYPE`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotCanonical`] for a number that JSON cannot hold.
    pub fn payload(&self) -> Result<Vec<u8>> {
        to_canonical(self)
    }
}
