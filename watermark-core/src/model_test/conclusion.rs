//! The conclusion that follows from the numbers of a model's test. This is the one rule for answer files, probes and
//! evidence bundles.

use super::{Access, Audit, ModelFinding, effect};
use crate::detect::{Effect, Judged, PairWeights, Resampling, Verdict, decide};
use crate::profile::AnyScheme;

/// If more than one in this many registered answers is empty, the test counts as not carried out, because somebody may
/// have chosen which answers to leave out.
pub const EMPTY_ONE_IN: u64 = 20;

/// Which number decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum DecidedBy {
    /// The tail of a fixed sample.
    #[cfg_attr(feature = "serde", serde(rename = "log10_p"))]
    Tail,
    /// The e-value.
    #[cfg_attr(feature = "serde", serde(rename = "ln_e"))]
    EValue,
}

/// The numbers of one model, suspect or control, that a conclusion looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelNumbers {
    /// Distinct pairs.
    pub n_scored: u64,
    /// log10 of the bound for a sample fixed in advance.
    pub log10_p: f64,
    /// Natural logarithm of the e-value.
    pub ln_e: f64,
    /// Whether evidence stopped the collection, or may have.
    pub stopped: bool,
    /// What the prompts leave out; the suspect's decides.
    pub audit: Audit,
    /// How many answers there are. `None` where nobody registered how many there should be, so that none can be missing.
    pub answers: Option<AnswerCounts>,
}

/// The answers of a registered test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerCounts {
    /// All answers.
    pub n: u64,
    /// Answers without text.
    pub n_empty: u64,
}

/// One test of a model under one key and layer.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelTest {
    /// The layer's scheme.
    pub scheme: AnyScheme,
    /// What suspect and controls show.
    pub access: Access,
    /// The model in question.
    pub suspect: ModelNumbers,
    /// The weights of the suspect's pairs. Without them no smallest effect is computed.
    pub pair_weights: Option<PairWeights>,
    /// Unrelated models under the same procedure.
    pub controls: Vec<ModelNumbers>,
    /// The suspect's pairs under fresh keys.
    pub resampling: Resampling,
}

/// The conclusion of one test of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConclusion {
    /// Which number decides about the suspect.
    pub decided_by: DecidedBy,
    /// log10 of the p-value that decides about it.
    pub log10_p: f64,
    /// log10 of the p-value that decides about each control. A control that evidence did not stop is judged by its
    /// tail, even where the suspect is judged by its e-value.
    pub controls_log10_p: Vec<f64>,
    /// Whether none of the m controls has p below 0.01 / m.
    pub controls_agree: bool,
    /// Whether nothing says that the prompts were chosen with the key ([`Audit`]).
    pub exclusion_agrees: bool,
    /// Whether no reference leans away from the key ([`Audit`]).
    pub references_agree: bool,
    /// Whether fresh keys may contradict the tail: only where nothing of the sample could depend on the key.
    pub resampling_decides: bool,
    /// Whether fresh keys agree: they do not contradict the tail, or have no say.
    pub resampling_agrees: bool,
    /// Whether no model left more than one registered answer in [`EMPTY_ONE_IN`] without text.
    pub answers_present: bool,
    /// After Holm's adjustment over the family; `inconclusive` where controls, what is left out, references, fresh keys or empty answers
    /// contradict it.
    pub verdict: Verdict,
    /// For answers with `not_detected`: the smallest effect, the same for all distinct pairs, that the deciding number
    /// would have shown with so many pairs of these weights. `None` where not even pairs that are all ones would have
    /// reached the level.
    pub smallest_effect: Option<Effect>,
}

impl DecidedBy {
    /// The e-value where evidence stopped the collection or may have stopped it, and in reading mode, where the key
    /// decides which contexts occur. Else the tail, which has more power.
    #[must_use]
    pub fn new(access: Access, stopped: bool) -> Self {
        if stopped || access == Access::Reading { Self::EValue } else { Self::Tail }
    }

    /// log10 of the p-value that decides.
    #[must_use]
    pub fn log10_p(self, model: &ModelNumbers) -> f64 {
        match self {
            Self::Tail => model.log10_p,
            Self::EValue => log10_p_anytime(model.ln_e),
        }
    }

    /// The field in output that holds the deciding number.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tail => "log10_p",
            Self::EValue => "ln_e",
        }
    }
}

impl ModelFinding {
    /// The numbers that a conclusion looks at, where nobody registered how many answers there should be.
    #[must_use]
    pub fn numbers(&self, stopped: bool) -> ModelNumbers {
        let Self { n_scored, log10_p, ln_e, audit, .. } = *self;
        ModelNumbers { n_scored, log10_p, ln_e, stopped, audit, answers: None }
    }
}

/// Draws the conclusions of a family of tests of models at family-wise level `alpha` (Holm 1979).
///
/// Null hypothesis of each test: the suspect is independent of the key. One conclusion a test, in order.
#[must_use]
pub fn conclude(tests: &[ModelTest], alpha: f64) -> Vec<ModelConclusion> {
    let mut conclusions: Vec<ModelConclusion> = tests.iter().map(weigh).collect();
    let judged = |(test, found): (&ModelTest, &ModelConclusion)| Judged {
        n_scored: test.suspect.n_scored,
        log10_p: found.log10_p,
        contradicted: !(found.controls_agree
            && found.exclusion_agrees
            && found.references_agree
            && found.resampling_agrees
            && found.answers_present),
    };
    let judged: Vec<Judged> = tests.iter().zip(&conclusions).map(judged).collect();
    // The logarithm of the quotient and not the difference of the logarithms, whose last digits differ: effects that
    // were stated once must stay the same.
    let log10_level = libm::log10(alpha / tests.len().max(1) as f64);
    for ((test, found), verdict) in tests.iter().zip(&mut conclusions).zip(decide(&judged, alpha)) {
        found.verdict = verdict;
        if verdict == Verdict::NotDetected
            && test.access == Access::Answers
            && let Some(pairs) = &test.pair_weights
        {
            let smallest = match found.decided_by {
                DecidedBy::Tail => effect::by_tail,
                DecidedBy::EValue => effect::by_e_value,
            };
            found.smallest_effect = smallest(test.scheme.null_law(), pairs, log10_level);
        }
    }
    conclusions
}

/// Everything that follows from one test by itself. Its verdict stays open until the family is known.
fn weigh(test: &ModelTest) -> ModelConclusion {
    let ModelTest { access, suspect, controls, resampling, .. } = test;
    let decided_by = DecidedBy::new(*access, suspect.stopped);
    let deciding = |control: &ModelNumbers| DecidedBy::new(*access, control.stopped).log10_p(control);
    let controls_log10_p: Vec<f64> = controls.iter().map(deciding).collect();
    let resampling_decides = decided_by == DecidedBy::Tail;
    let present =
        |model: &ModelNumbers| model.answers.is_none_or(|answers| answers.n_empty <= answers.n / EMPTY_ONE_IN);
    ModelConclusion {
        decided_by,
        log10_p: decided_by.log10_p(suspect),
        controls_agree: controls_agree(&controls_log10_p),
        controls_log10_p,
        exclusion_agrees: suspect.audit.agrees(),
        references_agree: suspect.audit.references_agree(),
        resampling_decides,
        resampling_agrees: !(resampling_decides && resampling.contradicts(suspect.log10_p)),
        answers_present: present(suspect) && controls.iter().all(present),
        verdict: Verdict::Inconclusive,
        smallest_effect: None,
    }
}

/// Whether the controls agree: none of `m` controls, unrelated models under the same procedure, may have p below
/// `0.01 / m`. If one has, the procedure is not calibrated and nothing can be said.
pub(super) fn controls_agree(log10_p: &[f64]) -> bool {
    let limit = -2.0 - libm::log10(log10_p.len().max(1) as f64);
    log10_p.iter().all(|&p| p >= limit)
}

/// log10 of the p-value `1 / e` of an e-process (Ville 1939): valid at every time at once.
#[must_use]
pub fn log10_p_anytime(ln_e: f64) -> f64 {
    (-ln_e / std::f64::consts::LN_10).min(0.0) + 0.0
}

/// Whether an e-process, taken as a test of its own, has decided at level `alpha`, so that the collection may stop.
#[must_use]
pub fn e_process_decides(ln_e: f64, alpha: f64) -> bool {
    log10_p_anytime(ln_e) <= libm::log10(alpha)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::detect::Weights;
    use crate::scheme::{Gumbel, Scheme};

    fn model(log10_p: f64, ln_e: f64, stopped: bool) -> ModelNumbers {
        let audit = Audit::default();
        ModelNumbers { n_scored: 1000, log10_p, ln_e, stopped, audit, answers: None }
    }

    fn test(suspect: ModelNumbers, controls: &[ModelNumbers]) -> ModelTest {
        let (scheme, controls) = (Scheme::Gumbel(Gumbel).into(), controls.to_vec());
        let pair_weights = Some(PairWeights::new(Weights::Sqrt, [(1, 900), (2, 100)]));
        let resampling = Resampling::default();
        ModelTest { scheme, access: Access::Answers, suspect, pair_weights, controls, resampling }
    }

    fn alone(test: ModelTest) -> ModelConclusion {
        conclude(&[test], 1e-6).remove(0)
    }

    #[test]
    fn controls() {
        assert!(controls_agree(&[]) && controls_agree(&[-1.9]) && !controls_agree(&[-2.1]));
        assert!(controls_agree(&[-2.1, -0.3]) && !controls_agree(&[-0.3, -2.4]));
        assert!((log10_p_anytime(std::f64::consts::LN_10) + 1.0).abs() < 1e-12 && log10_p_anytime(-3.0).abs() < 1e-300);
    }

    /// A tail decides about a fixed sample, the e-value about one that was stopped; each model by itself.
    #[test]
    fn what_decides() {
        let strong = alone(test(model(-9.0, 0.0, false), &[model(-3.0, 0.0, true)]));
        assert_eq!((strong.decided_by, strong.verdict), (DecidedBy::Tail, Verdict::Detected));
        assert_eq!((strong.log10_p, strong.controls_log10_p), (-9.0, vec![0.0]));
        let stopped = alone(test(model(-9.0, 0.0, true), &[]));
        assert_eq!((stopped.decided_by, stopped.verdict), (DecidedBy::EValue, Verdict::NotDetected));
        assert!(alone(test(model(-0.5, 14.0, true), &[])).verdict == Verdict::Detected);
        assert!(e_process_decides(14.0, 1e-6) && !e_process_decides(13.8, 1e-6));
        let read = ModelTest { access: Access::Reading, ..test(model(-9.0, 0.0, false), &[model(-3.0, 0.0, false)]) };
        let read = alone(read);
        assert_eq!(
            (read.decided_by, read.verdict, read.smallest_effect),
            (DecidedBy::EValue, Verdict::NotDetected, None)
        );
        assert!(read.controls_agree && !read.resampling_decides);
        assert!(stopped.smallest_effect.is_some() && strong.smallest_effect.is_none());
    }

    /// Each of controls, left-out pairs, fresh keys and empty answers makes a strong result inconclusive.
    #[test]
    fn what_contradicts() {
        let strong = model(-9.0, 30.0, false);
        let control = alone(test(strong, &[model(-3.0, 0.0, false)]));
        assert_eq!((control.controls_agree, control.verdict), (false, Verdict::Inconclusive));
        let resampling = Resampling { keys: 999, at_least: 10 };
        let fresh = alone(ModelTest { resampling, ..test(strong, &[]) });
        assert_eq!((fresh.resampling_agrees, fresh.verdict), (false, Verdict::Inconclusive));
        // Which answers a stopped collection has depends on the key, so fresh keys say nothing about it.
        let stopped = alone(ModelTest { resampling, ..test(model(-9.0, 30.0, true), &[]) });
        assert_eq!((stopped.resampling_agrees, stopped.verdict), (true, Verdict::Detected));
        let (agrees, low) = (Audit::default(), -3.1);
        for audit in [Audit { answers_log10_p: low, ..agrees }, Audit { prompts_log10_p: low, ..agrees }] {
            let audited = alone(test(ModelNumbers { audit, ..strong }, &[]));
            assert_eq!((audited.exclusion_agrees, audited.verdict), (false, Verdict::Inconclusive));
        }
        for (n_empty, verdict) in [(3, Verdict::Detected), (4, Verdict::Inconclusive)] {
            let answers = Some(AnswerCounts { n: 60, n_empty });
            let empty = alone(test(ModelNumbers { answers, ..strong }, &[]));
            assert_eq!((empty.answers_present, empty.verdict), (n_empty == 3, verdict));
        }
    }

    /// The effect is that of the number that decides, at the family's strictest level; where somebody only wants the verdict
    /// there is none.
    #[test]
    fn the_effect_of_the_deciding_number() {
        let of = |test: ModelTest| alone(test).smallest_effect.map(|effect| effect.value);
        let (fixed, stopped) = (test(model(-1.0, 0.0, false), &[]), test(model(-1.0, 0.0, true), &[]));
        let pairs = fixed.pair_weights.clone().unwrap();
        let law = fixed.scheme.null_law();
        assert_eq!(of(fixed.clone()), effect::by_tail(law, &pairs, -6.0).map(|effect| effect.value));
        assert_eq!(of(stopped.clone()), effect::by_e_value(law, &pairs, -6.0).map(|effect| effect.value));
        assert!(of(stopped.clone()) > of(fixed.clone()));
        let two = conclude(&[fixed.clone(), stopped], 1e-6);
        assert!(two[0].smallest_effect.map(|effect| effect.value) > of(fixed.clone()));
        assert_eq!(of(ModelTest { pair_weights: None, ..fixed }), None);
    }
}
