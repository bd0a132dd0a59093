use crate::{Error, ErrorKind, Result};

/// A partition of the vocabulary into `count` blocks, a power of two: a token's block is `word * count >> 32`, so blocks
/// are independent uniform draws per token and block 0 is the green list of gamma = 1 / count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    log2: u32,
}

/// The smallest share is 2^-16.
const MAX_LOG2: u32 = 16;

impl Blocks {
    /// The largest number of blocks.
    pub(crate) const MOST: u32 = 1 << MAX_LOG2;

    /// Blocks of share `gamma` = 1/2, 1/4, … 2^-16.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for any other share.
    pub fn from_gamma(gamma: f64) -> Result<Self> {
        (1..=MAX_LOG2)
            .map(|log2| Self { log2 })
            .find(|blocks| (blocks.gamma() - gamma).abs() < f64::MIN_POSITIVE)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidParameter,
                    format!("gamma is {gamma}; a partition into blocks needs 1/2, 1/4, 1/8, … 2^-16"),
                )
            })
    }

    /// Number of blocks.
    #[must_use]
    pub fn count(&self) -> u32 {
        1 << self.log2
    }

    /// Share of one block.
    #[must_use]
    pub fn gamma(&self) -> f64 {
        1.0 / f64::from(self.count())
    }

    /// The block of a word.
    #[must_use]
    pub fn containing(&self, word: u32) -> u32 {
        word >> (u32::BITS - self.log2)
    }
}
