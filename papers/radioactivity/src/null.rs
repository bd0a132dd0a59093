//! Sham keys on a distilled student, honest keys on control students: no distribution of p may exceed uniform.

use anyhow::{Result, ensure};
use rayon::prelude::*;
use watermark_core::detect::LayerDetector;
use watermark_core::key::fresh_keys;
use watermark_core::model_test::{ModelSample, log10_p_anytime};
use watermark_lab::fine_tune::FineTuning;
use watermark_lab::shipped;

use crate::access::{Access, Shown};
use crate::beside::Asked;
use crate::factors::of_share;
use crate::lab::{Data, Lab, Mark, Start, Student};
use crate::table::{Row, write};

const SHAM_KEYS: u32 = 1000;
const HONEST_KEYS: u64 = 200;
/// Control students of different seeds.
const CONTROLS: u64 = 3;
/// Texts that an honest key marks for reading.
const TEXTS: usize = 6;
/// Answers with choices cost a forward pass each.
const ANSWERS: usize = 150;
/// Level of the one-sided Dvoretzky-Kiefer-Wolfowitz bound (Massart 1990).
const LEVEL: f64 = 1e-4;
/// Answers of a reference that an honest key marked, and keys under which a reference was trained.
const MARKED: usize = 40;
const TRAINED: u64 = 5;
/// Leans of a reference away from the key, in nats.
const RIGGED: [f64; 5] = [0.02, 0.05, 0.1, 0.2, 0.5];

pub(crate) fn run(lab: &Lab, out: &str) -> Result<()> {
    let mut rows = Vec::new();
    let mut all_within = true;
    let mut report = |subject: &str, access: &str, p: &str, values: Vec<f64>| {
        let (row, within) = compare(subject, access, p, values);
        all_within &= within;
        rows.push(row);
        write(out, &rows)
    };
    let (student, served, mark) = of_share(lab, 1.0, 1)?;
    let layer = lab.layer(&mark)?;
    let asked = lab.ask(&student, 9001, 600, 0.8)?.slice(0, ANSWERS);
    let sham: Vec<LayerDetector> =
        fresh_keys(b"sham keys", SHAM_KEYS).map(|key| layer.with_prf_key(&key)).collect::<Result<_, _>>()?;
    for access in [Access::Closed, Access::TopLogprobs, Access::OpenWeights, Access::Reading, Access::ReadingOpen] {
        let data = if access.reads() { served.slice(0, ANSWERS) } else { asked.clone() };
        let shown = Shown::new(lab, access, &student, &data)?;
        let samples = (shown.sample(&layer, shown.tokens(), usize::MAX)?, shown.sample(&layer, shown.tokens(), 25)?);
        let tests = sham.par_iter().map(|key| tests(key, &samples.0, &samples.1));
        let (fixed, anytime): (Vec<f64>, Vec<f64>) = tests.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        report("distilled student, sham keys", access.name(), "fixed", fixed)?;
        report("distilled student, sham keys", access.name(), "e-process", anytime)?;
    }
    for access in [Access::Closed, Access::TopLogprobs, Access::Reading, Access::ReadingOpen] {
        let (mut fixed, mut anytime) = (Vec::new(), Vec::new());
        for seed in 1..=CONTROLS {
            let (control, _, _) = of_share(lab, 0.0, seed)?;
            let asked = lab.ask(&control, 9000 + seed, 600, 0.8)?.slice(0, ANSWERS);
            let of_answers = if access.reads() { None } else { Some(Shown::new(lab, access, &control, &asked)?) };
            for key in (seed - 1..HONEST_KEYS).step_by(CONTROLS as usize) {
                // An honest key is one that marked answers; the control has never seen any.
                let mark = Mark { key: 10_000 + key, ..mark };
                let layer = lab.layer(&mark)?;
                let of_texts;
                let shown = if let Some(shown) = &of_answers {
                    shown
                } else {
                    of_texts = Shown::new(lab, access, &control, &lab.teacher(&mark, true, 70_000 + key, TEXTS)?)?;
                    &of_texts
                };
                let (one, rounds) =
                    (shown.sample(&layer, shown.tokens(), usize::MAX)?, shown.sample(&layer, shown.tokens(), 25)?);
                let (p, e) = tests(&layer, &one, &rounds)?;
                fixed.push(p);
                anytime.push(e);
            }
        }
        report("control students, honest keys", access.name(), "fixed", fixed)?;
        report("control students, honest keys", access.name(), "e-process", anytime)?;
    }
    beside_references(lab, &student, &asked, &layer, &sham, mark, &mut report)?;
    ensure!(all_within, "a distribution of p exceeds uniform");
    Ok(())
}

/// Is told subject, access, kind of p and the values.
type Report<'a> = dyn FnMut(&str, &str, &str, Vec<f64>) -> Result<()> + 'a;

/// Two samples: sham keys on a distilled student beside clean references; honest keys on controls beside references that learned marked
/// answers of the very key, or are such answers; and references that were made with the key.
fn beside_references(
    lab: &Lab,
    student: &Student,
    asked: &Data,
    layer: &LayerDetector,
    sham: &[LayerDetector],
    mark: Mark,
    report: &mut Report<'_>,
) -> Result<()> {
    let (base, teacher) = (shipped::base()?, shipped::teacher()?);
    let answers = Asked::new(lab, asked)?;
    let unmarked = Asked::new(lab, &lab.teacher(&Mark { key: 0, ..mark }, false, 9001, 600)?.slice(0, ANSWERS))?;
    let top = answers.shown(&student.model, 20)?;
    let whole = answers.shown(&student.model, usize::MAX)?;
    let (counts, probabilities) = (answers.counts(layer)?, |shown| answers.probabilities(layer, shown));
    for (access, suspect, reference) in [
        ("closed, beside base", counts.clone(), answers.expected(layer, &base, 0.8)?),
        ("closed, beside teacher", counts.clone(), answers.expected(layer, &teacher, 0.8)?),
        ("closed, beside teacher's answers", counts, unmarked.counts(layer)?),
        ("top-20 logprobs, beside base", probabilities(&top)?, answers.beside(layer, &base, &top)?),
        ("open weights, beside base", probabilities(&whole)?, answers.beside(layer, &base, &whole)?),
        ("open weights, beside teacher", probabilities(&whole)?, answers.beside(layer, &teacher, &whole)?),
    ] {
        let samples = suspect.beside(&[reference])?;
        let p: Vec<f64> = sham
            .par_iter()
            .map(|key| Ok(samples.test(key)?.log10_p))
            .collect::<Result<Vec<_>, watermark_core::Error>>()?;
        report("distilled student, sham keys", access, "two samples", p)?;
    }
    let controls = (1..=CONTROLS).map(|seed| {
        let (control, _, _) = of_share(lab, 0.0, seed)?;
        let asked = Asked::new(lab, &lab.ask(&control, 9000 + seed, 600, 0.8)?.slice(0, ANSWERS))?;
        Ok((control, asked))
    });
    let controls: Vec<(Student, Asked)> = controls.collect::<Result<_>>()?;
    let mut generated = Vec::new();
    for key in 0..HONEST_KEYS {
        let (_, asked) = &controls[(key % CONTROLS) as usize];
        let mark = Mark { key: 10_000 + key, ..mark };
        let layer = lab.layer(&mark)?;
        let marked = Asked::new(lab, &lab.teacher(&mark, true, 9001 + key % CONTROLS, MARKED)?)?;
        generated.push(asked.counts(&layer)?.beside(&[marked.counts(&layer)?])?.test(&layer)?.log10_p);
    }
    report("control students, honest keys", "closed, beside marked answers of the key", "two samples", generated)?;
    let (mut closed, mut open) = (Vec::new(), Vec::new());
    for key in 0..TRAINED {
        let mark = Mark { key: 10_000 + key, ..mark };
        let layer = lab.layer(&mark)?;
        let lesson = lab.teacher(&mark, true, 600 + key, 400)?;
        let contaminated = lab.student(Start::Base, None, &lesson, &FineTuning::with_seed(key))?;
        for (control, asked) in &controls {
            let expected = asked.expected(&layer, &contaminated.model, 0.8)?;
            closed.push(asked.counts(&layer)?.beside(&[expected])?.test(&layer)?.log10_p);
            let shown = asked.shown(&control.model, usize::MAX)?;
            let beside = asked.beside(&layer, &contaminated.model, &shown)?;
            open.push(asked.probabilities(&layer, &shown)?.beside(&[beside])?.test(&layer)?.log10_p);
        }
    }
    report("control students, honest keys", "closed, beside students of the key", "two samples", closed)?;
    report("control students, honest keys", "open weights, beside students of the key", "two samples", open)?;
    for lean in RIGGED {
        let [accused, other] = [&controls[0].1, &controls[1].1].map(|asked| -> Result<(f64, f64)> {
            let rigged = asked.leaning(layer, &base, -lean)?;
            let found = asked.counts(layer)?.beside(&[rigged])?.test(layer)?;
            Ok((found.log10_p, found.audit.references_log10_p))
        });
        let ((p, audit), (control, _)) = (accused?, other?);
        println!(
            "a reference that leans {lean} nats away from the key: an innocent has log10 p {p:.2}, a control {control:.2}, the reference's own {audit:.2}"
        );
    }
    Ok(())
}

fn tests(layer: &LayerDetector, fixed: &ModelSample, rounds: &ModelSample) -> Result<(f64, f64)> {
    Ok((fixed.test(layer)?.log10_p, log10_p_anytime(rounds.test(layer)?.ln_e)))
}

fn compare(subject: &str, access: &str, p: &str, mut log10_p: Vec<f64>) -> (Row, bool) {
    log10_p.sort_unstable_by(f64::total_cmp);
    let n = log10_p.len() as f64;
    let limit = ((1.0 / LEVEL).ln() / (2.0 * n)).sqrt();
    let excess = (1u32..).zip(&log10_p).map(|(i, p)| f64::from(i) / n - 10f64.powf(*p)).fold(0.0, f64::max);
    let smallest = log10_p.first().copied().unwrap_or(0.0);
    println!(
        "{subject}, {access}, {p}: {n} keys, excess {excess:.4} (allowed {limit:.4}), smallest log10 p {smallest:.2}"
    );
    let row = Row::new(&[
        ("subject", subject.to_owned()),
        ("access", access.to_owned()),
        ("p", p.to_owned()),
        ("keys", n.to_string()),
        ("excess", format!("{excess:.5}")),
        ("allowed", format!("{limit:.5}")),
        ("smallest_log10_p", format!("{smallest:.3}")),
        ("at_1e-1", log10_p.iter().filter(|p| **p <= -1.0).count().to_string()),
        ("at_1e-2", log10_p.iter().filter(|p| **p <= -2.0).count().to_string()),
    ]);
    (row, excess <= limit)
}
