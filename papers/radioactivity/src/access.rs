//! What each kind of access shows of a student.

use anyhow::Result;
use rayon::prelude::*;
use watermark_core::detect::{Choice, LayerDetector};
use watermark_core::model_test::{ModelSample, Round};
use watermark_lab::model::Model;

use crate::lab::{Data, Lab, Student};

/// Registered level.
pub(crate) const LOG10_ALPHA: f64 = -6.0;

/// Kinds of access, from the weakest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Answers, every pair of weight 1.
    ClosedDistinct,
    /// Answers, weighted by counts.
    Closed,
    /// Answers with the 20 most likely tokens at every position.
    TopLogprobs,
    /// Answers with the whole next-token distribution.
    OpenWeights,
    /// Our served answers read; the most likely next token.
    Reading,
    /// Our served answers read; the whole next-token distribution.
    ReadingOpen,
}

impl Access {
    pub(crate) const ALL: [Self; 6] =
        [Self::ClosedDistinct, Self::Closed, Self::TopLogprobs, Self::OpenWeights, Self::Reading, Self::ReadingOpen];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ClosedDistinct => "closed, distinct pairs",
            Self::Closed => "closed, count weights",
            Self::TopLogprobs => "top-20 logprobs",
            Self::OpenWeights => "open weights",
            Self::Reading => "reading, most likely token",
            Self::ReadingOpen => "reading, open weights",
        }
    }

    /// The name in `watermark plan`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::ClosedDistinct => "distinct",
            Self::Closed => "answers",
            Self::TopLogprobs => "logprobs",
            Self::OpenWeights => "weights",
            Self::Reading => "reading",
            Self::ReadingOpen => "reading-weights",
        }
    }

    pub(crate) fn reads(self) -> bool {
        matches!(self, Self::Reading | Self::ReadingOpen)
    }

    fn keeps(self) -> usize {
        match self {
            Self::ClosedDistinct | Self::Closed => 0,
            Self::Reading => 1,
            Self::TopLogprobs => 20,
            Self::OpenWeights | Self::ReadingOpen => usize::MAX,
        }
    }
}

/// Texts with what a student would have chosen at every position.
pub(crate) struct Shown {
    access: Access,
    prompts: Vec<Vec<u32>>,
    texts: Vec<Vec<u32>>,
    choices: Vec<Vec<Vec<Choice>>>,
}

impl Shown {
    /// `data` are the student's answers, or the texts that it reads.
    pub(crate) fn new(lab: &Lab, access: Access, student: &Student, data: &Data) -> Result<Self> {
        let prompts = data.questions.iter().map(|question| lab.prompt(question)).collect::<Result<Vec<_>>>()?;
        let texts: Vec<Vec<u32>> = data.answers.iter().map(|answer| answer.tokens.clone()).collect();
        let choices = if access.keeps() == 0 {
            Vec::new()
        } else {
            let rows = prompts.par_iter().zip(&texts).map(|(prompt, text)| choices(student, access, prompt, text));
            rows.collect::<Result<Vec<_>>>()?
        };
        Ok(Self { access, prompts, texts, choices })
    }

    /// Tokens in all.
    pub(crate) fn tokens(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }

    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// Tokens of the first `texts` texts.
    pub(crate) fn tokens_of(&self, texts: usize) -> usize {
        self.texts.iter().take(texts).map(Vec::len).sum()
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// A sample of the first `tokens` tokens, in rounds of `per_round` texts; of texts that are read each is a round.
    pub(crate) fn sample(&self, layer: &LayerDetector, tokens: usize, per_round: usize) -> Result<ModelSample> {
        let mut sample = if matches!(self.access, Access::ClosedDistinct | Access::Closed) {
            ModelSample::of_answers(layer)
        } else {
            ModelSample::of_probabilities(layer)
        };
        let mut left = tokens;
        for round in (0..self.len()).collect::<Vec<_>>().chunks(per_round) {
            if left == 0 {
                break;
            }
            let mut part = Round::default();
            for &i in round {
                let n = self.texts[i].len().min(left);
                left -= n;
                // The end-of-text token before a prompt is special and never scored.
                let (prompt, text) = (&self.prompts[i][1..], &self.texts[i][..n]);
                if self.access.reads() {
                    sample.add_reading(layer, prompt, text, &self.choices[i][..n])?;
                } else {
                    part.prompts.push(prompt);
                    part.answers.push(text);
                    if let Some(choices) = self.choices.get(i) {
                        part.choices.push(&choices[..n]);
                    }
                }
            }
            if !self.access.reads() {
                sample.add_round(layer, &part)?;
            }
        }
        Ok(sample)
    }
}

/// A model's next-token distributions along `text` after `prompt`: natural logarithms of probabilities, (token, ln p) of the `keep`
/// most likely at each position, not renormalised.
pub(crate) fn rows(
    model: &Model,
    prompt: &[u32],
    text: &[u32],
    temperature: f64,
    keep: usize,
) -> Result<Vec<Vec<(u32, f64)>>> {
    let Some(last) = text.len().checked_sub(1) else { return Ok(Vec::new()) };
    let ids = [prompt, &text[..last]].concat();
    let logits = model.forward(&ids, 1)?.detach().narrow(0, prompt.len() - 1, text.len())?;
    let rows: Vec<Vec<f32>> = logits.to_vec2()?;
    let rows = rows.into_iter().map(|row| {
        let row = row.into_iter().map(|logit| f64::from(logit) / temperature);
        let mut row: Vec<(u32, f64)> = (0u32..).zip(row).collect();
        let max = row.iter().map(|(_, logit)| *logit).fold(f64::NEG_INFINITY, f64::max);
        let ln_total = row.iter().map(|(_, logit)| (logit - max).exp()).sum::<f64>().ln() + max;
        row.iter_mut().for_each(|(_, logit)| *logit -= ln_total);
        if keep < row.len() {
            row.select_nth_unstable_by(keep - 1, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            row.truncate(keep);
        }
        row
    });
    Ok(rows.collect())
}

fn choices(student: &Student, access: Access, prompt: &[u32], text: &[u32]) -> Result<Vec<Vec<Choice>>> {
    let rows = rows(&student.model, prompt, text, 1.0, access.keeps())?;
    let choices = rows.into_iter().map(|row| match row[..] {
        [(token, _)] => vec![Choice::certain(token)],
        _ => Choice::from_log_probabilities(row),
    });
    Ok(choices.collect())
}
