//! Tails of the binomial law: green counts, tournament ones.

use core::f64::consts::LN_10;

use super::tail::Tail;

/// `ln P(Bin(n, p) >= k)`, natural logarithm.
///
/// The p-value of `k` hits among `n` independent trials under the null hypothesis that each one hits with
/// probability `p` (for a green list: the text does not depend on the key). Exact law, no normal approximation:
/// the sum over `k..=n` is the incomplete beta integral `I_p(k, n-k+1)` (DLMF 8.17.5), the density in front of it
/// the saddle-point form of Loader (2000), "Fast and accurate computation of binomial probabilities".
///
/// Relative error of the logarithm below `1e-9` for `n` up to `1e12`, also where it is close to zero.
/// In `[-inf, 0]`, never NaN, never -0.0; `n` past `2^53` is rounded.
///
/// Edges: `k = 0` gives 0; `k > n` cannot happen under the null and gives [`f64::NEG_INFINITY`] (p-value zero);
/// `p` outside `(0, 1)` or NaN states no null hypothesis and gives 0 (no evidence).
pub fn ln_binomial_sf(k: u64, n: u64, p: f64) -> f64 {
    if k == 0 || !is_probability(p) {
        0.0
    } else if k > n {
        f64::NEG_INFINITY
    } else {
        Tail::beta(k as f64, (n - k) as f64 + 1.0, p).ln_lower()
    }
}

/// `log10 P(Bin(n, p) >= k)`: [`ln_binomial_sf`] in decimal digits, same domain and precision.
pub fn log10_binomial_sf(k: u64, n: u64, p: f64) -> f64 {
    ln_binomial_sf(k, n, p) / LN_10 + 0.0 // the smallest -5e-324 rounds to -0.0
}

/// `ln P(Bin(n, p) <= k)`, natural logarithm: the lower tail, for counts that are too small.
///
/// Null hypothesis, precision and source of [`ln_binomial_sf`]. `k >= n` gives 0, and so does `p` outside `(0, 1)`.
pub fn ln_binomial_cdf(k: u64, n: u64, p: f64) -> f64 {
    if k >= n || !is_probability(p) { 0.0 } else { Tail::beta(k as f64 + 1.0, (n - k) as f64, p).ln_upper() }
}

/// Whether `p` lies strictly between 0 and 1 (NaN does not).
pub(super) fn is_probability(p: f64) -> bool {
    p > 0.0 && p < 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_small_counts() {
        for n in 1..=25u64 {
            for p in [1e-4, 0.1, 0.25, 0.5, 0.75, 0.999] {
                let mut mass = libm::pow(p, n as f64);
                let mut sum = 0.0;
                for k in (1..=n).rev() {
                    sum += mass;
                    mass *= k as f64 / (n - k + 1) as f64 * (1.0 - p) / p;
                    let got = libm::exp(ln_binomial_sf(k, n, p));
                    assert!((got - sum).abs() < 1e-10 * sum, "{k} {n} {p}: {got:e} {sum:e}");
                    let below = libm::exp(ln_binomial_cdf(k - 1, n, p));
                    assert!((got + below - 1.0).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn edges() {
        let none = [
            ln_binomial_sf(0, 0, 0.5),
            ln_binomial_sf(0, 9, 0.5),
            ln_binomial_sf(3, 9, 0.0),
            ln_binomial_sf(3, 9, 1.0),
            ln_binomial_sf(3, 9, f64::NAN),
            ln_binomial_cdf(9, 9, 0.5),
            ln_binomial_cdf(10, 9, 0.5),
            log10_binomial_sf(1, 1_000_000_000_000, 0.5),
        ];
        for v in none {
            assert!(v.abs() < 1e-300 && v.is_sign_positive());
        }
        assert!(ln_binomial_sf(10, 9, 0.5).is_infinite());
        for p in [5e-324, 1e-300, 1.0 - f64::EPSILON] {
            for n in [1, 1000, u64::MAX] {
                assert!(ln_binomial_sf(n, n, p) <= 0.0 && ln_binomial_cdf(0, n, p) <= 0.0);
            }
        }
        assert!((ln_binomial_sf(1000, 1000, 1e-300) / (1000.0 * libm::log(1e-300)) - 1.0).abs() < 1e-12);
    }
}
