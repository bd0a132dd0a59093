//! Saddle-point approximations of weighted tails: for power and planning, never for a verdict.

use core::f64::consts::{FRAC_1_SQRT_2, LN_10, TAU};

use super::weighted::{GreenSum, WeightClass};
use super::weighted_exponential::{ExponentialClass, ExponentialSum};

/// Signed roots below this are next to the mean, where the correction is replaced by its limit.
const NEAR_MEAN: f64 = 1e-4;

/// From here on the normal tail comes from its asymptotic series.
const FAR: f64 = 20.0;

/// Approximation of `log10 P(S' >= S)`, where `S` is the sum of weight times green over the classes.
///
/// **Not a bound, not for a verdict**: the answer may lie on either side of the tail. It is for power and planning;
/// [`log10_weighted_green_bound`](super::log10_weighted_green_bound) is the rigorous value. Null hypothesis: that of
/// the bound. Lugannani and Rice (1980) in the form of Barndorff-Nielsen (1991), `r* = r + ln(u/r)/r`, with the
/// lattice correction of Daniels (1987) for the common divisor of the weights. Typically within 1 % of the
/// probability from ten effective pairs on.
///
/// In `[-inf, 0]`, never NaN, never -0.0. All pairs green is exact, `pairs log10 gamma`; no pair green gives 0, and so
/// does `gamma` outside `(0, 1)`.
pub fn log10_weighted_green_saddlepoint(classes: &[WeightClass], gamma: f64) -> f64 {
    let Some(sum) = GreenSum::new(classes, gamma) else { return 0.0 };
    if let Some(ln) = sum.ln_all_green() {
        return ln / LN_10 + 0.0;
    }
    let counted = || classes.iter().filter(|c| c.pairs > 0).map(|c| c.weight);
    let heaviest = counted().max().unwrap_or(1);
    let span = counted().fold(0, gcd) as f64 / heaviest as f64;
    let root_at_mean = limit_at_mean(sum.third_cumulant(), sum.variance(0.0), span);
    if sum.excess() >= 0.0 {
        let theta = sum.minimiser();
        let u = (-libm::expm1(-span * theta) / span) * libm::sqrt(sum.variance(theta));
        return log10_tail(libm::sqrt(-2.0 * sum.chernoff(theta).min(0.0)), u, root_at_mean);
    }
    // below the mean theta is negative: the same sum counted in pairs that are not green
    let red = |c: &WeightClass| WeightClass { green: c.pairs - c.green.min(c.pairs), ..*c };
    let red: Vec<_> = classes.iter().map(red).collect();
    let Some(sum) = GreenSum::new(&red, 1.0 - gamma) else { return 0.0 };
    if sum.ln_all_green().is_some() {
        return 0.0;
    }
    let theta = sum.minimiser();
    let u = (-libm::expm1(span * theta) / span) * libm::sqrt(sum.variance(theta));
    log10_tail(-libm::sqrt(-2.0 * sum.chernoff(theta).min(0.0)), u, root_at_mean)
}

/// Approximation of `log10 P(S' >= S)`, where `S` is the sum of `weight * sum_q32 / 2^32` over the classes.
///
/// **Not a bound, not for a verdict**: the answer may lie on either side of the tail. It is for power and planning;
/// [`log10_weighted_exponential_bound`](super::log10_weighted_exponential_bound) is the rigorous value. Null
/// hypothesis: that of the bound. Lugannani and Rice (1980) in the form of Barndorff-Nielsen (1991),
/// `r* = r + ln(u/r)/r`: within 1 % of the probability even for a single pair.
///
/// In `[-inf, 0]`, never NaN, never -0.0; 0 for a sum of zero.
pub fn log10_weighted_exponential_saddlepoint(classes: &[ExponentialClass]) -> f64 {
    let Some(sum) = ExponentialSum::new(classes) else { return 0.0 };
    if sum.sum() <= 0.0 {
        return 0.0;
    }
    let theta = sum.minimiser();
    let r = libm::copysign(libm::sqrt(-2.0 * sum.chernoff(theta).min(0.0)), theta);
    let root_at_mean = limit_at_mean(sum.third_cumulant(), sum.variance(0.0), 0.0);
    log10_tail(r, theta * libm::sqrt(sum.variance(theta)), root_at_mean)
}

/// `ln(u/r)/r` at the mean: a sixth of the skewness, less half a lattice span in standard deviations.
fn limit_at_mean(third_cumulant: f64, variance: f64, span: f64) -> f64 {
    (third_cumulant / (6.0 * variance) - 0.5 * span) / libm::sqrt(variance)
}

/// `log10` of the normal tail at `r*`, for the signed root `r` and `u` of the same sign.
fn log10_tail(r: f64, u: f64, limit_at_mean: f64) -> f64 {
    let correction = if r.abs() < NEAR_MEAN { limit_at_mean } else { libm::log(u / r) / r };
    let star = r + if correction.is_finite() { correction } else { 0.0 };
    let ln = ln_normal_sf(star);
    if ln.is_nan() { 0.0 } else { ln.min(0.0) / LN_10 + 0.0 }
}

/// `ln P(N(0, 1) >= x)` (DLMF 7.12.1 far out).
fn ln_normal_sf(x: f64) -> f64 {
    if x > FAR {
        let r = 1.0 / (x * x);
        let series = -r * (1.0 - r * (3.0 - r * (15.0 - r * (105.0 - 945.0 * r))));
        return -0.5 * x * x - 0.5 * libm::log(TAU) - libm::log(x) + libm::log1p(series);
    }
    let tail = 0.5 * libm::erfc(x.abs() * FRAC_1_SQRT_2);
    if x < 0.0 { libm::log1p(-tail) } else { libm::log(tail) }
}

/// Greatest common divisor.
pub(super) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
#[expect(clippy::cast_sign_loss, reason = "tests")]
mod tests {
    use super::*;
    use crate::stats::{log10_binomial_sf, log10_gamma_sf};

    /// Whether two probabilities, given as logarithms, agree to a share of either and of their complements.
    fn close(got: f64, exact: f64, share: f64) -> bool {
        (got - exact).abs() * LN_10 <= share || (got / exact - 1.0).abs() <= share
    }

    #[test]
    fn normal_tail_in_both_forms() {
        let (near, far) = (ln_normal_sf(FAR), ln_normal_sf(FAR * (1.0 + 1e-15)));
        assert!((near - far).abs() < 1e-10, "{near} {far}");
        assert!((ln_normal_sf(0.0) + core::f64::consts::LN_2).abs() < 1e-15 && ln_normal_sf(-40.0).abs() < 1e-300);
    }

    #[test]
    fn one_class_against_the_exact_tails() {
        for (n, gamma) in [(30u64, 0.5), (200, 0.25), (10_000, 0.1), (1_000_000, 0.5)] {
            for k in (0..=40).map(|i| n * i / 40) {
                let class = [WeightClass { weight: 3, pairs: n, green: k }];
                let (got, exact) = (log10_weighted_green_saddlepoint(&class, gamma), log10_binomial_sf(k, n, gamma));
                assert!(close(got, exact, 0.02) || exact.abs() < 1e-300, "{k} {n} {gamma}: {got:e} {exact:e}");
            }
        }
        for n in [1u64, 2, 30, 10_000, 1_000_000_000] {
            for share in [0.01, 0.5, 0.9, 0.9999, 1.0, 1.0001, 1.01, 2.0, 50.0] {
                let sum_q32 = (share * n as f64 * 4_294_967_296.0) as u128;
                let class = [ExponentialClass { weight: 3, pairs: n, sum_q32 }];
                let got = log10_weighted_exponential_saddlepoint(&class);
                let exact = log10_gamma_sf(n, share * n as f64);
                assert!(close(got, exact, 0.02) || exact.abs() < 1e-300, "{n} {share}: {got:e} {exact:e}");
            }
        }
    }

    #[test]
    fn two_weights_against_enumeration() {
        let mass = |n: u64, k: u64| (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product::<f64>();
        let (mut worst, scale) = (0.0f64, libm::pow(2.0, -60.0));
        for (a, b) in (1..=40).step_by(3).flat_map(|a| (1..=20).step_by(2).map(move |b| (a, b))) {
            let cells = (0..=40).flat_map(|i| (0..=20).map(move |j| (i, j)));
            let exact: f64 =
                cells.filter(|(i, j)| i + 2 * j >= a + 2 * b).map(|(i, j)| mass(40, i) * mass(20, j) * scale).sum();
            let classes =
                [WeightClass { weight: 1, pairs: 40, green: a }, WeightClass { weight: 2, pairs: 20, green: b }];
            let got = log10_weighted_green_saddlepoint(&classes, 0.5);
            worst = worst.max((got * LN_10 - libm::log(exact)).abs());
        }
        assert!(worst < 0.05, "{worst}");
    }

    #[test]
    fn edges() {
        let class = |weight, pairs, green| WeightClass { weight, pairs, green };
        for gamma in [0.0, 1.0, f64::NAN] {
            assert!(log10_weighted_green_saddlepoint(&[class(1, 9, 9)], gamma).abs() < 1e-300);
        }
        assert!(log10_weighted_green_saddlepoint(&[class(1, 9, 0), class(5, 9, 0)], 0.3).abs() < 1e-300);
        assert!((log10_weighted_green_saddlepoint(&[class(1, 9, 9)], 0.1) + 9.0).abs() < 1e-12);
        assert!(log10_weighted_green_saddlepoint(&[class(1, 1 << 60, 5)], 1e-18) <= 0.0);
        let sums = [(1, 1, u128::MAX), (u64::MAX, u64::MAX, 1), (3, 1 << 40, 1), (1, 0, 5), (0, 1, 5), (2, 1, 0)];
        for (weight, pairs, sum_q32) in sums {
            let v = log10_weighted_exponential_saddlepoint(&[ExponentialClass { weight, pairs, sum_q32 }]);
            assert!(v <= 0.0 && (v < 0.0 || v.is_sign_positive()), "{weight} {pairs} {sum_q32}: {v}");
        }
    }
}
