use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    sync::Arc,
};

use super::{
    BadRecordKind, InputFormat, Item, Limits, Location, ReadError, ReadErrorKind,
    compression::Compression,
    container::{Content, Stream},
    error::Flaw,
    json,
};

/// Reads one record's JSON. The flag says whether anything followed the record, because then it is not cut off.
pub(super) type Parse<T> = Box<dyn Fn(&str, bool) -> Result<T, Flaw> + Send>;

/// Records of one JSON object per line, in bounded memory.
pub(super) struct Lines<T> {
    input: BufReader<Stream>,
    compression: Compression,
    parse: Parse<T>,
    /// What to say if the first line is not JSON.
    hint: Option<&'static str>,
    limit: usize,
    source: Arc<str>,
    /// Lines begun.
    number: u64,
    /// Where the line in `line` begins, and where the next one does unless it is cut.
    begin: u64,
    end: u64,
    line: Vec<u8>,
    /// The line is longer than `line`, whose remainder is still to be skipped.
    cut: bool,
    /// No line with content has been read yet.
    first: bool,
}

/// The lines of a file, plain or gzipped, each parsed by `parse`, up to the first error that ends the file.
pub(super) fn open<T, P: Fn(&str, bool) -> Result<T, Flaw> + Send + 'static>(
    path: &Path,
    limits: Limits,
    parse: P,
) -> Result<impl Iterator<Item = Item<T>> + use<T, P>, ReadError> {
    let name = path.display().to_string();
    let file =
        File::open(path).map_err(|error| ReadError::new(ReadErrorKind::Io, format!("{name}: cannot open: {error}")))?;
    let content = Content::open(Box::new(file), &name, InputFormat::Jsonl, limits)?;
    let mut lines = Lines::new(content, &Arc::from(name.as_str()), limits.max_record_bytes, Box::new(parse), None);
    let mut ended = false;
    Ok(std::iter::from_fn(move || {
        let item = lines.next_record().filter(|_| !ended)?;
        ended = item.is_err();
        Some(item)
    }))
}

impl<T> Lines<T> {
    pub(super) fn new(
        content: Content,
        source: &Arc<str>,
        limit: usize,
        parse: Parse<T>,
        hint: Option<&'static str>,
    ) -> Self {
        Self {
            input: BufReader::with_capacity(1 << 16, content.stream),
            compression: content.compression,
            parse,
            hint,
            limit,
            source: Arc::clone(source),
            number: 0,
            begin: content.skipped as u64,
            end: content.skipped as u64,
            line: Vec::new(),
            cut: false,
            first: true,
        }
    }

    pub(super) fn next_record(&mut self) -> Option<Item<T>> {
        loop {
            match self.next_line() {
                Ok(true) if !self.cut && self.line.trim_ascii().is_empty() => {}
                Ok(true) => break,
                Ok(false) => return None,
                Err(error) => return Some(Err(ReadError::from_io(self.location(), self.compression, &error))),
            }
        }
        let record = self.parse().map_err(|mut flaw| {
            let json = matches!(flaw.kind(), BadRecordKind::InvalidJson | BadRecordKind::Truncated);
            if let Some(hint) = self.hint.filter(|_| self.first && json) {
                flaw.push_hint(hint);
            }
            flaw.at(self.location())
        });
        self.first = false;
        Some(Ok(record.map(|record| (self.location(), record))))
    }

    fn location(&self) -> Location {
        let len = self.line.strip_suffix(b"\n").unwrap_or(&self.line).len() as u64;
        Location::new(&self.source, self.number, Some((self.begin, self.begin + len)))
    }

    /// Reads the next line into `line`, or its first bytes if it is too long.
    fn next_line(&mut self) -> io::Result<bool> {
        if self.cut {
            self.end += self.input.skip_until(b'\n')? as u64;
        }
        self.line.clear();
        self.number += 1;
        self.begin = self.end;
        let most = (self.limit as u64).saturating_add(1);
        let n = (&mut self.input).take(most).read_until(b'\n', &mut self.line)?;
        self.end += n as u64;
        self.cut = n > self.limit && !self.line.ends_with(b"\n");
        Ok(n > 0)
    }

    fn parse(&self) -> Result<T, Flaw> {
        if self.cut {
            return Err(Flaw::too_long("the line", self.limit));
        }
        // Files with a byte order mark that were joined have one inside.
        let text = utf8(&self.line, "line")?.trim_start_matches('\u{feff}');
        (self.parse)(text, text.ends_with('\n'))
    }
}

/// The text of a record's bytes.
pub(super) fn utf8<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str, Flaw> {
    std::str::from_utf8(bytes).map_err(|error| {
        // A character can be incomplete only where nothing follows.
        if error.error_len().is_none() {
            json::truncated()
        } else {
            let offset = error.valid_up_to();
            Flaw::new(
                BadRecordKind::InvalidUtf8,
                format!("not UTF-8 at byte {offset} of the {what} (counted from 0); write it as UTF-8"),
            )
        }
    })
}
