use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::compression::{Compression, GZIP, ZSTD};
use super::{InputFormat, Limits, ReadError, ReadErrorKind};

pub(super) const PARQUET: &[u8] = b"PAR1";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a file begins that stands for one that Git LFS did not fetch.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";
/// Where a tar archive says that it is one, further than any entry of [`FOREIGN`] reaches.
const TAR: (usize, &[u8]) = (257, b"ustar");

/// Formats that are recognised and not read: their first bytes, name, and what to do instead.
const FOREIGN: &[(&[u8], ReadErrorKind, &str, &str)] = {
    use ReadErrorKind::{UnsupportedContainer, UnsupportedEncoding};
    const TO_JSONL: &str = "convert it to JSONL, one object per line";
    const TO_UTF8: &str = "convert it, for example with `iconv -f UTF-16 -t UTF-8`";
    &[
        #[cfg(feature = "scan")]
        (PARQUET, UnsupportedContainer, "Parquet inside a stream", "give the uncompressed file itself"),
        #[cfg(not(feature = "scan"))]
        (PARQUET, UnsupportedContainer, "Parquet", super::NEEDS_SCAN),
        (b"ARROW1", UnsupportedContainer, "an Arrow file", TO_JSONL),
        (b"\xff\xff\xff\xff", UnsupportedContainer, "an Arrow stream", TO_JSONL),
        (b"\xfd7zXZ\0", UnsupportedContainer, "xz", "decompress it with `xz -d`"),
        (b"PK\x03\x04", UnsupportedContainer, "a zip archive", "extract it"),
        (b"BZh", UnsupportedContainer, "bzip2", "decompress it with `bzip2 -d`"),
        (b"\x04\x22\x4d\x18", UnsupportedContainer, "lz4", "decompress it with `lz4 -d`"),
        (b"7z\xbc\xaf\x27\x1c", UnsupportedContainer, "a 7-Zip archive", "extract it"),
        (b"Rar!\x1a\x07", UnsupportedContainer, "a RAR archive", "extract it"),
        (b"ORC", UnsupportedContainer, "an ORC file", TO_JSONL),
        (b"Obj\x01", UnsupportedContainer, "an Avro file", TO_JSONL),
        (b"SQLite format 3\0", UnsupportedContainer, "an SQLite database", TO_JSONL),
        (LFS, UnsupportedContainer, "a placeholder of Git LFS", "fetch the file itself with `git lfs pull`"),
        (b"\xff\xfe", UnsupportedEncoding, "UTF-16", TO_UTF8),
        (b"\xfe\xff", UnsupportedEncoding, "UTF-16", TO_UTF8),
        (GZIP, UnsupportedContainer, "compressed twice", "decompress it once"),
    ]
};

/// A byte stream whose beginning can be looked at before it is read.
pub(super) struct Stream {
    head: Vec<u8>,
    read: usize,
    rest: Box<dyn Read + Send>,
    /// An error that looking ahead met; it is told once what came before it has been read.
    failed: Option<io::Error>,
}

/// The decompressed bytes of an input, past any byte order mark; they hold at least one byte that is not white space.
pub(super) struct Content {
    pub(super) stream: Stream,
    pub(super) compression: Compression,
    /// Bytes of byte order mark before the stream.
    pub(super) skipped: usize,
    /// The first byte that is not white space.
    pub(super) first: u8,
}

impl Content {
    pub(super) fn open(
        source: Box<dyn Read + Send>,
        name: &str,
        format: InputFormat,
        limits: Limits,
    ) -> Result<Self, ReadError> {
        let mut stream = Stream::new(source);
        let compression = Compression::sniff(stream.look_ahead(ZSTD.len()));
        let io = |error| ReadError::from_io(name, compression, &error);
        stream = match compression {
            Compression::None => stream,
            Compression::Gzip => Stream::new(Box::new(MultiGzDecoder::new(stream))),
            Compression::Zstd => unzstd(stream, name, limits)?,
        };
        let (tar, ustar) = TAR;
        let head = stream.look_ahead(tar + ustar.len());
        for &(magic, kind, what, remedy) in FOREIGN {
            // A text may begin with PAR1 or ARROW1, so these are texts where the user says so.
            let may_be_text = format == InputFormat::Text && magic.iter().all(u8::is_ascii_graphic);
            if head.starts_with(magic) && !may_be_text {
                return Err(ReadError::new(kind, format!("{name}: this is {what}, which is not read; {remedy}")));
            }
        }
        if head.get(tar..).is_some_and(|rest| rest.starts_with(ustar)) {
            let message = format!("{name}: this is a tar archive, which is not read; extract it");
            return Err(ReadError::new(ReadErrorKind::UnsupportedContainer, message));
        }
        if compression != Compression::None && Compression::sniff(head) == Compression::Zstd {
            let message = format!("{name}: this is compressed twice, which is not read; decompress it once");
            return Err(ReadError::new(ReadErrorKind::UnsupportedContainer, message));
        }
        let skipped = if head.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        stream.read = skipped;
        let Some(first) = stream.peek_past_space(limits.max_record_bytes).map_err(io)? else {
            return Err(if stream.head.len() - skipped > limits.max_record_bytes {
                ReadError::new(
                    ReadErrorKind::LeadingSpace,
                    format!(
                        "{name}: begins with more than {} bytes of white space; remove it",
                        limits.max_record_bytes
                    ),
                )
            } else {
                ReadError::new(ReadErrorKind::Empty, format!("{name}: no records: the input is empty"))
            });
        };
        Ok(Self { stream, compression, skipped, first })
    }
}

#[cfg(feature = "scan")]
fn unzstd(stream: Stream, name: &str, limits: Limits) -> Result<Stream, ReadError> {
    let io = |error| ReadError::from_io(name, Compression::Zstd, &error);
    let mut decoder = zstd::Decoder::new(stream).map_err(io)?;
    // Memory is the window that a frame declares, so the limit is one on memory.
    decoder.window_log_max(limits.max_window_log).map_err(io)?;
    Ok(Stream::new(Box::new(decoder)))
}

#[cfg(not(feature = "scan"))]
fn unzstd(_: Stream, name: &str, _: Limits) -> Result<Stream, ReadError> {
    let message = format!("{name}: this is Zstandard, which is not read; {}, or `zstd -d`", super::NEEDS_SCAN);
    Err(ReadError::new(ReadErrorKind::UnsupportedContainer, message))
}

/// Whether a file begins with these bytes, plain or compressed. One that cannot be read does not.
pub(crate) fn begins_with(path: &Path, begin: &[u8]) -> bool {
    let begins = || -> Option<bool> {
        let file = std::fs::File::open(path).ok()?;
        let content = Content::open(Box::new(file), "", InputFormat::Text, Limits::default()).ok()?;
        let mut bytes = Vec::new();
        content.stream.take(begin.len() as u64).read_to_end(&mut bytes).ok()?;
        Some(bytes == begin)
    };
    path.is_file() && begins().unwrap_or(false)
}

impl Stream {
    fn new(rest: Box<dyn Read + Send>) -> Self {
        Self { head: Vec::new(), read: 0, rest, failed: None }
    }

    /// At most so many bytes of what is not read yet, as far as they come.
    pub(super) fn look_ahead(&mut self, len: usize) -> &[u8] {
        let end = self.read + len;
        let mut chunk = [0; 4096];
        while self.head.len() < end && self.failed.is_none() {
            match self.rest.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => self.head.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.failed = Some(error),
            }
        }
        &self.head[self.read..self.head.len().min(end)]
    }

    /// The first byte that is not white space; none if the stream ends, or has more than `limit` bytes, before it.
    fn peek_past_space(&mut self, limit: usize) -> io::Result<Option<u8>> {
        let mut seen = self.read;
        loop {
            if let Some(&first) = self.head[seen..].iter().find(|byte| !byte.is_ascii_whitespace()) {
                return Ok(Some(first));
            }
            seen = self.head.len();
            if seen - self.read > limit {
                return Ok(None);
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            // One read at a time, because an error discards what the same call has read before it.
            let mut chunk = [0; 4096];
            match self.rest.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(n) => self.head.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = &self.head[self.read..];
        if left.is_empty() {
            return self.failed.take().map_or_else(|| self.rest.read(into), Err);
        }
        let n = left.len().min(into.len());
        into[..n].copy_from_slice(&left[..n]);
        self.read += n;
        Ok(n)
    }
}
