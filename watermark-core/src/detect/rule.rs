use std::sync::Arc;

use hashbrown::HashSet;

use super::Pair;
use crate::MAX_CONTEXT_WIDTH;
use crate::prf::{HfSelfHash, SynthIdDeepMind, SynthIdHf, sglang_context_hash, textseal_input};

/// How positions of a record become PRF inputs.
#[derive(Clone, Debug)]
pub(crate) enum Rule {
    /// The last `width` generated tokens, none of them special, and the token.
    Generated { width: usize },
    /// As vLLM: contexts reach before the first token, where -1 stands.
    Padded { width: usize },
    /// As SGLang: contexts include the prompt, count through their hash, and only the first 4,096 of a record are marked.
    PromptHash { width: usize },
    /// As TextSeal: pairs of the same sum have the same value under every key.
    Sum { width: usize },
    /// As Hugging Face's SynthID: 16 bits of a hash are all that the values depend on.
    TableIndex { width: usize, prf: Arc<SynthIdHf> },
    /// As DeepMind's SynthID: pairs of the same 64-bit sum have the same values under every key.
    LinearHash { width: usize },
    /// As Hugging Face's KGW, `lefthash`: the last token; token 0 gives a list that does not depend on the key.
    LastToken,
    /// As Hugging Face's KGW, `selfhash`: the generator's seed, which depends on the key, and the token.
    SelfHash { width: usize, seeds: Arc<HfSelfHash> },
}

/// Two tallies can be merged or scored by a detector only if their rules agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuleId {
    kind: u8,
    width: usize,
    /// Tells keys apart where inputs depend on the key.
    key_tag: i64,
}

impl RuleId {
    /// The width for messages.
    pub(crate) fn width(self) -> usize {
        self.width
    }

    /// For the canonical bytes of a tally.
    pub(crate) fn kind(self) -> u8 {
        self.kind
    }
}

/// What one generated position is.
pub(crate) enum Position {
    ShortContext,
    Excluded,
    Input(Pair),
}

/// Different contexts that SGLang marks in one request.
const SGLANG_CONTEXTS: usize = 4096;

impl Rule {
    pub(crate) fn id(&self) -> RuleId {
        let (kind, key_tag) = match self {
            Self::Generated { .. } => (0, 0),
            Self::Padded { .. } => (1, 0),
            Self::PromptHash { .. } => (2, 0),
            Self::Sum { .. } => (3, 0),
            Self::TableIndex { .. } => (4, 0),
            Self::LastToken => (5, 0),
            Self::SelfHash { seeds, .. } => (6, seeds.seed(&[1, 2, 3])),
            Self::LinearHash { .. } => (7, 0),
        };
        RuleId { kind, width: self.width(), key_tag }
    }

    /// Context tokens before the token itself.
    #[inline]
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Generated { width }
            | Self::Padded { width }
            | Self::PromptHash { width }
            | Self::Sum { width }
            | Self::LinearHash { width }
            | Self::TableIndex { width, .. }
            | Self::SelfHash { width, .. } => *width,
            Self::LastToken => 1,
        }
    }

    /// The PRF input of a full window and the token after it; `None` if its value does not depend on the key.
    #[inline]
    pub(crate) fn input(&self, window: &[u32], token: u32) -> Option<Pair> {
        Some(match self {
            Self::Generated { .. } | Self::Padded { .. } => Pair::new(window, token),
            Self::PromptHash { .. } => Pair::new(&[sglang_context_hash(window)], token),
            Self::Sum { .. } => Pair::new(&halves(textseal_input(window, token)), 0),
            Self::LinearHash { .. } => Pair::new(&halves(SynthIdDeepMind::input(window, token)), 0),
            Self::TableIndex { prf, .. } => Pair::new(&[], u32::from(prf.input(window, token))),
            Self::LastToken => {
                if window == [0] {
                    return None;
                }
                Pair::new(window, token)
            }
            Self::SelfHash { seeds, .. } => {
                let mut with_candidate = [0; MAX_CONTEXT_WIDTH + 1];
                with_candidate[..window.len()].copy_from_slice(window);
                with_candidate[window.len()] = token;
                let seed = seeds.seed(&with_candidate[..=window.len()]);
                Pair::new(&[HfSelfHash::generator_seed(seed)], token)
            }
        })
    }

    /// Calls `visit` for every generated position in order. `special` is sorted: such tokens are never scored, and under
    /// our own rule contexts do not reach over them.
    pub(crate) fn positions(&self, prompt: &[u32], special: &[u32], tokens: &[u32], mut visit: impl FnMut(Position)) {
        let width = self.width();
        let is_special = |token: u32| special.binary_search(&token).is_ok();
        match self {
            Self::Padded { .. } => {
                let mut window = vec![u32::MAX; width];
                for &token in tokens {
                    visit(if is_special(token) { Position::Excluded } else { self.position(&window, token) });
                    window.rotate_left(1);
                    window[width - 1] = token;
                }
            }
            Self::PromptHash { .. } => {
                let all: Vec<u32> = prompt.iter().chain(tokens).copied().collect();
                let mut contexts = HashSet::new();
                for (i, &token) in all.iter().enumerate().skip(prompt.len()) {
                    let Some(start) = i.checked_sub(width) else {
                        visit(Position::ShortContext);
                        continue;
                    };
                    let window = &all[start..i];
                    let hash = sglang_context_hash(window);
                    let marked = contexts.contains(&hash) || contexts.len() < SGLANG_CONTEXTS;
                    if marked {
                        contexts.insert(hash);
                    }
                    visit(if !marked || is_special(token) { Position::Excluded } else { self.position(window, token) });
                }
            }
            _ => {
                let mut usable = 0;
                for (i, &token) in tokens.iter().enumerate() {
                    if is_special(token) {
                        visit(Position::Excluded);
                        usable = 0;
                        continue;
                    }
                    visit(if usable < width {
                        Position::ShortContext
                    } else {
                        self.position(&tokens[i - width..i], token)
                    });
                    usable += 1;
                }
            }
        }
    }

    #[inline]
    fn position(&self, window: &[u32], token: u32) -> Position {
        self.input(window, token).map_or(Position::Excluded, Position::Input)
    }
}

fn halves(value: u64) -> [u32; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "low half")]
    [value as u32, (value >> 32) as u32]
}
