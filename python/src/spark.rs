//! The stages of a scan, for `watermark_core.spark`. Batches are Arrow IPC streams as bytes.

use std::path::PathBuf;

use anyhow::{Context, Result};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use watermark_core::key::{parse_key_file, print_key_file};
use watermark_toolkit::files::ProfileFile;
use watermark_toolkit::keys::read_key;
use watermark_toolkit::read::{InputFormat, Select};
use watermark_toolkit::scan::{Keys, Profiles, stages};
use watermark_toolkit::tokenizer::Tokenizer;
use zeroize::Zeroizing;

use crate::error::raise;
use crate::passphrase::Asking;
use crate::work::detached;

/// Profiles, tokenizers and keys of a scan, ready for every stage of it.
#[pyclass(frozen, module = "watermark_core")]
struct Stages(stages::Stages);

/// Counts of what was read.
#[pyclass(module = "watermark_core")]
#[derive(Default)]
struct BatchCounts(stages::BatchCounts);

/// Sums under every key.
#[pyclass(module = "watermark_core")]
struct Summing(stages::Summing);

/// Tests of keys and layers.
#[pyclass(module = "watermark_core")]
struct Conclusion(Option<stages::Conclusion>);

#[pymethods]
impl Stages {
    #[new]
    #[pyo3(signature = (profiles, tokenizers, keys, *, accounts=None, field=None, role=None, input_format="auto"))]
    fn new(
        profiles: Vec<String>,
        tokenizers: Vec<Vec<u8>>,
        keys: Vec<(String, String)>,
        accounts: Option<Vec<String>>,
        field: Option<String>,
        role: Option<String>,
        input_format: &str,
    ) -> PyResult<Self> {
        let keys = keys.into_iter().map(|(name, text)| (name, Zeroizing::new(text))).collect::<Vec<_>>();
        let make = || -> Result<stages::Stages> {
            let select = Select::new(field, role)?;
            let format: InputFormat = input_format.parse()?;
            let files = profiles.iter().enumerate();
            let files = files.map(|(at, text)| ProfileFile::parse(text).with_context(|| format!("profiles[{at}]")));
            let files = files.collect::<Result<Vec<_>>>()?;
            let tokenizers = tokenizers.iter().enumerate();
            let tokenizers = tokenizers.map(|(at, bytes)| Tokenizer::from_bytes(bytes, &format!("tokenizers[{at}]")));
            let profiles = match format {
                InputFormat::Tokens => Profiles::of_ids(files)?,
                _ => Profiles::with_tokenizers(files, tokenizers.collect::<Result<_>>()?)?,
            };
            let nodes = keys
                .iter()
                .map(|(name, text)| Ok((name.clone(), parse_key_file(text).with_context(|| format!("key {name}"))?)));
            let keys = Keys::new(&profiles, &nodes.collect::<Result<Vec<_>>>()?, accounts.as_deref())?;
            Ok(stages::Stages::new(profiles, keys, select, format))
        };
        make().map(Self).map_err(raise)
    }

    fn read<'py>(&self, py: Python<'py>, batches: &[u8], counts: &mut BatchCounts) -> PyResult<Bound<'py, PyBytes>> {
        bytes(py, detached(py, || self.0.read(batches, &mut counts.0))?)
    }

    fn pairs<'py>(&self, py: Python<'py>, tables: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        bytes(py, detached(py, || self.0.pairs(tables))?)
    }

    fn summing(&self) -> Summing {
        Summing(self.0.summing())
    }

    fn to_resample(&self, counts: Vec<String>) -> PyResult<Vec<usize>> {
        self.0.to_resample(&counts).map_err(raise)
    }

    fn conclude(
        &self,
        py: Python<'_>,
        counts: Vec<String>,
        sums: &[u8],
        resampled: &[u8],
        alpha: f64,
    ) -> PyResult<Conclusion> {
        let made = detached(py, || self.0.conclude(&counts, sums, resampled, alpha))?;
        made.map(|conclusion| Conclusion(Some(conclusion))).map_err(raise)
    }

    fn texts<'py>(&self, py: Python<'py>, tables: &[u8], tested: &str) -> PyResult<Bound<'py, PyBytes>> {
        bytes(py, detached(py, || self.0.texts(tables, tested))?)
    }

    fn __repr__(&self) -> &'static str {
        "Stages(<keys are not shown>)"
    }
}

#[pymethods]
impl BatchCounts {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn counts(&self) -> PyResult<String> {
        self.0.counts().map_err(raise)
    }
}

#[pymethods]
impl Summing {
    fn add(&mut self, py: Python<'_>, stages: &Stages, pairs: &[u8]) -> PyResult<()> {
        detached(py, || self.0.add(&stages.0, pairs))?.map_err(raise)
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        bytes(py, self.0.finish())
    }
}

#[pymethods]
impl Conclusion {
    fn tested(&self) -> PyResult<String> {
        self.0
            .as_ref()
            .context("the conclusion was finished already")
            .and_then(stages::Conclusion::tested)
            .map_err(raise)
    }

    /// `result.json`, and a JSON text for every hit.
    fn finish<'py>(
        &mut self,
        py: Python<'py>,
        stages: &Stages,
        candidates: &[u8],
    ) -> PyResult<(Bound<'py, PyBytes>, Vec<String>)> {
        let conclusion = self.0.take();
        let finish = || -> Result<(Vec<u8>, Vec<String>)> {
            let conclusion = conclusion.context("the conclusion was finished already")?;
            let (summary, hits) = conclusion.finish(&stages.0, candidates)?;
            let hits = hits.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
            Ok((summary.to_json()?, hits))
        };
        let (json, hits) = detached(py, finish)?.map_err(raise)?;
        Ok((PyBytes::new(py, &json), hits))
    }
}

/// The text of a key file that only its owner may read.
#[pyfunction]
fn key_text(path: PathBuf) -> PyResult<String> {
    let read = || -> Result<String> { Ok(print_key_file(&read_key(&path, &Asking)?).to_string()) };
    read().map_err(raise)
}

fn bytes(py: Python<'_>, made: Result<Vec<u8>>) -> PyResult<Bound<'_, PyBytes>> {
    made.map(|made| PyBytes::new(py, &made)).map_err(raise)
}

/// Adds the stages to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Stages>()?;
    module.add_class::<BatchCounts>()?;
    module.add_class::<Summing>()?;
    module.add_class::<Conclusion>()?;
    module.add_function(wrap_pyfunction!(key_text, module)?)
}
