//! (key, context, token) -> 32-bit word, and what such an input is. A changed output is a new version name.

mod chacha20;
#[cfg(feature = "detect")]
mod input;
mod lanes;

pub use chacha20::{ChaCha20V1, Context};
#[cfg(feature = "detect")]
pub use input::Pair;
#[cfg(feature = "detect")]
pub(crate) use input::{Position, RuleId, positions};
