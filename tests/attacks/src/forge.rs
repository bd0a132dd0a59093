//! Forging: the attacker's own clean model writes under a stolen list.

use anyhow::Result;
use watermark_lab::answer::Answer;
use watermark_lab::model::Model;
use watermark_lab::{prompts, shipped};
use watermark_radioactivity::lab::Lab;

use crate::list::StolenList;
use crate::writing::{cost, write};
use crate::{Documents, Measures, TESTED, greenlist, harvested};

/// How many times its log-ratio the forger adds to a logit.
const STRENGTH: f32 = 2.0;

/// Answers of `model` to `n` questions, with the list's log-ratios added to its logits.
///
/// # Errors
/// If generating fails.
pub fn forged(lab: &Lab, model: &Model, list: &StolenList, seed: u64, n: usize) -> Result<Vec<Answer>> {
    write(lab, model, &prompts::word_problems(TESTED + seed, n), seed, |draft, logits| {
        let pushed = (0u32..).zip(logits);
        let pushed: Vec<f32> =
            pushed.map(|(token, logit)| logit + STRENGTH * list.log_ratio(draft.tokens(), token) as f32).collect();
        draft.draw(&pushed)
    })
}

/// Lists stolen from `harvests` answers each, for green lists of these context widths; `tested` forged answers.
///
/// # Errors
/// If generating fails.
pub fn run(lab: &Lab, seed: u64, widths: &[usize], harvests: &[usize], tested: usize) -> Result<Measures> {
    let mut measures = Measures::default();
    let base = shipped::base()?;
    let teacher = shipped::teacher()?;
    let most = harvests.iter().copied().max().unwrap_or(0);
    for &width in widths {
        let mark = greenlist(width, seed)?;
        let layer = lab.layer(&mark)?;
        let genuine = lab.teacher(&mark, true, TESTED + seed, tested)?;
        let own = write(lab, &base, &genuine.questions, seed, |draft, logits| draft.draw(logits))?;
        for (what, answers) in [("nothing forged", &own), ("genuine", &genuine.answers)] {
            let mut values = Documents::tested(lab, &layer, answers)?.values().to_vec();
            values.push(cost(&teacher, answers)?);
            measures.add("forging", &format!("width {width}, {what}"), seed, &values);
        }
        let [marked, unmarked] = harvested(lab, &mark, seed, most)?;
        for &harvest in harvests {
            let list = StolenList::steal(width, &marked.answers[..harvest], &unmarked.answers[..harvest]);
            let (guesses, precision) = list.precision(&layer)?;
            let forged = forged(lab, &base, &list, seed, tested)?;
            let tokens: usize = marked.answers[..harvest].iter().map(|answer| answer.tokens.len()).sum();
            let mut values = Documents::tested(lab, &layer, &forged)?.values().to_vec();
            values.extend([
                ("harvested tokens", tokens as f64),
                ("pairs called green", guesses as f64),
                ("of which are", precision),
                cost(&teacher, &forged)?,
            ]);
            measures.add("forging", &format!("width {width}, {harvest} harvested answers"), seed, &values);
        }
    }
    Ok(measures)
}
