use super::fault::{Code, Fault, fault};
use super::record::RecordsDigest;
use super::statement::{ReferenceEvidence, ReferencesEvidence, SampleEvidence};
use super::verify::{Bundle, MAX_CLASSES, MAX_PAIRS, close};
use crate::detect::Weights;
use crate::model_test::{Audit, Tails};

/// Parts of which the shares of references are multiples.
const PARTS: u64 = 16;

impl ReferencesEvidence {
    /// log10 p of the references' own tests together: the one of a suspect's audit.
    pub(super) fn log10_p(models: &[ReferenceEvidence]) -> f64 {
        Audit::of_references(&models.iter().map(|reference| reference.log10_p).collect::<Vec<f64>>())
    }
}

impl Bundle {
    /// The references, in the registered order; none where the test has none.
    #[must_use]
    pub fn references(&self) -> &[ReferenceEvidence] {
        self.statement.predicate.references.as_ref().map_or(&[], |references| &references.models)
    }

    /// Every model with its records: suspect, controls, references, in the order of the statement's subjects.
    pub fn models(&self) -> impl Iterator<Item = (&str, &RecordsDigest)> {
        let tested = self.samples().map(|sample| (sample.model.as_str(), &sample.records));
        tested.chain(self.references().iter().map(|reference| (reference.model.as_str(), &reference.records)))
    }

    /// Whether references, their files and what stands beside them are the registered ones.
    pub(super) fn check_registered_references(&self, faults: &mut Vec<Fault>) {
        let registered = &self.registration.references;
        let files = self.statement.subject.iter().skip(self.samples().count()).map(|subject| subject.digest.sha256);
        let named = self.references().iter().map(|reference| &reference.model).zip(files);
        let models = registered.iter().map(|reference| (&reference.model, reference.sha256));
        let is_beside = |sample: &SampleEvidence| sample.residuals.is_some() != registered.is_empty();
        if !named.eq(models)
            || self.statement.predicate.references.is_some() == registered.is_empty()
            || !self.samples().all(is_beside)
        {
            faults.push(fault(
                Code::Registered,
                "the references are not the registered ones, in order, each with its file",
            ));
        }
        if !registered.is_empty() && self.statement.predicate.suspect.stopped {
            faults.push(fault(Code::Registered, "a sample that was stopped has no test beside references"));
        }
    }

    /// Whether the counts and the number of one reference can be.
    pub(super) fn check_reference(&self, reference: &ReferenceEvidence, faults: &mut Vec<Fault>) {
        let named = |what: &str| format!("{:?}: {what}", reference.model);
        let pairs = reference.classes.iter().map(|class| u128::from(class.pairs)).sum::<u128>();
        let chosen =
            reference.classes.iter().map(|class| u128::from(class.pairs) * u128::from(class.count)).sum::<u128>();
        if !self.possible(&reference.classes) || pairs >= MAX_PAIRS.into() || chosen > reference.tokens.into() {
            faults.push(fault(Code::Tally, named("the classes do not fit the tokens")));
        }
        match Tails::low_of_classes(self.layer.scheme, &reference.score_classes(), Weights::Residual) {
            Err(error) => faults.push(fault(Code::Tally, named(&error.to_string()))),
            Ok(log10_p) if close(reference.log10_p, log10_p) => (),
            Ok(_) => faults.push(fault(Code::Tail, named("log10_p does not follow from the classes"))),
        }
    }

    /// What is wrong with a sample's residuals, apart from sums and numbers.
    pub(super) fn impossible_residuals(&self, sample: &SampleEvidence) -> bool {
        let Some(residuals) = &sample.residuals else { return false };
        let shares: u64 = residuals.mixture.iter().map(|&share| u64::from(share)).sum();
        let pairs = residuals.classes.iter().map(|class| u128::from(class.pairs)).sum::<u128>();
        let most = u128::from(self.largest_score());
        residuals.mixture.len() != self.registration.references.len()
            || shares != PARTS
            || pairs >= MAX_PAIRS.into()
            || residuals.classes.len() > MAX_CLASSES
            || !residuals.classes.iter().all(|class| class.score.0 <= most * u128::from(class.pairs))
    }
}
