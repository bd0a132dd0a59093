//! Lines that each name the hash of the one before.

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};
use watermark_core::hex;

/// `prev` of the first line.
pub(super) const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const PREV: &str = ",\"prev\":\"";
const HASH: &str = "\",\"sha256\":\"";
const END: &str = "\"}";
const DIGITS: usize = 64;
const SUFFIX: usize = PREV.len() + DIGITS + HASH.len() + DIGITS + END.len();

/// The line for `json`, a non-empty JSON object, and its hash: SHA-256 of `prev` and of the line without its
/// `sha256` field.
pub(super) fn seal(json: &str, prev: &str) -> (String, String) {
    let fields = json.strip_suffix('}').unwrap_or(json);
    let hash = hash(fields, prev);
    (format!("{fields}{PREV}{prev}{HASH}{hash}{END}"), hash)
}

/// The JSON object that a line was made of, and the line's hash.
///
/// The text of a line is fixed, not only its meaning: the two last fields are always written in the same way, so the
/// hash is over bytes and no JSON number is printed anew.
///
/// # Errors
/// If the two last fields are missing, `prev` is another hash, or the hash is not that of the line.
pub(super) fn open(line: &str, prev: &str) -> Result<(String, String)> {
    let Some((fields, suffix)) = line.len().checked_sub(SUFFIX).and_then(|at| line.split_at_checked(at)) else {
        bail!("it is too short for a line of a transcript");
    };
    let parts = suffix
        .strip_prefix(PREV)
        .and_then(|rest| rest.split_at_checked(DIGITS))
        .and_then(|(named, rest)| Some((named, rest.strip_prefix(HASH)?.strip_suffix(END)?)));
    let Some((named, written)) = parts else { bail!("it does not end in `prev` and `sha256`") };
    if named != prev {
        bail!("`prev` is not the hash of the line before; lines were removed, added or exchanged");
    }
    let hash = hash(fields, prev);
    if written != hash {
        bail!("`sha256` is not the hash of the line; the line was changed");
    }
    Ok((format!("{fields}}}"), hash))
}

fn hash(fields: &str, prev: &str) -> String {
    let parts = [prev, fields, PREV, prev, END];
    hex::encode(&parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Compares the hash with the definition, written out.
    #[test]
    fn a_line_is_hashed_as_documented() {
        let (line, hash) = seal("{\"a\":1}", START);
        let without = format!("{{\"a\":1,\"prev\":\"{START}\"}}");
        assert_eq!(hash, hex::encode(&Sha256::digest(format!("{START}{without}"))));
        assert_eq!(line, format!("{{\"a\":1,\"prev\":\"{START}\",\"sha256\":\"{hash}\"}}"));
        assert_eq!(open(&line, START).unwrap(), ("{\"a\":1}".to_owned(), hash));
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let (line, hash) = seal("{\"text\":\"abc\"}", START);
        for at in 0..line.len() {
            let mut bytes = line.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(open(&String::from_utf8(bytes).unwrap(), START).is_err(), "byte {at}");
        }
        assert!(open(&line, &hash).unwrap_err().to_string().contains("prev"));
        assert!(open("{}", START).is_err() && open("", START).is_err());
    }
}
