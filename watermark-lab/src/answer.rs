//! Answers of a laboratory model, marked or not.

use crate::generate::{Generate, generate_beside};
use crate::model::Model;
use crate::{prompts, shipped};
use anyhow::{Context, Result, ensure};
use watermark_core::mark::{Marker, Sampling, Session, SessionOptions};

use watermark_toolkit::read::RequestId;
use watermark_toolkit::tokenizer::Tokenizer;

/// How a batch of prompts is answered.
#[derive(Clone, Debug)]
pub struct Answering {
    /// Longest answer in tokens.
    pub max_new_tokens: usize,
    /// Temperature and truncation.
    pub sampling: Sampling,
    /// Whether the marker's layers apply.
    pub marked: bool,
    /// The account that asks, for layers with a key per account.
    pub account: Option<String>,
    /// Sequence i draws under seed + i.
    pub seed: u64,
    /// The questions' requests, for paired draws.
    pub requests: Option<Requests>,
}

/// Numbers of a ledger, allotted to questions in their order.
#[derive(Clone, Debug)]
pub struct Requests(Vec<RequestId>);

impl Requests {
    /// So many numbers of a ledger, from `first` on.
    ///
    /// # Errors
    /// For a name that no ledger can have, or numbers past the last one.
    pub fn new(ledger: &str, first: u64, n: usize) -> Result<Self> {
        let id = |i: u64| {
            let number = first
                .checked_add(i)
                .with_context(|| format!("{n} requests from number {first} on pass the last number"))?;
            RequestId::new(ledger, number)
                .with_context(|| format!("{ledger:?} is no name of a ledger, as ledger/2026-11"))
        };
        Ok(Self((0..n as u64).map(id).collect::<Result<_>>()?))
    }

    /// The request of each question.
    #[must_use]
    pub fn ids(&self) -> &[RequestId] {
        &self.0
    }
}

/// One answered prompt.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Token ids of the prompt text given to the model, without the end-of-text token before it.
    pub prompt_tokens: Vec<u32>,
    /// Generated ids, without the end-of-text token.
    pub tokens: Vec<u32>,
    /// Their text.
    pub text: String,
    /// [tokens] with paired draws, else empty: the other candidate of each position.
    pub withheld: Vec<Option<u32>>,
}

/// Sequences generated side by side.
const BATCH: usize = 256;

/// The ids that a laboratory model is asked with: end-of-text, then the question in the format it was trained on.
///
/// # Errors
/// If the tokenizer fails.
pub fn prompt_ids(tokenizer: &Tokenizer, question: &str) -> Result<Vec<u32>> {
    let mut ids = vec![shipped::EOS];
    ids.extend(tokenizer.encode(&prompts::prompt_text(question))?);
    Ok(ids)
}

/// Answers `questions` with `model`. Shapes: one answer per question, in order. `progress` is told of new tokens.
///
/// # Errors
/// If a prompt does not fit the model's context, or the model's logits cannot be sampled from.
pub fn answer(
    model: &Model,
    tokenizer: &Tokenizer,
    marker: &Marker,
    questions: &[String],
    how: &Answering,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Answer>> {
    if let Some(requests) = &how.requests {
        ensure!(
            requests.ids().len() == questions.len(),
            "{} requests for {} questions",
            requests.ids().len(),
            questions.len()
        );
        // Where it ends an answer it is not among its tokens, and where it was withheld it would be: that tells the coin.
        let special = &marker.profile().tokenizer.special_token_ids;
        ensure!(
            special.contains(&shipped::EOS),
            "with paired draws the token that ends an answer must be special in the profile"
        );
    }
    let sessions = (0u64..).take(questions.len()).map(|i| {
        let options = SessionOptions {
            account: how.account.clone(),
            marked: how.marked,
            seed: how.seed.wrapping_add(i),
            sampling: how.sampling,
            request: how.requests.as_ref().map(|requests| requests.ids()[i as usize].to_string()),
        };
        marker.session(&options)
    });
    let mut sessions: Vec<Session> = sessions.collect::<Result<_, _>>()?;
    let pick = |session: &mut Session, logits: &[f32]| {
        let token = session.sample(logits).context("the model's logits cannot be sampled from")?;
        session.accept(token)?;
        Ok(token)
    };
    let longest = how.max_new_tokens;
    let needs_proxy = marker.profile().layers.iter().any(|layer| layer.scheme.needs_proxy());
    let mut answers = if how.marked && needs_proxy {
        // The clean base stands for the student that a distiller would train.
        let proxy = shipped::base()?;
        let pick = |session: &mut Session, [row, proxy]: [&[f32]; 2]| {
            session.set_proxy(&softmax(proxy))?;
            pick(session, row)
        };
        answer_by([model, &proxy], tokenizer, questions, &mut sessions, longest, pick, progress)?
    } else {
        let pick = |session: &mut Session, [row]: [&[f32]; 1]| pick(session, row);
        answer_by([model], tokenizer, questions, &mut sessions, longest, pick, progress)?
    };
    for (answer, session) in answers.iter_mut().zip(&sessions) {
        // The session has the end of the text too.
        answer.withheld = session.withheld().iter().take(answer.tokens.len()).copied().collect();
    }
    Ok(answers)
}

/// As [`answer`], with `pick` in place of sessions: it gets the state of a question's answer, one of `states`, and a row of logits
/// `[vocab_size]` of each model, and gives the next token.
///
/// # Errors
/// If a prompt does not fit the models' context, or `pick` fails.
pub fn answer_by<const N: usize, S: Send>(
    models: [&Model; N],
    tokenizer: &Tokenizer,
    questions: &[String],
    states: &mut [S],
    max_new_tokens: usize,
    pick: impl Fn(&mut S, [&[f32]; N]) -> Result<u32> + Sync,
    progress: impl FnMut(usize),
) -> Result<Vec<Answer>> {
    let prompt_ids = questions.iter().map(|question| prompt_ids(tokenizer, question)).collect::<Result<Vec<_>>>()?;
    let options = Generate { max_new_tokens, batch_size: BATCH, eos_token_id: shipped::EOS };
    let generated = generate_beside(models, &prompt_ids, states, &options, pick, progress)?;
    let answers = prompt_ids.into_iter().zip(generated).map(|(mut prompt_tokens, tokens)| {
        prompt_tokens.remove(0);
        let text = tokenizer.decode(&tokens)?;
        Ok(Answer { prompt_tokens, tokens, text, ..Answer::default() })
    });
    answers.collect()
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut p: Vec<f32> = logits.iter().map(|logit| (logit - max).exp()).collect();
    let total: f32 = p.iter().sum();
    p.iter_mut().for_each(|p| *p /= total);
    p
}
