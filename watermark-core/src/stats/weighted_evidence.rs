//! E-values of scores weighted by how strongly a model prefers a pair.

use super::special::log_remainder;
use super::weighted::Term;
use super::{ExponentialClass, WeightClass};

/// The weight that counts as 1 below: [`super::weight_sqrt`] of one occurrence.
pub(super) const UNIT: u64 = 1 << 16;

/// Exponents for a pair of weight 1, as log-odds of green: a student's inherited preference lies between a few hundredths
/// and one. Fixed once and for all, so that the mixture is a martingale whatever weights arrive later.
pub(super) const GREEN_TILTS: [f64; 8] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28];

/// Exponential scores have a mean of `e^(theta w x)` only for `theta w < 1`, and later weights are not known when the
/// exponents are fixed: heavier pairs count as this weight.
const EXPONENTIAL_CAP: u64 = 8 * UNIT;

/// Exponents for a pair of weight 1; the largest times the cap stays below 1.
pub(super) const EXPONENTIAL_TILTS: [f64; 6] = [0.0025, 0.005, 0.01, 0.02, 0.05, 0.11];

/// Natural logarithm of the e-value of green pairs weighted by class: `e^(theta w b)` divided by its mean, multiplied over
/// all pairs, averaged over eight fixed theta. Weights are in units of 2^-16.
///
/// Null hypothesis: each pair is green independently with probability `gamma`. A martingale along pairs (or sets of pairs)
/// whose weights are fixed before their first look; no e-process if weights of pairs already looked at change later.
/// Finite, never NaN or -0.0. `gamma` outside `(0, 1)` gives 0; more green than pairs counts as all.
pub fn ln_e_weighted_green(classes: &[WeightClass], gamma: f64) -> f64 {
    ln_e_green_parts(&[(classes, gamma)])
}

/// Of classes with several probabilities of green.
pub(super) fn ln_e_green_parts(parts: &[(&[WeightClass], f64)]) -> f64 {
    if !parts.iter().all(|&(_, gamma)| super::binomial::is_probability(gamma)) {
        return 0.0;
    }
    let term = |&(classes, gamma): &(&[WeightClass], f64)| -> Vec<Term> {
        classes.iter().map(|class| Term::new(class, UNIT, gamma)).collect()
    };
    let terms: Vec<Term> = parts.iter().flat_map(term).collect();
    let exponent = |tilt: f64| -> f64 {
        let log_mean = |term: &Term| {
            let (log_mean, shift) = term.exponent(tilt);
            log_mean + shift
        };
        -terms.iter().map(log_mean).sum::<f64>()
    };
    mean(GREEN_TILTS.map(exponent))
}

/// As [`ln_e_weighted_green`] for exponential scores; six fixed theta, and weights above 8 count as 8.
///
/// Null hypothesis: the scores of distinct pairs are independent standard exponentials.
pub fn ln_e_weighted_exponential(classes: &[ExponentialClass]) -> f64 {
    ln_e_exponential_signs(classes, &[])
}

/// Of classes that count as they are and of others that count with the opposite sign.
pub(super) fn ln_e_exponential_signs(above: &[ExponentialClass], below: &[ExponentialClass]) -> f64 {
    let signed = || above.iter().map(|class| (class, 1.0)).chain(below.iter().map(|class| (class, -1.0)));
    let exponent = |tilt: f64| -> f64 {
        let class_exponent = |(class, sign): (&ExponentialClass, f64)| {
            let y = sign * tilt * exponential_weight(class.weight) as f64 / UNIT as f64;
            let (pairs, sum) = (class.pairs as f64, super::q32_to_f64(class.sum_q32));
            // ln(1 - y) = -y + log_remainder(-y)
            y * (sum - pairs) + pairs * log_remainder(-y)
        };
        signed().map(class_exponent).sum()
    };
    mean(EXPONENTIAL_TILTS.map(exponent))
}

/// The weight with which a pair of this weight counts in [`ln_e_weighted_exponential`].
pub(crate) fn exponential_weight(weight: u64) -> u64 {
    weight.min(EXPONENTIAL_CAP)
}

fn mean<const N: usize>(exponents: [f64; N]) -> f64 {
    // An infinite weight times no excess, or sums beyond f64: no evidence rather than NaN.
    let exponents = exponents.map(|x| if x.is_nan() { f64::NEG_INFINITY } else { x.min(f64::MAX) });
    let ln_e = super::ln_mean_e(&exponents);
    if ln_e.is_nan() { f64::MIN } else { ln_e.clamp(f64::MIN, f64::MAX) + 0.0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_sign_loss, reason = "tests")]
    use super::*;

    fn close(got: f64, expected: f64) {
        assert!((got - expected).abs() < 1e-10 * expected.abs().max(1.0), "{got} for {expected}");
    }

    /// Every outcome of three pairs of weight 1 and two of weight 3, times its probability: the mean is one.
    #[test]
    fn the_mean_over_green_outcomes_is_one() {
        let mut total = 0.0;
        for (light, heavy) in (0..=3u64).flat_map(|a| (0..=2u64).map(move |b| (a, b))) {
            let choose = [1.0, 3.0, 3.0, 1.0][light as usize] * [1.0, 2.0, 1.0][heavy as usize];
            let green = (light + heavy) as f64;
            let chance = choose * libm::pow(0.25, green) * libm::pow(0.75, 5.0 - green);
            let classes = [
                WeightClass { weight: 1 << 16, pairs: 3, green: light },
                WeightClass { weight: 3 << 16, pairs: 2, green: heavy },
            ];
            total += chance * libm::exp(ln_e_weighted_green(&classes, 0.25));
        }
        close(total, 1.0);
    }

    /// Numerically over one exponential score; the quadrature error is below 1e-6.
    #[test]
    fn the_mean_over_an_exponential_score_is_one() {
        for weight in [1 << 15, 1 << 16, 5 << 16, 100 << 16] {
            let step = 1e-3;
            let mean: f64 = (0..400_000)
                .map(|i| {
                    let x = (f64::from(i) + 0.5) * step;
                    let class = ExponentialClass { weight, pairs: 1, sum_q32: (x * 4_294_967_296.0) as u128 };
                    step * libm::exp(ln_e_weighted_exponential(&[class]) - x)
                })
                .sum();
            assert!((mean - 1.0).abs() < 1e-6, "{mean}");
        }
    }

    #[test]
    fn by_hand_and_edges() {
        // one green pair of weight 1, gamma 1/2: mean over theta of 2 e^t / (1 + e^t)
        let by_hand: f64 = GREEN_TILTS.map(|t| 2.0 * libm::exp(t) / (1.0 + libm::exp(t))).iter().sum::<f64>() / 8.0;
        let one = [WeightClass { weight: 1 << 16, pairs: 1, green: 1 }];
        close(ln_e_weighted_green(&one, 0.5), libm::log(by_hand));
        close(ln_e_weighted_green(&[], 0.5), 0.0);
        close(ln_e_weighted_exponential(&[]), 0.0);
        for gamma in [0.0, 1.0, f64::NAN] {
            close(ln_e_weighted_green(&one, gamma), 0.0);
        }
        // Two green pairs, one of them seen 400,000 times: every bet but the lowest doubles on it.
        let often = super::super::weight_sqrt(400_000);
        let two = [one[0], WeightClass { weight: often, pairs: 1, green: 1 }];
        let factor = |y: f64| 2.0 / (1.0 + libm::exp(-y));
        let by_hand: f64 =
            GREEN_TILTS.map(|t| factor(t) * factor(t * often as f64 / UNIT as f64)).iter().sum::<f64>() / 8.0;
        close(ln_e_weighted_green(&two, 0.5), libm::log(by_hand));
        let huge = [WeightClass { weight: u64::MAX, pairs: u64::MAX, green: 0 }];
        assert!(ln_e_weighted_green(&huge, 0.5).is_finite());
        let huge = [ExponentialClass { weight: u64::MAX, pairs: u64::MAX, sum_q32: u128::MAX }];
        assert!(ln_e_weighted_exponential(&huge).is_finite());
    }
}
