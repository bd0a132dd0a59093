//! Tests of a suspect model: was it trained on marked answers?

mod closed;

pub use closed::{ClosedFinding, ClosedSample, closed_test};
