//! The ledger of served answers on disk: a folder with `entries.jsonl`, which only grows, and signed heads.
//!
//! An answer is acknowledged when its line is on the disk. Requests that wait together are written and synchronised
//! together, so the price of a synchronisation is shared by all that are under way.

mod contents;
mod requests;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail};
use watermark_core::evidence::TreeHead;
use watermark_core::evidence::ledger::{Entry, LedgerKey};
use watermark_core::evidence::merkle::{Frontier, Hash};
use watermark_core::hex;
use watermark_core::key::KeyPath;

use crate::files::{read_bounded, replace};
pub use contents::{Contents, read_head};
pub use requests::{Opened, RequestLedger};

/// Requests written together at most, and waiting at most.
const BATCH: usize = 4096;

const MAX_FINGERPRINT: u64 = 64;

const ENTRIES: &str = "entries.jsonl";
const HEADS: &str = "heads";
const LOCK: &str = "lock";
const KEY: &str = "key.fingerprint";

/// A ledger that this process alone writes to. Cheap to use from many threads; dropping it writes what was submitted.
#[derive(Debug)]
pub struct Ledger {
    requests: Option<SyncSender<Request>>,
    writer: Option<JoinHandle<()>>,
    /// Held while the ledger is open; the system lets go of it however the process ends.
    _lock: File,
}

/// An answer that was served.
#[derive(Debug)]
pub struct Served {
    /// The answer's bytes.
    pub answer: Vec<u8>,
    /// The account, which the ledger replaces by a pseudonym.
    pub account: String,
    /// The path of the key it was marked under.
    pub key: KeyPath,
    /// Milliseconds since 1970.
    pub time_ms: u64,
}

/// A durable entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its place in the ledger.
    pub index: u64,
    /// Its leaf in the tree.
    pub leaf: Hash,
}

/// An answer on its way to the disk.
#[derive(Debug)]
pub struct Pending(Receiver<Reply<Receipt>>);

type Reply<T> = std::result::Result<T, String>;

enum Request {
    Append(Served, SyncSender<Reply<Receipt>>),
    Head(SyncSender<Reply<(u64, Hash)>>),
}

impl Ledger {
    /// Opens or makes a ledger. Every entry is read and checked, also against the newest signed head; a line that a stop
    /// has cut short was not acknowledged and is removed. The key that opens it first is the ledger's from then on.
    ///
    /// # Errors
    /// If another process has it open, it is another key's, an entry is damaged or was changed, or the folder cannot be written.
    pub fn open(folder: &Path, key: LedgerKey) -> Result<Self> {
        let named = || format!("ledger {}", folder.display());
        std::fs::create_dir_all(folder.join(HEADS)).with_context(named)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(LOCK)).with_context(named)?;
        if lock.try_lock().is_err() {
            bail!("{}: another process is writing to it", named());
        }
        if !folder.join(KEY).exists() && !folder.join(ENTRIES).exists() {
            replace(&folder.join(KEY), hex::encode(&key.fingerprint()).as_bytes())?;
        }
        check_key(folder, &key)?;
        let file = OpenOptions::new().create(true).append(true).open(folder.join(ENTRIES)).with_context(named)?;
        File::open(folder).and_then(|folder| folder.sync_all()).with_context(named)?;
        let contents = Contents::read(folder)?;
        file.set_len(contents.bytes()).with_context(named)?;
        file.sync_all().with_context(named)?;
        let frontier = contents.into_frontier();
        let (requests, received) = sync_channel(BATCH);
        let writer = std::thread::spawn(move || Writer { file, key, frontier }.run(&received));
        Ok(Self { requests: Some(requests), writer: Some(writer), _lock: lock })
    }

    /// Hands an answer in; it is served safely once [`Pending::wait`] has returned. Waits while too many are under way.
    ///
    /// # Errors
    /// If an earlier write has failed: nothing more is taken then.
    pub fn submit(&self, served: Served) -> Result<Pending> {
        let (reply, pending) = sync_channel(1);
        self.send(Request::Append(served, reply))?;
        Ok(Pending(pending))
    }

    /// The head of everything submitted before, which is durable then.
    ///
    /// # Errors
    /// As [`Pending::wait`].
    pub fn head(&self, signed_at: &str) -> Result<TreeHead> {
        let (reply, head) = sync_channel(1);
        self.send(Request::Head(reply))?;
        let (size, root) = answer(&head)?;
        Ok(TreeHead::of_answers(size, root, signed_at))
    }

    fn send(&self, request: Request) -> Result<()> {
        let sent = self.requests.as_ref().map(|requests| requests.send(request));
        sent.and_then(std::result::Result::ok).ok_or_else(stopped)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        drop(self.requests.take());
        // The writer ends when everything is written; what failed was told to whoever waited.
        let _ = self.writer.take().map(JoinHandle::join);
    }
}

impl Pending {
    /// Waits until the entry is on the disk.
    ///
    /// # Errors
    /// If it could not be written. Whether it will be found later is then unknown.
    pub fn wait(self) -> Result<Receipt> {
        answer(&self.0)
    }
}

fn answer<T>(reply: &Receiver<Reply<T>>) -> Result<T> {
    reply.recv().map_err(|_| stopped())?.map_err(|why| anyhow!("the ledger could not be written: {why}"))
}

fn stopped() -> anyhow::Error {
    anyhow!("the ledger has stopped because a write failed; see the earlier error, and open it again")
}

/// Checks that a ledger belongs to this key.
///
/// # Errors
/// If it is another's, with which pseudonyms would not fit the earlier ones and proofs would not hold, or does not say whose it is.
pub fn check_key(folder: &Path, key: &LedgerKey) -> Result<()> {
    let path = folder.join(KEY);
    let kept = read_bounded(&path, MAX_FINGERPRINT).with_context(|| {
        format!("ledger {}: {KEY}, which tells its key, cannot be read; restore it", folder.display())
    })?;
    if kept != hex::encode(&key.fingerprint()).as_bytes() {
        bail!(
            "ledger {}: it is another key's; give the one that it was begun with ({KEY} tells which)",
            folder.display()
        );
    }
    Ok(())
}

/// A head goes to `heads/<size>.json`, so that names sort by size.
#[must_use]
pub fn head_path(folder: &Path, size: u64) -> PathBuf {
    folder.join(HEADS).join(format!("{size:016}.json"))
}

struct Writer {
    file: File,
    key: LedgerKey,
    frontier: Frontier,
}

impl Writer {
    fn run(mut self, requests: &Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            let batch = std::iter::once(first).chain(requests.try_iter().take(BATCH - 1)).collect();
            if !self.write(batch) {
                return;
            }
        }
    }

    /// Writes a batch and answers; whether more may follow.
    fn write(&mut self, batch: Vec<Request>) -> bool {
        let mut lines = Vec::new();
        let (mut receipts, mut heads) = (Vec::new(), Vec::new());
        for request in batch {
            match request {
                Request::Append(Served { answer, account, key, time_ms }, reply) => {
                    let index = self.frontier.size();
                    let entry = Entry::new(&self.key, index, &answer, &account, key, time_ms);
                    let leaf = entry.leaf();
                    self.frontier.append(leaf);
                    lines.extend_from_slice(entry.line().as_bytes());
                    lines.push(b'\n');
                    receipts.push((Receipt { index, leaf }, reply));
                }
                Request::Head(reply) => heads.push(((self.frontier.size(), self.frontier.root()), reply)),
            }
        }
        let written =
            self.file.write_all(&lines).and_then(|()| self.file.sync_data()).map_err(|error| error.to_string());
        // A caller that has stopped waiting must not stop the others.
        for (receipt, reply) in receipts {
            let _ = reply.send(written.clone().map(|()| receipt));
        }
        for (head, reply) in heads {
            let _ = reply.send(written.clone().map(|()| head));
        }
        written.is_ok()
    }
}
