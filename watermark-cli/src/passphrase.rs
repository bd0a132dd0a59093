//! Where passphrases of sealed key files come from: a file, one that the environment names, or whoever sits at the terminal.

use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};
use zeroize::Zeroizing;

use crate::files::read_private;

// Keys are read in many places; a process has one source of passphrases.
static PASSPHRASE_FILE: OnceLock<PathBuf> = OnceLock::new();

/// Names the passphrase file of sealed keys where nobody says otherwise: for servers and notebooks, which have no terminal.
pub const PASSPHRASE_FILE_VARIABLE: &str = "WATERMARK_PASSPHRASE_FILE";

/// Takes every passphrase of this process from a file, for servers and scripts; the first call counts.
pub fn use_file(path: PathBuf) {
    let _ = PASSPHRASE_FILE.set(path);
}

/// Whether [`use_file`] was called.
#[must_use]
pub fn is_from_file() -> bool {
    PASSPHRASE_FILE.get().is_some()
}

/// The passphrase of a sealed file.
///
/// # Errors
/// If there is neither a file of [`use_file`] or [`PASSPHRASE_FILE_VARIABLE`] nor a terminal.
pub fn of(sealed: &Path) -> Result<Zeroizing<String>> {
    let of_environment =
        || std::env::var_os(PASSPHRASE_FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    match PASSPHRASE_FILE.get().cloned().or_else(of_environment) {
        Some(path) => read(&path),
        None => ask(&format!("Passphrase of {}: ", sealed.display())),
    }
}

/// A passphrase for a new file: of [`use_file`], or asked for twice.
///
/// # Errors
/// If there is neither a file of [`use_file`] nor a terminal; if the two differ, or are empty.
pub fn choose() -> Result<Zeroizing<String>> {
    match PASSPHRASE_FILE.get() {
        Some(path) => read(path),
        None => choose_at_terminal(),
    }
}

/// A passphrase for a new file, asked for twice.
///
/// # Errors
/// If there is no terminal, or the two differ or are empty.
pub fn choose_at_terminal() -> Result<Zeroizing<String>> {
    let first = ask("New passphrase: ")?;
    if first.is_empty() {
        bail!("an empty passphrase protects nothing; choose a longer one");
    }
    if ask("The same again: ")? != first {
        bail!("the two passphrases differ; nothing was written");
    }
    Ok(first)
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

fn ask(prompt: &str) -> Result<Zeroizing<String>> {
    // Standard input may be data, so the terminal is opened by name; but somebody must be looking at it.
    if !std::io::stderr().is_terminal() {
        bail!(
            "a passphrase is needed and there is no terminal to ask at; give --passphrase-file FILE or set \
             {PASSPHRASE_FILE_VARIABLE} to a file with it"
        );
    }
    rpassword::prompt_password(prompt).map(Zeroizing::new).context("no passphrase could be read from the terminal")
}
