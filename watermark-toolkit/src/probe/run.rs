//! A run: several workers ask prompts in rounds until something ends it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;

use anyhow::{Result, anyhow, bail};

use super::ask::{Asked, Asking, Pace};
use super::budget::Spent;
use super::judge::Standing;
use super::plan::{End, JudgeRound, Plan, Progress};
use super::state::State;
use crate::transcript::{Exchange, Writer};

/// How a run ended; a function of transcript, plan and judge.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// Why.
    pub end: End,
    /// The evidence after the last complete round.
    pub standing: Option<Standing>,
    /// Complete rounds, which were judged.
    pub rounds: u64,
    /// Prompts answered in them.
    pub answered: u64,
    /// Prompts that failed in them.
    pub failed: u64,
    /// Exchanges in the transcript that belong to no judged round.
    pub not_judged: u64,
    /// What the whole transcript cost.
    pub spent: Spent,
    /// Hash of the transcript's last line, which stands for all of it.
    pub transcript_sha256: String,
}

/// Runs a plan with the transcript at `path`. Exchanges that the transcript already holds are judged and not asked
/// again.
///
/// # Errors
/// If the transcript is broken or belongs to another plan, the endpoint refuses every prompt, too many prompts of a round
/// fail, or the judge fails. The transcript then holds what was answered.
pub fn run(
    plan: &Plan<'_>,
    path: &Path,
    judge: JudgeRound<'_>,
    watch: &mut dyn FnMut(&Progress),
) -> Result<RunSummary> {
    plan.check()?;
    let mut state = State::new(plan, judge);
    let mut n_exchanges = 0;
    let mut writer = Writer::open(path, &plan.header, |exchange| {
        n_exchanges += 1;
        state.add(exchange)
    })?;
    // If the file ends with a complete round, that round was judged before, or was about to be.
    state.close()?;
    let pace = Pace::new(plan.requests_per_minute);
    let end = loop {
        watch(&state.progress());
        if let Some(end) = state.end {
            break end;
        }
        if plan.stop.load(Ordering::Relaxed) {
            break End::Interrupted;
        }
        let pending = state.pending();
        if !plan.budget.covers(&state.spent, &plan.ahead(&pending)?) {
            break End::Budget;
        }
        let failures = state.take_failures(&pending);
        let write = |exchange: &Exchange| {
            n_exchanges += 1;
            writer.write(exchange)
        };
        let asked = ask(plan, &pace, &pending, &mut state, write, watch);
        state.restore(failures);
        asked?;
        if state.fails() {
            bail!(state.failure_message());
        }
        if !state.is_whole() {
            break if plan.stop.load(Ordering::Relaxed) { End::Interrupted } else { End::Budget };
        }
        state.close()?;
    };
    Ok(RunSummary {
        end,
        standing: state.standing,
        rounds: state.round,
        answered: state.answered,
        failed: state.failed,
        not_judged: n_exchanges - state.answered - state.failed,
        spent: state.spent,
        transcript_sha256: writer.hash().to_owned(),
    })
}

/// Asks `pending` prompts; returns when each is finished or abandoned.
fn ask(
    plan: &Plan<'_>,
    pace: &Pace,
    pending: &[u64],
    state: &mut State<'_>,
    mut write: impl FnMut(&Exchange) -> Result<()>,
    watch: &mut dyn FnMut(&Progress),
) -> Result<()> {
    let halt = AtomicBool::new(false);
    let requests_left = AtomicU64::new(plan.budget.requests_left(&state.spent));
    let asking = Asking {
        client: plan.client,
        header: &plan.header,
        retries: plan.retries,
        pace,
        requests_left: &requests_left,
        stop: plan.stop,
        halt: &halt,
    };
    let next = AtomicUsize::new(0);
    let work = |results: mpsc::SyncSender<Asked>| {
        while let Some(&index) = pending.get(next.fetch_add(1, Ordering::Relaxed)) {
            if asking.stopped() {
                break;
            }
            let asked = asking.ask(index, plan.prompt(index));
            if matches!(asked, Asked::Fatal(_)) {
                halt.store(true, Ordering::Relaxed);
            }
            if results.send(asked).is_err() {
                break;
            }
        }
    };
    let work = &work;
    let mut first_error = None;
    std::thread::scope(|scope| {
        // The channel has no buffer, so no worker is more than one answer ahead of the transcript.
        let (results, finished) = mpsc::sync_channel(0);
        for _ in 0..plan.concurrency.min(pending.len()) {
            let results = results.clone();
            scope.spawn(move || work(results));
        }
        drop(results);
        // This loop goes on after an error, so that every answer that was paid for is kept.
        for asked in finished {
            let mut keep = |exchange: Exchange| -> Result<()> {
                write(&exchange)?;
                state.add(exchange)?;
                watch(&state.progress());
                Ok(())
            };
            let (go_on, kept) = match asked {
                Asked::Finished(exchange) => (true, keep(*exchange)),
                Asked::Abandoned => (false, Ok(())),
                Asked::Fatal(message) => (false, Err(anyhow!(message))),
            };
            if !go_on || kept.is_err() || state.fails() || !plan.budget.holds(&state.spent) {
                halt.store(true, Ordering::Relaxed);
            }
            first_error = first_error.take().or(kept.err());
        }
    });
    first_error.map_or(Ok(()), Err)
}
