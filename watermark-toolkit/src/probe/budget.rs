//! The limits on what a run may cost, and what it has cost so far.

use serde::Serialize;

use crate::tokenizer::Tokenizer;
use crate::transcript::Exchange;

/// Limits of a run. None is exceeded knowingly: a round begins only if it fits whole, because the answers of an
/// incomplete round are not judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// HTTP requests, retries included.
    pub max_requests: Option<u64>,
    /// Tokens of the answers, counted by our tokenizer.
    pub max_completion_tokens: Option<u64>,
    /// Money.
    pub cost: Option<CostLimit>,
}

/// Money, in whatever unit the prices are in.
#[derive(Clone, Copy, Debug)]
pub struct CostLimit {
    /// The limit.
    pub max: f64,
    /// Price of a million prompt tokens.
    pub per_million_prompt: f64,
    /// Price of a million answer tokens.
    pub per_million_completion: f64,
}

/// What a transcript cost. The server's own `usage` is never read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// HTTP requests, retries included.
    pub requests: u64,
    /// Tokens of prompts, once per request, without the server's chat template; 0 without a tokenizer.
    pub prompt_tokens: u64,
    /// Tokens of answers; 0 without a tokenizer.
    pub completion_tokens: u64,
}

impl Spent {
    pub(super) fn add(
        &mut self,
        exchange: &Exchange,
        answer_text: &str,
        tokenizer: Option<&Tokenizer>,
    ) -> anyhow::Result<()> {
        let attempts = exchange.attempts.len() as u64;
        self.requests += attempts;
        if let Some(tokenizer) = tokenizer {
            self.prompt_tokens += attempts * tokenizer.encode(&exchange.prompt)?.len() as u64;
            self.completion_tokens += tokenizer.encode(answer_text)?.len() as u64;
        }
        Ok(())
    }
}

/// The most that a round can cost if every prompt is answered at the first try, with `max_tokens` of our tokens each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    pub(super) requests: u64,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
}

impl Budget {
    /// Whether the limits are not yet exceeded.
    pub(super) fn holds(&self, spent: &Spent) -> bool {
        self.covers(spent, &Ahead { requests: 0, prompt_tokens: 0, completion_tokens: 0 })
    }

    /// Whether the costs so far and those of `ahead` stay within every limit.
    pub(super) fn covers(&self, spent: &Spent, ahead: &Ahead) -> bool {
        let within = |limit: Option<u64>, sum: u64| limit.is_none_or(|limit| sum <= limit);
        let prompt_tokens = spent.prompt_tokens + ahead.prompt_tokens;
        let completion_tokens = spent.completion_tokens + ahead.completion_tokens;
        within(self.max_requests, spent.requests + ahead.requests)
            && within(self.max_completion_tokens, completion_tokens)
            && self.cost.is_none_or(|cost| cost.price(prompt_tokens, completion_tokens) <= cost.max)
    }

    /// HTTP requests that may still be sent.
    pub(super) fn requests_left(&self, spent: &Spent) -> u64 {
        self.max_requests.map_or(u64::MAX, |limit| limit.saturating_sub(spent.requests))
    }
}

impl CostLimit {
    /// The price of these numbers of tokens.
    #[must_use]
    pub fn price(&self, prompt_tokens: u64, completion_tokens: u64) -> f64 {
        (prompt_tokens as f64 * self.per_million_prompt + completion_tokens as f64 * self.per_million_completion) / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_binds() {
        let spent = Spent { requests: 10, prompt_tokens: 1000, completion_tokens: 2000 };
        let ahead = Ahead { requests: 5, prompt_tokens: 500, completion_tokens: 1000 };
        assert!(Budget::default().covers(&spent, &ahead));
        let requests = |max| Budget { max_requests: Some(max), ..Budget::default() };
        assert!(requests(15).covers(&spent, &ahead) && !requests(14).covers(&spent, &ahead));
        assert_eq!([requests(15).requests_left(&spent), requests(9).requests_left(&spent)], [5, 0]);
        let tokens = |max| Budget { max_completion_tokens: Some(max), ..Budget::default() };
        assert!(tokens(3000).covers(&spent, &ahead) && !tokens(2999).covers(&spent, &ahead));
        assert!(tokens(2000).holds(&spent) && !tokens(1999).holds(&spent));
        // 1500 prompt tokens at 2 and 3000 answer tokens at 10 a million
        let cost = |max| {
            let cost = CostLimit { max, per_million_prompt: 2.0, per_million_completion: 10.0 };
            Budget { cost: Some(cost), ..Budget::default() }
        };
        assert!(cost(0.033_001).covers(&spent, &ahead) && !cost(0.032_999).covers(&spent, &ahead));
    }
}
