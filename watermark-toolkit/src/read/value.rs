use std::fmt;

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_json::Value as Tree;
use watermark_core::MAX_TOKEN_ID;

/// What a JSON value turned out to be. Reading one fails on broken JSON only, so that the message on a wrong type is
/// ours: serde's would repeat the value.
pub(super) enum Value {
    Null,
    Text(String),
    /// A number, as text.
    Number(String),
    Tokens(Vec<u32>),
    /// One integer for each token: a mask or labels.
    Mask(Vec<i64>),
    /// An array that holds something other than token ids.
    BadToken {
        position: usize,
        what: String,
    },
    /// An array or object, for conversations.
    Tree(Tree),
    /// Anything else, described.
    Other(&'static str),
}

impl Value {
    /// The type, with an article.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Text(_) => STRING,
            Self::Number(_) => NUMBER,
            Self::Tokens(_) | Self::Mask(_) | Self::BadToken { .. } => ARRAY,
            Self::Tree(Tree::Object(_)) => OBJECT,
            Self::Tree(_) => ARRAY,
            Self::Other(what) => what,
        }
    }
}

const STRING: &str = "a string";
const NUMBER: &str = "a number";
const BOOLEAN: &str = "a boolean";
const ARRAY: &str = "an array";
const OBJECT: &str = "an object";

/// From 2^53 on, a number with a fraction or an exponent no longer has all its digits.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Which values to keep; of the others only the type is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Strings and numbers.
    Scalar,
    /// Strings, arrays and objects.
    Tree,
    /// Arrays of token ids.
    Tokens,
    /// Arrays of integers, one for each token.
    Mask,
    /// None.
    Nothing,
}

impl Want {
    fn number(self, number: impl fmt::Debug) -> Value {
        if self == Self::Scalar { Value::Number(format!("{number:?}")) } else { Value::Other(NUMBER) }
    }
}

impl<'de> DeserializeSeed<'de> for Want {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Want {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other(BOOLEAN))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(self.number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(self.number(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(if number.abs() < EXACT { self.number(number) } else { Value::Other("a number of more than 64 bits") })
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(if matches!(self, Self::Scalar | Self::Tree) { Value::Text(text.to_owned()) } else { Value::Other(STRING) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        if self == Self::Tree {
            return Unique.deserialize(MapAccessDeserializer::new(map)).map(Value::Tree);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other(OBJECT))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        if self == Self::Tree {
            return Unique.deserialize(SeqAccessDeserializer::new(elements)).map(Value::Tree);
        }
        let mut value = Value::Other(ARRAY);
        if self == Self::Mask {
            let mut mask = Vec::new();
            while let Some(element) = elements.next_element::<Tree>()? {
                match element.as_i64().or_else(|| element.as_bool().map(i64::from)) {
                    Some(number) => mask.push(number),
                    None => value = Value::BadToken { position: mask.len(), what: "no integer".to_owned() },
                }
            }
            return Ok(if matches!(value, Value::BadToken { .. }) { value } else { Value::Mask(mask) });
        }
        if self == Self::Tokens {
            let mut ids = Vec::new();
            value = loop {
                match elements.next_element_seed(TokenId)? {
                    Some(Ok(id)) => ids.push(id),
                    Some(Err(what)) => break Value::BadToken { position: ids.len(), what },
                    None => return Ok(Value::Tokens(ids)),
                }
            };
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(value)
    }
}

/// What [`super::json::invalid`] knows the error by.
pub(super) const TWICE: &str = "a field occurs twice";

/// A tree in which no object has a field twice: of two, readers would take one or the other.
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Tree, E> {
        Ok(text.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut fields = serde_json::Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if fields.insert(name, map.next_value_seed(Self)?).is_some() {
                return Err(serde::de::Error::custom(TWICE));
            }
        }
        Ok(Tree::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(Self)? {
            list.push(element);
        }
        Ok(Tree::Array(list))
    }
}

/// One element of an array of ids, or what stands in its place.
struct TokenId;

impl<'de> DeserializeSeed<'de> for TokenId {
    type Value = Result<u32, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TokenId {
    type Value = Result<u32, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token id")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(u32::try_from(number).ok().filter(|id| *id <= MAX_TOKEN_ID).ok_or_else(|| number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Err(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Err(format!("{number:?}")))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Err("null".to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Err(BOOLEAN.to_owned()))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Err(STRING.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Want::Nothing.visit_map(map).map(|value| Err(value.describe().to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Self::Value, A::Error> {
        Want::Nothing.visit_seq(elements).map(|value| Err(value.describe().to_owned()))
    }
}
