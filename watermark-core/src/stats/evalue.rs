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

/// Exponents of the mixture below, as shares of the largest for which the mean exists; a bet near the end of the range
/// suits strong marks, one near zero weak ones.
const DUAL_KEY_TILTS: [f64; 8] = [0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.55, 0.75];

/// Natural logarithm of the e-value of `n` scores `(1 - alpha) A + alpha B` with sum `s`, A and B standard exponentials.
///
/// Null hypothesis: all exponentials are independent. `e^(theta x)` has the mean
/// `1 / ((1 - (1 - alpha) theta) (1 - alpha theta))`; divided by it and multiplied over the scores it is a martingale for
/// every theta, and so is the average over eight fixed ones. Finite, never NaN or -0.0.
///
/// Edges: `n = 0` gives 0, and so does `alpha` outside `[0, 1]`; `s <= 0` or NaN counts as 0, infinite `s` as [`f64::MAX`].
pub fn ln_e_dual_key(n: u64, s: f64, alpha: f64) -> f64 {
    if n == 0 || !(0.0..=1.0).contains(&alpha) {
        return 0.0;
    }
    let s = if s > 0.0 { s.min(f64::MAX) } else { 0.0 };
    let n = n as f64;
    let largest = alpha.max(1.0 - alpha);
    let exponent = |tilt: f64| {
        let theta = tilt / largest;
        theta * s + n * (libm::log1p(-(1.0 - alpha) * theta) + libm::log1p(-alpha * theta))
    };
    ln_mean_exp(DUAL_KEY_TILTS.map(exponent)).min(f64::MAX)
}

/// Bets of the mixture below on the heaviest layer; the others bet in proportion to their weight.
const TOURNAMENT_BETS: [f64; 8] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.3, 0.5, 0.8];

/// Natural logarithm of the e-value of tournament bits: `ones[l]` of `n` tokens have a 1 in layer l.
///
/// Null hypothesis: all bits are independent fair coins. Betting `prod (1 + lambda_l (2 g - 1))` is a martingale for fixed
/// bets; they fall from layer to layer like `weights`, because the signal does, and the strength is averaged over eight
/// values. Finite, never NaN or -0.0. More ones than tokens count as `n`; missing weights as 0; no layers give 0.
pub fn ln_e_tournament(n: u64, ones: &[u64], weights: &[u32]) -> f64 {
    let heaviest = weights.iter().copied().max().unwrap_or(0);
    if heaviest == 0 {
        return 0.0;
    }
    let exponent = |bet: f64| -> f64 {
        let layers = ones.iter().zip(weights).map(|(&ones, &weight)| {
            let lambda = bet * f64::from(weight) / f64::from(heaviest);
            let ones = ones.min(n);
            ones as f64 * libm::log1p(lambda) + (n - ones) as f64 * libm::log1p(-lambda)
        });
        layers.sum()
    };
    ln_mean_exp(TOURNAMENT_BETS.map(exponent))
}

/// Logarithm of the mean of `e^x`.
fn ln_mean_exp<const N: usize>(exponents: [f64; N]) -> f64 {
    let largest = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = exponents.iter().map(|x| libm::exp(x - largest)).sum();
    largest + libm::log(sum / N as f64) + 0.0
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
    fn grid_mixtures_have_mean_one() {
        // two layers, three tokens, all 64 outcomes
        let mut mean = 0.0;
        for outcome in 0u32..64 {
            let ones = [(outcome & 7).count_ones(), (outcome >> 3).count_ones()].map(u64::from);
            mean += libm::exp(ln_e_tournament(3, &ones, &[10, 4])) / 64.0;
        }
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
        // one score: the density of (1-a) A + a B is (e^(-x/(1-a)) - e^(-x/a)) / (1 - 2a); midpoint rule
        let (alpha, step) = (0.1, 1e-3);
        let density = |x: f64| (libm::exp(-x / (1.0 - alpha)) - libm::exp(-x / alpha)) / (1.0 - 2.0 * alpha);
        let mean: f64 = (0..200_000)
            .map(|i| (f64::from(i) + 0.5) * step)
            .map(|x| step * density(x) * libm::exp(ln_e_dual_key(1, x, alpha)))
            .sum();
        assert!((mean - 1.0).abs() < 1e-4, "{mean}");
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
