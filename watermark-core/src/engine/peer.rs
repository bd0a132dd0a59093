//! What engines' own detectors would report, for comparison only. None of these numbers carries a verdict: mid-p values,
//! matched Gamma laws, normal approximations and missing deduplication all understate p somewhere.

use super::format::PeerNumber;
use crate::prf::{Pair, Position};
use crate::scheme::GumbelDualKey;
use crate::stats::ln_binomial_sf;

/// Contexts and PRF inputs of positions, for detectors that look where the engine marks.
pub(super) fn inputs(positions: Vec<Position>) -> Vec<(Pair, Pair)> {
    let input = |position| match position {
        Position::Input(pair) => Some((Pair::without_token(pair), pair)),
        Position::ShortContext | Position::Excluded => None,
    };
    positions.into_iter().filter_map(input).collect()
}

/// A sum of exponential scores.
pub(super) fn gamma(n: u64, sum: f64, rule: &'static str) -> PeerNumber {
    PeerNumber { statistic: sum, p_value: Some(gamma_q(n as f64, sum)), rule }
}

/// A sum of scores under two keys, with the Gamma law of the same mean and variance.
pub(super) fn matched_gamma(scheme: GumbelDualKey, n: u64, sum: f64, rule: &'static str) -> PeerNumber {
    let alpha = scheme.alpha();
    let v = (1.0 - alpha) * (1.0 - alpha) + alpha * alpha;
    PeerNumber { statistic: sum, p_value: Some(gamma_q(n as f64 / v, sum / v)), rule }
}

/// A count of ones with half of its own chance left out.
pub(super) fn mid_binomial(n: f64, gamma: f64, ones: f64, rule: &'static str) -> PeerNumber {
    PeerNumber { statistic: ones, p_value: Some(mid_p(ones, n, gamma)), rule }
}

/// A count of ones with its binomial tail.
pub(super) fn binomial(n: u64, gamma: f64, ones: f64, rule: &'static str) -> PeerNumber {
    let p_value = libm::exp(ln_binomial_sf(whole(ones), n, gamma));
    PeerNumber { statistic: ones, p_value: Some(p_value), rule }
}

/// The standardised count of ones with the normal tail.
pub(super) fn normal(n: u64, gamma: f64, ones: f64, rule: &'static str) -> PeerNumber {
    let n = n as f64;
    let z = if n > 0.0 { (ones - gamma * n) / libm::sqrt(n * gamma * (1.0 - gamma)) } else { 0.0 };
    PeerNumber { statistic: z, p_value: Some(0.5 * libm::erfc(z / std::f64::consts::SQRT_2)), rule }
}

fn whole(count: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let whole = count as u64;
    whole
}

/// `P(X >= k) - P(X = k) / 2`.
fn mid_p(k: f64, n: f64, p: f64) -> f64 {
    let (k, n) = (whole(k), whole(n));
    let tail = |k| libm::exp(ln_binomial_sf(k, n, p));
    if n == 0 { 1.0 } else { 0.5 * (tail(k) + if k < n { tail(k + 1) } else { 0.0 }) }
}

/// Regularised upper incomplete gamma function for any positive shape (series below the mean, continued fraction above: DLMF
/// 8.7.1, 8.9.2), in ordinary numbers: it underflows where the peer's does.
fn gamma_q(shape: f64, x: f64) -> f64 {
    if shape <= 0.0 || x <= 0.0 {
        return 1.0;
    }
    let front = libm::exp(shape * libm::log(x) - x - libm::lgamma(shape));
    if x < shape + 1.0 {
        let (mut term, mut sum, mut k) = (1.0 / shape, 1.0 / shape, shape);
        while term > sum * 1e-17 {
            k += 1.0;
            term *= x / k;
            sum += term;
        }
        return (1.0 - front * sum).clamp(0.0, 1.0);
    }
    // Modified Lentz.
    let (mut b, mut c) = (x + 1.0 - shape, 1e300);
    let mut d = 1.0 / b;
    let mut h = d;
    for i in 1..100_000 {
        let a = -f64::from(i) * (f64::from(i) - shape);
        b += 2.0;
        d = 1.0 / (a * d + b);
        c = b + a / c;
        h *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (front * h).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_q_of_any_shape() {
        assert!((gamma_q(1.0, 2.0) - libm::exp(-2.0)).abs() < 1e-14);
        assert!((gamma_q(0.5, 0.3) - libm::erfc(libm::sqrt(0.3))).abs() < 1e-13);
        assert!((gamma_q(100.0, 150.0) / 5.924_540_335e-6 - 1.0).abs() < 1e-8);
        // vLLM's matched Gamma for n = 100, mean 1.5, alpha .1, and where it gives up
        let v = 0.82;
        assert!((gamma_q(100.0 / v, 150.0 / v) / 6.796e-7 - 1.0).abs() < 1e-3);
        assert!(gamma_q(1000.0, 9000.0) < f64::MIN_POSITIVE);
    }

    #[test]
    fn mid_p_of_ten_green_tokens() {
        assert!((mid_p(10.0, 10.0, 0.5) - 0.000_488_28).abs() < 1e-8);
    }
}
