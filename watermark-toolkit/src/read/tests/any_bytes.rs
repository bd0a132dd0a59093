//! No bytes make the reader panic, and every input ends.

use std::io::Read;

use proptest::{collection::vec, prelude::*, sample};

use super::{super::*, gzip, reader};

/// Reads to the end and checks what holds for every input.
fn exhaust(bytes: &[u8], format: InputFormat, max_record_bytes: usize) -> (usize, Option<ReadError>) {
    let mut reader = match reader(bytes, format, max_record_bytes) {
        Ok(reader) => reader,
        Err(error) => return (0, Some(error)),
    };
    let (mut items, mut place) = (0, (0, 0));
    while let Some(item) = reader.next() {
        let location = match item {
            Ok(Ok(record)) => {
                if let Body::Tokens { prompt_tokens, tokens } = &record.body {
                    assert!(prompt_tokens.iter().chain(tokens).all(|id| *id <= watermark_core::MAX_TOKEN_ID));
                }
                record.location
            }
            Ok(Err(bad)) => bad.location().clone(),
            Err(error) => {
                assert!(reader.next().is_none());
                return (items, Some(error));
            }
        };
        assert!((location.line(), location.part()) > place);
        place = (location.line(), location.part());
        items += 1;
    }
    assert!(reader.next().is_none());
    (items, None)
}

const PIECES: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\n",
    "\r\n",
    " ",
    "\\u",
    "\\ud800",
    "\"text\"",
    "\"completion\"",
    "\"prompt\"",
    "\"tokens\"",
    "\"prompt_tokens\"",
    "\"id\"",
    "null",
    "16777216",
    "-1",
    "1e400",
    "é",
    "{\"text\": \"t\"}\n",
];

const LINES: &str = "{\"id\": 1, \"prompt\": \"p\", \"completion\": \"é\"}\n{\"text\": \"t\", \"x\": [{}]}\r\n\n\
                     {\"id\": \"a\", \"tokens\": [1, 2, 3], \"prompt_tokens\": []}\n{\"question\": null, \"answer\": \"a\"}\n";

fn formats() -> impl Strategy<Value = InputFormat> {
    sample::select(&InputFormat::ALL[..])
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..300), format in formats(), limit in 0_usize..400) {
        exhaust(&bytes, format, limit);
        exhaust(&gzip(&bytes), format, limit);
        exhaust(&[b"\x1f\x8b\x08\0", &bytes[..]].concat(), format, limit);
    }

    #[test]
    fn pieces_of_json(pieces in vec(sample::select(&PIECES[..]), 0..40), format in formats(), limit in 0_usize..400) {
        exhaust(pieces.concat().as_bytes(), format, limit);
    }

    #[test]
    fn mutated_lines(
        changes in vec((any::<sample::Index>(), any::<u8>()), 0..4),
        end in any::<sample::Index>(),
        format in formats(),
        limit in 0_usize..100,
    ) {
        let mut bytes = LINES.as_bytes().to_vec();
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        bytes.truncate(end.index(bytes.len() + 1));
        exhaust(&bytes, format, limit);
    }

    #[test]
    fn cut_gzip_loses_nothing_silently(lines in 1_usize..50, end in any::<sample::Index>()) {
        let whole = gzip(LINES.repeat(lines).as_bytes());
        prop_assert_eq!(exhaust(&whole, InputFormat::Auto, 100), (4 * lines, None));
        let end = 2 + end.index(whole.len() - 2);
        let (items, error) = exhaust(&whole[..end], InputFormat::Auto, 100);
        prop_assert!(items <= 4 * lines);
        prop_assert_eq!(error.map(|error| error.kind()), Some(ReadErrorKind::Truncated));
    }

    #[test]
    fn damaged_gzip(at in any::<sample::Index>(), byte in any::<u8>()) {
        let mut bytes = gzip(LINES.as_bytes());
        *at.get_mut(&mut bytes) = byte;
        exhaust(&bytes, InputFormat::Auto, 100);
    }

    #[test]
    fn short_reads_change_nothing(bytes in vec(sample::select(&PIECES[..]), 0..40), format in formats()) {
        let bytes = bytes.concat().into_bytes();
        let limits = Limits { max_record_bytes: 60, ..Limits::default() };
        let read = |source: Box<dyn Read + Send>| {
            from_reader(source, "in", format, limits).map(Iterator::collect::<Vec<_>>)
        };
        let whole = read(Box::new(std::io::Cursor::new(bytes.clone())));
        prop_assert_eq!(whole, read(Box::new(Dribble(bytes.into_iter(), false))));
    }
}

/// A source that gives a byte per read, after an interruption.
struct Dribble(std::vec::IntoIter<u8>, bool);

impl Read for Dribble {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        match (into.first_mut(), self.0.next()) {
            (Some(slot), Some(byte)) => {
                *slot = byte;
                Ok(1)
            }
            _ => Ok(0),
        }
    }
}
