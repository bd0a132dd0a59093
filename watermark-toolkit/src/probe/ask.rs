//! One prompt with its retries, at the pace that was agreed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::client::{Client, Fault, Reply};
use crate::timestamp;
use crate::transcript::{Attempt, Exchange, Failure, FaultKind, Header, answer};

/// The longest wait before the first retry; it doubles with each retry.
const BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// A server may not make a run wait longer than this between two tries.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// How soon a waiting worker notices that it should stop.
const SLICE: Duration = Duration::from_millis(20);

/// How often to try.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// Tries after the first.
    pub max: u32,
    /// Seed of the random part of the waits.
    pub jitter_seed: u64,
}

impl Retries {
    /// Exponential backoff with full jitter: uniform between 0 and `BACKOFF * 2^retry`, so that workers do not return all
    /// at once.
    fn wait(&self, index: u64, retry: u32) -> Duration {
        let ceiling = BACKOFF.saturating_mul(1 << retry.min(10)).min(MAX_BACKOFF);
        let digest = Sha256::new()
            .chain_update(self.jitter_seed.to_le_bytes())
            .chain_update(index.to_le_bytes())
            .chain_update(retry.to_le_bytes())
            .finalize();
        let word = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
        ceiling.mul_f64(f64::from(word) / 2f64.powi(32))
    }
}

/// Shared by all workers: the times at which requests may be sent.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(requests_per_minute: Option<f64>) -> Self {
        let interval = requests_per_minute.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(60.0 / rate));
        Self { interval, next: Mutex::new(Instant::now()) }
    }

    /// No worker sends before `until`.
    fn hold(&self, until: Instant) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (*next).max(until);
    }

    /// The next free time, which is then taken.
    fn take(&self) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (*next).max(Instant::now());
        *next = at + self.interval;
        at
    }
}

/// What the workers of a run share.
pub(super) struct Asking<'a> {
    pub(super) client: &'a Client,
    pub(super) header: &'a Header,
    pub(super) retries: Retries,
    pub(super) pace: &'a Pace,
    /// HTTP requests that may still be sent.
    pub(super) requests_left: &'a AtomicU64,
    /// Set by the caller: finish what is under way and ask nothing more.
    pub(super) stop: &'a AtomicBool,
    /// Set by the run itself, with the same meaning.
    pub(super) halt: &'a AtomicBool,
}

pub(super) enum Asked {
    /// An answer, or a failure after all retries.
    Finished(Box<Exchange>),
    /// The run was stopped, or no request was left, before there was an answer or a failure. Nothing is recorded.
    Abandoned,
    /// An error that every other prompt would get too.
    Fatal(String),
}

/// The result of one try.
enum Step {
    Answer(String),
    Retry(Failure, Option<Duration>),
    Give(Failure),
    Fatal(String),
}

impl Asking<'_> {
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.halt.load(Ordering::Relaxed)
    }

    fn sleep_until(&self, at: Instant) -> bool {
        loop {
            if self.stopped() {
                return false;
            }
            match at.checked_duration_since(Instant::now()) {
                None | Some(Duration::ZERO) => return true,
                Some(left) => std::thread::sleep(left.min(SLICE)),
            }
        }
    }

    pub(super) fn ask(&self, index: u64, prompt: &str) -> Asked {
        let request = self.header.body(prompt);
        let body = request.to_string();
        if self.client.leaks_token(&body) {
            return Asked::Fatal(format!("prompt {index} or the settings of the request contain the API token"));
        }
        let mut attempts = Vec::new();
        let (status, response, failure) = loop {
            if !self.sleep_until(self.pace.take()) || !self.take_request() {
                return Asked::Abandoned;
            }
            let reply = self.client.post(&body);
            let (attempt, step) = self.judge(reply);
            attempts.push(attempt);
            let retry = attempts.len() as u32 - 1;
            match step {
                Step::Answer(body) => break (attempt.status, Some(body), None),
                Step::Fatal(message) => return Asked::Fatal(message),
                Step::Give(failure) => break (attempt.status, None, Some(failure)),
                Step::Retry(failure, _) if retry >= self.retries.max => break (attempt.status, None, Some(failure)),
                Step::Retry(..) if self.requests_left.load(Ordering::Relaxed) == 0 => return Asked::Abandoned,
                Step::Retry(_, retry_after) => {
                    let now = Instant::now();
                    if let Some(wait) = retry_after {
                        self.pace.hold(now + wait.min(MAX_RETRY_AFTER));
                    }
                    if !self.sleep_until(now + self.retries.wait(index, retry)) {
                        return Asked::Abandoned;
                    }
                }
            }
        };
        Asked::Finished(Box::new(Exchange {
            index,
            round: index / self.header.round_size,
            prompt: prompt.to_owned(),
            request,
            attempts,
            status,
            response,
            failure,
            utc: timestamp::now(),
        }))
    }

    fn take_request(&self) -> bool {
        self.requests_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn judge(&self, reply: Result<Reply, Fault>) -> (Attempt, Step) {
        let Reply { status, retry_after, body } = match reply {
            Ok(reply) => reply,
            Err(Fault { kind, message }) => {
                let failure = Failure { kind, message };
                let attempt = Attempt { status: None, error: Some(kind) };
                // This is not tried again, because the next answer would most likely be as large, and has to be paid
                // for.
                let large = kind == FaultKind::TooLarge;
                return (attempt, if large { Step::Give(failure) } else { Step::Retry(failure, None) });
            }
        };
        let fault =
            |kind, message: String| (Attempt { status: Some(status), error: Some(kind) }, Failure { kind, message });
        if (200..300).contains(&status) {
            let read = match body {
                None => Err(anyhow::anyhow!("it is not UTF-8")),
                Some(body) => answer::parse(self.header.api, &body).map(|_| body),
            };
            return match read {
                Ok(body) => (Attempt { status: Some(status), error: None }, Step::Answer(body)),
                Err(error) => {
                    let (attempt, failure) = fault(FaultKind::InvalidAnswer, format!("{error:#}"));
                    (attempt, Step::Retry(failure, None))
                }
            };
        }
        let (attempt, failure) = fault(FaultKind::Status, format!("HTTP status {status}"));
        let step = match status {
            408 | 429 | 500.. => Step::Retry(failure, retry_after),
            300..=399 => Step::Fatal(format!(
                "the endpoint answers with a redirect (HTTP {status}), which is not followed; give the address that it \
                 redirects to as --endpoint"
            )),
            401 | 403 => Step::Fatal(format!(
                "the endpoint refuses access (HTTP {status}); check the API token in WATERMARK_API_KEY or --api-key-file"
            )),
            404 => Step::Fatal(
                "the endpoint has no such address or model (HTTP 404); check --endpoint, --api and --model".to_owned(),
            ),
            _ => Step::Give(failure),
        };
        (attempt, step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_are_spread_and_repeat_with_the_seed() {
        let retries = Retries { max: 9, jitter_seed: 1 };
        let waits: Vec<Duration> = (0..12).map(|retry| retries.wait(3, retry)).collect();
        assert_eq!(waits, (0..12).map(|retry| retries.wait(3, retry)).collect::<Vec<_>>());
        assert_ne!(retries.wait(3, 0), retries.wait(4, 0));
        assert_ne!(retries.wait(3, 0), Retries { jitter_seed: 2, ..retries }.wait(3, 0));
        let mean = |retry| (0..1000).map(|index| retries.wait(index, retry).as_secs_f64()).sum::<f64>() / 1000.0;
        // Uniform on [0, c]: the mean of 1000 lies within 5 standard errors, c 0.0456, of c/2.
        for (retry, ceiling) in [(0, 0.5), (3, 4.0), (20, 30.0)] {
            assert!((mean(retry) - ceiling / 2.0).abs() < 0.0456 * ceiling, "{retry} {}", mean(retry));
            assert!((0..1000).all(|index| retries.wait(index, retry).as_secs_f64() < ceiling));
        }
    }

    #[test]
    fn a_held_pace_keeps_its_distance() {
        let pace = Pace::new(Some(600.0));
        let (first, second) = (pace.take(), pace.take());
        assert_eq!(second - first, Duration::from_millis(100));
        let until = Instant::now() + Duration::from_secs(9);
        pace.hold(until);
        assert_eq!([pace.take(), pace.take()], [until, until + Duration::from_millis(100)]);
        let unlimited = Pace::new(None);
        unlimited.hold(until);
        assert_eq!([unlimited.take(), unlimited.take()], [until; 2]);
    }
}
