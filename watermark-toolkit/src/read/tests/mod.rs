#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod any_bytes;
mod arrays;
mod containers;
mod conversations;
mod fields;
mod rows;
mod zstandard;

use std::io::{Cursor, Write};

use flate2::{Compression, write::GzEncoder};

use super::*;

fn reader(bytes: impl Into<Vec<u8>>, format: InputFormat, max_record_bytes: usize) -> Result<Reader, ReadError> {
    from_reader(Cursor::new(bytes.into()), "in", format, Limits { max_record_bytes, ..Limits::default() })
}

fn fatal(bytes: impl Into<Vec<u8>>, format: InputFormat) -> ReadError {
    reader(bytes, format, 1000).unwrap_err()
}

fn all(bytes: impl Into<Vec<u8>>, format: InputFormat) -> Vec<Result<Record, BadRecord>> {
    reader(bytes, format, 1000).unwrap().map(Result::unwrap).collect()
}

fn one(bytes: impl Into<Vec<u8>>, format: InputFormat) -> Result<Record, BadRecord> {
    let mut items = all(bytes, format);
    assert_eq!(items.len(), 1);
    items.remove(0)
}

fn text(prompt: Option<&str>, text: &str) -> Body {
    Body::Text { prompt: prompt.map(str::to_owned), text: text.to_owned() }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 1).unwrap()
}
