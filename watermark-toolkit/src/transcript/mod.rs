//! `watermark-transcript/1`: what was asked and answered, one JSON line per exchange, hash-chained.
//!
//! The first line is a [`Header`], every other one an [`Exchange`]. Each ends in `prev`, the hash of the line before
//! (64 zeros in the header), and `sha256` = SHA-256(`prev` as hexadecimal digits, then the line without its `sha256`
//! field). A line without its newline at the end of the file was being written when the run was killed; it is not
//! part of the transcript. A prompt that failed may be asked again in the same round; its last line counts.
//!
//! A run of questions writes transcripts, and tests of a model read them; neither needs the other for it.

pub mod answer;
mod api;
mod chain;
mod file;
mod format;
#[cfg(test)]
mod tests;

pub use api::Api;
pub use file::{Reader, Writer, is_transcript};
#[cfg(feature = "http")]
pub(crate) use format::collector;
pub use format::{
    Attempt, Exchange, FORMAT, Failure, FaultKind, Header, MAX_RESPONSE_BYTES, Registered, prompts_sha256,
};
