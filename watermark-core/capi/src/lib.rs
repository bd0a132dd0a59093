//! The C interface of `watermark-core`: `include/watermark.h`, made from this source by cbindgen, says what callers must
//! know. Every function is a thin wrapper: checked arguments in, one call of the core, a status out.

mod arguments;
mod batch;
mod detect;
mod handle;
mod key;
mod llama;
mod marker;
mod session;
mod status;

pub use batch::{WmDtype, wm_process_batch, wm_sample_batch};
pub use detect::*;
pub use key::*;
pub use llama::{wm_llama_ctx_new, wm_llama_iface, wm_llama_session};
pub use marker::*;
pub use session::*;
pub use status::{WmStatus, wm_last_error};

/// What the header says of threads.
const _: () = {
    const fn by_many_at_once<T: Send + Sync>() {}
    const fn by_one_at_a_time<T: Send>() {}
    by_many_at_once::<WmKey>();
    by_many_at_once::<WmPrf>();
    by_many_at_once::<WmMarker>();
    by_many_at_once::<WmDetector>();
    by_many_at_once::<WmScheme>();
    by_one_at_a_time::<WmSession>();
    by_one_at_a_time::<WmTally>();
};
