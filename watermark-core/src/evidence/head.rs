use serde::{Deserialize, Serialize};

use super::canonical::{from_canonical, to_canonical};
use super::dsse::{self, Verified};
use super::fields::{Digest, listed};
use super::merkle::Hash;
use super::parse_hash;
use super::prompts::Prompts;
use super::signing::PublicKey;
use super::time::check_time;
use crate::{Error, ErrorKind, Result, hex};

/// Payload type of a signed head.
pub const HEAD_TYPE: &str = "application/vnd.watermark.head+json";

/// Version string of the payload.
const VERSION: &str = "watermark-head/2";

/// A signed head is some 700 bytes, and 160 for every pool of prompts, and 90 for every reference.
pub(super) const MAX_HEAD: usize = 1 << 14;

/// The head of a tree: what is published and signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// The kind of the leaves, e.g. `key-commitments`. A head of one kind cannot stand for a head of another.
    pub tree: String,
    /// Number of leaves.
    pub size: u64,
    /// Root over all leaves.
    pub root: Hash,
    /// Pools of prompts that are committed to with the tree, for tests to come; none in a ledger's head.
    pub prompt_pools: Vec<Prompts>,
    /// Digests of files that unmarked models answered, for tests beside them; none in a ledger's head.
    pub references: Vec<Digest>,
    /// When the signer says that it signed, as `2026-11-25T01:02:03Z`. Only a time stamp by somebody else proves a time.
    pub signed_at: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadJson {
    head: String,
    prompt_pools: Vec<Prompts>,
    #[serde(default, deserialize_with = "listed", skip_serializing_if = "Vec::is_empty")]
    references: Vec<Digest>,
    root: String,
    signed_at: String,
    tree: String,
    tree_size: u64,
}

impl TreeHead {
    /// The bytes to sign, as payload of type [`HEAD_TYPE`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidEvidence`] for a time of another form, [`ErrorKind::NotCanonical`] for a size beyond 2^53 - 1.
    pub fn payload(&self) -> Result<Vec<u8>> {
        check_time(&self.signed_at)?;
        to_canonical(&HeadJson {
            head: VERSION.to_owned(),
            prompt_pools: self.prompt_pools.clone(),
            references: self.references.clone(),
            root: hex::encode(&self.root),
            signed_at: self.signed_at.clone(),
            tree: self.tree.clone(),
            tree_size: self.size,
        })
    }

    /// Reads a signed head and checks its signature; also says who signed.
    ///
    /// # Errors
    /// Those of [`dsse::verify`], [`ErrorKind::UnsupportedVersion`], [`ErrorKind::InvalidEvidence`] for a head of another
    /// kind of tree.
    pub fn verify(envelope: &[u8], tree: &str) -> Result<(Self, PublicKey)> {
        let Verified { payload, signer } = dsse::verify(envelope, HEAD_TYPE, MAX_HEAD)?;
        let json: HeadJson = from_canonical(&payload, MAX_HEAD, "a tree head")?;
        if json.head != VERSION {
            return Err(Error::new(ErrorKind::UnsupportedVersion, format!("\"head\" is not {VERSION:?}")));
        }
        if json.tree != tree {
            return Err(Error::new(ErrorKind::InvalidEvidence, format!("a head of {:?}, not of {tree:?}", json.tree)));
        }
        check_time(&json.signed_at)?;
        let root = parse_hash(&json.root, "root")?;
        let HeadJson { tree, tree_size: size, signed_at, prompt_pools, references, .. } = json;
        Ok((Self { tree, size, root, signed_at, prompt_pools, references }, signer))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::SigningKey;
    use super::*;

    #[test]
    fn signed_heads() {
        let key = SigningKey::from_seed(&[4; 32]);
        let head = TreeHead {
            tree: "a".to_owned(),
            size: 3,
            root: [1; 32],
            signed_at: "2026-11-25T00:00:00Z".to_owned(),
            prompt_pools: vec![],
            references: vec![],
        };
        let signed = dsse::sign(HEAD_TYPE, &head.payload().unwrap(), &key).unwrap();
        assert_eq!(TreeHead::verify(&signed, "a").unwrap(), (head.clone(), key.public_key()));
        assert_eq!(TreeHead::verify(&signed, "b").unwrap_err().kind(), ErrorKind::InvalidEvidence);
        let newer = String::from_utf8(head.payload().unwrap()).unwrap().replace("head/2", "head/3");
        let newer = dsse::sign(HEAD_TYPE, newer.as_bytes(), &key).unwrap();
        assert_eq!(TreeHead::verify(&newer, "a").unwrap_err().kind(), ErrorKind::UnsupportedVersion);
        let escape = String::from_utf8(head.payload().unwrap()).unwrap().replace("2026-", "\\u001b[2J");
        let escape = dsse::sign(HEAD_TYPE, escape.as_bytes(), &key).unwrap();
        assert_eq!(TreeHead::verify(&escape, "a").unwrap_err().kind(), ErrorKind::InvalidEvidence);
        assert!(TreeHead { signed_at: "yesterday".to_owned(), ..head.clone() }.payload().is_err());
        // What a head has none of is left out, in one way.
        let payload = String::from_utf8(head.payload().unwrap()).unwrap();
        assert!(!payload.contains("references"));
        let empty = payload.replace("\"root\"", "\"references\":[],\"root\"");
        let empty = dsse::sign(HEAD_TYPE, empty.as_bytes(), &key).unwrap();
        assert_eq!(TreeHead::verify(&empty, "a").unwrap_err().kind(), ErrorKind::InvalidEvidence);
        let beside = TreeHead { references: vec![Digest([5; 32])], ..head.clone() };
        let signed = dsse::sign(HEAD_TYPE, &beside.payload().unwrap(), &key).unwrap();
        assert_eq!(TreeHead::verify(&signed, "a").unwrap().0, beside);
        // A signature over a payload that is not canonical does not make it so.
        let spaced = String::from_utf8(head.payload().unwrap()).unwrap().replace(',', ", ");
        let spaced = dsse::sign(HEAD_TYPE, spaced.as_bytes(), &key).unwrap();
        assert_eq!(TreeHead::verify(&spaced, "a").unwrap_err().kind(), ErrorKind::NotCanonical);
    }
}
