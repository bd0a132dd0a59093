//! Tokens until a student is detected, by kind of access.

use anyhow::Result;
use watermark_core::detect::LayerDetector;
use watermark_core::model_test::{self, log10_p_anytime};
use watermark_toolkit::plan::{Curves, Sample};

use crate::access::{Access, LOG10_ALPHA, Shown};
use crate::factors::of_share;
use crate::lab::{Data, Lab};
use crate::table::{Row, quantile, write};

/// Answers per round of the e-process: the default of `watermark probe`.
pub(crate) const ROUND: usize = 20;

/// First sample size tried, and the step to the next.
const FIRST: f64 = 50.0;
const STEP: f64 = 1.1;

/// Smallest number of tokens, on a grid of steps of 10 %, at which a fixed sample of that size has p at most 1e-6.
pub(crate) fn fixed(shown: &Shown, layer: &LayerDetector) -> Result<Option<usize>> {
    let mut tokens = FIRST;
    while tokens <= shown.tokens() as f64 {
        let finding = shown.sample(layer, tokens as usize, usize::MAX)?.test(layer)?;
        let log10_p = if shown.access() == Access::ClosedDistinct { finding.log10_p_distinct } else { finding.log10_p };
        if log10_p <= LOG10_ALPHA {
            return Ok(Some(tokens as usize));
        }
        tokens *= STEP;
    }
    Ok(None)
}

/// Tokens of the first round after which the e-process has reached 1e6.
pub(crate) fn anytime(shown: &Shown, layer: &LayerDetector) -> Result<Option<usize>> {
    for texts in (ROUND..=shown.len()).step_by(ROUND) {
        let tokens = shown.tokens_of(texts);
        if log10_p_anytime(shown.sample(layer, tokens, ROUND)?.test(layer)?.ln_e) <= LOG10_ALPHA {
            return Ok(Some(tokens));
        }
    }
    Ok(None)
}

/// Tokens of each run; `None` where they did not suffice.
type Reached = Vec<Option<usize>>;

/// `keys` students of the centre point's recipe, each of its own key, and `sets` sets of prompts each.
pub(crate) fn run(lab: &Lab, share: f64, keys: u64, sets: u64, asked: usize, only: &[String], out: &str) -> Result<()> {
    let (mut rows, mut doses) = (Vec::new(), Vec::new());
    let mut found: Vec<(Access, Reached, Reached)> = Access::ALL.map(|access| (access, Vec::new(), Vec::new())).into();
    found.retain(|(access, _, _)| only.is_empty() || only.iter().any(|name| name == access.key()));
    for key in 1..=keys {
        let (student, served, mark) = of_share(lab, share, key)?;
        let layer = lab.layer(&mark)?;
        let part = served.questions.len() / sets.max(1) as usize;
        for set in 0..sets {
            let answers = lab.ask(&student, 20_000 + 1000 * key + set, asked, 0.8)?;
            let read = served.slice(set as usize * part, part);
            for (access, fixed_tokens, anytime_tokens) in &mut found {
                let data: &Data = if access.reads() { &read } else { &answers };
                let shown = Shown::new(lab, *access, &student, data)?;
                if *access == Access::Closed {
                    let finding = shown.sample(&layer, shown.tokens(), usize::MAX)?.test(&layer)?;
                    let curves = Curves::measured(model_test::Access::Answers, Sample::Fixed, None)?;
                    if let Some(dose) = curves.dose(shown.tokens() as f64, -finding.log10_p) {
                        let covered = (dose.low..=dose.high).contains(&share);
                        eprintln!("dose {:.2} ({:.2} to {:.2}), covered: {covered}", dose.share, dose.low, dose.high);
                        doses.push((dose.share, covered));
                    }
                }
                fixed_tokens.push(fixed(&shown, &layer)?);
                anytime_tokens.push(anytime(&shown, &layer)?);
            }
            eprintln!("share {share}, key {key}, prompts {set}");
        }
    }
    doses.sort_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((median, _)) = doses.get(doses.len() / 2) {
        let covered = doses.iter().filter(|(_, covered)| *covered).count();
        println!(
            "dose at share {share}: median estimate {median:.3}, interval covers it in {covered} of {}",
            doses.len()
        );
    }
    println!("{:<28} {:>10} {:>18} {:>12} {:>18}", "access", "fixed, median", "10 to 90 %", "e-process", "10 to 90 %");
    for (access, fixed, anytime) in found {
        let show = |values: &[Option<usize>], share: f64| {
            quantile(values, share).map_or_else(|| "not reached".to_owned(), |n| n.to_string())
        };
        let range = |values: &[Option<usize>]| format!("{} to {}", show(values, 0.1), show(values, 0.9));
        println!(
            "{:<28} {:>10} {:>18} {:>12} {:>18}",
            access.name(),
            show(&fixed, 0.5),
            range(&fixed),
            show(&anytime, 0.5),
            range(&anytime)
        );
        for (sample, values) in [("fixed", &fixed), ("e-process", &anytime)] {
            rows.push(Row::new(&[
                ("access", access.name().to_owned()),
                ("sample", sample.to_owned()),
                ("share", share.to_string()),
                ("runs", values.len().to_string()),
                ("reached", values.iter().flatten().count().to_string()),
                ("p10", show(values, 0.1)),
                ("median", show(values, 0.5)),
                ("p90", show(values, 0.9)),
            ]));
        }
    }
    write(out, &rows)
}
