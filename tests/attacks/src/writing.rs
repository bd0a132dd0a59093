//! Text that an attacker has a model write.

use anyhow::Result;
use watermark_cli::generate::{Answer, prompt_ids};
use watermark_core::mark::{Marker, Session, SessionOptions};
use watermark_lab::generate::{Generate, generate};
use watermark_lab::model::Model;
use watermark_lab::shipped;
use watermark_radioactivity::lab::{Lab, MAX_NEW_TOKENS, SAMPLING};

use crate::gumbel;

/// Sequences side by side.
const BATCH: usize = 256;

/// One answer in the making, drawn without any mark.
pub(crate) struct Draft {
    /// Draws from logits under the laboratory's temperature and truncation.
    pub(crate) session: Session,
    /// Which of the questions it answers.
    pub(crate) index: usize,
}

impl Draft {
    /// Tokens so far.
    pub(crate) fn tokens(&self) -> &[u32] {
        self.session.generated()
    }

    /// Draws from `logits` [`vocab_size`].
    pub(crate) fn draw(&mut self, logits: &[f32]) -> Result<u32> {
        Ok(self.session.sample(logits)?)
    }
}

/// Answers `questions`: `pick` chooses each token from the model's logits [`vocab_size`] and what is written already.
pub(crate) fn write(
    lab: &Lab,
    model: &Model,
    questions: &[String],
    seed: u64,
    pick: impl Fn(&mut Draft, &[f32]) -> Result<u32> + Sync,
) -> Result<Vec<Answer>> {
    let prompts = questions.iter().map(|question| prompt_ids(&lab.tokenizer, question)).collect::<Result<Vec<_>>>()?;
    // The layer is there for the session's sake; nothing is marked.
    let mark = gumbel(0);
    let marker = Marker::new(lab.profile(&mark)?, &Lab::key(&mark))?;
    let drafts = (0..questions.len()).map(|index| {
        let seed = seed << 32 | index as u64;
        let options = SessionOptions { account: None, marked: false, seed, sampling: SAMPLING };
        Ok(Draft { session: marker.session(&options)?, index })
    });
    let mut drafts = drafts.collect::<Result<Vec<_>>>()?;
    let options = Generate { max_new_tokens: MAX_NEW_TOKENS, batch_size: BATCH, eos_token_id: shipped::EOS };
    let pick = |draft: &mut Draft, logits: &[f32]| {
        let token = pick(draft, logits)?;
        draft.session.accept(token)?;
        Ok(token)
    };
    let written = generate(model, &prompts, &mut drafts, &options, pick, |_| ())?;
    let answers = prompts.into_iter().zip(written).map(|(mut prompt_tokens, tokens)| {
        prompt_tokens.remove(0);
        let text = lab.tokenizer.decode(&tokens)?;
        Ok(Answer { prompt_tokens, tokens, text })
    });
    answers.collect()
}

/// How well `model` expects `answers`, in nats per token: what an attack costs in quality.
pub(crate) fn loss(model: &Model, answers: &[Answer]) -> Result<f64> {
    let (mut sum, mut n) = (0.0, 0.0);
    for answer in answers.iter().filter(|answer| !answer.tokens.is_empty()) {
        let whole = [&[shipped::EOS], &answer.prompt_tokens[..], &answer.tokens[..]].concat();
        let prompt = &whole[..=answer.prompt_tokens.len()];
        // The loss of whole and prompt differ by what the answer adds.
        let nats = |row: &[u32]| Ok::<_, anyhow::Error>(model.loss(&[row.to_vec()])? * (row.len() - 1) as f64);
        sum += nats(&whole)? - nats(prompt)?;
        n += answer.tokens.len() as f64;
    }
    Ok(sum / n)
}
