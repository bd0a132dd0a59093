//! From the fields of a record to its generated texts.

use serde_json::Value as Tree;

use super::error::Flaw;
use super::parser::RecordParser;
use super::turns::{self, Generated};
use super::value::{Value, Want};
use super::{BadRecordKind, Body, Location, Record};

/// The fields that have a meaning, in any format.
pub(super) const NAMES: [&str; 23] = [
    "id",
    "custom_id",
    "conversation_id",
    "conversation_hash",
    "messages",
    "conversations",
    "conversation",
    "completion",
    "chosen",
    "response",
    "choices",
    "output",
    "answer",
    "solution",
    "text",
    "prompt",
    "question",
    "problem",
    "instruction",
    "input",
    "tokens",
    "input_ids",
    "prompt_tokens",
];

const IDS: [&str; 4] = ["id", "custom_id", "conversation_id", "conversation_hash"];

/// For each shape of a record, by preference: the field of the generated text, the fields that hold its prompt, and the
/// name of the shape.
const SHAPES: [(&str, &[&str], &str); 11] = [
    ("messages", &[], "messages"),
    ("conversations", &[], "conversations"),
    ("conversation", &[], "conversation"),
    ("completion", &["prompt"], "prompt/completion"),
    ("chosen", &["prompt"], "prompt/chosen"),
    ("response", &["question", "prompt", "instruction", "input"], "question/response"),
    ("choices", &[], "choices"),
    ("output", &["instruction", "input"], "instruction/input/output"),
    ("answer", &["question"], "question/answer"),
    ("solution", &["problem"], "problem/solution"),
    ("text", &[], "text"),
];

/// A conversation and a single answer beside it exclude each other: a log of calls and a data set for training are written with
/// one of them. Other shapes stand beside each other in many data sets, as columns of preference pairs do.
const CONVERSATIONS: [&str; 3] = ["messages", "conversations", "conversation"];
const SINGLE: &str = "completion";

const TOKEN_FIELDS: [&str; 2] = ["tokens", "input_ids"];

/// A record's own id, which fields were read, and its generated texts.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) id: Option<String>,
    pub(super) schema: &'static str,
    pub(super) texts: Vec<Generated>,
}

impl Parsed {
    /// The generated texts as records that were all read at `location`.
    pub(super) fn records(self, location: &Location) -> impl Iterator<Item = Record> {
        let Self { id, schema, texts } = self;
        texts.into_iter().map(move |text| Record {
            location: location.clone().with_part(text.part),
            id: id.clone(),
            schema,
            continues: text.continues,
            body: text.body,
            issued: text.issued,
        })
    }
}

/// What to keep of a field: only what the format can use.
pub(super) fn want(name: &str, tokens: bool) -> Want {
    match name {
        _ if IDS.contains(&name) => Want::Scalar,
        "prompt_tokens" if !tokens => Want::Nothing,
        "tokens" | "input_ids" | "prompt_tokens" => Want::Tokens,
        _ if tokens => Want::Nothing,
        _ => Want::Tree,
    }
}

/// The values of [`NAMES`], by position.
#[derive(Default)]
pub(super) struct Fields {
    values: [Option<Value>; NAMES.len()],
    duplicate: Option<&'static str>,
}

impl Fields {
    pub(super) fn set(&mut self, slot: usize, value: Value) {
        if self.values[slot].is_some() {
            self.duplicate.get_or_insert(NAMES[slot]);
        }
        self.values[slot] = Some(value);
    }

    /// Removes and returns a field's value; none if it is absent or null.
    fn take(&mut self, name: &str) -> Option<Value> {
        let slot = NAMES.iter().position(|known| *known == name)?;
        self.values[slot].take().filter(|value| !matches!(value, Value::Null))
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        let slot = NAMES.iter().position(|known| *known == name)?;
        self.values[slot].as_mut()
    }

    fn take_id(&mut self) -> Result<Option<String>, Flaw> {
        for name in IDS {
            match self.take(name) {
                None => {}
                Some(Value::Text(id) | Value::Number(id)) => return Ok(Some(id)),
                Some(other) => return Err(wrong(name, &other, "a string, or a number of at most 64 bits")),
            }
        }
        Ok(None)
    }
}

pub(super) fn from_fields(mut fields: Fields, parser: &RecordParser) -> Result<Parsed, Flaw> {
    if let Some(name) = fields.duplicate {
        return Err(Flaw::new(BadRecordKind::DuplicateField, format!("field \"{name}\" occurs twice; keep one")));
    }
    let id = fields.take_id()?;
    if parser.tokens {
        let (schema, texts) = tokens(fields)?;
        return Ok(Parsed { id, schema, texts });
    }
    // `take` leaves an empty list in the field, so that the error on a record without text can say that it has ids.
    let issued = TOKEN_FIELDS.iter().find_map(|name| match fields.get_mut(name)? {
        Value::Tokens(ids) => Some(std::mem::take(ids)),
        _ => None,
    });
    let (schema, mut texts) = texts(fields, parser)?;
    if let [text] = texts.as_mut_slice() {
        text.issued = issued;
    }
    Ok(Parsed { id, schema, texts })
}

fn texts(mut fields: Fields, parser: &RecordParser) -> Result<(&'static str, Vec<Generated>), Flaw> {
    let mut passed_over = None;
    for (name, asked, schema) in SHAPES {
        let Some(value) = fields.take(name) else { continue };
        let mut prompts = Vec::new();
        for name in asked {
            match fields.take(name) {
                None => {}
                Some(Value::Text(prompt)) => prompts.push(prompt),
                Some(Value::Tree(tree)) => prompts.push(turns::all_text(name, &tree)?),
                Some(other) => return Err(wrong(name, &other, "a string or a conversation")),
            }
            // A record has one question, except that an instruction may have further input.
            if !prompts.is_empty() && *name != "instruction" {
                break;
            }
        }
        let prompt = (!prompts.is_empty()).then(|| prompts.join("\n"));
        match value {
            // The field should be a list of turns and is not. Exports of several tools write it so beside another
            // shape, which may still fit.
            other if asked.is_empty() && name != "text" && !matches!(other, Value::Tree(Tree::Array(_))) => {
                passed_over.get_or_insert(wrong(name, &other, "a conversation: an array of turns"));
            }
            // Either may be the answer, and what is left out decides a test: nobody but the file's owner can say which.
            Value::Tree(_) if CONVERSATIONS.contains(&name) && fields.take(SINGLE).is_some() => {
                let message = format!(
                    "fields \"{name}\" and \"{SINGLE}\" both hold generated text; keep one of them, or name it with --field"
                );
                return Err(Flaw::new(BadRecordKind::Ambiguous, message));
            }
            Value::Tree(tree) if name == "choices" => return Ok((schema, turns::choices(&tree)?)),
            Value::Tree(Tree::Object(response)) if name == "response" => {
                let body = response.get("body").and_then(Tree::as_object).unwrap_or(&response);
                let choices = body.get("choices").ok_or_else(|| {
                    Flaw::new(BadRecordKind::MissingField, "field \"response\" has no \"body\" with \"choices\"")
                })?;
                return Ok(("response.body.choices", turns::choices(choices)?));
            }
            Value::Tree(tree @ Tree::Array(_)) if name != "text" => {
                return Ok((schema, turns::conversation(name, &tree, prompt, parser.select.role.as_deref())?));
            }
            Value::Text(text) => return Ok((schema, vec![Generated::only(Body::Text { prompt, text })])),
            other => return Err(wrong(name, &other, "a string or a conversation")),
        }
    }
    if let Some(flaw) = passed_over {
        return Err(flaw);
    }
    Err(Flaw::new(
        BadRecordKind::MissingField,
        if TOKEN_FIELDS.iter().any(|name| fields.take(name).is_some()) {
            "token ids and no text; pass --input-format tokens to read token ids"
        } else {
            "none of the fields \"messages\", \"conversations\", \"conversation\", \"completion\", \"response\", \"output\", \
             \"answer\", \"solution\" and \"text\"; name the text so"
        },
    ))
}

fn tokens(mut fields: Fields) -> Result<(&'static str, Vec<Generated>), Flaw> {
    for name in TOKEN_FIELDS {
        let Some(value) = fields.take(name) else { continue };
        let tokens = ids(name, value)?;
        let prompt_tokens =
            fields.take("prompt_tokens").map(|value| ids("prompt_tokens", value)).transpose()?.unwrap_or_default();
        return Ok((name, vec![Generated::only(Body::Tokens { prompt_tokens, tokens })]));
    }
    Err(Flaw::new(
        BadRecordKind::MissingField,
        if SHAPES.iter().any(|(name, ..)| fields.take(name).is_some()) {
            "no field \"tokens\", but text; leave out --input-format tokens to read text"
        } else {
            "no field \"tokens\" or \"input_ids\"; it must be an array of token ids"
        },
    ))
}

/// What `--field` names: a text, ids, or a conversation.
pub(super) fn from_pointer(mut tree: Tree, pointer: &str, parser: &RecordParser) -> Result<Parsed, Flaw> {
    let id = IDS.iter().find_map(|name| match tree.get(name)? {
        Tree::String(id) => Some(id.clone()),
        Tree::Number(id) => Some(id.to_string()),
        _ => None,
    });
    let found = tree.pointer_mut(pointer).map_or(Tree::Null, Tree::take);
    let texts = match found {
        Tree::Null => return Err(Flaw::new(BadRecordKind::MissingField, "nothing where --field points")),
        Tree::String(text) if !parser.tokens => vec![Generated::only(Body::Text { prompt: None, text })],
        Tree::Array(elements) if parser.tokens => {
            let mut tokens = Vec::with_capacity(elements.len());
            for (position, element) in elements.iter().enumerate() {
                let token = element.as_u64().and_then(|id| u32::try_from(id).ok());
                tokens.push(token.filter(|&id| id <= watermark_core::MAX_TOKEN_ID).ok_or_else(|| {
                    let what = if element.is_number() { element.to_string() } else { "no number".to_owned() };
                    bad_token("--field", position, &what)
                })?);
            }
            vec![Generated::only(Body::Tokens { prompt_tokens: Vec::new(), tokens })]
        }
        tree @ Tree::Array(_) => turns::conversation("--field", &tree, None, parser.select.role.as_deref())?,
        _ => {
            let message =
                "--field points to neither a text, an array of token ids (--input-format tokens) nor a conversation";
            return Err(Flaw::new(BadRecordKind::WrongType, message));
        }
    };
    Ok(Parsed { id, schema: "--field", texts })
}

fn ids(name: &str, value: Value) -> Result<Vec<u32>, Flaw> {
    match value {
        Value::Tokens(ids) => Ok(ids),
        Value::BadToken { position, what } => Err(bad_token(name, position, &what)),
        other => Err(wrong(name, &other, "an array of token ids")),
    }
}

fn bad_token(name: &str, position: usize, what: &str) -> Flaw {
    Flaw::new(
        BadRecordKind::InvalidToken,
        format!(
            "element {position} of \"{name}\" (counted from 0) is {what}; token ids are integers from 0 to {}",
            watermark_core::MAX_TOKEN_ID
        ),
    )
}

fn wrong(name: &str, value: &Value, expected: &str) -> Flaw {
    Flaw::new(BadRecordKind::WrongType, format!("field \"{name}\" is {}; it must be {expected}", value.describe()))
}
