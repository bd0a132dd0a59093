//! One sequence.

use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

use watermark_core::mark::{MarkState, Raised, Sampling, Session, SessionOptions};

use crate::WmMarker;
use crate::arguments::{Versioned, check_row, exclusive, optional_string, read, shared, slice, slice_mut, write};
use crate::handle::{create, free};
use crate::status::{Failure, Result, WmStatus, guard};

/// One sequence being sampled. One thread at a time.
///
/// An error other than WM_STATUS_INVALID_ARGUMENT is sticky: every call returns it again until `wm_session_reset`.
pub struct WmSession {
    pub(crate) inner: Session,
    /// The sticky error, as what callers see of it.
    failure: Option<Failure>,
}

/// How one sequence is sampled. Fill it with `wm_session_options_default`, then change what differs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WmSessionOptions {
    /// sizeof(WmSessionOptions).
    pub struct_size: usize,
    /// The account that asks, NUL-terminated; needed by layers with a key per account, refused if no layer has one. NULL for
    /// none.
    pub account: *const c_char,
    /// Seed of every draw that no key decides. The same seed for two sequences repeats those draws.
    pub seed: u64,
    /// Keep the top_k most likely tokens; 0 keeps all.
    pub top_k: u64,
    /// Keep the fewest most likely tokens whose probabilities sum to at least top_p; 1 keeps all.
    pub top_p: f64,
    /// Keep tokens with at least min_p times the probability of the most likely one; 0 keeps all.
    pub min_p: f64,
    /// Divides the logits; 0 is greedy decoding, which carries no mark unless the profile's sampling policy sees to it.
    pub temperature: f32,
    /// 1 marks; 0 samples without any mark and without the profile's sampling policy.
    pub marked: u32,
    /// The request's number in the ledger, NUL-terminated, for example "ledger/2026-11/17"; a marked session of a profile with paired
    /// draws needs one that no other answer has, and profiles without them refuse it. NULL for none.
    pub request: *const c_char,
}

// SAFETY: pointers, integers and floats only.
unsafe impl Versioned for WmSessionOptions {
    const FIRST: usize = 56;
    const NAME: &'static str = "options";
}

impl WmSessionOptions {
    const DEFAULT: Self = Self {
        struct_size: size_of::<Self>(),
        account: std::ptr::null(),
        seed: 0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        temperature: 1.0,
        marked: 1,
        request: std::ptr::null(),
    };

    unsafe fn to_core(self) -> Result<SessionOptions> {
        if self.marked > 1 {
            return Err(Failure::argument(format!("options: marked is {}; it must be 0 or 1", self.marked)));
        }
        let sampling = Sampling {
            temperature: self.temperature,
            // More than memory can hold keeps all too.
            top_k: (self.top_k > 0).then(|| usize::try_from(self.top_k).unwrap_or(usize::MAX)),
            top_p: Some(self.top_p),
            min_p: (self.min_p != 0.0).then_some(self.min_p),
        };
        let account = optional_string(self.account, "options: account")?.map(str::to_owned);
        let request = optional_string(self.request, "options: request")?.map(str::to_owned);
        Ok(SessionOptions { account, marked: self.marked == 1, seed: self.seed, sampling, request })
    }
}

/// What the profile's sampling policy raised in a session's options.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WmRaised {
    /// sizeof(WmRaised).
    pub struct_size: usize,
    /// The top-p that was asked for, and what it became; both 0 if it was left as it was.
    pub top_p_from: f64,
    /// See top_p_from.
    pub top_p_to: f64,
    /// The temperature that was asked for, and what it became; both 0 if it was left as it was.
    pub temperature_from: f32,
    /// See temperature_from.
    pub temperature_to: f32,
}

// SAFETY: integers and floats only.
unsafe impl Versioned for WmRaised {
    const FIRST: usize = 32;
    const NAME: &'static str = "raised";
}

/// Whether a position carries a mark, and if not, why.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WmMarkState {
    /// At least one layer acted on the distribution or on the draw.
    Marked = 0,
    /// The session was opened unmarked, or has not sampled yet, or only its choosing layer could mark and `process` left the
    /// draw to the caller.
    Off = 1,
    /// Temperature 0: the most likely token, whatever the key. Not where the profile's policy raised it, or where a boost before the
    /// temperature acted.
    Greedy = 2,
    /// One token holds (nearly) all the probability, so no key could have changed it.
    Certain = 3,
    /// No layer has a context here: too few generated tokens, or a special one among them.
    NoContext = 4,
    /// The only layer with a context is the choosing one, and it has used this context before.
    Repeated = 5,
    /// A state of a later version.
    Other = 6,
}

/// Marked, seed 0, no account, no request, temperature 1, no truncation. Set `options->struct_size` to sizeof(WmSessionOptions) first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_options_default(options: *mut WmSessionOptions) -> WmStatus {
    guard(|| write(options, &WmSessionOptions::DEFAULT))
}

/// Starts a sequence with no generated tokens; `options` NULL is the default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_new(
    marker: *const WmMarker,
    options: *const WmSessionOptions,
    out: *mut *mut WmSession,
) -> WmStatus {
    create(out, || {
        let options = if options.is_null() { WmSessionOptions::DEFAULT } else { read(options)? };
        let inner = shared(marker, "marker")?.0.session(&options.to_core()?)?;
        Ok(WmSession { inner, failure: None })
    })
}

/// Applies temperature, truncation and the reweighting layers, in the order of the profile's policy, to `logits` [n = vocab_size] in
/// place; tokens outside the
/// truncation become -inf, and what is -inf (a grammar's mask) stays so. For engines that draw the token themselves: a
/// choosing layer has no part.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_process(session: *mut WmSession, logits: *mut f32, n: usize) -> WmStatus {
    step(session, |session| {
        check_row(n, session.vocab_size())?;
        let logits = slice_mut(logits, n, "logits")?;
        Ok(move |session: &mut Session| session.process(logits))
    })
}

/// Draws the next token from `logits` [n = vocab_size], which are not changed; -inf is a token that cannot be drawn. Does not
/// advance the sequence: calling it again gives the same token.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_sample(
    session: *mut WmSession,
    logits: *const f32,
    n: usize,
    token: *mut u32,
) -> WmStatus {
    draw(session, logits, n, token, Session::sample)
}

/// As `wm_session_sample` where only some tokens are left, after a truncation elsewhere: `ids` and `logits` [n], aligned, ids
/// distinct and in any order.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_sample_among(
    session: *mut WmSession,
    ids: *const u32,
    logits: *const f32,
    n: usize,
    token: *mut u32,
) -> WmStatus {
    step(session, |_| {
        let (ids, logits) = (slice(ids, n, "ids")?, slice(logits, n, "logits")?);
        let token = exclusive(token, "token")?;
        Ok(move |session: &mut Session| session.sample_among(ids, logits).map(|drawn| *token = drawn))
    })
}

/// Hands in a proxy's next-token probabilities [n = vocab_size] for the next position, as layers whose scheme needs a
/// proxy (`adfp`) want them before every sample or process. Forgotten when the sequence moves.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_set_proxy(
    session: *mut WmSession,
    probabilities: *const f32,
    n: usize,
) -> WmStatus {
    step(session, |session| {
        check_row(n, session.vocab_size())?;
        let probabilities = slice(probabilities, n, "probabilities")?;
        Ok(move |session: &mut Session| session.set_proxy(probabilities))
    })
}

/// Appends the token that was really emitted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_accept(session: *mut WmSession, token: u32) -> WmStatus {
    step(session, |_| Ok(move |session: &mut Session| session.accept(token)))
}

/// Takes back the last `n` accepted or drafted tokens, or all if there are fewer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_rollback(session: *mut WmSession, n: usize) -> WmStatus {
    step(session, |_| {
        Ok(move |session: &mut Session| {
            session.rollback(n);
            Ok(())
        })
    })
}

/// Draws a draft token from the draft model's `logits` [n = vocab_size] and puts it at the end of the sequence until
/// `wm_session_verify`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_draft(
    session: *mut WmSession,
    logits: *const f32,
    n: usize,
    token: *mut u32,
) -> WmStatus {
    draw(session, logits, n, token, Session::draft)
}

/// Puts a draft token that was not drawn here at the end of the sequence until `wm_session_verify`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_propose(session: *mut WmSession, token: u32) -> WmStatus {
    step(session, |_| Ok(move |session: &mut Session| session.propose(token)))
}

/// Replaces the drafts by what the target model's rows give: the drafts up to the first one that does not hold, then one
/// token more. `rows` [n_rows, vocab_size], row after row, with n_rows = drafts + 1. `*n_emitted` is 1 to n_rows; the tokens
/// are the last of `wm_session_generated`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_verify(
    session: *mut WmSession,
    rows: *const f32,
    n_rows: usize,
    n_emitted: *mut usize,
) -> WmStatus {
    step(session, |session| {
        // Before memory that may not be there is spoken of: at most one row more than the sequence has tokens.
        if n_rows == 0 || n_rows > session.generated().len() + 1 {
            return Err(Failure::argument(format!("n_rows is {n_rows}; it must be the number of drafts and 1")));
        }
        let n = n_rows * session.vocab_size();
        let (rows, n_emitted) = (slice(rows, n, "rows")?, exclusive(n_emitted, "n_emitted")?);
        Ok(move |session: &mut Session| session.verify(rows).map(|n| *n_emitted = n))
    })
}

/// The tokens so far, drafts last: `*n` is how many there are, and they are written to `tokens` [capacity] if they fit.
/// `tokens` NULL with capacity 0 asks for the number alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_generated(
    session: *const WmSession,
    tokens: *mut u32,
    capacity: usize,
    n: *mut usize,
) -> WmStatus {
    guard(|| hand_out(shared(session, "session")?.inner.generated().iter().copied(), tokens, capacity, n))
}

/// What stands in the place of a token where there is none.
pub const WM_NO_TOKEN: u32 = u32::MAX;

/// What paired draws withheld at each position of `wm_session_generated`: the candidate that the coin did not serve, which may be the same
/// token; WM_NO_TOKEN where another token was accepted than the one that was drawn. As `wm_session_generated`; none in a session without
/// paired draws. It belongs to the provider and not to the client. The token that ends the answer must be accepted and kept with the
/// others, or be special.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_withheld(
    session: *const WmSession,
    tokens: *mut u32,
    capacity: usize,
    n: *mut usize,
) -> WmStatus {
    guard(|| {
        let withheld = shared(session, "session")?.inner.withheld();
        hand_out(withheld.iter().map(|token| token.unwrap_or(WM_NO_TOKEN)), tokens, capacity, n)
    })
}

/// Writes how many tokens there are, and the tokens if they fit.
unsafe fn hand_out(
    found: impl ExactSizeIterator<Item = u32>,
    tokens: *mut u32,
    capacity: usize,
    n: *mut usize,
) -> Result<()> {
    *exclusive(n, "n")? = found.len();
    if tokens.is_null() && capacity == 0 {
        return Ok(());
    }
    if found.len() > capacity {
        return Err(Failure::argument(format!("{} tokens do not fit into {capacity}", found.len())));
    }
    let tokens = slice_mut(tokens, found.len(), "tokens")?;
    tokens.iter_mut().zip(found).for_each(|(place, token)| *place = token);
    Ok(())
}

/// Whether the position last sampled or processed carries a mark.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_mark_state(session: *const WmSession, state: *mut WmMarkState) -> WmStatus {
    guard(|| {
        let state_now = match shared(session, "session")?.inner.mark_state() {
            MarkState::Marked => WmMarkState::Marked,
            MarkState::Off => WmMarkState::Off,
            MarkState::Greedy => WmMarkState::Greedy,
            MarkState::Certain => WmMarkState::Certain,
            MarkState::NoContext => WmMarkState::NoContext,
            MarkState::Repeated => WmMarkState::Repeated,
            _ => WmMarkState::Other,
        };
        // Not through a reference: what lies there need not be a state yet.
        if state.is_null() || !state.is_aligned() {
            return Err(Failure::argument("state is NULL or misaligned"));
        }
        state.write(state_now);
        Ok(())
    })
}

/// What the profile's sampling policy raised; nothing in an unmarked session. Set `raised->struct_size` to sizeof(WmRaised) first.
/// Where the policy has a floor for top-p, top-k and min-p are held to it too, row by row, which is not in here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_raised(session: *const WmSession, raised: *mut WmRaised) -> WmStatus {
    guard(|| {
        let Raised { temperature, top_p } = shared(session, "session")?.inner.raised();
        let (temperature_from, temperature_to) = temperature.map_or((0.0, 0.0), |change| (change.from, change.to));
        let (top_p_from, top_p_to) = top_p.map_or((0.0, 0.0), |change| (change.from, change.to));
        let struct_size = size_of::<WmRaised>();
        write(raised, &WmRaised { struct_size, top_p_from, top_p_to, temperature_from, temperature_to })
    })
}

/// The message of the session's sticky error; NULL if there is none. Valid until the next call with this session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_error(session: *const WmSession) -> *const c_char {
    let mut message = std::ptr::null();
    guard(|| {
        message = shared(session, "session")?.failure.as_ref().map_or(message, |failure| failure.message().as_ptr());
        Ok(())
    });
    message
}

/// `wm_session_reserve` goes no further: memory that is not there would end the process.
const LONGEST: usize = 1 << 24;

/// Makes room for `tokens` more tokens, 2^24 at most, so that accepting them allocates nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_reserve(session: *mut WmSession, tokens: usize) -> WmStatus {
    step(session, |_| {
        if tokens > LONGEST {
            return Err(Failure::argument(format!("room for {tokens} tokens; ask for at most {LONGEST}")));
        }
        Ok(move |session: &mut Session| {
            session.reserve(tokens);
            Ok(())
        })
    })
}

/// An independent copy at this point. Draws that no key decides repeat in the copy as long as both have the same number of
/// tokens. A request has one answer, so a copy has no paired draws.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_fork(session: *const WmSession, out: *mut *mut WmSession) -> WmStatus {
    create(out, || Ok(shared(session, "session")?.fork()))
}

/// Back to no generated tokens; clears a sticky error. With paired draws only the same answer may be made again: another one takes a
/// session and a request of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_reset(session: *mut WmSession) -> WmStatus {
    guard(|| {
        exclusive(session, "session")?.reset();
        Ok(())
    })
}

/// Ends a session; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_session_free(session: *mut WmSession) {
    free(session);
}

impl WmSession {
    /// A copy that goes its own way.
    pub(crate) fn fork(&self) -> Self {
        Self { inner: self.inner.fork(), failure: self.failure.clone() }
    }

    /// One call of the core: what goes wrong in it sticks, a panic too.
    pub(crate) fn run(&mut self, call: impl FnOnce(&mut Session) -> watermark_core::Result<()>) -> Result<()> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let result = match catch_unwind(AssertUnwindSafe(|| call(&mut self.inner))) {
            Ok(result) => result.map_err(Failure::from),
            Err(payload) => Err(Failure::panic(&*payload)),
        };
        self.failure = result.as_ref().err().cloned();
        result
    }

    /// The failure that a panic left, of which the core knows nothing.
    pub(crate) fn defect(&self) -> Option<&Failure> {
        self.failure.as_ref().filter(|failure| failure.status() == WmStatus::Internal)
    }

    pub(crate) fn fail(&mut self, failure: &Failure) {
        self.failure = Some(failure.clone());
    }

    pub(crate) fn reset(&mut self) {
        self.inner.reset();
        self.failure = None;
    }
}

/// Checks arguments with `prepare`, which changes nothing, then runs the call that it gives.
unsafe fn step<C>(session: *mut WmSession, prepare: impl FnOnce(&Session) -> Result<C>) -> WmStatus
where
    C: FnOnce(&mut Session) -> watermark_core::Result<()>,
{
    guard(|| {
        let session = exclusive(session, "session")?;
        let call = prepare(&session.inner)?;
        session.run(call)
    })
}

/// A call that gives a token for a row.
unsafe fn draw(
    session: *mut WmSession,
    logits: *const f32,
    n: usize,
    token: *mut u32,
    call: fn(&mut Session, &[f32]) -> watermark_core::Result<u32>,
) -> WmStatus {
    step(session, |session| {
        check_row(n, session.vocab_size())?;
        let (logits, token) = (slice(logits, n, "logits")?, exclusive(token, "token")?);
        Ok(move |session: &mut Session| call(session, logits).map(|drawn| *token = drawn))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use watermark_core::key::{KeyPath, NodeKey};
    use watermark_core::mark::Marker;
    use watermark_core::profile::{Layer, Profile, TokenizerInfo};
    use watermark_core::scheme::{Gumbel, Scheme};

    use super::*;

    #[test]
    fn a_panic_sticks_until_reset() {
        let layer = Layer { name: "p".into(), scheme: Scheme::Gumbel(Gumbel).into(), width: 1, per_account: false };
        let tokenizer = TokenizerInfo { sha256: [0; 32], vocab_size: 4, special_token_ids: vec![] };
        let profile =
            Profile { name: "t".into(), path: KeyPath::root(), tokenizer, layers: vec![layer], ..Profile::default() };
        let marker = Marker::new(profile, &NodeKey::root(b"m")).unwrap();
        let mut session = WmSession { inner: marker.session(&SessionOptions::default()).unwrap(), failure: None };
        session.run(|session| session.accept(1)).unwrap();
        let thrown = session.run(|_| panic!("inside")).unwrap_err();
        assert!(thrown.message().to_str().unwrap().ends_with("inside"));
        let again = session.run(|session| session.accept(2)).unwrap_err();
        assert_eq!((again.message(), session.inner.generated()), (thrown.message(), &[1][..]));
        session.reset();
        session.run(|session| session.accept(3)).unwrap();
        assert_eq!(session.inner.generated(), [3]);
    }
}
