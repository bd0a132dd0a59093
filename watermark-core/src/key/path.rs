use std::fmt;

use crate::{Error, ErrorKind, Result};

const MAX_SEGMENT: usize = 64;
/// Longest path. Deeper paths have no use and would only cost derivations.
const MAX_SEGMENTS: usize = 32;

/// A place in the key tree: segments `[a-z0-9._-]{1,64}` joined by `/`; empty is the root.
///
/// ```
/// use watermark_core::key::KeyPath;
/// let path: KeyPath = "epoch/2026-11/layer/distillation".parse()?;
/// assert_eq!(path.segments().count(), 4);
/// assert!("epoch//x".parse::<KeyPath>().is_err());
/// # Ok::<(), watermark_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyPath(String);

impl KeyPath {
    /// The root, written as the empty string.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments from the root down.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// This path with `below` (one or more segments) appended.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if the result is not a path.
    pub fn join(&self, below: &str) -> Result<Self> {
        if self.0.is_empty() { below.parse() } else { format!("{}/{below}", self.0).parse() }
    }

    /// Whether whoever holds the key at `ancestor` can derive the key here.
    #[must_use]
    pub fn is_at_or_below(&self, ancestor: &Self) -> bool {
        self.below(ancestor).is_some()
    }

    /// The segments of `self` below `ancestor`, or `None` if `ancestor` is not on the way to it.
    pub(super) fn below<'a>(&'a self, ancestor: &'a Self) -> Option<impl Iterator<Item = &'a str>> {
        let mut own = self.segments();
        ancestor.segments().all(|segment| own.next() == Some(segment)).then_some(own)
    }
}

impl std::str::FromStr for KeyPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |why: &str| {
            let shown: String = text.chars().take(80).collect();
            Error::new(
                ErrorKind::InvalidPath,
                format!("key path {shown:?}: {why}; use segments of [a-z0-9._-], 1 to 64 each, joined by '/'"),
            )
        };
        if text.is_empty() {
            return Ok(Self::root());
        }
        if text.split('/').count() > MAX_SEGMENTS {
            return Err(invalid("more than 32 segments"));
        }
        for segment in text.split('/') {
            if segment.is_empty() || segment.len() > MAX_SEGMENT {
                return Err(invalid("a segment is empty or longer than 64 bytes"));
            }
            // A server may well make folders of paths.
            if segment == "." || segment == ".." {
                return Err(invalid("a segment is \".\" or \"..\""));
            }
            let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
            if !segment.bytes().all(allowed) {
                return Err(invalid("a segment has a character outside [a-z0-9._-]"));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
