//! The evidence in the answers so far.

use anyhow::{Result, bail};
use watermark_core::model_test::{Access, Collection, ModelSample, e_process_decides};

use crate::ids::Vocabulary;
use crate::model_test::{Item, Material, ModelLine, Options, TestedLayer, add_round, items, judge};
use crate::transcript::{Api, Exchange};

/// The evidence after a complete round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Natural logarithm of the anytime-valid e-value.
    pub ln_e: f64,
    /// Distinct pairs behind it.
    pub n_scored: u64,
    /// The value at which it decides: ln(1/alpha).
    pub threshold_ln: f64,
    /// Whether the evidence has reached that value.
    pub decided: bool,
}

/// The test of one layer, round by round ([`ModelSample`]): every pair counts once, with the weight of its first round, unless it
/// occurs in a prompt of that round or an earlier one.
pub struct Judge<'a> {
    tested: &'a TestedLayer,
    vocabulary: Vocabulary<'a>,
    api: Api,
    options: Options,
    sample: ModelSample,
    material: Material,
}

impl<'a> Judge<'a> {
    /// A judge that has seen no round yet.
    #[must_use]
    pub fn new(tested: &'a TestedLayer, vocabulary: Vocabulary<'a>, api: Api, options: Options) -> Self {
        let sample = options.access.sample(&tested.layer);
        let material = Material { stopped: true, collection: Collection::NotWitnessed, ..Material::default() };
        Self { tested, vocabulary, api, options, sample, material }
    }

    /// Adds the exchanges of one complete round, in the order of their prompts.
    ///
    /// # Errors
    /// If an answer cannot be read or tokenised.
    pub fn add_round(&mut self, exchanges: &[Exchange]) -> Result<Standing> {
        let round = items(self.api, exchanges, self.options.access, self.vocabulary)?;
        let silent = |item: &Item| item.choices.iter().all(Vec::is_empty);
        if self.options.access == Access::Logprobs && !round.is_empty() && round.iter().all(silent) {
            bail!(
                "the server sent no log-probabilities that fit its answers; drop --logprobs and choose another folder"
            );
        }
        add_round(&mut self.sample, &self.tested.layer, self.options.access, &round)?;
        self.material.rounds.push(round);
        let finding = self.sample.test(&self.tested.layer)?;
        Ok(Standing {
            ln_e: finding.ln_e,
            n_scored: finding.n_scored,
            threshold_ln: -self.options.alpha.ln(),
            decided: e_process_decides(finding.ln_e, self.options.alpha),
        })
    }

    /// The test as `watermark test-model` gives it for the transcript.
    ///
    /// # Errors
    /// As [`judge`].
    pub fn line(&self) -> Result<ModelLine> {
        let (mut lines, _) =
            judge(std::slice::from_ref(self.tested), &self.material, &[], &[], &self.options, |_| Ok(()))?;
        lines.pop().ok_or_else(|| anyhow::anyhow!("no layer"))
    }
}
