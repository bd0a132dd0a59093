use crate::stats;

/// How much a pair counts in the statistic. Fixed before the data are seen.
///
/// Weights depend on the text (or on a model's probabilities) alone, so the null stays valid; weighted tails are rigorous
/// (Chernoff) bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// Every distinct pair counts once: the exact tail.
    #[default]
    None,
    /// A pair that occurred `count` times has weight `isqrt(count << 32)`, the square root in units of 2^-16.
    Sqrt,
    /// The tally holds expected counts in units of 2^-16 (sums of next-token probabilities); a pair's weight is
    /// [`stats::weight_expected`] of it, the square root too.
    Expected,
}

impl Weights {
    pub(super) fn of(self, count: u64) -> u64 {
        match self {
            Self::None => 1 << 16,
            Self::Sqrt => stats::weight_sqrt(count),
            Self::Expected => stats::weight_expected(count),
        }
    }
}
