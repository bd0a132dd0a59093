use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use sha2::{Digest, Sha256};
use watermark_core::evidence::beacon::BeaconRound;
use watermark_core::evidence::commitment::KeyCommitments;
use watermark_core::evidence::prompts::Prompts;
use watermark_core::evidence::requests::Requests;
use watermark_core::evidence::{self, HEAD_TYPE, timestamp};
use watermark_core::hex;
use watermark_core::key::NodeKey;
use watermark_core::profile::Beacon;
use watermark_toolkit::files::{ProfileFile, file_sha256, new_folder, random, read_profile, write_new, write_secret};
use watermark_toolkit::keys::read_key;
use watermark_toolkit::read::read_prompts;
use watermark_toolkit::signer::Signer;
use watermark_toolkit::timestamp::now;

use super::super::passphrase::PassphraseArgs;
use super::super::{print, print_json, say};
use super::signing::SignerArgs;

/// Commit to keys before they are used: a signed head to publish, and openings to keep
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark key commit --key master.key.json --profile chat.profile.json --signing-key signing.key.json --out commitment

The folder then holds
  head.json      the signed Merkle root: publish it
  leaves.json    the leaves without their salts: publish it too, a test names its leaf
  head.tsq       a time-stamp request (RFC 3161) for head.json; have it answered before the keys serve, and keep the answer:
                 curl -H 'Content-Type: application/timestamp-query' --data-binary @head.tsq URL > head.tsr
  openings.json  the leaves with their salts (mode 0600): keep it as you keep the key

So that nobody can say that the key was chosen among many, let the profile await a beacon (`profile new --beacon`), and name the round
of a public source that is to come: --beacon drand/quicknet:ROUND. Have head.tsq answered before that round. Pools of prompts that are
committed to now can be drawn from later (`prompts draw`); written with the key at hand, they could be chosen to accuse. The same goes for
answers of unmarked models to the whole pool, beside which a suspect is to be tested (`register --reference`).

For paired draws, name the ledger that will be served from and how many requests it may have: --requests ledger/2026-11=100000. Evidence later opens
the secrets of these requests one by one, and not the key.")]
pub(crate) struct Args {
    /// A key at or above the profiles' paths
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Profiles: each commits to the node of every layer, and to the secret that names accounts where they have keys of their own
    #[arg(long, required = true, value_name = "FILE")]
    profile: Vec<PathBuf>,
    /// The round that the profiles await, as SOURCE:ROUND
    #[arg(long, value_name = "ROUND", value_parser = round)]
    beacon: Option<BeaconRound>,
    /// Prompts to commit to as a pool for later draws: one a line, or JSONL with `prompt` (repeatable)
    #[arg(long = "pool", value_name = "FILE")]
    pools: Vec<PathBuf>,
    /// Answers of an unmarked model to commit to as a reference for later tests: a file as it will be used (repeatable)
    #[arg(long = "reference", value_name = "FILE")]
    references: Vec<PathBuf>,
    /// Requests of a ledger that the layer of paired draws may serve: their secrets are committed to with its key
    #[arg(long, value_name = "LEDGER=N", value_parser = planned)]
    requests: Option<(String, u64)>,
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
        let pools = self.pools.iter().map(|path| Ok(Prompts::commit_to(&read_prompts(path)?)?));
        let digest = |path: &PathBuf| -> Result<evidence::bundle::Digest> {
            Ok(evidence::bundle::Digest(file_sha256(path).with_context(|| format!("reference {}", path.display()))?))
        };
        let commitment = commit(
            &read_key(&self.key, passphrases)?,
            &profiles,
            self.beacon.as_ref(),
            ForLater {
                pools: pools.collect::<Result<_>>()?,
                references: self.references.iter().map(digest).collect::<Result<_>>()?,
                requests: self.requests.clone(),
            },
            &self.signature.signer(passphrases)?,
            &self.out,
        )?;
        if self.json {
            print_json(&commitment)?;
        } else {
            let Commitment { root, tree_size, public_key, .. } = commitment;
            print(&format!(
                "Committed to {tree_size} keys, {} pools and {} references in {}.\nroot       {root}\npublic key {public_key}\nPublish head.json and leaves.json, have \
                 head.tsq answered by a time-stamping authority, and keep openings.json as secret as the key.",
                self.pools.len(),
                self.references.len(),
                self.out.display()
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A ledger and how many of its requests, as LEDGER=N.
fn planned(text: &str) -> Result<(String, u64)> {
    let planned = text.rsplit_once('=').and_then(|(ledger, n)| Some((ledger.to_owned(), n.parse().ok()?)));
    let (ledger, count) = planned.context("requests are written LEDGER=N, e.g. ledger/2026-11=100000")?;
    ensure!((1..=MAX_REQUESTS).contains(&count), "{count} requests; a ledger has 1 to {MAX_REQUESTS}");
    Ok((ledger, count))
}

/// The largest plan: a minute's work, and gigabytes to open.
const MAX_REQUESTS: u64 = 1 << 26;

/// A round as SOURCE:ROUND.
pub(in crate::command) fn round(text: &str) -> Result<BeaconRound> {
    let named = text.rsplit_once(':').and_then(|(source, round)| Some((source.to_owned(), round.parse().ok()?)));
    let (source, round) = named.context("a round is written SOURCE:ROUND, e.g. drand/quicknet:12345678")?;
    let round = BeaconRound { round, source };
    round.check()?;
    Ok(round)
}

/// Says so where a round has been drawn: whoever knows its value can choose a key that fits it.
pub(in crate::command) fn warn_of_known(round: Option<&BeaconRound>) {
    match round {
        Some(known) if known.is_known_by(&now()) == Some(true) => {
            say(&format!(
                "caution: round {} of {} has been drawn already; name one that is still to come",
                known.round, known.source
            ));
        }
        _ => (),
    }
}

/// What tests to come are bound to with the keys.
#[derive(Default)]
pub(super) struct ForLater {
    pools: Vec<Prompts>,
    references: Vec<evidence::bundle::Digest>,
    requests: Option<(String, u64)>,
}

/// Writes a new folder with the commitment to the nodes of profiles and to what tests to come use.
pub(super) fn commit(
    key: &NodeKey,
    profiles: &[ProfileFile],
    beacon: Option<&BeaconRound>,
    for_later: ForLater,
    signer: &Signer,
    out: &Path,
) -> Result<Commitment> {
    warn_of_known(beacon);
    let mut commitments = KeyCommitments::new();
    let mut planned_for = 0;
    for ProfileFile { profile, sha256, .. } in profiles {
        match (profile.beacon, beacon) {
            (Beacon::None, None) | (Beacon::Awaited, Some(_)) => (),
            (Beacon::None, Some(_)) => bail!(
                "--beacon: profile {:?} awaits none; write it with `watermark profile new --beacon`",
                profile.name
            ),
            (Beacon::Awaited, None) => {
                bail!("profile {:?} awaits a beacon; name its round with --beacon SOURCE:ROUND", profile.name)
            }
            (Beacon::Drawn(_), _) => {
                bail!("profile {:?} has its beacon already; keys are committed to before it is drawn", profile.name)
            }
        }
        let paired = profile.paired.as_ref().map(|name| profile.layer_path(name)).transpose()?;
        for path in profile.committed_paths()? {
            let requests = match for_later.requests.as_ref().filter(|_| Some(&path) == paired.as_ref()) {
                Some((ledger, count)) => {
                    planned_for += 1;
                    profile.paired_key(key)?.map(|layer| Requests::plan(&layer, ledger, *count)).transpose()?
                }
                None => None,
            };
            commitments.add_paired(&key.descend(&path)?, random()?, *sha256, beacon.cloned(), requests)?;
        }
    }
    if for_later.requests.is_some() {
        ensure!(
            planned_for == 1,
            "--requests: {planned_for} of the profiles have paired draws; a ledger belongs to one"
        );
    }
    let signed_at = now();
    let head = commitments.head(&signed_at, for_later.pools, for_later.references)?;
    let envelope = signer.sign(HEAD_TYPE, &head.payload()?)?;
    let digest: [u8; 32] = Sha256::digest(&envelope).into();
    let request = timestamp::request(&digest, *random()?);

    new_folder(out)?;
    // What cannot be made again comes first.
    write_secret(&out.join("openings.json"), &commitments.print()?)?;
    write_new(&out.join("head.json"), &envelope)?;
    write_new(&out.join("leaves.json"), &commitments.leaves().print()?)?;
    write_new(&out.join("head.tsq"), &request)?;
    Ok(Commitment {
        root: hex::encode(&head.root),
        tree_size: head.size,
        signed_at,
        public_key: signer.public_key().to_hex(),
        head_sha256: hex::encode(&digest),
    })
}
