use std::os::unix::fs::PermissionsExt;

use crate::support::Folder;

#[test]
fn keys_are_private_and_never_overwritten() {
    let folder = Folder::new();
    let run = folder.line("keygen --out a.key.json --json").expect(0);
    assert_eq!(run.json()[0]["path"], "");
    let mode = std::fs::metadata(folder.path("a.key.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = folder.read("a.key.json");
    let secret = key.split('"').find(|part| part.len() == 64).unwrap().to_owned();
    assert!(!run.stdout.contains(&secret));
    folder.line("keygen --out a.key.json").fails_with(&["a.key.json", "not overwritten"]);
    assert_eq!(folder.read("a.key.json"), key);
    folder.line("keygen --out b.key.json").expect(0);
    assert_ne!(folder.read("b.key.json"), key);
}

#[test]
fn key_files_that_cannot_be_used() {
    let folder = Folder::new();
    folder.line("profile new --out p.json").expect(0);
    folder.line("keygen --out k.json").expect(0);
    folder.line("keygen --out other.json --path epoch/2").expect(0);
    folder.line("profile check p.json --key k.json").expect(0);
    folder.line("profile check p.json --key missing.json").fails_with(&["missing.json", "No such file"]);
    folder.line("profile check p.json --key other.json").fails_with(&["epoch/2", "epoch/1", "cannot open"]);
    folder.line("profile check p.json --key p.json").fails_with(&["p.json"]);
    let loosen = |mode| std::fs::set_permissions(folder.path("k.json"), PermissionsExt::from_mode(mode)).unwrap();
    for mode in [0o640, 0o604, 0o620] {
        loosen(mode);
        folder.line("profile check p.json --key k.json").fails_with(&["k.json", "chmod 600"]);
    }
    loosen(0o600);
    let text = folder.read("k.json");
    for (name, bad, says) in [
        ("1.json", text.replace("key/1", "key/9"), "reads no other key file format"),
        ("2.json", text[..60].to_owned(), "not a key file"),
        ("3.json", text.replace("\"path\"", "\"paths\""), "not a key file"),
        ("4.json", "\u{0}".repeat(5000), "longer than"),
    ] {
        folder.secret(name, bad);
        folder.line(&format!("profile check p.json --key {name}")).fails_with(&[name, says]);
    }
    folder.line("keygen --out c.json --path Epoch").fails_with(&["Epoch"]);
}

#[test]
fn profiles_are_checked() {
    let folder = Folder::new();
    folder.line("profile new --out p.json --name chat --path epoch/2026-11 --gamma 0.25 --delta 1.5").expect(0);
    let text = folder.read("p.json");
    let run = folder.line("profile check p.json --json").expect(0);
    assert_eq!(run.json()[0]["layers"], serde_json::json!(["distillation", "provenance"]));
    folder.line("profile new --out p.json").fails_with(&["p.json", "not overwritten"]);
    folder.line("profile new --out q.json --gamma 0").fails_with(&["gamma is 0"]);
    folder.line("profile new --out q.json --vocab-size 2").fails_with(&["--vocab-size 2", "2048"]);
    folder.line("profile new --out q.json --vocab-size 4096").expect(0);
    for (from, to, says) in [
        ("profile/1", "profile/2", "watermark-profile/2"),
        ("\"gumbel\"", "\"sparkle\"", "unknown scheme \"sparkle\""),
        ("\"width\": 4", "\"width\": 40", "width 40"),
    ] {
        assert!(text.contains(from), "{from}");
        folder.write("bad.json", text.replace(from, to));
        folder.line("profile check bad.json").fails_with(&["bad.json", says]);
    }
    folder.write("bad.json", &text[..100]);
    folder.line("profile check bad.json").fails_with(&["bad.json", "not a profile"]);
    folder.write("bad.json", [0xff, 0xfe]);
    folder.line("profile check bad.json").fails_with(&["bad.json", "UTF-8"]);
}

#[test]
fn a_wrong_tokenizer_is_refused() {
    let folder = Folder::new();
    folder.line("profile new --out p.json").expect(0);
    folder.line("keygen --out k.json").expect(0);
    folder.write("text.txt", "Some text to test.");
    let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/../watermark-toolkit/embedded/tokenizer.json");
    let changed = std::fs::read_to_string(tokenizer).unwrap() + "\n";
    folder.write("other.json", changed);
    for command in [
        "detect --profile p.json --key k.json --tokenizer other.json text.txt",
        "profile check p.json --tokenizer other.json",
    ] {
        folder.line(command).fails_with(&["other.json", "SHA-256", "token ids would not agree"]);
    }
    folder.line(&format!("detect --profile p.json --key k.json --tokenizer {tokenizer} text.txt")).expect(1);
}

#[test]
fn help_teaches() {
    let folder = Folder::new();
    for command in [
        "",
        "keygen",
        "key export",
        "key list",
        "key signing",
        "key commit",
        "key open",
        "key check",
        "ledger append",
        "ledger head",
        "ledger prove",
        "ledger check",
        "profile",
        "profile new",
        "profile check",
        "mark",
        "detect",
        "scan",
        "demo",
        "report",
    ] {
        let run = folder.line(&format!("{command} --help")).expect(0);
        assert!(run.stdout.contains("Usage: watermark"), "{command}");
        if !["", "profile"].contains(&command) {
            assert!(run.stdout.contains("Example"), "{command} --help has no example");
        }
        assert!(folder.line(&format!("{command} --version")).expect(0).stdout.contains(env!("CARGO_PKG_VERSION")));
    }
}
