//! From inputs to shards: everything that costs time is done once here, and kept.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use rayon::iter::{ParallelBridge, ParallelIterator};

use super::folder::InputFile;
use super::shard::{Counts, Header, Origin, Shard, Skipped, Text, Texts};
use super::{Progress, Scan};
use crate::read::{self, BadRecord, Body, Limits, ReadErrorKind, Record};

/// Bad records that a shard keeps the places of.
const SAMPLES: usize = 100;

/// Longest `id` that is kept, in characters.
const MAX_ID: usize = 256;

/// One input with what would show that it changed under the scan.
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) file: InputFile,
    pub(super) modified: Option<SystemTime>,
}

/// Reads what no shard covers yet. False if `stop` was set before all was read.
///
/// # Errors
/// If an input can no longer be read or has changed, or a shard cannot be written.
pub(super) fn read_all(
    scan: &Scan<'_>,
    inputs: &[Input],
    done: &mut HashMap<(usize, u32), Shard>,
    stop: &AtomicBool,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<bool> {
    let state = Mutex::new(Progress { resumed_shards: done.len() as u64, ..Progress::default() });
    let report = |counts: &Counts| {
        if let Ok(mut state) = state.lock() {
            state.shards += 1;
            state.records += counts.records;
            state.tokens += counts.tokens;
            state.bad_records += counts.bad();
            progress(*state);
        }
    };
    done.values().for_each(|shard| report(&shard.header.counts));
    // A shard that ends its input can stand for those before it only if they are all there.
    let finished = |file: usize, done: &HashMap<(usize, u32), Shard>| {
        let last = done.values().find(|shard| shard.header.file == file && shard.header.last);
        last.is_some_and(|last| (0..last.header.index).all(|index| done.contains_key(&(file, index))))
    };
    let todo: Vec<usize> = (0..inputs.len()).filter(|&file| !finished(file, done)).collect();
    let known = &*done;
    let jobs = todo.into_iter().flat_map(|file| match Cutter::open(scan, file, &inputs[file]) {
        Ok(cutter) => Box::new(cutter) as Box<dyn Iterator<Item = Result<Job>> + Send>,
        Err(error) => Box::new(std::iter::once(Err(error))),
    });
    let fresh = jobs
        .take_while(|_| !stop.load(Ordering::Relaxed))
        .filter(|job| !job.as_ref().is_ok_and(|job| known.contains_key(&(job.file, job.index))))
        .par_bridge()
        .map(|job| {
            let job = job?;
            let shard = scan.process(&inputs[job.file], job)?;
            report(&shard.header.counts);
            Ok(shard)
        })
        .collect::<Result<Vec<Shard>>>()?;
    done.extend(fresh.into_iter().map(|shard| ((shard.header.file, shard.header.index), shard)));
    Ok((0..inputs.len()).all(|file| finished(file, done)))
}

/// The records of one shard.
pub(super) struct Job {
    file: usize,
    index: u32,
    first: u64,
    counts: Counts,
    records: Vec<Record>,
    skipped: Vec<Skipped>,
    last: bool,
    error: Option<String>,
}

/// Cuts one input into shards at the same places every time.
struct Cutter<'a> {
    input: &'a Input,
    file: usize,
    shard_bytes: u64,
    reader: Option<read::Reader>,
    held: Option<Record>,
    index: u32,
    records: u64,
    error: Option<String>,
    ended: bool,
}

impl<'a> Cutter<'a> {
    fn open(scan: &Scan<'_>, file: usize, input: &'a Input) -> Result<Self> {
        let options = scan.options;
        // A window may take the memory that the scan may take, and always the 128 MiB that every zstd decoder allows.
        let limits = Limits { max_window_log: options.memory.ilog2().clamp(27, 31), ..Limits::default() };
        let (reader, error) = match read::open_selecting(&input.path, options.input_format, &options.select, limits) {
            Ok(reader) => (Some(reader), None),
            // Nothing is lost in an empty file, and folders are full of them.
            Err(error) if error.kind() == ReadErrorKind::Empty => (None, None),
            Err(error) if error.kind() == ReadErrorKind::Io => return Err(error.into()),
            Err(error) => (None, Some(error.to_string())),
        };
        let shard_bytes = options.shard_bytes;
        Ok(Self { input, file, shard_bytes, reader, held: None, index: 0, records: 0, error, ended: false })
    }

    fn cut(&mut self) -> Result<Job> {
        let mut counts = Counts::default();
        let (mut records, mut skipped, mut bytes) = (Vec::new(), Vec::new(), 0);
        let first = self.records;
        loop {
            let record = match self.held.take() {
                Some(record) => record,
                None => match self.reader.as_mut().and_then(Iterator::next) {
                    Some(Ok(Ok(record))) => record,
                    Some(Ok(Err(bad))) => {
                        counts.records += 1;
                        count_bad(&mut counts, &mut skipped, &bad);
                        // Bad records alone must not make a shard endless.
                        bytes += 64;
                        continue;
                    }
                    Some(Err(error)) if error.kind() == ReadErrorKind::Io => return Err(error.into()),
                    Some(Err(error)) => {
                        self.error = Some(error.to_string());
                        self.ended = true;
                        break;
                    }
                    None => {
                        self.ended = true;
                        break;
                    }
                },
            };
            // A conversation stays together: its texts are each other's prompts.
            if bytes >= self.shard_bytes && record.location.part() <= 1 {
                self.held = Some(record);
                break;
            }
            if record.location.part() <= 1 {
                counts.records += 1;
                *counts.schemas.entry(record.schema.to_owned()).or_default() += 1;
            }
            bytes += size(&record.body);
            records.push(record);
        }
        if self.ended {
            self.unchanged()?;
        }
        self.records += counts.records;
        let index = self.index;
        self.index += 1;
        let error = self.error.clone().filter(|_| self.ended);
        Ok(Job { file: self.file, index, first, counts, records, skipped, last: self.ended, error })
    }

    /// The digest was taken before; growth or a rewrite since then would not be in it.
    fn unchanged(&self) -> Result<()> {
        let metadata = std::fs::metadata(&self.input.path);
        let metadata = metadata.with_context(|| format!("{} is gone", self.input.file.path))?;
        if metadata.len() != self.input.file.bytes || metadata.modified().ok() != self.input.modified {
            bail!(
                "{} changed while it was scanned; scan a copy that nobody writes to, into another folder",
                self.input.file.path
            );
        }
        Ok(())
    }
}

impl Iterator for Cutter<'_> {
    type Item = Result<Job>;

    fn next(&mut self) -> Option<Result<Job>> {
        if self.ended {
            return None;
        }
        let job = self.cut();
        self.ended |= job.is_err();
        Some(job)
    }
}

fn size(body: &Body) -> u64 {
    let bytes = match body {
        Body::Text { prompt, text } => prompt.as_ref().map_or(0, String::len) + text.len(),
        Body::Tokens { prompt_tokens, tokens } => 4 * (prompt_tokens.len() + tokens.len()),
    };
    bytes as u64 + 64
}

fn count_bad(counts: &mut Counts, skipped: &mut Vec<Skipped>, bad: &BadRecord) {
    let kind = format!("{:?}", bad.kind());
    skip(counts, skipped, bad.location().line(), kind, bad.to_string());
}

fn skip(counts: &mut Counts, skipped: &mut Vec<Skipped>, record: u64, kind: String, reason: String) {
    *counts.bad_records.entry(kind.clone()).or_default() += 1;
    if skipped.len() < SAMPLES {
        skipped.push(Skipped { record, kind, reason });
    }
}

impl Scan<'_> {
    /// Tokenises a shard's records and writes them.
    fn process(&self, input: &Input, job: Job) -> Result<Shard> {
        let Job { file, index, first, mut counts, records, mut skipped, last, error } = job;
        let mut texts = Texts::default();
        let mut origins = Vec::with_capacity(records.len());
        let mut bad = None;
        let mut after_bad = false;
        for record in records {
            let Record { location, id, continues, body, .. } = record;
            let (prompt, tokens) = match self.ids(body) {
                Ok(ids) => ids,
                Err(problem) => {
                    // A record counts once, however many of its texts cannot be used.
                    if bad != Some(location.line()) {
                        let reason = format!("{location}: {problem:#}");
                        skip(&mut counts, &mut skipped, location.line(), "NotTokenised".to_owned(), reason);
                    }
                    bad = Some(location.line());
                    after_bad = true;
                    continue;
                }
            };
            counts.texts += 1;
            counts.prompt_tokens += prompt.len() as u64;
            counts.tokens += tokens.len() as u64;
            // What continues a text that was left out must not continue the conversation before it.
            let continues = continues && !after_bad;
            after_bad = false;
            texts.push(Text { continues, prompt: &prompt, tokens: &tokens });
            let id = id.map(|id| id.chars().take(MAX_ID).collect());
            origins.push(Origin { record: location.line(), part: location.part(), id, bytes: location.bytes() });
        }
        skipped.sort_by_key(|skipped| skipped.record);
        let header = Header {
            config: self.config.clone(),
            input: input.file.sha256.clone(),
            file,
            index,
            first,
            counts,
            skipped,
            last,
            error,
            words: 0,
            sha256: String::new(),
        };
        Shard::write(&self.folder.shards(), header, &texts, &origins)
    }

    fn ids(&self, body: Body) -> Result<(Vec<u32>, Vec<u32>)> {
        let (prompt, tokens) = match body {
            Body::Tokens { prompt_tokens, tokens } => (prompt_tokens, tokens),
            Body::Text { prompt, text } => {
                let tokenizer = self.tokenizer.context("text needs a tokenizer")?;
                let encode = |text: &str| if text.is_empty() { Ok(Vec::new()) } else { tokenizer.encode(text) };
                (encode(prompt.as_deref().unwrap_or(""))?, encode(&text)?)
            }
        };
        for (side, ids) in [("prompt_tokens", &prompt), ("tokens", &tokens)] {
            if let Some(at) = ids.iter().position(|&id| id >= self.vocab_size) {
                bail!("{side}[{at}] is {}, not below vocab_size {}", ids[at], self.vocab_size);
            }
        }
        Ok((prompt, tokens))
    }
}
