//! Stateless Bernoulli lists of Simone Ceppi's `sbw` and `vllm-sbw` 1.0.0 (PyPI, 2026), the lists of its `gpu-` schemes: each
//! token of the vocabulary is green by a word of Philox alone, whatever the others are. Seeds and words are integers, so any
//! machine repeats them.

#[cfg(feature = "detect")]
use std::sync::Arc;

use crate::MAX_CONTEXT_WIDTH;
use crate::engine::format::{Algorithm, Format};
#[cfg(feature = "detect")]
use crate::engine::format::{KeyedEngine, Once, PeerNumber};
use crate::engine::key::DECIMAL;
use crate::engine::philox::{halves, philox4x32_10};
use crate::engine::{Engine, EngineScore};
#[cfg(feature = "detect")]
use crate::engine::{EngineKey, peer};
#[cfg(feature = "detect")]
use crate::prf::{Pair, Position, RuleId};
use crate::scheme::NullLaw;

/// `gpu-fused-selfhash` and `gpu-selfhash` with any number of candidates; the default of `vllm-sbw`.
pub(super) const SELF_HASH: Format = Format {
    name: "sbw-selfhash",
    in_profiles: None,
    key: DECIMAL,
    algorithms: &[Algorithm::Greenlist { gamma: 0.5 }],
    width: (4, MAX_CONTEXT_WIDTH),
    permutes_vocabulary: false,
    torch_generator: false,
    slow: false,
    examples: &[("greenlist", None)],
    null_law: |engine| NullLaw::Bits { gamma: f64::from(threshold(engine).max(1)) / 2_147_483_648.0, trials: 1 },
    marking: None,
    #[cfg(feature = "detect")]
    keyed: |engine, key| Ok(Arc::new(Sbw { engine, key: key.clone(), seeding: Seeding::SelfHash })),
};

/// `gpu-fused-simple_4`, and `gpu-simple_1` with a context of one token.
pub(super) const SIMPLE: Format = Format {
    name: "sbw-simple",
    #[cfg(feature = "detect")]
    keyed: |engine, key| Ok(Arc::new(Sbw { engine, key: key.clone(), seeding: Seeding::Simple })),
    ..SELF_HASH
};

/// The share of green tokens on the peer's grid: of 31 bits of a word, values below this are green. The plug-in for vLLM keeps
/// gamma in single precision.
fn threshold(engine: &Engine) -> u32 {
    let EngineScore::Greenlist { gamma } = engine.score() else { return 0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as the peer does; below 2^31")]
    let threshold = (f64::from(gamma as f32) * 2_147_483_647.0) as u32;
    threshold
}

/// The seed of `sbw`'s self-hash: the least of `key * a * b` (signed, wrapping), with `a` from each id of the window, the
/// candidate among them, and `b` from the candidate, which comes last; 0 for an empty window.
#[must_use]
pub fn sbw_self_hash_seed(key: u64, window_with_candidate: &[u32]) -> u64 {
    let Some(&candidate) = window_with_candidate.last() else { return 0 };
    let own = key.cast_signed().wrapping_mul(hash(candidate));
    let seeds = window_with_candidate.iter().map(|&id| own.wrapping_mul(hash(id)));
    seeds.min().unwrap_or(0).cast_unsigned()
}

/// The 31 bits of a token under a seed: Philox with the seed as its key and the token's quarter as its counter.
#[must_use]
pub fn sbw_bits(seed: u64, token: u32) -> u32 {
    philox4x32_10([token >> 2, 0, 0, 0], halves(seed))[(token & 3) as usize] & 0x7fff_ffff
}

/// Bob Jenkins' integer hash of `id + 1`, in signed 32 bits: shifts to the right keep the sign. It is never negative, because the
/// last one clears the sign, and not one to one.
fn hash(id: u32) -> i64 {
    let mut i = id.wrapping_add(1).cast_signed();
    i = i.wrapping_sub(i << 6);
    i ^= i >> 17;
    i = i.wrapping_sub(i << 9);
    i ^= i << 4;
    i = i.wrapping_sub(i << 3);
    i ^= i << 10;
    i ^= i >> 15;
    i.into()
}

/// The engine under its key.
#[cfg(feature = "detect")]
#[derive(Debug)]
struct Sbw {
    engine: Engine,
    key: EngineKey,
    seeding: Seeding,
}

/// Where the seed of a list comes from.
#[cfg(feature = "detect")]
#[derive(Clone, Copy, Debug)]
enum Seeding {
    /// The least product of hashes of an id of the window, the candidate among them, and of the candidate.
    SelfHash,
    /// The sum of the context times the key.
    Simple,
}

#[cfg(feature = "detect")]
impl Sbw {
    /// Tokens before the candidate, which a self-hash window counts.
    fn context_width(&self) -> usize {
        match self.seeding {
            Seeding::SelfHash => self.engine.width - 1,
            Seeding::Simple => self.engine.width,
        }
    }

    /// The seed of a PRF input.
    fn seed(&self, pair: &Pair) -> u64 {
        match self.seeding {
            Seeding::SelfHash => pair.number(),
            Seeding::Simple => self.key.first().wrapping_mul(pair.number()),
        }
    }

    fn bits(&self, pair: &Pair) -> u32 {
        sbw_bits(self.seed(pair), pair.token())
    }
}

#[cfg(feature = "detect")]
impl KeyedEngine for Sbw {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn rule_id(&self) -> RuleId {
        let width = self.context_width();
        match self.seeding {
            // Tells keys apart and nothing about them: seeds are keys of Philox.
            Seeding::SelfHash => {
                let seed = sbw_self_hash_seed(self.key.first(), &[1, 2, 3]);
                RuleId { kind: 8, width, key_tag: i64::from(sbw_bits(seed, 0)) << 31 | i64::from(sbw_bits(seed, 1)) }
            }
            Seeding::Simple => RuleId { kind: 9, width, key_tag: 0 },
        }
    }

    /// With the self-hash it is the seed, which depends on the key, and the token: different windows often have the same seed,
    /// because the least product is that of one id with the candidate. No id hashes to 0. With the simple scheme it is the sum
    /// of the context, and the token; a context of zeros gives a list that does not depend on the key.
    fn input(&self, window: &[u32], token: u32) -> Option<Pair> {
        let number = match self.seeding {
            Seeding::SelfHash => {
                let mut with_candidate = [0; MAX_CONTEXT_WIDTH];
                with_candidate[..window.len()].copy_from_slice(window);
                with_candidate[window.len()] = token;
                sbw_self_hash_seed(self.key.first(), &with_candidate[..=window.len()])
            }
            Seeding::Simple => Some(window.iter().map(|&id| u64::from(id)).sum()).filter(|&sum| sum > 0)?,
        };
        Some(Pair::from_number(number).with_token(token))
    }

    /// Contexts include the prompt. The plug-in pads a prompt that is shorter than a context with zeros; here such positions
    /// are `short_context`, because a record without its prompt looks the same.
    fn positions(&self, prompt: &[u32], special: &[u32], tokens: &[u32]) -> Vec<Position> {
        let all: Vec<u32> = prompt.iter().chain(tokens).copied().collect();
        let position = |i: usize| {
            if special.binary_search(&all[i]).is_ok() {
                return Position::Excluded;
            }
            let Some(start) = i.checked_sub(self.context_width()) else { return Position::ShortContext };
            self.input(&all[start..i], all[i]).map_or(Position::Excluded, Position::Input)
        };
        (prompt.len()..all.len()).map(position).collect()
    }

    fn scores(&self, pairs: &[Pair]) -> Vec<u64> {
        let threshold = threshold(&self.engine);
        pairs.iter().map(|pair| u64::from(self.bits(pair) < threshold)).collect()
    }

    fn packing(&self) -> (usize, u32) {
        (2, 32)
    }

    fn keeps_token(&self) -> bool {
        matches!(self.seeding, Seeding::Simple)
    }

    fn inputs_depend_on_key(&self) -> bool {
        matches!(self.seeding, Seeding::SelfHash)
    }

    /// Sums of up to eight ids differ by less than 2^27, so keys with fewer than 38 factors of two give them different seeds.
    fn context_seeds(&self, pairs: &[Pair]) -> Option<Vec<u64>> {
        let copies = matches!(self.seeding, Seeding::Simple) && self.key.first().trailing_zeros() >= 38;
        copies.then(|| pairs.iter().map(|pair| self.seed(pair)).collect())
    }

    fn peer_scores_once(&self) -> Once {
        Once::Context
    }

    /// The detector looks at each n-gram of the text once, so that stands for the context.
    fn peer_positions(&self, _prompt: &[u32], tokens: &[u32]) -> Vec<(Pair, Pair)> {
        let width = self.context_width();
        let ngrams = tokens.windows(width + 1).map(|ngram| (&ngram[..width], ngram[width]));
        ngrams.filter_map(|(window, token)| Some((Pair::new(window, token), self.input(window, token)?))).collect()
    }

    /// The detector compares in single precision, so that a few values in 2^31 fall on the other side than for the sampler.
    fn peer_sum(&self, pairs: &[Pair]) -> f64 {
        /// Just below 2^-31, as PyTorch makes uniform numbers.
        const UNIT: f32 = 4.656_612_7e-10;
        let EngineScore::Greenlist { gamma } = self.engine.score() else { return 0.0 };
        #[expect(clippy::cast_possible_truncation, reason = "as the peer does")]
        let gamma = gamma as f32;
        pairs.iter().filter(|pair| self.bits(pair) as f32 * UNIT < gamma).count() as f64
    }

    fn peer_number(&self, n: u64, sum: f64) -> PeerNumber {
        let EngineScore::Greenlist { gamma } = self.engine.score() else {
            return PeerNumber { statistic: 0.0, p_value: None, rule: "no statistic" };
        };
        peer::normal(n, gamma, sum, "each window and token of a text once; z and the normal tail")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else its list would be the same under every key, in every context.
    #[test]
    fn no_id_hashes_to_zero_or_below() {
        assert!((0..=crate::MAX_TOKEN_ID).all(|id| hash(id) > 0));
        assert_eq!([0, 1, 2].map(hash), [638_944_058, 1_362_763_215, 1_761_298_027]);
    }

    #[test]
    fn seeds_are_signed_and_wrap() {
        let products = [7, 8, 9].map(|id| 3i64.wrapping_mul(hash(id)).wrapping_mul(hash(9)));
        assert_eq!(sbw_self_hash_seed(3, &[7, 8, 9]).cast_signed(), *products.iter().min().unwrap_or(&0));
    }
}
