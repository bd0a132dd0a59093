//! (key, context, token) -> 32-bit word. One file per algorithm; a changed output is a new version name.

mod chacha20;
mod lanes;

pub use chacha20::{ChaCha20V1, Context};
