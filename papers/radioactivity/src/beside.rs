//! A student's answers, and what references expect along them.

use anyhow::Result;
use rayon::prelude::*;
use watermark_core::detect::{Choice, LayerDetector};
use watermark_core::model_test::{ModelSample, Round};
use watermark_lab::model::Model;

use crate::access::rows;
use crate::lab::{Data, Lab, SAMPLING};

/// What a model would choose: texts, positions, candidates.
pub(crate) type Choices = Vec<Vec<Vec<Choice>>>;

/// A student's answers with their prompts.
#[derive(Clone)]
pub(crate) struct Asked {
    prompts: Vec<Vec<u32>>,
    texts: Vec<Vec<u32>>,
}

/// Some texts by number, each with how many tokens of it.
pub(crate) type Part = Vec<(usize, usize)>;

impl Asked {
    pub(crate) fn new(lab: &Lab, data: &Data) -> Result<Self> {
        let prompts = data.questions.iter().map(|question| lab.prompt(question)).collect::<Result<Vec<_>>>()?;
        let texts = data.answers.iter().map(|answer| answer.tokens.clone()).collect();
        Ok(Self { prompts, texts })
    }

    pub(crate) fn tokens(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }

    /// The first `n` answers.
    pub(crate) fn first(mut self, n: usize) -> Self {
        self.prompts.truncate(n);
        self.texts.truncate(n);
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// All of it.
    fn all(&self) -> Part {
        self.texts.iter().map(Vec::len).enumerate().collect()
    }

    /// So many tokens from the text `start` on, and around the end.
    pub(crate) fn from(&self, start: usize, tokens: usize) -> Part {
        let mut left = tokens;
        let around = (start..self.len()).chain(0..start).map(|i| {
            let n = self.texts[i].len().min(left);
            left -= n;
            (i, n)
        });
        around.filter(|&(_, n)| n > 0).collect()
    }

    /// How often a part of the answers has each pair; of a reference, its whole answers to the same prompts.
    pub(crate) fn counts_of(&self, layer: &LayerDetector, part: &Part) -> Result<ModelSample> {
        let mut sample = ModelSample::of_answers(layer);
        sample.add_round(layer, &self.round(part, &[]))?;
        Ok(sample)
    }

    /// What is chosen along a part of the answers.
    pub(crate) fn probabilities_of(
        &self,
        layer: &LayerDetector,
        part: &Part,
        choices: &Choices,
    ) -> Result<ModelSample> {
        let mut sample = ModelSample::of_probabilities(layer);
        sample.add_round(layer, &self.round(part, choices))?;
        Ok(sample)
    }

    /// log10 p of one text as `detect` has it: the exact tail of distinct pairs.
    pub(crate) fn exact_log10_p(&self, layer: &LayerDetector, at: usize) -> Result<f64> {
        let mut tally = layer.tally();
        layer.add(&mut tally, &self.prompts[at][1..], &self.texts[at])?;
        Ok(layer.finding(&tally)?.log10_p)
    }

    fn round<'a>(&'a self, part: &Part, choices: &'a [Vec<Vec<Choice>>]) -> Round<'a> {
        Round {
            // The end-of-text token before a prompt is special and never scored.
            prompts: part.iter().map(|&(i, _)| &self.prompts[i][1..]).collect(),
            answers: part.iter().map(|&(i, n)| &self.texts[i][..n.min(self.texts[i].len())]).collect(),
            choices: part.iter().filter_map(|&(i, n)| choices.get(i).map(|rows| &rows[..n.min(rows.len())])).collect(),
        }
    }

    pub(crate) fn counts(&self, layer: &LayerDetector) -> Result<ModelSample> {
        self.counts_of(layer, &self.all())
    }

    pub(crate) fn probabilities(&self, layer: &LayerDetector, choices: &Choices) -> Result<ModelSample> {
        self.probabilities_of(layer, &self.all(), choices)
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
        self.probabilities(layer, &self.decoded(model, temperature)?)
    }

    /// As [`Self::expected`], at every position.
    pub(crate) fn decoded(&self, model: &Model, temperature: f64) -> Result<Choices> {
        self.decoded_with(model, temperature, |_, _| Ok(0.0))
    }

    /// As [`Self::expected`] at temperature .8 of a model that prefers tokens by `lean` nats per unit of their score under the key, as only
    /// somebody who has it can make one.
    pub(crate) fn leaning(&self, layer: &LayerDetector, model: &Model, lean: f64) -> Result<ModelSample> {
        let green = |context: u32, token: u32| -> Result<f64> {
            let mut pair = layer.tally();
            layer.add(&mut pair, &[], &[context, token])?;
            Ok(lean * layer.finding(&pair)?.statistic as f64)
        };
        self.probabilities(layer, &self.decoded_with(model, 0.8, green)?)
    }

    /// `more` is added to the log-probability of a token after another one.
    fn decoded_with(
        &self,
        model: &Model,
        temperature: f64,
        more: impl Fn(u32, u32) -> Result<f64> + Sync,
    ) -> Result<Choices> {
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
        self.prompts.par_iter().zip(&self.texts).map(decoded).collect()
    }

    /// The `keep` largest probabilities of `model` along the answers.
    pub(crate) fn shown(&self, model: &Model, keep: usize) -> Result<Choices> {
        let shown = self.prompts.par_iter().zip(&self.texts).map(|(prompt, text)| {
            let rows = rows(model, prompt, text, 1.0, keep)?;
            Ok(rows.into_iter().map(Choice::from_log_probabilities).collect())
        });
        shown.collect()
    }

    /// What `model` expects along the answers beside what a student shows there.
    pub(crate) fn beside(&self, layer: &LayerDetector, model: &Model, shown: &Choices) -> Result<ModelSample> {
        self.probabilities(layer, &self.expected_beside(model, shown)?)
    }

    /// As [`Self::beside`], at every position.
    pub(crate) fn expected_beside(&self, model: &Model, shown: &Choices) -> Result<Choices> {
        let expected = self.prompts.par_iter().zip(&self.texts).zip(shown).map(|((prompt, text), shown)| {
            let rows = rows(model, prompt, text, 1.0, usize::MAX)?.into_iter().zip(shown);
            Ok(rows.map(|(row, shown)| Choice::expected_beside(&Choice::from_log_probabilities(row), shown)).collect())
        });
        expected.collect()
    }
}
