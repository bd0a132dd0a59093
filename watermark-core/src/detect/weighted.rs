use super::LayerDetector;
use super::detector::{Scores, whole};
use crate::scheme::NullLaw;
use crate::stats::{self, ExponentialClass, WeightClass};
use crate::{Error, ErrorKind, Result};

/// How much a pair counts in the statistic. Fixed before the data are seen.
///
/// Weights depend on the text (or on a model's probabilities) alone, so the null stays valid; weighted tails are rigorous
/// (Chernoff) bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
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
    /// Those of counts, which texts and answers have.
    pub const COUNTED: [Self; 2] = [Self::None, Self::Sqrt];

    /// The word in JSON and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sqrt => "sqrt",
            Self::Expected => "expected",
        }
    }

    fn of(self, count: u64) -> u64 {
        match self {
            Self::None => 1 << 16,
            Self::Sqrt => stats::weight_sqrt(count),
            Self::Expected => stats::weight_expected(count),
        }
    }
}

/// Scores of pairs that share a weight, in the form of the scheme's null law.
enum Classes {
    Green(Vec<WeightClass>, f64),
    Exponential(Vec<ExponentialClass>),
}

impl LayerDetector {
    /// The weighted statistic, and log10 of a rigorous upper bound of its tail.
    pub(crate) fn weighted_tail(&self, scores: &Scores, weights: Weights) -> Result<(u128, f64)> {
        let statistic = scores.classes.iter().map(|(&count, &(_, sum))| u128::from(weights.of(count)) * sum).sum();
        let log10_p = match self.classes(scores, weights)? {
            Classes::Green(classes, gamma) => stats::log10_weighted_green_bound(&classes, gamma),
            Classes::Exponential(classes) => stats::log10_weighted_exponential_bound(&classes),
        };
        Ok((statistic, log10_p))
    }

    /// Sum of the weights.
    pub(crate) fn total_weight(&self, scores: &Scores, weights: Weights) -> u128 {
        scores.classes.iter().map(|(&count, &(pairs, _))| u128::from(weights.of(count)) * u128::from(pairs)).sum()
    }

    /// ln of the e-value of the weighted scores, a mixture over fixed exponents.
    pub(crate) fn weighted_ln_e(&self, scores: &Scores, weights: Weights) -> Result<f64> {
        Ok(match self.classes(scores, weights)? {
            Classes::Green(classes, gamma) => stats::ln_e_weighted_green(&classes, gamma),
            Classes::Exponential(classes) => stats::ln_e_weighted_exponential(&classes),
        })
    }

    /// Counts that have the same weight become one class.
    fn classes(&self, scores: &Scores, weights: Weights) -> Result<Classes> {
        // Weights rise with counts, so equal ones are neighbours.
        let mut merged: Vec<(u64, u64, u128)> = Vec::new();
        for (&count, &(pairs, sum)) in &scores.classes {
            let weight = weights.of(count);
            match merged.last_mut() {
                Some(last) if last.0 == weight => {
                    last.1 += pairs;
                    last.2 += sum;
                }
                _ => merged.push((weight, pairs, sum)),
            }
        }
        Ok(match self.scheme().null_law() {
            NullLaw::Bits { gamma, trials: 1 } => {
                let class = |(weight, pairs, sum)| Ok(WeightClass { weight, pairs, green: whole(sum)? });
                Classes::Green(merged.into_iter().map(class).collect::<Result<_>>()?, gamma)
            }
            NullLaw::ExponentialQ32 => {
                let class = |(weight, pairs, sum_q32)| ExponentialClass { weight, pairs, sum_q32 };
                Classes::Exponential(merged.into_iter().map(class).collect())
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!("{} has no test weighted by counts; score it without weights", self.scheme().name()),
                ));
            }
        })
    }
}
