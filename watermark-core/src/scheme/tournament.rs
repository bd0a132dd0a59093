use super::NullLaw;
use crate::{Error, ErrorKind, Result};

/// Tournament bits (SynthID-Text, Nature 634, 2024) on our PRF: layer l's bit is `(word >> l) & 1`.
///
/// The scoring half only: a profile layer with this scheme is refused until its marking half exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tournament {
    depth: u32,
}

impl Tournament {
    /// `depth` in 1..=30 layers.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] outside it.
    pub fn new(depth: u32) -> Result<Self> {
        if !(1..=30).contains(&depth) {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("tournament depth is {depth}; it must be between 1 and 30"),
            ));
        }
        Ok(Self { depth })
    }

    /// Number of layers.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// The number of ones among the `depth` low bits (unweighted score).
    #[must_use]
    pub fn score(&self, word: u32) -> u64 {
        u64::from((word & ((1 << self.depth) - 1)).count_ones())
    }

    /// `depth` fair coins a pair.
    #[must_use]
    pub fn null_law(&self) -> NullLaw {
        NullLaw::Bits { gamma: 0.5, trials: self.depth }
    }
}
