use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use zeroize::Zeroizing;

use super::Pair;
use super::rule::Rule;
use crate::prf::{
    HfSelfHash, SglangMurmur, SynthIdDeepMind, SynthIdHf, VllmPhilox, hf_left_hash_seed, textseal_input,
    textseal_residue, three_bricks_seed, torch_in_prefix, torch_rand24, vllm_dual_keys,
};
use crate::scheme::{Engine, EngineKey, EngineScore, Gumbel, Peer, TEXTSEAL_MODULUS, TWO_32, vllm_uniform};
use crate::{Error, ErrorKind, Result};

/// TextSeal's second key, from its configuration class.
const TEXTSEAL_KEY_B: i64 = 12_345;
/// How far TextSeal's rounds are apart since 2026; before it was 1.
const TEXTSEAL_STRIDE_2026: u64 = 659_101;

/// An engine's functions under its key.
#[derive(Clone, Debug)]
pub(crate) struct EnginePrf {
    engine: Engine,
    keyed: Keyed,
    /// Tournament layers that count: those whose key no earlier one has.
    layers: u32,
}

#[derive(Clone, Debug)]
enum Keyed {
    Vllm { a: VllmPhilox, b: Option<VllmPhilox> },
    Sglang(SglangMurmur),
    TextSeal(EngineKey),
    DeepMind(SynthIdDeepMind),
    Hf(Arc<SynthIdHf>),
    LeftHash(EngineKey),
    SelfHash(Arc<HfSelfHash>),
    ThreeBricks(EngineKey),
}

impl EnginePrf {
    pub(crate) fn new(engine: Engine, key: &EngineKey) -> Result<Self> {
        let mut engine = engine;
        let signed = || Zeroizing::new(key.values().iter().map(|key| key.cast_signed()).collect::<Vec<_>>());
        let mut layers = u32::MAX;
        if let (Peer::SynthIdDeepMind | Peer::HfSynthId, EngineScore::Tournament { depth }) =
            (engine.peer, engine.score)
        {
            if key.values().len() != depth as usize {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!("{} has one key a layer: {} keys for depth {depth}", engine.name(), key.values().len()),
                ));
            }
            layers = distinct_layers(engine.peer, key.values());
            engine.score = EngineScore::Tournament { depth: layers.count_ones() };
        }
        let keyed = match engine.peer {
            Peer::Vllm if matches!(engine.score, EngineScore::DualKey(_)) => {
                let (a, b) = vllm_dual_keys(key.first());
                Keyed::Vllm { a: VllmPhilox::new(a), b: Some(VllmPhilox::new(b)) }
            }
            Peer::Vllm => Keyed::Vllm { a: VllmPhilox::new(key.first()), b: None },
            Peer::Sglang => Keyed::Sglang(SglangMurmur::new(key.first())),
            Peer::TextSeal2025 | Peer::TextSeal2026 => Keyed::TextSeal(key.clone()),
            Peer::SynthIdDeepMind => Keyed::DeepMind(SynthIdDeepMind::new(&signed())?),
            Peer::HfSynthId => Keyed::Hf(Arc::new(SynthIdHf::new(&signed())?)),
            Peer::HfKgwLeftHash => Keyed::LeftHash(key.clone()),
            Peer::HfKgwSelfHash => Keyed::SelfHash(Arc::new(HfSelfHash::new(key.first()))),
            Peer::ThreeBricks => Keyed::ThreeBricks(key.clone()),
        };
        Ok(Self { engine, keyed, layers })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn rule(&self) -> Rule {
        let width = self.engine.width;
        match &self.keyed {
            Keyed::Vllm { .. } => Rule::Padded { width },
            Keyed::Sglang(_) => Rule::PromptHash { width },
            Keyed::TextSeal(_) => Rule::Sum { width },
            Keyed::DeepMind(_) => Rule::LinearHash { width },
            Keyed::ThreeBricks(_) => Rule::Generated { width },
            Keyed::Hf(prf) => Rule::TableIndex { width, prf: Arc::clone(prf) },
            Keyed::LeftHash(_) => Rule::LastToken,
            // The window counts the candidate.
            Keyed::SelfHash(seeds) => Rule::SelfHash { width: width - 1, seeds: Arc::clone(seeds) },
        }
    }

    /// Scores of PRF inputs. Shapes: both [n], aligned.
    pub(crate) fn scores(&self, pairs: &[Pair]) -> Vec<u64> {
        let width = self.engine.width;
        match &self.keyed {
            Keyed::Vllm { a, b } => {
                let q32 = |prf: &VllmPhilox, pair: &Pair| vllm_score_q32(prf.word(pair.context(width), pair.token()));
                pairs
                    .iter()
                    .map(|pair| match (b, self.engine.score) {
                        (Some(b), EngineScore::DualKey(scheme)) => scheme.mix_q32(q32(a, pair), q32(b, pair)),
                        _ => q32(a, pair),
                    })
                    .collect()
            }
            Keyed::Sglang(prf) => {
                pairs.iter().map(|pair| Gumbel.score_q32(prf.word(pair.context(1)[0], pair.token()))).collect()
            }
            Keyed::TextSeal(key) => pairs.iter().map(|pair| self.textseal(key, joined(pair))).collect(),
            Keyed::DeepMind(prf) => {
                pairs.iter().map(|pair| ones(prf.bits_at(joined(pair), width) & self.layers)).collect()
            }
            Keyed::Hf(prf) => {
                // The rule keeps indices of 16 bits.
                #[expect(clippy::cast_possible_truncation, reason = "16 bits")]
                let index = |pair: &Pair| pair.token() as u16;
                pairs.iter().map(|pair| ones(prf.bits_at(index(pair)) & self.layers)).collect()
            }
            Keyed::LeftHash(_) | Keyed::SelfHash(_) | Keyed::ThreeBricks(_) => self.permuted(pairs),
        }
    }

    /// The sum of the peer's own scores, in floating point as the peer has them.
    pub(crate) fn peer_score_sum(&self, pairs: &[Pair]) -> f64 {
        let width = self.engine.width;
        let vllm = |prf: &VllmPhilox, pair: &Pair| {
            -libm::log1p(-f64::from(vllm_uniform(prf.word(pair.context(width), pair.token()))))
        };
        match (&self.keyed, self.engine.score) {
            (Keyed::Vllm { a, b: Some(b) }, EngineScore::DualKey(scheme)) => {
                let alpha = scheme.alpha();
                pairs.iter().map(|pair| (1.0 - alpha) * vllm(a, pair) + alpha * vllm(b, pair)).sum()
            }
            (Keyed::Vllm { a, .. }, _) => pairs.iter().map(|pair| vllm(a, pair)).sum(),
            (Keyed::Sglang(prf), _) => pairs
                .iter()
                .map(|pair| f64::from(prf.word(pair.context(1)[0], pair.token())))
                .map(|word| -libm::log1p(-(word + 0.5) / TWO_32))
                .sum(),
            (_, EngineScore::Gumbel | EngineScore::DualKey(_)) => {
                self.scores(pairs).into_iter().map(|score| score as f64 / TWO_32).sum()
            }
            _ => self.scores(pairs).into_iter().map(|score| score as f64).sum(),
        }
    }

    /// Schemes on torch's CPU generator: all tokens of one seed are looked up in one pass over its stream.
    fn permuted(&self, pairs: &[Pair]) -> Vec<u64> {
        let mut by_seed: HashMap<u32, Vec<usize>> = HashMap::new();
        for (at, pair) in pairs.iter().enumerate() {
            by_seed.entry(self.generator_seed(pair).unwrap_or(0)).or_default().push(at);
        }
        let (vocab_size, green) = (self.engine.vocab_size, self.engine.green_tokens());
        let mut scores = vec![0; pairs.len()];
        for (seed, places) in by_seed {
            let tokens: Vec<u32> = places.iter().map(|&at| pairs[at].token()).collect();
            if self.engine.permutes_vocabulary() {
                for (at, green) in places.into_iter().zip(torch_in_prefix(seed, vocab_size, green, &tokens)) {
                    scores[at] = u64::from(green);
                }
            } else {
                for (at, mantissa) in places.into_iter().zip(torch_rand24(seed, &tokens)) {
                    scores[at] = Gumbel.score_q32(mantissa << 8);
                }
            }
        }
        scores
    }

    /// The seed of torch's generator, for schemes on it. Some keys (those with many factors of two) give different contexts
    /// the same seed, so what counts once under a key is (seed, token).
    pub(crate) fn generator_seed(&self, pair: &Pair) -> Option<u32> {
        match &self.keyed {
            Keyed::LeftHash(key) => Some(hf_left_hash_seed(key.first(), pair.context(1)[0])),
            Keyed::SelfHash(_) => Some(pair.context(1)[0]),
            Keyed::ThreeBricks(key) => Some(three_bricks_seed(key.first(), pair.context(self.engine.width))),
            _ => None,
        }
    }

    fn textseal(&self, key: &EngineKey, input: u64) -> u64 {
        let key = key.first().cast_signed();
        let residue = textseal_residue(input, key);
        match self.engine.score {
            EngineScore::Greenlist { gamma } => u64::from(Engine::textseal_green(residue, gamma)),
            EngineScore::Gumbel => textseal_score_q32(residue),
            EngineScore::DualKey(scheme) => {
                let other = textseal_residue(input, key.wrapping_add(TEXTSEAL_KEY_B));
                scheme.mix_q32(textseal_score_q32(residue), textseal_score_q32(other))
            }
            EngineScore::Tournament { depth } => {
                let rounds = textseal_rounds(self.engine.peer, input, depth);
                rounds.map(|round| u64::from(Engine::textseal_green(textseal_residue(round, key), 0.5))).sum()
            }
        }
    }

    /// TextSeal's tournament reads round d of token x as the value of token `x + stride d`, so rounds of different pairs can
    /// be one PRF input, which counts once. (Distinct inputs, ones among them); `None` for every other scheme.
    pub(crate) fn shared_rounds<'a>(&self, pairs: impl Iterator<Item = &'a Pair>) -> Option<(u64, u64)> {
        let (Keyed::TextSeal(key), EngineScore::Tournament { depth }) = (&self.keyed, self.engine.score) else {
            return None;
        };
        let inputs: HashSet<u64> =
            pairs.flat_map(|pair| textseal_rounds(self.engine.peer, joined(pair), depth)).collect();
        let green = |&&input: &&u64| Engine::textseal_green(textseal_residue(input, key.first().cast_signed()), 0.5);
        let ones = inputs.iter().filter(green).count() as u64;
        Some((inputs.len() as u64, ones))
    }
}

fn textseal_rounds(peer: Peer, input: u64, depth: u32) -> impl Iterator<Item = u64> {
    let stride = if peer == Peer::TextSeal2026 { TEXTSEAL_STRIDE_2026 } else { 1 };
    // The sum is linear in the token.
    let step = textseal_input(&[], 1).wrapping_mul(stride);
    (0..depth).map(move |round| input.wrapping_add(step.wrapping_mul(round.into())))
}

/// Layers with a key of their own: a repeated key (Hugging Face's count modulo 2^16) repeats its layer's bits, which are
/// then no further draws.
fn distinct_layers(peer: Peer, keys: &[u64]) -> u32 {
    let relevant = if peer == Peer::HfSynthId { 0xffff } else { u64::MAX };
    let mut seen = HashSet::new();
    let layers = (0u32..).zip(keys).filter(|&(_, key)| seen.insert(key & relevant));
    layers.fold(0, |mask, (layer, _)| mask | 1 << layer)
}

/// vLLM's u has 24 bits: with m = word >> 8 uniform, P(m' >= m) = 1 - m / 2^24 exactly, so this score is never above an
/// exponential variable (vLLM's own, `-ln(1 - u)`, is slightly).
fn vllm_score_q32(word: u32) -> u64 {
    Gumbel.score_q32(word & !0xff)
}

/// `floor(2^32 * -ln(1 - residue / 8191))`, a unit in the 20th bit lower so that rounding never raises it.
fn textseal_score_q32(residue: u16) -> u64 {
    let score = -libm::log1p(-f64::from(residue) / f64::from(TEXTSEAL_MODULUS)) * TWO_32;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= score < 10 * 2^32")]
    let q32 = (score * (1.0 - 1e-12)) as u64;
    q32
}

fn ones(bits: u32) -> u64 {
    u64::from(bits.count_ones())
}

/// The 64 bits that a rule put into the first two context words.
fn joined(pair: &Pair) -> u64 {
    let [low, high] = [pair.context(2)[0], pair.context(2)[1]];
    u64::from(low) | u64::from(high) << 32
}
