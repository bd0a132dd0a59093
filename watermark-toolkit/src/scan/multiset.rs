//! A digest of the records that were read. It depends neither on their order nor on how they were cut into parts.

use anyhow::{Context, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use watermark_core::hex;

/// 16-bit lanes, as many as give 128 bits of collision resistance and more (Lewi, Kim, Maykov, Weis: Securing update
/// propagation with homomorphic hashing, 2019; the construction is `AdHash` of Bellare and Micciancio, 1997).
const LANES: usize = 1024;

/// A homomorphic digest of a multiset of byte strings: each is expanded to 1,024 numbers of 16 bits, by SHA-256 of its own
/// SHA-256 and a counter, and the numbers are added. Digests of parts add up to that of the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Multiset(Box<[u16; LANES]>);

impl Default for Multiset {
    fn default() -> Self {
        Self(Box::new([0; LANES]))
    }
}

impl Multiset {
    /// Adds an element by its SHA-256.
    pub(super) fn insert(&mut self, element: &[u8; 32]) {
        for (counter, lanes) in (0_u32..).zip(self.0.chunks_exact_mut(16)) {
            let block = Sha256::new().chain_update(element).chain_update(counter.to_le_bytes()).finalize();
            for (lane, bytes) in lanes.iter_mut().zip(block.as_chunks::<2>().0) {
                *lane = lane.wrapping_add(u16::from_le_bytes(*bytes));
            }
        }
    }

    /// Adds all elements of another multiset.
    pub(super) fn add(&mut self, other: &Self) {
        for (lane, more) in self.0.iter_mut().zip(other.0.iter()) {
            *lane = lane.wrapping_add(*more);
        }
    }

    /// SHA-256 of the lanes, little-endian.
    pub(super) fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.bytes()).into()
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|lane| lane.to_le_bytes()).collect()
    }
}

impl Serialize for Multiset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.bytes()))
    }
}

impl<'de> Deserialize<'de> for Multiset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map_err(serde::de::Error::custom)
    }
}

fn parse(text: &str) -> Result<Multiset> {
    let mut bytes = [0; 2 * LANES];
    hex::decode_any_case(text.as_bytes(), &mut bytes)
        .with_context(|| format!("not {LANES} numbers of four hexadecimal digits"))?;
    let mut lanes = Multiset::default();
    for (lane, bytes) in lanes.0.iter_mut().zip(bytes.as_chunks().0) {
        *lane = u16::from_le_bytes(*bytes);
    }
    Ok(lanes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn multiset(elements: &[[u8; 32]]) -> Multiset {
        let mut set = Multiset::default();
        elements.iter().for_each(|element| set.insert(element));
        set
    }

    proptest! {
        /// Order and cuts change nothing, a missing or repeated element does; text and back.
        #[test]
        fn depends_on_the_multiset_alone(
            elements in proptest::collection::vec(any::<[u8; 32]>(), 1..12),
            cut in any::<proptest::sample::Index>(),
        ) {
            let whole = multiset(&elements);
            let (left, right) = elements.split_at(cut.index(elements.len()));
            let mut sum = multiset(right);
            sum.add(&multiset(left));
            prop_assert_eq!(&sum, &whole);
            prop_assert_ne!(multiset(&elements[1..]).digest(), whole.digest());
            sum.insert(&elements[0]);
            prop_assert_ne!(sum.digest(), whole.digest());
            let text = serde_json::to_string(&whole).unwrap();
            prop_assert_eq!(serde_json::from_str::<Multiset>(&text).unwrap(), whole);
        }

        #[test]
        fn hostile_text_is_an_error(text in "\\PC{0,40}|[0-9a-f]{4090,4100}|[0-9a-fé]{4096}") {
            let _ = parse(&text);
        }
    }
}
