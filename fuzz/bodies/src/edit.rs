//! Arbitrary changes of a JSON value: what a hostile author would try first, and anything else.

use arbitrary::{Result, Unstructured};
use serde_json::{Number, Value, json};

/// Texts that act somewhere: in a page, at a terminal, in a path, in arithmetic.
pub(crate) const HOSTILE: [&str; 12] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "</style></svg><a href=\"javascript:x\">&lt;",
    "\u{202e}cod\u{2066}.exe\u{2069}",
    "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m",
    "\0\r\n\t\u{7f}\u{85}\u{2028}\u{feff}",
    "{{ 7 * 7 }}{% include 'x' %}",
    "../../../etc/passwd",
    "' --data `id` $(id);",
    "a\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
    "18446744073709551616",
    "-0",
];

/// Changes a few places of a value.
pub(crate) fn edit(value: &mut Value, u: &mut Unstructured<'_>) -> Result<()> {
    for _ in 0..u.int_in_range(1..=4)? {
        let mut places = Vec::new();
        find_places(value, "", &mut places);
        let other = value.pointer(&places[u.choose_index(places.len())?]).cloned();
        let place = places.swap_remove(u.choose_index(places.len())?);
        match u.int_in_range(0..=7)? {
            0 => remove(value, &place),
            1 => set(value, &place, other.unwrap_or_default()),
            2 => add_beside(value, &place, leaf(u)?),
            3 | 4 => {
                let turned = value.pointer(&place).cloned().unwrap_or_default();
                set(value, &place, turn(turned, u)?);
            }
            _ => set(value, &place, leaf(u)?),
        }
    }
    Ok(())
}

/// Pointers to every place in a value, itself first.
fn find_places(value: &Value, here: &str, places: &mut Vec<String>) {
    places.push(here.to_owned());
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                find_places(item, &format!("{here}/{at}"), places);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                find_places(field, &format!("{here}/{name}"), places);
            }
        }
        _ => (),
    }
}

/// Replaces the value at a pointer, if there is one.
pub(crate) fn set(value: &mut Value, place: &str, to: Value) {
    if let Some(at) = value.pointer_mut(place) {
        *at = to;
    }
}

fn parent<'a>(value: &'a mut Value, place: &str) -> Option<(&'a mut Value, String)> {
    let (above, name) = place.rsplit_once('/')?;
    Some((value.pointer_mut(above)?, name.replace("~1", "/").replace("~0", "~")))
}

fn remove(value: &mut Value, place: &str) {
    match parent(value, place) {
        Some((Value::Object(fields), name)) => drop(fields.remove(&name)),
        Some((Value::Array(items), name)) => drop(name.parse().map(|at: usize| items.remove(at))),
        _ => (),
    }
}

/// Twice the same item, or a field that nobody knows.
fn add_beside(value: &mut Value, place: &str, new: Value) {
    match parent(value, place) {
        Some((Value::Object(fields), name)) => drop(fields.insert(format!("{name}_"), new)),
        Some((Value::Array(items), name)) => {
            let at: usize = name.parse().unwrap_or(0);
            items.insert(at, items[at].clone());
        }
        _ => (),
    }
}

/// Almost the same value.
fn turn(value: Value, u: &mut Unstructured<'_>) -> Result<Value> {
    Ok(match value {
        Value::Bool(bool) => json!(!bool),
        Value::Number(number) => match (number.as_u64(), u.int_in_range(0..=4)?) {
            (Some(n), 0) => json!(n.saturating_add(1)),
            (Some(n), 1) => json!(n.saturating_sub(1)),
            (Some(n), 2) => json!(n.saturating_mul(1 << u.int_in_range(1..=52)?)),
            (_, 3) => json!(number.as_f64().unwrap_or_default() * 1.000_000_001),
            _ => json!(-number.as_f64().unwrap_or_default()),
        },
        Value::String(mut text) => match u.int_in_range(0..=3)? {
            0 => json!(text + *u.choose(&HOSTILE)?),
            1 => json!(text.repeat(u.int_in_range(0..=300)?)),
            2 => {
                text.pop();
                json!(text)
            }
            _ => match text.parse::<u128>() {
                Ok(n) => json!((n ^ (1 << u.int_in_range(0..=127)?)).to_string()),
                Err(_) => json!(text.chars().rev().collect::<String>()),
            },
        },
        Value::Array(mut items) => {
            items.reverse();
            Value::Array(items)
        }
        other => other,
    })
}

/// Any value without parts.
pub(crate) fn leaf(u: &mut Unstructured<'_>) -> Result<Value> {
    Ok(match u.int_in_range(0..=8)? {
        0 => Value::Null,
        1 => json!(u.arbitrary::<bool>()?),
        2 => json!(u.arbitrary::<u64>()? >> u.int_in_range(0..=63)?),
        3 => json!(u.arbitrary::<i64>()?),
        4 => Number::from_f64(f64::from_bits(u.arbitrary()?)).map_or(Value::Null, Value::Number),
        5 => {
            [json!(0), json!(1), json!((1_u64 << 53) - 1), json!(1_u64 << 53), json!(5e-324), json!(1e308), json!(-0.0)]
                [u.int_in_range(0..=6)?]
            .clone()
        }
        6 => json!(text(u)?),
        7 => json!([]),
        _ => json!({}),
    })
}

/// Any text, or a hostile one.
pub(crate) fn text(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=3)? {
        0 => u.arbitrary::<String>()?,
        1 => format!("{}{}", u.arbitrary::<char>()?, u.choose(&HOSTILE)?),
        _ => (*u.choose(&HOSTILE)?).to_owned(),
    })
}
