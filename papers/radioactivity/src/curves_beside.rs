//! Evidence beside references over tokens, of the students of `shares`: what `watermark plan --reference` interpolates, and how near it comes
//! at shares that its curves are not made from.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use watermark_core::hex;
use watermark_core::model_test::Access;
use watermark_lab::data::answered;
use watermark_lab::shipped;
use watermark_toolkit::plan::{Curves, ReferenceKind, Sample, Tokens};

use crate::access::LOG10_ALPHA;
use crate::beside::{Asked, Part};
use crate::curves::moments;
use crate::lab::Lab;
use crate::plot::Table;
use crate::shares::{ASKED, SHARES, Students, TOP, questions, student, unmarked};
use crate::table::{Row, write};

/// Shares that the curves are not made from.
const HELD_OUT: [f64; 2] = [0.35, 0.15];
/// Sample sizes: a factor of about 1.5 apart.
const SIZES: [usize; 19] = [
    50, 75, 110, 170, 250, 400, 600, 900, 1400, 2000, 3000, 4500, 7000, 10_000, 15_000, 22_000, 33_000, 50_000, 75_000,
];
/// Samples of each size of a student, from starts evenly apart.
const STARTS: usize = 6;
/// Unmarked answers along which whole distributions are read off: they are long to count.
const OPEN: usize = 400;
/// Temperature at which answers are asked.
const TEMPERATURE: f64 = 0.8;
/// Digits beyond which no larger sample is measured.
const ENOUGH: f64 = 20.0;

/// Makes what is missing of these shares (all, if none is named) and seeds, pools all that is there, and compares the plan with the held-out
/// shares in `check`.
pub(crate) fn run(lab: &Lab, students: &Students, check: &str, out: &str) -> Result<()> {
    let Students { corpus, share: only, seeds, passes } = students;
    let others = answered(corpus)?;
    let mut runs: Vec<(f64, Run)> = Vec::new();
    for share in SHARES.into_iter().chain(HELD_OUT) {
        let mut of_share = Vec::new();
        for &seed in seeds {
            // All that a number follows from is in the name.
            let made = format!("{share} {seed} {passes} {SIZES:?} {STARTS} {ASKED} {OPEN} {TEMPERATURE} {TOP}");
            let path = lab.folder().join(format!("{}.csv", hex::encode(&Sha256::digest(made)[..12])));
            let path = path.to_str().context("a cache folder whose name is no text")?;
            if !Path::new(path).exists() {
                if !only.is_empty() && !only.contains(&share) {
                    continue;
                }
                let begun = Instant::now();
                write(path, &measured(lab, share, seed, *passes, &others)?)?;
                eprintln!("share {share}, seed {seed}: {:.0} s", begun.elapsed().as_secs_f64());
            }
            of_share.push(read(path, seed)?.into_iter().map(move |run| (share, run)));
        }
        // A share of which a student is missing has no part yet.
        if of_share.len() == seeds.len() {
            runs.extend(of_share.into_iter().flatten());
        }
    }
    let curves = pooled(&runs)?;
    write(out, &curves)?;
    compare(&runs, &std::fs::read_to_string(out)?, check)
}

/// Digits of p over sizes, of the sample that starts somewhere among a student's texts.
struct Run {
    seed: u64,
    access: String,
    reference: String,
    /// Rising.
    digits: Vec<(usize, f64)>,
}

fn read(path: &str, seed: u64) -> Result<Vec<Run>> {
    let mut runs: BTreeMap<(String, String, String), Vec<(usize, f64)>> = BTreeMap::new();
    for row in Table::read(path)?.into_rows() {
        let cell = |name: &str| row.get(name).with_context(|| format!("{path}: no {name}"));
        let name = (cell("access")?.to_owned(), cell("reference")?.to_owned(), cell("start")?.to_owned());
        runs.entry(name).or_default().push((cell("tokens")?.parse()?, cell("digits")?.parse()?));
    }
    Ok(runs.into_iter().map(|((access, reference, _), digits)| Run { seed, access, reference, digits }).collect())
}

fn measured(lab: &Lab, share: f64, seed: u64, passes: f64, others: &[(String, String)]) -> Result<Vec<Row>> {
    let (student, mark, _) = student(lab, share, seed, passes, others)?;
    let layer = lab.layer(&mark)?;
    let asked = Asked::new(lab, &lab.ask(&student, questions(seed), ASKED, TEMPERATURE as f32)?)?;
    let unmarked = unmarked(lab, &mark, seed)?;
    let models = [(ReferenceKind::Base, shipped::base()?), (ReferenceKind::Teacher, shipped::teacher()?)];
    let mut rows = Vec::new();
    let whole = |part: &Part| part.iter().map(|&(i, _)| (i, usize::MAX)).collect();
    add(&mut rows, &asked, Access::Answers, ReferenceKind::Answers, |part| {
        let beside = asked.counts_of(&layer, part)?.beside(&[unmarked.counts_of(&layer, &whole(part))?])?;
        Ok(beside.log10_p(&layer)?)
    })?;
    for (reference, model) in &models {
        let expected = asked.decoded(model, TEMPERATURE)?;
        add(&mut rows, &asked, Access::Answers, *reference, |part| {
            let beside = asked.counts_of(&layer, part)?.beside(&[asked.probabilities_of(&layer, part, &expected)?])?;
            Ok(beside.log10_p(&layer)?)
        })?;
    }
    for (access, texts, keep) in [(Access::Logprobs, asked, TOP), (Access::Weights, unmarked.first(OPEN), usize::MAX)] {
        let shown = texts.shown(&student.model, keep)?;
        for (reference, model) in &models {
            let expected = texts.expected_beside(model, &shown)?;
            add(&mut rows, &texts, access, *reference, |part| {
                let suspect = texts.probabilities_of(&layer, part, &shown)?;
                Ok(suspect.beside(&[texts.probabilities_of(&layer, part, &expected)?])?.log10_p(&layer)?)
            })?;
        }
    }
    Ok(rows)
}

/// Tests samples of all sizes and starts.
fn add(
    rows: &mut Vec<Row>,
    texts: &Asked,
    access: Access,
    reference: ReferenceKind,
    log10_p: impl Fn(&Part) -> Result<f64>,
) -> Result<()> {
    for tokens in SIZES.into_iter().filter(|&tokens| tokens <= texts.tokens()) {
        let mut sum = 0.0;
        for start in 0..STARTS {
            let digits = -log10_p(&texts.from(start * texts.len() / STARTS, tokens))?;
            sum += digits;
            rows.push(Row::new(&[
                ("access", access.as_str().to_owned()),
                ("reference", reference.as_str().to_owned()),
                ("start", start.to_string()),
                ("tokens", tokens.to_string()),
                ("digits", format!("{digits:.3}")),
            ]));
        }
        if sum > ENOUGH * STARTS as f64 {
            break;
        }
    }
    Ok(())
}

/// Mean and standard deviation over students and starts, for the shares of the curves and the sizes that all have. Samples of one student
/// are no independent runs, so the variance is that within students and that of their means.
fn pooled(runs: &[(f64, Run)]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (access, reference) in kinds() {
        for share in SHARES {
            let of: Vec<&Run> = of(runs, access, reference, share).collect();
            for tokens in SIZES {
                let Some(students) = of_students(&of, tokens) else { break };
                let (means, variances): (Vec<f64>, Vec<f64>) =
                    students.iter().map(|digits| moments(digits)).map(|(mean, sd)| (mean, sd * sd)).unzip();
                let (mean, between) = moments(&means);
                let within = variances.iter().sum::<f64>() / variances.len() as f64;
                rows.push(Row::new(&[
                    ("access", access.as_str().to_owned()),
                    ("reference", reference.as_str().to_owned()),
                    ("share", share.to_string()),
                    ("tokens", tokens.to_string()),
                    ("students", students.len().to_string()),
                    ("digits", format!("{mean:.3}")),
                    ("digits_sd", format!("{:.3}", (between * between + within).sqrt())),
                ]));
            }
        }
    }
    Ok(rows)
}

/// The digits of each student's samples of a size; `None` if one has none of it.
fn of_students(runs: &[&Run], tokens: usize) -> Option<Vec<Vec<f64>>> {
    let mut students: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for run in runs {
        let (_, digits) = run.digits.iter().find(|(size, _)| *size == tokens)?;
        students.entry(run.seed).or_default().push(*digits);
    }
    (!students.is_empty()).then(|| students.into_values().collect())
}

fn kinds() -> impl Iterator<Item = (Access, ReferenceKind)> {
    let of = |access: Access| {
        ReferenceKind::ALL.into_iter().filter(move |r| r.stands_beside(access)).map(move |r| (access, r))
    };
    Access::ALL.into_iter().flat_map(of)
}

fn of(runs: &[(f64, Run)], access: Access, reference: ReferenceKind, share: f64) -> impl Iterator<Item = &Run> {
    let fits = move |run: &&(f64, Run)| {
        run.0.to_bits() == share.to_bits() && run.1.access == access.as_str() && run.1.reference == reference.as_str()
    };
    runs.iter().filter(fits).map(|(_, run)| run)
}

/// Tokens at which half of the samples have p of 1e-6, as the plan says and as the held-out students need.
fn compare(runs: &[(f64, Run)], csv: &str, check: &str) -> Result<()> {
    let mut rows = Vec::new();
    for share in HELD_OUT {
        for (access, reference) in kinds() {
            let of: Vec<&Run> = of(runs, access, reference, share).collect();
            if of.is_empty() {
                continue;
            }
            let curves = Curves::parse(csv, access, Sample::Fixed, Some(reference))?;
            let planned = match curves.tokens(share, -LOG10_ALPHA, 0.5, 1.0) {
                Tokens::Need(tokens) => Some(tokens as usize),
                Tokens::MoreThan { .. } => None,
            };
            let measured = median_size(&of);
            let show = |tokens: Option<usize>| tokens.map_or_else(|| "not reached".to_owned(), |n| n.to_string());
            let off = planned.zip(measured).map(|(planned, measured)| 100.0 * (planned as f64 / measured as f64 - 1.0));
            let off = off.map_or_else(String::new, |off| format!("{off:+.0}"));
            println!(
                "{share}, {}, beside {}: planned {}, measured {}, {off} %",
                access.as_str(),
                reference.as_str(),
                show(planned),
                show(measured)
            );
            rows.push(Row::new(&[
                ("share", share.to_string()),
                ("access", access.as_str().to_owned()),
                ("reference", reference.as_str().to_owned()),
                ("samples", of.len().to_string()),
                ("planned", show(planned)),
                ("measured", show(measured)),
                ("off_percent", off),
            ]));
        }
    }
    write(check, &rows)
}

/// The size at which the median of the samples' digits is 6, along a power law between measured sizes.
fn median_size(runs: &[&Run]) -> Option<usize> {
    let need = -LOG10_ALPHA;
    let mut before: Option<(usize, f64)> = None;
    for tokens in SIZES {
        let mut digits: Vec<f64> = of_students(runs, tokens)?.into_iter().flatten().collect();
        digits.sort_by(f64::total_cmp);
        let (low, high) = (digits[(digits.len() - 1) / 2], digits[digits.len() / 2]);
        let median = f64::midpoint(low, high);
        if median >= need {
            let Some((smaller, less)) = before.filter(|(_, less)| *less > 0.0) else { return Some(tokens) };
            let t = (need / less).ln() / (median / less).ln();
            return Some((smaller as f64 * (tokens as f64 / smaller as f64).powf(t)).round() as usize);
        }
        before = Some((tokens, median));
    }
    None
}
