use std::{fmt, str::FromStr, sync::Arc};

use super::{ReadError, ReadErrorKind};

/// One unit of input: a text, or a prompt with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it was read.
    pub location: Location,
    /// The record's own `id`; a number is given as text.
    pub id: Option<String>,
    /// What it carries.
    pub body: Body,
}

/// What a [`Record`] carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Text that is still to be tokenised.
    Text {
        /// What was asked, if the record says so.
        prompt: Option<String>,
        /// The generated side, exactly as it stands in the input.
        text: String,
    },
    /// Token ids, each at most [`watermark_core::MAX_TOKEN_ID`].
    Tokens {
        /// The ids of the prompt; empty if the record gives none.
        prompt_tokens: Vec<u32>,
        /// The ids of the generated side; may be empty.
        tokens: Vec<u32>,
    },
}

/// A place in an input, printed as `source:line`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub(super) source: Arc<str>,
    pub(super) line: u64,
}

impl Location {
    /// The name of the input: its path, or `stdin`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The line, counted from 1, after decompression.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.line)
    }
}

/// How the bytes of an input, after decompression, are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputFormat {
    /// [`InputFormat::Jsonl`] if the first byte that is not white space is `{`, otherwise [`InputFormat::Text`].
    #[default]
    Auto,
    /// The whole input is one text.
    Text,
    /// One JSON object per line, with text fields.
    Jsonl,
    /// One JSON object per line, with arrays of token ids.
    Tokens,
}

impl InputFormat {
    /// Every format, in the order of a help text.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Text, Self::Jsonl, Self::Tokens];

    /// The value of `--input-format`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Jsonl => "jsonl",
            Self::Tokens => "tokens",
        }
    }
}

impl fmt::Display for InputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for InputFormat {
    type Err = ReadError;

    fn from_str(name: &str) -> Result<Self, ReadError> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            ReadError::new(ReadErrorKind::UnknownFormat, format!("unknown input format {name:?}; one of {names}"))
        })
    }
}

/// Bounds on what one input may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest record in bytes, after decompression: a line without its newline, or a whole plain text. Default
    /// 64 MiB. Memory is at most some eight times this, for a line full of one-digit token ids.
    pub max_record_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_record_bytes: 64 << 20 }
    }
}
