//! The one reader of untrusted input: files or standard input, plain or gzip, as text, JSONL or token ids.
//!
//! Containers are recognised by content, never by name. A UTF-8 byte order mark is skipped. The container formats that
//! are recognised and not read (zstd, Parquet, Arrow, a JSON array, UTF-16) end in a [`ReadError`] that says how to
//! convert them.
//!
//! | format | record | fields, by preference |
//! |---|---|---|
//! | [`InputFormat::Text`] | the whole input | |
//! | [`InputFormat::Jsonl`] | a line | `completion` with optional `prompt`; `answer` with optional `question`; `text` |
//! | [`InputFormat::Tokens`] | a line | `tokens` with optional `prompt_tokens` |
//!
//! Every line may have an `id`. A record that carries both `text` and `completion` is read as a completion. A field
//! that is `null` is absent; unknown fields, and known ones that the record's reading does not use, are ignored. Blank
//! lines are skipped, CRLF is accepted. Text is never decoded with losses and never trimmed, because either would
//! change its tokens.
//!
//! Errors come in two types. A [`BadRecord`] concerns one record and reading goes on; counting them is up to the caller.
//! A [`ReadError`] ends the input, after every record before it has been delivered.
//!
//! ```
//! # use std::io::Cursor;
//! use watermark_cli::read::{InputFormat, Limits, from_reader};
//!
//! let input = Cursor::new("{\"text\": \"one\"}\n{\"text\": 2}\n");
//! let (mut good, mut bad) = (0, 0);
//! for record in from_reader(input, "example.jsonl", InputFormat::Auto, Limits::default())? {
//!     match record? {
//!         Ok(_) => good += 1,
//!         Err(_) => bad += 1,
//!     }
//! }
//! assert_eq!((good, bad), (1, 1));
//! # Ok::<(), watermark_cli::read::ReadError>(())
//! ```

mod choices;
mod container;
mod error;
mod json;
mod lines;
mod plain;
mod prompts;
mod record;
#[cfg(test)]
mod tests;
mod value;

use std::{fmt, fs::File, io::Read, path::Path, sync::Arc};

pub use choices::{ChoiceRecord, Choices, Predicted, read_choices};
pub use error::{BadRecord, BadRecordKind, ReadError, ReadErrorKind};
pub use prompts::read_prompts;
pub use record::{Body, InputFormat, Limits, Location, Record};

use container::Content;
use lines::Lines;

/// Opens a file, or standard input if the path is `-`.
///
/// # Errors
/// Whatever makes the input unreadable as a whole: it cannot be opened, its container or encoding is not read, or it
/// is empty.
pub fn open(path: &Path, format: InputFormat, limits: Limits) -> Result<Reader, ReadError> {
    if path.as_os_str() == "-" {
        return from_reader(std::io::stdin(), "stdin", format, limits);
    }
    let name = path.display().to_string();
    let file =
        File::open(path).map_err(|error| ReadError::new(ReadErrorKind::Io, format!("{name}: cannot open: {error}")))?;
    from_reader(file, &name, format, limits)
}

/// Reads from any source of bytes; messages call it `name`.
///
/// # Errors
/// As [`open`].
pub fn from_reader(
    source: impl Read + Send + 'static,
    name: &str,
    format: InputFormat,
    limits: Limits,
) -> Result<Reader, ReadError> {
    let content = Content::open(Box::new(source), name, format, limits)?;
    let source = Arc::from(name);
    let state = match format {
        InputFormat::Text => State::Plain(content),
        InputFormat::Auto if content.first != b'{' => State::Plain(content),
        InputFormat::Auto | InputFormat::Jsonl | InputFormat::Tokens => {
            let parse = if format == InputFormat::Tokens { json::parse_tokens } else { json::parse_text };
            let hint = "taken for JSONL because it begins with `{`: pass --input-format text if it is plain text";
            let hint = (format == InputFormat::Auto).then_some(hint);
            State::Lines(Lines::new(content, &source, limits.max_record_bytes, parse, hint))
        }
    };
    Ok(Reader { source, limits, state })
}

/// The records of one input, in order.
///
/// The outer error is fatal and the last item; the inner one concerns a single record.
pub struct Reader {
    source: Arc<str>,
    limits: Limits,
    state: State,
}

enum State {
    Plain(Content),
    Lines(Lines<json::Parsed>),
    Done,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Iterator for Reader {
    type Item = Result<Result<Record, BadRecord>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Plain(content) => Some(plain::read(content, &self.source, self.limits.max_record_bytes)),
            State::Lines(mut lines) => {
                let item = lines.next_record()?;
                if item.is_ok() {
                    self.state = State::Lines(lines);
                }
                Some(item.map(|record| record.map(|(location, (id, body))| Record { location, id, body })))
            }
            State::Done => None,
        }
    }
}
