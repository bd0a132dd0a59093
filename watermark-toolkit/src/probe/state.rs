//! Where a run stands: a function of the transcript, the same whether it is being written or read again.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

use super::budget::Spent;
use super::judge::Standing;
use super::plan::{End, JudgeRound, Plan, Progress};
use crate::transcript::{Exchange, FaultKind, answer};

/// A round in which more prompts fail than this ends the run: such a sample is not what was to be collected.
const MAX_FAILED_PERCENT: u64 = 20;

pub(super) struct State<'a> {
    plan: &'a Plan<'a>,
    judge: JudgeRound<'a>,
    /// The first round that is not judged.
    pub(super) round: u64,
    /// The exchanges of that round so far, the last one of each prompt.
    open: BTreeMap<u64, Exchange>,
    pub(super) spent: Spent,
    /// Prompts answered and failed in judged rounds.
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) standing: Option<Standing>,
    /// Why no further round is asked.
    pub(super) end: Option<End>,
}

impl<'a> State<'a> {
    pub(super) fn new(plan: &'a Plan<'a>, judge: JudgeRound<'a>) -> Self {
        Self {
            plan,
            judge,
            round: 0,
            open: BTreeMap::new(),
            spent: Spent::default(),
            answered: 0,
            failed: 0,
            standing: None,
            end: None,
        }
    }

    /// Takes the next exchange of the transcript.
    pub(super) fn add(&mut self, exchange: Exchange) -> Result<()> {
        let given = usize::try_from(exchange.index).ok().and_then(|index| self.plan.prompts.get(index));
        ensure!(given == Some(&exchange.prompt), "prompt {} is not the one that was given", exchange.index);
        if exchange.round > self.round && self.end.is_none() {
            self.close()?;
            ensure!(
                self.end.is_some() || exchange.round == self.round,
                "prompt {} follows while round {} is incomplete",
                exchange.index,
                self.round
            );
        }
        let text = match &exchange.response {
            Some(response) => answer::parse(self.plan.header.api, response)?.text,
            None => String::new(),
        };
        self.spent.add(&exchange, &text, self.plan.tokenizer)?;
        if self.end.is_none() {
            self.open.insert(exchange.index, exchange);
        }
        Ok(())
    }

    /// The prompts of the open round that are still to be asked: those without an exchange and, if too many failed,
    /// those that failed.
    pub(super) fn pending(&self) -> Vec<u64> {
        let again = self.fails();
        let done = |index: &u64| self.open.get(index).is_some_and(|exchange| exchange.response.is_some() || !again);
        self.plan.header.round(self.round).filter(|index| !done(index)).collect()
    }

    /// Removes and returns the failures of prompts that are about to be asked again.
    pub(super) fn take_failures(&mut self, pending: &[u64]) -> Vec<Exchange> {
        pending.iter().filter_map(|index| self.open.remove(index)).collect()
    }

    /// Puts back the failures of prompts that were not asked again after all, because a reader of the transcript would
    /// still find them.
    pub(super) fn restore(&mut self, failures: Vec<Exchange>) {
        for exchange in failures {
            self.open.entry(exchange.index).or_insert(exchange);
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.plan.header.round(self.round).all(|index| self.open.contains_key(&index))
    }

    fn failures(&self) -> impl Iterator<Item = FaultKind> {
        self.open.values().filter_map(|exchange| exchange.failure.as_ref()).map(|failure| failure.kind)
    }

    /// Whether so many prompts of the open round failed that the run cannot go on.
    pub(super) fn fails(&self) -> bool {
        let range = self.plan.header.round(self.round);
        let (failed, size) = (self.failures().count() as u64, range.end - range.start);
        failed > (size * MAX_FAILED_PERCENT / 100).max(1) || (failed == size && self.answered == 0)
    }

    pub(super) fn failure_message(&self) -> String {
        let mut kinds: BTreeMap<FaultKind, u64> = BTreeMap::new();
        self.failures().for_each(|kind| *kinds.entry(kind).or_default() += 1);
        let kinds: Vec<String> = kinds.iter().map(|(kind, n)| format!("{n}: {}", kind.as_str())).collect();
        let last = self.open.values().rev().find_map(|exchange| exchange.failure.as_ref());
        format!(
            "{} prompts of round {} failed, more than {MAX_FAILED_PERCENT} % of it ({}; the last one: {}). The transcript is \
             kept; when the endpoint works, the same command asks them again and goes on",
            self.failures().count(),
            self.round,
            kinds.join("; "),
            last.map_or("-", |failure| failure.message.as_str()),
        )
    }

    /// Judges the open round if it is complete.
    pub(super) fn close(&mut self) -> Result<()> {
        if self.end.is_some() || self.open.is_empty() || !self.is_whole() || self.fails() {
            return Ok(());
        }
        let exchanges: Vec<Exchange> = std::mem::take(&mut self.open).into_values().collect();
        let failed = exchanges.iter().filter(|exchange| exchange.failure.is_some()).count() as u64;
        self.failed += failed;
        self.answered += exchanges.len() as u64 - failed;
        self.round += 1;
        let standing = (self.judge)(&exchanges)?;
        if standing.ln_e.is_nan() {
            bail!("the evidence of round {} is not a number", self.round - 1);
        }
        self.standing = Some(standing);
        self.end = if standing.decided {
            Some(End::Decided)
        } else if self.plan.header.round(self.round).is_empty() {
            Some(End::Prompts)
        } else if self.plan.futility && is_futile(&standing, self.share_done()) {
            Some(End::Futile)
        } else {
            None
        };
        Ok(())
    }

    /// How much of the requests is used up: of the prompts or, if it is nearer, of the budget.
    fn share_done(&self) -> f64 {
        let prompts = (self.answered + self.failed) as f64 / self.plan.header.n_prompts as f64;
        let requests = self.plan.budget.max_requests.map_or(0.0, |max| self.spent.requests as f64 / max as f64);
        prompts.max(requests)
    }

    pub(super) fn progress(&self) -> Progress {
        let failed = self.failures().count() as u64;
        Progress {
            answered: self.answered + self.open.len() as u64 - failed,
            failed: self.failed + failed,
            requests: self.spent.requests,
            standing: self.standing,
        }
    }
}

/// Whether the rest cannot be expected to decide: past half of the requests, and twice the evidence that the whole budget
/// would bring at the present rate is below the threshold. Stopping early costs power, never validity.
fn is_futile(standing: &Standing, share_done: f64) -> bool {
    share_done >= 0.5 && 2.0 * standing.ln_e / share_done < standing.threshold_ln
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn futile_past_half_and_below_half_of_the_rate() {
        let standing = |ln_e| Standing { ln_e, n_scored: 1, threshold_ln: 13.8, decided: false };
        assert!(!is_futile(&standing(-5.0), 0.49));
        assert!(is_futile(&standing(-5.0), 0.5));
        // 3.45 at half the budget is 6.9 at its end, doubled 13.8.
        assert!(is_futile(&standing(3.44), 0.5) && !is_futile(&standing(3.46), 0.5));
        assert!(is_futile(&standing(6.8), 1.0) && !is_futile(&standing(6.91), 1.0));
    }
}
