use serde::Serialize;
use watermark_core::evidence::bundle::{Bundle, Code};

use crate::evidence::{BundleCheck, Context};
use crate::visible::visible;

/// Characters of a finding; model names in it have no limit.
const MOST_OF_A_FINDING: usize = 400;

/// What was looked at, and what came of it.
#[derive(Serialize)]
pub(super) struct Checked {
    summary: String,
    faults: Vec<Finding>,
    open: Vec<String>,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Finding {
    code: &'static str,
    what: String,
}

#[derive(Serialize)]
struct Step {
    code: &'static str,
    what: &'static str,
    class: &'static str,
    result: String,
}

/// The steps of `verify/FORMAT.md`, section 7, in words; `E-DATA` stands with `E-RECORDS`.
const STEPS: [(Code, &str); 20] = [
    (Code::Envelope, "The file is one signed envelope in its only possible spelling."),
    (Code::Signature, "The signature covers everything that the file says."),
    (Code::Schema, "Every field is there, of its type, and none besides."),
    (Code::Registration, "The registration is signed and well formed."),
    (Code::Profile, "The deployment’s profile is the registered one."),
    (Code::Head, "The signed list of key commitments is the registered one."),
    (Code::Proof, "The tested key is on that list."),
    (
        Code::Beacon,
        "The public values that went into the key and drew the prompts are those of the rounds named for them.",
    ),
    (Code::Opening, "The disclosed key is the one that was committed to."),
    (Code::Registered, "Models, numbers of answers, fresh keys and earlier analyses are the registered ones."),
    (Code::Prompts, "Every model was asked the registered prompts, in order."),
    (Code::Time, "Commitment, registration, answers and bundle follow in this order, as far as times are stated."),
    (Code::Subject, "There is one answer file for each model."),
    (Code::Tally, "The counts add up."),
    (Code::Tail, "p-values and e-values follow from the counts."),
    (Code::Verdict, "The verdict follows from the numbers, by the registered rule."),
    (Code::TimeStamp, "An independent authority saw commitment and registration when they say."),
    (Code::Records, "The answers are those that the bundle is about."),
    (Code::Recomputed, "The counts follow from the answers and the key."),
    (Code::Trust, "Everybody who signed is somebody whom the reader trusts."),
];

impl Checked {
    pub(super) fn new(check: &BundleCheck, context: &Context) -> Self {
        let steps: Vec<Step> = STEPS.iter().map(|&(code, what)| step(code, what, check, context)).collect();
        let count = |class: &str| steps.iter().filter(|step| step.class == class).count();
        let summary = match (count("holds"), count("fails"), count("unchecked")) {
            (holds, 0, open) => format!("Of {} steps, {holds} hold and {open} were not made.", STEPS.len()),
            (holds, fails, open) => {
                format!("Of {} steps, {holds} hold, {fails} FAIL and {open} were not made.", STEPS.len())
            }
        };
        let shown = |text: &String| visible(text, MOST_OF_A_FINDING);
        let mut open: Vec<String> = check.not_checked.iter().map(shown).collect();
        if check.bundle.is_none() {
            open.push("everything that comes after the first fault".to_owned());
        }
        open.push("whether the answers came from the model that they are said to come from".to_owned());
        open.push("whether other analyses were made and not registered".to_owned());
        let faults = check.faults.iter().map(|fault| Finding { code: fault.code.as_str(), what: shown(&fault.what) });
        Self { summary, faults: faults.collect(), open, steps }
    }
}

fn step(code: Code, what: &'static str, check: &BundleCheck, context: &Context) -> Step {
    let failed =
        check.faults.iter().any(|fault| fault.code == code || (code == Code::Records && fault.code == Code::Data));
    let (class, result) = if failed {
        ("fails", "does not hold".to_owned())
    } else if let Some(why) = open(code, check, context) {
        ("unchecked", format!("not checked: {why}"))
    } else {
        ("holds", "holds".to_owned())
    };
    Step { code: code.as_str(), what, class, result }
}

/// Why a step without a fault was not made, or `None` if it was.
fn open(code: Code, check: &BundleCheck, context: &Context) -> Option<String> {
    let Some(bundle) = &check.bundle else {
        // Steps are made in order, and the first fault ended them.
        let place = |code: Code| STEPS.iter().position(|&(step, _)| step == code);
        let ended = check.faults.first().and_then(|fault| place(fault.code));
        return (place(code) > ended).then(|| "an earlier step failed".to_owned());
    };
    let sound = check.integrity();
    match code {
        Code::Opening if bundle.statement.predicate.key.opening.is_none() => {
            Some("the key is not disclosed".to_owned())
        }
        Code::Opening if bundle.node.is_none() => Some("an earlier step failed".to_owned()),
        Code::TimeStamp => stamps(bundle, check),
        Code::Records | Code::Recomputed if context.data.is_empty() => Some("it needs the answers (--data)".to_owned()),
        Code::Records | Code::Recomputed if !sound => Some("an earlier step failed".to_owned()),
        Code::Recomputed if bundle.node.is_none() => Some("the key is not disclosed".to_owned()),
        Code::Records | Code::Recomputed => {
            let (done, all) = (check.recomputed.len(), bundle.models().count());
            (bundle.node.is_some() && done < all).then(|| format!("{done} of {all} files were given"))
        }
        Code::Trust if context.trusted.is_empty() => Some("no trusted keys were named".to_owned()),
        _ => None,
    }
}

fn stamps(bundle: &Bundle, check: &BundleCheck) -> Option<String> {
    let given = &bundle.statement.predicate.time_stamps;
    let missing: Vec<&str> = [
        ("commitment", &given.head, &check.time_stamps[0]),
        ("registration", &given.registration, &check.time_stamps[1]),
    ]
    .into_iter()
    .filter(|(_, _, holds)| holds.is_none())
    .map(|(what, stamp, _)| match (what, stamp) {
        ("commitment", None) => "the commitment carries no time stamp",
        ("commitment", _) => "the commitment’s time stamp needs its authority (--authority)",
        (_, None) => "the registration carries no time stamp",
        _ => "the registration’s time stamp needs its authority (--authority)",
    })
    .collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}
