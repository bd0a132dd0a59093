use crate::detect::{LayerDetector, Pair, Tally};
use crate::scheme::NullLaw;
use crate::stats;
use crate::{Error, ErrorKind, Result};

/// The answers of a suspect model, counted for the closed test (answers only, 2402.14904).
///
/// A pair that occurs in *any* prompt of the run is excluded: prompts may carry the mark, and a model repeats them.
/// The sample depends on the text alone, so one sample can be tested under the true key and under fresh keys.
#[derive(Clone, Debug)]
pub struct ClosedSample {
    tally: Tally,
    /// Distinct pairs in order of first occurrence.
    order: Vec<Pair>,
}

/// The closed test of one sample under one key.
///
/// Null hypothesis: the answers are independent of the key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClosedFinding {
    /// Distinct pairs.
    pub n_scored: u64,
    /// Further occurrences of scored pairs; they set the weights.
    pub n_duplicate: u64,
    /// Special tokens and pairs that occur in a prompt.
    pub n_excluded: u64,
    /// Positions without a full context.
    pub n_short_context: u64,
    /// Green pairs.
    pub green: u64,
    /// Sum over green pairs of `isqrt(count << 32)`: the square root of the count in units of 2^-16.
    pub statistic: u128,
    /// log10 of a rigorous (Chernoff) upper bound of P(statistic at least this large): how often a model repeats a
    /// pair says how strongly it prefers it, so counts carry an inherited mark. Decides the verdict.
    pub log10_p: f64,
    /// log10 of the exact binomial tail of `green` with every pair of weight 1, for comparison.
    pub log10_p_distinct: f64,
    /// Natural logarithm of the anytime-valid e-value after the last pair (weight 1, uniform prior on the green rate).
    pub ln_e: f64,
}

impl ClosedSample {
    /// Counts `answers` (generated tokens, one slice each) to `prompts`, all prompts of the run. Only the context
    /// width and the special tokens of `layer` matter, not its key.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`].
    pub fn new<'a>(
        layer: &LayerDetector,
        prompts: impl IntoIterator<Item = &'a [u32]>,
        answers: impl IntoIterator<Item = &'a [u32]>,
    ) -> Result<Self> {
        let mut exclude = layer.pair_set();
        for prompt in prompts {
            layer.add_prompt(&mut exclude, prompt)?;
        }
        let mut sample = Self { tally: layer.tally(), order: Vec::new() };
        for answer in answers {
            layer.add_excluding(&mut sample.tally, &exclude, &[], answer, |_, pair| sample.order.push(pair))?;
        }
        Ok(sample)
    }

    /// [`closed_test`] of this sample.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a scheme whose score is not one bit, or another context rule.
    pub fn test(&self, layer: &LayerDetector) -> Result<ClosedFinding> {
        closed_test(&self.tally, layer)
    }

    /// The e-value as the pairs arrive: (pairs so far, ln e) at about `points` places, the last one included.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn evidence_curve(&self, layer: &LayerDetector, points: usize) -> Result<Vec<(u64, f64)>> {
        let gamma = gamma(layer)?;
        let scores = layer.pair_scores(&self.order)?;
        let step = scores.len().div_ceil(points.max(1)).max(1);
        let mut curve = vec![(0, 0.0)];
        let mut green = 0;
        for (n, &score) in (1u64..).zip(&scores) {
            green += score;
            if n % step as u64 == 0 || n == scores.len() as u64 {
                curve.push((n, stats::ln_e_green(green, n, gamma)));
            }
        }
        Ok(curve)
    }
}

/// The count-weighted closed test of a tally under the key of `layer`.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] for a scheme whose score is not one bit, or a tally of another context rule.
pub fn closed_test(tally: &Tally, layer: &LayerDetector) -> Result<ClosedFinding> {
    let gamma = gamma(layer)?;
    let scores = layer.scores(tally)?;
    let (statistic, log10_p) = layer.weighted_tail(&scores)?;
    let n_scored = tally.n_scored();
    let green = u64::try_from(scores.sum).map_err(|_| Error::new(ErrorKind::InvalidParameter, "too many pairs"))?;
    Ok(ClosedFinding {
        n_scored,
        n_duplicate: tally.n_duplicate(),
        n_excluded: tally.n_excluded(),
        n_short_context: tally.n_short_context(),
        green,
        statistic,
        log10_p,
        log10_p_distinct: stats::log10_binomial_sf(green, n_scored, gamma),
        ln_e: stats::ln_e_green(green, n_scored, gamma),
    })
}

fn gamma(layer: &LayerDetector) -> Result<f64> {
    match layer.scheme().null_law() {
        NullLaw::Bits { gamma, trials: 1 } => Ok(gamma),
        _ => Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("the closed test needs one bit a pair; {} has more than that", layer.scheme().name()),
        )),
    }
}
