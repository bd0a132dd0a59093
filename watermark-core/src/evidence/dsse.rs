//! Signed envelopes: DSSE v1 (secure-systems-lab/dsse) with one Ed25519 signature.
//!
//! A signature covers payload and payload type only, so everything else in the file is pinned: the bytes must be their own
//! canonical form, there is exactly one signature, and its `keyid` is the SHA-256 of the `public_key` beside it. Whether
//! that key is one to trust is for the caller to say.

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use super::canonical::{from_canonical, to_canonical};
use super::signing::{PublicKey, SigningKey};
use crate::{Error, ErrorKind, Result, hex};

/// An envelope that is part of another file. Its canonical bytes are those of the file that it was. Only its shape was
/// checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: [SignatureJson; 1],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureJson {
    keyid: String,
    public_key: String,
    sig: String,
}

impl Envelope {
    /// Reads the bytes of an envelope, at most `limit`.
    ///
    /// # Errors
    /// As [`from_canonical`].
    pub fn parse(bytes: &[u8], limit: usize) -> Result<Self> {
        from_canonical(bytes, limit, "a signed envelope")
    }

    /// The bytes of the file that it was.
    ///
    /// # Errors
    /// Never for an envelope that exists. Writing canonical JSON can fail for other values, hence the result type.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        to_canonical(self)
    }

    /// Whether its fields are written as base64 and digits of hashes.
    pub(in crate::evidence) fn is_well_formed(&self) -> bool {
        let [signature] = &self.signatures;
        let is_hash = |digits: &str| hex::decode(digits.as_bytes(), &mut [0; 32]).is_some();
        let is_base64 = |text: &str| {
            let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
            text.len().is_multiple_of(4) && digits.bytes().all(plain)
        };
        [&signature.keyid, &signature.public_key].into_iter().all(|digits| is_hash(digits))
            && [&self.payload, &signature.sig].into_iter().all(|text| is_base64(text))
    }
}

/// A payload whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The signed bytes.
    pub payload: Vec<u8>,
    /// Whose signature it is.
    pub signer: PublicKey,
}

/// What is signed: `"DSSEv1" SP len(type) SP type SP len(payload) SP payload`, lengths in decimal bytes.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

/// Signs a payload and gives the envelope's bytes.
///
/// # Errors
/// Those of [`envelope`], which do not occur for a sound key.
pub fn sign(payload_type: &str, payload: &[u8], key: &SigningKey) -> Result<Vec<u8>> {
    envelope(payload_type, payload, &key.public_key(), &key.sign(&pae(payload_type, payload)))
}

/// The envelope's bytes around a signature over [`pae`] that was made elsewhere, for instance in a hardware module.
///
/// # Errors
/// [`ErrorKind::InvalidSignature`] if it does not hold.
pub fn envelope(payload_type: &str, payload: &[u8], signer: &PublicKey, signature: &[u8; 64]) -> Result<Vec<u8>> {
    signer.verify(&pae(payload_type, payload), signature)?;
    to_canonical(&Envelope {
        payload: Base64::encode_string(payload),
        payload_type: payload_type.to_owned(),
        signatures: [SignatureJson {
            keyid: hex::encode(&signer.keyid()),
            public_key: signer.to_hex(),
            sig: Base64::encode_string(signature),
        }],
    })
}

/// Checks an envelope of at most `limit` bytes: canonical form, shape, signature, payload type, in this order. Nothing of
/// the payload has been read before its signature holds.
///
/// # Errors
/// [`ErrorKind::NotCanonical`], [`ErrorKind::InvalidEvidence`], [`ErrorKind::InvalidSignature`].
pub fn verify(bytes: &[u8], payload_type: &str, limit: usize) -> Result<Verified> {
    let file = Envelope::parse(bytes, limit)?;
    let shape = |what: &str| Error::new(ErrorKind::InvalidEvidence, format!("signed envelope: {what}"));
    let [signature] = &file.signatures;
    let signer =
        PublicKey::from_hex(&signature.public_key).map_err(|_| shape("\"public_key\" is not an Ed25519 key"))?;
    if signature.keyid != hex::encode(&signer.keyid()) {
        return Err(shape("\"keyid\" is not the SHA-256 of \"public_key\""));
    }
    let payload = Base64::decode_vec(&file.payload).map_err(|_| shape("\"payload\" is not base64"))?;
    let mut sig = [0; 64];
    let decoded = Base64::decode(&signature.sig, &mut sig).map_err(|_| shape("\"sig\" is not base64 of 64 bytes"))?;
    if decoded.len() != 64 {
        return Err(shape("\"sig\" is not base64 of 64 bytes"));
    }
    signer.verify(&pae(&file.payload_type, &payload), &sig)?;
    if file.payload_type != payload_type {
        return Err(shape(&format!("it holds {:?}, not {payload_type:?}", file.payload_type)));
    }
    Ok(Verified { payload, signer })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "http://example.com/HelloWorld";

    fn key() -> SigningKey {
        SigningKey::from_seed(&[9; 32])
    }

    /// The example of the DSSE protocol document.
    #[test]
    fn pre_authentication_encoding() {
        assert_eq!(pae(TYPE, b"hello world"), b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
    }

    #[test]
    fn round_trip_and_other_types() {
        let bytes = sign(TYPE, b"hello world", &key()).unwrap();
        let verified = verify(&bytes, TYPE, 1 << 10).unwrap();
        assert_eq!(verified, Verified { payload: b"hello world".to_vec(), signer: key().public_key() });
        assert_eq!(verify(&bytes, "other", 1 << 10).unwrap_err().kind(), ErrorKind::InvalidEvidence);
        assert_eq!(verify(&bytes, TYPE, 100).unwrap_err().kind(), ErrorKind::NotCanonical);
        let other = SigningKey::from_seed(&[8; 32]).sign(&pae(TYPE, b"hello world"));
        let error = envelope(TYPE, b"hello world", &key().public_key(), &other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSignature);
    }

    /// Every byte of the file set to every other value, every byte removed or doubled.
    #[test]
    fn every_changed_byte_is_detected() {
        let bytes = sign(TYPE, b"{}", &key()).unwrap();
        for at in 0..bytes.len() {
            for flip in 1..=255_u8 {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                assert!(verify(&changed, TYPE, 1 << 10).is_err(), "byte {at} ^ {flip}");
            }
            let mut shorter = bytes.clone();
            shorter.remove(at);
            assert!(verify(&shorter, TYPE, 1 << 10).is_err(), "without byte {at}");
            let mut longer = bytes.clone();
            longer.insert(at, bytes[at]);
            assert!(verify(&longer, TYPE, 1 << 10).is_err(), "byte {at} twice");
            assert!(verify(&bytes[..at], TYPE, 1 << 10).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn fields_outside_the_signature_are_pinned() {
        let text = String::from_utf8(sign(TYPE, b"{}", &key()).unwrap()).unwrap();
        let keyid = hex::encode(&key().public_key().keyid());
        let other = SigningKey::from_seed(&[8; 32]).public_key();
        for changed in [
            text.replace(&keyid, &"0".repeat(64)),
            text.replace(&keyid, ""),
            text.replace(&key().public_key().to_hex(), &other.to_hex()),
            text.replace("\"public_key\"", "\"note\":1,\"public_key\""),
            text.replace("}]}", "}],\"x\":1}"),
            text.replace("\"signatures\":[", "\"signatures\":[{},"),
        ] {
            assert_ne!(changed, text);
            let kind = verify(changed.as_bytes(), TYPE, 1 << 10).unwrap_err().kind();
            assert_eq!(kind, ErrorKind::InvalidEvidence, "{changed}");
        }
    }

    proptest! {
        #[test]
        fn no_panic_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(verify(&bytes, TYPE, 1 << 10).is_err());
        }
    }
}
