//! Text that an attacker has a model write.

use anyhow::Result;
use watermark_core::mark::{Marker, Session, SessionOptions};
use watermark_lab::answer::{Answer, answer_by};
use watermark_lab::model::Model;
use watermark_lab::shipped;
use watermark_radioactivity::lab::{Lab, MAX_NEW_TOKENS, SAMPLING};

use crate::gumbel;

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
    // The layer is there for the session's sake; nothing is marked.
    let mark = gumbel(0);
    let marker = Marker::new(lab.profile(&mark)?, &Lab::key(&mark))?;
    let drafts = (0..questions.len()).map(|index| {
        let seed = seed << 32 | index as u64;
        let options = SessionOptions { account: None, request: None, marked: false, seed, sampling: SAMPLING };
        Ok(Draft { session: marker.session(&options)?, index })
    });
    let mut drafts = drafts.collect::<Result<Vec<_>>>()?;
    let pick = |draft: &mut Draft, [logits]: [&[f32]; 1]| {
        let token = pick(draft, logits)?;
        draft.session.accept(token)?;
        Ok(token)
    };
    answer_by([model], &lab.tokenizer, questions, &mut drafts, MAX_NEW_TOKENS, pick, |_| ())
}

/// Answers whose loss is measured.
const COSTED: usize = 100;

/// How well the genuine teacher expects the first answers: what an attack costs in quality.
pub(crate) fn cost(teacher: &Model, answers: &[Answer]) -> Result<(&'static str, f64)> {
    Ok(("nats per token to the teacher", loss(teacher, &answers[..answers.len().min(COSTED)])?))
}

/// How well `model` expects `answers`, in nats per token.
fn loss(model: &Model, answers: &[Answer]) -> Result<f64> {
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
