use std::{
    io::{self, BufRead, BufReader, Read},
    sync::Arc,
};

use super::{
    BadRecord, BadRecordKind, Location, ReadError,
    container::{Content, Stream},
    error::Flaw,
    json,
};

/// Records of one JSON object per line, in bounded memory.
pub(super) struct Lines<T> {
    input: BufReader<Stream>,
    gzip: bool,
    /// Reads one line; the flag says whether a newline stood at its end.
    parse: fn(&str, bool) -> Result<T, Flaw>,
    /// What to say if the first line is not JSON.
    hint: Option<&'static str>,
    limit: usize,
    /// Of the line in `line`; also the count of lines begun.
    location: Location,
    line: Vec<u8>,
    /// The line is longer than `line`, whose remainder is still to be skipped.
    cut: bool,
    /// No line with content has been read yet.
    first: bool,
}

impl<T> Lines<T> {
    pub(super) fn new(
        content: Content,
        source: &Arc<str>,
        limit: usize,
        parse: fn(&str, bool) -> Result<T, Flaw>,
        hint: Option<&'static str>,
    ) -> Self {
        Self {
            input: BufReader::with_capacity(1 << 16, content.stream),
            gzip: content.gzip,
            parse,
            hint,
            limit,
            location: Location { source: Arc::clone(source), line: 0 },
            line: Vec::new(),
            cut: false,
            first: true,
        }
    }

    pub(super) fn next_record(&mut self) -> Option<Result<Result<(Location, T), BadRecord>, ReadError>> {
        loop {
            match self.next_line() {
                Ok(true) if !self.cut && self.line.trim_ascii().is_empty() => {}
                Ok(true) => break,
                Ok(false) => return None,
                Err(error) => return Some(Err(ReadError::from_io(&self.location, self.gzip, &error))),
            }
        }
        let record = self.parse().map_err(|mut flaw| {
            let json = matches!(flaw.kind(), BadRecordKind::InvalidJson | BadRecordKind::Truncated);
            if let Some(hint) = self.hint.filter(|_| self.first && json) {
                flaw.push_hint(hint);
            }
            flaw.at(self.location.clone())
        });
        self.first = false;
        Some(Ok(record.map(|record| (self.location.clone(), record))))
    }

    /// Reads the next line into `line`, or its first bytes if it is too long.
    fn next_line(&mut self) -> io::Result<bool> {
        if self.cut {
            self.input.skip_until(b'\n')?;
        }
        self.line.clear();
        self.location.line += 1;
        let most = (self.limit as u64).saturating_add(1);
        let n = (&mut self.input).take(most).read_until(b'\n', &mut self.line)?;
        self.cut = n > self.limit && !self.line.ends_with(b"\n");
        Ok(n > 0)
    }

    fn parse(&self) -> Result<T, Flaw> {
        if self.cut {
            return Err(Flaw::too_long("the line", self.limit));
        }
        let text = std::str::from_utf8(&self.line).map_err(|error| {
            // A character can be incomplete only where no newline follows.
            if error.error_len().is_none() {
                json::truncated()
            } else {
                let offset = error.valid_up_to();
                Flaw::new(
                    BadRecordKind::InvalidUtf8,
                    format!("not UTF-8 at byte {offset} of the line (counted from 0); write it as UTF-8"),
                )
            }
        })?;
        (self.parse)(text, text.ends_with('\n'))
    }
}
