//! Scans of files, as `watermark scan` does.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::{Context, Result, bail};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use watermark_cli::files::{read_key, read_profile};
use watermark_cli::read::{InputFormat, ReadError, Select};
use watermark_cli::scan::{self, Keys, Marks, Options, Outcome, Profiles, expand};

use crate::error::{ParameterError, raise};
use crate::work::interruptible;

/// Bytes of text after which a shard ends, as by default on the terminal: what a stop can cost each thread.
const SHARD_BYTES: u64 = 8 << 20;

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
#[pyo3(signature = (inputs, profiles, keys, out, *, tokenizers, accounts, field, role, input_format, alpha, memory, threads))]
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
) -> PyResult<Bound<'py, PyBytes>> {
    let format: InputFormat =
        input_format.parse().map_err(|error: ReadError| ParameterError::new_err(error.to_string()))?;
    let threads = threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let options = Options {
        inputs: Vec::new(),
        out,
        input_format: format,
        select: Select::new(field, role).map_err(raise)?,
        alpha,
        memory,
        threads,
        shard_bytes: SHARD_BYTES,
    };
    let asked = Asked { inputs, profiles, keys, tokenizers, accounts, options };
    let json = interruptible(py, |stop| asked.run(stop))?.map_err(raise)?;
    Ok(PyBytes::new(py, &json))
}

impl Asked {
    fn run(mut self, stop: &AtomicBool) -> Result<Vec<u8>> {
        if !(self.options.alpha > 0.0 && self.options.alpha < 1.0) {
            bail!("alpha is {}; it must be between 0 and 1", self.options.alpha);
        }
        let files = self.profiles.iter().map(|path| Ok((path.clone(), read_profile(path)?)));
        let ids_given = self.options.input_format == InputFormat::Tokens;
        let profiles = Profiles::for_inputs(files.collect::<Result<_>>()?, &self.tokenizers, ids_given)?;
        let nodes = self.keys.iter().map(|path| Ok((path.display().to_string(), read_key(path)?)));
        let keys = Keys::new(&profiles, &nodes.collect::<Result<Vec<_>>>()?, self.accounts.as_deref())?;
        self.inputs.sort();
        self.options.inputs = expand(&self.inputs, &self.options.out).context("inputs")?;
        let marks = Marks { profiles: &profiles, keys: &keys };
        match scan::scan(&self.options, &marks, stop, &|_| ())? {
            Outcome::Finished(finished) => finished.summary.to_json(),
            Outcome::Stopped => bail!("stopped; the same call goes on from here"),
        }
    }
}

/// Adds the function to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(scan_files, module)?)
}
