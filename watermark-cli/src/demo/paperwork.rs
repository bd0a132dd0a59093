//! The demo's paperwork: commitment, registration and evidence, each signed before the next step.

use std::path::{Path, PathBuf};

use anyhow::Result;
use sha2::{Digest as _, Sha256};
use watermark_core::detect::{RESAMPLING_KEYS, Weights};
use watermark_core::evidence::bundle::{
    Digest, Prompts, REGISTRATION_TYPE, REGISTRATION_VERSION, Registration, Stopping, Time, TimeStamps,
};
use watermark_core::evidence::commitment::{KeyCommitments, KeyOpening};
use watermark_core::evidence::{HEAD_TYPE, SigningKey};
use watermark_core::key::NodeKey;
use watermark_core::model_test::Access;
use watermark_core::profile::Profile;
use watermark_lab::prompts;
use zeroize::Zeroizing;

use super::ALPHA;
use watermark_toolkit::evidence::{Case, build};
use watermark_toolkit::files::{write_new, write_secret};
use watermark_toolkit::signer::Signer;
use watermark_toolkit::tokenizer::Tokenizer;

/// Committed keys, not yet registered.
pub(super) struct Committed {
    out: PathBuf,
    profile: String,
    layer: String,
    head: Vec<u8>,
    opening: KeyOpening,
    signer: Signer,
}

/// A registered test.
pub(super) struct Registered {
    committed: Committed,
    registration: Vec<u8>,
    prompts: Vec<String>,
}

/// Secrets from the seed, so that the run can be repeated; real ones come from the system.
fn secret(label: &[u8], seed: u64) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(Sha256::new().chain_update(label).chain_update(seed.to_le_bytes()).finalize().into())
}

impl Committed {
    /// Commits to the nodes of the profile and of its layers, and opens the first layer's.
    pub(super) fn commit(
        out: &Path,
        profile: &Profile,
        profile_json: &str,
        key: &NodeKey,
        seed: u64,
        signed_at: &str,
    ) -> Result<Self> {
        let signer = Signer::Key(SigningKey::from_seed(&secret(b"watermark-demo-signing-key\0", seed)));
        let profile_sha256: [u8; 32] = Sha256::digest(profile_json.as_bytes()).into();
        let layers = profile.path.join("layer")?;
        let mut paths = vec![profile.path.clone()];
        for layer in &profile.layers {
            paths.push(layers.join(&layer.name)?);
        }
        let mut commitments = KeyCommitments::new();
        for (at, path) in paths.iter().enumerate() {
            let salt = secret(format!("watermark-demo-salt-{at}\0").as_bytes(), seed);
            commitments.add(&key.descend(path)?, salt, profile_sha256)?;
        }
        let head = signer.sign(HEAD_TYPE, &commitments.head(signed_at)?.payload()?)?;
        write_secret(&out.join("openings.json"), &commitments.print()?)?;
        write_new(&out.join("head.json"), &head)?;
        let layer = profile.layers[0].name.clone();
        let opening = commitments.open(&key.descend(&paths[1])?, &profile_sha256)?;
        Ok(Self { out: out.to_owned(), profile: profile_json.to_owned(), layer, head, opening, signer })
    }

    /// Fixes the test before anybody is asked.
    pub(super) fn register(self, questions: &[String], registered_at: &str) -> Result<Registered> {
        let prompts: Vec<String> = questions.iter().map(|question| prompts::prompt_text(question)).collect();
        let leaf = self.opening.leaf();
        let registration = Registration {
            registration: REGISTRATION_VERSION.to_owned(),
            registered_at: Time::new(registered_at)?,
            question: "Was the student trained on the teacher's marked answers?".to_owned(),
            suspect: "student".to_owned(),
            controls: vec!["control".to_owned()],
            profile_sha256: Digest(leaf.profile_sha256),
            layer: self.layer.clone(),
            key_path: leaf.path.as_str().to_owned(),
            head_sha256: Digest(Sha256::digest(&self.head).into()),
            access: Access::Answers,
            weights: Weights::Sqrt,
            stopping: Stopping::Fixed,
            alpha: ALPHA,
            resample: RESAMPLING_KEYS,
            prompts: Prompts::commit_to(&prompts)?,
            earlier: Vec::new(),
        };
        let registration = self.signer.sign(REGISTRATION_TYPE, &registration.payload()?)?;
        write_new(&self.out.join("registration.json"), &registration)?;
        Ok(Registered { committed: self, registration, prompts })
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
            profile: &self.committed.profile,
            head: &self.committed.head,
            opening: &self.committed.opening,
            disclose: true,
            prompts: &self.prompts,
            tokenizer,
            suspect: &file("student.jsonl"),
            controls: &[file("control.jsonl")],
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
