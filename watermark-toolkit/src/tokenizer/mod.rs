//! Tokenizers and their fingerprints.

#[cfg(feature = "tokenizers")]
mod fast;
#[cfg(feature = "tokenizers")]
mod kind;
#[cfg(not(feature = "tokenizers"))]
mod none;
#[cfg(feature = "tokenizers")]
mod ranks;
#[cfg(all(test, feature = "tokenizers"))]
mod ranks_tests;
#[cfg(feature = "tokenizers")]
mod split;
#[cfg(all(test, feature = "tokenizers"))]
mod tests;
#[cfg(feature = "tokenizers")]
mod words;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use watermark_core::hex;
use watermark_core::profile::TokenizerInfo;

#[cfg(feature = "tokenizers")]
use self::kind::Kind;
#[cfg(not(feature = "tokenizers"))]
use self::none::Kind;
use crate::files::read_bounded;

/// First byte, and one past the last.
pub type ByteRange = (usize, usize);

/// Files of the largest vocabularies in use are below 40 MB.
const MAX_TOKENIZER: u64 = 256 << 20;

/// The `tokenizer.json` of the laboratory's models: byte-level BPE of 2,048 tokens.
pub const EMBEDDED: &[u8] = include_bytes!("../../embedded/tokenizer.json");

/// [`EMBEDDED`] in messages.
const EMBEDDED_NAME: &str = "the embedded tokenizer";

/// A `tokenizer.json` or a rank file, with the digest of its bytes.
pub struct Tokenizer {
    kind: Kind,
    sha256: [u8; 32],
    name: String,
    path: Option<PathBuf>,
}

/// A tokenizer that is still to be parsed.
pub(crate) struct Found {
    pub(crate) bytes: Cow<'static, [u8]>,
    pub(crate) path: Option<PathBuf>,
}

impl Tokenizer {
    /// Parses the bytes of a `tokenizer.json`, or of a rank file (`.tiktoken`) that is known: those of r50k, p50k, cl100k,
    /// o200k and Llama 3. Text is then always ordinary text. `name` is for messages.
    ///
    /// # Errors
    /// If the `tokenizers` crate cannot read it, or the rank file is not known.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self> {
        let sha256: [u8; 32] = Sha256::digest(bytes).into();
        let kind = Kind::open(bytes, &sha256, name)?;
        Ok(Self { kind, sha256, name: name.to_owned(), path: None })
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
    /// In a build without the feature `tokenizers` only.
    pub fn embedded() -> Result<Self> {
        Self::from_bytes(EMBEDDED, EMBEDDED_NAME)
    }

    /// The tokenizer of a profile: the given file, else `tokenizer.json` beside the profile, else the embedded one,
    /// whichever first has the digest that the profile names. A given file with another digest is an error.
    ///
    /// # Errors
    /// If none matches.
    pub fn for_profile(given: Option<&Path>, profile_path: &Path, expected: &TokenizerInfo) -> Result<Self> {
        let Found { bytes, path } = Self::find(given, profile_path, expected)?;
        let name = path.as_deref().map_or_else(|| EMBEDDED_NAME.to_owned(), |path| path.display().to_string());
        Ok(Self { path, ..Self::from_bytes(&bytes, &name)? })
    }

    /// What [`Self::for_profile`] parses.
    pub(crate) fn find(given: Option<&Path>, profile_path: &Path, expected: &TokenizerInfo) -> Result<Found> {
        let read = |path: PathBuf| -> Result<(Found, [u8; 32])> {
            let bytes = read_bounded(&path, MAX_TOKENIZER).with_context(|| format!("tokenizer {}", path.display()))?;
            let sha256 = Sha256::digest(&bytes).into();
            Ok((Found { bytes: Cow::Owned(bytes), path: Some(path) }, sha256))
        };
        if let Some(path) = given {
            let (found, sha256) = read(path.to_owned())?;
            ensure!(
                sha256 == expected.sha256,
                "tokenizer {} has SHA-256 {}, but the profile was made for {}; token ids would not agree. \
                 Use the tokenizer that the deployment serves with",
                path.display(),
                hex::encode(&sha256),
                hex::encode(&expected.sha256)
            );
            return Ok(found);
        }
        let beside = profile_path.with_file_name("tokenizer.json");
        let mut tried = format!("{} is not there", beside.display());
        if beside.is_file() {
            tried = format!("{} is another", beside.display());
            let (found, sha256) = read(beside)?;
            if sha256 == expected.sha256 {
                return Ok(found);
            }
        }
        ensure!(
            Sha256::digest(EMBEDDED)[..] == expected.sha256,
            "{} was made for a tokenizer.json with SHA-256 {}: {tried}, and the embedded one is another; give it with --tokenizer",
            profile_path.display(),
            hex::encode(&expected.sha256)
        );
        Ok(Found { bytes: Cow::Borrowed(EMBEDDED), path: None })
    }

    /// The file that it was found in for a profile; `None` for the embedded one and for bytes.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
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
        self.kind.info(self.sha256)
    }

    /// Token ids of `text`, without added special tokens.
    ///
    /// # Errors
    /// If the tokenizer cannot encode it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.kind.encode(text).with_context(|| self.name.clone())
    }

    /// As [`Self::encode`], with the bytes of `text` that each token stands for: first, and one past the last.
    ///
    /// # Errors
    /// If the tokenizer cannot encode it.
    pub fn encode_with_offsets(&self, text: &str) -> Result<(Vec<u32>, Vec<ByteRange>)> {
        self.kind.encode_with_offsets(text).with_context(|| self.name.clone())
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
        self.kind.decode(ids).with_context(|| self.name.clone())
    }
}
