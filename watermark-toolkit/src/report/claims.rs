use serde::Serialize;
use watermark_core::detect::Weights;
use watermark_core::evidence::bundle::Bundle;
use watermark_core::model_test::DecidedBy;

use super::insight::Example;
use super::pictures::{self, Figure};
use super::tables::{self, Table};
use super::{Insight, Source};
use crate::evidence::BundleCheck;
use crate::visible::visible;

/// Characters of a question: it must not bury what follows.
const MOST_OF_A_QUESTION: usize = 400;

/// What a bundle says, section by section.
#[derive(Serialize)]
pub(super) struct Claims {
    question: String,
    does_not_show: Vec<String>,
    alternatives: Vec<String>,
    conditions: Table,
    limits: Vec<String>,
    figures: Vec<Figure>,
    not_drawn: Vec<&'static str>,
    examples: Vec<Example>,
    examples_say: String,
    clocks: &'static str,
    timeline: Table,
    registration: Table,
    earlier: Table,
    null_hypothesis: String,
    alternative_hypothesis: String,
    method: String,
    results: Table,
    counts: Table,
    sums: Table,
    decision: Table,
    references: Option<Table>,
    fresh_keys: Option<Table>,
    rules: Table,
    layer: Table,
    classes: Vec<Table>,
    recompute: &'static str,
    commands: Vec<Command>,
    files: Table,
    digests: Table,
    signers: Table,
}

#[derive(Serialize)]
struct Command {
    what: &'static str,
    line: String,
}

impl Claims {
    pub(super) fn new(bundle: &Bundle, source: &Source<'_>) -> Self {
        let predicate = &bundle.statement.predicate;
        let insight = source.insight;
        let stamped = source.check.time_stamps.iter().flatten().count();
        Self {
            question: visible(&bundle.registration.question, MOST_OF_A_QUESTION),
            does_not_show: predicate.does_not_show.clone(),
            alternatives: predicate.alternatives.clone(),
            conditions: tables::conditions(&source.check.conditions),
            limits: limits(bundle, source.check),
            figures: figures(bundle, insight),
            not_drawn: not_drawn(bundle, insight),
            examples: insight.map_or_else(Vec::new, |insight| insight.examples.clone()),
            examples_say: examples_say(bundle),
            clocks: if stamped == 2 {
                "Independent time stamps of key and registration were checked."
            } else {
                "Times without a checked time stamp are those of the signer’s own clock."
            },
            timeline: tables::timeline(bundle, &source.check.time_stamps),
            registration: tables::registration(bundle),
            earlier: tables::earlier(bundle),
            null_hypothesis: predicate.null_hypothesis.clone(),
            alternative_hypothesis: predicate.alternative_hypothesis.clone(),
            method: method(bundle),
            results: tables::results(bundle),
            counts: tables::counts(bundle),
            sums: tables::sums(bundle),
            decision: tables::decision(bundle),
            fresh_keys: insight.and_then(tables::fresh_keys),
            rules: tables::rules(bundle),
            layer: tables::layer(bundle),
            classes: tables::classes(bundle),
            recompute: "The bundle has everything but the answers. With them and the disclosed key, the counts and all that follows can be made again, \
                        by two programs that share no code. FORMAT.md in verify says which bytes are hashed how.",
            references: tables::references(bundle),
            commands: commands(bundle, source),
            files: tables::files(bundle),
            digests: tables::digests(bundle),
            signers: tables::signers(bundle),
        }
    }
}

fn limits(bundle: &Bundle, check: &BundleCheck) -> Vec<String> {
    let predicate = &bundle.statement.predicate;
    let mut limits = check.cautions.clone();
    match predicate.controls.len() {
        // The cautions say this already.
        0 => (),
        1 => limits.push(
            "One unrelated model was tried beside the suspect; that it is unrelated is an assumption.".to_owned(),
        ),
        n => limits.push(format!(
            "{n} unrelated models were tried beside the suspect; that they are unrelated is an assumption."
        )),
    }
    if predicate.key.opening.is_none() {
        limits
            .push("The key is withheld: which tokens it favours, and so every score, is the signer’s word.".to_owned());
    } else {
        limits.push(
            "The bundle discloses the committed key and all below it. From now on anybody can mark text with it, so only what was collected before \
             counts."
                .to_owned(),
        );
    }
    limits.push("The null hypothesis is about the key, not about people: it says nothing of who did what.".to_owned());
    limits
}

fn figures(bundle: &Bundle, insight: Option<&Insight>) -> Vec<Figure> {
    let registration = &bundle.registration;
    let fresh = insight.map(|insight| insight.fresh_log10_p.as_slice());
    let curve = insight
        .and_then(|insight| pictures::curve(&insight.curve, registration, bundle.statement.predicate.decided_by));
    let all = [Some(pictures::models(bundle)), pictures::fresh_keys(bundle, fresh), pictures::classes(bundle), curve];
    all.into_iter().flatten().collect()
}

fn not_drawn(bundle: &Bundle, insight: Option<&Insight>) -> Vec<&'static str> {
    let mut missing = Vec::new();
    if !bundle.references().is_empty() {
        missing.push(
            "No curve of the evidence over time: what the references expect is compared once, when all answers are there.",
        );
    } else if insight.is_none() {
        missing.push(if bundle.node.is_none() {
            "No curve of the evidence over time: the bundle carries only its end, and the key that it takes is withheld."
        } else {
            "No curve of the evidence over time: the bundle carries only its end. With the answers (--data) it is drawn."
        });
    }
    missing.push("No bars by cohort or account: this kind of evidence tests one key as a whole.");
    missing
}

fn examples_say(bundle: &Bundle) -> String {
    let chance = match bundle.layer.scheme.own() {
        Some(watermark_core::scheme::Scheme::Greenlist(scheme)) => {
            format!("{:.0} in 100 counted tokens", 100.0 * scheme.gamma())
        }
        _ => "one in four counted tokens".to_owned(),
    };
    format!(
        "The first answers of the suspect, chosen by their place and not by their scores. Underlined: tokens that the key favours after the ones before \
         them. By chance that is so for {chance}; grey tokens do not count. A handful of answers shows nothing by itself."
    )
}

fn method(bundle: &Bundle) -> String {
    let predicate = &bundle.statement.predicate;
    let tail = match bundle.registration.weights {
        Weights::Residual => {
            "statistic is the sum of weight times score over distinct pairs, weights what the model wrote beyond what the references expect of it, less \
             where they expect much, and negative where it wrote less; log10_p is a Chernoff bound of its tail under the null hypothesis, \
             log10_p_distinct the exact tail of what it wrote with every pair of weight 1"
        }
        Weights::Sqrt | Weights::Expected => {
            "statistic is the sum of weight times score over distinct pairs, weights floor(sqrt(count · 2³²)); log10_p is a Chernoff bound of its \
             tail under the null hypothesis, log10_p_distinct the exact tail with every pair of weight 1"
        }
        Weights::None => {
            "statistic is the sum of scores over distinct pairs; log10_p is its exact tail under the null hypothesis"
        }
    };
    let by = match predicate.decided_by {
        DecidedBy::Tail => "The sample was fixed, and log10_p decides",
        DecidedBy::EValue => {
            "The sample may have been stopped by its evidence, so ln_e decides, and log10_p is for comparison only"
        }
    };
    let e_value = if bundle.references().is_empty() {
        "ln_e is the logarithm of an e-value, valid under any stopping"
    } else {
        "ln_e is the logarithm of an e-value of this sample, which had to be complete, because what lies beyond the references changes with every answer"
    };
    format!("Over keys, the scores of distinct pairs are independent, whatever the text: {tail}. {e_value}. {by}.")
}

fn commands(bundle: &Bundle, source: &Source<'_>) -> Vec<Command> {
    let evidence = argument(source.name, "EVIDENCE");
    let subjects = bundle.statement.subject.iter().enumerate();
    let data: Vec<String> =
        subjects.map(|(at, subject)| argument(&subject.name, &format!("ANSWERS_{}", at + 1))).collect();
    let pool = if bundle.registration.prompts.draw.is_some() { " --pool POOL" } else { "" };
    let flags: String = data.iter().map(|file| format!(" --data {file}")).collect::<String>() + pool;
    vec![
        Command {
            what: "Signatures, proofs and arithmetic, without the answers:",
            line: format!("watermark verify {evidence}"),
        },
        Command {
            what: "All of it, from the answers (add --trusted-key for the signers that you trust, --authority for time stamps):",
            line: format!("watermark verify {evidence}{flags}"),
        },
        Command {
            what: "The same by the second verifier, in Python, from the records files beside the bundle:",
            line: format!(
                "python3 verify/verify.py {evidence} --data *.records.jsonl {} --tokenizer tokenizer.json{pool}",
                data.join(" ")
            ),
        },
        Command {
            what: "This page with the answers:",
            line: format!("watermark report {evidence}{flags} -o report.html"),
        },
    ]
}

/// A file name as it can be typed into a shell, or a placeholder: names are strangers' text, and somebody will copy the line.
fn argument(name: &str, placeholder: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.len() <= 100 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain) {
        name.to_owned()
    } else {
        placeholder.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_become_arguments() {
        assert_eq!(argument("suspect-1.jsonl.gz", "X"), "suspect-1.jsonl.gz");
        for name in ["", "-rf", "a b", "$(id)", "a;b", "../a", "a\nb", "`x`", "'", "é", "~", ".x", &"a".repeat(101)] {
            assert_eq!(argument(name, "X"), "X", "{name:?}");
        }
    }
}
