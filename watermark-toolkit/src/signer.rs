//! Who signs: a key file, or a command that asks a hardware module or a key service.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use watermark_core::evidence::{PublicKey, SigningKey, dsse};

/// A source of Ed25519 signatures.
#[derive(Debug)]
pub enum Signer {
    /// A key in memory.
    Key(SigningKey),
    /// A program that reads the message (the envelope's pre-authentication encoding) from standard input until its end and
    /// writes the 64 bytes of the signature to standard output.
    Command {
        /// The program; it gets no arguments.
        program: PathBuf,
        /// The key it signs with. A signature by another is refused.
        public_key: PublicKey,
    },
}

impl Signer {
    /// The key that signs.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        match self {
            Self::Key(key) => key.public_key(),
            Self::Command { public_key, .. } => public_key.clone(),
        }
    }

    /// The signed envelope of a payload.
    ///
    /// # Errors
    /// If the command cannot be run, fails, or writes anything but a signature that holds.
    pub fn sign(&self, payload_type: &str, payload: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Key(key) => Ok(dsse::sign(payload_type, payload, key)?),
            Self::Command { program, public_key } => {
                let named = || format!("signer {}", program.display());
                let signature = ask(program, &dsse::pae(payload_type, payload)).with_context(named)?;
                dsse::envelope(payload_type, payload, public_key, &signature).with_context(named)
            }
        }
    }
}

fn ask(program: &PathBuf, message: &[u8]) -> Result<[u8; 64]> {
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    // A signer that ends without reading is judged by its exit status below.
    let _ = stdin.map(|mut pipe| pipe.write_all(message));
    let mut output = Vec::new();
    stdout.ok_or_else(|| anyhow!("no standard output"))?.take(65).read_to_end(&mut output)?;
    let wrong = |length: &str| anyhow!("it wrote {length} bytes; a signature is 64 raw bytes on standard output");
    if output.len() > 64 {
        let _ = child.kill();
        child.wait()?;
        return Err(wrong("more than 64"));
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("it ended with {status}");
    }
    output.try_into().map_err(|output: Vec<u8>| wrong(&output.len().to_string()))
}
