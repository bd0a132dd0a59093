//! Exponential scores weighted by how often a pair occurs.

use core::f64::consts::LN_10;

use super::gamma::q32_to_f64;
use super::root::{bisect, bracket};
use super::special::log_remainder;
use super::weighted::ROUNDING;

/// Halvings of the bracket of theta; an error of `2^-40` in theta moves the bound by its square.
const HALVINGS: u32 = 45;

/// The largest theta: the last number before the singularity of the heaviest class at 1.
const LAST: f64 = 1.0 - 0.5 * f64::EPSILON;

/// Pairs that share one weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExponentialClass {
    /// Weight of each pair of the class, in any unit common to all classes
    /// ([`weight_sqrt`](super::weight_sqrt): units of `2^-16`).
    pub weight: u64,
    /// Distinct pairs in the class.
    pub pairs: u64,
    /// Sum of their scores in units of `2^-32`, not weighted.
    pub sum_q32: u128,
}

/// Upper bound on `log10 P(S' >= S)`, where `S` is the sum of `weight * sum_q32 / 2^32` over the classes.
///
/// Null hypothesis: the scores of the distinct pairs are independent standard exponentials, whatever their weight.
/// Chernoff's bound `min over 0 <= theta < 1/max weight of e^(-theta S) prod (1 - theta w)^-pairs` holds at every
/// theta, so it does not rest on the minimum being exact, and it is rounded upwards; the value is within `1e-9`
/// (relative) of the minimum.
///
/// In `[-inf, 0]`, never NaN, never -0.0; 0 when `S` does not exceed its mean. A class without pairs does not count.
/// The cost is that of about fifty divisions per class.
pub fn log10_weighted_exponential_bound(classes: &[ExponentialClass]) -> f64 {
    ExponentialSum::new(classes).map_or(0.0, |sum| sum.log10_bound())
}

/// Upper bound on `log10 P(S' <= S)`, the other side of [`log10_weighted_exponential_bound`], by the same bound at
/// `theta < 0`. Scores are rounded down by less than a unit each, so the caller adds one a pair to be on the safe side.
///
/// In `[-inf, 0]`, never NaN, never -0.0; 0 when `S` is not below its mean.
pub fn log10_weighted_exponential_low_bound(classes: &[ExponentialClass]) -> f64 {
    match ExponentialSum::new(classes) {
        Some(sum) if sum.excess() < 0.0 => sum.chernoff_low(-sum.minimiser()).min(0.0) / LN_10 + 0.0,
        _ => 0.0,
    }
}

/// The weighted sum of scores under the null hypothesis, and its observed value.
pub(super) struct ExponentialSum {
    terms: Vec<Term>,
}

/// A class with its weight scaled to at most 1 and its sum measured from the mean.
struct Term {
    weight: f64,
    pairs: f64,
    sum: f64,
    excess: f64,
}

impl ExponentialSum {
    /// `None` where no class counts.
    pub(super) fn new(classes: &[ExponentialClass]) -> Option<Self> {
        Self::of_signs(classes, &[])
    }

    /// Of classes that count as they are and of others that count with the opposite sign. The heaviest of the former has weight 1; `None`
    /// where none of them counts.
    pub(super) fn of_signs(above: &[ExponentialClass], below: &[ExponentialClass]) -> Option<Self> {
        let counted = |c: &&ExponentialClass| c.pairs > 0 && c.weight > 0;
        let heaviest = above.iter().filter(counted).map(|c| c.weight).max()?;
        let term = |c: &ExponentialClass, sign: f64| {
            let mean = u128::from(c.pairs) << 32;
            let over = q32_to_f64(c.sum_q32.saturating_sub(mean));
            Term {
                weight: sign * c.weight as f64 / heaviest as f64,
                pairs: c.pairs as f64,
                sum: q32_to_f64(c.sum_q32),
                excess: over - q32_to_f64(mean.saturating_sub(c.sum_q32)),
            }
        };
        let (above, below) = (above.iter().filter(counted), below.iter().filter(counted));
        Some(Self { terms: above.map(|c| term(c, 1.0)).chain(below.map(|c| term(c, -1.0))).collect() })
    }

    /// log10 of Chernoff's bound, as [`log10_weighted_exponential_bound`].
    pub(super) fn log10_bound(&self) -> f64 {
        if self.excess() > 0.0 { self.chernoff(self.minimiser()).min(0.0) / LN_10 + 0.0 } else { 0.0 }
    }

    /// Observed sum minus its mean.
    pub(super) fn excess(&self) -> f64 {
        self.terms.iter().map(|t| t.weight * t.excess).sum()
    }

    /// Observed sum.
    pub(super) fn sum(&self) -> f64 {
        self.terms.iter().map(|t| t.weight * t.sum).sum()
    }

    /// Logarithm of the bound at `theta < 1`, rounded upwards.
    pub(super) fn chernoff(&self, theta: f64) -> f64 {
        let (mut value, mut size) = (0.0, 0.0);
        for t in &self.terms {
            let y = theta * t.weight;
            let (log_mean, shift) = (-t.pairs * log_remainder(-y), -y * t.excess);
            value += log_mean + shift;
            size += log_mean.abs() + shift.abs();
        }
        value + ROUNDING * size
    }

    /// Logarithm of the bound at `-theta < 0`, rounded upwards: the better of the form around the mean, which is good near it, and of
    /// `theta S - sum of pairs ln(1 + theta w)`, which is good far below it.
    fn chernoff_low(&self, theta: f64) -> f64 {
        let (mut value, mut size) = (0.0, 0.0);
        for t in &self.terms {
            let y = theta * t.weight;
            let (shift, log_mean) = (y * t.sum, t.pairs * libm::log1p(y));
            value += shift - log_mean;
            size += shift + log_mean;
        }
        (value + ROUNDING * size).min(self.chernoff(-theta))
    }

    /// Derivative of the exponent in `theta`, given the excess: it rises from minus that.
    fn slope(&self, theta: f64, excess: f64) -> f64 {
        let term_slope = |t: &Term| t.pairs * t.weight * t.weight * theta / (1.0 - theta * t.weight);
        self.terms.iter().map(term_slope).sum::<f64>() - excess
    }

    /// Variance under the law tilted by `theta`: the second derivative of the exponent.
    pub(super) fn variance(&self, theta: f64) -> f64 {
        let term_variance = |t: &Term| {
            let scale = t.weight / (1.0 - theta * t.weight);
            t.pairs * scale * scale
        };
        self.terms.iter().map(term_variance).sum()
    }

    /// Third cumulant under the null hypothesis.
    pub(super) fn third_cumulant(&self) -> f64 {
        self.terms.iter().map(|t| 2.0 * t.pairs * t.weight * t.weight * t.weight).sum()
    }

    /// Where the convex exponent is smallest: bisection on its derivative. That derivative plus the excess `e` lies
    /// between the lines `V theta` and `V theta / (1 - theta)`, `V` the variance, so for `e > 0` the root lies between
    /// `e / (V + e)` and `e / V`, or with negative weights, whose part of the derivative is below the first line, 1; below the mean it is
    /// past `e / V`, and doubling finds it.
    pub(super) fn minimiser(&self) -> f64 {
        let (excess, variance) = (self.excess(), self.variance(0.0));
        let signed = self.terms.iter().any(|t| t.weight < 0.0);
        let (mut low, mut high) = (excess / (variance + excess), (excess / variance).min(LAST));
        if signed {
            high = LAST;
        }
        if excess <= 0.0 {
            (high, low) = bracket(0.0, excess / variance, |theta| self.slope(theta, excess) < 0.0);
        }
        bisect(low, high, HALVINGS, |theta| self.slope(theta, excess)).min(LAST)
    }
}

#[cfg(test)]
#[expect(clippy::cast_sign_loss, reason = "tests")]
mod tests {
    use super::*;
    use crate::stats::{log10_gamma_sf, weight_sqrt};

    const ONE: u128 = 1 << 32;

    fn class(weight: u64, pairs: u64, sum_q32: u128) -> ExponentialClass {
        ExponentialClass { weight, pairs, sum_q32 }
    }

    #[test]
    fn one_class_is_the_chernoff_bound_of_gamma() {
        for (n, x) in [(1u64, 2.0), (1, 1e6), (20, 21.0), (20, 300.0), (1_000_000, 1_002_000.0), (1 << 40, 2e12)] {
            let bound = log10_weighted_exponential_bound(&[class(7, n, (x * ONE as f64) as u128)]);
            let shape = n as f64;
            let closed = (shape * libm::log(x / shape) - (x - shape)) / LN_10;
            assert!((bound - closed).abs() <= 1e-9 * closed.abs(), "{n} {x}: {bound} {closed}");
            assert!(bound >= log10_gamma_sf(n, x) && bound <= 0.0);
        }
    }

    #[test]
    fn bounds_the_exact_tail_of_two_scores() {
        for tenth in 1..400u32 {
            let s = f64::from(tenth) / 10.0;
            // weights 3 and 1: (3 e^(-s/3) - e^-s) / 2
            let exact = libm::log10((3.0 * libm::exp(-s / 3.0) - libm::exp(-s)) / 2.0);
            let sum = |share: f64| (share * s * ONE as f64) as u128;
            let bound = log10_weighted_exponential_bound(&[class(3, 1, sum(0.2)), class(1, 1, sum(0.4))]);
            assert!(bound >= exact && bound <= 0.0, "{s}: {bound} {exact}");
            assert!(bound < exact + 0.44 + libm::log10(1.0 + s), "{s}: {bound} {exact}");
        }
    }

    /// One class on the low side: `x - n - n ln(x / n)` below the mean, and never below the exact tail.
    #[test]
    fn the_low_side_is_the_chernoff_bound_of_gamma() {
        for (n, x) in [(1u64, 0.5), (1, 1e-6), (20, 19.0), (20, 2.0), (1_000_000, 998_000.0), (1 << 40, 1e12)] {
            let sum = (x * ONE as f64) as u128;
            let bound = log10_weighted_exponential_low_bound(&[class(7, n, sum)]);
            let (shape, x) = (n as f64, sum as f64 / ONE as f64);
            let closed = (shape * libm::log(x / shape) - (x - shape)) / LN_10;
            assert!((bound - closed).abs() <= 1e-9 * closed.abs(), "{n} {x}: {bound} {closed}");
        }
        // weights 3 and 1: P(3 a + b <= s) = 1 - (3 e^(-s/3) - e^-s) / 2
        for tenth in 1..39u32 {
            let s = f64::from(tenth) / 10.0;
            let exact = libm::log10(1.0 - (3.0 * libm::exp(-s / 3.0) - libm::exp(-s)) / 2.0);
            let sum = |share: f64| (share * s * ONE as f64) as u128;
            let bound = log10_weighted_exponential_low_bound(&[class(3, 1, sum(0.2)), class(1, 1, sum(0.4))]);
            assert!(bound >= exact && bound <= 0.0, "{s}: {bound} {exact}");
        }
        let none: [&[ExponentialClass]; 3] = [&[], &[class(3, 0, 0)], &[class(3, 5, 5 * ONE)]];
        assert!(none.iter().all(|classes| log10_weighted_exponential_low_bound(classes).abs() < 1e-300));
        assert!(log10_weighted_exponential_low_bound(&[class(1, 10, 0)]) < -100.0);
    }

    #[test]
    fn edges() {
        let none: [&[ExponentialClass]; 5] = [
            &[],
            &[class(0, 5, 50 * ONE)],
            &[class(3, 0, 50 * ONE)],
            &[class(3, 5, 5 * ONE)],
            &[class(1, 10, 0), class(2, 4, 9 * ONE)],
        ];
        for classes in none {
            let v = log10_weighted_exponential_bound(classes);
            assert!(v.abs() < 1e-300 && v.is_sign_positive());
        }
        let huge = log10_weighted_exponential_bound(&[class(u64::MAX, u64::MAX, u128::MAX), class(1, 1, 0)]);
        assert!(huge < -1e25 && huge.is_finite());
        let settled = log10_weighted_exponential_bound(&[class(u64::MAX, 1, 100 * ONE), class(1, 1 << 40, ONE << 40)]);
        assert!((settled + (99.0 - libm::log(100.0)) / LN_10).abs() < 1e-6, "{settled}");
    }

    #[test]
    fn falls_with_the_sum_whatever_the_unit() {
        let mut last = 0.0;
        for i in 0..2000u128 {
            let sums = [(1, 500, 500 * ONE + (ONE << 4) * i), (2, 40, 41 * ONE)];
            let [one, other] = [1, weight_sqrt(9)].map(|unit| {
                log10_weighted_exponential_bound(&sums.map(|(weight, pairs, sum)| class(unit * weight, pairs, sum)))
            });
            assert!(one < last && (one - other).abs() <= 1e-12 * one.abs());
            last = one;
        }
    }
}
