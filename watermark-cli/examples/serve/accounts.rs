//! Who may ask.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use watermark_core::hex;
use watermark_toolkit::files::read_bounded;

/// Larger files of accounts are refused.
const MAX_FILE: u64 = 64 << 20;

/// An account and what it may do.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Account {
    /// Names the key of layers with a key per account, and the account in the ledger.
    pub(crate) account: String,
    /// Whether a request may ask for unmarked answers.
    pub(crate) may_opt_out: bool,
}

/// Accounts by the SHA-256 of their token: the file tells nobody a token.
pub(crate) struct Accounts(HashMap<String, Account>);

impl Accounts {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let named = || format!("accounts {}", path.display());
        let accounts: HashMap<String, Account> =
            serde_json::from_slice(&read_bounded(path, MAX_FILE).with_context(named)?).with_context(named)?;
        for digest in accounts.keys() {
            let fits = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            ensure!(fits, "{}: a name is not a SHA-256 in 64 lower-case hexadecimal digits", named());
        }
        ensure!(!accounts.is_empty(), "{}: no account", named());
        Ok(Self(accounts))
    }

    /// Whose token this is. Digests are compared, so the time it takes says nothing about other tokens.
    pub(crate) fn by_token(&self, token: &str) -> Option<&Account> {
        self.0.get(&hex::encode(&Sha256::digest(token)))
    }
}
