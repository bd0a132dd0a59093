//! Whether what prompts keep from being scored leans away from the key.
//!
//! Pairs of prompts are left out of all answers, so whoever knows the key can write prompts that leave out what would speak for an innocent
//! model. The scores of what was left out are then too small, and so are those of the prompts themselves. A mark that a model learned makes
//! the former larger, which is shown and decides nothing. An accuser can balance the two; so this audit replaces no rule for who chooses
//! prompts.

use super::{ScoreClass, Tails};
use crate::Result;
use crate::detect::Weights;
use crate::profile::AnyScheme;
use crate::scheme::NullLaw;

/// A test whose audit reaches this log10 p is not carried out as it should be.
const LIMIT: f64 = -3.0;

/// The pairs that prompts keep from being scored, by how often they occurred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Those that occur in answers, with their (expected) counts there.
    pub answers: Vec<ScoreClass>,
    /// All pairs of prompts and of what answers quote from them, each counted once.
    pub prompts: Vec<ScoreClass>,
}

/// The audit of what was left out, and of what stands beside the suspect.
///
/// Null hypothesis: prompts, answers and references are independent of the key. Small values say that prompts or references were chosen with
/// the key.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Audit {
    /// log10 of a rigorous upper bound of the probability that the left-out pairs of answers, weighted as the scored ones, have scores
    /// as small as theirs.
    pub answers_log10_p: f64,
    /// log10 of such a bound for the pairs of the prompts, each of weight 1.
    pub prompts_log10_p: f64,
    /// log10 of such a bound for what the references expect in the contexts to which the suspect came, with the weights of the test for a suspect
    /// that chose none of it; 0 without references. It is that of their mixture, or, where it is smaller, the smallest one of those that have a
    /// share, times how many these are. References that lean away from the key would accuse anybody; ones that lean towards it only hide what there
    /// is. What they expect varies more by itself than what a suspect does beyond it, so a lean of a few tenths of a nat can accuse and pass here:
    /// controls show it where they share the suspect's contexts, and only a reference that is fixed before the key cannot have one.
    pub references_log10_p: f64,
}

impl LeftOut {
    /// Audits what was left out. Schemes whose pair is neither one bit nor one exponential score have no such audit; it then agrees.
    ///
    /// # Errors
    /// As [`Tails::of_classes`].
    pub fn audit(&self, scheme: AnyScheme, weights: Weights) -> Result<Audit> {
        if !matches!(scheme.null_law(), NullLaw::Bits { trials: 1, .. } | NullLaw::ExponentialQ32) {
            return Ok(Audit::default());
        }
        Ok(Audit {
            answers_log10_p: Tails::low_of_classes(scheme, &self.answers, weights)?,
            prompts_log10_p: Tails::low_of_classes(scheme, &self.prompts, Weights::None)?,
            references_log10_p: 0.0,
        })
    }
}

impl Audit {
    /// This audit with that of references: log10 of the bound of each thing that they expect, the mixture's first
    /// ([`super::TwoSamples::expected_classes`]).
    #[must_use]
    pub fn beside(self, log10_p: &[f64]) -> Self {
        let (mixture, each) = log10_p.split_first().map_or((0.0, &[][..]), |(mixture, each)| (*mixture, each));
        // Any of them could have been the smallest. The mixture alone makes the test, so more references must not lower its level.
        let smallest = each.iter().copied().fold(0.0, f64::min) + libm::log10(each.len().max(1) as f64);
        Self { references_log10_p: mixture.min(smallest).min(0.0), ..self }
    }

    /// Whether nothing speaks for prompts that were chosen with the key.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.answers_log10_p >= LIMIT && self.prompts_log10_p >= LIMIT
    }

    /// Whether no reference leans away from the key more than chance explains.
    #[must_use]
    pub fn references_agree(&self) -> bool {
        self.references_log10_p >= LIMIT
    }
}
