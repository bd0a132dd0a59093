use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use watermark_core::evidence::PublicKey;
use watermark_core::evidence::bundle::{
    self, Bundle, Checked, Code, Digest, EvidenceRecord, Fault, LeftOut, Origin, SampleEvidence, Subject, close,
};
use watermark_core::evidence::prompts::{self, Prompts};
use watermark_core::hex;

use super::build::fresh_keys;
use super::cautions::cautions;
use super::conditions::{ConditionFound, Seen, conditions};
use super::drand;
use super::sample::Answers;
use crate::files::{file_sha256, read_bounded};
use crate::ids::Vocabulary;
use crate::model_test::item_of_text;
use crate::read::read_prompts;
use crate::timestamp::{self, TimeStamp};
use crate::tokenizer::Tokenizer;

/// How much of a bundle is read: twice what the core takes, so that a bundle somewhat too large is a finding with a code and only
/// one beyond that a file that cannot be read.
pub const MAX_BUNDLE: u64 = 2 * bundle::MAX_BUNDLE as u64;

/// The largest records file.
pub(crate) const MAX_RECORDS: u64 = 1 << 34;

/// What a reader has besides the bundle.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Answer files and records files, in any order.
    pub data: Vec<PathBuf>,
    /// The pool that the prompts were drawn from.
    pub pool: Option<PathBuf>,
    /// The mark's tokenizer; default: as for `watermark detect`, beside the bundle.
    pub tokenizer: Option<PathBuf>,
    /// The keys whose signatures count; empty: whoever signed.
    pub trusted: Vec<PublicKey>,
    /// Certificates (PEM) that time stamps must chain to.
    pub authority: Option<PathBuf>,
}

/// The result of a check.
#[derive(Debug)]
pub struct BundleCheck {
    /// Everything that does not hold, in the order in which it was looked at.
    pub faults: Vec<Fault>,
    /// The bundle, if it could be taken apart.
    pub bundle: Option<Bundle>,
    /// Files whose records were counted and scored again.
    pub recomputed: Vec<String>,
    /// Times of time stamps that hold: the head's, the registration's.
    pub time_stamps: [Option<String>; 2],
    /// What the verdict is conditioned on, as it stands for this reader; empty if the bundle could not be taken apart.
    pub conditions: Vec<ConditionFound>,
    /// Whether the stated result is withheld: ids were counted again whose texts could not be.
    pub withheld: bool,
    /// What was not looked at, or rests on a signer's word.
    pub not_checked: Vec<String>,
    /// What makes the case weaker than its verdict sounds ([`cautions`]).
    pub cautions: Vec<String>,
}

impl BundleCheck {
    /// Whether signature, form, proofs, numbers and, where given, data and time stamps hold. Trust in the signers is
    /// another question, and a file of something else says nothing about the bundle.
    #[must_use]
    pub fn integrity(&self) -> bool {
        self.faults.iter().all(|fault| matches!(fault.code, Code::Trust | Code::Data))
    }

    /// Whether there is a result to state: everything holds, trust apart, and no ids were counted without their texts.
    #[must_use]
    pub fn concludes(&self) -> bool {
        !self.withheld && self.faults.iter().all(|fault| fault.code == Code::Trust)
    }

    /// Whether everybody who signed is trusted; `None` where no keys were named, or nobody is known to have signed.
    #[must_use]
    pub fn trusted(&self, context: &Context) -> Option<bool> {
        let asked = !context.trusted.is_empty() && self.bundle.is_some();
        asked.then(|| self.faults.iter().all(|fault| fault.code != Code::Trust))
    }

    fn fail(&mut self, code: Code, what: String) {
        self.faults.push(Fault { code, what });
    }
}

/// Checks a bundle, beside its data where they are given. `progress` is told of fresh keys done; an error of it ends the work.
///
/// # Errors
/// If a file cannot be read, or `openssl` is needed and missing. Those of `progress`.
pub fn check(
    path: &Path,
    bytes: &[u8],
    context: &Context,
    progress: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<BundleCheck> {
    let Checked { faults, bundle } = bundle::verify(bytes);
    let mut check = BundleCheck {
        faults,
        bundle: None,
        recomputed: Vec::new(),
        time_stamps: [None, None],
        conditions: Vec::new(),
        withheld: false,
        not_checked: Vec::new(),
        cautions: Vec::new(),
    };
    if let Some(authority) = &context.authority {
        File::open(authority).with_context(|| format!("authority {}", authority.display()))?;
    }
    let Some(bundle) = bundle else { return Ok(check) };
    let (sound, mut given) = (check.faults.is_empty(), Vec::new());
    let mut seen = Seen { now: timestamp::now(), ..Seen::default() };
    let tokenizer = Tokenizer::for_profile(context.tokenizer.as_deref(), path, &bundle.profile.tokenizer);
    stamps(&bundle, context, &mut check)?;
    seen.time_stamps.clone_from(&check.time_stamps);
    beacons(&bundle, &mut seen, &mut check)?;
    if sound {
        for file in &context.data {
            let named = || format!("data {}", file.display());
            let sha256 = Digest(file_sha256(file).with_context(named)?);
            data(&bundle, file, sha256, &tokenizer, &mut check, progress).with_context(named)?;
            given.push(sha256);
        }
        if let Some(pool) = &context.pool {
            draw_again(&bundle, pool, &mut seen, &mut check)?;
        }
        // A file that a subject names is read as answers, whoever's records it may be too.
        let as_records = |sha256: &Digest| {
            given.contains(sha256) && bundle.statement.subject.iter().all(|subject| subject.digest.sha256 != *sha256)
        };
        let is_given = |(sample, subject): (&SampleEvidence, &Subject)| {
            given.contains(&subject.digest.sha256) || as_records(&sample.records.sha256)
        };
        let complete = bundle.samples().zip(&bundle.statement.subject).all(is_given);
        seen.tokens_made_again = complete && tokenizer.is_ok() && check.faults.is_empty();
    } else if !context.data.is_empty() {
        check.not_checked.push("the data, because the bundle itself does not hold".to_owned());
    }
    if !context.trusted.is_empty() {
        for (signer, signed) in bundle.signers.iter().zip(["bundle", "registration", "head of the key commitments"]) {
            if !context.trusted.contains(signer) {
                check.fail(Code::Trust, format!("the {signed} is signed by {}, which is not trusted", signer.to_hex()));
            }
        }
    }
    open_points(&bundle, context, &given, &mut check);
    check.conditions = conditions(&bundle, &seen);
    check.cautions = cautions(&bundle, tokenizer.as_ref().ok());
    check.bundle = Some(bundle);
    Ok(check)
}

fn stamps(bundle: &Bundle, context: &Context, check: &mut BundleCheck) -> Result<()> {
    let stamps = &bundle.statement.predicate.time_stamps;
    let all = [
        (&stamps.head, &bundle.head_bytes, "head"),
        (&stamps.registration, &bundle.registration_bytes, "registration"),
    ];
    for (at, (stamp, bytes, stamped)) in all.into_iter().enumerate() {
        match (stamp, &context.authority) {
            (None, _) => check.not_checked.push(format!("the time of the {stamped}: it is its signer's own clock")),
            (Some(_), None) => check.not_checked.push(format!("the time stamp of the {stamped}: name its --authority")),
            (Some(stamp), Some(authority)) => {
                let response = STANDARD.decode(stamp).unwrap_or_default();
                match timestamp::verify_bytes(&response, &hex::encode(&Sha256::digest(bytes)), authority)? {
                    TimeStamp::Holds(time) => check.time_stamps[at] = Some(time),
                    TimeStamp::DoesNotHold(why) => check.fail(Code::TimeStamp, format!("the {stamped}: {why}")),
                }
            }
        }
    }
    Ok(())
}

/// Verifies the values that went into the key and that drew the prompts by their sources' signatures.
fn beacons(bundle: &Bundle, seen: &mut Seen, check: &mut BundleCheck) -> Result<()> {
    let predicate = &bundle.statement.predicate;
    let draw = bundle.registration.prompts.draw.as_ref().map(|draw| &draw.beacon);
    for (round, drawn, found, what) in [
        (predicate.key.leaf.beacon.as_ref(), &predicate.key.beacon, &mut seen.key_beacon, "went into the key"),
        (draw, &predicate.prompts.beacon, &mut seen.draw, "drew the prompts"),
    ] {
        let (Some(round), Some(drawn)) = (round, drawn) else { continue };
        *found = drand::verifies(round, drawn)?;
        match found {
            Some(true) => (),
            Some(false) => check.fail(
                Code::Beacon,
                format!("the value that {what} is not signed as round {} of {}", round.round, round.source),
            ),
            None => check.not_checked.push(format!(
                "that round {} of {} had the value {}, which {what}: look it up where it comes from",
                round.round, round.source, drawn.value
            )),
        }
    }
    Ok(())
}

/// Draws the prompts from the pool again.
fn draw_again(bundle: &Bundle, pool: &Path, seen: &mut Seen, check: &mut BundleCheck) -> Result<()> {
    let (registered, predicate) = (&bundle.registration.prompts, &bundle.statement.predicate);
    let (Some(draw), Some(drawn)) = (&registered.draw, &predicate.prompts.beacon) else {
        check.not_checked.push("the pool: no draw of prompts is registered".to_owned());
        return Ok(());
    };
    let prompts = read_prompts(pool)?;
    if Prompts::commit_to(&prompts)? != draw.pool {
        check.fail(Code::Prompts, format!("{}: not the registered pool", pool.display()));
        return Ok(());
    }
    let count = usize::try_from(registered.count).unwrap_or(usize::MAX);
    let chosen: Vec<String> = prompts::draw(&drawn.value.0, &prompts, count).into_iter().cloned().collect();
    if Prompts::commit_to(&chosen)?.root == predicate.prompts.root {
        seen.drawn_again = true;
    } else {
        check.fail(Code::Prompts, "the prompts are not those that the value draws from the pool".to_owned());
    }
    Ok(())
}

fn data(
    bundle: &Bundle,
    file: &Path,
    sha256: Digest,
    tokenizer: &Result<Tokenizer>,
    check: &mut BundleCheck,
    progress: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<()> {
    let shown = file.display().to_string();
    // A bundle may name one file for two models; what it says of each is looked at.
    let subjects = bundle.samples().zip(&bundle.statement.subject);
    let answered = subjects.filter(|(_, subject)| subject.digest.sha256 == sha256);
    let answered: Vec<&SampleEvidence> = answered.map(|(sample, _)| sample).collect();
    let recorded: Vec<&SampleEvidence> =
        bundle.samples().filter(|sample| sample.records.sha256 == sha256 && answered.is_empty()).collect();
    if answered.is_empty() && recorded.is_empty() {
        check.fail(Code::Data, format!("{shown} has SHA-256 {sha256}: no file that the bundle is about"));
        return Ok(());
    }
    for sample in answered {
        if let Some(records) = of_answers(bundle, sample, file, tokenizer, check)? {
            recompute(bundle, sample, &records, &shown, check, progress)?;
        }
    }
    for sample in recorded {
        if let Some(records) = of_records(bundle, file, tokenizer, check)? {
            recompute(bundle, sample, &records, &shown, check, progress)?;
        }
    }
    Ok(())
}

/// The records of an answer file; none where it is not what the bundle says of it.
fn of_answers(
    bundle: &Bundle,
    sample: &SampleEvidence,
    file: &Path,
    tokenizer: &Result<Tokenizer>,
    check: &mut BundleCheck,
) -> Result<Option<Vec<EvidenceRecord>>> {
    let (vocab_size, shown) = (bundle.profile.tokenizer.vocab_size, file.display());
    let tokenizer = tokenizer.as_ref().map_err(|error| anyhow!("{error:#}"))?;
    match Answers::read(file, &sample.model, tokenizer, vocab_size, bundle.registration.stopping) {
        Ok(answers) => {
            if answers.origin != origin(sample) {
                let what = format!("{shown}: who collected it, when, or what ended it is stated otherwise");
                check.fail(Code::Records, what);
            }
            Ok(Some(answers.records))
        }
        Err(error) => {
            check.fail(Code::Records, format!("{shown}: {error:#}"));
            Ok(None)
        }
    }
}

/// The records of a records file; none where they are not those of their texts.
fn of_records(
    bundle: &Bundle,
    file: &Path,
    tokenizer: &Result<Tokenizer>,
    check: &mut BundleCheck,
) -> Result<Option<Vec<EvidenceRecord>>> {
    let shown = file.display();
    let records = match bundle::parse_records(&read_bounded(file, MAX_RECORDS)?, bundle.profile.tokenizer.vocab_size) {
        Ok(records) => records,
        Err(error) => {
            check.fail(Code::Records, format!("{shown}: {error}"));
            return Ok(None);
        }
    };
    match tokenizer {
        Ok(tokenizer) => {
            if let Some(line) = other_ids(&records, tokenizer)? {
                let what = format!("{shown}: line {line}: the tokenizer makes other ids of its prompt or text");
                check.fail(Code::Records, what);
                return Ok(None);
            }
        }
        Err(error) => {
            check.withheld = true;
            let what = format!("{shown}: that its ids are those of its texts ({error:#}); so there is no result");
            check.not_checked.push(what);
        }
    }
    Ok(Some(records))
}

/// The first line whose ids or quoted stretches are not those of its texts.
fn other_ids(records: &[EvidenceRecord], tokenizer: &Tokenizer) -> Result<Option<usize>> {
    let vocabulary = Vocabulary { tokenizer: Some(tokenizer), size: None };
    for (line, record) in (1..).zip(records) {
        let item = item_of_text(vocabulary, &record.prompt, &record.text)?;
        let quoted = item.quoted.iter().map(|run| [run.start, run.end]);
        let stated = record.quoted.iter().map(|&[start, end]| [start as usize, end as usize]);
        if item.prompt != record.prompt_tokens || item.tokens != record.tokens || !quoted.eq(stated) {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

/// Whether records are those of a sample, in the rounds that they must be in.
fn are_stated(bundle: &Bundle, sample: &SampleEvidence, records: &[EvidenceRecord]) -> Result<bool> {
    let stopping = bundle.registration.stopping;
    let in_rounds = || (0..).zip(records).all(|(place, record)| record.round == stopping.round_in_file(place));
    Ok(bundle::RecordsDigest::from_records(records)? == sample.records
        && bundle::prompts_root(records)? == sample.prompts_root
        && bundle::n_empty(records) == sample.n_empty
        && (sample.collected.is_some() || in_rounds()))
}

fn origin(sample: &SampleEvidence) -> Origin {
    let SampleEvidence { model, collection, collected, stopped, .. } = sample;
    Origin { model: model.clone(), collection: *collection, collected: collected.clone(), stopped: *stopped }
}

/// Compares records with what the bundle states of a sample, and under the opened key its numbers with theirs.
fn recompute(
    bundle: &Bundle,
    stated: &SampleEvidence,
    records: &[EvidenceRecord],
    file: &str,
    check: &mut BundleCheck,
    progress: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<()> {
    if !are_stated(bundle, stated, records)? {
        check.fail(Code::Records, format!("{file}: its records are not those of the bundle"));
        return Ok(());
    }
    let Some(detector) = bundle.detector()? else { return Ok(()) };
    let registration = &bundle.registration;
    let counted = bundle::count(&detector, registration.weights, records)?;
    let found = bundle::measure(&detector, &counted, records, origin(stated))?;
    let numbers = |sample: &SampleEvidence| {
        let SampleEvidence { log10_p, log10_p_distinct, ln_e, left_out, .. } = sample;
        [*log10_p, *log10_p_distinct, *ln_e, left_out.answers_log10_p, left_out.prompts_log10_p]
    };
    let same_numbers = numbers(&found).iter().zip(numbers(stated)).all(|(&a, b)| close(a, b));
    // Compares everything except floats, which another version may round otherwise.
    let left_out = LeftOut {
        answers_log10_p: stated.left_out.answers_log10_p,
        prompts_log10_p: stated.left_out.prompts_log10_p,
        ..found.left_out.clone()
    };
    let rest = SampleEvidence {
        left_out,
        log10_p: stated.log10_p,
        log10_p_distinct: stated.log10_p_distinct,
        ln_e: stated.ln_e,
        prompts_proof: stated.prompts_proof.clone(),
        ..found.clone()
    };
    if !same_numbers || rest != *stated {
        check.fail(Code::Recomputed, format!("{file}: counts, classes or numbers are not what its records give"));
        return Ok(());
    }
    let predicate = &bundle.statement.predicate;
    if std::ptr::eq(stated, &raw const predicate.suspect) {
        let fresh = fresh_keys(&bundle.seed(), &detector, registration, &counted, &found, progress)?;
        if fresh != predicate.resampling {
            check.fail(Code::Recomputed, format!("{file}: another number of fresh keys does as well as the true one"));
            return Ok(());
        }
    }
    check.recomputed.push(file.to_owned());
    Ok(())
}

/// `given`: digests of the files that were looked at.
fn open_points(bundle: &Bundle, context: &Context, given: &[Digest], check: &mut BundleCheck) {
    let predicate = &bundle.statement.predicate;
    if context.trusted.is_empty() {
        check.not_checked.push("who signed: name the keys that you trust with --trusted-key".to_owned());
    }
    if predicate.key.opening.is_none() {
        check.not_checked.push("the scores: the key is not disclosed".to_owned());
    }
    for (sample, subject) in bundle.samples().zip(&bundle.statement.subject) {
        if given.contains(&subject.digest.sha256) {
            continue;
        }
        let counts = if given.contains(&sample.records.sha256) {
            "that its records are those of the answer file"
        } else {
            "the counts"
        };
        check.not_checked.push(format!(
            "{:?}: {counts}, and who collected it, when and until when; give the answer file with --data",
            sample.model
        ));
    }
    for sample in bundle.samples().filter(|sample| sample.collected.is_none()) {
        check.not_checked.push(format!(
            "that the answers of {:?} are later than the registration: their file states no times, so it is the signer's word",
            sample.model
        ));
    }
}
