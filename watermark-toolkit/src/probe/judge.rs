//! The evidence in the answers so far.

use std::f64::consts::LN_10;

use anyhow::{Result, bail};
use watermark_core::model_test::{Access, Collection, ModelSample, e_process_decides, looks};

use crate::ids::Vocabulary;
use crate::model_test::{Item, Material, ModelLine, Options, Reference, TestedLayer, add_round, items, judge};
use crate::transcript::{Api, Exchange};

/// The evidence after a complete round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Natural logarithm of the anytime-valid e-value; beside references that of 1/p over all looks so far.
    pub ln_e: f64,
    /// Distinct pairs behind it.
    pub n_scored: u64,
    /// The value at which it decides: ln(1/alpha).
    pub threshold_ln: f64,
    /// Whether the evidence has reached that value.
    pub decided: bool,
}

/// The test of one layer, round by round ([`ModelSample`]): every pair counts once, with the weight of its first round, unless it
/// occurs in a prompt of that round or an earlier one. Beside references, weights change with every answer, so the evidence is looked at after 1,
/// 2, 4, … rounds ([`looks`]).
pub struct Judge<'a> {
    tested: &'a TestedLayer,
    vocabulary: Vocabulary<'a>,
    api: Api,
    options: Options,
    sample: ModelSample,
    material: Material,
    references: Vec<Reference>,
    standing: Standing,
}

impl<'a> Judge<'a> {
    /// A judge that has seen no round yet.
    #[must_use]
    pub fn new(
        tested: &'a TestedLayer,
        vocabulary: Vocabulary<'a>,
        api: Api,
        options: Options,
        references: Vec<Reference>,
    ) -> Self {
        let sample = options.access.sample(&tested.layer);
        let material = Material { stopped: true, collection: Collection::NotWitnessed, ..Material::default() };
        let standing = Standing { ln_e: 0.0, n_scored: 0, threshold_ln: -options.alpha.ln(), decided: false };
        Self { tested, vocabulary, api, options, sample, material, references, standing }
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
        if self.references.is_empty() {
            add_round(&mut self.sample, &self.tested.layer, self.options.access, &round)?;
            self.material.rounds.push(round);
            let finding = self.sample.test(&self.tested.layer)?;
            self.stands(finding.ln_e, finding.n_scored);
        } else {
            self.material.rounds.push(round);
            let rounds = self.material.rounds.len() as u64;
            if looks(rounds).last() == Some(&rounds) {
                let line = self.line_with(&Options { resample: 0, ..self.options })?;
                self.stands(-line.log10_p * LN_10, line.n_scored);
            }
        }
        Ok(self.standing)
    }

    fn stands(&mut self, ln_e: f64, n_scored: u64) {
        let decided = e_process_decides(ln_e, self.options.alpha);
        self.standing = Standing { ln_e, n_scored, decided, ..self.standing };
    }

    /// The test as `watermark test-model` gives it for the transcript.
    ///
    /// # Errors
    /// As [`judge`].
    pub fn line(&self) -> Result<ModelLine> {
        self.line_with(&self.options)
    }

    fn line_with(&self, options: &Options) -> Result<ModelLine> {
        let (mut lines, _) =
            judge(std::slice::from_ref(self.tested), &self.material, &[], &self.references, options, |_| Ok(()))?;
        lines.pop().ok_or_else(|| anyhow::anyhow!("no layer"))
    }
}
