//! Progress on a terminal, `status.json` for machines, and events.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{HumanBytes, HumanDuration, ProgressBar};
use serde_json::{Value, json};
use watermark_toolkit::scan::{Phase, Progress, ScanEnd, Unusable};

use crate::command::{print_json, spinner};

pub(super) struct Watch {
    bar: ProgressBar,
    path: PathBuf,
    begun: Instant,
    events: bool,
    state: Mutex<State>,
}

/// How a run can end without an error: with everything done, or because it was told to stop.
pub(super) trait Ended {
    fn whole(&self) -> bool;
}

impl Ended for ScanEnd {
    fn whole(&self) -> bool {
        matches!(self, Self::Finished(_))
    }
}

impl Ended for Option<Unusable> {
    fn whole(&self) -> bool {
        self.is_some()
    }
}

#[derive(Default)]
struct State {
    told: Option<Instant>,
    last: Progress,
    /// Shards of an earlier run, which later phases do not count again.
    resumed_shards: u64,
    /// When the first new bytes were seen, and how many there were.
    from: Option<(Instant, u64)>,
}

/// How often `status.json` is written and an event printed.
const EVERY: Duration = Duration::from_millis(500);

impl Watch {
    pub(super) fn new(out: &Path, events: bool) -> Self {
        Self {
            bar: spinner("Scanning"),
            path: out.join("status.json"),
            begun: Instant::now(),
            events,
            state: Mutex::default(),
        }
    }

    /// What a scan reports.
    pub(super) fn see(&self, progress: Progress) {
        self.tell(progress, None);
    }

    fn tell(&self, progress: Progress, ended: Option<&'static str>) {
        let Ok(mut state) = self.state.lock() else { return };
        state.resumed_shards = state.resumed_shards.max(progress.resumed_shards);
        state.last = Progress {
            ln_e: progress.ln_e.or(state.last.ln_e),
            bytes: progress.bytes.max(state.last.bytes),
            bytes_in_all: progress.bytes_in_all.max(state.last.bytes_in_all),
            ..progress
        };
        if progress.bytes > 0 && state.from.is_none() {
            state.from = Some((Instant::now(), progress.bytes));
        }
        let line = state.line(self.begun.elapsed().as_secs_f64(), ended);
        self.bar.set_message(line["line"].as_str().unwrap_or_default().to_owned());
        if ended.is_none() && state.told.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        state.told = Some(Instant::now());
        let mut status = line;
        if let Some(status) = status.as_object_mut() {
            status.remove("line");
        }
        // For onlookers only: the scan does not depend on it.
        let aside = self.path.with_extension("json.part");
        let _ = std::fs::write(&aside, format!("{status}\n")).and_then(|()| std::fs::rename(&aside, &self.path));
        if self.events
            && let Some(event) = status.as_object_mut()
        {
            event.insert("event".to_owned(), "progress".into());
            let _ = print_json(&status);
        }
    }

    /// The last word, and the line off the terminal.
    pub(super) fn outcome<T: Ended>(&self, outcome: Result<T>) -> Result<T> {
        self.bar.finish_and_clear();
        let last = self.state.lock().map(|state| state.last).unwrap_or_default();
        let ended = match &outcome {
            Ok(outcome) if outcome.whole() => "ended",
            Ok(_) => "stopped",
            Err(_) => "failed",
        };
        self.tell(last, Some(ended));
        outcome
    }
}

impl State {
    /// What is known, and `line`, the same for a terminal.
    fn line(&self, seconds: f64, ended: Option<&'static str>) -> Value {
        let progress = self.last;
        let phase = ended.unwrap_or(match progress.phase {
            Phase::Tokenising => "reading",
            Phase::Scoring => "scoring",
            Phase::Ranking => "ranking",
        });
        let left = if phase == "reading" { self.left(progress) } else { None };
        let rate = progress.tokens as f64 / seconds.max(1e-3);
        let mut line = format!(
            "{phase}: {} of {}, {} records, {} tokens ({rate:.0}/s), {} skipped, {} shards",
            HumanBytes(progress.bytes),
            HumanBytes(progress.bytes_in_all),
            progress.records,
            progress.tokens,
            progress.bad_records,
            progress.shards
        );
        if self.resumed_shards > 0 {
            line += &format!(" ({} resumed)", self.resumed_shards);
        }
        if let Some(ln_e) = progress.ln_e {
            line += &format!(", strongest key ln e {ln_e:.1}");
        }
        if let Some(left) = left {
            line += &format!(", {} left", HumanDuration(Duration::from_secs_f64(left)));
        }
        json!({
            "phase": phase,
            "shards": progress.shards,
            "resumed_shards": self.resumed_shards,
            "records": progress.records,
            "tokens": progress.tokens,
            "bad_records": progress.bad_records,
            "bytes": progress.bytes,
            "bytes_in_all": progress.bytes_in_all,
            "mean_ln_e": progress.ln_e,
            "seconds": seconds,
            "seconds_left": left,
            "line": line,
        })
    }

    /// Seconds of reading that are left, at the rate since the first new bytes.
    fn left(&self, progress: Progress) -> Option<f64> {
        let (at, bytes) = self.from?;
        let (seconds, read) = (at.elapsed().as_secs_f64(), progress.bytes.saturating_sub(bytes));
        let left = progress.bytes_in_all.saturating_sub(progress.bytes);
        (read > 0 && seconds > 1.0).then(|| (seconds * left as f64 / read as f64).min(1e9))
    }
}
