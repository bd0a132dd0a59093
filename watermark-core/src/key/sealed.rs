//! Secrets behind a passphrase: argon2id (RFC 9106, version 0x13) makes the key from passphrase and `salt`,
//! XChaCha20-Poly1305 seals 32 bytes under `nonce`; `sealed` is ciphertext and tag. Associated data are version, path,
//! `memory_kib`, `passes` and `lanes`, in decimal, joined by zero bytes.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{KeyPath, NodeKey};
use crate::{Error, ErrorKind, Result, hex};

/// The version string of a key file behind a passphrase.
pub const SEALED_KEY_FILE_VERSION: &str = "watermark-key/2";

/// Bytes of randomness that sealing takes: a salt of 16 and a nonce of 24.
pub const SEALING_ENTROPY: usize = SALT + NONCE;

const SALT: usize = 16;
const NONCE: usize = 24;
const TAG: usize = 16;

/// A sealed file is some 400 bytes and its path.
const MAX_SEALED_FILE: usize = 4096;

/// The second recommended option of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes.
const COST: Cost = Cost { memory_kib: 1 << 16, passes: 3, lanes: 4 };

/// The most memory and time that a file may demand. They are spent before it is known whether the passphrase is right,
/// so a hostile file costs 256 MiB and a few seconds at most.
const MAX_COST: Cost = Cost { memory_kib: 1 << 18, passes: 8, lanes: 16 };

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedJson {
    key: String,
    path: String,
    kdf: Kdf,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    cipher: Cipher,
    nonce: String,
    sealed: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kdf {
    Argon2id,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Cipher {
    XChaCha20Poly1305,
}

/// A sealed secret as its file has it. What is not encrypted (version, path, cost) is authenticated.
pub(crate) struct Sealed {
    version: &'static str,
    path: KeyPath,
    cost: Cost,
    salt: [u8; SALT],
    nonce: [u8; NONCE],
    ciphertext: [u8; 32],
    tag: [u8; TAG],
}

impl Sealed {
    /// Seals `secret`; `entropy` must be fresh, and from the system.
    pub(crate) fn seal(
        version: &'static str,
        path: &KeyPath,
        secret: &[u8; 32],
        passphrase: &str,
        entropy: &[u8; SEALING_ENTROPY],
    ) -> Result<Self> {
        Self::seal_at(COST, version, path, secret, passphrase, entropy)
    }

    fn seal_at(
        cost: Cost,
        version: &'static str,
        path: &KeyPath,
        secret: &[u8; 32],
        passphrase: &str,
        entropy: &[u8; SEALING_ENTROPY],
    ) -> Result<Self> {
        if passphrase.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "an empty passphrase protects nothing; choose a longer one",
            ));
        }
        let (mut salt, mut nonce, mut ciphertext) = ([0; SALT], [0; NONCE], Zeroizing::new(*secret));
        salt.copy_from_slice(&entropy[..SALT]);
        nonce.copy_from_slice(&entropy[SALT..]);
        let sealed = Self { version, path: path.clone(), cost, salt, nonce, ciphertext: [0; 32], tag: [0; TAG] };
        let tag = sealed
            .cipher(passphrase)?
            .encrypt_inout_detached(&XNonce::from(nonce), &sealed.header(), ciphertext.as_mut_slice().into())
            .map_err(|_| Error::new(ErrorKind::InvalidParameter, "the secret cannot be sealed"))?;
        Ok(Self { ciphertext: *ciphertext, tag: tag.into(), ..sealed })
    }

    /// Reads a sealed file of this version. Messages repeat nothing of it.
    pub(crate) fn parse(json: &str, version: &'static str) -> Result<Self> {
        let invalid = |why: &str| Error::new(ErrorKind::InvalidKeyFile, format!("not a sealed key file: {why}"));
        if json.len() > MAX_SEALED_FILE {
            return Err(invalid("longer than 4096 bytes"));
        }
        let file: SealedJson = serde_json::from_str(json).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            invalid(&format!("a field is missing, unknown or of another type (line {line}, column {column})"))
        })?;
        if file.key != version {
            return Err(invalid("it is of another kind or version"));
        }
        let cost = Cost { memory_kib: file.memory_kib, passes: file.passes, lanes: file.lanes };
        if cost.memory_kib > MAX_COST.memory_kib || cost.passes > MAX_COST.passes || cost.lanes > MAX_COST.lanes {
            return Err(invalid(&format!(
                "it asks for more than {} KiB of memory, {} passes or {} lanes",
                MAX_COST.memory_kib, MAX_COST.passes, MAX_COST.lanes
            )));
        }
        let path = file.path.parse().map_err(|_| invalid("\"path\" is not a key path"))?;
        let mut sealed = [0; 32 + TAG];
        hex::decode(file.sealed.as_bytes(), &mut sealed)
            .ok_or_else(|| invalid("\"sealed\" is not 96 hexadecimal digits"))?;
        let (mut salt, mut nonce, mut ciphertext, mut tag) = ([0; SALT], [0; NONCE], [0; 32], [0; TAG]);
        hex::decode(file.salt.as_bytes(), &mut salt).ok_or_else(|| invalid("\"salt\" is not 32 hexadecimal digits"))?;
        hex::decode(file.nonce.as_bytes(), &mut nonce)
            .ok_or_else(|| invalid("\"nonce\" is not 48 hexadecimal digits"))?;
        ciphertext.copy_from_slice(&sealed[..32]);
        tag.copy_from_slice(&sealed[32..]);
        Ok(Self { version, path, cost, salt, nonce, ciphertext, tag })
    }

    /// The file's text.
    pub(crate) fn print(&self) -> Result<String> {
        let Cost { memory_kib, passes, lanes } = self.cost;
        let file = SealedJson {
            key: self.version.to_owned(),
            path: self.path.as_str().to_owned(),
            kdf: Kdf::Argon2id,
            memory_kib,
            passes,
            lanes,
            salt: hex::encode(&self.salt),
            cipher: Cipher::XChaCha20Poly1305,
            nonce: hex::encode(&self.nonce),
            sealed: hex::encode(&[&self.ciphertext[..], &self.tag].concat()),
        };
        let json = serde_json::to_string(&file);
        json.map(|json| json + "\n").map_err(|error| Error::new(ErrorKind::InvalidKeyFile, error.to_string()))
    }

    /// The secret.
    ///
    /// # Errors
    /// [`ErrorKind::WrongPassphrase`]; a changed file reads the same.
    pub(crate) fn open(&self, passphrase: &str) -> Result<Zeroizing<[u8; 32]>> {
        let mut secret = Zeroizing::new(self.ciphertext);
        self.cipher(passphrase)?
            .decrypt_inout_detached(
                &XNonce::from(self.nonce),
                &self.header(),
                secret.as_mut_slice().into(),
                &Tag::from(self.tag),
            )
            .map_err(|_| {
                Error::new(ErrorKind::WrongPassphrase, "the passphrase does not open it, or the file was changed")
            })?;
        Ok(secret)
    }

    fn header(&self) -> Vec<u8> {
        let Cost { memory_kib, passes, lanes } = self.cost;
        format!("{}\0{}\0{memory_kib}\0{passes}\0{lanes}", self.version, self.path).into_bytes()
    }

    fn cipher(&self, passphrase: &str) -> Result<XChaCha20Poly1305> {
        let failed = |error: argon2::Error| Error::new(ErrorKind::InvalidKeyFile, format!("argon2id: {error}"));
        let Cost { memory_kib, passes, lanes } = self.cost;
        let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(failed)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &self.salt, key.as_mut_slice())
            .map_err(failed)?;
        XChaCha20Poly1305::new_from_slice(key.as_slice())
            .map_err(|_| Error::new(ErrorKind::InvalidKeyFile, "argon2id gave no key"))
    }
}

/// The text of a key file behind a passphrase; `entropy` must be fresh, and from the system. The path stays readable.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] for an empty passphrase.
pub fn seal_key_file(node: &NodeKey, passphrase: &str, entropy: &[u8; SEALING_ENTROPY]) -> Result<String> {
    Sealed::seal(SEALED_KEY_FILE_VERSION, node.path(), node.secret(), passphrase, entropy)?.print()
}

/// Reads a key file of either form. `passphrase` is asked for only if the file is sealed.
///
/// # Errors
/// Those of [`super::parse_key_file`] and of `passphrase`; [`ErrorKind::WrongPassphrase`], which a changed file gives too.
/// Costs more than 256 MiB of memory, 8 passes or 16 lanes are refused before they are paid.
pub fn open_key_file<E: From<Error>>(
    json: &str,
    passphrase: impl FnOnce() -> std::result::Result<Zeroizing<String>, E>,
) -> std::result::Result<NodeKey, E> {
    if !is_version(json, SEALED_KEY_FILE_VERSION) {
        return Ok(super::parse_key_file(json)?);
    }
    let sealed = Sealed::parse(json, SEALED_KEY_FILE_VERSION)?;
    let secret = sealed.open(&passphrase()?)?;
    Ok(NodeKey::from_parts(sealed.path, secret))
}

/// What a key file is, without opening it: the path of its node, and whether a passphrase seals it.
///
/// # Errors
/// Those of [`super::parse_key_file`].
pub fn inspect_key_file(json: &str) -> Result<(KeyPath, bool)> {
    if is_version(json, SEALED_KEY_FILE_VERSION) {
        return Ok((Sealed::parse(json, SEALED_KEY_FILE_VERSION)?.path, true));
    }
    Ok((super::parse_key_file(json)?.path().clone(), false))
}

/// Whether a small JSON object says `"key": version`.
pub(crate) fn is_version(json: &str, version: &str) -> bool {
    #[derive(Deserialize)]
    struct Head {
        key: Zeroizing<String>,
    }
    json.len() <= MAX_SEALED_FILE && serde_json::from_str::<Head>(json).is_ok_and(|head| *head.key == version)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 32, passes: 1, lanes: 1 };

    fn node() -> NodeKey {
        NodeKey::root(b"m").descend(&"epoch/2026-11".parse().unwrap()).unwrap()
    }

    fn cheap() -> String {
        let node = node();
        let sealed = Sealed::seal_at(CHEAP, SEALED_KEY_FILE_VERSION, node.path(), node.secret(), "correct", &[3; 40]);
        sealed.unwrap().print().unwrap()
    }

    fn open(json: &str, passphrase: &str) -> Result<NodeKey> {
        open_key_file(json, || Ok::<_, Error>(Zeroizing::new(passphrase.to_owned())))
    }

    #[test]
    fn round_trip_at_the_real_cost() {
        let json = seal_key_file(&node(), "correct horse", &[7; 40]).unwrap();
        assert!(json.contains("\"memory_kib\":65536,\"passes\":3,\"lanes\":4"));
        let opened = open(&json, "correct horse").unwrap();
        assert_eq!((opened.path(), opened.secret()), (node().path(), node().secret()));
        assert_eq!(open(&json, "correct horse ").unwrap_err().kind(), ErrorKind::WrongPassphrase);
        assert_eq!(inspect_key_file(&json).unwrap(), (node().path().clone(), true));
        assert!(seal_key_file(&node(), "", &[7; 40]).is_err());
    }

    #[test]
    fn plain_files_ask_for_nothing() {
        let json = super::super::print_key_file(&node());
        let opened = open_key_file(&json, || Err(Error::new(ErrorKind::MissingInput, "asked"))).unwrap();
        assert_eq!(opened.secret(), node().secret());
        assert_eq!(inspect_key_file(&json).unwrap(), (node().path().clone(), false));
    }

    #[test]
    fn hostile_costs_are_refused_unpaid() {
        for (from, to) in [
            ("\"memory_kib\":32", "\"memory_kib\":4294967295"),
            ("\"memory_kib\":32", "\"memory_kib\":262145"),
            ("\"passes\":1", "\"passes\":9"),
            ("\"lanes\":1", "\"lanes\":17"),
        ] {
            let json = cheap().replace(from, to);
            let asked = open_key_file(&json, || Err(Error::new(ErrorKind::MissingInput, "asked"))).unwrap_err();
            assert_eq!(asked.kind(), ErrorKind::InvalidKeyFile, "{to}");
        }
        for (from, to) in [
            ("\"memory_kib\":32", "\"memory_kib\":0"),
            ("\"passes\":1", "\"passes\":0"),
            ("\"lanes\":1", "\"lanes\":0"),
        ] {
            assert_eq!(
                open(&cheap().replace(from, to), "correct").unwrap_err().kind(),
                ErrorKind::InvalidKeyFile,
                "{to}"
            );
        }
    }

    #[test]
    fn every_field_is_authenticated() {
        assert!(open(&cheap(), "correct").is_ok());
        for (from, to) in
            [("2026-11", "2026-12"), ("\"passes\":1", "\"passes\":2"), ("\"memory_kib\":32", "\"memory_kib\":33")]
        {
            let json = cheap().replace(from, to);
            assert_eq!(open(&json, "correct").unwrap_err().kind(), ErrorKind::WrongPassphrase, "{to}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// One byte changed anywhere: an error, never another key.
        #[test]
        fn changed_files_do_not_open(at in 0..cheap().len() - 1, byte in 0x20..0x7f_u8) {
            let mut bytes = cheap().into_bytes();
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            let json = String::from_utf8(bytes).unwrap();
            // The cost is bounded, but dear to try 400 times.
            prop_assume!(Sealed::parse(&json, SEALED_KEY_FILE_VERSION).map_or(true, |sealed| sealed.cost.memory_kib < 1 << 12));
            prop_assert!(open(&json, "correct").is_err());
        }

        #[test]
        fn cut_files_do_not_open(length in 0..cheap().len() - 1) {
            prop_assert!(open(&cheap()[..length], "correct").is_err());
        }

        #[test]
        fn no_panic_on_any_text(text in "\\PC{0,200}") {
            let _ = open(&text, "correct");
            let _ = inspect_key_file(&text);
        }
    }
}
