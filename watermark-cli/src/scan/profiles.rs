//! The deployments that may have marked a corpus.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::Serialize;

use watermark_core::profile::TokenizerInfo;

use super::folder::Manifest;
use crate::files::ProfileFile;
use crate::tokenizer::{Tokenizer, hex};

/// Profiles, each with the tokenizer that makes its ids.
pub struct Profiles {
    files: Vec<ProfileFile>,
    /// [profile]: which tokenizer.
    slots: Vec<usize>,
    /// Each once; none where ids are read.
    tokenizers: Vec<Tokenizer>,
    /// Whether these tokenizers make the ids.
    of_text: bool,
    /// By tokenizer; the one of all profiles where ids are read.
    vocab_sizes: Vec<u32>,
}

/// What the reading of a corpus depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Identity {
    /// SHA-256 of the profiles' files.
    pub(super) profiles: Vec<String>,
    /// SHA-256 of the tokenizers' files; none where ids are read.
    pub(super) tokenizers: Vec<String>,
}

impl Profiles {
    /// Profiles for texts. A tokenizer is the one of `given` with the digest that a profile names, else `tokenizer.json`
    /// beside the profile, else the embedded one.
    ///
    /// # Errors
    /// If a profile's tokenizer is not found, a given one is none of theirs, or two profiles have one name.
    pub fn of_text(profiles: Vec<(PathBuf, ProfileFile)>, given: &[PathBuf]) -> Result<Self> {
        let mut this = Self::empty(profiles.iter().map(|(_, file)| file))?;
        this.of_text = true;
        let mut given = given
            .iter()
            .map(|path| {
                let tokenizer = Tokenizer::open(path)?;
                Ok((path, tokenizer.info()?.sha256, tokenizer))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut digests = Vec::new();
        for (path, file) in &profiles {
            let expected = &file.profile.tokenizer;
            if let Some(slot) = digests.iter().position(|digest| *digest == expected.sha256) {
                // Ids that both profiles know.
                this.vocab_sizes[slot] = this.vocab_sizes[slot].min(expected.vocab_size);
                this.slots.push(slot);
                continue;
            }
            this.tokenizers.push(match given.iter().position(|(_, sha256, _)| *sha256 == expected.sha256) {
                Some(at) => given.remove(at).2,
                // With one profile, another tokenizer is a mistake that the check explains.
                None if profiles.len() == 1 && !given.is_empty() => {
                    Tokenizer::for_profile(Some(given[0].0), path, expected)?
                }
                None => Tokenizer::for_profile(None, path, expected)?,
            });
            this.slots.push(digests.len());
            this.vocab_sizes.push(expected.vocab_size);
            digests.push(expected.sha256);
        }
        if let Some((path, ..)) = given.first() {
            bail!("tokenizer {} is that of no profile; leave it out or name its profile too", path.display());
        }
        this.files = profiles.into_iter().map(|(_, file)| file).collect();
        Ok(this)
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
        let mut this = Self::empty(profiles.iter())?;
        let mut digests = Vec::new();
        for TokenizerInfo { sha256, vocab_size, .. } in profiles.iter().map(|file| &file.profile.tokenizer) {
            let slot = digests.iter().position(|digest| digest == sha256).unwrap_or_else(|| {
                digests.push(*sha256);
                this.vocab_sizes.push(*vocab_size);
                digests.len() - 1
            });
            this.slots.push(slot);
        }
        this.of_text = true;
        this.files = profiles;
        Ok(this)
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

    /// Without the tokenizers.
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

    pub(super) fn tokenizers(&self) -> &[Tokenizer] {
        &self.tokenizers
    }

    pub(super) fn vocab_size(&self, slot: usize) -> u32 {
        self.vocab_sizes[slot]
    }

    pub(super) fn identity(&self) -> Identity {
        let tokenizer = |slot: usize| {
            let profile = self.slots.iter().position(|of_profile| *of_profile == slot).unwrap_or_default();
            hex(&self.files[profile].profile.tokenizer.sha256)
        };
        Identity {
            profiles: self.files.iter().map(|file| hex(&file.sha256)).collect(),
            tokenizers: (0..self.slots()).filter(|_| self.of_text).map(tokenizer).collect(),
        }
    }
}
