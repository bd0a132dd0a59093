//! Exceptions by kind. A message says what, where and what to do; none repeats a key or a text.

use pyo3::create_exception;
use pyo3::exceptions::{PyKeyboardInterrupt, PyValueError};
use pyo3::prelude::*;
use watermark_core::{Error, ErrorKind};

create_exception!(watermark_core, WatermarkError, PyValueError, "Something that the toolkit was given cannot be used.");
create_exception!(watermark_core, ProfileError, WatermarkError, "A profile is malformed or contradicts itself.");
create_exception!(
    watermark_core,
    KeyFileError,
    WatermarkError,
    "A key cannot be read, or does not open what it is for."
);
create_exception!(watermark_core, ParameterError, WatermarkError, "A parameter lies outside its domain.");
create_exception!(watermark_core, InputError, WatermarkError, "Logits, token ids or records cannot be used.");
create_exception!(watermark_core, EvidenceError, WatermarkError, "Evidence is malformed.");

/// The exception of an error of the core.
pub(crate) fn raise_core(error: Error) -> PyErr {
    of_kind(error.kind(), error.to_string())
}

/// The exception of an error of the library around the core.
pub(crate) fn raise(error: anyhow::Error) -> PyErr {
    let error = match interrupt(error) {
        Ok(interrupt) => return interrupt,
        Err(error) => error,
    };
    let message = by_keyword(&format!("{error:#}"));
    match error.chain().find_map(|cause| cause.downcast_ref::<Error>()) {
        Some(error) => of_kind(error.kind(), message),
        None => WatermarkError::new_err(message),
    }
}

/// The interrupt that came while Python asked for something below a call of the library; any other error comes back.
pub(crate) fn interrupt(error: anyhow::Error) -> Result<PyErr, anyhow::Error> {
    let is_interrupt = |raised: &PyErr| Python::attach(|py| raised.is_instance_of::<PyKeyboardInterrupt>(py));
    if error.downcast_ref().is_some_and(is_interrupt) { error.downcast() } else { Err(error) }
}

/// Advice that names options of the terminal, with the keywords of the functions here in their place.
pub(crate) fn by_keyword(message: &str) -> String {
    const KEYWORDS: [(&str, &str); 17] = [
        ("--answers", "answers"),
        ("--api", "api"),
        ("--api-key-file", "api_key"),
        ("--authority", "authority"),
        ("--data", "data"),
        ("--endpoint", "endpoint"),
        ("--field", "field"),
        ("--input-format", "input_format"),
        ("--locate", "locate"),
        ("--logprobs", "logprobs"),
        ("--model", "model"),
        ("--out", "out"),
        ("--profile", "profile"),
        ("--role", "role"),
        ("--tokenizer", "tokenizer"),
        ("--trusted-key", "trusted_keys"),
        ("--weights", "weights"),
    ];
    // Whole words only: a path may hold two hyphens.
    let keyword = |word: &str| {
        let option = word.trim_matches(|c: char| !(c.is_ascii_lowercase() || c == '-'));
        let known = KEYWORDS.iter().find(|(name, _)| *name == option);
        known.map_or_else(|| word.to_owned(), |(name, keyword)| word.replace(name, keyword))
    };
    let message = message.replace("give --passphrase-file FILE or set", "set");
    message.split(' ').map(keyword).collect::<Vec<_>>().join(" ")
}

fn of_kind(kind: ErrorKind, message: String) -> PyErr {
    match kind {
        ErrorKind::InvalidProfile => ProfileError::new_err(message),
        ErrorKind::InvalidKeyFile | ErrorKind::InvalidPath | ErrorKind::OutsideSubtree | ErrorKind::WrongPassphrase => {
            KeyFileError::new_err(message)
        }
        ErrorKind::InvalidParameter => ParameterError::new_err(message),
        ErrorKind::TokenOutOfRange | ErrorKind::InvalidLogits | ErrorKind::MissingInput => InputError::new_err(message),
        ErrorKind::NotCanonical
        | ErrorKind::InvalidEvidence
        | ErrorKind::InvalidSignature
        | ErrorKind::InvalidProof => EvidenceError::new_err(message),
        _ => WatermarkError::new_err(message),
    }
}

/// Adds the exceptions to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("WatermarkError", py.get_type::<WatermarkError>())?;
    module.add("ProfileError", py.get_type::<ProfileError>())?;
    module.add("KeyFileError", py.get_type::<KeyFileError>())?;
    module.add("ParameterError", py.get_type::<ParameterError>())?;
    module.add("InputError", py.get_type::<InputError>())?;
    module.add("EvidenceError", py.get_type::<EvidenceError>())
}
