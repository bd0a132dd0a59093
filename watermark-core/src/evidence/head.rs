use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::canonical::{from_canonical, to_canonical};
use super::dsse::{self, Verified};
use super::merkle::Hash;
use super::parse_hash;
use super::signing::PublicKey;
use crate::{Error, ErrorKind, Result, hex};

/// Payload type of a signed head.
pub const HEAD_TYPE: &str = "application/vnd.watermark.head+json";

/// Version string of the payload.
const VERSION: &str = "watermark-head/1";

/// A signed head is some 700 bytes.
const MAX_HEAD: usize = 1 << 14;

/// The head of a tree: what is published and signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// The kind of the leaves, e.g. `key-commitments`. A head of one kind cannot stand for a head of another.
    pub tree: String,
    /// Number of leaves.
    pub size: u64,
    /// Root over all leaves.
    pub root: Hash,
    /// When the signer says that it signed, as `2026-11-25T01:02:03Z`. Only a time stamp by somebody else proves a time.
    pub signed_at: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadJson {
    head: String,
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
        Ok((Self { tree: json.tree, size: json.tree_size, root, signed_at: json.signed_at }, signer))
    }
}

/// Checks that the text names an existing second in UTC, because it is shown to people and a stranger may have signed
/// it.
pub(super) fn check_time(text: &str) -> Result<()> {
    let form = b"dddd-dd-ddTdd:dd:ddZ";
    let fits = |(byte, form): (u8, &u8)| if *form == b'd' { byte.is_ascii_digit() } else { byte == *form };
    if text.len() == form.len() && text.bytes().zip(form).all(fits) && is_in_calendar(text.as_bytes()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidEvidence, "not a time like 2026-11-25T01:02:03Z"))
}

/// Whether fields of digits at their places name a day of the Gregorian calendar (from year 1 on) and a second of it.
fn is_in_calendar(text: &[u8]) -> bool {
    let number = |range: Range<usize>| text[range].iter().fold(0, |n, digit| 10 * n + u32::from(digit - b'0'));
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    year > 0 && (1..=days).contains(&day) && number(11..13) < 24 && number(14..16) < 60 && number(17..19) < 60
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::SigningKey;
    use super::*;

    #[test]
    fn times_are_those_of_a_calendar() {
        for good in ["2026-11-25T00:00:00Z", "2024-02-29T23:59:59Z", "2000-02-29T00:00:00Z", "0001-01-01T00:00:00Z"] {
            assert!(check_time(good).is_ok(), "{good}");
        }
        for bad in [
            "2026-13-25T00:00:00Z",
            "2026-00-25T00:00:00Z",
            "2026-11-31T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "2026-11-25T24:00:00Z",
            "2026-11-25T00:60:00Z",
            "2026-11-25T00:00:60Z",
            "2026-11-25 00:00:00Z",
            "2026-11-25T00:00:00",
            "٢٠٢٦-11-25T00:00:00Z",
        ] {
            assert!(check_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn signed_heads() {
        let key = SigningKey::from_seed(&[4; 32]);
        let head =
            TreeHead { tree: "a".to_owned(), size: 3, root: [1; 32], signed_at: "2026-11-25T00:00:00Z".to_owned() };
        let signed = dsse::sign(HEAD_TYPE, &head.payload().unwrap(), &key).unwrap();
        assert_eq!(TreeHead::verify(&signed, "a").unwrap(), (head.clone(), key.public_key()));
        assert_eq!(TreeHead::verify(&signed, "b").unwrap_err().kind(), ErrorKind::InvalidEvidence);
        let newer = String::from_utf8(head.payload().unwrap()).unwrap().replace("head/1", "head/2");
        let newer = dsse::sign(HEAD_TYPE, newer.as_bytes(), &key).unwrap();
        assert_eq!(TreeHead::verify(&newer, "a").unwrap_err().kind(), ErrorKind::UnsupportedVersion);
        let escape = String::from_utf8(head.payload().unwrap()).unwrap().replace("2026-", "\\u001b[2J");
        let escape = dsse::sign(HEAD_TYPE, escape.as_bytes(), &key).unwrap();
        assert_eq!(TreeHead::verify(&escape, "a").unwrap_err().kind(), ErrorKind::InvalidEvidence);
        assert!(TreeHead { signed_at: "yesterday".to_owned(), ..head.clone() }.payload().is_err());
        // A signature over a payload that is not canonical does not make it so.
        let spaced = String::from_utf8(head.payload().unwrap()).unwrap().replace(',', ", ");
        let spaced = dsse::sign(HEAD_TYPE, spaced.as_bytes(), &key).unwrap();
        assert_eq!(TreeHead::verify(&spaced, "a").unwrap_err().kind(), ErrorKind::NotCanonical);
    }
}
