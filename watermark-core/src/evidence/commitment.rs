//! Commitments to keys, made before the keys are used, and their later opening one by one.
//!
//! A leaf is the canonical JSON of `{"commitment", "path", "profile_sha256"}`, so path and profile are bound with the key's bytes; where
//! the profile awaits a beacon, `"beacon": {"round", "source"}` names it, and where the layer has paired draws, `"requests": {"count", "ledger",
//! "root"}` are those that it may serve. Head and leaves are published. Salts stay secret: they keep a
//! partner who holds a node key from finding its place among the leaves before it is opened.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::beacon::{BeaconRound, DrawnValue};
use super::canonical::{from_canonical, to_canonical};
use super::fields::Digest;
use super::head::TreeHead;
use super::merkle::{self, Hash};
use super::parse_hash;
use super::prompts::Prompts;
use super::requests::Requests;
use crate::key::{KeyPath, NodeKey};
use crate::profile::Beacon;
use crate::profile::given::given;
use crate::{Error, ErrorKind, Result, hex};

/// The kind of a tree of key commitments, as its head names it.
pub const KEY_COMMITMENTS: &str = "key-commitments";

const LEAVES_VERSION: &str = "watermark-leaves/1";
const OPENINGS_VERSION: &str = "watermark-openings/2";
const OPENING_VERSION: &str = "watermark-opening/2";

/// The largest file of leaves or openings: 100,000 of some 400 bytes.
pub const MAX_OPENINGS: usize = 1 << 26;
/// A few hundred bytes and 67 for every level of the tree.
const MAX_OPENING: usize = 1 << 14;
// Committed paths that a message about another one names.
const LISTED: usize = 8;

/// A committed key: a digest of node and salt, the node's place, and the profile it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyLeaf {
    /// The round whose value the profile awaits, if it awaits one.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub beacon: Option<BeaconRound>,
    /// [`NodeKey::commitment`].
    pub commitment: Digest,
    /// The node's path.
    pub path: String,
    /// SHA-256 of the profile file.
    pub profile_sha256: Digest,
    /// The requests of paired draws under this key, of such a layer only.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
}

impl KeyLeaf {
    /// The leaf of a node under a salt.
    #[must_use]
    pub fn new(
        node: &NodeKey,
        salt: &[u8; 32],
        profile_sha256: [u8; 32],
        beacon: Option<BeaconRound>,
        requests: Option<Requests>,
    ) -> Self {
        Self {
            beacon,
            commitment: Digest(node.commitment(salt)),
            path: node.path().as_str().to_owned(),
            profile_sha256: Digest(profile_sha256),
            requests,
        }
    }

    /// The hash that goes into the tree: that of the leaf's canonical JSON.
    ///
    /// # Errors
    /// [`ErrorKind::NotCanonical`] for a round beyond 2^53 - 1.
    pub fn hash(&self) -> Result<Hash> {
        Ok(merkle::leaf_hash(&to_canonical(self)?))
    }

    /// Checks that a drawn value is that of the round which this names, and of the profile that serves.
    pub(super) fn check_value(&self, drawn: Option<&DrawnValue>, profile: Beacon) -> Result<()> {
        match (&self.beacon, drawn, profile) {
            (None, None, Beacon::None) => Ok(()),
            (Some(round), Some(drawn), Beacon::Drawn(value)) if drawn.value.0 == value => round.check_value(drawn),
            _ => {
                let message = "commitment, profile and bundle name different beacons of the key";
                Err(Error::new(ErrorKind::InvalidEvidence, message))
            }
        }
    }

    fn check(&self) -> Result<()> {
        self.path.parse::<KeyPath>()?;
        self.requests.as_ref().map_or(Ok(()), Requests::check)?;
        self.beacon.as_ref().map_or(Ok(()), BeaconRound::check)
    }
}

/// All leaves of a tree in order, without their salts. They are public, so that a test can name its leaf before anything is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyLeaves {
    leaves: String,
    list: Vec<KeyLeaf>,
}

impl KeyLeaves {
    /// The leaves file: `{"leaves": "watermark-leaves/1", "list": [leaf, …]}`, canonical.
    ///
    /// # Errors
    /// As [`KeyLeaf::hash`].
    pub fn print(&self) -> Result<Vec<u8>> {
        to_canonical(self)
    }

    /// Reads what [`KeyLeaves::print`] writes.
    ///
    /// # Errors
    /// [`ErrorKind::NotCanonical`], [`ErrorKind::UnsupportedVersion`], [`ErrorKind::InvalidEvidence`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let leaves: Self = from_canonical(bytes, MAX_OPENINGS, "a file of leaves")?;
        if leaves.leaves != LEAVES_VERSION {
            return Err(Error::new(ErrorKind::UnsupportedVersion, format!("\"leaves\" is not {LEAVES_VERSION:?}")));
        }
        leaves.list.iter().try_for_each(KeyLeaf::check)?;
        Ok(leaves)
    }

    /// The leaves in the order of the tree.
    #[must_use]
    pub fn list(&self) -> &[KeyLeaf] {
        &self.list
    }

    /// Place, hash and content of the one leaf of a path and a profile in the tree of a head.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProof`] if the leaves are not those of the head, or none of them is of this path and profile.
    pub fn find(&self, head: &TreeHead, path: &KeyPath, profile_sha256: &[u8; 32]) -> Result<(u64, Hash, &KeyLeaf)> {
        let hashes = self.list.iter().map(KeyLeaf::hash).collect::<Result<Vec<_>>>()?;
        if head.size != hashes.len() as u64 || head.root != merkle::root(&hashes) {
            return Err(Error::new(ErrorKind::InvalidProof, "the leaves are not those of the head"));
        }
        let wanted = |leaf: &KeyLeaf| leaf.path == path.as_str() && leaf.profile_sha256.0 == *profile_sha256;
        let found = (0..).zip(&hashes).zip(&self.list).find(|(_, leaf)| wanted(leaf));
        let ((place, hash), leaf) = found.ok_or_else(|| {
            let none = format!("there is no commitment to {:?} for this profile", path.as_str());
            Error::new(ErrorKind::InvalidProof, none)
        })?;
        Ok((place, *hash, leaf))
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
    leaf: KeyLeaf,
    salt: Zeroizing<String>,
}

impl KeyCommitments {
    /// No leaves yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Commits to a node for a profile, and to the beacon that the profile awaits; `salt` must be fresh, and from the system.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] if the path is already committed to for this profile; those of [`BeaconRound::check`].
    pub fn add(
        &mut self,
        node: &NodeKey,
        salt: Zeroizing<[u8; 32]>,
        profile_sha256: [u8; 32],
        beacon: Option<BeaconRound>,
    ) -> Result<()> {
        self.add_paired(node, salt, profile_sha256, beacon, None)
    }

    /// As [`Self::add`] for the node of a layer of paired draws, with the requests that it may serve.
    ///
    /// # Errors
    /// As [`Self::add`], and those of [`Requests::check`].
    pub fn add_paired(
        &mut self,
        node: &NodeKey,
        salt: Zeroizing<[u8; 32]>,
        profile_sha256: [u8; 32],
        beacon: Option<BeaconRound>,
        requests: Option<Requests>,
    ) -> Result<()> {
        if self.position(node.path(), &profile_sha256).is_some() {
            let twice = format!("{:?} is committed to twice for the same profile", node.path().as_str());
            return Err(Error::new(ErrorKind::InvalidParameter, twice));
        }
        let leaf = KeyLeaf::new(node, &salt, profile_sha256, beacon, requests);
        leaf.check()?;
        self.leaves.push((leaf, salt));
        Ok(())
    }

    /// The leaves in the order of the tree, to publish.
    #[must_use]
    pub fn leaves(&self) -> KeyLeaves {
        let list = self.leaves.iter().map(|(leaf, _)| leaf.clone()).collect();
        KeyLeaves { leaves: LEAVES_VERSION.to_owned(), list }
    }

    /// The head to sign, with pools of prompts and digests of references for tests to come; `signed_at` is RFC 3339 in UTC.
    ///
    /// # Errors
    /// As [`KeyLeaf::hash`].
    pub fn head(&self, signed_at: &str, prompt_pools: Vec<Prompts>, references: Vec<Digest>) -> Result<TreeHead> {
        Ok(TreeHead {
            tree: KEY_COMMITMENTS.to_owned(),
            size: self.leaves.len() as u64,
            root: merkle::root(&self.hashes()?),
            prompt_pools,
            references,
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
            let own = self.leaves.iter().filter(|(leaf, _)| leaf.profile_sha256.0 == *profile_sha256);
            let paths: Vec<String> = own.take(LISTED).map(|(leaf, _)| format!("{:?}", leaf.path)).collect();
            let there = if paths.is_empty() { "none of its paths" } else { &paths.join(", ") };
            let none = format!("there is no commitment to {:?} for this profile, but to {there}", node.path().as_str());
            return Err(Error::new(ErrorKind::InvalidProof, none));
        };
        let (leaf, salt) = &self.leaves[index];
        let opening = KeyOpening {
            node: node.clone(),
            salt: salt.clone(),
            profile_sha256: *profile_sha256,
            beacon: leaf.beacon.clone(),
            requests: leaf.requests.clone(),
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

    /// The openings file: `{"leaves": [{"leaf", "salt"}], "openings": "watermark-openings/2"}`, canonical. It holds salts and is kept as a
    /// key file is.
    ///
    /// # Errors
    /// As [`KeyLeaf::hash`].
    pub fn print(&self) -> Result<Zeroizing<Vec<u8>>> {
        let leaves = self.leaves.iter().map(|(leaf, salt)| SaltedLeafJson {
            leaf: leaf.clone(),
            salt: Zeroizing::new(hex::encode(salt.as_slice())),
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
        let leaves = file.leaves.into_iter().map(|SaltedLeafJson { leaf, salt }| {
            leaf.check()?;
            Ok((leaf, Zeroizing::new(parse_hash(&salt, "salt")?)))
        });
        Ok(Self { leaves: leaves.collect::<Result<_>>()? })
    }

    fn position(&self, path: &KeyPath, profile_sha256: &[u8; 32]) -> Option<usize> {
        let wanted = |leaf: &KeyLeaf| leaf.path == path.as_str() && leaf.profile_sha256.0 == *profile_sha256;
        self.leaves.iter().position(|(leaf, _)| wanted(leaf))
    }

    fn hashes(&self) -> Result<Vec<Hash>> {
        self.leaves.iter().map(|(leaf, _)| leaf.hash()).collect()
    }
}

/// One opened commitment: the node key, its salt, and the way from its leaf to the root. `Debug` shows the path only.
pub struct KeyOpening {
    node: NodeKey,
    salt: Zeroizing<[u8; 32]>,
    profile_sha256: [u8; 32],
    beacon: Option<BeaconRound>,
    requests: Option<Requests>,
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
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    beacon: Option<BeaconRound>,
    index: u64,
    node: Zeroizing<String>,
    opening: String,
    path: String,
    profile_sha256: String,
    proof: Vec<String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    requests: Option<Requests>,
    salt: Zeroizing<String>,
    tree_size: u64,
}

impl KeyOpening {
    /// The leaf that this opens.
    #[must_use]
    pub fn leaf(&self) -> KeyLeaf {
        KeyLeaf::new(&self.node, &self.salt, self.profile_sha256, self.beacon.clone(), self.requests.clone())
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
        let leaf = self.leaf().hash()?;
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
    /// As [`KeyLeaf::hash`].
    pub fn print(&self) -> Result<Zeroizing<Vec<u8>>> {
        to_canonical(&OpeningJson {
            beacon: self.beacon.clone(),
            requests: self.requests.clone(),
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
            beacon: file.beacon,
            requests: file.requests,
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
            let beacon = (i == 1).then(|| BeaconRound { round: 7, source: "lottery".to_owned() });
            all.add(&node(path), Zeroizing::new([i as u8; 32]), [9; 32], beacon).unwrap();
        }
        all
    }

    #[test]
    fn every_leaf_opens_and_only_with_its_key() {
        let all = KeyCommitments::parse(&committed().print().unwrap()).unwrap();
        let head = all.head("2026-11-25T00:00:00Z", vec![], vec![]).unwrap();
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
        assert!(all.add(&node(PATHS[0]), Zeroizing::new([0; 32]), [9; 32], None).is_err());
    }

    /// Whoever has the public files finds the leaf that a test is to name, and no other leaves fit the head.
    #[test]
    fn leaves_are_found_in_their_head() {
        let all = committed();
        let head = all.head("2026-11-25T00:00:00Z", vec![], vec![]).unwrap();
        let printed = all.leaves().print().unwrap();
        let leaves = KeyLeaves::parse(&printed).unwrap();
        let path = |text: &str| text.parse::<KeyPath>().unwrap();
        let (place, hash, leaf) = leaves.find(&head, &path(PATHS[1]), &[9; 32]).unwrap();
        assert_eq!((place, hash, leaf.beacon.as_ref().unwrap().round), (1, leaf.hash().unwrap(), 7));
        let opening = all.open(&node(PATHS[1]), &[9; 32]).unwrap();
        assert_eq!((&opening.leaf(), opening.inclusion().0), (leaf, place));
        assert!(leaves.find(&head, &path("epoch"), &[9; 32]).is_err());
        assert!(leaves.find(&head, &path(PATHS[1]), &[8; 32]).is_err());
        assert!(leaves.find(&TreeHead { root: [0; 32], ..head.clone() }, &path(PATHS[1]), &[9; 32]).is_err());
        let other = String::from_utf8(printed).unwrap();
        for (from, to) in [("\"round\":7", "\"round\":8"), ("epoch/2", "epoch/3")] {
            let leaves = KeyLeaves::parse(other.replace(from, to).as_bytes()).unwrap();
            assert!(leaves.find(&head, &path(PATHS[1]), &[9; 32]).is_err());
        }
        for (from, to) in [
            ("{\"commitment", "{\"beacon\":null,\"commitment"),
            ("lottery", "LOTTERY"),
            ("leaves/1", "leaves/2"),
            ("epoch/2", "epoch//2"),
        ] {
            assert!(KeyLeaves::parse(other.replace(from, to).as_bytes()).is_err(), "{to}");
        }
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
            let head = all.head("2026-11-25T00:00:00Z", vec![], vec![]).unwrap();
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
            prop_assert!(KeyLeaves::parse(&bytes).is_err());
        }
    }
}
