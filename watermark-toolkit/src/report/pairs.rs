//! The page of evidence from paired draws.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use watermark_core::detect::Verdict;
use watermark_core::evidence::PublicKey;
use watermark_core::evidence::bundle::{Code, Standing};
use watermark_core::evidence::pairs::{AccountEvidence, Bundle, SampleEvidence};
use watermark_core::hex;
use watermark_core::model_test::log10_p_anytime;

use super::draw::{COMPARED, Drawing, FAINT, LEFT, LEVEL, RIGHT, TESTED, WIDTH, short, ticks};
use super::number::{chance, grouped, level, log10_e, power};
use super::pictures::Figure;
use super::tables::{self, Table};
use super::{render, style};
use crate::evidence::pairs::{PairsCheck, check};
use crate::evidence::{Context, MAX_BUNDLE, headline, verdict};
use crate::files::{read_bounded, write_new};
use crate::pairs::{SIDES_PER_NAT, Sides};

/// Accounts in the picture; the table has more.
const MOST_ACCOUNTS: usize = 24;

#[derive(Serialize)]
struct Page<'a> {
    title: &'static str,
    style: &'static str,
    style_hash: String,
    tone: &'static str,
    headline: String,
    sentences: Vec<String>,
    faults: Vec<Finding<'a>>,
    recomputed: &'a [String],
    open: Vec<String>,
    claims: Option<Claims>,
    name: &'a str,
    sha256: String,
    software: &'static str,
}

#[derive(Serialize)]
struct Finding<'a> {
    code: &'static str,
    what: &'a str,
}

#[derive(Serialize)]
struct Claims {
    question: String,
    conditions: Table,
    does_not_show: Vec<String>,
    alternatives: Vec<String>,
    limits: Vec<String>,
    figures: Vec<Figure>,
    not_drawn: Option<&'static str>,
    timeline: Table,
    registration: Table,
    null_hypothesis: String,
    alternative_hypothesis: String,
    models: Table,
    audits: Table,
    list: Table,
    accounts: Table,
    command: String,
    files: Table,
    signers: Table,
}

/// Checks the bundle at `path` and writes its page to a new file.
///
/// # Errors
/// If a file cannot be read, or `out` exists. What does not hold is no error: the page says it.
pub fn write(path: &Path, context: &Context, out: &Path) -> Result<PairsCheck> {
    let (_, found, page) = of_bundle(path, context)?;
    write_new(out, page.as_bytes())?;
    Ok(found)
}

/// The bytes of the bundle at `path`, what was found in them, and its page.
pub(super) fn of_bundle(path: &Path, context: &Context) -> Result<(Vec<u8>, PairsCheck, String)> {
    let bytes = read_bounded(path, MAX_BUNDLE).with_context(|| format!("reading {}", path.display()))?;
    let found = check(&bytes, context, |_| Ok(()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (style, style_hash) = style();
    let (tone, headline, sentences) = verdict_text(&found);
    let mut open = found.not_checked.clone();
    open.push("whether the scores are those of the models that they are said to be of".to_owned());
    let page = Page {
        title: "Evidence report: paired draws",
        style,
        style_hash,
        tone,
        headline,
        sentences,
        faults: found.faults.iter().map(|fault| Finding { code: fault.code.as_str(), what: &fault.what }).collect(),
        recomputed: &found.recomputed,
        open,
        claims: found.bundle.as_ref().map(|bundle| Claims::new(bundle, &found, &name)),
        name: &name,
        sha256: hex::encode(&Sha256::digest(&bytes)),
        software: concat!("watermark ", env!("CARGO_PKG_VERSION")),
    };
    let page = render("pairs.html", &page)?;
    Ok((bytes, found, page))
}

fn verdict_text(check: &PairsCheck) -> (&'static str, String, Vec<String>) {
    let broken = |headline: &str, sentence: &str| ("broken", headline.to_owned(), vec![sentence.to_owned()]);
    let Some(bundle) = &check.bundle else {
        return broken(
            "No result: this file is not evidence",
            "Its signature, form or parts do not hold, so nothing of what it says is repeated here.",
        );
    };
    if !check.integrity() {
        return broken(
            "No result: this evidence does not hold together",
            "It says more below than it can support. Read the numbers as claims of whoever wrote the file, and ask them for a bundle that verifies.",
        );
    }
    if check.faults.iter().any(|fault| fault.code == Code::Data) {
        return broken(
            "No result: a file is none of this case",
            "The evidence holds together, but what was given as its data is something else. Give the files that it names.",
        );
    }
    let (predicate, registration) = (&bundle.statement.predicate, &bundle.registration);
    let name = short(&registration.suspect);
    let log10_p = log10_p_anytime(predicate.suspect.ln_e);
    let share = 100.0 * predicate.suspect.n_served_preferred as f64 / predicate.suspect.n_scored.max(1) as f64;
    let mut sentences = vec![format!(
        "At {} positions with two candidates the model prefers one, and in {share:.1} % of them the one that was served. A model that knows nothing of the \
         coins does so well in at most {} such tests. The registered level is {}, divided by {} committed keys.",
        grouped(predicate.suspect.n_scored),
        chance(log10_p),
        level(registration.alpha),
        registration.key.tree_size
    )];
    let stated = verdict(predicate.verdict, &check.conditions);
    let (tone, title) = match stated {
        Verdict::Detected => ("detected", format!("Detected: “{name}” prefers what was served to what was kept back")),
        Verdict::NotDetected => {
            sentences.push("That is no proof that the model learned nothing from these answers.".to_owned());
            ("not_detected", format!("Not detected: “{name}” does not prefer what was served"))
        }
        Verdict::Inconclusive => {
            let failing = check.conditions.iter().filter(|condition| condition.standing == Standing::Fails);
            sentences.extend(failing.map(|condition| condition.says.clone()));
            let reasons = [
                (predicate.suspect.n_scored == 0, "There is no position at which the model prefers anything."),
                (
                    !predicate.candidates_present(),
                    "More than a twentieth of the positions has no second candidate: which ones may have been chosen.",
                ),
                (
                    !predicate.controls_agree,
                    "An unrelated model prefers what was served too: the procedure is not calibrated here.",
                ),
                (
                    !predicate.reference_agrees,
                    "The reference prefers what was kept back, as one that was made with the coins would.",
                ),
                (
                    !predicate.draws_agree,
                    "The candidates are not those that the named law draws, or it prefers what was served, as where prompts were chosen for their coins.",
                ),
            ];
            sentences.extend(reasons.iter().filter(|(holds, _)| *holds).map(|(_, why)| (*why).to_owned()));
            ("inconclusive", format!("Inconclusive: nothing can be said about “{name}”"))
        }
    };
    let named = predicate.accounts.iter().filter(|one| one.verdict == Verdict::Detected).count();
    if stated != Verdict::Inconclusive {
        sentences.push(format!(
            "By accounts: {named} of {} are detected. It says whose answers the model depends on, not who trained it.",
            predicate.accounts.len()
        ));
    }
    sentences.push(format!("In one sentence: {}.", headline(predicate.verdict, &check.conditions)));
    sentences.push(if check.recomputed.is_empty() {
        "The file holds together: signatures, proofs and arithmetic were checked. This page did not see the list: that the numbers are its is the signer’s \
         word."
            .to_owned()
    } else {
        format!("The file holds together, and {} of its files were counted again.", check.recomputed.len())
    });
    if !check.faults.is_empty() {
        sentences.push("Whoever signed is not trusted by the reader of this page.".to_owned());
    }
    (tone, title, sentences)
}

impl Claims {
    fn new(bundle: &Bundle, check: &PairsCheck, name: &str) -> Self {
        let (predicate, registration) = (&bundle.statement.predicate, &bundle.registration);
        let mut limits = check.cautions.clone();
        limits.push(
            "The list discloses what was kept back. From now on anybody can train a model to prefer what was served, so only what was scored before counts."
                .to_owned(),
        );
        let sides = check.sides.as_ref().map(sides);
        let not_drawn = sides.is_none().then_some(
            "No picture of the positions: the bundle carries their sums. With the list and the scores (--data) they are drawn.",
        );
        let figures = [Some(models(bundle)), sides, accounts_picture(bundle)];
        Self {
            question: registration.question.clone(),
            conditions: tables::conditions(&check.conditions),
            does_not_show: predicate.does_not_show.clone(),
            alternatives: predicate.alternatives.clone(),
            limits,
            figures: figures.into_iter().flatten().collect(),
            not_drawn,
            timeline: timeline(bundle, check),
            registration: registered(bundle),
            null_hypothesis: predicate.null_hypothesis.clone(),
            alternative_hypothesis: predicate.alternative_hypothesis.clone(),
            models: models_table(bundle),
            audits: audits(bundle),
            list: list(bundle),
            accounts: accounts_table(bundle),
            command: command(bundle, name),
            files: files(bundle),
            signers: signers(bundle),
        }
    }
}

/// e-values of suspect and controls on one scale.
fn models(bundle: &Bundle) -> Figure {
    let predicate = &bundle.statement.predicate;
    let controls = predicate.controls.iter().take(MOST_ACCOUNTS);
    let rows: Vec<(String, f64, bool)> = std::iter::once(&predicate.suspect)
        .chain(controls)
        .enumerate()
        .map(|(at, sample)| {
            let role = if at == 0 { "suspect" } else { "control" };
            (format!("{} ({role})", short(&sample.model)), log10_e(sample.ln_e), at == 0)
        })
        .collect();
    let needed = -registration_level(bundle).log10();
    Figure {
        title: "Suspect and controls".to_owned(),
        svg: bars(&rows, needed, &format!("level of the list, {}", level(registration_level(bundle)))),
        caption: if predicate.controls.is_empty() {
            "No control was registered, so the procedure was not tried on a model that is known to be independent."
                .to_owned()
        } else {
            "A control is a model that has not learned from these answers. It is scored on the same list, and should stay on the left.".to_owned()
        },
    }
}

/// e-values of the accounts with the most evidence, controls beside.
fn accounts_picture(bundle: &Bundle) -> Option<Figure> {
    let predicate = &bundle.statement.predicate;
    if predicate.accounts.len() < 2 {
        return None;
    }
    let rows: Vec<(String, f64, bool)> = predicate
        .accounts
        .iter()
        .take(MOST_ACCOUNTS)
        .map(|account| {
            (
                format!("{}…", &account.account.to_string()[..8]),
                log10_e(account.ln_e),
                account.verdict == Verdict::Detected,
            )
        })
        .collect();
    // The strongest of m has to reach the level of all of them divided by m.
    let first = bundle.registration.key.level(bundle.registration.accounts_alpha) / predicate.accounts.len() as f64;
    let hidden = predicate.accounts.len().saturating_sub(MOST_ACCOUNTS);
    let more = if hidden > 0 { format!(" {hidden} more are in the table.") } else { String::new() };
    Some(Figure {
        title: "Accounts".to_owned(),
        svg: bars(&rows, -first.log10(), &format!("level of the strongest, {}", level(first))),
        caption: format!(
            "Each bar is an account, by its pseudonym in the ledger; filled dots are detected. Accounts whose answers were not learned stay on the left, \
             and some of them left of 1.{more}"
        ),
    })
}

/// log10 of e-values in rows, further right the stronger, with the level that is needed.
fn bars(rows: &[(String, f64, bool)], needed: f64, label: &str) -> String {
    const TOP: f64 = 34.0;
    const ROW: f64 = 40.0;
    let low = rows.iter().fold(0.0_f64, |low, row| low.min(row.1)).max(-6.0);
    let high = rows.iter().fold(needed, |high, row| high.max(row.1)) * 1.08;
    let bottom = TOP + ROW * rows.len() as f64;
    let mut drawing = Drawing::new(bottom + 44.0);
    let x = |log10: f64| LEFT / 2.0 + (RIGHT - LEFT / 2.0) * (log10.max(low) - low) / (high - low);
    for tick in ticks(low, high) {
        drawing.rule((x(tick), TOP), (x(tick), bottom), FAINT, "");
        let label = if tick == 0.0 { "1".to_owned() } else { power(tick) };
        drawing.text(x(tick), bottom + 18.0, "middle", &label);
    }
    drawing.text(WIDTH / 2.0, bottom + 38.0, "middle", "e-value (further right: harder to explain by chance)");
    drawing.rule((x(needed), TOP - 8.0), (x(needed), bottom), LEVEL, "6 4");
    drawing.colored(x(needed), TOP - 14.0, if x(needed) > WIDTH / 2.0 { "end" } else { "start" }, LEVEL, label);
    for (at, (name, log10, strong)) in rows.iter().enumerate() {
        let y = TOP + ROW * at as f64;
        let color = if *strong { TESTED } else { COMPARED };
        drawing.colored(LEFT / 2.0, y + 14.0, "start", color, name);
        drawing.rule((x(0.0), y + 28.0), (x(*log10), y + 28.0), color, "");
        drawing.dot(x(*log10), y + 28.0, color, *strong);
    }
    let words: Vec<String> = rows.iter().map(|(name, log10, _)| format!("{name}: e {}", power(*log10))).collect();
    drawing.finish(&format!("e-values on a logarithmic scale. {}.", words.join("; ")))
}

/// Positions by how strongly the suspect prefers one candidate: the served ones above, the others below.
fn sides(sides: &Sides) -> Figure {
    const MIDDLE: f64 = 120.0;
    const HALF: f64 = 96.0;
    let most = sides.iter().map(|&(wins, losses)| wins.max(losses)).max().unwrap_or(0).max(1) as f64;
    let mut drawing = Drawing::new(2.0 * MIDDLE + 44.0);
    let width = (RIGHT - LEFT) / sides.len() as f64;
    for (at, &(wins, losses)) in sides.iter().enumerate() {
        let x = LEFT + width * at as f64;
        let [up, down] = [wins, losses].map(|n| HALF * n as f64 / most);
        drawing.bar(x + 1.0, MIDDLE - up, width - 2.0, up, TESTED);
        drawing.bar(x + 1.0, MIDDLE, width - 2.0, down, COMPARED);
    }
    drawing.rule((LEFT, MIDDLE), (RIGHT, MIDDLE), COMPARED, "");
    for nats in 0..=sides.len() / SIDES_PER_NAT {
        let x = LEFT + width * (nats * SIDES_PER_NAT) as f64;
        drawing.text(x, 2.0 * MIDDLE + 14.0, "middle", &nats.to_string());
    }
    drawing.text(WIDTH / 2.0, 2.0 * MIDDLE + 36.0, "middle", "how strongly the model prefers one of both, in nats");
    let (wins, losses) = sides.iter().fold((0, 0), |(a, b), &(wins, losses)| (a + wins, b + losses));
    drawing.colored(RIGHT, MIDDLE - HALF + 4.0, "end", TESTED, &format!("{} as they were served", grouped(wins)));
    drawing.colored(RIGHT, MIDDLE + HALF + 10.0, "end", COMPARED, &format!("{} the other way round", grouped(losses)));
    Figure {
        title: "Served against kept back".to_owned(),
        svg: drawing.finish(&format!("{wins} positions are preferred as they were served, {losses} the other way round.")),
        caption: "Every position with two candidates, by how much likelier one of them is to the suspect, beyond what the reference finds. If the coins had \
                  nothing to do with the model, the bars above and below would be as high as each other, but for chance."
            .to_owned(),
    }
}

fn registration_level(bundle: &Bundle) -> f64 {
    bundle.registration.key.level(bundle.registration.alpha)
}

fn timeline(bundle: &Bundle, check: &PairsCheck) -> Table {
    let given = &bundle.statement.predicate.time_stamps;
    let stamp = |given: &Option<String>, at: usize| match (given, &check.time_stamps[at]) {
        (None, _) => "the signer’s own clock".to_owned(),
        (Some(_), None) => {
            "the signer’s own clock; a time stamp by others is in the bundle and was not checked here".to_owned()
        }
        (Some(_), Some(time)) => format!("a time stamp by others says {time}"),
    };
    let rows = [
        [bundle.head.signed_at.clone(), "Key and requests were committed to".to_owned(), stamp(&given.head, 0)],
        [
            bundle.ledger.signed_at.clone(),
            "The ledger of what was served was signed".to_owned(),
            stamp(&given.ledger, 1),
        ],
        [
            bundle.registration.registered_at.to_string(),
            "The test was registered".to_owned(),
            stamp(&given.registration, 2),
        ],
        [
            bundle.statement.predicate.signed_at.to_string(),
            "This evidence was signed".to_owned(),
            "the signer’s own clock".to_owned(),
        ],
    ];
    Table::new("What happened when (UTC)", ["When", "What", "Who says so"], rows)
}

fn registered(bundle: &Bundle) -> Table {
    let registration = &bundle.registration;
    let none = || "none".to_owned();
    let named = |scores: &Option<watermark_core::evidence::pairs::RegisteredScores>| {
        scores.as_ref().map_or_else(none, |scores| short(&scores.model))
    };
    let controls: Vec<String> = registration.controls.iter().map(|name| short(name)).collect();
    let requests = bundle.requests();
    let rows = [
        ["Suspect".to_owned(), short(&registration.suspect)],
        ["Controls".to_owned(), if controls.is_empty() { none() } else { controls.join(", ") }],
        ["Reference, beyond which preferences count".to_owned(), named(&registration.reference)],
        ["Model whose law drew the candidates".to_owned(), named(&registration.law)],
        ["Ledger".to_owned(), requests.map_or_else(none, |requests| requests.ledger.clone())],
        ["Requests in it, all of which are the list".to_owned(), grouped(registration.ledger.size)],
        ["Requests planned before".to_owned(), requests.map_or_else(none, |requests| grouped(requests.count))],
        [
            "Tokens of an answer that count".to_owned(),
            registration.first_tokens.map_or("all".to_owned(), |n| format!("the first {n}")),
        ],
        ["Level of the list".to_owned(), format!("{:?}", registration.alpha)],
        ["Level of all accounts together".to_owned(), format!("{:?}", registration.accounts_alpha)],
        ["Committed keys, by which levels are divided".to_owned(), registration.key.tree_size.to_string()],
        ["Earlier analyses named".to_owned(), registration.earlier.len().to_string()],
    ];
    Table::new("What was registered", ["What", "As registered"], rows)
}

fn models_table(bundle: &Bundle) -> Table {
    let predicate = &bundle.statement.predicate;
    let row = |sample: &SampleEvidence| {
        [
            short(&sample.model),
            sample.n_scored.to_string(),
            sample.n_served_preferred.to_string(),
            sample.n_ties.to_string(),
            sample.n_unscored.to_string(),
            format!("{:?}", sample.whole_ln_e),
            format!("{:?}", sample.ln_e),
        ]
    };
    let head = ["Model", "n_scored", "n_served_preferred", "n_ties", "n_unscored", "whole_ln_e", "ln_e"];
    Table::new("Suspect and controls", head, std::iter::once(&predicate.suspect).chain(&predicate.controls).map(row))
        .of_numbers()
}

fn audits(bundle: &Bundle) -> Table {
    let predicate = &bundle.statement.predicate;
    let mut rows = Vec::new();
    let agrees = |agrees: bool| if agrees { "agrees" } else { "does not agree" }.to_owned();
    rows.extend(predicate.reference.map(|reference| {
        let what = "ln e that the reference prefers what was kept back".to_owned();
        [what, format!("{:?}", reference.ln_e), agrees(predicate.reference_agrees)]
    }));
    rows.extend(predicate.draws.map(|draws| {
        let what = format!("log10 p that {} candidates come from the named law", grouped(draws.n));
        [what, format!("{:?}", draws.log10_p), agrees(predicate.draws_agree)]
    }));
    rows.extend(predicate.draws.map(|draws| {
        let what = "ln e that this law itself prefers what was served".to_owned();
        [what, format!("{:?}", draws.law_ln_e), agrees(predicate.draws_agree)]
    }));
    rows.push(["controls".to_owned(), predicate.controls.len().to_string(), agrees(predicate.controls_agree)]);
    Table::new("What the verdict was held against", ["What", "Number", "Result"], rows)
}

fn list(bundle: &Bundle) -> Table {
    let list = &bundle.statement.predicate.list;
    let rows = [
        ["requests", &list.requests.to_string()],
        ["positions whose candidates are one token", &list.n_equal.to_string()],
        ["positions with a special candidate", &list.n_special.to_string()],
        ["positions without a second candidate", &list.n_without_candidate.to_string()],
    ];
    Table::new("The list", ["What", "How many"], rows.map(|row| row.map(str::to_owned))).of_numbers()
}

fn accounts_table(bundle: &Bundle) -> Table {
    let row = |account: &AccountEvidence| {
        [
            account.account.to_string(),
            account.requests.to_string(),
            account.n_scored.to_string(),
            account.n_served_preferred.to_string(),
            format!("{:?}", account.ln_e),
            account.verdict.as_str().to_owned(),
        ]
    };
    let head = ["Account (pseudonym)", "requests", "n_scored", "n_served_preferred", "ln_e", "verdict"];
    Table::new("Accounts by evidence", head, bundle.statement.predicate.accounts.iter().map(row)).of_numbers()
}

fn command(bundle: &Bundle, name: &str) -> String {
    let plain =
        |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c)) && !name.starts_with('-');
    let shown = |name: &str, other: &str| if plain(name) { name.to_owned() } else { other.to_owned() };
    let files: Vec<String> =
        bundle.statement.subject.iter().map(|subject| format!(" --data {}", shown(&subject.name, "FILE"))).collect();
    format!("watermark verify {}{}", shown(name, "EVIDENCE"), files.concat())
}

fn files(bundle: &Bundle) -> Table {
    let controls = bundle.registration.controls.len();
    let mut beside = Vec::new();
    beside.extend(bundle.registration.reference.iter().map(|_| "scores of the reference".to_owned()));
    beside.extend(bundle.registration.law.iter().map(|_| "what the law says".to_owned()));
    let role = |at: usize| match at {
        0 => "the list".to_owned(),
        1 => "scores of the suspect".to_owned(),
        _ if at < 2 + controls => format!("scores of control {}", at - 1),
        _ => beside.get(at - 2 - controls).cloned().unwrap_or_default(),
    };
    let rows = bundle
        .statement
        .subject
        .iter()
        .enumerate()
        .map(|(at, subject)| [subject.name.clone(), role(at), subject.digest.sha256.to_string()]);
    Table::new("Files", ["File", "What it is", "SHA-256"], rows)
}

fn signers(bundle: &Bundle) -> Table {
    let signed = ["This evidence", "The registration", "The head of the key commitments", "The head of the ledger"];
    let rows = signed.iter().zip(&bundle.signers).map(|(what, key)| [(*what).to_owned(), PublicKey::to_hex(key)]);
    Table::new("Who signed (Ed25519 public keys)", ["What", "Public key"], rows)
}
