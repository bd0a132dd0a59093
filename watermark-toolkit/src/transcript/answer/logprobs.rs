use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{Alternative, MAX_POSITIONS, Position};

/// Alternatives at a position. OpenAI gives at most 20; others may be set to more.
const MAX_TOP: usize = 1024;
const MAX_TOKEN_BYTES: usize = 4096;

/// Both forms: `content` (chat, and llama.cpp everywhere), and the parallel lists of the completions interface.
#[derive(Deserialize)]
pub(super) struct Logprobs {
    content: Option<Vec<Candidate>>,
    tokens: Option<Vec<String>>,
    token_logprobs: Option<Vec<Option<f64>>>,
    top_logprobs: Option<Vec<Option<BTreeMap<String, f64>>>>,
}

#[derive(Deserialize)]
struct Candidate {
    id: Option<u32>,
    token: String,
    bytes: Option<Vec<u8>>,
    logprob: f64,
    /// Of a generated token; alternatives have none of their own.
    top_logprobs: Option<Vec<Candidate>>,
}

impl Candidate {
    fn alternative(self) -> Result<Alternative> {
        let bytes = self.bytes.unwrap_or_else(|| self.token.into_bytes());
        alternative(bytes, self.id, self.logprob)
    }
}

fn alternative(bytes: Vec<u8>, id: Option<u32>, logprob: f64) -> Result<Alternative> {
    ensure!(logprob.is_finite() && logprob <= 0.0, "a log probability is above 0 or not finite");
    ensure!(bytes.len() <= MAX_TOKEN_BYTES, "a token is longer than {MAX_TOKEN_BYTES} bytes");
    Ok(Alternative { bytes, id, logprob })
}

/// The completions interface has no bytes: it writes a token that is no UTF-8 as `bytes:\xe2\x80`.
fn token_bytes(token: String) -> Vec<u8> {
    let escaped = || -> Option<Vec<u8>> {
        let digits = token.strip_prefix("bytes:")?;
        let parts = digits.strip_prefix("\\x")?.split("\\x");
        parts.map(|part| if part.len() == 2 { u8::from_str_radix(part, 16).ok() } else { None }).collect()
    };
    escaped().unwrap_or_else(|| token.into_bytes())
}

fn position(chosen: Alternative, top: impl ExactSizeIterator<Item = Result<Alternative>>) -> Result<Position> {
    ensure!(top.len() <= MAX_TOP, "a position has more than {MAX_TOP} alternatives");
    let mut top = top.collect::<Result<Vec<_>>>()?;
    top.sort_by(|a, b| b.logprob.total_cmp(&a.logprob).then_with(|| (&a.bytes, a.id).cmp(&(&b.bytes, b.id))));
    Ok(Position { bytes: chosen.bytes, id: chosen.id, logprob: chosen.logprob, top })
}

impl Logprobs {
    /// Appends the positions.
    pub(super) fn positions(self, out: &mut Vec<Position>) -> Result<()> {
        let content = self.content.unwrap_or_default();
        let tokens = self.tokens.unwrap_or_default();
        ensure!(content.len() + tokens.len() <= MAX_POSITIONS, "it has more than {MAX_POSITIONS} positions");
        for mut token in content {
            let top = token.top_logprobs.take().unwrap_or_default();
            out.push(position(token.alternative()?, top.into_iter().map(Candidate::alternative))?);
        }
        let logprobs = self.token_logprobs.unwrap_or_default();
        let tops = self.top_logprobs.unwrap_or_default();
        ensure!(logprobs.len() == tokens.len(), "`tokens` and `token_logprobs` differ in length");
        ensure!(tops.is_empty() || tops.len() == tokens.len(), "`tokens` and `top_logprobs` differ in length");
        let tops = tops.into_iter().map(Option::unwrap_or_default).chain(std::iter::repeat_with(BTreeMap::new));
        for ((token, logprob), top) in tokens.into_iter().zip(logprobs).zip(tops) {
            let logprob = logprob.context("a token has no log probability")?;
            let top = top.into_iter().map(|(token, logprob)| alternative(token_bytes(token), None, logprob));
            out.push(position(alternative(token_bytes(token), None, logprob)?, top)?);
        }
        Ok(())
    }
}
