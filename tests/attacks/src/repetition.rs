//! Drowning: a suspect's operator mixes endless repetitions into its answers, so that few pairs carry all the weight.

use anyhow::Result;
use watermark_cli::generate::Answer;
use watermark_cli::school::Lesson;
use watermark_radioactivity::lab::{Data, Lab, Start};

use crate::neutralise::student_values;
use crate::{HARVESTED, Measures, TESTED, greenlist};

/// Answers that the student learns.
const LEARNED: usize = 1200;
/// Answers with a repetition.
const REPETITIVE: usize = 2;

/// A student's `asked` answers, two of which repeat themselves until they have so many tokens.
///
/// # Errors
/// If training or generating fails.
pub fn run(lab: &Lab, seed: u64, lengths: &[usize], asked: usize) -> Result<Measures> {
    let mut measures = Measures::default();
    let mark = greenlist(1, seed)?;
    let learned = lab.teacher(&mark, true, HARVESTED + seed, LEARNED)?;
    let student = lab.student(Start::Base, None, &learned, &Lesson::fine_tuning(seed))?;
    let answered = lab.ask(&student, TESTED + 300 + seed, asked, 0.8)?;
    for &length in lengths {
        let mut data: Data = answered.clone();
        let repeated = data.answers.iter().map(|answer| answer.text.clone()).filter(|text| !text.trim().is_empty());
        let repeated: Vec<String> = repeated.take(REPETITIVE).collect();
        for (answer, text) in data.answers.iter_mut().zip(&repeated) {
            let tokens = lab.tokenizer.encode(text)?.len().max(1);
            let text = text.repeat(length / tokens);
            *answer = Answer { prompt_tokens: answer.prompt_tokens.clone(), tokens: Vec::new(), text };
        }
        let setting = format!("{REPETITIVE} of {asked} answers with {length} tokens");
        let setting = if length == 0 { "none".to_owned() } else { setting };
        let data = if length == 0 { answered.clone() } else { data };
        measures.add("repetition", &setting, seed, &student_values(lab, &mark, &data)?);
    }
    Ok(measures)
}
