use super::fault::{Code, Fault, fault};
use super::measure::audit;
use super::record::RecordsDigest;
use super::statement::{ExpectedEvidence, ReferenceEvidence, SampleEvidence};
use super::verify::{Bundle, MAX_CLASSES, MAX_PAIRS, close};
use crate::detect::Weights;
use crate::model_test::{MIXTURE_PARTS, Tails};
use crate::stats::leading_bits;

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
        // The mixture, and each of several.
        let n = references.models.len();
        if references.expected.len() != if n > 1 { n + 1 } else { n } {
            faults.push(fault(Code::Tally, "not the mixture, and each of several references, has what it expects"));
        }
        references.expected.iter().for_each(|one| self.check_expected(one, faults));
        if !close(references.log10_p, audit(&references.expected).references_log10_p) {
            faults.push(fault(Code::Tail, "the references' log10_p does not follow from those of what they expect"));
        }
    }

    fn check_expected(&self, expected: &ExpectedEvidence, faults: &mut Vec<Fault>) {
        let pairs = expected.classes.iter().map(|class| u128::from(class.pairs)).sum::<u128>();
        let is_cut = expected.classes.iter().all(|class| leading_bits(class.count) == class.count);
        if !self.possible(&expected.classes) || pairs >= MAX_PAIRS.into() || !is_cut {
            faults.push(fault(Code::Tally, "the classes of what the references expect cannot be"));
        }
        match Tails::low_of_classes(self.layer.scheme, &expected.score_classes(), Weights::Expected) {
            Err(error) => faults.push(fault(Code::Tally, format!("what the references expect: {error}"))),
            Ok(log10_p) if close(expected.log10_p, log10_p) => (),
            Ok(_) => {
                faults.push(fault(Code::Tail, "log10_p of what references expect does not follow from its classes"));
            }
        }
    }

    /// What is wrong with a sample's residuals, apart from sums and numbers.
    pub(super) fn impossible_residuals(&self, sample: &SampleEvidence) -> bool {
        let Some(residuals) = &sample.residuals else { return false };
        let shares: u64 = residuals.mixture.iter().map(|&share| u64::from(share)).sum();
        let pairs = residuals.classes.iter().map(|class| u128::from(class.pairs)).sum::<u128>();
        let most = u128::from(self.largest_score());
        // A mixture of its own could keep a control away from a reference that accuses.
        let of_suspect = self.statement.predicate.suspect.residuals.as_ref().map(|residuals| &residuals.mixture);
        Some(&residuals.mixture) != of_suspect
            || residuals.mixture.len() != self.registration.references.len()
            || shares != u64::from(MIXTURE_PARTS)
            || pairs >= MAX_PAIRS.into()
            || residuals.classes.len() > MAX_CLASSES
            || !residuals.classes.iter().all(|class| class.score.0 <= most * u128::from(class.pairs))
    }
}
