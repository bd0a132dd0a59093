use super::detector::{LayerDetector, Scores, whole};
use super::weighted::Weights;
use crate::scheme::NullLaw;
use crate::stats::{self, ExponentialClass, WeightClass};
use crate::{Error, ErrorKind, Result};

/// Scores of pairs that share a weight, in the form of the scheme's null law.
enum Classes {
    Green(Vec<WeightClass>, f64),
    Exponential(Vec<ExponentialClass>),
}

impl LayerDetector {
    /// The weighted statistic, and log10 of a rigorous upper bound of its tail.
    pub(crate) fn weighted_tail(&self, scores: &Scores, weights: Weights) -> Result<(u128, f64)> {
        let statistic = scores.classes.iter().map(|(&count, &(_, sum))| u128::from(weights.weight(count)) * sum).sum();
        let log10_p = match self.classes(scores, weights)? {
            Classes::Green(classes, gamma) => stats::log10_weighted_green_bound(&classes, gamma),
            Classes::Exponential(classes) => stats::log10_weighted_exponential_bound(&classes),
        };
        Ok((statistic, log10_p))
    }

    /// log10 of a rigorous upper bound of the probability of a weighted statistic as small as this one.
    pub(crate) fn weighted_low_tail(&self, scores: &Scores, weights: Weights) -> Result<f64> {
        Ok(match self.classes(scores, weights)? {
            Classes::Green(classes, gamma) => {
                let red = |class: WeightClass| WeightClass { green: class.pairs.saturating_sub(class.green), ..class };
                let classes: Vec<WeightClass> = classes.into_iter().map(red).collect();
                stats::log10_weighted_green_bound(&classes, 1.0 - gamma)
            }
            Classes::Exponential(classes) => {
                // A score is rounded down by less than a unit, so with one more a pair the sum is not below the true one.
                let up = |class: ExponentialClass| {
                    let sum_q32 = class.sum_q32 + u128::from(class.pairs);
                    ExponentialClass { sum_q32, ..class }
                };
                let classes: Vec<ExponentialClass> = classes.into_iter().map(up).collect();
                stats::log10_weighted_exponential_low_bound(&classes)
            }
        })
    }

    /// Sum of the weights.
    pub(crate) fn total_weight(&self, scores: &Scores, weights: Weights) -> u128 {
        scores.classes.iter().map(|(&count, &(pairs, _))| u128::from(weights.weight(count)) * u128::from(pairs)).sum()
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
            let weight = weights.weight(count);
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
