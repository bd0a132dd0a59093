use std::sync::Arc;

use crate::engine::KeyedEngine;
use crate::prf::{self, Pair, Position, RuleId};

/// How positions of a record become PRF inputs.
#[derive(Clone, Debug)]
pub(crate) enum Rule {
    /// The last `width` generated tokens, none of them special, and the token.
    Generated { width: usize },
    /// The engine's own rule.
    Engine(Arc<dyn KeyedEngine>),
}

impl Rule {
    pub(crate) fn id(&self) -> RuleId {
        match self {
            Self::Generated { width } => RuleId::generated(*width),
            Self::Engine(engine) => engine.rule_id(),
        }
    }

    /// Context tokens before the token itself.
    #[inline]
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Generated { width } => *width,
            Self::Engine(engine) => engine.rule_id().width,
        }
    }

    /// Calls `visit` for every generated position in order. `special` is sorted: such tokens are never scored, and under
    /// our own rule contexts do not reach over them.
    pub(crate) fn positions(&self, prompt: &[u32], special: &[u32], tokens: &[u32], visit: impl FnMut(Position)) {
        match self {
            Self::Generated { width } => {
                let input = |window: &[u32], token| Some(Pair::new(window, token));
                prf::positions(*width, special, tokens, input, visit);
            }
            Self::Engine(engine) => engine.positions(prompt, special, tokens).into_iter().for_each(visit),
        }
    }

    /// The PRF inputs inside a text.
    pub(crate) fn inputs(&self, text: &[u32]) -> Vec<Pair> {
        match self {
            Self::Generated { width } => text.windows(width + 1).map(|w| Pair::new(&w[..*width], w[*width])).collect(),
            Self::Engine(engine) => engine.inputs(text),
        }
    }

    /// Whether the PRF input keeps context and token apart, so that other tokens in the same context can be scored.
    pub(crate) fn keeps_token(&self) -> bool {
        match self {
            Self::Generated { .. } => true,
            Self::Engine(engine) => engine.keeps_token(),
        }
    }

    /// The context part of the PRF input after this window.
    pub(crate) fn context_of(&self, window: &[u32]) -> Pair {
        let input = match self {
            Self::Generated { .. } => None,
            Self::Engine(engine) => engine.input(window, 0),
        };
        input.unwrap_or_else(|| Pair::new(window, 0)).without_token()
    }
}
