//! Scores of pairs with signed weights: what was chosen more often than expected against what was chosen less often.

use super::weighted::{GreenSum, WeightClass, leading_bits};
use super::weighted_evidence::{ln_e_exponential_signs, ln_e_green_parts};
use super::weighted_exponential::ExponentialSum;
use super::{ExponentialClass, log10_weighted_exponential_low_bound};

/// Pairs that share one weight of either sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedClass {
    /// Weight of each pair of the class, in any unit common to all classes; for e-values in units of `2^-16`.
    pub weight: i64,
    /// Distinct pairs in the class.
    pub pairs: u64,
    /// Sum of their scores, not weighted: green pairs, of which more than `pairs` count as `pairs`, or exponential scores in units of
    /// `2^-32`, each rounded down.
    pub score: u128,
}

/// Upper bound on `log10 P(S' >= S)`, where `S` is the sum of weight times green over the classes.
///
/// Null hypothesis: each of the distinct pairs is green independently with probability `gamma`, whatever its weight. A pair of weight
/// -w that is green is one of weight w that is red, up to a constant; so this is
/// [`log10_weighted_green_bound`](super::log10_weighted_green_bound) with green counted where weights are positive, and red, of
/// probability 1 - gamma, where they are negative.
///
/// In `[-inf, 0]`, never NaN, never -0.0; 0 when `S` does not exceed its mean, and for `gamma` outside `(0, 1)`.
pub fn log10_signed_green_bound(classes: &[SignedClass], gamma: f64) -> f64 {
    let [above, below] = green_and_red(classes);
    GreenSum::of_parts(&[(&above, gamma), (&below, 1.0 - gamma)]).map_or(0.0, |sum| sum.log10_bound())
}

/// Natural logarithm of the e-value of signed green classes: [`ln_e_weighted_green`](super::ln_e_weighted_green) with red pairs counted
/// where weights are negative, under the same null hypothesis.
pub fn ln_e_signed_green(classes: &[SignedClass], gamma: f64) -> f64 {
    let [above, below] = green_and_red(classes);
    ln_e_green_parts(&[(&above, gamma), (&below, 1.0 - gamma)])
}

/// Upper bound on `log10 P(S' >= S)`, where `S` is the sum of weight times exponential score over the classes.
///
/// Null hypothesis: the scores of the distinct pairs are independent standard exponentials, whatever their weight. Chernoff's bound
/// `min over theta of e^(-theta S) prod (1 - theta w)^-pairs`, theta between 0 and the reciprocal of the largest weight; where no weight is
/// positive, theta has no limit. Scores are rounded down, which is on the safe side for positive weights; a unit a pair is added for
/// negative ones.
///
/// In `[-inf, 0]`, never NaN, never -0.0; 0 when `S` does not exceed its mean.
pub fn log10_signed_exponential_bound(classes: &[SignedClass]) -> f64 {
    let [above, below] = exponential_signs(classes);
    match ExponentialSum::of_signs(&above, &below) {
        Some(sum) => sum.log10_bound(),
        None => log10_weighted_exponential_low_bound(&below),
    }
}

/// Natural logarithm of the e-value of signed exponential classes, as [`ln_e_weighted_exponential`](super::ln_e_weighted_exponential):
/// weights beyond 8 on either side count as 8.
///
/// Null hypothesis: as [`log10_signed_exponential_bound`].
pub fn ln_e_signed_exponential(classes: &[SignedClass]) -> f64 {
    let [above, below] = exponential_signs(classes);
    ln_e_exponential_signs(&above, &below)
}

/// Classes of positive weight with their green pairs, and of negative weight with their red ones.
fn green_and_red(classes: &[SignedClass]) -> [Vec<WeightClass>; 2] {
    [true, false].map(|positive| {
        let of_sign = classes.iter().filter(|class| (class.weight > 0) == positive);
        let counted = of_sign.map(|class| {
            let green = u64::try_from(class.score).unwrap_or(u64::MAX).min(class.pairs);
            let green = if positive { green } else { class.pairs - green };
            WeightClass { weight: class.weight.unsigned_abs(), pairs: class.pairs, green }
        });
        counted.collect()
    })
}

/// Classes of positive weight, and of negative weight with the largest sums that their scores can have been rounded from.
fn exponential_signs(classes: &[SignedClass]) -> [Vec<ExponentialClass>; 2] {
    [true, false].map(|positive| {
        let of_sign = classes.iter().filter(|class| (class.weight > 0) == positive);
        let counted = of_sign.map(|class| {
            let rounded = if positive { 0 } else { class.pairs.into() };
            let sum_q32 = class.score.saturating_add(rounded);
            ExponentialClass { weight: class.weight.unsigned_abs(), pairs: class.pairs, sum_q32 }
        });
        counted.collect()
    })
}

/// The largest size of [`weight_residual`].
pub(crate) const MAX_RESIDUAL: u64 = 1 << 46;

/// Weight of a pair that was seen `seen` times and expected `expected` times, both in units of `2^-16`: the difference, `n - e`, over
/// `1 + e / 32`. In units of `2^-16`, cut to its eight leading bits so that there are few classes. Integer, so the same everywhere.
///
/// Where a suspect departs from its reference by `e^(N(0, tau^2))` beside the mark, the best weight is the difference over `1 + tau^2 e`: the
/// variance of `n` is then `e (1 + tau^2 e)`. `tau^2 = 1/32` was chosen on students of its own (`papers/radioactivity`), where everything
/// between .01 and .1 comes near the best.
pub fn weight_residual(seen: u64, expected: u64) -> i64 {
    let difference = u128::from(seen.abs_diff(expected)).min(MAX_RESIDUAL.into());
    let size = leading_bits(((difference << 21) / (u128::from(expected) + (1 << 21))) as u64) as i64;
    if seen >= expected { size } else { -size }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_sign_loss, reason = "tests")]
    use super::*;
    use crate::stats::log10_weighted_green_bound;

    fn class(weight: i64, pairs: u64, green: u128) -> SignedClass {
        SignedClass { weight, pairs, score: green }
    }

    #[test]
    fn positive_weights_are_the_weighted_bound() {
        let classes: [(u32, u64, u64); 3] = [(3, 40, 29), (1, 200, 90), (0, 7, 7)];
        let signed = classes.map(|(weight, pairs, green)| class(weight.into(), pairs, green.into()));
        let plain = classes.map(|(weight, pairs, green)| WeightClass { weight: weight.into(), pairs, green });
        let (signed, plain) = (log10_signed_green_bound(&signed, 0.25), log10_weighted_green_bound(&plain, 0.25));
        assert!(plain < -5.0 && (signed - plain).abs() < 1e-12, "{signed} {plain}");
    }

    /// 5 pairs of weight 2 and 6 of weight -3, enumerated: the bound is never below the exact tail, and 0 at the mean.
    #[test]
    fn bounds_the_exact_tail() {
        let mass = |n: u32, k: u32| {
            let choose: f64 = (0..k).map(|i| f64::from(n - i) / f64::from(i + 1)).product();
            choose * libm::pow(0.25, k.into()) * libm::pow(0.75, (n - k).into())
        };
        for (a, b) in (0..=5_u32).flat_map(|a| (0..=6_u32).map(move |b| (a, b))) {
            let exact: f64 = (0..=5)
                .flat_map(|i| (0..=6).map(move |j| (i, j)))
                .filter(|&(i, j)| 2 * i64::from(i) - 3 * i64::from(j) >= 2 * i64::from(a) - 3 * i64::from(b))
                .map(|(i, j)| mass(5, i) * mass(6, j))
                .sum();
            let bound = log10_signed_green_bound(&[class(2, 5, a.into()), class(-3, 6, b.into())], 0.25);
            assert!(bound >= libm::log10(exact) - 1e-12 && bound <= 0.0, "{a} {b}: {bound}");
        }
        // All green above and all red below: gamma^5 (1 - gamma)^6.
        let best = log10_signed_green_bound(&[class(2, 5, 5), class(-3, 6, 0)], 0.25);
        let exact = 5.0 * libm::log10(0.25) + 6.0 * libm::log10(0.75);
        assert!((best - exact).abs() < 1e-11, "{best} {exact}");
        for none in [&[class(2, 4, 1), class(-3, 4, 1)][..], &[class(0, 5, 5)], &[class(-1, 0, 0)], &[]] {
            assert!(log10_signed_green_bound(none, 0.25).abs() < 1e-300);
        }
        assert!(log10_signed_green_bound(&[class(1, 10, 10)], f64::NAN).abs() < 1e-300);
        let huge = log10_signed_green_bound(&[class(i64::MIN, 1 << 62, 0), class(i64::MAX, 1 << 60, 1 << 60)], 0.5);
        assert!(huge < -1e18 && huge.is_finite());
    }

    /// Three pairs of weight 2 and two of weight -3, every outcome times its probability: the mean of e is one.
    #[test]
    fn the_mean_over_outcomes_is_one() {
        let mut total = 0.0;
        for (a, b) in (0..=3_u128).flat_map(|a| (0..=2_u128).map(move |b| (a, b))) {
            let choose = [1.0, 3.0, 3.0, 1.0][a as usize] * [1.0, 2.0, 1.0][b as usize];
            let green = (a + b) as f64;
            let chance = choose * libm::pow(0.25, green) * libm::pow(0.75, 5.0 - green);
            total += chance * libm::exp(ln_e_signed_green(&[class(2 << 16, 3, a), class(-3 << 16, 2, b)], 0.25));
        }
        assert!((total - 1.0).abs() < 1e-12, "{total}");
        // One exponential score of either sign, by quadrature.
        for weight in [-(100 << 16), -(2 << 16), 1 << 15, 3 << 16] {
            let step = 1e-3;
            let point = |i: u32| {
                let x = (f64::from(i) + 0.5) * step;
                step * libm::exp(ln_e_signed_exponential(&[class(weight, 1, (x * 4_294_967_296.0) as u128)]) - x)
            };
            let mean: f64 = (0..400_000).map(point).sum();
            assert!((mean - 1.0).abs() < 1e-6, "{weight}: {mean}");
        }
        assert!(ln_e_signed_green(&[class(1 << 16, 1, 1)], 1.5).abs() < 1e-300);
    }

    /// The difference of two exponential scores of weights a and -b has the tail a / (a + b) e^(-x / a), that of negative weights alone is a
    /// Gamma law's lower tail.
    #[test]
    fn bounds_exponential_tails() {
        let one = 4_294_967_296.0;
        for (a, b) in [(1_i64, 1_i64), (3, 1), (1, 5), (1, 1000)] {
            for x in [0.1, 1.0, 4.0, 12.0, 40.0] {
                // S = x a: the score of weight a is x, that of weight -b nearly 0.
                let bound = log10_signed_exponential_bound(&[class(a, 1, (x * one) as u128), class(-b, 1, 0)]);
                let exact = libm::log10(a as f64 / (a + b) as f64) - x / core::f64::consts::LN_10;
                assert!(bound >= exact - 1e-9 && bound <= 0.0, "{a} {b} {x}: {bound} {exact}");
            }
        }
        for sum in [1.0, 20.0, 60.0, 99.0] {
            let bound = log10_signed_exponential_bound(&[class(-7, 100, (sum * one) as u128)]);
            let exact = crate::stats::ln_gamma_cdf(100, sum) / core::f64::consts::LN_10;
            assert!(bound >= exact - 1e-9 && bound < exact + 2.0, "{sum}: {bound} {exact}");
        }
        let plain = [ExponentialClass { weight: 3, pairs: 50, sum_q32: 90 << 32 }];
        let signed = log10_signed_exponential_bound(&[class(3, 50, 90 << 32)]);
        assert!((signed - crate::stats::log10_weighted_exponential_bound(&plain)).abs() < 1e-12 && signed < -3.0);
        for none in [&[class(2, 4, 4 << 32), class(-3, 4, 4 << 32)][..], &[class(0, 5, 50 << 32)], &[]] {
            assert!(log10_signed_exponential_bound(none).abs() < 1e-300);
        }
        let huge = log10_signed_exponential_bound(&[class(i64::MIN, 1 << 40, 0), class(i64::MAX, 1 << 30, 1 << 70)]);
        assert!(huge < -1e6 && huge.is_finite(), "{huge}");
    }

    #[test]
    fn residual_weights() {
        let one = 1 << 16;
        // 1 / 1, -1 / (1 + 1/32), 8 / (1 + 1/32) and -32 / 2 in units of 2^-16, cut to eight bits.
        assert_eq!(weight_residual(one, 0), 65_536);
        assert_eq!(weight_residual(0, one), -63_488);
        assert_eq!(weight_residual(9 * one, one), 507_904);
        assert_eq!(weight_residual(0, 32 * one), -(16 << 16));
        assert_eq!(weight_residual(100 * one, 100 * one), 0);
        assert!(weight_residual(u64::MAX, 0) > 0 && weight_residual(0, u64::MAX) < 0);
    }
}
