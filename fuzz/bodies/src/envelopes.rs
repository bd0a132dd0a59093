//! Canonical JSON, signed envelopes, and the two small files that they hold: heads and registrations.

use serde_json::Value;
use watermark_core::evidence::bundle::{REGISTRATION_TYPE, Registration, STATEMENT_TYPE};
use watermark_core::evidence::canonical::{from_canonical, to_canonical};
use watermark_core::evidence::commitment::KEY_COMMITMENTS;
use watermark_core::evidence::dsse::{self, Envelope, Verified};
use watermark_core::evidence::ledger::ANSWERS;
use watermark_core::evidence::{HEAD_TYPE, TreeHead};

use crate::parts::{BundleParts, other_key, signing_key};

const LIMIT: usize = 1 << 20;

/// A signed head and registration, their payloads, and canonical JSON of many kinds.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let parts = BundleParts::new(0);
    let json = "{\"\":[],\"a\":[1,-1,0.5,1e+21,5e-324,true,null],\"é\":\"€\\u000f\\n\\\"\\\\\",\"😀\":{}}";
    let payloads = parts.payloads();
    let signed = [
        dsse::sign(HEAD_TYPE, &payloads[0], &signing_key()).unwrap(),
        dsse::sign(REGISTRATION_TYPE, &payloads[1], &signing_key()).unwrap(),
    ];
    payloads.into_iter().chain(signed).chain([json.as_bytes().to_vec()]).collect()
}

/// The bytes as canonical JSON, as an envelope, and as a payload that somebody signed.
pub fn run(bytes: &[u8]) {
    let Ok(value) = from_canonical::<Value>(bytes, LIMIT, "an input") else {
        assert!(Envelope::parse(bytes, LIMIT).is_err(), "an envelope that is not canonical");
        return;
    };
    assert_eq!(to_canonical(&value).expect("what was canonical still is"), bytes);
    if let Ok(envelope) = Envelope::parse(bytes, LIMIT) {
        assert_eq!(envelope.bytes().expect("an envelope has a form"), bytes);
    }
    original(bytes);
    signed_by_anybody(bytes);
}

/// Nobody without the key can make it sign anything else.
fn original(bytes: &[u8]) {
    for type_ in [HEAD_TYPE, REGISTRATION_TYPE, STATEMENT_TYPE] {
        if let Ok(Verified { payload, signer }) = dsse::verify(bytes, type_, LIMIT) {
            assert_eq!(signer, signing_key().public_key(), "a signature out of nowhere");
            assert!(BundleParts::new(0).payloads().contains(&payload), "a forged payload");
        }
    }
    let _ = TreeHead::verify(bytes, KEY_COMMITMENTS);
    let _ = Registration::verify(bytes);
}

/// A hostile author signs what they like: what is read is what was signed, every byte of it.
fn signed_by_anybody(payload: &[u8]) {
    let signed = dsse::sign(HEAD_TYPE, payload, &other_key()).unwrap();
    for tree in [KEY_COMMITMENTS, ANSWERS] {
        if let Ok((head, signer)) = TreeHead::verify(&signed, tree) {
            assert_eq!(signer, other_key().public_key());
            assert_eq!(head.payload().expect("a head that was read can be written"), payload);
            assert!(head.signed_at.is_ascii() && !head.signed_at.contains(char::is_control));
        }
    }
    assert!(Registration::verify(&signed).is_err(), "a head passes for a registration");
    let signed = dsse::sign(REGISTRATION_TYPE, payload, &other_key()).unwrap();
    if let Ok((registration, _)) = Registration::verify(&signed) {
        assert_eq!(registration.payload().expect("a registration that was read can be written"), payload);
    }
    assert!(TreeHead::verify(&signed, KEY_COMMITMENTS).is_err(), "a registration passes for a head");
}
