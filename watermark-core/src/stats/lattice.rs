//! Tails of sums of weighted fair coins, by Fourier inversion of the tilted law with bounded error.

use core::f64::consts::{LN_2, PI};

use super::root::{bisect, bracket};
use super::special::bernoulli_cumulant;

/// Standard deviations between the saddle point and the pole at zero, at least.
const POLE_DISTANCE: f64 = 2.0;

/// Tilts, in standard deviations, at which the aliases are bounded; `e^-ALIAS` is what they may amount to.
const ALIAS_TILT: f64 = 8.0;
const ALIAS: f64 = 40.0;

/// Exponents stay below this.
const LARGEST_EXPONENT: f64 = 300.0;

/// Share of the result that a skipped part of the sum may amount to.
const SKIPPED: f64 = 1e-16;

/// A range of this many nodes is no longer divided.
const FEW_NODES: u64 = 4;

/// Halvings of the bracket of the saddle point, where `2^-30` is near enough.
const HALVINGS: u32 = 30;

/// The exponent of Chernoff's bound is raised by this fraction of its terms.
const ROUNDING: f64 = 1e-13;

/// Layers that share one weight.
pub(super) struct Layers {
    pub(super) weight: u64,
    pub(super) trials: f64,
}

/// A point of the lattice above the mean.
pub(super) struct Tail<'a> {
    layers: &'a [Layers],
    /// Distance from the mean.
    excess: f64,
    /// Distance from the largest value.
    missing: f64,
}

/// The mean over the nodes, in units of Chernoff's bound at the same tilt.
struct Mean {
    value: f64,
    skipped: f64,
}

impl<'a> Tail<'a> {
    pub(super) fn new(layers: &'a [Layers], k: u128, most: u128) -> Self {
        // twice the excess may be odd
        let excess = 0.5 * (2 * k - most) as f64;
        Self { layers, excess, missing: (most - k) as f64 }
    }

    /// An upper bound of the logarithm of the probability at and above the point.
    pub(super) fn ln_upper_bound(&self) -> f64 {
        let ln_last = self.ln_last();
        if self.is_last() {
            return ln_last;
        }
        let theta = self.tilt();
        let mean = self.mean(theta);
        let mass = mean.value + mean.skipped;
        let ln_mass = if mass > 0.0 && mass < 1.0 { libm::log(mass) } else { 0.0 };
        (self.exponent(theta) + ln_mass).max(ln_last)
    }

    /// A lower bound of that probability.
    pub(super) fn lower_bound(&self) -> f64 {
        if self.is_last() {
            return libm::exp(self.ln_last());
        }
        let theta = self.tilt();
        let mean = self.mean(theta);
        let aliases = 2.01 * libm::exp(-ALIAS);
        libm::exp(self.exponent(theta)) * (mean.value - mean.skipped - aliases).clamp(0.0, 1.0)
    }

    /// Chernoff's bound on that probability, rounded upwards.
    pub(super) fn ln_chernoff_bound(&self) -> f64 {
        if self.is_last() {
            return self.ln_last();
        }
        let (log_mean, shift) = self.exponent_terms(self.saddle());
        log_mean + shift + ROUNDING * (log_mean.abs() + shift.abs())
    }

    /// Whether the point is the largest value, which only all ones reach.
    fn is_last(&self) -> bool {
        self.missing < 1.0
    }

    fn ln_last(&self) -> f64 {
        -LN_2 * self.layers.iter().map(|l| l.trials).sum::<f64>()
    }

    /// Logarithm of `E[e^(theta (T - k))]`.
    fn exponent(&self, theta: f64) -> f64 {
        let (log_mean, shift) = self.exponent_terms(theta);
        log_mean + shift
    }

    /// Its two terms, from the mean or, far out, from the largest value.
    fn exponent_terms(&self, theta: f64) -> (f64, f64) {
        let near = self.near_mean(theta);
        let layer_exponent = |l: &Layers| {
            let y = theta * l.weight as f64;
            l.trials * if near { bernoulli_cumulant(0.5, y) } else { libm::log1p(libm::exp(-y)) - LN_2 }
        };
        (self.layers.iter().map(layer_exponent).sum(), theta * if near { -self.excess } else { self.missing })
    }

    /// Derivative of that logarithm in `theta`.
    fn slope(&self, theta: f64) -> f64 {
        let near = self.near_mean(theta);
        let layer_slope = |l: &Layers| {
            let w = l.weight as f64;
            let y = theta * w;
            w * l.trials * if near { 0.5 * libm::tanh(0.5 * y) } else { -1.0 / (1.0 + libm::exp(y)) }
        };
        self.layers.iter().map(layer_slope).sum::<f64>() + if near { -self.excess } else { self.missing }
    }

    fn near_mean(&self, theta: f64) -> bool {
        self.layers.iter().all(|l| theta * (l.weight as f64) < 1.0)
    }

    /// Standard deviation under the law tilted by `theta`.
    fn deviation(&self, theta: f64) -> f64 {
        let layer_variance = |l: &Layers| {
            let w = l.weight as f64;
            let tilt = libm::exp(-theta * w);
            l.trials * w * w * tilt / ((1.0 + tilt) * (1.0 + tilt))
        };
        libm::sqrt(self.layers.iter().map(layer_variance).sum())
    }

    /// Where the slope vanishes; `tanh y <= y` makes the Gaussian guess a lower bound.
    fn saddle(&self) -> f64 {
        let variance = self.deviation(0.0) * self.deviation(0.0);
        let guess = self.excess / variance;
        let (low, high) = bracket(guess, 2.0 * guess, |theta| self.slope(theta) > 0.0);
        bisect(low, high, HALVINGS, |theta| self.slope(theta))
    }

    /// The tilt of the contour: any positive one will do, next to the mean one that stays clear of the pole.
    fn tilt(&self) -> f64 {
        let saddle = self.saddle();
        saddle.max(POLE_DISTANCE / self.deviation(saddle))
    }

    /// An odd number of steps such that the aliases on either side are below `e^-ALIAS`: those `m M` off weigh at
    /// most `e^(-lambda m M) E_theta[e^(-+ lambda (T - k))]`, for any `lambda`, on the left up to `theta`. The Gaussian
    /// choice of `lambda` is halved as long as that pays, which it does where few ones are missing.
    #[expect(clippy::cast_sign_loss, reason = "a positive number")]
    fn steps(&self, theta: f64) -> u64 {
        let heaviest = self.layers.iter().map(|l| l.weight as f64).fold(1.0, f64::max);
        let lambda = (ALIAS_TILT / self.deviation(theta)).min(LARGEST_EXPONENT / heaviest);
        let steps_for = |signed: f64| {
            let of_layers = |l: &Layers| {
                let w = l.weight as f64;
                l.trials * bernoulli_cumulant(1.0 / (1.0 + libm::exp(theta * w)), signed * w)
            };
            let ln_mean = self.layers.iter().map(of_layers).sum::<f64>() - signed * self.slope(theta);
            (ALIAS + ln_mean.max(0.0)) / signed.abs()
        };
        let least = |mut signed: f64| {
            let mut least = steps_for(signed);
            loop {
                signed *= 0.5;
                let next = steps_for(signed);
                if next.is_nan() || next >= least {
                    return least;
                }
                least = next;
            }
        };
        least(lambda.min(theta)).max(least(-lambda)) as u64 | 1
    }

    /// The mean over the steps. Ranges of nodes are halved until what they can hold is negligible.
    fn mean(&self, theta: f64) -> Mean {
        let steps = self.steps(theta);
        let circle = Circle { steps, theta, tail: self, factors: self.factors(theta) };
        let centre = circle.node(0);
        let negligible = SKIPPED * centre / (1.0 + self.deviation(theta));
        let (mut value, mut skipped) = (centre, 0.0);
        let mut ranges = vec![(1, steps / 2)];
        while let Some((first, last)) = ranges.pop() {
            if first > last {
                continue;
            }
            let bound = circle.bound(first, last);
            if bound <= negligible {
                skipped += 2.0 * bound * (last - first + 1) as f64;
            } else if last - first < FEW_NODES {
                value += (first..=last).map(|q| 2.0 * circle.node(q)).sum::<f64>();
            } else {
                let middle = first + (last - first) / 2;
                ranges.push((middle + 1, last));
                ranges.push((first, middle));
            }
        }
        Mean { value: value / steps as f64, skipped: skipped / steps as f64 }
    }

    fn factors(&self, theta: f64) -> Vec<Factor> {
        let factor = |l: &Layers| {
            let tanh = libm::tanh(0.5 * theta * l.weight as f64);
            let tilt = libm::exp(-theta * l.weight as f64);
            Factor { weight: l.weight, trials: l.trials, tanh, sech2: 4.0 * tilt / ((1.0 + tilt) * (1.0 + tilt)) }
        };
        self.layers.iter().map(factor).collect()
    }
}

/// A factor `cos h + i tanh(theta w/2) sin h` of the characteristic function, `h = w y/2`, to the power `trials`.
struct Factor {
    weight: u64,
    trials: f64,
    tanh: f64,
    sech2: f64,
}

impl Factor {
    /// `h` at the node, reduced modulo `2 pi` in integers.
    fn half_angle(&self, node: u64, steps: u64) -> f64 {
        let (node, steps) = (u128::from(node), u128::from(steps));
        PI * ((u128::from(self.weight) * node) % (2 * steps)) as f64 / steps as f64
    }

    /// Logarithm of the modulus given `sin^2 h`.
    fn ln_modulus(&self, sin2: f64) -> f64 {
        0.5 * self.trials * libm::log1p(-(self.sech2 * sin2).min(1.0))
    }
}

/// The integrand at the nodes `y = 2 pi q / steps`.
struct Circle<'a> {
    steps: u64,
    theta: f64,
    tail: &'a Tail<'a>,
    factors: Vec<Factor>,
}

impl Circle<'_> {
    /// `1 - e^(-theta - iy)`.
    fn denominator(&self, y: f64) -> (f64, f64) {
        let (tilt, half) = (libm::exp(-self.theta), libm::sin(0.5 * y));
        (2.0 * tilt * half * half - libm::expm1(-self.theta), tilt * libm::sin(y))
    }

    fn angle(&self, node: u64) -> f64 {
        2.0 * PI * (node as f64 / self.steps as f64)
    }

    /// Real part at a node.
    fn node(&self, node: u64) -> f64 {
        let y = self.angle(node);
        let (mut ln_modulus, mut phase) = (0.0, -y * self.tail.excess);
        for f in &self.factors {
            let h = f.half_angle(node, self.steps);
            let (sin, cos) = (libm::sin(h), libm::cos(h));
            ln_modulus += f.ln_modulus(sin * sin);
            phase += f.trials * libm::atan2(f.tanh * sin, cos);
        }
        let (re, im) = self.denominator(y);
        libm::exp(ln_modulus) * (libm::cos(phase) * re + libm::sin(phase) * im) / (re * re + im * im)
    }

    /// What the modulus does not exceed anywhere between two nodes: `sin^2` is smallest at an end unless it vanishes
    /// in between, the denominator at the first.
    fn bound(&self, first: u64, last: u64) -> f64 {
        let ln_bound = |f: &Factor| {
            let turn = |node: u64| u128::from(f.weight) * u128::from(node) / u128::from(self.steps);
            if turn(first) != turn(last) {
                return 0.0;
            }
            let sin = |node: u64| libm::sin(f.half_angle(node, self.steps)).abs();
            let least = sin(first).min(sin(last));
            f.ln_modulus(least * least)
        };
        let (re, im) = self.denominator(self.angle(first));
        libm::exp(self.factors.iter().map(ln_bound).sum()) / libm::hypot(re, im)
    }
}
