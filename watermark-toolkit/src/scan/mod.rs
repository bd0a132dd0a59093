//! A corpus of any size under one or many keys.
//!
//! 1. *Reading.* Inputs are cut into shards of whole records; texts are tokenised once, for all keys, and a finished shard
//!    keeps the ids. This is what takes the time, and what survives a stop: shards are written aside, synced and renamed.
//!    It needs no key, so several machines can do it ([`partials`]) for one that has the keys ([`merge`]).
//! 2. *Scoring.* From the ids come PRF inputs, of which every distinct one is scored once under every key (`distinct`).
//! 3. *Texts and sources.* Under the keys that can matter, every text is scored by itself (`score`), and every input
//!    (`sources`). No text is read again.
//!
//! The results are functions of the set of distinct inputs and of sums of integers, so that threads, memory, shards and
//! the order of inputs change no byte of them.

mod attribute;
mod counts;
mod distinct;
mod finish;
mod folder;
mod hits;
mod inputs;
mod issued;
mod keys;
mod merge;
mod multiset;
mod plots;
mod profiles;
mod reader;
mod result;
mod score;
mod shard;
mod sources;
pub mod stages;
mod table;
mod tokenise;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use sha2::{Digest, Sha256};
use watermark_core::hex;

pub use attribute::{Attributed, attribute};
use finish::{Finishing, Layers};
use folder::{Folder, InputFile, Manifest};
pub use hits::Hit;
pub use inputs::expand;
pub use keys::Keys;
pub use merge::{Merging, merge};
pub use profiles::Profiles;
use reader::{Input, InputReader, Shards};
pub use result::{FindingLine, HitsLine, PositionsLine, ProfileLine, Summary, TokenizerLine, Totals};
use score::TextScores;
use shard::Shard;
pub use sources::{Mark, Source};

use crate::read::{InputFormat, Select};

/// What a scan reads, and what it may cost.
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

/// Which of several machines this is: number `number` of `count`, counted from 1. It reads every `count`-th input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 1.
    pub number: usize,
    /// At least 1.
    pub count: usize,
}

/// What a scan is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Tokenising.
    #[default]
    Tokenising,
    /// Deduplicating and scoring the run as a whole.
    Scoring,
    /// Scoring single texts and inputs.
    Ranking,
}

/// How far a scan has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Finished shards, those of an earlier run among them.
    pub shards: u64,
    /// Finished shards of an earlier run.
    pub resumed_shards: u64,
    /// Records read.
    pub records: u64,
    /// Generated tokens, under the first tokenizer.
    pub tokens: u64,
    /// Records that could not be used.
    pub bad_records: u64,
    /// Bytes of the inputs that were read, before decompression, and of all.
    pub bytes: u64,
    /// See `bytes`.
    pub bytes_in_all: u64,
    /// Natural logarithm of the strongest mean of the texts' e-values so far, over keys and layers; `None` with many
    /// keys.
    pub ln_e: Option<f64>,
}

/// How a scan ended.
#[derive(Clone, Debug)]
pub enum ScanEnd {
    /// The scan has results.
    Finished(Box<Finished>),
    /// The scan was told to stop and did so at a shard boundary; the same call goes on from there.
    Stopped,
}

/// The results of a scan, as they stand in the run folder.
#[derive(Clone, Debug)]
pub struct Finished {
    /// `result.json`
    pub summary: Summary,
    /// `sources.jsonl`
    pub sources: Vec<Source>,
}

/// The marks that a scan looks for.
pub struct Marks<'a> {
    /// The deployments.
    pub profiles: &'a Profiles,
    /// The keys.
    pub keys: &'a Keys,
}

/// Scans a corpus, or continues a scan, and writes `result.json`, `hits.jsonl`, `hits.parquet`, `sources.jsonl` and
/// `skipped.jsonl` into the run folder.
///
/// # Errors
/// If the folder belongs to another run, an input cannot be read or changes meanwhile, or the folder cannot be written.
///
/// # Example
///
/// ```
/// use std::sync::atomic::AtomicBool;
///
/// use watermark_core::detect::Verdict;
/// use watermark_core::key::NodeKey;
/// use watermark_core::mark::{Marker, SessionOptions};
/// use watermark_toolkit::files::ProfileFile;
/// use watermark_toolkit::read::{InputFormat, Select};
/// use watermark_toolkit::scan::{Keys, Marks, Options, Profiles, ScanEnd, scan};
///
/// # let folder = std::env::temp_dir().join(format!("watermark-scan-example-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let file = ProfileFile::parse(
///     r#"{"profile": "watermark-profile/1", "name": "chat", "path": "epoch/1", "tokenizer": {"sha256":
///     "0000000000000000000000000000000000000000000000000000000000000000", "vocab_size": 100, "special_token_ids": []},
///     "layers": [{"name": "provenance", "scheme": "gumbel", "width": 4, "prf": "chacha20-v1"}], "repeats": "unmarked"}"#,
/// )?;
///
/// // Three records of 100 token ids each, of which the second is marked.
/// let marker = Marker::new(file.profile.clone(), &NodeKey::root(b"ours"))?;
/// let mut records = String::new();
/// for seed in 0..3 {
///     let mut session = marker.session(&SessionOptions { marked: seed == 1, seed, ..SessionOptions::default() })?;
///     for _ in 0..100 {
///         let token = session.sample(&[0.0_f32; 100])?;
///         session.accept(token)?;
///     }
///     records += &format!("{{\"id\": \"record {seed}\", \"tokens\": {:?}}}\n", session.generated());
/// }
/// let input = folder.join("corpus.jsonl");
/// std::fs::write(&input, records)?;
///
/// let profiles = Profiles::of_ids(vec![file])?;
/// let nodes = ["ours", "another"].map(|name| (name.to_owned(), NodeKey::root(name.as_bytes())));
/// let keys = Keys::new(&profiles, &nodes, None)?;
/// let options = Options {
///     inputs: vec![input],
///     out: folder.join("run"),
///     input_format: InputFormat::Tokens,
///     select: Select::default(),
///     alpha: 1e-6,
///     memory: 1 << 20,
///     threads: 2,
///     shard_bytes: 1 << 20,
/// };
/// let marks = Marks { profiles: &profiles, keys: &keys };
/// let ScanEnd::Finished(finished) = scan(&options, &marks, &AtomicBool::new(false), &|_| ())? else {
///     panic!("nobody told it to stop");
/// };
/// let verdicts: Vec<_> = finished.summary.findings.iter().map(|test| (test.key.as_str(), test.verdict)).collect();
/// assert_eq!(verdicts, [("ours", Verdict::Detected), ("another", Verdict::NotDetected)]);
/// // The marked record is named in the run folder.
/// let hits = std::fs::read_to_string(options.out.join("hits.jsonl"))?;
/// assert!(finished.summary.hits.n == 1 && hits.contains("\"id\":\"record 1\""));
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn scan(
    options: &Options,
    marks: &Marks<'_>,
    stop: &AtomicBool,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<ScanEnd> {
    in_pool(options.threads, || {
        let layers = Layers::new(marks.profiles, marks.keys);
        let few = layers.few(marks.keys);
        let so_far = Mutex::new((0, TextScores::default()));
        let text_scores = Mutex::new(HashMap::new());
        let look = |shard: &Shard, table: &table::Table| -> Result<Option<f64>> {
            let Some(few) = &few else { return Ok(None) };
            let of_shard = score::texts(table, layers.layers, &layers.inputs, few)?;
            let mut ln_e = None;
            if let Ok(mut so_far) = so_far.lock() {
                so_far.0 += shard.header.counts.texts;
                so_far.1.add(&of_shard);
                let sums = so_far.1.ln_e_sums.iter().flatten().copied();
                ln_e = sums.max_by(f64::total_cmp).map(|ln_sum| ln_sum - (so_far.0.max(1) as f64).ln());
            }
            if let Ok(mut text_scores) = text_scores.lock() {
                text_scores.insert((shard.header.file, shard.header.index), of_shard);
            }
            Ok(ln_e.filter(|ln_e| ln_e.is_finite()))
        };
        let keys = Some(hex::encode(marks.keys.fingerprint()));
        let (folder, manifest, shards) = read(options, marks.profiles, None, keys, &look, stop, progress)?;
        let Some(shards) = shards else { return Ok(ScanEnd::Stopped) };
        let text_scores = text_scores.into_inner().unwrap_or_default();
        let finishing = Finishing {
            folder: &folder,
            marks,
            layers,
            select: &options.select,
            alpha: options.alpha,
            memory: options.memory,
            stop,
            progress,
        };
        finishing.run(manifest.inputs, shards, text_scores)
    })
}

/// Reads one machine's part of the inputs into shards, for [`merge`]. Needs no key. `None` if it was told to stop before the
/// end; the same call goes on from there.
///
/// # Errors
/// As [`scan`].
pub fn partials(
    options: &Options,
    profiles: &Profiles,
    part: Part,
    stop: &AtomicBool,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Option<Unusable>> {
    in_pool(options.threads, || {
        let (_, manifest, shards) = read(options, profiles, Some(part), None, &|_, _| Ok(None), stop, progress)?;
        Ok(shards.map(|shards| {
            let errors = shards.values().filter_map(|shard| {
                let path = manifest.inputs.get(shard.header.file)?.path.clone();
                Some((path, shard.header.error.clone()?))
            });
            let mut unread: Vec<(String, String)> = errors.collect();
            unread.sort();
            Unusable { bad_records: shards.values().map(|shard| shard.header.counts.bad()).sum(), unread }
        }))
    })
}

/// What a part could not use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unusable {
    /// Records that could not be used.
    pub bad_records: u64,
    /// Inputs that were not read to their end, each with the reason.
    pub unread: Vec<(String, String)>,
}

fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("starting threads")?;
    pool.install(work)
}

/// Reads the inputs for [`scan`] and [`partials`]. No shards are returned if it was told to stop.
fn read(
    options: &Options,
    profiles: &Profiles,
    part: Option<Part>,
    keys: Option<String>,
    look: &(dyn Fn(&Shard, &table::Table) -> Result<Option<f64>> + Sync),
    stop: &AtomicBool,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Folder, Manifest, Option<Shards>)> {
    let Select { field, role, .. } = &options.select;
    if options.input_format == InputFormat::Text && (field.is_some() || role.is_some()) {
        bail!("text has no fields; leave out --field and --role");
    }
    let folder = Folder::open(&options.out)?;
    let mine = |at: usize| part.is_none_or(|part| at % part.count + 1 == part.number);
    let paths: Vec<&PathBuf> =
        options.inputs.iter().enumerate().filter(|(at, _)| mine(*at)).map(|(_, path)| path).collect();
    let inputs = paths.par_iter().map(|path| input(path)).collect::<Result<Vec<_>>>()?;
    let identity = profiles.identity();
    let manifest = Manifest {
        scan: "watermark-scan/2".to_owned(),
        profiles: identity.profiles,
        tokenizers: identity.tokenizers,
        keys,
        part: part.map(|part| format!("{}/{}", part.number, part.count)),
        list: part.map(|_| list(&options.inputs)).transpose()?,
        input_format: options.input_format.to_string(),
        field: options.select.field.clone(),
        role: options.select.role.clone(),
        shard_bytes: options.shard_bytes,
        inputs: inputs.iter().map(|input| input.file.clone()).collect(),
    };
    folder.begin(&manifest)?;
    let reader = InputReader {
        options,
        profiles,
        shards: folder.shards(),
        config: manifest.config()?,
        inputs: &inputs,
        look,
        stop,
        progress,
    };
    let mut shards = resumed(&reader)?;
    let whole = reader.read_all(&mut shards)?;
    Ok((folder, manifest, whole.then_some(shards)))
}

/// Identifies the inputs of all machines by file names and sizes, whatever their folder is called on each.
fn list(inputs: &[PathBuf]) -> Result<String> {
    let mut files = Vec::new();
    for path in inputs {
        let size = fs::metadata(path).with_context(|| path.display().to_string())?.len();
        files.push((path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default(), size));
    }
    let mut digest = Sha256::new();
    for (name, size) in &files {
        digest.update((name.len() as u64).to_le_bytes());
        digest.update(name);
        digest.update(size.to_le_bytes());
    }
    Ok(format!("{} files, {}", files.len(), hex::encode(&digest.finalize())))
}

/// The shards that an earlier run finished. Those that are not intact are removed, to be read again.
fn resumed(reader: &InputReader<'_>) -> Result<Shards> {
    let (found, rest) = Shard::all(&reader.shards)?;
    let (usable, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|Shard { header, .. }| {
        // A shard that ends in an error is read again, because the cause may be gone, for instance with more memory.
        header.error.is_none()
            && header.config == reader.config
            && reader.inputs.get(header.file).is_some_and(|input| input.file.sha256 == header.input)
    });
    for path in rest.into_iter().chain(others.iter().flat_map(Shard::files)) {
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
    }
    Ok(usable.into_iter().map(|shard| ((shard.header.file, shard.header.index), shard)).collect())
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
    let name =
        path.to_str().with_context(|| format!("the name of {} is not UTF-8; rename it", path.display()))?.to_owned();
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
        let sha256 = hex::encode(&digest.finalize());
        Ok(Input { path: path.to_owned(), file: InputFile { path: name.clone(), bytes, sha256 }, modified })
    };
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        bail!("{name} is no regular file, so it cannot be read twice; pass it through standard input (-)");
    }
    read().with_context(|| format!("cannot read {name}"))
}
