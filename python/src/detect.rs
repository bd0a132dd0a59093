//! Detection over records in memory.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use watermark_core::detect::{self, LayerDetector, RESAMPLING_KEYS, Resampling, Weights};
use watermark_core::engine::{Engine, EngineKey, EngineOptions};
use watermark_core::model_test::Access;
use watermark_core::scheme::Scheme;
use watermark_toolkit::beside::Beside;
use watermark_toolkit::detect::{self as toolkit, Detection, Exclude, Options, report};
use watermark_toolkit::ids::Vocabulary;
use watermark_toolkit::model_test::{FirstBad, Reference, Source};
use watermark_toolkit::read::{InputFormat, Record};
use watermark_toolkit::tokenizer::Tokenizer;
use zeroize::Zeroizing;

use crate::error::{InputError, ParameterError, raise, raise_core};
use crate::finding::{self, Report};
use crate::given::{self, whole};
use crate::highlight::Highlight;
use crate::keys::{self, prf_key};
use crate::records::{each_batch, records, refuse_text};
use crate::work::{detached, held, not_pickled, stoppable};

/// Every layer of a deployment under one key, ready to score. Any number of threads may share one.
#[pyclass(frozen, module = "watermark_core")]
struct Detector(Arc<Shared>);

struct Shared {
    layers: Vec<LayerDetector>,
    tokenizer: Option<Tokenizer>,
    vocab_size: Option<u32>,
}

#[pymethods]
impl Detector {
    #[new]
    #[pyo3(signature = (profile, key, *, account=None, tokenizer=None))]
    fn new(
        py: Python<'_>,
        profile: &Bound<'_, PyAny>,
        key: &Bound<'_, PyAny>,
        account: Option<&str>,
        tokenizer: Option<PathBuf>,
    ) -> PyResult<Self> {
        let given = given::profile(profile)?;
        let key = keys::node(key)?;
        let profile = &given.file.profile;
        let detector = detect::Detector::new(profile, &key, account).map_err(raise_core)?;
        let tokenizer = given.tokenizer(py, tokenizer.as_deref())?;
        let vocab_size = Some(profile.tokenizer.vocab_size);
        Ok(Self(Arc::new(Shared { layers: detector.layers().to_vec(), tokenizer, vocab_size })))
    }

    /// One of our schemes under a raw PRF key (64 hexadecimal digits or a `PrfKey`), without a profile. Its parameters are keywords:
    /// `gamma`, `depth`, `weighted`, `key_b_share`, ...; what only marking needs may be left out.
    #[staticmethod]
    #[pyo3(signature = (*, scheme, context_width, prf_key, tokenizer=None, **parameters))]
    fn from_prf_key(
        py: Python<'_>,
        scheme: &str,
        context_width: usize,
        prf_key: &Bound<'_, PyAny>,
        tokenizer: Option<PathBuf>,
        parameters: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let scheme = Scheme::from_options(scheme, &given::parameters(parameters)?).map_err(raise_core)?;
        let layer = LayerDetector::from_prf_key(scheme, context_width, &self::prf_key(prf_key)?).map_err(raise_core)?;
        Self::of_layer(py, layer, tokenizer, None)
    }

    /// Another engine's mark under the engine's own key, as its configuration writes it (`watermark detect --help` has the
    /// engines and the forms of their keys). `vocab_size` is the length of the logits row at generation. For engines that draw
    /// from torch's generator this tests for marks made on a CPU; those made on a GPU cannot be checked.
    #[staticmethod]
    #[pyo3(signature = (
        *, engine, engine_key, context_width=None, algorithm=None, gamma=None, depth=None, key_b_share=None, vocab_size=None,
        tokenizer=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords of a Python call")]
    fn from_engine(
        py: Python<'_>,
        engine: &str,
        engine_key: String,
        context_width: Option<usize>,
        algorithm: Option<String>,
        gamma: Option<f64>,
        depth: Option<u32>,
        key_b_share: Option<f64>,
        vocab_size: Option<u32>,
        tokenizer: Option<PathBuf>,
    ) -> PyResult<Self> {
        let key = Zeroizing::new(engine_key);
        let options = EngineOptions { context_width, algorithm, gamma, depth, alpha: key_b_share, vocab_size };
        let engine = Engine::for_key(engine, &key, &options).map_err(raise_core)?;
        let key = EngineKey::parse(&engine, &key).map_err(raise_core)?;
        let layer = LayerDetector::from_engine(engine, &key).map_err(raise_core)?;
        Self::of_layer(py, layer, tokenizer, vocab_size)
    }

    /// Tests records for marks: what `watermark detect` does, and with its verdicts.
    ///
    /// Null hypothesis: the records are independent of the key; p is exact for any such records. A record is token ids, a text
    /// (needs a tokenizer), or a dict: `tokens` with `prompt_tokens` and `id`, or the fields of a file (`messages`, `prompt` and
    /// `completion`, `text`, ...). Every distinct PRF input counts once over all records; pairs of a record's own prompt do
    /// not count (`exclude="run"`: of any prompt). A record that cannot be used raises `InputError` and says which one.
    ///
    /// `reference`, for text in which most tokens are certain: files of what an unmarked model says along the texts, as
    /// `watermark_core.suspect` writes them, or of its answers to the same prompts. A pair then weighs what the text has it beyond what
    /// they expect, and p is a bound; pairs of any prompt tested together do not count.
    #[pyo3(signature = (
        records, *, reference=None, alpha=1e-6, per_record=false, locate=false, weights="none", exclude=None, resample=999
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords of a Python call")]
    fn detect(
        &self,
        py: Python<'_>,
        records: &Bound<'_, PyAny>,
        reference: Option<&Bound<'_, PyAny>>,
        alpha: f64,
        per_record: bool,
        locate: bool,
        weights: &str,
        exclude: Option<&str>,
        #[pyo3(from_py_with = whole)] resample: u32,
    ) -> PyResult<Report> {
        if reference.is_some() && exclude.is_some() {
            return Err(ParameterError::new_err(
                "beside references pairs of any prompt are left out; leave exclude out",
            ));
        }
        let exclude = self::exclude(exclude.unwrap_or("record"))?;
        let options = Options { per_record, locate, exclude, ..options(alpha, weights, resample)? };
        if let Some(paths) = reference {
            return self.0.beside(py, records, &given::several(paths)?, options).map(Report);
        }
        let run = self.0.counted(py, records, options)?;
        stoppable(py, |watch| run.report(|_| watch.go_on())).map(Report)
    }

    /// log10 p of the records, all together, under fresh keys: one list for each layer, of the keys that `log10_p_resampled` counts.
    /// Empty where another key would count other positions. Arguments are those of `detect`.
    #[pyo3(signature = (records, *, weights="none", exclude="record", resample=999))]
    fn fresh_log10_p(
        &self,
        py: Python<'_>,
        records: &Bound<'_, PyAny>,
        weights: &str,
        exclude: &str,
        #[pyo3(from_py_with = whole)] resample: u32,
    ) -> PyResult<Vec<Vec<f64>>> {
        let options = Options { exclude: self::exclude(exclude)?, ..options(ALPHA, weights, resample)? };
        let run = self.0.counted(py, records, options)?;
        stoppable(py, |watch| run.fresh_log10_p(|_| watch.go_on()))
    }

    /// Which stretches of one record are marked, to be looked at in a notebook. The last text of a conversation is shown.
    #[pyo3(signature = (record, *, alpha=1e-6, resample=999))]
    fn highlight(
        &self,
        py: Python<'_>,
        record: &Bound<'_, PyAny>,
        alpha: f64,
        #[pyo3(from_py_with = whole)] resample: u32,
    ) -> PyResult<Highlight> {
        let options = Options { locate: true, ..options(alpha, "none", resample)? };
        let mut run = self.0.run(options)?;
        let texts = records(record, 0)?;
        let last = texts.last().ok_or_else(|| InputError::new_err("the record has no text"))?;
        self.0.add(py, &texts, |batch| run.add(batch))?;
        let report = stoppable(py, |watch| run.report(|_| watch.go_on()))?;
        let spans = report.spans.into_iter().filter(|line| Some(&line.record) == last.id.as_ref());
        Ok(Highlight::new(&last.body, spans.collect()))
    }

    /// Counts of records, to be added up over batches or threads before they are tested.
    fn tally(&self) -> Tally {
        let tallies = self.0.layers.iter().map(LayerDetector::tally).collect();
        Tally { shared: Arc::clone(&self.0), tallies: Mutex::new(Arc::new(tallies)) }
    }

    /// Tests a tally as `detect` tests its records.
    #[pyo3(signature = (tally, *, alpha=1e-6, weights="none", resample=999))]
    fn report(
        &self,
        py: Python<'_>,
        tally: &Tally,
        alpha: f64,
        weights: &str,
        #[pyo3(from_py_with = whole)] resample: u32,
    ) -> PyResult<Report> {
        let options = options(alpha, weights, resample)?;
        self.0.check_counts(&tally.shared)?;
        let (layers, tallies) = (&self.0.layers, Arc::clone(&*tally.held()?));
        stoppable(py, |watch| report(layers, &tallies, options, |_| watch.go_on())).map(Report)
    }

    /// Names of the layers; None for a raw PRF key.
    #[getter]
    fn layers(&self) -> Vec<Option<&str>> {
        self.0.layers.iter().map(LayerDetector::name).collect()
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_pickled("Detector"))
    }

    fn __repr__(&self) -> String {
        let layers = self.0.layers.iter().map(|layer| layer.name().unwrap_or(layer.scheme().name()));
        format!("Detector(layers={:?}, key=<not shown>)", layers.collect::<Vec<_>>())
    }
}

impl Detector {
    fn of_layer(
        py: Python<'_>,
        layer: LayerDetector,
        tokenizer: Option<PathBuf>,
        vocab_size: Option<u32>,
    ) -> PyResult<Self> {
        let open = || tokenizer.as_deref().map(Tokenizer::open).transpose();
        let tokenizer = py.detach(open).map_err(raise)?;
        Ok(Self(Arc::new(Shared { layers: vec![layer], tokenizer, vocab_size })))
    }
}

impl Shared {
    fn vocabulary(&self) -> Vocabulary<'_> {
        Vocabulary { tokenizer: self.tokenizer.as_ref(), size: self.vocab_size }
    }

    fn run(&self, options: Options) -> PyResult<Detection<'_>> {
        let run = Detection::new(&self.layers, self.vocabulary(), options);
        run.check().map_err(raise)?;
        Ok(run)
    }

    /// A run that has seen all records.
    fn counted(&self, py: Python<'_>, records: &Bound<'_, PyAny>, options: Options) -> PyResult<Detection<'_>> {
        let mut run = self.run(options)?;
        each_batch(records, |batch| self.add(py, batch, |batch| run.add(batch)))?;
        Ok(run)
    }

    /// What [`Detector::detect`] says beside references.
    fn beside(
        &self,
        py: Python<'_>,
        given: &Bound<'_, PyAny>,
        paths: &[PathBuf],
        options: Options,
    ) -> PyResult<toolkit::Report> {
        let bad = FirstBad::default();
        let complain = |error: &anyhow::Error| bad.keep(error);
        let input_format = if self.tokenizer.is_none() { InputFormat::Tokens } else { InputFormat::default() };
        let source = Source { vocabulary: self.vocabulary(), input_format, complain: &complain };
        let read = |path: &PathBuf| Reference::read(path, Access::Answers, &source);
        let references = py.detach(|| paths.iter().map(read).collect::<anyhow::Result<Vec<_>>>()).map_err(raise)?;
        bad.check().map_err(raise)?;
        let mut run = Beside::new(&self.layers, self.vocabulary(), &references, options).map_err(raise)?;
        each_batch(given, |batch| self.add(py, batch, |batch| Ok(run.add(batch))))?;
        stoppable(py, |watch| run.report(|_| watch.go_on()))
    }

    /// Refuses counts that were made for other layers; under which key does not matter to them.
    fn check_counts(&self, made_for: &Self) -> PyResult<()> {
        let layer = |detector: &LayerDetector| (detector.name().map(str::to_owned), detector.scheme());
        let identity = |shared: &Self| (shared.layers.iter().map(layer).collect::<Vec<_>>(), shared.vocab_size);
        if identity(self) == identity(made_for) {
            return Ok(());
        }
        Err(ParameterError::new_err(
            "the tally is of other layers: names, schemes and their parameters must be the same",
        ))
    }

    fn add(
        &self,
        py: Python<'_>,
        batch: &[Record],
        add: impl FnOnce(&[Record]) -> anyhow::Result<Vec<anyhow::Result<()>>> + Send,
    ) -> PyResult<()> {
        if self.tokenizer.is_none() {
            refuse_text(batch, "Detector")?;
        }
        let results = detached(py, || add(batch))?.map_err(raise)?;
        let bad = batch.iter().zip(results).find_map(|(record, result)| Some((record, result.err()?)));
        bad.map_or(Ok(()), |(record, error)| {
            let at = record.location.line().saturating_sub(1);
            Err(InputError::new_err(format!("records[{at}]: {error:#}")))
        })
    }
}

// Signatures show it as a number.
const _: () = assert!(RESAMPLING_KEYS == 999);

/// The level that no result of a call depends on.
const ALPHA: f64 = 1e-6;

fn exclude(given: &str) -> PyResult<Exclude> {
    match given {
        "record" => Ok(Exclude::Record),
        "run" => Ok(Exclude::Run),
        _ => Err(ParameterError::new_err(format!("exclude is {given:?}; it must be \"record\" or \"run\""))),
    }
}

fn options(alpha: f64, weights: &str, resample: u32) -> PyResult<Options> {
    let alpha = given::level(alpha)?;
    Resampling::check_keys(resample).map_err(|error| ParameterError::new_err(format!("resample: {error}")))?;
    let weights = Weights::COUNTED
        .into_iter()
        .find(|known| known.as_str() == weights)
        .ok_or_else(|| ParameterError::new_err(format!("weights is {weights:?}; it must be \"none\" or \"sqrt\"")))?;
    Ok(Options {
        alpha,
        per_record: false,
        weights,
        exclude: Exclude::Record,
        resample,
        locate: false,
        compare_peer: false,
    })
}

/// How often each PRF input of each layer occurred. Merging is associative and commutative: any split and order of the records
/// gives the same tally. The order of the calls matters only for a conversation, whose turns stand in one record.
#[pyclass(frozen, module = "watermark_core")]
struct Tally {
    shared: Arc<Shared>,
    /// Shared with the reports that are being made of it.
    tallies: Mutex<Arc<Vec<detect::Tally>>>,
}

#[pymethods]
impl Tally {
    /// Adds token ids; pairs of `prompt` do not count. After an error nothing was added.
    #[pyo3(signature = (tokens, prompt=None))]
    fn add(&self, py: Python<'_>, tokens: &Bound<'_, PyAny>, prompt: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let tokens = given::token_ids(tokens, "tokens")?;
        let prompt = prompt.map(|prompt| given::token_ids(prompt, "prompt")).transpose()?.unwrap_or_default();
        let vocabulary = self.shared.vocabulary();
        for (side, ids) in [("tokens", &tokens), ("prompt", &prompt)] {
            vocabulary.check(side, ids).map_err(|error| InputError::new_err(error.to_string()))?;
        }
        let tallies = &mut *self.held()?;
        py.detach(|| {
            let layers = self.shared.layers.iter().zip(Arc::make_mut(tallies));
            layers.into_iter().try_for_each(|(layer, tally)| layer.add(tally, &prompt, &tokens))
        })
        .map_err(raise_core)
    }

    /// Adds another tally of the same layers.
    fn merge(&self, py: Python<'_>, other: &Self) -> PyResult<()> {
        self.shared.check_counts(&other.shared)?;
        let other = Arc::clone(&*other.held()?);
        let tallies = &mut *self.held()?;
        let merged = py.detach(|| {
            let mut merged = Vec::clone(tallies);
            merged.iter_mut().zip(&*other).try_for_each(|(tally, other)| tally.merge(other.clone()))?;
            Ok(Arc::new(merged))
        });
        *tallies = merged.map_err(raise_core)?;
        Ok(())
    }

    /// Distinct PRF inputs of each layer.
    #[getter]
    fn n_scored(&self) -> PyResult<Vec<u64>> {
        self.counts(detect::Tally::n_scored)
    }

    /// Positions of each layer whose PRF input had occurred before.
    #[getter]
    fn n_duplicate(&self) -> PyResult<Vec<u64>> {
        self.counts(detect::Tally::n_duplicate)
    }

    /// Special tokens and pairs of prompts, of each layer.
    #[getter]
    fn n_excluded(&self) -> PyResult<Vec<u64>> {
        self.counts(detect::Tally::n_excluded)
    }

    /// Positions of each layer without a full context.
    #[getter]
    fn n_short_context(&self) -> PyResult<Vec<u64>> {
        self.counts(detect::Tally::n_short_context)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_pickled("Tally"))
    }

    fn __repr__(&self) -> PyResult<String> {
        Ok(format!("Tally(n_scored={:?})", self.n_scored()?))
    }
}

impl Tally {
    fn held(&self) -> PyResult<MutexGuard<'_, Arc<Vec<detect::Tally>>>> {
        held(&self.tallies, "this tally")
    }

    fn counts(&self, count: impl Fn(&detect::Tally) -> u64) -> PyResult<Vec<u64>> {
        Ok(self.held()?.iter().map(count).collect())
    }
}

/// Adds the classes to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Detector>()?;
    module.add_class::<Tally>()?;
    module.add_class::<Highlight>()?;
    finding::add(module)
}
