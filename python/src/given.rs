//! What callers give: profiles, token ids, numbers, in the forms that Python has for them.

use std::path::{Path, PathBuf};

use pyo3::buffer::{Element, PyBuffer, PyUntypedBuffer};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use watermark_core::MAX_TOKEN_ID;
use watermark_core::detect::check_level;
use watermark_core::scheme::{Parameters, Value};
use watermark_toolkit::files::{ProfileFile, read_profile};
use watermark_toolkit::tokenizer::Tokenizer;

use crate::error::{InputError, ParameterError, ProfileError, raise, raise_core};
use crate::key_file::is_like_a_key;

/// A profile, and the file that it stood in.
pub(crate) struct GivenProfile {
    pub(crate) file: ProfileFile,
    pub(crate) path: Option<PathBuf>,
}

impl GivenProfile {
    /// The tokenizer at a path, which must be the profile's; else the profile's own beside its file, if there is one.
    pub(crate) fn tokenizer(&self, py: Python<'_>, given: Option<&Path>) -> PyResult<Option<Tokenizer>> {
        let expected = &self.file.profile.tokenizer;
        let beside = self.path.as_deref().filter(|path| path.with_file_name("tokenizer.json").is_file());
        py.detach(|| match (given, beside) {
            (None, None) => Ok(None),
            (Some(_), _) => Tokenizer::for_profile(given, Path::new(""), expected).map(Some),
            // As on the terminal, one that is beside the profile and not the profile's is nobody's business.
            (None, Some(path)) => Ok(Tokenizer::for_profile(None, path, expected).ok()),
        })
        .map_err(raise)
    }
}

/// A profile: a `dict`, JSON text, or the path of a file.
pub(crate) fn profile(given: &Bound<'_, PyAny>) -> PyResult<GivenProfile> {
    let py = given.py();
    let invalid = |error: String| ProfileError::new_err(error);
    let parse = |text: &str| ProfileFile::parse(text).map_err(|error| invalid(format!("{error:#}")));
    if let Ok(fields) = given.cast::<PyDict>() {
        let text: String = py.import("json")?.call_method1("dumps", (fields,))?.extract()?;
        return Ok(GivenProfile { file: parse(&text)?, path: None });
    }
    if let Ok(text) = given.cast::<PyString>() {
        let text = text.to_str()?;
        if text.trim_start().starts_with('{') {
            return Ok(GivenProfile { file: parse(text)?, path: None });
        }
        if is_like_a_key(text) {
            return Err(invalid("the profile looks like a key; the profile comes first, then the key".to_owned()));
        }
    }
    let path = path(given, "a profile is a dict, JSON text or the path of a file")?;
    let read = py.detach(|| read_profile(&path));
    let file = read.map_err(|error| invalid(format!("{error:#}")))?;
    Ok(GivenProfile { file, path: Some(path) })
}

/// A path; `expected` says what else would have done.
pub(crate) fn path(given: &Bound<'_, PyAny>, expected: &'static str) -> PyResult<PathBuf> {
    given.extract().map_err(|_| PyTypeError::new_err(format!("{expected}, not {}", type_name(given))))
}

/// One text or path, or several.
pub(crate) fn several<'py, T: FromPyObjectOwned<'py>>(given: &Bound<'py, PyAny>) -> PyResult<Vec<T>> {
    match given.extract::<T>() {
        Ok(one) => Ok(vec![one]),
        Err(_) => given.try_iter()?.map(|item| item?.extract().map_err(Into::into)).collect(),
    }
}

/// A whole number that is not negative, or several: what does not fit is an error of this package.
pub(crate) fn whole<'py, T: FromPyObjectOwned<'py>>(given: &Bound<'py, PyAny>) -> PyResult<T> {
    let out_of_range = || ParameterError::new_err(format!("{given} is negative or too large"));
    given.extract::<T>().map_err(|error| {
        let error: PyErr = error.into();
        if error.is_instance_of::<PyOverflowError>(given.py()) { out_of_range() } else { error }
    })
}

/// A level of significance, of the name `alpha`.
pub(crate) fn level(alpha: f64) -> PyResult<f64> {
    check_level(alpha).map_err(raise_core)?;
    Ok(alpha)
}

/// A probability that is neither 0 nor 1.
pub(crate) fn probability(name: &str, value: f64) -> PyResult<f64> {
    if value > 0.0 && value < 1.0 {
        return Ok(value);
    }
    Err(ParameterError::new_err(format!("{name} is {value}; it must be between 0 and 1")))
}

/// Parameters of a scheme as keywords; None is one that is left out.
pub(crate) fn parameters(given: Option<&Bound<'_, PyDict>>) -> PyResult<Parameters> {
    let mut parameters = Parameters::new();
    for (name, value) in given.into_iter().flat_map(|given| given.iter()) {
        let name: String = name.extract()?;
        let number = || {
            let whole = value.extract::<u32>().map(Value::Whole).ok();
            whole.or_else(|| value.extract::<f64>().map(Value::Real).ok())
        };
        let known = match value.extract::<bool>() {
            _ if value.is_none() => continue,
            Ok(flag) => Some(Value::Flag(flag)),
            Err(_) => number(),
        };
        let wrong = || PyTypeError::new_err(format!("{name} is {}, not a number or a bool", type_name(&value)));
        let known = known.ok_or_else(wrong)?;
        parameters = parameters.with(name, known);
    }
    Ok(parameters)
}

/// The name of a value's type.
pub(crate) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "such a value".to_owned(), |name| name.to_string())
}

/// Token ids: a one-dimensional buffer of integers (numpy, array), or any iterable of integers. `what` names them in messages.
pub(crate) fn token_ids(given: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<u32>> {
    let text = given.is_instance_of::<PyString>() || given.is_instance_of::<PyBytes>();
    if !text && let Ok(buffer) = PyUntypedBuffer::get(given) {
        return buffered_ids(given.py(), buffer, what);
    }
    let none = || InputError::new_err(format!("{what} is {}, not token ids", type_name(given)));
    if text {
        return Err(none());
    }
    let mut ids = Vec::with_capacity(given.len().unwrap_or(0).min(1 << 20));
    for item in given.try_iter().map_err(|error| instead(given.py(), error, none))? {
        let item = item?;
        match item.extract::<u32>() {
            Ok(id) if id <= MAX_TOKEN_ID => ids.push(id),
            Ok(_) => return Err(out_of_range(what, ids.len())),
            Err(error) => return Err(instead(given.py(), error, || out_of_range(what, ids.len()))),
        }
    }
    Ok(ids)
}

/// Another exception in place of one that says that a value is of the wrong type or size; an interrupt, or what the caller's own code
/// raises, stays.
pub(crate) fn instead(py: Python<'_>, error: PyErr, other: impl FnOnce() -> PyErr) -> PyErr {
    if error.is_instance_of::<PyTypeError>(py) || error.is_instance_of::<PyOverflowError>(py) { other() } else { error }
}

fn out_of_range(what: &str, at: usize) -> PyErr {
    InputError::new_err(format!("{what}[{at}] is no token id, which is an integer from 0 to 2^24 - 1"))
}

fn buffered_ids(py: Python<'_>, buffer: PyUntypedBuffer, what: &str) -> PyResult<Vec<u32>> {
    if buffer.dimensions() != 1 {
        return Err(InputError::new_err(format!("{what} has {} dimensions; token ids have one", buffer.dimensions())));
    }
    fn read<T: Element + TryInto<u32>>(py: Python<'_>, buffer: &PyBuffer<T>, what: &str) -> PyResult<Vec<u32>> {
        let id = |(at, id): (usize, T)| {
            id.try_into().ok().filter(|&id| id <= MAX_TOKEN_ID).ok_or_else(|| out_of_range(what, at))
        };
        buffer.to_vec(py)?.into_iter().enumerate().map(id).collect()
    }
    if let Ok(buffer) = buffer.as_typed::<i64>() {
        read(py, buffer, what)
    } else if let Ok(buffer) = buffer.as_typed::<i32>() {
        read(py, buffer, what)
    } else if let Ok(buffer) = buffer.as_typed::<u32>() {
        read(py, buffer, what)
    } else if let Ok(buffer) = buffer.as_typed::<u64>() {
        read(py, buffer, what)
    } else if let Ok(buffer) = buffer.as_typed::<u16>() {
        read(py, buffer, what)
    } else {
        let format = buffer.format().to_string_lossy();
        Err(InputError::new_err(format!(
            "{what} holds elements of format {format:?}; token ids are integers of 32 or 64 bits"
        )))
    }
}
