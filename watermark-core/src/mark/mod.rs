//! Marking: [`Marker`] (shared, cheap to clone) -> [`Session`] (one per sequence).

mod choosing;
mod marker;
mod sampling;
mod session;

pub use marker::{Marker, SessionOptions};
pub use sampling::Sampling;
pub use session::{MarkState, Session};
