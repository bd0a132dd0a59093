use std::io::Write;

use proptest::{prelude::*, sample};

use super::{super::*, all, fatal, reader, text, zstd};

use InputFormat::Auto;

const LINE: &[u8] = b"{\"text\": \"one\"}\n";

fn long_window(bytes: &[u8], log: u32) -> Vec<u8> {
    let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.window_log(log).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn frames_are_joined_and_skippable_ones_skipped() {
    let skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd";
    let bytes = [&skippable[..], &zstd(LINE), &skippable[..], &zstd(LINE)].concat();
    let bodies: Vec<_> = all(bytes, Auto).into_iter().map(|item| item.unwrap().body).collect();
    assert_eq!(bodies, [text(None, "one"), text(None, "one")]);
}

#[test]
fn long_windows_within_the_limit() {
    let bytes = long_window(LINE, 31);
    let read = |max_window_log| {
        let limits = Limits { max_window_log, ..Limits::default() };
        from_reader(std::io::Cursor::new(bytes.clone()), "in", Auto, limits)
    };
    assert!(read(31).unwrap().next().unwrap().unwrap().is_ok());
    let error = read(30).unwrap_err();
    assert_eq!(error.kind(), ReadErrorKind::WindowTooLarge);
    assert!(error.to_string().contains("memory"), "{error}");
}

#[test]
fn what_follows_a_frame() {
    let mut bytes = zstd(LINE);
    bytes.extend(b"garbage");
    let items: Vec<_> = reader(bytes, Auto, 1000).unwrap().collect();
    assert!(items[0].as_ref().unwrap().is_ok());
    assert_eq!(items[1].as_ref().unwrap_err().kind(), ReadErrorKind::Corrupt);
    assert_eq!(fatal(&zstd(LINE)[..6], Auto).kind(), ReadErrorKind::Truncated);
}

proptest! {
    #[test]
    fn cut_zstd_loses_nothing_silently(lines in 1_usize..50, end in any::<sample::Index>()) {
        let whole = zstd(&LINE.repeat(lines));
        let end = 4 + end.index(whole.len() - 4);
        let read = reader(&whole[..end], Auto, 100).map(|reader| reader.last().unwrap());
        let error = read.map_or_else(Some, |last| last.err());
        prop_assert_eq!(error.map(|error| error.kind()), Some(ReadErrorKind::Truncated));
    }

    #[test]
    fn damaged_zstd(at in any::<sample::Index>(), byte in any::<u8>()) {
        let mut bytes = zstd(LINE);
        *at.get_mut(&mut bytes) = byte;
        if let Ok(reader) = reader(bytes, Auto, 100) {
            reader.for_each(drop);
        }
    }
}
