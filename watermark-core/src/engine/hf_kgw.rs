//! Hugging Face's KGW watermark (2301.10226, 2306.04634), `lefthash` and `selfhash`, as `transformers` runs it on a CPU.

use std::fmt;
#[cfg(feature = "detect")]
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::MAX_CONTEXT_WIDTH;
use crate::engine::Engine;
use crate::engine::format::{Algorithm, Format};
#[cfg(feature = "detect")]
use crate::engine::format::{KeyedEngine, Once, PeerNumber};
use crate::engine::key::DECIMAL;
use crate::engine::torch_randperm;
#[cfg(feature = "detect")]
use crate::engine::{EngineKey, EngineScore, mt19937::by_seed, peer, torch_in_prefix};
#[cfg(feature = "detect")]
use crate::prf::{Pair, RuleId};

pub(super) const LEFT_HASH: Format = Format {
    name: "hf-kgw-lefthash",
    in_profiles: None,
    key: DECIMAL,
    algorithms: &[Algorithm::Greenlist { gamma: 0.25 }],
    width: (1, MAX_CONTEXT_WIDTH),
    permutes_vocabulary: true,
    torch_generator: true,
    slow: true,
    examples: &[("greenlist", None)],
    null_law: Engine::uniform_law,
    marking: None,
    #[cfg(feature = "detect")]
    keyed: |engine, key| Ok(Arc::new(LeftHash { engine, key: key.clone() })),
};

pub(super) const SELF_HASH: Format = Format {
    name: "hf-kgw-selfhash",
    examples: &[("greenlist", Some(4))],
    #[cfg(feature = "detect")]
    keyed: |engine, key| Ok(Arc::new(SelfHash { engine, seeds: HfSelfHash::new(key.first()) })),
    ..LEFT_HASH
};

/// Whether each token is on the green list of the generator seed beside it.
#[cfg(feature = "detect")]
pub(super) fn on_lists(engine: &Engine, seeds: &[u64], pairs: &[Pair]) -> Vec<u64> {
    let (vocab_size, green) = (engine.vocab_size, engine.green_tokens());
    by_seed(seeds, pairs, |seed, tokens| {
        torch_in_prefix(seed, vocab_size, green, tokens).into_iter().map(u64::from).collect()
    })
}

#[cfg(feature = "detect")]
fn z(engine: &Engine, n: u64, sum: f64) -> PeerNumber {
    let gamma = match engine.score {
        EngineScore::Greenlist { gamma } => gamma,
        _ => 0.5,
    };
    peer::normal(n, gamma, sum, "every position, repeats included; z and the normal tail")
}

/// `lefthash` under its key.
#[cfg(feature = "detect")]
#[derive(Debug)]
struct LeftHash {
    engine: Engine,
    key: EngineKey,
}

#[cfg(feature = "detect")]
impl KeyedEngine for LeftHash {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The last token, whatever the width.
    fn rule_id(&self) -> RuleId {
        RuleId { kind: 5, width: 1, key_tag: 0 }
    }

    /// Token 0 gives a list that does not depend on the key.
    fn input(&self, window: &[u32], token: u32) -> Option<Pair> {
        (window != [0]).then(|| Pair::new(window, token))
    }

    fn scores(&self, pairs: &[Pair]) -> Vec<u64> {
        on_lists(&self.engine, &self.context_seeds(pairs).unwrap_or_default(), pairs)
    }

    /// Some keys (those with many factors of two) give different contexts the same seed.
    fn context_seeds(&self, pairs: &[Pair]) -> Option<Vec<u64>> {
        let seed = |pair: &Pair| u64::from(hf_left_hash_seed(self.key.first(), pair.context(1)[0]));
        Some(pairs.iter().map(seed).collect())
    }

    fn peer_scores_once(&self) -> Once {
        Once::EveryPosition
    }

    fn peer_number(&self, n: u64, sum: f64) -> PeerNumber {
        z(&self.engine, n, sum)
    }
}

/// `selfhash` under its key.
#[cfg(feature = "detect")]
#[derive(Debug)]
struct SelfHash {
    engine: Engine,
    seeds: HfSelfHash,
}

#[cfg(feature = "detect")]
impl KeyedEngine for SelfHash {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The window counts the candidate.
    fn rule_id(&self) -> RuleId {
        RuleId { kind: 6, width: self.engine.width - 1, key_tag: self.seeds.seed(&[1, 2, 3]) }
    }

    /// The generator's seed, which depends on the key, and the token.
    fn input(&self, window: &[u32], token: u32) -> Option<Pair> {
        let mut with_candidate = [0; MAX_CONTEXT_WIDTH + 1];
        with_candidate[..window.len()].copy_from_slice(window);
        with_candidate[window.len()] = token;
        let seed = self.seeds.seed(&with_candidate[..=window.len()]);
        Some(Pair::new(&[HfSelfHash::generator_seed(seed)], token))
    }

    fn packing(&self) -> (usize, u32) {
        (1, 32)
    }

    fn keeps_token(&self) -> bool {
        false
    }

    fn inputs_depend_on_key(&self) -> bool {
        true
    }

    fn scores(&self, pairs: &[Pair]) -> Vec<u64> {
        on_lists(&self.engine, &self.context_seeds(pairs).unwrap_or_default(), pairs)
    }

    fn context_seeds(&self, pairs: &[Pair]) -> Option<Vec<u64>> {
        Some(pairs.iter().map(|pair| u64::from(pair.context(1)[0])).collect())
    }

    fn peer_scores_once(&self) -> Once {
        Once::EveryPosition
    }

    fn peer_number(&self, n: u64, sum: f64) -> PeerNumber {
        z(&self.engine, n, sum)
    }
}

/// Size of the table that turns ids into factors of a seed.
const TABLE: u32 = 1_000_003;

/// Generator seed of Hugging Face's KGW watermark, `lefthash`: the low 32 bits of `key * last` modulo 2^64 - 1.
///
/// The green list is the head of [`torch_randperm`] under this seed. Token 0 gives seed 0 whatever the key.
#[must_use]
pub fn hf_left_hash_seed(key: u64, last: u32) -> u32 {
    (u128::from(key) * u128::from(last) % u128::from(u64::MAX)) as u32
}

/// Seeds of Hugging Face's KGW watermark, `selfhash`: from a window that ends with the candidate itself.
///
/// Holds the table `torch.randperm(1_000_003)` of the hashing key, so make one of these per key and keep it.
#[derive(Clone)]
pub struct HfSelfHash {
    key: Zeroizing<i64>,
    table: Zeroizing<Vec<u32>>,
}

impl HfSelfHash {
    /// The seeds under a hashing key.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self { key: Zeroizing::new(key.cast_signed()), table: Zeroizing::new(torch_randperm(key as u32, TABLE)) }
    }

    /// The signed seed of a window, oldest id first and the candidate last; 0 for an empty window.
    ///
    /// It is the PRF input: the least of `key * a * b` (wrapping), with `a` from each id of the window and `b` from the
    /// candidate. [`Self::generator_seed`] turns it into the seed of the green list.
    #[must_use]
    pub fn seed(&self, window_with_candidate: &[u32]) -> i64 {
        let Some(&candidate) = window_with_candidate.last() else { return 0 };
        let own = self.key.wrapping_mul(self.factor(candidate));
        window_with_candidate.iter().map(|&id| own.wrapping_mul(self.factor(id))).min().unwrap_or(0)
    }

    /// What PyTorch's generator keeps of a seed: the low 32 bits of its remainder modulo 2^64 - 1, which Python makes
    /// non-negative.
    #[must_use]
    pub fn generator_seed(seed: i64) -> u32 {
        i128::from(seed).rem_euclid(i128::from(u64::MAX)).cast_unsigned() as u32
    }

    fn factor(&self, id: u32) -> i64 {
        i64::from(self.table[(id % TABLE) as usize]) + 1
    }
}

impl fmt::Debug for HfSelfHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HfSelfHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hashing key that `transformers` has by default.
    const DEFAULT: u64 = 15_485_863;

    #[test]
    fn self_hash() {
        let prf = HfSelfHash::new(DEFAULT);
        assert_eq!(prf.table[..3], [138_280, 994_103, 467_886]);
        let seed = prf.seed(&[11, 22, 33, 44]);
        assert_eq!(seed, -8_732_380_403_358_078_560);
        let generator_seed = HfSelfHash::generator_seed(seed);
        assert_eq!(generator_seed, 9_714_363_670_351_473_055_u64 as u32);
        assert_eq!(torch_randperm(generator_seed, 50_257)[..3], [13_480, 46_772, 44_205]);
        assert_eq!(prf.seed(&[]), 0);
        assert_eq!(prf.seed(&[11 + TABLE, 22]), prf.seed(&[11, 22]));
        assert_eq!(format!("{prf:?}"), "HfSelfHash(..)");
    }

    #[test]
    fn negative_seeds_lose_one() {
        assert_eq!(HfSelfHash::generator_seed(-1), u32::MAX - 1);
        assert_eq!(HfSelfHash::generator_seed(i64::MIN), u32::MAX);
        assert_eq!(HfSelfHash::generator_seed(i64::MAX), u32::MAX);
        assert_eq!(HfSelfHash::generator_seed(5), 5);
    }

    #[test]
    fn left_hash() {
        assert_eq!(torch_randperm(hf_left_hash_seed(DEFAULT, 44), 50_257)[..3], [2_942, 24_863, 37_892]);
        assert_eq!(hf_left_hash_seed(DEFAULT, 0), 0);
        assert_eq!(hf_left_hash_seed(u64::MAX, 9), 0);
        assert_eq!(hf_left_hash_seed(1 << 63, 2), 1);
    }
}
