//! Key files: plain, behind a passphrase, of signing keys; key paths; passphrase files.

use std::cell::OnceCell;

use serde_json::Value;
use watermark_core::Error;
use watermark_core::evidence::SigningKey;
use watermark_core::key::{KeyPath, NodeKey, inspect_key_file, open_key_file, parse_key_file, print_key_file};
use watermark_toolkit::passphrase;
use zeroize::Zeroizing;

use crate::folder::Folder;

/// Sealed by the passphrase "correct" at a cost that a fuzzer can pay; the real cost is checked by the core's own tests.
const SEALED: &str = include_str!("../seeds/sealed.key.json");
const SEALED_SIGNING: &str = include_str!("../seeds/sealed.signing.json");

thread_local! {
    static FOLDER: OnceCell<Folder> = const { OnceCell::new() };
}

fn node() -> NodeKey {
    NodeKey::root(b"m").descend(&"epoch/2026-11".parse().unwrap()).unwrap()
}

fn signing_key() -> SigningKey {
    SigningKey::from_seed(&[0x5e; 32])
}

/// Valid files of each kind.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let plain = [print_key_file(&node()).to_string(), signing_key().print().to_string()];
    let others = [SEALED, SEALED_SIGNING, "epoch/2026-11/layer/distillation", "correct horse\n"];
    plain.into_iter().chain(others.map(str::to_owned)).map(String::into_bytes).collect()
}

/// Every parser of keys on the same text.
pub fn run(bytes: &[u8]) {
    passphrase_file(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    path(text);
    plain(text);
    sealed(text);
    signing(text);
}

fn passphrase_file(bytes: &[u8]) {
    let read = FOLDER.with(|folder| {
        let path = folder.get_or_init(Folder::new).write("passphrase", bytes);
        private(&path);
        passphrase::read(&path)
    });
    match read {
        Ok(line) => {
            assert!(!line.is_empty() && !line.contains('\n'));
            let rest = bytes.strip_prefix(line.as_bytes()).expect("the file begins with its passphrase");
            assert!(matches!(rest, b"" | b"\n" | b"\r" | b"\r\n"), "{rest:?} is left out");
        }
        Err(error) => silent(&format!("{error:#}").replace(std::env::temp_dir().to_str().unwrap_or_default(), "")),
    }
}

#[cfg(unix)]
fn private(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
}

#[cfg(not(unix))]
fn private(_: &std::path::Path) {}

fn path(text: &str) {
    if let Ok(path) = text.parse::<KeyPath>() {
        assert_eq!(path.as_str(), text);
        assert_eq!(path.segments().collect::<Vec<_>>().join("/"), text);
        assert!(path.is_at_or_below(&KeyPath::root()) && path.is_at_or_below(&path));
        if let Ok(below) = path.join("x") {
            assert!(below.is_at_or_below(&path) && !path.is_at_or_below(&below));
        }
    }
}

fn plain(text: &str) {
    match parse_key_file(text) {
        Ok(node) => {
            let printed = print_key_file(&node);
            let again = parse_key_file(&printed).expect("what is printed is read");
            assert_eq!((again.path(), again.secret()), (node.path(), node.secret()));
            assert_eq!(inspect_key_file(text).expect("what is read is named"), (node.path().clone(), false));
        }
        Err(error) => silent(&error.to_string()),
    }
}

/// What opens at all holds what was sealed: nobody without the passphrase can make another file that it opens.
fn sealed(text: &str) {
    let inspected = inspect_key_file(text);
    if !is_cheap(text) {
        return;
    }
    match open_key_file(text, || Ok::<_, Error>(Zeroizing::new("correct".to_owned()))) {
        Ok(opened) => {
            let (path, is_sealed) = inspected.expect("what opens is named");
            assert_eq!(*opened.path(), path);
            if is_sealed {
                assert_eq!((opened.path(), opened.secret()), (node().path(), node().secret()));
            }
        }
        Err(error) => silent(&error.to_string()),
    }
}

fn signing(text: &str) {
    let inspected = SigningKey::inspect(text);
    if !is_cheap(text) {
        return;
    }
    match SigningKey::open(text, || Ok::<_, Error>(Zeroizing::new("correct".to_owned()))) {
        Ok(opened) => {
            if inspected.expect("what opens is named") {
                assert_eq!(opened.public_key(), signing_key().public_key());
            }
            let never = || -> Result<Zeroizing<String>, Error> { panic!("a plain file asks for a passphrase") };
            let again = SigningKey::open(&opened.print(), never).expect("what is printed is read");
            assert_eq!(again.public_key(), opened.public_key());
        }
        Err(error) => silent(&error.to_string()),
    }
}

/// Costs up to 256 MiB and 8 passes are allowed, but too dear to pay for every input.
fn is_cheap(text: &str) -> bool {
    let Ok(file) = serde_json::from_str::<Value>(text) else { return true };
    let at_most = |field: &str, most: u64| file[field].as_u64().is_none_or(|cost| cost <= most);
    at_most("memory_kib", 256) && at_most("passes", 4) && at_most("lanes", 4)
}

/// Messages repeat no part of a key.
fn silent(message: &str) {
    let longest = message.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
    assert!(longest.unwrap_or(0) < 16, "{message}");
}
