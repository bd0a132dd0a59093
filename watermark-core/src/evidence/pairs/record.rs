use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::super::canonical::{from_canonical, to_canonical};
use super::super::fields::Digest;
use super::super::ledger::{Entry, LedgerKey};
use crate::key::KeyPath;
use crate::paired::RequestSecret;
use crate::{Error, ErrorKind, Result};

/// The largest line: a million tokens, as many withheld and asked.
pub const MAX_RECORD: usize = 1 << 25;

/// What a ledger's entry of an answer with paired draws is a digest of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draws {
    /// Ids before the answer.
    pub prompt_tokens: Vec<u32>,
    /// The request's id.
    pub request: String,
    /// Ids that were served.
    pub tokens: Vec<u32>,
    /// [tokens]: the other candidate of each position; `None` where there is none.
    pub withheld: Vec<Option<u32>>,
}

/// A request of the list with everything that opens it, and nothing else: a line of the list file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "one table for all languages: verify/PAIRS.md, section 4")]
pub struct Record {
    pub account: Digest,
    pub prompt_tokens: Vec<u32>,
    pub request: String,
    pub salt: Digest,
    /// 64 hexadecimal digits. Opened on purpose: it shows the coins of this request and of no other.
    pub secret: Digest,
    pub time_ms: u64,
    pub tokens: Vec<u32>,
    pub withheld: Vec<Option<u32>>,
}

impl Draws {
    /// The bytes that a ledger keeps the digest of: canonical JSON.
    ///
    /// # Errors
    /// Never for ids. Writing canonical JSON can fail for other values, hence the result type.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        to_canonical(self)
    }
}

impl Record {
    /// Opens a ledger's entry.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProof`] if the entry is not of these draws, or of another ledger's key.
    pub fn open(ledger: &LedgerKey, entry: &Entry, draws: Draws, secret: &RequestSecret) -> Result<Self> {
        let Draws { prompt_tokens, request, tokens, withheld } = draws;
        let record = Self {
            account: Digest(entry.account),
            prompt_tokens,
            request,
            salt: Digest(*ledger.answer_salt(entry.index)),
            secret: Digest(*secret.bytes()),
            time_ms: entry.time_ms,
            tokens,
            withheld,
        };
        if record.entry(entry.index, &entry.key)? == *entry {
            return Ok(record);
        }
        let message = format!("entry {} of the ledger is of other draws than the list says", entry.index);
        Err(Error::new(ErrorKind::InvalidProof, message))
    }

    /// The ledger's entry that this opens, at a place and under a profile's path.
    ///
    /// # Errors
    /// As [`Draws::bytes`].
    pub fn entry(&self, index: u64, key: &KeyPath) -> Result<Entry> {
        let Self { prompt_tokens, request, tokens, withheld, .. } = self.clone();
        let draws = Draws { prompt_tokens, request, tokens, withheld }.bytes()?;
        Ok(Entry::opened(index, &self.salt.0, &draws, self.account.0, key.clone(), self.time_ms))
    }

    /// The request's secret.
    #[must_use]
    pub fn secret(&self) -> RequestSecret {
        RequestSecret::from_bytes(Zeroizing::new(self.secret.0))
    }

    /// The line, without its newline: canonical JSON.
    ///
    /// # Errors
    /// As [`Draws::bytes`].
    pub fn line(&self) -> Result<Vec<u8>> {
        to_canonical(self)
    }

    /// Reads a line.
    ///
    /// # Errors
    /// [`ErrorKind::NotCanonical`], [`ErrorKind::InvalidEvidence`].
    pub fn parse(line: &[u8]) -> Result<Self> {
        let record: Self = from_canonical(line, MAX_RECORD, "a record of the list")?;
        if record.withheld.len() != record.tokens.len() {
            let message = "not a record of the list: \"withheld\" is not as long as \"tokens\"";
            return Err(Error::new(ErrorKind::InvalidEvidence, message));
        }
        Ok(record)
    }
}
