//! vLLM's Gumbel watermark since 0.30, single and dual key.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::MAX_CONTEXT_WIDTH;
use crate::engine::format::{Algorithm, EngineMarking, Format};
#[cfg(feature = "detect")]
use crate::engine::format::{KeyedEngine, Once, PeerNumber};
use crate::engine::key::DECIMAL;
#[cfg(feature = "detect")]
use crate::engine::peer;
use crate::engine::philox::{halves, philox4x32_10};
use crate::engine::{Engine, EngineKey, EngineScore};
#[cfg(feature = "detect")]
use crate::prf::{Pair, Position, RuleId};
use crate::scheme::{Gumbel, GumbelDualKey};

pub(super) const VLLM: Format = Format {
    name: "vllm",
    in_profiles: None,
    key: DECIMAL,
    algorithms: &[Algorithm::Gumbel],
    width: (4, MAX_CONTEXT_WIDTH),
    permutes_vocabulary: false,
    torch_generator: false,
    slow: false,
    examples: &[("gumbel", None)],
    null_law: Engine::uniform_law,
    marking: Some(|engine, key| Arc::new(Vllm::new(*engine, key))),
    #[cfg(feature = "detect")]
    keyed: |engine, key| Ok(Arc::new(Vllm::new(engine, key))),
};

/// The command line has a name for each of the two algorithms; profiles name them as vLLM does.
pub(super) const VLLM_DUAL: Format = Format {
    name: "vllm-dual",
    in_profiles: Some(("vllm", &["gumbel_dual_key", "dual_key_gumbel"])),
    algorithms: &[Algorithm::DualKey { alpha: 0.1 }],
    examples: &[("gumbel_dual_key", None)],
    ..VLLM
};

/// What vLLM writes for a context token that does not exist yet, -1.
const PAD: u32 = u32::MAX;

/// The engine under its key; `b` is the second of two keys.
#[derive(Debug)]
struct Vllm {
    engine: Engine,
    a: VllmPhilox,
    b: Option<(GumbelDualKey, VllmPhilox)>,
}

impl Vllm {
    fn new(engine: Engine, key: &EngineKey) -> Self {
        let EngineScore::DualKey(scheme) = engine.score else {
            return Self { engine, a: VllmPhilox::new(key.first()), b: None };
        };
        let (a, b) = vllm_dual_keys(key.first());
        Self { engine, a: VllmPhilox::new(a), b: Some((scheme, VllmPhilox::new(b))) }
    }
}

/// vLLM's uniform variable, `((word >> 8) + 1) / (2^24 + 1)` rounded to single precision.
fn uniform(word: u32) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "as the peer does")]
    let u = (f64::from((word >> 8) + 1) / 16_777_217.0) as f32;
    f64::from(u)
}

impl EngineMarking for Vllm {
    fn context(&self, generated: &[u32]) -> Option<[u32; MAX_CONTEXT_WIDTH]> {
        let width = self.engine.width;
        let mut context = [0; MAX_CONTEXT_WIDTH];
        let known = generated.len().min(width);
        context[..width].fill(PAD);
        context[width - known..width].copy_from_slice(&generated[generated.len() - known..]);
        Some(context)
    }

    fn dual_key(&self) -> Option<GumbelDualKey> {
        self.b.as_ref().map(|&(scheme, _)| scheme)
    }

    fn words(&self, context: &[u32; MAX_CONTEXT_WIDTH], second: bool, ids: &[u32], words: &mut Vec<u32>) {
        let prf = self.b.as_ref().filter(|_| second).map_or(&self.a, |(_, b)| b);
        let state = prf.state(&context[..self.engine.width]);
        words.clear();
        words.extend(ids.iter().map(|&id| prf.word_at(state, id)));
    }

    fn choose(&self, logits: &[f32], words: &[u32]) -> Option<usize> {
        Gumbel::choose_with(logits, words, uniform)
    }
}

#[cfg(feature = "detect")]
impl KeyedEngine for Vllm {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn rule_id(&self) -> RuleId {
        RuleId { kind: 1, width: self.engine.width, key_tag: 0 }
    }

    /// Contexts are generated tokens and reach before the first of them, where -1 stands.
    fn positions(&self, _prompt: &[u32], special: &[u32], tokens: &[u32]) -> Vec<Position> {
        let mut window = vec![PAD; self.engine.width];
        let position = |&token: &u32| {
            let is_special = special.binary_search(&token).is_ok();
            let position = if is_special { Position::Excluded } else { Position::Input(Pair::new(&window, token)) };
            window.rotate_left(1);
            if let Some(last) = window.last_mut() {
                *last = token;
            }
            position
        };
        tokens.iter().map(position).collect()
    }

    fn scores(&self, pairs: &[Pair]) -> Vec<u64> {
        let width = self.engine.width;
        let q32 = |prf: &VllmPhilox, pair: &Pair| score_q32(prf.word(pair.context(width), pair.token()));
        let score = |pair: &Pair| match &self.b {
            Some((scheme, b)) => scheme.mix_q32(q32(&self.a, pair), q32(b, pair)),
            None => q32(&self.a, pair),
        };
        pairs.iter().map(score).collect()
    }

    fn peer_scores_once(&self) -> Once {
        Once::Context
    }

    fn peer_positions(&self, prompt: &[u32], tokens: &[u32]) -> Vec<(Pair, Pair)> {
        peer::inputs(self.positions(prompt, &[], tokens))
    }

    fn peer_sum(&self, pairs: &[Pair]) -> f64 {
        let width = self.engine.width;
        let score = |prf: &VllmPhilox, pair: &Pair| -libm::log1p(-uniform(prf.word(pair.context(width), pair.token())));
        match &self.b {
            Some((scheme, b)) => {
                let alpha = scheme.alpha();
                pairs.iter().map(|pair| (1.0 - alpha) * score(&self.a, pair) + alpha * score(b, pair)).sum()
            }
            None => pairs.iter().map(|pair| score(&self.a, pair)).sum(),
        }
    }

    fn peer_number(&self, n: u64, sum: f64) -> PeerNumber {
        match &self.b {
            Some((scheme, _)) => {
                peer::matched_gamma(*scheme, n, sum, "each context once; Gamma law matched in two moments, not exact")
            }
            None => peer::gamma(n, sum, "each context once; Gamma(n, 1) without a logarithm"),
        }
    }
}

/// vLLM's u has 24 bits: with m = word >> 8 uniform, P(m' >= m) = 1 - m / 2^24 exactly, so this score is never above an
/// exponential variable (vLLM's own, `-ln(1 - u)`, is slightly).
#[cfg(feature = "detect")]
fn score_q32(word: u32) -> u64 {
    Gumbel.score_q32(word & !0xff)
}

/// "WMCX": first word of the state before a context is absorbed.
const CONTEXT_TAG: u32 = 0x574D_4358;

/// "WMTK": combined with the second key word when tokens are drawn.
const TOKEN_TAG: u32 = 0x574D_544B;

/// The PRF `philox4x32-10-v1` of vLLM's Gumbel watermark.
///
/// The context is absorbed four ids at a time into a Philox4x32-10 state; that state, as counter and key, gives four
/// tokens a block. Ids are taken modulo 2^32, so the padding -1 is `u32::MAX`; any width. Words are 32 bits; vLLM
/// reads the upper 24 of them as `u = f32(((word >> 8) + 1) / (2^24 + 1))`.
#[derive(Clone)]
pub struct VllmPhilox {
    key: Zeroizing<u64>,
}

impl VllmPhilox {
    /// The PRF under vLLM's integer `key`.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self { key: Zeroizing::new(key) }
    }

    /// The state of one context, oldest id first, under this key.
    #[must_use]
    pub fn state(&self, context: &[u32]) -> [u32; 4] {
        let [low, high] = halves(*self.key);
        let width = u32::try_from(context.len()).unwrap_or(u32::MAX);
        let mut state = [CONTEXT_TAG, width, 0, 0];
        for (offset, ids) in (0..).step_by(4).zip(context.chunks(4)) {
            let mut block = [u32::MAX, u32::MAX - 1, u32::MAX - 2, u32::MAX - 3];
            block[..ids.len()].copy_from_slice(ids);
            for (word, id) in state.iter_mut().zip(block) {
                *word ^= id;
            }
            state = philox4x32_10(state, [low ^ offset, high]);
        }
        state
    }

    /// The word of `token` after the context that left `state`.
    #[must_use]
    pub fn word_at(&self, state: [u32; 4], token: u32) -> u32 {
        self.four_words(state, token >> 2)[(token & 3) as usize]
    }

    /// The word of `token` after `context`.
    #[must_use]
    pub fn word(&self, context: &[u32], token: u32) -> u32 {
        self.word_at(self.state(context), token)
    }

    /// The words of tokens `0..out.len()` after `context`.
    pub fn vocabulary_words(&self, context: &[u32], out: &mut [u32]) {
        let state = self.state(context);
        for (quad, words) in (0..).zip(out.chunks_mut(4)) {
            words.copy_from_slice(&self.four_words(state, quad)[..words.len()]);
        }
    }

    fn four_words(&self, state: [u32; 4], quad: u32) -> [u32; 4] {
        let [low, high] = halves(*self.key);
        philox4x32_10([quad, state[0], state[1], state[2]], [low ^ state[3], high ^ TOKEN_TAG])
    }
}

impl fmt::Debug for VllmPhilox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VllmPhilox(..)")
    }
}

/// The keys A and B of vLLM's two-key watermark: the first eight bytes, big-endian, of
/// `SHA-256("key_a" || key)` and `SHA-256("key_b" || key)` with `key` as eight big-endian bytes.
#[must_use]
pub fn vllm_dual_keys(key: u64) -> (u64, u64) {
    let derive = |label: &[u8]| {
        let digest = Sha256::new().chain_update(label).chain_update(key.to_be_bytes()).finalize();
        digest[..8].iter().fold(0, |key, &byte| key << 8 | u64::from(byte))
    };
    (derive(b"key_a"), derive(b"key_b"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_vllm() {
        let prf = VllmPhilox::new(42);
        let words = |context: &[u32]| [0, 1, 7, 128_255].map(|token| prf.word(context, token));
        assert_eq!(words(&[1, 2, 3, 4]), [2_302_563_325, 2_981_062_672, 425_429_266, 1_146_886_270]);
        assert_eq!(words(&[u32::MAX; 4]), [4_197_411_589, 28_483_919, 3_152_641_195, 3_325_942_410]);
        assert_eq!(words(&[7]), [1_606_770_613, 2_697_013_071, 2_556_154_021, 3_265_890_438]);
        assert_eq!(words(&[5, 6, 7, 8, 9]), [3_645_307_248, 749_269_528, 2_490_957_113, 611_213_077]);
        assert_eq!(vllm_dual_keys(42).0, 37_150_756_557_148_556);
    }

    #[test]
    fn a_sweep_gives_the_words_one_by_one() {
        let prf = VllmPhilox::new(u64::MAX - 5);
        for width in 0..10 {
            let context: Vec<u32> = (0..width).collect();
            let mut sweep = [0; 23];
            prf.vocabulary_words(&context, &mut sweep);
            for (token, word) in (0..).zip(sweep) {
                assert_eq!(word, prf.word(&context, token));
            }
        }
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", VllmPhilox::new(42)), "VllmPhilox(..)");
    }
}
