use std::fmt;
use std::sync::Arc;

/// A place in an input, printed as `source:line`, and with `#part` where a line can hold several generated texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    source: Arc<str>,
    line: u64,
    part: u32,
    bytes: Option<(u64, u64)>,
}

impl Location {
    /// The `line`-th record, counted from 1, of the input that is called `source`.
    #[must_use]
    pub fn new(source: &Arc<str>, line: u64, bytes: Option<(u64, u64)>) -> Self {
        Self { source: Arc::clone(source), line, part: 0, bytes }
    }

    pub(super) fn with_part(self, part: u32) -> Self {
        Self { part, ..self }
    }

    /// The name of the input: its path, or `stdin`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The line, element of a JSON array or row of a Parquet file, counted from 1, after decompression.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The generated text among those of the line, counted from 1; 0 where a line holds only one.
    #[must_use]
    pub fn part(&self) -> u32 {
        self.part
    }

    /// First byte of the line or element after decompression, and one past its last; `None` for a row of a Parquet file.
    #[must_use]
    pub fn bytes(&self) -> Option<(u64, u64)> {
        self.bytes
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.line)?;
        if self.part > 0 {
            write!(f, "#{}", self.part)?;
        }
        Ok(())
    }
}
