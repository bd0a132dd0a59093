use serde::Serialize;
use watermark_core::detect::{LayerDetector, RESAMPLING_KEYS, Resampling, Test, Verdict};
use watermark_core::distill::ModelFinding;

use super::{Access, Material, Options, agree, by_e, deciding, resampling_decides};
use crate::detect::Effect;
use crate::plan::{self, Curves, Dose, Sample};

/// One layer's test of a suspect model.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The layer's name; null for a raw PRF key.
    pub layer: Option<String>,
    /// The scheme's name.
    pub scheme: &'static str,
    /// `shared`, or `reserved` for keys of quarantined and honeypot accounts only.
    pub keys: &'static str,
    /// `answers`, `logprobs` or `reading`.
    pub access: &'static str,
    /// Texts of the suspect, or of ours that it read.
    pub texts: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Texts that came without a prompt: what they quote from marked text cannot be excluded.
    pub without_prompt: u64,
    /// Rounds of the collection.
    pub rounds: u64,
    /// Distinct pairs.
    pub n_scored: u64,
    /// Further occurrences of scored pairs.
    pub n_duplicate: u64,
    /// Special tokens, pairs in a prompt, and in reading mode contexts that the input had shown.
    pub n_excluded: u64,
    /// Positions without a full context.
    pub n_short_context: u64,
    /// Unweighted sum of scores: green pairs, or units of 2^-32.
    pub score: String,
    /// Sum of weight times score, weights in units of 2^-16.
    pub statistic: String,
    /// log10 of a rigorous bound of the tail of a fixed sample; for comparison only where `decided_by` is `ln_e`.
    pub log10_p: f64,
    /// log10 of the exact tail with every pair of weight 1, for comparison.
    pub log10_p_distinct: f64,
    /// Natural logarithm of the e-value after the last round.
    pub ln_e: f64,
    /// log10 of (1 + fresh keys that do as well) / (fresh keys + 1); null where that was not done.
    pub log10_p_resampled: Option<f64>,
    /// Whether fresh keys may contradict the tail: only where nothing of the sample could depend on the key.
    pub resampling_decides: bool,
    /// `log10_p`, or `ln_e` where evidence stopped the collection or may have, and in reading mode, whose sample depends on the key.
    pub decided_by: &'static str,
    /// Unrelated models under the same procedure.
    pub controls: Vec<Control>,
    /// None of the m controls has p below 0.01 / m.
    pub controls_agree: bool,
    /// After Holm's adjustment over the family; `inconclusive` where controls or fresh keys contradict it.
    pub verdict: &'static str,
    /// With `not_detected` answers: the smallest effect that the exact tail of so many distinct pairs would have shown with a
    /// power of 80 %; what the weighted test misses is about as large.
    pub smallest_effect: Option<Effect>,
    /// Level of the family.
    pub alpha: f64,
    /// Number of tests in the family.
    pub family_size: usize,
    /// Shares of marked training answers that would show about as much in the laboratory; an estimate, no part of the verdict.
    /// Null for layers and sizes that were not measured.
    pub dose: Option<Dose>,
    /// Who collected, as far as this input can tell.
    pub collection: &'static str,
}

/// A control's test.
#[derive(Clone, Debug, Serialize)]
pub struct Control {
    /// Where its answers were read.
    pub name: String,
    /// Distinct pairs.
    pub n_scored: u64,
    /// log10 of the p-value that would decide.
    pub log10_p: f64,
    /// Natural logarithm of its e-value.
    pub ln_e: f64,
}

/// A finding with what goes on its line.
pub(super) struct Found<'a> {
    pub(super) layer: &'a LayerDetector,
    pub(super) reserved: bool,
    pub(super) finding: ModelFinding,
    pub(super) resampling: Resampling,
    pub(super) controls: Vec<Control>,
}

impl Found<'_> {
    pub(super) fn test(&self, suspect: &Material, options: &Options) -> Test {
        let contradicted = resampling_decides(options.access, suspect.stopped)
            && self.resampling.keys >= RESAMPLING_KEYS.into()
            && self.resampling.disagrees_with(self.finding.log10_p);
        Test {
            n_scored: self.finding.n_scored,
            log10_p: deciding(&self.finding, options.access, suspect.stopped),
            disagrees: contradicted || !agree(&self.controls),
        }
    }

    pub(super) fn line(self, suspect: &Material, options: &Options, family_size: usize, verdict: Verdict) -> Line {
        let Self { layer, reserved, finding, resampling, controls } = self;
        let level = (options.alpha / family_size.max(1) as f64).log10();
        // An effect of distinct pairs: where they reach the level and the weighted sum does not, it would be contradicted.
        let missed =
            verdict == Verdict::NotDetected && options.access == Access::Answers && finding.log10_p_distinct > level;
        let smallest = missed.then(|| layer.smallest_effect(finding.n_scored, level)).flatten();
        Line {
            layer: layer.name().map(str::to_owned),
            scheme: layer.scheme().name(),
            keys: if reserved { "reserved" } else { "shared" },
            access: options.access.as_str(),
            texts: suspect.texts(),
            tokens: suspect.tokens(),
            without_prompt: suspect.without_prompt(),
            rounds: suspect.rounds.len() as u64,
            n_scored: finding.n_scored,
            n_duplicate: finding.n_duplicate,
            n_excluded: finding.n_excluded,
            n_short_context: finding.n_short_context,
            score: finding.score.to_string(),
            statistic: finding.statistic.to_string(),
            log10_p: finding.log10_p,
            log10_p_distinct: finding.log10_p_distinct,
            ln_e: finding.ln_e,
            log10_p_resampled: resampling.log10_p(),
            resampling_decides: resampling_decides(options.access, suspect.stopped),
            decided_by: if by_e(options.access, suspect.stopped) { "ln_e" } else { "log10_p" },
            controls_agree: agree(&controls),
            controls,
            smallest_effect: smallest.map(Effect::from),
            verdict: verdict.as_str(),
            alpha: options.alpha,
            family_size,
            dose: dose(layer, options.access, suspect, finding.log10_p),
            collection: suspect.collection.as_str(),
        }
    }
}

fn dose(layer: &LayerDetector, access: Access, suspect: &Material, log10_p: f64) -> Option<Dose> {
    // Curves are those of one layer, by the size of a sample that is one round.
    if !plan::is_measured(layer.scheme(), layer.width()) || suspect.rounds.len() != 1 {
        return None;
    }
    let access = match access {
        Access::Answers => plan::Access::Answers,
        Access::Logprobs => plan::Access::Logprobs,
        // The curves of reading pool all texts; its test does not.
        Access::Reading => return None,
    };
    Curves::measured(access, Sample::Fixed).ok()?.dose(suspect.tokens() as f64, -log10_p)
}
