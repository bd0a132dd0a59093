use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use sha2::{Digest as _, Sha256};
use watermark_core::detect::{LayerDetector, Resampling};
use watermark_core::evidence::beacon::DrawnValue;
use watermark_core::evidence::bundle::{
    self, Beside, Counted, Digest, Disclosed, Earlier, EvidenceRecord, Family, KeyEvidence, MAX_BUNDLE,
    MAX_REGISTRATION, Predicate, PromptsEvidence, RegisteredPrompts, Registration, ResamplingEvidence, Rules,
    SampleEvidence, Statement, Time, TimeStamps,
};
use watermark_core::evidence::commitment::{KEY_COMMITMENTS, KeyOpening};
use watermark_core::evidence::dsse::Envelope;
use watermark_core::evidence::prompts::{self, Prompts, prompt_leaf};
use watermark_core::evidence::{TreeHead, merkle};
use watermark_core::hex;
use watermark_core::profile::Profile;
use zeroize::Zeroizing;

use super::cautions::cautions;
use super::sample::{Answers, is_reference, names_apart};
use crate::detect::in_parts;
use crate::signer::Signer;
use crate::tokenizer::Tokenizer;

/// A signed head is some 700 bytes.
pub(super) const MAX_HEAD: usize = 1 << 14;

/// A registered test with everything that it needs.
pub struct Case<'a> {
    /// The registration's file.
    pub registration: &'a [u8],
    /// The text of the profile.
    pub profile: &'a str,
    /// The signed head of the key commitments.
    pub head: &'a [u8],
    /// The tested layer's key.
    pub opening: &'a KeyOpening,
    /// Whether the bundle holds the key, so that others can recompute the scores.
    pub disclose: bool,
    /// The value that drew the key's beacon, where the profile has one.
    pub beacon: Option<DrawnValue>,
    /// The prompts: the registered ones or, where a draw is registered, the pool.
    pub prompts: &'a [String],
    /// The value that draws from the pool.
    pub draw: Option<DrawnValue>,
    /// The tokenizer that the profile names.
    pub tokenizer: &'a Tokenizer,
    /// The suspect's answers.
    pub suspect: &'a Path,
    /// The controls', in the order of their registered names.
    pub controls: &'a [PathBuf],
    /// The references', in the order of their registered names.
    pub references: &'a [PathBuf],
    /// Outcomes of earlier registrations ([`earlier`]). A registration without an outcome was not run.
    pub earlier: &'a [Earlier],
    /// Time stamps by others.
    pub time_stamps: TimeStamps,
    /// When the signer says that it signs.
    pub signed_at: Time,
}

/// A signed bundle with its records.
pub struct Written {
    /// The bundle's file.
    pub bundle: Vec<u8>,
    /// The signed statement.
    pub statement: Statement,
    /// Records files: the suspect's, then the controls', then the references'.
    pub records: Vec<Vec<u8>>,
    /// What makes the case weaker than its verdict sounds.
    pub cautions: Vec<String>,
}

/// Runs the registered test and signs its evidence. `progress` is told of fresh keys done; an error of it ends the work.
///
/// # Errors
/// If anything is not as registered, cannot be read, or the bundle would not verify. Those of `progress`.
pub fn build(case: Case<'_>, signer: &Signer, progress: &(dyn Fn(u64) -> Result<()> + Sync)) -> Result<Written> {
    let (registration, _) = Registration::verify(case.registration).context("registration")?;
    let profile_sha256 = Digest(Sha256::digest(case.profile.as_bytes()).into());
    ensure!(profile_sha256 == registration.profile_sha256, "the profile is not the registered one");
    let profile = Profile::parse(case.profile).context("profile")?;
    let layer = bundle::testable_layer(&profile, &registration.layer)?;
    let (head, _) = TreeHead::verify(case.head, KEY_COMMITMENTS).context("head of the key commitments")?;
    ensure!(Sha256::digest(case.head)[..] == registration.key.head_sha256.0, "the head is not the registered one");
    let node = case.opening.verify(&head)?;
    let leaf = case.opening.leaf();
    registration.key.check_leaf(&leaf, &head).context("the opening is of another key than registered")?;
    let detector = bundle::layer_under(&profile, &layer, node)?;
    let prompts = prompts(&case, &registration)?;
    ensure!(
        case.controls.len() == registration.controls.len(),
        "{} controls are registered and {} files given; name one for each with --controls, in the same order",
        registration.controls.len(),
        case.controls.len()
    );
    ensure!(
        case.references.len() == registration.references.len(),
        "{} references are registered and {} files given; name one for each with --reference, in the same order",
        registration.references.len(),
        case.references.len()
    );

    let (vocab_size, stopping) = (profile.tokenizer.vocab_size, registration.stopping);
    let read = |path: &Path, model: &str| Answers::read(path, model, case.tokenizer, vocab_size, stopping);
    let mut samples = vec![read(case.suspect, &registration.suspect)?];
    for (path, model) in case.controls.iter().zip(&registration.controls) {
        samples.push(read(path, model)?);
    }
    if samples[0].origin.stopped && !registration.references.is_empty() {
        bail!("the suspect's collection was stopped by its evidence; beside references every prompt is answered");
    }
    let asked: HashSet<&str> = prompts.iter().map(String::as_str).collect();
    for (path, registered) in case.references.iter().zip(&registration.references) {
        let answers = read(path, &registered.model)?;
        ensure!(
            answers.subject.digest.sha256 == registered.sha256,
            "reference {} is not the registered file: its SHA-256 is another",
            path.display()
        );
        samples.push(answers.of_reference(&asked)?);
    }
    let given = case.controls.iter().chain(case.references).map(PathBuf::as_path);
    let paths: Vec<&Path> = std::iter::once(case.suspect).chain(given).collect();
    for (answers, name) in samples.iter_mut().zip(names_apart(&paths)?) {
        answers.subject.name = name;
    }
    let (tested, references) = samples.split_at(1 + case.controls.len());
    let beside: Vec<Vec<EvidenceRecord>> = references.iter().map(|answers| answers.records.clone()).collect();
    if let Some(answers) = tested.iter().find(|answers| is_reference(&answers.records, &beside)) {
        bail!(
            "most answers of {:?} are also those of a reference, which has to be another model",
            answers.origin.model
        );
    }
    let of = |answers: &Answers, mixture: Option<&[u32]>| {
        let beside = Beside { references: &beside, mixture };
        measure(&detector, &registration, answers, &beside, &prompts)
    };
    let (suspect, counted) = of(&tested[0], None)?;
    let mixture = suspect.residuals.as_ref().map(|residuals| residuals.mixture.as_slice());
    let measured = tested[1..].iter().map(|answers| of(answers, mixture)).collect::<Result<Vec<_>>>()?;
    let named: Vec<(&str, &[EvidenceRecord])> =
        references.iter().map(|answers| (answers.origin.model.as_str(), answers.records.as_slice())).collect();
    let references = bundle::measure_references(&detector, &counted, &named)?;
    let seed = Resampling::seed(case.registration, &suspect.records.root.0);
    let resampling = fresh_keys(&seed, &detector, &registration, &counted, &suspect, progress)?;
    let controls: Vec<SampleEvidence> = measured.into_iter().map(|(control, _)| control).collect();
    let all: Vec<&SampleEvidence> = std::iter::once(&suspect).chain(&controls).collect();
    let conditions = bundle::conditions(&registration, &head, &leaf, &all, &case.signed_at);
    let conclusion = bundle::conclude(
        &registration,
        layer.scheme,
        &suspect,
        &controls,
        references.as_ref(),
        &resampling,
        &conditions,
    );

    let (_, proof) = case.opening.inclusion();
    let disclosed = || Disclosed {
        node: Zeroizing::new(hex::encode(node.secret())),
        salt: Zeroizing::new(hex::encode(case.opening.salt())),
    };
    let statement = Statement {
        type_: bundle::STATEMENT_VERSION.to_owned(),
        predicate_type: bundle::PREDICATE_TYPE.to_owned(),
        subject: samples.iter().map(|answers| answers.subject.clone()).collect(),
        predicate: Predicate {
            kind: bundle::KIND.to_owned(),
            signed_at: case.signed_at,
            software: concat!("watermark ", env!("CARGO_PKG_VERSION")).to_owned(),
            null_hypothesis: bundle::NULL_HYPOTHESIS.to_owned(),
            alternative_hypothesis: bundle::ALTERNATIVE_HYPOTHESIS.to_owned(),
            registration: Envelope::parse(case.registration, MAX_REGISTRATION)?,
            profile: case.profile.to_owned(),
            key: KeyEvidence {
                head: Envelope::parse(case.head, MAX_HEAD)?,
                leaf,
                proof: proof.iter().copied().map(Digest).collect(),
                beacon: case.beacon,
                opening: case.disclose.then(disclosed),
            },
            prompts: PromptsEvidence { beacon: case.draw, root: Prompts::commit_to(&prompts)?.root },
            rules: Rules::fixed(),
            suspect,
            controls,
            references,
            resampling,
            family: Family::of_keys(head.size),
            earlier: outcomes(&registration.earlier, case.earlier)?,
            decided_by: conclusion.decided_by,
            controls_agree: conclusion.controls_agree,
            exclusion_agrees: conclusion.exclusion_agrees,
            conditions,
            resampling_agrees: conclusion.resampling_agrees,
            answers_present: conclusion.answers_present,
            smallest_effect: conclusion.smallest_effect,
            verdict: conclusion.verdict,
            time_stamps: case.time_stamps,
            does_not_show: bundle::DOES_NOT_SHOW.map(str::to_owned).to_vec(),
            alternatives: bundle::ALTERNATIVES.map(str::to_owned).to_vec(),
        },
    };
    let bundle = signer.sign(bundle::STATEMENT_TYPE, &statement.payload()?)?;
    // A bundle with a fault is not written, because it would convince nobody.
    let checked = bundle::verify(&bundle);
    if let Some(fault) = checked.faults.first() {
        bail!("the run is not what was registered: {} ({})", fault.what, fault.code);
    }
    let cautions = checked.bundle.as_ref().map(|bundle| cautions(bundle, Some(case.tokenizer))).unwrap_or_default();
    let records = samples.iter().map(|answers| Ok(bundle::print_records(&answers.records)?)).collect::<Result<_>>()?;
    Ok(Written { bundle, statement, records, cautions })
}

/// The prompts of the test: the registered ones, or those that the drawn value chooses from the registered pool.
fn prompts(case: &Case<'_>, registration: &Registration) -> Result<Vec<String>> {
    let (given, registered) = (Prompts::commit_to(case.prompts)?, &registration.prompts);
    let Some(draw) = &registered.draw else {
        ensure!(
            RegisteredPrompts::from(given) == *registered,
            "the prompts are not the registered ones; give the same file as to `watermark register`"
        );
        return Ok(case.prompts.to_vec());
    };
    ensure!(
        given == draw.pool,
        "the prompts are not the registered pool; give the same file as to `watermark register --pool`"
    );
    let value = case.draw.as_ref().with_context(|| {
        format!("a draw is registered; give the value of round {} of {}", draw.beacon.round, draw.beacon.source)
    })?;
    let count = usize::try_from(registered.count)?;
    Ok(prompts::draw(&value.value.0, case.prompts, count).into_iter().cloned().collect())
}

/// Tests one sample beside the references' records, with the proof that its prompts are the first of the registered ones.
fn measure(
    detector: &LayerDetector,
    registration: &Registration,
    answers: &Answers,
    beside: &Beside<'_>,
    prompts: &[String],
) -> Result<(SampleEvidence, Counted)> {
    let name = &answers.subject.name;
    let mut registered = prompts.iter();
    for (at, record) in (1_u64..).zip(&answers.records) {
        ensure!(
            registered.next() == Some(&record.prompt),
            "{name}: answer {at} is to another prompt than the registered one; every prompt is answered once, in order"
        );
    }
    let counted = bundle::count(detector, registration.weights, &answers.records, beside)?;
    let mut evidence = bundle::measure(detector, &counted, &answers.records, answers.origin.clone())?;
    if answers.records.len() < prompts.len() {
        let leaves = prompts.iter().map(|prompt| prompt_leaf(prompt)).collect::<Result<Vec<_>, _>>()?;
        let proof = merkle::consistency_proof(&leaves, answers.records.len());
        evidence.prompts_proof = proof.unwrap_or_default().into_iter().map(Digest).collect();
    }
    Ok((evidence, counted))
}

/// The suspect's pairs under the fresh keys of a seed.
pub(super) fn fresh_keys(
    seed: &[u8; 32],
    detector: &LayerDetector,
    registration: &Registration,
    counted: &Counted,
    evidence: &SampleEvidence,
    progress: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<ResamplingEvidence> {
    let keys = if evidence.n_scored == 0 { 0 } else { registration.resample };
    let part = |range| Ok(counted.resample(detector, evidence, seed, range)?);
    let fresh = in_parts(keys, part, progress)?;
    Ok(ResamplingEvidence { seed: Digest(*seed), keys: fresh.keys, at_least: fresh.at_least })
}

/// The outcome of an earlier registration, from the bundle that was made of it.
///
/// # Errors
/// If it is no bundle that holds.
pub fn earlier(evidence: &[u8]) -> Result<Earlier> {
    ensure!(evidence.len() <= MAX_BUNDLE, "it is too large");
    let checked = bundle::verify(evidence);
    if let Some(fault) = checked.faults.first() {
        bail!("it does not hold: {} ({})", fault.what, fault.code);
    }
    let bundle = checked.bundle.ok_or_else(|| anyhow!("it holds nothing"))?;
    Ok(Earlier {
        registration_sha256: Digest(Sha256::digest(&bundle.registration_bytes).into()),
        evidence_sha256: Some(Digest(Sha256::digest(evidence).into())),
        verdict: Some(bundle.statement.predicate.verdict),
    })
}

/// What came of each registered earlier analysis, as far as it is known.
pub(super) fn outcomes(registered: &[Digest], known: &[Earlier]) -> Result<Vec<Earlier>> {
    if let Some(other) = known.iter().find(|known| !registered.contains(&known.registration_sha256)) {
        bail!(
            "an earlier analysis was made under registration {}, which this one does not name",
            other.registration_sha256
        );
    }
    let outcome = |&registration_sha256: &Digest| {
        let of_it = known.iter().find(|known| known.registration_sha256 == registration_sha256).cloned();
        of_it.unwrap_or(Earlier { registration_sha256, evidence_sha256: None, verdict: None })
    };
    Ok(registered.iter().map(outcome).collect())
}
