//! Green counts weighted by how often a pair occurs.

use core::f64::consts::LN_10;

use super::binomial::is_probability;
use super::root::{bisect, bracket};
use super::special::{bernoulli_cumulant, bernoulli_cumulant_slope};

/// The bound is raised by this fraction of its terms, many times their rounding error.
pub(super) const ROUNDING: f64 = 1e-13;

/// Halvings of the bracket of theta; an error of `2^-40` in theta moves the bound by its square.
const HALVINGS: u32 = 40;

/// Pairs that share one weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightClass {
    /// Weight of each pair of the class, in any unit common to all classes ([`weight_sqrt`]: units of `2^-16`).
    pub weight: u64,
    /// Distinct pairs in the class.
    pub pairs: u64,
    /// Those of them that are green; more than `pairs` counts as `pairs`.
    pub green: u64,
}

/// Weight of a pair seen `count` times, `floor(2^16 sqrt(count))`: the square root in units of `2^-16`, in integers.
pub fn weight_sqrt(count: u64) -> u64 {
    // the root of a number below 2^96 fits 48 bits
    (u128::from(count) << 32).isqrt() as u64
}

/// Weight of a pair with an expected count in units of `2^-16` (a sum of next-token probabilities): `floor(2^16 sqrt(expected
/// count))`, cut to its eight leading bits so that there are few classes. Integer, so the same everywhere.
pub fn weight_expected(expected: u64) -> u64 {
    let root = (u128::from(expected) << 16).isqrt() as u64;
    leading_bits(root)
}

/// A weight cut to its eight leading bits.
pub(crate) fn leading_bits(weight: u64) -> u64 {
    let low_bits = (u64::BITS - weight.leading_zeros()).saturating_sub(8);
    weight >> low_bits << low_bits
}

/// Upper bound on `log10 P(S' >= S)`, where `S` is the sum of weight times green over the classes.
///
/// Null hypothesis: each of the distinct pairs is green independently with probability `gamma`, whatever its weight.
/// Chernoff's bound `min over theta >= 0 of e^(-theta S) prod (1 - gamma + gamma e^(theta w))^pairs` holds at every
/// theta, so it does not rest on the minimum being exact, and it is rounded upwards; the value is within `1e-9`
/// (relative) of the minimum.
///
/// In `[-inf, 0]`, never NaN, never -0.0; 0 when `S` does not exceed its mean. All pairs green is the limit
/// theta to infinity, `pairs log10 gamma`. `gamma` outside `(0, 1)` gives 0 (no evidence).
/// The cost is that of a few hundred exponentials per class.
pub fn log10_weighted_green_bound(classes: &[WeightClass], gamma: f64) -> f64 {
    GreenSum::new(classes, gamma).map_or(0.0, |sum| sum.log10_bound())
}

/// The weighted sum of green pairs under the null hypothesis, and its observed value.
pub(super) struct GreenSum {
    terms: Vec<Term>,
}

/// A class with its weight in some unit and its green count measured from the mean.
pub(super) struct Term {
    /// Probability of green: another one for each class, if some classes count what is red.
    gamma: f64,
    weight: f64,
    pairs: f64,
    green: f64,
    excess: f64,
}

impl Term {
    pub(super) fn new(class: &WeightClass, unit: u64, gamma: f64) -> Self {
        let pairs = class.pairs as f64;
        let green = class.green.min(class.pairs) as f64;
        let mean = pairs * gamma;
        Self {
            gamma,
            weight: class.weight as f64 / unit as f64,
            pairs,
            green,
            excess: (green - mean) - libm::fma(pairs, gamma, -mean),
        }
    }

    /// The two summands of `ln E[e^(theta weight (B - green))]`, B the green pairs under the null hypothesis: both measured
    /// from the mean or from all green, so that their sum does not cancel.
    pub(super) fn exponent(&self, theta: f64) -> (f64, f64) {
        let (gamma, y) = (self.gamma, theta * self.weight);
        if near_all_green(libm::exp(-y), gamma) {
            (self.pairs * log_mean_red(gamma, y), y * (self.pairs - self.green))
        } else {
            (self.pairs * bernoulli_cumulant(gamma, y), -y * self.excess)
        }
    }
}

impl GreenSum {
    /// `None` where no class counts or `gamma` states no null hypothesis.
    pub(super) fn new(classes: &[WeightClass], gamma: f64) -> Option<Self> {
        Self::of_parts(&[(classes, gamma)])
    }

    /// Of classes with several probabilities of green.
    pub(super) fn of_parts(parts: &[(&[WeightClass], f64)]) -> Option<Self> {
        let counted = || {
            let classes = parts.iter().flat_map(|&(classes, gamma)| classes.iter().map(move |class| (class, gamma)));
            classes.filter(|(class, _)| class.pairs > 0 && class.weight > 0)
        };
        let heaviest = counted().map(|(class, _)| class.weight).max()?;
        let known = parts.iter().all(|&(_, gamma)| is_probability(gamma));
        known.then(|| Self { terms: counted().map(|(class, gamma)| Term::new(class, heaviest, gamma)).collect() })
    }

    /// log10 of Chernoff's bound, as [`log10_weighted_green_bound`].
    pub(super) fn log10_bound(&self) -> f64 {
        if self.excess() <= 0.0 {
            return 0.0;
        }
        let ln_bound = match self.ln_all_green() {
            Some(ln) => ln * (1.0 - ROUNDING),
            None => self.chernoff(self.minimiser()),
        };
        ln_bound.min(0.0) / LN_10 + 0.0
    }

    /// Observed sum minus its mean.
    pub(super) fn excess(&self) -> f64 {
        self.terms.iter().map(|t| t.weight * t.excess).sum()
    }

    /// Log-probability that every pair is green, if every pair is.
    pub(super) fn ln_all_green(&self) -> Option<f64> {
        let ln = || self.terms.iter().map(|t| t.pairs * libm::log(t.gamma)).sum();
        self.terms.iter().all(|t| t.green >= t.pairs).then(ln)
    }

    /// Logarithm of the bound at `theta`, rounded upwards.
    pub(super) fn chernoff(&self, theta: f64) -> f64 {
        let (mut value, mut size) = (0.0, 0.0);
        for t in &self.terms {
            let (log_mean, shift) = t.exponent(theta);
            value += log_mean + shift;
            size += log_mean.abs() + shift.abs();
        }
        value + ROUNDING * size
    }

    /// Derivative of the exponent in `theta`: it rises from minus the excess.
    fn slope(&self, theta: f64) -> f64 {
        let term_slope = |t: &Term| {
            let (gamma, tilt) = (t.gamma, libm::exp(-theta * t.weight));
            let green = if near_all_green(tilt, gamma) {
                let missing = (1.0 - gamma) * tilt / (gamma + (1.0 - gamma) * tilt);
                (t.pairs - t.green) - t.pairs * missing
            } else {
                t.pairs * bernoulli_cumulant_slope(gamma, theta * t.weight) - t.excess
            };
            t.weight * green
        };
        self.terms.iter().map(term_slope).sum()
    }

    /// Variance under the law tilted by `theta`: the second derivative of the exponent.
    pub(super) fn variance(&self, theta: f64) -> f64 {
        let term_variance = |t: &Term| {
            let tilt = libm::exp(-theta * t.weight);
            let odds = (1.0 - t.gamma) * tilt;
            t.pairs * t.weight * t.weight * t.gamma * odds / ((t.gamma + odds) * (t.gamma + odds))
        };
        self.terms.iter().map(term_variance).sum()
    }

    /// Third cumulant under the null hypothesis.
    pub(super) fn third_cumulant(&self) -> f64 {
        let term_cumulant = |t: &Term| {
            let per_trial = t.gamma * (1.0 - t.gamma) * (1.0 - 2.0 * t.gamma);
            per_trial * t.pairs * t.weight * t.weight * t.weight
        };
        self.terms.iter().map(term_cumulant).sum()
    }

    /// Where the convex exponent is smallest, for a positive excess: bisection on its derivative. The Gaussian guess
    /// is the scale of the root where that is below 1, whatever `gamma`; above, doubling finds it.
    pub(super) fn minimiser(&self) -> f64 {
        let guess = (self.excess() / self.variance(0.0)).min(1.0);
        let (low, high) = bracket(0.0, guess, |theta| self.slope(theta) > 0.0);
        bisect(low, high, HALVINGS, |theta| self.slope(theta))
    }
}

/// `ln E[e^(-y R)]`, R whether a pair is red; near gamma = 1 the mean differs from 1 by less than its rounding error.
fn log_mean_red(gamma: f64, y: f64) -> f64 {
    if gamma > 0.5 {
        libm::log1p((1.0 - gamma) * libm::expm1(-y))
    } else {
        libm::log(gamma + (1.0 - gamma) * libm::exp(-y))
    }
}

/// Whether a class is measured from all green instead of from its mean. Where a light class decides the minimum, a
/// heavy class can be nearly certain, closer to all green than a sum of floats could show.
fn near_all_green(tilt: f64, gamma: f64) -> bool {
    tilt < gamma.min(0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::log10_binomial_sf;

    fn class(weight: u64, pairs: u64, green: u64) -> WeightClass {
        WeightClass { weight, pairs, green }
    }

    #[test]
    fn weights_are_integer_square_roots() {
        assert_eq!([0, 1, 2, 3, 4].map(weight_sqrt), [0, 65_536, 92_681, 113_511, 131_072]);
        assert_eq!(weight_sqrt(1_000_000_000_000), 65_536_000_000);
        assert_eq!(weight_sqrt(u64::MAX), (1 << 48) - 1);
        // expected counts of 0, 2^-16, 1/4, 1, 2 and 4
        let expected = [0, 1, 1 << 14, 1 << 16, 2 << 16, 4 << 16].map(weight_expected);
        assert_eq!(expected, [0, 256, 32_768, 65_536, 92_672, 131_072]);
        assert_eq!(weight_expected(u64::MAX), 255 << 32);
    }

    #[test]
    fn bounds_the_exact_tail() {
        for green in 0..=20 {
            let bound = log10_weighted_green_bound(&[class(7, 20, green)], 0.3);
            assert!(bound >= log10_binomial_sf(green, 20, 0.3) - 1e-12 && bound <= 0.0);
        }
        // two classes, enumerated: 6 pairs of weight 2, 4 of weight 3
        let mass = |n: u64, k: u64| {
            let choose: f64 = (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product();
            choose * libm::pow(0.25, k as f64) * libm::pow(0.75, (n - k) as f64)
        };
        for (a, b) in (0..=6).flat_map(|a| (0..=4).map(move |b| (a, b))) {
            let exact: f64 = (0..=6)
                .flat_map(|i| (0..=4).map(move |j| (i, j)))
                .filter(|(i, j)| 2 * i + 3 * j >= 2 * a + 3 * b)
                .map(|(i, j)| mass(6, i) * mass(4, j))
                .sum();
            let bound = log10_weighted_green_bound(&[class(2, 6, a), class(3, 4, b)], 0.25);
            assert!(bound >= libm::log10(exact) - 1e-12, "{a} {b}");
        }
    }

    #[test]
    fn edges() {
        assert!(log10_weighted_green_bound(&[], 0.5).abs() < 1e-300);
        assert!(log10_weighted_green_bound(&[class(0, 5, 5), class(3, 0, 0)], 0.5).abs() < 1e-300);
        assert!(log10_weighted_green_bound(&[class(1, 10, 5)], 0.5).abs() < 1e-300);
        for gamma in [0.0, 1.0, -1.0, f64::NAN] {
            assert!(log10_weighted_green_bound(&[class(1, 10, 10)], gamma).abs() < 1e-300);
        }
        let all = log10_weighted_green_bound(&[class(1, 10, 10), class(weight_sqrt(1 << 40), 1, 1)], 0.1);
        assert!((all + 11.0).abs() < 1e-11);
        let huge = class(1 << 60, 1 << 62, 1 << 62);
        let value = log10_weighted_green_bound(&[huge, class(1, 1 << 40, 1 << 39)], 1e-4);
        assert!(value < -1e18 && value.is_finite());
    }

    #[test]
    fn unit_of_the_weights_does_not_matter() {
        let one = log10_weighted_green_bound(&[class(1, 500, 200), class(2, 40, 30)], 0.25);
        let other = log10_weighted_green_bound(&[class(3000, 500, 200), class(6000, 40, 30)], 0.25);
        assert!(one < -10.0 && (one - other).abs() < 1e-12);
    }
}
