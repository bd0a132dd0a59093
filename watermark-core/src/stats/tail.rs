//! Both tails of a log-concave law from one integral.

use super::special::{bernoulli_cumulant, exp_remainder, ln_beta_density, ln_gamma_density};

/// Step of the trapezoidal rule; its error falls as `e^(-c/STEP)`, slowest (c = 2.3) for Gamma(1, 1) at 1.
const STEP: f64 = 1.0 / 12.0;

/// `e^STEP`.
const STEP_RATIO: f64 = 1.086_904_049_521_229;

/// Where the rule starts: below `t = -3.75` the nodes weigh less than `1e-17` together.
const FIRST_NODE: f64 = 0.023_517_745_856_009_107;

/// Exponent past which the integrand no longer counts.
const CUTOFF: f64 = 45.0;

/// The two tails of a law at one point: the tail that does not hold the mode is an integral that starts at
/// the point, the other one is its complement.
///
/// In a coordinate where the log-density is concave, the tail is the density at the point times
/// `integral over v > 0 of e^-phi(v)`, `phi` convex, `phi(0) = 0`. Nothing in this form cancels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    ln_density: f64,
    ln_integral: f64,
    lower_is_direct: bool,
}

impl Tail {
    /// Gamma(n, 1) at `x`, for whole `n >= 1` and finite `x > 0`.
    /// With `t = x e^(+-v)`, `phi(v) = |x - n| v + x (e^(+-v) - 1 -+ v)`.
    pub(super) fn gamma(n: f64, x: f64, x_minus_n: f64) -> Self {
        let lower_is_direct = x_minus_n < 0.0;
        let sign = if lower_is_direct { -1.0 } else { 1.0 };
        let slope = x_minus_n.abs();
        let phi = |v: f64| slope * v + x * exp_remainder(sign * v);
        Self {
            ln_density: ln_gamma_density(n, x, -x_minus_n),
            ln_integral: ln_integral(1.0 / (slope + libm::sqrt(x)), phi),
            lower_is_direct,
        }
    }

    /// Beta(a, b) at `p`, for whole `a, b >= 1` and `0 < p < 1`.
    /// In logits, `phi(v) = |a - (a+b) p| v + (a+b) ln E[e^(-+v (B - p))]`, `B ~ Bernoulli(p)`.
    pub(super) fn beta(a: f64, b: f64, p: f64) -> Self {
        let n = a + b;
        let mean = n * p;
        // the rounding error of the product matters: near the mean it is what is left of `a - mean`
        let excess = (a - mean) - libm::fma(n, p, -mean);
        let lower_is_direct = excess >= 0.0;
        let sign = if lower_is_direct { -1.0 } else { 1.0 };
        let slope = excess.abs();
        let phi = |v: f64| slope * v + n * bernoulli_cumulant(p, sign * v);
        Self {
            ln_density: ln_beta_density(a, b, p, excess),
            ln_integral: ln_integral(1.0 / (slope + libm::sqrt(mean * (1.0 - p))), phi),
            lower_is_direct,
        }
    }

    /// Logarithm of the probability of lying below the point.
    pub(super) fn ln_lower(&self) -> f64 {
        self.ln_tail(self.lower_is_direct)
    }

    /// Logarithm of the probability of lying above the point.
    pub(super) fn ln_upper(&self) -> f64 {
        self.ln_tail(!self.lower_is_direct)
    }

    /// Logarithm of the lower tail over the density at the point.
    pub(super) fn ln_lower_over_density(&self) -> f64 {
        self.ln_over_density(self.lower_is_direct)
    }

    /// Logarithm of the upper tail over the density at the point.
    pub(super) fn ln_upper_over_density(&self) -> f64 {
        self.ln_over_density(!self.lower_is_direct)
    }

    fn ln_tail(&self, direct: bool) -> f64 {
        let ln_direct = (self.ln_density + self.ln_integral).min(0.0);
        let ln = if direct { ln_direct } else { libm::log1p(-libm::exp(ln_direct)) };
        ln + 0.0 // turns -0.0 into 0.0
    }

    fn ln_over_density(&self, direct: bool) -> f64 {
        if direct { self.ln_integral } else { self.ln_tail(false) - self.ln_density }
    }
}

/// Logarithm of `integral over v > 0 of e^-phi(v)`, `phi` convex with `phi(0) = 0`, falling off over lengths near `width`.
///
/// Double-exponential quadrature (Takahasi and Mori 1974): `v = width e^(t - e^-t)`, trapezoidal rule in `t`.
fn ln_integral(width: f64, phi: impl Fn(f64) -> f64) -> f64 {
    let mut sum = 0.0;
    let mut e_t = FIRST_NODE;
    loop {
        let reciprocal = 1.0 / e_t;
        let v = e_t * libm::exp(-reciprocal);
        let exponent = phi(width * v);
        if exponent.is_nan() || exponent > CUTOFF {
            break;
        }
        sum += libm::exp(-exponent) * v * (1.0 + reciprocal);
        e_t *= STEP_RATIO;
    }
    libm::log(sum * STEP) + libm::log(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integrals_in_closed_form() {
        let exponential = ln_integral(1.0, |v| v);
        assert!(exponential.abs() < 1e-14, "{exponential:e}");
        let gaussian = ln_integral(1.0, |v| 0.5 * v * v) - 0.5 * libm::log(core::f64::consts::FRAC_PI_2);
        assert!(gaussian.abs() < 1e-12, "{gaussian:e}");
        let width_is_only_a_hint = ln_integral(3.0, |v| 2.0 * v) + libm::log(2.0);
        assert!(width_is_only_a_hint.abs() < 1e-12, "{width_is_only_a_hint:e}");
    }

    #[test]
    fn both_tails_sum_to_one() {
        let laws = [Tail::gamma(1.0, 1.0, 0.0), Tail::gamma(7.0, 3.0, -4.0), Tail::beta(3.0, 9.0, 0.4)];
        for law in laws {
            let total = libm::exp(law.ln_lower()) + libm::exp(law.ln_upper());
            assert!((total - 1.0).abs() < 1e-15);
        }
    }

    #[test]
    fn sides_meet_at_the_mean() {
        let below = Tail::gamma(1e12, 1e12 * (1.0 - 1e-15), -1e-3);
        let above = Tail::gamma(1e12, 1e12, 0.0);
        assert!((below.ln_upper() - above.ln_upper()).abs() < 1e-8);
        assert!((below.ln_lower_over_density() - above.ln_lower_over_density()).abs() < 1e-8);
    }
}
