//! No secret of a process test is in anything that the program printed or wrote, except where it belongs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

/// Whatever holds secrets says so in its form: key files, signing keys, openings.
const MARKERS: [&str; 4] = ["key", "signing_key", "openings", "opening"];

/// Panics if something printed, or a file below `folder` that is not for secrets, holds a secret of a file that is.
pub(crate) fn check(folder: &Path, printed: &[u8]) {
    let mut files = Vec::new();
    walk(folder, &mut files);
    let (mut secrets, mut disclosed, mut open) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for path in files {
        let Ok(bytes) = fs::read(&path) else { continue };
        let json = serde_json::from_slice::<Value>(&bytes).ok();
        if let Some(json) = json.as_ref().filter(|json| is_secret(json)) {
            named(json, &mut secrets);
        } else if json.is_none() && private(&path) {
            // A passphrase, an engine's key.
            secrets.insert(bytes.trim_ascii().to_vec());
        } else {
            let signed = json.as_ref().and_then(payload).unwrap_or_default();
            named(&signed["predicate"]["key"]["opening"], &mut disclosed);
            open.push((path, bytes, signed.to_string()));
        }
    }
    // Short ones are numbers of other engines and occur by chance; an opened leaf is in its bundle by intent.
    secrets.retain(|secret| secret.len() >= 12 && !disclosed.contains(secret));
    if secrets.is_empty() {
        return;
    }
    let search = Search::new(&secrets);
    assert!(!search.finds(printed), "a secret was printed: {}", String::from_utf8_lossy(printed));
    for (path, bytes, signed) in open {
        assert!(!search.finds(&bytes), "a secret is in {}", path.display());
        assert!(!search.finds(signed.as_bytes()), "a secret is in what {} signs", path.display());
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), files),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
}

fn private(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o077 == 0)
}

fn is_secret(json: &Value) -> bool {
    MARKERS.iter().any(|marker| json[*marker].as_str().is_some_and(|form| form.starts_with("watermark-")))
}

/// Adds the 32 bytes of every `node`, `seed` and `salt` in `json`.
fn named(json: &Value, secrets: &mut BTreeSet<Vec<u8>>) {
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                let bytes =
                    value.as_str().filter(|_| ["node", "seed", "salt"].contains(&name.as_str())).and_then(unhex);
                secrets.extend(bytes);
                named(value, secrets);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| named(item, secrets)),
        _ => {}
    }
}

/// 32 bytes of 64 hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = (text.len() == 64 && text.is_ascii()).then(|| (0..64).step_by(2));
    pairs?.map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

fn payload(envelope: &Value) -> Option<Value> {
    let payload = STANDARD.decode(envelope["payload"].as_str()?).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// Looks for secrets in every form that a program could print them in.
pub(crate) struct Search(AhoCorasick);

impl Search {
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a Vec<u8>>) -> Self {
        let forms = secrets.into_iter().flat_map(|secret| forms_of(secret));
        Self(AhoCorasick::builder().ascii_case_insensitive(true).build(forms).unwrap())
    }

    pub(crate) fn finds(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }
}

/// A secret as it is, in hexadecimal, as a list of numbers, and itself and its hexadecimal in both alphabets of base64 at each of
/// three alignments.
fn forms_of(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex = watermark_core::hex::encode(secret);
    let mut forms = vec![format!("{secret:?}").into_bytes()];
    for plain in [secret, hex.as_bytes(), hex.to_uppercase().as_bytes()] {
        forms.push(plain.to_vec());
        for skip in 0..3 {
            // Whole groups of three: what surrounds them does not change their letters.
            let whole = &plain[skip..skip + (plain.len() - skip) / 3 * 3];
            forms.extend([STANDARD_NO_PAD.encode(whole).into_bytes(), URL_SAFE_NO_PAD.encode(whole).into_bytes()]);
        }
    }
    forms
}

#[test]
fn every_form_is_found() {
    let secret: Vec<u8> = (0..32).map(|i| i * 37 + 1).collect();
    let search = Search::new([&secret]);
    let hex: String = secret.iter().map(|byte| format!("{byte:02X}")).collect();
    let shown = format!("{secret:?}");
    for inner in [secret.clone(), hex.into_bytes(), shown.into_bytes()] {
        for before in 0..4 {
            let text = [&b"abc"[..before.min(3)], &inner, b"xyz"].concat();
            assert!(search.finds(&text));
            if inner.len() <= 64 {
                assert!(search.finds(STANDARD_NO_PAD.encode(&text).as_bytes()));
                assert!(search.finds(URL_SAFE_NO_PAD.encode(&text).as_bytes()));
            }
        }
    }
    assert!(!search.finds(&secret[1..]) && !search.finds(b"nothing"));
}

/// The check fails where it must: on a copy of a key in a log, in a signed payload, in output.
#[test]
fn a_leak_fails_the_test() {
    use crate::support::Folder;
    let leaks = |spoil: &dyn Fn(&Folder, &str) -> Vec<u8>| {
        let folder = Folder::new();
        folder.line("keygen --out k.json").expect(0);
        let node = serde_json::from_str::<Value>(&folder.read("k.json")).unwrap()["node"].as_str().unwrap().to_owned();
        let printed = spoil(&folder, &node);
        let found = std::panic::catch_unwind(|| check(&folder.path(""), &printed)).is_err();
        for name in ["log.txt", "e.json"] {
            let _ = fs::remove_file(folder.path(name));
        }
        found
    };
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let found = [
        leaks(&|_, node| format!("error: bad key {}", node.to_uppercase()).into_bytes()),
        leaks(&|folder, node| {
            folder.write("log.txt", format!("started with {node}"));
            Vec::new()
        }),
        leaks(&|folder, node| {
            let payload = STANDARD.encode(format!("{{\"x\":[\"{node}\"]}}"));
            folder.write("e.json", format!("{{\"payload\":\"{payload}\"}}"));
            Vec::new()
        }),
        leaks(&|_, _| b"nothing".to_vec()),
    ];
    std::panic::set_hook(quiet);
    assert_eq!(found, [true, true, true, false]);
}
