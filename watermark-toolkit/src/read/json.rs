use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value as Tree;

use super::{
    BadRecordKind,
    error::Flaw,
    fields::{Fields, NAMES, want},
    fields::{Parsed, from_fields, from_pointer},
    parser::RecordParser,
    value::TWICE,
};

impl RecordParser {
    /// Reads one object. `followed` says whether anything stood after it.
    pub(super) fn parse(&self, json: &str, followed: bool) -> Result<Parsed, Flaw> {
        // The first byte is checked here because serde's own message on a type that it did not expect repeats the value.
        if !json.trim_ascii_start().starts_with('{') {
            return Err(Flaw::new(BadRecordKind::InvalidJson, "not a JSON object; every line or element must be one"));
        }
        let broken = |error: serde_json::Error| {
            // A cut line can have no field twice.
            let whole = followed || error.to_string().contains(TWICE);
            if whole { invalid(&error) } else { truncated() }
        };
        if let Some(pointer) = &self.select.field {
            let tree: Tree = serde_json::from_str(json).map_err(broken)?;
            return from_pointer(tree, pointer, self);
        }
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let fields = deserializer
            .deserialize_map(FieldsVisitor { tokens: self.tokens })
            .and_then(|fields| deserializer.end().map(|()| fields))
            .map_err(broken)?;
        from_fields(fields, self)
    }
}

/// The flaw of a last line that stops in the middle.
pub(super) fn truncated() -> Flaw {
    Flaw::new(
        BadRecordKind::Truncated,
        "not valid JSON, and no newline ends the line: truncated? Write the file again, or delete the line",
    )
}

pub(super) fn invalid(error: &serde_json::Error) -> Flaw {
    // The library has no other way to tell this error from others; its message never repeats the value.
    let message = error.to_string();
    if message.contains(TWICE) {
        let message = format!("a field inside occurs twice, before column {}; keep one", error.column());
        return Flaw::new(BadRecordKind::DuplicateField, message);
    }
    if message.contains("surrogate") || message.contains("end of hex escape") {
        return Flaw::new(
            BadRecordKind::LoneSurrogate,
            format!(
                "half of a surrogate pair at column {}, which is no character; write the text again from its source",
                error.column()
            ),
        );
    }
    let message = if error.is_eof() {
        "the line ends inside its JSON object; every line must be one whole object (`jq -c .` writes them so)"
            .to_owned()
    } else {
        format!("not valid JSON at column {}; every line must be one JSON object", error.column())
    };
    Flaw::new(BadRecordKind::InvalidJson, message)
}

struct FieldsVisitor {
    tokens: bool,
}

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(Name(known)) = map.next_key()? {
            match known {
                Some(slot) => fields.set(slot, map.next_value_seed(want(NAMES[slot], self.tokens))?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
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
