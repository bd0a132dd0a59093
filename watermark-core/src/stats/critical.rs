//! How large the weighted sum of a sample must be for its bound or its e-value to reach a level, for the power of a test.
//!
//! All of these depend on the scores through that sum alone. It is given as the weighted mean of a score: the share of green
//! pairs, or the mean exponential score, without the mean under the null hypothesis. Classes are (weight, pairs), weights in
//! units of `2^-16`; levels lie below 0. The answers are within `1e-9` (relative) of where the bound or e-value passes the
//! level; 0 if nothing counts.

use core::f64::consts::LN_10;

use super::ln_mean_e;
use super::root::{bisect, bracket};
use super::special::{bernoulli_cumulant, bernoulli_cumulant_slope, log_remainder};
use super::weighted_evidence::{EXPONENTIAL_TILTS, GREEN_TILTS, UNIT, exponential_weight};

/// Halvings of a bracket.
const HALVINGS: u32 = 50;

/// Where the search for theta or the excess begins: below what the largest samples need.
const FIRST: f64 = 1e-12;

/// By how much the share of green pairs must exceed gamma for [`super::log10_weighted_green_bound`] to be `log10_level`; all of
/// `1 - gamma` if even that is too little.
pub(crate) fn excess_green_by_bound(classes: &[(u64, u64)], gamma: f64, log10_level: f64) -> f64 {
    let cumulant = |y: f64| bernoulli_cumulant(gamma, y);
    excess_by_bound(classes, log10_level, f64::INFINITY, cumulant, |y| bernoulli_cumulant_slope(gamma, y))
}

/// By how much the mean score must exceed 1 for [`super::log10_weighted_exponential_bound`] to be `log10_level`.
pub(crate) fn excess_exponential_by_bound(classes: &[(u64, u64)], log10_level: f64) -> f64 {
    excess_by_bound(classes, log10_level, 1.0, |y| -log_remainder(-y), |y| y / (1.0 - y))
}

/// As [`excess_green_by_bound`] for [`super::ln_e_weighted_green`].
pub(crate) fn excess_green_by_e(classes: &[(u64, u64)], gamma: f64, log10_level: f64) -> f64 {
    let excess = excess_by_e(classes, log10_level, &GREEN_TILTS, |y| bernoulli_cumulant(gamma, y));
    excess.min(1.0 - gamma)
}

/// As [`excess_exponential_by_bound`] for [`super::ln_e_weighted_exponential`], and for the mean with that e-value's weights.
pub(crate) fn excess_exponential_by_e(classes: &[(u64, u64)], log10_level: f64) -> f64 {
    let capped: Vec<(u64, u64)> = classes.iter().map(|&(weight, pairs)| (exponential_weight(weight), pairs)).collect();
    excess_by_e(&capped, log10_level, &EXPONENTIAL_TILTS, |y| -log_remainder(-y))
}

/// `cumulant` is that of one score less its mean, at y = theta times weight below `end`, and `slope` its derivative: the
/// excess under the law tilted by theta. Chernoff's bound of the sum that has this mean is smallest at that theta, where
/// its logarithm is the sum over pairs of `cumulant - y slope`. So one search over theta gives the sum.
fn excess_by_bound(
    classes: &[(u64, u64)],
    log10_level: f64,
    end: f64,
    cumulant: impl Fn(f64) -> f64,
    slope: impl Fn(f64) -> f64,
) -> f64 {
    let heaviest = classes.iter().map(|&(weight, _)| weight).max().unwrap_or(0).max(1) as f64;
    let scaled: Vec<(f64, f64)> = classes.iter().map(|&(w, pairs)| (w as f64 / heaviest, pairs as f64)).collect();
    let ln_bound = |theta: f64| -> f64 {
        let exponent = |y: f64| cumulant(y) - y * slope(y);
        scaled.iter().map(|(weight, pairs)| pairs * exponent(theta * weight)).sum()
    };
    let above = |theta: f64| log10_level * LN_10 - ln_bound(theta);
    let (low, high) = bracket(0.0, FIRST, |theta| theta >= end || above(theta) > 0.0);
    let theta = bisect(low, high.min(end), HALVINGS, above);
    let total: f64 = scaled.iter().map(|(weight, pairs)| weight * pairs).sum();
    let excess: f64 = scaled.iter().map(|(weight, pairs)| weight * pairs * slope(theta * weight)).sum();
    if total > 0.0 { excess / total } else { 0.0 }
}

/// The e-value is the mean over `tilts` of `e^(tilt times the weighted excess - cumulants)`.
fn excess_by_e(classes: &[(u64, u64)], log10_level: f64, tilts: &[f64], cumulant: impl Fn(f64) -> f64) -> f64 {
    let scaled: Vec<(f64, f64)> =
        classes.iter().map(|&(weight, pairs)| (weight as f64 / UNIT as f64, pairs as f64)).collect();
    let total: f64 = scaled.iter().map(|(weight, pairs)| weight * pairs).sum();
    let at = |tilt: f64| (tilt, scaled.iter().map(|(weight, pairs)| pairs * cumulant(tilt * weight)).sum::<f64>());
    let bets: Vec<(f64, f64)> = tilts.iter().copied().map(at).collect();
    let above = |excess: f64| {
        let exponents: Vec<f64> = bets.iter().map(|(tilt, cumulants)| tilt * total * excess - cumulants).collect();
        ln_mean_e(&exponents) + log10_level * LN_10
    };
    if total <= 0.0 {
        return 0.0;
    }
    let (low, high) = bracket(0.0, FIRST, |excess| above(excess) > 0.0);
    bisect(low, high, HALVINGS, above)
}

#[cfg(test)]
#[expect(clippy::cast_sign_loss, reason = "tests")]
mod tests {
    use super::*;
    use crate::stats::{
        ExponentialClass, WeightClass, ln_e_weighted_exponential, ln_e_weighted_green,
        log10_weighted_exponential_bound, log10_weighted_green_bound, weight_sqrt,
    };

    /// Classes whose sums can take nearly any value: large numbers of pairs, and one heavy class.
    fn classes() -> [(u64, u64); 4] {
        [(1, 900_000), (2, 80_000), (9, 3_000), (400, 20)].map(|(count, pairs)| (weight_sqrt(count), pairs))
    }

    /// At the excess the bound or e-value is the level, to what whole green pairs allow.
    #[test]
    fn the_bound_and_the_e_value_are_the_level_there() {
        let share = |pairs: u64, mean: f64| (pairs as f64 * mean) as u64;
        for (gamma, level) in [(0.5, -6.0), (0.25, -6.0), (0.1, -30.0), (0.9, -3.0)] {
            let green = |excess: f64| {
                let class = |(weight, pairs)| WeightClass { weight, pairs, green: share(pairs, gamma + excess) };
                classes().map(class)
            };
            let excess = excess_green_by_bound(&classes(), gamma, level);
            let bound = log10_weighted_green_bound(&green(excess), gamma);
            assert!((bound / level - 1.0).abs() < 5e-3, "{gamma} {level}: {bound}");
            let excess = excess_green_by_e(&classes(), gamma, level);
            let ln_e = ln_e_weighted_green(&green(excess), gamma);
            assert!((-ln_e / LN_10 / level - 1.0).abs() < 1e-2, "{gamma} {level}: {ln_e}");
        }
        for level in [-0.5, -6.0, -300.0] {
            let scores = |excess: f64| {
                let sum_q32 = |pairs: u64| ((1.0 + excess) * pairs as f64 * 4_294_967_296.0) as u128;
                classes().map(|(weight, pairs)| ExponentialClass { weight, pairs, sum_q32: sum_q32(pairs) })
            };
            let excess = excess_exponential_by_bound(&classes(), level);
            let bound = log10_weighted_exponential_bound(&scores(excess));
            assert!((bound / level - 1.0).abs() < 1e-7, "{level}: {bound}");
            let excess = excess_exponential_by_e(&classes(), level);
            let ln_e = ln_e_weighted_exponential(&scores(excess));
            assert!((-ln_e / LN_10 / level - 1.0).abs() < 1e-7, "{level}: {ln_e}");
        }
    }

    /// What cannot be reached is all green; nothing to count gives nothing.
    #[test]
    fn edges() {
        let few = [(65_536, 10), (6_553_600, 1)];
        assert!((excess_green_by_bound(&few, 0.25, -7.0) - 0.75).abs() < 1e-9, "4^-11 is above 1e-7");
        assert!((excess_green_by_e(&few, 0.25, -9.0) - 0.75).abs() < 1e-12);
        for none in [&[][..], &[(0, 5)], &[(5, 0)]] {
            for excess in [
                excess_green_by_bound(none, 0.5, -6.0),
                excess_green_by_e(none, 0.5, -6.0),
                excess_exponential_by_bound(none, -6.0),
                excess_exponential_by_e(none, -6.0),
            ] {
                assert!(excess.abs() < 1e-300, "{none:?}: {excess}");
            }
        }
        for huge in [&[(u64::MAX, u64::MAX), (1, 1)][..], &[(1, u64::MAX)]] {
            let excesses = [
                excess_green_by_bound(huge, 1e-300, -6.0),
                excess_green_by_e(huge, 0.5, -1e300),
                excess_exponential_by_bound(huge, -1e9),
                excess_exponential_by_e(huge, -1e300),
            ];
            assert!(excesses.iter().all(|excess| !excess.is_nan()), "{huge:?}: {excesses:?}");
        }
    }
}
