//! The fields that are read, as OpenAI, vLLM, llama.cpp and others write them; all others are ignored.

use anyhow::{Result, anyhow, bail};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::logprobs::Logprobs;

#[derive(Deserialize)]
struct Body {
    choices: Option<Vec<Choice>>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct Choice {
    index: Option<u64>,
    /// Chat, whole.
    pub(super) message: Option<Message>,
    /// Chat, part of a stream.
    pub(super) delta: Option<Message>,
    /// Completions, both.
    pub(super) text: Option<String>,
    pub(super) finish_reason: Option<String>,
    /// vLLM, with `return_token_ids`.
    pub(super) token_ids: Option<Vec<u32>>,
    pub(super) logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
pub(super) struct Message {
    pub(super) content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
pub(super) struct Part {
    text: Option<String>,
}

impl Content {
    pub(super) fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => parts.into_iter().filter_map(|part| part.text).collect(),
        }
    }
}

/// The choice with index 0, or without index.
pub(super) fn first_choice(json: &str) -> Result<Option<Choice>> {
    let body: Body = serde_json::from_str(json).map_err(|error| {
        // serde's own message may repeat what the server wrote.
        let what = if error.is_data() { "JSON of another form than an answer" } else { "not whole JSON" };
        anyhow!("it is {what} (line {}, column {})", error.line(), error.column())
    })?;
    if body.error.is_some() {
        bail!("the server reports an error in place of an answer");
    }
    Ok(body.choices.into_iter().flatten().find(|choice| choice.index.unwrap_or(0) == 0))
}
