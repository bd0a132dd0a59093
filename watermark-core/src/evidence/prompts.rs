//! The prompts of a test: committed to as a Merkle tree, and drawn from a pool by a public random value.
//!
//! Whoever chooses prompts with the key in hand can choose what is left out of every answer, and so accuse an innocent model. A pool that
//! is committed to before the key's beacon, and of which a later beacon draws, leaves nothing to choose.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::beacon::BeaconRound;
use super::canonical::to_canonical;
use super::fields::Digest;
use super::merkle;
use crate::Result;

/// Prompts, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompts {
    /// How many.
    pub count: u64,
    /// Merkle root over them ([`prompt_leaf`]).
    pub root: Digest,
}

/// A draw of prompts that is registered before its value is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptDraw {
    /// The value that draws.
    pub beacon: BeaconRound,
    /// What is drawn from.
    pub pool: Prompts,
}

impl Prompts {
    /// Commits to prompts.
    ///
    /// # Errors
    /// Never for strings. Writing canonical JSON can fail for other values, hence the result type.
    pub fn commit_to(prompts: &[String]) -> Result<Self> {
        let leaves = prompts.iter().map(|prompt| prompt_leaf(prompt)).collect::<Result<Vec<_>>>()?;
        Ok(Self { count: leaves.len() as u64, root: Digest(merkle::root(&leaves)) })
    }
}

/// The leaf hash of a prompt: over its canonical JSON string.
///
/// # Errors
/// Never for strings. Writing canonical JSON can fail for other values, hence the result type.
pub fn prompt_leaf(prompt: &str) -> Result<merkle::Hash> {
    Ok(merkle::leaf_hash(&to_canonical(&prompt)?))
}

/// `n` prompts of a pool, as a public random value draws them without choice: those of the places i = 0, 1, … whose tickets
/// `SHA-256("watermark-draw-v1" 00 || value || i as 8 bytes little-endian)` are smallest, in rising order of the tickets. All of the pool if it
/// has fewer.
#[must_use]
pub fn draw<'a>(value: &[u8; 32], pool: &'a [String], n: usize) -> Vec<&'a String> {
    let ticket = |place: u64| -> [u8; 32] {
        let hash = Sha256::new().chain_update(b"watermark-draw-v1\0").chain_update(value);
        hash.chain_update(place.to_le_bytes()).finalize().into()
    };
    let mut tickets: Vec<([u8; 32], &String)> = (0..).map(ticket).zip(pool).collect();
    tickets.sort_unstable();
    tickets.into_iter().take(n).map(|(_, prompt)| prompt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first four of ten under a value of 32 bytes 01, as in FORMAT.md, section 8.
    #[test]
    fn a_value_draws_the_same_prompts_for_everybody() {
        let pool: Vec<String> = (0..10).map(|i| format!("prompt {i}")).collect();
        let drawn: Vec<&str> = draw(&[1; 32], &pool, 4).into_iter().map(String::as_str).collect();
        assert_eq!(drawn, DRAWN);
        assert_eq!(draw(&[1; 32], &pool, 99).len(), 10);
        assert_eq!(draw(&[1; 32], &pool, 0).len(), 0);
        assert_ne!(draw(&[2; 32], &pool, 10), draw(&[1; 32], &pool, 10));
    }

    const DRAWN: [&str; 4] = ["prompt 2", "prompt 7", "prompt 4", "prompt 1"];
}
