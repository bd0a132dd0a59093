use std::sync::Arc;

use hashbrown::HashMap;

use super::choosing::{Choosing, ContextKey, Words, usable_context};
use super::sampling::{Sampling, Support};
use crate::prf::{ChaCha20V1, Context};
use crate::scheme::{Adfp, Gumbel, Scheme};
use crate::{Error, ErrorKind, Result};

/// Above this probability of one token, a mark has no room left that a 32-bit float could show.
const CERTAIN: f64 = 1.0 - f32::EPSILON as f64;

/// What the last [`Session::sample`] or [`Session::process`] could carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MarkState {
    /// At least one layer acted on the distribution or on the draw.
    Marked,
    /// The session was opened unmarked, or has not sampled yet, or only its choosing layer could mark and `process` left the
    /// draw to the caller.
    Off,
    /// Temperature 0: the most likely token, whatever the key.
    Greedy,
    /// One token holds (nearly) all the probability, so no key could have changed it.
    Certain,
    /// No layer has a context here: too few generated tokens, or a special one among them.
    NoContext,
    /// The only layer with a context is the choosing one, and it has used this context before.
    Repeated,
}

/// One sequence being sampled.
///
/// Per step: [`Session::sample`] (or [`Session::process`] where the engine draws itself), then [`Session::accept`] with
/// the token that was really emitted. After an error every call returns it again until [`Session::reset`].
///
/// A position is marked by a layer when `width` generated tokens precede it and none of them is special. Prompt tokens
/// are never context, so the session does not need them. Layers of engine formats follow the engine's own rule.
#[derive(Clone)]
pub struct Session {
    reweighting: Vec<(Scheme, ChaCha20V1)>,
    choosing: Option<Choosing>,
    draws: ChaCha20V1,
    sampling: Sampling,
    vocab_size: usize,
    special: Arc<[u32]>,
    generated: Vec<u32>,
    /// Contexts of the choosing layer at accepted positions, with how many positions each.
    used: HashMap<ContextKey, u32>,
    error: Option<Error>,
    state: MarkState,
    support: Support,
    words: Words,
    probabilities: Vec<f64>,
    masses: Vec<f64>,
    order: Vec<u32>,
    /// Places and logits of special tokens in the support.
    specials: Vec<(usize, f32)>,
    proxy: Proxy,
}

/// A proxy's probabilities at the next position: tokens that have any, ascending.
#[derive(Clone, Default)]
struct Proxy {
    ids: Vec<u32>,
    probabilities: Vec<f64>,
    words: Words,
}

impl Session {
    pub(super) fn new(
        reweighting: Vec<(Scheme, ChaCha20V1)>,
        choosing: Option<Choosing>,
        draws: ChaCha20V1,
        sampling: Sampling,
        vocab_size: usize,
        special: Arc<[u32]>,
    ) -> Self {
        Self {
            reweighting,
            choosing,
            draws,
            sampling,
            vocab_size,
            special,
            generated: Vec::new(),
            used: HashMap::new(),
            error: None,
            state: MarkState::Off,
            support: Support::default(),
            words: Words::default(),
            probabilities: Vec::new(),
            masses: Vec::new(),
            order: Vec::new(),
            specials: Vec::new(),
            proxy: Proxy::default(),
        }
    }

    /// Tokens accepted so far.
    #[must_use]
    pub fn generated(&self) -> &[u32] {
        &self.generated
    }

    /// Whether the position last sampled or processed carries a mark, and if not, why.
    #[must_use]
    pub fn mark_state(&self) -> MarkState {
        self.state
    }

    /// Hands in a proxy's next-token probabilities [vocab_size] for the next position, as layers of scheme `adfp` need them
    /// before every [`Session::sample`] or [`Session::process`]. Forgotten when the sequence moves.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidLogits`] for a wrong length, a value that is not a probability, or a sum away from 1; sticky.
    pub fn set_proxy(&mut self, probabilities: &[f32]) -> Result<()> {
        self.guarded(|session| {
            let invalid = |message: String| Err(Error::new(ErrorKind::InvalidLogits, message));
            let (n, vocab_size) = (probabilities.len(), session.vocab_size);
            if n != vocab_size {
                return invalid(format!("{n} probabilities of a proxy for a vocabulary of {vocab_size}"));
            }
            if let Some(id) = probabilities.iter().position(|q| !(0.0..=1.0).contains(q)) {
                return invalid(format!("the proxy's probability of token {id} is {}", probabilities[id]));
            }
            let sum: f64 = probabilities.iter().map(|&q| f64::from(q)).sum();
            if (sum - 1.0).abs() > 1e-2 {
                return invalid(format!("the proxy's probabilities add up to {sum}"));
            }
            session.proxy.clear();
            for (id, &q) in (0u32..).zip(probabilities).filter(|&(_, &q)| q > 0.0) {
                session.proxy.ids.push(id);
                session.proxy.probabilities.push(q.into());
            }
            Ok(())
        })
    }

    /// Applies temperature, truncation and the reweighting layers to a row of logits [vocab_size] in place; tokens
    /// outside the truncation become -inf. For engines that draw the token themselves: a choosing layer has no part.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidLogits`] for NaN, +inf, no finite entry or a wrong length; sticky.
    pub fn process(&mut self, logits: &mut [f32]) -> Result<()> {
        self.guarded(|session| {
            session.state = MarkState::Off;
            session.distribution(logits)?;
            logits.fill(f32::NEG_INFINITY);
            for (&id, &logit) in session.support.ids.iter().zip(&session.support.logits) {
                logits[id as usize] = logit;
            }
            Ok(())
        })
    }

    /// Draws the next token from a row of logits [vocab_size], which is not changed. Does not advance the sequence:
    /// calling it again gives the same token.
    ///
    /// # Errors
    /// As [`Self::process`].
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32> {
        self.guarded(|session| {
            session.state = MarkState::Off;
            session.distribution(logits)?;
            session.choose()
        })
    }

    /// Appends the emitted token.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`] for an id at or above the vocabulary size; sticky.
    pub fn accept(&mut self, token: u32) -> Result<()> {
        self.guarded(|session| {
            if token as usize >= session.vocab_size {
                return Err(Error::new(
                    ErrorKind::TokenOutOfRange,
                    format!("token id {token} is not below vocab_size {}", session.vocab_size),
                ));
            }
            if let Some(key) = session.choosing_context_key() {
                *session.used.entry(key).or_insert(0) += 1;
            }
            session.generated.push(token);
            session.proxy.clear();
            Ok(())
        })
    }

    /// Takes back the last `n` accepted tokens (speculative decoding), or all if there are fewer.
    pub fn rollback(&mut self, n: usize) {
        self.proxy.clear();
        for _ in 0..n.min(self.generated.len()) {
            self.generated.pop();
            if let Some(key) = self.choosing_context_key()
                && let Some(count) = self.used.get_mut(&key)
            {
                *count -= 1;
                if *count == 0 {
                    self.used.remove(&key);
                }
            }
        }
    }

    /// An independent copy at this point. Draws that no key decides repeat in the copy as long as both have the same
    /// number of tokens.
    #[must_use]
    pub fn fork(&self) -> Self {
        self.clone()
    }

    /// Back to no generated tokens; clears a sticky error.
    pub fn reset(&mut self) {
        self.generated.clear();
        self.used.clear();
        self.proxy.clear();
        self.error = None;
        self.state = MarkState::Off;
    }

    fn guarded<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let result = step(self);
        if let Err(error) = &result {
            self.error = Some(error.clone());
        }
        result
    }

    /// Leaves the truncated, reweighted distribution in `support`.
    fn distribution(&mut self, logits: &[f32]) -> Result<()> {
        if logits.len() != self.vocab_size {
            return Err(Error::new(
                ErrorKind::InvalidLogits,
                format!("{} logits for a vocabulary of {}", logits.len(), self.vocab_size),
            ));
        }
        self.sampling.truncate(logits, &mut self.support)?;
        if let Some(fixed) = self.fixed() {
            self.state = fixed;
            return Ok(());
        }
        if !self.reweighting.is_empty() {
            self.state = MarkState::NoContext;
        }
        for (scheme, prf) in &self.reweighting {
            let Some(context) = usable_context(prf.width(), &self.generated, &self.special) else { continue };
            let context = prf.context_unchecked(context);
            self.words.fill(prf, context, &self.support.ids)?;
            let words = &mut self.words.words;
            let logits = &mut self.support.logits;
            match scheme {
                Scheme::Greenlist(scheme) => {
                    // Special tokens are never favoured, nor does a hard list forbid them: a text must be able to end.
                    self.specials.clear();
                    for &special in self.special.iter() {
                        if let Ok(at) = self.support.ids.binary_search(&special) {
                            words[at] = scheme.red_word();
                            self.specials.push((at, logits[at]));
                        }
                    }
                    scheme.reweight(logits, words);
                    for &(at, logit) in &self.specials {
                        logits[at] = logit;
                    }
                }
                Scheme::Tournament(scheme) => {
                    softmax(logits, &mut self.probabilities);
                    scheme.reweight(&mut self.probabilities, words);
                    logarithms(&self.probabilities, logits);
                }
                Scheme::Mcmark(scheme) => {
                    softmax(logits, &mut self.probabilities);
                    let favoured = prf.context_words(context)[0];
                    scheme.reweight(&mut self.probabilities, words, favoured, &mut self.masses);
                    logarithms(&self.probabilities, logits);
                }
                Scheme::Dipmark(scheme) => {
                    softmax(logits, &mut self.probabilities);
                    scheme.reweight(&mut self.probabilities, words, &mut self.order);
                    logarithms(&self.probabilities, logits);
                }
                Scheme::Adfp(scheme) => self.proxy.add_bonus(scheme, prf, context, &self.special, &mut self.support)?,
                Scheme::Gumbel(_) | Scheme::GumbelDualKey(_) | Scheme::PermuteAndFlip(_) | Scheme::Engine(_) => {
                    continue;
                }
            }
            self.state = MarkState::Marked;
        }
        Ok(())
    }

    /// Why no layer could change anything about the truncated distribution.
    fn fixed(&self) -> Option<MarkState> {
        if self.reweighting.is_empty() && self.choosing.is_none() {
            return Some(MarkState::Off);
        }
        if self.sampling.is_greedy() {
            return Some(MarkState::Greedy);
        }
        self.support.is_certain(CERTAIN).then_some(MarkState::Certain)
    }

    fn choose(&mut self) -> Result<u32> {
        if let [only] = self.support.ids[..] {
            return Ok(only);
        }
        let position = Context::from_number(self.generated.len() as u64);
        let keyed = self.choosing.as_ref().and_then(|layer| {
            let known = layer.context(&self.generated, &self.special);
            let key = known.filter(|key| !self.used.contains_key(key) && self.used.len() < layer.max_contexts());
            if !matches!(self.state, MarkState::Certain | MarkState::Marked) {
                self.state = match (known, key) {
                    (_, Some(_)) => MarkState::Marked,
                    (Some(_), None) => MarkState::Repeated,
                    (None, None) => MarkState::NoContext,
                };
            }
            Some((layer, key?))
        });
        let chosen = if let Some((layer, key)) = keyed {
            let coin = self.draws.context_words(position)[0];
            layer.words(&key, coin, &self.support.ids, &mut self.words)?;
            layer.choose(&self.support.logits, &self.words.words)
        } else {
            // An ordinary draw is the same Gumbel-max under public randomness that belongs to the position.
            self.words.fill(&self.draws, position, &self.support.ids)?;
            Gumbel::choose(&self.support.logits, &self.words.words)
        };
        chosen
            .map(|at| self.support.ids[at])
            .ok_or_else(|| Error::new(ErrorKind::InvalidLogits, "no token can be drawn"))
    }

    /// The choosing layer's context at the next position, if it has one there.
    fn choosing_context_key(&self) -> Option<ContextKey> {
        self.choosing.as_ref()?.context(&self.generated, &self.special)
    }
}

impl Proxy {
    fn clear(&mut self) {
        self.ids.clear();
        self.probabilities.clear();
    }

    fn add_bonus(
        &mut self,
        scheme: &Adfp,
        prf: &ChaCha20V1,
        context: Context,
        special: &[u32],
        support: &mut Support,
    ) -> Result<()> {
        if self.ids.is_empty() {
            return Err(Error::new(
                ErrorKind::MissingInput,
                "a layer of scheme adfp needs the proxy's probabilities; call set_proxy before every step",
            ));
        }
        self.words.fill(prf, context, &self.ids)?;
        for special in special {
            if let Ok(at) = self.ids.binary_search(special) {
                self.words.words[at] = scheme.red_word();
            }
        }
        let green = scheme.green_mass(&self.probabilities, &self.words.words);
        let mut proxy = self.ids.iter().zip(&self.probabilities).zip(&self.words.words).peekable();
        for (&id, logit) in support.ids.iter().zip(&mut support.logits) {
            while proxy.next_if(|((other, _), _)| **other < id).is_some() {}
            let Some(((_, &q), &word)) = proxy.next_if(|((other, _), _)| **other == id) else { continue };
            if special.binary_search(&id).is_err() {
                #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
                let bonus = scheme.bonus(q, word, green) as f32;
                *logit += bonus;
            }
        }
        Ok(())
    }
}

/// Probabilities of unnormalised log-probabilities. Shapes: both [n].
fn softmax(logits: &[f32], probabilities: &mut Vec<f64>) {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    probabilities.clear();
    probabilities.extend(logits.iter().map(|&logit| libm::exp(f64::from(logit) - max)));
    let total: f64 = probabilities.iter().sum();
    probabilities.iter_mut().for_each(|p| *p /= total);
}

/// Back to logits; a token without probability becomes -inf.
fn logarithms(probabilities: &[f64], logits: &mut [f32]) {
    for (logit, &p) in logits.iter_mut().zip(probabilities) {
        #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
        let log = if p > 0.0 { libm::log(p) as f32 } else { f32::NEG_INFINITY };
        *logit = log;
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("generated", &self.generated.len()).finish_non_exhaustive()
    }
}
