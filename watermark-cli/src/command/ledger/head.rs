use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use sha2::{Digest, Sha256};
use watermark_core::evidence::{HEAD_TYPE, timestamp};
use watermark_core::hex;
use watermark_toolkit::files::{random, write_new};
use watermark_toolkit::ledger::{Contents, head_path};
use watermark_toolkit::timestamp::now;

use super::super::key::SignerArgs;
use super::super::passphrase::PassphraseArgs;
use super::super::{print, print_json};

/// Sign the ledger as it is now, also while it is being written
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark ledger head --ledger answers --signing-key signing.key.json

Writes answers/heads/<size>.json and, beside it, a time-stamp request (.tsq). Publish heads, or have them time-stamped, and
nobody can change what they cover without being caught.")]
pub(crate) struct Args {
    /// The ledger's folder
    #[arg(long, value_name = "FOLDER")]
    ledger: PathBuf,
    #[command(flatten)]
    signature: SignerArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    head_file: String,
    tree_size: u64,
    root: String,
    signed_at: String,
    public_key: String,
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let contents = Contents::read(&self.ledger)?;
        let signer = self.signature.signer(passphrases)?;
        let signed_at = now();
        let head = contents.head(&self.ledger, &signed_at)?;
        let envelope = signer.sign(HEAD_TYPE, &head.payload()?)?;
        let path = head_path(&self.ledger, head.size);
        write_new(&path, &envelope)?;
        let digest = Sha256::digest(&envelope).into();
        write_new(&path.with_extension("tsq"), &timestamp::request(&digest, *random()?))?;
        let output = Output {
            head_file: path.display().to_string(),
            tree_size: head.size,
            root: hex::encode(&head.root),
            signed_at,
            public_key: signer.public_key().to_hex(),
        };
        if self.json {
            print_json(&output)?;
        } else {
            print(&format!("Wrote {}: {} entries, root {}", output.head_file, output.tree_size, output.root))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
