//! Registrations of a test, made before its data, and bundles that an outsider can check and recompute.
//!
//! `verify/FORMAT.md` is the format, for verifiers in any language: every field, which bytes are hashed how, in which
//! order a verifier looks at them. Files, tokenizers and time-stamp authorities are the caller's.
//!
//! # Example
//!
//! A provider commits to a key, registers a test, runs it and signs a bundle; a stranger verifies it, and sees through one
//! whose verdict was changed.
//!
//! ```
//! use sha2::{Digest as _, Sha256};
//! use watermark_core::detect::{Resampling, Verdict, Weights};
//! use watermark_core::model_test::{Access, Collection};
//! use watermark_core::evidence::bundle::*;
//! use watermark_core::evidence::commitment::KeyCommitments;
//! use watermark_core::evidence::prompts::Prompts;
//! use watermark_core::evidence::{HEAD_TYPE, SigningKey, dsse};
//! use watermark_core::key::NodeKey;
//! use watermark_core::profile::Profile;
//! use zeroize::Zeroizing;
//!
//! # const PROFILE: &str = r#"{"profile": "watermark-profile/1", "name": "chat", "path": "epoch/1", "tokenizer": {"sha256":
//! # "0000000000000000000000000000000000000000000000000000000000000000", "vocab_size": 100, "special_token_ids": []}, "layers":
//! # [{"name": "d", "scheme": "greenlist", "gamma": 0.5, "delta": 2.0, "width": 1, "prf": "chacha20-v1"}], "repeats": "unmarked"}"#;
//! # let signing_key = SigningKey::from_seed(&[3; 32]);
//! # let sign = |kind: &str, payload: &[u8]| dsse::sign(kind, payload, &signing_key);
//! # let envelope = |bytes: &[u8]| dsse::Envelope::parse(bytes, MAX_REGISTRATION);
//! // 1. The head of a tree with one committed key.
//! let (profile, profile_sha256) = (Profile::parse(PROFILE)?, Sha256::digest(PROFILE.as_bytes()).into());
//! let node = NodeKey::root(b"32 bytes of randomness in real use").descend(&"epoch/1/layer/d".parse()?)?;
//! let mut commitments = KeyCommitments::new();
//! commitments.add(&node, Zeroizing::new([2; 32]), profile_sha256, None)?;
//! let tree = commitments.head("2026-11-01T00:00:00Z", vec![], vec![])?;
//! let head = sign(HEAD_TYPE, &tree.payload()?)?;
//!
//! // 2. The test is fixed before there are answers.
//! let prompts = ["Tell me a story.".to_owned()];
//! let leaves = commitments.leaves();
//! let (index, leaf_sha256, leaf) = leaves.find(&tree, node.path(), &profile_sha256)?;
//! let registration = Registration {
//!     registration: REGISTRATION_VERSION.to_owned(),
//!     registered_at: Time::new("2026-11-02T00:00:00Z")?,
//!     question: "Was the suspect trained on our answers?".to_owned(),
//!     suspect: "suspect".to_owned(),
//!     controls: vec![],
//!     references: vec![],
//!     profile_sha256: Digest(profile_sha256),
//!     layer: "d".to_owned(),
//!     key: RegisteredKey {
//!         head_sha256: Digest(Sha256::digest(&head).into()),
//!         index,
//!         leaf_sha256: Digest(leaf_sha256),
//!         path: leaf.path.clone(),
//!         tree_size: tree.size,
//!     },
//!     access: Access::Answers,
//!     weights: Weights::Sqrt,
//!     stopping: Stopping::Fixed,
//!     alpha: 0.01,
//!     resample: 19,
//!     prompts: Prompts::commit_to(&prompts)?.into(),
//!     earlier: vec![],
//! };
//! let registered = sign(REGISTRATION_TYPE, &registration.payload()?)?;
//!
//! // 3. The answers are counted, and tested under the key and under fresh keys.
//! let layer = layer_under(&profile, &testable_layer(&profile, "d")?, &node)?;
//! let records = [EvidenceRecord {
//!     prompt: prompts[0].clone(),
//!     prompt_tokens: vec![7, 8],
//!     quoted: vec![],
//!     round: 0,
//!     text: "Once upon a time".to_owned(),
//!     tokens: (0..60).map(|i| i * i % 97).collect(),
//! }];
//! let sample = count(&layer, registration.weights, &records, &Beside::default())?;
//! let (model, collection) = ("suspect".to_owned(), Collection::NotWitnessed);
//! let suspect = measure(&layer, &sample, &records, Origin { model, collection, collected: None, stopped: false })?;
//! let seed = Resampling::seed(&registered, &suspect.records.root.0);
//! let fresh = sample.resample(&layer, &suspect, &seed, 0..registration.resample)?;
//! let resampling = ResamplingEvidence { seed: Digest(seed), keys: fresh.keys, at_least: fresh.at_least };
//! let signed_at = Time::new("2026-11-04T00:00:00Z")?;
//! let conditions = conditions(&registration, &tree, leaf, &[&suspect], &signed_at);
//! let conclusion = conclude(&registration, layer.scheme(), &suspect, &[], None, &resampling, &conditions);
//! assert_eq!(conclusion.verdict, Verdict::NotDetected);
//!
//! // 4. The statement holds all of it.
//! # let opening = commitments.open(&node, &profile_sha256)?;
//! # let proof = opening.inclusion().1.iter().copied().map(Digest).collect();
//! # let answers = SubjectDigest { sha256: Digest([1; 32]) };
//! let mut statement = Statement {
//!     predicate: Predicate {
//!         suspect,
//!         resampling,
//!         verdict: conclusion.verdict,
//!         registration: envelope(&registered)?,
//!         conditions,
//!         signed_at,
//!         key: KeyEvidence { head: envelope(&head)?, leaf: leaf.clone(), proof, beacon: None, opening: None },
//!         // …
//! #         kind: KIND.to_owned(),
//! #         software: "example".to_owned(),
//! #         null_hypothesis: NULL_HYPOTHESIS.to_owned(),
//! #         alternative_hypothesis: ALTERNATIVE_HYPOTHESIS.to_owned(),
//! #         profile: PROFILE.to_owned(),
//! #         rules: Rules::fixed(),
//! #         controls: vec![],
//! #         references: None,
//! #         prompts: PromptsEvidence { beacon: None, root: Prompts::commit_to(&prompts)?.root },
//! #         family: Family::of_keys(tree.size),
//! #         earlier: vec![],
//! #         decided_by: conclusion.decided_by,
//! #         controls_agree: conclusion.controls_agree,
//! #         exclusion_agrees: conclusion.exclusion_agrees,
//! #         resampling_agrees: conclusion.resampling_agrees,
//! #         answers_present: conclusion.answers_present,
//! #         smallest_effect: conclusion.smallest_effect,
//! #         time_stamps: TimeStamps::default(),
//! #         does_not_show: DOES_NOT_SHOW.map(str::to_owned).to_vec(),
//! #         alternatives: ALTERNATIVES.map(str::to_owned).to_vec(),
//!     },
//! #     type_: STATEMENT_VERSION.to_owned(),
//! #     predicate_type: PREDICATE_TYPE.to_owned(),
//! #     subject: vec![Subject { digest: answers, name: "answers.jsonl".to_owned() }],
//! };
//! let checked = verify(&sign(STATEMENT_TYPE, &statement.payload()?)?);
//! assert_eq!(checked.faults, []);
//!
//! // Whoever signs may write what they like, but the verdict has to follow from the numbers.
//! statement.predicate.verdict = Verdict::Detected;
//! let checked = verify(&sign(STATEMENT_TYPE, &statement.payload()?)?);
//! assert_eq!(checked.faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), [Code::Verdict]);
//! # Ok::<(), watermark_core::Error>(())
//! ```

mod conclusion;
mod condition;
mod conditions;
mod fault;
mod measure;
mod record;
mod references;
mod registration;
mod statement;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_beacons;
#[cfg(test)]
mod tests_beside;
mod verify;

pub use super::fields::{Decimal, Digest, Time};
pub use conclusion::conclude;
pub use condition::{Condition, ConditionName, Standing};
pub use conditions::conditions;
pub(super) use fault::fault;
pub use fault::{Code, Fault};
pub use measure::{Beside, Counted, Origin, count, measure, measure_references};
pub use record::{EvidenceRecord, RecordsDigest, n_empty, parse_records, print_records, prompts_root};
pub use registration::{
    MAX_REGISTRATION, REGISTRATION_TYPE, REGISTRATION_VERSION, RegisteredKey, RegisteredPrompts, RegisteredReference,
    Registration, Stopping,
};
pub use statement::{
    ClassEvidence, Collected, Disclosed, Earlier, ExpectedEvidence, Family, KeyEvidence, LeftOut, Predicate,
    PromptsEvidence, ReferenceEvidence, ReferencesEvidence, ResamplingEvidence, ResidualsEvidence, Rules,
    SampleEvidence, SignedClassEvidence, Statement, Subject, SubjectDigest, TimeStamps,
};
pub(super) use verify::opening;
pub use verify::{Bundle, Checked, close, layer_under, testable_layer, verify};

/// Payload type of a bundle's envelope.
pub const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";

/// `_type` of a statement.
pub const STATEMENT_VERSION: &str = "https://in-toto.io/Statement/v1";

/// `predicateType` of a statement.
pub const PREDICATE_TYPE: &str = "watermark-evidence/2";

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
pub const ALTERNATIVES: [&str; 5] = [
    "marked answers were published, bought or proxied",
    "the prompts dictated marked text in another form",
    "the model read marked text that is no part of the prompts: documents that it looked up, a memory, hidden instructions",
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
    /// The tests under all committed keys, of which one was registered.
    #[must_use]
    pub fn of_keys(tree_size: u64) -> Self {
        Self { method: "bonferroni".to_owned(), size: tree_size }
    }
}
