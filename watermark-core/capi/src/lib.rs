//! The C interface of `watermark-core`: `include/watermark.h`, made from this source by cbindgen, says what callers must
//! know. Every function is a thin wrapper: checked arguments in, one call of the core, a status out.

mod arguments;
mod batch;
mod detect;
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
