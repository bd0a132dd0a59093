//! Meta's TextSeal: green lists, Gumbel-max, tournaments and Gumbel-max under two keys.

#[cfg(feature = "detect")]
use std::sync::Arc;

#[cfg(feature = "detect")]
use hashbrown::HashSet;

#[cfg(feature = "detect")]
use crate::engine::EngineKey;
use crate::engine::format::{Algorithm, Format};
#[cfg(feature = "detect")]
use crate::engine::format::{KeyedEngine, Once, PeerNumber, peer_windows};
use crate::engine::key::DECIMAL;
#[cfg(feature = "detect")]
use crate::engine::peer;
use crate::engine::{Engine, EngineScore};
#[cfg(feature = "detect")]
use crate::prf::{Pair, RuleId};
#[cfg(feature = "detect")]
use crate::scheme::TWO_32;
use crate::scheme::{MAX_DEPTH, NullLaw};

const GREENLIST: Algorithm = Algorithm::Greenlist { gamma: 0.5 };
const DUAL_KEY: Algorithm = Algorithm::DualKey { alpha: 0.5 };
const TOURNAMENT: Algorithm = Algorithm::Tournament { depth: MAX_DEPTH };

pub(super) const TEXTSEAL_2025: Format = Format {
    name: "textseal@2025-12",
    in_profiles: None,
    key: DECIMAL,
    algorithms: &[Algorithm::Gumbel, GREENLIST, TOURNAMENT],
    width: (1, WINDOW_PRIMES.len()),
    permutes_vocabulary: false,
    torch_generator: false,
    slow: false,
    examples: &[("greenlist", None), ("gumbel", None), ("tournament", None)],
    null_law,
    marking: None,
    #[cfg(feature = "detect")]
    keyed: |engine, key| Ok(Arc::new(TextSeal { engine, key: key.clone(), version: TextSealVersion::December2025 })),
};

pub(super) const TEXTSEAL_2026: Format = Format {
    name: "textseal@2026",
    algorithms: &[DUAL_KEY, Algorithm::Gumbel, GREENLIST, TOURNAMENT],
    // The other two algorithms are the same as in the version before.
    examples: &[("gumbel_dual_key", None), ("tournament", None)],
    #[cfg(feature = "detect")]
    keyed: |engine, key| Ok(Arc::new(TextSeal { engine, key: key.clone(), version: TextSealVersion::Year2026 })),
    ..TEXTSEAL_2025
};

/// A residue has 8191 values, so the share of green ones is a multiple of 1/8191.
fn null_law(engine: &Engine) -> NullLaw {
    let bits = |gamma: f64, trials| {
        let ones = (0..MODULUS).filter(|&residue| is_green(residue, gamma)).count();
        NullLaw::Bits { gamma: ones as f64 / f64::from(MODULUS), trials }
    };
    match engine.score {
        EngineScore::Greenlist { gamma } => bits(gamma, 1),
        EngineScore::Tournament { depth } => bits(0.5, depth),
        EngineScore::Gumbel | EngineScore::DualKey(_) => engine.uniform_law(),
    }
}

/// Whether a residue is green; TextSeal compares in single precision.
fn is_green(residue: u16, gamma: f64) -> bool {
    #[expect(clippy::cast_possible_truncation, reason = "as the peer does")]
    let gamma = gamma as f32;
    f32::from(residue) / f32::from(MODULUS) < gamma
}

/// The engine under its key.
#[cfg(feature = "detect")]
#[derive(Debug)]
struct TextSeal {
    engine: Engine,
    key: EngineKey,
    version: TextSealVersion,
}

#[cfg(feature = "detect")]
impl TextSeal {
    fn is_one(&self, input: u64) -> bool {
        is_green(textseal_residue(input, self.key.first().cast_signed()), 0.5)
    }

    fn score(&self, input: u64) -> u64 {
        let key = self.key.first().cast_signed();
        match self.engine.score {
            EngineScore::Greenlist { gamma } => u64::from(is_green(textseal_residue(input, key), gamma)),
            EngineScore::Gumbel => score_q32(textseal_residue(input, key)),
            EngineScore::DualKey(scheme) => {
                let [a, b] = [key, key.wrapping_add(KEY_B)].map(|key| score_q32(textseal_residue(input, key)));
                scheme.mix_q32(a, b)
            }
            EngineScore::Tournament { depth } => {
                self.version.rounds(input, depth).map(|round| u64::from(self.is_one(round))).sum()
            }
        }
    }
}

#[cfg(feature = "detect")]
impl KeyedEngine for TextSeal {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn rule_id(&self) -> RuleId {
        RuleId { kind: 3, width: self.engine.width, key_tag: 0 }
    }

    /// Pairs of the same sum have the same value under every key.
    fn input(&self, window: &[u32], token: u32) -> Option<Pair> {
        Some(Pair::from_number(textseal_input(window, token)))
    }

    fn packing(&self) -> (usize, u32) {
        (2, 32)
    }

    fn keeps_token(&self) -> bool {
        false
    }

    fn scores(&self, pairs: &[Pair]) -> Vec<u64> {
        pairs.iter().map(|pair| self.score(pair.number())).collect()
    }

    /// A tournament reads round d of token x as the value of token `x + stride d`, so rounds of different pairs can be one
    /// PRF input, which counts once.
    fn shared_draws(&self, pairs: &[Pair]) -> Option<(u64, u64)> {
        let EngineScore::Tournament { depth } = self.engine.score else { return None };
        let inputs: HashSet<u64> = pairs.iter().flat_map(|pair| self.version.rounds(pair.number(), depth)).collect();
        let ones = inputs.iter().filter(|&&input| self.is_one(input)).count() as u64;
        Some((inputs.len() as u64, ones))
    }

    fn peer_scores_once(&self) -> Once {
        Once::ContextAndToken
    }

    /// TextSeal's detector begins one token later than it could.
    fn peer_positions(&self, _prompt: &[u32], tokens: &[u32]) -> Vec<(Pair, Pair)> {
        peer_windows(self, self.engine.width + 1, tokens)
    }

    fn peer_sum(&self, pairs: &[Pair]) -> f64 {
        let unit = match self.engine.score {
            EngineScore::Gumbel | EngineScore::DualKey(_) => TWO_32,
            EngineScore::Greenlist { .. } | EngineScore::Tournament { .. } => 1.0,
        };
        self.scores(pairs).into_iter().map(|score| score as f64 / unit).sum()
    }

    fn peer_number(&self, n: u64, sum: f64) -> PeerNumber {
        match self.engine.score {
            EngineScore::Gumbel => peer::gamma(n, sum, "each window and token once; Gamma(n, 1)"),
            EngineScore::DualKey(scheme) => {
                let rule = "each window and token once; Gamma law matched in two moments, not exact";
                peer::matched_gamma(scheme, n, sum, rule)
            }
            EngineScore::Greenlist { gamma } => {
                let rule = "each window and token once; mid-p, half of the point's chance left out";
                peer::mid_binomial(n as f64, gamma, sum, rule)
            }
            EngineScore::Tournament { depth } => {
                let rule = "each window and token once; mid-p over all rounds, shared ones included";
                peer::mid_binomial(n as f64 * f64::from(depth), 0.5, sum, rule)
            }
        }
    }
}

/// `floor(2^32 * -ln(1 - residue / 8191))`, a unit in the 20th bit lower so that rounding never raises it.
#[cfg(feature = "detect")]
fn score_q32(residue: u16) -> u64 {
    let score = -libm::log1p(-f64::from(residue) / f64::from(MODULUS)) * TWO_32;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= score < 10 * 2^32")]
    let q32 = (score * (1.0 - 1e-12)) as u64;
    q32
}

/// How far apart the tokens are that stand for the rounds of one token's tournament.
#[cfg(feature = "detect")]
#[derive(Clone, Copy, Debug)]
enum TextSealVersion {
    /// December 2025, on PyPI: round `d` of token `x` is the value of token `x + d`.
    December2025,
    /// 2026: round `d` of token `x` is the value of token `x + stride d`, with a large stride.
    Year2026,
}

#[cfg(feature = "detect")]
impl TextSealVersion {
    /// The inputs of a tournament's rounds, from that of its token on: the sum is linear in the token, so a round adds the
    /// same to every input.
    fn rounds(self, input: u64, depth: u32) -> impl Iterator<Item = u64> {
        let step = TOKEN_PRIME.wrapping_mul(self.stride());
        (0..depth).map(move |round| input.wrapping_add(step.wrapping_mul(round.into())))
    }

    /// Tokens between neighbouring rounds.
    fn stride(self) -> u64 {
        match self {
            Self::December2025 => 1,
            Self::Year2026 => 659_101,
        }
    }
}

/// One odd multiplier a window position, oldest first; a window has at most as many ids.
const WINDOW_PRIMES: [u64; 10] = [
    10_000_019, 10_000_247, 10_000_439, 10_000_643, 10_000_747, 10_000_867, 10_000_993, 10_001_213, 10_001_357,
    10_001_501,
];
const TOKEN_PRIME: u64 = 100_000_007;
const KEY_PRIME: u64 = 500_001_713;

/// Number of values that a residue takes: 0..8191, a prime.
const MODULUS: u16 = 8191;

/// The second key is the first plus this, from the peer's configuration class.
#[cfg(feature = "detect")]
const KEY_B: i64 = 12_345;

/// What TextSeal's hash sees of a window (at most 10 ids, oldest first) and a token: a sum modulo 2^64.
///
/// The PRF input: pairs of the same sum have the same value under every key.
#[must_use]
pub fn textseal_input(window: &[u32], token: u32) -> u64 {
    debug_assert!(window.len() <= WINDOW_PRIMES.len());
    let sum = u64::from(token) * TOKEN_PRIME;
    window.iter().zip(WINDOW_PRIMES).fold(sum, |sum, (&id, prime)| sum.wrapping_add(prime * u64::from(id)))
}

/// The value of an input under a key: one of 0..8191, read as `u = f32(residue) / 8191`.
#[must_use]
pub fn textseal_residue(input: u64, key: i64) -> u16 {
    let keyed = input.wrapping_add(key.cast_unsigned().wrapping_mul(KEY_PRIME));
    let hash = keyed.wrapping_mul(15_485_863).wrapping_mul(40_499).cast_signed();
    let residue = (hash ^ hash >> 13).rem_euclid(i64::from(MODULUS));
    #[expect(clippy::cast_sign_loss, reason = "a Euclidean remainder modulo 8191")]
    let residue = residue as u16;
    residue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residues_of_textseal() {
        assert_eq!(textseal_residue(textseal_input(&[1, 2], 3), 42), 2796);
        assert_eq!(textseal_residue(textseal_input(&[1, 2], 100_000), 42), 183);
        assert_eq!(textseal_residue(textseal_input(&[1, 2], 3), 1234), 935);
    }

    #[cfg(feature = "detect")]
    #[test]
    fn a_round_is_another_token() {
        let window = [7; 10];
        for (version, stride) in [(TextSealVersion::December2025, 1), (TextSealVersion::Year2026, 659_101)] {
            let rounds: Vec<u64> = version.rounds(textseal_input(&window, 5), 30).collect();
            let tokens: Vec<u64> = (0..30).map(|round| textseal_input(&window, 5 + stride * round)).collect();
            assert_eq!(rounds, tokens);
        }
    }

    #[test]
    fn residues_are_below_8191_for_keys_of_both_signs() {
        for key in [i64::MIN, -1, 0, i64::MAX] {
            for token in 0..2000 {
                assert!(textseal_residue(textseal_input(&[u32::MAX; 10], token), key) < 8191);
            }
        }
    }
}
