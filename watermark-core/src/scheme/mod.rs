//! One file per scheme: the marking half and the scoring half side by side, and the null law of the score.
//!
//! For all of these the PRF input is (context, token), so a pair's score is drawn once, however often it occurs.

mod greenlist;
mod gumbel;
mod tournament;

pub use greenlist::Greenlist;
pub use gumbel::Gumbel;
pub use tournament::Tournament;

/// A scheme with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scheme {
    /// Green-list bias (2301.10226), reweighting.
    Greenlist(Greenlist),
    /// Gumbel-max (Aaronson 2022), choosing.
    Gumbel(Gumbel),
    /// Tournament bits (SynthID-Text, Nature 634, 2024), scoring only so far.
    Tournament(Tournament),
}

/// The law of one pair's score when the text is independent of the key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NullLaw {
    /// Sum of `trials` independent bits, each 1 with probability at most `gamma`.
    Bits {
        /// Probability of a 1.
        gamma: f64,
        /// Bits per pair.
        trials: u32,
    },
    /// In units of 2^-32, never above an Exponential(1) variable.
    ExponentialQ32,
}

impl Scheme {
    /// The name in profiles, in the PRF key derivation and in output.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Greenlist(_) => "greenlist",
            Self::Gumbel(_) => "gumbel",
            Self::Tournament(_) => "tournament",
        }
    }

    /// The integer score of a pair's word; sums are u128.
    #[must_use]
    pub fn score(&self, word: u32) -> u64 {
        match self {
            Self::Greenlist(scheme) => scheme.score(word),
            Self::Gumbel(scheme) => scheme.score_q32(word),
            Self::Tournament(scheme) => scheme.score(word),
        }
    }

    /// The law of [`Self::score`] over keys.
    #[must_use]
    pub fn null_law(&self) -> NullLaw {
        match self {
            Self::Greenlist(scheme) => scheme.null_law(),
            Self::Gumbel(scheme) => scheme.null_law(),
            Self::Tournament(scheme) => scheme.null_law(),
        }
    }
}
