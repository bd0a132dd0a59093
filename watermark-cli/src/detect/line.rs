use serde::Serialize;
use watermark_core::detect::{self, Finding, LayerDetector, PeerStatistic, Resampling, Test, Verdict, decide};

use super::{KEYS_FOR_A_VERDICT, SpanLine};

/// One line of output: a layer over the whole input, or over one record.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The record's id, or its file and line; null for the pooled line.
    pub record: Option<String>,
    /// The layer's name; null for a raw PRF key.
    pub layer: Option<String>,
    /// The scheme's name.
    pub scheme: &'static str,
    /// Distinct PRF inputs.
    pub n_scored: u64,
    /// Positions whose PRF input had occurred before.
    pub n_duplicate: u64,
    /// Special tokens and pairs of excluded prompts.
    pub n_excluded: u64,
    /// Positions without a full context.
    pub n_short_context: u64,
    /// Green tokens, ones, or the score sum in units of 2^-32; with weights the weighted sum.
    pub statistic: String,
    /// log10 of the exact tail; with weights, of a bound on it.
    pub log10_p: f64,
    /// Natural logarithm of the e-value; null with weights.
    pub ln_e: Option<f64>,
    /// log10 of (1 + fresh keys that do as well) / (fresh keys + 1); null where that was not done.
    pub log10_p_resampled: Option<f64>,
    /// After Holm's adjustment over the family; `inconclusive` where fresh keys contradict the tail.
    pub verdict: &'static str,
    /// What the family consists of.
    pub family: String,
    /// Number of tests in the family.
    pub family_size: usize,
    /// With `not_detected`: the smallest effect that would have been shown with a power of 80 %.
    pub smallest_effect: Option<Effect>,
    /// What the engine's own detector would print; null unless asked for. Carries no verdict.
    pub peer: Option<Peer>,
}

/// An effect size.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Effect {
    /// `ones_share` (share of green tokens or of ones) or `mean_score` (nats a pair, 1 under the null).
    pub of: &'static str,
    /// Its size.
    pub value: f64,
    /// The power it refers to.
    pub power: f64,
}

impl From<detect::Effect> for Effect {
    fn from(effect: detect::Effect) -> Self {
        let (of, value) = match effect {
            detect::Effect::OnesShare(share) => ("ones_share", share),
            detect::Effect::MeanScore(mean) => ("mean_score", mean),
        };
        Self { of, value, power: detect::EFFECT_POWER }
    }
}

/// An engine's own statistic.
#[derive(Clone, Debug, Serialize)]
pub struct Peer {
    /// Positions that it scores.
    pub n: u64,
    /// Score sum, green count, z, or mean g-value.
    pub statistic: f64,
    /// Its p-value, if it has one.
    pub p_value: Option<f64>,
    /// Where these come from.
    pub rule: &'static str,
}

impl From<PeerStatistic> for Peer {
    fn from(PeerStatistic { n, statistic, p_value, rule }: PeerStatistic) -> Self {
        Self { n, statistic, p_value, rule }
    }
}

/// Pooled and per-record lines, and marked stretches.
#[derive(Clone, Debug)]
pub struct Report {
    /// One line per layer.
    pub pooled: Vec<Line>,
    /// One line per record and layer, empty unless asked for.
    pub per_record: Vec<Line>,
    /// Marked stretches, empty unless asked for.
    pub spans: Vec<SpanLine>,
    /// Whether any layer is detected in the whole input.
    pub detected: bool,
}

/// A finding with what goes on its line.
pub(super) struct Tested<'a> {
    pub(super) record: Option<String>,
    pub(super) layer: &'a LayerDetector,
    pub(super) finding: Finding,
    pub(super) resampling: Resampling,
    pub(super) peer: Option<Peer>,
}

/// Decides a family; also says whether anything is detected.
pub(super) fn lines(tested: Vec<Tested<'_>>, alpha: f64, family: &str) -> (Vec<Line>, bool) {
    let test = |tested: &Tested<'_>| Test {
        n_scored: tested.finding.n_scored,
        log10_p: tested.finding.log10_p,
        disagrees: tested.resampling.keys >= KEYS_FOR_A_VERDICT
            && tested.resampling.disagrees_with(tested.finding.log10_p),
    };
    let verdicts = decide(&tested.iter().map(test).collect::<Vec<_>>(), alpha);
    let detected = verdicts.contains(&Verdict::Detected);
    let family_size = tested.len();
    // The strictest level of Holm's procedure: what a lone effect has to pass.
    let log10_level = alpha.log10() - (family_size.max(1) as f64).log10();
    let lines = tested.into_iter().zip(verdicts).map(|(tested, verdict)| {
        let Tested { record, layer, finding, resampling, peer } = tested;
        let missed = verdict == Verdict::NotDetected && finding.ln_e.is_some();
        let effect = missed.then(|| layer.smallest_effect(finding.n_scored, log10_level)).flatten();
        Line {
            record,
            layer: finding.layer,
            scheme: finding.scheme,
            n_scored: finding.n_scored,
            n_duplicate: finding.n_duplicate,
            n_excluded: finding.n_excluded,
            n_short_context: finding.n_short_context,
            statistic: finding.statistic.to_string(),
            log10_p: finding.log10_p,
            ln_e: finding.ln_e,
            log10_p_resampled: resampling.log10_p(),
            verdict: verdict.as_str(),
            family: family.to_owned(),
            family_size,
            smallest_effect: effect.map(Effect::from),
            peer,
        }
    });
    (lines.collect(), detected)
}
