use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Error, Result, anyhow, bail};
use rayon::prelude::*;
use watermark_core::detect::Choice;

use super::Access;
use super::item::{Item, item_of_pieces, item_of_text};
use super::material::Material;
use super::transcript;
use crate::ids::Vocabulary;
use crate::read::{self, BadRecord, Body, Choices, InputFormat, Limits, ReadError};
use crate::transcript::is_transcript;

/// How files are read.
pub struct Source<'a> {
    /// The mark's own tokenizer, and its size.
    pub vocabulary: Vocabulary<'a>,
    /// Layout of answers.
    pub input_format: InputFormat,
    /// Told of every record that could not be used.
    pub complain: &'a (dyn Fn(&Error) + Sync),
}

/// The first record that could not be used, for those who cannot do without any.
#[derive(Default)]
pub struct FirstBad(Mutex<Option<String>>);

impl FirstBad {
    /// Is told of a record, as [`Source::complain`].
    pub fn keep(&self, error: &Error) {
        if let Ok(mut first) = self.0.lock() {
            first.get_or_insert_with(|| format!("{error:#}"));
        }
    }

    /// # Errors
    /// If there was such a record: one that is passed over may be one that somebody wanted to be passed over.
    pub fn check(self) -> Result<()> {
        match self.0.into_inner() {
            Ok(Some(first)) => bail!("a record cannot be used: {first}"),
            _ => Ok(()),
        }
    }
}

impl Material {
    /// Reads files as one round, or a single transcript of `watermark probe` with its rounds.
    ///
    /// # Errors
    /// If a transcript is broken, a file cannot be opened, or not read to its end.
    pub fn read(paths: &[PathBuf], access: Access, source: &Source<'_>) -> Result<Self> {
        if let Some(path) = paths.iter().find(|path| is_transcript(path)) {
            if paths.len() > 1 || access == Access::Reading {
                bail!("{} is a transcript; test it alone, from --answers or --logprobs", path.display());
            }
            return transcript::read(path, access, source.vocabulary);
        }
        if let Some((_, path)) = paths.iter().enumerate().find(|(at, path)| paths[..*at].contains(path)) {
            bail!("{} is named twice; a text counts once", path.display());
        }
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let mut material = Self { name: names.join(", "), rounds: vec![Vec::new()], ..Self::default() };
        for path in paths {
            let (items, bad) =
                if access == Access::Answers { answers(path, source)? } else { choices(path, access, source)? };
            material.bad += bad;
            material.rounds[0].extend(items);
        }
        Ok(material)
    }
}

/// Good items of a file in order, and how many records were bad.
type Items = (Vec<Item>, u64);

fn answers(path: &Path, source: &Source<'_>) -> Result<Items> {
    let (records, bad) = readable(read::open(path, source.input_format, Limits::default())?, source)?;
    let items = records.par_iter().map(|record| {
        let item = || match &record.body {
            Body::Tokens { .. } => Ok(Item::from(source.vocabulary.ids(&record.body, false)?)),
            Body::Text { prompt, text } => item_of_text(source.vocabulary, prompt.as_deref().unwrap_or(""), text),
        };
        item().with_context(|| record.location.to_string())
    });
    Ok(sort_out(items.collect(), bad, source))
}

fn choices(path: &Path, access: Access, source: &Source<'_>) -> Result<Items> {
    let (records, bad) = readable(read::read_choices(path, Limits::default())?, source)?;
    let items = records.into_par_iter().map(|record| {
        let vocabulary = source.vocabulary;
        let item = match record.choices {
            Choices::Tokens { prompt_tokens, tokens, choices } => {
                // Whether there is a prediction must not depend on the text that follows, so on the key.
                if access == Access::Reading
                    && let Some(at) = choices.iter().position(Vec::is_empty)
                {
                    Err(anyhow!("choices[{at}] is empty; while reading, every position needs a prediction"))
                } else {
                    let choices = choices.into_iter().map(Choice::from_log_probabilities).collect();
                    vocabulary.accept(prompt_tokens, tokens).map(|ids| Item { choices, ..Item::from(ids) })
                }
            }
            Choices::Text { prompt, text, positions } => item_of_pieces(vocabulary, access, &prompt, &text, &positions),
        };
        item.and_then(|item| item.check_choices(vocabulary)).with_context(|| record.location.to_string())
    });
    Ok(sort_out(items.collect(), bad, source))
}

/// The records that could be read, and how many could not.
fn readable<T>(
    records: impl Iterator<Item = Result<Result<T, BadRecord>, ReadError>>,
    source: &Source<'_>,
) -> Result<(Vec<T>, u64)> {
    let (mut good, mut bad) = (Vec::new(), 0);
    for record in records {
        match record? {
            Ok(record) => good.push(record),
            Err(error) => {
                bad += 1;
                (source.complain)(&error.into());
            }
        }
    }
    Ok((good, bad))
}

fn sort_out(items: Vec<Result<Item>>, mut bad: u64, source: &Source<'_>) -> Items {
    let mut good = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Ok(item) => good.push(item),
            Err(error) => {
                bad += 1;
                (source.complain)(&error);
            }
        }
    }
    (good, bad)
}
