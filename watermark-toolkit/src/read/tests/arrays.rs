use proptest::{collection::vec, prelude::*, sample};

use super::{super::*, all, fatal, gzip, one, reader, text};

use InputFormat::{Auto, Jsonl, Tokens};

#[test]
fn elements_are_records() {
    let array = " [ {\"text\": \"one ]},{\\\"\\\\\"} ,\n{\"id\": 2, \"text\": \"two\"}, 3, {\"text\": 4}\n] \n";
    for bytes in [array.as_bytes().to_vec(), gzip(array.as_bytes())] {
        let items = all(bytes, Auto);
        assert_eq!(items.len(), 4);
        let first = items[0].as_ref().unwrap();
        assert_eq!((first.location.line(), &first.body), (1, &text(None, "one ]},{\"\\")));
        let (from, to) = first.location.bytes().unwrap();
        let whole: serde_json::Value = serde_json::from_str(&array[from as usize..to as usize]).unwrap();
        assert_eq!(whole["text"], "one ]},{\"\\");
        assert_eq!(items[1].as_ref().unwrap().id.as_deref(), Some("2"));
        let kinds: Vec<_> = items[2..].iter().map(|item| item.as_ref().unwrap_err().kind()).collect();
        assert_eq!(kinds, [BadRecordKind::InvalidJson, BadRecordKind::WrongType]);
        assert_eq!(items[3].as_ref().unwrap_err().location().line(), 4);
    }
    assert_eq!(all("[]", Jsonl), []);
    let ids = one("[{\"input_ids\": [1, 2]}]", Tokens).unwrap();
    assert_eq!((ids.schema, ids.body), ("input_ids", Body::Tokens { prompt_tokens: vec![], tokens: vec![1, 2] }));
}

#[test]
fn broken_arrays() {
    for (bytes, kind, good) in [
        ("[{\"text\": \"one\"}", ReadErrorKind::Truncated, 1),
        ("[{\"text\": \"one\"},", ReadErrorKind::Truncated, 1),
        ("[{\"text\": \"one\"}, {\"te", ReadErrorKind::Truncated, 1),
        ("[{\"text\": \"one\"} {\"text\": \"two\"}]", ReadErrorKind::Corrupt, 1),
        ("[{\"text\": \"one\"}] [", ReadErrorKind::Corrupt, 1),
        ("[{\"text\": \"one\"},]", ReadErrorKind::Corrupt, 1),
        ("[", ReadErrorKind::Truncated, 0),
        ("[,]", ReadErrorKind::Corrupt, 0),
    ] {
        let mut items: Vec<_> = reader(bytes, Auto, 1000).unwrap().collect();
        let error = items.pop().unwrap().unwrap_err();
        let records = items.into_iter().filter(|item| item.as_ref().unwrap().is_ok()).count();
        assert_eq!((error.kind(), records), (kind, good), "{bytes}");
        assert!(error.to_string().contains("--input-format text"), "{error}");
    }
    assert_eq!(fatal("\n", Jsonl).kind(), ReadErrorKind::Empty);
}

#[test]
fn long_elements_are_skipped_in_bounded_memory() {
    let bomb = Read::chain(
        Read::chain(&b"[{\"text\": \"one\"}, \""[..], Read::take(std::io::repeat(b'x'), 100 << 20)),
        &b"\", {\"text\": \"two\"}]"[..],
    );
    let limits = Limits { max_record_bytes: 40, ..Limits::default() };
    let items: Vec<_> = from_reader(bomb, "in", Auto, limits).unwrap().map(Result::unwrap).collect();
    assert!(items[0].is_ok() && items[2].is_ok() && items.len() == 3);
    assert_eq!(items[1].as_ref().unwrap_err().kind(), BadRecordKind::TooLong);
}

const PIECES: [&str; 14] =
    ["[", "]", "{", "}", ",", "\"", "\\", " ", "\n", "1", "{\"text\": \"t\"}", "\"text\":", "\u{e9}", "null"];

proptest! {
    #[test]
    fn no_panic_and_an_end(pieces in vec(sample::select(&PIECES[..]), 0..40), limit in 0_usize..60) {
        let Ok(mut reader) = reader(format!("[{}", pieces.concat()), Auto, limit) else { return Ok(()) };
        let mut line = 0;
        for item in reader.by_ref() {
            let Ok(item) = item else { break };
            let location = item.map_or_else(|bad| bad.location().clone(), |record| record.location);
            prop_assert!(location.line() > line);
            line = location.line();
        }
        prop_assert!(reader.next().is_none());
    }

    /// What serde_json reads as one value gives the same elements here, one at a time.
    #[test]
    fn equals_the_whole_value(texts in vec("\\PC{0,12}", 0..8), space in "[ \n\t]{0,3}") {
        let objects: Vec<_> = texts.iter().map(|text| serde_json::json!({ "text": text, "x": [[], {}] }).to_string()).collect();
        let array = format!("[{space}{}{space}]", objects.join(&format!("{space},{space}")));
        let read: Vec<_> = reader(array, Auto, 1000).unwrap().map(|item| item.unwrap().unwrap().body).collect();
        let expected: Vec<_> = texts.iter().map(|t| text(None, t)).collect();
        prop_assert_eq!(read, expected);
    }
}
