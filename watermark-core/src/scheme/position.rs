use crate::prf::{ChaCha20V1, Context};

/// One position of a sequence, as a reweighting scheme sees it: the tokens that are left after truncation, with their
/// words in this context. Nothing here allocates once the buffers have grown.
pub(crate) struct Position<'a> {
    /// Token ids, ascending [n].
    pub(crate) ids: &'a [u32],
    /// Unnormalised log-probabilities of these, finite [n].
    pub(crate) logits: &'a mut [f32],
    /// Their words [n].
    pub(crate) words: &'a mut [u32],
    pub(crate) prf: &'a ChaCha20V1,
    pub(crate) context: Context,
    /// Ids that are neither marked nor scored, ascending.
    pub(crate) special: &'a [u32],
    /// Empty for a scheme that needs none.
    pub(crate) proxy: ProxyRow<'a>,
    pub(crate) buffers: &'a mut Buffers,
}

/// A proxy's next-token probabilities: the tokens that have any, ascending, and their words. Shapes: all [m], aligned.
pub(crate) struct ProxyRow<'a> {
    pub(crate) ids: &'a [u32],
    pub(crate) probabilities: &'a [f64],
    pub(crate) words: &'a mut [u32],
}

/// Working memory of one position.
#[derive(Default)]
pub(crate) struct Buffers {
    pub(crate) probabilities: Vec<f64>,
    /// Places and logits of special tokens.
    pub(crate) specials: Vec<(usize, f32)>,
    pub(crate) work: Work,
}

/// Working memory that a scheme may use as it likes. Each vector has room for one entry per token of the vocabulary.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) numbers: Vec<f64>,
    pub(crate) order: Vec<u32>,
}

impl Position<'_> {
    /// The first of the words that belong to the context alone.
    pub(crate) fn context_word(&self) -> u32 {
        self.prf.context_words(self.context)[0]
    }

    /// Changes the probabilities, which sum to 1 before and after. Shapes: both [n], aligned.
    pub(crate) fn change_probabilities(&mut self, change: impl FnOnce(&mut [f64], &[u32], &mut Work)) {
        let Buffers { probabilities, work, .. } = &mut *self.buffers;
        softmax(self.logits, probabilities);
        change(probabilities, self.words, work);
        logarithms(probabilities, self.logits);
    }

    /// Changes the logits of all but special tokens, which are never favoured and never forbidden: a text must be able to end.
    /// `change` sees them with the word `red_word`. Shapes: both [n], aligned.
    pub(crate) fn change_logits(&mut self, red_word: u32, change: impl FnOnce(&mut [f32], &[u32])) {
        let specials = &mut self.buffers.specials;
        specials.clear();
        specials.reserve(self.special.len());
        for special in self.special {
            if let Ok(at) = self.ids.binary_search(special) {
                self.words[at] = red_word;
                specials.push((at, self.logits[at]));
            }
        }
        change(self.logits, self.words);
        for &(at, logit) in specials.iter() {
            self.logits[at] = logit;
        }
    }

    /// Adds a bonus to the logit of every token for which the proxy has a probability; `bonus` computes it from that
    /// probability and the token's word. Special tokens have the word `red_word` and get no bonus. `bonus` first sees
    /// the proxy's whole row.
    pub(crate) fn add_by_proxy<B: Fn(f64, u32) -> f64>(
        &mut self,
        red_word: u32,
        bonus: impl FnOnce(&[f64], &[u32]) -> B,
    ) {
        let ProxyRow { ids, probabilities, words } = &mut self.proxy;
        for special in self.special {
            if let Ok(at) = ids.binary_search(special) {
                words[at] = red_word;
            }
        }
        let bonus = bonus(probabilities, words);
        let mut proxy = ids.iter().zip(*probabilities).zip(words.iter()).peekable();
        for (&id, logit) in self.ids.iter().zip(self.logits.iter_mut()) {
            while proxy.next_if(|((other, _), _)| **other < id).is_some() {}
            let Some(((_, &q), &word)) = proxy.next_if(|((other, _), _)| **other == id) else { continue };
            if self.special.binary_search(&id).is_err() {
                #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
                let bonus = bonus(q, word) as f32;
                *logit += bonus;
            }
        }
    }
}

/// Probabilities of unnormalised log-probabilities. Shapes: both [n].
pub(crate) fn softmax(logits: &[f32], probabilities: &mut Vec<f64>) {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    probabilities.clear();
    probabilities.extend(logits.iter().map(|&logit| libm::exp(f64::from(logit) - max)));
    let total: f64 = probabilities.iter().sum();
    probabilities.iter_mut().for_each(|p| *p /= total);
}

/// Back to logits; a token without probability becomes -inf.
pub(crate) fn logarithms(probabilities: &[f64], logits: &mut [f32]) {
    for (logit, &p) in logits.iter_mut().zip(probabilities) {
        #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
        let log = if p > 0.0 { libm::log(p) as f32 } else { f32::NEG_INFINITY };
        *logit = log;
    }
}
