//! Tails of the Gamma law of whole shape: sums of exponential scores.

use core::f64::consts::LN_10;

use super::tail::Tail;

/// One unit of the integer statistics, `2^-32`.
const Q32: f64 = 1.0 / 4_294_967_296.0;

/// `ln P(Gamma(n, 1) >= x)`, natural logarithm.
///
/// The p-value of a sum `x` of `n` independent scores under the null hypothesis that each one is a standard
/// exponential, `-ln(1 - U)` (for Gumbel-max marking: the text does not depend on the key). It is the regularised
/// incomplete gamma function `Q(n, x)` (DLMF 8.2.4), the density in front of the integral the saddle-point form of
/// Loader (2000), "Fast and accurate computation of binomial probabilities".
///
/// Relative error of the logarithm below `1e-9` for `n` up to `1e12`, also where it is close to zero.
/// In `[-inf, 0]`, never NaN, never -0.0; `n` past `2^53` is rounded.
///
/// Edges: `n = 0` gives 0 (no score, no evidence), and so does `x <= 0` or NaN; infinite `x` gives
/// [`f64::NEG_INFINITY`].
pub fn ln_gamma_sf(n: u64, x: f64) -> f64 {
    if n == 0 || x.is_nan() || x <= 0.0 {
        0.0
    } else if x.is_infinite() {
        f64::NEG_INFINITY
    } else {
        Tail::gamma(n as f64, x, x - n as f64).ln_upper()
    }
}

/// `log10 P(Gamma(n, 1) >= x)`: [`ln_gamma_sf`] in decimal digits, same domain and precision.
pub fn log10_gamma_sf(n: u64, x: f64) -> f64 {
    ln_gamma_sf(n, x) / LN_10 + 0.0 // the smallest -5e-324 rounds to -0.0
}

/// `log10 P(Gamma(n, 1) >= sum_q32 / 2^32)` for a sum of scores in units of `2^-32`.
///
/// As [`log10_gamma_sf`], but the distance of the sum from its mean is taken in integers, so a sum past `2^53` units
/// loses nothing near the mean. What has to be rounded is rounded down, towards larger p-values.
pub fn log10_gamma_sf_q32(n: u64, sum_q32: u128) -> f64 {
    let x = q32_to_f64(sum_q32);
    if n == 0 || x <= 0.0 {
        return 0.0;
    }
    let sum = i128::try_from(sum_q32).unwrap_or(i128::MAX);
    let excess = floor_q32(sum - (i128::from(n) << 32));
    Tail::gamma(n as f64, x, excess).ln_upper() / LN_10 + 0.0
}

/// `ln P(Gamma(n, 1) <= x)`, natural logarithm: the lower tail, for sums that are too small.
///
/// Null hypothesis, precision and source of [`ln_gamma_sf`]. `n = 0`, infinite `x` and NaN give 0; `x <= 0` with
/// `n > 0` gives [`f64::NEG_INFINITY`].
pub fn ln_gamma_cdf(n: u64, x: f64) -> f64 {
    if n == 0 || x.is_nan() || (x.is_infinite() && x > 0.0) {
        0.0
    } else if x <= 0.0 {
        f64::NEG_INFINITY
    } else {
        Tail::gamma(n as f64, x, x - n as f64).ln_lower()
    }
}

/// A sum in units of `2^-32` as a number of nats, rounded down to a 53-bit significand.
pub fn q32_to_f64(sum_q32: u128) -> f64 {
    floor_q32(i128::try_from(sum_q32).unwrap_or(i128::MAX))
}

/// `units / 2^32`, rounded down where it needs more than 53 bits.
fn floor_q32(units: i128) -> f64 {
    let bits = i128::BITS - units.unsigned_abs().leading_zeros();
    let dropped = bits.saturating_sub(f64::MANTISSA_DIGITS);
    ((units >> dropped) << dropped) as f64 * Q32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poisson_sums_of_small_shapes() {
        for n in 1..=30 {
            for x in [1e-6, 0.5, 1.0, 5.0, 10.5, 29.0, 31.0, 80.0] {
                let mut term = libm::exp(-x);
                let mut sum = 0.0;
                for j in 0..n {
                    sum += term;
                    term *= x / (j + 1) as f64;
                }
                let got = libm::exp(ln_gamma_sf(n, x));
                assert!((got - sum).abs() < 1e-11 * sum, "{n} {x}: {got:e} {sum:e}");
                assert!((libm::exp(ln_gamma_cdf(n, x)) - (1.0 - sum)).abs() < 1e-11);
            }
        }
    }

    #[test]
    fn edges() {
        let none = [ln_gamma_sf(0, 5.0), ln_gamma_sf(3, 0.0), ln_gamma_sf(3, -1.0), ln_gamma_sf(3, f64::NAN)];
        let all =
            [ln_gamma_cdf(0, 5.0), ln_gamma_cdf(3, f64::INFINITY), ln_gamma_cdf(3, f64::NAN), ln_gamma_cdf(3, 1e9)];
        let integer = [log10_gamma_sf_q32(0, 5), log10_gamma_sf_q32(3, 0), log10_gamma_sf_q32(100_000, 1)];
        for v in none.into_iter().chain(all).chain(integer) {
            assert!(v.abs() < 1e-300 && v.is_sign_positive());
        }
        for v in [ln_gamma_sf(3, f64::INFINITY), ln_gamma_cdf(3, 0.0), ln_gamma_cdf(3, -1.0)] {
            assert!(v.is_infinite() && v < 0.0);
        }
        for x in [5e-324, 1e-310, f64::MAX] {
            assert!(ln_gamma_sf(3, x) <= 0.0 && ln_gamma_cdf(3, x) <= 0.0);
        }
        assert!(log10_gamma_sf_q32(u64::MAX, u128::MAX) < -1e25);
    }

    #[test]
    fn fixed_point_rounds_down() {
        assert!((q32_to_f64(3 << 31) - 1.5).abs() < 1e-300);
        let wide = (1u128 << 69) + 1;
        assert!((q32_to_f64(wide) - 137_438_953_472.0).abs() < 1e-300);
        assert!(q32_to_f64((1 << 69) - 1) < 137_438_953_472.0);
        // 2^69 + 2^31 units: half a nat of distance to the mean survives
        let n = 1 << 37;
        let (at, past) = (log10_gamma_sf_q32(n, 1 << 69), log10_gamma_sf_q32(n, (1 << 69) + (1 << 31)));
        assert!(past < at && floor_q32(-1) < 0.0);
    }
}
