//! The catalogue of schemes. A file holds everything of one scheme: its spec, the marking half and the scoring half side by side,
//! the null law of the score, and tests of what is special to it. One line in `catalogue.rs` registers it; profiles, command
//! line, Python, C, tests and benchmarks are made from the specs.
//!
//! For all of these the PRF input is (context, token), so a pair's score is drawn once, however often it occurs.

mod blocks;
#[macro_use]
mod catalogue;
mod dispatch;
mod entry;
#[cfg(feature = "profile")]
pub(crate) mod json;
mod parameters;
mod position;
mod spec;
#[cfg(all(test, feature = "detect"))]
pub(crate) mod tests;

macro_rules! modules {
    ($($module:ident $Type:ident,)*) => {$(
        mod $module;
        pub use $module::$Type;
    )*};
}

catalogue!(modules);

pub use blocks::Blocks;
pub use dispatch::Scheme;
pub(crate) use entry::Entry;
pub use parameters::{Parameters, Value};
pub(crate) use position::{Buffers, Position, ProxyRow, logarithms, softmax};
pub(crate) use spec::Given;
pub use spec::{Domain, Example, Kind, Need, Parameter, Spec};
pub(crate) use tournament::MAX_DEPTH;

/// 2^32: words are uniform on 0..2^32.
pub(crate) const TWO_32: f64 = 4_294_967_296.0;

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
