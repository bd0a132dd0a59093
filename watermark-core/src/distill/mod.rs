//! Tests of a suspect model: was it trained on marked answers?
//!
//! Null hypothesis everywhere: the model is independent of the key. One statistic, three kinds of access: a pair of
//! (context, token) is scored once, weighted by how strongly the model prefers it, which its answers show by counts, its
//! next-token probabilities by their sums, and reading our text by its choices there.

mod sample;
mod tails;

pub use sample::{ModelFinding, ModelSample, Round, controls_agree, log10_p_anytime};
#[cfg(feature = "evidence")]
pub(crate) use tails::keyless;
pub use tails::{ScoreClass, Tails};
