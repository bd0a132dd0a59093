use std::{fmt, io};

use super::compression::Compression;
use super::location::Location;

/// Why an input cannot be read, or not any further.
///
/// Messages name the input and say what to do. They never repeat its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    kind: ReadErrorKind,
    message: String,
}

/// The cause of a [`ReadError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadErrorKind {
    /// The operating system cannot open or read the input.
    Io,
    /// A container or layout that is recognised but not read: Arrow, xz, zip, tar, CSV, a placeholder of Git LFS, something compressed twice.
    UnsupportedContainer,
    /// An encoding other than UTF-8.
    UnsupportedEncoding,
    /// Nothing but white space.
    Empty,
    /// The compressed stream, or the JSON array, ends too early.
    Truncated,
    /// The compressed stream, JSON array or Parquet file is damaged, or something else follows it.
    Corrupt,
    /// A zstd frame needs more memory than [`Limits::max_window_log`](super::Limits::max_window_log) allows.
    WindowTooLarge,
    /// A Parquet file without any column that the format reads.
    NoColumn,
    /// White space up to the record limit and nothing else.
    LeadingSpace,
    /// Not the name of an [`InputFormat`](super::InputFormat).
    UnknownFormat,
}

impl ReadError {
    pub(super) fn new(kind: ReadErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The error of a read that failed at `place`.
    pub(super) fn from_io(place: impl fmt::Display, compression: Compression, error: &io::Error) -> Self {
        let Some(name) = compression.name() else {
            return Self::new(ReadErrorKind::Io, format!("{place}: cannot read: {error}"));
        };
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::new(
                ReadErrorKind::Truncated,
                format!("{place}: the {name} stream ends too early; the rest is lost, get a complete copy"),
            ),
            io::ErrorKind::Other if compression == Compression::Zstd && error.to_string().contains("memory") => {
                Self::new(
                    ReadErrorKind::WindowTooLarge,
                    format!(
                        "{place}: a zstd frame asks for a larger window than the limit allows; allow more memory (`scan --memory 2G`)"
                    ),
                )
            }
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::Other => Self::new(
                ReadErrorKind::Corrupt,
                format!(
                    "{place}: the {name} stream is damaged, or other bytes follow it ({error}); get an intact copy"
                ),
            ),
            _ => Self::new(ReadErrorKind::Io, format!("{place}: cannot read: {error}")),
        }
    }

    /// The cause.
    #[must_use]
    pub fn kind(&self) -> ReadErrorKind {
        self.kind
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

/// A record that cannot be used. The reader goes on with the next one.
///
/// Messages give source, line, what is wrong and what to do. They never repeat a text or the name of an unknown
/// field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    location: Location,
    flaw: Flaw,
}

/// The cause of a [`BadRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadRecordKind {
    /// Longer than [`Limits::max_record_bytes`](super::Limits::max_record_bytes).
    TooLong,
    /// Not UTF-8.
    InvalidUtf8,
    /// Not one JSON object.
    InvalidJson,
    /// A string escape for half of a surrogate pair, which is no character.
    LoneSurrogate,
    /// NUL bytes in a plain text.
    NulBytes,
    /// The last line, without a newline, and broken.
    Truncated,
    /// No field that the format reads.
    MissingField,
    /// A field is of the wrong type.
    WrongType,
    /// A field occurs twice.
    DuplicateField,
    /// Two fields that each would be the generated text, and none of them is to be preferred.
    Ambiguous,
    /// A text that somebody else than the model wrote.
    NotGenerated,
    /// An element of an id array is not an integer from 0 to 2^24 - 1.
    InvalidToken,
}

/// What is wrong with a record, before it is known where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    kind: BadRecordKind,
    message: String,
}

impl Flaw {
    pub(super) fn new(kind: BadRecordKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(super) fn too_long(what: &str, limit: usize) -> Self {
        Self::new(
            BadRecordKind::TooLong,
            format!("{what} is longer than the limit of {limit} bytes; split it into shorter records"),
        )
    }

    pub(super) fn kind(&self) -> BadRecordKind {
        self.kind
    }

    pub(super) fn push_hint(&mut self, hint: &str) {
        self.message.push_str("; ");
        self.message.push_str(hint);
    }

    pub(super) fn at(self, location: Location) -> BadRecord {
        BadRecord { location, flaw: self }
    }
}

impl BadRecord {
    /// The cause.
    #[must_use]
    pub fn kind(&self) -> BadRecordKind {
        self.flaw.kind
    }

    /// Where the record is.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.flaw.message)
    }
}

impl std::error::Error for BadRecord {}
