use super::registration::{Registration, Stopping};
use super::statement::{Predicate, ResamplingEvidence, SampleEvidence};
use super::verify::Bundle;
use crate::detect::{PairWeights, Resampling};
use crate::model_test::{self, AnswerCounts, ModelConclusion, ModelNumbers, ModelTest};
use crate::profile::AnyScheme;

impl SampleEvidence {
    /// The numbers that a conclusion looks at.
    #[must_use]
    pub fn numbers(&self) -> ModelNumbers {
        let &Self { n_scored, log10_p, ln_e, stopped, n_empty, .. } = self;
        let answers = Some(AnswerCounts { n: self.records.count, n_empty });
        ModelNumbers { n_scored, log10_p, ln_e, stopped, answers }
    }
}

impl Bundle {
    /// What follows from the numbers that the bundle states, whatever conclusion it states: which number decides about each
    /// model too, and its value.
    #[must_use]
    pub fn conclusion(&self) -> ModelConclusion {
        let Predicate { suspect, controls, resampling, .. } = &self.statement.predicate;
        conclude(&self.registration, self.layer.scheme, suspect, controls, resampling)
    }
}

/// What follows from the numbers of all samples under a registration: the rule of every test of a model
/// ([`model_test::conclude`]), for a family of one.
#[must_use]
pub fn conclude(
    registration: &Registration,
    scheme: AnyScheme,
    suspect: &SampleEvidence,
    controls: &[SampleEvidence],
    resampling: &ResamplingEvidence,
) -> ModelConclusion {
    // A registered e-process may have been stopped by its evidence, whatever the suspect's data say.
    let stopped = registration.stopping == Stopping::EProcess || suspect.stopped;
    let counts = suspect.classes.iter().map(|class| (class.count, class.pairs));
    let test = ModelTest {
        scheme,
        access: registration.access,
        suspect: ModelNumbers { stopped, ..suspect.numbers() },
        pair_weights: Some(PairWeights::new(registration.weights, counts)),
        controls: controls.iter().map(SampleEvidence::numbers).collect(),
        resampling: Resampling { keys: resampling.keys, at_least: resampling.at_least },
    };
    model_test::conclude(&[test], registration.alpha).remove(0)
}
