//! Evidence from paired draws over files: the opened list, the bundle, and its check (`verify/PAIRS.md`).

mod build;
mod check;
mod list;
mod numbers;
mod verification;

pub use build::{Case, Written, build, earlier};
pub use check::{PairsCheck, check};
pub use list::open_list;
pub use verification::Verification;

use watermark_core::evidence::pairs::PREDICATE_TYPE;

/// Whether a bundle says that it is of this kind; whether it holds is another question.
#[must_use]
pub fn is_of_pairs(bundle: &[u8]) -> bool {
    use base64::Engine as _;
    let payload = |bundle: &[u8]| -> Option<bool> {
        let envelope: serde_json::Value = serde_json::from_slice(bundle).ok()?;
        let payload = base64::engine::general_purpose::STANDARD.decode(envelope.get("payload")?.as_str()?).ok()?;
        let statement: serde_json::Value = serde_json::from_slice(&payload).ok()?;
        Some(statement.get("predicateType")?.as_str()? == PREDICATE_TYPE)
    };
    payload(bundle).unwrap_or(false)
}
