use serde::Serialize;
use sha2::{Digest as _, Sha256};
use watermark_core::detect::Verdict;
use watermark_core::evidence::PublicKey;
use watermark_core::evidence::bundle::Decimal;
use watermark_core::hex;

use super::conditions::{headline, verdict};
use super::{BundleCheck, ConditionFound, Context};

/// The result of `verify`: integrity, trust and conclusion are told apart.
#[derive(Debug, Serialize)]
pub struct Verification<'a> {
    /// SHA-256 of the bundle.
    pub evidence_sha256: String,
    /// Signature, form, proofs, numbers and, where given, data and time stamps hold.
    pub integrity: bool,
    /// `trusted` or `not_trusted`; null where no keys were named.
    pub trust: Option<&'static str>,
    /// Everything that does not hold, in the order in which it was looked at.
    pub faults: Vec<Fault<'a>>,
    /// Null where the bundle could not be taken apart.
    pub signers: Option<Signers>,
    /// Null where the bundle could not be taken apart.
    pub times: Option<Times<'a>>,
    /// The verdict with what it rests on; null where there is no result.
    pub headline: Option<String>,
    /// What the verdict is conditioned on, as it stands for this reader.
    pub conditions: &'a [ConditionFound],
    /// Null without integrity, because a result that does not follow is none; and where ids were counted again without their texts.
    pub result: Option<StatedResult<'a>>,
    /// Files whose records were counted and scored again.
    pub recomputed: &'a [String],
    /// What was not looked at, or rests on a signer's word.
    pub not_checked: &'a [String],
    /// What makes the case weaker than its verdict sounds.
    pub cautions: &'a [String],
}

/// Something that does not hold.
#[derive(Debug, Serialize)]
pub struct Fault<'a> {
    /// The step that found it (verify/FORMAT.md, section 7).
    pub code: &'static str,
    /// The fault in words.
    pub what: &'a str,
}

/// Public keys of who signed, as hexadecimal digits.
#[derive(Debug, Serialize)]
pub struct Signers {
    /// The key that signed the bundle.
    pub bundle: String,
    /// The key that signed the registration.
    pub registration: String,
    /// The key that signed the head of the key commitments.
    pub head: String,
}

/// The signers' clocks, and what others' time stamps say.
#[derive(Debug, Serialize)]
pub struct Times<'a> {
    /// When the key was committed to.
    pub head: &'a str,
    /// When the test was registered.
    pub registration: &'a str,
    /// When the bundle was signed.
    pub bundle: &'a str,
    /// The time of the head's time stamp, if the stamp holds.
    pub head_time_stamp: Option<&'a str>,
    /// The time of the registration's time stamp, if the stamp holds.
    pub registration_time_stamp: Option<&'a str>,
}

/// The result that a bundle states, if its integrity holds.
#[derive(Debug, Serialize)]
pub struct StatedResult<'a> {
    /// The question, as it was registered.
    pub question: &'a str,
    /// The model that was tested.
    pub suspect: &'a str,
    /// The layer's name.
    pub layer: &'a str,
    /// The registered level.
    pub alpha: f64,
    /// The number of committed keys, by which the level is divided.
    pub committed_keys: u64,
    /// Distinct pairs.
    pub n_scored: u64,
    /// Answers without text.
    pub n_empty: u64,
    /// The statistic of the registered test.
    pub statistic: Decimal<i128>,
    /// log10 of a bound of its tail.
    pub log10_p: f64,
    /// Natural logarithm of the e-value.
    pub ln_e: f64,
    /// Number of control models.
    pub controls: usize,
    /// Number of references.
    pub references: usize,
    /// Number of earlier analyses that are named.
    pub earlier: usize,
    /// The verdict; inconclusive where a condition fails.
    pub verdict: Verdict,
}

impl<'a> Verification<'a> {
    /// The verification of the bundle `bytes`, from the report that [`super::check`] made of it with `context`.
    #[must_use]
    pub fn new(found: &'a BundleCheck, bytes: &[u8], context: &Context) -> Self {
        let bundle = found.bundle.as_ref();
        let concluded = bundle.filter(|_| found.concludes());
        Self {
            evidence_sha256: hex::encode(&Sha256::digest(bytes)),
            integrity: found.integrity(),
            trust: found.trusted(context).map(|trusted| if trusted { "trusted" } else { "not_trusted" }),
            faults: found.faults.iter().map(|fault| Fault { code: fault.code.as_str(), what: &fault.what }).collect(),
            signers: bundle.map(|bundle| {
                let [bundle, registration, head] = bundle.signers.each_ref().map(PublicKey::to_hex);
                Signers { bundle, registration, head }
            }),
            times: bundle.map(|bundle| Times {
                head: &bundle.head.signed_at,
                registration: bundle.registration.registered_at.as_str(),
                bundle: bundle.statement.predicate.signed_at.as_str(),
                head_time_stamp: found.time_stamps[0].as_deref(),
                registration_time_stamp: found.time_stamps[1].as_deref(),
            }),
            headline: concluded.map(|bundle| headline(bundle.statement.predicate.verdict, &found.conditions)),
            conditions: &found.conditions,
            result: concluded.map(|bundle| {
                let (predicate, registration) = (&bundle.statement.predicate, &bundle.registration);
                StatedResult {
                    question: &registration.question,
                    suspect: &registration.suspect,
                    layer: &registration.layer,
                    alpha: registration.alpha,
                    committed_keys: registration.key.tree_size,
                    n_scored: predicate.suspect.n_scored,
                    n_empty: predicate.suspect.n_empty,
                    statistic: predicate.suspect.statistic,
                    log10_p: predicate.suspect.log10_p,
                    ln_e: predicate.suspect.ln_e,
                    controls: predicate.controls.len(),
                    references: bundle.references().len(),
                    earlier: predicate.earlier.len(),
                    verdict: verdict(predicate.verdict, &found.conditions),
                }
            }),
            recomputed: &found.recomputed,
            not_checked: &found.not_checked,
            cautions: &found.cautions,
        }
    }
}
