//! A student's answers, and what references expect along them.

use anyhow::Result;
use rayon::prelude::*;
use watermark_core::detect::{Choice, LayerDetector};
use watermark_core::model_test::{ModelSample, Round};
use watermark_lab::model::Model;

use crate::access::rows;
use crate::lab::{Data, Lab, SAMPLING};

/// A student's answers with their prompts.
#[derive(Clone)]
pub(crate) struct Asked {
    prompts: Vec<Vec<u32>>,
    texts: Vec<Vec<u32>>,
}

impl Asked {
    pub(crate) fn new(lab: &Lab, data: &Data) -> Result<Self> {
        let prompts = data.questions.iter().map(|question| lab.prompt(question)).collect::<Result<Vec<_>>>()?;
        let texts = data.answers.iter().map(|answer| answer.tokens.clone()).collect();
        Ok(Self { prompts, texts })
    }

    pub(crate) fn tokens(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }

    fn round<'a>(&'a self, choices: &'a [Vec<Vec<Choice>>]) -> Round<'a> {
        Round {
            // The end-of-text token before a prompt is special and never scored.
            prompts: self.prompts.iter().map(|prompt| &prompt[1..]).collect(),
            answers: self.texts.iter().map(Vec::as_slice).collect(),
            choices: choices.iter().map(Vec::as_slice).collect(),
        }
    }

    pub(crate) fn counts(&self, layer: &LayerDetector) -> Result<ModelSample> {
        let mut sample = ModelSample::of_answers(layer);
        sample.add_round(layer, &self.round(&[]))?;
        Ok(sample)
    }

    pub(crate) fn probabilities(&self, layer: &LayerDetector, choices: &[Vec<Vec<Choice>>]) -> Result<ModelSample> {
        let mut sample = ModelSample::of_probabilities(layer);
        sample.add_round(layer, &self.round(choices))?;
        Ok(sample)
    }

    /// What `model` chooses while it reads the texts.
    pub(crate) fn read(&self, layer: &LayerDetector, model: &Model) -> Result<ModelSample> {
        let mut sample = ModelSample::of_probabilities(layer);
        for ((prompt, text), choices) in self.prompts.iter().zip(&self.texts).zip(self.shown(model, usize::MAX)?) {
            sample.add_reading(layer, &prompt[1..], text, &choices)?;
        }
        Ok(sample)
    }

    /// What `model` would have chosen along the answers, decoded as the student was.
    pub(crate) fn expected(&self, layer: &LayerDetector, model: &Model, temperature: f64) -> Result<ModelSample> {
        self.expected_with(layer, model, temperature, |_, _| Ok(0.0))
    }

    /// As [`Self::expected`] at temperature .8 of a model that prefers tokens by `lean` nats per unit of their score under the key, as only
    /// somebody who has it can make one.
    pub(crate) fn leaning(&self, layer: &LayerDetector, model: &Model, lean: f64) -> Result<ModelSample> {
        let green = |context: u32, token: u32| -> Result<f64> {
            let mut pair = layer.tally();
            layer.add(&mut pair, &[], &[context, token])?;
            Ok(lean * layer.finding(&pair)?.statistic as f64)
        };
        self.expected_with(layer, model, 0.8, green)
    }

    /// `more` is added to the log-probability of a token after another one.
    fn expected_with(
        &self,
        layer: &LayerDetector,
        model: &Model,
        temperature: f64,
        more: impl Fn(u32, u32) -> Result<f64> + Sync,
    ) -> Result<ModelSample> {
        let keep = SAMPLING.top_k.unwrap_or(usize::MAX);
        let decoded = |(prompt, text): (&Vec<u32>, &Vec<u32>)| -> Result<Vec<Vec<Choice>>> {
            let before = prompt.last().into_iter().chain(text);
            let rows = rows(model, prompt, text, temperature, keep)?.into_iter().zip(before).map(|(row, &before)| {
                let leaning = |(token, ln_p): (u32, f64)| Ok((token, ln_p + more(before, token)?));
                let row = row.into_iter().map(leaning).collect::<Result<Vec<_>>>()?;
                let ln_total = row.iter().map(|(_, ln_p)| ln_p.exp()).sum::<f64>().ln();
                Ok(Choice::from_log_probabilities(row.into_iter().map(|(token, ln_p)| (token, ln_p - ln_total))))
            });
            rows.collect()
        };
        let choices: Vec<_> = self.prompts.par_iter().zip(&self.texts).map(decoded).collect::<Result<_>>()?;
        self.probabilities(layer, &choices)
    }

    /// The `keep` largest probabilities of `model` along the answers.
    pub(crate) fn shown(&self, model: &Model, keep: usize) -> Result<Vec<Vec<Vec<Choice>>>> {
        let shown = self.prompts.par_iter().zip(&self.texts).map(|(prompt, text)| {
            let rows = rows(model, prompt, text, 1.0, keep)?;
            Ok(rows.into_iter().map(Choice::from_log_probabilities).collect())
        });
        shown.collect()
    }

    /// What `model` expects along the answers beside what a student shows there.
    pub(crate) fn beside(
        &self,
        layer: &LayerDetector,
        model: &Model,
        shown: &[Vec<Vec<Choice>>],
    ) -> Result<ModelSample> {
        let mut expected = self.shown(model, usize::MAX)?;
        for (row, shown) in expected.iter_mut().flatten().zip(shown.iter().flatten()) {
            *row = Choice::expected_beside(row, shown);
        }
        self.probabilities(layer, &expected)
    }
}
