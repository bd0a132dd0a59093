//! A corpus of any size under one or many keys.
//!
//! 1. *Reading.* Inputs are cut into shards of whole records; texts are tokenised once, for all keys, and a finished shard
//!    keeps the ids. This is what takes the time, and what survives a stop: shards are written aside, synced and renamed.
//! 2. *Scoring.* From the ids come PRF inputs, of which every distinct one is scored once under every key (`distinct`).
//! 3. *Records.* Under the keys that can matter, every text is scored by itself (`score`). No text is read again.
//!
//! The results are functions of the set of distinct inputs and of sums of integers, so that threads, memory, shards and
//! the order of inputs change no byte of them.

mod distinct;
mod folder;
mod inputs;
mod keys;
mod reading;
mod result;
mod score;
mod shard;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use sha2::{Digest, Sha256};
use watermark_core::profile::Profile;

use distinct::{Inputs, Mix, distinct};
use folder::{Folder, InputFile, Manifest};
pub use inputs::expand;
pub use keys::Keys;
use reading::Input;
pub use result::{FindingLine, HitsLine, InputLine, PositionsLine, Summary, Totals};
use result::{Found, LayerResult, assemble, findings};
use score::{KEYS_PER_RECORD, RESAMPLED_TOKENS, Scoring, fresh, hits};
use shard::Shard;

use crate::read::{InputFormat, Select};
use crate::tokenizer::{Tokenizer, hex};

/// What is scanned, and at what cost.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files, sorted ([`expand`]).
    pub inputs: Vec<PathBuf>,
    /// The run folder.
    pub out: PathBuf,
    /// Layout of the inputs.
    pub input_format: InputFormat,
    /// Which part of a record is generated text.
    pub select: Select,
    /// Family-wise level of the verdicts on keys and layers.
    pub alpha: f64,
    /// Bytes that deduplication may take; beyond that it goes through a file in the run folder. A zstd window may take
    /// as much.
    pub memory: u64,
    /// Threads.
    pub threads: usize,
    /// Bytes of text after which a shard ends: what a stop can cost each thread.
    pub shard_bytes: u64,
}

/// How far a scan is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Finished shards, and those of an earlier run among them.
    pub shards: u64,
    /// Of an earlier run.
    pub resumed_shards: u64,
    /// Records read.
    pub records: u64,
    /// Generated tokens.
    pub tokens: u64,
    /// Records that could not be used.
    pub bad_records: u64,
    /// Set once all is read.
    pub scoring: bool,
}

/// How a scan ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// With results.
    Finished(Box<Summary>),
    /// At a shard boundary, because it was told to stop; the same run goes on from there.
    Stopped,
}

/// A run.
struct Scan<'a> {
    options: &'a Options,
    tokenizer: Option<&'a Tokenizer>,
    vocab_size: u32,
    folder: Folder,
    config: String,
}

/// What marks are looked for.
pub struct Marks<'a> {
    /// The profile.
    pub profile: &'a Profile,
    /// SHA-256 of its file.
    pub profile_sha256: [u8; 32],
    /// The tokenizer; `None` if ids are read.
    pub tokenizer: Option<&'a Tokenizer>,
    /// The keys.
    pub keys: &'a Keys,
}

/// Scans, or goes on with a scan, and writes `result.json`, `hits.jsonl` and `skipped.jsonl` into the run folder.
///
/// # Errors
/// If the folder belongs to another run, an input cannot be read or changes meanwhile, or the folder cannot be written.
pub fn scan(
    options: &Options,
    marks: &Marks<'_>,
    stop: &AtomicBool,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Outcome> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build().context("starting threads")?;
    pool.install(|| run(options, marks, stop, progress))
}

fn run(
    options: &Options,
    marks: &Marks<'_>,
    stop: &AtomicBool,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Outcome> {
    let folder = Folder::open(&options.out)?;
    let keys = marks.keys;
    let inputs = options.inputs.par_iter().map(|path| input(path)).collect::<Result<Vec<_>>>()?;
    let mut manifest = Manifest {
        scan: "watermark-scan/1".to_owned(),
        profile_sha256: hex(&marks.profile_sha256),
        tokenizer_sha256: marks.tokenizer.map(|_| hex(&marks.profile.tokenizer.sha256)),
        keys: hex(keys.fingerprint()),
        input_format: options.input_format.to_string(),
        field: options.select.field.clone(),
        role: options.select.role.clone(),
        shard_bytes: options.shard_bytes,
        inputs: Vec::new(),
    };
    let config = hex(&Sha256::digest(serde_json::to_vec(&manifest)?));
    manifest.inputs = inputs.iter().map(|input| input.file.clone()).collect();
    folder.begin(&manifest)?;

    let vocab_size = marks.profile.tokenizer.vocab_size;
    let scan = Scan { options, tokenizer: marks.tokenizer, vocab_size, folder, config };
    let mut shards = scan.finished(&inputs)?;
    let resumed_shards = shards.len() as u64;
    if !reading::read_all(&scan, &inputs, &mut shards, stop, progress)? {
        return Ok(Outcome::Stopped);
    }
    let shards: BTreeMap<(usize, u32), Shard> = shards.into_iter().collect();
    let shards: Vec<&Shard> = shards.values().collect();
    let mut counts = shard::Counts::default();
    shards.iter().for_each(|shard| counts.add(&shard.header.counts));
    progress(Progress {
        shards: shards.len() as u64,
        resumed_shards,
        records: counts.records,
        tokens: counts.tokens,
        bad_records: counts.bad(),
        scoring: true,
    });

    let mix = Mix::new(keys.fingerprint());
    let (mut layers, mut of_layers, mut results) = (Vec::new(), Vec::new(), Vec::new());
    for (of_layer, packing) in keys.layers() {
        let inputs = Inputs { layer: &of_layer[0], packing, mix };
        let scoring = Scoring { inputs, keys: of_layer, keep: counts.tokens <= RESAMPLED_TOKENS };
        let (positions, made) = distinct(&shards, inputs, options.memory, &scan.folder.file("spill"), &scoring)?;
        let made = made.unwrap_or_default();
        let fresh = if scoring.keep { fresh(inputs, &made)? } else { Vec::new() };
        results.push(LayerResult { positions, sums: made.sums, fresh });
        layers.push(inputs);
        of_layers.push(of_layer);
    }
    let findings = findings(keys, &results, options.alpha)?;
    let detected = |key: usize| {
        findings.iter().skip(key * layers.len()).take(layers.len()).any(|finding| finding.verdict == "detected")
    };
    let tested: Vec<usize> = (0..keys.len()).filter(|&key| keys.len() <= KEYS_PER_RECORD || detected(key)).collect();
    let tests = counts.texts.saturating_mul((keys.len() * layers.len()) as u64);
    let hits = hits(&shards, &layers, &of_layers, &tested, tests)?;
    let found = Found {
        alpha: options.alpha,
        keys,
        shards: &shards,
        layers: &results,
        findings,
        hits: &hits,
        keys_scored: tested.len(),
    };
    let (summary, hit_lines, skipped) = assemble(manifest, found)?;
    scan.folder.write("hits.jsonl", &hit_lines)?;
    scan.folder.write("skipped.jsonl", &skipped)?;
    let mut json = serde_json::to_vec_pretty(&summary)?;
    json.push(b'\n');
    scan.folder.write("result.json", &json)?;
    Ok(Outcome::Finished(Box::new(summary)))
}

/// Keeps standard input as a file of the run folder, since a scan may have to read its inputs again.
///
/// # Errors
/// If the folder is not this run's, or cannot be written.
pub fn spool(mut source: impl Read, out: &Path) -> Result<PathBuf> {
    drop(Folder::open(out)?);
    let (aside, path) = (out.join("stdin.part"), out.join("stdin"));
    let mut write = || -> std::io::Result<()> {
        let mut file = File::create(&aside)?;
        std::io::copy(&mut source, &mut file)?;
        file.sync_all()?;
        fs::rename(&aside, &path)
    };
    write().with_context(|| format!("keeping standard input as {}", path.display()))?;
    Ok(path)
}

fn input(path: &Path) -> Result<Input> {
    let name = path.display().to_string();
    let read = || -> std::io::Result<Input> {
        let mut file = File::open(path)?;
        let modified = file.metadata()?.modified().ok();
        let mut digest = Sha256::new();
        let mut bytes = 0;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    digest.update(&buffer[..n]);
                    bytes += n as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let sha256 = hex(&digest.finalize());
        Ok(Input { path: path.to_owned(), file: InputFile { path: name.clone(), bytes, sha256 }, modified })
    };
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        bail!("{name} is no regular file, so it cannot be read twice; pass it through standard input (-)");
    }
    read().with_context(|| format!("cannot read {name}"))
}

impl Scan<'_> {
    /// The shards that an earlier run finished; what is not intact is removed and done again.
    fn finished(&self, inputs: &[Input]) -> Result<HashMap<(usize, u32), Shard>> {
        let folder = self.folder.shards();
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        let opened: Vec<(PathBuf, Option<Shard>)> =
            paths.into_par_iter().map(|path| (path.clone(), Shard::open(&path))).collect();
        let mut shards = HashMap::new();
        for (path, shard) in opened {
            let usable = shard.filter(|Shard { header, path }| {
                header.config == self.config
                    && inputs.get(header.file).is_some_and(|input| input.file.sha256 == header.input)
                    && *path == Shard::path(&folder, header.file, header.index)
            });
            match usable {
                Some(shard) => {
                    shards.insert((shard.header.file, shard.header.index), shard);
                }
                None => fs::remove_file(&path).with_context(|| path.display().to_string())?,
            }
        }
        Ok(shards)
    }
}
