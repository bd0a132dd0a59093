//! The attacks at a size that an ordinary run can pay; bounds are far from what was measured (README.md).
#![allow(clippy::unwrap_used, reason = "tests")]

use watermark_attacks::{choosing, edits, forge, quoting, scrub, separation};
use watermark_radioactivity::lab::Lab;

const FOUND: &str = "documents with p <= .001";
const SEED: u64 = 1;

/// Everything is made anew: what was kept could hide a change.
fn lab(name: &str) -> (Lab, std::path::PathBuf) {
    let folder = std::env::temp_dir().join(format!("watermark-attacks-{name}-{}", std::process::id()));
    (Lab::new(folder.clone()).unwrap(), folder)
}

/// A few hundred answers give a narrow list away, and forged text then passes for genuine; of a wide one they give little.
#[test]
fn a_narrow_list_is_stolen_and_forged_with() {
    let (lab, folder) = lab("forging");
    let measures = forge::run(&lab, SEED, &[1, 4], &[400], 60).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    assert!(measures.get("width 1, genuine", FOUND) >= 0.8, "{measures:?}");
    assert!(measures.get("width 1, nothing forged", FOUND) <= 0.1, "{measures:?}");
    assert!(measures.get("width 1, 400 harvested answers", FOUND) >= 0.5, "{measures:?}");
    assert!(measures.get("width 1, 400 harvested answers", "of which are") >= 0.7, "{measures:?}");
    assert!(measures.get("width 4, 400 harvested answers", FOUND) <= 0.4, "{measures:?}");
}

/// Edits weaken the mark as their rate grows; a list scrubs more than as many changes at random.
#[test]
fn edits_weaken_and_a_list_scrubs_better_than_chance() {
    let (lab, folder) = lab("edits");
    let edits = edits::run(&lab, SEED, &[0.1, 0.7], 60).unwrap();
    let scrubbed = scrub::run(&lab, SEED, &[400], 60).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    for layer in ["green list, width 1", "gumbel, width 4"] {
        let found = |edit: &str| edits.get(&format!("{layer}, {edit}"), FOUND);
        assert!(found("none") >= 0.8, "{edits:?}");
        assert!(found("10 % substituted") > found("70 % substituted"), "{edits:?}");
        assert!(found("70 % substituted") <= 0.2, "{edits:?}");
    }
    let found = |setting: &str| scrubbed.get(setting, FOUND);
    assert!(
        found("by a list of 400 answers") < found("as many tokens at random as by a list of 400 answers"),
        "{scrubbed:?}"
    );
}

/// What is forged from answers of many keys fires under several or none; genuine text under one.
#[test]
fn the_exactly_one_key_rule_keeps_genuine_text_and_drops_forged() {
    let (lab, folder) = lab("separation");
    let measures = separation::run(&lab, SEED, 4, 800, 60).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    let accepted = |setting: &str| measures.get(&format!("4 keys, {setting}"), "accepted: under exactly one");
    assert!(accepted("genuine") >= 0.7, "{measures:?}");
    assert!(accepted("forged from as many answers of one key") >= 0.3, "{measures:?}");
    assert!(accepted("forged from answers of all keys") <= 0.2, "{measures:?}");
}

/// An innocent model that repeats marked text from its prompts: accused while quotations are found to the letter only, and not since
/// they are compared in a form of their own.
#[test]
fn an_innocent_model_may_quote_its_prompts_in_another_form() {
    let (lab, folder) = lab("quoting");
    let measures = quoting::run(&lab, SEED, 40).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    let literal = |setting: &str| measures.get(setting, "log10 p, compared literally");
    for setting in [
        "wrapped",
        "wrapped, \"> \" in front of lines",
        "wrapped, \" * \" in front of lines",
        "upper-cased",
        "wrapped, as JSON",
        "as HTML, spaces as &nbsp;",
    ] {
        assert!(literal(setting) < -6.0, "{measures:?}");
        assert!(measures.get(setting, "log10 p") > -2.0, "{measures:?}");
    }
    assert!(literal("as it is") > -2.0 && measures.get("as it is", "log10 p") > -2.0, "{measures:?}");
}

/// Honest keys and drawn prompts give p-values that are uniform; an accuser who chooses what prompts show reaches any level, and the
/// audit sees it.
#[test]
fn prompts_chosen_with_the_key_are_seen_and_drawn_ones_are_fair() {
    let (lab, folder) = lab("choosing");
    let size = choosing::Size { asked: 120, pool: 300, honest: 1000, accusers: 100, examples: 600 };
    let measures = choosing::run(&lab, SEED, size).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    let drawn = |measure: &str| measures.get("prompts drawn by a public value", measure);
    // Kolmogorov's bound for 1,000 values: .062 is passed with probability .0005 on each side.
    assert!(drawn("exact p above the uniform law") < 0.062 && drawn("exact p below it") < 0.062, "{measures:?}");
    // 10 are expected: 24 or more have probability 1e-4.
    assert!(drawn("weighted bound <= .01") <= 0.023 && drawn("e >= 100") <= 0.023, "{measures:?}");
    // Two bounds at .001 each, 2 expected: 10 or more have probability 5e-5.
    assert!(drawn("inconclusive by the audit") < 0.01, "{measures:?}");
    let chosen = |measure: &str| measures.get("prompts show what speaks against the key", measure);
    assert!(chosen("detected without the audit") >= 0.3, "{measures:?}");
    assert!(chosen("of which inconclusive by it") >= 0.95, "{measures:?}");
    // What they can do about it: the audit replaces no rule for who chooses prompts.
    let balanced = |measure: &str| measures.get("the same, and the model copies words that speak for it", measure);
    assert!(balanced("of which detected all the same") >= 0.5, "{measures:?}");
    assert!(measures.get("prompts as they come", "detected without the audit") == 0.0, "{measures:?}");
}
