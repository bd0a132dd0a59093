//! Passphrases at the terminal.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use watermark_toolkit::passphrase::{Passphrases, file_of_environment, nobody_to_ask, read};
use zeroize::Zeroizing;

/// From the file that an option names, for scripts; else, for files that exist, from the one that the environment names; else
/// from whoever sits at the terminal.
#[derive(clap::Args)]
pub(crate) struct PassphraseArgs {
    /// Open sealed key files with the one line in this file instead of asking at the terminal ($WATERMARK_PASSPHRASE_FILE
    /// names one too)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Sealed keys")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// Whether the option names a file.
    pub(crate) fn is_from_file(&self) -> bool {
        self.passphrase_file.is_some()
    }

    /// A passphrase for a new file, which is not empty: nothing but this program seals keys. The environment is not looked at,
    /// because it names what opens files that exist.
    ///
    /// # Errors
    /// If there is none to be had. Messages never repeat a passphrase.
    pub(crate) fn chosen(&self) -> Result<Zeroizing<String>> {
        match &self.passphrase_file {
            Some(path) => read(path),
            None => choose_at_terminal(),
        }
    }
}

impl Passphrases for PassphraseArgs {
    fn existing(&self, sealed: &Path) -> Result<Zeroizing<String>> {
        match self.passphrase_file.clone().or_else(file_of_environment) {
            Some(path) => read(&path),
            None => ask(&format!("Passphrase of {}: ", sealed.display())),
        }
    }
}

/// A passphrase for a new file, asked for twice.
///
/// # Errors
/// If there is no terminal, or the two differ or are empty.
pub(crate) fn choose_at_terminal() -> Result<Zeroizing<String>> {
    let first = ask("New passphrase: ")?;
    if first.is_empty() {
        bail!("an empty passphrase protects nothing; choose a longer one");
    }
    if ask("The same again: ")? != first {
        bail!("the two passphrases differ; nothing was written");
    }
    Ok(first)
}

fn ask(prompt: &str) -> Result<Zeroizing<String>> {
    // Standard input may be data, so the terminal is opened by name; but somebody must be looking at it.
    if !std::io::stderr().is_terminal() {
        return Err(nobody_to_ask());
    }
    rpassword::prompt_password(prompt).map(Zeroizing::new).context("no passphrase could be read from the terminal")
}
