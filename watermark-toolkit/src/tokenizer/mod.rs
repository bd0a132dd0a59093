//! Tokenizers and their fingerprints.

mod fast;
mod ranks;
#[cfg(test)]
mod ranks_tests;
mod split;
#[cfg(test)]
mod tests;
mod words;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};
use watermark_core::hex;
use watermark_core::profile::TokenizerInfo;

use self::fast::Fast;
use self::ranks::Ranks;
use crate::files::read_bounded;

/// First byte, and one past the last.
pub type ByteRange = (usize, usize);

/// Files of the largest vocabularies in use are below 40 MB.
const MAX_TOKENIZER: u64 = 256 << 20;

/// The `tokenizer.json` of the laboratory's models: byte-level BPE of 2,048 tokens.
pub const EMBEDDED: &[u8] = include_bytes!("../../embedded/tokenizer.json");

/// A `tokenizer.json` or a rank file, with the digest of its bytes.
pub struct Tokenizer {
    kind: Kind,
    sha256: [u8; 32],
    name: String,
}

enum Kind {
    Json {
        library: Box<tokenizers::Tokenizer>,
        /// The fast path, where it is known to give the same ids.
        fast: Option<Box<Fast>>,
    },
    Ranks(Box<Ranks>),
}

impl Tokenizer {
    /// Parses the bytes of a `tokenizer.json`, or of a rank file (`.tiktoken`) that is known: those of r50k, p50k, cl100k,
    /// o200k and Llama 3. Text is then always ordinary text. `name` is for messages.
    ///
    /// # Errors
    /// If the `tokenizers` crate cannot read it, or the rank file is not known.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self> {
        let sha256: [u8; 32] = Sha256::digest(bytes).into();
        let kind = if Ranks::sniff(bytes) {
            Kind::Ranks(Box::new(Ranks::open(bytes, &sha256).with_context(|| name.to_owned())?))
        } else {
            let mut library = tokenizers::Tokenizer::from_bytes(bytes)
                .map_err(|error| anyhow!("{name} is not a tokenizer.json that can be read: {error}"))?;
            // A file may ask for both; they would hide text from a test, or add tokens to it.
            library.with_truncation(None).map_err(|error| anyhow!("{name}: {error}"))?;
            library.with_padding(None);
            // Special tokens are never added; all that is left of a post-processor is that it trims spaces off the offsets.
            library.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
            Kind::Json { fast: Fast::new(&library).map(Box::new), library: Box::new(library) }
        };
        Ok(Self { kind, sha256, name: name.to_owned() })
    }

    /// Reads a file as [`Self::from_bytes`] does.
    ///
    /// # Errors
    /// If it cannot be opened or parsed.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = read_bounded(path, MAX_TOKENIZER).with_context(|| format!("tokenizer {}", path.display()))?;
        Self::from_bytes(&bytes, &path.display().to_string())
    }

    /// The tokenizer embedded with the laboratory models.
    ///
    /// # Errors
    /// Never in a build that passed its tests.
    pub fn embedded() -> Result<Self> {
        Self::from_bytes(EMBEDDED, "the embedded tokenizer")
    }

    /// The tokenizer of a profile: the given file, else `tokenizer.json` beside the profile, else the embedded one,
    /// whichever first has the digest that the profile names. A given file with another digest is an error.
    ///
    /// # Errors
    /// If none matches.
    pub fn for_profile(given: Option<&Path>, profile_path: &Path, expected: &TokenizerInfo) -> Result<Self> {
        if let Some(path) = given {
            let tokenizer = Self::open(path)?;
            tokenizer.check(expected)?;
            return Ok(tokenizer);
        }
        let beside: PathBuf = profile_path.with_file_name("tokenizer.json");
        if beside.is_file() {
            let tokenizer = Self::open(&beside)?;
            if tokenizer.sha256 == expected.sha256 {
                return Ok(tokenizer);
            }
        }
        let tokenizer = Self::embedded()?;
        if tokenizer.sha256 == expected.sha256 {
            return Ok(tokenizer);
        }
        bail!("no tokenizer with the digest that {} names was found; give it with --tokenizer", profile_path.display())
    }

    fn check(&self, expected: &TokenizerInfo) -> Result<()> {
        if self.sha256 != expected.sha256 {
            bail!(
                "tokenizer {} has SHA-256 {}, but the profile was made for {}; token ids would not agree. \
                 Use the tokenizer that the deployment serves with",
                self.name,
                hex::encode(&self.sha256),
                hex::encode(&expected.sha256)
            );
        }
        Ok(())
    }

    /// The name of the tokenizer in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The identity that a profile states. `vocab_size` is one past the largest id; special tokens are those that the
    /// file marks as special, or that are known of a rank file.
    ///
    /// # Errors
    /// If the vocabulary is empty or too large.
    pub fn info(&self) -> Result<TokenizerInfo> {
        let library = match &self.kind {
            Kind::Ranks(ranks) => return ranks.info(self.sha256),
            Kind::Json { library, .. } => library,
        };
        let largest = library.get_vocab(true).into_values().max().context("the tokenizer has no tokens")?;
        let mut special_token_ids: Vec<u32> = library
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, _)| id)
            .collect();
        special_token_ids.sort_unstable();
        let vocab_size = largest.checked_add(1).context("a token id does not fit 32 bits")?;
        Ok(TokenizerInfo { sha256: self.sha256, vocab_size, special_token_ids })
    }

    /// Token ids of `text`, without added special tokens.
    ///
    /// # Errors
    /// If the tokenizer cannot encode it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let (library, fast) = match &self.kind {
            Kind::Ranks(ranks) => return ranks.encode(text).with_context(|| self.name.clone()),
            Kind::Json { library, fast } => (library, fast),
        };
        if let Some(ids) = fast.as_ref().and_then(|fast| fast.encode(library, text)) {
            return Ok(ids);
        }
        let encoding =
            library.encode_fast(text, false).map_err(|error| anyhow!("{} cannot encode: {error}", self.name))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`Self::encode`], with the bytes of `text` that each token stands for: first, and one past the last.
    ///
    /// # Errors
    /// If the tokenizer cannot encode it.
    pub fn encode_with_offsets(&self, text: &str) -> Result<(Vec<u32>, Vec<ByteRange>)> {
        match &self.kind {
            Kind::Ranks(ranks) => ranks.encode_with_offsets(text).with_context(|| self.name.clone()),
            Kind::Json { library, .. } => {
                let encoding =
                    library.encode(text, false).map_err(|error| anyhow!("{} cannot encode: {error}", self.name))?;
                Ok((encoding.get_ids().to_vec(), encoding.get_offsets().to_vec()))
            }
        }
    }

    /// The id of a piece of text that is one token by itself; `None` if it is none or several.
    ///
    /// # Errors
    /// If the tokenizer cannot encode it.
    pub fn single_token(&self, piece: &str) -> Result<Option<u32>> {
        Ok(match self.encode(piece)?[..] {
            [id] if self.decode(&[id])? == piece => Some(id),
            _ => None,
        })
    }

    /// The text of token ids, special tokens left out.
    ///
    /// # Errors
    /// If the tokenizer cannot decode them.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        match &self.kind {
            Kind::Ranks(ranks) => Ok(ranks.decode(ids)),
            Kind::Json { library, .. } => {
                library.decode(ids, true).map_err(|error| anyhow!("{} cannot decode: {error}", self.name))
            }
        }
    }
}
