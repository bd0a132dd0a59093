use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use watermark_core::detect::LayerDetector;
use watermark_core::evidence::PublicKey;
use watermark_core::evidence::bundle::{
    self, Bundle, Checked, Code, Digest, EvidenceRecord, Fault, Origin, SampleEvidence, close,
};
use watermark_core::hex;

use super::build::fresh_keys;
use super::cautions::cautions;
use super::sample::{Answers, file_sha256};
use crate::files::read_bounded;
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
    /// Times of time stamps that hold, as `openssl` prints them: the head's, the registration's.
    pub time_stamps: [Option<String>; 2],
    /// What was not looked at, or rests on a signer's word.
    pub not_checked: Vec<String>,
    /// What makes the case weaker than its verdict sounds ([`cautions`]).
    pub cautions: Vec<String>,
}

impl BundleCheck {
    /// Whether signature, form, proofs, numbers and, where given, data and time stamps hold. Trust in the signers is
    /// another question.
    #[must_use]
    pub fn integrity(&self) -> bool {
        self.faults.iter().all(|fault| fault.code == Code::Trust)
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
        not_checked: Vec::new(),
        cautions: Vec::new(),
    };
    if let Some(authority) = &context.authority {
        File::open(authority).with_context(|| format!("authority {}", authority.display()))?;
    }
    let Some(bundle) = bundle else { return Ok(check) };
    let (sound, mut given) = (check.faults.is_empty(), Vec::new());
    let tokenizer = Tokenizer::for_profile(context.tokenizer.as_deref(), path, &bundle.profile.tokenizer);
    stamps(&bundle, context, &mut check)?;
    if sound {
        for file in &context.data {
            let named = || format!("data {}", file.display());
            let sha256 = file_sha256(file).with_context(named)?;
            data(&bundle, file, sha256, &tokenizer, &mut check, progress).with_context(named)?;
            given.push(sha256);
        }
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

fn data(
    bundle: &Bundle,
    file: &Path,
    sha256: Digest,
    tokenizer: &Result<Tokenizer>,
    check: &mut BundleCheck,
    progress: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<()> {
    let statement = &bundle.statement;
    let (vocab_size, shown) = (bundle.profile.tokenizer.vocab_size, file.display());
    let (sample, records) = if let Some(at) =
        statement.subject.iter().position(|subject| subject.digest.sha256 == sha256)
    {
        let Some(sample) = bundle.samples().nth(at) else { return Ok(()) };
        let tokenizer = tokenizer.as_ref().map_err(|error| anyhow!("{error:#}; a records file needs none"))?;
        let answers = match Answers::read(file, &sample.model, tokenizer, vocab_size, bundle.registration.stopping) {
            Ok(answers) => answers,
            Err(error) => {
                check.fail(Code::Records, format!("{shown}: {error:#}"));
                return Ok(());
            }
        };
        if answers.origin != origin(sample) {
            check.fail(Code::Records, format!("{shown}: who collected it, when, or what ended it is stated otherwise"));
        }
        (sample, answers.records)
    } else if let Some(sample) = bundle.samples().find(|sample| sample.records.sha256 == sha256) {
        match bundle::parse_records(&read_bounded(file, MAX_RECORDS)?, vocab_size) {
            Ok(records) => (sample, records),
            Err(error) => {
                check.fail(Code::Records, format!("{shown}: {error}"));
                return Ok(());
            }
        }
    } else {
        check.fail(Code::Data, format!("{shown} has SHA-256 {sha256}: no file that the bundle is about"));
        return Ok(());
    };
    if !are_stated(bundle, sample, &records)? {
        check.fail(Code::Records, format!("{shown}: its records are not those of the bundle"));
        return Ok(());
    }
    match bundle.detector()? {
        Some(detector) => recompute(bundle, &detector, sample, &records, &shown.to_string(), check, progress),
        None => Ok(()),
    }
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

fn recompute(
    bundle: &Bundle,
    detector: &LayerDetector,
    stated: &SampleEvidence,
    records: &[EvidenceRecord],
    file: &str,
    check: &mut BundleCheck,
    progress: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<()> {
    let registration = &bundle.registration;
    let counted = bundle::count(detector, registration.weights, records)?;
    let found = bundle::measure(detector, &counted, records, origin(stated))?;
    let numbers = |sample: &SampleEvidence| [sample.log10_p, sample.log10_p_distinct, sample.ln_e];
    let same_numbers = numbers(&found).iter().zip(numbers(stated)).all(|(&a, b)| close(a, b));
    // Compares everything except floats, which another version may round otherwise.
    let rest = SampleEvidence {
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
        let fresh = fresh_keys(&bundle.seed(), detector, registration, &counted, &found, progress)?;
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
    if let Some(beacon) = &bundle.beacon {
        check.not_checked.push(format!(
            "that beacon {beacon} was drawn after the key was committed to: look it up where it comes from"
        ));
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
