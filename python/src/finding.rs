//! Findings: values, with the faces that notebooks ask for.

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator};
use serde::Serialize;
use watermark_toolkit::detect::{self, LayerLine, SpanLine};

use crate::html;

/// The test of one layer, over all records together or over one.
#[pyclass(frozen, module = "watermark_core")]
pub(crate) struct Finding(LayerLine);

#[pymethods]
impl Finding {
    /// The record's id, or None for all records together.
    #[getter]
    fn record(&self) -> Option<&str> {
        self.0.record.as_deref()
    }

    /// The layer's name in its profile; None for a raw PRF key.
    #[getter]
    fn layer(&self) -> Option<&str> {
        self.0.layer.as_deref()
    }

    /// The scheme's name.
    #[getter]
    fn scheme(&self) -> &'static str {
        self.0.scheme
    }

    /// Distinct PRF inputs: the sample size.
    #[getter]
    fn n_scored(&self) -> u64 {
        self.0.n_scored
    }

    /// Positions whose PRF input had occurred before.
    #[getter]
    fn n_duplicate(&self) -> u64 {
        self.0.n_duplicate
    }

    /// Special tokens and pairs of excluded prompts.
    #[getter]
    fn n_excluded(&self) -> u64 {
        self.0.n_excluded
    }

    /// Positions without a full context.
    #[getter]
    fn n_short_context(&self) -> u64 {
        self.0.n_short_context
    }

    /// Green tokens, ones, or the score sum in units of 2^-32; with weights, and beside references, the weighted sum.
    #[getter]
    fn statistic(&self) -> PyResult<i128> {
        Ok(self.0.statistic.parse()?)
    }

    /// log10 of P(statistic at least this large) if the records are independent of the key; with weights, and beside references, of a bound
    /// on it.
    #[getter]
    fn log10_p(&self) -> f64 {
        self.0.log10_p
    }

    /// 10 ** log10_p, which is 0.0 below the smallest float; print log10_p instead.
    #[getter]
    fn p_value(&self) -> f64 {
        10f64.powf(self.0.log10_p)
    }

    /// Natural logarithm of the e-value; None with weights.
    #[getter]
    fn ln_e(&self) -> Option<f64> {
        self.0.ln_e
    }

    /// exp(ln_e), which is inf above the largest float; print ln_e instead. None with weights.
    #[getter]
    fn e_value(&self) -> Option<f64> {
        self.0.ln_e.map(f64::exp)
    }

    /// How a pair was weighted: `none`, `sqrt`, or `residual` beside references.
    #[getter]
    fn weights(&self) -> &'static str {
        self.0.weights
    }

    /// What stood beside all records together, a dict for each reference: name, sha256, shows, texts, covered_tokens, tested_tokens, share.
    #[getter]
    fn references<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.0.references.iter().map(|reference| to_dict(py, reference)).collect()
    }

    /// log10 of a bound for what the references expect, which leans away from the key where it is small; None without references.
    #[getter]
    fn references_log10_p(&self) -> Option<f64> {
        self.0.references_log10_p
    }

    /// Whether no reference leans away from the key; true without references.
    #[getter]
    fn references_agree(&self) -> bool {
        self.0.references_agree
    }

    /// log10 of (1 + fresh keys that do as well) / (fresh keys + 1); None where that was not done.
    #[getter]
    fn log10_p_resampled(&self) -> Option<f64> {
        self.0.log10_p_resampled
    }

    /// `detected`, `not_detected` or `inconclusive`, after Holm's adjustment over the family.
    #[getter]
    fn verdict(&self) -> &'static str {
        self.0.verdict.as_str()
    }

    /// What the family consists of.
    #[getter]
    fn family(&self) -> &str {
        &self.0.family
    }

    /// Number of tests in the family.
    #[getter]
    fn family_size(&self) -> usize {
        self.0.family_size
    }

    /// With `not_detected`: the smallest effect that would have been shown, as a dict of `of` (`ones_share`, or `mean_score` in nats
    /// a pair), `value` and `power`.
    #[getter]
    fn smallest_effect<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.0.smallest_effect.as_ref().map(|effect| to_dict(py, effect)).transpose()
    }

    /// What `watermark detect --json` prints of it.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        to_dict(py, &self.0)
    }

    fn _repr_html_(&self) -> String {
        html::findings(std::slice::from_ref(&self.0))
    }

    fn __repr__(&self) -> String {
        let LayerLine { record, layer, scheme, n_scored, log10_p, verdict, .. } = &self.0;
        let record = record.as_ref().map(|record| format!("record={record:?}, ")).unwrap_or_default();
        let (layer, verdict) = (layer.as_deref().unwrap_or(scheme), verdict.as_str());
        format!("Finding({record}layer={layer:?}, n_scored={n_scored}, log10_p={log10_p:.2}, verdict={verdict:?})")
    }
}

/// One marked stretch of a record. `tokens` and `window` are (first, one past the last).
#[pyclass(frozen, module = "watermark_core")]
pub(crate) struct Span(pub(crate) SpanLine);

#[pymethods]
impl Span {
    /// The record's id.
    #[getter]
    fn record(&self) -> &str {
        &self.0.record
    }

    /// The layer's name in its profile; None for a raw PRF key.
    #[getter]
    fn layer(&self) -> Option<&str> {
        self.0.layer.as_deref()
    }

    /// The scheme's name.
    #[getter]
    fn scheme(&self) -> &'static str {
        self.0.scheme
    }

    /// Estimated stretch, in tokens of the generated side.
    #[getter]
    fn tokens(&self) -> (usize, usize) {
        self.0.span.tokens
    }

    /// The same in bytes of the text's UTF-8; None for token ids.
    #[getter]
    fn bytes(&self) -> Option<(usize, usize)> {
        self.0.span.bytes
    }

    /// The window that was tested, in tokens.
    #[getter]
    fn window(&self) -> (usize, usize) {
        self.0.window.tokens
    }

    /// Distinct PRF inputs in the window.
    #[getter]
    fn n_scored(&self) -> u64 {
        self.0.n_scored
    }

    /// log10 p of the window alone.
    #[getter]
    fn log10_p(&self) -> f64 {
        self.0.log10_p
    }

    /// log10 p adjusted for every window of every record and layer.
    #[getter]
    fn log10_p_adjusted(&self) -> f64 {
        self.0.log10_p_adjusted
    }

    /// `detected`, or `inconclusive` where fresh keys contradict the tail.
    #[getter]
    fn verdict(&self) -> &'static str {
        self.0.verdict.as_str()
    }

    /// What `watermark detect --locate --json` prints of it.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        to_dict(py, &self.0)
    }

    fn _repr_html_(&self) -> String {
        html::spans(std::slice::from_ref(&self.0))
    }

    fn __repr__(&self) -> String {
        let SpanLine { record, span, log10_p_adjusted, verdict, .. } = &self.0;
        let ((from, to), verdict) = (span.tokens, verdict.as_str());
        format!(
            "Span(record={record:?}, tokens=({from}, {to}), log10_p_adjusted={log10_p_adjusted:.2}, verdict={verdict:?})"
        )
    }
}

/// What a detection has found: a sequence of one finding per layer over all records together, and more where asked for.
#[pyclass(frozen, sequence, module = "watermark_core")]
pub(crate) struct Report(pub(crate) detect::Report);

#[pymethods]
impl Report {
    /// Whether any layer is detected in all records together.
    #[getter]
    fn detected(&self) -> bool {
        self.0.detected
    }

    /// One finding per layer over all records together: what the report is a sequence of.
    #[getter]
    fn pooled(&self) -> Vec<Finding> {
        self.0.pooled.iter().cloned().map(Finding).collect()
    }

    /// One finding per record and layer; empty unless asked for.
    #[getter]
    fn per_record(&self) -> Vec<Finding> {
        self.0.per_record.iter().cloned().map(Finding).collect()
    }

    /// Marked stretches; empty unless asked for.
    #[getter]
    fn spans(&self) -> Vec<Span> {
        self.0.spans.iter().cloned().map(Span).collect()
    }

    /// A pandas DataFrame of the `pooled` findings, of those `per_record`, or of the `spans`: a row each, a column for each attribute.
    #[pyo3(signature = (of="pooled"))]
    fn to_frame<'py>(slf: &Bound<'py, Self>, of: &str) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("watermark_core._frame")?.call_method1("of_report", (slf, of))
    }

    /// Every line of `watermark detect --json`, under `pooled`, `per_record` and `spans`, and `detected`.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        #[derive(Serialize)]
        struct Lines<'a> {
            detected: bool,
            pooled: &'a [LayerLine],
            per_record: &'a [LayerLine],
            spans: &'a [SpanLine],
        }
        let detect::Report { pooled, per_record, spans, detected } = &self.0;
        to_dict(py, &Lines { detected: *detected, pooled, per_record, spans })
    }

    fn _repr_html_(&self) -> String {
        let detect::Report { pooled, per_record, spans, .. } = &self.0;
        let mut page = html::findings(pooled);
        if !per_record.is_empty() {
            page += &html::findings(per_record);
        }
        if !spans.is_empty() {
            page += &html::spans(spans);
        }
        page
    }

    fn __len__(&self) -> usize {
        self.0.pooled.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.pooled().into_pyobject(py)?.try_iter()
    }

    fn __getitem__(&self, index: isize) -> PyResult<Finding> {
        let n = self.0.pooled.len();
        let at = if index < 0 { index.checked_add_unsigned(n) } else { Some(index) };
        let line = at.and_then(|at| self.0.pooled.get(usize::try_from(at).ok()?));
        line.cloned()
            .map(Finding)
            .ok_or_else(|| PyIndexError::new_err(format!("a report of {n} findings has none at {index}")))
    }

    fn __repr__(&self) -> String {
        let findings: Vec<String> = self.pooled().iter().map(Finding::__repr__).collect();
        let detect::Report { per_record, spans, detected, .. } = &self.0;
        let detected = if *detected { "True" } else { "False" };
        format!(
            "Report(detected={detected}, pooled=[{}], per_record=<{}>, spans=<{}>)",
            findings.join(", "),
            per_record.len(),
            spans.len()
        )
    }
}

/// Through JSON, so that a dict is what the terminal prints.
pub(crate) fn to_dict<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyDict>> {
    let json = serde_json::to_string(value).map_err(|error| crate::error::raise(error.into()))?;
    Ok(py.import("json")?.call_method1("loads", (json,))?.cast_into::<PyDict>()?)
}

/// Adds the classes to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Finding>()?;
    module.add_class::<Span>()?;
    module.add_class::<Report>()
}
