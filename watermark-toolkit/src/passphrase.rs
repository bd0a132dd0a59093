//! Where the passphrases of key files come from. The library asks nobody: whoever reads or seals a key brings a source, because
//! only they know whether there is a terminal, a window or nobody.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow};
use zeroize::Zeroizing;

use crate::files::read_private;

/// A source of passphrases.
pub trait Passphrases: Sync {
    /// The passphrase of a sealed file.
    ///
    /// # Errors
    /// If there is none to be had. Messages never repeat a passphrase.
    fn existing(&self, sealed: &Path) -> Result<Zeroizing<String>>;
}

/// The environment variable that names the passphrase file of sealed keys, for servers and notebooks, which have no
/// terminal.
pub const PASSPHRASE_FILE_VARIABLE: &str = "WATERMARK_PASSPHRASE_FILE";

/// The file that [`PASSPHRASE_FILE_VARIABLE`] names, if it does.
#[must_use]
pub fn file_of_environment() -> Option<PathBuf> {
    std::env::var_os(PASSPHRASE_FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// For servers: sealed files open with what [`file_of_environment`] holds, and nobody is asked.
#[derive(Clone, Copy, Debug)]
pub struct Environment;

impl Passphrases for Environment {
    fn existing(&self, _: &Path) -> Result<Zeroizing<String>> {
        read(&file_of_environment().ok_or_else(nobody_to_ask)?)
    }
}

/// The error of a source that has neither a file nor anybody to ask.
#[must_use]
pub fn nobody_to_ask() -> Error {
    anyhow!(
        "a passphrase is needed and there is no terminal to ask at; give --passphrase-file FILE or set \
         {PASSPHRASE_FILE_VARIABLE} to a file with it"
    )
}

/// A passphrase file: one line, readable by its owner only.
///
/// # Errors
/// If it is missing, readable by others, empty, or more than a line. Messages never repeat its content.
pub fn read(path: &Path) -> Result<Zeroizing<String>> {
    let named = || format!("passphrase file {}", path.display());
    let text = read_private(File::open(path).with_context(named)?, path).with_context(named)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains('\n') {
        return Err(anyhow!("expected one line that is not empty")).with_context(named);
    }
    Ok(Zeroizing::new(line.to_owned()))
}
