use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::super::beacon::{BeaconRound, committed_sha256};
use super::super::canonical::{from_canonical, to_canonical};
use super::super::commitment::KeyLeaf;
use super::super::dsse::{self, Verified};
use super::super::fields::{Digest, Time, listed};
use super::super::head::TreeHead;
use super::super::merkle;
use super::super::prompts::{PromptDraw, Prompts};
use super::super::signing::PublicKey;
use crate::detect::{Resampling, Weights, check_level};
use crate::key::KeyPath;
use crate::model_test::{Access, MAX_REFERENCES};
use crate::profile::Profile;
use crate::{Error, ErrorKind, Result};

/// Payload type of a signed registration.
pub const REGISTRATION_TYPE: &str = "application/vnd.watermark.registration+json";

/// Version string of the payload.
pub const REGISTRATION_VERSION: &str = "watermark-registration/2";

/// The largest registration's envelope: thousands of controls and earlier registrations.
pub const MAX_REGISTRATION: usize = 1 << 20;

/// The largest payload: what base64 and a signature leave of the limit on the envelope.
const MAX_PAYLOAD: usize = MAX_REGISTRATION / 4 * 3 - 1024;

/// A test, fixed before its data exist. `verify/FORMAT.md`, section 2, says what each field means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages")]
pub struct Registration {
    pub registration: String,
    pub registered_at: Time,
    pub question: String,
    pub suspect: String,
    pub controls: Vec<String>,
    #[serde(default, deserialize_with = "listed", skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<RegisteredReference>,
    pub profile_sha256: Digest,
    pub layer: String,
    pub key: RegisteredKey,
    pub access: Access,
    pub weights: Weights,
    pub stopping: Stopping,
    pub alpha: f64,
    pub resample: u32,
    pub prompts: RegisteredPrompts,
    pub earlier: Vec<Digest>,
}

/// An unmarked model whose answers stand beside those of suspect and controls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisteredReference {
    /// Its name.
    pub model: String,
    /// Digest of the file of its answers.
    pub sha256: Digest,
}

/// What ends the collection, and so which number decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopping {
    /// Every prompt is answered once; p decides.
    Fixed,
    /// Whoever collects may stop after any prompt; the e-value decides.
    EProcess,
}

impl Stopping {
    /// The round of the answer at a place, counted from 0, in a file that does not say which rounds there were. Under
    /// an e-process any answer may have been the last one that was looked at, so each is a round of its own: in a
    /// longer round, later answers would change weights and exclusions that a look has already used.
    #[must_use]
    pub fn round_in_file(self, place: u64) -> u64 {
        match self {
            Self::Fixed => 0,
            Self::EProcess => place,
        }
    }
}

/// The one committed key that the test may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages")]
pub struct RegisteredKey {
    pub head_sha256: Digest,
    pub index: u64,
    pub leaf_sha256: Digest,
    pub path: String,
    pub tree_size: u64,
}

impl RegisteredKey {
    /// A level divided by the number of committed keys (Bonferroni), because whoever registers could have named any of them.
    #[must_use]
    pub fn level(&self, alpha: f64) -> f64 {
        alpha / self.tree_size as f64
    }

    /// Checks that a leaf is the one that was registered, in the tree of a head.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProof`].
    pub fn check_leaf(&self, leaf: &KeyLeaf, head: &TreeHead) -> Result<()> {
        let refused = |what: &str| Err(Error::new(ErrorKind::InvalidProof, what));
        if head.size != self.tree_size {
            return refused("the registered tree of keys has another size");
        }
        if leaf.path != self.path {
            return refused("the committed key is for another path than registered");
        }
        if leaf.hash()? != self.leaf_sha256.0 {
            return refused("the committed key is not the registered one");
        }
        leaf.beacon.as_ref().map_or(Ok(()), BeaconRound::check)
    }

    /// Checks that the tree of a head holds the registered leaf, and that it was made for a profile, before its beacon was drawn.
    pub(in crate::evidence) fn check_committed(
        &self,
        leaf: &KeyLeaf,
        proof: &[Digest],
        head: &TreeHead,
        (text, profile): (&str, &Profile),
    ) -> Result<()> {
        let refused = |what: &str| Err(Error::new(ErrorKind::InvalidProof, what));
        self.check_leaf(leaf, head)?;
        if !committed_sha256(text, profile).is_ok_and(|sha256| sha256 == leaf.profile_sha256.0) {
            return refused("the committed key is for another profile than registered");
        }
        let proof: Vec<merkle::Hash> = proof.iter().map(|hash| hash.0).collect();
        if !merkle::verify_inclusion(&self.leaf_sha256.0, self.index, head.size, &proof, &head.root) {
            return refused("the proof does not lead from the committed key to the signed root");
        }
        Ok(())
    }
}

/// The prompts: either these, or a draw of them that is still to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisteredPrompts {
    /// How many.
    pub count: u64,
    /// The draw that chooses them.
    pub draw: Option<PromptDraw>,
    /// Merkle root over them, where they are chosen already.
    pub root: Option<Digest>,
}

impl From<Prompts> for RegisteredPrompts {
    fn from(Prompts { count, root }: Prompts) -> Self {
        Self { count, draw: None, root: Some(root) }
    }
}

impl Registration {
    /// The bytes to sign, as payload of type [`REGISTRATION_TYPE`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidEvidence`], naming the field that is out of range, or if it is too long for [`MAX_REGISTRATION`].
    pub fn payload(&self) -> Result<Vec<u8>> {
        self.check()?;
        let payload = to_canonical(self)?;
        if payload.len() > MAX_PAYLOAD {
            let what = format!("registration: {} bytes; it may have {MAX_PAYLOAD}", payload.len());
            return Err(Error::new(ErrorKind::InvalidEvidence, what));
        }
        Ok(payload)
    }

    /// Reads a signed registration and checks its signature; also says who signed.
    ///
    /// # Errors
    /// Those of [`dsse::verify`]; [`ErrorKind::InvalidEvidence`].
    pub fn verify(envelope: &[u8]) -> Result<(Self, PublicKey)> {
        let Verified { payload, signer } = dsse::verify(envelope, REGISTRATION_TYPE, MAX_REGISTRATION)?;
        let registration: Self = from_canonical(&payload, MAX_REGISTRATION, "a registration")?;
        registration.check()?;
        Ok((registration, signer))
    }

    /// The level of the deciding number.
    #[must_use]
    pub fn level(&self) -> f64 {
        self.key.level(self.alpha)
    }

    fn check(&self) -> Result<()> {
        let invalid = |what: &str| Err(Error::new(ErrorKind::InvalidEvidence, format!("registration: {what}")));
        if self.registration != REGISTRATION_VERSION {
            return invalid("it is of another version");
        }
        if self.access != Access::Answers {
            return invalid("\"access\" is not \"answers\", the one kind that this version tests");
        }
        if self.weights == Weights::Expected {
            return invalid("\"weights\" are not those of counts, which answers have");
        }
        if (self.weights == Weights::Residual) == self.references.is_empty() {
            return invalid("\"residual\" weights go with references");
        }
        if self.references.len() > MAX_REFERENCES {
            return invalid("there are too many references");
        }
        if !self.references.is_empty() && self.stopping != Stopping::Fixed {
            return invalid("beside references \"stopping\" is \"fixed\": weights change with every answer");
        }
        if check_level(self.alpha).is_err() {
            return invalid("\"alpha\" is not between 0 and 1");
        }
        if let Err(error) = Resampling::check_keys(self.resample) {
            return invalid(&format!("\"resample\": {error}"));
        }
        let prompts = &self.prompts;
        if prompts.count == 0 {
            return invalid("there are no prompts");
        }
        if prompts.draw.is_some() == prompts.root.is_some() {
            return invalid("prompts are either chosen, with a root, or drawn");
        }
        if let Some(draw) = &prompts.draw {
            draw.beacon.check()?;
            if draw.pool.count < prompts.count {
                return invalid("more prompts are to be drawn than the pool has");
            }
        }
        let key = &self.key;
        if key.index >= key.tree_size {
            return invalid("the key's index is not below the size of its tree");
        }
        // Sets, because a megabyte of names that somebody signed must not take minutes.
        let mut names = HashSet::new();
        let references = self.references.iter().map(|reference| &reference.model);
        let mut models = std::iter::once(&self.suspect).chain(&self.controls).chain(references);
        if models.any(|name| name.is_empty() || !names.insert(name)) {
            return invalid("two models have the same name, or one has none");
        }
        let mut files = HashSet::new();
        if !self.references.iter().all(|reference| files.insert(reference.sha256)) {
            return invalid("two references are one file");
        }
        let mut earlier = HashSet::new();
        if !self.earlier.iter().all(|digest| earlier.insert(digest)) {
            return invalid("an earlier registration is named twice");
        }
        key.path.parse::<KeyPath>().map(|_| ())
    }
}
