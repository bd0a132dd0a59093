//! Marking: a [`Marker`] holds a profile under its key and opens a [`Session`] for every sequence that is sampled.

#[cfg(feature = "batch")]
mod batch;
mod choosing;
mod drafts;
mod logit;
mod marker;
mod pairs;
mod policy;
mod proxy;
mod reserve;
mod reweight;
mod sampling;
mod scratch;
mod session;
mod speculative;
#[cfg(test)]
mod tests;

#[cfg(feature = "batch")]
pub use batch::{process_batch, sample_batch};
pub use logit::Logit;
pub use marker::{Marker, SessionOptions};
pub use policy::{Change, Raised};
pub use sampling::Sampling;
pub use session::{MarkState, Session};
