//! The fast path from text to ids, which serves nearly all texts: a DFA finds the words, a cache holds their ids, and
//! the model encodes only words that are new.

use std::sync::{Mutex, PoisonError};

use aho_corasick::AhoCorasick;
use regex_automata::hybrid::dfa::Cache;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split as SplitStep, SplitPattern};
use tokenizers::{
    Model, ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior,
};

use super::split::{Split, split};
use super::words::Words;

/// The pattern of GPT-2, which `ByteLevel` has built in.
pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Up to here the backtracking engine of `tokenizers` reaches none of its limits (a million steps, a few per character), past
/// which it silently stops splitting.
const LONGEST: usize = 1 << 14;

/// Splits texts into words and remembers the ids of these. Shared by threads: each text borrows a [`Scratch`].
pub(super) struct WordEncoder {
    splits: Vec<Split>,
    scratch: Mutex<Vec<Scratch>>,
}

struct Scratch {
    caches: Vec<Cache>,
    words: Words,
}

impl WordEncoder {
    pub(super) fn new(splits: Vec<Split>) -> Self {
        Self { splits, scratch: Mutex::new(Vec::new()) }
    }

    /// Ids of `text`, those of a new word from `encode`, which appends them. `None` if `encode` returned it, or for a word
    /// longer than `longest` bytes.
    pub(super) fn encode(
        &self,
        text: &str,
        longest: usize,
        mut encode: impl FnMut(&str, &mut Vec<u32>) -> Option<()>,
    ) -> Option<Vec<u32>> {
        // If `encode` panics, the scratch is dropped and not put back.
        let free = self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut scratch = free.unwrap_or_else(|| Scratch {
            caches: self.splits.iter().map(Split::create_cache).collect(),
            words: Words::new(),
        });
        let Scratch { caches, words } = &mut scratch;
        // Four bytes a token is what English needs.
        let mut ids = Vec::with_capacity(text.len() / 4);
        let done = split(&self.splits, caches, text, longest, &mut |word| words.ids(word, &mut ids, &mut encode));
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        done.map(|()| ids)
    }
}

/// The fast path of a `tokenizer.json`.
pub(super) struct Fast {
    words: WordEncoder,
    /// Every added token, as written and as normalised.
    added: Option<AhoCorasick>,
    byte_chars: [char; 256],
}

impl Fast {
    /// `None` if the file asks for steps that are not known to come out the same here.
    pub(super) fn new(library: &tokenizers::Tokenizer) -> Option<Self> {
        match library.get_model() {
            ModelWrapper::BPE(bpe) if bpe.dropout.is_none() => (),
            _ => return None,
        }
        let steps = match library.get_pre_tokenizer()? {
            PreTokenizerWrapper::Sequence(sequence) => sequence.as_ref(),
            step => std::slice::from_ref(step),
        };
        let (PreTokenizerWrapper::ByteLevel(byte_level), steps) = steps.split_last()? else { return None };
        let mut splits: Vec<Split> = steps.iter().map(split_of).collect::<Option<_>>()?;
        match byte_level {
            ByteLevel { add_prefix_space: true, .. } => return None,
            ByteLevel { use_regex: true, .. } => splits.push(Split::new(GPT2, true)?),
            _ => (),
        }
        let mut added = Vec::new();
        for token in library.get_added_tokens_decoder().into_values() {
            if let Some(normalizer) = library.get_normalizer() {
                let mut normalized = NormalizedString::from(token.content.as_str());
                normalizer.normalize(&mut normalized).ok()?;
                added.push(normalized.get().to_owned());
            }
            added.push(token.content);
        }
        added.retain(|content| !content.is_empty());
        let added = if added.is_empty() { None } else { Some(AhoCorasick::new(added).ok()?) };
        Some(Self { words: WordEncoder::new(splits), added, byte_chars: byte_chars() })
    }

    /// Ids of `text` as `library` gives them; `None` if the library has to be asked.
    pub(super) fn encode(&self, library: &tokenizers::Tokenizer, text: &str) -> Option<Vec<u32>> {
        if self.has_added(text) {
            return None;
        }
        let mut normalized = None;
        if let Some(normalizer) = library.get_normalizer()
            && !leaves_alone(normalizer, text)
        {
            let made = normalized.insert(NormalizedString::from(text));
            normalizer.normalize(made).ok()?;
            if self.has_added(made.get()) {
                return None;
            }
        }
        let text = normalized.as_ref().map_or(text, NormalizedString::get);
        let mut mapped = String::new();
        self.words.encode(text, LONGEST, |word, ids| {
            mapped.clear();
            mapped.extend(word.bytes().map(|byte| self.byte_chars[usize::from(byte)]));
            // On any error the library is asked, which fails in the same way with a message of its own.
            ids.extend(library.get_model().tokenize(&mapped).ok()?.iter().map(|token| token.id));
            Some(())
        })
    }

    /// The words of `text` as they are looked up.
    #[cfg(test)]
    pub(super) fn pieces(&self, text: &str) -> Option<Vec<String>> {
        let mut caches: Vec<Cache> = self.words.splits.iter().map(Split::create_cache).collect();
        let mut pieces = Vec::new();
        let mut keep = |word: &str| {
            pieces.push(word.to_owned());
            Some(())
        };
        split(&self.words.splits, &mut caches, text, usize::MAX, &mut keep)?;
        Some(pieces)
    }

    fn has_added(&self, text: &str) -> bool {
        self.added.as_ref().is_some_and(|added| added.is_match(text))
    }
}

fn split_of(step: &PreTokenizerWrapper) -> Option<Split> {
    let PreTokenizerWrapper::Split(SplitStep { pattern: SplitPattern::Regex(pattern), behavior, invert, .. }) = step
    else {
        return None;
    };
    match (behavior, invert) {
        (SplitDelimiterBehavior::Isolated, _) => Split::new(pattern, true),
        // "Remove what does not match."
        (SplitDelimiterBehavior::Removed, true) => Split::new(pattern, false),
        _ => None,
    }
}

/// Whether the text is in normal form already, found without normalising it.
fn leaves_alone(normalizer: &NormalizerWrapper, text: &str) -> bool {
    match normalizer {
        NormalizerWrapper::NFC(_) => text.chars().all(stays_in_nfc),
        NormalizerWrapper::Sequence(steps) => steps.as_ref().iter().all(|step| leaves_alone(step, text)),
        _ => false,
    }
}

/// Characters that NFC leaves alone in any company of their like: neither decomposed, nor reordered, nor composed with
/// what stands before (UAX #15: `NFC_Quick_Check` is Yes and the combining class 0). Some of many: those that fill texts.
pub(super) fn stays_in_nfc(c: char) -> bool {
    matches!(c, '\0'..='\u{2ff}' | '\u{400}'..='\u{482}' | '\u{2010}'..='\u{2027}' | '\u{3001}'..='\u{3029}'
        | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fe}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}'
        | '\u{ff01}'..='\u{ff60}')
}

/// The characters that stand for the 256 bytes in a byte-level vocabulary: printable Latin-1 for itself, the others from
/// U+0100 on (`bytes_to_unicode` of GPT-2).
fn byte_chars() -> [char; 256] {
    let mut next = 0x100..;
    std::array::from_fn(|byte| match u8::try_from(byte) {
        Ok(byte @ (b'!'..=b'~' | 0xa1..=0xac | 0xae..)) => char::from(byte),
        _ => next.next().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER),
    })
}
