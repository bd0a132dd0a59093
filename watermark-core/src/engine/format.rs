use std::fmt;
use std::sync::Arc;

use super::key::{EngineKey, KeyForm};
use crate::MAX_CONTEXT_WIDTH;
#[cfg(feature = "detect")]
use crate::Result;
use crate::scheme::{GumbelDualKey, NullLaw};

/// A mark that another engine or library serves, with its parameters: same key, same words, same choice of context.
///
/// Every one can be detected. Marking is offered where words depend on integers only ([`Engine::can_mark`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Engine {
    pub(super) format: &'static Format,
    pub(super) score: EngineScore,
    pub(super) width: usize,
    pub(super) vocab_size: u32,
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

impl EngineScore {
    /// The name of the algorithm in [`super::EngineOptions`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        match *self {
            Self::Greenlist { gamma } => Algorithm::Greenlist { gamma },
            Self::Gumbel => Algorithm::Gumbel,
            Self::DualKey(scheme) => Algorithm::DualKey { alpha: scheme.alpha() },
            Self::Tournament { depth } => Algorithm::Tournament { depth },
        }
        .name()
    }
}

/// An entry of the catalogue: everything about a foreign format before its parameters and its key are known.
pub(crate) struct Format {
    /// The name of [`Engine::new`] and of the command line.
    pub(crate) name: &'static str,
    /// The engine, and the spellings of its algorithm there, under which profiles name this format; `None` where they use
    /// the name above.
    pub(crate) in_profiles: Option<(&'static str, &'static [&'static str])>,
    /// How its configuration writes a key.
    pub(crate) key: KeyForm,
    /// The algorithms that it offers, the peer's default first.
    pub(crate) algorithms: &'static [Algorithm],
    /// Tokens of context by default and at most, in the peer's own counting.
    pub(crate) width: (usize, usize),
    /// Whether a green list is the head of a permutation of the whole vocabulary.
    pub(crate) permutes_vocabulary: bool,
    /// Whether the words come from torch's generator.
    pub(crate) torch_generator: bool,
    /// Whether every score takes a pass over a generator's whole stream, so that tests under many keys take long.
    pub(crate) slow: bool,
    /// Algorithm and context width of the settings that tests, calibrations and benchmarks run.
    pub(crate) examples: &'static [(&'static str, Option<usize>)],
    /// The law of a pair's score over keys.
    pub(crate) null_law: fn(&Engine) -> NullLaw,
    /// The marking half, where this crate has one.
    pub(crate) marking: Option<MarkingHalf>,
    /// The scoring half.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidParameter`] for a number of keys that the engine does not take.
    #[cfg(feature = "detect")]
    pub(crate) keyed: fn(Engine, &EngineKey) -> Result<Arc<dyn KeyedEngine>>,
}

/// Makes the marking half of an engine under a key.
type MarkingHalf = fn(&Engine, &EngineKey) -> Arc<dyn EngineMarking>;

/// Two formats are the same if their names are.
impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// An algorithm that a format offers, with the peer's default parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Algorithm {
    Greenlist { gamma: f64 },
    Gumbel,
    DualKey { alpha: f64 },
    Tournament { depth: u32 },
}

impl Algorithm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Greenlist { .. } => "greenlist",
            Self::Gumbel => "gumbel",
            Self::DualKey { .. } => "gumbel_dual_key",
            Self::Tournament { .. } => "tournament",
        }
    }
}

/// The marking half of an engine under its key. All of it draws the token; none reweights.
pub(crate) trait EngineMarking: Send + Sync {
    /// The most different contexts of one sequence that are marked.
    fn max_contexts(&self) -> usize {
        usize::MAX
    }

    /// The context after these generated tokens, zero-padded, if there is one.
    fn context(&self, generated: &[u32]) -> Option<[u32; MAX_CONTEXT_WIDTH]>;

    /// The mixture of two keys, where there are two.
    fn dual_key(&self) -> Option<GumbelDualKey> {
        None
    }

    /// Writes the words of `ids` in a context into `words`; under the second key, where there are two, if `second`.
    fn words(&self, context: &[u32; MAX_CONTEXT_WIDTH], second: bool, ids: &[u32], words: &mut Vec<u32>);

    /// Index of the drawn entry. Shapes: both [n], aligned.
    fn choose(&self, logits: &[f32], words: &[u32]) -> Option<usize>;
}

#[cfg(feature = "detect")]
pub(crate) use scoring::{KeyedEngine, Once, PeerNumber};

#[cfg(feature = "detect")]
mod scoring {
    use super::{Engine, fmt};
    use crate::prf::{self, Pair, Position, RuleId};

    /// The scoring half of an engine under its key: from positions to PRF inputs, from PRF inputs to scores, and what the
    /// peer's own detector makes of both. Calls take slices, because scoring is hot.
    pub(crate) trait KeyedEngine: fmt::Debug + Send + Sync {
        /// The engine, without what its key makes void: tournament layers with a repeated key.
        fn engine(&self) -> &Engine;

        /// The context rule.
        fn rule_id(&self) -> RuleId;

        /// The PRF input of a full window and the token after it; `None` if its value does not depend on the key.
        fn input(&self, window: &[u32], token: u32) -> Option<Pair> {
            Some(Pair::new(window, token))
        }

        /// Every generated position in order. `special` is sorted; such tokens are never scored.
        fn positions(&self, prompt: &[u32], special: &[u32], tokens: &[u32]) -> Vec<Position> {
            let _ = prompt; // contexts are generated tokens
            let mut out = Vec::with_capacity(tokens.len());
            let input = |window: &[u32], token| self.input(window, token);
            prf::positions(self.rule_id().width, special, tokens, input, |position| out.push(position));
            out
        }

        /// The PRF inputs inside a text.
        fn inputs(&self, text: &[u32]) -> Vec<Pair> {
            let width = self.rule_id().width;
            text.windows(width + 1).filter_map(|w| self.input(&w[..width], w[width])).collect()
        }

        /// How many context numbers a PRF input has and how many bits each takes, with -1 for the largest.
        fn packing(&self) -> (usize, u32) {
            (self.rule_id().width, 25)
        }

        /// Whether the PRF input keeps context and token apart, so that other tokens in the same context can be scored.
        fn keeps_token(&self) -> bool {
            true
        }

        /// Whether the PRF inputs themselves depend on the key.
        fn inputs_depend_on_key(&self) -> bool {
            false
        }

        /// Scores of PRF inputs in integers. Shapes: both [n], aligned.
        fn scores(&self, pairs: &[Pair]) -> Vec<u64>;

        /// A number that stands for each context under this key, if different contexts can have the same one. Then what
        /// counts once is this number with the token. Shapes: both [n], aligned.
        fn context_seeds(&self, pairs: &[Pair]) -> Option<Vec<u64>> {
            let _ = pairs;
            None
        }

        /// If different pairs share draws: how many distinct draws there are behind the pairs, and how many of them are
        /// ones.
        fn shared_draws(&self, pairs: &[Pair]) -> Option<(u64, u64)> {
            let _ = pairs;
            None
        }

        /// What the peer's detector scores once.
        fn peer_scores_once(&self) -> Once;

        /// The positions that the peer's detector looks at: the context, and the PRF input.
        fn peer_positions(&self, prompt: &[u32], tokens: &[u32]) -> Vec<(Pair, Pair)> {
            let _ = prompt;
            let width = self.rule_id().width;
            peer_windows(self, width, tokens)
        }

        /// The sum of the peer's own scores, in floating point as the peer has them.
        fn peer_sum(&self, pairs: &[Pair]) -> f64 {
            self.scores(pairs).into_iter().map(|score| score as f64).sum()
        }

        /// The number that the peer's detector prints for this sum over `n` positions.
        fn peer_number(&self, n: u64, sum: f64) -> PeerNumber;
    }

    /// Windows of `tokens` alone from the token at `first` on, for [`KeyedEngine::peer_positions`].
    pub(crate) fn peer_windows<E: KeyedEngine + ?Sized>(engine: &E, first: usize, tokens: &[u32]) -> Vec<(Pair, Pair)> {
        let width = engine.rule_id().width;
        let position = |i: usize| {
            let window = &tokens[i - width..i];
            let context = Pair::new(&window[..window.len().min(crate::MAX_CONTEXT_WIDTH)], 0);
            Some((context, engine.input(window, tokens[i])?))
        };
        (first..tokens.len()).filter_map(position).collect()
    }

    /// What a peer's detector scores once.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Once {
        EveryPosition,
        Context,
        ContextAndToken,
    }

    /// What a peer's detector prints.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct PeerNumber {
        /// Score sum, green count or z, mean g-value.
        pub(crate) statistic: f64,
        /// `None` where the peer has none.
        pub(crate) p_value: Option<f64>,
        /// Which positions count and where p comes from.
        pub(crate) rule: &'static str,
    }
}
#[cfg(feature = "detect")]
pub(crate) use scoring::peer_windows;
