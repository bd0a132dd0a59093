//! Tests of a suspect model: was it trained on marked answers?
//!
//! Null hypothesis everywhere: the model is independent of the key. One statistic, four kinds of access: a pair of
//! (context, token) is scored once, weighted by how strongly the model prefers it, which its answers show by counts, the
//! next-token probabilities that it shows or that its weights give by their sums, and reading our text by its choices there,
//! in contexts that nothing has shown it before. Beside unmarked references, a pair is weighted by what the model did beyond what they
//! expect ([`TwoSamples`]).

mod access;
mod audit;
mod conclusion;
mod effect;
#[cfg(test)]
mod habits;
mod looks;
mod mixture;
mod paired;
mod residuals;
mod sample;
mod tails;
mod two_samples;

pub use access::{Access, Collection};
pub use audit::{Audit, LeftOut};
pub use conclusion::{
    AnswerCounts, DecidedBy, EMPTY_ONE_IN, ModelConclusion, ModelNumbers, ModelTest, conclude, e_process_decides,
    log10_p_anytime,
};
pub use looks::{ln_e_of_looks, log10_p_of_looks, looks};
pub use mixture::MIXTURE_PARTS;
pub use paired::{PairedConclusion, PairedSample, PairedTest, conclude_pairs};
pub use residuals::ResidualTails;
pub use sample::{ModelFinding, ModelSample, Round};
pub use tails::{ScoreClass, Tails};
pub use two_samples::{MAX_REFERENCES, TwoSamples};
