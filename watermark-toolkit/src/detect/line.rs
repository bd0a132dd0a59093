use serde::Serialize;
use watermark_core::detect::{
    Effect, Finding, LayerDetector, PeerStatistic, Resampling, Test, Verdict, Weights, conclude,
};

use super::SpanLine;

/// One line of output: a layer over the whole input, or over one record.
#[derive(Clone, Debug, Serialize)]
pub struct LayerLine {
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
    pub verdict: Verdict,
    /// What the family consists of.
    pub family: String,
    /// Number of tests in the family.
    pub family_size: usize,
    /// With `not_detected`: the smallest effect that would have been shown with a power of 80 %.
    pub smallest_effect: Option<Effect>,
    /// What the engine's own detector would print; null unless asked for. Carries no verdict.
    pub peer: Option<Peer>,
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
    pub pooled: Vec<LayerLine>,
    /// One line per record and layer, empty unless asked for.
    pub per_record: Vec<LayerLine>,
    /// Marked stretches, empty unless asked for.
    pub spans: Vec<SpanLine>,
    /// Whether any layer is detected in the whole input.
    pub detected: bool,
}

/// A finding with what goes on its line.
pub(super) struct LayerFinding<'a> {
    pub(super) record: Option<String>,
    pub(super) layer: &'a LayerDetector,
    pub(super) finding: Finding,
    pub(super) resampling: Resampling,
    pub(super) peer: Option<Peer>,
}

/// The lines of a family; also says whether anything is detected.
pub(super) fn lines(
    tested: Vec<LayerFinding<'_>>,
    weights: Weights,
    alpha: f64,
    family: &str,
) -> (Vec<LayerLine>, bool) {
    let test = |tested: &LayerFinding<'_>| Test {
        scheme: tested.layer.scheme(),
        n_scored: tested.finding.n_scored,
        log10_p: tested.finding.log10_p,
        weights,
        resampling: tested.resampling,
    };
    let conclusions = conclude(&tested.iter().map(test).collect::<Vec<_>>(), alpha);
    let detected = conclusions.iter().any(|conclusion| conclusion.verdict == Verdict::Detected);
    let family_size = tested.len();
    let lines = tested.into_iter().zip(conclusions).map(|(tested, conclusion)| {
        let LayerFinding { record, finding, resampling, peer, .. } = tested;
        LayerLine {
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
            verdict: conclusion.verdict,
            family: family.to_owned(),
            family_size,
            smallest_effect: conclusion.smallest_effect,
            peer,
        }
    });
    (lines.collect(), detected)
}
