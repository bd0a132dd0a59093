use anyhow::Result;
use indicatif::ProgressBar;
use watermark_lab::model::Model;
use watermark_lab::shipped;
use watermark_lab::train::{Examples, TrainOptions, train};

use crate::generate::{Answer, prompt_ids};
use crate::tokenizer::Tokenizer;

/// What a distiller does with harvested answers: fine-tunes the clean base on prompt and answer, learning the answers.
pub(super) fn fine_tune(
    label: &str,
    tokenizer: &Tokenizer,
    questions: &[String],
    answers: &[Answer],
    epochs: f64,
    seed: u64,
    stage: &dyn Fn(&str, u64) -> ProgressBar,
) -> Result<Model> {
    let mut examples = Examples::default();
    for (question, answer) in questions.iter().zip(answers) {
        let mut document = prompt_ids(tokenizer, question)?;
        let first = document.len();
        document.extend(tokenizer.encode(&answer.text)?);
        document.push(shipped::EOS);
        examples.push(&document, first);
    }
    let student = shipped::base()?;
    let options = TrainOptions {
        epochs,
        batch_rows: 12,
        row_len: student.config().context_len,
        learning_rate: 4e-3,
        warmup: 0.05,
        weight_decay: 0.01,
        seed,
    };
    let bar = stage(label, options.steps(examples.len()) as u64);
    train(&student, &examples, &options, |step| {
        bar.set_position(step.done as u64);
        bar.set_message(format!("loss {:.2}", step.loss));
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(student)
}
