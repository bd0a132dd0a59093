//! Tests of a suspect model over files, as `watermark test-model` makes them.

use std::path::PathBuf;

use anyhow::Result;
use pyo3::prelude::*;
use serde_json::json;
use watermark_core::detect::Resampling;
use watermark_core::model_test::Access;
use watermark_toolkit::files::read_profile;
use watermark_toolkit::ids::Vocabulary;
use watermark_toolkit::keys::read_key;
use watermark_toolkit::model_test::{FirstBad, Material, Options, Reference, Select, Source, TestedLayer, judge};
use watermark_toolkit::read::{InputFormat, ReadError};
use watermark_toolkit::tokenizer::Tokenizer;

use crate::error::{ParameterError, raise};
use crate::given;
use crate::key_file::key_path;
use crate::passphrase::Asking;
use crate::work::{Watch, interruptible};

/// What is tested.
struct Asked {
    profile: PathBuf,
    key: PathBuf,
    suspect: Vec<PathBuf>,
    controls: Vec<PathBuf>,
    references: Vec<PathBuf>,
    reserved: Vec<PathBuf>,
    layers: Vec<String>,
    account: Option<String>,
    tokenizer: Option<PathBuf>,
    format: InputFormat,
    options: Options,
}

/// One JSON text for each layer. `progress` is told how many fresh keys are done.
#[pyfunction]
#[pyo3(signature = (
    profile, key, shows, suspect, *, controls, references, reserved, layers, account, tokenizer, input_format, resample, alpha, progress
))]
#[expect(clippy::too_many_arguments, reason = "keywords of a Python call")]
fn test_model_files(
    py: Python<'_>,
    profile: PathBuf,
    key: PathBuf,
    shows: &str,
    suspect: Vec<PathBuf>,
    controls: Vec<PathBuf>,
    references: Vec<PathBuf>,
    reserved: Vec<PathBuf>,
    layers: Vec<String>,
    account: Option<String>,
    tokenizer: Option<PathBuf>,
    input_format: &str,
    resample: u32,
    alpha: f64,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Vec<String>> {
    for path in [&profile, &key].into_iter().chain(&reserved) {
        key_path(path, "a test of a model")?;
    }
    let format = input_format.parse().map_err(|error: ReadError| ParameterError::new_err(error.to_string()))?;
    let access = Access::ALL.into_iter().find(|access| access.as_str() == shows);
    let access = access.ok_or_else(|| ParameterError::new_err(format!("a model does not show {shows:?}")))?;
    Resampling::check_keys(resample).map_err(|error| ParameterError::new_err(error.to_string()))?;
    let options = Options { access, alpha: given::level(alpha)?, resample };
    let asked =
        Asked { profile, key, suspect, controls, references, reserved, layers, account, tokenizer, format, options };
    interruptible(py, progress, |watch| asked.run(watch))?.map_err(raise)
}

impl Asked {
    fn run(&self, watch: &Watch) -> Result<Vec<String>> {
        let info = read_profile(&self.profile)?.profile.tokenizer;
        let tokenizer = Tokenizer::for_profile(self.tokenizer.as_deref(), &self.profile, &info)?;
        let key = read_key(&self.key, &Asking)?;
        let select = Select { reserved: &self.reserved, account: self.account.as_deref(), names: &self.layers };
        let tested = TestedLayer::select(&self.profile, &key, &select)?;
        let bad = FirstBad::default();
        let complain = |error: &anyhow::Error| bad.keep(error);
        let vocabulary = Vocabulary { tokenizer: Some(&tokenizer), size: Some(info.vocab_size) };
        let source = Source { vocabulary, input_format: self.format, complain: &complain };
        let access = self.options.access;
        let suspect = Material::read(&self.suspect, access, &source)?;
        let controls = self.controls.iter().map(|path| Material::read(std::slice::from_ref(path), access, &source));
        let controls = controls.collect::<Result<Vec<_>>>()?;
        let references =
            self.references.iter().map(|path| Reference::read(path, access, &source)).collect::<Result<Vec<_>>>()?;
        bad.check()?;
        let in_all = u64::from(self.options.resample) * tested.len() as u64;
        let done = std::sync::atomic::AtomicU64::new(0);
        let told = |keys: u64| {
            let done = done.fetch_add(keys, std::sync::atomic::Ordering::Relaxed) + keys;
            watch.tell(json!({"fresh_keys": done, "fresh_keys_in_all": in_all}));
            watch.go_on()
        };
        let (lines, _) = judge(&tested, &suspect, &controls, &references, &self.options, told)?;
        lines.iter().map(|line| Ok(serde_json::to_string(line)?)).collect()
    }
}

/// Adds the function to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(test_model_files, module)?)
}
