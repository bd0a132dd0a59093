//! Commitments to keys, made before the keys are used, and their later opening one by one.
//!
//! A leaf is the canonical JSON of `{"commitment", "path", "profile_sha256"}`, so path and profile are bound with the key's
//! bytes. Only the signed head is published. Salts stay secret: they keep a partner who holds a node key from finding
//! its place among the leaves before it is opened.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::canonical::{from_canonical, to_canonical};
use super::head::TreeHead;
use super::merkle::{self, Hash};
use super::parse_hash;
use crate::key::{KeyPath, NodeKey};
use crate::{Error, ErrorKind, Result, hex};

/// The kind of a tree of key commitments, as its head names it.
pub const KEY_COMMITMENTS: &str = "key-commitments";

const OPENINGS_VERSION: &str = "watermark-openings/1";
const OPENING_VERSION: &str = "watermark-opening/1";

/// 100,000 leaves of some 400 bytes.
const MAX_OPENINGS: usize = 1 << 26;
/// A few hundred bytes and 67 for every level of the tree.
const MAX_OPENING: usize = 1 << 14;

/// A committed key: a digest of node and salt, the node's place, and the profile it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLeaf {
    /// [`NodeKey::commitment`].
    pub commitment: [u8; 32],
    /// The node's path.
    pub path: KeyPath,
    /// SHA-256 of the profile file.
    pub profile_sha256: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeafJson {
    commitment: String,
    path: String,
    profile_sha256: String,
}

impl KeyLeaf {
    /// The leaf of a node under a salt.
    #[must_use]
    pub fn new(node: &NodeKey, salt: &[u8; 32], profile_sha256: [u8; 32]) -> Self {
        Self { commitment: node.commitment(salt), path: node.path().clone(), profile_sha256 }
    }

    /// The bytes that are hashed into the tree.
    ///
    /// # Errors
    /// Never for a leaf that exists. Writing canonical JSON can fail for other values, hence the result type.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        to_canonical(&self.json())
    }

    fn json(&self) -> LeafJson {
        LeafJson {
            commitment: hex::encode(&self.commitment),
            path: self.path.as_str().to_owned(),
            profile_sha256: hex::encode(&self.profile_sha256),
        }
    }

    fn from_json(json: &LeafJson) -> Result<Self> {
        Ok(Self {
            commitment: parse_hash(&json.commitment, "commitment")?,
            path: json.path.parse()?,
            profile_sha256: parse_hash(&json.profile_sha256, "profile_sha256")?,
        })
    }
}

/// All leaves of a tree with their secret salts: what the committing party keeps, and opens from.
#[derive(Default)]
pub struct KeyCommitments {
    leaves: Vec<(KeyLeaf, Zeroizing<[u8; 32]>)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpeningsJson {
    leaves: Vec<SaltedLeafJson>,
    openings: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SaltedLeafJson {
    commitment: String,
    path: String,
    profile_sha256: String,
    salt: Zeroizing<String>,
}

impl KeyCommitments {
    /// No leaves yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Commits to a node for a profile; `salt` must be fresh, and from the system.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] if the path is already committed to for this profile.
    pub fn add(&mut self, node: &NodeKey, salt: Zeroizing<[u8; 32]>, profile_sha256: [u8; 32]) -> Result<()> {
        if self.position(node.path(), &profile_sha256).is_some() {
            let twice = format!("{:?} is committed to twice for the same profile", node.path().as_str());
            return Err(Error::new(ErrorKind::InvalidParameter, twice));
        }
        self.leaves.push((KeyLeaf::new(node, &salt, profile_sha256), salt));
        Ok(())
    }

    /// The leaves in the order of the tree.
    pub fn leaves(&self) -> impl ExactSizeIterator<Item = &KeyLeaf> {
        self.leaves.iter().map(|(leaf, _)| leaf)
    }

    /// The head to sign; `signed_at` is RFC 3339 in UTC.
    ///
    /// # Errors
    /// As [`KeyLeaf::bytes`].
    pub fn head(&self, signed_at: &str) -> Result<TreeHead> {
        Ok(TreeHead {
            tree: KEY_COMMITMENTS.to_owned(),
            size: self.leaves.len() as u64,
            root: merkle::root(&self.hashes()?),
            signed_at: signed_at.to_owned(),
        })
    }

    /// Opens the leaf of a node and profile. What results holds the node key: whoever reads it can mark, detect and
    /// forge below that path, and nothing else.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProof`] if there is no such leaf, or it commits to another key.
    pub fn open(&self, node: &NodeKey, profile_sha256: &[u8; 32]) -> Result<KeyOpening> {
        let Some(index) = self.position(node.path(), profile_sha256) else {
            let none = format!("there is no commitment to {:?} for this profile", node.path().as_str());
            return Err(Error::new(ErrorKind::InvalidProof, none));
        };
        let (leaf, salt) = &self.leaves[index];
        let opening = KeyOpening {
            node: node.clone(),
            salt: salt.clone(),
            profile_sha256: *profile_sha256,
            index: index as u64,
            size: self.leaves.len() as u64,
            proof: merkle::inclusion_proof(&self.hashes()?, index).unwrap_or_default(),
        };
        if opening.leaf() != *leaf {
            let other = format!("the commitment to {:?} was made with another key", node.path().as_str());
            return Err(Error::new(ErrorKind::InvalidProof, other));
        }
        Ok(opening)
    }

    /// The openings file: `{"leaves": [{"commitment", "path", "profile_sha256", "salt"}], "openings":
    /// "watermark-openings/1"}`, canonical. It holds salts and is kept as a key file is.
    ///
    /// # Errors
    /// As [`KeyLeaf::bytes`].
    pub fn print(&self) -> Result<Zeroizing<Vec<u8>>> {
        let leaves = self.leaves.iter().map(|(leaf, salt)| {
            let LeafJson { commitment, path, profile_sha256 } = leaf.json();
            SaltedLeafJson { commitment, path, profile_sha256, salt: Zeroizing::new(hex::encode(salt.as_slice())) }
        });
        to_canonical(&OpeningsJson { leaves: leaves.collect(), openings: OPENINGS_VERSION.to_owned() })
            .map(Zeroizing::new)
    }

    /// Reads what [`KeyCommitments::print`] writes.
    ///
    /// # Errors
    /// [`ErrorKind::NotCanonical`], [`ErrorKind::UnsupportedVersion`], [`ErrorKind::InvalidEvidence`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let file: OpeningsJson = from_canonical(bytes, MAX_OPENINGS, "an openings file")?;
        if file.openings != OPENINGS_VERSION {
            return Err(Error::new(ErrorKind::UnsupportedVersion, format!("\"openings\" is not {OPENINGS_VERSION:?}")));
        }
        let leaves = file.leaves.into_iter().map(|json| {
            let SaltedLeafJson { commitment, path, profile_sha256, salt } = json;
            let leaf = KeyLeaf::from_json(&LeafJson { commitment, path, profile_sha256 })?;
            Ok((leaf, Zeroizing::new(parse_hash(&salt, "salt")?)))
        });
        Ok(Self { leaves: leaves.collect::<Result<_>>()? })
    }

    fn position(&self, path: &KeyPath, profile_sha256: &[u8; 32]) -> Option<usize> {
        self.leaves().position(|leaf| leaf.path == *path && leaf.profile_sha256 == *profile_sha256)
    }

    fn hashes(&self) -> Result<Vec<Hash>> {
        self.leaves().map(|leaf| Ok(merkle::leaf_hash(&leaf.bytes()?))).collect()
    }
}

/// One opened commitment: the node key, its salt, and the way from its leaf to the root. `Debug` shows the path only.
pub struct KeyOpening {
    node: NodeKey,
    salt: Zeroizing<[u8; 32]>,
    profile_sha256: [u8; 32],
    index: u64,
    size: u64,
    proof: Vec<Hash>,
}

impl fmt::Debug for KeyOpening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyOpening").field("node", &self.node).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpeningJson {
    index: u64,
    node: Zeroizing<String>,
    opening: String,
    path: String,
    profile_sha256: String,
    proof: Vec<String>,
    salt: Zeroizing<String>,
    tree_size: u64,
}

impl KeyOpening {
    /// The leaf that this opens.
    #[must_use]
    pub fn leaf(&self) -> KeyLeaf {
        KeyLeaf::new(&self.node, &self.salt, self.profile_sha256)
    }

    /// Checks that the head's tree holds this leaf, and gives the committed key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProof`].
    pub fn verify(&self, head: &TreeHead) -> Result<&NodeKey> {
        let refused =
            |why: &str| Error::new(ErrorKind::InvalidProof, format!("the opening does not fit the head: {why}"));
        if head.tree != KEY_COMMITMENTS {
            return Err(refused("the head is of another kind of tree"));
        }
        if head.size != self.size {
            return Err(refused("it is for a tree of another size"));
        }
        let leaf = merkle::leaf_hash(&self.leaf().bytes()?);
        if !merkle::verify_inclusion(&leaf, self.index, self.size, &self.proof, &head.root) {
            return Err(refused("key, path, profile or salt are not what was committed to"));
        }
        Ok(&self.node)
    }

    /// Place of the leaf in its tree, and the hashes that lead from it to the root.
    #[must_use]
    pub fn inclusion(&self) -> (u64, &[Hash]) {
        (self.index, &self.proof)
    }

    /// The leaf's salt.
    #[must_use]
    pub fn salt(&self) -> &[u8; 32] {
        &self.salt
    }

    /// The opening file, canonical. It holds a node key.
    ///
    /// # Errors
    /// As [`KeyLeaf::bytes`].
    pub fn print(&self) -> Result<Zeroizing<Vec<u8>>> {
        to_canonical(&OpeningJson {
            index: self.index,
            node: Zeroizing::new(hex::encode(self.node.secret())),
            opening: OPENING_VERSION.to_owned(),
            path: self.node.path().as_str().to_owned(),
            profile_sha256: hex::encode(&self.profile_sha256),
            proof: self.proof.iter().map(|hash| hex::encode(hash)).collect(),
            salt: Zeroizing::new(hex::encode(self.salt.as_slice())),
            tree_size: self.size,
        })
        .map(Zeroizing::new)
    }

    /// Reads what [`KeyOpening::print`] writes.
    ///
    /// # Errors
    /// [`ErrorKind::NotCanonical`], [`ErrorKind::UnsupportedVersion`], [`ErrorKind::InvalidEvidence`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let file: OpeningJson = from_canonical(bytes, MAX_OPENING, "an opening")?;
        if file.opening != OPENING_VERSION {
            return Err(Error::new(ErrorKind::UnsupportedVersion, format!("\"opening\" is not {OPENING_VERSION:?}")));
        }
        Ok(Self {
            node: NodeKey::from_parts(file.path.parse()?, Zeroizing::new(parse_hash(&file.node, "node")?)),
            salt: Zeroizing::new(parse_hash(&file.salt, "salt")?),
            profile_sha256: parse_hash(&file.profile_sha256, "profile_sha256")?,
            index: file.index,
            size: file.tree_size,
            proof: file.proof.iter().map(|hash| parse_hash(hash, "proof")).collect::<Result<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    const PATHS: [&str; 5] = ["epoch/1", "epoch/1/layer/a", "epoch/1/layer/b", "epoch/2", "epoch/2/layer/a"];

    fn node(path: &str) -> NodeKey {
        NodeKey::root(b"m").descend(&path.parse().unwrap()).unwrap()
    }

    fn committed() -> KeyCommitments {
        let mut all = KeyCommitments::new();
        for (i, path) in PATHS.iter().enumerate() {
            all.add(&node(path), Zeroizing::new([i as u8; 32]), [9; 32]).unwrap();
        }
        all
    }

    #[test]
    fn every_leaf_opens_and_only_with_its_key() {
        let all = KeyCommitments::parse(&committed().print().unwrap()).unwrap();
        let head = all.head("2026-11-25T00:00:00Z").unwrap();
        for path in PATHS {
            let opening = KeyOpening::parse(&all.open(&node(path), &[9; 32]).unwrap().print().unwrap()).unwrap();
            let opened = opening.verify(&head).unwrap();
            assert_eq!((opened.path(), opened.secret()), (node(path).path(), node(path).secret()));
            let other_head = TreeHead { tree: "answers".to_owned(), ..head.clone() };
            assert!(opening.verify(&other_head).is_err());
            assert!(opening.verify(&TreeHead { size: head.size + 1, ..head.clone() }).is_err());
            assert!(opening.verify(&TreeHead { root: [0; 32], ..head.clone() }).is_err());
        }
        let foreign = NodeKey::root(b"other").descend(&PATHS[0].parse().unwrap()).unwrap();
        for result in
            [all.open(&foreign, &[9; 32]), all.open(&node(PATHS[0]), &[8; 32]), all.open(&node("epoch"), &[9; 32])]
        {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidProof);
        }
        let mut all = all;
        assert!(all.add(&node(PATHS[0]), Zeroizing::new([0; 32]), [9; 32]).is_err());
    }

    /// An opening discloses its own node and nothing of the others.
    #[test]
    fn an_opening_holds_no_other_secret() {
        let all = committed();
        let text = String::from_utf8(all.open(&node(PATHS[1]), &[9; 32]).unwrap().print().unwrap().to_vec()).unwrap();
        assert!(text.contains(&hex::encode(node(PATHS[1]).secret())));
        for (i, path) in PATHS.iter().enumerate().filter(|(i, _)| *i != 1) {
            assert!(
                !text.contains(&hex::encode(node(path).secret())) && !text.contains(&hex::encode(&[i as u8; 32])),
                "{path}"
            );
        }
        let debug = format!("{:?}", all.open(&node(PATHS[1]), &[9; 32]).unwrap());
        assert_eq!(debug, "KeyOpening { node: NodeKey { path: KeyPath(\"epoch/1/layer/a\"), .. }, .. }");
    }

    proptest! {
        /// One byte changed anywhere in an opening: it is malformed, or does not verify.
        #[test]
        fn changed_openings_do_not_verify(leaf in 0..PATHS.len(), at in 0..400_usize, flip in 1..=255_u8) {
            let all = committed();
            let head = all.head("2026-11-25T00:00:00Z").unwrap();
            let mut bytes = all.open(&node(PATHS[leaf]), &[9; 32]).unwrap().print().unwrap();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            let verified = KeyOpening::parse(&bytes).and_then(|opening| opening.verify(&head).map(|_| ()));
            prop_assert!(verified.is_err(), "byte {at}");
        }

        #[test]
        fn no_panic_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(KeyOpening::parse(&bytes).is_err());
            prop_assert!(KeyCommitments::parse(&bytes).is_err());
        }
    }
}
