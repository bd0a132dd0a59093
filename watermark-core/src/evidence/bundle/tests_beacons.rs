#![allow(clippy::unwrap_used, reason = "tests")]
use sha2::{Digest as _, Sha256};

use super::tests::{PROFILE, signed, statement, statement_of};
use super::*;
use crate::evidence::beacon::{BeaconRound, DrawnValue, QUICKNET};

/// A beacon is named in the commitment, and the same value stands in profile and bundle.
#[test]
fn beacons() {
    let lottery = |round| BeaconRound { round, source: "lottery".to_owned() };
    let value = |byte: u8| DrawnValue { signature: None, value: Digest([byte; 32]) };
    let under =
        |byte: u8| PROFILE.replace("\"tokenizer\"", &format!("\"beacon\": \"{}\", \"tokenizer\"", Digest([byte; 32])));
    let first =
        |statement: &Statement| verify(&signed(&statement.payload().unwrap())).faults.first().map(|fault| fault.code);
    let sound = statement_of(&under(7), Some((lottery(3), value(7))), Some((lottery(9), value(5))));
    assert_eq!(first(&sound), None);
    // The key depends on the value.
    assert_ne!(sound.predicate.suspect.statistic, statement().predicate.suspect.statistic);

    let of_key = |beacon| first(&statement_of(&under(7), Some(beacon), None));
    assert_eq!(of_key((lottery(3), value(8))), Some(Code::Beacon));
    assert_eq!(first(&statement_of(&under(7), None, None)), Some(Code::Beacon));
    assert_eq!(first(&statement_of(PROFILE, Some((lottery(3), value(7))), None)), Some(Code::Beacon));
    // The commitment named another round, or none.
    for beacon in [Some(lottery(4)), None] {
        let mut other = sound.clone();
        other.predicate.key.leaf.beacon = beacon;
        assert_eq!(first(&other), Some(Code::Proof));
    }
    // A value of quicknet is the SHA-256 of its signature.
    let quicknet = |round| BeaconRound { round, source: QUICKNET.to_owned() };
    let signature = |byte: u8| Some(crate::hex::encode(&[byte; 48]));
    let drawn = Digest(Sha256::digest([7; 48]).into());
    let profile = PROFILE.replace("\"tokenizer\"", &format!("\"beacon\": \"{drawn}\", \"tokenizer\""));
    for (byte, code) in [(7, None), (8, Some(Code::Beacon))] {
        let drawn = DrawnValue { signature: signature(byte), value: drawn };
        assert_eq!(first(&statement_of(&profile, Some((quicknet(1 << 30), drawn)), None)), code);
    }
}
