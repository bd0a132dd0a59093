use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use sha2::{Digest, Sha256};
use watermark_core::detect::{Choice, LayerDetector};
use watermark_core::hex;
use watermark_core::model_test::{ModelSample, Round, TwoSamples};

use super::item::Item;
use super::material::Material;
use super::read::Source;
use super::{Access, add_round};
use crate::read::{Limits, holds_choices};
use crate::transcript::is_transcript;

/// An unmarked model that stands beside a suspect: what it answered, or its probabilities along the suspect's texts.
pub struct Reference {
    /// Where it was read.
    pub name: String,
    /// Digest of the file's bytes.
    pub sha256: String,
    shows: Shows,
    /// Records that could not be used.
    pub bad: u64,
}

/// Ids of a prompt, and of the text after it.
type TextIds = (Vec<u32>, Vec<u32>);

enum Shows {
    /// Its own answers.
    Answers(Vec<Item>),
    /// Its choices at each token of a text.
    Along(HashMap<TextIds, Vec<Vec<Choice>>>),
}

/// A reference's part in a test.
#[derive(Clone, Debug, Serialize)]
pub struct ReferenceLine {
    /// Where it was read.
    pub name: String,
    /// Digest of the file's bytes, which is what binds a reference before the key.
    pub sha256: String,
    /// `answers` of its own, or `probabilities` along the texts.
    pub shows: &'static str,
    /// Its share in the mixture that fits the suspect best, in sixteenths.
    pub share: u32,
}

impl Reference {
    /// Reads a file of answers, as of any model, or of probabilities along the texts of suspect and controls, which its first record shows.
    ///
    /// # Errors
    /// If the file cannot be opened, or not read to its end.
    pub fn read(path: &Path, source: &Source<'_>) -> Result<Self> {
        let along = !is_transcript(path) && holds_choices(path, Limits::default())?;
        let access = if along { Access::Logprobs } else { Access::Answers };
        let material = Material::read(&[path.to_owned()], access, source)?;
        let items = material.rounds.into_iter().flatten();
        let shows = if along {
            Shows::Along(items.map(|item| ((item.prompt, item.tokens), item.choices)).collect())
        } else {
            Shows::Answers(items.collect())
        };
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let sha256 = hex::encode(&Sha256::digest(bytes));
        Ok(Self { name: path.display().to_string(), sha256, shows, bad: material.bad })
    }

    pub(super) fn line(&self, share: u32) -> ReferenceLine {
        let shows = match self.shows {
            Shows::Answers(_) => "answers",
            Shows::Along(_) => "probabilities",
        };
        ReferenceLine { name: self.name.clone(), sha256: self.sha256.clone(), shows, share }
    }

    /// What the reference shows beside these texts.
    fn sample(&self, layer: &LayerDetector, access: Access, items: &[&Item]) -> Result<ModelSample> {
        let along = match &self.shows {
            Shows::Answers(answers) => {
                let mut sample = ModelSample::of_answers(layer);
                add_round(&mut sample, layer, Access::Answers, answers)?;
                return Ok(sample);
            }
            Shows::Along(along) => along,
        };
        let row = |item: &Item| -> Result<Vec<Vec<Choice>>> {
            let key = (item.prompt.clone(), item.tokens.clone());
            let rows = along.get(&key).with_context(|| {
                format!(
                    "{} has no probabilities along a text of {} tokens; run the reference along all texts of suspect and controls, \
                     cut into tokens as they are",
                    self.name,
                    item.tokens.len()
                )
            })?;
            let beside = |(expected, shown): (&Vec<Choice>, &Vec<Choice>)| Choice::expected_beside(expected, shown);
            Ok(if item.choices.is_empty() {
                rows.clone()
            } else {
                rows.iter().zip(&item.choices).map(beside).collect()
            })
        };
        let mut sample = ModelSample::of_probabilities(layer);
        let choices = items.iter().map(|item| row(item)).collect::<Result<Vec<_>>>()?;
        if access == Access::Reading {
            for (item, choices) in items.iter().zip(&choices) {
                sample.add_reading(layer, &item.prompt, &item.tokens, choices)?;
            }
        } else {
            let prompts = items.iter().flat_map(|item| item.excluded()).collect();
            let answers = items.iter().map(|item| item.tokens.as_slice()).collect();
            let choices = choices.iter().map(Vec::as_slice).collect();
            sample.add_round(layer, &Round { prompts, answers, choices })?;
        }
        Ok(sample)
    }
}

/// Counts what a model showed beside references. Its rounds are one, because weights follow from all that was seen; texts that it read are each
/// one, because each shows what may not count later.
pub(super) fn beside(
    layer: &LayerDetector,
    access: Access,
    rounds: &[Vec<Item>],
    references: &[Reference],
) -> Result<TwoSamples> {
    let items: Vec<&Item> = rounds.iter().flatten().collect();
    let mut suspect = access.sample(layer);
    add_round(&mut suspect, layer, access, &items)?;
    let samples = references.iter().map(|reference| reference.sample(layer, access, &items));
    Ok(suspect.beside(&samples.collect::<Result<Vec<_>>>()?)?)
}

/// Refuses what cannot be compared.
pub(super) fn check(access: Access, references: &[Reference]) -> Result<()> {
    for (at, reference) in references.iter().enumerate() {
        if access == Access::Reading && matches!(reference.shows, Shows::Answers(_)) {
            bail!(
                "{} holds answers; beside what a suspect read, a reference must have read the same texts",
                reference.name
            );
        }
        if references[..at].iter().any(|other| other.sha256 == reference.sha256) {
            bail!("{} has the same bytes as another reference; name each once", reference.name);
        }
    }
    Ok(())
}
