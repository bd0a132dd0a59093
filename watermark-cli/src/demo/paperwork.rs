//! The demo's paperwork: commitment, registration and evidence, each signed before the next step.

use std::path::{Path, PathBuf};

use anyhow::Result;
use sha2::{Digest as _, Sha256};
use watermark_core::detect::{RESAMPLING_KEYS, Weights};
use watermark_core::evidence::beacon::{BeaconRound, DrawnValue};
use watermark_core::evidence::bundle::{
    Digest, REGISTRATION_TYPE, REGISTRATION_VERSION, RegisteredKey, RegisteredPrompts, Registration, Stopping, Time,
    TimeStamps,
};
use watermark_core::evidence::commitment::{KeyCommitments, KeyOpening};
use watermark_core::evidence::prompts::{PromptDraw, Prompts};
use watermark_core::evidence::{HEAD_TYPE, SigningKey};
use watermark_core::key::NodeKey;
use watermark_core::model_test::Access;
use watermark_core::profile::Profile;
use zeroize::Zeroizing;

use super::ALPHA;
use watermark_toolkit::evidence::{Case, build};
use watermark_toolkit::files::{write_new, write_secret};
use watermark_toolkit::read::print_prompts;
use watermark_toolkit::signer::Signer;
use watermark_toolkit::tokenizer::Tokenizer;

/// Committed keys and prompts, not yet registered.
pub(super) struct Committed {
    out: PathBuf,
    layer: String,
    head: Vec<u8>,
    tree_size: u64,
    pool: Vec<String>,
    opening: KeyOpening,
    signer: Signer,
    seed: u64,
}

/// A registered test.
pub(super) struct Registered {
    committed: Committed,
    registration: Vec<u8>,
    profile: String,
}

/// Secrets from the seed, so that the run can be repeated; real ones come from the system.
fn secret(label: &[u8], seed: u64) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(Sha256::new().chain_update(label).chain_update(seed.to_le_bytes()).finalize().into())
}

/// The demo's stand-in for a public source of random values: it has no network, and the run can be repeated.
fn round(label: &str) -> BeaconRound {
    BeaconRound { round: 1, source: format!("watermark-demo/{label}") }
}

/// The value of a round of that source.
pub(super) fn value(label: &str, seed: u64) -> [u8; 32] {
    *secret(format!("watermark-demo/{label}\0").as_bytes(), seed)
}

fn drawn(label: &str, seed: u64) -> DrawnValue {
    DrawnValue { signature: None, value: Digest(value(label, seed)) }
}

impl Committed {
    /// Commits to the nodes of the layers of a profile that awaits its beacon, and to a pool of prompts; opens the first layer's.
    pub(super) fn commit(
        out: &Path,
        profile: &Profile,
        key: &NodeKey,
        pool: Vec<String>,
        seed: u64,
        signed_at: &str,
    ) -> Result<Self> {
        let signer = Signer::Key(SigningKey::from_seed(&secret(b"watermark-demo-signing-key\0", seed)));
        let profile_sha256: [u8; 32] = Sha256::digest(profile.print().as_bytes()).into();
        let mut commitments = KeyCommitments::new();
        for (at, path) in profile.committed_paths()?.iter().enumerate() {
            let salt = secret(format!("watermark-demo-salt-{at}\0").as_bytes(), seed);
            commitments.add(&key.descend(path)?, salt, profile_sha256, Some(round("beacon")))?;
        }
        let tree = commitments.head(signed_at, vec![Prompts::commit_to(&pool)?], vec![])?;
        let head = signer.sign(HEAD_TYPE, &tree.payload()?)?;
        write_secret(&out.join("openings.json"), &commitments.print()?)?;
        write_new(&out.join("head.json"), &head)?;
        write_new(&out.join("leaves.json"), &commitments.leaves().print()?)?;
        write_new(&out.join("pool.jsonl"), &print_prompts(&pool)?)?;
        let layer = profile.layers[0].name.clone();
        let opening = commitments.open(&key.descend(&profile.layer_path(&layer)?)?, &profile_sha256)?;
        let (out, tree_size) = (out.to_owned(), tree.size);
        Ok(Self { out, layer, head, tree_size, pool, opening, signer, seed })
    }

    /// Fixes the test before anybody is asked, and before it is known what: a value that is still to come draws so many prompts.
    pub(super) fn register(self, profile: &str, count: u64, registered_at: &str) -> Result<Registered> {
        let (leaf, (index, _)) = (self.opening.leaf(), self.opening.inclusion());
        let registration = Registration {
            registration: REGISTRATION_VERSION.to_owned(),
            registered_at: Time::new(registered_at)?,
            question: "Was the student trained on the teacher's marked answers?".to_owned(),
            suspect: "student".to_owned(),
            controls: vec!["control".to_owned()],
            references: vec![],
            profile_sha256: Digest(Sha256::digest(profile.as_bytes()).into()),
            layer: self.layer.clone(),
            key: RegisteredKey {
                head_sha256: Digest(Sha256::digest(&self.head).into()),
                index,
                leaf_sha256: Digest(leaf.hash()?),
                path: leaf.path,
                tree_size: self.tree_size,
            },
            access: Access::Answers,
            weights: Weights::Sqrt,
            stopping: Stopping::Fixed,
            alpha: ALPHA,
            resample: RESAMPLING_KEYS,
            prompts: RegisteredPrompts {
                count,
                draw: Some(PromptDraw { beacon: round("draw"), pool: Prompts::commit_to(&self.pool)? }),
                root: None,
            },
            earlier: Vec::new(),
        };
        let registration = self.signer.sign(REGISTRATION_TYPE, &registration.payload()?)?;
        write_new(&self.out.join("registration.json"), &registration)?;
        Ok(Registered { committed: self, registration, profile: profile.to_owned() })
    }
}

impl Registered {
    /// Tests the answers in the folder and writes the bundle with its records.
    pub(super) fn evidence(
        &self,
        tokenizer: &Tokenizer,
        signed_at: &str,
        progress: &(dyn Fn(u64) -> Result<()> + Sync),
    ) -> Result<()> {
        let file = |name: &str| self.committed.out.join(name);
        let evidence = Case {
            registration: &self.registration,
            profile: &self.profile,
            head: &self.committed.head,
            opening: &self.committed.opening,
            disclose: true,
            beacon: Some(drawn("beacon", self.committed.seed)),
            prompts: &self.committed.pool,
            draw: Some(drawn("draw", self.committed.seed)),
            tokenizer,
            suspect: &file("student.jsonl"),
            controls: &[file("control.jsonl")],
            references: &[],
            earlier: &[],
            time_stamps: TimeStamps::default(),
            signed_at: Time::new(signed_at)?,
        };
        let written = build(evidence, &self.committed.signer, progress)?;
        write_new(&file("evidence.json"), &written.bundle)?;
        for (name, records) in ["student.records.jsonl", "control.records.jsonl"].iter().zip(&written.records) {
            write_new(&file(name), records)?;
        }
        Ok(())
    }
}
