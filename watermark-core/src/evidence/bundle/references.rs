use super::fault::{Code, Fault, fault};
use super::measure::audit;
use super::record::RecordsDigest;
use super::statement::{ExpectedEvidence, ReferenceEvidence, SampleEvidence, SignedClassEvidence};
use super::verify::{Bundle, MAX_CLASSES, MAX_PAIRS, close};
use crate::model_test::{MIXTURE_PARTS, ResidualTails};

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

    /// Whether what the references answered and expect can be.
    pub(super) fn check_references(&self, faults: &mut Vec<Fault>) {
        let Some(references) = &self.statement.predicate.references else { return };
        for reference in &references.models {
            let ReferenceEvidence { n_prompts, n_empty, records, .. } = reference;
            if n_prompts > &records.count || n_empty > &records.count {
                faults.push(fault(
                    Code::Tally,
                    format!("{:?}: more prompts or empty answers than answers", reference.model),
                ));
            }
        }
        // The mixture, and each of several with a share.
        let shares = self.statement.predicate.suspect.residuals.iter().flat_map(|residuals| &residuals.mixture);
        let shared = shares.filter(|share| **share > 0).count();
        if references.expected.len() != 1 + if shared > 1 { shared } else { 0 } {
            faults.push(fault(
                Code::Tally,
                "not the mixture, and each of several references with a share, has what it expects",
            ));
        }
        references.expected.iter().for_each(|one| self.check_expected(one, faults));
        if !close(references.log10_p, audit(&references.expected).references_log10_p) {
            faults.push(fault(Code::Tail, "the references' log10_p does not follow from those of what they expect"));
        }
    }

    fn check_expected(&self, expected: &ExpectedEvidence, faults: &mut Vec<Fault>) {
        if self.impossible(&expected.classes) || expected.classes.iter().any(|class| class.weight > 0) {
            faults.push(fault(Code::Tally, "the classes of what the references expect cannot be"));
        }
        match ResidualTails::of_classes(self.layer.scheme, &expected.signed_classes()) {
            Err(error) => faults.push(fault(Code::Tally, format!("what the references expect: {error}"))),
            Ok(tails) if close(expected.log10_p, tails.log10_p) => (),
            Ok(_) => {
                faults.push(fault(Code::Tail, "log10_p of what references expect does not follow from its classes"));
            }
        }
    }

    /// What is wrong with a sample's residuals, apart from sums and numbers.
    pub(super) fn impossible_residuals(&self, sample: &SampleEvidence) -> bool {
        let Some(residuals) = &sample.residuals else { return false };
        let shares: u64 = residuals.mixture.iter().map(|&share| u64::from(share)).sum();
        // A mixture of its own could keep a control away from a reference that accuses.
        let of_suspect = self.statement.predicate.suspect.residuals.as_ref().map(|residuals| &residuals.mixture);
        Some(&residuals.mixture) != of_suspect
            || residuals.mixture.len() != self.registration.references.len()
            || shares != u64::from(MIXTURE_PARTS)
            || self.impossible(&residuals.classes)
    }

    /// Whether classes by weight have more classes, pairs or scores than any test.
    fn impossible(&self, classes: &[SignedClassEvidence]) -> bool {
        let pairs = classes.iter().map(|class| u128::from(class.pairs)).sum::<u128>();
        let most = u128::from(self.largest_score());
        pairs >= MAX_PAIRS.into()
            || classes.len() > MAX_CLASSES
            || !classes.iter().all(|class| class.score.0 <= most * u128::from(class.pairs))
    }
}
