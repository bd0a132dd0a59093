//! What a distiller does with harvested answers.

use crate::model::Model;
use crate::shipped;
use crate::train::{Examples, Step, TrainOptions, train};
use anyhow::Result;

use crate::answer::{Answer, prompt_ids};
use watermark_toolkit::tokenizer::Tokenizer;

/// How a student learns prompt and answer; only the answers are learned.
#[derive(Clone, Copy, Debug)]
pub struct FineTuning {
    /// Passes over the answers.
    pub epochs: f64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Seed of the order of answers.
    pub seed: u64,
}

/// Rows of a training step.
const BATCH_ROWS: usize = 12;

impl FineTuning {
    /// Three passes at the rate at which the clean base learns a few thousand answers.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self { epochs: 3.0, learning_rate: 4e-3, seed }
    }

    fn options(&self, row_len: usize) -> TrainOptions {
        TrainOptions {
            epochs: self.epochs,
            batch_rows: BATCH_ROWS,
            row_len,
            learning_rate: self.learning_rate,
            warmup: 0.05,
            weight_decay: 0.01,
            seed: self.seed,
        }
    }
}

/// Trains `student` in place on `questions` with their `answers`. `on_step` is told of every step.
///
/// # Errors
/// If there are too few tokens, or training diverges.
pub fn fine_tune(
    student: &Model,
    tokenizer: &Tokenizer,
    questions: &[String],
    answers: &[Answer],
    tuning: &FineTuning,
    mut on_step: impl FnMut(&Step),
) -> Result<()> {
    let examples = examples(tokenizer, questions, answers)?;
    train(student, &examples, &tuning.options(student.config().context_len), |step| {
        on_step(step);
        Ok(())
    })
}

fn examples(tokenizer: &Tokenizer, questions: &[String], answers: &[Answer]) -> Result<Examples> {
    let mut examples = Examples::default();
    for (question, answer) in questions.iter().zip(answers) {
        let mut document = prompt_ids(tokenizer, question)?;
        let first = document.len();
        document.extend(tokenizer.encode(&answer.text)?);
        document.push(shipped::EOS);
        examples.push(&document, first);
    }
    Ok(examples)
}
