//! From the fields of a record to its generated texts.

use serde_json::Value as Tree;

use super::error::Flaw;
use super::parser::RecordParser;
use super::turns::{self, Generated};
use super::value::{Value, Want};
use super::{BadRecordKind, Body, Location, Record};

pub(super) const IDS: [&str; 4] = ["id", "custom_id", "conversation_id", "conversation_hash"];

/// What was asked or given to the model, whatever the shape: none of it is generated text. In the order in which it is joined.
const ASKED: [&str; 15] = [
    "system",
    "system_prompt",
    "system_message",
    "history",
    "context",
    "contexts",
    "passage",
    "document",
    "documents",
    "prompt",
    "question",
    "problem",
    "query",
    "instruction",
    "input",
];

/// Whose text a row with a single text is.
const ROLES: [&str; 5] = ["role", "from", "author", "sender", "speaker"];

/// For each shape of a record, by preference: the field of the generated text, a field that must hold its prompt if it is there, and the
/// name of the shape.
const SHAPES: [(&str, &[&str], &str); 15] = [
    ("messages", &[], "messages"),
    ("conversations", &[], "conversations"),
    ("conversation", &[], "conversation"),
    ("completion", &["prompt"], "prompt/completion"),
    ("chosen", &["prompt"], "prompt/chosen"),
    ("response", &["question", "prompt", "instruction", "input"], "question/response"),
    ("choices", &[], "choices"),
    ("generations", &[], "generations"),
    ("completions", &[], "completions"),
    ("responses", &[], "responses"),
    ("outputs", &[], "outputs"),
    ("output", &["instruction", "input"], "instruction/input/output"),
    ("answer", &["question"], "question/answer"),
    ("solution", &["problem"], "problem/solution"),
    ("text", &[], "text"),
];

/// Shapes whose field holds several answers to one question.
const SEVERAL: [&str; 4] = ["generations", "completions", "responses", "outputs"];

/// What stands beside token ids: one where a token was generated. `labels` are ids, -100 where nothing is to be learned.
const MASKS: [&str; 5] = ["completion_mask", "assistant_masks", "assistant_mask", "loss_mask", "response_mask"];
const NOT_LEARNED: i64 = -100;

/// A conversation and a single answer beside it exclude each other: a log of calls and a data set for training are written with
/// one of them. Other shapes stand beside each other in many data sets, as columns of preference pairs do.
const CONVERSATIONS: [&str; 3] = ["messages", "conversations", "conversation"];
const SINGLE: &str = "completion";
/// The answer of a preference pair that people or models liked less.
const REJECTED: &str = "rejected";

const TOKEN_FIELDS: [&str; 2] = ["tokens", "input_ids"];

const PROMPT_TOKENS: &str = "prompt_tokens";
const LABELS: &str = "labels";
const ATTENTION: &str = "attention_mask";

/// The fields that have a meaning, in any format.
pub(super) const NAMES: [&str; 50] = {
    let mut names = [""; 50];
    let mut n = 0;
    let singles = [REJECTED, PROMPT_TOKENS, LABELS, ATTENTION];
    let lists: [&[&str]; 6] = [&IDS, &ASKED, &ROLES, &TOKEN_FIELDS, &MASKS, &singles];
    let mut list = 0;
    while list < lists.len() {
        let mut at = 0;
        while at < lists[list].len() {
            names[n] = lists[list][at];
            (at, n) = (at + 1, n + 1);
        }
        list += 1;
    }
    let mut shape = 0;
    while shape < SHAPES.len() {
        names[n] = SHAPES[shape].0;
        (shape, n) = (shape + 1, n + 1);
    }
    assert!(n == names.len(), "as many names as there are");
    names
};

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
        PROMPT_TOKENS if !tokens => Want::Nothing,
        PROMPT_TOKENS => Want::Tokens,
        _ if TOKEN_FIELDS.contains(&name) => Want::Tokens,
        LABELS | ATTENTION if tokens => Want::Mask,
        _ if tokens && MASKS.contains(&name) => Want::Mask,
        _ if tokens => Want::Nothing,
        _ => Want::Tree,
    }
}

/// The values of [`NAMES`], by position.
pub(super) struct Fields {
    values: [Option<Value>; NAMES.len()],
    duplicate: Option<&'static str>,
}

impl Default for Fields {
    fn default() -> Self {
        Self { values: std::array::from_fn(|_| None), duplicate: None }
    }
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

    /// An id of another type, as MongoDB's objects, is none: it is for reports only, and must not cost the text.
    fn take_id(&mut self) -> Option<String> {
        IDS.iter().find_map(|name| match self.take(name)? {
            Value::Text(id) | Value::Number(id) => Some(id),
            _ => None,
        })
    }

    /// What was asked, in one text. `must` name fields of which another type is a flaw.
    fn take_prompt(&mut self, must: &[&str]) -> Result<Option<String>, Flaw> {
        let mut prompts = Vec::new();
        for name in ASKED {
            match self.take(name) {
                Some(Value::Text(prompt)) => prompts.push(prompt),
                Some(Value::Tree(tree)) => prompts.push(turns::all_text(&tree)),
                Some(other) if must.contains(&name) => return Err(wrong(name, &other, "a string or a conversation")),
                _ => {}
            }
        }
        prompts.retain(|prompt| !prompt.is_empty());
        Ok((!prompts.is_empty()).then(|| prompts.join("\n")))
    }

    /// Refuses a text that somebody else than the model wrote.
    fn check_role(&mut self, wanted: Option<&str>) -> Result<(), Flaw> {
        for name in ROLES {
            if let Some(Value::Text(role)) = self.take(name)
                && turns::is_generated(&role, wanted) == Some(false)
            {
                let message =
                    format!("its \"{name}\" says that the text is not the model's; --role NAME counts another one");
                return Err(Flaw::new(BadRecordKind::NotGenerated, message));
            }
        }
        Ok(())
    }
}

pub(super) fn from_fields(mut fields: Fields, parser: &RecordParser) -> Result<Parsed, Flaw> {
    if let Some(name) = fields.duplicate {
        return Err(Flaw::new(BadRecordKind::DuplicateField, format!("field \"{name}\" occurs twice; keep one")));
    }
    let id = fields.take_id();
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
    let (mut passed_over, mut empty) = (None, None);
    for (name, must, schema) in SHAPES {
        let Some(value) = fields.take(name) else { continue };
        let value = if must.is_empty() && name != "text" { as_list(value) } else { value };
        match value {
            // The field should be a list and is not. Exports of several tools write it so beside another
            // shape, which may still fit.
            other if must.is_empty() && name != "text" && !matches!(other, Value::Tree(Tree::Array(_))) => {
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
            Value::Tree(tree) if SEVERAL.contains(&name) => {
                return Ok((schema, turns::several(name, &tree, fields.take_prompt(must)?)?));
            }
            Value::Tree(Tree::Object(response)) if name == "response" => {
                let body = response.get("body").and_then(Tree::as_object).unwrap_or(&response);
                if let Some(output) = body.get("output").filter(|output| output.is_array()) {
                    let (prompt, role) = (fields.take_prompt(must)?, parser.select.role.as_deref());
                    return Ok(("response.body.output", turns::conversation("output", output, prompt, role)?));
                }
                let choices = body.get("choices").ok_or_else(|| {
                    let message = "field \"response\" has no \"body\" with \"choices\" or \"output\"";
                    Flaw::new(BadRecordKind::MissingField, message)
                })?;
                return Ok(("response.body.choices", turns::choices(choices)?));
            }
            Value::Tree(tree @ Tree::Array(_)) if name != "text" => {
                let (prompt, role) = (fields.take_prompt(must)?, parser.select.role.as_deref());
                let mut texts = turns::conversation(name, &tree, prompt.clone(), role)?;
                // The other side of a pair is the model's too.
                if let ("chosen", Some(Value::Tree(other))) = (name, fields.take(REJECTED)) {
                    texts.extend(turns::conversation(REJECTED, &other, prompt, role)?);
                    turns::number_as_alternatives(&mut texts);
                }
                return Ok((schema, texts));
            }
            // An empty field does not hide a full one.
            Value::Text(text) if text.is_empty() => {
                empty.get_or_insert((schema, must));
            }
            Value::Text(text) => {
                // A text of a data set may be anybody's, or a dialogue of both sides; an answer is the model's.
                let of_both = ["text", "chosen"].contains(&name);
                if name == "text" {
                    fields.check_role(parser.select.role.as_deref())?;
                }
                let prompt = fields.take_prompt(must)?;
                let sides = |text: String| match of_both {
                    true => turns::dialogue(prompt.clone(), text),
                    false => vec![Generated::only(Body::Text { prompt: prompt.clone(), text })],
                };
                let mut texts = sides(text);
                if let ("chosen", Some(Value::Text(other))) = (name, fields.take(REJECTED)) {
                    texts.extend(sides(other));
                    turns::number_as_alternatives(&mut texts);
                }
                return Ok((schema, texts));
            }
            other => return Err(wrong(name, &other, "a string or a conversation")),
        }
    }
    if let Some((schema, must)) = empty {
        let prompt = fields.take_prompt(must)?;
        return Ok((schema, vec![Generated::only(Body::Text { prompt, text: String::new() })]));
    }
    if let Some(flaw) = passed_over {
        return Err(flaw);
    }
    Err(Flaw::new(
        BadRecordKind::MissingField,
        if TOKEN_FIELDS.iter().any(|name| fields.take(name).is_some()) {
            "token ids and no text; pass --input-format tokens to read token ids"
        } else {
            "none of the fields \"messages\", \"conversations\", \"conversation\", \"completion\", \"response\", \"generations\", \"output\", \
             \"answer\", \"solution\" and \"text\"; name the text so"
        },
    ))
}

/// A list of turns that is written as JSON inside a string, or as an object of lists, one entry for each turn.
fn as_list(value: Value) -> Value {
    match value {
        Value::Text(text) if text.trim_start().starts_with('[') => match serde_json::from_str(&text) {
            Ok(tree @ Tree::Array(_)) => Value::Tree(tree),
            _ => Value::Text(text),
        },
        Value::Tree(Tree::Object(columns)) => {
            let n = columns.values().filter_map(Tree::as_array).map(Vec::len).next().unwrap_or(0);
            let whole = columns.values().all(|column| column.as_array().is_some_and(|column| column.len() == n));
            if !whole || columns.is_empty() {
                return Value::Tree(Tree::Object(columns));
            }
            let turn = |at: usize| -> Tree {
                let cell = |(name, column): (&String, &Tree)| (name.clone(), column[at].clone());
                Tree::Object(columns.iter().map(cell).collect())
            };
            Value::Tree(Tree::Array((0..n).map(turn).collect()))
        }
        other => other,
    }
}

fn tokens(mut fields: Fields) -> Result<(&'static str, Vec<Generated>), Flaw> {
    for name in TOKEN_FIELDS {
        let Some(value) = fields.take(name) else { continue };
        let tokens = ids(name, value)?;
        let prompt_tokens =
            fields.take(PROMPT_TOKENS).map(|value| ids(PROMPT_TOKENS, value)).transpose()?.unwrap_or_default();
        let generated = generated(&mut fields, tokens.len())?;
        if generated.is_empty() {
            return Ok((name, vec![Generated::only(Body::Tokens { prompt_tokens, tokens })]));
        }
        return Ok((name, turns::runs(prompt_tokens, &tokens, &generated)?));
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

/// Which of `n` tokens stand in the text, and were generated; empty where nothing says so.
fn generated(fields: &mut Fields, n: usize) -> Result<Vec<turns::Token>, Flaw> {
    let mut found = Vec::new();
    let mut mark = |name: &str, value: Value, of: &dyn Fn(i64, &mut turns::Token)| -> Result<(), Flaw> {
        let Value::Mask(mask) = value else {
            return Err(wrong(name, &value, "an array with an integer for each token"));
        };
        if mask.len() != n {
            let message = format!("\"{name}\" has {} entries for {n} tokens", mask.len());
            return Err(Flaw::new(BadRecordKind::WrongType, message));
        }
        found.resize(n, turns::Token { stands: true, generated: true });
        found.iter_mut().zip(mask).for_each(|(token, value)| of(value, token));
        Ok(())
    };
    for name in MASKS {
        if let Some(value) = fields.take(name) {
            mark(name, value, &|value, token| token.generated &= value != 0)?;
        }
    }
    if let Some(value) = fields.take(LABELS) {
        mark(LABELS, value, &|value, token| token.generated &= value != NOT_LEARNED)?;
    }
    if let Some(value) = fields.take(ATTENTION) {
        mark(ATTENTION, value, &|value, token| token.stands &= value != 0)?;
    }
    Ok(found)
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
