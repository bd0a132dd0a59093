//! Scores of pairs with signed weights: what was chosen more often than expected against what was chosen less often.

use super::weighted::{GreenSum, WeightClass, leading_bits};

/// Pairs that share one weight of either sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedClass {
    /// Weight of each pair of the class, in any unit common to all classes.
    pub weight: i64,
    /// Distinct pairs in the class.
    pub pairs: u64,
    /// Those of them that are green; more than `pairs` counts as `pairs`.
    pub green: u64,
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
    let part = |positive: bool| -> Vec<WeightClass> {
        let of_sign = classes.iter().filter(|class| (class.weight > 0) == positive);
        let counted = of_sign.map(|class| {
            let green = class.green.min(class.pairs);
            let green = if positive { green } else { class.pairs - green };
            WeightClass { weight: class.weight.unsigned_abs(), pairs: class.pairs, green }
        });
        counted.collect()
    };
    let (above, below) = (part(true), part(false));
    GreenSum::of_parts(&[(&above, gamma), (&below, 1.0 - gamma)]).map_or(0.0, |sum| sum.log10_bound())
}

/// Weight of a pair that was seen `seen` times and expected `expected` times, both in units of `2^-16`: the difference over the square root of
/// their sum and one, which is near its standard deviation. In units of `2^-16`, cut to its eight leading bits so that there are few
/// classes. Integer, so the same everywhere.
pub fn weight_residual(seen: u64, expected: u64) -> i64 {
    let difference = u128::from(seen.abs_diff(expected)).min(1 << 46);
    let sum = u128::from(seen) + u128::from(expected) + (1 << 16);
    // 2^16 (difference / 2^16) / sqrt(sum / 2^16)
    let size = (difference * difference * (1 << 16) / sum).isqrt() as u64;
    let size = leading_bits(size) as i64;
    if seen >= expected { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::log10_weighted_green_bound;

    fn class(weight: i64, pairs: u64, green: u64) -> SignedClass {
        SignedClass { weight, pairs, green }
    }

    #[test]
    fn positive_weights_are_the_weighted_bound() {
        let classes: [(u32, u64, u64); 3] = [(3, 40, 29), (1, 200, 90), (0, 7, 7)];
        let signed = classes.map(|(weight, pairs, green)| class(weight.into(), pairs, green));
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

    #[test]
    fn residual_weights() {
        let one = 1 << 16;
        // (1 - 0) / sqrt 2, (0 - 1) / sqrt 2, (9 - 1) / sqrt 11, (100 - 100) / …, cut to eight bits.
        assert_eq!(weight_residual(one, 0), 46_336);
        assert_eq!(weight_residual(0, one), -46_336);
        assert_eq!(weight_residual(9 * one, one), 157_696);
        assert_eq!(weight_residual(100 * one, 100 * one), 0);
        assert!(weight_residual(u64::MAX, 0) > 0 && weight_residual(0, u64::MAX) < 0);
    }
}
