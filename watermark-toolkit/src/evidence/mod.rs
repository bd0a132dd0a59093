//! Evidence of the closed test of a suspect model: written from files under a registration, and checked against them.
//!
//! [`watermark_core::evidence::bundle`] says what a bundle holds. This module adds the files, the tokenizer and the
//! fresh keys.

mod build;
mod cautions;
mod check;
mod conditions;
mod data;
mod drand;
pub mod pairs;
mod sample;
mod verification;

pub use build::{Case, Written, build, earlier};
pub use cautions::LAX_ALPHA;
pub use check::{BundleCheck, Context, MAX_BUNDLE, check};
pub use conditions::{ConditionFound, headline, verdict};
pub use sample::{Answers, role};
pub use verification::{Fault, Signers, StatedResult, Times, Verification};
