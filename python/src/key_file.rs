//! Key files by their paths, and what is given for one by mistake.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use watermark_core::key::NodeKey;
use watermark_toolkit::keys::read_key;

use crate::error::{KeyFileError, by_keyword, interrupt};
use crate::passphrase::Asking;

/// So many hexadecimal digits in a row are a key, whole or in part, and no path.
const LIKE_A_KEY: usize = 32;

/// A key file.
pub(crate) fn key_file(py: Python<'_>, path: PathBuf) -> PyResult<NodeKey> {
    let read = py.detach(|| read_key(&path, &Asking));
    // An interrupt that came meanwhile is no wrong passphrase.
    py.check_signals()?;
    read.map_err(|error| match interrupt(error) {
        Ok(interrupt) => interrupt,
        Err(error) => KeyFileError::new_err(by_keyword(&format!("{error:#}"))),
    })
}

/// Refuses what is a key in place of a key file's path, before anything repeats it. `what` names who reads it.
pub(crate) fn key_path(path: &Path, what: &str) -> PyResult<()> {
    if is_no_path(path) {
        return Err(KeyFileError::new_err(format!(
            "{what} reads its key from a file: give the path of a key file, not the key"
        )));
    }
    Ok(())
}

/// Whether a path is rather a key, or the content of a key file.
pub(crate) fn is_no_path(path: &Path) -> bool {
    let text = path.to_string_lossy();
    (is_like_a_key(&text) || text.contains('{')) && !path.exists()
}

/// Whether a text holds what may be a key, or a part of one.
pub(crate) fn is_like_a_key(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_hexdigit()).any(|run| run.len() >= LIKE_A_KEY)
}
