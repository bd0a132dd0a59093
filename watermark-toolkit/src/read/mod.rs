//! The one reader of untrusted input: files or standard input, plain, gzip or zstd, as text, JSON, Parquet or token ids.
//!
//! Containers are recognised by content, never by name. A UTF-8 byte order mark is skipped. The formats that
//! are recognised and not read (Arrow, xz, zip, tar, CSV, UTF-16, a placeholder of Git LFS and others) end in a [`ReadError`] that says what to
//! do, and so do Parquet and zstd in a build without the feature `scan`.
//!
//! | format | record | fields |
//! |---|---|---|
//! | [`InputFormat::Text`] | the whole input | |
//! | [`InputFormat::Jsonl`] | a line, an element of a JSON array, a row of Parquet | below |
//! | [`InputFormat::Tokens`] | the same | `tokens` or `input_ids` with optional `prompt_tokens`, `labels`, masks |
//!
//! Text fields, by preference: conversations in `messages` (OpenAI: content as string or parts, `reasoning_content`),
//! `conversations` (ShareGPT) or `conversation` (LMSYS, `WildChat`), also as JSON in a string or as an object of lists; `completion`; `chosen`
//! and `rejected`; `response`, also that of OpenAI's batches, or `choices`; `generations`, `completions`, `responses` or `outputs`, several
//! answers each; `output`; `answer`; `solution`; `text`. What stands in `system`, `context`, `history`, `prompt`, `question`, `instruction`,
//! `input` and their like is prompt in each of them. A text beside a `role` that is not the model's is a bad record, and so are a conversation
//! beside a `completion` and a turn of a role that nobody knows. A text that begins as a dialogue of both sides in one string is one. Of a
//! conversation every assistant text becomes a record, with what was said before it as prompt. [`Select`] names another field or role.
//!
//! Every line may have an `id` (or `custom_id`, `conversation_id`, `conversation_hash`). A field
//! that is `null` is absent; unknown fields, and known ones that the record's reading does not use, are ignored. Blank
//! lines are skipped, CRLF is accepted. Text is never decoded with losses and never trimmed, because either would
//! change its tokens.
//!
//! Errors come in two types. A [`BadRecord`] concerns one record and reading goes on; counting them is up to the caller.
//! A [`ReadError`] ends the input, after every record before it has been delivered.
//!
//! ```
//! # use std::io::Cursor;
//! use watermark_toolkit::read::{InputFormat, Limits, from_reader};
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
//! # Ok::<(), watermark_toolkit::read::ReadError>(())
//! ```

mod array;
mod choices;
mod compression;
mod container;
mod error;
mod fields;
#[cfg(feature = "scan")]
pub(crate) mod guard;
mod json;
mod layout;
mod lines;
mod location;
mod pairs;
mod parser;
mod plain;
mod prompts;
mod record;
#[cfg(feature = "scan")]
mod rows;
// they read every container
#[cfg(all(test, feature = "scan"))]
mod tests;
mod turns;
mod value;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fmt, fs::File, io::Read, path::Path, sync::Arc};

pub use choices::{ChoiceRecord, Choices, Holds, Predicted, holds_choices, read_choices};
pub use error::{BadRecord, BadRecordKind, ReadError, ReadErrorKind};
#[cfg(feature = "scan")]
pub use guard::panic_is_handled;
pub use location::Location;
pub use pairs::{
    PairScore, RequestId, ScoredRecord, ServedRecord, print_scored, print_served, read_scored, read_served,
};
pub use prompts::{print_prompts, read_prompts};
pub use record::{Body, InputFormat, Limits, Record, Select};

use array::Array;
use container::Content;
pub(crate) use container::begins_with;
use error::Flaw;
use fields::Parsed;
use layout::{LOOKED_AT, Layout};
use lines::Lines;
use parser::RecordParser;
#[cfg(feature = "scan")]
use rows::Rows;

/// What to do about an input that this build does not read.
#[cfg(not(feature = "scan"))]
const NEEDS_SCAN: &str = "use a build with the feature `scan`";

/// Opens a file, or standard input if the path is `-`.
///
/// # Errors
/// Whatever makes the input unreadable as a whole: it cannot be opened, its container or encoding is not read, or it
/// is empty.
pub fn open(path: &Path, format: InputFormat, limits: Limits) -> Result<Reader, ReadError> {
    open_selecting(path, format, &Select::default(), limits)
}

/// As [`open`], where something other than the default is generated text.
///
/// # Errors
/// As [`open`].
pub fn open_selecting(path: &Path, format: InputFormat, select: &Select, limits: Limits) -> Result<Reader, ReadError> {
    if path.as_os_str() == "-" {
        return from_stream(Box::new(std::io::stdin()), "stdin", format, select, limits);
    }
    let name = path.display().to_string();
    let failed = |what: &str, error: std::io::Error| {
        ReadError::new(ReadErrorKind::Io, format!("{name}: cannot {what}: {error}"))
    };
    let file = File::open(path).map_err(|error| failed("open", error))?;
    #[cfg(feature = "scan")]
    if format != InputFormat::Text && rows::is_parquet(&file).map_err(|error| failed("read", error))? {
        let source = Arc::from(name);
        let rows = Rows::open(file, &source, limits, RecordParser::new(format, select))?;
        return Ok(Reader::new(source, limits, State::Rows(rows)));
    }
    let consumed = Arc::new(AtomicU64::new(0));
    let counted = Counted { file, consumed: Arc::clone(&consumed) };
    Ok(Reader { consumed, ..from_stream(Box::new(counted), &name, format, select, limits)? })
}

/// A file, and how much of it was read.
struct Counted {
    file: File,
    consumed: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.consumed.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Reads from any source of bytes; messages call it `name`. Parquet cannot be read so.
///
/// # Errors
/// As [`open`].
pub fn from_reader(
    source: impl Read + Send + 'static,
    name: &str,
    format: InputFormat,
    limits: Limits,
) -> Result<Reader, ReadError> {
    from_stream(Box::new(source), name, format, &Select::default(), limits)
}

fn from_stream(
    source: Box<dyn Read + Send>,
    name: &str,
    format: InputFormat,
    select: &Select,
    limits: Limits,
) -> Result<Reader, ReadError> {
    let mut content = Content::open(source, name, format, limits)?;
    let source = Arc::from(name);
    let parser = RecordParser::new(format, select);
    let mut lines = format != InputFormat::Auto || content.first == b'{';
    if format == InputFormat::Auto && !matches!(content.first, b'{' | b'[') {
        match layout::of(content.stream.look_ahead(LOOKED_AT)) {
            Layout::Plain => {}
            Layout::Lines => lines = true,
            Layout::Foreign(what, remedy) => {
                let message = format!(
                    "{name}: this looks like {what}, which is not read; {remedy}, or pass --input-format text if it is plain text"
                );
                return Err(ReadError::new(ReadErrorKind::UnsupportedContainer, message));
            }
        }
    }
    let state = match (format, content.first) {
        (InputFormat::Text, _) => State::Plain(content),
        (_, b'[') => {
            let hint = "; pass --input-format text if it is plain text";
            State::Array(Array::new(content, &source, limits, parser, hint))
        }
        _ if !lines => State::Plain(content),
        _ => {
            let hint = "taken for JSONL because it begins with `{`: pass --input-format text if it is plain text";
            let hint = (format == InputFormat::Auto).then_some(hint);
            let parse = Box::new(move |line: &str, terminated| parser.parse(line, terminated));
            State::Lines(Lines::new(content, &source, limits.max_record_bytes, parse, hint))
        }
    };
    Ok(Reader::new(source, limits, state))
}

/// The texts of one record that stands alone: the bytes of a line of JSON, the `number`-th, as [`Reader`] would read it.
///
/// # Errors
/// If it cannot be used.
pub fn records_of(
    line: &[u8],
    number: u64,
    format: InputFormat,
    select: &Select,
    limits: Limits,
) -> Result<Vec<Record>, BadRecord> {
    let location = Location::new(&Arc::from("record"), number, None);
    let parsed = if line.len() > limits.max_record_bytes {
        Err(Flaw::too_long("the line", limits.max_record_bytes))
    } else {
        lines::utf8(line, "line").and_then(|line| RecordParser::new(format, select).parse(line, true))
    };
    match parsed {
        Ok(parsed) => Ok(parsed.records(&location).collect()),
        Err(flaw) => Err(flaw.at(location)),
    }
}

/// An item of a layout: the outer error ends the input, the inner one concerns one record.
type Item<T> = Result<Result<(Location, T), BadRecord>, ReadError>;

/// The records of one input, in order.
///
/// The outer error is fatal and the last item; the inner one concerns a single record.
pub struct Reader {
    source: Arc<str>,
    limits: Limits,
    state: State,
    /// Further generated texts of the line read last.
    pending: VecDeque<Record>,
    /// Bytes read of a file, before decompression.
    consumed: Arc<AtomicU64>,
}

enum State {
    Plain(Content),
    Lines(Lines<Parsed>),
    Array(Array),
    #[cfg(feature = "scan")]
    Rows(Rows),
    Done,
}

impl Reader {
    fn new(source: Arc<str>, limits: Limits, state: State) -> Self {
        Self { source, limits, state, pending: VecDeque::new(), consumed: Arc::default() }
    }

    /// About how many bytes of the file were read, before decompression; 0 for other sources. For showing progress.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        match &self.state {
            #[cfg(feature = "scan")]
            State::Rows(rows) => rows.consumed(),
            _ => self.consumed.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Iterator for Reader {
    type Item = Result<Result<Record, BadRecord>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(record) = self.pending.pop_front() {
            return Some(Ok(Ok(record)));
        }
        let item = match &mut self.state {
            State::Plain(_) => {
                let State::Plain(content) = std::mem::replace(&mut self.state, State::Done) else { return None };
                return Some(plain::read(content, &self.source, self.limits.max_record_bytes));
            }
            State::Lines(lines) => lines.next_record(),
            State::Array(array) => array.next_record(),
            #[cfg(feature = "scan")]
            State::Rows(rows) => rows.next_record(),
            State::Done => None,
        };
        match item {
            Some(Ok(Ok((location, parsed)))) => {
                self.pending = parsed.records(&location).collect();
                self.pending.pop_front().map(|record| Ok(Ok(record)))
            }
            Some(Ok(Err(bad))) => Some(Ok(Err(bad))),
            other => {
                self.state = State::Done;
                other.and_then(Result::err).map(Err)
            }
        }
    }
}
