use std::{
    io::{BufRead, BufReader},
    sync::Arc,
};

use super::compression::Compression;
use super::container::{Content, Stream};
use super::error::Flaw;
use super::fields::Parsed;
use super::lines::utf8;
use super::parser::RecordParser;
use super::{Item, Limits, Location, ReadError, ReadErrorKind};

/// The elements of one JSON array, one at a time and in bounded memory.
///
/// Only strings and brackets are looked at here, to find where an element ends; whether it is JSON is its parser's
/// business, so a broken element costs itself alone as long as its quotes and brackets are paired.
pub(super) struct Array {
    input: BufReader<Stream>,
    compression: Compression,
    parser: RecordParser,
    limit: usize,
    hint: &'static str,
    source: Arc<str>,
    number: u64,
    /// Bytes read, with those of a byte order mark.
    at: u64,
    element: Vec<u8>,
    place: Place,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    BeforeArray,
    /// An element may follow, or the end of an empty array.
    Opened,
    AfterElement,
    AfterArray,
}

/// The state inside an element.
#[derive(Default)]
struct Inside {
    depth: u64,
    string: bool,
    escape: bool,
}

impl Array {
    pub(super) fn new(
        content: Content,
        source: &Arc<str>,
        limits: Limits,
        parser: RecordParser,
        hint: &'static str,
    ) -> Self {
        Self {
            compression: content.compression,
            at: content.skipped as u64,
            input: BufReader::with_capacity(1 << 16, content.stream),
            parser,
            limit: limits.max_record_bytes,
            hint,
            source: Arc::clone(source),
            number: 0,
            element: Vec::new(),
            place: Place::BeforeArray,
        }
    }

    pub(super) fn next_record(&mut self) -> Option<Item<Parsed>> {
        match self.seek() {
            Ok(true) => Some(self.element()),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Goes to the first byte of the next element; false after the last one.
    fn seek(&mut self) -> Result<bool, ReadError> {
        loop {
            let Some(byte) = self.peek()? else {
                return if self.place == Place::AfterArray { Ok(false) } else { Err(self.ends_early()) };
            };
            match (self.place, byte) {
                (_, b' ' | b'\t' | b'\n' | b'\r') => {}
                (Place::BeforeArray, b'[') => self.place = Place::Opened,
                (Place::Opened | Place::AfterElement, b']') => self.place = Place::AfterArray,
                (Place::AfterElement, b',') => {
                    self.consume(1);
                    return self.seek_element();
                }
                (Place::Opened, _) => return Ok(true),
                _ => return Err(self.broken()),
            }
            self.consume(1);
        }
    }

    fn seek_element(&mut self) -> Result<bool, ReadError> {
        loop {
            match self.peek()? {
                None => return Err(self.ends_early()),
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.consume(1),
                Some(b',' | b']') => return Err(self.broken()),
                Some(_) => return Ok(true),
            }
        }
    }

    fn element(&mut self) -> Item<Parsed> {
        self.number += 1;
        self.element.clear();
        let begin = self.at;
        let mut inside = Inside::default();
        let mut len = 0;
        loop {
            let buffer = match self.input.fill_buf() {
                Ok([]) => return Err(self.ends_early()),
                Ok(buffer) => buffer,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ReadError::from_io(self.location(begin), self.compression, &error)),
            };
            let (taken, ended) = inside.take(buffer);
            let keep = taken.min((self.limit + 1).saturating_sub(self.element.len()));
            self.element.extend_from_slice(&buffer[..keep]);
            len += taken as u64;
            self.consume(taken);
            if ended {
                break;
            }
        }
        self.place = Place::AfterElement;
        let location = Location::new(&self.source, self.number, Some((begin, begin + len)));
        let parsed = if self.element.len() > self.limit {
            Err(Flaw::too_long("the element", self.limit))
        } else {
            utf8(&self.element, "element").and_then(|text| self.parser.parse(text, true))
        };
        Ok(match parsed {
            Ok(parsed) => Ok((location, parsed)),
            Err(flaw) => Err(flaw.at(location)),
        })
    }

    fn peek(&mut self) -> Result<Option<u8>, ReadError> {
        loop {
            match self.input.fill_buf() {
                Ok(buffer) => return Ok(buffer.first().copied()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ReadError::from_io(self.location(self.at), self.compression, &error)),
            }
        }
    }

    fn consume(&mut self, n: usize) {
        self.input.consume(n);
        self.at += n as u64;
    }

    fn location(&self, begin: u64) -> Location {
        Location::new(&self.source, self.number, Some((begin, self.at)))
    }

    fn ends_early(&self) -> ReadError {
        let message = format!(
            "{}: the JSON array ends early, after byte {}; get a complete copy{}",
            self.source, self.at, self.hint
        );
        ReadError::new(ReadErrorKind::Truncated, message)
    }

    fn broken(&self) -> ReadError {
        let message = format!(
            "{}: not a JSON array at byte {} (counted from 0), after {} elements{}",
            self.source, self.at, self.number, self.hint
        );
        ReadError::new(ReadErrorKind::Corrupt, message)
    }
}

impl Inside {
    /// How many bytes of `buffer` still belong to the element, and whether it ends there.
    fn take(&mut self, buffer: &[u8]) -> (usize, bool) {
        for (at, &byte) in buffer.iter().enumerate() {
            if self.string {
                match byte {
                    _ if self.escape => self.escape = false,
                    b'\\' => self.escape = true,
                    b'"' => self.string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (at + 1, true);
                    }
                }
                b',' | b']' if self.depth == 0 => return (at, true),
                _ => {}
            }
        }
        (buffer.len(), false)
    }
}
