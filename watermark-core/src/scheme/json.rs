//! Parameters in JSON: fields beside those of whatever object they stand in.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Parameters, Scheme, Value};
use crate::{Error, ErrorKind, Result};

/// The fields of a scheme beside its parameters.
const FIELDS: [&str; 1] = ["scheme"];

#[derive(Deserialize)]
struct SchemeJson {
    scheme: String,
    #[serde(flatten, deserialize_with = "parameters")]
    parameters: Parameters,
}

fn parameters<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Parameters, D::Error> {
    read(deserializer, &FIELDS)
}

impl Scheme {
    /// Reads a scheme as a layer of a profile has it, for instance `{"scheme": "greenlist", "gamma": 0.5, "delta": 2}`. What only
    /// marking needs may be left out.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for anything else, unknown fields included.
    pub fn parse(json: &str) -> Result<Self> {
        let file: SchemeJson = serde_json::from_str(json)
            .map_err(|error| Error::new(ErrorKind::InvalidParameter, place("scheme", &error)))?;
        Self::from_name(&file.scheme, &file.parameters)
    }
}

/// Says where parsing failed and on which field or type. A message that would repeat a value is shortened, because the
/// file may be a key that was given in place of a profile.
pub(crate) fn place(what: &str, error: &serde_json::Error) -> String {
    let message = error.to_string();
    let repeats_a_value = message.contains("invalid type") || message.contains("invalid value");
    let why =
        if repeats_a_value { "a value has the wrong type" } else { message.split(" at line").next().unwrap_or("") };
    format!("{what}: {why} (line {}, column {})", error.line(), error.column())
}

/// Reads the fields of an object that are left when `fields`, its own ones, are taken. Each must be a parameter of some scheme.
pub(crate) fn read<'de, D: Deserializer<'de>>(
    deserializer: D,
    fields: &'static [&'static str],
) -> std::result::Result<Parameters, D::Error> {
    deserializer.deserialize_map(Rest { fields })
}

struct Rest {
    fields: &'static [&'static str],
}

impl<'de> Visitor<'de> for Rest {
    type Value = Parameters;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("parameters")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Parameters, A::Error> {
        let mut parameters = Parameters::new();
        while let Some(name) = map.next_key::<String>()? {
            if !Scheme::SPECS.iter().any(|spec| spec.parameter(&name).is_some()) {
                map.next_value::<IgnoredAny>()?;
                return Err(A::Error::custom(format_args!(
                    "unknown field `{name}`, expected one of {}",
                    known(self.fields).join(", ")
                )));
            }
            if parameters.get(&name).is_some() {
                return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
            }
            let value: Value = map.next_value()?;
            parameters = parameters.with(Cow::Owned(name), value);
        }
        Ok(parameters)
    }
}

/// The fields of an object and the parameters of all schemes, each once, in quotes.
fn known(fields: &[&'static str]) -> Vec<String> {
    let mut known = fields.to_vec();
    for parameter in Scheme::SPECS.iter().flat_map(|spec| spec.parameters) {
        if !known.contains(&parameter.name) {
            known.push(parameter.name);
        }
    }
    known.iter().map(|name| format!("`{name}`")).collect()
}

impl Serialize for Parameters {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.iter() {
            match value {
                Value::Real(real) => map.serialize_entry(name, &real)?,
                Value::Whole(whole) => map.serialize_entry(name, &whole)?,
                Value::Flag(flag) => map.serialize_entry(name, &flag)?,
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, true or false")
            }

            fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
                Ok(Value::Flag(value))
            }

            fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
                // A number that is too large for a whole parameter stays what it is, so that a message can name it.
                Ok(u32::try_from(value).map_or(Value::Real(value as f64), Value::Whole))
            }

            fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
                Ok(u32::try_from(value).map_or(Value::Real(value as f64), Value::Whole))
            }

            fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
                Ok(Value::Real(value))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
