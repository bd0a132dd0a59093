use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::super::beacon::DrawnValue;
use super::super::canonical::to_canonical;
use super::super::commitment::KeyLeaf;
use super::super::dsse::Envelope;
use super::super::fields::{Decimal, Digest, Time};
use super::condition::Condition;
use super::record::RecordsDigest;
use crate::Result;
use crate::detect::{Effect, Verdict};
use crate::model_test::{self, Collection, DecidedBy, ScoreClass};
use crate::profile::given::given;
use crate::stats::SignedClass;

/// An in-toto Statement v1 around a [`Predicate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/FORMAT.md, section 3")]
pub struct Statement {
    #[serde(rename = "_type")]
    pub type_: String,
    pub predicate: Predicate,
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    pub subject: Vec<Subject>,
}

/// An answer file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Its digests.
    pub digest: SubjectDigest,
    /// Its name without folders.
    pub name: String,
}

/// The digests of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectDigest {
    /// Over its bytes.
    pub sha256: Digest,
}

/// What was tested, how, on what, and with which result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/FORMAT.md, section 3")]
pub struct Predicate {
    pub kind: String,
    pub signed_at: Time,
    pub software: String,
    pub null_hypothesis: String,
    pub alternative_hypothesis: String,
    pub registration: Envelope,
    pub profile: String,
    pub key: KeyEvidence,
    pub prompts: PromptsEvidence,
    pub rules: Rules,
    pub suspect: SampleEvidence,
    pub controls: Vec<SampleEvidence>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub references: Option<ReferencesEvidence>,
    pub resampling: ResamplingEvidence,
    pub family: Family,
    pub earlier: Vec<Earlier>,
    pub decided_by: DecidedBy,
    pub controls_agree: bool,
    pub exclusion_agrees: bool,
    pub resampling_agrees: bool,
    pub answers_present: bool,
    pub conditions: Vec<Condition>,
    pub smallest_effect: Option<Effect>,
    pub verdict: Verdict,
    pub time_stamps: TimeStamps,
    pub does_not_show: Vec<String>,
    pub alternatives: Vec<String>,
}

/// The committed key: where it was committed to, and, if disclosed, what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/FORMAT.md, section 3")]
pub struct KeyEvidence {
    pub head: Envelope,
    pub leaf: KeyLeaf,
    pub proof: Vec<Digest>,
    pub beacon: Option<DrawnValue>,
    pub opening: Option<Disclosed>,
}

/// The prompts of the test, all of them in order, and the value that drew them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/FORMAT.md, section 3")]
pub struct PromptsEvidence {
    pub beacon: Option<DrawnValue>,
    pub root: Digest,
}

/// A disclosed node key. Whoever reads it can mark, detect and forge below its path. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disclosed {
    /// 64 hexadecimal digits.
    pub node: Zeroizing<String>,
    /// 64 hexadecimal digits.
    pub salt: Zeroizing<String>,
}

impl fmt::Debug for Disclosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disclosed { .. }")
    }
}

/// What one model showed, with the numbers of its test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/FORMAT.md, section 3")]
pub struct SampleEvidence {
    pub model: String,
    pub collection: Collection,
    pub collected: Option<Collected>,
    pub stopped: bool,
    pub records: RecordsDigest,
    pub prompts_proof: Vec<Digest>,
    pub prompts_root: Digest,
    pub n_empty: u64,
    pub tokens: u64,
    pub n_scored: u64,
    pub n_duplicate: u64,
    pub n_excluded: u64,
    pub n_short_context: u64,
    pub classes: Vec<ClassEvidence>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub residuals: Option<ResidualsEvidence>,
    pub left_out: LeftOut,
    pub score: Decimal,
    pub statistic: Decimal<i128>,
    pub weight: Decimal<i128>,
    pub log10_p: f64,
    pub log10_p_distinct: f64,
    pub ln_e: f64,
}

/// What a model chose beyond what the references expect of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidualsEvidence {
    /// Its pairs by weight, rising.
    pub classes: Vec<SignedClassEvidence>,
    /// The share of each reference in what is expected, in sixteenths.
    pub mixture: Vec<u32>,
}

/// Pairs that share one weight of either sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "as SignedClass")]
pub struct SignedClassEvidence {
    pub pairs: u64,
    pub score: Decimal,
    pub weight: i64,
}

impl From<SignedClass> for SignedClassEvidence {
    fn from(class: SignedClass) -> Self {
        Self { pairs: class.pairs, score: Decimal(class.score), weight: class.weight }
    }
}

impl ResidualsEvidence {
    /// The classes as numbers.
    #[must_use]
    pub fn signed_classes(&self) -> Vec<SignedClass> {
        signed(&self.classes)
    }
}

/// The references of a test, and whether none leans away from the key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/FORMAT.md, section 3")]
pub struct ReferencesEvidence {
    pub agree: bool,
    pub expected: Vec<ExpectedEvidence>,
    pub log10_p: f64,
    pub models: Vec<ReferenceEvidence>,
}

/// What the mixture, or one of several references with a share, expects in the suspect's contexts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/FORMAT.md, section 3")]
pub struct ExpectedEvidence {
    pub classes: Vec<SignedClassEvidence>,
    pub log10_p: f64,
}

/// What one reference answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/FORMAT.md, section 3")]
pub struct ReferenceEvidence {
    pub model: String,
    pub records: RecordsDigest,
    pub n_prompts: u64,
    pub n_empty: u64,
    pub tokens: u64,
}

impl ExpectedEvidence {
    /// The classes as numbers.
    #[must_use]
    pub fn signed_classes(&self) -> Vec<SignedClass> {
        signed(&self.classes)
    }
}

impl SampleEvidence {
    /// The score classes as numbers.
    #[must_use]
    pub fn score_classes(&self) -> Vec<ScoreClass> {
        as_numbers(&self.classes)
    }
}

impl LeftOut {
    /// The classes as numbers.
    #[must_use]
    pub fn classes(&self) -> model_test::LeftOut {
        model_test::LeftOut { answers: as_numbers(&self.answers), prompts: as_numbers(&self.prompts) }
    }
}

fn signed(classes: &[SignedClassEvidence]) -> Vec<SignedClass> {
    let class =
        |class: &SignedClassEvidence| SignedClass { weight: class.weight, pairs: class.pairs, score: class.score.0 };
    classes.iter().map(class).collect()
}

fn as_numbers(classes: &[ClassEvidence]) -> Vec<ScoreClass> {
    let class = |class: &ClassEvidence| ScoreClass { count: class.count, pairs: class.pairs, score: class.score.0 };
    classes.iter().map(class).collect()
}

/// The pairs that prompts keep from being scored, with what their scores would have been.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/FORMAT.md, section 3")]
pub struct LeftOut {
    pub answers: Vec<ClassEvidence>,
    pub answers_log10_p: f64,
    pub prompts: Vec<ClassEvidence>,
    pub prompts_log10_p: f64,
}

/// When, as the data themselves say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collected {
    /// The first answer.
    pub first: Time,
    /// The last answer.
    pub last: Time,
}

/// Pairs that occurred equally often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "as ScoreClass")]
pub struct ClassEvidence {
    pub count: u64,
    pub pairs: u64,
    pub score: Decimal,
}

impl From<ScoreClass> for ClassEvidence {
    fn from(class: ScoreClass) -> Self {
        Self { count: class.count, pairs: class.pairs, score: Decimal(class.score) }
    }
}

/// Fresh keys on the suspect's pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/FORMAT.md, section 5")]
pub struct ResamplingEvidence {
    pub seed: Digest,
    pub keys: u64,
    pub at_least: u64,
}

/// What counts and what does not, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/FORMAT.md, section 6")]
pub struct Rules {
    pub context: String,
    pub dedup: String,
    pub exclusion: String,
    pub filter: String,
}

/// The family of tests that share the level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/FORMAT.md, section 3")]
pub struct Family {
    pub method: String,
    pub size: u64,
}

/// What came of an earlier registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/FORMAT.md, section 3")]
pub struct Earlier {
    pub registration_sha256: Digest,
    pub evidence_sha256: Option<Digest>,
    pub verdict: Option<Verdict>,
}

/// Time-stamp responses (RFC 3161) in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/FORMAT.md, section 3")]
pub struct TimeStamps {
    pub head: Option<String>,
    pub registration: Option<String>,
}

impl Statement {
    /// The bytes to sign, as payload of type [`super::STATEMENT_TYPE`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotCanonical`] for a number that JSON cannot hold.
    pub fn payload(&self) -> Result<Vec<u8>> {
        to_canonical(self)
    }
}
