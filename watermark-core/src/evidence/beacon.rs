//! A public random value drawn after a commitment, so that nobody can have chosen the key that served among many.
//!
//! The provider commits to the node of each layer of a profile whose `beacon` is null, and names the round of a public source (a drand
//! chain, a lottery) that is to come. Once the value is there, it takes the place of the null, and the layers' keys lie at
//! `layer/<name>/beacon/<value>`. So the two profiles differ in these bytes only, and whoever opens one layer discloses that layer alone.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::fields::Digest;
use super::parse_hash;
use super::time::time_of_unix;
use crate::profile::{Beacon, Profile};
use crate::{Error, ErrorKind, Result, hex};

/// The League of Entropy's chain `quicknet`: every third second a BLS signature of the round's number (RFC 9380 hashing, signatures
/// on G1), whose SHA-256 is the value. Chain 52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971.
pub const QUICKNET: &str = "drand/quicknet";

/// Public key of [`QUICKNET`], a point of G2.
pub const QUICKNET_KEY: &str = "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a";

/// Seconds since 1970 at which round 1 of [`QUICKNET`] was drawn, and between two rounds.
const QUICKNET_GENESIS: u64 = 1_692_803_367;
const QUICKNET_PERIOD: u64 = 3;

/// Bytes of a signature of [`QUICKNET`], a point of G1.
pub(super) const SIGNATURE_LENGTH: usize = 48;

/// Which value of a public source, named before it is drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeaconRound {
    /// The round's number at its source.
    pub round: u64,
    /// [`QUICKNET`], whose rounds have a known time and can be verified; or another name that readers can look up, 1 to 64 characters of
    /// `[a-z0-9._/-]`.
    pub source: String,
}

/// A value that was drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawnValue {
    /// The source's signature in hexadecimal digits, by which others verify the value; none for sources without one.
    pub signature: Option<String>,
    /// The value, 64 hexadecimal digits.
    pub value: Digest,
}

impl DrawnValue {
    /// The value of [`QUICKNET`] that has this signature, 96 lower-case hexadecimal digits: its SHA-256. Whether the chain signed so is
    /// another question.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidEvidence`] for other digits.
    pub fn from_signature(digits: &str) -> Result<Self> {
        let mut signature = [0; SIGNATURE_LENGTH];
        hex::decode(digits.as_bytes(), &mut signature).ok_or_else(|| {
            let message = "beacon: a signature has 96 lower-case hexadecimal digits";
            Error::new(ErrorKind::InvalidEvidence, message)
        })?;
        Ok(Self { signature: Some(digits.to_owned()), value: Digest(Sha256::digest(signature).into()) })
    }
}

impl BeaconRound {
    /// Checks that people can look up what this names.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidEvidence`].
    pub fn check(&self) -> Result<()> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._/-".contains(&byte);
        let invalid = |what: &str| Err(Error::new(ErrorKind::InvalidEvidence, format!("beacon: {what}")));
        if !(1..=64).contains(&self.source.len()) || !self.source.bytes().all(plain) {
            return invalid("a source is named by 1 to 64 characters of [a-z0-9._/-]");
        }
        if self.source == QUICKNET && self.time().is_none() {
            return invalid("the chain has no such round");
        }
        // Another chain, or a name that looks like this one's, would escape what is known of it.
        if self.source != QUICKNET && self.source.starts_with("drand") {
            return invalid("of drand's chains drand/quicknet is known here, and no other");
        }
        Ok(())
    }

    /// When the round is drawn, as `2026-11-25T01:02:03Z`; `None` where the source has no fixed times.
    #[must_use]
    pub fn time(&self) -> Option<String> {
        if self.source != QUICKNET {
            return None;
        }
        let after = self.round.checked_sub(1)?.checked_mul(QUICKNET_PERIOD)?;
        time_of_unix(after.checked_add(QUICKNET_GENESIS)?)
    }

    /// Whether the source has fixed the round's value by that time, so that somebody could have known it.
    #[must_use]
    pub fn is_known_by(&self, time: &str) -> Option<bool> {
        self.time().map(|drawn| drawn.as_str() <= time)
    }

    /// Checks a value against what can be said of it without the source's key: a value of [`QUICKNET`] is the SHA-256 of its signature.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidEvidence`].
    pub fn check_value(&self, drawn: &DrawnValue) -> Result<()> {
        let invalid = |what: &str| Err(Error::new(ErrorKind::InvalidEvidence, format!("beacon: {what}")));
        match (&drawn.signature, self.source == QUICKNET) {
            (None, _) => Ok(()),
            (Some(_), false) => invalid("a signature is known of drand/quicknet only"),
            (Some(digits), true) if DrawnValue::from_signature(digits)? == *drawn => Ok(()),
            (Some(_), true) => invalid("the value is not the SHA-256 of its signature"),
        }
    }
}

/// A profile's text with its awaited beacon drawn, 64 lower-case hexadecimal digits.
///
/// # Errors
/// [`ErrorKind::InvalidProfile`] if the text is no profile that awaits a beacon, or does not hold its null in one place;
/// [`ErrorKind::InvalidEvidence`] for a malformed value.
pub fn with_beacon(text: &str, value: &str) -> Result<String> {
    let drawn = parse_hash(value, "beacon")?;
    let profile = Profile::parse(text)?;
    let invalid = |why: &str| Error::new(ErrorKind::InvalidProfile, format!("no beacon can be put in: {why}"));
    match profile.beacon {
        Beacon::Awaited => (),
        Beacon::Drawn(_) => return Err(invalid("the profile has one")),
        Beacon::None => {
            return Err(invalid(
                "the profile awaits none; it must have \"beacon\": null when its keys are committed to",
            ));
        }
    }
    let wanted = Profile { beacon: Beacon::Drawn(drawn), ..profile };
    for (at, null) in text.match_indices("null") {
        let changed = format!("{}\"{value}\"{}", &text[..at], &text[at + null.len()..]);
        if Profile::parse(&changed).is_ok_and(|found| found == wanted) {
            return Ok(changed);
        }
    }
    Err(invalid("there is no null in its place"))
}

/// SHA-256 of the profile that was committed to: the text itself or, under a beacon, the text with `null` in place of the value.
///
/// # Errors
/// [`ErrorKind::InvalidProfile`] while the beacon is awaited, or where the text holds the value in several places.
pub fn committed_sha256(text: &str, profile: &Profile) -> Result<[u8; 32]> {
    let committed = match profile.beacon {
        Beacon::None => return Ok(Sha256::digest(text.as_bytes()).into()),
        Beacon::Awaited => None,
        Beacon::Drawn(value) => {
            let value = format!("\"{}\"", hex::encode(&value));
            (text.matches(&value).count() == 1).then(|| text.replacen(&value, "null", 1))
        }
    };
    committed.map(|text| Sha256::digest(text.as_bytes()).into()).ok_or_else(|| {
        let message = "the profile does not hold its beacon as plain text in one place";
        Error::new(ErrorKind::InvalidProfile, message)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const TEXT: &str = r#"{"profile": "watermark-profile/1", "name": "null", "path": "epoch/1", "beacon": null,
 "tokenizer": {"sha256": "0000000000000000000000000000000000000000000000000000000000000000", "vocab_size": 50, "special_token_ids": []},
 "layers": [{"name": "d", "scheme": "greenlist", "gamma": 0.5, "delta": 2.0, "width": 1, "prf": "chacha20-v1"}], "repeats": "unmarked"}"#;

    #[test]
    fn the_committed_profile_follows_from_the_one_that_serves() {
        let value = "5a".repeat(32);
        // The name is a null too; only the beacon may change.
        let changed = with_beacon(TEXT, &value).unwrap();
        let profile = Profile::parse(&changed).unwrap();
        assert_eq!((profile.name.as_str(), profile.beacon), ("null", Beacon::Drawn([0x5a; 32])));
        assert_eq!(committed_sha256(&changed, &profile).unwrap()[..], Sha256::digest(TEXT.as_bytes())[..]);

        let without = TEXT.replace(" \"beacon\": null,", "");
        let plain = Profile::parse(&without).unwrap();
        assert_eq!(committed_sha256(&without, &plain).unwrap()[..], Sha256::digest(without.as_bytes())[..]);
        assert!(committed_sha256(TEXT, &Profile::parse(TEXT).unwrap()).is_err());
        for (text, value) in [
            (changed.as_str(), value.as_str()),
            (TEXT, &value[1..]),
            (TEXT, &"5A".repeat(32)),
            (&without, &value),
            ("{}", &value),
        ] {
            assert!(with_beacon(text, value).is_err(), "{text} {value}");
        }
        // A name has the same bytes, so it is not clear which of them to take out.
        let twice = changed.replacen("\"name\": \"null\"", &format!("\"name\": \"{value}\""), 1);
        assert!(committed_sha256(&twice, &Profile::parse(&twice).unwrap()).is_err());
    }

    #[test]
    fn rounds_of_quicknet() {
        let round = |round| BeaconRound { round, source: QUICKNET.to_owned() };
        // The times of the first round and of one a day later.
        assert_eq!(round(1).time().unwrap(), "2023-08-23T15:09:27Z");
        assert_eq!(round(28_801).time().unwrap(), "2023-08-24T15:09:27Z");
        assert_eq!(round(1).is_known_by("2023-08-23T15:09:26Z"), Some(false));
        assert_eq!(round(1).is_known_by("2023-08-23T15:09:27Z"), Some(true));
        assert!(round(0).check().is_err() && round(u64::MAX).check().is_err() && round(5).check().is_ok());
        let other = BeaconRound { source: "lottery".to_owned(), ..round(0) };
        assert!(other.check().is_ok() && other.time().is_none());
        for source in ["", "A", "a b", &"a".repeat(65)] {
            assert!(BeaconRound { source: source.to_owned(), ..round(1) }.check().is_err());
        }
        let signature = hex::encode(&[0x5a; 48]);
        let value = Digest(Sha256::digest([0x5a; 48]).into());
        let drawn = DrawnValue { signature: Some(signature.clone()), value };
        assert!(round(1).check_value(&drawn).is_ok() && other.check_value(&drawn).is_err());
        let bare = DrawnValue { signature: None, value };
        assert!(round(1).check_value(&bare).is_ok() && other.check_value(&bare).is_ok());
        for bad in [signature.to_uppercase(), signature[2..].to_owned(), hex::encode(&[8; 48])] {
            assert!(round(1).check_value(&DrawnValue { signature: Some(bad), value }).is_err());
        }
    }
}
