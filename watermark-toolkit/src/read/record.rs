use std::{fmt, str::FromStr};

use anyhow::bail;

use super::error::{ReadError, ReadErrorKind};
use super::location::Location;

/// One unit of input: a text, or a prompt with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it was read.
    pub location: Location,
    /// The record's own `id`; a number is given as text.
    pub id: Option<String>,
    /// Which fields were read, for example `messages` or `question/answer`.
    pub schema: &'static str,
    /// Whether this is a further generated text of the same conversation. Then prompt and text of the record before it
    /// are prompt here too. They are not repeated, because that would be quadratic in the number of turns.
    pub continues: bool,
    /// What it carries.
    pub body: Body,
    /// The ids that the text was served as, where the record has a single text and `tokens` beside it.
    pub issued: Option<Vec<u32>>,
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

/// How the bytes of an input, after decompression, are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputFormat {
    /// [`InputFormat::Jsonl`] for Parquet or if the first byte that is not white space is `{` or `[`, otherwise
    /// [`InputFormat::Text`].
    #[default]
    Auto,
    /// The whole input is one text.
    Text,
    /// JSON objects with text fields: one per line, the elements of an array, or the rows of a Parquet file.
    Jsonl,
    /// As [`InputFormat::Jsonl`], with arrays of token ids.
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
    /// The longest record in bytes, after decompression: a line without its newline, an element of an array, a row, or a
    /// whole plain text. Default 64 MiB. Memory is at most some twelve times this, for a conversation of empty arrays.
    pub max_record_bytes: usize,
    /// Binary logarithm of the longest zstd window in bytes, which is what decompression may take of memory. Default 31,
    /// that of `zstd --long=31`.
    pub max_window_log: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_record_bytes: 64 << 20, max_window_log: 31 }
    }
}

/// Which part of a record is generated text, where the defaults would choose another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Select {
    /// A JSON pointer (RFC 6901) to a text, an array of token ids or a conversation; no other field is looked at.
    pub field: Option<String>,
    /// The role whose turns count in a conversation, instead of the assistant's.
    pub role: Option<String>,
}

impl Select {
    /// Both as a caller gives them.
    ///
    /// # Errors
    /// If `field` is no JSON pointer.
    pub fn new(field: Option<String>, role: Option<String>) -> anyhow::Result<Self> {
        if let Some(field) = field.as_ref().filter(|field| !field.starts_with('/')) {
            bail!("field {field:?} is no JSON pointer, which begins with /, for example /text");
        }
        Ok(Self { field, role })
    }
}
