use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result};
use watermark_core::evidence::PublicKey;
use watermark_core::evidence::bundle::{Code, ConditionName, Digest, Fault, Standing};
use watermark_core::evidence::pairs::{self, Bundle, Checked};

use super::super::cautions::LAX_ALPHA;
use super::super::check::{Context, Stamp, stamp};
use super::super::conditions::{ConditionFound, Seen, key_not_ground};
use super::super::drand;
use super::list::records;
use super::numbers::{Given, Numbers};
use crate::files::file_sha256;
use crate::pairs::Sides;
use crate::timestamp;

/// The result of a check of evidence from pairs.
#[derive(Debug, Default)]
pub struct PairsCheck {
    /// Everything that does not hold, in the order in which it was looked at.
    pub faults: Vec<Fault>,
    /// The bundle, if it could be taken apart.
    pub bundle: Option<Bundle>,
    /// Files that were counted again.
    pub recomputed: Vec<String>,
    /// Times of time stamps that hold: the key head's, the ledger's, the registration's.
    pub time_stamps: [Option<String>; 3],
    /// The suspect's preferences by strength, if list and scores were given.
    pub sides: Option<Sides>,
    /// What the verdict is conditioned on, as it stands for this reader.
    pub conditions: Vec<ConditionFound>,
    /// What was not looked at, or rests on a signer's word.
    pub not_checked: Vec<String>,
    /// What makes the case weaker than its verdict sounds.
    pub cautions: Vec<String>,
}

impl PairsCheck {
    /// Whether the bundle holds by itself and with the data that were given; a file of something else says nothing about that.
    #[must_use]
    pub fn integrity(&self) -> bool {
        self.faults.iter().all(|fault| matches!(fault.code, Code::Trust | Code::Data))
    }

    /// Whether everybody who signed is trusted; `None` where no keys were named, or nobody is known to have signed.
    #[must_use]
    pub fn trusted(&self, context: &Context) -> Option<bool> {
        let asked = !context.trusted.is_empty() && self.bundle.is_some();
        asked.then(|| self.faults.iter().all(|fault| fault.code != Code::Trust))
    }

    fn fail(&mut self, code: Code, what: impl Into<String>) {
        self.faults.push(Fault { code, what: what.into() });
    }
}

/// Checks a bundle, beside its list and scores where they are given. `progress` is told of requests read; an error of it ends the work.
///
/// # Errors
/// If a file cannot be read, or `openssl` is needed and missing. Those of `progress`.
pub fn check(bytes: &[u8], context: &Context, progress: impl Fn(u64) -> Result<()>) -> Result<PairsCheck> {
    let Checked { faults, bundle } = pairs::verify(bytes);
    let mut check = PairsCheck { faults, ..PairsCheck::default() };
    if let Some(authority) = &context.authority {
        File::open(authority).with_context(|| format!("authority {}", authority.display()))?;
    }
    let Some(bundle) = bundle else { return Ok(check) };
    let sound = check.faults.is_empty();
    let stamps = &bundle.statement.predicate.time_stamps;
    let stamped = [(&stamps.head, "head"), (&stamps.ledger, "ledger's head"), (&stamps.registration, "registration")];
    for (at, (of_it, name)) in stamped.into_iter().enumerate() {
        match stamp(of_it.as_deref(), &bundle.envelopes[at], name, context)? {
            Stamp::Holds(time) => check.time_stamps[at] = Some(time),
            Stamp::DoesNotHold(why) => check.fail(Code::TimeStamp, why),
            Stamp::NotChecked(what) => check.not_checked.push(what),
        }
    }
    let mut seen = Seen { now: timestamp::now(), ..Seen::default() };
    seen.time_stamps = [check.time_stamps[0].clone(), check.time_stamps[2].clone()];
    beacon(&bundle, &mut seen, &mut check)?;
    if sound {
        data(&bundle, context, &mut check, progress)?;
    } else if !context.data.is_empty() {
        check.not_checked.push("the data, because the bundle itself does not hold".to_owned());
    }
    let signed = ["bundle", "registration", "head of the key commitments", "head of the ledger"];
    if context.trusted.is_empty() {
        check.not_checked.push("who signed: name the keys that you trust with --trusted-key".to_owned());
    }
    for (signer, signed) in bundle.signers.iter().zip(signed) {
        if !context.trusted.is_empty() && !context.trusted.contains(signer) {
            check.fail(
                Code::Trust,
                format!("the {signed} is signed by {}, which is not trusted", PublicKey::to_hex(signer)),
            );
        }
    }
    check.faults.sort_by_key(|fault| fault.code);
    check.conditions = conditions(&bundle, &seen, check.time_stamps[1].as_deref());
    check.cautions = cautions(&bundle);
    check.bundle = Some(bundle);
    Ok(check)
}

fn beacon(bundle: &Bundle, seen: &mut Seen, check: &mut PairsCheck) -> Result<()> {
    let key = &bundle.statement.predicate.key;
    let (Some(round), Some(drawn)) = (&key.leaf.beacon, &key.beacon) else { return Ok(()) };
    seen.key_beacon = drand::verifies(round, drawn)?;
    match seen.key_beacon {
        Some(true) => (),
        Some(false) => check.fail(
            Code::Beacon,
            format!("the value that went into the key is not signed as round {} of {}", round.round, round.source),
        ),
        None => check.not_checked.push(format!(
            "that round {} of {} had the value {}, which went into the key: look it up where it comes from",
            round.round, round.source, drawn.value
        )),
    }
    Ok(())
}

/// Reads the files that are given and counts again what they can say.
fn data(
    bundle: &Bundle,
    context: &Context,
    check: &mut PairsCheck,
    progress: impl Fn(u64) -> Result<()>,
) -> Result<()> {
    let (statement, registration) = (&bundle.statement, &bundle.registration);
    let mut places: Vec<Option<&Path>> = vec![None; statement.subject.len()];
    for path in &context.data {
        let sha256 = Digest(file_sha256(path).with_context(|| format!("data {}", path.display()))?);
        match statement.subject.iter().position(|subject| subject.digest.sha256 == sha256) {
            Some(at) => places[at] = Some(path),
            None => check.fail(Code::Data, format!("{}: not a file of this bundle", path.display())),
        }
    }
    for (subject, _) in statement.subject.iter().zip(&places).filter(|(_, place)| place.is_none()) {
        check.not_checked.push(format!("{:?}: give the file with --data", subject.name));
    }
    let models = 1 + registration.controls.len();
    let mut beside = places.iter().skip(1 + models).copied();
    let mut next = |registered: bool| if registered { beside.next().flatten() } else { None };
    let given = Given {
        list: places.first().copied().flatten(),
        models: places[1..=models].to_vec(),
        reference: next(registration.reference.is_some()),
        law: next(registration.law.is_some()),
    };
    let Some(list) = given.list else {
        check.not_checked.push("all numbers: the list is not given, so they are the signer's word".to_owned());
        return Ok(());
    };
    let whole = || -> Result<()> {
        let mut lines = bundle.list_check();
        for record in records(list)? {
            let (place, record) = record?;
            lines.add(&record).with_context(|| place.to_string())?;
        }
        Ok(lines.end()?)
    };
    if let Err(error) = whole() {
        check.fail(Code::Records, format!("{error:#}"));
        return Ok(());
    }
    check.recomputed.push(format!("{}: the ledger's entries, the requests' secrets", list.display()));
    if registration.reference.is_some() && given.reference.is_none() {
        check.not_checked.push("what models prefer beyond the reference: its scores are not given".to_owned());
    }
    match Numbers::new(list, &given, &bundle.profile, registration, false, progress) {
        Err(error) => check.fail(Code::Records, format!("{error:#}")),
        Ok(found) => {
            for what in found.differences(&statement.predicate, registration, &given) {
                check.fail(Code::Recomputed, what);
            }
            let counted = registration.reference.is_none() || given.reference.is_some();
            check.sides = given.models.first().copied().flatten().filter(|_| counted).map(|_| found.sides);
            let files = places.iter().skip(1).flatten().map(|path| path.display().to_string());
            check.recomputed.extend(files);
        }
    }
    Ok(())
}

/// All conditions in their order. `ledger`: the time of the ledger's time stamp.
fn conditions(bundle: &Bundle, seen: &Seen, ledger: Option<&str>) -> Vec<ConditionFound> {
    let leaf = &bundle.statement.predicate.key.leaf;
    let no_controls = bundle.registration.controls.is_empty();
    let found = |name: ConditionName| match name {
        ConditionName::KeyNotGround => key_not_ground(leaf.beacon.as_ref(), seen),
        ConditionName::LedgerBound => ledger_bound(ledger, seen.time_stamps[1].as_deref()),
        _ => (if name == ConditionName::KeyBound { Standing::Holds } else { Standing::Word }, says(bundle, name)),
    };
    let by_itself = pairs::conditions(&bundle.registration, &bundle.head, &bundle.ledger, leaf);
    let all = by_itself.into_iter().map(|condition| {
        let (standing, says) = match condition.standing {
            Standing::Fails => (
                Standing::Fails,
                "The beacon's round was drawn before the requests were committed to, or after they had been served."
                    .to_owned(),
            ),
            _ => found(condition.name),
        };
        ConditionFound::new(condition.name, standing, says, no_controls)
    });
    all.collect()
}

fn ledger_bound(ledger: Option<&str>, registration: Option<&str>) -> (Standing, String) {
    match (ledger, registration) {
        (Some(ledger), Some(registration)) if ledger < registration => (
            Standing::Holds,
            format!("A time stamp dates what was served, withheld and to whom before the test: {ledger}."),
        ),
        (Some(ledger), Some(registration)) => (
            Standing::Fails,
            format!("The ledger's time stamp, {ledger}, is not before the registration's, {registration}."),
        ),
        (Some(ledger), None) => (
            Standing::Word,
            format!("A time stamp dates what was served, withheld and to whom: {ledger}. That the test is later is a word."),
        ),
        _ => (
            Standing::Word,
            "That nothing of what was served, withheld and to whom was written after the suspect was scored is the word of the ledger's signer."
                .to_owned(),
        ),
    }
}

fn says(bundle: &Bundle, name: ConditionName) -> String {
    let key = &bundle.registration.key;
    match name {
        ConditionName::KeyBound => format!(
            "The registration names leaf {} of {} committed keys, which holds the secrets of all requests; the levels are divided by {}.",
            key.index, key.tree_size, key.tree_size
        ),
        ConditionName::DrawsBlind if bundle.registration.law.is_some() => {
            "That nobody looked at the coins while prompts were chosen and candidates drawn, and that the law is the serving model's, is the provider's \
             word; candidates and law fit each other, and the law prefers neither side."
                .to_owned()
        }
        ConditionName::DrawsBlind => {
            "That the candidates are those that were drawn, without looking at the coins, is the provider's word: no law was given to compare with."
                .to_owned()
        }
        ConditionName::ControlsBound if bundle.registration.controls.is_empty() => {
            "No unrelated model was scored; that the procedure is calibrated is the signer's word.".to_owned()
        }
        ConditionName::ControlsBound => {
            "That the controls are models which have seen neither coins nor served answers is the signer's word.".to_owned()
        }
        ConditionName::ReferencesBound => {
            "The reference's scores were registered; that whoever made them did not look at the coins is a word, as far as its own test does not \
             show it."
                .to_owned()
        }
        ConditionName::CollectionWitnessed => {
            "That the scores are those of the models named is a word; whoever has the models can make them again from the list.".to_owned()
        }
        ConditionName::RegisteredBeforeData => {
            "That the suspect was scored after the registration is the signer's word.".to_owned()
        }
        _ => "That there were no analyses of this suspect, ledgers or keys to choose from beside those named is the signer's word.".to_owned(),
    }
}

/// What an honest reader would object to in a bundle that holds.
pub(super) fn cautions(bundle: &Bundle) -> Vec<String> {
    let (predicate, registration) = (&bundle.statement.predicate, &bundle.registration);
    let mut cautions = Vec::new();
    let mut say = |holds: bool, what: String| {
        if holds {
            cautions.push(what);
        }
    };
    let empty = registration.controls.is_empty();
    say(empty, "No unrelated model was scored on the same list.".to_owned());
    say(
        registration.law.is_none(),
        "Nothing shows that the withheld candidates are those that were drawn; the serving model's law would."
            .to_owned(),
    );
    let unscored = predicate.suspect.n_unscored;
    say(
        unscored > 0,
        format!("{unscored} positions have no scores of the suspect; they count as lost, so they cannot accuse."),
    );
    let (without, all) = (predicate.list.n_without_candidate, predicate.suspect.n_scored + predicate.suspect.n_ties);
    say(
        without > 0,
        format!(
            "{without} positions have no second candidate, beside {all} that count: which ones may have been chosen."
        ),
    );
    say(
        registration.alpha >= LAX_ALPHA || registration.accounts_alpha > LAX_ALPHA,
        "A level is lax: of models that never saw the answers, that share may be detected.".to_owned(),
    );
    let unreported = predicate.earlier.iter().filter(|earlier| earlier.evidence_sha256.is_none()).count();
    say(unreported > 0, format!("Of {unreported} earlier registrations only the signer says that they were not run."));
    let future = predicate.signed_at.as_str() > timestamp::now().as_str();
    say(
        future,
        format!(
            "It says that it was signed at {}, which is in the future by this machine's clock.",
            predicate.signed_at
        ),
    );
    cautions
}
