use serde::Serialize;
use sha2::{Digest as _, Sha256};
use watermark_core::detect::Verdict;
use watermark_core::evidence::PublicKey;
use watermark_core::evidence::bundle::Digest;
use watermark_core::hex;

use super::super::conditions::{headline, verdict};
use super::super::{ConditionFound, Context, Fault};
use super::PairsCheck;

/// The result of `verify` for evidence from pairs: integrity, trust and conclusion are told apart.
#[derive(Debug, Serialize)]
pub struct Verification<'a> {
    /// SHA-256 of the bundle.
    pub evidence_sha256: String,
    /// Signature, form, proofs, numbers and, where given, list, scores and time stamps hold.
    pub integrity: bool,
    /// `trusted` or `not_trusted`; null where no keys were named.
    pub trust: Option<&'static str>,
    /// Everything that does not hold, in the order in which it was looked at.
    pub faults: Vec<Fault<'a>>,
    /// Who signed bundle, registration, key head and ledger head; empty where the bundle could not be taken apart.
    pub signers: Vec<String>,
    /// The verdict with what it rests on; null where there is no result.
    pub headline: Option<String>,
    /// What the verdict is conditioned on, as it stands for this reader.
    pub conditions: &'a [ConditionFound],
    /// Null without integrity, because a result that does not follow is none.
    pub result: Option<StatedResult<'a>>,
    /// Files that were counted again.
    pub recomputed: &'a [String],
    /// What was not looked at, or rests on a signer's word.
    pub not_checked: &'a [String],
    /// What makes the case weaker than its verdict sounds.
    pub cautions: &'a [String],
}

/// The result that a bundle states, if its integrity holds.
#[derive(Debug, Serialize)]
pub struct StatedResult<'a> {
    /// The question, as it was registered.
    pub question: &'a str,
    /// The model that was tested.
    pub suspect: &'a str,
    /// The registered level of the list.
    pub alpha: f64,
    /// The registered family-wise level of the accounts.
    pub accounts_alpha: f64,
    /// The number of committed keys, by which levels are divided.
    pub committed_keys: u64,
    /// Requests in the list.
    pub requests: u64,
    /// Positions with a preference, or without scores.
    pub n_scored: u64,
    /// How many of them the suspect prefers as they were served.
    pub n_served_preferred: u64,
    /// Positions without scores, which count as lost.
    pub n_unscored: u64,
    /// Natural logarithm of the e-value of the list.
    pub ln_e: f64,
    /// Accounts in the list.
    pub accounts: usize,
    /// Pseudonyms of those that are detected.
    pub detected_accounts: Vec<Digest>,
    /// Number of control models.
    pub controls: usize,
    /// Number of earlier analyses that are named.
    pub earlier: usize,
    /// The verdict about the list; inconclusive where a condition fails.
    pub verdict: Verdict,
}

impl<'a> Verification<'a> {
    /// The verification of the bundle `bytes`, from the report that [`super::check`] made of it with `context`.
    #[must_use]
    pub fn new(found: &'a PairsCheck, bytes: &[u8], context: &Context) -> Self {
        let bundle = found.bundle.as_ref();
        let concluded = bundle.filter(|_| found.faults.iter().all(|fault| fault.code.as_str() == "E-TRUST"));
        let result = concluded.map(|bundle| {
            let (predicate, registration) = (&bundle.statement.predicate, &bundle.registration);
            let as_read = |stated| verdict(stated, &found.conditions);
            let detected = predicate.accounts.iter().filter(|one| as_read(one.verdict) == Verdict::Detected);
            StatedResult {
                question: &registration.question,
                suspect: &registration.suspect,
                alpha: registration.alpha,
                accounts_alpha: registration.accounts_alpha,
                committed_keys: registration.key.tree_size,
                requests: predicate.list.requests,
                n_scored: predicate.suspect.n_scored,
                n_served_preferred: predicate.suspect.n_served_preferred,
                n_unscored: predicate.suspect.n_unscored,
                ln_e: predicate.suspect.ln_e,
                accounts: predicate.accounts.len(),
                detected_accounts: detected.map(|account| account.account).collect(),
                controls: registration.controls.len(),
                earlier: registration.earlier.len(),
                verdict: as_read(predicate.verdict),
            }
        });
        Self {
            evidence_sha256: hex::encode(&Sha256::digest(bytes)),
            integrity: found.integrity(),
            trust: found.trusted(context).map(|trusted| if trusted { "trusted" } else { "not_trusted" }),
            faults: found.faults.iter().map(|fault| Fault { code: fault.code.as_str(), what: &fault.what }).collect(),
            signers: bundle.iter().flat_map(|bundle| bundle.signers.iter().map(PublicKey::to_hex)).collect(),
            headline: concluded.map(|bundle| headline(bundle.statement.predicate.verdict, &found.conditions)),
            conditions: &found.conditions,
            result,
            recomputed: &found.recomputed,
            not_checked: &found.not_checked,
            cautions: &found.cautions,
        }
    }
}
