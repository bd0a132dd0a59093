//! three_bricks (2308.00113) with `seeding = "hash"`, on a CPU.

#[cfg(feature = "detect")]
use std::sync::Arc;

use crate::MAX_CONTEXT_WIDTH;
use crate::engine::Engine;
use crate::engine::format::{Algorithm, Format};
#[cfg(feature = "detect")]
use crate::engine::format::{KeyedEngine, Once, PeerNumber};
use crate::engine::key::DECIMAL;
#[cfg(feature = "detect")]
use crate::engine::{EngineKey, EngineScore, hf_kgw::on_lists, mt19937::by_seed, peer, torch_rand24};
#[cfg(feature = "detect")]
use crate::prf::{Pair, RuleId};
#[cfg(feature = "detect")]
use crate::scheme::{Gumbel, TWO_32};

pub(super) const THREE_BRICKS: Format = Format {
    name: "three-bricks",
    in_profiles: None,
    key: DECIMAL,
    algorithms: &[Algorithm::Gumbel, Algorithm::Greenlist { gamma: 0.25 }],
    width: (4, MAX_CONTEXT_WIDTH),
    permutes_vocabulary: true,
    torch_generator: true,
    slow: true,
    examples: &[("gumbel", None), ("greenlist", None)],
    null_law: Engine::uniform_law,
    marking: None,
    #[cfg(feature = "detect")]
    keyed: |engine, key| Ok(Arc::new(ThreeBricks { engine, key: key.clone() })),
};

/// The engine under its key.
#[cfg(feature = "detect")]
#[derive(Debug)]
struct ThreeBricks {
    engine: Engine,
    key: EngineKey,
}

#[cfg(feature = "detect")]
impl KeyedEngine for ThreeBricks {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn rule_id(&self) -> RuleId {
        RuleId::generated(self.engine.width)
    }

    fn scores(&self, pairs: &[Pair]) -> Vec<u64> {
        let seeds = self.context_seeds(pairs).unwrap_or_default();
        if self.engine.permutes_vocabulary() {
            return on_lists(&self.engine, &seeds, pairs);
        }
        by_seed(&seeds, pairs, |seed, tokens| {
            torch_rand24(seed, tokens).into_iter().map(|mantissa| Gumbel.score_q32(mantissa << 8)).collect()
        })
    }

    /// Some keys (those with many factors of two) give different contexts the same seed.
    fn context_seeds(&self, pairs: &[Pair]) -> Option<Vec<u64>> {
        let seed = |pair: &Pair| u64::from(three_bricks_seed(self.key.first(), pair.context(self.engine.width)));
        Some(pairs.iter().map(seed).collect())
    }

    fn peer_scores_once(&self) -> Once {
        Once::EveryPosition
    }

    fn peer_sum(&self, pairs: &[Pair]) -> f64 {
        let unit = if self.engine.permutes_vocabulary() { 1.0 } else { TWO_32 };
        self.scores(pairs).into_iter().map(|score| score as f64 / unit).sum()
    }

    fn peer_number(&self, n: u64, sum: f64) -> PeerNumber {
        match self.engine.score {
            EngineScore::Greenlist { gamma } => {
                peer::binomial(n, gamma, sum, "every position, repeats included; binomial")
            }
            _ => peer::gamma(n, sum, "every position, repeats included; Gamma(n, 1)"),
        }
    }
}

/// Generator seed of three_bricks with `seeding = "hash"` (the upstream salt key is 35317): from 0, each id of the
/// n-gram, oldest first, gives `seed * salt_key + id` modulo 2^64 - 1; PyTorch keeps the low 32 bits.
#[must_use]
pub fn three_bricks_seed(salt_key: u64, ngram: &[u32]) -> u32 {
    let modulus = u128::from(u64::MAX);
    ngram.iter().fold(0, |seed, &id| (seed * u128::from(salt_key) + u128::from(id)) % modulus) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::torch_rand24;

    #[test]
    fn seed_of_three_bricks() {
        let seed = three_bricks_seed(35_317, &[1, 2, 3]);
        assert_eq!(seed, 1_247_361_126);
        // 0x1.5e92d2p-1 and 0x1.2908d0p-2
        assert_eq!(torch_rand24(seed, &[0, 1]), [0xAF_4969, 0x4A_4234]);
        assert_eq!(three_bricks_seed(35_317, &[]), 0);
    }

    #[test]
    fn the_largest_key_does_not_overflow() {
        // u64::MAX is 0 modulo 2^64 - 1, so only the last id stays.
        assert_eq!(three_bricks_seed(u64::MAX, &[u32::MAX, 7]), 7);
        // u64::MAX - 1 is -1, so 2^64 - 2^32 + 5 is left.
        assert_eq!(three_bricks_seed(u64::MAX - 1, &[u32::MAX, 5]), 5);
    }
}
