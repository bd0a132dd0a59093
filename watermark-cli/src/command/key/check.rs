use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};
use watermark_core::evidence::commitment::{KEY_COMMITMENTS, KeyOpening};
use watermark_core::evidence::{PublicKey, TreeHead};
use watermark_core::hex;
use watermark_toolkit::files::{read_bounded, read_private, read_profile};
use watermark_toolkit::timestamp::{self, TimeStamp};

use super::super::{claim, print, print_json};

/// Check a signed head: signature, signer, time stamp, and that an opened key was committed to
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watermark key check head.json
  watermark key check head.json --trusted-key HEX --opening opening.json --profile chat.profile.json
  watermark key check head.json --timestamp head.tsr --authority tsa.pem

Exit code 0: all that was asked for holds. 1: something does not. 2: a file could not be read.")]
pub(crate) struct Args {
    /// head.json of `watermark key commit`
    head: PathBuf,
    /// The key that must have signed: 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    trusted_key: Option<String>,
    /// An opening that must be of a leaf of this head
    #[arg(long, value_name = "FILE")]
    opening: Option<PathBuf>,
    /// The profile that the opened key must have been committed for
    #[arg(long, value_name = "FILE", requires = "opening")]
    profile: Option<PathBuf>,
    /// A time-stamp response (RFC 3161) for the head, checked by the program openssl
    #[arg(long, value_name = "FILE", requires = "authority")]
    timestamp: Option<PathBuf>,
    /// Certificates (PEM) that the time stamp must chain to
    #[arg(long, value_name = "FILE", requires = "timestamp")]
    authority: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The largest signed head and opening.
const MAX_FILE: u64 = 1 << 14;

/// What was found; what was not asked for, or could not be looked at any more, is null.
#[derive(Default, Serialize)]
struct Findings {
    holds: bool,
    head_sha256: String,
    public_key: Option<String>,
    tree_size: Option<u64>,
    root: Option<String>,
    signed_at: Option<String>,
    path: Option<String>,
    profile_sha256: Option<String>,
    time_stamp: Option<String>,
    failures: Vec<Failure>,
}

#[derive(Serialize)]
struct Failure {
    /// head, trust, opening, profile or timestamp.
    check: &'static str,
    why: String,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let named = || format!("head {}", self.head.display());
        let envelope = read_bounded(&self.head, MAX_FILE).with_context(named)?;
        let mut found = Findings { head_sha256: hex::encode(&Sha256::digest(&envelope)), ..Findings::default() };
        match TreeHead::verify(&envelope, KEY_COMMITMENTS) {
            Err(error) => found.fail("head", error.to_string()),
            Ok((head, signer)) => {
                found.tree_size = Some(head.size);
                found.root = Some(hex::encode(&head.root));
                found.signed_at = Some(head.signed_at.clone());
                self.trust(&signer, &mut found)?;
                self.opening(&head, &mut found)?;
                self.time_stamp(&mut found)?;
            }
        }
        found.holds = found.failures.is_empty();
        if self.json {
            print_json(&found)?;
        } else {
            found.print()?;
        }
        Ok(claim(found.holds))
    }

    fn trust(&self, signer: &PublicKey, found: &mut Findings) -> Result<()> {
        found.public_key = Some(signer.to_hex());
        if let Some(trusted) = &self.trusted_key
            && PublicKey::from_hex(trusted).context("--trusted-key")? != *signer
        {
            found.fail("trust", format!("it is signed by {}, not by the trusted key", signer.to_hex()));
        }
        Ok(())
    }

    fn opening(&self, head: &TreeHead, found: &mut Findings) -> Result<()> {
        let Some(path) = &self.opening else { return Ok(()) };
        let named = || format!("opening {}", path.display());
        let text = read_private(File::open(path).with_context(named)?, path).with_context(named)?;
        let opening = match KeyOpening::parse(text.as_bytes()) {
            Ok(opening) => opening,
            Err(error) => {
                found.fail("opening", error.to_string());
                return Ok(());
            }
        };
        let leaf = opening.leaf();
        if let Err(error) = opening.verify(head) {
            found.fail("opening", error.to_string());
            return Ok(());
        }
        found.path = Some(leaf.path);
        found.profile_sha256 = Some(leaf.profile_sha256.to_string());
        if let Some(profile) = &self.profile {
            let sha256 = read_profile(profile)?.sha256;
            if sha256 != leaf.profile_sha256.0 {
                let other = format!(
                    "{} has SHA-256 {}; the commitment is for another profile",
                    profile.display(),
                    hex::encode(&sha256)
                );
                found.fail("profile", other);
            }
        }
        Ok(())
    }

    fn time_stamp(&self, found: &mut Findings) -> Result<()> {
        let Some((response, authority)) = self.timestamp.as_ref().zip(self.authority.as_ref()) else { return Ok(()) };
        match timestamp::verify(response, &found.head_sha256, authority)? {
            TimeStamp::Holds(time) => found.time_stamp = Some(time),
            TimeStamp::DoesNotHold(why) => found.fail("timestamp", why),
        }
        Ok(())
    }
}

impl Findings {
    fn fail(&mut self, check: &'static str, why: String) {
        self.failures.push(Failure { check, why });
    }

    fn print(&self) -> Result<()> {
        let rows = [
            ("signed by", &self.public_key),
            ("signed at", &self.signed_at.as_ref().map(|time| format!("{time} (the signer's own clock)"))),
            ("time stamp", &self.time_stamp),
            ("leaves", &self.tree_size.map(|size| size.to_string())),
            ("root", &self.root),
            ("opened", &self.path.as_ref().map(|path| format!("{path:?}"))),
            ("for profile", &self.profile_sha256),
        ];
        for (name, value) in rows {
            if let Some(value) = value {
                print(&format!("{name:<12}{value}"))?;
            }
        }
        for failure in &self.failures {
            print(&format!("DOES NOT HOLD ({}): {}", failure.check, failure.why))?;
        }
        if self.holds { print("All that was checked holds.") } else { Ok(()) }
    }
}
