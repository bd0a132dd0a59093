use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::super::bundle::{MAX_REGISTRATION, RegisteredKey};
use super::super::canonical::{from_canonical, to_canonical};
use super::super::dsse::{self, Verified};
use super::super::fields::{Digest, Time};
use super::super::signing::PublicKey;
use crate::detect::check_level;
use crate::key::KeyPath;
use crate::{Error, ErrorKind, Result};

/// Payload type of a signed registration.
pub const REGISTRATION_TYPE: &str = "application/vnd.watermark.pairs-registration+json";

/// Version string of the payload.
pub const REGISTRATION_VERSION: &str = "watermark-pairs-registration/1";

/// A test of paired draws, fixed before the suspect is scored. `verify/PAIRS.md`, section 2, says what each field means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages")]
pub struct Registration {
    pub registration: String,
    pub registered_at: Time,
    pub question: String,
    pub suspect: String,
    pub controls: Vec<String>,
    pub reference: Option<RegisteredScores>,
    pub law: Option<RegisteredScores>,
    pub profile_sha256: Digest,
    pub key: RegisteredKey,
    pub ledger: RegisteredLedger,
    pub first_tokens: Option<u32>,
    pub alpha: f64,
    pub accounts_alpha: f64,
    pub earlier: Vec<Digest>,
}

/// A model whose scores stand beside the suspect's, and their file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisteredScores {
    /// Its name.
    pub model: String,
    /// Digest of the file.
    pub sha256: Digest,
}

/// The ledger whose requests, all of them, are the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisteredLedger {
    /// Digest of its signed head.
    pub head_sha256: Digest,
    /// Its entries.
    pub size: u64,
}

impl Registration {
    /// The bytes to sign, as payload of type [`REGISTRATION_TYPE`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidEvidence`], naming the field that is out of range.
    pub fn payload(&self) -> Result<Vec<u8>> {
        self.check()?;
        to_canonical(self)
    }

    /// Reads a signed registration and checks its signature; also says who signed.
    ///
    /// # Errors
    /// Those of [`dsse::verify`]; [`ErrorKind::InvalidEvidence`].
    pub fn verify(envelope: &[u8]) -> Result<(Self, PublicKey)> {
        let Verified { payload, signer } = dsse::verify(envelope, REGISTRATION_TYPE, MAX_REGISTRATION)?;
        let registration: Self = from_canonical(&payload, MAX_REGISTRATION, "a registration of a test of pairs")?;
        // A field that is absent would be read as null, but the format wants it written.
        if registration.payload()? != payload {
            return Err(invalid("a field is missing"));
        }
        Ok((registration, signer))
    }

    /// Everything that has a scores file of its own: suspect, controls, reference, law.
    pub fn models(&self) -> impl Iterator<Item = &String> {
        let beside = self.reference.iter().chain(&self.law).map(|scores| &scores.model);
        std::iter::once(&self.suspect).chain(&self.controls).chain(beside)
    }

    fn check(&self) -> Result<()> {
        if self.registration != REGISTRATION_VERSION {
            return Err(invalid("it is of another version"));
        }
        if check_level(self.alpha).is_err() || check_level(self.accounts_alpha).is_err() {
            return Err(invalid("\"alpha\" or \"accounts_alpha\" is not between 0 and 1"));
        }
        if self.key.index >= self.key.tree_size {
            return Err(invalid("the key's index is not below the size of its tree"));
        }
        if self.ledger.size == 0 || self.first_tokens == Some(0) {
            return Err(invalid("there are no requests, or no tokens of them"));
        }
        let mut names = HashSet::new();
        if self.models().any(|name| name.is_empty() || !names.insert(name)) {
            return Err(invalid("two models have the same name, or one has none"));
        }
        let mut files = HashSet::new();
        if !self.reference.iter().chain(&self.law).all(|scores| files.insert(scores.sha256)) {
            return Err(invalid("reference and law are one file"));
        }
        let mut earlier = HashSet::new();
        if !self.earlier.iter().all(|digest| earlier.insert(digest)) {
            return Err(invalid("an earlier registration is named twice"));
        }
        self.key.path.parse::<KeyPath>().map(|_| ())
    }
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidEvidence, format!("registration: {what}"))
}
