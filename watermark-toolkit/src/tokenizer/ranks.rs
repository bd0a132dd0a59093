//! Rank files (`.tiktoken`, Llama 3's `tokenizer.model`): a line per token, its bytes in base64, a space, its rank.
//!
//! How text is split into words and which ids are special is not in the file, so only files known by their digest are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::RangeInclusive;

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hashbrown::HashMap;
use watermark_core::hex;
use watermark_core::profile::TokenizerInfo;

use super::ByteRange;
use super::fast::{GPT2, WordEncoder};
use super::split::Split;

/// Token ids are below 2^24 everywhere in this project.
const MAX_RANK: u32 = (1 << 24) - 1;

/// Facts about a known file that the file itself does not hold.
pub(super) struct Known {
    name: &'static str,
    sha256: &'static str,
    pub(super) pattern: &'static str,
    /// Whether the pattern tries `\s++$` first, so that white space at the end of the text is one word.
    pub(super) end_is_one: bool,
    special: &'static [RangeInclusive<u32>],
}

/// The patterns and special ids of `tiktoken_ext/openai_public.py` (tiktoken 0.14; digests from there) and of Meta's
/// `llama_models/llama3/tokenizer.py` (0.3.0), possessive repetitions written as ordinary ones: none of them could give
/// back anything that the rest of its alternative would take.
pub(super) const KNOWN: [Known; 5] = [
    Known {
        name: "r50k_base",
        sha256: "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        pattern: GPT2,
        end_is_one: true,
        special: &[50256..=50256],
    },
    Known {
        name: "p50k_base",
        sha256: "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
        pattern: GPT2,
        end_is_one: true,
        special: &[50256..=50256],
    },
    Known {
        name: "cl100k_base",
        sha256: "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern: r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s",
        end_is_one: true,
        special: &[100_257..=100_260, 100_276..=100_276],
    },
    // The newer `o200k_harmony` is the same file with more special tokens; it is distributed as a tokenizer.json too.
    Known {
        name: "o200k_base",
        sha256: "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        pattern: concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
            r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        end_is_one: false,
        special: &[199_999..=199_999, 200_018..=200_018],
    },
    Known {
        name: "Llama 3",
        sha256: "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55",
        pattern: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        end_is_one: false,
        special: &[128_000..=128_255],
    },
];

/// A vocabulary of byte strings whose ids are also the order in which they are merged.
pub(super) struct Ranks {
    ids: HashMap<Box<[u8]>, u32>,
    /// [id]: the bytes of the token; empty where the file has none.
    tokens: Vec<Box<[u8]>>,
    longest: usize,
    words: WordEncoder,
    special: &'static [RangeInclusive<u32>],
}

impl Ranks {
    /// Whether the first line is a token and its rank.
    pub(super) fn sniff(bytes: &[u8]) -> bool {
        bytes.split(|byte| *byte == b'\n').next().is_some_and(|line| parse_line(line).is_ok())
    }

    /// Reads a file with this digest.
    pub(super) fn open(bytes: &[u8], sha256: &[u8; 32]) -> Result<Self> {
        let digest = hex::encode(sha256);
        let Some(known) = KNOWN.iter().find(|known| known.sha256 == digest) else {
            bail!(
                "this rank file, SHA-256 {digest}, is none of those known ({}), and how it splits text is not in it; \
                 use the model's tokenizer.json",
                KNOWN.map(|known| known.name).join(", ")
            );
        };
        Self::parse(bytes, known)
    }

    /// Reads any rank file as if it were `known`.
    pub(super) fn parse(bytes: &[u8], known: &Known) -> Result<Self> {
        let mut ids = HashMap::new();
        let mut tokens: Vec<Box<[u8]>> = Vec::new();
        let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
        for (i, line) in lines.filter(|(_, line)| !line.is_empty()) {
            let (token, rank) = parse_line(line).with_context(|| format!("rank file, line {}", i + 1))?;
            // A file names its ranks about in order: a far one would only make us reserve memory.
            ensure!(
                rank as usize <= 2 * bytes.len(),
                "rank file, line {}: rank {rank} is beyond the file's size",
                i + 1
            );
            let index = rank as usize;
            if tokens.len() <= index {
                tokens.resize(index + 1, Box::default());
            }
            let twice = || anyhow!("rank file, line {}: the token or its rank {rank} occurs twice", i + 1);
            let place = tokens.get_mut(index).filter(|place| place.is_empty()).ok_or_else(twice)?;
            *place = token.clone();
            if ids.insert(token, rank).is_some() {
                return Err(twice());
            }
        }
        if let Some(byte) = (0..=u8::MAX).find(|byte| !ids.contains_key(&[*byte][..])) {
            bail!("rank file: byte {byte:#04x} is not among the tokens, so some texts could not be encoded");
        }
        let longest = tokens.iter().map(|token| token.len()).max().unwrap_or(0);
        let mut split = Split::new(known.pattern, false).context("the pattern is not one that can be split by")?;
        split.end_is_one = known.end_is_one;
        Ok(Self { ids, tokens, longest, words: WordEncoder::new(vec![split]), special: known.special })
    }

    /// As [`super::Tokenizer::info`].
    pub(super) fn info(&self, sha256: [u8; 32]) -> Result<TokenizerInfo> {
        let special_token_ids: Vec<u32> = self.special.iter().cloned().flatten().collect();
        let ordinary = u32::try_from(self.tokens.len()).context("too many tokens")?;
        let vocab_size = special_token_ids.last().map_or(ordinary, |last| ordinary.max(last + 1));
        Ok(TokenizerInfo { sha256, vocab_size, special_token_ids })
    }

    /// Ids of `text`; the names of special tokens in it are text.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encode = |word: &str, ids: &mut Vec<u32>| self.merge(word.as_bytes(), ids);
        self.words.encode(text, usize::MAX, encode).context("the splitting automaton gave up")
    }

    /// As [`super::Tokenizer::encode_with_offsets`]; a token with only part of a character covers all of it.
    pub(super) fn encode_with_offsets(&self, text: &str) -> Result<(Vec<u32>, Vec<ByteRange>)> {
        let ids = self.encode(text)?;
        let mut end = 0;
        let offsets = ids
            .iter()
            .map(|id| {
                let start = end;
                end += self.bytes(*id).len();
                (text.floor_char_boundary(start), text.ceil_char_boundary(end))
            })
            .collect();
        Ok((ids, offsets))
    }

    /// The text of `ids`; special and unknown ones have none, and bytes that are not UTF-8 become U+FFFD.
    pub(super) fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| self.bytes(*id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn bytes(&self, id: u32) -> &[u8] {
        self.tokens.get(id as usize).map_or(&[], |token| token)
    }

    fn rank(&self, bytes: &[u8]) -> Option<u32> {
        if bytes.len() > self.longest { None } else { self.ids.get(bytes).copied() }
    }

    /// Byte pair encoding as tiktoken does it: a word that is a token is that token; otherwise, as long as two neighbours
    /// together are a token, the two of lowest rank are joined, leftmost first.
    fn merge(&self, word: &[u8], ids: &mut Vec<u32>) -> Option<()> {
        if let Some(id) = self.rank(word) {
            ids.push(id);
            return Some(());
        }
        let n = word.len();
        // [first byte of a part]: where the part ends, and where the part before it begins. An end of 0 means that the
        // part was joined to the one before.
        let mut end: Vec<usize> = (1..=n).collect();
        let mut before: Vec<usize> = (0..n).map(|i| i.saturating_sub(1)).collect();
        let mut pairs = BinaryHeap::new();
        let pair = |start: usize, end: usize| Some(Reverse((self.rank(word.get(start..end)?)?, start, end)));
        pairs.extend((0..n.saturating_sub(1)).filter_map(|i| pair(i, i + 2)));
        while let Some(Reverse((_, start, stop))) = pairs.pop() {
            let middle = *end.get(start)?;
            // The pair is out of date if its parts have been joined with others. If two other parts have these bounds
            // now, joining them is right too, because their bytes are the same and so is the rank.
            if middle == 0 || middle >= stop || *end.get(middle)? != stop {
                continue;
            }
            *end.get_mut(start)? = stop;
            *end.get_mut(middle)? = 0;
            if let Some(place) = before.get_mut(stop) {
                *place = start;
                pairs.extend(pair(start, *end.get(stop)?));
            }
            if start > 0 {
                pairs.extend(pair(*before.get(start)?, stop));
            }
        }
        let mut start = 0;
        while start < n {
            let stop = *end.get(start)?;
            ids.push(self.rank(word.get(start..stop)?)?);
            start = stop;
        }
        Some(())
    }
}

fn parse_line(line: &[u8]) -> Result<(Box<[u8]>, u32)> {
    let wrong = "not a token in base64, a space, and its rank";
    let (token, rank) = str::from_utf8(line).ok().and_then(|line| line.trim_ascii().split_once(' ')).context(wrong)?;
    let token = STANDARD.decode(token).ok().filter(|token| !token.is_empty()).context(wrong)?;
    let digits = rank.bytes().all(|byte| byte.is_ascii_digit());
    let rank = rank.parse().ok().filter(|rank| digits && *rank <= MAX_RANK).context(wrong)?;
    Ok((token.into(), rank))
}
