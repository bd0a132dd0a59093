use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::{
    BadRecordKind, Body,
    error::Flaw,
    value::{Value, Want},
};

/// The fields that have a meaning, in any format.
const NAMES: [&str; 8] = ["id", "completion", "prompt", "answer", "question", "text", "tokens", "prompt_tokens"];

/// Generated side and prompt, by preference.
const TEXT_SHAPES: [(&str, Option<&str>); 3] =
    [("completion", Some("prompt")), ("answer", Some("question")), ("text", None)];

/// A record's own id, and what it carries.
pub(super) type Parsed = (Option<String>, Body);

/// Reads one line of text fields; `terminated` says whether a newline stood at its end.
pub(super) fn parse_text(line: &str, terminated: bool) -> Result<Parsed, Flaw> {
    parse(line, terminated, false)
}

/// As [`parse_text`], for arrays of token ids.
pub(super) fn parse_tokens(line: &str, terminated: bool) -> Result<Parsed, Flaw> {
    parse(line, terminated, true)
}

fn parse(line: &str, terminated: bool, tokens: bool) -> Result<Parsed, Flaw> {
    // The first byte is checked here because serde's own message on a type that it did not expect repeats the value.
    if !line.trim_ascii_start().starts_with('{') {
        return Err(Flaw::new(BadRecordKind::InvalidJson, "not a JSON object; every line must be one"));
    }
    let mut json = serde_json::Deserializer::from_str(line);
    let fields = json
        .deserialize_map(FieldsVisitor { tokens })
        .and_then(|fields| json.end().map(|()| fields))
        .map_err(|error| if terminated { invalid(&error) } else { truncated() })?;
    if let Some(name) = fields.duplicate {
        return Err(Flaw::new(BadRecordKind::DuplicateField, format!("field \"{name}\" occurs twice; keep one")));
    }
    if tokens { fields.into_tokens() } else { fields.into_text() }
}

/// The flaw of a last line that stops in the middle.
pub(super) fn truncated() -> Flaw {
    Flaw::new(
        BadRecordKind::Truncated,
        "not valid JSON, and no newline ends the line: truncated? Write the file again, or delete the line",
    )
}

pub(super) fn invalid(error: &serde_json::Error) -> Flaw {
    let message = if error.is_eof() {
        "the line ends inside its JSON object; every line must be one whole object (`jq -c .` writes them so)"
            .to_owned()
    } else {
        format!("not valid JSON at column {}; every line must be one JSON object", error.column())
    };
    Flaw::new(BadRecordKind::InvalidJson, message)
}

/// The values of [`NAMES`], by position.
#[derive(Default)]
struct Fields {
    values: [Option<Value>; NAMES.len()],
    duplicate: Option<&'static str>,
}

impl Fields {
    /// Removes and returns a field's value; none if it is absent or null.
    fn take(&mut self, name: &str) -> Option<Value> {
        let slot = NAMES.iter().position(|known| *known == name)?;
        self.values[slot].take().filter(|value| !matches!(value, Value::Null))
    }

    fn take_id(&mut self) -> Result<Option<String>, Flaw> {
        match self.take("id") {
            None => Ok(None),
            Some(Value::Text(id) | Value::Number(id)) => Ok(Some(id)),
            Some(other) => Err(wrong("id", &other, "a string, or a number of at most 64 bits")),
        }
    }

    fn into_text(mut self) -> Result<(Option<String>, Body), Flaw> {
        let id = self.take_id()?;
        for (generated, asked) in TEXT_SHAPES {
            let Some(value) = self.take(generated) else { continue };
            let text = string(generated, value)?;
            let prompt = match asked.and_then(|name| Some((name, self.take(name)?))) {
                Some((name, value)) => Some(string(name, value)?),
                None => None,
            };
            return Ok((id, Body::Text { prompt, text }));
        }
        Err(Flaw::new(
            BadRecordKind::MissingField,
            if self.take("tokens").is_some() {
                "field \"tokens\" and no text; pass --input-format tokens to read token ids"
            } else {
                "none of the fields \"completion\", \"answer\" and \"text\"; name the text so"
            },
        ))
    }

    fn into_tokens(mut self) -> Result<(Option<String>, Body), Flaw> {
        let id = self.take_id()?;
        let Some(tokens) = self.take("tokens") else {
            return Err(Flaw::new(
                BadRecordKind::MissingField,
                if TEXT_SHAPES.iter().any(|(name, _)| self.take(name).is_some()) {
                    "no field \"tokens\", but text; leave out --input-format tokens to read text"
                } else {
                    "no field \"tokens\"; it must be an array of token ids"
                },
            ));
        };
        let tokens = ids("tokens", tokens)?;
        let prompt_tokens =
            self.take("prompt_tokens").map(|value| ids("prompt_tokens", value)).transpose()?.unwrap_or_default();
        Ok((id, Body::Tokens { prompt_tokens, tokens }))
    }
}

fn string(name: &str, value: Value) -> Result<String, Flaw> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(wrong(name, &other, "a string")),
    }
}

fn ids(name: &str, value: Value) -> Result<Vec<u32>, Flaw> {
    match value {
        Value::Tokens(ids) => Ok(ids),
        Value::BadToken { position, what } => Err(Flaw::new(
            BadRecordKind::InvalidToken,
            format!(
                "element {position} of \"{name}\" (counted from 0) is {what}; token ids are integers from 0 to {}",
                watermark_core::MAX_TOKEN_ID
            ),
        )),
        other => Err(wrong(name, &other, "an array of token ids")),
    }
}

fn wrong(name: &str, value: &Value, expected: &str) -> Flaw {
    Flaw::new(BadRecordKind::WrongType, format!("field \"{name}\" is {}; it must be {expected}", value.describe()))
}

struct FieldsVisitor {
    tokens: bool,
}

impl FieldsVisitor {
    /// What to keep of a field: only what the format can use.
    fn want(&self, name: &str) -> Want {
        match name {
            "id" => Want::Scalar,
            "tokens" | "prompt_tokens" if self.tokens => Want::Tokens,
            "tokens" | "prompt_tokens" => Want::Nothing,
            _ if self.tokens => Want::Nothing,
            _ => Want::Scalar,
        }
    }
}

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(Name(known)) = map.next_key()? {
            let Some(slot) = known else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if fields.values[slot].is_some() {
                fields.duplicate.get_or_insert(NAMES[slot]);
            }
            fields.values[slot] = Some(map.next_value_seed(self.want(NAMES[slot]))?);
        }
        Ok(fields)
    }
}

/// The position of a field's name in [`NAMES`].
struct Name(Option<usize>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl Visitor<'_> for NameVisitor {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(Name(NAMES.iter().position(|known| *known == name)))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}
