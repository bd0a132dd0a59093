use std::fmt;

/// What went wrong; match on [`Error::kind`], print the error itself for people.
///
/// Messages name the offending field or position. They never contain key material or text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// The cause of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A key path or segment is malformed.
    InvalidPath,
    /// A key does not lie above the path that was asked for.
    OutsideSubtree,
    /// A key file is malformed.
    InvalidKeyFile,
    /// A profile is malformed or contradicts itself.
    InvalidProfile,
    /// A file was written by a newer or unknown version of its format.
    UnsupportedVersion,
    /// A scheme parameter is outside its domain.
    InvalidParameter,
    /// A token id is at or above 2^24, or at or above the vocabulary size.
    TokenOutOfRange,
    /// Logits hold NaN or +inf, allow no token, or have the wrong length.
    InvalidLogits,
    /// A passphrase does not open a key file, or the file was changed.
    WrongPassphrase,
    /// Bytes are not the canonical form of what they say.
    NotCanonical,
    /// A part of evidence is malformed, or its parts contradict each other.
    InvalidEvidence,
    /// A signature does not hold, or is by another key.
    InvalidSignature,
    /// A Merkle proof does not lead to the root, or a key is not the one that was committed to.
    InvalidProof,
    /// The session or test lacks something its profile needs, such as an account.
    MissingInput,
}

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn out_of_vocabulary(id: u32, vocab_size: usize) -> Self {
        Self::new(ErrorKind::TokenOutOfRange, format!("token id {id} is not below vocab_size {vocab_size}"))
    }

    /// The cause.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
