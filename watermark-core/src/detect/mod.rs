//! Detection: records are counted into mergeable tallies, tallies are scored under a key, scores get exact tails.
//!
//! Null hypothesis everywhere: the text is independent of the key. The key is then the only randomness, the scores of
//! distinct PRF inputs are independent draws of the scheme's null law, and the tails hold for *any* text.

mod detector;
mod pairs;
mod verdict;

pub use detector::{Detector, Finding, LayerDetector};
pub use pairs::{Pair, PairSet, Tally};
pub use verdict::{Verdict, decide};
