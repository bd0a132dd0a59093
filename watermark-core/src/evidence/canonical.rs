//! Canonical JSON (RFC 8785): one value, one sequence of bytes, so that digests and signatures need no other rule.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{Error, ErrorKind, Result};

/// Integers beyond this are rounded by readers that know only doubles (RFC 7493, 2.2); larger ones are written as strings.
const MAX_INTEGER: f64 = 9_007_199_254_740_991.0;

/// From here on the canonical form of a float has an exponent, so nobody takes it for an integer.
const EXPONENT: f64 = 1e21;

/// Nesting deeper than this has no use here, and it could exhaust the stack of other readers.
const MAX_DEPTH: usize = 32;

/// The canonical bytes of a value.
///
/// # Errors
/// [`ErrorKind::NotCanonical`] if the value is not JSON, is nested deeper than 32 levels or holds an integer beyond
/// 2^53 - 1. Floats must be finite: JSON has no other, and serde writes those as `null`.
pub fn to_canonical(value: &impl Serialize) -> Result<Vec<u8>> {
    let refused = |why: String| Error::new(ErrorKind::NotCanonical, format!("no canonical form: {why}"));
    let value = serde_json::to_value(value).map_err(|error| refused(error.to_string()))?;
    check(&value, 0).map_err(|why| refused(why.to_owned()))?;
    // serde_jcs alone would round large integers without a word.
    serde_jcs::to_vec(&value).map_err(|error| refused(error.to_string()))
}

/// Reads at most `limit` bytes that are their own canonical form. So white space, another order, a key twice, another
/// spelling of a number or of an escape are refused, and every byte of a file counts.
///
/// # Errors
/// [`ErrorKind::NotCanonical`], or [`ErrorKind::InvalidEvidence`] if the JSON is not a `T`. `what` names the file's kind;
/// messages repeat nothing of its content, which may be secret.
pub fn from_canonical<T: DeserializeOwned>(bytes: &[u8], limit: usize, what: &str) -> Result<T> {
    let refused = |why: String| Error::new(ErrorKind::NotCanonical, format!("not {what}: {why}"));
    if bytes.len() > limit {
        return Err(refused(format!("longer than {limit} bytes")));
    }
    let place = |error: &serde_json::Error| format!("line {}, column {}", error.line(), error.column());
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| refused(format!("not valid JSON ({})", place(&error))))?;
    check(&value, 0).map_err(|why| refused(why.to_owned()))?;
    let canonical = Zeroizing::new(serde_jcs::to_vec(&value).map_err(|error| refused(error.to_string()))?);
    if let Some(at) = first_difference(&canonical, bytes) {
        return Err(refused(format!("byte {at} is not as in the canonical form (RFC 8785); the file was changed")));
    }
    serde_json::from_value(value).map_err(|_| {
        Error::new(ErrorKind::InvalidEvidence, format!("not {what}: a field is missing, unknown or of another type"))
    })
}

fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    let common = a.iter().zip(b).position(|(a, b)| a != b);
    common.or_else(|| (a.len() != b.len()).then_some(a.len().min(b.len())))
}

fn check(value: &Value, depth: usize) -> std::result::Result<(), &'static str> {
    if depth >= MAX_DEPTH && (value.is_array() || value.is_object()) {
        return Err("nested deeper than 32 levels");
    }
    match value {
        Value::Number(number) => {
            // The nearest double of an integer beyond the bound is beyond it too.
            let magnitude = number.as_f64().map_or(f64::INFINITY, f64::abs);
            if magnitude > MAX_INTEGER && magnitude < EXPONENT {
                return Err("an integer beyond 2^53 - 1 must be a string");
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|item| check(item, depth + 1)),
        Value::Object(fields) => fields.values().try_for_each(|field| check(field, depth + 1)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Value> {
        from_canonical(text.as_bytes(), 1 << 20, "a test")
    }

    fn written(value: &Value) -> String {
        String::from_utf8(to_canonical(value).unwrap()).unwrap()
    }

    /// RFC 8785, 3.2.2 and 3.2.3: escapes, and keys in the order of UTF-16 code units.
    #[test]
    fn examples_of_the_rfc() {
        let source = r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#;
        let expected = concat!(
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"#,
            r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
        assert_eq!(written(&serde_json::from_str(source).unwrap()), expected);
        let source = r#"{"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\ud83d\ude00": 5, "\u0080": 6, "\u00f6": 7}"#;
        let expected = "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}";
        assert_eq!(written(&serde_json::from_str(source).unwrap()), expected);
    }

    /// RFC 8785, appendix B.
    #[test]
    fn numbers_of_the_rfc() {
        for (bits, text) in [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            let number = f64::from_bits(bits);
            assert_eq!(serde_jcs::to_string(&number).unwrap(), text);
            let looks_like_a_large_integer = number.abs() >= 2_f64.powi(53) && number.abs() < 1e21;
            assert_eq!(to_canonical(&json!(number)).is_err(), looks_like_a_large_integer, "{text}");
        }
    }

    #[test]
    fn whatever_is_not_its_own_canonical_form_is_refused() {
        for text in [
            "{\"a\":1,\"b\":2} ",
            "{\"a\":1, \"b\":2}",
            "{\"b\":2,\"a\":1}",
            "{\"a\":1,\"a\":1}",
            "[1.0]",
            "[1e2]",
            "[-0]",
            "[0.10]",
            "[\"\\u0041\"]",
            "[\"\\/\"]",
            "[\"\\u000A\"]",
            "[9007199254740993]",
            "[9007199254740992]",
            "[1e400]",
            "\u{feff}[]",
            "[]\n",
            "",
        ] {
            assert_eq!(read(text).unwrap_err().kind(), ErrorKind::NotCanonical, "{text}");
        }
        for (depth, good) in [(32, true), (33, false), (100_000, false)] {
            let text = "[".repeat(depth) + &"]".repeat(depth);
            assert_eq!(read(&text).is_ok(), good, "{depth}");
        }
        assert!(from_canonical::<Value>(b"[1,2]", 4, "a test").is_err());
        assert!(to_canonical(&u64::MAX).is_err());
        assert!(to_canonical(&((1_u64 << 53) - 1)).is_ok());
        assert_eq!(from_canonical::<u32>(b"\"x\"", 9, "a number").unwrap_err().kind(), ErrorKind::InvalidEvidence);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-(1_i64 << 53) + 1..1 << 53).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..5).prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        /// Written, read and written again gives the same bytes; floats of integral value come back as integers.
        #[test]
        fn canonical_forms_are_fixed_points(value in value()) {
            if let Ok(bytes) = to_canonical(&value) {
                let again: Value = from_canonical(&bytes, 1 << 20, "a test").unwrap();
                prop_assert_eq!(to_canonical(&again).unwrap(), bytes);
            }
        }

        #[test]
        fn no_panic_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = from_canonical::<Value>(&bytes, 1 << 20, "a test");
        }
    }
}
