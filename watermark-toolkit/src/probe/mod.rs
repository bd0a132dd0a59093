//! Asking a suspect model over its OpenAI-compatible endpoint, so that the answers can be judged and replayed.
//!
//! Prompts are asked in rounds. Every finished exchange is one line of a hash-chained [transcript](crate::transcript); after each
//! complete round a judge looks at it, and the run stops when the evidence decides, cannot decide any more, or the
//! budget ends. A run that was cut short goes on where its transcript ends. Whatever the server says is untrusted: sizes
//! are limited, its token counts are not used, and the API token is removed from its text before anything is kept.

pub mod ask;
pub mod budget;
pub mod client;
pub mod endpoint;
pub mod inquiry;
pub mod judge;
pub mod plan;
pub mod run;

mod state;
