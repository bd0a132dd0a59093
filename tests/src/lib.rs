//! What the suites share: vectors, and the corpora where they are present.

use std::path::Path;

/// Parses a vector file of `tests/vectors`.
///
/// # Panics
/// If it is missing or not JSON: the vectors are part of the repository.
#[must_use]
pub fn vectors(name: &str) -> serde_json::Value {
    reference(&format!("vectors/{name}"))
}

/// Parses a file of high-precision points of `tests/data`.
///
/// # Panics
/// As [`vectors`].
#[must_use]
pub fn points(name: &str) -> serde_json::Value {
    reference(&format!("data/{name}"))
}

#[expect(clippy::expect_used, reason = "a test without its vectors has failed")]
fn reference(path: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("vector file");
    serde_json::from_str(&text).expect("vector JSON")
}

/// A field of a vector as u32 ids.
///
/// # Panics
/// If it is not an array of them.
#[must_use]
#[expect(clippy::expect_used, reason = "a malformed vector fails the test")]
pub fn ids(value: &serde_json::Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("token ids")
}

/// A field of a vector as text.
///
/// # Panics
/// If it is not a string.
#[must_use]
#[expect(clippy::expect_used, reason = "a malformed vector fails the test")]
pub fn text(value: &serde_json::Value) -> &str {
    value.as_str().expect("string")
}

/// A field of a vector as a real number; the files write them as text, so that no digit is lost on the way.
///
/// # Panics
/// If it is not the text of a number.
#[must_use]
#[expect(clippy::expect_used, reason = "a malformed vector fails the test")]
pub fn number(value: &serde_json::Value) -> f64 {
    text(value).parse().expect("number")
}

/// Whether two values agree to a relative error of 1e-9.
#[must_use]
pub fn close(got: f64, expected: f64) -> bool {
    (got - expected).abs() <= 1e-9 * expected.abs()
}

/// The tokenizer of the laboratory models.
///
/// # Panics
/// If the shipped file is broken.
#[must_use]
#[expect(clippy::expect_used, reason = "a broken tokenizer fails the test")]
pub fn tokenizer() -> tokenizers::Tokenizer {
    tokenizers::Tokenizer::from_bytes(watermark_lab::shipped::tokenizer_json()).expect("tokenizer.json")
}
