//! Drowning: a suspect's operator mixes endless repetitions into its answers, so that few pairs carry all the weight.

use anyhow::Result;
use watermark_radioactivity::lab::Lab;

use crate::{Measures, TESTED, greenlist, marked_student, student_values};

/// Answers with a repetition.
const REPETITIVE: usize = 2;

/// A student's `asked` answers as they are, then with two that repeat themselves until they have so many tokens.
///
/// # Errors
/// If training or generating fails.
pub fn run(lab: &Lab, seed: u64, lengths: &[usize], asked: usize) -> Result<Measures> {
    let mut measures = Measures::default();
    let mark = greenlist(1, seed)?;
    let (student, _) = marked_student(lab, &mark, seed)?;
    let answered = lab.ask(&student, TESTED + 300 + seed, asked, 0.8)?.answers;
    measures.add("repetition", "none", seed, &student_values(lab, &mark, &answered)?);
    let texts = answered.iter().map(|answer| answer.text.as_str()).filter(|text| !text.trim().is_empty());
    let texts: Vec<&str> = texts.take(REPETITIVE).collect();
    for &length in lengths {
        let mut answers = answered.clone();
        for (answer, text) in answers.iter_mut().zip(&texts) {
            answer.text = text.repeat(length / lab.tokenizer.encode(text)?.len().max(1));
        }
        let setting = format!("{REPETITIVE} of {asked} answers with {length} tokens");
        measures.add("repetition", &setting, seed, &student_values(lab, &mark, &answers)?);
    }
    Ok(measures)
}
