//! The smallest effect that a sample could have shown: what `not_detected` rules out.

use crate::scheme::NullLaw;
use crate::stats;

/// Power at which an effect counts as one that would have been shown.
pub const EFFECT_POWER: f64 = 0.8;

/// How far the strongest outcome must lie beyond the level, in digits.
const CLEARLY: f64 = 1e-9;

/// An effect size, and with which power it would have been shown.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Effect {
    /// What was measured; the field is called `of` in JSON.
    #[cfg_attr(feature = "serde", serde(rename = "of"))]
    pub unit: EffectUnit,
    /// The size, in that unit.
    pub value: f64,
    /// The power it refers to.
    pub power: f64,
}

/// What an effect is measured in, by the scheme's null law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum EffectUnit {
    /// Share of ones (or of green tokens) among the scored bits; under the null gamma.
    OnesShare,
    /// Mean score of a pair in nats, if scores stay exponential; under the null 1.
    MeanScore,
}

impl Effect {
    fn new(unit: EffectUnit, value: f64) -> Self {
        Self { unit, value, power: EFFECT_POWER }
    }
}

/// The smallest effect that `n` pairs would have shown with probability [`EFFECT_POWER`] at level `10^log10_alpha`.
/// `None` if no effect would have been shown, or if an effect under this law is more than one number.
pub(crate) fn smallest_effect(law: NullLaw, n: u64, log10_alpha: f64) -> Option<Effect> {
    // A level outside (0, 1) rejects nothing, so no effect would have been shown.
    if n == 0 || !(log10_alpha < 0.0 && log10_alpha.is_finite()) {
        return None;
    }
    let log10_power = libm::log10(EFFECT_POWER);
    match law {
        NullLaw::Bits { gamma, trials } => {
            let bits = n.checked_mul(trials.into())?;
            ones_share(bits, gamma, log10_alpha, log10_power)
        }
        NullLaw::BitsWithoutReplacement { gamma } => ones_share(n, gamma, log10_alpha, log10_power),
        NullLaw::ExponentialQ32 => {
            // The tail is below e^(-d^2 / (2 (n + d))) at n + d (Bernstein), so the critical sum is not above this.
            let digits = -5.0 * log10_alpha;
            let (n_f64, margin) = (n as f64, digits + libm::sqrt(2.0 * digits * n as f64));
            let critical = bisect(0.0, n_f64 + margin, |s| stats::log10_gamma_sf(n, s) <= log10_alpha)?;
            // n exponentials of this mean reach s with the probability that standard ones reach s / mean.
            let scale = bisect(1.0, 10.0 * critical, |mean| stats::log10_gamma_sf(n, critical / mean) >= log10_power)?;
            Some(Effect::new(EffectUnit::MeanScore, scale))
        }
        NullLaw::WeightedBits(_) | NullLaw::DualKeyQ32 { .. } => None,
    }
}

fn ones_share(bits: u64, gamma: f64, log10_alpha: f64, log10_power: f64) -> Option<Effect> {
    // The smallest count that is significant.
    let significant = |ones: u64| stats::log10_binomial_sf(ones, bits, gamma) <= log10_alpha;
    // Even all ones must reach the level, and by more than rounding, so that another implementation comes to the same
    // answer.
    if bits as f64 * libm::log10(gamma) > log10_alpha - CLEARLY || !significant(bits) {
        return None;
    }
    let (mut low, mut high) = (0, bits);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if significant(middle) { high = middle } else { low = middle }
    }
    let share =
        bisect(gamma, 1.0, |share| stats::log10_binomial_sf(high, bits, share.min(1.0 - 1e-16)) >= log10_power)?;
    Some(Effect::new(EffectUnit::OnesShare, share))
}

/// The smallest argument at which a monotone condition holds, by 50 halvings; `None` if it does not hold at `high`.
fn bisect(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> Option<f64> {
    if !holds(high) {
        return None;
    }
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if holds(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn effects_have_the_stated_power() {
        let Some(Effect { unit: EffectUnit::OnesShare, value: share, power: EFFECT_POWER }) =
            smallest_effect(NullLaw::Bits { gamma: 0.5, trials: 1 }, 10_000, -6.0)
        else {
            panic!("an effect")
        };
        // normal approximation: .5 + (4.753 + .842) / 2 / sqrt(10,000)
        assert!((share - 0.528).abs() < 5e-4, "{share}");
        let Some(Effect { unit: EffectUnit::MeanScore, value: mean, power: EFFECT_POWER }) =
            smallest_effect(NullLaw::ExponentialQ32, 10_000, -6.0)
        else {
            panic!("an effect")
        };
        assert!((mean - 1.0568).abs() < 1.5e-3, "{mean}");
        assert_eq!(smallest_effect(NullLaw::Bits { gamma: 0.5, trials: 1 }, 19, -6.0), None);
        assert!(smallest_effect(NullLaw::Bits { gamma: 0.5, trials: 1 }, 20, -6.0).is_some());
        assert_eq!(smallest_effect(NullLaw::ExponentialQ32, 0, -6.0), None);
        assert!(smallest_effect(NullLaw::ExponentialQ32, 1, -6.0).is_some());
    }
}
