//! A public random value drawn after a commitment, so that nobody can have chosen the key that served among many.
//!
//! The provider commits to the node at a profile's path, waits for a value that nobody controls (a drand round, a lottery), and serves
//! under the same profile with `/beacon/<64 hex>` at the end of its path; the layers' keys lie below that. The two profiles differ in
//! these bytes only, so the committed one follows from the other.

use sha2::{Digest as _, Sha256};

use super::parse_hash;
use crate::key::KeyPath;
use crate::profile::Profile;
use crate::{Error, ErrorKind, Result};

/// A profile's text under a beacon of 64 lower-case hexadecimal digits.
///
/// # Errors
/// [`ErrorKind::InvalidProfile`] if the text is no profile, lies at the root or under a beacon already, or does not hold its path as
/// plain text in one place; [`ErrorKind::InvalidEvidence`] for a malformed beacon.
pub fn under_beacon(text: &str, beacon: &str) -> Result<String> {
    parse_hash(beacon, "beacon")?;
    let profile = Profile::parse(text)?;
    let invalid =
        |why: &str| Error::new(ErrorKind::InvalidProfile, format!("no beacon can be put into the path: {why}"));
    if profile.path.as_str().is_empty() {
        return Err(invalid("the profile lies at the root of the key tree; give it a path of its own"));
    }
    if BeforeBeacon::from_profile(text, &profile).is_some() {
        return Err(invalid("it has one"));
    }
    let plain = format!("\"{}\"", profile.path);
    let wanted = Profile { path: profile.path.join(&format!("beacon/{beacon}"))?, ..profile };
    for (at, _) in text.match_indices(&plain) {
        let end = at + plain.len() - 1;
        let changed = format!("{}/beacon/{beacon}{}", &text[..end], &text[end..]);
        if Profile::parse(&changed).is_ok_and(|found| found == wanted) {
            return Ok(changed);
        }
    }
    Err(invalid("the path is not written in plain"))
}

/// The node and the profile that were committed to before a beacon was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeforeBeacon {
    /// The node's path.
    pub path: KeyPath,
    /// SHA-256 of the profile without the beacon.
    pub profile_sha256: [u8; 32],
    /// The beacon, 64 hexadecimal digits.
    pub beacon: String,
}

impl BeforeBeacon {
    /// Takes the beacon out of a profile and its text. `None` if no beacon ends the path, or if the text has those
    /// bytes in other places too.
    #[must_use]
    pub fn from_profile(text: &str, profile: &Profile) -> Option<Self> {
        let (above, beacon) = profile.path.as_str().rsplit_once('/')?;
        let path = above.strip_suffix("/beacon")?.parse().ok()?;
        parse_hash(beacon, "beacon").ok()?;
        let inserted = format!("/beacon/{beacon}");
        if text.matches(&inserted).count() != 1 {
            return None;
        }
        let profile_sha256 = Sha256::digest(text.replacen(&inserted, "", 1).as_bytes()).into();
        Some(Self { path, profile_sha256, beacon: beacon.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const TEXT: &str = r#"{"profile": "watermark-profile/1", "name": "epoch/1", "path": "epoch/1",
 "tokenizer": {"sha256": "0000000000000000000000000000000000000000000000000000000000000000", "vocab_size": 50, "special_token_ids": []},
 "layers": [{"name": "d", "scheme": "greenlist", "gamma": 0.5, "delta": 2.0, "width": 1, "prf": "chacha20-v1"}], "repeats": "unmarked"}"#;

    #[test]
    fn the_committed_profile_follows_from_the_one_that_serves() {
        let beacon = "5a".repeat(32);
        // The name is the path too; only the path may change.
        let changed = under_beacon(TEXT, &beacon).unwrap();
        let profile = Profile::parse(&changed).unwrap();
        assert_eq!((profile.name.as_str(), profile.path.as_str()), ("epoch/1", &*format!("epoch/1/beacon/{beacon}")));
        let before = BeforeBeacon::from_profile(&changed, &profile).unwrap();
        assert_eq!(before.path.as_str(), "epoch/1");
        assert_eq!(before.profile_sha256[..], Sha256::digest(TEXT.as_bytes())[..]);
        assert_eq!(before.beacon, beacon);

        assert_eq!(BeforeBeacon::from_profile(TEXT, &Profile::parse(TEXT).unwrap()), None);
        for (text, beacon) in [
            (changed.as_str(), beacon.as_str()),
            (TEXT, &beacon[1..]),
            (TEXT, &"5A".repeat(32)),
            (&TEXT.replace("\"path\": \"epoch/1\"", "\"path\": \"\""), &beacon),
            (&TEXT.replace("\"path\": \"epoch/1\"", "\"path\": \"epoch\\/1\""), &beacon),
            ("{}", &beacon),
        ] {
            assert!(under_beacon(text, beacon).is_err(), "{text} {beacon}");
        }
        // A name has the same bytes, so it is not clear which of them to take out.
        let twice = changed.replacen("\"name\": \"epoch/1\"", &format!("\"name\": \"x/beacon/{beacon}\""), 1);
        assert_eq!(BeforeBeacon::from_profile(&twice, &Profile::parse(&twice).unwrap()), None);
    }
}
