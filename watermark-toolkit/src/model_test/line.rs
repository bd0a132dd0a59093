use serde::Serialize;
use watermark_core::detect::{Effect, LayerDetector, Verdict, Weights};
use watermark_core::model_test::{
    Access, Collection, DecidedBy, ModelConclusion, ModelFinding, ModelNumbers, ModelTest,
};

use super::Material;
use crate::detect::ReferenceLine;
use crate::plan::{self, Curves, Dose, Sample};

/// One layer's test of a suspect model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelLine {
    /// The layer's name; null for a raw PRF key.
    pub layer: Option<String>,
    /// The scheme's name.
    pub scheme: &'static str,
    /// `shared`, or `reserved` for keys of quarantined and honeypot accounts only.
    pub keys: &'static str,
    /// What the suspect shows.
    pub access: Access,
    /// Texts of the suspect, or of ours that it read.
    pub texts: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Texts that came without a prompt: what they quote from marked text cannot be excluded.
    pub without_prompt: u64,
    /// Rounds of the collection.
    pub rounds: u64,
    /// `sqrt` of counts, `expected` ones where the suspect shows probabilities, or `residual` beside references.
    pub weights: &'static str,
    /// The unmarked models that the suspect stands beside.
    pub references: Vec<ReferenceLine>,
    /// Distinct pairs that the statistic weighs: all that the suspect chose, or beside references all whose residual is not 0.
    pub n_scored: u64,
    /// Distinct pairs that the suspect chose, of which `score` and `log10_p_distinct` are.
    pub n_chosen: u64,
    /// Further occurrences of chosen pairs.
    pub n_duplicate: u64,
    /// Special tokens, pairs in a prompt, what an answer repeats of itself, and in reading mode contexts that an earlier text or
    /// the input had shown.
    pub n_excluded: u64,
    /// Positions without a full context.
    pub n_short_context: u64,
    /// Unweighted sum of scores of the chosen pairs: green ones, or units of 2^-32.
    pub score: String,
    /// Sum of weight times score, weights in units of 2^-16.
    pub statistic: String,
    /// log10 of a rigorous bound of the tail of a fixed sample, or of several looks together; for comparison only where `decided_by` is
    /// `ln_e`.
    pub log10_p: f64,
    /// Looks at a collection that its evidence may have stopped, beside references; null for one fixed sample.
    pub looks: Option<Looks>,
    /// log10 of the exact tail with every pair of weight 1, for comparison.
    pub log10_p_distinct: f64,
    /// Natural logarithm of the e-value after the last round, or of all looks together.
    pub ln_e: f64,
    /// log10 of (1 + fresh keys that do as well) / (fresh keys + 1); null where that was not done.
    pub log10_p_resampled: Option<f64>,
    /// Whether fresh keys may contradict the tail: only where nothing of the sample could depend on the key.
    pub resampling_decides: bool,
    /// `log10_p`, or `ln_e` where evidence stopped the collection or may have, and in reading mode, whose sample depends on the key.
    pub decided_by: DecidedBy,
    /// Unrelated models under the same procedure.
    pub controls: Vec<Control>,
    /// None of the m controls has p below 0.01 / m.
    pub controls_agree: bool,
    /// log10 of a bound of the probability that the answers' pairs which prompts leave out have scores as small as theirs.
    pub left_out_log10_p: f64,
    /// The same of the prompts' own pairs.
    pub prompts_log10_p: f64,
    /// Whether neither is below -3, so that nothing says that prompts were chosen with the key.
    pub exclusion_agrees: bool,
    /// log10 of a bound of the probability that the references lean away from the key as they do; null without references.
    pub references_log10_p: Option<f64>,
    /// Whether that is not below -3, so that nothing says that a reference was chosen with the key.
    pub references_agree: bool,
    /// After Holm's adjustment over the family; `inconclusive` where controls, what is left out, references or fresh keys contradict it.
    pub verdict: Verdict,
    /// With `not_detected` answers: the smallest effect, the same for all distinct pairs, that the deciding number would have
    /// shown with a power of 80 %.
    pub smallest_effect: Option<Effect>,
    /// Level of the family.
    pub alpha: f64,
    /// Number of tests in the family.
    pub family_size: usize,
    /// Shares of marked training answers that would show about as much in the laboratory; an estimate, no part of the verdict.
    /// Null for layers and sizes that were not measured.
    pub dose: Option<Dose>,
    /// Who collected, as far as this input can tell.
    pub collection: Collection,
}

/// Looks at a collection after 1, 2, 4, … rounds ([`watermark_core::model_test::looks`]).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Looks {
    /// How many were taken. p and e are those of all of them together, whatever ended the collection.
    pub taken: usize,
    /// Rounds at the look whose pairs stand here, that of the smallest p; null where no round was complete.
    pub rounds: Option<u64>,
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
pub(super) struct SuspectFinding<'a> {
    pub(super) layer: &'a LayerDetector,
    pub(super) reserved: bool,
    pub(super) finding: ModelFinding,
    pub(super) references: Vec<ReferenceLine>,
    pub(super) looks: Option<Looks>,
}

impl SuspectFinding<'_> {
    /// The line of a test with what follows from it in a family of `family_size`.
    pub(super) fn line(
        self,
        suspect: &Material,
        controls: &[Material],
        alpha: f64,
        family_size: usize,
        test: &ModelTest,
        conclusion: ModelConclusion,
    ) -> ModelLine {
        let Self { layer, reserved, finding, references, looks } = self;
        let beside = !references.is_empty();
        let alone = if test.access == Access::Answers { Weights::Sqrt } else { Weights::Expected };
        let controls = controls.iter().zip(&test.controls).zip(conclusion.controls_log10_p);
        let control = |((material, numbers), log10_p): ((&Material, &ModelNumbers), f64)| Control {
            name: material.name.clone(),
            n_scored: numbers.n_scored,
            log10_p,
            ln_e: numbers.ln_e,
        };
        ModelLine {
            layer: layer.name().map(str::to_owned),
            scheme: layer.scheme().name(),
            keys: if reserved { "reserved" } else { "shared" },
            access: test.access,
            texts: suspect.texts(),
            tokens: suspect.tokens(),
            without_prompt: suspect.without_prompt(),
            rounds: suspect.rounds.len() as u64,
            weights: if beside { "residual" } else { alone.as_str() },
            references,
            n_scored: finding.n_scored,
            n_chosen: finding.n_chosen,
            n_duplicate: finding.n_duplicate,
            n_excluded: finding.n_excluded,
            n_short_context: finding.n_short_context,
            score: finding.score.to_string(),
            statistic: finding.statistic.to_string(),
            log10_p: finding.log10_p,
            looks,
            log10_p_distinct: finding.log10_p_distinct,
            ln_e: finding.ln_e,
            log10_p_resampled: test.resampling.log10_p(),
            resampling_decides: conclusion.resampling_decides,
            decided_by: conclusion.decided_by,
            controls: controls.map(control).collect(),
            controls_agree: conclusion.controls_agree,
            left_out_log10_p: finding.audit.answers_log10_p,
            prompts_log10_p: finding.audit.prompts_log10_p,
            exclusion_agrees: conclusion.exclusion_agrees,
            references_log10_p: beside.then_some(finding.audit.references_log10_p),
            references_agree: conclusion.references_agree,
            verdict: conclusion.verdict,
            smallest_effect: conclusion.smallest_effect,
            alpha,
            family_size,
            // The curves that a dose is read off are of samples without a reference.
            dose: if beside { None } else { dose(layer, test.access, suspect, finding.log10_p) },
            collection: suspect.collection,
        }
    }
}

fn dose(layer: &LayerDetector, access: Access, suspect: &Material, log10_p: f64) -> Option<Dose> {
    // A dose is read off curves of one layer, for the tail of a fixed sample of one round. Reading has no such sample.
    let measured = plan::is_measured(layer.scheme(), layer.width()) && access != Access::Reading;
    if !measured || suspect.rounds.len() != 1 {
        return None;
    }
    Curves::measured(access, Sample::Fixed, None).ok()?.dose(suspect.tokens() as f64, -log10_p)
}
