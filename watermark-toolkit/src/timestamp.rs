//! Time stamps (RFC 3161) by others over files of ours, checked offline by the `openssl` program: no maintained crate
//! verifies responses and their certificate chains.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use watermark_core::hex;

use crate::files::{random, write_secret};

/// This machine's clock, as 2026-11-25T01:02:03Z.
#[must_use]
pub fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// Milliseconds since 1970 by this machine's clock.
///
/// # Errors
/// If that clock is before 1970.
pub fn now_ms() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(u64::try_from(since.as_millis())?)
}

/// What `openssl` said about a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeStamp {
    /// The response holds for the digest and chains to the authority. With its time, as 2026-11-25T01:02:03Z.
    Holds(String),
    /// The response does not hold, for this reason.
    DoesNotHold(String),
}

/// Checks a response (`.tsr`) for a SHA-256 digest against the certificates of `authority` (PEM). Certificates must have
/// been valid when the stamp was made: cases last longer than certificates do. So an authority is believed that its key
/// was still its own then; nothing here sees a revocation.
///
/// # Errors
/// If `openssl` is missing or cannot be run, or a file cannot be read.
pub fn verify(response: &Path, sha256: &str, authority: &Path) -> Result<TimeStamp> {
    for path in [response, authority] {
        std::fs::metadata(path).with_context(|| path.display().to_string())?;
    }
    // Shows the signed token only: the rest of a response is free text that anybody on its way can write. The time is believed
    // once the same token is verified.
    let shown = openssl(&["-reply", "-token_out", "-text"], response, &[])?;
    if !shown.status.success() {
        return Ok(TimeStamp::DoesNotHold(reason(&shown)));
    }
    let text = String::from_utf8_lossy(&shown.stdout);
    let time = text.lines().find_map(|line| line.strip_prefix("Time stamp: ")).unwrap_or_default().trim();
    let Some(seconds) = since_1970(time) else {
        return Ok(TimeStamp::DoesNotHold("openssl: no time that can be read".to_owned()));
    };
    let mode = ["-verify", "-digest", sha256, "-attime", &seconds.to_string()];
    let verified = openssl(&mode, response, &[("-CAfile", authority)])?;
    Ok(if verified.status.success() {
        TimeStamp::Holds(humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string())
    } else {
        TimeStamp::DoesNotHold(reason(&verified))
    })
}

/// Seconds since 1970 of a time as `openssl` prints it: `Nov 25 04:22:20 2026 GMT`, seconds with or without a fraction.
fn since_1970(printed: &str) -> Option<u64> {
    let words: Vec<&str> = printed.split_ascii_whitespace().collect();
    let [month, day, clock, year, "GMT"] = words[..] else { return None };
    let month = 1 + MONTHS.iter().position(|name| *name == month)?;
    let clock = clock.split('.').next()?;
    let time = humantime::parse_rfc3339(&format!("{year:0>4}-{month:02}-{day:0>2}T{clock}Z")).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]
    use super::*;

    /// SHA-256 of nothing, which both authorities stamped.
    const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn stamps(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/stamps").join(name)
    }

    /// One certificate was valid for some seconds, in which it stamped; the other had expired years before it did.
    #[test]
    fn certificates_are_checked_at_the_time_of_the_stamp() {
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("SKIPPED: time stamps (there is no openssl)");
            return;
        }
        let authority = stamps("authority.pem");
        let check = |name: &str, sha256: &str| verify(&stamps(name), sha256, &authority).unwrap();
        let valid = check("expired_since.tsr", NOTHING);
        assert!(matches!(&valid, TimeStamp::Holds(time) if time.starts_with("20") && time.ends_with('Z')), "{valid:?}");
        let late = check("expired_before.tsr", NOTHING);
        assert!(matches!(&late, TimeStamp::DoesNotHold(why) if why.contains("certificate has expired")), "{late:?}");
        assert!(matches!(check("expired_since.tsr", &"00".repeat(32)), TimeStamp::DoesNotHold(_)));
    }

    #[test]
    fn printed_times() {
        assert_eq!(since_1970("Jan  1 00:00:01 1970 GMT"), Some(1));
        assert_eq!(since_1970("Nov 25 04:22:20 2026 GMT"), Some(1_795_580_540));
        assert_eq!(since_1970("Nov 25 04:22:20.75 2026 GMT"), Some(1_795_580_540));
        for odd in
            ["", "Bad time value", "Nov 25 04:22:20 2026", "Now 25 04:22:20 2026 GMT", "Nov 31 04:22:20 2026 GMT"]
        {
            assert_eq!(since_1970(odd), None, "{odd}");
        }
        assert_eq!(since_1970("Dec 31 23:59:59 1969 GMT"), None);
    }
}
