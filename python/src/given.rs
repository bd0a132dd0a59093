//! What callers give: profiles, keys, token ids, in the forms that Python has for them.

use std::path::PathBuf;

use pyo3::buffer::{Element, PyBuffer, PyUntypedBuffer};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use watermark_cli::files::{ProfileFile, read_key, read_profile};
use watermark_core::MAX_TOKEN_ID;
use watermark_core::key::{KeyPath, NodeKey};
use watermark_core::profile::Profile;
use zeroize::Zeroizing;

use crate::error::{InputError, KeyFileError, ProfileError};
use crate::keys;

/// So many hexadecimal digits in a row are a key, whole or in part, and no path.
const LIKE_A_KEY: usize = 32;

/// A profile, and the file that it stood in.
pub(crate) struct GivenProfile {
    pub(crate) profile: Profile,
    pub(crate) path: Option<PathBuf>,
}

/// A profile: a `dict`, JSON text, or the path of a file.
pub(crate) fn profile(given: &Bound<'_, PyAny>) -> PyResult<GivenProfile> {
    let py = given.py();
    let invalid = |error: String| ProfileError::new_err(error);
    if let Ok(fields) = given.cast::<PyDict>() {
        let text: String = py.import("json")?.call_method1("dumps", (fields,))?.extract()?;
        let profile = Profile::parse(&text).map_err(|error| invalid(error.to_string()))?;
        return Ok(GivenProfile { profile, path: None });
    }
    if let Ok(text) = given.cast::<PyString>() {
        let text = text.to_str()?;
        if text.trim_start().starts_with('{') {
            let profile = Profile::parse(text).map_err(|error| invalid(error.to_string()))?;
            return Ok(GivenProfile { profile, path: None });
        }
        if is_like_a_key(text) {
            return Err(invalid("the profile looks like a key; the profile comes first, then the key".to_owned()));
        }
    }
    let path = path(given, "a profile is a dict, JSON text or the path of a file")?;
    let read = py.detach(|| read_profile(&path));
    let ProfileFile { profile, .. } = read.map_err(|error| invalid(format!("{error:#}")))?;
    Ok(GivenProfile { profile, path: Some(path) })
}

/// A key: the path of a key file, 64 hexadecimal digits (a node at the root of its tree), or a `NodeKey`.
pub(crate) fn node_key(given: &Bound<'_, PyAny>) -> PyResult<NodeKey> {
    if let Ok(key) = given.cast::<keys::NodeKey>() {
        return Ok(key.get().0.clone());
    }
    if let Ok(text) = given.cast::<PyString>() {
        let text = text.to_str()?;
        let mut secret = Zeroizing::new([0; 32]);
        if base16ct::mixed::decode(text.as_bytes(), secret.as_mut_slice()).is_ok_and(|bytes| bytes.len() == 32) {
            return Ok(NodeKey::from_parts(KeyPath::root(), secret));
        }
        if is_like_a_key(text) || text.contains('{') {
            // Part of it may be a key, so nothing of it is repeated.
            return Err(KeyFileError::new_err("a key is the path of a key file, or 64 hexadecimal digits"));
        }
    }
    key_file(given.py(), path(given, "a key is the path of a key file, 64 hexadecimal digits or a NodeKey")?)
}

/// A key file.
pub(crate) fn key_file(py: Python<'_>, path: PathBuf) -> PyResult<NodeKey> {
    py.detach(|| read_key(&path)).map_err(|error| KeyFileError::new_err(format!("{error:#}")))
}

fn is_like_a_key(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_hexdigit()).any(|run| run.len() >= LIKE_A_KEY)
}

fn path(given: &Bound<'_, PyAny>, expected: &'static str) -> PyResult<PathBuf> {
    given.extract().map_err(|_| PyTypeError::new_err(format!("{expected}, not {}", type_name(given))))
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
    for item in given.try_iter().map_err(|_| none())? {
        let item = item?;
        match item.extract::<u32>() {
            Ok(id) if id <= MAX_TOKEN_ID => ids.push(id),
            _ => return Err(out_of_range(what, ids.len())),
        }
    }
    Ok(ids)
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
