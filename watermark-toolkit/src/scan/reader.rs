//! From inputs to shards. Everything that takes long is done here, once, and its results are stored.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use rayon::iter::{ParallelBridge, ParallelIterator};

use super::counts::{Counts, Skipped};
use super::folder::InputFile;
use super::profiles::Profiles;
use super::shard::{Header, Shard};
use super::table::Table;
use super::tokenise::{count_bad, tokenise};
use super::{Options, Progress};
use crate::read::{self, Body, Limits, ReadErrorKind, Record};

/// One input, with what shows later whether it changed during the scan.
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) file: InputFile,
    pub(super) modified: Option<SystemTime>,
}

/// What a run reads, where it stores shards, and whom it tells.
pub(super) struct InputReader<'a> {
    pub(super) options: &'a Options,
    pub(super) profiles: &'a Profiles,
    pub(super) shards: PathBuf,
    /// SHA-256 of what the reading depends on.
    pub(super) config: String,
    pub(super) inputs: &'a [Input],
    /// Scores a finished shard while its ids are in memory; returns the strongest evidence so far.
    pub(super) look: &'a (dyn Fn(&Shard, &Table) -> Result<Option<f64>> + Sync),
    pub(super) stop: &'a AtomicBool,
    pub(super) progress: &'a (dyn Fn(Progress) + Sync),
}

/// Finished shards by input and number.
pub(super) type Shards = HashMap<(usize, u32), Shard>;

impl InputReader<'_> {
    /// Reads everything that no shard covers yet. Returns false if it was told to stop before all was read.
    ///
    /// # Errors
    /// If an input can no longer be read or has changed, or a shard cannot be written.
    pub(super) fn read_all(&self, done: &mut Shards) -> Result<bool> {
        let bytes_in_all: u64 = self.inputs.iter().map(|input| input.file.bytes).sum();
        let todo = unfinished(done, self.inputs.len());
        let mut passed = bytes_in_all - todo.iter().map(|&file| self.inputs[file].file.bytes).sum::<u64>();
        let state = Mutex::new(Progress { bytes: passed, bytes_in_all, ..Progress::default() });
        // Bytes of files that are finished, and of the one that is being cut.
        let report = |counts: &Counts, resumed: bool, bytes: Option<u64>, ln_e: Option<f64>| {
            if let Ok(mut state) = state.lock() {
                state.shards += 1;
                state.resumed_shards += u64::from(resumed);
                state.records += counts.records;
                state.tokens += counts.tokens();
                state.bad_records += counts.bad();
                state.bytes = state.bytes.max(bytes.unwrap_or(0));
                state.ln_e = ln_e.or(state.ln_e);
                (self.progress)(*state);
            }
        };
        for shard in done.values() {
            report(&shard.header.counts, true, None, None);
        }
        let mut before = vec![0; self.inputs.len()];
        for &file in &todo {
            before[file] = passed;
            passed += self.inputs[file].file.bytes;
        }
        let known = &*done;
        let jobs = todo.into_iter().flat_map(|file| match Cutter::open(self.options, file, &self.inputs[file]) {
            Ok(cutter) => Box::new(cutter) as Box<dyn Iterator<Item = Result<Job>> + Send>,
            Err(error) => Box::new(std::iter::once(Err(error))),
        });
        let fresh = jobs
            .take_while(|_| !self.stop.load(Ordering::Relaxed))
            .filter(|job| !job.as_ref().is_ok_and(|job| known.contains_key(&(job.file, job.index))))
            .par_bridge()
            .map(|job| {
                let job = job?;
                let bytes = before[job.file] + job.consumed;
                let (shard, table) = self.process(job)?;
                let ln_e = (self.look)(&shard, &table)?;
                report(&shard.header.counts, false, Some(bytes), ln_e);
                Ok(shard)
            })
            .collect::<Result<Vec<Shard>>>()?;
        done.extend(fresh.into_iter().map(|shard| ((shard.header.file, shard.header.index), shard)));
        Ok(unfinished(done, self.inputs.len()).is_empty())
    }

    /// Tokenises a shard's records and writes them.
    fn process(&self, job: Job) -> Result<(Shard, Table)> {
        let Job { file, index, first, mut counts, records, mut skipped, last, error, .. } = job;
        let table = tokenise(records, self.profiles, &mut counts, &mut skipped)?;
        let header = Header {
            config: self.config.clone(),
            input: self.inputs[file].file.sha256.clone(),
            file,
            index,
            first,
            counts,
            skipped,
            last,
            error,
            sha256: String::new(),
        };
        Ok((Shard::write(&self.shards, header, &table)?, table))
    }
}

/// The inputs of which a shard is missing. An input is complete if its last shard and all shards before that are there.
pub(super) fn unfinished(done: &Shards, inputs: usize) -> Vec<usize> {
    let lasts: HashMap<usize, u32> =
        done.values().filter(|shard| shard.header.last).map(|shard| (shard.header.file, shard.header.index)).collect();
    let whole =
        |file: usize| lasts.get(&file).is_some_and(|&last| (0..last).all(|index| done.contains_key(&(file, index))));
    (0..inputs).filter(|&file| !whole(file)).collect()
}

/// The records of one shard that is still to be tokenised.
struct Job {
    file: usize,
    index: u32,
    first: u64,
    counts: Counts,
    records: Vec<Record>,
    skipped: Vec<Skipped>,
    last: bool,
    error: Option<String>,
    /// Bytes of the input up to here.
    consumed: u64,
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
    fn open(options: &Options, file: usize, input: &'a Input) -> Result<Self> {
        // A window may take the memory that the scan may take, and always the 128 MiB that every zstd decoder allows.
        let limits = Limits { max_window_log: options.memory.ilog2().clamp(27, 31), ..Limits::default() };
        let (reader, error) = match read::open_selecting(&input.path, options.input_format, &options.select, limits) {
            Ok(reader) => (Some(reader), None),
            // An empty file is no error: nothing is lost, and folders hold many of them.
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
                        // Every bad record counts as some bytes too, so that a shard of bad records alone ends.
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
            // All texts of a conversation stay in one shard, because they are prompts of each other.
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
        let consumed = match &self.reader {
            Some(reader) if !self.ended => reader.consumed(),
            _ => self.input.file.bytes,
        };
        Ok(Job { file: self.file, index, first, counts, records, skipped, last: self.ended, error, consumed })
    }

    /// Checks that the input did not change since its digest was taken, because the digest would not cover the change.
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
