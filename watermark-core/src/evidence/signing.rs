use std::fmt;

use ed25519_dalek::{Signature, Signer, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::merkle::Hash;
use crate::key::sealed::{Sealed, is_version};
use crate::key::{KeyPath, SEALING_ENTROPY};
use crate::{Error, ErrorKind, Result, hex};

/// The version string of a plain signing key file, and of one behind a passphrase.
const VERSION: &str = "watermark-signing-key/1";
const SEALED_VERSION: &str = "watermark-signing-key/2";

const MAX_FILE: usize = 4096;

/// An Ed25519 public key (RFC 8032).
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// A key as 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] if it is not a point of the curve in this form.
    pub fn from_hex(digits: &str) -> Result<Self> {
        let invalid =
            || Error::new(ErrorKind::InvalidParameter, "a public key is 64 hexadecimal digits of an Ed25519 point");
        let mut bytes = [0; 32];
        hex::decode(digits.as_bytes(), &mut bytes).ok_or_else(invalid)?;
        VerifyingKey::from_bytes(&bytes).map(Self).map_err(|_| invalid())
    }

    /// What [`PublicKey::from_hex`] reads.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0.as_bytes())
    }

    /// SHA-256 of the 32 raw bytes: the name of the key in envelopes.
    #[must_use]
    pub fn keyid(&self) -> Hash {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// Checks a signature strictly: no key of small order, one encoding a signature.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSignature`].
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<()> {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| {
            Error::new(ErrorKind::InvalidSignature, format!("the signature does not hold under key {}", self.to_hex()))
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.to_hex())
    }
}

/// An Ed25519 secret key. Zeroized on drop; `Debug` shows the public half.
pub struct SigningKey(ed25519_dalek::SigningKey);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileJson {
    key: String,
    seed: Zeroizing<String>,
}

impl SigningKey {
    /// The key of a 32-byte seed, which must come from the system's randomness.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a message; the same message gets the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// The text of a key file: `{"key": "watermark-signing-key/1", "seed": "<64 hex>"}`.
    #[must_use]
    pub fn print(&self) -> Zeroizing<String> {
        let digits = Zeroizing::new(hex::encode(self.0.as_bytes()));
        // A string that grows would leave copies.
        let mut json = Zeroizing::new(String::with_capacity(160));
        for part in ["{\"key\": \"", VERSION, "\", \"seed\": \"", &digits, "\"}\n"] {
            json.push_str(part);
        }
        json
    }

    /// The text of a key file behind a passphrase; `entropy` must be fresh, and from the system.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an empty passphrase.
    pub fn seal(&self, passphrase: &str, entropy: &[u8; SEALING_ENTROPY]) -> Result<String> {
        Sealed::seal(SEALED_VERSION, &KeyPath::root(), self.0.as_bytes(), passphrase, entropy)?.print()
    }

    /// Reads a key file of either form; `passphrase` is asked for only if it is sealed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKeyFile`], [`ErrorKind::WrongPassphrase`] and those of `passphrase`. No message repeats a part
    /// of the file.
    pub fn open<E: From<Error>>(
        json: &str,
        passphrase: impl FnOnce() -> std::result::Result<Zeroizing<String>, E>,
    ) -> std::result::Result<Self, E> {
        if is_version(json, SEALED_VERSION) {
            let sealed = Sealed::parse(json, SEALED_VERSION)?;
            return Ok(Self::from_seed(&*sealed.open(&passphrase()?)?));
        }
        Ok(Self::parse(json)?)
    }

    fn parse(json: &str) -> Result<Self> {
        let invalid = || {
            let expected = "not a signing key file: expected {\"key\": \"watermark-signing-key/1\", \"seed\": 64 hexadecimal digits}";
            Error::new(ErrorKind::InvalidKeyFile, expected)
        };
        if json.len() > MAX_FILE {
            return Err(invalid());
        }
        let file: FileJson = serde_json::from_str(json).map_err(|_| invalid())?;
        let mut seed = Zeroizing::new([0; 32]);
        let decoded = hex::decode(file.seed.as_bytes(), seed.as_mut_slice());
        if file.key != VERSION || decoded.is_none() {
            return Err(invalid());
        }
        Ok(Self::from_seed(&seed))
    }

    /// Whether a key file is a signing key's, and sealed.
    #[must_use]
    pub fn inspect(json: &str) -> Option<bool> {
        if is_version(json, SEALED_VERSION) {
            return Sealed::parse(json, SEALED_VERSION).is_ok().then_some(true);
        }
        Self::parse(json).is_ok().then_some(false)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public_key().to_hex())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn bytes<const N: usize>(digits: &str) -> [u8; N] {
        let mut bytes = [0; N];
        hex::decode(digits.as_bytes(), &mut bytes).unwrap();
        bytes
    }

    /// RFC 8032, 7.1, test 2.
    #[test]
    fn vector_of_the_rfc() {
        let key = SigningKey::from_seed(&bytes("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"));
        assert_eq!(key.public_key().to_hex(), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = bytes(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        );
        assert_eq!(key.sign(&[0x72]), signature);
        key.public_key().verify(&[0x72], &key.sign(&[0x72])).unwrap();
        let error = key.public_key().verify(&[0x73], &key.sign(&[0x72])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSignature);
    }

    #[test]
    fn files_and_debug() {
        let key = SigningKey::from_seed(&[0x5e; 32]);
        let never = || Err(Error::new(ErrorKind::MissingInput, "asked"));
        let read = SigningKey::open(&key.print(), never).unwrap();
        assert_eq!(read.public_key(), key.public_key());
        let sealed = key.seal("correct", &[1; SEALING_ENTROPY]).unwrap();
        let with = |word: &'static str| move || Ok::<_, Error>(Zeroizing::new(word.to_owned()));
        assert_eq!(SigningKey::open(&sealed, with("correct")).unwrap().public_key(), key.public_key());
        assert_eq!(SigningKey::open(&sealed, with("wrong")).unwrap_err().kind(), ErrorKind::WrongPassphrase);
        assert_eq!((SigningKey::inspect(&sealed), SigningKey::inspect(&key.print())), (Some(true), Some(false)));
        assert_eq!(SigningKey::inspect("{}"), None);
        for text in [format!("{key:?}"), sealed, SigningKey::parse(&key.print()[1..]).unwrap_err().to_string()] {
            assert!(!text.contains("5e5e"), "{text}");
        }
    }

    #[test]
    fn keys_of_small_order_sign_nothing() {
        // The neutral element: under lax rules it signs every message with R = identity, s = 0.
        let neutral = PublicKey::from_hex(&format!("01{}", "00".repeat(31))).unwrap();
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(neutral.verify(b"anything", &signature).is_err());
    }
}
