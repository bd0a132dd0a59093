//! Parquet, written with the same library's column writer.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::{prelude::*, sample};

use super::{super::*, text};

use InputFormat::{Auto, Tokens};

const SCHEMA: &str = "message schema {
    optional binary id (UTF8);
    optional binary text (UTF8);
    optional group conversation (LIST) { repeated group list { optional group element {
        optional binary role (UTF8); optional binary content (UTF8); } } }
    optional group input_ids (LIST) { repeated group list { optional int32 element; } }
    optional int32 other;
}";

/// Three rows: a text, a conversation of two turns, and nothing but ids.
fn file(compression: Compression) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let bytes = |texts: &[&str]| texts.iter().map(|text| ByteArray::from(*text)).collect::<Vec<_>>();
    let mut column = 0;
    while let Some(mut next) = group.next_column().unwrap() {
        let strings = |values: &[&str],
                       def: &[i16],
                       rep: Option<&[i16]>,
                       writer: &mut parquet::file::writer::SerializedColumnWriter<'_>| {
            writer.typed::<ByteArrayType>().write_batch(&bytes(values), Some(def), rep).unwrap();
        };
        match column {
            0 => strings(&["a", "b", "c"], &[1, 1, 1], None, &mut next),
            1 => strings(&["one"], &[1, 0, 0], None, &mut next),
            2 => strings(&["user", "assistant"], &[0, 4, 4, 0], Some(&[0, 0, 1, 0]), &mut next),
            3 => strings(&["q", "two"], &[0, 4, 4, 0], Some(&[0, 0, 1, 0]), &mut next),
            4 => {
                let ids = next.typed::<Int32Type>();
                ids.write_batch(&[5, 6, -1], Some(&[0, 3, 3, 3]), Some(&[0, 0, 1, 0])).unwrap();
            }
            _ => {
                next.typed::<Int32Type>().write_batch(&[1, 2, 3], Some(&[1, 1, 1]), None).unwrap();
            }
        }
        next.close().unwrap();
        column += 1;
    }
    group.close().unwrap();
    writer.into_inner().unwrap()
}

static FILES: AtomicU32 = AtomicU32::new(0);

fn read(bytes: &[u8], format: InputFormat, field: Option<&str>) -> Result<Items, ReadError> {
    let name = format!("watermark-rows-{}-{}", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).unwrap();
    let select = Select { field: field.map(str::to_owned), role: None };
    let items = open_selecting(&path, format, &select, Limits::default()).map(Iterator::collect);
    std::fs::remove_file(&path).unwrap();
    items
}

type Items = Vec<Result<Result<Record, BadRecord>, ReadError>>;

#[test]
fn rows_are_records() {
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
    ];
    for codec in codecs {
        let items: Vec<_> = read(&file(codec), Auto, None).unwrap().into_iter().map(Result::unwrap).collect();
        assert_eq!(items.len(), 3);
        let (one, two) = (items[0].as_ref().unwrap(), items[1].as_ref().unwrap());
        assert_eq!((one.schema, &one.body, one.id.as_deref()), ("text", &text(None, "one"), Some("a")));
        assert_eq!((two.schema, &two.body, two.location.line()), ("conversation", &text(Some("q"), "two"), 2));
        assert_eq!(items[2].as_ref().unwrap_err().kind(), BadRecordKind::MissingField);
    }
}

#[test]
fn ids_and_fields() {
    let bytes = file(Compression::SNAPPY);
    let items: Vec<_> = read(&bytes, Tokens, None).unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(items[0].as_ref().unwrap_err().kind(), BadRecordKind::MissingField);
    assert_eq!(items[1].as_ref().unwrap().body, Body::Tokens { prompt_tokens: vec![], tokens: vec![5, 6] });
    assert!(items[2].as_ref().unwrap_err().to_string().contains("is -1"));
    let items = read(&bytes, Auto, Some("/conversation/1/content")).unwrap();
    assert_eq!(items[1].as_ref().unwrap().as_ref().unwrap().body, text(None, "two"));
    assert_eq!(read(&bytes, Auto, Some("/nothing")).map(|items| items.len()), Ok(3));
}

#[test]
fn cut_files_are_refused() {
    let whole = file(Compression::SNAPPY);
    for end in 4..whole.len() {
        let error = read(&whole[..end], Auto, None).unwrap_err();
        assert_eq!(error.kind(), ReadErrorKind::Corrupt, "{end}");
        assert!(error.to_string().contains("Parquet"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn damaged_files(changes in proptest::collection::vec((any::<sample::Index>(), any::<u8>()), 1..4), codec in 0_usize..3) {
        let codec = [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())][codec];
        let mut bytes = file(codec);
        for (at, byte) in changes {
            *at.get_mut(&mut bytes[4..]) = byte;
        }
        if let Ok(items) = read(&bytes, Auto, None) {
            prop_assert!(items.len() < 10_000);
        }
    }
}
