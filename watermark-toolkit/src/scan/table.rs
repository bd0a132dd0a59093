//! Records as token ids: what a shard holds, and what passes between the stages of a distributed scan. An Arrow record
//! batch, one row a record, so that other tools can read it.
//!
//! Integers are signed because Spark has no others; ids are below 2^24.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};

use crate::ids::Ids;

/// One generated text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text<'a> {
    /// Generated text among those of the record, counted from 1; 0 if there can be only one.
    pub(super) part: u32,
    /// Prompt and tokens of the text before are prompt here too.
    pub(super) continues: bool,
    pub(super) prompt: &'a [u32],
    pub(super) tokens: &'a [u32],
}

/// Where a record came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin<'a> {
    /// Line, element or row, counted from 1.
    pub(super) record: u64,
    pub(super) id: Option<&'a str>,
    /// First byte of the record after decompression, and one past its last.
    pub(super) bytes: Option<(u64, u64)>,
}

/// Lists of lists of ids, stored one after another.
#[derive(Default)]
struct Lists {
    starts: Vec<i32>,
    values: Vec<i32>,
}

impl Lists {
    fn push(&mut self, ids: &[u32]) -> Result<()> {
        self.starts.push(offset(self.values.len())?);
        self.values.extend_from_slice(bytemuck::cast_slice(ids));
        Ok(())
    }

    /// A list of `slots` lists for each text.
    fn finish(mut self, slots: usize) -> Result<ArrayRef> {
        self.starts.push(offset(self.values.len())?);
        let texts = (self.starts.len() - 1) / slots.max(1);
        let outer = (0..=texts).map(|text| offset(text * slots)).collect::<Result<Vec<_>>>()?;
        let values = Arc::new(Int32Array::from(self.values));
        let ids = ListArray::try_new(item(DataType::Int32), OffsetBuffer::new(self.starts.into()), values, None)?;
        let (item, ids) = (item(ids.data_type().clone()), Arc::new(ids));
        Ok(Arc::new(ListArray::try_new(item, OffsetBuffer::new(outer.into()), ids, None)?))
    }
}

/// Arrow's lists are addressed by 31 bits.
fn offset(length: usize) -> Result<i32> {
    i32::try_from(length).context("more than 2^31 token ids in one shard; use a smaller --shard-size")
}

fn item(data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new_list_field(data_type, false))
}

/// Collects records into a table.
pub(super) struct Builder {
    slots: usize,
    record: Vec<i64>,
    id: Vec<Option<String>>,
    start: Vec<Option<i64>>,
    end: Vec<Option<i64>>,
    texts: Vec<i32>,
    part: Vec<i32>,
    continues: Vec<bool>,
    prompts: Lists,
    tokens: Lists,
}

impl Builder {
    /// For texts as the ids of `slots` tokenizers.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots,
            record: Vec::new(),
            id: Vec::new(),
            start: Vec::new(),
            end: Vec::new(),
            texts: Vec::new(),
            part: Vec::new(),
            continues: Vec::new(),
            prompts: Lists::default(),
            tokens: Lists::default(),
        }
    }

    /// Begins a record; its texts follow.
    pub(super) fn record(&mut self, origin: Origin<'_>) -> Result<()> {
        self.record.push(i64::try_from(origin.record)?);
        self.id.push(origin.id.map(str::to_owned));
        let bytes =
            origin.bytes.map(|(start, end)| Ok::<_, anyhow::Error>((i64::try_from(start)?, i64::try_from(end)?)));
        let bytes = bytes.transpose()?;
        self.start.push(bytes.map(|(start, _)| start));
        self.end.push(bytes.map(|(_, end)| end));
        self.texts.push(offset(self.part.len())?);
        Ok(())
    }

    /// A text of the record, as the ids of every tokenizer: prompt and generated.
    pub(super) fn text(&mut self, part: u32, continues: bool, ids: &[Ids]) -> Result<()> {
        self.part.push(i32::try_from(part).context("a record with more than 2^31 texts")?);
        self.continues.push(continues);
        for Ids { prompt, tokens, .. } in ids {
            self.prompts.push(prompt)?;
            self.tokens.push(tokens)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Table> {
        self.texts.push(offset(self.part.len())?);
        let of_text: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(self.part)),
            Arc::new(BooleanArray::from(self.continues)),
            self.prompts.finish(self.slots)?,
            self.tokens.finish(self.slots)?,
        ];
        let texts = StructArray::try_new(text_fields(), of_text, None)?;
        let texts = ListArray::try_new(
            item(texts.data_type().clone()),
            OffsetBuffer::new(self.texts.into()),
            Arc::new(texts),
            None,
        )?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(self.record)),
            Arc::new(StringArray::from(self.id)),
            Arc::new(Int64Array::from(self.start)),
            Arc::new(Int64Array::from(self.end)),
            Arc::new(texts),
        ];
        Table::new(RecordBatch::try_new(schema(), columns)?)
    }
}

fn text_fields() -> Fields {
    let ids = DataType::List(item(DataType::List(item(DataType::Int32))));
    Fields::from(vec![
        Field::new("part", DataType::Int32, false),
        Field::new("continues", DataType::Boolean, false),
        Field::new("prompt_tokens", ids.clone(), false),
        Field::new("tokens", ids, false),
    ])
}

/// `record`, `id`, `start` and `end` (bytes), and `texts`: a list of `part`, `continues`, `prompt_tokens` and `tokens`, the
/// last two a list of ids for every tokenizer.
pub(super) fn schema() -> SchemaRef {
    let texts = DataType::List(item(DataType::Struct(text_fields())));
    Arc::new(Schema::new(vec![
        Field::new("record", DataType::Int64, false),
        Field::new("id", DataType::Utf8, true),
        Field::new("start", DataType::Int64, true),
        Field::new("end", DataType::Int64, true),
        Field::new("texts", texts, false),
    ]))
}

/// Whether two types are equal, apart from what engines between the stages change: which fields may be null, and how
/// the items of lists are called.
fn same(ours: &Fields, found: &Fields) -> bool {
    fn same_type(ours: &DataType, found: &DataType) -> bool {
        match (ours, found) {
            (DataType::List(ours), DataType::List(found)) => same_type(ours.data_type(), found.data_type()),
            (DataType::Struct(ours), DataType::Struct(found)) => same(ours, found),
            _ => ours == found,
        }
    }
    ours.len() == found.len()
        && ours.iter().zip(found).all(|(a, b)| a.name() == b.name() && same_type(a.data_type(), b.data_type()))
}

/// Records with their texts, checked once.
#[derive(Clone, Debug)]
pub(super) struct Table {
    batch: RecordBatch,
}

impl Table {
    /// # Errors
    /// If the columns are not those of [`schema`].
    pub(super) fn new(batch: RecordBatch) -> Result<Self> {
        if !same(schema().fields(), batch.schema().fields()) {
            bail!("columns {} are not those of a table of token ids", batch.schema());
        }
        Ok(Self { batch })
    }

    pub(super) fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// Calls `visit` for every text under tokenizer `slot`, in order.
    pub(super) fn each<'a>(
        &'a self,
        slot: usize,
        mut visit: impl FnMut(Origin<'a>, Text<'a>) -> Result<()>,
    ) -> Result<()> {
        let column = |at: usize| self.batch.column(at);
        let records = column(0).as_primitive::<Int64Type>();
        let ids = column(1).as_string::<i32>();
        let [starts, ends] = [2, 3].map(|at| column(at).as_primitive::<Int64Type>());
        let lists = column(4).as_list::<i32>();
        let texts = lists.values().as_struct();
        let parts = texts.column(0).as_primitive::<Int32Type>().values();
        let continues = texts.column(1).as_boolean();
        let [prompts, tokens] = [2, 3].map(|at| Nested::new(texts.column(at)));
        for row in 0..self.batch.num_rows() {
            let bytes = (starts.is_valid(row) && ends.is_valid(row))
                .then(|| Ok::<_, anyhow::Error>((unsigned(starts.value(row))?, unsigned(ends.value(row))?)))
                .transpose()?;
            let id = ids.is_valid(row).then(|| ids.value(row));
            let origin = Origin { record: unsigned(records.value(row))?, id, bytes };
            for text in range(lists.value_offsets(), row)? {
                let text = Text {
                    part: u32::try_from(*parts.get(text).with_context(broken)?)?,
                    continues: continues.value(text),
                    prompt: prompts.get(text, slot)?,
                    tokens: tokens.get(text, slot)?,
                };
                visit(origin, text)?;
            }
        }
        Ok(())
    }
}

struct Nested<'a> {
    outer: &'a [i32],
    inner: &'a [i32],
    values: &'a [u32],
}

impl<'a> Nested<'a> {
    fn new(array: &'a ArrayRef) -> Self {
        let outer = array.as_list::<i32>();
        let inner = outer.values().as_list::<i32>();
        let values = bytemuck::cast_slice(inner.values().as_primitive::<Int32Type>().values());
        Self { outer: outer.value_offsets(), inner: inner.value_offsets(), values }
    }

    fn get(&self, text: usize, slot: usize) -> Result<&'a [u32]> {
        let list =
            range(self.outer, text)?.nth(slot).with_context(|| format!("a text without ids of tokenizer {slot}"))?;
        self.values.get(range(self.inner, list)?).with_context(broken)
    }
}

fn range(offsets: &[i32], at: usize) -> Result<std::ops::Range<usize>> {
    let (start, end) = (*offsets.get(at).with_context(broken)?, *offsets.get(at + 1).with_context(broken)?);
    Ok(usize::try_from(start)?..usize::try_from(end)?)
}

fn unsigned(number: i64) -> Result<u64> {
    u64::try_from(number).with_context(broken)
}

fn broken() -> String {
    "a table of token ids contradicts itself".to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use arrow_ipc::writer::FileWriter;
    use proptest::prelude::*;

    use super::*;

    type RecordRow = (u64, Option<String>, Vec<(u32, bool, Vec<u32>, Vec<u32>)>);

    fn table(records: &[RecordRow]) -> Table {
        let mut builder = Builder::new(2);
        for (record, id, texts) in records {
            builder.record(Origin { record: *record, id: id.as_deref(), bytes: Some((1, 2)) }).unwrap();
            for (part, continues, prompt, tokens) in texts {
                // The second tokenizer's ids are the other way round.
                let ids = Ids { prompt: prompt.clone(), tokens: tokens.clone(), offsets: None };
                let mut reversed = ids.clone();
                reversed.prompt.reverse();
                reversed.tokens.reverse();
                builder.text(*part, *continues, &[ids, reversed]).unwrap();
            }
        }
        builder.finish().unwrap()
    }

    fn bytes(table: &Table) -> Vec<u8> {
        let mut writer = FileWriter::try_new(Vec::new(), table.batch().schema_ref()).unwrap();
        writer.write(table.batch()).unwrap();
        writer.into_inner().unwrap()
    }

    fn records() -> impl Strategy<Value = Vec<RecordRow>> {
        let ids = || proptest::collection::vec(0..1u32 << 24, 0..6);
        let texts = proptest::collection::vec((0..9u32, any::<bool>(), ids(), ids()), 0..4);
        proptest::collection::vec((0..1u64 << 40, proptest::option::of("\\PC{0,6}"), texts), 0..5)
    }

    proptest! {
        #[test]
        fn gives_back_what_was_put_in(records in records()) {
            let table = table(&records);
            let read = super::super::shard::batch(bytes(&table)).unwrap();
            for slot in 0..2 {
                let mut found = Vec::new();
                read.each(slot, |origin, text| {
                    let order = |ids: &[u32]| match slot {
                        0 => ids.to_vec(),
                        _ => ids.iter().rev().copied().collect(),
                    };
                    let text = (text.part, text.continues, order(text.prompt), order(text.tokens));
                    found.push((origin.record, origin.id.map(str::to_owned), text));
                    Ok(())
                }).unwrap();
                let expected = records.iter().flat_map(|(record, id, texts)| {
                    texts.iter().map(move |text| (*record, id.clone(), text.clone()))
                });
                prop_assert_eq!(found, expected.collect::<Vec<_>>());
            }
            prop_assert!(table.each(2, |_, _| Ok(())).is_err() || records.iter().all(|(_, _, texts)| texts.is_empty()));
        }

        /// Bytes of another machine's part, changed in any way, give an error or other ids, and no panic.
        #[test]
        fn damaged_bytes_are_an_error(
            records in records(),
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
            cut in proptest::option::of(any::<proptest::sample::Index>()),
        ) {
            let mut bytes = bytes(&table(&records));
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let _ = super::super::shard::batch(bytes).map(|table| {
                [0, 1].map(|slot| table.each(slot, |_, _| Ok(())).is_ok())
            });
        }
    }
}
