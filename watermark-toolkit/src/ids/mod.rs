//! The one way from a record to the token ids that are counted, for texts that are tested, scanned or come from a suspect.
//!
//! Special tokens are not taken out here: the layer of a profile knows them, and counts them as `excluded`.

mod conversation;
mod normalise;
mod quoted;

use std::fmt::Display;

use anyhow::{Context, Result, bail};

pub use conversation::Conversation;
pub use quoted::quoted;

use crate::read::Body;
use crate::tokenizer::{ByteRange, Tokenizer};

/// What turns text into ids, and which ids there are.
#[derive(Clone, Copy)]
pub struct Vocabulary<'a> {
    /// The mark's own tokenizer; needed for text only.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Ids at or above it are refused, where it is known.
    pub size: Option<u32>,
}

/// A record as ids below the vocabulary's size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Ids of the record's own prompt.
    pub prompt: Vec<u32>,
    /// Ids of the generated side.
    pub tokens: Vec<u32>,
    /// [tokens], where they were asked for and the record is text: the bytes of the text that each token stands for.
    pub offsets: Option<Vec<ByteRange>>,
}

impl<'a> Vocabulary<'a> {
    /// What a record carries, as ids.
    ///
    /// # Errors
    /// If it is text and there is no tokenizer, or an id is not below the size.
    pub fn ids(&self, body: &Body, with_offsets: bool) -> Result<Ids> {
        match body {
            Body::Text { prompt, text } => self.encode(prompt.as_deref().unwrap_or(""), text, with_offsets),
            Body::Tokens { prompt_tokens, tokens } => self.accept(prompt_tokens.clone(), tokens.clone()),
        }
    }

    /// Prompt and text, as ids.
    ///
    /// # Errors
    /// As [`Self::ids`].
    pub fn encode(&self, prompt: &str, text: &str, with_offsets: bool) -> Result<Ids> {
        let tokenizer = self.tokenizer()?;
        let encode = |text: &str| if text.is_empty() { Ok(Vec::new()) } else { tokenizer.encode(text) };
        let prompt = encode(prompt)?;
        let (tokens, offsets) = if with_offsets {
            let (tokens, offsets) = tokenizer.encode_with_offsets(text)?;
            (tokens, Some(offsets))
        } else {
            (encode(text)?, None)
        };
        Ok(Ids { offsets, ..self.accept(prompt, tokens)? })
    }

    /// Ids that came as such.
    ///
    /// # Errors
    /// If one is not below the size.
    pub fn accept(&self, prompt: Vec<u32>, tokens: Vec<u32>) -> Result<Ids> {
        self.check("prompt_tokens", &prompt)?;
        self.check("tokens", &tokens)?;
        Ok(Ids { prompt, tokens, offsets: None })
    }

    /// Refuses ids that are not below the size; `name` is what the message calls them.
    ///
    /// # Errors
    /// If there is one.
    pub fn check(&self, name: &str, ids: &[u32]) -> Result<()> {
        ids.iter().enumerate().try_for_each(|(at, &id)| self.check_one(format_args!("{name}[{at}] is"), id))
    }

    /// Refuses an id that is not below the size; the message begins with `place`.
    ///
    /// # Errors
    /// If it is not.
    pub fn check_one(&self, place: impl Display, id: u32) -> Result<()> {
        match self.size {
            Some(size) if id >= size => bail!("{place} {id}, not below vocab_size {size}"),
            _ => Ok(()),
        }
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// If there is none.
    pub fn tokenizer(&self) -> Result<&'a Tokenizer> {
        self.tokenizer.context("text needs a tokenizer; give one with --tokenizer")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const IDS_ALONE: Vocabulary<'static> = Vocabulary { tokenizer: None, size: Some(100) };

    fn body(prompt_tokens: &[u32], tokens: &[u32]) -> Body {
        Body::Tokens { prompt_tokens: prompt_tokens.to_vec(), tokens: tokens.to_vec() }
    }

    #[test]
    fn an_id_past_the_vocabulary_is_named_with_its_place() {
        let ids = IDS_ALONE.ids(&body(&[99], &[0, 1]), true).unwrap();
        assert_eq!(ids, Ids { prompt: vec![99], tokens: vec![0, 1], offsets: None });
        let message =
            |prompt: &[u32], tokens: &[u32]| IDS_ALONE.ids(&body(prompt, tokens), false).unwrap_err().to_string();
        assert_eq!(message(&[], &[5, 6, 100]), "tokens[2] is 100, not below vocab_size 100");
        assert_eq!(message(&[700], &[100]), "prompt_tokens[0] is 700, not below vocab_size 100");
        let open = Vocabulary { size: None, ..IDS_ALONE };
        assert_eq!(open.ids(&body(&[700], &[100]), false).unwrap().prompt, [700]);
    }

    #[test]
    fn text_needs_a_tokenizer() {
        let text = Body::Text { prompt: None, text: String::new() };
        assert!(IDS_ALONE.ids(&text, false).unwrap_err().to_string().contains("needs a tokenizer"));
    }

    #[cfg(feature = "tokenizers")]
    #[test]
    fn text_is_the_same_ids_with_and_without_offsets() {
        let tokenizer = Tokenizer::embedded().unwrap();
        let vocabulary = Vocabulary { tokenizer: Some(&tokenizer), size: Some(tokenizer.info().unwrap().vocab_size) };
        let text = "A cat sat.";
        let body = Body::Text { prompt: Some("What did it do?".to_owned()), text: text.to_owned() };
        let plain = vocabulary.ids(&body, false).unwrap();
        let with_offsets = vocabulary.ids(&body, true).unwrap();
        let offsets = with_offsets.offsets.clone().unwrap();
        assert_eq!((offsets.len(), offsets.last().unwrap().1), (plain.tokens.len(), text.len()));
        assert_eq!(Ids { offsets: None, ..with_offsets }, plain);
        assert_eq!(plain.tokens, tokenizer.encode(text).unwrap());
        assert_eq!(vocabulary.encode("", "", true).unwrap().offsets, Some(Vec::new()));
        let small = Vocabulary { size: Some(1), ..vocabulary };
        assert!(small.ids(&body, false).unwrap_err().to_string().starts_with("prompt_tokens[0] is "));
    }
}
