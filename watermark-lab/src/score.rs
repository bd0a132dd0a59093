//! What a laboratory model thinks of the candidates of paired draws.

use anyhow::{Result, bail, ensure};
use watermark_core::mark::Sampling;
use watermark_toolkit::read::PairScore;

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
}
