//! Sham keys on a distilled student, honest keys on control students: no distribution of p may exceed uniform.

use std::path::Path;

use anyhow::{Result, ensure};
use rayon::prelude::*;
use watermark_core::detect::LayerDetector;
use watermark_core::key::fresh_keys;
use watermark_core::model_test::{ModelSample, log10_p_anytime};

use crate::access::{Access, Shown};
use crate::factors::of_share;
use crate::lab::{Data, Lab, Mark, Student};
use crate::plot::Table;
use crate::table::{Row, write};

const SHAM_KEYS: u32 = 1000;
pub(crate) const HONEST_KEYS: u64 = 200;
/// Control students of different seeds.
pub(crate) const CONTROLS: u64 = 3;
/// Texts that an honest key marks for reading.
const TEXTS: usize = 6;
/// Answers with choices cost a forward pass each.
pub(crate) const ANSWERS: usize = 150;
/// Level of the one-sided Dvoretzky-Kiefer-Wolfowitz bound (Massart 1990).
const LEVEL: f64 = 1e-4;

/// Whose p are looked at.
pub(crate) const DISTILLED: &str = "distilled student, sham keys";
pub(crate) const HONEST: &str = "control students, honest keys";

/// The table, of which rows that a file has already are not made again.
pub(crate) struct Null<'a> {
    out: &'a str,
    rows: Vec<Row>,
}

impl<'a> Null<'a> {
    /// What is in the file already.
    pub(crate) fn open(out: &'a str) -> Result<Self> {
        let rows = if Path::new(out).exists() { Table::read(out)?.into_rows() } else { Vec::new() };
        Ok(Self { out, rows })
    }

    /// # Errors
    /// If a distribution exceeds uniform by more than its bound.
    pub(crate) fn check(&self) -> Result<()> {
        let exceeds = |row: &Row| {
            let number = |name: &str| row.get(name).and_then(|cell| cell.parse::<f64>().ok());
            number("excess").zip(number("allowed")).is_none_or(|(excess, allowed)| excess > allowed)
        };
        ensure!(!self.rows.iter().any(exceeds), "a distribution of p exceeds uniform");
        Ok(())
    }

    /// The p that `values` gives of each kind, unless they are there.
    pub(crate) fn add(
        &mut self,
        subject: &str,
        access: &str,
        kinds: &[&str],
        values: impl FnOnce() -> Result<Vec<Vec<f64>>>,
    ) -> Result<()> {
        let has = |row: &Row, kind: &str| {
            [("subject", subject), ("access", access), ("p", kind)]
                .iter()
                .all(|(name, value)| row.get(name) == Some(value))
        };
        if kinds.iter().all(|kind| self.rows.iter().any(|row| has(row, kind))) {
            return Ok(());
        }
        for (kind, values) in kinds.iter().zip(values()?) {
            self.rows.retain(|row| !has(row, kind));
            self.rows.push(compare(subject, access, kind, values));
        }
        write(self.out, &self.rows)
    }
}

/// The distilled student that sham keys are tried on.
pub(crate) struct Distilled {
    pub(crate) student: Student,
    /// Marked answers that it learned.
    served: Data,
    pub(crate) mark: Mark,
    /// What it was asked.
    pub(crate) asked: Data,
    pub(crate) sham: Vec<LayerDetector>,
}

impl Distilled {
    pub(crate) fn new(lab: &Lab) -> Result<Self> {
        let (student, served, mark) = of_share(lab, 1.0, 1)?;
        let layer = lab.layer(&mark)?;
        let asked = lab.ask(&student, 9001, 600, 0.8)?.slice(0, ANSWERS);
        let sham = fresh_keys(b"sham keys", SHAM_KEYS).map(|key| layer.with_prf_key(&key));
        let sham = sham.collect::<Result<_, _>>()?;
        Ok(Self { student, served, mark, asked, sham })
    }
}

/// Without references.
pub(crate) fn run(lab: &Lab, null: &mut Null<'_>, distilled: &Distilled) -> Result<()> {
    let Distilled { student, served, mark, asked, sham } = distilled;
    let layer = lab.layer(mark)?;
    for access in [Access::Closed, Access::TopLogprobs, Access::OpenWeights, Access::Reading, Access::ReadingOpen] {
        null.add(DISTILLED, access.name(), &["fixed", "e-process"], || {
            let data = if access.reads() { served.slice(0, ANSWERS) } else { asked.clone() };
            let shown = Shown::new(lab, access, student, &data)?;
            let (one, rounds) = samples(&shown, &layer)?;
            let tests = sham.par_iter().map(|key| tests(key, &one, &rounds));
            let (fixed, anytime) = tests.collect::<Result<Vec<_>>>()?.into_iter().unzip();
            Ok(vec![fixed, anytime])
        })?;
    }
    for access in [Access::Closed, Access::TopLogprobs, Access::Reading, Access::ReadingOpen] {
        null.add(HONEST, access.name(), &["fixed", "e-process"], || {
            let (mut fixed, mut anytime) = (Vec::new(), Vec::new());
            for (seed, (control, asked)) in (0..).zip(controls(lab)?) {
                let of_answers = if access.reads() { None } else { Some(Shown::new(lab, access, &control, &asked)?) };
                for key in (seed..HONEST_KEYS).step_by(CONTROLS as usize) {
                    let mark = honest(mark, key);
                    let layer = lab.layer(&mark)?;
                    let of_texts;
                    let shown = if let Some(shown) = &of_answers {
                        shown
                    } else {
                        of_texts = Shown::new(lab, access, &control, &lab.teacher(&mark, true, 70_000 + key, TEXTS)?)?;
                        &of_texts
                    };
                    let (one, rounds) = samples(shown, &layer)?;
                    let (p, e) = tests(&layer, &one, &rounds)?;
                    fixed.push(p);
                    anytime.push(e);
                }
            }
            Ok(vec![fixed, anytime])
        })?;
    }
    Ok(())
}

/// The mark of an honest key: one that marked answers, which no control has ever seen.
pub(crate) fn honest(mark: &Mark, key: u64) -> Mark {
    Mark { key: 10_000 + key, ..*mark }
}

/// Control students with their answers.
pub(crate) fn controls(lab: &Lab) -> Result<Vec<(Student, Data)>> {
    let control = |seed| {
        let (control, _, _) = of_share(lab, 0.0, seed)?;
        let asked = lab.ask(&control, 9000 + seed, 600, 0.8)?.slice(0, ANSWERS);
        Ok((control, asked))
    };
    (1..=CONTROLS).map(control).collect()
}

/// In one round, and in rounds of 25 texts.
fn samples(shown: &Shown, layer: &LayerDetector) -> Result<(ModelSample, ModelSample)> {
    Ok((shown.sample(layer, shown.tokens(), usize::MAX)?, shown.sample(layer, shown.tokens(), 25)?))
}

fn tests(layer: &LayerDetector, fixed: &ModelSample, rounds: &ModelSample) -> Result<(f64, f64)> {
    Ok((fixed.test(layer)?.log10_p, log10_p_anytime(rounds.test(layer)?.ln_e)))
}

fn compare(subject: &str, access: &str, p: &str, mut log10_p: Vec<f64>) -> Row {
    log10_p.sort_unstable_by(f64::total_cmp);
    let n = log10_p.len() as f64;
    let limit = ((1.0 / LEVEL).ln() / (2.0 * n)).sqrt();
    let excess = (1u32..).zip(&log10_p).map(|(i, p)| f64::from(i) / n - 10f64.powf(*p)).fold(0.0, f64::max);
    let smallest = log10_p.first().copied().unwrap_or(0.0);
    println!(
        "{subject}, {access}, {p}: {n} keys, excess {excess:.4} (allowed {limit:.4}), smallest log10 p {smallest:.2}"
    );
    Row::new(&[
        ("subject", subject.to_owned()),
        ("access", access.to_owned()),
        ("p", p.to_owned()),
        ("keys", n.to_string()),
        ("excess", format!("{excess:.5}")),
        ("allowed", format!("{limit:.5}")),
        ("smallest_log10_p", format!("{smallest:.3}")),
        ("at_1e-1", log10_p.iter().filter(|p| **p <= -1.0).count().to_string()),
        ("at_1e-2", log10_p.iter().filter(|p| **p <= -2.0).count().to_string()),
    ])
}
