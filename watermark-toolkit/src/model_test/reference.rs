use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use watermark_core::detect::{Choice, LayerDetector};
use watermark_core::hex;
use watermark_core::model_test::{ModelSample, Round, TwoSamples};

use super::item::Item;
use super::material::Material;
use super::read::Source;
use super::{Access, add_round};
use crate::detect::ReferenceLine;
use crate::files::file_sha256;
use crate::read::{Holds, Limits, holds_choices};
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

impl Reference {
    /// Reads a file of answers, as of any model, or of probabilities along the texts of suspect and controls, which its records show.
    ///
    /// # Errors
    /// If the file cannot be read to its end, holds records of both kinds or none, says two things about one text, or is no regular file.
    pub fn read(path: &Path, access: Access, source: &Source<'_>) -> Result<Self> {
        let named = || format!("reference {}", path.display());
        let regular = std::fs::metadata(path).with_context(named)?.is_file();
        ensure!(
            regular,
            "reference {} is no regular file, so its digest would not be that of what is read",
            path.display()
        );
        let sha256 = file_sha256(path)?;
        let holds = if is_transcript(path) { Holds::Answers } else { holds_choices(path, Limits::default())? };
        let reading = if access == Access::Reading { Access::Reading } else { Access::Logprobs };
        let read_as = match holds {
            Holds::Answers => Access::Answers,
            Holds::Choices => reading,
            Holds::Both => {
                bail!("{} holds both answers and probabilities along texts; give each its own file", path.display())
            }
        };
        let material = Material::read(&[path.to_owned()], read_as, source)?;
        ensure!(material.texts() > 0, "{} has no texts", path.display());
        let items: Vec<Item> = material.rounds.into_iter().flatten().collect();
        let shows = if holds == Holds::Answers {
            Shows::Answers(items)
        } else {
            let silent = items.iter().all(|item| item.choices.iter().all(Vec::is_empty));
            ensure!(!silent, "{} has no probabilities of any token of the mark's", path.display());
            let mut along: HashMap<TextIds, Vec<Vec<Choice>>> = HashMap::new();
            for item in items {
                let key = (item.prompt, item.tokens);
                if along.get(&key).is_some_and(|rows| *rows != item.choices) {
                    bail!("{} says two different things along one text of {} tokens", path.display(), key.1.len());
                }
                along.insert(key, item.choices);
            }
            Shows::Along(along)
        };
        ensure!(file_sha256(path)? == sha256, "{} changed while it was read", path.display());
        Ok(Self { name: path.display().to_string(), sha256: hex::encode(&sha256), shows, bad: material.bad })
    }

    /// Whether it holds answers of its own, which no suspect has to be known for.
    #[must_use]
    pub fn is_answers(&self) -> bool {
        matches!(self.shows, Shows::Answers(_))
    }

    /// Its part in a test of these texts.
    pub(crate) fn line<'a>(&self, share: u32, tested: impl Iterator<Item = &'a Item>) -> ReferenceLine {
        let (shows, texts) = match &self.shows {
            Shows::Answers(items) => ("answers", items.len()),
            Shows::Along(along) => ("probabilities", along.len()),
        };
        let answered: HashSet<&[u32]> = match &self.shows {
            Shows::Answers(items) => items.iter().map(|item| item.prompt.as_slice()).collect(),
            Shows::Along(_) => HashSet::new(),
        };
        let covered = |item: &Item| match &self.shows {
            Shows::Answers(_) if answered.contains(item.prompt.as_slice()) => item.tokens.len(),
            Shows::Answers(_) => 0,
            Shows::Along(along) => {
                let rows = along.get(&(item.prompt.clone(), item.tokens.clone()));
                rows.map_or(0, |rows| rows.iter().filter(|row| !row.is_empty()).count())
            }
        };
        let (covered_tokens, tested_tokens) = tested.fold((0, 0), |(covered_tokens, tested_tokens), item| {
            (covered_tokens + covered(item) as u64, tested_tokens + item.tokens.len() as u64)
        });
        let (name, sha256) = (self.name.clone(), self.sha256.clone());
        ReferenceLine { name, sha256, shows, texts: texts as u64, covered_tokens, tested_tokens, share }
    }

    /// Refuses a text along which it has no probabilities.
    pub(crate) fn check_covers(&self, item: &Item) -> Result<()> {
        let Shows::Along(along) = &self.shows else { return Ok(()) };
        let known = item.tokens.is_empty() || along.contains_key(&(item.prompt.clone(), item.tokens.clone()));
        ensure!(
            known,
            "{} has no probabilities along this text of {} tokens after this prompt; run it along the same ids (a text that is cut into tokens \
             again may have others)",
            self.name,
            item.tokens.len()
        );
        Ok(())
    }

    /// What the reference shows beside these texts.
    fn sample(&self, layer: &LayerDetector, access: Access, items: &[&Item]) -> Result<ModelSample> {
        let along = match &self.shows {
            Shows::Answers(answers) => {
                // Pairs of prompts are left out, so prompts of the reference's own would be a way to choose what counts.
                let asked: HashSet<&[u32]> = items.iter().map(|item| item.prompt.as_slice()).collect();
                let answers: Vec<&Item> =
                    answers.iter().filter(|item| asked.contains(item.prompt.as_slice())).collect();
                let mut sample = ModelSample::of_answers(layer);
                add_round(&mut sample, layer, Access::Answers, &answers)?;
                return Ok(sample);
            }
            Shows::Along(along) => along,
        };
        let row = |item: &Item| -> Result<Vec<Vec<Choice>>> {
            if item.tokens.is_empty() {
                return Ok(Vec::new());
            }
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
pub(crate) fn beside(
    layer: &LayerDetector,
    access: Access,
    items: &[&Item],
    references: &[Reference],
    mixture: Option<&[u32]>,
) -> Result<TwoSamples> {
    let mut suspect = access.sample(layer);
    add_round(&mut suspect, layer, access, items)?;
    let samples = references.iter().map(|reference| reference.sample(layer, access, items));
    let samples = samples.collect::<Result<Vec<_>>>()?;
    Ok(suspect.beside_mixture(&samples, mixture)?)
}

/// Refuses what cannot be compared.
pub(crate) fn check<'a>(
    layers: impl IntoIterator<Item = &'a LayerDetector>,
    access: Access,
    suspect: &Material,
    controls: &[Material],
    references: &[Reference],
) -> Result<()> {
    if references.is_empty() {
        return Ok(());
    }
    if let Some(layer) = layers.into_iter().find(|layer| layer.scheme().own().is_none()) {
        let name = layer.name().unwrap_or_default();
        bail!(
            "layer {name:?} is a mark of {}, which has no test beside a reference; test the other layers by name",
            layer.scheme().name()
        );
    }
    if access == Access::Reading && references.len() > 1 {
        bail!(
            "one reference only stands beside what a suspect read: a mixture that fits all texts would let later ones decide about earlier ones"
        );
    }
    let ids = |item: &Item| (item.prompt.clone(), item.tokens.clone());
    let asked: HashSet<&[u32]> = suspect.rounds.iter().flatten().map(|item| item.prompt.as_slice()).collect();
    for (at, reference) in references.iter().enumerate() {
        if references[..at].iter().any(|other| other.sha256 == reference.sha256) {
            bail!("{} has the same bytes as another reference; name each once", reference.name);
        }
        let Shows::Answers(answers) = &reference.shows else { continue };
        if access == Access::Reading {
            bail!(
                "{} holds answers; beside what a suspect read, a reference must have read the same texts",
                reference.name
            );
        }
        if !asked.is_empty() && !answers.iter().any(|item| asked.contains(item.prompt.as_slice())) {
            bail!("{} answers none of the suspect's prompts; a reference is asked the same", reference.name);
        }
        let own: HashSet<TextIds> = answers.iter().map(ids).collect();
        for material in std::iter::once(suspect).chain(controls) {
            let texts = || material.rounds.iter().flatten().filter(|item| !item.tokens.is_empty());
            if 2 * texts().filter(|item| own.contains(&ids(item))).count() > texts().count() {
                bail!(
                    "most answers of {} are also those of {}; a reference is another model",
                    material.name,
                    reference.name
                );
            }
        }
    }
    Ok(())
}
