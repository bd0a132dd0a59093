use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use rayon::prelude::*;
use watermark_core::detect::Choice;
use watermark_core::distill::{Access, Collection};

use super::transcript;
use crate::read::{self, BadRecord, Body, Choices, InputFormat, Limits, Predicted, ReadError};
use crate::tokenizer::Tokenizer;

/// What a model showed, in ids of the mark's tokenizer: rounds of texts. Files are one round.
#[derive(Clone, Debug, Default)]
pub struct Material {
    /// Names for people.
    pub name: String,
    /// Rounds in order.
    pub rounds: Vec<Vec<Item>>,
    /// Whether the collection was stopped by looking at the evidence, so that only the e-value may decide.
    pub stopped: bool,
    /// Who collected it.
    pub collection: Collection,
    /// When the first and the last answer came, where the input says so: RFC 3339, UTC, seconds.
    pub collected: Option<(String, String)>,
    /// Records that could not be used.
    pub bad: u64,
}

/// One text of a model, or of ours that it read.
#[derive(Clone, Debug, Default)]
pub struct Item {
    /// Ids of what stood before the text.
    pub prompt: Vec<u32>,
    /// Ids of the text.
    pub tokens: Vec<u32>,
    /// Stretches of the text that stand in the prompt too, however that was cut into tokens: excluded like prompts.
    pub quoted: Vec<Range<usize>>,
    /// [tokens], or empty for answers only: what the model could choose at each position.
    pub choices: Vec<Vec<Choice>>,
    /// Prompt and text of an answer that came as text.
    pub texts: Option<(String, String)>,
}

/// How files are read.
pub struct Source<'a> {
    /// The mark's own tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Ids at or above it are refused.
    pub vocab_size: u32,
    /// Layout of answers.
    pub input_format: InputFormat,
    /// Told of every record that could not be used.
    pub complain: &'a (dyn Fn(&Error) + Sync),
}

impl Material {
    /// Reads files as one round, or a single transcript of `watermark probe` with its rounds.
    ///
    /// # Errors
    /// If a transcript is broken, a file cannot be opened, or not read to its end.
    pub fn read(paths: &[PathBuf], access: Access, source: &Source<'_>) -> Result<Self> {
        if let Some(path) = paths.iter().find(|path| transcript::is_transcript(path)) {
            if paths.len() > 1 || access == Access::Reading {
                bail!("{} is a transcript; test it alone, from --answers or --logprobs", path.display());
            }
            return transcript::read(path, access, source);
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

    /// Texts in all.
    #[must_use]
    pub fn texts(&self) -> u64 {
        self.rounds.iter().map(|round| round.len() as u64).sum()
    }

    /// Texts without a prompt.
    #[must_use]
    pub fn without_prompt(&self) -> u64 {
        self.rounds.iter().flatten().filter(|item| item.prompt.is_empty()).count() as u64
    }

    /// Their tokens.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.rounds.iter().flatten().map(|item| item.tokens.len() as u64).sum()
    }
}

/// Good items of a file in order, and how many records were bad.
type Items = (Vec<Item>, u64);

fn answers(path: &Path, source: &Source<'_>) -> Result<Items> {
    let (records, bad) = readable(read::open(path, source.input_format, Limits::default())?, source)?;
    let items = records.par_iter().map(|record| {
        let item = || match &record.body {
            Body::Tokens { prompt_tokens, tokens } => {
                Ok(Item { prompt: prompt_tokens.clone(), tokens: tokens.clone(), ..Item::default() })
            }
            Body::Text { prompt, text } => item_of_text(source.tokenizer, prompt.as_deref().unwrap_or(""), text),
        };
        item().and_then(|item| item.check(source.vocab_size)).with_context(|| record.location.to_string())
    });
    Ok(sort_out(items.collect(), bad, source))
}

fn choices(path: &Path, access: Access, source: &Source<'_>) -> Result<Items> {
    let (records, bad) = readable(read::read_choices(path, Limits::default())?, source)?;
    let items = records.into_par_iter().map(|record| {
        let item = match record.choices {
            Choices::Tokens { prompt_tokens, tokens, choices } => {
                let choices = choices.into_iter().map(Choice::from_log_probabilities).collect();
                Ok(Item { prompt: prompt_tokens, tokens, choices, ..Item::default() })
            }
            Choices::Text { prompt, text, positions } => item_of_pieces(source, access, &prompt, &text, &positions),
        };
        item.and_then(|item| item.check(source.vocab_size)).with_context(|| record.location.to_string())
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

impl Item {
    fn check(self, vocab_size: u32) -> Result<Self> {
        let chosen = self.choices.iter().flatten().map(|choice| choice.token);
        match self.prompt.iter().chain(&self.tokens).copied().chain(chosen).find(|&id| id >= vocab_size) {
            Some(id) => bail!("token id {id} is not below vocab_size {vocab_size}"),
            None => Ok(self),
        }
    }
}

/// An answer in text.
///
/// # Errors
/// If the tokenizer fails.
pub(crate) fn item_of_text(tokenizer: &Tokenizer, prompt: &str, text: &str) -> Result<Item> {
    let (tokens, offsets) = tokenizer.encode_with_offsets(text)?;
    let quoted = quoted(prompt, text, &offsets);
    let texts = Some((prompt.to_owned(), text.to_owned()));
    Ok(Item { prompt: tokenizer.encode(prompt)?, tokens, quoted, choices: Vec::new(), texts })
}

/// Stretches of tokens of which every neighbouring two, as text, stand in the prompt. A quotation is cut differently at its edges
/// than the text it quotes, so that token pairs alone would miss them.
fn quoted(prompt: &str, text: &str, offsets: &[(usize, usize)]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    if prompt.is_empty() {
        return runs;
    }
    for (at, pair) in offsets.windows(2).enumerate() {
        let stands = text
            .get(pair[0].0..pair[1].1)
            .map(str::trim)
            .is_some_and(|piece| !piece.is_empty() && prompt.contains(piece));
        match runs.last_mut() {
            Some(run) if stands && run.end == at + 1 => run.end = at + 2,
            _ if stands => runs.push(at..at + 2),
            _ => {}
        }
    }
    runs
}

/// A text with what the model could say at its bytes, aligned to the mark's tokenizer (as 2502.17259 and 2602.03812 do): a
/// position counts where both tokenisations cut the text, a piece where it is one token of the mark's vocabulary. What is left
/// out has no weight, which keeps the null.
///
/// # Errors
/// If the tokenizer fails.
pub(super) fn item_of_pieces(
    source: &Source<'_>,
    access: Access,
    prompt: &str,
    text: &str,
    positions: &[Predicted],
) -> Result<Item> {
    let tokenizer = source.tokenizer;
    let (tokens, offsets) = tokenizer.encode_with_offsets(text)?;
    let at: HashMap<usize, &Predicted> = positions.iter().map(|position| (position.at, position)).collect();
    let mut known: HashMap<&str, Option<u32>> = HashMap::new();
    let mut choices = Vec::with_capacity(tokens.len());
    let whole = access == Access::Reading;
    let mut end = 0;
    for &(start, stop) in &offsets {
        let mut row = Vec::new();
        // Tokens that share a character have the same offsets; only the first of them begins at a cut.
        let position = at.get(&start).filter(|_| start == end);
        if whole && position.is_none() && start > 0 {
            // Whether the model's own tokens end here depends on the text that follows, so on the key.
            bail!(
                "no prediction at byte {start}, where a token of the mark begins; while reading, ask the model for what follows \
                 each of them, cutting its input there"
            );
        }
        end = stop;
        for (piece, ln_p) in position.map(|position| position.top.as_slice()).unwrap_or_default() {
            let id = match known.get(piece.as_str()) {
                Some(id) => *id,
                None => *known.entry(piece).or_insert(tokenizer.single_token(piece)?),
            };
            row.extend(id.map(|id| (id, *ln_p)));
        }
        choices.push(Choice::from_log_probabilities(row));
    }
    let quoted = quoted(prompt, text, &offsets);
    Ok(Item { prompt: tokenizer.encode(prompt)?, tokens, quoted, choices, texts: None })
}
