use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;
use watermark_core::evidence::ledger::{ANSWERS, AnswerProof, ConsistencyProof};
use watermark_core::evidence::{PublicKey, TreeHead};
use watermark_toolkit::files::read_bounded;

use super::super::{claim, print, print_json};

/// Check a head, and that it covers an answer or an older head; needs neither ledger nor key
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watermark ledger check head.json --trusted-key HEX --proof p.json --answer answer.txt --account ID
  watermark ledger check newer.json --older older.json --proof consistency.json

Exit code 0: all that was asked for holds. 1: something does not. 2: a file could not be read.")]
pub(crate) struct Args {
    /// The signed head
    head: PathBuf,
    /// The key that must have signed both heads: 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    trusted_key: Option<String>,
    /// A proof by `watermark ledger prove`
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// The answer, byte for byte as it was served
    #[arg(long, value_name = "FILE", requires = "proof", conflicts_with = "older")]
    answer: Option<PathBuf>,
    /// The account that the answer must have gone to
    #[arg(long, value_name = "ID", requires = "answer")]
    account: Option<String>,
    /// An older head, whose entries must all be unchanged
    #[arg(long, value_name = "FILE", requires = "proof")]
    older: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The largest head or proof, and answer.
const MAX_FILE: u64 = 1 << 14;
const MAX_ANSWER: u64 = 1 << 26;

#[derive(Serialize)]
struct Findings {
    holds: bool,
    public_key: Option<String>,
    tree_size: Option<u64>,
    signed_at: Option<String>,
    index: Option<u64>,
    key: Option<String>,
    time_ms: Option<u64>,
    failure: Option<String>,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let read = |path: &PathBuf, limit| read_bounded(path, limit).with_context(|| path.display().to_string());
        let envelope = read(&self.head, MAX_FILE)?;
        let trusted = self.trusted_key.as_deref().map(PublicKey::from_hex).transpose().context("--trusted-key")?;
        let proof = self.proof.as_ref().map(|path| read(path, MAX_FILE)).transpose()?;
        let older = self.older.as_ref().map(|path| read(path, MAX_FILE)).transpose()?;
        let answer = self.answer.as_ref().map(|path| read(path, MAX_ANSWER)).transpose()?;
        if proof.is_some() && older.is_none() && answer.is_none() {
            anyhow::bail!("--proof needs --answer or --older");
        }
        let mut found = Findings {
            holds: false,
            public_key: None,
            tree_size: None,
            signed_at: None,
            index: None,
            key: None,
            time_ms: None,
            failure: None,
        };
        let mut check = || -> watermark_core::Result<Option<String>> {
            let (head, signer) = TreeHead::verify(&envelope, ANSWERS)?;
            found.public_key = Some(signer.to_hex());
            found.tree_size = Some(head.size);
            found.signed_at = Some(head.signed_at.clone());
            let untrusted = |signer: &PublicKey| trusted.as_ref().is_some_and(|trusted| trusted != signer);
            if untrusted(&signer) {
                return Ok(Some("the head is not signed by the trusted key".to_owned()));
            }
            if let Some((proof, older)) = proof.as_ref().zip(older.as_ref()) {
                let (older, signer) = TreeHead::verify(older, ANSWERS)?;
                if untrusted(&signer) {
                    return Ok(Some("the older head is not signed by the trusted key".to_owned()));
                }
                ConsistencyProof::parse(proof)?.verify(&older, &head)?;
            }
            if let Some((proof, answer)) = proof.as_ref().zip(answer.as_ref()) {
                let proof = AnswerProof::parse(proof)?;
                let entry = proof.verify(&head, answer, self.account.as_deref())?;
                found.index = Some(entry.index);
                found.key = Some(entry.key.as_str().to_owned());
                found.time_ms = Some(entry.time_ms);
            }
            Ok(None)
        };
        found.failure = check().unwrap_or_else(|error| Some(error.to_string()));
        found.holds = found.failure.is_none();
        if self.json {
            print_json(&found)?;
        } else {
            found.print()?;
        }
        Ok(claim(found.holds))
    }
}

impl Findings {
    fn print(&self) -> Result<()> {
        if let Some((signer, size)) = self.public_key.as_ref().zip(self.tree_size) {
            let at = self.signed_at.as_deref().unwrap_or_default();
            print(&format!("{size} entries, signed by {signer} at {at} (the signer's own clock)"))?;
        }
        if let Some((index, key)) = self.index.zip(self.key.as_ref()) {
            let time = self.time_ms.unwrap_or_default();
            print(&format!("entry {index}: this answer, served under key path {key:?} at {time} ms since 1970"))?;
        }
        match &self.failure {
            Some(why) => print(&format!("DOES NOT HOLD: {why}")),
            None => print("All that was checked holds."),
        }
    }
}
