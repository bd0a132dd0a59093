//! Planning, as `watermark plan` does.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use watermark_core::model_test::Access;
use watermark_toolkit::plan::{Question, ReferenceKind, scale};

use crate::error::ParameterError;
use crate::finding::to_dict;
use crate::given;

/// How many tokens, prompts, money and minutes a test of a suspect model needs: one dict for each kind of access, sample and share,
/// as `watermark plan --json` prints. Interpolates curves measured in the laboratory; nothing is extrapolated.
#[pyfunction]
#[pyo3(signature = (
    *, access=None, reference=None, share=None, profile=None, alpha=1e-6, family=1, tokens_per_answer=70.0, tokens_per_prompt=40.0,
    price_prompt=None, price_completion=None, answers_per_minute=None
))]
#[expect(clippy::too_many_arguments, reason = "keywords of a Python call")]
fn plan_needs<'py>(
    py: Python<'py>,
    access: Option<&Bound<'_, PyAny>>,
    reference: Option<&str>,
    share: Option<Vec<f64>>,
    profile: Option<&Bound<'py, PyAny>>,
    alpha: f64,
    family: u32,
    tokens_per_answer: f64,
    tokens_per_prompt: f64,
    price_prompt: Option<f64>,
    price_completion: Option<f64>,
    answers_per_minute: Option<f64>,
) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let question = question(access, reference, profile, alpha, family)?;
    let question = Question {
        shares: share.unwrap_or(question.shares),
        tokens_per_answer,
        tokens_per_prompt,
        price_prompt,
        price_completion,
        answers_per_minute,
        ..question
    };
    let lines = py.detach(|| question.needs()).map_err(|error| ParameterError::new_err(format!("{error:#}")))?;
    lines.iter().map(|line| to_dict(py, line)).collect()
}

/// The smallest share of marked training answers that so many tokens show: one dict for each kind of access and sample, as
/// `watermark plan --budget-tokens --json` prints.
#[pyfunction]
#[pyo3(signature = (tokens, *, access=None, reference=None, profile=None, alpha=1e-6, family=1))]
fn plan_shows<'py>(
    py: Python<'py>,
    tokens: f64,
    access: Option<&Bound<'_, PyAny>>,
    reference: Option<&str>,
    profile: Option<&Bound<'py, PyAny>>,
    alpha: f64,
    family: u32,
) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let question = question(access, reference, profile, alpha, family)?;
    let lines = py.detach(|| question.shows(tokens)).map_err(|error| ParameterError::new_err(format!("{error:#}")))?;
    lines.iter().map(|line| to_dict(py, line)).collect()
}

fn question(
    access: Option<&Bound<'_, PyAny>>,
    reference: Option<&str>,
    profile: Option<&Bound<'_, PyAny>>,
    alpha: f64,
    family: u32,
) -> PyResult<Question> {
    let kind = |name: &String| {
        Access::ALL.into_iter().find(|access| access.as_str() == name).ok_or_else(|| {
            let known = Access::ALL.map(Access::as_str).join(", ");
            ParameterError::new_err(format!("access is {name:?}; known are {known}"))
        })
    };
    let reference = reference.map(|name| {
        ReferenceKind::ALL.into_iter().find(|reference| reference.as_str() == name).ok_or_else(|| {
            let known = ReferenceKind::ALL.map(ReferenceKind::as_str).join(", ");
            ParameterError::new_err(format!("reference is {name:?}; known are {known}"))
        })
    });
    let measured = Question::beside(reference.transpose()?);
    let access = match access {
        Some(names) => given::several::<String>(names)?.iter().map(kind).collect::<PyResult<_>>()?,
        None => measured.access.clone(),
    };
    let scale = match profile {
        Some(profile) => scale(&given::profile(profile)?.file.profile)
            .map_err(|error| ParameterError::new_err(format!("{error:#}")))?,
        None => 1.0,
    };
    Ok(Question { access, scale, alpha, family, ..measured })
}

/// Adds the functions to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(plan_needs, module)?)?;
    module.add_function(wrap_pyfunction!(plan_shows, module)?)
}
