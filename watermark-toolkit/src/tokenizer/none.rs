use anyhow::{Result, bail};
use watermark_core::profile::TokenizerInfo;

use super::ByteRange;

/// The tokenizers of a build that reads none: there is no value of it.
pub(super) enum Kind {}

impl Kind {
    pub(super) fn open(_: &[u8], _: &[u8; 32], name: &str) -> Result<Self> {
        bail!("{name}: this build reads no tokenizers; use one with the feature `tokenizers`")
    }

    pub(super) fn info(&self, _: [u8; 32]) -> Result<TokenizerInfo> {
        match *self {}
    }

    pub(super) fn encode(&self, _: &str) -> Result<Vec<u32>> {
        match *self {}
    }

    pub(super) fn encode_with_offsets(&self, _: &str) -> Result<(Vec<u32>, Vec<ByteRange>)> {
        match *self {}
    }

    pub(super) fn decode(&self, _: &[u32]) -> Result<String> {
        match *self {}
    }
}
