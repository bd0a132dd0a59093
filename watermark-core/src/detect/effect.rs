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
    /// The size that has [`EFFECT_POWER`].
    pub(crate) fn new(unit: EffectUnit, value: f64) -> Self {
        Self { unit, value, power: EFFECT_POWER }
    }
}

/// The smallest effect that the exact tail of `n` pairs would have shown with probability [`EFFECT_POWER`] at level
/// `10^log10_alpha`. `None` if no effect would have been shown, or if an effect under this law is more than one number.
pub(crate) fn smallest_effect(law: NullLaw, n: u64, log10_alpha: f64) -> Option<Effect> {
    match law {
        NullLaw::Bits { gamma, trials } => by_tail_of_ones(n.checked_mul(trials.into())?, gamma, log10_alpha),
        NullLaw::BitsWithoutReplacement { gamma } => by_tail_of_ones(n, gamma, log10_alpha),
        NullLaw::ExponentialQ32 => smallest_mean(n, log10_alpha, |sum| stats::log10_gamma_sf(n, sum)),
        NullLaw::WeightedBits(_) | NullLaw::DualKeyQ32 { .. } => None,
    }
}

fn by_tail_of_ones(bits: u64, gamma: f64, log10_alpha: f64) -> Option<Effect> {
    let log10_p = |ones: u64| {
        if ones == bits { bits as f64 * libm::log10(gamma) } else { stats::log10_binomial_sf(ones, bits, gamma) }
    };
    smallest_share(bits, gamma, log10_alpha, log10_p)
}

/// The smallest share of ones among `bits` independent bits, `gamma` under the null, that has [`EFFECT_POWER`] where
/// `log10_p`, which falls with the number of ones, decides. Exact.
pub(crate) fn smallest_share(bits: u64, gamma: f64, log10_alpha: f64, log10_p: impl Fn(u64) -> f64) -> Option<Effect> {
    if bits == 0 || !clearly_reached(log10_p(bits), log10_alpha) {
        return None;
    }
    // The smallest count that is significant.
    let (mut low, mut high) = (0, bits);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if log10_p(middle) <= log10_alpha { high = middle } else { low = middle }
    }
    let power = |share: f64| stats::log10_binomial_sf(high, bits, share.min(1.0 - 1e-16));
    let log10_power = libm::log10(EFFECT_POWER);
    let share = bisect(gamma, 1.0, |share| power(share) >= log10_power)?;
    Some(Effect::new(EffectUnit::OnesShare, share))
}

/// The smallest mean of `n` exponential scores, 1 under the null, that has [`EFFECT_POWER`] where `log10_p`, which falls with
/// the sum of the scores, decides. Exact.
pub(crate) fn smallest_mean(n: u64, log10_alpha: f64, log10_p: impl Fn(f64) -> f64) -> Option<Effect> {
    if n == 0 || !is_level(log10_alpha) {
        return None;
    }
    let mut high = n as f64;
    while log10_p(high) > log10_alpha && high < f64::MAX {
        high *= 2.0;
    }
    let critical = bisect(0.0, high, |sum| log10_p(sum) <= log10_alpha)?;
    // n exponentials of this mean reach s with the probability that standard ones reach s / mean.
    let log10_power = libm::log10(EFFECT_POWER);
    let mean = bisect(1.0, 10.0 * critical, |mean| stats::log10_gamma_sf(n, critical / mean) >= log10_power)?;
    Some(Effect::new(EffectUnit::MeanScore, mean))
}

/// Whether the strongest outcome reaches the level by more than rounding, so that another implementation comes to the same
/// answer.
pub(crate) fn clearly_reached(log10_p: f64, log10_alpha: f64) -> bool {
    is_level(log10_alpha) && log10_p <= log10_alpha - CLEARLY
}

/// A level outside (0, 1) rejects nothing, so no effect would have been shown.
pub(crate) fn is_level(log10_alpha: f64) -> bool {
    log10_alpha < 0.0 && log10_alpha.is_finite()
}

/// The smallest argument at which a monotone condition holds, by 50 halvings; `None` if it does not hold at `high`.
pub(crate) fn bisect(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> Option<f64> {
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
