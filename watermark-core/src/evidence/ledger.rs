//! A ledger of served answers: which answer, to which account, under which key, when, without telling any of it.
//!
//! An entry is one line of canonical JSON and one leaf of a Merkle tree. It holds digests under salts that follow from the
//! ledger's key, so nothing has to be kept beside the lines, and one answer or account can be disclosed without the others.
//! A signed head fixes all entries so far; consistency of two heads shows that none was changed in between.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::canonical::{from_canonical, to_canonical};
use super::head::TreeHead;
use super::merkle::{self, Hash};
use super::parse_hash;
use crate::key::{KeyPath, NodeKey};
use crate::{Error, ErrorKind, Result, hex};

/// The kind of the tree of a ledger, as its heads name it.
pub const ANSWERS: &str = "answers";

impl TreeHead {
    /// The head of a ledger, to sign; `signed_at` is RFC 3339 in UTC.
    #[must_use]
    pub fn of_answers(size: u64, root: Hash, signed_at: &str) -> Self {
        let (tree, signed_at) = (ANSWERS.to_owned(), signed_at.to_owned());
        Self { tree, size, root, prompt_pools: vec![], references: vec![], signed_at }
    }
}

/// The longest line: four numbers and digests, and a path of 32 segments of 64 bytes.
pub const MAX_ENTRY: usize = 4096;

/// A proof: an entry and 67 bytes for every level of the tree.
const MAX_PROOF: usize = 1 << 14;

const PROOF_VERSION: &str = "watermark-answer-proof/1";
const CONSISTENCY_VERSION: &str = "watermark-consistency/1";

/// The secret of a ledger: `HKDF-Expand(node, "watermark-key-v1\0ledger\0", 32)`. Salts are HMAC-SHA256 under it, of
/// `"answer\0" || u64le(index)` and of `"account\0" || account`. Zeroized on drop, redacted in `Debug`.
pub struct LedgerKey(Zeroizing<[u8; 32]>);

impl LedgerKey {
    /// The ledger key of a node, for instance the one at `ledger/2026-11`: it marks nothing.
    #[must_use]
    pub fn new(node: &NodeKey) -> Self {
        Self(node.ledger_secret())
    }

    /// Which key it is, without telling anything else of it: HMAC-SHA256 under it of `"fingerprint\0"`.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        *self.salt(b"fingerprint\0", b"")
    }

    /// The salt of one answer's digest; with it the answer can be shown, and no other.
    #[must_use]
    pub fn answer_salt(&self, index: u64) -> Zeroizing<[u8; 32]> {
        self.salt(b"answer\0", &index.to_le_bytes())
    }

    fn account_salt(&self, account: &str) -> Zeroizing<[u8; 32]> {
        self.salt(b"account\0", account.as_bytes())
    }

    fn salt(&self, label: &[u8], subject: &[u8]) -> Zeroizing<[u8; 32]> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).expect("an HMAC key");
        Zeroizing::new(mac.chain_update(label).chain_update(subject).finalize().into_bytes().into())
    }
}

impl fmt::Debug for LedgerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LedgerKey(..)")
    }
}

/// `SHA-256("watermark-answer-v1\0" || salt || answer)`, over the answer's UTF-8 as it was served.
fn answer_digest(salt: &[u8; 32], answer: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(b"watermark-answer-v1\0").chain_update(salt).chain_update(answer).finalize().into()
}

/// `SHA-256("watermark-account-v1\0" || salt || account)`: the same for all answers to an account, unlike any other.
fn account_digest(salt: &[u8; 32], account: &str) -> [u8; 32] {
    Sha256::new().chain_update(b"watermark-account-v1\0").chain_update(salt).chain_update(account).finalize().into()
}

/// One served answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Place in the ledger, from 0.
    pub index: u64,
    /// Salted digest of the answer.
    pub answer: [u8; 32],
    /// Pseudonym of the account.
    pub account: [u8; 32],
    /// The key it was marked under: a profile's path.
    pub key: KeyPath,
    /// When, in milliseconds since 1970 by the server's clock.
    pub time_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryJson {
    account: String,
    answer: String,
    index: u64,
    key: String,
    time_ms: u64,
}

impl Entry {
    /// The entry of an answer at a place. `index` and `time_ms` stay below 2^53.
    #[must_use]
    pub fn new(ledger: &LedgerKey, index: u64, answer: &[u8], account: &str, key: KeyPath, time_ms: u64) -> Self {
        Self {
            index,
            answer: answer_digest(&ledger.answer_salt(index), answer),
            account: account_digest(&ledger.account_salt(account), account),
            key,
            time_ms,
        }
    }

    /// The entry whose answer and salt are opened; the account stays a pseudonym.
    #[must_use]
    pub fn opened(index: u64, salt: &[u8; 32], answer: &[u8], account: [u8; 32], key: KeyPath, time_ms: u64) -> Self {
        Self { index, answer: answer_digest(salt, answer), account, key, time_ms }
    }

    /// The entry's line, without a newline: canonical JSON, and the bytes that are hashed into the tree.
    #[must_use]
    pub fn line(&self) -> String {
        // Digits, hexadecimal and path characters need no escapes, so this is the canonical form.
        let Self { index, answer, account, key, time_ms } = self;
        let (account, answer) = (hex::encode(account), hex::encode(answer));
        format!(
            "{{\"account\":\"{account}\",\"answer\":\"{answer}\",\"index\":{index},\"key\":\"{key}\",\"time_ms\":{time_ms}}}"
        )
    }

    /// Reads a line.
    ///
    /// # Errors
    /// [`ErrorKind::NotCanonical`], [`ErrorKind::InvalidEvidence`].
    pub fn parse(line: &[u8]) -> Result<Self> {
        Self::from_json(&from_canonical(line, MAX_ENTRY, "a ledger entry")?)
    }

    /// The entry's leaf in the tree.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        merkle::leaf_hash(self.line().as_bytes())
    }

    fn json(&self) -> EntryJson {
        EntryJson {
            account: hex::encode(&self.account),
            answer: hex::encode(&self.answer),
            index: self.index,
            key: self.key.as_str().to_owned(),
            time_ms: self.time_ms,
        }
    }

    fn from_json(json: &EntryJson) -> Result<Self> {
        Ok(Self {
            index: json.index,
            answer: parse_hash(&json.answer, "answer")?,
            account: parse_hash(&json.account, "account")?,
            key: json.key.parse()?,
            time_ms: json.time_ms,
        })
    }
}

/// Shows that an answer was served: its entry with the salt, and the way to the root of a head.
#[derive(Debug)]
pub struct AnswerProof {
    entry: Entry,
    salt: [u8; 32],
    account_salt: Option<[u8; 32]>,
    size: u64,
    path: Vec<Hash>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerProofJson {
    account_salt: Option<String>,
    entry: EntryJson,
    path: Vec<String>,
    proof: String,
    salt: String,
    tree_size: u64,
}

impl AnswerProof {
    /// The proof for an entry among the leaves of a head. With `account`, it also discloses whose answer it was.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProof`] if the leaves do not hold the entry, or it belongs to another account.
    pub fn new(ledger: &LedgerKey, entry: Entry, leaves: &[Hash], account: Option<&str>) -> Result<Self> {
        let refused = |why: &str| Error::new(ErrorKind::InvalidProof, format!("entry {}: {why}", entry.index));
        let index = usize::try_from(entry.index).unwrap_or(usize::MAX);
        let path = merkle::inclusion_proof(leaves, index).filter(|_| leaves[index] == entry.leaf());
        let path = path.ok_or_else(|| refused("not among the leaves"))?;
        let account_salt = account.map(|account| (account, ledger.account_salt(account)));
        if account_salt.as_ref().is_some_and(|(account, salt)| account_digest(salt, account) != entry.account) {
            return Err(refused("it was served to another account"));
        }
        let salt = *ledger.answer_salt(entry.index);
        Ok(Self { salt, account_salt: account_salt.map(|(_, salt)| *salt), size: leaves.len() as u64, path, entry })
    }

    /// Checks that `answer` is the one that a head's entry speaks of; with `account`, that it was served to that account.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProof`].
    pub fn verify(&self, head: &TreeHead, answer: &[u8], account: Option<&str>) -> Result<&Entry> {
        let refused = |why: &str| Err(Error::new(ErrorKind::InvalidProof, why));
        if head.tree != ANSWERS || head.size != self.size {
            return refused("the proof is for another head");
        }
        if !merkle::verify_inclusion(&self.entry.leaf(), self.entry.index, self.size, &self.path, &head.root) {
            return refused("the head's tree does not hold the entry");
        }
        if answer_digest(&self.salt, answer) != self.entry.answer {
            return refused("the entry is of another answer");
        }
        match (account, &self.account_salt) {
            (None, _) => Ok(&self.entry),
            (Some(account), Some(salt)) if account_digest(salt, account) == self.entry.account => Ok(&self.entry),
            (Some(_), Some(_)) => refused("the answer was served to another account"),
            (Some(_), None) => refused("the proof does not disclose the account"),
        }
    }

    /// The proof file, canonical.
    ///
    /// # Errors
    /// [`ErrorKind::NotCanonical`] for numbers beyond 2^53 - 1.
    pub fn print(&self) -> Result<Vec<u8>> {
        to_canonical(&AnswerProofJson {
            account_salt: self.account_salt.as_ref().map(|salt| hex::encode(salt)),
            entry: self.entry.json(),
            path: self.path.iter().map(|hash| hex::encode(hash)).collect(),
            proof: PROOF_VERSION.to_owned(),
            salt: hex::encode(&self.salt),
            tree_size: self.size,
        })
    }

    /// Reads what [`AnswerProof::print`] writes.
    ///
    /// # Errors
    /// [`ErrorKind::NotCanonical`], [`ErrorKind::UnsupportedVersion`], [`ErrorKind::InvalidEvidence`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let file: AnswerProofJson = from_canonical(bytes, MAX_PROOF, "a proof of an answer")?;
        supported(&file.proof, PROOF_VERSION)?;
        Ok(Self {
            entry: Entry::from_json(&file.entry)?,
            salt: parse_hash(&file.salt, "salt")?,
            account_salt: file.account_salt.map(|salt| parse_hash(&salt, "account_salt")).transpose()?,
            size: file.tree_size,
            path: file.path.iter().map(|hash| parse_hash(hash, "path")).collect::<Result<_>>()?,
        })
    }
}

/// Shows that the ledger of a head begins with all entries of an older one.
#[derive(Debug)]
pub struct ConsistencyProof {
    old_size: u64,
    new_size: u64,
    path: Vec<Hash>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsistencyJson {
    consistency: String,
    new_size: u64,
    old_size: u64,
    path: Vec<String>,
}

impl ConsistencyProof {
    /// The proof from the first `old_size` leaves to all of them.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProof`] if there are not as many.
    pub fn new(leaves: &[Hash], old_size: u64) -> Result<Self> {
        let path = usize::try_from(old_size).ok().and_then(|size| merkle::consistency_proof(leaves, size));
        let path = path.ok_or_else(|| Error::new(ErrorKind::InvalidProof, "the older head is of a longer ledger"))?;
        Ok(Self { old_size, new_size: leaves.len() as u64, path })
    }

    /// Checks that nothing in the older head's ledger was changed until the newer one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProof`].
    pub fn verify(&self, old: &TreeHead, new: &TreeHead) -> Result<()> {
        if old.size > new.size {
            return Err(Error::new(ErrorKind::InvalidProof, "the older head is of more entries than the newer one"));
        }
        let fits = (self.old_size, self.new_size) == (old.size, new.size) && old.tree == new.tree;
        if fits && merkle::verify_consistency(old.size, &old.root, new.size, &new.root, &self.path) {
            return Ok(());
        }
        let why = "the newer head's ledger is not shown to begin with the older one's: entries were changed, or the proof is another's";
        Err(Error::new(ErrorKind::InvalidProof, why))
    }

    /// The proof file, canonical.
    ///
    /// # Errors
    /// [`ErrorKind::NotCanonical`] for sizes beyond 2^53 - 1.
    pub fn print(&self) -> Result<Vec<u8>> {
        to_canonical(&ConsistencyJson {
            consistency: CONSISTENCY_VERSION.to_owned(),
            new_size: self.new_size,
            old_size: self.old_size,
            path: self.path.iter().map(|hash| hex::encode(hash)).collect(),
        })
    }

    /// Reads what [`ConsistencyProof::print`] writes.
    ///
    /// # Errors
    /// [`ErrorKind::NotCanonical`], [`ErrorKind::UnsupportedVersion`], [`ErrorKind::InvalidEvidence`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let file: ConsistencyJson = from_canonical(bytes, MAX_PROOF, "a proof of consistency")?;
        supported(&file.consistency, CONSISTENCY_VERSION)?;
        let path = file.path.iter().map(|hash| parse_hash(hash, "path")).collect::<Result<_>>()?;
        Ok(Self { old_size: file.old_size, new_size: file.new_size, path })
    }
}

fn supported(version: &str, expected: &str) -> Result<()> {
    if version == expected {
        return Ok(());
    }
    Err(Error::new(ErrorKind::UnsupportedVersion, format!("the file is not a {expected:?}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn key() -> LedgerKey {
        LedgerKey::new(&NodeKey::root(b"m").descend(&"ledger/1".parse().unwrap()).unwrap())
    }

    fn entries(n: u64) -> Vec<Entry> {
        let account = |i: u64| format!("account {}", i % 3);
        let entry = |i: u64| {
            Entry::new(&key(), i, &i.to_le_bytes(), &account(i), "epoch/1".parse().unwrap(), 1_700_000_000_000 + i)
        };
        (0..n).map(entry).collect()
    }

    fn head(leaves: &[Hash]) -> TreeHead {
        TreeHead::of_answers(leaves.len() as u64, merkle::root(leaves), "")
    }

    #[test]
    fn lines_are_canonical_and_tell_nothing() {
        let all = entries(7);
        for entry in &all {
            assert_eq!(entry.line().as_bytes(), to_canonical(&entry.json()).unwrap());
            assert_eq!(Entry::parse(entry.line().as_bytes()).unwrap(), *entry);
        }
        // One pseudonym for an account, and no way to see that two answers are equal.
        assert_eq!((all[0].account, all[1].account == all[0].account), (all[3].account, false));
        let again = Entry::new(&key(), 1, &0_u64.to_le_bytes(), "account 0", "epoch/1".parse().unwrap(), 0);
        assert_ne!(again.answer, all[0].answer);
        assert_eq!(format!("{:?}", key()), "LedgerKey(..)");
    }

    #[test]
    fn answers_and_accounts_are_proved() {
        let all = entries(11);
        let leaves: Vec<Hash> = all.iter().map(Entry::leaf).collect();
        let head = head(&leaves);
        for (i, entry) in all.iter().enumerate() {
            let account = format!("account {}", i % 3);
            let answer = (i as u64).to_le_bytes();
            let open = AnswerProof::new(&key(), entry.clone(), &leaves, Some(&account)).unwrap().print().unwrap();
            let open = AnswerProof::parse(&open).unwrap();
            assert_eq!(open.verify(&head, &answer, Some(&account)).unwrap(), entry);
            assert!(open.verify(&head, &answer, Some("account 9")).is_err());
            assert!(open.verify(&head, b"another", None).is_err());
            let closed = AnswerProof::new(&key(), entry.clone(), &leaves, None).unwrap();
            assert!(
                closed.verify(&head, &answer, None).is_ok() && closed.verify(&head, &answer, Some(&account)).is_err()
            );
            assert!(AnswerProof::new(&key(), entry.clone(), &leaves, Some("account 9")).is_err());
            assert!(AnswerProof::new(&key(), entry.clone(), &leaves[..i], None).is_err());
        }
    }

    #[test]
    fn a_rewritten_entry_is_caught() {
        let mut all = entries(20);
        let leaves: Vec<Hash> = all.iter().map(Entry::leaf).collect();
        let old = head(&leaves[..13]);
        let proof = ConsistencyProof::new(&leaves, 13).unwrap().print().unwrap();
        ConsistencyProof::parse(&proof).unwrap().verify(&old, &head(&leaves)).unwrap();
        assert!(ConsistencyProof::parse(&proof).unwrap().verify(&head(&leaves[..12]), &head(&leaves)).is_err());
        assert!(ConsistencyProof::new(&leaves, 21).is_err());
        for i in 0..13 {
            let kept = std::mem::replace(&mut all[i], Entry { time_ms: 5, ..entries(20)[i].clone() });
            let changed: Vec<Hash> = all.iter().map(Entry::leaf).collect();
            assert!(ConsistencyProof::new(&changed, 13).unwrap().verify(&old, &head(&changed)).is_err(), "{i}");
            all[i] = kept;
        }
    }

    proptest! {
        #[test]
        fn changed_proofs_do_not_verify(index in 0..11_usize, at in 0..2000_usize, flip in 1..=255_u8) {
            let all = entries(11);
            let leaves: Vec<Hash> = all.iter().map(Entry::leaf).collect();
            let account = format!("account {}", index % 3);
            let mut bytes = AnswerProof::new(&key(), all[index].clone(), &leaves, Some(&account)).unwrap().print().unwrap();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            let answer = (index as u64).to_le_bytes();
            let result = AnswerProof::parse(&bytes).and_then(|proof| proof.verify(&head(&leaves), &answer, Some(&account)).cloned());
            prop_assert!(result.is_err(), "byte {at}");
        }

        #[test]
        fn no_panic_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Entry::parse(&bytes).is_err());
            prop_assert!(AnswerProof::parse(&bytes).is_err());
            prop_assert!(ConsistencyProof::parse(&bytes).is_err());
        }
    }
}
