//! Neutralising (2502.11598): a distiller compares its model before and after learning from marked answers, and takes what
//! the mark taught away again while it answers.

use anyhow::Result;
use candle_core::D;
use watermark_lab::answer::Answer;
use watermark_lab::model::Model;
use watermark_lab::{prompts, shipped};
use watermark_radioactivity::lab::{Data, Lab};

use crate::writing::{cost, write};
use crate::{Measures, TESTED, greenlist, marked_student, student_values};

/// Contexts seen less often than this are left alone.
const RARE: f32 = 3.0;

/// Mean log-ratio of after to before, per previous token and token, [`vocab_size`, `vocab_size`].
struct Difference {
    vocab_size: usize,
    mean: Vec<f32>,
}

impl Difference {
    /// Over every position of `data`: each predicts one token from all before it.
    fn between(before: &Model, after: &Model, data: &Data) -> Result<Self> {
        let vocab_size = after.config().vocab_size;
        let (mut mean, mut n) = (vec![0.0f32; vocab_size * vocab_size], vec![0.0f32; vocab_size]);
        for answer in data.answers.iter().filter(|answer| answer.tokens.len() > 1) {
            let ids = [&[shipped::EOS], &answer.prompt_tokens[..], &answer.tokens[..]].concat();
            let [before, after] = [before, after].map(|model| -> Result<Vec<Vec<f32>>> {
                let logits = model.forward(&ids, 1)?.detach();
                Ok(candle_nn::ops::log_softmax(&logits, D::Minus1)?.to_vec2()?)
            });
            let (before, after) = (before?, after?);
            for at in answer.prompt_tokens.len() + 1..ids.len() {
                let previous = ids[at] as usize;
                n[previous] += 1.0;
                let row = &mut mean[previous * vocab_size..(previous + 1) * vocab_size];
                for (sum, (a, b)) in row.iter_mut().zip(after[at].iter().zip(&before[at])) {
                    *sum += a - b;
                }
            }
        }
        for (row, &n) in mean.chunks_exact_mut(vocab_size).zip(&n) {
            row.iter_mut().for_each(|sum| *sum = if n < RARE { 0.0 } else { *sum / n });
        }
        Ok(Self { vocab_size, mean })
    }

    fn row(&self, previous: u32) -> &[f32] {
        let from = previous as usize * self.vocab_size;
        &self.mean[from..from + self.vocab_size]
    }
}

/// A student of marked answers, neutralised with these strengths; `asked` answers are tested.
///
/// # Errors
/// If training or generating fails.
pub fn run(lab: &Lab, seed: u64, strengths: &[f32], asked: usize) -> Result<Measures> {
    let mut measures = Measures::default();
    let (base, teacher) = (shipped::base()?, shipped::teacher()?);
    let mark = greenlist(1, seed)?;
    let (student, learned) = marked_student(lab, &mark, seed)?;
    let difference = Difference::between(&base, &student.model, &learned)?;
    let questions = prompts::word_problems(TESTED + 300 + seed, asked);
    let mut report = |setting: &str, answers: &[Answer]| -> Result<()> {
        let mut values = student_values(lab, &mark, answers)?.to_vec();
        values.push(cost(&teacher, answers)?);
        measures.add("neutralising", setting, seed, &values);
        Ok(())
    };
    for &strength in strengths {
        let answers = write(lab, &student.model, &questions, seed, |draft, logits| {
            let Some(&previous) = draft.tokens().last() else { return draft.draw(logits) };
            let row = logits.iter().zip(difference.row(previous)).map(|(logit, change)| logit - strength * change);
            let row: Vec<f32> = row.collect();
            draft.draw(&row)
        })?;
        report(&format!("strength {strength}"), &answers)?;
    }
    report("the clean base itself", &write(lab, &base, &questions, seed, |draft, logits| draft.draw(logits))?)?;
    Ok(measures)
}
