//! Records as Python has them: token ids, a text, or a `dict` with the fields that the readers of files know.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use watermark_toolkit::read::{Body, InputFormat, Limits, Location, Record, Select, records_of};

use crate::error::InputError;
use crate::given::{instead, token_ids, type_name};

/// Records taken from Python at a time, between two stretches of work without its lock.
pub(crate) const BATCH: usize = 256;

/// Token ids or bytes after which such a stretch of work begins early: an interrupt is looked for before each.
const BATCH_SIZE: usize = 1 << 20;

/// The texts of the `at`-th record, counted from 0: one, or with a conversation several. Without an id of its own a record is
/// called by its place.
pub(crate) fn records(given: &Bound<'_, PyAny>, at: usize) -> PyResult<Vec<Record>> {
    let name = format!("records[{at}]");
    let number = at as u64 + 1;
    let record = |body| Record {
        location: Location::new(&Arc::from("record"), number, None),
        id: Some(at.to_string()),
        schema: "python",
        continues: false,
        body,
        issued: None,
    };
    if let Ok(text) = given.cast::<PyString>() {
        return Ok(vec![record(Body::Text { prompt: None, text: text.to_str()?.to_owned() })]);
    }
    let Ok(fields) = given.cast::<PyDict>() else {
        // A tensor of one id is a number too.
        if given.extract::<i64>().is_ok() && given.try_iter().is_err() {
            return Err(InputError::new_err(format!(
                "{name} is one number; a record is a list of token ids, so pass [ids]"
            )));
        }
        let tokens = token_ids(given, &name)?;
        return Ok(vec![record(Body::Tokens { prompt_tokens: Vec::new(), tokens })]);
    };
    if let Some(body) = tokens_of(fields, &name)? {
        let id = fields.get_item("id")?.filter(|id| !id.is_none()).map(|id| id.str()).transpose()?;
        let id = id.map_or_else(|| at.to_string(), |id| id.to_string());
        return Ok(vec![Record { id: Some(id), ..record(body) }]);
    }
    let json: String = given.py().import("json")?.call_method1("dumps", (fields,))?.extract()?;
    let read = records_of(json.as_bytes(), number, InputFormat::Jsonl, &Select::default(), Limits::default());
    let mut records =
        read.map_err(|bad| InputError::new_err(format!("{name}: {}", without_options(&bad.to_string()))))?;
    for record in &mut records {
        let part = record.location.part();
        let unnamed = || if part > 0 { format!("{at}#{part}") } else { at.to_string() };
        record.id.get_or_insert_with(unnamed);
    }
    Ok(records)
}

/// What is wrong, without the advice on options for files that no record in memory has.
fn without_options(message: &str) -> String {
    let said: Vec<&str> = message.split("; ").filter(|clause| !clause.contains("--")).collect();
    if said.is_empty() { message.to_owned() } else { said.join("; ") }
}

/// `tokens` or `input_ids`, with the ids of the prompt in `prompt_tokens` or `prompt`.
fn tokens_of(fields: &Bound<'_, PyDict>, name: &str) -> PyResult<Option<Body>> {
    let field = |names: [&'static str; 2]| -> PyResult<Option<(&str, Bound<'_, PyAny>)>> {
        let mut given = None;
        for field in names {
            if let Some(value) = fields.get_item(field)?.filter(|value| !value.is_none()) {
                if given.is_some() {
                    return Err(InputError::new_err(format!("{name} has both {} and {}", names[0], names[1])));
                }
                given = Some((field, value));
            }
        }
        Ok(given)
    };
    let Some((tokens_name, tokens)) = field(["tokens", "input_ids"])? else { return Ok(None) };
    let tokens = token_ids(&tokens, &format!("{name}[{tokens_name:?}]"))?;
    // Files of ours have the prompt as text beside its ids.
    let ids = fields.get_item("prompt_tokens")?.filter(|ids| !ids.is_none());
    let text = fields.get_item("prompt")?.is_some_and(|prompt| prompt.is_instance_of::<PyString>());
    let given = match ids {
        Some(ids) if text => Some(("prompt_tokens", ids)),
        _ => field(["prompt_tokens", "prompt"])?,
    };
    let prompt_tokens = match given {
        Some((prompt_name, prompt)) => token_ids(&prompt, &format!("{name}[{prompt_name:?}]"))?,
        None => Vec::new(),
    };
    Ok(Some(Body::Tokens { prompt_tokens, tokens }))
}

/// Token ids, or bytes of text, that are counted.
fn length(record: &Record) -> usize {
    match &record.body {
        Body::Text { text, .. } => text.len(),
        Body::Tokens { tokens, .. } => tokens.len(),
    }
}

/// The records of an iterable, [`BATCH`] and a few at a time.
pub(crate) fn each_batch(given: &Bound<'_, PyAny>, mut take: impl FnMut(&[Record]) -> PyResult<()>) -> PyResult<()> {
    let one = || InputError::new_err(format!("records is {}; it must be an iterable of records", type_name(given)));
    if given.is_instance_of::<PyString>() || given.is_instance_of::<PyDict>() {
        return Err(one());
    }
    let (mut batch, mut size) = (Vec::with_capacity(BATCH), 0);
    if given.hasattr("columns")? && given.hasattr("to_dict")? {
        let advice = "records is a DataFrame, whose items are the names of its columns; pass frame.to_dict(\"records\"), or one column";
        return Err(InputError::new_err(advice));
    }
    if given.hasattr("readline")? {
        return Err(InputError::new_err(
            "records is an open file; pass its records, for JSON lines map(json.loads, file)",
        ));
    }
    for (at, item) in given.try_iter().map_err(|error| instead(given.py(), error, one))?.enumerate() {
        let mut of_item = records(&item?, at)?;
        size += of_item.iter().map(length).sum::<usize>();
        batch.append(&mut of_item);
        if batch.len() >= BATCH || size >= BATCH_SIZE {
            size = 0;
            given.py().check_signals()?;
            take(&batch)?;
            batch.clear();
        }
    }
    if batch.is_empty() { Ok(()) } else { take(&batch) }
}

/// Refuses texts where there is no tokenizer; `call` is what takes one.
pub(crate) fn refuse_text(records: &[Record], call: &str) -> PyResult<()> {
    match records.iter().find(|record| matches!(record.body, Body::Text { .. })) {
        Some(record) => Err(InputError::new_err(format!(
            "records[{}] is text, which needs the tokenizer that the mark was made with: {call}(..., tokenizer=PATH)",
            record.location.line().saturating_sub(1)
        ))),
        None => Ok(()),
    }
}
