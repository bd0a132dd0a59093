//! Tails of the sum of two exponential scores with unequal weights: dual-key marking.

use core::f64::consts::{LN_10, PI};
use core::ops::{Add, Div, Mul};

use super::special::log_remainder;

/// Step of the trapezoidal rule, in standard deviations: `e^(-2 pi / STEP)` for a pole one of them away.
const STEP: f64 = 1.0 / 7.0;

/// Exponent past which the integrand no longer counts.
const CUTOFF: f64 = -45.0;

/// Sums below this fraction of the mean have a lower tail below `1e-300`; sums above its inverse overflow.
const NEGLIGIBLE_SUM: f64 = 1e-300;

/// `log10 P((1 - alpha) A + alpha B >= s)`, `A` and `B` independent Gamma(n, 1).
///
/// The p-value of `n` dual-key scores under the null hypothesis that the text depends on neither key, so that each
/// key's score is an independent standard exponential. Exact law: the contour integral of
/// `e^(K(t) - t s) / t / (2 pi i)` with `K(t) = -n ln(1 - alpha t) - n ln(1 - (1-alpha) t)` (Daniels 1987, "Tail
/// probability approximations", section 2), taken numerically along a parabola through the saddle point.
///
/// Relative error of the logarithm below `1e-9` for `n` up to `1e12`, also where it is close to zero.
/// In `[-inf, 0]`, never NaN, never -0.0; `n` past `2^53` is rounded.
///
/// Edges: `n = 0` gives 0 (no score, no evidence), and so does `s <= 0` or NaN; infinite `s` gives
/// [`f64::NEG_INFINITY`]; `alpha` outside `[0, 1]` or NaN states no null hypothesis and gives 0. At 0 and 1 one key
/// counts, Gamma(n, 1); at 1/2 the sum is half a Gamma(2n, 1).
pub fn log10_dual_key_sf(n: u64, s: f64, alpha: f64) -> f64 {
    let shape = n as f64;
    if n == 0 || !(0.0..=1.0).contains(&alpha) || s.is_nan() || s <= NEGLIGIBLE_SUM * shape {
        0.0
    } else if s.is_infinite() {
        f64::NEG_INFINITY
    } else {
        (Saddle::new(shape, s, alpha).ln_sf() / LN_10).max(f64::MIN) + 0.0
    }
}

/// The integrand seen from its saddle point `t0`, in units of the distance to the nearer singularity:
/// `e^height e^(-n (L(z) + L(ratio z))) dz / (z + pole)`, `L(z) = ln(1 - z) + z`.
struct Saddle {
    n: f64,
    /// `K(t0) - t0 s`.
    height: f64,
    /// The origin of `t` lies at `z = -pole`; in `(-1, inf)`, zero at the mean.
    pole: f64,
    /// Nearer singularity over the farther one, in `[0, 1]`.
    ratio: f64,
}

impl Saddle {
    /// With `x = s/n`, `w < W` the weights, `c = w W`: `K'(t) = s` is `c x t^2 - (x - 2c) t + x - 1 = 0`, and in
    /// `y = 1 - W t` it is `w x y^2 + (x (W - w) - 2c) y - W (W - w) = 0`; the stable form of either root keeps `t`
    /// exact near the mean and `y` far above it.
    fn new(n: f64, s: f64, alpha: f64) -> Self {
        let (light, heavy) = (alpha.min(1.0 - alpha), alpha.max(1.0 - alpha));
        let gap = (1.0 - 2.0 * alpha).abs();
        let c = light * heavy;
        let x = s / n;
        let root = 0.5 * libm::hypot(x * gap, 2.0 * c);
        let half_t = 0.5 * x - c;
        let t = if half_t > 0.0 { (s - n) / n / (half_t + root) } else { (half_t - root) / (c * x) };
        let half_y = 0.5 * x * gap - c;
        let y = if half_y > 0.0 { heavy * gap / (half_y + root) } else { (root - half_y) / (x * light) };
        let y_light = (gap + light * y) / heavy;
        let pole = (heavy * t / y).min(1.0 / NEGLIGIBLE_SUM);
        // K - t K' by components: each is of one sign
        let height = n * (log_ratio_remainder(pole, y) + log_ratio_remainder(light * t / y_light, y_light));
        Self { n, height, pole, ratio: light / heavy * (y / y_light) }
    }

    /// The tail on the far side of the mean; one minus it on the near side, and up to a standard deviation above.
    fn ln_sf(&self) -> f64 {
        // in z, the inverse of the standard deviation of the tilted law
        let width = 1.0 / libm::sqrt(self.n * (1.0 + self.ratio * self.ratio));
        if self.pole >= width {
            return (self.height + libm::log(self.integral(width, 0.0))).min(0.0);
        }
        // the contour keeps one such unit away from the pole
        let shift = (self.pole + width).max(0.0);
        let lower = libm::exp(self.height) * -self.integral(width, shift);
        libm::log1p(-lower.clamp(0.0, 1.0))
    }

    /// The integral over `2 pi i` without `e^height`, along `z = v^2/3 + i v - shift`: steepest descent of `L` to
    /// third order, and round both singularities to the right, where the integrand falls off exponentially.
    fn integral(&self, width: f64, shift: f64) -> f64 {
        let mut sum = 0.0;
        let mut node = 0.0;
        loop {
            let v = node * STEP * width;
            let z = Complex { re: v * v / 3.0 - shift, im: v };
            let exponent = (remainder(z) + remainder(z * self.ratio)) * -self.n;
            if exponent.re.is_nan() || (exponent.re < CUTOFF && node > 0.0) {
                break;
            }
            let direction = Complex { re: v / 1.5, im: 1.0 };
            let value = exponent.exp() * direction / (z + Complex { re: self.pole, im: 0.0 });
            sum += if node > 0.0 { value.im } else { 0.5 * value.im };
            node += 1.0;
        }
        sum * STEP * width / PI
    }
}

/// `ln(1 + z) - z` where `1 + z = 1/y`.
fn log_ratio_remainder(z: f64, y: f64) -> f64 {
    if z.abs() < 0.5 { log_remainder(z) } else { -libm::log(y) - z }
}

/// `ln(1 - z) + z` off the cut from 1 to infinity, by the series of [`log_remainder`] near zero.
fn remainder(z: Complex) -> Complex {
    if z.re.abs().max(z.im.abs()) >= 0.25 {
        let modulus = libm::hypot(1.0 - z.re, z.im);
        return Complex { re: libm::log(modulus) + z.re, im: z.im - libm::atan2(z.im, 1.0 - z.re) };
    }
    let r = z * -1.0 / Complex { re: 2.0 - z.re, im: -z.im };
    let square = r * r;
    let mut power = Complex { re: 1.0, im: 0.0 };
    let mut sum = Complex { re: 1.0 / 3.0, im: 0.0 };
    let mut odd = 5.0;
    while power.re.abs() + power.im.abs() > 1e-17 {
        power = power * square;
        sum = sum + power * (1.0 / odd);
        odd += 2.0;
    }
    r * (square * sum * 2.0 + z)
}

#[derive(Clone, Copy)]
struct Complex {
    re: f64,
    im: f64,
}

impl Complex {
    fn exp(self) -> Self {
        let modulus = libm::exp(self.re);
        Self { re: modulus * libm::cos(self.im), im: modulus * libm::sin(self.im) }
    }
}

impl Add for Complex {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Self { re: self.re + o.re, im: self.im + o.im }
    }
}

impl Mul for Complex {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        Self { re: self.re * o.re - self.im * o.im, im: self.re * o.im + self.im * o.re }
    }
}

impl Mul<f64> for Complex {
    type Output = Self;
    fn mul(self, o: f64) -> Self {
        Self { re: self.re * o, im: self.im * o }
    }
}

impl Div for Complex {
    type Output = Self;
    fn div(self, o: Self) -> Self {
        let modulus = libm::hypot(o.re, o.im);
        let (re, im) = (o.re / modulus, o.im / modulus);
        Self { re: (self.re * re + self.im * im) / modulus, im: (self.im * re - self.re * im) / modulus }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::log10_gamma_sf;

    #[test]
    fn one_key_and_equal_keys_are_gamma() {
        for n in [1u64, 2, 7, 100, 12_345, 1_000_000, 1_000_000_000_000] {
            for spread in [-30.0, -5.0, -1.0, -1e-3, 0.0, 1e-3, 0.3, 0.999, 1.001, 1.5, 6.0, 40.0, 1e5] {
                let s = n as f64 + spread * libm::sqrt(n as f64);
                if s <= 0.0 {
                    continue;
                }
                let (one, two) = (log10_gamma_sf(n, s), log10_gamma_sf(2 * n, 2.0 * s));
                for (alpha, expected) in [(0.0, one), (1.0, one), (0.5, two)] {
                    let got = log10_dual_key_sf(n, s, alpha);
                    assert!((got - expected).abs() <= 1e-10 * expected.abs(), "{n} {s} {alpha}: {got:e} {expected:e}");
                }
            }
        }
    }

    #[test]
    fn two_exponentials_in_closed_form() {
        for alpha in [1e-12, 0.01, 0.1, 0.3, 0.45, 0.7, 0.999] {
            for s in [1e-3, 0.1, 0.9, 1.0, 1.2, 2.0, 2.5, 20.0, 900.0] {
                let (w, v) = (alpha, 1.0 - alpha);
                // v e^(-s/v) - w e^(-s/w) over v - w; the lower tail is the same of 1 - e^(-s/v)
                let upper = (v * libm::exp(-s / v) - w * libm::exp(-s / w)) / (v - w);
                let lower = (w * libm::expm1(-s / w) - v * libm::expm1(-s / v)) / (v - w);
                let expected = if lower < 0.5 { libm::log1p(-lower) } else { libm::log(upper) } / LN_10;
                let got = log10_dual_key_sf(1, s, alpha);
                assert!((got - expected).abs() <= 2e-11 * expected.abs(), "{alpha} {s}: {got:e} {expected:e}");
            }
        }
    }

    #[test]
    fn falls_with_the_sum_and_is_symmetric() {
        for n in [1u64, 3, 1000, 1_000_000_000] {
            for alpha in [0.0, 1e-9, 0.1, 0.35, 0.5] {
                let mut last = 0.0;
                for i in -200..400 {
                    let s = n as f64 + libm::sqrt(n as f64) * f64::from(i) / 40.0;
                    let got = log10_dual_key_sf(n, s, alpha);
                    assert!(got < last || (s <= 0.0 && got <= last), "{n} {alpha} {s}: {got:e} after {last:e}");
                    assert!((got - log10_dual_key_sf(n, s, 1.0 - alpha)).abs() <= 1e-7 * got.abs());
                    last = got;
                }
            }
        }
    }

    #[test]
    fn edges() {
        let none = [
            log10_dual_key_sf(0, 5.0, 0.1),
            log10_dual_key_sf(5, 0.0, 0.1),
            log10_dual_key_sf(5, -1.0, 0.1),
            log10_dual_key_sf(5, f64::NAN, 0.1),
            log10_dual_key_sf(5, 9.0, -0.1),
            log10_dual_key_sf(5, 9.0, 1.1),
            log10_dual_key_sf(5, 9.0, f64::NAN),
            log10_dual_key_sf(5, 5e-324, 0.5),
        ];
        for v in none {
            assert!(v.abs() < 1e-300 && v.is_sign_positive());
        }
        assert!(log10_dual_key_sf(5, f64::INFINITY, 0.1).is_infinite());
        for n in [1, 1 << 40, u64::MAX] {
            for s in [1e-280, 1.0, 1e18, 1e100, f64::MAX] {
                for alpha in [0.0, 5e-324, 0.1, 0.5, 1.0 - f64::EPSILON, 1.0] {
                    let v = log10_dual_key_sf(n, s, alpha);
                    assert!(v <= 0.0 && v.is_finite() && (v < 0.0 || v.is_sign_positive()), "{n} {s} {alpha}: {v}");
                }
            }
        }
    }
}
