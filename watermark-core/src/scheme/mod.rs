//! One file per scheme: the marking half and the scoring half side by side, and the null law of the score.
//!
//! For all of these the PRF input is (context, token), so a pair's score is drawn once, however often it occurs.

mod adfp;
mod blocks;
mod dipmark;
mod greenlist;
mod gumbel;
mod gumbel_dual_key;
mod mcmark;
mod options;
mod permute_and_flip;
mod tournament;

pub use adfp::Adfp;
pub use blocks::Blocks;
pub use dipmark::Dipmark;
pub use greenlist::Greenlist;
pub use gumbel::Gumbel;
pub use gumbel_dual_key::GumbelDualKey;
pub use mcmark::Mcmark;
pub use options::SchemeOptions;
pub use permute_and_flip::PermuteAndFlip;
pub use tournament::Tournament;

pub use crate::engine::{Engine, EngineKey, EngineOptions, EngineScore};

/// 2^32: words are uniform on 0..2^32.
pub(crate) const TWO_32: f64 = 4_294_967_296.0;

/// A scheme with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scheme {
    /// Green-list bias (2301.10226), reweighting.
    Greenlist(Greenlist),
    /// Gumbel-max (Aaronson 2022), choosing.
    Gumbel(Gumbel),
    /// Gumbel-max under two keys (2605.12456), choosing.
    GumbelDualKey(GumbelDualKey),
    /// Permute-and-flip (2402.05864), choosing.
    PermuteAndFlip(PermuteAndFlip),
    /// Tournament sampling (SynthID-Text, Nature 634, 2024), reweighting.
    Tournament(Tournament),
    /// `MCmark` (2502.11268), reweighting.
    Mcmark(Mcmark),
    /// `DiPmark` (2310.07710), reweighting.
    Dipmark(Dipmark),
    /// Antidistillation fingerprinting (2602.03812), reweighting with a proxy's probabilities.
    Adfp(Adfp),
    /// What another engine or library serves, bit for bit.
    Engine(Engine),
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
    /// One bit of probability `gamma`; bits of the same context are drawn without replacement, so the binomial tail bounds
    /// theirs from `mean + 1` on (Hoeffding 1956; a hypergeometric count is a sum of independent bits).
    BitsWithoutReplacement {
        /// Share of ones.
        gamma: f64,
    },
    /// The weighted bits of a tournament, each fair.
    WeightedBits(Tournament),
    /// In units of 2^-32, never above an Exponential(1) variable.
    ExponentialQ32,
    /// In units of 2^-32, never above `(1 - alpha) A + alpha B` of two Exponential(1) variables.
    DualKeyQ32 {
        /// Weight of B.
        alpha: f64,
    },
}

#[cfg(feature = "detect")]
/// What a pair's score needs beside the word of (context, token).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecondWord {
    /// Nothing.
    None,
    /// The word of key B.
    KeyB,
    /// Word 0 of the context.
    Context,
}

impl Scheme {
    /// The name in profiles, in the PRF key derivation and in output.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Greenlist(_) => "greenlist",
            Self::Gumbel(_) => "gumbel",
            Self::GumbelDualKey(_) => "gumbel_dual_key",
            Self::PermuteAndFlip(_) => "permute_and_flip",
            Self::Tournament(_) => "tournament",
            Self::Mcmark(_) => "mcmark",
            Self::Dipmark(_) => "dipmark",
            Self::Adfp(_) => "adfp",
            Self::Engine(engine) => engine.name(),
        }
    }

    /// Whether the scheme draws the token (and so comes last), instead of changing the distribution it is drawn from.
    #[must_use]
    pub fn chooses(&self) -> bool {
        match self {
            Self::Gumbel(_) | Self::GumbelDualKey(_) | Self::PermuteAndFlip(_) | Self::Engine(_) => true,
            Self::Greenlist(_) | Self::Tournament(_) | Self::Mcmark(_) | Self::Dipmark(_) | Self::Adfp(_) => false,
        }
    }

    /// The law of a pair's score over keys.
    #[must_use]
    pub fn null_law(&self) -> NullLaw {
        match self {
            Self::Greenlist(scheme) => scheme.null_law(),
            Self::Gumbel(scheme) => scheme.null_law(),
            Self::GumbelDualKey(scheme) => scheme.null_law(),
            Self::PermuteAndFlip(scheme) => scheme.null_law(),
            Self::Tournament(scheme) => scheme.null_law(),
            Self::Mcmark(scheme) => scheme.null_law(),
            Self::Dipmark(scheme) => scheme.null_law(),
            Self::Adfp(scheme) => scheme.null_law(),
            Self::Engine(engine) => engine.null_law(),
        }
    }

    #[cfg(feature = "detect")]
    pub(crate) fn second_word(&self) -> SecondWord {
        match self {
            Self::GumbelDualKey(_) => SecondWord::KeyB,
            Self::Mcmark(_) => SecondWord::Context,
            _ => SecondWord::None,
        }
    }

    /// The integer score of a pair on our PRF from its word; sums are u128. `second` is the word of key B (`gumbel_dual_key`) or
    /// word 0 of the context (`mcmark`), and ignored by the other schemes.
    #[cfg(feature = "detect")]
    #[must_use]
    pub fn score(&self, word: u32, second: u32) -> u64 {
        match self {
            Self::Greenlist(scheme) => scheme.score(word),
            Self::Gumbel(scheme) => scheme.score_q32(word),
            Self::GumbelDualKey(scheme) => scheme.score_q32(word, second),
            Self::PermuteAndFlip(scheme) => scheme.score_q32(word),
            Self::Tournament(scheme) => scheme.score(word),
            Self::Mcmark(scheme) => scheme.score(word, second),
            Self::Dipmark(scheme) => scheme.score(word),
            Self::Adfp(scheme) => scheme.score(word),
            Self::Engine(_) => 0, // engines score with their own PRFs
        }
    }
}

/// Index of the largest `logit + noise(word)`; the lower index wins a tie, -inf never wins. Shapes: both [n], aligned.
///
/// `noise` is Gumbel or exponential noise of a uniform `u` within 2^-24 of `word / 2^32`. With k leading ones in the word
/// 1 - u is above 2^-(k+2), and noise is at most -ln(1 - u), so it lies below (k + 2) ln 2: nearly all tokens are ruled
/// out without a logarithm.
fn choose_by(logits: &[f32], words: &[u32], noise: impl Fn(u32) -> f64) -> Option<usize> {
    let mut best = f64::NEG_INFINITY;
    let mut chosen = None;
    for (i, (&logit, &word)) in logits.iter().zip(words).enumerate() {
        let logit = f64::from(logit);
        let bound = f64::from(word.leading_ones() + 2) * std::f64::consts::LN_2;
        if logit + bound <= best {
            continue;
        }
        let value = logit + noise(word);
        if value > best {
            best = value;
            chosen = Some(i);
        }
    }
    chosen
}
