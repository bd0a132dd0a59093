use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::NodeKey;
use crate::{Error, ErrorKind, Result, hex};

/// The version string of the key file format.
pub const KEY_FILE_VERSION: &str = "watermark-key/1";

/// A key file is some 150 bytes; anything larger is something else.
const MAX_KEY_FILE: usize = 4096;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    key: String,
    path: String,
    node: Zeroizing<String>,
}

/// Reads `{"key": "watermark-key/1", "path": "", "node": "<64 hex>"}`.
///
/// # Errors
/// [`ErrorKind::InvalidKeyFile`], [`ErrorKind::UnsupportedVersion`], [`ErrorKind::InvalidPath`]. No message repeats
/// a part of the file, because any part of it may be the key.
pub fn parse_key_file(json: &str) -> Result<NodeKey> {
    let invalid = |why: String| Error::new(ErrorKind::InvalidKeyFile, format!("not a key file: {why}"));
    if json.len() > MAX_KEY_FILE {
        return Err(invalid(format!("longer than {MAX_KEY_FILE} bytes")));
    }
    let file: KeyFile = serde_json::from_str(json).map_err(|error| {
        invalid(format!(
            "expected JSON with exactly \"key\", \"path\" and \"node\" (line {}, column {})",
            error.line(),
            error.column()
        ))
    })?;
    if file.key != KEY_FILE_VERSION {
        return Err(Error::new(
            ErrorKind::UnsupportedVersion,
            format!("\"key\" is not {KEY_FILE_VERSION:?}; this version reads no other key file format"),
        ));
    }
    let path = file.path.parse().map_err(|_| invalid("\"path\" is not a key path".to_owned()))?;
    let mut secret = Zeroizing::new([0; 32]);
    match hex::decode_any_case(file.node.as_bytes(), secret.as_mut_slice()) {
        Some(()) => Ok(NodeKey::from_parts(path, secret)),
        None => Err(invalid("\"node\" is not 64 hexadecimal digits".to_owned())),
    }
}

/// Writes what [`parse_key_file`] reads, with a final newline.
#[must_use]
pub fn print_key_file(node: &NodeKey) -> Zeroizing<String> {
    let digits = Zeroizing::new(hex::encode(node.secret()));
    // Both strings are of a restricted alphabet, so no JSON escape can be needed; a serializer, or a string that grows, would leave copies.
    let mut json = Zeroizing::new(String::with_capacity(128 + node.path().as_str().len()));
    for part in [
        "{\"key\": \"",
        KEY_FILE_VERSION,
        "\", \"path\": \"",
        node.path().as_str(),
        "\", \"node\": \"",
        &digits,
        "\"}\n",
    ] {
        json.push_str(part);
    }
    json
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn round_trip() {
        let node = NodeKey::root(b"m").descend(&"epoch/2026-11".parse().unwrap()).unwrap();
        let read = parse_key_file(&print_key_file(&node)).unwrap();
        assert_eq!((read.path(), read.secret()), (node.path(), node.secret()));
    }

    #[test]
    fn messages_repeat_nothing_of_the_file() {
        let secret = "5e".repeat(32);
        for text in [
            format!("{{\"key\": \"watermark-key/1\", \"path\": \"\", \"node\": \"{secret}00\"}}"),
            format!("{{\"key\": \"{secret}\", \"path\": \"\", \"node\": \"{secret}\"}}"),
            format!("{{\"key\": \"watermark-key/1\", \"path\": \"{secret} \", \"node\": \"{secret}\"}}"),
            format!("{{\"key\": \"watermark-key/1\", \"{secret}\": 1, \"path\": \"\", \"node\": \"\"}}"),
            format!("{{\"key\": \"watermark-key/1\", \"path\": \"\", \"node\": [\"{secret}\"]}}"),
            secret,
        ] {
            let message = parse_key_file(&text).unwrap_err().to_string();
            assert!(!message.contains("5e5e"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_panic_on_any_text(text in "\\PC{0,200}") {
            let _ = parse_key_file(&text);
        }
    }
}
