use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use watermark_core::hex;
use watermark_core::model_test::Collection;

use super::api::Api;

/// Name and version of the format.
pub const FORMAT: &str = "watermark-transcript/1";

/// Larger answers are refused. 4,096 tokens with 20 alternatives each take about that.
pub const MAX_RESPONSE_BYTES: u64 = 8 << 20;

/// The first line: what is asked of whom, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub transcript: String,
    /// Base address, without credentials.
    pub endpoint: String,
    /// Which interface.
    pub api: Api,
    /// The model's name at the endpoint.
    pub model: String,
    /// Longest answer in the server's tokens.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Nucleus, if set.
    pub top_p: Option<f64>,
    /// Alternatives asked for at each position, if any.
    pub logprobs: Option<u32>,
    /// Whether answers are streamed.
    pub stream: bool,
    /// Further fields of the request.
    pub extra: Map<String, Value>,
    /// [`prompts_sha256`].
    pub prompts_sha256: String,
    /// Number of prompts.
    pub n_prompts: u64,
    /// Prompts a round.
    pub round_size: u64,
    /// Who collects.
    #[serde(with = "collector")]
    pub collection: Collection,
    /// What the answers are tested for; null where nobody looks at evidence.
    pub test: Option<Registered>,
}

/// Who collects, in this format's words: `provider`, who holds the key and looks at the evidence as it grows, or `replicate`,
/// somebody without the key, who collects a fixed sample.
pub(crate) mod collector {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use watermark_core::model_test::Collection;

    pub(crate) fn serialize<S: Serializer>(collection: &Collection, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match collection {
            Collection::NotWitnessed => "provider",
            Collection::Replicate => "replicate",
        })
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Collection, D::Error> {
        match &*String::deserialize(deserializer)? {
            "provider" => Ok(Collection::NotWitnessed),
            "replicate" => Ok(Collection::Replicate),
            other => Err(D::Error::unknown_variant(other, &["provider", "replicate"])),
        }
    }
}

/// The test of a run, fixed before its first answer: another key, layer or level would be another test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registered {
    /// SHA-256 of the profile file.
    pub profile_sha256: String,
    /// The layer's name.
    pub layer: String,
    /// SHA-256 of the account id, for keys per account.
    pub account_sha256: Option<String>,
    /// Key path of the profile.
    pub path: String,
    /// Level of the verdict.
    pub alpha: f64,
    /// SHA-256 of the files of the references, in their order; missing where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
}

/// One prompt with what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Number of the prompt, from 0.
    pub index: u64,
    /// `index / round_size`.
    pub round: u64,
    /// The prompt as it was given.
    pub prompt: String,
    /// The JSON body that was sent.
    pub request: Value,
    /// Every try, in order.
    pub attempts: Vec<Attempt>,
    /// HTTP status of the last try, if it got one.
    pub status: Option<u16>,
    /// The body of the answer as it came; of a stream all events.
    pub response: Option<String>,
    /// Why there is no answer.
    pub failure: Option<Failure>,
    /// When the exchange was finished: RFC 3339, UTC, seconds.
    pub utc: String,
}

/// Why a request gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// No connection, or it was cut.
    Connection,
    /// The whole exchange took too long.
    Timeout,
    /// The body is larger than [`MAX_RESPONSE_BYTES`].
    TooLarge,
    /// A status that is not a success.
    Status,
    /// A success whose body is not an answer.
    InvalidAnswer,
}

impl FaultKind {
    /// In words, for messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "no connection, or it was cut",
            Self::Timeout => "timeout",
            Self::TooLarge => "answer too large",
            Self::Status => "refused by the server",
            Self::InvalidAnswer => "answer that cannot be read",
        }
    }
}

/// One HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// HTTP status, if there was one.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<FaultKind>,
}

/// Why a prompt has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The kind.
    pub kind: FaultKind,
    /// In words; never text of the server.
    pub message: String,
}

/// SHA-256 over the prompts, each as a JSON string and a newline.
#[must_use]
pub fn prompts_sha256(prompts: &[String]) -> String {
    let mut hash = Sha256::new();
    for prompt in prompts {
        hash.update(Value::from(prompt.as_str()).to_string());
        hash.update("\n");
    }
    hex::encode(&hash.finalize())
}

/// Fields of a request that are settings of the run.
const OWN_FIELDS: [&str; 12] = [
    "model",
    "messages",
    "prompt",
    "max_tokens",
    "temperature",
    "top_p",
    "stream",
    "logprobs",
    "top_logprobs",
    "n",
    "best_of",
    "echo",
];

/// Fields that hand the model text or preferences beside the prompt.
const STEERING_FIELDS: [&str; 12] = [
    "logit_bias",
    "documents",
    "suffix",
    "grammar",
    "json_schema",
    "response_format",
    "guided_choice",
    "guided_grammar",
    "guided_regex",
    "guided_json",
    "chat_template",
    "tools",
];

impl Header {
    /// # Errors
    /// If a setting is out of range, or `extra` sets a field that the run sets.
    pub fn check(&self) -> Result<()> {
        ensure!(self.transcript == FORMAT, "the format is {:?}, not {FORMAT:?}", self.transcript);
        ensure!(self.max_tokens > 0, "max_tokens is 0; ask for at least one token");
        ensure!((0.0..=100.0).contains(&self.temperature), "temperature must be between 0 and 100");
        ensure!(self.top_p.is_none_or(|p| p > 0.0 && p <= 1.0), "top_p must be above 0 and at most 1");
        ensure!(self.round_size > 0, "a round needs at least one prompt");
        ensure!(self.n_prompts > 0, "there are no prompts");
        if let Some(field) = STEERING_FIELDS.iter().find(|&&field| self.extra.contains_key(field)) {
            bail!(
                "extra fields must not set {field:?}: it puts text or tokens before the model that no rule would exclude"
            );
        }
        if let Some(field) = OWN_FIELDS.iter().find(|&&field| self.extra.contains_key(field)) {
            bail!("extra fields must not set {field:?}, which the run sets itself or could not read");
        }
        Ok(())
    }

    /// The JSON body of a request.
    #[must_use]
    pub fn body(&self, prompt: &str) -> Value {
        let mut body = self.extra.clone();
        body.insert("model".to_owned(), json!(self.model));
        body.insert("max_tokens".to_owned(), json!(self.max_tokens));
        body.insert("temperature".to_owned(), json!(self.temperature));
        body.insert("stream".to_owned(), json!(self.stream));
        if let Some(top_p) = self.top_p {
            body.insert("top_p".to_owned(), json!(top_p));
        }
        match self.api {
            Api::Chat => {
                body.insert("messages".to_owned(), json!([{"role": "user", "content": prompt}]));
                if let Some(k) = self.logprobs {
                    body.insert("logprobs".to_owned(), json!(true));
                    body.insert("top_logprobs".to_owned(), json!(k));
                }
            }
            Api::Completions => {
                body.insert("prompt".to_owned(), json!(prompt));
                if let Some(k) = self.logprobs {
                    body.insert("logprobs".to_owned(), json!(k));
                }
            }
        }
        Value::Object(body)
    }

    /// Prompts of a round: the last one may be shorter.
    #[must_use]
    pub fn round(&self, round: u64) -> std::ops::Range<u64> {
        let from = round.saturating_mul(self.round_size).min(self.n_prompts);
        from..from.saturating_add(self.round_size).min(self.n_prompts)
    }

    /// # Errors
    /// Which settings differ, and how.
    pub(super) fn must_equal(&self, wanted: &Self) -> Result<()> {
        // Through JSON text and back on both sides, so that a number is compared as it is written.
        let fields = |header: &Self| -> Result<Map<String, Value>> {
            Ok(serde_json::from_str(&serde_json::to_string(header)?)?)
        };
        let (old, new) = (fields(self)?, fields(wanted)?);
        let differing: Vec<String> = new
            .iter()
            .filter(|&(name, value)| old.get(name) != Some(value))
            .map(|(name, value)| format!("{name} was {}, now {value}", old.get(name).unwrap_or(&Value::Null)))
            .collect();
        ensure!(
            differing.is_empty(),
            "the transcript was started with other settings ({}); repeat them, or choose another folder",
            differing.join("; ")
        );
        Ok(())
    }
}
