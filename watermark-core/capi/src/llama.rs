//! A sampler for llama.cpp: the last one of a chain, which draws the token. Nothing of libllama is linked.
//!
//! The layouts are those of `llama.h` (libllama 0.5.0, October 2026); the six slots before `backend_init` are as old as
//! `llama_sampler_i` with `free`, and an older library does not read the others.

use std::ffi::{c_char, c_void};

use crate::WmSession;
use crate::arguments::{exclusive, shared, slice};
use crate::handle::create;
use crate::status::{Failure, Result, WmStatus, guard};

#[repr(C)]
struct TokenData {
    id: i32,
    logit: f32,
    p: f32,
}

#[repr(C)]
struct TokenDataArray {
    data: *mut TokenData,
    size: usize,
    /// An index, not an id.
    selected: i64,
    sorted: bool,
}

/// `struct llama_sampler` of llama.h.
#[repr(C)]
pub struct LlamaSampler {
    iface: *const LlamaSamplerI,
    ctx: *mut c_void,
}

type Unused = Option<unsafe extern "C" fn()>;

/// `struct llama_sampler_i` of llama.h.
#[repr(C)]
pub struct LlamaSamplerI {
    name: Option<unsafe extern "C" fn(*const LlamaSampler) -> *const c_char>,
    accept: Option<unsafe extern "C" fn(*mut LlamaSampler, i32)>,
    apply: Option<unsafe extern "C" fn(*mut LlamaSampler, *mut TokenDataArray)>,
    reset: Option<unsafe extern "C" fn(*mut LlamaSampler)>,
    clone: Option<unsafe extern "C" fn(*const LlamaSampler) -> *mut LlamaSampler>,
    free: Option<unsafe extern "C" fn(*mut LlamaSampler)>,
    backend_init: Unused,
    backend_accept: Unused,
    backend_apply: Unused,
    backend_set_input: Unused,
    backend_reset: Unused,
    copy_state: Option<unsafe extern "C" fn(*const LlamaSampler, *mut LlamaSampler)>,
}

static IFACE: LlamaSamplerI = LlamaSamplerI {
    name: Some(name),
    accept: Some(accept),
    apply: Some(apply),
    reset: Some(reset),
    clone: Some(clone),
    free: Some(free),
    backend_init: None,
    backend_accept: None,
    backend_apply: None,
    backend_set_input: None,
    backend_reset: None,
    copy_state: Some(copy_state),
};

/// `llama_sampler_init` of libllama, which makes every `struct llama_sampler`.
type LlamaSamplerInit = unsafe extern "C" fn(iface: *mut LlamaSamplerI, ctx: *mut c_void) -> *mut LlamaSampler;

struct LlamaCtx {
    session: WmSession,
    init: LlamaSamplerInit,
    ids: Vec<u32>,
    logits: Vec<f32>,
}

/// The functions of the sampler, for `llama_sampler_init`.
#[unsafe(no_mangle)]
pub extern "C" fn wm_llama_iface() -> *mut LlamaSamplerI {
    // libllama takes a pointer to a mutable one and writes nothing to it.
    (&raw const IFACE).cast_mut()
}

/// The state of a sampler: a copy of `session`, which stays yours and has no paired draws. `init` is `llama_sampler_init` itself; clones of the sampler
/// are made with it.
///
/// `llama_sampler_chain_add(chain, llama_sampler_init(wm_llama_iface(), ctx))`
/// must be the last addition to the chain, in place of `dist` or `greedy`, after temperature and truncation, which the
/// session's options then leave alone (their default). A profile with a sampling policy cannot be kept there, because temperature and
/// truncation have been applied before: for one, make the sampler the only one of its chain (penalties and grammars may stand before
/// it) and give temperature and truncation to the session's options. The sampler owns the state and frees it; do not touch `ctx` after
/// `llama_sampler_free`. Feed it generated tokens only: where an application accepts the prompt's tokens too, as for
/// penalties, call `llama_sampler_reset` on this sampler before the first generated one.
///
/// libllama has no way to report an error from a sampler. After one the most likely token is chosen, without a mark, until
/// `llama_sampler_reset`: look at `wm_session_error(wm_llama_session(ctx))` after every answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_llama_ctx_new(
    session: *const WmSession,
    // Spelled out: cbindgen does not look behind the alias.
    init: Option<unsafe extern "C" fn(iface: *mut LlamaSamplerI, ctx: *mut c_void) -> *mut LlamaSampler>,
    out: *mut *mut c_void,
) -> WmStatus {
    create(out.cast::<*mut LlamaCtx>(), || {
        let init = init.ok_or_else(|| Failure::argument("init is NULL; it is llama_sampler_init"))?;
        let session = shared(session, "session")?;
        if session.inner.has_paired_draws() {
            return Err(Failure::argument(
                "the session has paired draws, and a sampler of llama.cpp is copied without a word, so that one request would have several \
                 answers; draw with wm_session_sample_among",
            ));
        }
        Ok(LlamaCtx::new(session.fork(), init))
    })
}

/// The session inside a sampler's state, to look at: its tokens, mark state and error. The sampler's; do not free it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_llama_session(ctx: *mut c_void) -> *mut WmSession {
    let mut session = std::ptr::null_mut();
    guard(|| {
        session = &raw mut exclusive(ctx.cast::<LlamaCtx>(), "ctx")?.session;
        Ok(())
    });
    session
}

impl LlamaCtx {
    fn new(session: WmSession, init: LlamaSamplerInit) -> Self {
        Self { session, init, ids: Vec::new(), logits: Vec::new() }
    }

    /// The index of the token that is drawn.
    fn choose(&mut self, candidates: &[TokenData]) -> Result<usize> {
        let Self { session, ids, logits, .. } = self;
        ids.clear();
        logits.clear();
        for candidate in candidates {
            // A negative id becomes one that no vocabulary has.
            ids.push(u32::try_from(candidate.id).unwrap_or(u32::MAX));
            logits.push(candidate.logit);
        }
        let mut chosen = 0;
        session.run(|session| session.sample_among(ids, logits).map(|token| chosen = token))?;
        let at = ids.iter().position(|&id| id == chosen);
        at.ok_or_else(|| Failure::argument("the token drawn is no candidate"))
    }
}

unsafe fn ctx<'a>(sampler: *mut LlamaSampler) -> Result<&'a mut LlamaCtx> {
    exclusive(shared(sampler, "sampler")?.ctx.cast(), "ctx")
}

unsafe fn ctx_of<'a>(sampler: *const LlamaSampler) -> Result<&'a LlamaCtx> {
    shared(shared(sampler, "sampler")?.ctx.cast(), "ctx")
}

unsafe extern "C" fn name(_: *const LlamaSampler) -> *const c_char {
    c"watermark".as_ptr()
}

unsafe extern "C" fn accept(sampler: *mut LlamaSampler, token: i32) {
    guard(|| {
        let token = u32::try_from(token).unwrap_or(u32::MAX);
        ctx(sampler)?.session.run(|session| session.accept(token))
    });
}

unsafe extern "C" fn apply(sampler: *mut LlamaSampler, candidates: *mut TokenDataArray) {
    guard(|| {
        let array = exclusive(candidates, "candidates")?;
        let candidates = slice(array.data, array.size, "candidates")?;
        let chosen = ctx(sampler)?.choose(candidates);
        let at = chosen.as_ref().map_or_else(|_| most_likely(candidates), |&at| at);
        array.selected = i64::try_from(at).unwrap_or(-1);
        chosen.map(|_| ())
    });
}

unsafe extern "C" fn reset(sampler: *mut LlamaSampler) {
    guard(|| {
        ctx(sampler)?.session.reset();
        Ok(())
    });
}

unsafe extern "C" fn clone(sampler: *const LlamaSampler) -> *mut LlamaSampler {
    let mut copy = std::ptr::null_mut();
    guard(|| {
        let LlamaCtx { session, init, .. } = ctx_of(sampler)?;
        let state = Box::into_raw(Box::new(LlamaCtx::new(session.fork(), *init)));
        copy = init(wm_llama_iface(), state.cast());
        if copy.is_null() {
            drop(Box::from_raw(state));
        }
        Ok(())
    });
    copy
}

unsafe extern "C" fn free(sampler: *mut LlamaSampler) {
    guard(|| {
        let state = shared(sampler, "sampler")?.ctx.cast::<LlamaCtx>();
        if !state.is_null() {
            drop(Box::from_raw(state));
        }
        Ok(())
    });
}

unsafe extern "C" fn copy_state(from: *const LlamaSampler, to: *mut LlamaSampler) {
    guard(|| {
        let session = ctx_of(from)?.session.fork();
        ctx(to)?.session = session;
        Ok(())
    });
}

/// What an error falls back to; the first candidate if no logit is a number.
fn most_likely(candidates: &[TokenData]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (at, candidate) in candidates.iter().enumerate() {
        if candidate.logit > best.1 {
            best = (at, candidate.logit);
        }
    }
    best.0
}
