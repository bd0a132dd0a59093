use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest as _, Sha256};
use watermark_core::evidence::beacon::{DrawnValue, committed_sha256};
use watermark_core::evidence::bundle::{
    self, Digest, Earlier, MAX_BUNDLE, MAX_REGISTRATION, Subject, SubjectDigest, Time,
};
use watermark_core::evidence::commitment::{KEY_COMMITMENTS, KeyLeaves};
use watermark_core::evidence::dsse::Envelope;
use watermark_core::evidence::ledger::ANSWERS;
use watermark_core::evidence::pairs::{
    self, KeyEvidence, LedgerEvidence, Predicate, Registration, Statement, TimeStamps, paired_profile,
};
use watermark_core::evidence::{TreeHead, merkle};
use watermark_core::key::NodeKey;

use super::super::build::{MAX_HEAD, outcomes};
use super::super::sample::names_apart;
use super::check::cautions;
use super::numbers::{Given, Numbers};
use crate::files::file_sha256;
use crate::signer::Signer;

/// A registered test of pairs with everything that it needs.
pub struct Case<'a> {
    /// The registration's file.
    pub registration: &'a [u8],
    /// The text of the profile.
    pub profile: &'a str,
    /// A key at or above the profile's path: to show that the requests are those that were planned. It is in no part of the bundle.
    pub key: &'a NodeKey,
    /// The signed head of the key commitments.
    pub head: &'a [u8],
    /// All leaves of that tree.
    pub leaves: &'a KeyLeaves,
    /// The signed head of the ledger.
    pub ledger_head: &'a [u8],
    /// The list file ([`super::open_list`]).
    pub list: &'a Path,
    /// The suspect's scores.
    pub suspect: &'a Path,
    /// The controls' scores, in the registered order.
    pub controls: &'a [PathBuf],
    /// The registered reference's scores.
    pub reference: Option<&'a Path>,
    /// What the registered law says.
    pub law: Option<&'a Path>,
    /// The value that drew the key's beacon, where the profile has one.
    pub beacon: Option<DrawnValue>,
    /// Outcomes of earlier registrations that are known.
    pub earlier: &'a [Earlier],
    /// Time stamps of the heads and of the registration.
    pub time_stamps: TimeStamps,
    /// When the signer says that it signs.
    pub signed_at: Time,
}

/// A signed bundle.
pub struct Written {
    /// The bundle's file.
    pub bundle: Vec<u8>,
    /// The signed statement.
    pub statement: Statement,
    /// What makes the case weaker than its verdict sounds.
    pub cautions: Vec<String>,
}

/// Runs the registered test and signs its evidence. `progress` is told of requests read; an error of it ends the work.
///
/// # Errors
/// If anything is not as registered, cannot be read, or the bundle would not verify. Those of `progress`.
pub fn build(case: &Case<'_>, signer: &Signer, progress: impl Fn(u64) -> Result<()>) -> Result<Written> {
    let (registration, _) = Registration::verify(case.registration).context("registration")?;
    let (profile, sha256) = paired_profile(case.profile).context("profile")?;
    ensure!(sha256 == registration.profile_sha256, "the profile is not the registered one");
    let (head, _) = TreeHead::verify(case.head, KEY_COMMITMENTS).context("head of the key commitments")?;
    let (ledger, _) = TreeHead::verify(case.ledger_head, ANSWERS).context("head of the ledger")?;
    let path = registration.key.path.parse()?;
    let before = committed_sha256(case.profile, &profile)?;
    let (_, _, leaf) = case.leaves.find(&head, &path, &before).context("leaves")?;
    registration.key.check_leaf(leaf, &head).context("the leaves are of another key than registered")?;
    let layer = profile.paired_key(case.key)?.context("the profile has no paired draws")?;
    let requests = leaf.requests.as_ref().context("the committed key has no requests; commit with --requests")?;
    let requests_proof = requests.proof(&layer, ledger.size).with_context(|| {
        format!("the key is not the one whose {} requests of {:?} were committed to", requests.count, requests.ledger)
    })?;
    ensure!(
        case.controls.len() == registration.controls.len(),
        "{} controls are registered and {} files given; name one for each with --controls, in the same order",
        registration.controls.len(),
        case.controls.len()
    );
    for (given, registered, what) in
        [(case.reference, &registration.reference, "reference"), (case.law, &registration.law, "law")]
    {
        match (given, registered) {
            (None, None) => (),
            (Some(path), Some(registered)) if Digest(file_sha256(path)?) == registered.sha256 => (),
            _ => {
                bail!("the registered {what} is another file, or one of both is missing: give just the registered one")
            }
        }
    }

    let controls = case.controls.iter().map(|path| Some(path.as_path()));
    let given = Given {
        list: Some(case.list),
        models: std::iter::once(Some(case.suspect)).chain(controls).collect(),
        reference: case.reference,
        law: case.law,
    };
    let paths: Vec<&Path> = [case.list]
        .into_iter()
        .chain(given.models.iter().copied().chain([given.reference, given.law]).flatten())
        .collect();
    let subject = paths.iter().zip(names_apart(&paths)?).map(|(path, name)| {
        let sha256 = Digest(file_sha256(path).with_context(|| path.display().to_string())?);
        Ok(Subject { digest: SubjectDigest { sha256 }, name })
    });
    let subject = subject.collect::<Result<_>>()?;
    let Numbers { list, suspect, controls, reference, draws, accounts, .. } =
        Numbers::new(case.list, &given, &profile, &registration, true, progress)?;

    let hashes = case.leaves.list().iter().map(|leaf| leaf.hash()).collect::<Result<Vec<_>, _>>()?;
    let proof = merkle::inclusion_proof(&hashes, usize::try_from(registration.key.index)?);
    let conditions = pairs::conditions(&registration, &head, &ledger, leaf);
    let mut predicate = Predicate {
        kind: pairs::KIND.to_owned(),
        signed_at: case.signed_at.clone(),
        software: concat!("watermark ", env!("CARGO_PKG_VERSION")).to_owned(),
        null_hypothesis: pairs::NULL_HYPOTHESIS.to_owned(),
        alternative_hypothesis: pairs::ALTERNATIVE_HYPOTHESIS.to_owned(),
        registration: Envelope::parse(case.registration, MAX_REGISTRATION)?,
        profile: case.profile.to_owned(),
        key: KeyEvidence {
            beacon: case.beacon.clone(),
            head: Envelope::parse(case.head, MAX_HEAD)?,
            leaf: leaf.clone(),
            proof: proof.unwrap_or_default().into_iter().map(Digest).collect(),
        },
        ledger: LedgerEvidence {
            head: Envelope::parse(case.ledger_head, MAX_HEAD)?,
            requests_proof: requests_proof.into_iter().map(Digest).collect(),
        },
        list,
        suspect,
        controls,
        reference,
        draws,
        accounts,
        controls_agree: false,
        reference_agrees: false,
        draws_agree: false,
        conditions,
        verdict: watermark_core::detect::Verdict::Inconclusive,
        earlier: outcomes(&registration.earlier, case.earlier)?,
        time_stamps: case.time_stamps.clone(),
        does_not_show: bundle::DOES_NOT_SHOW.map(str::to_owned).to_vec(),
        alternatives: pairs::ALTERNATIVES.map(str::to_owned).to_vec(),
    };
    let conclusion = predicate.conclusion(&registration, &predicate.conditions);
    predicate.controls_agree = conclusion.controls_agree;
    predicate.reference_agrees = conclusion.reference_agrees;
    predicate.draws_agree = conclusion.draws_agree;
    predicate.verdict = conclusion.verdict;
    for (account, verdict) in predicate.accounts.iter_mut().zip(conclusion.accounts) {
        account.verdict = verdict;
    }
    let statement = Statement {
        type_: bundle::STATEMENT_VERSION.to_owned(),
        predicate_type: pairs::PREDICATE_TYPE.to_owned(),
        subject,
        predicate,
    };
    let bundle = signer.sign(bundle::STATEMENT_TYPE, &statement.payload()?)?;
    // A bundle with a fault is not written, because it would convince nobody.
    let checked = pairs::verify(&bundle);
    if let Some(fault) = checked.faults.first() {
        bail!("the run is not what was registered: {} ({})", fault.what, fault.code);
    }
    let cautions = checked.bundle.as_ref().map(cautions).unwrap_or_default();
    Ok(Written { bundle, statement, cautions })
}

/// The outcome of an earlier registration, from the bundle that was made of it.
///
/// # Errors
/// If it is no bundle that holds.
pub fn earlier(evidence: &[u8]) -> Result<Earlier> {
    ensure!(evidence.len() <= MAX_BUNDLE, "it is too large");
    let checked = pairs::verify(evidence);
    if let Some(fault) = checked.faults.first() {
        bail!("it does not hold: {} ({})", fault.what, fault.code);
    }
    let bundle = checked.bundle.ok_or_else(|| anyhow!("it holds nothing"))?;
    Ok(Earlier {
        registration_sha256: Digest(Sha256::digest(&bundle.envelopes[2]).into()),
        evidence_sha256: Some(Digest(Sha256::digest(evidence).into())),
        verdict: Some(bundle.statement.predicate.verdict),
    })
}
