//! What a laboratory model thinks of the candidates of paired draws.

use anyhow::{Result, bail, ensure};
use watermark_core::mark::Sampling;
use watermark_toolkit::read::PairScore;
use watermark_toolkit::tokenizer::Tokenizer;

use crate::model::Model;
use crate::shipped;

/// A model's scores of both candidates of every position that has two, after the end-of-text token, the prompt and what was served before.
/// Shapes: `withheld` [tokens]. Positions past the model's context are left out. What the model says itself of two different
/// candidates, or with `sampling` what the law says that tokens are drawn from so, where both are the same token too.
///
/// # Errors
/// If a token is none of the model's.
pub fn pair_scores(
    model: &Model,
    prompt_tokens: &[u32],
    tokens: &[u32],
    withheld: &[Option<u32>],
    sampling: Option<&Sampling>,
) -> Result<Vec<PairScore>> {
    let vocab_size = model.config().vocab_size;
    let ids = || std::iter::once(&shipped::EOS).chain(prompt_tokens).chain(tokens);
    if let Some(id) = ids().chain(withheld.iter().flatten()).find(|&&id| id as usize >= vocab_size) {
        bail!("token id {id}, and the model has {vocab_size} tokens");
    }
    let before = 1 + prompt_tokens.len();
    let read: Vec<u32> =
        ids().copied().take(model.config().context_len.min(before + tokens.len().saturating_sub(1))).collect();
    let Some(n) = (read.len() + 1).checked_sub(before).filter(|&n| n > 0 && !tokens.is_empty()) else {
        return Ok(Vec::new());
    };
    let rows: Vec<Vec<f32>> = model.forward(&read, 1)?.detach().narrow(0, before - 1, n)?.to_vec2()?;
    ensure!(rows.iter().flatten().all(|logit| !logit.is_nan()), "the model's logits are no numbers");
    let everything = Sampling::default();
    let mut scores = Vec::new();
    for ((position, row), (&token, &withheld)) in (0u32..).zip(&rows).zip(tokens.iter().zip(withheld)) {
        let Some(withheld) = withheld.filter(|&withheld| withheld != token || sampling.is_some()) else { continue };
        let law = sampling.unwrap_or(&everything).law(row)?;
        let ln_p = [token, withheld]
            .map(|token| law.binary_search_by_key(&token, |(id, _)| *id).map_or(f64::NEG_INFINITY, |at| law[at].1));
        scores.push(PairScore::new(position, [token, withheld], ln_p));
    }
    Ok(scores)
}

/// Rows of a forward pass.
const BATCH_ROWS: usize = 16;

/// As [`pair_scores`] for a model that has another tokenizer than the one that served: each candidate stands as text after what was served
/// before it, and `tokenizer` reads prompt and text with nothing behind. A score is the log-likelihood from where the two readings
/// part. `before` are the model's own ids of the prompt. Positions past its context, of special candidates and inside a character are left out.
///
/// # Errors
/// If a tokenizer fails.
pub fn pair_scores_of_text(
    model: &Model,
    tokenizer: &Tokenizer,
    before: &[u32],
    served_by: &Tokenizer,
    tokens: &[u32],
    withheld: &[Option<u32>],
) -> Result<Vec<PairScore>> {
    let mut pairs = Vec::new();
    for ((position, &token), &withheld) in (0u32..).zip(tokens).zip(withheld) {
        let both = withheld.filter(|&withheld| withheld != token).map(|withheld| [token, withheld]);
        let Some(both) = both.filter(|both| !both.contains(&shipped::EOS)) else { continue };
        let read = |candidate: u32| -> Result<Option<Vec<u32>>> {
            let text = served_by.decode(&[&tokens[..position as usize], &[candidate]].concat())?;
            if text.ends_with(char::REPLACEMENT_CHARACTER) {
                return Ok(None);
            }
            let ids = [before, &tokenizer.encode(&text)?].concat();
            Ok(Some(ids).filter(|ids| ids.len() <= model.config().context_len))
        };
        if let (Some(first), Some(second)) = (read(both[0])?, read(both[1])?) {
            let parted = first.iter().zip(&second).take_while(|(a, b)| a == b).count();
            pairs.push((position, both, [first, second], parted));
        }
    }
    let mut scores = Vec::new();
    for batch in pairs.chunks(BATCH_ROWS / 2) {
        // What stands behind a row changes nothing before it.
        let width = batch.iter().flat_map(|(_, _, ids, _)| ids).map(Vec::len).max().unwrap_or(0);
        let padded = batch
            .iter()
            .flat_map(|(_, _, ids, _)| ids)
            .flat_map(|ids| ids.iter().copied().chain(std::iter::repeat_n(shipped::EOS, width - ids.len())));
        let logits = model.forward(&padded.collect::<Vec<_>>(), 2 * batch.len())?.detach();
        for (row, (position, both, ids, parted)) in batch.iter().enumerate() {
            let mut ln_p = [0.0; 2];
            for (side, (ids, ln_p)) in ids.iter().zip(&mut ln_p).enumerate() {
                if *parted == ids.len() {
                    continue;
                }
                let rows = logits.narrow(0, (2 * row + side) * width + parted - 1, ids.len() - parted)?;
                let laws: Vec<Vec<f32>> = candle_nn::ops::log_softmax(&rows, 1)?.to_vec2()?;
                *ln_p = laws.iter().zip(&ids[*parted..]).map(|(law, &id)| f64::from(law[id as usize])).sum();
            }
            scores.push(PairScore::new(*position, *both, ln_p));
        }
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn scores_follow_what_was_served_before() {
        let model = shipped::base().unwrap();
        let (prompt, tokens, withheld) = ([5, 6, 7], [8, 9, 10, 11], [Some(20), None, Some(10), Some(21)]);
        let found = pair_scores(&model, &prompt, &tokens, &withheld, None).unwrap();
        assert_eq!(found.iter().map(|pair| pair.position).collect::<Vec<_>>(), [0, 3]);
        // What stands at a position or after it changes nothing there.
        let cut = pair_scores(&model, &prompt, &[8], &[Some(20)], None).unwrap();
        assert_eq!(cut[0].tokens, found[0].tokens);
        let near = |a: i64, b: i64| (a - b).abs() <= 2;
        assert!(near(cut[0].scores[0], found[0].scores[0]) && near(cut[0].scores[1], found[0].scores[1]));
        assert_eq!(pair_scores(&model, &prompt, &[], &[], None).unwrap(), []);
        // Past the context nothing is scored.
        let long = vec![8; 300];
        let found = pair_scores(&model, &prompt, &long, &vec![Some(9); 300], None).unwrap();
        assert_eq!(found.len(), model.config().context_len - prompt.len());
        assert!(pair_scores(&model, &prompt, &[1 << 20], &[None], None).is_err());
    }

    /// By text, with its own tokenizer, a model says what it says by ids, wherever reading the text again gives the same ids.
    #[test]
    fn scores_of_text_are_those_of_ids() {
        let (model, tokenizer) = (shipped::base().unwrap(), Tokenizer::embedded().unwrap());
        let [prompt, tokens] =
            ["Question: how many?\n", "She has 12 apples and"].map(|text| tokenizer.encode(text).unwrap());
        let others = tokenizer.encode(" zebra people 99 dogs were").unwrap();
        let withheld: Vec<Option<u32>> = tokens.iter().zip(&others).map(|(_, &other)| Some(other)).collect();
        let tokens = &tokens[..withheld.len()];
        let by_ids = pair_scores(&model, &prompt, tokens, &withheld, None).unwrap();
        let before = [&[shipped::EOS], &prompt[..]].concat();
        let by_text = pair_scores_of_text(&model, &tokenizer, &before, &tokenizer, tokens, &withheld).unwrap();
        assert_eq!(by_text.len(), by_ids.len());
        let same = by_text.iter().zip(&by_ids).filter(|(text, ids)| {
            text.tokens == ids.tokens && (0..2).all(|side| (text.scores[side] - ids.scores[side]).abs() <= 8)
        });
        let same = same.count();
        assert!(same >= 3, "{same} of {}: {by_text:?} {by_ids:?}", by_ids.len());
    }
}
