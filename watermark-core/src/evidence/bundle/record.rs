use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::canonical::{from_canonical, to_canonical};
use super::super::fields::Digest;
use super::super::merkle;
use super::super::prompts::prompt_leaf;
use crate::{Error, ErrorKind, MAX_TOKEN_ID, Result};

/// The largest record: two texts with their ids.
const MAX_RECORD: usize = 1 << 28;

/// One answer as it was counted. Its canonical bytes are a Merkle leaf, and a line of a records file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceRecord {
    /// Text of the prompt.
    pub prompt: String,
    /// Token ids of the prompt.
    pub prompt_tokens: Vec<u32>,
    /// [start, end) of stretches of `tokens` that stand in the prompt as text.
    pub quoted: Vec<[u32; 2]>,
    /// The round of the collection.
    pub round: u64,
    /// Text of the answer.
    pub text: String,
    /// Token ids of the answer.
    pub tokens: Vec<u32>,
}

/// What a bundle says of a sample's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordsDigest {
    /// How many.
    pub count: u64,
    /// Merkle root over them.
    pub root: Digest,
    /// SHA-256 of the records file.
    pub sha256: Digest,
}

impl EvidenceRecord {
    /// Checks that ids and stretches are in range, so that the record can be counted.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidEvidence`].
    pub fn check(&self, vocab_size: u32) -> Result<()> {
        let invalid = |what: &str| Err(Error::new(ErrorKind::InvalidEvidence, format!("record: {what}")));
        if self.prompt_tokens.iter().chain(&self.tokens).any(|&id| id >= vocab_size || id > MAX_TOKEN_ID) {
            return invalid("a token id is not below vocab_size");
        }
        let mut end = 0;
        for &[from, to] in &self.quoted {
            if from < end || to <= from || to as usize > self.tokens.len() {
                return invalid("\"quoted\" is not a row of stretches of the tokens");
            }
            end = to;
        }
        Ok(())
    }
}

/// The records file: one canonical record a line.
///
/// # Errors
/// Never for records that exist. Writing canonical JSON can fail for other values, hence the result type.
pub fn print_records(records: &[EvidenceRecord]) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    for record in records {
        file.extend(to_canonical(record)?);
        file.push(b'\n');
    }
    Ok(file)
}

/// Reads what [`print_records`] writes, and checks ids and rounds.
///
/// # Errors
/// [`ErrorKind::NotCanonical`], [`ErrorKind::InvalidEvidence`], naming the line.
pub fn parse_records(file: &[u8], vocab_size: u32) -> Result<Vec<EvidenceRecord>> {
    let Some(lines) = file.strip_suffix(b"\n") else {
        return if file.is_empty() {
            Ok(Vec::new())
        } else {
            Err(Error::new(ErrorKind::NotCanonical, "the last record does not end in a newline"))
        };
    };
    let mut records: Vec<EvidenceRecord> = Vec::new();
    for (at, line) in (1_u64..).zip(lines.split(|&byte| byte == b'\n')) {
        let named = |error: Error| Error::new(error.kind(), format!("line {at}: {error}"));
        let record: EvidenceRecord = from_canonical(line, MAX_RECORD, "a record").map_err(named)?;
        record.check(vocab_size).map_err(named)?;
        if records.last().is_some_and(|last| record.round < last.round) {
            return Err(named(Error::new(ErrorKind::InvalidEvidence, "its round is before that of the last one")));
        }
        records.push(record);
    }
    Ok(records)
}

impl RecordsDigest {
    /// Digests of records and of their file.
    ///
    /// # Errors
    /// As [`print_records`].
    pub fn from_records(records: &[EvidenceRecord]) -> Result<Self> {
        let file = print_records(records)?;
        let lines = file.split_inclusive(|&byte| byte == b'\n');
        let leaves: Vec<_> = lines.map(|line| merkle::leaf_hash(&line[..line.len() - 1])).collect();
        Ok(Self {
            count: leaves.len() as u64,
            root: Digest(merkle::root(&leaves)),
            sha256: Digest(Sha256::digest(&file).into()),
        })
    }
}

/// How many answers are empty, or white space only.
#[must_use]
pub fn n_empty(records: &[EvidenceRecord]) -> u64 {
    records.iter().filter(|record| record.text.trim().is_empty()).count() as u64
}

/// Merkle root over the records' prompts, in order.
///
/// # Errors
/// As [`prompt_leaf`].
pub fn prompts_root(records: &[EvidenceRecord]) -> Result<Digest> {
    let leaves = records.iter().map(|record| prompt_leaf(&record.prompt)).collect::<Result<Vec<_>>>()?;
    Ok(Digest(merkle::root(&leaves)))
}
