//! The null of two samples: sham keys on a distilled student, and honest keys on controls, beside clean references, beside ones that learned
//! marked answers of the very key or are such answers, and beside one that was made with the key.

use anyhow::Result;
use rayon::prelude::*;
use watermark_core::detect::LayerDetector;
use watermark_core::model_test::{ModelSample, TwoSamples};
use watermark_lab::fine_tune::FineTuning;
use watermark_lab::model::Model;
use watermark_lab::shipped;

use crate::beside::Asked;
use crate::lab::{Lab, Mark, Start, Student};
use crate::null::{ANSWERS, CONTROLS, DISTILLED, Distilled, HONEST, HONEST_KEYS, Null, controls, honest};

/// Answers of a reference that an honest key marked, and keys under which a reference was trained.
const MARKED: usize = 40;
const TRAINED: u64 = 5;
/// Keys that single served answers are tested under.
const SERVED_KEYS: u64 = 1000;
/// Leans of a reference away from the key, in nats.
const RIGGED: [f64; 5] = [0.02, 0.05, 0.1, 0.2, 0.5];
/// The kind of p.
const P: [&str; 1] = ["two samples"];

/// What stands beside what, with a rule that needs the pairs of no key: scores of other keys are looked up for the same counts.
type Kind<'a> = (&'static str, Box<dyn Fn(&Student, &Asked) -> Result<TwoSamples> + 'a>);

pub(crate) fn run(lab: &Lab, null: &mut Null<'_>, distilled: &Distilled) -> Result<()> {
    let Distilled { student, mark, asked, sham, .. } = distilled;
    let (base, teacher) = (shipped::base()?, shipped::teacher()?);
    let layer = lab.layer(mark)?;
    let answers = Asked::new(lab, asked)?;
    let unmarked = Asked::new(lab, &lab.teacher(&Mark { key: 0, ..*mark }, false, 9001, 600)?.slice(0, ANSWERS))?;
    let kinds = kinds(&layer, &base, &teacher, &unmarked);
    for (access, beside) in &kinds {
        null.add(DISTILLED, access, &P, || {
            let samples = beside(student, &answers)?;
            Ok(vec![sham.par_iter().map(|key| Ok(samples.log10_p(key)?)).collect::<Result<_>>()?])
        })?;
    }
    let controls = controls(lab)?;
    let controls = controls.iter().map(|(control, asked)| Ok((control, Asked::new(lab, asked)?)));
    let controls: Vec<(&Student, Asked)> = controls.collect::<Result<_>>()?;
    for (access, beside) in &kinds {
        null.add(HONEST, access, &P, || {
            let mut p = Vec::new();
            for (seed, (control, asked)) in (0..).zip(&controls) {
                let samples = beside(control, asked)?;
                for key in (seed..HONEST_KEYS).step_by(CONTROLS as usize) {
                    p.push(samples.log10_p(&lab.layer(&honest(mark, key))?)?);
                }
            }
            Ok(vec![p])
        })?;
    }
    null.add(HONEST, "closed, beside marked answers of the key", &P, || {
        let one = |key| {
            let (_, asked) = &controls[(key % CONTROLS) as usize];
            let mark = honest(mark, key);
            let layer = lab.layer(&mark)?;
            let marked = Asked::new(lab, &lab.teacher(&mark, true, 9001 + key % CONTROLS, MARKED)?)?;
            Ok(asked.counts(&layer)?.beside(&[marked.counts(&layer)?])?.log10_p(&layer)?)
        };
        Ok(vec![(0..HONEST_KEYS).map(one).collect::<Result<_>>()?])
    })?;
    for (access, open) in
        [("closed, beside students of the key", false), ("open weights, beside students of the key", true)]
    {
        null.add(HONEST, access, &P, || {
            let mut p = Vec::new();
            for key in 0..TRAINED {
                let mark = honest(mark, key);
                let layer = lab.layer(&mark)?;
                let lesson = lab.teacher(&mark, true, 600 + key, 400)?;
                let contaminated = lab.student(Start::Base, None, &lesson, &FineTuning::with_seed(key))?;
                for (control, asked) in &controls {
                    let samples = if open {
                        along(asked, &layer, &control.model, &contaminated.model, usize::MAX)?
                    } else {
                        closed(asked, &layer, asked.expected(&layer, &contaminated.model, 0.8)?)?
                    };
                    p.push(samples.log10_p(&layer)?);
                }
            }
            Ok(vec![p])
        })?;
    }
    null.add("unmarked answers, honest keys", "one answer, beside the teacher that wrote it", &P, || {
        let expected = unmarked.decoded(&teacher, 0.8)?;
        let one = |key: u64| {
            let layer = lab.layer(&honest(mark, key))?;
            let part = vec![(key as usize % unmarked.len(), usize::MAX)];
            let reference = unmarked.probabilities_of(&layer, &part, &expected)?;
            Ok(unmarked.counts_of(&layer, &part)?.beside(&[reference])?.log10_p(&layer)?)
        };
        Ok(vec![(0..SERVED_KEYS).map(one).collect::<Result<_>>()?])
    })?;
    for lean in RIGGED {
        let [accused, other] = [0, 1].map(|i| -> Result<(f64, f64)> {
            let (_, asked) = &controls[i];
            let found = closed(asked, &layer, asked.leaning(&layer, &base, -lean)?)?.test(&layer)?;
            Ok((found.log10_p, found.audit.references_log10_p))
        });
        let ((p, audit), (control, _)) = (accused?, other?);
        println!(
            "a reference that leans {lean} nats away from the key: an innocent has log10 p {p:.2}, a control {control:.2}, the reference's own {audit:.2}"
        );
    }
    Ok(())
}

/// Clean references by kind of access.
fn kinds<'a>(layer: &'a LayerDetector, base: &'a Model, teacher: &'a Model, unmarked: &'a Asked) -> Vec<Kind<'a>> {
    let expected =
        |model: &'a Model| move |_: &Student, asked: &Asked| closed(asked, layer, asked.expected(layer, model, 0.8)?);
    let shown = |model: &'a Model, keep: usize| {
        move |student: &Student, asked: &Asked| along(asked, layer, &student.model, model, keep)
    };
    vec![
        ("closed, beside base", Box::new(expected(base))),
        ("closed, beside teacher", Box::new(expected(teacher))),
        ("closed, beside teacher's answers", Box::new(|_, asked| closed(asked, layer, unmarked.counts(layer)?))),
        ("top-20 logprobs, beside base", Box::new(shown(base, 20))),
        ("open weights, beside base", Box::new(shown(base, usize::MAX))),
        ("open weights, beside teacher", Box::new(shown(teacher, usize::MAX))),
    ]
}

fn closed(asked: &Asked, layer: &LayerDetector, reference: ModelSample) -> Result<TwoSamples> {
    Ok(asked.counts(layer)?.beside(&[reference])?)
}

/// The most likely tokens of a model along its answers, beside what another expects there.
fn along(asked: &Asked, layer: &LayerDetector, model: &Model, reference: &Model, keep: usize) -> Result<TwoSamples> {
    let shown = asked.shown(model, keep)?;
    let expected = asked.beside(layer, reference, &shown)?;
    Ok(asked.probabilities(layer, &shown)?.beside(&[expected])?)
}
