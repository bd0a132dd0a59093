//! Evidence that an outsider can check: canonical JSON, Merkle trees, signed envelopes, commitments to keys
//! and beacons drawn after them, prompts drawn by beacons, a ledger of served answers and the requests planned for it, time-stamp
//! requests, registrations and bundles of tests.
//!
//! Everything here is a function of its arguments: randomness, time and files are the caller's.

pub mod beacon;
pub mod bundle;
pub mod canonical;
pub mod commitment;
pub mod dsse;
mod fields;
mod head;
pub mod ledger;
pub mod merkle;
pub mod pairs;
pub mod prompts;
pub mod requests;
mod signing;
mod time;
pub mod timestamp;

pub use head::{HEAD_TYPE, TreeHead};
pub use signing::{PublicKey, SigningKey};

use crate::{Error, ErrorKind, Result, hex};

/// 64 lower-case hexadecimal digits; the message names the field and repeats nothing of it.
fn parse_hash(text: &str, field: &str) -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    match hex::decode(text.as_bytes(), &mut bytes) {
        Some(()) => Ok(bytes),
        None => {
            Err(Error::new(ErrorKind::InvalidEvidence, format!("{field:?} is not 64 lower-case hexadecimal digits")))
        }
    }
}
