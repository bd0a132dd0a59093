use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use watermark_core::evidence::{PublicKey, SigningKey};
use watermark_core::hex;
use watermark_toolkit::files::{random, write_secret};
use watermark_toolkit::keys::read_signing_key;
use watermark_toolkit::signer::Signer;

use super::super::passphrase::PassphraseArgs;
use super::super::{print, print_json};

/// Make an Ed25519 key that signs commitments; it marks nothing
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark key signing --out signing.key.json --passphrase

Publish the printed public key where others find it without asking you: they give it to --trusted-key.")]
pub(crate) struct Args {
    /// The key file to write (mode 0600); never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Seal the file with a passphrase, asked for twice unless there is --passphrase-file
    #[arg(long)]
    passphrase: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    signing_key_file: String,
    public_key: String,
    keyid: String,
    sealed: bool,
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let sealed = self.passphrase || passphrases.is_from_file();
        let passphrase = sealed.then(|| passphrases.chosen()).transpose()?;
        let key = SigningKey::from_seed(&*random()?);
        match &passphrase {
            Some(passphrase) => write_secret(&self.out, key.seal(passphrase, &*random()?)?.as_bytes())?,
            None => write_secret(&self.out, key.print().as_bytes())?,
        }
        let public_key = key.public_key();
        let output = Output {
            signing_key_file: self.out.display().to_string(),
            public_key: public_key.to_hex(),
            keyid: hex::encode(&public_key.keyid()),
            sealed,
        };
        if self.json {
            print_json(&output)?;
        } else {
            let how = if sealed { "sealed, mode 0600" } else { "mode 0600" };
            print(&format!("Wrote {} ({how}).\npublic key {}", output.signing_key_file, output.public_key))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Who signs.
#[derive(clap::Args)]
#[command(next_help_heading = "Signature")]
#[group(id = "signature", required = true, args = ["signing_key", "signer"])]
pub(in crate::command) struct SignerArgs {
    /// A key file from `watermark key signing`
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// A program that reads the bytes to sign from standard input and writes 64 raw bytes, so that a hardware module can hold
    /// the key
    #[arg(long, value_name = "PROGRAM", requires = "signer_key")]
    signer: Option<PathBuf>,
    /// Public key of --signer: 64 hexadecimal digits
    #[arg(long, value_name = "HEX", requires = "signer")]
    signer_key: Option<String>,
}

impl SignerArgs {
    pub(in crate::command) fn signer(&self, passphrases: &PassphraseArgs) -> Result<Signer> {
        match (&self.signing_key, &self.signer, &self.signer_key) {
            (None, Some(program), Some(key)) => {
                Ok(Signer::Command { program: program.clone(), public_key: PublicKey::from_hex(key)? })
            }
            (Some(path), _, _) => Ok(Signer::Key(read_signing_key(path, passphrases)?)),
            _ => anyhow::bail!("give --signing-key, or --signer and --signer-key"),
        }
    }
}
