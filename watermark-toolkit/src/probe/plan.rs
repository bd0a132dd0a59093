//! The plan of a run, and the progress that it reports.

use std::sync::atomic::AtomicBool;

use anyhow::{Result, ensure};

use super::ask::Retries;
use super::budget::{Ahead, Budget, Spent};
use super::client::Client;
use super::judge::Standing;
use crate::tokenizer::Tokenizer;
use crate::transcript::{Exchange, Header, prompts_sha256};

/// The plan of a run. Only `header` is part of the transcript; everything else may differ when a run goes on.
pub struct Plan<'a> {
    /// What is asked, and how.
    pub header: Header,
    /// All prompts; the header holds their digest.
    pub prompts: &'a [String],
    /// The endpoint that is asked.
    pub client: &'a Client,
    /// How often to try.
    pub retries: Retries,
    /// Requests under way at a time.
    pub concurrency: usize,
    /// Most requests a minute, retries included.
    pub requests_per_minute: Option<f64>,
    /// What it may cost.
    pub budget: Budget,
    /// Whether to stop when the budget will hardly suffice to decide.
    pub futility: bool,
    /// Counts tokens for the budget.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Set from outside to finish what is under way and end.
    pub stop: &'a AtomicBool,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The evidence reached its threshold.
    Decided,
    /// The evidence will hardly reach its threshold.
    Futile,
    /// All prompts were asked.
    Prompts,
    /// The next round does not fit into the budget, or this one did not.
    Budget,
    /// The caller stopped the run; running the same plan again goes on from there.
    Interrupted,
}

impl End {
    /// The word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decided => "decided",
            Self::Futile => "futile",
            Self::Prompts => "prompts",
            Self::Budget => "budget",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Judges the exchanges of one complete round, sorted by index.
pub type JudgeRound<'a> = Box<dyn FnMut(&[Exchange]) -> Result<Standing> + 'a>;

/// Where a run stands, for a live view.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Prompts with an answer.
    pub answered: u64,
    /// Prompts that failed.
    pub failed: u64,
    /// HTTP requests, retries included.
    pub requests: u64,
    /// The evidence after the last complete round.
    pub standing: Option<Standing>,
}

impl Plan<'_> {
    pub(super) fn check(&self) -> Result<()> {
        self.header.check()?;
        ensure!(
            self.header.n_prompts == self.prompts.len() as u64
                && self.header.prompts_sha256 == prompts_sha256(self.prompts),
            "the header names other prompts"
        );
        ensure!(self.concurrency > 0, "at least one request must be allowed at a time");
        ensure!(
            self.requests_per_minute.is_none_or(|rate| rate.is_finite() && rate >= 0.01),
            "requests per minute must be at least 0.01"
        );
        let first: Vec<u64> = self.header.round(0).collect();
        ensure!(
            self.budget.covers(&Spent::default(), &self.ahead(&first)?),
            "the budget may not suffice for the first round of {} prompts, and only complete rounds are judged; raise it, \
             or make rounds smaller",
            first.len()
        );
        Ok(())
    }

    /// The costs of asking these prompts once each, with answers as long as they may be.
    pub(super) fn ahead(&self, pending: &[u64]) -> Result<Ahead> {
        let mut ahead = Ahead { requests: pending.len() as u64, prompt_tokens: 0, completion_tokens: 0 };
        if let Some(tokenizer) = self.tokenizer {
            for &index in pending {
                ahead.prompt_tokens += tokenizer.encode(self.prompt(index))?.len() as u64;
            }
            ahead.completion_tokens = ahead.requests * u64::from(self.header.max_tokens);
        }
        Ok(ahead)
    }

    pub(super) fn prompt(&self, index: u64) -> &str {
        usize::try_from(index).ok().and_then(|index| self.prompts.get(index)).map_or("", String::as_str)
    }
}
