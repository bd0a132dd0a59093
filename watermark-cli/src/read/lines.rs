use std::{
    io::{self, BufRead, BufReader, Read},
    sync::Arc,
};

use super::{
    BadRecord, BadRecordKind, Body, InputFormat, Location, ReadError, Record,
    container::{Content, Stream},
    error::Flaw,
    json,
};

/// Records of one JSON object per line, in bounded memory.
pub(super) struct Lines {
    input: BufReader<Stream>,
    gzip: bool,
    format: InputFormat,
    limit: usize,
    /// Of the line in `line`; also the count of lines begun.
    location: Location,
    line: Vec<u8>,
    /// The line is longer than `line`, whose remainder is still to be skipped.
    cut: bool,
    /// No line with content has been read yet.
    first: bool,
}

impl Lines {
    pub(super) fn new(content: Content, source: &Arc<str>, format: InputFormat, limit: usize) -> Self {
        Self {
            input: BufReader::with_capacity(1 << 16, content.stream),
            gzip: content.gzip,
            format,
            limit,
            location: Location { source: Arc::clone(source), line: 0 },
            line: Vec::new(),
            cut: false,
            first: true,
        }
    }

    pub(super) fn next_record(&mut self) -> Option<Result<Result<Record, BadRecord>, ReadError>> {
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
            if self.first && json && self.format == InputFormat::Auto {
                flaw.push_hint(
                    "taken for JSONL because it begins with `{`: pass --input-format text if it is plain text",
                );
            }
            flaw.at(self.location.clone())
        });
        self.first = false;
        Some(Ok(record.map(|(id, body)| Record { location: self.location.clone(), id, body })))
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

    fn parse(&self) -> Result<(Option<String>, Body), Flaw> {
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
        json::parse(text, text.ends_with('\n'), self.format == InputFormat::Tokens)
    }
}
