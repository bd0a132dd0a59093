//! The deployments that may have marked a corpus.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use watermark_core::hex;
use watermark_core::profile::TokenizerInfo;

use super::folder::Manifest;
use crate::files::ProfileFile;
use crate::ids::Vocabulary;
use crate::tokenizer::Tokenizer;

/// Profiles, each with the tokenizer that makes its ids.
pub struct Profiles {
    files: Vec<ProfileFile>,
    /// [profile]: number of the profile's tokenizer.
    slots: Vec<usize>,
    /// Each tokenizer once; empty where inputs are ids.
    tokenizers: Vec<Tokenizer>,
    /// Whether inputs are texts, of which these tokenizers make the ids.
    of_text: bool,
    /// [tokenizer]: size of the vocabulary. Where inputs are ids, one size for all profiles.
    vocab_sizes: Vec<u32>,
}

/// Digests of everything that the reading of a corpus depends on, apart from its inputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Identity {
    /// SHA-256 of the profiles' files.
    pub(super) profiles: Vec<String>,
    /// SHA-256 of the tokenizers' files; none where ids are read.
    pub(super) tokenizers: Vec<String>,
}

impl Profiles {
    /// Profiles for inputs of texts ([`Self::of_text`]), or of ids, where a tokenizer that is given is only checked.
    ///
    /// # Errors
    /// As [`Self::of_text`] and [`Self::of_ids`].
    pub fn for_inputs(profiles: Vec<(PathBuf, ProfileFile)>, given: &[PathBuf], ids_given: bool) -> Result<Self> {
        if ids_given && given.is_empty() {
            return Self::of_ids(profiles.into_iter().map(|(_, file)| file).collect());
        }
        let profiles = Self::of_text(profiles, given)?;
        if ids_given { Self::of_ids(profiles.into_files()) } else { Ok(profiles) }
    }

    /// Profiles for texts. A tokenizer is the one of `given` with the digest that a profile names, else `tokenizer.json`
    /// beside the profile, else the embedded one.
    ///
    /// # Errors
    /// If a profile's tokenizer is not found, a given one is none of theirs, or two profiles have one name.
    pub fn of_text(profiles: Vec<(PathBuf, ProfileFile)>, given: &[PathBuf]) -> Result<Self> {
        let mut tokenizers = given.iter().map(|path| Tokenizer::open(path)).collect::<Result<Vec<_>>>()?;
        let mut known = tokenizers.iter().map(Self::digest).collect::<Result<Vec<_>>>()?;
        for (path, file) in &profiles {
            let expected = &file.profile.tokenizer;
            if known.contains(&expected.sha256) {
                continue;
            }
            // With one profile, another tokenizer is a mistake that the check explains.
            let only = given.first().filter(|_| profiles.len() == 1);
            tokenizers.push(Tokenizer::for_profile(only.map(PathBuf::as_path), path, expected)?);
            known.push(expected.sha256);
        }
        Self::with_tokenizers(profiles.into_iter().map(|(_, file)| file).collect(), tokenizers)
    }

    /// Profiles for texts, with their tokenizers.
    ///
    /// # Errors
    /// If a profile's tokenizer is missing, one is none of theirs, or two profiles have one name.
    pub fn with_tokenizers(profiles: Vec<ProfileFile>, tokenizers: Vec<Tokenizer>) -> Result<Self> {
        let mut this = Self::of_digests(profiles)?;
        let mut given =
            tokenizers.into_iter().map(|given| Ok((Self::digest(&given)?, given))).collect::<Result<Vec<_>>>()?;
        for slot in 0..this.slots() {
            let (digest, name) = this.of_slot(slot);
            let at = given.iter().position(|(sha256, _)| *sha256 == digest);
            let at = at.with_context(|| {
                format!("the tokenizer of profile {name:?} is missing: SHA-256 {}", hex::encode(&digest))
            })?;
            this.tokenizers.push(given.remove(at).1);
        }
        if let Some((_, tokenizer)) = given.first() {
            bail!("tokenizer {} is that of no profile; leave it out or name its profile too", tokenizer.name());
        }
        Ok(this)
    }

    fn digest(tokenizer: &Tokenizer) -> Result<[u8; 32]> {
        Ok(tokenizer.info()?.sha256)
    }

    /// Profiles for token ids.
    ///
    /// # Errors
    /// If they are of different tokenizers, or two have one name.
    pub fn of_ids(profiles: Vec<ProfileFile>) -> Result<Self> {
        let mut this = Self::empty(profiles.iter())?;
        let tokenizers: Vec<_> = profiles.iter().map(|file| &file.profile.tokenizer).collect();
        if tokenizers.windows(2).any(|pair| pair[0] != pair[1]) {
            bail!("the profiles are of different tokenizers, but token ids are of one; scan them apart");
        }
        this.slots = vec![0; profiles.len()];
        this.vocab_sizes = tokenizers.first().map(|tokenizer| tokenizer.vocab_size).into_iter().collect();
        this.files = profiles;
        Ok(this)
    }

    /// Profiles for the ids of parts that [`super::partials`] wrote into folders like `part`.
    ///
    /// # Errors
    /// If it is none, or two profiles have one name.
    pub fn of_parts(profiles: Vec<ProfileFile>, part: &Path) -> Result<Self> {
        if Manifest::read(part)?.tokenizers.is_empty() {
            return Self::of_ids(profiles);
        }
        Self::of_digests(profiles)
    }

    /// One slot for every tokenizer that the profiles name.
    fn of_digests(profiles: Vec<ProfileFile>) -> Result<Self> {
        let mut this = Self::empty(profiles.iter())?;
        let mut digests = Vec::new();
        for TokenizerInfo { sha256, vocab_size, .. } in profiles.iter().map(|file| &file.profile.tokenizer) {
            let slot = digests.iter().position(|digest| digest == sha256).unwrap_or_else(|| {
                digests.push(*sha256);
                this.vocab_sizes.push(*vocab_size);
                digests.len() - 1
            });
            // The smallest size of all profiles with this tokenizer, so that every one of them knows the ids.
            this.vocab_sizes[slot] = this.vocab_sizes[slot].min(*vocab_size);
            this.slots.push(slot);
        }
        this.of_text = true;
        this.files = profiles;
        Ok(this)
    }

    /// Digest of a tokenizer, and the name of a profile that has it.
    fn of_slot(&self, slot: usize) -> ([u8; 32], &str) {
        let profile = self.slots.iter().position(|of_profile| *of_profile == slot).unwrap_or_default();
        let profile = &self.files[profile].profile;
        (profile.tokenizer.sha256, &profile.name)
    }

    fn empty<'a>(profiles: impl Iterator<Item = &'a ProfileFile>) -> Result<Self> {
        let mut names: Vec<&str> = profiles.map(|file| file.profile.name.as_str()).collect();
        names.sort_unstable();
        if names.is_empty() {
            bail!("no profile to look for");
        }
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            bail!("two profiles are named {:?}; give one another name", pair[0]);
        }
        Ok(Self {
            files: Vec::new(),
            slots: Vec::new(),
            tokenizers: Vec::new(),
            vocab_sizes: Vec::new(),
            of_text: false,
        })
    }

    /// The profiles' files; the tokenizers are dropped.
    #[must_use]
    pub fn into_files(self) -> Vec<ProfileFile> {
        self.files
    }

    /// The profiles' files.
    #[must_use]
    pub fn files(&self) -> &[ProfileFile] {
        &self.files
    }

    pub(super) fn slot(&self, profile: usize) -> usize {
        self.slots[profile]
    }

    /// How many tokenizers make ids; one where ids are read.
    pub(super) fn slots(&self) -> usize {
        self.vocab_sizes.len()
    }

    pub(super) fn vocabulary(&self, slot: usize) -> Vocabulary<'_> {
        Vocabulary { tokenizer: self.tokenizers.get(slot), size: Some(self.vocab_sizes[slot]) }
    }

    pub(super) fn identity(&self) -> Identity {
        Identity {
            profiles: self.files.iter().map(|file| hex::encode(&file.sha256)).collect(),
            tokenizers: (0..self.slots())
                .filter(|_| self.of_text)
                .map(|slot| hex::encode(&self.of_slot(slot).0))
                .collect(),
        }
    }
}
