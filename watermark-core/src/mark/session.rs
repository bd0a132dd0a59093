use std::sync::Arc;

use hashbrown::HashMap;

use super::choosing::{Choosing, ContextKey};
use super::drafts::Drafts;
use super::pairs::Paired;
use super::policy::Admitted;
use super::proxy::Proxy;
use super::scratch::Scratch;
use super::{Logit, Raised};
use crate::paired::{Candidates, Draw};
use crate::prf::{ChaCha20V1, Context};
use crate::scheme::{Gumbel, Scheme};
use crate::{Error, ErrorKind, Result};

/// Whether the position that [`Session::sample`] or [`Session::process`] looked at last carries a mark, and if not,
/// why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MarkState {
    /// At least one layer acted on the distribution or on the draw.
    Marked,
    /// The session was opened unmarked, or has not sampled yet, or only its choosing layer could mark and `process` left the
    /// draw to the caller.
    Off,
    /// The temperature is 0, so the token is the most likely one, whatever the key. Not where the profile's policy raised it
    /// ([`Session::raised`]), or where a boost before the temperature acted.
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
/// the token that was really emitted. After an error every call that can fail returns it again until [`Session::reset`]. With a
/// draft model: [`Session::draft`] and [`Session::verify`].
///
/// A position is marked by a layer when `width` generated tokens precede it and none of them is special. Prompt tokens
/// are never context, so the session does not need them. Layers of engine formats follow the engine's own rule.
///
/// A session holds its sequence only. What a step needs besides, some 50 bytes for each token of the vocabulary, is
/// kept once per thread. After the first marked step on a thread no step allocates memory, if [`Session::reserve`] has
/// made room for the sequence.
///
/// # Example
///
/// ```
/// # use watermark_core::key::{KeyPath, NodeKey};
/// # use watermark_core::mark::{MarkState, Marker, SessionOptions};
/// # use watermark_core::profile::{Layer, Profile, TokenizerInfo};
/// # use watermark_core::scheme::{Greenlist, Gumbel, Scheme};
/// # let profile = Profile {
/// #     name: "chat".to_owned(),
/// #     path: KeyPath::root(),
/// #     tokenizer: TokenizerInfo { sha256: [0; 32], vocab_size: 100, special_token_ids: vec![] },
/// #     layers: Layer::defaults(Scheme::Greenlist(Greenlist::new(0.5, 2.0)?), Scheme::Gumbel(Gumbel)),
/// #     ..Profile::default()
/// # };
/// # let marker = Marker::new(profile, &NodeKey::root(b"an example"))?;
/// # // In place of a model: logits that depend on the last token.
/// # let model = |tokens: &[u32]| -> Vec<f32> {
/// #     let last = tokens.last().copied().unwrap_or(0);
/// #     (0..100_u32).map(|token| ((token * 31 + last * 17) % 97) as f32 / 30.0).collect()
/// # };
/// let mut session = marker.session(&SessionOptions { marked: true, seed: 7, ..SessionOptions::default() })?;
/// assert_eq!(session.mark_state(), MarkState::Off);
/// for _ in 0..40 {
///     let logits = model(session.generated());
///     let token = session.sample(&logits)?;
///     session.accept(token)?;
/// }
/// assert_eq!(session.mark_state(), MarkState::Marked);
///
/// // An engine may take tokens back, for instance when it preempts a request. Every draw depends on the keys, the seed, the
/// // context and the position alone, so the same tokens come again.
/// let text = session.generated().to_vec();
/// session.rollback(10);
/// while session.generated().len() < 40 {
///     let logits = model(session.generated());
///     let token = session.sample(&logits)?;
///     session.accept(token)?;
/// }
/// assert_eq!(session.generated(), text);
///
/// // A grammar that leaves one token leaves no room for a mark, and the session says so.
/// let mut only = [f32::NEG_INFINITY; 100];
/// only[42] = 0.0;
/// assert_eq!(session.sample(&only)?, 42);
/// assert_eq!(session.mark_state(), MarkState::Certain);
/// # Ok::<(), watermark_core::Error>(())
/// ```
pub struct Session {
    pub(super) reweighting: Vec<(Scheme, ChaCha20V1)>,
    pub(super) choosing: Option<Choosing>,
    pub(super) draws: ChaCha20V1,
    pub(super) admitted: Admitted,
    pub(super) vocab_size: usize,
    pub(super) special: Arc<[u32]>,
    /// Accepted tokens, then pending drafts.
    pub(super) generated: Vec<u32>,
    /// Contexts of the choosing layer at the positions of `generated`, each with the number of positions that have it.
    used: HashMap<ContextKey, u32>,
    error: Option<Error>,
    pub(super) state: MarkState,
    pub(super) proxy: Proxy,
    pub(super) drafts: Drafts,
    pub(super) paired: Option<Paired>,
}

impl Session {
    pub(super) fn new(
        reweighting: Vec<(Scheme, ChaCha20V1)>,
        choosing: Option<Choosing>,
        draws: ChaCha20V1,
        admitted: Admitted,
        vocab_size: usize,
        special: Arc<[u32]>,
    ) -> Self {
        Self {
            reweighting,
            choosing,
            draws,
            admitted,
            vocab_size,
            special,
            generated: Vec::new(),
            used: HashMap::new(),
            error: None,
            state: MarkState::Off,
            proxy: Proxy::default(),
            drafts: Drafts::default(),
            paired: None,
        }
    }

    /// Tokens accepted so far; drafts that wait for [`Session::verify`] are the last of them.
    #[must_use]
    pub fn generated(&self) -> &[u32] {
        &self.generated
    }

    /// What paired draws withheld at each position of [`Self::generated`]: the candidate that the coin did not serve, which may be the same
    /// token. `None` where the accepted token is another than the drawn one, so that the position shows nothing. Empty in a session without
    /// paired draws. The token that ends the answer must be accepted and kept with the others, or be special: left out only where it was
    /// served, it would say which side that was.
    #[must_use]
    pub fn withheld(&self) -> &[Option<u32>] {
        self.paired.as_ref().map_or(&[], Paired::withheld)
    }

    /// Whether the session draws two candidates and withholds one.
    #[must_use]
    pub fn has_paired_draws(&self) -> bool {
        self.paired.is_some()
    }

    /// Whether the position last sampled or processed carries a mark, and if not, why.
    #[must_use]
    pub fn mark_state(&self) -> MarkState {
        self.state
    }

    /// What the profile's sampling policy raised in the request. Nothing in an unmarked session.
    #[must_use]
    pub fn raised(&self) -> Raised {
        self.admitted.raised
    }

    /// Length of a row of logits.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The error that every call that can fail returns until [`Session::reset`].
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Makes room for `tokens` more tokens, so that accepting them allocates nothing.
    pub fn reserve(&mut self, tokens: usize) {
        self.generated.reserve(tokens);
        self.paired.iter_mut().for_each(|paired| paired.reserve(tokens));
        if self.choosing.is_some() {
            // Twice as many, because rollbacks leave gaps in the table, which are cleared in place if there is room.
            self.used.reserve(tokens.saturating_mul(2));
        }
    }

    /// Hands in a proxy model's next-token probabilities [vocab_size] for the next position. Layers that need a proxy
    /// ([`Scheme::needs_proxy`]) need them before every [`Session::sample`] or [`Session::process`], because the
    /// session forgets them whenever its sequence changes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidLogits`] for a wrong length, a value that is not a probability, or a sum away from 1; sticky.
    pub fn set_proxy(&mut self, probabilities: &[f32]) -> Result<()> {
        self.guarded(|session| session.proxy.set(probabilities, session.vocab_size))
    }

    /// Applies temperature, truncation and the reweighting layers, in the order of the profile's policy, to a row of logits [vocab_size]
    /// in place. Tokens
    /// outside the truncation become -inf, and a token that is -inf already (masked by a grammar, say) stays so. This
    /// is for engines that draw the token themselves, so a choosing layer has no effect.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidLogits`] for NaN, +inf, no finite entry or a wrong length; sticky.
    pub fn process<L: Logit>(&mut self, logits: &mut [L]) -> Result<()> {
        self.step(|session, scratch| {
            session.distribution(logits, scratch)?;
            logits.fill(L::from_f32(f32::NEG_INFINITY));
            for (&id, &logit) in scratch.support.ids.iter().zip(&scratch.support.logits) {
                logits[id as usize] = L::from_f32(logit);
            }
            Ok(())
        })
    }

    /// Draws the next token from a row of logits [vocab_size], which is not changed; -inf is a token that cannot be drawn.
    /// Does not advance the sequence: calling it again gives the same token.
    ///
    /// # Errors
    /// As [`Self::process`].
    pub fn sample<L: Logit>(&mut self, logits: &[L]) -> Result<u32> {
        self.step(|session, scratch| {
            session.distribution(logits, scratch)?;
            session.choose(scratch)
        })
    }

    /// As [`Self::sample`] where only some tokens are left, after a truncation elsewhere. The token is the one that `sample`
    /// draws from a row with -inf for all others. Shapes: both [n], aligned, ids distinct and in any order.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`]; [`ErrorKind::InvalidLogits`] for a repeated id, different lengths, NaN, +inf or no
    /// finite entry; sticky.
    pub fn sample_among<L: Logit>(&mut self, ids: &[u32], logits: &[L]) -> Result<u32> {
        self.step(|session, scratch| {
            scratch.support.gather(ids, logits, session.vocab_size)?;
            session.reweight(scratch)?;
            session.choose(scratch)
        })
    }

    /// Appends the emitted token.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`] for an id at or above the vocabulary size; sticky.
    pub fn accept(&mut self, token: u32) -> Result<()> {
        self.guarded(|session| {
            session.no_drafts()?;
            session.push(token)
        })
    }

    /// Takes back the last `n` accepted or drafted tokens, or all if there are fewer.
    pub fn rollback(&mut self, n: usize) {
        self.proxy.clear();
        let n = n.min(self.generated.len());
        let left = self.generated.len() - n;
        self.paired.iter_mut().for_each(|paired| paired.truncate(left));
        self.drafts.truncate(self.drafts.len().saturating_sub(n));
        for _ in 0..n {
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
    /// number of tokens. A request has one answer, so a copy has no paired draws: another answer takes a session and a request of its own.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            reweighting: self.reweighting.clone(),
            choosing: self.choosing.clone(),
            draws: self.draws.clone(),
            admitted: self.admitted,
            vocab_size: self.vocab_size,
            special: Arc::clone(&self.special),
            generated: self.generated.clone(),
            used: self.used.clone(),
            error: self.error.clone(),
            state: self.state,
            proxy: self.proxy.clone(),
            drafts: self.drafts.clone(),
            paired: None,
        }
    }

    /// Back to no generated tokens; clears a sticky error. With paired draws only the same answer may be made again, after a failure for
    /// instance: another one takes a session and a request of its own.
    pub fn reset(&mut self) {
        self.generated.clear();
        self.used.clear();
        self.proxy.clear();
        self.drafts.truncate(0);
        self.paired.iter_mut().for_each(|paired| paired.truncate(0));
        self.error = None;
        self.state = MarkState::Off;
    }

    pub(super) fn guarded<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let result = step(self);
        if let Err(error) = &result {
            self.error = Some(error.clone());
        }
        result
    }

    /// Runs `step` on the next position. Refused while draft tokens wait, because verification may still replace them.
    fn step<T>(&mut self, step: impl FnOnce(&mut Self, &mut Scratch) -> Result<T>) -> Result<T> {
        self.guarded(|session| {
            session.no_drafts()?;
            Scratch::with(session.vocab_size, |scratch| step(session, scratch))
        })
    }

    fn no_drafts(&self) -> Result<()> {
        match self.drafts.len() {
            0 => Ok(()),
            n => Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("{n} draft tokens wait; verify them or roll them back first"),
            )),
        }
    }

    /// Appends a token to the sequence.
    pub(super) fn push(&mut self, token: u32) -> Result<()> {
        if token as usize >= self.vocab_size {
            return Err(Error::out_of_vocabulary(token, self.vocab_size));
        }
        if let Some(key) = self.choosing_context_key() {
            *self.used.entry(key).or_insert(0) += 1;
        }
        self.generated.push(token);
        self.paired.iter_mut().for_each(|paired| paired.push(token));
        self.proxy.clear();
        Ok(())
    }

    /// Leaves the truncated, reweighted distribution of a row in `scratch`.
    pub(super) fn distribution<L: Logit>(&mut self, row: &[L], scratch: &mut Scratch) -> Result<()> {
        if row.len() != self.vocab_size {
            let message = format!("{} logits for a vocabulary of {}", row.len(), self.vocab_size);
            return Err(Error::new(ErrorKind::InvalidLogits, message));
        }
        scratch.support.load(row)?;
        self.reweight(scratch)
    }

    /// Draws from the distribution in `scratch`.
    pub(super) fn choose(&mut self, scratch: &mut Scratch) -> Result<u32> {
        let key = self.marked_context(scratch);
        if let Some(coin) = self.coin() {
            let served = self.draw(key.as_ref(), coin == Draw::Second, scratch)?;
            let withheld = self.draw(key.as_ref(), coin == Draw::First, scratch)?;
            self.paired.iter_mut().for_each(|paired| paired.draw(Candidates { served, withheld }));
            if scratch.support.ids.len() > 1 && self.state != MarkState::Certain {
                self.state = MarkState::Marked;
            }
            return Ok(served);
        }
        let second = key.is_some() && self.choosing.as_ref().is_some_and(|layer| layer.uses_b(self.public_words()[0]));
        self.draw(key.as_ref(), second, scratch)
    }

    /// The context under which the choosing layer draws the next token; `None` if the draw is an ordinary one. Sets the
    /// state.
    pub(super) fn marked_context(&mut self, scratch: &Scratch) -> Option<ContextKey> {
        let layer = self.choosing.as_ref()?;
        if scratch.support.ids.len() == 1 {
            return None;
        }
        let known = layer.context(&self.generated, &self.special);
        let key = known.filter(|key| !self.used.contains_key(key) && self.used.len() < layer.max_contexts());
        if !matches!(self.state, MarkState::Certain | MarkState::Marked) {
            self.state = match (known, key) {
                (_, Some(_)) => MarkState::Marked,
                (Some(_), None) => MarkState::Repeated,
                (None, None) => MarkState::NoContext,
            };
        }
        key
    }

    /// Draws from the distribution in `scratch` under the choosing layer's words in context `key`, or without one under public
    /// words that belong to the position; `second` asks for the second of two keys, or for the second public words.
    pub(super) fn draw(&self, key: Option<&ContextKey>, second: bool, scratch: &mut Scratch) -> Result<u32> {
        let Scratch { support, words, .. } = scratch;
        if let [only] = support.ids[..] {
            return Ok(only);
        }
        let chosen = if let (Some(layer), Some(key)) = (&self.choosing, key) {
            layer.words(key, second, &support.ids, words)?;
            layer.choose(&support.logits, &words.words)
        } else {
            // An ordinary draw is Gumbel-max too, with public words, or with the request's.
            let draws = match &self.paired {
                Some(paired) => paired.key.draws(if second { Draw::Second } else { Draw::First }),
                None if second => &self.draws.key_b(),
                None => &self.draws,
            };
            words.fill(draws, self.position(), &support.ids)?;
            Gumbel::choose(&support.logits, &words.words)
        };
        chosen.map(|at| support.ids[at]).ok_or_else(|| Error::new(ErrorKind::InvalidLogits, "no token can be drawn"))
    }

    /// Which of two draws is served at the next position, in a session with paired draws.
    pub(super) fn coin(&self) -> Option<Draw> {
        let paired = self.paired.as_ref()?;
        Some(paired.key.coin(u32::try_from(self.generated.len()).unwrap_or(u32::MAX)))
    }

    /// Public uniform words that belong to the next position.
    pub(super) fn public_words(&self) -> [u32; 16] {
        self.draws.context_words(self.position())
    }

    fn position(&self) -> Context {
        Context::from_number(self.generated.len() as u64)
    }

    /// The choosing layer's context at the next position, if it has one there.
    fn choosing_context_key(&self) -> Option<ContextKey> {
        self.choosing.as_ref()?.context(&self.generated, &self.special)
    }
}

/// As [`Session::fork`].
impl Clone for Session {
    fn clone(&self) -> Self {
        self.fork()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("generated", &self.generated.len()).finish_non_exhaustive()
    }
}
