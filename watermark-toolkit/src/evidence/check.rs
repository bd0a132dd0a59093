use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use watermark_core::evidence::PublicKey;
use watermark_core::evidence::bundle::{
    self, Bundle, Checked, Code, Counted, Digest, EvidenceRecord, Fault, RecordsDigest, Subject,
};
use watermark_core::evidence::prompts::{self, Prompts};
use watermark_core::hex;

use super::cautions::cautions;
use super::conditions::{ConditionFound, Seen, conditions};
use super::{data, drand};
use crate::files::file_sha256;
use crate::read::read_prompts;
use crate::timestamp::{self, TimeStamp};
use crate::tokenizer::Tokenizer;

/// How much of a bundle is read: twice what the core takes, so that a bundle somewhat too large is a finding with a code and only
/// one beyond that a file that cannot be read.
pub const MAX_BUNDLE: u64 = 2 * bundle::MAX_BUNDLE as u64;

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
    /// The suspect's records, counted again.
    pub(crate) suspect: Option<(Counted, Vec<EvidenceRecord>)>,
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
        suspect: None,
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
            let sha256 = file_sha256(file).with_context(|| format!("data {}", file.display()))?;
            given.push(Digest(sha256));
        }
        let found = data::recount(&bundle, &context.data, &given, &tokenizer, progress)?;
        check.faults.extend(found.faults);
        check.not_checked.extend(found.not_checked);
        (check.recomputed, check.suspect, check.withheld) = (found.recomputed, found.suspect, found.withheld);
        if let Some(pool) = &context.pool {
            draw_again(&bundle, pool, &mut seen, &mut check)?;
        }
        // A file that a subject names is read as answers, whoever's records it may be too.
        let as_records = |sha256: &Digest| {
            given.contains(sha256) && bundle.statement.subject.iter().all(|subject| subject.digest.sha256 != *sha256)
        };
        let is_given = |((_, records), subject): ((&str, &RecordsDigest), &Subject)| {
            given.contains(&subject.digest.sha256) || as_records(&records.sha256)
        };
        let complete = bundle.models().zip(&bundle.statement.subject).all(is_given);
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
    for (at, (of_it, bytes, stamped)) in all.into_iter().enumerate() {
        match stamp(of_it.as_deref(), bytes, stamped, context)? {
            Stamp::Holds(time) => check.time_stamps[at] = Some(time),
            Stamp::DoesNotHold(why) => check.fail(Code::TimeStamp, why),
            Stamp::NotChecked(what) => check.not_checked.push(what),
        }
    }
    Ok(())
}

/// What can be said of an envelope's time.
pub(super) enum Stamp {
    /// The time of a stamp that holds.
    Holds(String),
    /// Why it does not.
    DoesNotHold(String),
    /// There is none, or no authority to check it against.
    NotChecked(String),
}

pub(super) fn stamp(stamp: Option<&str>, bytes: &[u8], stamped: &str, context: &Context) -> Result<Stamp> {
    Ok(match (stamp, &context.authority) {
        (None, _) => Stamp::NotChecked(format!("the time of the {stamped}: it is its signer's own clock")),
        (Some(_), None) => Stamp::NotChecked(format!("the time stamp of the {stamped}: name its --authority")),
        (Some(stamp), Some(authority)) => {
            let response = STANDARD.decode(stamp).unwrap_or_default();
            match timestamp::verify_bytes(&response, &hex::encode(&Sha256::digest(bytes)), authority)? {
                TimeStamp::Holds(time) => Stamp::Holds(time),
                TimeStamp::DoesNotHold(why) => Stamp::DoesNotHold(format!("the {stamped}: {why}")),
            }
        }
    })
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
    for ((model, records), subject) in bundle.models().zip(&bundle.statement.subject).skip(bundle.samples().count()) {
        if given.contains(&subject.digest.sha256) {
            continue;
        }
        check.not_checked.push(if given.contains(&records.sha256) {
            format!("that the records of the reference {model:?} are those of its answer file")
        } else {
            format!("what the reference {model:?} answered, and so what is beyond it; give its file with --data")
        });
    }
    for sample in bundle.samples().filter(|sample| sample.collected.is_none()) {
        check.not_checked.push(format!(
            "that the answers of {:?} are later than the registration: their file states no times, so it is the signer's word",
            sample.model
        ));
    }
}
