//! The committed header is what cbindgen makes of the source.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

/// In the order in which the header should be read.
const SOURCES: [&str; 7] = ["status", "key", "marker", "session", "batch", "detect", "llama"];

#[test]
fn header_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let builder = SOURCES.iter().fold(cbindgen::Builder::new().with_config(config), |builder, name| {
        builder.with_src(root.join("src").join(name).with_extension("rs"))
    });
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let path = root.join("include/watermark.h");
    if std::env::var_os("WATERMARK_WRITE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(made == committed, "include/watermark.h is not current; run this test with WATERMARK_WRITE_HEADER=1");
}

/// Every function of the header is exported, and every exported function is in the header.
#[test]
fn header_is_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = std::fs::read_to_string(root.join("include/watermark.h")).unwrap();
    let mut declared: Vec<String> = words(&header.lines().filter(|line| !line.starts_with("//")).collect::<String>());
    let mut defined = Vec::new();
    for name in SOURCES {
        let source = std::fs::read_to_string(root.join("src").join(name).with_extension("rs")).unwrap();
        let after = source.split("#[unsafe(no_mangle)]").skip(1);
        defined.extend(after.map(|text| words(text)[0].clone()));
    }
    declared.sort();
    declared.dedup();
    defined.sort();
    assert_eq!(declared, defined);
    assert!(defined.len() > 40, "{}", defined.len());
}

/// Names `wm_…` before a parenthesis.
fn words(text: &str) -> Vec<String> {
    let before = text.split('(');
    let name = |text: &str| text.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().map(str::to_owned);
    before.filter_map(name).filter(|name| name.starts_with("wm_")).collect()
}
