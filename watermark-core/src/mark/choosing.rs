use std::sync::Arc;

use super::reserve::reserve;
use crate::engine::{Engine, EngineKey, EngineMarking};
use crate::prf::{ChaCha20V1, Context};
use crate::scheme::{Scheme, SecondWord};
use crate::{MAX_CONTEXT_WIDTH, Result};

/// The layer that draws the token, under its key.
#[derive(Clone)]
pub(super) enum Choosing {
    Own { scheme: Scheme, a: ChaCha20V1, b: Option<ChaCha20V1> },
    Engine(Arc<dyn EngineMarking>),
}

/// A context of the choosing layer, zero-padded. An engine may put a number there that stands for the context, such as
/// its hash.
pub(super) type ContextKey = [u32; MAX_CONTEXT_WIDTH];

impl Choosing {
    /// The choosing layer of `scheme` on our PRF; `None` for a scheme that does not choose.
    pub(super) fn new(scheme: Scheme, prf: &ChaCha20V1) -> Option<Self> {
        let b = (scheme.second_word() == SecondWord::KeyB).then(|| prf.key_b());
        scheme.chooses().then(|| Self::Own { scheme, a: prf.clone(), b })
    }

    /// The choosing layer in an engine's format.
    pub(super) fn engine(engine: &Engine, key: &EngineKey) -> Result<Self> {
        engine.marking_half(key).map(Self::Engine)
    }

    /// The most different contexts of one sequence that the layer marks.
    pub(super) fn max_contexts(&self) -> usize {
        if let Self::Engine(engine) = self { engine.max_contexts() } else { usize::MAX }
    }

    /// The context at the next position, if the layer has one there.
    pub(super) fn context(&self, generated: &[u32], special: &[u32]) -> Option<ContextKey> {
        let mut key = [0; MAX_CONTEXT_WIDTH];
        match self {
            Self::Own { a: prf, .. } => {
                let tokens = usable_context(prf.width(), generated, special)?;
                key[..tokens.len()].copy_from_slice(tokens);
            }
            Self::Engine(engine) => return engine.context(generated),
        }
        Some(key)
    }

    /// Whether the layer draws under two keys.
    pub(super) fn has_two_keys(&self) -> bool {
        match self {
            Self::Own { b, .. } => b.is_some(),
            Self::Engine(engine) => engine.dual_key().is_some(),
        }
    }

    /// Whether `coin`, a public uniform word, gives the position to the second of two keys.
    pub(super) fn uses_b(&self, coin: u32) -> bool {
        match self {
            Self::Own { scheme, .. } => scheme.uses_second_key(coin),
            Self::Engine(engine) => engine.dual_key().is_some_and(|scheme| scheme.uses_b(coin)),
        }
    }

    /// Words of `ids` in a context; under the second key, where there are two, if `second`.
    pub(super) fn words(&self, key: &ContextKey, second: bool, ids: &[u32], buffers: &mut Words) -> Result<()> {
        match self {
            Self::Own { a, b, .. } => {
                let prf = b.as_ref().filter(|_| second).unwrap_or(a);
                buffers.fill(prf, a.context_unchecked(&key[..a.width()]), ids)
            }
            Self::Engine(engine) => {
                engine.words(key, second, ids, &mut buffers.words);
                Ok(())
            }
        }
    }

    /// Index of the drawn entry. Shapes: both [n], aligned.
    pub(super) fn choose(&self, logits: &[f32], words: &[u32]) -> Option<usize> {
        match self {
            Self::Own { scheme, .. } => scheme.choose(logits, words),
            Self::Engine(engine) => engine.choose(logits, words),
        }
    }
}

/// The words of the tokens that may be drawn, and those of the whole vocabulary where they are copied from there.
#[derive(Default)]
pub(super) struct Words {
    pub(super) words: Vec<u32>,
    vocabulary: Vec<u32>,
}

impl Words {
    /// Makes room for `n` ids, all of them below `n`.
    pub(super) fn reserve(&mut self, n: usize) {
        reserve(&mut self.words, n);
        reserve(&mut self.vocabulary, n);
    }

    /// The words of `ids` (ascending). One block of the PRF holds the words of 16 neighbouring tokens. So if there are
    /// at least as many ids as blocks, it is cheaper to compute all words up to the largest id and copy those that are
    /// needed.
    pub(super) fn fill(&mut self, prf: &ChaCha20V1, context: Context, ids: &[u32]) -> Result<()> {
        let end = ids.last().map_or(0, |&id| id as usize + 1);
        if ids.len() < end / 16 {
            return prf.words(ids.iter().map(|&id| (context, id)), &mut self.words);
        }
        self.vocabulary.resize(end, 0);
        prf.vocabulary_words(context, &mut self.vocabulary)?;
        self.words.clear();
        self.words.extend(ids.iter().map(|&id| self.vocabulary[id as usize]));
        Ok(())
    }
}

/// The last `width` generated tokens, unless there are fewer or one of them is special.
pub(super) fn usable_context<'a>(width: usize, generated: &'a [u32], special: &[u32]) -> Option<&'a [u32]> {
    let tokens = &generated[generated.len().checked_sub(width)?..];
    (!tokens.iter().any(|token| special.binary_search(token).is_ok())).then_some(tokens)
}
