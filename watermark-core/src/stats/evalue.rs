//! E-values: non-negative statistics whose mean under the null hypothesis is at most one.
//!
//! `1/E` is a p-value (Markov), and it stays one when the text is watched until the evidence suffices
//! (Ville 1939): along a growing text the two mixtures below are non-negative martingales under the null.

use super::binomial::is_probability;
use super::tail::Tail;

/// Natural logarithm of the e-value of `n` exponential scores with sum `s`, uniform mixture over the exponent.
///
/// Null hypothesis: the scores are independent standard exponentials, `p = e^-score` uniform. The factor
/// `kappa p^(kappa-1)` has mean one for every `kappa` in `(0, 1)`; averaged over a uniform `kappa`,
/// `E = integral of kappa^n e^((1-kappa) s) = n! e^s P(n+1, s) / s^(n+1)`,
/// `P` the regularised lower incomplete gamma function (DLMF 8.2.4).
///
/// Relative error below `1e-9` (absolute where the value is near zero) for `n` up to `1e12`; finite, never NaN or -0.0.
///
/// Edges: `n = 0` gives 0 (`E = 1`); `s <= 0` or NaN gives the limit `E = 1/(n+1)`; infinite `s` counts as
/// [`f64::MAX`].
pub fn ln_e_gumbel(n: u64, s: f64) -> f64 {
    if n == 0 {
        return 0.0;
    }
    let shape = n as f64 + 1.0;
    if s.is_nan() || s <= 0.0 {
        return -libm::log(shape);
    }
    let s = s.min(f64::MAX);
    Tail::gamma(shape, s, s - shape).ln_lower_over_density() + 0.0
}

/// Natural logarithm of the e-value of `green` hits among `n`, uniform mixture over the hit rate.
///
/// Null hypothesis: each pair is green independently with probability `gamma`. Likelihood ratio against a rate `q`,
/// averaged over `q` uniform in `(gamma, 1)`:
/// `E = B(1+g, 1+n-g) P(Beta(1+g, 1+n-g) > gamma) / (gamma^g (1-gamma)^(n-g+1))`, `g = green` (DLMF 8.17).
///
/// Relative error below `1e-9` (absolute where the value is near zero) for `n` up to `1e12`; finite, never NaN or -0.0.
///
/// Edges: `n = 0` gives 0 (`E = 1`), and so does `gamma` outside `(0, 1)`; `green > n` counts as `n`.
pub fn ln_e_green(green: u64, n: u64, gamma: f64) -> f64 {
    if n == 0 || !is_probability(gamma) {
        return 0.0;
    }
    let green = green.min(n);
    let tail = Tail::beta(green as f64 + 1.0, (n - green) as f64 + 1.0, gamma);
    libm::log(gamma) + tail.ln_upper_over_density() + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_under_the_null_is_one() {
        for (n, gamma) in [(1, 0.5), (5, 0.25), (40, 0.1), (40, 0.999)] {
            let mut mass = libm::pow(1.0 - gamma, n as f64);
            let mut mean = 0.0;
            for green in 0..=n {
                mean += mass * libm::exp(ln_e_green(green, n, gamma));
                mass *= (n - green) as f64 / (green + 1) as f64 * gamma / (1.0 - gamma);
            }
            assert!((mean - 1.0).abs() < 1e-10, "{n} {gamma}: {mean}");
        }
    }

    #[test]
    fn closed_forms_of_one_observation() {
        for s in [1e-9, 0.3, 1.0, 2.0, 3.0, 50.0] {
            // (e^s - 1 - s) / s^2
            let direct = libm::log(crate::stats::special::exp_remainder(s)) - 2.0 * libm::log(s);
            assert!((ln_e_gumbel(1, s) - direct).abs() < 1e-11, "{s}");
        }
        for gamma in [0.1, 0.5, 0.9] {
            let hit = libm::log((1.0 + gamma) / (2.0 * gamma));
            assert!((ln_e_green(1, 1, gamma) - hit).abs() < 1e-11);
            assert!((ln_e_green(0, 1, gamma) + libm::log(2.0)).abs() < 1e-11);
        }
    }

    #[test]
    fn edges() {
        for e in [ln_e_gumbel(0, 0.0), ln_e_gumbel(0, 9.0), ln_e_green(0, 0, 0.5), ln_e_green(3, 5, f64::NAN)] {
            assert!(e.abs() < 1e-300 && e.is_sign_positive());
        }
        for s in [0.0, -1.0, f64::NAN, 1e-300] {
            assert!((ln_e_gumbel(9, s) + libm::log(10.0)).abs() < 1e-12);
        }
        assert!(ln_e_gumbel(9, f64::INFINITY).is_finite());
        assert!((ln_e_green(9, 5, 0.5) - ln_e_green(5, 5, 0.5)).abs() < 1e-300);
    }
}
