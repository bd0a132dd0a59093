//! Requests of paired draws while they are served: numbered before the first token, entered in the order of their numbers.
//!
//! Beside the ledger's own files stand `served.jsonl`, what was served and withheld ([`crate::read::read_served`]), which the provider keeps to
//! itself, and `journal.jsonl`, which has each request twice: as it is opened, before its first token, and as it is closed. Both lines are on
//! the disk before anybody is told, so after a kill every answer that a client has whole is there, and a request that was opened and not
//! closed is entered without an answer. Nobody can draw a request again until its coins fit: its number has been used.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use watermark_core::evidence::ledger::LedgerKey;
use watermark_core::evidence::pairs::Draws;
use watermark_core::key::{KeyPath, PrfKey};
use watermark_core::paired::RequestSecret;
use watermark_core::{MAX_TOKEN_ID, hex};

use super::{Ledger, Pending, Served};
use crate::files::{read_bounded, replace};
use crate::read::{Limits, RequestId, ServedRecord, print_served, read_served};
use crate::timestamp::{now, now_ms};

const SERVED: &str = "served.jsonl";
const JOURNAL: &str = "journal.jsonl";
/// The name of the ledger and the leaf of its first request: other draws would make the whole list useless.
const BOUND: &str = "requests.json";
const MAX_BOUND: u64 = 4096;
/// Most tokens of a prompt, and of an answer.
const MAX_TOKENS: usize = 1 << 20;
/// A journal of this size is emptied as soon as nothing is under way.
const LARGE: u64 = 16 << 20;

/// A ledger in which entry i is request i. Cheap to use from many threads.
#[derive(Debug)]
pub struct RequestLedger {
    name: String,
    key: KeyPath,
    ledger: Ledger,
    state: Mutex<State>,
    flushed: Condvar,
    journal: Mutex<File>,
}

/// A request that was opened. Dropped without [`Opened::close`] it is closed without an answer.
#[derive(Debug)]
pub struct Opened {
    requests: Arc<RequestLedger>,
    id: RequestId,
    closed: bool,
}

#[derive(Debug)]
struct State {
    /// Lines that are not in the journal yet.
    buffer: Vec<u8>,
    /// How many lines were handed in, and how many of them are on the disk.
    handed_in: u64,
    durable: u64,
    flushing: bool,
    /// After a write that failed nothing more is taken; the next start mends it from the journal.
    failed: Option<String>,
    journal_bytes: u64,
    /// The next number, and the next one to enter.
    next: u64,
    enters: u64,
    opened: BTreeMap<u64, Opening>,
    closed: BTreeMap<u64, Closing>,
    served: File,
}

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Line {
    Opened(u64, Opening),
    Closed(u64, Closing),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    account: String,
    prompt_tokens: Vec<u32>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Closing {
    tokens: Vec<u32>,
    withheld: Vec<Option<u32>>,
}

impl RequestLedger {
    /// Opens or makes the ledger of a name such as `ledger/2026-11`, for answers under a profile's path with draws of a layer's key
    /// ([`watermark_core::profile::Profile::paired_key`]), and enters what a stop has left in the journal.
    ///
    /// # Errors
    /// As [`Ledger::open`]; if files beside the ledger are damaged, of another name or layer, or shorter than it.
    pub fn open(folder: &Path, key: LedgerKey, name: &str, (path, layer): (&KeyPath, &PrfKey)) -> Result<Arc<Self>> {
        let first =
            RequestId::new(name, 0).with_context(|| format!("{name:?} is no name of a ledger, as ledger/2026-11"))?;
        let ledger = Ledger::open(folder, key)?;
        let entries = ledger.head(&now())?.size;
        bind(&folder.join(BOUND), &first, layer, entries)?;
        let (mut served, mut journal) = (private(&folder.join(SERVED))?, private(&folder.join(JOURNAL))?);
        cut(&mut served, &folder.join(SERVED))?;
        cut(&mut journal, &folder.join(JOURNAL))?;
        let mut enter = Enter { ledger: &ledger, path, entries, next: first, pending: None };
        let begun = served.metadata()?.len() > 0;
        let records = begun.then(|| read_served(&folder.join(SERVED), Limits::default())).transpose()?;
        for record in records.into_iter().flatten() {
            let ServedRecord { location, request, account, prompt_tokens, tokens, withheld } = record??;
            ensure!(request == enter.next, "{location}: request {request}, and {} is expected", enter.next);
            let account = account.with_context(|| format!("{location}: no account"))?;
            enter.enter(&Opening { account, prompt_tokens }, Closing { tokens, withheld })?;
        }
        let (opened, mut closed) = read_journal(&mut journal, &folder.join(JOURNAL))?;
        for (number, opening) in &opened {
            if *number < enter.next.number() {
                continue;
            }
            ensure!(
                *number == enter.next.number(),
                "{}: request {} is missing",
                folder.join(JOURNAL).display(),
                enter.next
            );
            let closing = closed.remove(number).unwrap_or_default();
            served.write_all(&line(&enter.next, opening, &closing)?)?;
            enter.enter(opening, closing)?;
        }
        let next = enter.next.number();
        ensure!(
            next >= entries,
            "{}: {next} requests, and the ledger beside it has {entries}; restore it",
            folder.join(SERVED).display()
        );
        // Only what is safe elsewhere leaves the journal.
        enter.pending.map(Pending::wait).transpose()?;
        served.sync_all()?;
        journal.set_len(0)?;
        journal.sync_all()?;
        let state = State {
            buffer: Vec::new(),
            handed_in: 0,
            durable: 0,
            flushing: false,
            failed: None,
            journal_bytes: 0,
            next,
            enters: next,
            opened: BTreeMap::new(),
            closed: BTreeMap::new(),
            served,
        };
        Ok(Arc::new(Self {
            name: name.to_owned(),
            key: path.clone(),
            ledger,
            state: Mutex::new(state),
            flushed: Condvar::new(),
            journal: Mutex::new(journal),
        }))
    }

    /// Opens the next request; its number is taken for good when this returns.
    ///
    /// # Errors
    /// For an empty account, all who are not known being one; if the journal cannot be written.
    pub fn begin(self: &Arc<Self>, account: &str, prompt_tokens: &[u32]) -> Result<Opened> {
        ensure!(!account.is_empty(), "a request without an account");
        check(prompt_tokens.iter(), prompt_tokens.len())?;
        let opening = Opening { account: account.to_owned(), prompt_tokens: prompt_tokens.to_vec() };
        let mut state = self.lock();
        let number = state.next;
        let id = RequestId::new(&self.name, number).context("the name of a ledger")?;
        state.hand_in(&Line::Opened(number, opening.clone()))?;
        state.next = number.checked_add(1).context("the last number is used")?;
        state.opened.insert(number, opening);
        drop(self.flush(state)?);
        Ok(Opened { requests: Arc::clone(self), id, closed: false })
    }

    fn close(&self, number: u64, closing: Closing) -> Result<()> {
        let mut state = self.lock();
        state.hand_in(&Line::Closed(number, closing.clone()))?;
        let mut state = self.flush(state)?;
        state.closed.insert(number, closing);
        let entered = self.enter(&mut state);
        if let Err(error) = &entered {
            state.failed.get_or_insert_with(|| format!("{error:#}"));
        }
        entered
    }

    /// Enters what is closed, in the order of numbers; a request that is still under way holds up the ledger, and nobody's answer.
    fn enter(&self, state: &mut State) -> Result<()> {
        // Whoever waited for the disk meanwhile must not write behind a torn line.
        state.check()?;
        while let Some(closing) = state.closed.get(&state.enters).cloned() {
            let number = state.enters;
            let opening = state.opened.get(&number).cloned().context("a request that was opened")?;
            let id = RequestId::new(&self.name, number).context("the name of a ledger")?;
            let line = line(&id, &opening, &closing)?;
            state.served.write_all(&line).with_context(|| format!("writing {SERVED}"))?;
            self.ledger.submit(entry(&id, &opening, closing, &self.key)?)?;
            state.closed.remove(&number);
            state.opened.remove(&number);
            state.enters += 1;
        }
        let idle = state.opened.is_empty() && state.buffer.is_empty() && !state.flushing;
        if idle && state.journal_bytes > LARGE {
            // Only what is safe elsewhere leaves the journal.
            self.ledger.head(&now())?;
            state.served.sync_all()?;
            let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
            journal.set_len(0)?;
            journal.sync_all()?;
            state.journal_bytes = 0;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what was handed in is on the disk. One of those who wait writes and synchronises for all.
    fn flush<'a>(&'a self, mut state: MutexGuard<'a, State>) -> Result<MutexGuard<'a, State>> {
        let mine = state.handed_in;
        while state.durable < mine {
            state.check()?;
            if state.flushing {
                state = self.flushed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.flushing = true;
            let (lines, up_to) = (std::mem::take(&mut state.buffer), state.handed_in);
            drop(state);
            let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
            let written = journal.write_all(&lines).and_then(|()| journal.sync_data());
            drop(journal);
            state = self.lock();
            state.flushing = false;
            match written {
                Ok(()) => state.durable = up_to,
                Err(error) => state.failed = Some(error.to_string()),
            }
            self.flushed.notify_all();
        }
        Ok(state)
    }
}

impl State {
    fn check(&self) -> Result<()> {
        match &self.failed {
            None => Ok(()),
            Some(why) => bail!("requests are taken no more, because a write failed: {why}; mend it and start again"),
        }
    }

    fn hand_in(&mut self, line: &Line) -> Result<()> {
        self.check()?;
        let before = self.buffer.len();
        serde_json::to_writer(&mut self.buffer, line)?;
        self.buffer.push(b'\n');
        self.handed_in += 1;
        self.journal_bytes += (self.buffer.len() - before) as u64;
        Ok(())
    }
}

impl Opened {
    /// Its name, which the draws are keyed by.
    #[must_use]
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// Closes it with what was served and withheld, [tokens] each; both are on the disk when this returns.
    ///
    /// # Errors
    /// For other lengths, ids of 2^24 or more and more than a million tokens, which close it without an answer; if journal or ledger cannot
    /// be written.
    pub fn close(mut self, tokens: Vec<u32>, withheld: Vec<Option<u32>>) -> Result<()> {
        ensure!(withheld.len() == tokens.len(), "{} withheld tokens for {} served ones", withheld.len(), tokens.len());
        check(tokens.iter().chain(withheld.iter().flatten()), tokens.len())?;
        self.closed = true;
        self.requests.close(self.id.number(), Closing { tokens, withheld })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !self.closed {
            // If it fails, the next start finds a request that was not closed, and enters the same.
            let _ = self.requests.close(self.id.number(), Closing::default());
        }
    }
}

/// Enters requests that the ledger does not have yet.
struct Enter<'a> {
    ledger: &'a Ledger,
    path: &'a KeyPath,
    entries: u64,
    next: RequestId,
    pending: Option<Pending>,
}

impl Enter<'_> {
    fn enter(&mut self, opening: &Opening, closing: Closing) -> Result<()> {
        if self.next.number() >= self.entries {
            self.pending = Some(self.ledger.submit(entry(&self.next, opening, closing, self.path)?)?);
        }
        self.next = self.next.next().context("the last number is used")?;
        Ok(())
    }
}

fn entry(id: &RequestId, opening: &Opening, closing: Closing, path: &KeyPath) -> Result<Served> {
    let Opening { account, prompt_tokens } = opening.clone();
    let Closing { tokens, withheld } = closing;
    let draws = Draws { prompt_tokens, request: id.to_string(), tokens, withheld };
    Ok(Served { answer: draws.bytes()?, account, key: path.clone(), time_ms: now_ms()? })
}

fn line(id: &RequestId, opening: &Opening, closing: &Closing) -> Result<Vec<u8>> {
    Ok(print_served(id, &opening.account, &opening.prompt_tokens, &closing.tokens, &closing.withheld)?)
}

/// What a reader of the list would refuse.
fn check<'a>(mut ids: impl Iterator<Item = &'a u32>, n: usize) -> Result<()> {
    ensure!(n <= MAX_TOKENS, "{n} tokens, more than {MAX_TOKENS}");
    ensure!(ids.all(|&id| id <= MAX_TOKEN_ID), "a token id above {MAX_TOKEN_ID}");
    Ok(())
}

/// Refuses a folder of other draws. Who opens it first binds it.
fn bind(path: &Path, first: &RequestId, layer: &PrfKey, entries: u64) -> Result<()> {
    let leaf = RequestSecret::new(layer, &first.to_string()).leaf();
    let bound = serde_json::json!({"first": first.to_string(), "leaf": hex::encode(&leaf)}).to_string();
    if !path.exists() {
        ensure!(entries == 0, "{} is missing, which says whose draws these are; restore it", path.display());
        return replace(path, bound.as_bytes());
    }
    let kept = read_bounded(path, MAX_BOUND)?;
    ensure!(
        kept == bound.as_bytes(),
        "{}: these are requests of another ledger's name, key, path or layer; give the ones that it was begun with",
        path.display()
    );
    Ok(())
}

/// A file that grows, and that others cannot read.
fn private(path: &PathBuf) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).read(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).with_context(|| format!("opening {}", path.display()))?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

/// Removes what a stop has left behind the last whole line. A last line that lacks only its end is whole.
fn cut(file: &mut File, path: &Path) -> Result<()> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut end = length;
    let mut block = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..usize::try_from(end - start)?];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    let mut last = Vec::new();
    file.seek(SeekFrom::Start(end))?;
    file.take(length - end).read_to_end(&mut last)?;
    if last.is_empty() {
        return Ok(());
    }
    ensure!(last[0] == b'{', "{}: its last line is no record; restore it", path.display());
    if serde_json::from_slice::<serde::de::IgnoredAny>(&last).is_ok() {
        return Ok(file.write_all(b"\n")?);
    }
    Ok(file.set_len(end)?)
}

type Journal = (BTreeMap<u64, Opening>, BTreeMap<u64, Closing>);

fn read_journal(file: &mut File, path: &Path) -> Result<Journal> {
    file.seek(SeekFrom::Start(0))?;
    let (mut opened, mut closed) = Journal::default();
    for (at, line) in BufReader::new(file).lines().enumerate() {
        let place = || format!("{}, line {}", path.display(), at + 1);
        match serde_json::from_str(&line.with_context(place)?).with_context(place)? {
            Line::Opened(number, opening) => {
                let follows = opened.last_key_value().is_none_or(|(last, _)| last.checked_add(1) == Some(number));
                ensure!(follows, "{}: request {number} does not follow the one before", place());
                check(opening.prompt_tokens.iter(), opening.prompt_tokens.len()).with_context(place)?;
                opened.insert(number, opening);
            }
            Line::Closed(number, closing) => {
                let Closing { tokens, withheld } = &closing;
                check(tokens.iter().chain(withheld.iter().flatten()), tokens.len()).with_context(place)?;
                let fits = opened.contains_key(&number) && tokens.len() == withheld.len();
                ensure!(
                    fits && closed.insert(number, closing).is_none(),
                    "{}: request {number} cannot be closed",
                    place()
                );
            }
        }
    }
    Ok((opened, closed))
}
