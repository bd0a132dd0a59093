//! How the conditions of a verdict stand for a reader who has more than the bundle: its data, a tokenizer, clocks of others.

use std::collections::HashSet;

use serde::Serialize;
use watermark_core::detect::Verdict;
use watermark_core::evidence::beacon::BeaconRound;
use watermark_core::evidence::bundle::{Bundle, ConditionName, Digest, Standing};
use watermark_core::model_test::Collection;

use crate::visible::shown;

/// What was seen beside the bundle.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Times of time stamps that hold, as `2026-11-25T01:02:03Z`: the head's, the registration's.
    pub(super) time_stamps: [Option<String>; 2],
    /// Whether the source's signature of the key's beacon holds; `None` where there is none to verify.
    pub(super) key_beacon: Option<bool>,
    /// The same of the value that drew the prompts.
    pub(super) draw: Option<bool>,
    /// Whether the prompts were drawn again from the pool.
    pub(super) drawn_again: bool,
    /// Whether the ids of all samples were made from their texts again.
    pub(super) tokens_made_again: bool,
    /// The reader's clock.
    pub(super) now: String,
}

/// One condition as it stands for this reader.
#[derive(Clone, Debug, Serialize)]
pub struct ConditionFound {
    /// Which.
    pub name: ConditionName,
    /// How it stands.
    pub standing: Standing,
    /// Why, in a sentence.
    pub says: String,
    /// What it is called in a sentence about its standing.
    #[serde(skip)]
    noun: &'static str,
}

impl ConditionFound {
    pub(super) fn new(name: ConditionName, standing: Standing, says: String, no_controls: bool) -> Self {
        Self { name, standing, says, noun: noun(name, no_controls) }
    }

    /// Standing and reason as a line of text.
    #[must_use]
    pub fn line(&self) -> String {
        let standing = match self.standing {
            Standing::Holds => "holds",
            Standing::Word => "word",
            Standing::Fails => "FAILS",
        };
        format!("{standing:<6} {}", shown(&self.says))
    }
}

/// All conditions in their order.
pub(super) fn conditions(bundle: &Bundle, seen: &Seen) -> Vec<ConditionFound> {
    bundle
        .conditions()
        .iter()
        .map(|condition| {
            let (standing, says) = match condition.standing {
                Standing::Fails => (Standing::Fails, contradiction(condition.name).to_owned()),
                _ => found(bundle, seen, condition.name),
            };
            ConditionFound::new(condition.name, standing, says, bundle.registration.controls.is_empty())
        })
        .collect()
}

/// Why times that the bundle states contradict a condition.
fn contradiction(name: ConditionName) -> &'static str {
    match name {
        ConditionName::KeyNotGround => {
            "The beacon's round was drawn before the keys were committed to, or after the profile with its value was registered."
        }
        ConditionName::PromptsFreeOfKey => {
            "The round that draws the prompts was drawn before the test was registered, or after the bundle was signed."
        }
        ConditionName::RegisteredBeforeData => "Answers were collected before the prompts had been drawn.",
        _ => "What the bundle states contradicts it.",
    }
}

fn found(bundle: &Bundle, seen: &Seen, name: ConditionName) -> (Standing, String) {
    let word = |says: &str| (Standing::Word, says.to_owned());
    match name {
        ConditionName::KeyBound => {
            let key = &bundle.registration.key;
            let says = format!(
                "The registration names leaf {} of {} committed keys; the level is divided by {}.",
                key.index, key.tree_size, key.tree_size
            );
            (Standing::Holds, says)
        }
        ConditionName::KeyNotGround => key_not_ground(key_round(bundle), seen),
        ConditionName::PromptsFreeOfKey => prompts_free_of_key(bundle, seen),
        ConditionName::TokensRecomputed if !seen.tokens_made_again => word(
            "That ids, counts and scores are those of the texts is the signer's word; give all data and the tokenizer.",
        ),
        ConditionName::TokensRecomputed if bundle.node.is_none() => word(
            "Ids and counts are those of the texts; that the scores are those of the key is the signer's word, because it is withheld.",
        ),
        ConditionName::TokensRecomputed => {
            let says = "Ids, counts and scores of all prompts and answers were made from their texts again.";
            (Standing::Holds, says.to_owned())
        }
        ConditionName::ControlsBound if bundle.registration.controls.is_empty() => {
            word("No unrelated model was asked; that the procedure is calibrated is the signer's word.")
        }
        ConditionName::ControlsBound => {
            word("That the controls are models which have seen neither key nor served answers is the signer's word.")
        }
        ConditionName::ReferencesBound => references_bound(bundle, seen),
        ConditionName::CollectionWitnessed => {
            let replicated = bundle.samples().all(|sample| sample.collection == Collection::Replicate);
            word(if replicated {
                "The answers were collected by a party without the key, whose word this is."
            } else {
                "That the answers came from these models is the word of whoever made the case."
            })
        }
        ConditionName::RegisteredBeforeData => registered_before_data(bundle, seen),
        ConditionName::EarlierAnalyses => word(
            "That there were no analyses of this suspect, and no committed keys, pools or references to choose from, beside those named is the \
                 signer's word.",
        ),
        ConditionName::LedgerBound | ConditionName::DrawsBlind => word("It is no part of a test of answers."),
    }
}

fn key_round(bundle: &Bundle) -> Option<&BeaconRound> {
    bundle.statement.predicate.key.leaf.beacon.as_ref()
}

/// `round`: the one whose value went into the key.
pub(super) fn key_not_ground(round: Option<&BeaconRound>, seen: &Seen) -> (Standing, String) {
    let Some(round) = round else {
        let says = "No public value went into the key after the commitment, so it may have been chosen among many.";
        return (Standing::Word, says.to_owned());
    };
    let named = format!("round {} of {}", round.round, round.source);
    if round.is_known_by(&seen.now) == Some(false) {
        return (Standing::Fails, format!("By this clock {named} is still to come, so it has no value."));
    }
    // When a round is drawn follows from its number, whoever vouches for its value.
    let stamped = seen.time_stamps[0].as_ref().and_then(|stamp| Some((stamp, round.is_known_by(stamp)?)));
    match (seen.key_beacon, stamped) {
        (_, Some((stamp, true))) => {
            (Standing::Fails, format!("The time stamp of the commitment, {stamp}, is not before {named}."))
        }
        (Some(true), Some((_, false))) => {
            (Standing::Holds, format!("A time stamp dates the commitment before {named}, whose signature holds."))
        }
        (Some(true), None) => (
            Standing::Word,
            format!("The signature of {named} holds; that the commitment is older is the signer's word."),
        ),
        _ => (
            Standing::Word,
            format!("That {named} had this value, and was drawn after the commitment, is the signer's word."),
        ),
    }
}

fn prompts_free_of_key(bundle: &Bundle, seen: &Seen) -> (Standing, String) {
    let Some(draw) = &bundle.registration.prompts.draw else {
        return (
            Standing::Word,
            "The accuser chose the prompts; that the key had no part in it is their word.".to_owned(),
        );
    };
    let word = |says: &str| (Standing::Word, says.to_owned());
    if draw.beacon.is_known_by(&seen.now) == Some(false) {
        let says = "By this clock the round that draws the prompts is still to come, so it has no value.";
        return (Standing::Fails, says.to_owned());
    }
    if stamped_before_draw(bundle, seen) == Some(false) {
        let says = "The registration's time stamp is not before the round that draws the prompts.";
        return (Standing::Fails, says.to_owned());
    }
    if !bundle.head.prompt_pools.contains(&draw.pool) {
        return word(
            "A beacon drew the prompts from a pool that was not committed to with the keys: it may have been written with the key.",
        );
    }
    if !seen.drawn_again {
        return word(
            "That the prompts are those which the beacon draws from the pool is the signer's word; give the pool.",
        );
    }
    let (key, _) = key_not_ground(key_round(bundle), seen);
    match (key, stamped_before_draw(bundle, seen)) {
        (Standing::Fails, _) => (Standing::Fails, "The pool was not committed to before the key's beacon.".to_owned()),
        (Standing::Holds, Some(true)) if seen.draw == Some(true) => {
            let says = "The pool is older than the key's beacon, and a round that was drawn after the registration chose from it.";
            (Standing::Holds, says.to_owned())
        }
        _ => word(
            "The prompts are those which the beacon draws from the committed pool; that key and draw came in this order is the signer's word.",
        ),
    }
}

fn references_bound(bundle: &Bundle, seen: &Seen) -> (Standing, String) {
    let registered: HashSet<Digest> = bundle.registration.references.iter().map(|reference| reference.sha256).collect();
    let committed: HashSet<Digest> = bundle.head.references.iter().copied().collect();
    let word = |says: &str| (Standing::Word, says.to_owned());
    if !registered.is_subset(&committed) {
        return word(
            "A reference was not committed to with the keys: it may have been chosen with the key, as far as its own test does not show it.",
        );
    }
    if registered.len() < committed.len() {
        return (
            Standing::Word,
            format!(
                "{} of {} committed references stand beside the suspect: which ones may have been chosen with the key.",
                registered.len(),
                committed.len()
            ),
        );
    }
    // That it learned no marked text needs no word: such a reference hides part of what there is.
    match (key_not_ground(key_round(bundle), seen).0, prompts_free_of_key(bundle, seen).0) {
        (Standing::Holds, Standing::Holds) => (
            Standing::Holds,
            "The references are those that were committed to, all of them, before the key's beacon, so the key had no part in them.".to_owned(),
        ),
        (Standing::Fails, _) => {
            (Standing::Fails, "The references were not committed to before the key's beacon.".to_owned())
        }
        (Standing::Holds, _) => word(
            "The files of the references are older than the key's beacon; that the prompts, which choose what of them counts, are free of the key is \
             a word.",
        ),
        (Standing::Word, _) => word(
            "The files of the references were committed to with the keys; that nobody knew the key then is the signer's word.",
        ),
    }
}

fn registered_before_data(bundle: &Bundle, seen: &Seen) -> (Standing, String) {
    // A draw does not show it either: whoever has the pool can have asked all of it before.
    match stamped_before_draw(bundle, seen) {
        Some(false) => (Standing::Fails, "The prompts had been drawn when the registration was stamped.".to_owned()),
        _ if seen.time_stamps[1].is_some() => (
            Standing::Word,
            "A time stamp dates the registration; when the answers were collected is the collector's word.".to_owned(),
        ),
        _ => (
            Standing::Word,
            "That the test was registered before its data is the word of its signer's clock.".to_owned(),
        ),
    }
}

/// Whether the registration's time stamp is before the round that draws the prompts; `None` where a time of either is missing.
fn stamped_before_draw(bundle: &Bundle, seen: &Seen) -> Option<bool> {
    let draw = bundle.registration.prompts.draw.as_ref()?;
    let known = draw.beacon.is_known_by(seen.time_stamps[1].as_deref()?)?;
    Some(!known)
}

fn noun(name: ConditionName, no_controls: bool) -> &'static str {
    match name {
        ConditionName::KeyBound => "the key was fixed before the data",
        ConditionName::KeyNotGround => "key and profile were not fitted to known answers",
        ConditionName::PromptsFreeOfKey => "the prompts were chosen without the key",
        ConditionName::TokensRecomputed => "ids, counts and scores are those of the texts",
        ConditionName::ControlsBound if no_controls => "the procedure is calibrated, though no control was asked",
        ConditionName::ControlsBound => "the controls are unrelated models",
        ConditionName::ReferencesBound => "the references were made without the key",
        ConditionName::CollectionWitnessed => "the answers came from these models",
        ConditionName::RegisteredBeforeData => "the test was registered before its data",
        ConditionName::LedgerBound => "candidates, accounts and list are older than the test",
        ConditionName::DrawsBlind => {
            "prompts were chosen and candidates drawn from one law, without looking at the coins"
        }
        ConditionName::EarlierAnalyses => "no analyses or commitments are missing",
    }
}

/// The verdict as this reader may take it: one that a failing condition contradicts is none.
#[must_use]
pub fn verdict(stated: Verdict, conditions: &[ConditionFound]) -> Verdict {
    let fails = conditions.iter().any(|condition| condition.standing == Standing::Fails);
    if fails { Verdict::Inconclusive } else { stated }
}

/// The verdict with what it rests on.
#[must_use]
pub fn headline(stated: Verdict, conditions: &[ConditionFound]) -> String {
    let of = |standing: Standing| {
        let names = conditions.iter().filter(|condition| condition.standing == standing).map(|one| one.noun);
        names.collect::<Vec<_>>().join("; ")
    };
    let verdict = verdict(stated, conditions);
    let (fails, word) = (of(Standing::Fails), of(Standing::Word));
    if !fails.is_empty() {
        return format!("{}: it is contradicted that {fails}", verdict.as_str());
    }
    if verdict == Verdict::Detected && !word.is_empty() {
        return format!("{}, if it is believed that {word}", verdict.as_str());
    }
    verdict.as_str().to_owned()
}
