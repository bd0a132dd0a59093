//! The text of a model in a server's response: a pure function of interface and body.

mod logprobs;
#[cfg(test)]
mod tests;
mod wire;

use anyhow::{Result, bail, ensure};
use watermark_core::MAX_TOKEN_ID;

use super::api::Api;
use wire::Choice;

/// Longest list of positions. A body within the client's limit has fewer.
const MAX_POSITIONS: usize = 1 << 17;
const MAX_FINISH_REASON: usize = 64;

/// What the model said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The generated text.
    pub text: String,
    /// Why it ends, if the server says so (`stop`, `length`, …).
    pub finish_reason: Option<String>,
    /// The ids of all generated tokens in the server's tokenizer, if it lists them (vLLM's `return_token_ids`). They are not
    /// put together from `positions`, which may leave tokens out.
    pub token_ids: Option<Vec<u32>>,
    /// The generated tokens with their log probabilities; empty unless asked for and given. llama.cpp gives one position for
    /// a character of several tokens, with the id of the last one.
    pub positions: Vec<Position>,
}

/// One generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// Its bytes; a token may hold part of a character.
    pub bytes: Vec<u8>,
    /// Its id in the server's tokenizer.
    pub id: Option<u32>,
    /// Natural logarithm of its probability, at most 0.
    pub logprob: f64,
    /// The most likely tokens at this position, most likely first.
    pub top: Vec<Alternative>,
}

/// A token that could have stood at a position.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its id in the server's tokenizer.
    pub id: Option<u32>,
    /// Natural logarithm of its probability, at most 0.
    pub logprob: f64,
}

/// Reads a response body: one JSON document, or the server-sent events of a stream, whichever it is. Only the first choice
/// counts; what the server says about usage is not read.
///
/// # Errors
/// If it is not an answer of this interface, is cut short, holds an error object, or a log probability that is not a
/// number or is above 0. Messages never repeat the body.
pub fn parse(api: Api, response: &str) -> Result<Answer> {
    let mut building = Building::default();
    if response.trim_start().starts_with('{') {
        let choice = wire::first_choice(response)?;
        let Some(choice) = choice else { bail!("it holds no choice") };
        ensure!(building.add(api, choice)?, "its choice holds no text");
        return building.finish();
    }
    let (mut any, mut done) = (false, false);
    for event in events(response) {
        if event.trim() == "[DONE]" {
            done = true;
            break;
        }
        // A last event may report usage only.
        if let Some(choice) = wire::first_choice(&event)? {
            building.add(api, choice)?;
            any = true;
        }
    }
    ensure!(any, "it is neither a JSON object nor a stream of events with a choice");
    ensure!(done || building.answer.finish_reason.is_some(), "the stream was cut before its end");
    building.finish()
}

/// The data of each server-sent event (WHATWG HTML, section 9.2.6).
fn events(stream: &str) -> impl Iterator<Item = String> {
    let mut lines = stream.lines();
    std::iter::from_fn(move || {
        let mut data: Option<String> = None;
        loop {
            match lines.next() {
                None => return data,
                Some("") if data.is_some() => return data,
                Some(line) => {
                    if let Some(value) = line.strip_prefix("data:") {
                        let value = value.strip_prefix(' ').unwrap_or(value);
                        data = Some(data.map_or_else(|| value.to_owned(), |before| format!("{before}\n{value}")));
                    }
                }
            }
        }
    })
}

/// An answer that arrives in parts.
#[derive(Default)]
struct Building {
    answer: Answer,
    ids: Vec<u32>,
    ids_given: bool,
}

impl Building {
    /// Adds a choice, or a part of one; whether it had a text, be it an empty one.
    fn add(&mut self, api: Api, choice: Choice) -> Result<bool> {
        let text = match api {
            Api::Chat => choice.message.or(choice.delta).map(|message| message.content.map(wire::Content::text)),
            Api::Completions => choice.text.map(Some),
        };
        let has_text = text.is_some();
        self.answer.text += &text.flatten().unwrap_or_default();
        if let Some(reason) = choice.finish_reason {
            ensure!(reason.len() <= MAX_FINISH_REASON, "finish_reason is longer than {MAX_FINISH_REASON} bytes");
            self.answer.finish_reason = Some(reason);
        }
        if let Some(ids) = choice.token_ids {
            self.ids_given = true;
            self.ids.extend(ids);
        }
        if let Some(logprobs) = choice.logprobs {
            logprobs.positions(&mut self.answer.positions)?;
        }
        ensure!(
            self.answer.positions.len() <= MAX_POSITIONS && self.ids.len() <= MAX_POSITIONS,
            "it has more than {MAX_POSITIONS} positions"
        );
        Ok(has_text)
    }

    fn finish(mut self) -> Result<Answer> {
        ensure!(self.ids.iter().all(|&id| id <= MAX_TOKEN_ID), "a token id is not below 2^24");
        self.answer.token_ids = self.ids_given.then_some(self.ids);
        Ok(self.answer)
    }
}
