use std::sync::Arc;

use hashbrown::HashMap;

use super::sampling::{Sampling, Support};
use crate::prf::{ChaCha20V1, Context};
use crate::scheme::{Greenlist, Gumbel, Scheme};
use crate::{Error, ErrorKind, MAX_CONTEXT_WIDTH, Result};

/// One sequence being sampled.
///
/// Per step: [`Session::sample`] (or [`Session::process`] where the engine draws itself), then [`Session::accept`] with
/// the token that was really emitted. After an error every call returns it again until [`Session::reset`].
///
/// A position is marked by a layer when `width` generated tokens precede it and none of them is special. Prompt tokens
/// are never context, so the session does not need them.
#[derive(Clone)]
pub struct Session {
    reweighting: Vec<(Greenlist, ChaCha20V1)>,
    choosing: Option<ChaCha20V1>,
    draws: ChaCha20V1,
    sampling: Sampling,
    vocab_size: usize,
    special: Arc<[u32]>,
    generated: Vec<u32>,
    /// Contexts of the choosing layer at accepted positions, with how many positions each.
    used: HashMap<[u32; MAX_CONTEXT_WIDTH], u32>,
    error: Option<Error>,
    support: Support,
    words: Vec<u32>,
    vocabulary: Vec<u32>,
}

impl Session {
    pub(super) fn new(
        layers: impl IntoIterator<Item = (Scheme, ChaCha20V1)>,
        draws: ChaCha20V1,
        sampling: Sampling,
        vocab_size: usize,
        special: Arc<[u32]>,
    ) -> Self {
        let (mut reweighting, mut choosing) = (Vec::new(), None);
        for (scheme, prf) in layers {
            match scheme {
                Scheme::Greenlist(scheme) => reweighting.push((scheme, prf)),
                Scheme::Gumbel(_) => choosing = Some(prf),
                Scheme::Tournament(_) => {} // refused by `Profile::validate`
            }
        }
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
            support: Support::default(),
            words: Vec::new(),
            vocabulary: Vec::new(),
        }
    }

    /// Tokens accepted so far.
    #[must_use]
    pub fn generated(&self) -> &[u32] {
        &self.generated
    }

    /// Applies temperature, truncation and the reweighting layers to a row of logits [vocab_size] in place; tokens
    /// outside the truncation become -inf. For engines that draw the token themselves: a choosing layer has no part.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidLogits`] for NaN, +inf, no finite entry or a wrong length; sticky.
    pub fn process(&mut self, logits: &mut [f32]) -> Result<()> {
        self.guarded(|session| {
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
            Ok(())
        })
    }

    /// Takes back the last `n` accepted tokens (speculative decoding), or all if there are fewer.
    pub fn rollback(&mut self, n: usize) {
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
        self.error = None;
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
        if self.support.ids.len() == 1 {
            return Ok(());
        }
        for (scheme, prf) in &self.reweighting {
            if let Some(context) = usable_context(prf, &self.generated, &self.special) {
                words(prf, prf.context_unchecked(context), &self.support.ids, &mut self.words, &mut self.vocabulary)?;
                // Special tokens are never green: the largest word is red for every gamma.
                for &special in self.special.iter() {
                    if let Ok(at) = self.support.ids.binary_search(&special) {
                        self.words[at] = u32::MAX;
                    }
                }
                scheme.reweight(&mut self.support.logits, &self.words);
            }
        }
        Ok(())
    }

    fn choose(&mut self) -> Result<u32> {
        if let [only] = self.support.ids[..] {
            return Ok(only);
        }
        let repeated = self.choosing_context_key().is_some_and(|key| self.used.contains_key(&key));
        let keyed = self.choosing.as_ref().filter(|_| !repeated).and_then(|prf| {
            let tokens = usable_context(prf, &self.generated, &self.special)?;
            Some((prf, prf.context_unchecked(tokens)))
        });
        // An ordinary draw is the same Gumbel-max under public randomness that belongs to the position.
        let (prf, context) = keyed.unwrap_or((&self.draws, Context::from_number(self.generated.len() as u64)));
        words(prf, context, &self.support.ids, &mut self.words, &mut self.vocabulary)?;
        Gumbel::choose(&self.support.logits, &self.words)
            .map(|at| self.support.ids[at])
            .ok_or_else(|| Error::new(ErrorKind::InvalidLogits, "no token can be drawn"))
    }

    /// The choosing layer's context at the next position, if it has one there.
    fn choosing_context_key(&self) -> Option<[u32; MAX_CONTEXT_WIDTH]> {
        let tokens = usable_context(self.choosing.as_ref()?, &self.generated, &self.special)?;
        let mut key = [0; MAX_CONTEXT_WIDTH];
        key[..tokens.len()].copy_from_slice(tokens);
        Some(key)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("generated", &self.generated.len()).finish_non_exhaustive()
    }
}

/// The last `width` generated tokens, unless there are fewer or one of them is special.
fn usable_context<'a>(prf: &ChaCha20V1, generated: &'a [u32], special: &[u32]) -> Option<&'a [u32]> {
    let tokens = &generated[generated.len().checked_sub(prf.width())?..];
    (!tokens.iter().any(|token| special.binary_search(token).is_ok())).then_some(tokens)
}

/// The words of `ids` (ascending) into `out`. A block serves 16 neighbouring tokens, so a dense support is cheaper
/// to read out of the whole vocabulary's stream.
fn words(prf: &ChaCha20V1, context: Context, ids: &[u32], out: &mut Vec<u32>, vocabulary: &mut Vec<u32>) -> Result<()> {
    let end = ids.last().map_or(0, |&id| id as usize + 1);
    if ids.len() < end / 16 {
        return prf.words(ids.iter().map(|&id| (context, id)), out);
    }
    vocabulary.resize(end, 0);
    prf.vocabulary_words(context, vocabulary)?;
    out.clear();
    out.extend(ids.iter().map(|&id| vocabulary[id as usize]));
    Ok(())
}
