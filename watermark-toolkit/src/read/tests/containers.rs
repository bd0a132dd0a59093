use super::{super::*, all, fatal, gzip, one, reader, text, zstd};

use InputFormat::{Auto, Jsonl, Text, Tokens};

#[test]
fn format_names() {
    for format in InputFormat::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    let error = "csv".parse::<InputFormat>().unwrap_err();
    assert_eq!(error.to_string(), "unknown input format \"csv\"; one of auto, text, jsonl, tokens");
}

#[test]
fn auto_goes_by_the_first_byte_past_white_space() {
    assert_eq!(one("  \n one {\n two\n", Auto).unwrap().body, text(None, "  \n one {\n two\n"));
    let spaced = format!("{}one", " \n".repeat(300));
    assert_eq!(one(spaced.as_str(), Auto).unwrap().body, text(None, &spaced));
    assert_eq!(one(" \n\n\t{\"text\": \"one\"}", Auto).unwrap().body, text(None, "one"));
    let record = one("\n\n{\"text\": \"one\"}", Auto).unwrap();
    assert_eq!((record.location.source(), record.location.line()), ("in", 3));
    assert_eq!(one("{not json", Text).unwrap().body, text(None, "{not json"));
}

#[test]
fn auto_says_how_to_read_a_text_that_begins_with_a_brace() {
    let bad: Vec<_> = all("{a} b\n{c} d\n", Auto).into_iter().map(|item| item.unwrap_err().to_string()).collect();
    assert!(bad[0].starts_with("in:1: ") && bad[0].contains("--input-format text"), "{}", bad[0]);
    assert!(bad[1].starts_with("in:2: ") && !bad[1].contains("--input-format"), "{}", bad[1]);
    assert!(one("{a} b", Auto).unwrap_err().to_string().contains("--input-format text"));
    assert!(!one("{a} b", Jsonl).unwrap_err().to_string().contains("--input-format"));
}

#[test]
fn byte_order_mark_is_skipped() {
    assert_eq!(one("\u{feff}one", Auto).unwrap().body, text(None, "one"));
    assert_eq!(one("\u{feff}{\"text\": \"one\"}", Auto).unwrap().body, text(None, "one"));
    assert_eq!(one(gzip("\u{feff}one".as_bytes()), Auto).unwrap().body, text(None, "one"));
    assert_eq!(fatal("\u{feff}", Auto).kind(), ReadErrorKind::Empty);
}

#[test]
fn empty_inputs() {
    for format in InputFormat::ALL {
        for bytes in [b"".to_vec(), b" \r\n\t\n".to_vec(), gzip(b""), gzip(b"\n")] {
            assert_eq!(fatal(bytes, format).kind(), ReadErrorKind::Empty);
        }
        assert_eq!(fatal([b' '; 9000], format).kind(), ReadErrorKind::LeadingSpace);
    }
}

#[test]
fn foreign_containers_are_named() {
    for (bytes, name) in [
        (&b"PAR1\x15\x04"[..], "Parquet"),
        (b"ARROW1\0\0", "Arrow"),
        (b"\xff\xff\xff\xff\x10\0\0\0", "Arrow"),
        (b"\xfd7zXZ\0\0", "xz"),
        (b"PK\x03\x04\x14", "zip"),
        (b"BZh91AY", "bzip2"),
        (b"\x04\x22\x4d\x18\x60", "lz4"),
        (b"ORC\x0a", "ORC"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
        (&[&b"name.jsonl"[..], &[0; 247], b"ustar\x0000"].concat(), "tar"),
    ] {
        for format in [Auto, Jsonl, Tokens] {
            for bytes in [bytes.to_vec(), gzip(bytes)] {
                let error = fatal(bytes, format);
                assert_eq!(error.kind(), ReadErrorKind::UnsupportedContainer);
                assert!(error.to_string().starts_with("in: ") && error.to_string().contains(name), "{error}");
            }
        }
    }
    for twice in [gzip(&gzip(b"one")), gzip(&zstd(b"one")), zstd(&gzip(b"one")), zstd(&zstd(b"one"))] {
        assert!(fatal(twice, Auto).to_string().contains("compressed twice"));
    }
    for bytes in [b"\xff\xfeo\0n\0e\0", b"\xfe\xff\0o\0n\0e"] {
        let error = fatal(*bytes, Auto);
        assert_eq!(error.kind(), ReadErrorKind::UnsupportedEncoding);
        assert!(error.to_string().contains("UTF-16"), "{error}");
    }
}

#[test]
fn a_text_may_begin_like_a_container() {
    for start in ["[1] One", "PAR1", "ARROW1"] {
        assert_eq!(one(start, Text).unwrap().body, text(None, start));
    }
}

#[test]
fn gzip_members_are_joined() {
    let mut bytes = gzip(b"{\"text\": \"one\"}\n{\"text\"");
    bytes.extend(gzip(b": \"two\"}\n"));
    let bodies: Vec<_> = all(bytes, Auto).into_iter().map(|item| item.unwrap().body).collect();
    assert_eq!(bodies, [text(None, "one"), text(None, "two")]);
}

#[test]
fn cut_gzip_delivers_what_came_before() {
    // The second record has to be incompressible, or a cut hits the trailer only.
    let noise: String =
        (0..400_u32).map(|i| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 27) as u8 % 26)).collect();
    let whole = gzip(format!("{{\"text\": \"one\"}}\n{{\"text\": \"{noise}\"}}\n").as_bytes());
    let mut firsts = 0;
    for end in 2..whole.len() {
        let Ok(reader) = reader(&whole[..end], Auto, 1000) else { continue };
        let mut items: Vec<_> = reader.collect();
        let error = items.pop().unwrap().unwrap_err();
        assert_eq!(error.kind(), ReadErrorKind::Truncated);
        assert!(error.to_string().starts_with("in:"), "{error}");
        firsts += usize::from(!items.is_empty());
        assert!(items.into_iter().all(|item| item.unwrap().is_ok()));
    }
    assert!(firsts > 100);
    assert_eq!(fatal(&whole[..5], Auto).kind(), ReadErrorKind::Truncated);
    let text = gzip(b"one two three");
    assert_eq!(
        reader(&text[..text.len() - 1], Auto, 1000).unwrap().next().unwrap().unwrap_err().kind(),
        ReadErrorKind::Truncated
    );
}

/// What is no JSON and no text either is not read as one text.
#[test]
fn tables_streams_and_pages_are_no_text() {
    for (input, name) in [
        ("question,answer,id\n\"what?\",\"that, then\",1\n", "a table"),
        ("id\ttext\n1\tone\n", "a table"),
        ("\"one\"\n\"two \\u00e9\"\n", "JSON strings"),
        ("data: {\"a\": 1}\n\ndata: [DONE]\n", "a stream of events"),
        ("<!DOCTYPE html>\n<html><body>x</body></html>\n", "a web page"),
    ] {
        let error = fatal(input, Auto);
        assert_eq!(error.kind(), ReadErrorKind::UnsupportedContainer);
        assert!(error.to_string().contains(name) && error.to_string().contains("--input-format text"), "{error}");
        assert!(one(input, Text).is_ok());
    }
    let items = all("# exported\n{\"text\": \"one\"}\n{\"text\": \"two\"}\n", Auto);
    assert!(items.len() == 3 && items[0].is_err() && items[1..].iter().all(Result::is_ok), "{items:?}");
    for text in
        ["One, two; three.\nFour, five.\n", "Text, that begins so\nand goes on.", "He wrote:\n{\"a\": 1}\nand left.\n"]
    {
        assert!(one(text, Auto).is_ok(), "{text}");
    }
    // Byte order marks inside, where files were joined.
    assert!(all("\u{feff}{\"text\": \"one\"}\n\u{feff}{\"text\": \"two\"}\n", Auto).iter().all(Result::is_ok));
}

#[test]
fn damaged_gzip() {
    let mut bytes = gzip(b"{\"text\": \"one\"}\n");
    let crc = bytes.len() - 8;
    bytes[crc] ^= 1;
    let items: Vec<_> = reader(bytes, Auto, 1000).unwrap().collect();
    assert!(items[0].as_ref().unwrap().is_ok());
    assert_eq!(items[1].as_ref().unwrap_err().kind(), ReadErrorKind::Corrupt);
    assert_eq!(items.len(), 2);
}

#[test]
fn long_records_are_skipped_in_bounded_memory() {
    let bomb = Read::chain(
        Read::take(std::io::repeat(b'{'), 100 << 20),
        &b"\n{\"text\": \"one\"}\n{\"text\": \"a line of just 34\"}\n{}"[..],
    );
    let limits = Limits { max_record_bytes: 29, ..Limits::default() };
    let items: Vec<_> = from_reader(bomb, "in", Auto, limits).unwrap().map(Result::unwrap).collect();
    assert_eq!(items[0].as_ref().unwrap_err().kind(), BadRecordKind::TooLong);
    assert_eq!(items[1].as_ref().unwrap().location.line(), 2);
    assert_eq!(items[2].as_ref().unwrap().location.line(), 3);
    assert_eq!(items[3].as_ref().unwrap_err().location().line(), 4);

    let exact = "{\"text\": \"one\"}";
    for end in ["", "\n"] {
        let line = format!("{exact}{end}");
        assert!(reader(line.as_str(), Auto, exact.len()).unwrap().next().unwrap().unwrap().is_ok());
        let error = reader(line, Auto, exact.len() - 1).unwrap().next().unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), BadRecordKind::TooLong);
    }
    assert!(reader("one", Auto, 3).unwrap().next().unwrap().unwrap().is_ok());
    let error = reader("four", Auto, 3).unwrap().next().unwrap().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "in:1: the text is longer than the limit of 3 bytes; split it into shorter records");
}

#[test]
fn files() {
    let missing = open(Path::new("no/such/file"), Auto, Limits::default()).unwrap_err();
    assert_eq!(missing.kind(), ReadErrorKind::Io);
    assert!(missing.to_string().starts_with("no/such/file: cannot open: "), "{missing}");
}
