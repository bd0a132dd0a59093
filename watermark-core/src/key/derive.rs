use std::fmt;
use std::ops::Range;

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::KeyPath;
use crate::{Error, ErrorKind, MAX_CONTEXT_WIDTH, Result, hex};

// Every label of the key schedule; no other place in the code spells one out.
const LABEL_ROOT: &[u8] = b"watermark-key-v1";
const LABEL_CHILD: &[u8] = b"watermark-key-v1\0child\0";
const LABEL_PRF: &[u8] = b"watermark-key-v1\0prf\0";
const LABEL_CONTEXT: &[u8] = b"watermark-key-v1\0context\0";
const LABEL_COMMIT: &[u8] = b"watermark-commit-v1\0";
const LABEL_RESAMPLE: &[u8] = b"watermark-resample-v1";
const LABEL_ACCOUNT: &[u8] = b"watermark-key-v1\0account\0";
#[cfg(feature = "evidence")]
const LABEL_LEDGER: &[u8] = b"watermark-key-v1\0ledger\0";

/// The secret of one node of the key tree, with its path.
///
/// Zeroized on drop; `Debug` shows the path only.
#[derive(Clone)]
pub struct NodeKey {
    path: KeyPath,
    secret: Zeroizing<[u8; 32]>,
}

impl NodeKey {
    /// The root node of `master`, which should hold at least 32 bytes of entropy.
    #[must_use]
    pub fn root(master: &[u8]) -> Self {
        let (mut prk, _) = Hkdf::<Sha256>::extract(Some(LABEL_ROOT), master);
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(&prk);
        zeroize::Zeroize::zeroize(prk.as_mut_slice());
        Self { path: KeyPath::root(), secret }
    }

    /// A node that was exported with its path.
    #[must_use]
    pub fn from_parts(path: KeyPath, secret: Zeroizing<[u8; 32]>) -> Self {
        Self { path, secret }
    }

    /// The path of this node.
    #[must_use]
    pub fn path(&self) -> &KeyPath {
        &self.path
    }

    /// The secret itself, for writing a key file.
    #[must_use]
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The node at the absolute `path`, which must lie at or below this one.
    ///
    /// # Errors
    /// [`ErrorKind::OutsideSubtree`] if it does not.
    pub fn descend(&self, path: &KeyPath) -> Result<Self> {
        let Some(below) = path.below(&self.path) else {
            return Err(Error::new(
                ErrorKind::OutsideSubtree,
                format!(
                    "the key is for {:?}, so it cannot open {:?}; use a key at or above that path",
                    self.path.as_str(),
                    path.as_str()
                ),
            ));
        };
        let mut secret = self.secret.clone();
        for segment in below {
            secret = expand(&secret, &[LABEL_CHILD, segment.as_bytes()]);
        }
        Ok(Self { path: path.clone(), secret })
    }

    /// The PRF key of a scheme at a context width in tokens (0..=8).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a wider context.
    pub fn prf_key(&self, scheme: &str, width: usize) -> Result<PrfKey> {
        let width_byte = u8::try_from(width).ok().filter(|_| width <= MAX_CONTEXT_WIDTH).ok_or_else(|| {
            Error::new(ErrorKind::InvalidParameter, format!("context width {width} is above {MAX_CONTEXT_WIDTH}"))
        })?;
        Ok(PrfKey(expand(&self.secret, &[LABEL_PRF, scheme.as_bytes(), b"\0", &[width_byte]])))
    }

    /// `SHA-256("watermark-commit-v1\0" || node || salt)`: binding, and hiding as long as the salt is secret.
    #[must_use]
    pub fn commitment(&self, salt: &[u8; 32]) -> [u8; 32] {
        Sha256::new()
            .chain_update(LABEL_COMMIT)
            .chain_update(self.secret.as_slice())
            .chain_update(salt)
            .finalize()
            .into()
    }

    /// The pseudonym of an account where this node is the secret that names them: without it nobody can try ids.
    pub(crate) fn account_pseudonym(&self, account: &str) -> Zeroizing<[u8; 32]> {
        expand(&self.secret, &[LABEL_ACCOUNT, account.as_bytes()])
    }

    /// The secret of a ledger whose key this node is.
    #[cfg(feature = "evidence")]
    pub(crate) fn ledger_secret(&self) -> Zeroizing<[u8; 32]> {
        expand(&self.secret, &[LABEL_LEDGER])
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The 32-byte key of one PRF. Zeroized on drop, redacted in `Debug`.
#[derive(Clone)]
pub struct PrfKey(Zeroizing<[u8; 32]>);

impl PrfKey {
    /// A key that came from elsewhere (tests, other people's schemes).
    #[must_use]
    pub fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// A key as 64 hexadecimal digits, decoded in constant time.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for anything else; the message does not repeat the text.
    pub fn from_hex(digits: &str) -> Result<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        match hex::decode_any_case(digits.as_bytes(), bytes.as_mut_slice()) {
            Some(()) => Ok(Self(bytes)),
            None => Err(Error::new(ErrorKind::InvalidParameter, "a PRF key is 64 hexadecimal digits")),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The HMAC key for contexts wider than the nonce has room for.
    pub(crate) fn context_key(&self) -> Zeroizing<[u8; 32]> {
        expand(&self.0, &[LABEL_CONTEXT])
    }
}

impl fmt::Debug for PrfKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrfKey(..)")
    }
}

/// PRF keys for tests against chance: key i of `seed`, for i in 0..n. A seed that is a digest of what is tested leaves
/// nobody a choice of keys.
pub fn fresh_keys(seed: &[u8], n: u32) -> impl Iterator<Item = PrfKey> + use<> {
    fresh_keys_in(seed, 0..n)
}

/// The keys of a range of that sequence, without computing those before it.
pub fn fresh_keys_in(seed: &[u8], range: Range<u32>) -> impl Iterator<Item = PrfKey> + use<> {
    let (prk, _) = Hkdf::<Sha256>::extract(Some(LABEL_RESAMPLE), seed);
    let prk: [u8; 32] = prk.into();
    range.map(move |i| PrfKey(expand(&prk, &[&i.to_le_bytes()])))
}

fn expand(parent: &[u8; 32], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    #[expect(clippy::expect_used, reason = "32 bytes in and out are always valid lengths for HKDF-SHA256")]
    Hkdf::<Sha256>::from_prk(parent)
        .expect("32-byte pseudorandom key")
        .expand_multi_info(info, out.as_mut_slice())
        .expect("32 bytes of output");
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let node = NodeKey::root(b"secret").descend(&"epoch/1".parse().unwrap()).unwrap();
        let shown = format!("{node:?} {:?}", node.prf_key("gumbel", 4).unwrap());
        assert_eq!(shown, "NodeKey { path: KeyPath(\"epoch/1\"), .. } PrfKey(..)");
    }

    #[test]
    fn a_subtree_opens_only_what_is_below_it() {
        let root = NodeKey::root(b"secret");
        let epoch = root.descend(&"epoch/1".parse().unwrap()).unwrap();
        let below: KeyPath = "epoch/1/layer/x".parse().unwrap();
        assert_eq!(epoch.descend(&below).unwrap().secret(), root.descend(&below).unwrap().secret());
        for other in ["", "epoch", "epoch/12", "epoch/2/layer/x"] {
            let kind = epoch.descend(&other.parse().unwrap()).unwrap_err().kind();
            assert_eq!(kind, ErrorKind::OutsideSubtree, "{other}");
        }
    }
}
