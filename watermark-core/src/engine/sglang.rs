//! SGLang's Gumbel watermark since 0.5.23, single key.

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "detect")]
use hashbrown::HashSet;
use zeroize::Zeroizing;

use crate::engine::format::{Algorithm, EngineMarking, Format};
#[cfg(feature = "detect")]
use crate::engine::format::{KeyedEngine, Once, PeerNumber};
use crate::engine::key::KeyForm;
#[cfg(feature = "detect")]
use crate::engine::peer;
use crate::engine::{Engine, EngineKey};
#[cfg(feature = "detect")]
use crate::prf::{Pair, Position, RuleId};
use crate::scheme::Gumbel;
use crate::{MAX_CONTEXT_WIDTH, hex};

pub(super) const SGLANG: Format = Format {
    name: "sglang",
    in_profiles: None,
    key: KeyForm {
        is: "1 to 16 hexadecimal digits",
        help: "sglang: hexadecimal",
        one_a_layer: false,
        parse: |text| parse_hex(text).map(|key| vec![*key]),
        print: |keys| keys.iter().map(|key| format!("{key:x}")).collect(),
    },
    algorithms: &[Algorithm::Gumbel],
    width: (4, 64),
    permutes_vocabulary: false,
    torch_generator: false,
    slow: false,
    examples: &[("gumbel", None)],
    null_law: Engine::uniform_law,
    marking: Some(|engine, key| Arc::new(Sglang::new(*engine, key))),
    #[cfg(feature = "detect")]
    keyed: |engine, key| Ok(Arc::new(Sglang::new(engine, key))),
};

/// How many different contexts SGLang marks in a request.
const MAX_CONTEXTS: usize = 4096;

/// Decodes in constant time.
fn parse_hex(key: &str) -> Option<Zeroizing<u64>> {
    let mut digits = Zeroizing::new([b'0'; 16]);
    let start = digits.len().checked_sub(key.len()).filter(|&start| start < 16)?;
    digits[start..].copy_from_slice(key.as_bytes());
    let mut bytes = Zeroizing::new([0; 8]);
    hex::decode_any_case(digits.as_slice(), bytes.as_mut_slice())?;
    Some(Zeroizing::new(u64::from_be_bytes(*bytes)))
}

/// The engine under its key.
#[derive(Debug)]
struct Sglang {
    engine: Engine,
    prf: SglangMurmur,
}

impl Sglang {
    fn new(engine: Engine, key: &EngineKey) -> Self {
        Self { engine, prf: SglangMurmur::new(key.first()) }
    }
}

impl EngineMarking for Sglang {
    fn max_contexts(&self) -> usize {
        MAX_CONTEXTS
    }

    /// Prompt tokens are context too, but a session does not see them: marks begin `width` tokens later.
    fn context(&self, generated: &[u32]) -> Option<[u32; MAX_CONTEXT_WIDTH]> {
        let start = generated.len().checked_sub(self.engine.width)?;
        let mut context = [0; MAX_CONTEXT_WIDTH];
        context[0] = sglang_context_hash(&generated[start..]);
        Some(context)
    }

    fn words(&self, context: &[u32; MAX_CONTEXT_WIDTH], _second: bool, ids: &[u32], words: &mut Vec<u32>) {
        words.clear();
        words.extend(ids.iter().map(|&id| self.prf.word(context[0], id)));
    }

    fn choose(&self, logits: &[f32], words: &[u32]) -> Option<usize> {
        Gumbel::choose(logits, words)
    }
}

#[cfg(feature = "detect")]
impl KeyedEngine for Sglang {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn rule_id(&self) -> RuleId {
        RuleId { kind: 2, width: self.engine.width, key_tag: 0 }
    }

    /// Nothing but the hash of a context reaches the PRF.
    fn input(&self, window: &[u32], token: u32) -> Option<Pair> {
        Some(Pair::new(&[sglang_context_hash(window)], token))
    }

    /// Contexts include the prompt, and only the first 4,096 of a record are marked.
    fn positions(&self, prompt: &[u32], special: &[u32], tokens: &[u32]) -> Vec<Position> {
        let all: Vec<u32> = prompt.iter().chain(tokens).copied().collect();
        let mut contexts = HashSet::new();
        let position = |i: usize| {
            let Some(start) = i.checked_sub(self.engine.width) else { return Position::ShortContext };
            let hash = sglang_context_hash(&all[start..i]);
            let marked = contexts.contains(&hash) || contexts.len() < MAX_CONTEXTS;
            if marked {
                contexts.insert(hash);
            }
            if !marked || special.binary_search(&all[i]).is_ok() {
                return Position::Excluded;
            }
            Position::Input(Pair::new(&[hash], all[i]))
        };
        (prompt.len()..all.len()).map(position).collect()
    }

    fn packing(&self) -> (usize, u32) {
        (1, 32)
    }

    fn scores(&self, pairs: &[Pair]) -> Vec<u64> {
        pairs.iter().map(|pair| Gumbel.score_q32(self.prf.word(pair.context(1)[0], pair.token()))).collect()
    }

    fn peer_scores_once(&self) -> Once {
        Once::Context
    }

    fn peer_positions(&self, prompt: &[u32], tokens: &[u32]) -> Vec<(Pair, Pair)> {
        peer::inputs(self.positions(prompt, &[], tokens))
    }

    fn peer_sum(&self, pairs: &[Pair]) -> f64 {
        let words = pairs.iter().map(|pair| f64::from(self.prf.word(pair.context(1)[0], pair.token())));
        words.map(|word| -libm::log1p(-(word + 0.5) / crate::scheme::TWO_32)).sum()
    }

    fn peer_number(&self, n: u64, sum: f64) -> PeerNumber {
        peer::gamma(n, sum, "each context once; Gamma(n, 1)")
    }
}

/// The PRF of SGLang's Gumbel watermark: MurmurHash3-x86-32, seed 0, over 32-bit words.
///
/// A context counts only through its own 32-bit hash ([`sglang_context_hash`]). SGLang reads a word as
/// `u = (word + 1/2) / 2^32`.
#[derive(Clone)]
pub struct SglangMurmur {
    key: Zeroizing<u64>,
}

impl SglangMurmur {
    /// The PRF under a 64-bit key.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self { key: Zeroizing::new(key) }
    }

    /// The word of `token` after the context with this hash.
    #[must_use]
    pub fn word(&self, context_hash: u32, token: u32) -> u32 {
        let [low, high] = self.halves();
        murmur3([low, high, context_hash, token])
    }

    /// The words of tokens `0..out.len()` after the context with this hash.
    pub fn vocabulary_words(&self, context_hash: u32, out: &mut [u32]) {
        let [low, high] = self.halves();
        let prefix = mix(mix(mix(0, low), high), context_hash);
        for (token, word) in (0..).zip(out) {
            *word = finish(mix(prefix, token), 4);
        }
    }

    fn halves(&self) -> [u32; 2] {
        [*self.key as u32, (*self.key >> 32) as u32]
    }
}

impl fmt::Debug for SglangMurmur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SglangMurmur(..)")
    }
}

/// The hash of the last ids before a token (prompt included), oldest first.
#[must_use]
pub fn sglang_context_hash(ids: &[u32]) -> u32 {
    murmur3(ids.iter().copied())
}

/// The coin of a context under two keys: SGLang takes key `a` if it is below `floor(mix * 2^32)`, else `b`.
#[must_use]
pub fn sglang_coin(a: &SglangMurmur, b: &SglangMurmur, context_hash: u32) -> u32 {
    let ([a_low, a_high], [b_low, b_high]) = (a.halves(), b.halves());
    murmur3([a_low, a_high, b_low, b_high, context_hash])
}

/// MurmurHash3-x86-32 (Appleby) with seed 0 over the little-endian bytes of `words`.
fn murmur3(words: impl IntoIterator<Item = u32>) -> u32 {
    let (hash, n) = words.into_iter().fold((0, 0), |(hash, n): (u32, u32), word| (mix(hash, word), n.wrapping_add(1)));
    finish(hash, n)
}

fn mix(hash: u32, word: u32) -> u32 {
    let scrambled = word.wrapping_mul(0xCC9E_2D51).rotate_left(15).wrapping_mul(0x1B87_3593);
    (hash ^ scrambled).rotate_left(13).wrapping_mul(5).wrapping_add(0xE654_6B64)
}

fn finish(hash: u32, words: u32) -> u32 {
    let hash = hash ^ words.wrapping_mul(4);
    let hash = (hash ^ hash >> 16).wrapping_mul(0x85EB_CA6B);
    let hash = (hash ^ hash >> 13).wrapping_mul(0xC2B2_AE35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::ErrorKind;
    use crate::engine::EngineOptions;

    #[test]
    fn murmur_known_answers() {
        assert_eq!(murmur3([]), 0);
        assert_eq!(murmur3([0]), 0x2362_F9DE);
        assert_eq!(murmur3([u32::MAX]), 0x7629_3B50);
        assert_eq!(murmur3([u32::from_le_bytes(*b"test")]), 0xBA6B_D213);
    }

    #[test]
    fn words_of_sglang() {
        let prf = SglangMurmur::new(0x2a);
        let context = sglang_context_hash(&[1, 2, 3, 4]);
        assert_eq!(context, 1_145_416_960);
        assert_eq!(prf.word(context, 7), 2_531_167_527);
        assert_eq!(sglang_coin(&prf, &SglangMurmur::new(0x2b), context), 185_428_782);
        let mut sweep = [0; 50];
        SglangMurmur::new(0x0123_4567_89ab_cdef).vocabulary_words(context, &mut sweep);
        assert_eq!(sweep[42], 0x467f_4d5b);
        assert_eq!(sweep[41], SglangMurmur::new(0x0123_4567_89ab_cdef).word(context, 41));
    }

    #[test]
    fn a_malformed_key_is_refused_and_not_repeated() {
        let engine = Engine::new("sglang", &EngineOptions::default()).unwrap();
        for (text, key) in [("2a", 42), ("2B", 43), ("0123456789abcdef", 0x0123_4567_89ab_cdef)] {
            assert_eq!(EngineKey::parse(&engine, text).unwrap().first(), key);
        }
        for text in ["", "0x2a", "+2a", "2g", "é", "0123456789abcdef0"] {
            let error = EngineKey::parse(&engine, text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{text}");
            assert_eq!(error.to_string(), "a key of sglang is 1 to 16 hexadecimal digits");
        }
        assert_eq!(format!("{:?}", SglangMurmur::new(42)), "SglangMurmur(..)");
    }
}
