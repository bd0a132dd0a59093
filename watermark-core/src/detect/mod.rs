//! Detection: records are counted into mergeable tallies, tallies are scored under a key, scores get exact tails.
//!
//! Null hypothesis everywhere: the text is independent of the key. The key is then the only randomness, the scores of
//! distinct PRF inputs are independent draws of the scheme's null law, and the tails hold for *any* text.

mod detector;
mod effect;
mod locate;
mod packed;
mod pairs;
mod peer;
mod preferences;
mod repeats;
mod resample;
mod rule;
mod verdict;
mod weighted;
mod weighted_tail;

pub(crate) use detector::Scores;
pub use detector::{Detector, Finding, LayerDetector};
pub use effect::{EFFECT_POWER, Effect, EffectUnit};
pub(crate) use effect::{bisect, clearly_reached, is_level, smallest_effect, smallest_mean, smallest_share};
pub use locate::Span;
pub use packed::{PackedPosition, Packing, Prepared, Sums};
pub use pairs::{PairSet, Tally};
pub use peer::{PeerStatistic, PeerTally};
pub use preferences::Choice;
pub(crate) use preferences::ShownContexts;
pub use repeats::VERBATIM;
pub use resample::{MAX_RESAMPLING_KEYS, RESAMPLING_KEYS, Resampling};
pub use verdict::{Conclusion, Test, Verdict, check_level, conclude, conclude_with_level};
pub(crate) use verdict::{Judged, decide};
pub use weighted::{PairWeights, Weights};

pub use crate::prf::Pair;
