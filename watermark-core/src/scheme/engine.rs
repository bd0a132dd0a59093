use zeroize::Zeroizing;

use super::{Entry as _, GumbelDualKey, NullLaw};
use crate::key::PrfKey;
use crate::prf::ChaCha20V1;
use crate::{Error, ErrorKind, MAX_CONTEXT_WIDTH, Result};

/// A mark that another engine or library serves, with its parameters: same key, same words, same choice of context.
///
/// Marking is offered for vLLM and SGLang, whose words depend on integers only; the others can be detected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Engine {
    pub(crate) peer: Peer,
    pub(crate) score: EngineScore,
    pub(crate) width: usize,
    pub(crate) vocab_size: u32,
}

/// Whose algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Vllm,
    Sglang,
    TextSeal2025,
    TextSeal2026,
    SynthIdDeepMind,
    HfSynthId,
    HfKgwLeftHash,
    HfKgwSelfHash,
    ThreeBricks,
}

/// What an engine's words mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EngineScore {
    /// A green list of share `gamma`.
    Greenlist {
        /// As configured; the share on the peer's grid may differ slightly, and the null law uses that one.
        gamma: f64,
    },
    /// Gumbel-max.
    Gumbel,
    /// Gumbel-max under two keys.
    DualKey(GumbelDualKey),
    /// Tournament bits.
    Tournament {
        /// Layers.
        depth: u32,
    },
}

/// Parameters of an [`Engine`]; `None` is the peer's own default.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Tokens of context, in the peer's own counting.
    pub context_width: Option<usize>,
    /// `greenlist`, `gumbel`, `gumbel_dual_key` or `tournament`, where the peer has several.
    pub algorithm: Option<String>,
    /// Share of green tokens.
    pub gamma: Option<f64>,
    /// Tournament layers.
    pub depth: Option<u32>,
    /// Share of key B.
    pub alpha: Option<f64>,
    /// Length of the logits row at generation (`hf-kgw-*` and `three-bricks` green lists permute it).
    pub vocab_size: Option<u32>,
}

/// Names that [`Engine::new`] knows.
const NAMES: [(&str, Peer); 10] = [
    ("vllm", Peer::Vllm),
    ("vllm-dual", Peer::Vllm),
    ("sglang", Peer::Sglang),
    ("textseal@2025-12", Peer::TextSeal2025),
    ("textseal@2026", Peer::TextSeal2026),
    ("synthid-deepmind", Peer::SynthIdDeepMind),
    ("hf-synthid", Peer::HfSynthId),
    ("hf-kgw-lefthash", Peer::HfKgwLeftHash),
    ("hf-kgw-selfhash", Peer::HfKgwSelfHash),
    ("three-bricks", Peer::ThreeBricks),
];

/// TextSeal's hash takes its residue modulo this prime.
pub(crate) const TEXTSEAL_MODULUS: u16 = 8191;

/// Widest context of SGLang and TextSeal.
const MAX_SGLANG_WIDTH: usize = 64;
const MAX_TEXTSEAL_WIDTH: usize = 10;

fn invalid<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidParameter, message))
}

impl Engine {
    /// The names of [`Engine::new`].
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|&(name, _)| name)
    }

    /// An engine by name, for instance `vllm` or `textseal@2026`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an unknown name or a parameter outside its domain.
    pub fn new(name: &str, options: &EngineOptions) -> Result<Self> {
        let Some(&(_, peer)) = NAMES.iter().find(|&&(known, _)| known == name) else {
            let known: Vec<&str> = Self::names().collect();
            return invalid(format!("unknown engine {name:?}; known are {}", known.join(", ")));
        };
        let dual = |default| GumbelDualKey::new(options.alpha.unwrap_or(default)).map(EngineScore::DualKey);
        let algorithms: &[&str] = match peer {
            Peer::Vllm if name == "vllm-dual" => &["gumbel_dual_key"],
            Peer::Vllm | Peer::Sglang => &["gumbel"],
            Peer::TextSeal2025 => &["gumbel", "greenlist", "tournament"],
            Peer::TextSeal2026 => &["gumbel_dual_key", "gumbel", "greenlist", "tournament"],
            Peer::SynthIdDeepMind | Peer::HfSynthId => &["tournament"],
            Peer::HfKgwLeftHash | Peer::HfKgwSelfHash => &["greenlist"],
            Peer::ThreeBricks => &["gumbel", "greenlist"],
        };
        let algorithm = options.algorithm.as_deref().unwrap_or(algorithms[0]);
        if !algorithms.contains(&algorithm) {
            return invalid(format!("{name} has no algorithm {algorithm:?}; it has {}", algorithms.join(", ")));
        }
        let permutes = matches!(peer, Peer::HfKgwLeftHash | Peer::HfKgwSelfHash | Peer::ThreeBricks);
        let score = match algorithm {
            "gumbel" => EngineScore::Gumbel,
            "gumbel_dual_key" => dual(if peer == Peer::Vllm { 0.1 } else { 0.5 })?,
            "tournament" => EngineScore::Tournament { depth: options.depth.unwrap_or(super::tournament::MAX_DEPTH) },
            _ => EngineScore::Greenlist { gamma: options.gamma.unwrap_or(if permutes { 0.25 } else { 0.5 }) },
        };
        for (given, applies, option) in [
            (options.gamma.is_some(), matches!(score, EngineScore::Greenlist { .. }), "gamma"),
            (options.depth.is_some(), matches!(score, EngineScore::Tournament { .. }), "depth"),
            (options.alpha.is_some(), matches!(score, EngineScore::DualKey(_)), "the share of key B"),
            (options.vocab_size.is_some(), permutes && algorithm == "greenlist", "vocab_size"),
        ] {
            if given && !applies {
                return invalid(format!("{option} does not apply to {name} with {algorithm}"));
            }
        }
        let (default_width, most) = match peer {
            Peer::Vllm | Peer::SynthIdDeepMind | Peer::HfSynthId | Peer::ThreeBricks => (4, MAX_CONTEXT_WIDTH),
            Peer::Sglang => (4, MAX_SGLANG_WIDTH),
            Peer::TextSeal2025 | Peer::TextSeal2026 => (1, MAX_TEXTSEAL_WIDTH),
            Peer::HfKgwLeftHash | Peer::HfKgwSelfHash => (1, MAX_CONTEXT_WIDTH),
        };
        let width = options.context_width.unwrap_or(default_width);
        if !(1..=most).contains(&width) {
            return invalid(format!("context_width {width} with {name}; it must be 1 to {most}"));
        }
        let engine = Self { peer, score, width, vocab_size: options.vocab_size.unwrap_or(0) };
        engine.check_score()?;
        Ok(engine)
    }

    fn check_score(&self) -> Result<()> {
        match self.score {
            EngineScore::Greenlist { gamma } if !(gamma > 0.0 && gamma < 1.0) => {
                invalid(format!("gamma is {gamma}; it must be between 0 and 1"))
            }
            EngineScore::Greenlist { .. } if self.permutes_vocabulary() => {
                if self.vocab_size == 0 {
                    return invalid(format!(
                        "{} permutes the whole vocabulary: give vocab_size, the length of the logits row at generation",
                        self.name()
                    ));
                }
                if self.green_tokens() == 0 {
                    return invalid("gamma times vocab_size is below one token");
                }
                Ok(())
            }
            EngineScore::Tournament { depth } if !(1..=super::tournament::MAX_DEPTH).contains(&depth) => {
                invalid(format!("tournament depth is {depth}; it must be 1 to {}", super::tournament::MAX_DEPTH))
            }
            _ => Ok(()),
        }
    }

    /// The name that [`Engine::new`] takes.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let dual = self.peer == Peer::Vllm && matches!(self.score, EngineScore::DualKey(_));
        let place = NAMES.iter().position(|&(_, peer)| peer == self.peer).unwrap_or(0);
        NAMES[place + usize::from(dual)].0
    }

    /// What its words mean.
    #[must_use]
    pub fn score(&self) -> EngineScore {
        self.score
    }

    /// Tokens of context, in the peer's own counting (a self-hash window counts the candidate).
    #[must_use]
    pub fn context_width(&self) -> usize {
        self.width
    }

    /// Whether this crate can mark in this format.
    #[must_use]
    pub fn can_mark(&self) -> bool {
        matches!(self.peer, Peer::Vllm | Peer::Sglang)
    }

    /// Whether the words come from torch's generator. On a CPU it is MT19937 and can be repeated; on a GPU the assignment
    /// of draws to tokens depends on the launch grid, hence on the GPU model, so such a mark cannot be detected elsewhere.
    #[must_use]
    pub fn uses_torch_generator(&self) -> bool {
        matches!(self.peer, Peer::HfSynthId | Peer::HfKgwLeftHash | Peer::HfKgwSelfHash | Peer::ThreeBricks)
    }

    pub(crate) fn permutes_vocabulary(&self) -> bool {
        matches!(self.score, EngineScore::Greenlist { .. })
            && matches!(self.peer, Peer::HfKgwLeftHash | Peer::HfKgwSelfHash | Peer::ThreeBricks)
    }

    /// Tokens on a permuted green list, `int(vocab_size * gamma)`.
    pub(crate) fn green_tokens(&self) -> u32 {
        match self.score {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= gamma < 1, checked")]
            EngineScore::Greenlist { gamma } => (f64::from(self.vocab_size) * gamma) as u32,
            _ => 0,
        }
    }

    /// Whether TextSeal's residue (0..8191) is green; it compares in single precision.
    pub(crate) fn textseal_green(residue: u16, gamma: f64) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "as the peer does")]
        let gamma = gamma as f32;
        f32::from(residue) / f32::from(TEXTSEAL_MODULUS) < gamma
    }

    /// The law of a pair's score over keys, if the peer's function of the key is an ideal one.
    #[must_use]
    pub fn null_law(&self) -> NullLaw {
        let textseal = |gamma: f64| {
            let green = (0..TEXTSEAL_MODULUS).filter(|&residue| Self::textseal_green(residue, gamma)).count();
            green as f64 / f64::from(TEXTSEAL_MODULUS)
        };
        let is_textseal = matches!(self.peer, Peer::TextSeal2025 | Peer::TextSeal2026);
        match self.score {
            EngineScore::Gumbel => NullLaw::ExponentialQ32,
            EngineScore::DualKey(scheme) => scheme.null_law(),
            EngineScore::Greenlist { gamma } if is_textseal => NullLaw::Bits { gamma: textseal(gamma), trials: 1 },
            EngineScore::Greenlist { .. } => {
                NullLaw::BitsWithoutReplacement { gamma: f64::from(self.green_tokens()) / f64::from(self.vocab_size) }
            }
            EngineScore::Tournament { depth } if is_textseal => NullLaw::Bits { gamma: textseal(0.5), trials: depth },
            EngineScore::Tournament { depth } if self.peer == Peer::HfSynthId => {
                NullLaw::Bits { gamma: HF_SYNTHID_ONES, trials: depth }
            }
            EngineScore::Tournament { depth } => NullLaw::Bits { gamma: 0.5, trials: depth },
        }
    }
}

/// Share of ones in the sampling table of Hugging Face's SynthID (`torch.randint` of 65,536 bits, CPU seed 0).
pub(crate) const HF_SYNTHID_ONES: f64 = 32_743.0 / 65_536.0;

/// The secret of an [`Engine`] in the peer's own form. Zeroized on drop, redacted in `Debug`.
#[derive(Clone)]
pub struct EngineKey(Zeroizing<Vec<u64>>);

impl EngineKey {
    /// Reads a key as the peer's configuration writes it: hexadecimal (1 to 16 digits) for SGLang, a comma-separated list of
    /// integers for SynthID, else one decimal integer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`]; the message does not repeat the text.
    pub fn parse(engine: &Engine, text: &str) -> Result<Self> {
        let text = text.trim();
        let integer = |text: &str| {
            let text = text.trim();
            // Negative keys wrap, as they do in the peers' 64-bit arithmetic.
            text.parse::<u64>().ok().or_else(|| text.parse::<i64>().ok().map(i64::cast_unsigned))
        };
        let (values, form) = match engine.peer {
            Peer::Sglang => {
                let fits = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                (
                    fits.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(|key| vec![key]),
                    "1 to 16 hexadecimal digits",
                )
            }
            Peer::SynthIdDeepMind | Peer::HfSynthId => {
                let keys: Option<Vec<u64>> = text.split(',').map(integer).collect();
                (
                    keys.filter(|keys| keys.len() <= super::tournament::MAX_DEPTH as usize),
                    "1 to 30 integers with commas between them",
                )
            }
            _ => (integer(text).map(|key| vec![key]), "one decimal integer of 64 bits"),
        };
        match values {
            Some(values) => Ok(Self(Zeroizing::new(values))),
            None => invalid(format!("a key of {} is {form}", engine.name())),
        }
    }

    /// The engine key that belongs to a PRF key: integer i is words 2i (low half) and 2i+1 of its `chacha20-v1` stream with
    /// the empty context. One key tree thus serves a fleet of different engines, and fresh keys exist for each.
    ///
    /// # Errors
    /// None for a depth that [`Engine::new`] accepts.
    pub fn from_prf_key(engine: &Engine, key: &PrfKey) -> Result<Self> {
        let count = match (engine.peer, engine.score) {
            (Peer::SynthIdDeepMind | Peer::HfSynthId, EngineScore::Tournament { depth }) => depth as usize,
            _ => 1,
        };
        let prf = ChaCha20V1::new(key, 0)?;
        let mut words = Zeroizing::new(vec![0; 2 * count]);
        if let Some(context) = prf.context(&[])? {
            prf.vocabulary_words(context, &mut words)?;
        }
        let pairs = words.as_chunks::<2>().0.iter();
        Ok(Self(Zeroizing::new(pairs.map(|&[low, high]| u64::from(low) | u64::from(high) << 32).collect())))
    }

    /// The key as the peer's configuration writes it.
    #[must_use]
    pub fn print(&self, engine: &Engine) -> Zeroizing<String> {
        Zeroizing::new(match engine.peer {
            Peer::Sglang => format!("{:x}", self.first()),
            _ => self.0.iter().map(u64::to_string).collect::<Vec<_>>().join(","),
        })
    }

    pub(crate) fn first(&self) -> u64 {
        self.0.first().copied().unwrap_or(0)
    }

    #[cfg(feature = "detect")]
    pub(crate) fn values(&self) -> &[u64] {
        &self.0
    }
}

impl std::fmt::Debug for EngineKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EngineKey(..)")
    }
}
