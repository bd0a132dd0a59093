//! SynthID's tournament, as DeepMind and as Hugging Face serve it.

use std::fmt;
#[cfg(feature = "detect")]
use std::sync::Arc;

#[cfg(feature = "detect")]
use hashbrown::HashSet;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

#[cfg(feature = "detect")]
use crate::engine::EngineKey;
use crate::engine::format::{Algorithm, Format};
#[cfg(feature = "detect")]
use crate::engine::format::{KeyedEngine, Once, PeerNumber};
use crate::engine::key::{KeyForm, decimals, integer};
use crate::engine::{Engine, EngineScore, Mt19937};
#[cfg(feature = "detect")]
use crate::prf::{Pair, RuleId};
use crate::scheme::{MAX_DEPTH, NullLaw};
use crate::{Error, ErrorKind, MAX_CONTEXT_WIDTH, Result};

pub(super) const DEEPMIND: Format = Format {
    name: "synthid-deepmind",
    in_profiles: None,
    key: KeyForm {
        is: "1 to 30 integers with commas between them",
        help: "synthid: integers with commas",
        one_a_layer: true,
        parse: |text| {
            // A list out of a configuration has brackets and spaces.
            let list = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
            let keys: Vec<u64> = list.split(',').map(integer).collect::<Option<_>>()?;
            (keys.len() <= MAX_DEPTH as usize).then_some(keys)
        },
        print: decimals,
    },
    algorithms: &[Algorithm::Tournament { depth: MAX_DEPTH }],
    width: (4, MAX_CONTEXT_WIDTH),
    permutes_vocabulary: false,
    torch_generator: false,
    slow: false,
    examples: &[("tournament", None)],
    null_law: Engine::uniform_law,
    marking: None,
    #[cfg(feature = "detect")]
    keyed: |engine, key| {
        let (engine, layers, keys) = layers(engine, key, u64::MAX)?;
        Ok(Arc::new(DeepMind { engine, layers, prf: SynthIdDeepMind::new(&keys)? }))
    },
};

/// As served on a CPU, where the sampling table comes from the CPU's generator.
pub(super) const HF: Format = Format {
    name: "hf-synthid",
    torch_generator: true,
    null_law: |engine| match engine.score {
        EngineScore::Tournament { depth } => NullLaw::Bits { gamma: HF_ONES, trials: depth },
        _ => engine.uniform_law(),
    },
    #[cfg(feature = "detect")]
    keyed: |engine, key| {
        // Keys count modulo 2^16.
        let (engine, layers, keys) = layers(engine, key, 0xffff)?;
        Ok(Arc::new(HuggingFace { engine, layers, prf: SynthIdHf::new(&keys)? }))
    },
    ..DEEPMIND
};

/// Share of ones in the sampling table of Hugging Face's SynthID (`torch.randint` of 65,536 bits, CPU seed 0).
const HF_ONES: f64 = 32_743.0 / 65_536.0;

/// Leaves out layers whose key repeats that of another, because their bits repeat too and are no further draws; only
/// the bits of `relevant` tell keys apart. Returns the engine with the layers that are left, their mask, and the keys.
#[cfg(feature = "detect")]
fn layers(engine: Engine, key: &EngineKey, relevant: u64) -> Result<(Engine, u32, Zeroizing<Vec<i64>>)> {
    let keys = key.values();
    if let EngineScore::Tournament { depth } = engine.score
        && keys.len() != depth as usize
    {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("{} has one key a layer: {} keys for depth {depth}", engine.name(), keys.len()),
        ));
    }
    let mut seen = HashSet::new();
    let layers = (0u32..).zip(keys).filter(|&(_, key)| seen.insert(key & relevant));
    let mask: u32 = layers.fold(0, |mask, (layer, _)| mask | 1 << layer);
    let engine = Engine { score: EngineScore::Tournament { depth: mask.count_ones() }, ..engine };
    Ok((engine, mask, Zeroizing::new(keys.iter().map(|key| key.cast_signed()).collect())))
}

#[cfg(feature = "detect")]
fn ones(bits: u32) -> u64 {
    u64::from(bits.count_ones())
}

/// Neither version has a p-value.
#[cfg(feature = "detect")]
fn mean_g_value(engine: &Engine, n: u64, sum: f64) -> PeerNumber {
    let statistic = match engine.score {
        EngineScore::Tournament { depth } if n > 0 => sum / (n as f64 * f64::from(depth)),
        _ => 0.0,
    };
    PeerNumber { statistic, p_value: None, rule: "each context once; mean g-value, no p-value" }
}

/// DeepMind's code under its keys.
#[cfg(feature = "detect")]
#[derive(Debug)]
struct DeepMind {
    engine: Engine,
    layers: u32,
    prf: SynthIdDeepMind,
}

#[cfg(feature = "detect")]
impl KeyedEngine for DeepMind {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn rule_id(&self) -> RuleId {
        RuleId { kind: 7, width: self.engine.width, key_tag: 0 }
    }

    fn input(&self, window: &[u32], token: u32) -> Option<Pair> {
        Some(Pair::from_number(SynthIdDeepMind::input(window, token)))
    }

    fn packing(&self) -> (usize, u32) {
        (2, 32)
    }

    fn keeps_token(&self) -> bool {
        false
    }

    fn scores(&self, pairs: &[Pair]) -> Vec<u64> {
        pairs.iter().map(|pair| ones(self.prf.bits_at(pair.number(), self.engine.width) & self.layers)).collect()
    }

    fn peer_scores_once(&self) -> Once {
        Once::Context
    }

    fn peer_number(&self, n: u64, sum: f64) -> PeerNumber {
        mean_g_value(&self.engine, n, sum)
    }
}

/// Hugging Face's code under its keys.
#[cfg(feature = "detect")]
#[derive(Debug)]
struct HuggingFace {
    engine: Engine,
    layers: u32,
    prf: SynthIdHf,
}

#[cfg(feature = "detect")]
impl KeyedEngine for HuggingFace {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn rule_id(&self) -> RuleId {
        RuleId { kind: 4, width: self.engine.width, key_tag: 0 }
    }

    /// The values depend on 16 bits of a hash and on nothing else.
    fn input(&self, window: &[u32], token: u32) -> Option<Pair> {
        Some(Pair::new(&[], u32::from(self.prf.input(window, token))))
    }

    fn packing(&self) -> (usize, u32) {
        (0, 32)
    }

    fn keeps_token(&self) -> bool {
        false
    }

    fn scores(&self, pairs: &[Pair]) -> Vec<u64> {
        #[expect(clippy::cast_possible_truncation, reason = "inputs have 16 bits")]
        let index = |pair: &Pair| pair.token() as u16;
        pairs.iter().map(|pair| ones(self.prf.bits_at(index(pair)) & self.layers)).collect()
    }

    fn peer_scores_once(&self) -> Once {
        Once::Context
    }

    fn peer_number(&self, n: u64, sum: f64) -> PeerNumber {
        mean_g_value(&self.engine, n, sum)
    }
}

/// Multiplier of the linear congruential hash (Knuth's MMIX).
const MULTIPLIER: i64 = 6_364_136_223_846_793_005;

/// Entries of Hugging Face's sampling table.
const TABLE: u32 = 1 << 16;

/// The g-values of SynthID in DeepMind's own code since 13 June 2025 (commit 32197c3).
///
/// All integers are signed 64-bit and wrap. A hash starts at the SHA-256 of the keys (eight little-endian bytes each)
/// read big-endian and reduced modulo 2^63 - 1; it absorbs the context ids, the token and then, once for every layer,
/// that layer's key; twelve rounds finish it, and bit 30 is the layer's g-value.
#[derive(Clone)]
pub struct SynthIdDeepMind {
    keys: Zeroizing<Vec<i64>>,
    start: Zeroizing<i64>,
}

impl SynthIdDeepMind {
    /// The PRF of 1 to 30 layers, a key each.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for another number of keys.
    pub fn new(keys: &[i64]) -> Result<Self> {
        check_layers(keys)?;
        let digest = keys.iter().fold(Sha256::new(), |hash, key| hash.chain_update(key.to_le_bytes())).finalize();
        let modulus = i64::MAX.cast_unsigned();
        let start = digest.iter().fold(0, |value, &byte| {
            let value = (u128::from(value) << 8 | u128::from(byte)) % u128::from(modulus);
            value as u64
        });
        Ok(Self { keys: Zeroizing::new(keys.to_vec()), start: Zeroizing::new(start.cast_signed()) })
    }

    /// The PRF input of `token` after `context`, oldest id first: the hash is linear in its start and its ids modulo 2^64, so
    /// what the ids add to it is all that it knows of them, and pairs of the same sum have the same g-values under every key.
    #[must_use]
    pub fn input(context: &[u32], token: u32) -> u64 {
        absorb_ids(0, context, token).cast_unsigned()
    }

    /// The g-values of `token` after `context`, oldest id first: bit `l` is layer `l`.
    #[must_use]
    pub fn bits(&self, context: &[u32], token: u32) -> u32 {
        self.bits_at(Self::input(context, token), context.len())
    }

    /// The g-values of an input that came from `width` context ids.
    #[must_use]
    pub fn bits_at(&self, input: u64, width: usize) -> u32 {
        let start = (0..=width).fold(*self.start, |start, _| start.wrapping_mul(MULTIPLIER));
        let hash = start.wrapping_add(input.cast_signed());
        let mut hashes = [0; 32];
        for (hash_of_layer, &key) in hashes.iter_mut().zip(self.keys.iter()) {
            *hash_of_layer = absorb(hash, key);
        }
        let hashes = &mut hashes[..self.keys.len()];
        for _ in 0..12 {
            for hash in &mut *hashes {
                *hash = absorb(*hash, 1) >> 5;
            }
        }
        collect_bits(hashes.iter().map(|hash| hash >> 30 & 1 == 1))
    }
}

impl fmt::Debug for SynthIdDeepMind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SynthIdDeepMind").field("layers", &self.keys.len()).finish_non_exhaustive()
    }
}

/// The g-values of SynthID in Hugging Face `transformers` (and in what follows it), on a CPU, with its default
/// sampling table: `torch.randint(0, 2, (65536,))` of seed 0.
///
/// The table is indexed with the low 16 bits of a linear congruential hash, so only the low 16 bits of ids, keys and
/// hashes matter: a token's g-values in all layers depend on one of 2^16 inputs ([`Self::input`]).
#[derive(Clone)]
pub struct SynthIdHf {
    keys: Zeroizing<Vec<u16>>,
    table: Vec<u32>,
}

impl SynthIdHf {
    /// The PRF of 1 to 30 layers, a key each.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for another number of keys.
    pub fn new(keys: &[i64]) -> Result<Self> {
        check_layers(keys)?;
        let mut draws = Mt19937::new(0);
        let table = (0..TABLE / 32).map(|_| collect_bits((0..32).map(|_| draws.next_u32() & 1 == 1))).collect();
        let keys = keys.iter().map(|key| key.cast_unsigned() as u16).collect();
        Ok(Self { keys: Zeroizing::new(keys), table })
    }

    /// The PRF input of `token` after `context`, oldest id first: pairs of the same input have the same g-values.
    #[must_use]
    pub fn input(&self, context: &[u32], token: u32) -> u16 {
        absorb_ids(1, context, token).cast_unsigned() as u16
    }

    /// The g-values of an input: bit `l` is layer `l`.
    #[must_use]
    pub fn bits_at(&self, input: u16) -> u32 {
        collect_bits(self.keys.iter().map(|&key| self.entry(absorb(input.into(), key.into()).cast_unsigned() as u16)))
    }

    /// The g-values of `token` after `context`, oldest id first: bit `l` is layer `l`.
    #[must_use]
    pub fn bits(&self, context: &[u32], token: u32) -> u32 {
        self.bits_at(self.input(context, token))
    }

    /// The share of ones among the entries of the sampling table: the chance of a g-value of 1 for a random input.
    #[must_use]
    pub fn ones_share(&self) -> f64 {
        let ones: u32 = self.table.iter().map(|word| word.count_ones()).sum();
        f64::from(ones) / f64::from(TABLE)
    }

    fn entry(&self, index: u16) -> bool {
        self.table[usize::from(index >> 5)] >> (index & 31) & 1 == 1
    }
}

impl fmt::Debug for SynthIdHf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SynthIdHf").field("layers", &self.keys.len()).finish_non_exhaustive()
    }
}

fn check_layers(keys: &[i64]) -> Result<()> {
    if (1..=MAX_DEPTH as usize).contains(&keys.len()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidParameter, format!("SynthID has 1 to {MAX_DEPTH} layer keys, not {}", keys.len())))
}

/// One step of the linear congruential hash.
fn absorb(hash: i64, datum: i64) -> i64 {
    hash.wrapping_add(datum).wrapping_mul(MULTIPLIER).wrapping_add(1)
}

fn absorb_ids(start: i64, context: &[u32], token: u32) -> i64 {
    context.iter().chain([&token]).fold(start, |hash, &id| absorb(hash, id.into()))
}

/// Bit `i` is item `i`, for at most 32 items.
fn collect_bits(bits: impl Iterator<Item = bool>) -> u32 {
    (0..).zip(bits).fold(0, |word, (i, bit): (u32, bool)| word | u32::from(bit) << i)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::engine::EngineOptions;

    const KEYS: [i64; 4] = [654, 400, 836, 123];

    #[test]
    fn a_list_out_of_a_configuration_is_a_key() {
        let engine = Engine::new("hf-synthid", &EngineOptions::default()).unwrap();
        let print = |text| EngineKey::parse(&engine, text).map(|key| key.print(&engine).to_string());
        for text in ["654,400,836", "[654, 400, 836]", " [654,400, 836 ] "] {
            assert_eq!(print(text).unwrap(), "654,400,836");
        }
        for text in ["[654, 400", "654]", "[]", "[[654]]"] {
            assert!(print(text).is_err(), "{text}");
        }
    }

    #[test]
    fn g_values_of_deepmind() {
        let prf = SynthIdDeepMind::new(&KEYS).unwrap();
        assert_eq!(*prf.start, 8_697_477_082_750_937_784);
        assert_eq!(prf.bits(&[1, 2, 3, 4], 5), 0b0011);
    }

    #[test]
    fn g_values_of_hugging_face() {
        let prf = SynthIdHf::new(&KEYS).unwrap();
        let first: String = (0..32).map(|i| if prf.entry(i) { '1' } else { '0' }).collect();
        assert_eq!(first, "01101111111001000001011001111010");
        assert_eq!(prf.bits(&[1, 2, 3, 4], 5), 0b0100);
        let hash = absorb_ids(1, &[1, 2, 3, 4], 5);
        assert_eq!(absorb(hash, 654), -5_937_484_272_499_508_848);
        assert_eq!(absorb(hash, 400), 885_393_356_855_610_090);
    }

    #[test]
    fn only_sixteen_bits_count_for_hugging_face() {
        let prf = SynthIdHf::new(&KEYS).unwrap();
        let same = SynthIdHf::new(&KEYS.map(|key| key - (5 << 16))).unwrap();
        for token in 0..500 {
            let bits = prf.bits(&[9, 8, 7, 6], token);
            assert_eq!(prf.bits(&[9, 8, 7, 6 + (3 << 16)], token + (1 << 16)), bits);
            assert_eq!(same.bits(&[9, 8, 7, 6], token), bits);
            assert!(bits < 16);
        }
        #[expect(clippy::float_cmp, reason = "an exact dyadic fraction; the count is PyTorch's")]
        {
            assert_eq!(prf.ones_share(), 32_743.0 / 65_536.0);
        }
    }

    #[test]
    fn a_wrong_number_of_keys_is_refused() {
        for n in [0, 31] {
            assert_eq!(SynthIdDeepMind::new(&vec![1; n]).unwrap_err().kind(), ErrorKind::InvalidParameter);
            assert_eq!(SynthIdHf::new(&vec![1; n]).unwrap_err().kind(), ErrorKind::InvalidParameter);
        }
        assert_eq!(format!("{:?}", SynthIdHf::new(&[7; 30]).unwrap()), "SynthIdHf { layers: 30, .. }");
        assert_eq!(format!("{:?}", SynthIdDeepMind::new(&[7]).unwrap()), "SynthIdDeepMind { layers: 1, .. }");
    }
}
