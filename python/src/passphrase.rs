//! Passphrases of sealed key files.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Error, Result};
use pyo3::prelude::*;
use watermark_toolkit::passphrase::{Passphrases, file_of_environment, nobody_to_ask, read};
use zeroize::Zeroizing;

/// From the file that the environment names; else asked for by Python's own `getpass`, where somebody sits at a terminal.
pub(crate) struct Asking;

impl Passphrases for Asking {
    fn existing(&self, sealed: &Path) -> Result<Zeroizing<String>> {
        if let Some(path) = file_of_environment() {
            return read(&path);
        }
        // Without a terminal `getpass` would read, and show, what stands in standard input.
        if !std::io::stderr().is_terminal() {
            return Err(nobody_to_ask());
        }
        let ask = |py: Python<'_>| -> PyResult<String> {
            py.import("getpass")?.call_method1("getpass", (format!("Passphrase of {}: ", sealed.display()),))?.extract()
        };
        let typed = Python::attach(ask).map_err(Error::new);
        typed.map(Zeroizing::new).context("no passphrase could be read from the terminal")
    }
}
