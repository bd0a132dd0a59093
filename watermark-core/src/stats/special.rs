//! Elementary functions whose naive forms cancel: every one keeps its relative precision.

use core::f64::consts::TAU;

/// Below this argument the differences are summed as series, above it they are taken directly.
const SERIES_BELOW: f64 = 0.5;

/// Below this, e to it is far from the largest f64.
const E_POWER_FITS: f64 = 100.0;

/// A series stops once a term no longer changes a 53-bit sum.
const NEGLIGIBLE: f64 = 1e-17;

/// `e^y - 1 - y`; infinite where `e^y` overflows.
pub(super) fn exp_remainder(y: f64) -> f64 {
    if y.abs() >= SERIES_BELOW {
        return libm::expm1(y) - y;
    }
    let mut term = 0.5 * y * y;
    let mut sum = term;
    let mut order = 3.0;
    while term.abs() > NEGLIGIBLE * sum {
        term *= y / order;
        sum += term;
        order += 1.0;
    }
    sum
}

/// `ln(1 + z) - z` for `z > -1`.
///
/// Near zero, with `r = z / (2 + z)`, it is `2 atanh(r) - z = r (2 r^2 (1/3 + r^2/5 + ...) - z)`.
pub(super) fn log_remainder(z: f64) -> f64 {
    if z.abs() >= SERIES_BELOW {
        return libm::log1p(z) - z;
    }
    let r = z / (2.0 + z);
    let square = r * r;
    let mut power = 1.0;
    let mut sum = 1.0 / 3.0;
    let mut odd = 5.0;
    while power > NEGLIGIBLE {
        power *= square;
        sum += power / odd;
        odd += 2.0;
    }
    r * (2.0 * square * sum - z)
}

/// Deviance part `x ln(x/m) + m - x` for `x, m > 0`, given the difference `x - m` as exactly as the caller has it
/// (`bd0` of Loader 2000).
pub(super) fn deviance(x: f64, m: f64, difference: f64) -> f64 {
    let z = -difference / x;
    if z.abs() < SERIES_BELOW { -x * log_remainder(z) } else { x * (libm::log(x) - libm::log(m)) - difference }
}

/// Error of Stirling's formula, `ln n! - ln(sqrt(2 pi n) (n/e)^n)`, for whole `n >= 1` (DLMF 5.11.1).
pub(super) fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        let mut factorial = 1.0;
        let mut i = 2.0;
        while i <= n {
            factorial *= i;
            i += 1.0;
        }
        return libm::log(factorial) - 0.5 * libm::log(TAU * n) - n * libm::log(n) + n;
    }
    let r = 1.0 / n;
    let s = r * r;
    r * (1.0 / 12.0 - s * (1.0 / 360.0 - s * (1.0 / 1260.0 - s * (1.0 / 1680.0 - s / 1188.0))))
}

/// Logarithm of `x^n e^-x / (n-1)!`, the Gamma(n, 1) density in `ln x`, for whole `n >= 1`, `x > 0`.
pub(super) fn ln_gamma_density(n: f64, x: f64, n_minus_x: f64) -> f64 {
    0.5 * libm::log(n / TAU) - stirling_error(n) - deviance(n, x, n_minus_x)
}

/// Logarithm of `p^a q^b / B(a, b)`, `q = 1 - p`, the Beta(a, b) density in `ln(t / (1 - t))`, for whole `a, b >= 1`;
/// `excess` is `a - (a+b) p`.
pub(super) fn ln_beta_density(a: f64, b: f64, p: f64, excess: f64) -> f64 {
    let n = a + b;
    0.5 * libm::log(a / n * (b / TAU)) + stirling_error(n)
        - stirling_error(a)
        - stirling_error(b)
        - deviance(a, n * p, excess)
        - deviance(b, n * (1.0 - p), -excess)
}

/// `ln E[e^(y (B - p))]` for `B ~ Bernoulli(p)`: non-negative, convex, zero at `y = 0`.
pub(super) fn bernoulli_cumulant(p: f64, y: f64) -> f64 {
    if p > 0.5 {
        return bernoulli_cumulant(1.0 - p, -y);
    }
    if y.abs() < SERIES_BELOW {
        p * exp_remainder(y) + log_remainder(p * libm::expm1(y))
    } else if y > E_POWER_FITS {
        let q = 1.0 - p;
        q * y + libm::log(p + q * libm::exp(-y))
    } else {
        libm::log1p(p * libm::expm1(y)) - p * y
    }
}

/// Derivative of [`bernoulli_cumulant`] in `y`, for `y >= 0`: from 0 up to `1 - p`.
pub(super) fn bernoulli_cumulant_slope(p: f64, y: f64) -> f64 {
    let q = 1.0 - p;
    -p * q * libm::expm1(-y) / (p + q * libm::exp(-y))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, expected: f64) {
        assert!((got - expected).abs() <= 2e-15 * expected.abs(), "{got:e} for {expected:e}");
    }

    #[test]
    fn remainders_keep_their_digits() {
        near(exp_remainder(1e-8), 5.000_000_016_666_667e-17);
        near(exp_remainder(-0.3), 0.040_818_220_681_717_866);
        near(exp_remainder(2.0), 4.389_056_098_930_65);
        near(log_remainder(1e-8), -4.999_999_966_666_667e-17);
        near(log_remainder(-0.3), -0.056_674_943_938_732_38);
        near(log_remainder(2.0), -0.901_387_711_331_890_2);
    }

    #[test]
    fn series_meet_the_direct_forms() {
        for f in [exp_remainder, log_remainder] {
            for at in [-SERIES_BELOW, SERIES_BELOW] {
                let (inside, outside) = (f(at * (1.0 - 1e-14)), f(at));
                assert!((inside / outside - 1.0).abs() < 1e-13);
            }
        }
        near(deviance(100.0, 100.0, 0.0), 0.0);
        assert!((deviance(100.0, 50.0, 50.0) / (100.0 * 2f64.ln() - 50.0) - 1.0).abs() < 1e-14);
    }

    #[test]
    fn stirling_error_of_small_and_large_numbers() {
        assert!((stirling_error(1.0) - 0.081_061_466_795_327_26).abs() < 1e-15);
        assert!((stirling_error(15.0) - 0.005_554_733_551_962_801).abs() < 1e-14);
        assert!((stirling_error(16.0) - 0.005_207_655_919_609_64).abs() < 1e-15);
        near(stirling_error(1e12), 1.0 / 12e12);
    }

    #[test]
    fn cumulant_is_symmetric_and_matches_its_slope() {
        for p in [0.000_122_070_312_5, 0.25, 0.5, 0.875] {
            for y in [1e-6, 0.1, 0.6, 5.0, 100.0, 101.0, 800.0, 1e5] {
                near(bernoulli_cumulant(p, y), bernoulli_cumulant(1.0 - p, -y));
                let step = 1e-4 * y;
                let rise = bernoulli_cumulant(p, y + step) - bernoulli_cumulant(p, y - step);
                assert!((rise / (2.0 * step) / bernoulli_cumulant_slope(p, y) - 1.0).abs() < 1e-6, "{p} {y}");
            }
        }
    }
}
