use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::super::canonical::{from_canonical, to_canonical};
use super::super::dsse::{self, Verified};
use super::super::merkle;
use super::super::signing::PublicKey;
use super::fields::{Digest, Time};
use crate::detect::{Resampling, Weights, check_level};
use crate::key::KeyPath;
use crate::model_test::Access;
use crate::{Error, ErrorKind, Result};

/// Payload type of a signed registration.
pub const REGISTRATION_TYPE: &str = "application/vnd.watermark.registration+json";

/// Version string of the payload.
pub const REGISTRATION_VERSION: &str = "watermark-registration/1";

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
    pub profile_sha256: Digest,
    pub layer: String,
    pub key_path: String,
    pub head_sha256: Digest,
    pub access: Access,
    pub weights: Weights,
    pub stopping: Stopping,
    pub alpha: f64,
    pub resample: u32,
    pub prompts: Prompts,
    pub earlier: Vec<Digest>,
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

/// The prompts, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompts {
    /// How many.
    pub count: u64,
    /// Merkle root over them ([`prompt_leaf`]).
    pub root: Digest,
}

impl Prompts {
    /// Commits to prompts.
    ///
    /// # Errors
    /// Never for strings. Writing canonical JSON can fail for other values, hence the result type.
    pub fn commit_to(prompts: &[String]) -> Result<Self> {
        let leaves = prompts.iter().map(|prompt| prompt_leaf(prompt)).collect::<Result<Vec<_>>>()?;
        Ok(Self { count: leaves.len() as u64, root: Digest(merkle::root(&leaves)) })
    }
}

/// The leaf hash of a prompt: over its canonical JSON string.
///
/// # Errors
/// Never for strings. Writing canonical JSON can fail for other values, hence the result type.
pub fn prompt_leaf(prompt: &str) -> Result<merkle::Hash> {
    Ok(merkle::leaf_hash(&to_canonical(&prompt)?))
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

    fn check(&self) -> Result<()> {
        let invalid = |what: &str| Err(Error::new(ErrorKind::InvalidEvidence, format!("registration: {what}")));
        if self.registration != REGISTRATION_VERSION {
            return invalid("it is of another version");
        }
        if self.access != Access::Answers {
            return invalid("\"access\" is not \"answers\", the one kind that this version tests");
        }
        if !Weights::COUNTED.contains(&self.weights) {
            return invalid("\"weights\" are not those of counts, which answers have");
        }
        if check_level(self.alpha).is_err() {
            return invalid("\"alpha\" is not between 0 and 1");
        }
        if let Err(error) = Resampling::check_keys(self.resample) {
            return invalid(&format!("\"resample\": {error}"));
        }
        if self.prompts.count == 0 {
            return invalid("there are no prompts");
        }
        // Sets, because a megabyte of names that somebody signed must not take minutes.
        let mut names = HashSet::new();
        if std::iter::once(&self.suspect).chain(&self.controls).any(|name| name.is_empty() || !names.insert(name)) {
            return invalid("two models have the same name, or one has none");
        }
        let mut earlier = HashSet::new();
        if !self.earlier.iter().all(|digest| earlier.insert(digest)) {
            return invalid("an earlier registration is named twice");
        }
        self.key_path.parse::<KeyPath>().map(|_| ())
    }
}
