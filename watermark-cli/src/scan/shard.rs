//! A finished part of the reading: its token ids, and where its texts came from.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::folder::write_whole;
use crate::tokenizer::hex;

/// The first line of a shard's file. After it come the ids as 32-bit little-endian words, and a JSON line per text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    /// SHA-256 of the manifest without its inputs.
    pub(super) config: String,
    /// SHA-256 of the input.
    pub(super) input: String,
    /// Number of the input among the sorted ones, and of the shard in it.
    pub(super) file: usize,
    pub(super) index: u32,
    /// Records (good and bad) before this shard, and in it.
    pub(super) first: u64,
    pub(super) counts: Counts,
    /// Samples, in order.
    pub(super) skipped: Vec<Skipped>,
    /// The input ends here.
    pub(super) last: bool,
    /// Why it ends here, if not because it was read to its end.
    pub(super) error: Option<String>,
    /// Length of the id section in words, and digest of everything after this line.
    pub(super) words: u64,
    pub(super) sha256: String,
}

/// What was read. Adds up over shards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Lines, elements or rows, bad ones among them.
    pub(super) records: u64,
    /// By kind.
    pub(super) bad_records: BTreeMap<String, u64>,
    /// Generated texts.
    pub(super) texts: u64,
    /// Records by the fields that they were read from.
    pub(super) schemas: BTreeMap<String, u64>,
    pub(super) prompt_tokens: u64,
    /// Generated tokens: positions.
    pub(super) tokens: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.texts += other.texts;
        self.prompt_tokens += other.prompt_tokens;
        self.tokens += other.tokens;
        for (to, from) in [(&mut self.bad_records, &other.bad_records), (&mut self.schemas, &other.schemas)] {
            for (name, n) in from {
                *to.entry(name.clone()).or_default() += n;
            }
        }
    }

    pub(super) fn bad(&self) -> u64 {
        self.bad_records.values().sum()
    }
}

/// A record that could not be used: where, and why; never its text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Skipped {
    pub(super) record: u64,
    pub(super) kind: String,
    pub(super) reason: String,
}

/// Where a text came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// Line, element or row, counted from 1.
    pub(super) record: u64,
    /// Generated text among those of the record, counted from 1; 0 if there can be only one.
    pub(super) part: u32,
    pub(super) id: Option<String>,
    /// First byte of the record after decompression, and one past its last.
    pub(super) bytes: Option<(u64, u64)>,
}

/// Texts as words: `continues`, lengths of prompt and text, their ids.
#[derive(Debug, Default)]
pub(super) struct Texts(Vec<u32>);

/// One text of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text<'a> {
    /// Prompt and tokens of the text before are prompt here too.
    pub(super) continues: bool,
    pub(super) prompt: &'a [u32],
    pub(super) tokens: &'a [u32],
}

impl Texts {
    /// Lengths are below 2^32 because records are.
    pub(super) fn push(&mut self, text: Text<'_>) {
        #[expect(clippy::cast_possible_truncation, reason = "a record has at most a token per byte")]
        self.0.extend([u32::from(text.continues), text.prompt.len() as u32, text.tokens.len() as u32]);
        self.0.extend_from_slice(text.prompt);
        self.0.extend_from_slice(text.tokens);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Text<'_>> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (&[continues, prompt, tokens], after) = rest.split_first_chunk()?;
            let (prompt, after) = after.split_at_checked(prompt as usize)?;
            let (tokens, after) = after.split_at_checked(tokens as usize)?;
            rest = after;
            Some(Text { continues: continues != 0, prompt, tokens })
        })
    }
}

/// A shard on disk.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    pub(super) path: PathBuf,
    pub(super) header: Header,
}

impl Shard {
    pub(super) fn path(folder: &Path, file: usize, index: u32) -> PathBuf {
        folder.join(format!("{file:06}-{index:06}.shard"))
    }

    /// Fills in lengths and digest, and writes the shard.
    pub(super) fn write(folder: &Path, mut header: Header, texts: &Texts, origins: &[Origin]) -> Result<Self> {
        let words: Vec<u8> = texts.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut lines = Vec::new();
        for origin in origins {
            serde_json::to_writer(&mut lines, origin)?;
            lines.push(b'\n');
        }
        header.words = texts.0.len() as u64;
        header.sha256 = hex(&Sha256::new().chain_update(&words).chain_update(&lines).finalize());
        let mut first = serde_json::to_vec(&header)?;
        first.push(b'\n');
        let path = Self::path(folder, header.file, header.index);
        write_whole(&path, &[&first, &words, &lines])?;
        Ok(Self { path, header })
    }

    /// Reads and checks a whole shard; `None` if it is not intact, which costs only its work.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let bytes = fs::read(path).ok()?;
        let (header, rest) = split_header(&bytes)?;
        (hex(&Sha256::digest(rest)) == header.sha256).then(|| Self { path: path.to_owned(), header })
    }

    pub(super) fn texts(&self) -> Result<Texts> {
        let bytes = self.read()?;
        let (words, _) = self.sections(&bytes)?;
        Ok(Texts(words.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()))
    }

    /// Ids and origins, aligned.
    pub(super) fn texts_and_origins(&self) -> Result<(Texts, Vec<Origin>)> {
        let bytes = self.read()?;
        let (words, lines) = self.sections(&bytes)?;
        let texts = Texts(words.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect());
        let origins = serde_json::Deserializer::from_slice(lines).into_iter().collect::<Result<_, _>>();
        Ok((texts, origins.with_context(|| self.damaged())?))
    }

    fn read(&self) -> Result<Vec<u8>> {
        fs::read(&self.path).with_context(|| self.damaged())
    }

    fn sections<'a>(&self, bytes: &'a [u8]) -> Result<(&'a [u8], &'a [u8])> {
        let (_, rest) = split_header(bytes).with_context(|| self.damaged())?;
        rest.split_at_checked(self.header.words as usize * 4).with_context(|| self.damaged())
    }

    fn damaged(&self) -> String {
        format!("{} was changed while the scan ran; run the same command again", self.path.display())
    }
}

fn split_header(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    Some((serde_json::from_slice(&bytes[..end]).ok()?, &bytes[end + 1..]))
}
