use serde::Serialize;
use watermark_core::detect::{
    Effect, Finding, LayerDetector, PeerStatistic, Resampling, Test, Verdict, Weights, conclude,
};
use watermark_core::model_test::{Audit, ModelFinding};

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
    /// Distinct PRF inputs; beside references those with a weight, some of which the text has not.
    pub n_scored: u64,
    /// Positions whose PRF input had occurred before.
    pub n_duplicate: u64,
    /// Special tokens and pairs of excluded prompts.
    pub n_excluded: u64,
    /// Positions without a full context.
    pub n_short_context: u64,
    /// How a pair was weighted: `none`, `sqrt`, or `residual` beside references.
    pub weights: &'static str,
    /// Green tokens, ones, or the score sum in units of 2^-32; with weights the weighted sum.
    pub statistic: String,
    /// log10 of the exact tail; with weights, of a bound on it.
    pub log10_p: f64,
    /// Natural logarithm of the e-value; null with weights by counts.
    pub ln_e: Option<f64>,
    /// What stood beside the input as a whole.
    pub references: Vec<ReferenceLine>,
    /// log10 of a bound for what the references expect, which leans away from the key where it is small; null without references.
    pub references_log10_p: Option<f64>,
    /// Whether no reference leans away from the key; true without references.
    pub references_agree: bool,
    /// log10 of (1 + fresh keys that do as well) / (fresh keys + 1); null where that was not done.
    pub log10_p_resampled: Option<f64>,
    /// After Holm's adjustment over the family; `inconclusive` where fresh keys contradict the tail, or a reference leans away from the key.
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

/// A reference's part in a test.
#[derive(Clone, Debug, Serialize)]
pub struct ReferenceLine {
    /// Where it was read.
    pub name: String,
    /// Digest of the file's bytes, which is what binds a reference before the key.
    pub sha256: String,
    /// `answers` of its own, or `probabilities` along the texts.
    pub shows: &'static str,
    /// Its texts. Answers to prompts that the suspect was not asked count for nothing.
    pub texts: u64,
    /// Tokens that were tested where it says something: whose positions have probabilities, or whose prompts it answers.
    pub covered_tokens: u64,
    /// Tokens that were tested.
    pub tested_tokens: u64,
    /// Its share in the mixture that fits the suspect best, in sixteenths.
    pub share: u32,
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
pub(crate) struct LayerFinding<'a> {
    pub(crate) record: Option<String>,
    pub(crate) layer: &'a LayerDetector,
    pub(crate) numbers: Numbers,
    pub(crate) resampling: Resampling,
    pub(crate) peer: Option<Peer>,
    pub(crate) references: Vec<ReferenceLine>,
}

/// The numbers of a test of a text, by itself or beside references.
pub(crate) struct Numbers {
    n_scored: u64,
    n_duplicate: u64,
    n_excluded: u64,
    n_short_context: u64,
    statistic: String,
    log10_p: f64,
    ln_e: Option<f64>,
    /// Beside references.
    audit: Option<Audit>,
}

impl<'a> LayerFinding<'a> {
    pub(crate) fn new(layer: &'a LayerDetector, numbers: impl Into<Numbers>, resampling: Resampling) -> Self {
        Self { record: None, layer, numbers: numbers.into(), resampling, peer: None, references: Vec::new() }
    }

    fn references_agree(&self) -> bool {
        self.numbers.audit.is_none_or(|audit| audit.references_agree())
    }
}

impl From<Finding> for Numbers {
    fn from(found: Finding) -> Self {
        Self {
            n_scored: found.n_scored,
            n_duplicate: found.n_duplicate,
            n_excluded: found.n_excluded,
            n_short_context: found.n_short_context,
            statistic: found.statistic.to_string(),
            log10_p: found.log10_p,
            ln_e: found.ln_e,
            audit: None,
        }
    }
}

impl From<ModelFinding> for Numbers {
    fn from(found: ModelFinding) -> Self {
        Self {
            n_scored: found.n_scored,
            n_duplicate: found.n_duplicate,
            n_excluded: found.n_excluded,
            n_short_context: found.n_short_context,
            statistic: found.statistic.to_string(),
            log10_p: found.log10_p,
            ln_e: Some(found.ln_e),
            audit: Some(found.audit),
        }
    }
}

/// The lines of a family; also says whether anything is detected.
pub(crate) fn lines(
    tested: Vec<LayerFinding<'_>>,
    weights: Weights,
    alpha: f64,
    family: &str,
) -> (Vec<LayerLine>, bool) {
    let test = |tested: &LayerFinding<'_>| Test {
        scheme: tested.layer.scheme(),
        n_scored: tested.numbers.n_scored,
        log10_p: tested.numbers.log10_p,
        weights,
        references_agree: tested.references_agree(),
        resampling: tested.resampling,
    };
    let conclusions = conclude(&tested.iter().map(test).collect::<Vec<_>>(), alpha);
    let detected = conclusions.iter().any(|conclusion| conclusion.verdict == Verdict::Detected);
    let family_size = tested.len();
    let lines = tested.into_iter().zip(conclusions).map(|(tested, conclusion)| {
        let references_agree = tested.references_agree();
        let LayerFinding { record, layer, numbers, resampling, peer, references } = tested;
        LayerLine {
            record,
            layer: layer.name().map(str::to_owned),
            scheme: layer.scheme().name(),
            n_scored: numbers.n_scored,
            n_duplicate: numbers.n_duplicate,
            n_excluded: numbers.n_excluded,
            n_short_context: numbers.n_short_context,
            weights: weights.as_str(),
            statistic: numbers.statistic,
            log10_p: numbers.log10_p,
            ln_e: numbers.ln_e,
            references,
            references_log10_p: numbers.audit.map(|audit| audit.references_log10_p),
            references_agree,
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
