use serde::{Deserialize, Serialize};

use super::registration::{Registration, Stopping};
use super::statement::{ResamplingEvidence, SampleEvidence};
use crate::Result;
use crate::detect::{EFFECT_POWER, Effect, RESAMPLING_KEYS, Resampling, Test, Verdict, decide};
use crate::distill::{controls_agree, keyless, log10_p_anytime};
use crate::scheme::Scheme;

/// More than one empty answer in so many, and the registered test was not carried out: what was left out may have been chosen.
pub const EMPTY_ONE_IN: u64 = 20;

/// What follows from the numbers of all samples under a registration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conclusion {
    /// Which number decides.
    pub decided_by: DecidedBy,
    /// None of the m controls has p below 0.01 / m.
    pub controls_agree: bool,
    /// Fresh keys do not contradict the tail, where they may.
    pub resampling_agrees: bool,
    /// No model left more than one answer in [`EMPTY_ONE_IN`] without text.
    pub answers_present: bool,
    /// With `not_detected`, unless distinct pairs alone reach the level: the smallest effect that would have been shown.
    pub smallest_effect: Option<EffectEvidence>,
    /// The verdict at the registered level.
    pub verdict: VerdictWord,
}

/// Which number decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecidedBy {
    /// The tail of a fixed sample.
    #[serde(rename = "log10_p")]
    Tail,
    /// The e-value.
    #[serde(rename = "ln_e")]
    EValue,
}

/// A verdict as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "as Verdict")]
pub enum VerdictWord {
    Detected,
    NotDetected,
    Inconclusive,
}

impl From<Verdict> for VerdictWord {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Detected => Self::Detected,
            Verdict::NotDetected => Self::NotDetected,
            Verdict::Inconclusive => Self::Inconclusive,
        }
    }
}

/// An effect size: a share of ones or a mean score among distinct pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EffectEvidence {
    /// Its unit.
    pub of: EffectUnit,
    /// With which probability it would have been shown.
    pub power: f64,
    /// Its size.
    pub value: f64,
}

/// The unit of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "as Effect")]
pub enum EffectUnit {
    OnesShare,
    MeanScore,
}

impl From<Effect> for EffectEvidence {
    fn from(effect: Effect) -> Self {
        let (of, value) = match effect {
            Effect::OnesShare(share) => (EffectUnit::OnesShare, share),
            Effect::MeanScore(mean) => (EffectUnit::MeanScore, mean),
        };
        Self { of, power: EFFECT_POWER, value }
    }
}

/// Draws the conclusion.
///
/// # Errors
/// [`crate::ErrorKind::InvalidParameter`] for a scheme without a keyless detector.
pub fn conclude(
    registration: &Registration,
    scheme: Scheme,
    suspect: &SampleEvidence,
    controls: &[SampleEvidence],
    resampling: &ResamplingEvidence,
) -> Result<Conclusion> {
    let by_e = registration.stopping == Stopping::EProcess || suspect.stopped;
    let deciding = |sample: &SampleEvidence, by_e: bool| {
        if by_e { log10_p_anytime(sample.ln_e) } else { sample.log10_p }
    };
    // A control that was not itself stopped may be read by its tail, which sees more.
    let of_controls: Vec<f64> = controls.iter().map(|control| deciding(control, control.stopped)).collect();
    let controls_agree = controls_agree(&of_controls);
    let fresh = Resampling { keys: resampling.keys, at_least: resampling.at_least };
    let resampling_agrees = by_e || fresh.keys < u64::from(RESAMPLING_KEYS) || !fresh.disagrees_with(suspect.log10_p);
    let present = |sample: &SampleEvidence| sample.n_empty <= sample.records.count / EMPTY_ONE_IN;
    let answers_present = present(suspect) && controls.iter().all(present);
    let disagrees = !controls_agree || !resampling_agrees || !answers_present;
    let test = Test { n_scored: suspect.n_scored, log10_p: deciding(suspect, by_e), disagrees };
    let verdict = decide(&[test], registration.alpha)[0];
    let log10_alpha = libm::log10(registration.alpha);
    // It is one of distinct pairs: where they reach the level and the weighted sum does not, it would be contradicted.
    let missed = verdict == Verdict::NotDetected && suspect.log10_p_distinct > log10_alpha;
    let effect = || Ok(keyless(scheme)?.smallest_effect(suspect.n_scored, log10_alpha));
    Ok(Conclusion {
        decided_by: if by_e { DecidedBy::EValue } else { DecidedBy::Tail },
        controls_agree,
        resampling_agrees,
        answers_present,
        smallest_effect: if missed { effect()?.map(EffectEvidence::from) } else { None },
        verdict: verdict.into(),
    })
}
