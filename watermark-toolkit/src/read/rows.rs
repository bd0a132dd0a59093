use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use watermark_core::MAX_TOKEN_ID;

use super::container::PARQUET;
use super::error::Flaw;
use super::fields::{Fields, IDS, NAMES, Parsed, from_fields, from_pointer, want};
use super::guard;
use super::parser::RecordParser;
use super::value::{Value, Want};
use super::{Item, Limits, Location, ReadError, ReadErrorKind};

/// Whether a file is Parquet; it is left at its beginning. Only a regular file can be, because Parquet is read from its end.
pub(super) fn is_parquet(mut file: &File) -> io::Result<bool> {
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let mut head = Vec::new();
    file.take(PARQUET.len() as u64).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(head == PARQUET)
}

/// The rows of one Parquet file; only columns that can be used are read, a page of each at a time.
///
/// The library takes a page whole, so memory is that of a page of every column: 1 MiB by custom, but a file may claim up to
/// 2 GiB for one, and a gzip page is not held to its claim.
pub(super) struct Rows {
    rows: RowIter<'static>,
    parser: RecordParser,
    limit: usize,
    source: Arc<str>,
    number: u64,
    /// Rows of the whole file.
    rows_in_all: u64,
    bytes: u64,
}

impl Rows {
    pub(super) fn open(file: File, source: &Arc<str>, limits: Limits, parser: RecordParser) -> Result<Self, ReadError> {
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let mut rows_in_all = 0;
        let rows = guarded(|| {
            let reader = SerializedFileReader::new(file)?;
            rows_in_all = u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0);
            let schema = reader.metadata().file_metadata().schema();
            let columns: Vec<_> = schema.get_fields().iter().filter(|column| is_read(column.name(), &parser)).collect();
            if columns.is_empty() {
                return Ok(None);
            }
            let columns = columns.into_iter().map(Arc::clone).collect();
            let projection = Type::group_type_builder(schema.name()).with_fields(columns).build()?;
            RowIter::from_file_into(Box::new(reader)).project(Some(projection)).map(Some)
        });
        match rows {
            Ok(Some(rows)) => {
                let (limit, source) = (limits.max_record_bytes, Arc::clone(source));
                Ok(Self { rows, parser, limit, source, number: 0, rows_in_all, bytes })
            }
            Ok(None) => {
                let message = format!(
                    "{source}: a Parquet file without a column of conversations, text or (with --input-format tokens) token \
                     ids; name one with --field /COLUMN"
                );
                Err(ReadError::new(ReadErrorKind::NoColumn, message))
            }
            Err(error) => Err(damaged(source, &error)),
        }
    }

    /// About how many bytes of the file were read.
    pub(super) fn consumed(&self) -> u64 {
        let part = u128::from(self.bytes) * u128::from(self.number) / u128::from(self.rows_in_all.max(1));
        u64::try_from(part).unwrap_or(self.bytes)
    }

    pub(super) fn next_record(&mut self) -> Option<Item<Parsed>> {
        let row = match guarded(|| self.rows.next().transpose()) {
            Ok(row) => row?,
            Err(error) => return Some(Err(damaged(&format!("{}:{}", self.source, self.number + 1), &error))),
        };
        self.number += 1;
        let location = Location::new(&self.source, self.number, None);
        Some(Ok(match self.parse(row) {
            Ok(parsed) => Ok((location, parsed)),
            Err(flaw) => Err(flaw.at(location)),
        }))
    }

    fn parse(&self, row: Row) -> Result<Parsed, Flaw> {
        let bytes: usize = row.get_column_iter().map(|(_, field)| size(field)).sum();
        if bytes > self.limit {
            return Err(Flaw::too_long("the row", self.limit));
        }
        if let Some(pointer) = &self.parser.select.field {
            return from_pointer(row.to_json_value(), pointer, &self.parser);
        }
        let mut fields = Fields::default();
        for (name, field) in row.into_columns() {
            if let Some(slot) = NAMES.iter().position(|known| *known == name) {
                fields.set(slot, value(field, want(&name, self.parser.tokens)));
            }
        }
        from_fields(fields, &self.parser)
    }
}

fn is_read(column: &str, parser: &RecordParser) -> bool {
    match &parser.select.field {
        // The record's own id is read too, because reports name it.
        Some(pointer) => pointer.split('/').nth(1) == Some(column) || IDS.contains(&column),
        // Token ids beside texts are left out, because reading them costs as much as the texts.
        None => match want(column, parser.tokens) {
            Want::Tokens | Want::Mask => parser.tokens,
            want => NAMES.contains(&column) && want != Want::Nothing,
        },
    }
}

/// The library gives errors for most damaged files and panics for some.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    guard::panics(read).unwrap_or_else(|_| Err(ParquetError::General("its contents contradict each other".to_owned())))
}

fn damaged(place: &str, error: &ParquetError) -> ReadError {
    // Only the kind of the error is told, because its details can repeat the file's content.
    let what = match error {
        ParquetError::General(what) if what.to_lowercase().contains("brotli") || what.contains("feature") => {
            "uses a compression that is not read (Brotli, for example); write it again with zstd or snappy"
        }
        ParquetError::NYI(_) => "uses a Parquet feature that is not read; write it again with another tool",
        _ => "damaged or cut short; get an intact copy",
    };
    ReadError::new(
        ReadErrorKind::Corrupt,
        format!("{place}: this Parquet file {}{what}", if what.starts_with('d') { "is " } else { "" }),
    )
}

/// Bytes of text and numbers in a field, roughly.
fn size(field: &Field) -> usize {
    match field {
        Field::Str(text) => text.len(),
        Field::Bytes(bytes) => bytes.len(),
        Field::Group(row) => row.get_column_iter().map(|(_, field)| size(field)).sum(),
        Field::ListInternal(list) => list.elements().iter().map(size).sum(),
        Field::MapInternal(map) => map.entries().iter().map(|(key, value)| size(key) + size(value)).sum(),
        _ => 4,
    }
}

fn value(field: Field, want: Want) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Str(text) => Value::Text(text),
        // Some writers do not annotate their strings.
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Other("bytes that are not UTF-8"),
        },
        Field::ListInternal(list) if want == Want::Tokens => {
            let mut ids = Vec::with_capacity(list.len());
            for (position, element) in list.elements().iter().enumerate() {
                match token(element) {
                    Ok(id) => ids.push(id),
                    Err(what) => return Value::BadToken { position, what },
                }
            }
            Value::Tokens(ids)
        }
        Field::ListInternal(list) if want == Want::Mask => {
            let mut mask = Vec::with_capacity(list.len());
            for (position, element) in list.elements().iter().enumerate() {
                let number = match element {
                    Field::Bool(value) => Some(i64::from(*value)),
                    other => integer(other).and_then(|number| i64::try_from(number).ok()),
                };
                match number {
                    Some(number) => mask.push(number),
                    None => return Value::BadToken { position, what: "no integer".to_owned() },
                }
            }
            Value::Mask(mask)
        }
        field @ (Field::ListInternal(_) | Field::Group(_)) if want == Want::Tree => Value::Tree(field.to_json_value()),
        Field::ListInternal(_) => Value::Other("a list"),
        Field::Group(_) | Field::MapInternal(_) => Value::Other("a structure"),
        other => match integer(&other) {
            Some(number) if want == Want::Scalar => Value::Number(number.to_string()),
            _ => Value::Other("neither text nor an integer"),
        },
    }
}

fn token(field: &Field) -> Result<u32, String> {
    let number = integer(field).ok_or_else(|| if *field == Field::Null { "null" } else { "no integer" })?;
    u32::try_from(number).ok().filter(|&id| id <= MAX_TOKEN_ID).ok_or_else(|| number.to_string())
}

fn integer(field: &Field) -> Option<i128> {
    Some(match *field {
        Field::Byte(number) => number.into(),
        Field::Short(number) => number.into(),
        Field::Int(number) => number.into(),
        Field::Long(number) => number.into(),
        Field::UByte(number) => number.into(),
        Field::UShort(number) => number.into(),
        Field::UInt(number) => number.into(),
        Field::ULong(number) => number.into(),
        _ => return None,
    })
}
