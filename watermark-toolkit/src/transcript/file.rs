use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read as _, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::chain;
use super::format::{Exchange, FORMAT, Header, MAX_RESPONSE_BYTES};
use crate::read::begins_with;

/// JSON's longest escape takes six bytes; a prompt is at most as long as an answer.
const MAX_LINE_BYTES: u64 = 20 * MAX_RESPONSE_BYTES;
const MAX_ATTEMPTS: usize = 1000;
const MAX_MESSAGE_BYTES: usize = 4096;

/// Reads a transcript line by line, checking the chain and every field.
pub struct Reader<R> {
    input: R,
    header: Header,
    line: u64,
    /// Bytes of whole lines.
    pub(super) end: u64,
    hash: String,
    round: u64,
    /// For each prompt of the current round: whether it has an answer.
    answered: BTreeMap<u64, bool>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header; `None` if the input ends before it does.
    ///
    /// # Errors
    /// If the input cannot be read or does not begin with a valid header.
    pub fn new(mut input: R) -> Result<Option<Self>> {
        let mut text = String::new();
        let Some(line) = next_line(&mut input, &mut text).context("line 1")? else {
            let begin = beginning();
            ensure!(
                text.starts_with(&begin) || begin.starts_with(&text),
                "line 1: not a {FORMAT} file; it is left as it is"
            );
            return Ok(None);
        };
        let header = || -> Result<(Header, String)> {
            let (json, hash) = chain::open(line, chain::START)?;
            let header: Header = serde_json::from_str(&json)?;
            header.check()?;
            Ok((header, hash))
        };
        let (header, hash) = header().with_context(|| format!("line 1: not the header of a {FORMAT} file"))?;
        let end = line.len() as u64 + 1;
        Ok(Some(Self { input, header, line: 1, end, hash, round: 0, answered: BTreeMap::new() }))
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Hash of the last line read, which stands for everything up to it.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    fn read(&mut self) -> Result<Option<Exchange>> {
        let mut text = String::new();
        let Some(line) = next_line(&mut self.input, &mut text)? else { return Ok(None) };
        let (json, hash) = chain::open(line, &self.hash)?;
        let exchange: Exchange = serde_json::from_str(&json).context("not an exchange")?;
        self.check(&exchange)?;
        self.end += line.len() as u64 + 1;
        self.hash = hash;
        Ok(Some(exchange))
    }

    fn check(&mut self, exchange: &Exchange) -> Result<()> {
        let Exchange { index, round, .. } = *exchange;
        ensure!(index < self.header.n_prompts, "prompt {index} is not below n_prompts {}", self.header.n_prompts);
        ensure!(round == index / self.header.round_size, "prompt {index} is not in round {round}");
        ensure!(round >= self.round, "round {round} after round {}", self.round);
        if round > self.round {
            self.round = round;
            self.answered.clear();
        }
        let before = self.answered.insert(index, exchange.response.is_some());
        ensure!(before != Some(true), "prompt {index} has an answer already");
        ensure!(
            exchange.response.is_some() != exchange.failure.is_some(),
            "an exchange has either a response or a failure"
        );
        ensure!((1..=MAX_ATTEMPTS).contains(&exchange.attempts.len()), "between 1 and {MAX_ATTEMPTS} attempts");
        ensure!(
            exchange.response.as_ref().is_none_or(|text| text.len() as u64 <= MAX_RESPONSE_BYTES),
            "the response is larger than {MAX_RESPONSE_BYTES} bytes"
        );
        ensure!(
            exchange.failure.as_ref().is_none_or(|failure| failure.message.len() <= MAX_MESSAGE_BYTES),
            "the message of the failure is larger than {MAX_MESSAGE_BYTES} bytes"
        );
        ensure!(
            exchange.utc.len() == 20 && humantime::parse_rfc3339(&exchange.utc).is_ok(),
            "utc is not a time such as 2026-11-23T09:00:00Z"
        );
        ensure!(
            exchange.request == self.header.body(&exchange.prompt),
            "the request is not what header and prompt make"
        );
        Ok(())
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Exchange>;

    /// An error names the line, and is the last item.
    fn next(&mut self) -> Option<Self::Item> {
        self.line += 1;
        let line = self.line;
        self.read().with_context(|| format!("line {line}")).transpose()
    }
}

/// The next whole line; what is left without a newline stays in `text`.
fn next_line<'a>(input: &mut impl BufRead, text: &'a mut String) -> Result<Option<&'a str>> {
    let mut bytes = Vec::new();
    input.take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes)?;
    let whole = bytes.pop_if(|byte| *byte == b'\n').is_some();
    ensure!(whole || (bytes.len() as u64) < MAX_LINE_BYTES, "it is longer than {MAX_LINE_BYTES} bytes");
    if !whole {
        // The rest may end in the middle of a character.
        *text = String::from_utf8_lossy(&bytes).into_owned();
        return Ok(None);
    }
    *text = String::from_utf8(bytes).context("it is not UTF-8")?;
    Ok(Some(text))
}

/// How every transcript begins.
fn beginning() -> String {
    format!("{{\"transcript\":\"{FORMAT}\"")
}

/// Whether a file begins like a transcript, plain or compressed: its answers must not be mistaken for records.
#[must_use]
pub fn is_transcript(path: &Path) -> bool {
    begins_with(path, beginning().as_bytes())
}

/// Appends exchanges; every line is on the disk before the next one is written.
#[derive(Debug)]
pub struct Writer {
    file: File,
    hash: String,
}

impl Writer {
    /// Opens the transcript at `path`, or starts it. Exchanges that it holds are passed to `each`; an incomplete last line
    /// is cut off. While the writer lives, no other process can open the file.
    ///
    /// # Errors
    /// If the file is broken, belongs to other settings, is in use, or `each` fails.
    pub fn open(path: &Path, header: &Header, mut each: impl FnMut(Exchange) -> Result<()>) -> Result<Self> {
        let mut open = || -> Result<Self> {
            header.check()?;
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => bail!("another run is writing it"),
                Err(TryLockError::Error(error)) => return Err(error).context("locking it"),
            }
            let Some(mut reader) = Reader::new(BufReader::new(&file))? else {
                file.set_len(0)?;
                file.rewind()?;
                let mut writer = Self { file, hash: chain::START.to_owned() };
                writer.append(&serde_json::to_string(header)?)?;
                return Ok(writer);
            };
            reader.header.must_equal(header)?;
            for exchange in reader.by_ref() {
                each(exchange?)?;
            }
            let Reader { end, hash, .. } = reader;
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
            Ok(Self { file, hash })
        };
        open().with_context(|| format!("transcript {}", path.display()))
    }

    /// Appends one exchange.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&mut self, exchange: &Exchange) -> Result<()> {
        self.append(&serde_json::to_string(exchange)?).context("writing the transcript")
    }

    /// Hash of the last line.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    fn append(&mut self, json: &str) -> Result<()> {
        let (mut line, hash) = chain::seal(json, &self.hash);
        line.push('\n');
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()?;
        self.hash = hash;
        Ok(())
    }
}
