//! Paired draws: two candidates from one distribution, of which a keyed coin serves one and the other is withheld.
//!
//! What is served has the model's own distribution, so there is no list to steal and no text to scrub. A model that learned from served
//! answers prefers them to what was withheld; for any other model every coin is fair, whatever it prefers, so the law of the signs is exact.
//! The question is about *requests*: neither the share of marked data nor the number of accounts dilutes it.
//!
//! [`RequestSecret`] belongs to one request of a ledger and can be opened alone, because the leaves of all planned requests are committed to
//! beforehand. [`RequestKey`] has the words of both draws and the coins. With feature `detect`, `Signs` tests differences of scores, served minus
//! withheld, `ServedLaw` what was served against the law that it was drawn from, and `DrawAudit` whether candidates come from that law at all. Formats: `chacha20-v1` and HMAC-SHA256, so that any library recomputes them.
//!
//! Null hypothesis: the suspect is independent of the coins. It takes prompts, their order and both candidates that do not depend on them.

#[cfg(feature = "detect")]
mod draws;
mod request;
#[cfg(feature = "detect")]
mod served_law;
#[cfg(feature = "detect")]
mod signs;

#[cfg(feature = "detect")]
pub use draws::DrawAudit;
pub use request::{Candidates, Draw, RequestKey, RequestSecret};
#[cfg(feature = "detect")]
pub use served_law::{Seen, ServedLaw};
#[cfg(feature = "detect")]
pub use signs::{MAX_DIFFERENCE, SignFinding, Signs};
