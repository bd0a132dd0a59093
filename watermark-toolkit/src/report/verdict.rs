use serde::Serialize;
use watermark_core::detect::{EffectUnit, RESAMPLING_KEYS, Verdict};
use watermark_core::evidence::bundle::{Bundle, Code, Standing};
use watermark_core::model_test::{DecidedBy, EMPTY_ONE_IN, ModelConclusion};

use super::draw::short;
use super::number::{chance, level};
use crate::evidence::{BundleCheck, headline, verdict};

/// The verdict in a sentence, and what it means.
#[derive(Serialize)]
pub(super) struct VerdictText {
    /// Class of the box.
    pub(super) tone: &'static str,
    pub(super) headline: String,
    pub(super) sentences: Vec<String>,
}

impl VerdictText {
    pub(super) fn new(check: &BundleCheck) -> Self {
        match &check.bundle {
            Some(_) if check.integrity() && check.faults.iter().any(|fault| fault.code == Code::Data) => Self::broken(
                "No result: a file is none of this case",
                "The evidence holds together, but what was given as its data is something else. Give the files that it names.",
            ),
            Some(_) if check.integrity() && check.withheld => Self::broken(
                "No result: ids were counted whose texts were not read",
                "A records file was given without the tokenizer, and whoever made it could have chosen the ids. Give the tokenizer.",
            ),
            Some(bundle) if check.integrity() => Self::of_sound(bundle, check),
            Some(_) => Self::broken(
                "No result: this evidence does not hold together",
                "It says more below than it can support. Read the numbers as claims of whoever wrote the file, and ask them for a bundle \
                 that verifies.",
            ),
            None => Self::broken(
                "No result: this file is not evidence",
                "Its signature, form or parts do not hold, so nothing of what it says is repeated here.",
            ),
        }
    }

    fn broken(headline: &str, sentence: &str) -> Self {
        Self { tone: "broken", headline: headline.to_owned(), sentences: vec![sentence.to_owned()] }
    }

    fn of_sound(bundle: &Bundle, check: &BundleCheck) -> Self {
        let (predicate, registration) = (&bundle.statement.predicate, &bundle.registration);
        let name = short(&registration.suspect);
        let (alpha, keys) = (level(registration.alpha), registration.key.tree_size);
        let level = format!("The registered level is {alpha}, divided by {keys} committed keys");
        let ModelConclusion { decided_by, log10_p, .. } = bundle.conclusion();
        let mut sentences = Vec::new();
        let (tone, title) = match verdict(predicate.verdict, &check.conditions) {
            Verdict::Detected => {
                let stopping =
                    if decided_by == DecidedBy::EValue { ", however the collection was stopped" } else { "" };
                sentences.push(format!(
                    "If its answers had nothing to do with the key, chance would give a result at least this strong in at most {} such \
                     tests{stopping}. {level}.",
                    chance(log10_p)
                ));
                sentences.push(
                    "If the conditions below are true, the model that answered learned, directly or through others, from text that was marked \
                     under this key. It does not say how the text got there; see below."
                        .to_owned(),
                );
                ("detected", format!("Detected: the answers of “{name}” depend on the key"))
            }
            Verdict::NotDetected => {
                sentences.push(format!(
                    "Chance alone gives a result at least this strong in {} such tests. {level}. That is no \
                     proof that the model is independent of the key.",
                    chance(log10_p)
                ));
                if let Some(effect) = predicate.smallest_effect {
                    let what = match effect.unit {
                        EffectUnit::OnesShare => "a share of list tokens among distinct pairs of",
                        EffectUnit::MeanScore => "a mean score of distinct pairs of",
                    };
                    sentences.push(format!(
                        "With {:.0} % probability the data would have shown {what} {:.4} or more; a weaker trace could be missed.",
                        100.0 * effect.power,
                        effect.value
                    ));
                }
                ("not_detected", format!("Not detected: the answers of “{name}” do not show the key"))
            }
            Verdict::Inconclusive => {
                sentences.extend(reasons(bundle));
                let failing = check.conditions.iter().filter(|condition| condition.standing == Standing::Fails);
                sentences.extend(failing.map(|condition| condition.says.clone()));
                ("inconclusive", format!("Inconclusive: nothing can be said about “{name}”"))
            }
        };
        sentences.push(format!("In one sentence: {}.", headline(predicate.verdict, &check.conditions)));
        if check.faults.is_empty() {
            let data = match check.recomputed.len() {
                0 => "This page did not see the answers: that the counts are theirs is the signer’s word.".to_owned(),
                n => format!(
                    "The counts were recomputed from {n} files; the case has {} models.",
                    bundle.models().count()
                ),
            };
            sentences.push(format!("The file holds together: signatures, proofs and arithmetic were checked. {data}"));
        } else {
            sentences.push("Whoever signed is not trusted by the reader of this page.".to_owned());
        }
        Self { tone, headline: title, sentences }
    }
}

/// Why a verdict is inconclusive.
pub(super) fn reasons(bundle: &Bundle) -> Vec<String> {
    let predicate = &bundle.statement.predicate;
    let mut reasons = Vec::new();
    if predicate.suspect.n_scored == 0 {
        reasons.push("The answers hold nothing that could be scored.".to_owned());
    }
    if !predicate.controls_agree {
        reasons.push(
            "A control model, which is known to be independent of the key, looks marked too: the procedure is not calibrated here.".to_owned(),
        );
    }
    if predicate.references.as_ref().is_some_and(|references| !references.agree) {
        reasons.push(
            "A reference leans away from the key, as one that was chosen with the key would: beside it, any model looks marked.".to_owned(),
        );
    }
    if !predicate.exclusion_agrees {
        reasons.push(
            "What the prompts keep from being scored leans away from the key: the prompts may have been chosen with it."
                .to_owned(),
        );
    }
    if !predicate.resampling_agrees {
        reasons.push(format!(
            "Too many of the fresh keys did as well as the real one (at least {RESAMPLING_KEYS} were tried): the p-value cannot be right."
        ));
    }
    if !predicate.answers_present {
        reasons.push(format!(
            "More than one answer in {EMPTY_ONE_IN} of a model has no text: the registered test was not carried out, and what is missing may have \
             been chosen."
        ));
    }
    reasons
}
