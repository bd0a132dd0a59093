use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use serde::Serialize;
use watermark_core::evidence::beacon::BeaconRound;
use watermark_core::hex;
use watermark_core::key::KeyPath;
use watermark_core::profile::{Beacon, Profile};
use watermark_toolkit::files::{ProfileFile, read_profile, write_new};
use watermark_toolkit::keys::{read_key, write_key};

use super::super::passphrase::PassphraseArgs;
use super::super::{print, print_json};
use super::commit::{Commitment, ForLater, commit, round};
use super::export::SealArgs;
use super::signing::SignerArgs;

/// Begin a new epoch: the same profile under another path, the key for its servers, and a commitment to it
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark key rotate --key master.key.json --profile chat.profile.json --path epoch/2026-12 --signing-key signing.key.json \\
    --out epoch-2026-12

The folder then holds
  profile.json   the profile under the new path: give it to the servers
  key.json       the key at that path (mode 0600), and of nothing beside it: give it to the servers
  head.json      the signed Merkle root of the commitment: publish it
  leaves.json    its leaves without their salts: publish it too
  head.tsq       a time-stamp request (RFC 3161) for head.json; have it answered before the key serves
  openings.json  the leaves with their salts (mode 0600): keep it as you keep the key

The master key stays where it is, and never serves. Keep the old profile and its openings: what was marked in that epoch is detected
with them, and a server's old key.json can be deleted.")]
pub(crate) struct Args {
    /// The master key, or one at or above the new path
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The profile that has served so far
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// The new epoch's path, e.g. epoch/2026-12
    #[arg(long, value_name = "PATH")]
    path: KeyPath,
    /// The round that the new keys await, as SOURCE:ROUND, for a profile under a beacon
    #[arg(long, value_name = "ROUND", value_parser = round)]
    beacon: Option<BeaconRound>,
    #[command(flatten)]
    signature: SignerArgs,
    #[command(flatten)]
    seal: SealArgs,
    /// The folder to write; must be new or empty
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    from: String,
    path: String,
    profile_sha256: String,
    #[serde(flatten)]
    commitment: Commitment,
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let old = read_profile(&self.profile)?.profile;
        ensure!(
            !self.path.is_at_or_below(&old.path) && !old.path.is_at_or_below(&self.path),
            "--path {}: whoever holds the key of one epoch must not hold that of another, and {} is not apart from it",
            self.path,
            old.path
        );
        let from = old.path.as_str().to_owned();
        // The new epoch's keys await a beacon of their own.
        let beacon = if old.beacon == Beacon::None { Beacon::None } else { Beacon::Awaited };
        let text = Profile { path: self.path.clone(), beacon, ..old }.print();
        let file = ProfileFile::parse(&text)?;
        let profile_sha256 = hex::encode(&file.sha256);
        let master = read_key(&self.key, passphrases)?;
        let node = master.descend(&self.path)?;
        let passphrase = self.seal.passphrase()?;
        let commitment = commit(
            &master,
            &[file],
            self.beacon.as_ref(),
            ForLater::default(),
            &self.signature.signer(passphrases)?,
            &self.out,
        )?;
        write_new(&self.out.join("profile.json"), text.as_bytes())?;
        write_key(&self.out.join("key.json"), &node, passphrase.as_ref().map(|passphrase| passphrase.as_str()))?;
        let output = Output { from, path: self.path.as_str().to_owned(), profile_sha256, commitment };
        if self.json {
            print_json(&output)?;
        } else {
            let Output { from, path, commitment, .. } = output;
            print(&format!(
                "From {from:?} to {path:?}: profile.json, key.json ({}) and the commitment to {} keys are in {}.\nroot       {}\npublic key \
                 {}\nPublish head.json, have head.tsq answered by a time-stamping authority, then let the servers change.",
                if passphrase.is_some() { "sealed, mode 0600" } else { "not sealed, mode 0600" },
                commitment.tree_size,
                self.out.display(),
                commitment.root,
                commitment.public_key
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
