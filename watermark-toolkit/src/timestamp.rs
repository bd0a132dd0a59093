//! Time stamps (RFC 3161) by others over files of ours, checked offline by the `openssl` program: no maintained crate
//! verifies responses and their certificate chains.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use watermark_core::hex;

use crate::files::{random, write_secret};

/// What `openssl` said about a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeStamp {
    /// The response holds for the digest and chains to the authority. With the time as `openssl` prints it.
    Holds(String),
    /// The response does not hold, for this reason.
    DoesNotHold(String),
}

/// Checks a response (`.tsr`) for a SHA-256 digest against the certificates of `authority` (PEM). Certificates must be
/// valid today.
///
/// # Errors
/// If `openssl` is missing or cannot be run, or a file cannot be read.
pub fn verify(response: &Path, sha256: &str, authority: &Path) -> Result<TimeStamp> {
    for path in [response, authority] {
        std::fs::metadata(path).with_context(|| path.display().to_string())?;
    }
    let verified = openssl(&["-verify", "-digest", sha256], response, &[("-CAfile", authority)])?;
    if !verified.status.success() {
        return Ok(TimeStamp::DoesNotHold(reason(&verified)));
    }
    // Shows the signed token only: the rest of a response is free text that anybody on its way can write.
    let shown = openssl(&["-reply", "-token_out", "-text"], response, &[])?;
    let text = String::from_utf8_lossy(&shown.stdout);
    match text.lines().find_map(|line| line.strip_prefix("Time stamp: ")) {
        Some(time) if shown.status.success() => Ok(TimeStamp::Holds(time.trim().to_owned())),
        _ => bail!("openssl verified {} but shows no time in it", response.display()),
    }
}

/// As [`verify`], for a response that is not in a file.
///
/// # Errors
/// As [`verify`], and if no temporary file can be written.
pub fn verify_bytes(response: &[u8], sha256: &str, authority: &Path) -> Result<TimeStamp> {
    let name = format!("watermark-{}.tsr", hex::encode(&*random::<16>()?));
    let path = std::env::temp_dir().join(name);
    write_secret(&path, response)?;
    let result = verify(&path, sha256, authority);
    std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
    result
}

fn openssl(mode: &[&str], response: &Path, more: &[(&str, &Path)]) -> Result<Output> {
    let mut command = Command::new("openssl");
    command.arg("ts").args(mode).arg("-in").arg(response);
    for (option, path) in more {
        command.arg(option).arg(path);
    }
    command.output().context("time stamps are checked by the program openssl (3.0 or later), which could not be run")
}

/// The last of openssl's errors: the part after the library and function names.
fn reason(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().rfind(|line| line.contains(":error:") || line.contains("error:"));
    let shown: String = line.unwrap_or("no reason given").chars().filter(|c| !c.is_control()).take(200).collect();
    format!("openssl: {}", shown.trim())
}
