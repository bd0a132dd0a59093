//! Scrubbing: tokens that a stolen list calls green are replaced by others that a model thinks fitting.

use anyhow::Result;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use watermark_lab::answer::Answer;
use watermark_lab::model::Model;
use watermark_lab::shipped;
use watermark_radioactivity::lab::{Data, Lab};

use crate::list::StolenList;
use crate::writing::{cost, write};
use crate::{Documents, Measures, TESTED, greenlist, harvested, share};

/// The scrubber looks at so many of its model's likeliest tokens.
const CANDIDATES: usize = 10;

/// `data`'s answers, every token kept unless `replace` says another: it gets what is written, the token and the logits of
/// `model`, and a draw from 0 to 1.
pub(crate) fn rewritten(
    lab: &Lab,
    model: &Model,
    data: &Data,
    seed: u64,
    replace: impl Fn(&[u32], u32, &[f32], f64) -> Option<Replacement> + Sync,
) -> Result<Vec<Answer>> {
    write(lab, model, &data.questions, seed, |draft, logits| {
        let at = draft.tokens().len();
        let Some(&token) = data.answers[draft.index].tokens.get(at) else { return Ok(shipped::EOS) };
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        rng.set_stream((draft.index as u64) << 32 | at as u64);
        match replace(draft.tokens(), token, logits, f64::from(rng.next_u32()) / 4_294_967_296.0) {
            None => Ok(token),
            Some(Replacement::Token(token)) => Ok(token),
            Some(Replacement::Drawn) => {
                let mut row = logits.to_vec();
                // The end of the text would shorten it, and the token itself would be no change.
                for token in [shipped::EOS, token] {
                    row[token as usize] = f32::NEG_INFINITY;
                }
                draft.draw(&row)
            }
        }
    })
}

/// What stands in a token's place.
pub(crate) enum Replacement {
    /// This token.
    Token(u32),
    /// Another token, drawn from the model.
    Drawn,
}

/// Share of tokens that differ.
pub(crate) fn changed(before: &[Answer], after: &[Answer]) -> f64 {
    let pairs: Vec<(u32, u32)> =
        before.iter().zip(after).flat_map(|(a, b)| a.tokens.iter().copied().zip(b.tokens.iter().copied())).collect();
    share(&pairs, |(a, b)| a != b)
}

/// Lists stolen from `harvests` answers each; `tested` marked answers are scrubbed, by the list and at random.
///
/// # Errors
/// If generating fails.
pub fn run(lab: &Lab, seed: u64, harvests: &[usize], tested: usize) -> Result<Measures> {
    let mut measures = Measures::default();
    let (base, teacher) = (shipped::base()?, shipped::teacher()?);
    let mark = greenlist(1, seed)?;
    let layer = lab.layer(&mark)?;
    let most = harvests.iter().copied().max().unwrap_or(0);
    let genuine = lab.teacher(&mark, true, TESTED + seed, tested)?;
    let [marked, unmarked] = harvested(lab, &mark, seed, most)?;
    let mut add = |setting: &str, answers: &[Answer]| -> Result<f64> {
        let changed = changed(&genuine.answers, answers);
        let mut values = Documents::tested(lab, &layer, answers)?.values().to_vec();
        values.extend([("changed tokens", changed), cost(&teacher, answers)?]);
        measures.add("scrubbing", setting, seed, &values);
        Ok(changed)
    };
    add("nothing changed", &genuine.answers)?;
    for &harvest in harvests {
        let list = StolenList::steal(1, &marked.answers[..harvest], &unmarked.answers[..harvest]);
        let scrubbed = rewritten(lab, &base, &genuine, seed, |before, token, logits, _| {
            if !list.is_green(before, token) {
                return None;
            }
            let mut likely: Vec<u32> = (0..logits.len() as u32).filter(|&token| token != shipped::EOS).collect();
            likely.select_nth_unstable_by(CANDIDATES, |&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
            let least = likely.into_iter().take(CANDIDATES);
            least
                .min_by(|&a, &b| list.log_ratio(before, a).total_cmp(&list.log_ratio(before, b)).then(a.cmp(&b)))
                .map(Replacement::Token)
        })?;
        let changed = add(&format!("by a list of {harvest} answers"), &scrubbed)?;
        let random =
            rewritten(lab, &base, &genuine, seed, |_, _, _, draw| (draw < changed).then_some(Replacement::Drawn))?;
        add(&format!("as many tokens at random as by a list of {harvest} answers"), &random)?;
    }
    Ok(measures)
}
