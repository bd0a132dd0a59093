use super::condition::{Condition, Standing};
use super::registration::{Registration, Stopping};
use super::statement::{LeftOut, Predicate, ReferencesEvidence, ResamplingEvidence, SampleEvidence};
use super::verify::Bundle;
use crate::detect::{PairWeights, Resampling, Verdict};
use crate::model_test::{self, AnswerCounts, Audit, ModelConclusion, ModelNumbers, ModelTest};
use crate::profile::AnyScheme;

impl SampleEvidence {
    /// The numbers that a conclusion looks at.
    #[must_use]
    pub fn numbers(&self) -> ModelNumbers {
        let &Self { n_scored, log10_p, ln_e, stopped, n_empty, .. } = self;
        let answers = Some(AnswerCounts { n: self.records.count, n_empty });
        let LeftOut { answers_log10_p, prompts_log10_p, .. } = self.left_out;
        let audit = Audit { answers_log10_p, prompts_log10_p, ..Audit::default() };
        ModelNumbers { n_scored, log10_p, ln_e, stopped, audit, answers }
    }
}

impl Bundle {
    /// What follows from the numbers that the bundle states, whatever conclusion it states: which number decides about each
    /// model too, and its value.
    #[must_use]
    pub fn conclusion(&self) -> ModelConclusion {
        let Predicate { suspect, controls, references, resampling, .. } = &self.statement.predicate;
        let conditions = self.conditions();
        let scheme = self.layer.scheme;
        conclude(&self.registration, scheme, suspect, controls, references.as_ref(), resampling, &conditions)
    }
}

/// What follows from the numbers of all samples under a registration: the rule of every test of a model
/// ([`model_test::conclude`]). The level is divided by the number of committed keys, because any of them could have been registered, and a
/// condition that fails leaves nothing to conclude.
#[must_use]
pub fn conclude(
    registration: &Registration,
    scheme: AnyScheme,
    suspect: &SampleEvidence,
    controls: &[SampleEvidence],
    references: Option<&ReferencesEvidence>,
    resampling: &ResamplingEvidence,
    conditions: &[Condition],
) -> ModelConclusion {
    // A registered e-process may have been stopped by its evidence, whatever the suspect's data say.
    let stopped = registration.stopping == Stopping::EProcess || suspect.stopped;
    // A test that asks everything was not stopped, whatever the data of a control say: a weaker number must not hide that it disagrees.
    let of_control = |control: &SampleEvidence| {
        let numbers = control.numbers();
        ModelNumbers { stopped: numbers.stopped && registration.stopping == Stopping::EProcess, ..numbers }
    };
    let mut numbers = suspect.numbers();
    if let Some(references) = references {
        numbers.audit.references_log10_p = references.log10_p;
    }
    let counts = suspect.classes.iter().map(|class| (class.count, class.pairs));
    let test = ModelTest {
        scheme,
        access: registration.access,
        suspect: ModelNumbers { stopped, ..numbers },
        // The same effect for all pairs would cancel out of residuals.
        pair_weights: references.is_none().then(|| PairWeights::new(registration.weights, counts)),
        controls: controls.iter().map(of_control).collect(),
        resampling: Resampling { keys: resampling.keys, at_least: resampling.at_least },
    };
    let mut conclusion = model_test::conclude(&[test], registration.level()).remove(0);
    if conditions.iter().any(|condition| condition.standing == Standing::Fails) {
        conclusion.verdict = Verdict::Inconclusive;
        conclusion.smallest_effect = None;
    }
    conclusion
}
