//! Scans of files, as `watermark scan` does, and the same tests of records in memory.

use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, bail};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::{Value, json};
use watermark_toolkit::files::read_profile;
use watermark_toolkit::keys::read_key;
use watermark_toolkit::read::{InputFormat, ReadError, Select};
use watermark_toolkit::scan::{self, Attributed, Keys, Marks, Options, Phase, Profiles, Progress, ScanEnd, expand};

use crate::error::{InputError, ParameterError, raise};
use crate::given;
use crate::key_file::key_path;
use crate::keys;
use crate::passphrase::Asking;
use crate::records::{each_batch, refuse_text};
use crate::work::{Watch, interruptible, stoppable};

/// Bytes of text after which a shard ends, as by default on the terminal: what a stop can cost each thread.
const SHARD_BYTES: u64 = 8 << 20;

/// More only wait for each other.
const MAX_THREADS: usize = 1024;

/// What is asked for, before anything is read.
struct Asked {
    inputs: Vec<PathBuf>,
    profiles: Vec<PathBuf>,
    keys: Vec<PathBuf>,
    tokenizers: Vec<PathBuf>,
    accounts: Option<Vec<String>>,
    options: Options,
}

/// Scans files into a run folder and returns the bytes of its result.json. An interrupt stops it at the end of the shards in
/// work, and the same call goes on from there.
#[pyfunction]
#[pyo3(signature = (inputs, profiles, keys, out, *, tokenizers, accounts, field, role, input_format, alpha, memory, threads, progress))]
#[expect(clippy::too_many_arguments, reason = "keywords of a Python call")]
fn scan_files<'py>(
    py: Python<'py>,
    inputs: Vec<PathBuf>,
    profiles: Vec<PathBuf>,
    keys: Vec<PathBuf>,
    out: PathBuf,
    tokenizers: Vec<PathBuf>,
    accounts: Option<Vec<String>>,
    field: Option<String>,
    role: Option<String>,
    input_format: &str,
    alpha: f64,
    memory: u64,
    threads: Option<usize>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let format: InputFormat =
        input_format.parse().map_err(|error: ReadError| ParameterError::new_err(error.to_string()))?;
    for path in profiles.iter().chain(&keys) {
        key_path(path, "a scan")?;
    }
    if threads.is_some_and(|threads| threads > MAX_THREADS) {
        return Err(ParameterError::new_err(format!(
            "threads is above {MAX_THREADS}; as many as there are cores do best"
        )));
    }
    if memory == 0 {
        return Err(ParameterError::new_err("memory is 0; it is the number of bytes that deduplication may take"));
    }
    let threads = threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let options = Options {
        inputs: Vec::new(),
        out,
        input_format: format,
        select: Select::new(field, role).map_err(raise)?,
        alpha: given::level(alpha)?,
        memory,
        threads,
        shard_bytes: SHARD_BYTES,
    };
    let asked = Asked { inputs, profiles, keys, tokenizers, accounts, options };
    let json = interruptible(py, progress, |watch| asked.run(watch))?.map_err(raise)?;
    Ok(PyBytes::new(py, &json))
}

impl Asked {
    fn run(mut self, watch: &Watch) -> Result<Vec<u8>> {
        let files = self.profiles.iter().map(|path| Ok((path.clone(), read_profile(path)?)));
        let ids_given = self.options.input_format == InputFormat::Tokens;
        let profiles = Profiles::for_inputs(files.collect::<Result<_>>()?, &self.tokenizers, ids_given)?;
        let nodes = self.keys.iter().map(|path| Ok((path.display().to_string(), read_key(path, &Asking)?)));
        let keys = Keys::new(&profiles, &nodes.collect::<Result<Vec<_>>>()?, self.accounts.as_deref())?;
        self.inputs.sort();
        self.options.inputs = expand(&self.inputs, &self.options.out).context("inputs")?;
        let marks = Marks { profiles: &profiles, keys: &keys };
        match scan::scan(&self.options, &marks, &watch.stop, &|progress| watch.tell(told(progress)))? {
            ScanEnd::Finished(finished) => finished.summary.to_json(),
            ScanEnd::Stopped => bail!("stopped; the same call goes on from here"),
        }
    }
}

fn told(progress: Progress) -> Value {
    let Progress { phase, shards, resumed_shards, records, tokens, bad_records, bytes, bytes_in_all, ln_e } = progress;
    let phase = match phase {
        Phase::Tokenising => "reading",
        Phase::Scoring => "scoring",
        Phase::Ranking => "ranking",
    };
    json!({
        "phase": phase, "shards": shards, "resumed_shards": resumed_shards, "records": records, "tokens": tokens,
        "bad_records": bad_records, "bytes": bytes, "bytes_in_all": bytes_in_all, "ln_e": ln_e,
    })
}

/// Which accounts' keys the records depend on: the tests that a scan of a file of them makes. Gives the bytes of result.json, and a
/// JSON text for every hit.
#[pyfunction]
#[pyo3(signature = (records, profile, key, accounts, *, tokenizer, alpha))]
fn attribute_records<'py>(
    py: Python<'py>,
    records: &Bound<'py, PyAny>,
    profile: &Bound<'py, PyAny>,
    key: &Bound<'py, PyAny>,
    accounts: Vec<String>,
    tokenizer: Option<PathBuf>,
    alpha: f64,
) -> PyResult<(Bound<'py, PyBytes>, Vec<String>)> {
    let alpha = given::level(alpha)?;
    let profile = given::profile(profile)?;
    // A path names a key; digits must not.
    let name = key.extract::<PathBuf>().ok().filter(|path| path.is_file());
    let mut name = name.map_or_else(|| "key".to_owned(), |path| path.display().to_string());
    while accounts.contains(&name) {
        name.push_str(" (the key)");
    }
    let node = keys::node(key)?;
    let tokenizer = profile.tokenizer(py, tokenizer.as_deref())?;
    let has_tokenizer = tokenizer.is_some();
    let file = vec![profile.file];
    let make = || -> Result<(Profiles, Keys)> {
        let profiles = match tokenizer {
            Some(tokenizer) => Profiles::with_tokenizers(file, vec![tokenizer])?,
            None => Profiles::of_ids(file)?,
        };
        let keys = Keys::new(&profiles, &[(name, node)], Some(&accounts))?;
        Ok((profiles, keys))
    };
    let (profiles, keys) = make().map_err(raise)?;
    let mut all = Vec::new();
    each_batch(records, |batch| {
        all.extend_from_slice(batch);
        if has_tokenizer { Ok(()) } else { refuse_text(batch, "attribute") }
    })?;
    let marks = Marks { profiles: &profiles, keys: &keys };
    let made = stoppable(py, |watch| scan::attribute(all, &marks, alpha, &|_| watch.go_on()))?;
    let Attributed { summary, hits, unusable } = made;
    if let Some((record, reason)) = unusable.first() {
        let reason = reason.split_once(": ").map_or(reason.as_str(), |(_, reason)| reason);
        return Err(InputError::new_err(format!("records[{}]: {reason}", record.saturating_sub(1))));
    }
    let hits = hits.iter().map(|hit| Ok(serde_json::to_string(hit)?)).collect::<Result<_>>().map_err(raise)?;
    Ok((PyBytes::new(py, &summary.to_json().map_err(raise)?), hits))
}

/// Adds the functions to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(scan_files, module)?)?;
    module.add_function(wrap_pyfunction!(attribute_records, module)?)
}
