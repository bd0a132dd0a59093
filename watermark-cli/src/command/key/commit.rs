use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Result, bail};
use serde::Serialize;
use sha2::{Digest, Sha256};
use watermark_core::evidence::commitment::KeyCommitments;
use watermark_core::evidence::{HEAD_TYPE, timestamp};
use watermark_core::hex;
use watermark_core::key::{KeyPath, NodeKey};
use watermark_toolkit::files::{ProfileFile, new_folder, random, read_profile, write_new, write_secret};
use watermark_toolkit::keys::read_key;
use watermark_toolkit::signer::Signer;

use super::super::passphrase::PassphraseArgs;
use super::super::{print, print_json};
use super::signing::SignerArgs;

/// Commit to keys before they are used: a signed head to publish, and openings to keep
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark key commit --key master.key.json --profile chat.profile.json --signing-key signing.key.json --out commitment

The folder then holds
  head.json      the signed Merkle root: publish it
  head.tsq       a time-stamp request (RFC 3161) for head.json; have it answered before the keys serve, and keep the answer:
                 curl -H 'Content-Type: application/timestamp-query' --data-binary @head.tsq URL > head.tsr
  openings.json  the leaves with their salts (mode 0600): keep it as you keep the key")]
pub(crate) struct Args {
    /// A key at or above the profiles' paths
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Profiles: each commits to the node at its path and to the node of every layer
    #[arg(long, required = true, value_name = "FILE")]
    profile: Vec<PathBuf>,
    /// More nodes below a profile's path, e.g. epoch/1/layer/x/account/…
    #[arg(long, value_name = "PATH")]
    path: Vec<KeyPath>,
    #[command(flatten)]
    signature: SignerArgs,
    /// The folder to write; must be new or empty
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What a commitment's files hold.
#[derive(Serialize)]
pub(super) struct Commitment {
    pub(super) root: String,
    pub(super) tree_size: u64,
    pub(super) signed_at: String,
    pub(super) public_key: String,
    pub(super) head_sha256: String,
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let profiles = self.profile.iter().map(|path| read_profile(path)).collect::<Result<Vec<_>>>()?;
        if let Some(path) = self.path.iter().find(|path| !profiles.iter().any(|file| holds(file, path))) {
            bail!("--path {path} lies below no profile's path");
        }
        let commitment = commit(
            &read_key(&self.key, passphrases)?,
            &profiles,
            &self.path,
            &self.signature.signer(passphrases)?,
            &self.out,
        )?;
        if self.json {
            print_json(&commitment)?;
        } else {
            let Commitment { root, tree_size, public_key, .. } = commitment;
            print(&format!(
                "Committed to {tree_size} keys in {}.\nroot       {root}\npublic key {public_key}\nPublish head.json, have \
                 head.tsq answered by a time-stamping authority, and keep openings.json as secret as the key.",
                self.out.display()
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes a new folder with the commitment to the nodes of profiles, and to `more` below their paths.
pub(super) fn commit(
    key: &NodeKey,
    profiles: &[ProfileFile],
    more: &[KeyPath],
    signer: &Signer,
    out: &Path,
) -> Result<Commitment> {
    let mut commitments = KeyCommitments::new();
    for file in profiles {
        for path in nodes_of(file, more)? {
            commitments.add(&key.descend(&path)?, random()?, file.sha256)?;
        }
    }
    let signed_at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let head = commitments.head(&signed_at)?;
    let envelope = signer.sign(HEAD_TYPE, &head.payload()?)?;
    let digest: [u8; 32] = Sha256::digest(&envelope).into();
    let request = timestamp::request(&digest, *random()?);

    new_folder(out)?;
    // What cannot be made again comes first.
    write_secret(&out.join("openings.json"), &commitments.print()?)?;
    write_new(&out.join("head.json"), &envelope)?;
    write_new(&out.join("head.tsq"), &request)?;
    Ok(Commitment {
        root: hex::encode(&head.root),
        tree_size: head.size,
        signed_at,
        public_key: signer.public_key().to_hex(),
        head_sha256: hex::encode(&digest),
    })
}

/// The profile's own node, its layers', and those of `more` that lie below it.
fn nodes_of(file: &ProfileFile, more: &[KeyPath]) -> Result<Vec<KeyPath>> {
    let profile = &file.profile;
    let mut paths = vec![profile.path.clone()];
    for layer in &profile.layers {
        paths.push(profile.path.join("layer")?.join(&layer.name)?);
    }
    paths.extend(more.iter().filter(|path| holds(file, path)).cloned());
    Ok(paths)
}

fn holds(file: &ProfileFile, path: &KeyPath) -> bool {
    path.is_at_or_below(&file.profile.path)
}
