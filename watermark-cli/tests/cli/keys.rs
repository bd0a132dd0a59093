//! Custody of keys: sealed files, export, commitments, signatures by a key file and by a command, time stamps.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use serde_json::Value;

use crate::leaks::unhex;
use crate::support::{Folder, ProcessOutput};

const PASSPHRASE: &str = "a passphrase for tests only";

impl Folder {
    /// What is in the file `name` under `"node"` or `"seed"`.
    fn hidden(&self, name: &str) -> Vec<u8> {
        let file: Value = serde_json::from_str(&self.read(name)).unwrap();
        let hex = file.get("node").or(file.get("seed")).unwrap().as_str().unwrap().to_owned();
        unhex(&hex).unwrap()
    }
}

/// `k.json` sealed, its profile `p.json`, `pass` with the passphrase.
fn sealed() -> Folder {
    let folder = Folder::new();
    folder.secret("pass", format!("{PASSPHRASE}\n"));
    folder.line("keygen --out k.json --passphrase-file pass").expect(0);
    folder.line("profile new --out p.json").expect(0);
    folder
}

/// `k.json`, `p.json`, `s.json` (signing), and the folder `c` of a commitment with that key and profile.
fn committed() -> (Folder, Value) {
    let folder = Folder::new();
    folder.line("keygen --out k.json").expect(0);
    folder.line("profile new --out p.json").expect(0);
    folder.line("key signing --out s.json").expect(0);
    let run = folder.line("key commit --key k.json --profile p.json --signing-key s.json --out c --json").expect(0);
    let output = run.json().remove(0);
    (folder, output)
}

#[test]
fn sealed_keys_open_with_their_passphrase_only() {
    let folder = sealed();
    let mode = std::fs::metadata(folder.path("k.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(folder.read("k.json").contains("\"key\":\"watermark-key/2\""));
    assert!(!folder.read("k.json").contains("\"node\""));
    folder.line("profile check p.json --key k.json --passphrase-file pass").expect(0);
    let check = || folder.command(["profile", "check", "p.json", "--key", "k.json"]);
    for (file, opens) in [("pass", true), ("", false), ("missing", false)] {
        let output = check().env("WATERMARK_PASSPHRASE_FILE", file).output().unwrap();
        assert_eq!(output.status.success(), opens, "{file:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // Elsewhere on the line, and in commands that know nothing of passphrases.
    folder.line("--passphrase-file pass profile check p.json --key k.json").expect(0);
    folder.write("text.txt", "Some words to be looked at.");
    folder.line("detect --profile p.json --key k.json --passphrase-file pass text.txt").expect(1);
    folder.line("scan --profile p.json --key k.json --passphrase-file pass --out run text.txt").expect(1);
    folder.write("prompts.txt", "Ana has 2 pens.\n");
    folder
        .line("mark --profile p.json --key k.json --passphrase-file pass --prompts prompts.txt --out m.jsonl")
        .expect(0);

    folder.line("profile check p.json --key k.json").fails_with(&["k.json", "--passphrase-file", "no terminal"]);
    for wrong in ["a passphrase for tests onlY\n", "a passphrase for tests only \n", "x"] {
        let _ = std::fs::remove_file(folder.path("wrong"));
        folder.secret("wrong", wrong);
        let run = folder.line("profile check p.json --key k.json --passphrase-file wrong");
        assert!(!run.stderr.contains(wrong.trim()) || wrong == "x", "{}", run.stderr);
        run.fails_with(&["k.json", "passphrase does not open it"]);
    }
    for (name, bad, says) in
        [("empty", "\n", "one line"), ("two", "a\nb\n", "one line"), ("not-text", "\u{0}\n\n", "one line")]
    {
        folder.secret(name, bad);
        folder.line(&format!("profile check p.json --key k.json --passphrase-file {name}")).fails_with(&[name, says]);
        folder.line(&format!("keygen --out new.json --passphrase-file {name}")).fails_with(&[name, says]);
    }
    std::fs::set_permissions(folder.path("pass"), PermissionsExt::from_mode(0o644)).unwrap();
    folder.line("profile check p.json --key k.json --passphrase-file pass").fails_with(&["pass", "chmod 600"]);
    assert!(!folder.path("new.json").exists());
    folder.line("keygen --out new.json --passphrase").fails_with(&["no terminal"]);
    assert!(!folder.path("new.json").exists());
}

/// Past the harness, which shows nothing of a test that passes.
fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

/// Runs a line under `script`, which gives it a terminal, and types `typed`.
fn at_terminal(folder: &Folder, line: &str, typed: &str) -> Option<ProcessOutput> {
    let program = env!("CARGO_BIN_EXE_watermark");
    let mut child = match Command::new("script")
        .args(["-qec", &format!("'{program}' {line}"), "/dev/null"])
        .current_dir(folder.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => {
            skipped(&format!("passphrases typed at a terminal (script: {error})"));
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    Some(folder.ended(child))
}

#[test]
fn passphrases_are_asked_for_at_a_terminal_and_not_shown() {
    let folder = Folder::new();
    folder.line("profile new --out p.json").expect(0);
    let twice = format!("{PASSPHRASE}\n{PASSPHRASE}\n");
    let Some(run) = at_terminal(&folder, "keygen --out k.json --passphrase", &twice) else { return };
    let run = run.expect(0);
    assert!(run.stdout.contains("New passphrase:") && run.stdout.contains("The same again:"), "{}", run.stdout);
    let run = at_terminal(&folder, "profile check p.json --key k.json", &format!("{PASSPHRASE}\n")).unwrap().expect(0);
    assert!(run.stdout.contains("Passphrase of k.json:"), "{}", run.stdout);
    let run = at_terminal(&folder, "profile check p.json --key k.json", "another\n").unwrap().expect(2);
    assert!(run.stdout.contains("passphrase does not open it"), "{}", run.stdout);
    for (typed, says) in [("one\ntwo\n", "differ"), ("\n", "empty")] {
        let run = at_terminal(&folder, "keygen --out n.json --passphrase", typed).unwrap().expect(2);
        assert!(run.stdout.contains(says), "{}", run.stdout);
        assert!(!folder.path("n.json").exists());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Cut or changed sealed files, whatever they then ask for: exit 2, no panic, nothing of the passphrase.
    #[test]
    fn hostile_sealed_files(cut in any::<bool>(), at in 0.0..1.0_f64, byte in any::<u8>()) {
        thread_local!(static FOLDER: Folder = sealed());
        FOLDER.with(|folder| {
            let mut bytes = std::fs::read(folder.path("k.json")).unwrap();
            let length = bytes.len() - 1;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "below the length")]
            let at = (at * length as f64) as usize;
            if cut {
                bytes.truncate(at);
            } else if bytes[at] == byte {
                return;
            } else {
                bytes[at] = byte;
            }
            let _ = std::fs::remove_file(folder.path("bad.json"));
            folder.secret("bad.json", bytes);
            let run = folder.line("profile check p.json --key bad.json --passphrase-file pass");
            assert!(!run.stderr.contains(PASSPHRASE), "{}", run.stderr);
            run.fails_with(&["bad.json"]);
        });
    }
}

#[test]
fn a_hostile_file_takes_no_gigabytes() {
    let folder = sealed();
    let text = folder.read("k.json");
    for (from, to) in
        [("65536", "4000000000"), ("\"passes\":3", "\"passes\":4000000000"), ("\"lanes\":4", "\"lanes\":16777215")]
    {
        assert!(text.contains(from));
        let _ = std::fs::remove_file(folder.path("bad.json"));
        folder.secret("bad.json", text.replace(from, to));
        let run = folder.line("profile check p.json --key bad.json --passphrase-file pass");
        run.fails_with(&["bad.json", "asks for more than"]);
    }
}

#[test]
fn exported_subtrees() {
    let folder = sealed();
    folder.secret("pass2", "another");
    let export = "key export --key k.json --passphrase-file pass";
    let run = folder.line(&format!("{export} --path epoch/1 --out e.json")).expect(0);
    assert!(run.stdout.contains("\"epoch/1\"") && run.stdout.contains("not sealed"), "{}", run.stdout);
    folder.line("profile check p.json --key e.json").expect(0);
    folder.line("key export --key e.json --path epoch/2 --out f.json").fails_with(&["epoch/2", "cannot open"]);
    folder.line(&format!("{export} --path epoch/1 --out e.json")).fails_with(&["e.json", "not overwritten"]);
    folder.line(&format!("{export} --path Epoch --out f.json")).fails_with(&["Epoch"]);
    // Another passphrase for the same key, and the older name of the command.
    folder.line("key derive --key k.json --passphrase-file pass --new-passphrase-file pass2 --out k2.json").expect(0);
    folder.line("profile check p.json --key k2.json --passphrase-file pass2").expect(0);
    folder.line("profile check p.json --key k2.json --passphrase-file pass").fails_with(&["k2.json"]);
    folder.line("key export --key k2.json --passphrase-file pass2 --path epoch/1 --out e2.json").expect(0);
    assert_eq!(folder.hidden("e2.json"), folder.hidden("e.json"));
}

/// A new epoch: profile, key for its servers, commitment; neither epoch's key opens the other.
#[test]
fn a_new_epoch() {
    let folder = Folder::new();
    folder.line("profile new --out p.json --path epoch/2026-11").expect(0);
    folder.line("keygen --out k.json").expect(0);
    folder.line("key signing --out s.json").expect(0);
    folder.line("key export --key k.json --path epoch/2026-11 --out old.json").expect(0);
    let rotate = "key rotate --profile p.json --signing-key s.json";
    let run = folder.line(&format!("{rotate} --key k.json --path epoch/2026-12 --out new")).expect(0);
    assert!(run.stdout.contains("From \"epoch/2026-11\" to \"epoch/2026-12\""), "{}", run.stdout);
    folder.line("profile check new/profile.json --key new/key.json").expect(0);
    folder.line("profile check new/profile.json --key old.json").fails_with(&["old.json"]);
    folder.line("profile check p.json --key new/key.json").fails_with(&["new/key.json"]);
    let (old, new) = (folder.read("p.json"), folder.read("new/profile.json"));
    assert_eq!(old.replace("epoch/2026-11", "epoch/2026-12"), new);
    // The commitment is to this profile's keys.
    let open = "key open --openings new/openings.json --key k.json --profile new/profile.json";
    folder.line(&format!("{open} --path epoch/2026-12/layer/distillation --out o.json")).expect(0);
    folder.line("key check new/head.json --opening o.json").expect(0);
    for path in ["epoch/2026-11", "epoch", "epoch/2026-11/b"] {
        folder.line(&format!("{rotate} --key k.json --path {path} --out x")).fails_with(&["--path", "epoch/2026-11"]);
    }
    folder.line(&format!("{rotate} --key old.json --path epoch/2026-12 --out x")).fails_with(&["cannot open"]);
    assert!(!folder.path("x").exists());
    folder.secret("pass", PASSPHRASE);
    let sealed = "--key k.json --path epoch/2027-01 --new-passphrase-file pass --out sealed";
    folder.line(&format!("{rotate} {sealed} --json")).expect(0);
    folder.line("profile check sealed/profile.json --key sealed/key.json --passphrase-file pass").expect(0);
}

#[test]
fn lists_show_no_secrets() {
    let (folder, _) = committed();
    folder.secret("pass", PASSPHRASE);
    folder.line("key export --key k.json --path epoch/1 --new-passphrase-file pass --out e.json").expect(0);
    folder.line("key signing --out s2.json --passphrase-file pass").expect(0);
    std::fs::set_permissions(folder.path("s.json"), PermissionsExt::from_mode(0o644)).unwrap();
    let run = folder.run(["key", "list", ".", "--json"]).expect(0);
    let rows = run.json().into_iter().map(|row| {
        let name = Path::new(row["file"].as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_owned();
        format!("{name} {} {} {} {} {}", row["kind"], row["path"], row["sealed"], row["mode"], row["others_can_read"])
    });
    assert_eq!(
        rows.collect::<Vec<_>>(),
        [
            "e.json \"subtree\" \"epoch/1\" true \"0600\" false",
            "k.json \"master\" \"\" false \"0600\" false",
            "s.json \"signing\" null false \"0644\" true",
            "s2.json \"signing\" null true \"0600\" false",
        ]
    );
    assert!(folder.line("key list s.json").expect(0).stdout.contains("others can read"));
    folder.line("key list p.json").fails_with(&["p.json", "no key file"]);
    folder.line("key list nothing").fails_with(&["nothing"]);
}

#[test]
fn commitments_are_opened_and_checked() {
    let (folder, output) = committed();
    assert_eq!(output["tree_size"], 2);
    let mode = |name: &str| std::fs::metadata(folder.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("c/openings.json"), 0o600);
    let open = "key open --openings c/openings.json --profile p.json --key k.json";
    folder.line(&format!("{open} --path epoch/1/layer/distillation --out o.json")).expect(0);
    assert_eq!(mode("o.json"), 0o600);
    let trusted = output["public_key"].as_str().unwrap();
    let line = format!("key check c/head.json --opening o.json --profile p.json --trusted-key {trusted} --json");
    let found = folder.line(&line).expect(0).json().remove(0);
    assert_eq!(found["holds"], true);
    assert_eq!(found["path"], "epoch/1/layer/distillation");
    for field in ["root", "public_key", "tree_size", "signed_at", "head_sha256"] {
        assert_eq!(found[field], output[field], "{field}");
    }
    // What is disclosed is the key of that node.
    folder.line("key export --key k.json --path epoch/1/layer/distillation --out leaf.json").expect(0);
    assert_eq!(folder.hidden("o.json"), folder.hidden("leaf.json"));

    for (line, says) in [
        (format!("{open} --path epoch/1/layer/other --out x.json"), "no commitment to"),
        (
            format!("{open} --path epoch/1/layer/other --out x.json"),
            "but to \"epoch/1/layer/distillation\", \"epoch/1/layer/provenance\"",
        ),
        (format!("{open} --path epoch/2 --out x.json"), "no commitment to"),
        (format!("{open} --path epoch/1 --out x.json"), "no commitment to"),
        (format!("{open} --path epoch/1/layer/provenance --out o.json"), "not overwritten"),
        ("key commit --key k.json --profile p.json --signing-key s.json --out c".to_owned(), "not empty"),
        ("key commit --key k.json --profile p.json --out d".to_owned(), "--signing-key"),
        ("key commit --key k.json --profile p.json --signing-key k.json --out d".to_owned(), "not a signing key"),
        ("key commit --key s.json --profile p.json --signing-key s.json --out d".to_owned(), "not a key file"),
        (
            "key commit --key k.json --profile p.json --beacon a:1 --signing-key s.json --out d".to_owned(),
            "awaits none",
        ),
        (
            "key commit --key k.json --profile p.json --beacon drand --signing-key s.json --out d".to_owned(),
            "SOURCE:ROUND",
        ),
        ("key commit --key leaf.json --profile p.json --signing-key s.json --out d".to_owned(), "cannot open"),
    ] {
        folder.line(&line).fails_with(&[says]);
    }
    assert!(!folder.path("d").exists() && !folder.path("x.json").exists());
    // Another key below the same path was not committed to.
    folder.line("keygen --out foreign.json").expect(0);
    folder
        .line("key open --openings c/openings.json --profile p.json --key foreign.json --path epoch/1/layer/distillation --out x.json")
        .fails_with(&["made with another key"]);
    std::fs::set_permissions(folder.path("c/openings.json"), PermissionsExt::from_mode(0o640)).unwrap();
    folder
        .line(&format!("{open} --path epoch/1/layer/provenance --out x.json"))
        .fails_with(&["openings.json", "chmod 600"]);
}

#[test]
fn what_does_not_hold_is_named() {
    let (folder, output) = committed();
    folder
        .line("key open --openings c/openings.json --profile p.json --key k.json --path epoch/1/layer/distillation --out o.json")
        .expect(0);
    folder.line("profile new --out q.json --gamma 0.25").expect(0);
    folder.line("key signing --out s2.json").expect(0);
    let run = folder.line("key commit --key k.json --profile q.json --signing-key s2.json --out d --json").expect(0);
    let other = run.json()[0]["public_key"].as_str().unwrap().to_owned();
    let failure = |line: &str| {
        let found = folder.line(&format!("{line} --json")).expect(1).json().remove(0);
        assert_eq!(found["holds"], false);
        found["failures"][0]["check"].as_str().unwrap().to_owned()
    };
    assert_eq!(failure(&format!("key check c/head.json --trusted-key {other}")), "trust");
    assert_eq!(failure("key check d/head.json --opening o.json"), "opening");
    assert_eq!(failure("key check c/head.json --opening o.json --profile q.json"), "profile");
    // Every byte of a head counts, also where the signature does not reach. (The core's tests go through all values.)
    let head = std::fs::read(folder.path("c/head.json")).unwrap();
    for at in (0..head.len()).step_by(29) {
        let mut changed = head.clone();
        changed[at] ^= 1;
        folder.write("bad.json", &changed);
        assert_eq!(failure("key check bad.json"), "head", "byte {at}");
    }
    let opening = folder.read("o.json");
    for changed in
        [opening.replace("\"index\":0", "\"index\":1"), opening.replace("epoch/1", "epoch/2"), opening + "\n"]
    {
        let _ = std::fs::remove_file(folder.path("bad.json"));
        folder.secret("bad.json", changed);
        assert_eq!(failure("key check c/head.json --opening bad.json"), "opening");
    }
    let shown = folder.line(&format!("key check c/head.json --trusted-key {other}")).expect(1).stdout;
    assert!(
        shown.contains("DOES NOT HOLD (trust)") && shown.contains(output["public_key"].as_str().unwrap()),
        "{shown}"
    );
    folder.line("key check missing.json").fails_with(&["missing.json"]);
    folder.line("key check c/head.json --trusted-key 12").fails_with(&["--trusted-key"]);
}

/// `openssl` if it is there; a test that needs it says so and ends.
fn openssl(folder: &Folder, line: &str) -> Option<String> {
    let output = match Command::new("openssl").args(line.split_whitespace()).current_dir(folder.path("")).output() {
        Ok(output) => output,
        Err(error) => {
            skipped(&format!("a signing command, time stamps (openssl: {error})"));
            return None;
        }
    };
    assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn script(folder: &Folder, name: &str, body: &str) {
    folder.write(name, format!("#!/bin/sh\n{body}\n"));
    std::fs::set_permissions(folder.path(name), PermissionsExt::from_mode(0o700)).unwrap();
}

/// OpenSSL holds the key in place of a hardware module, and makes the same signatures.
#[test]
fn a_command_can_sign() {
    let folder = Folder::new();
    let Some(_) = openssl(&folder, "genpkey -algorithm ed25519 -out hsm.pem") else { return };
    openssl(&folder, "pkey -in hsm.pem -pubout -outform DER -out hsm.der").unwrap();
    let der = std::fs::read(folder.path("hsm.der")).unwrap();
    let public = watermark_core::hex::encode(&der[der.len() - 32..]);
    script(&folder, "sign", "cat > message && openssl pkeyutl -sign -inkey hsm.pem -rawin -in message");
    folder.line("keygen --out k.json").expect(0);
    folder.line("profile new --out p.json").expect(0);
    let commit = "key commit --key k.json --profile p.json";
    folder.line(&format!("{commit} --signer ./sign --signer-key {public} --out c")).expect(0);
    folder.line(&format!("key check c/head.json --trusted-key {public}")).expect(0);
    let message = std::fs::read(folder.path("message")).unwrap();
    assert!(
        message.starts_with(b"DSSEv1 35 application/vnd.watermark.head+json "),
        "what the module was asked to sign"
    );

    script(&folder, "fails", "exit 3");
    script(&folder, "short", "printf abc");
    script(&folder, "long", "head -c 100000 /dev/zero");
    script(&folder, "wrong", "head -c 64 /dev/zero");
    for (name, says) in [
        ("fails", "exit status: 3"),
        ("short", "3 bytes"),
        ("long", "64"),
        ("wrong", "does not hold"),
        ("none", "none"),
    ] {
        folder.line(&format!("{commit} --signer ./{name} --signer-key {public} --out d")).fails_with(&["signer", says]);
    }
    folder.line(&format!("{commit} --signer ./sign --out d")).fails_with(&["--signer-key"]);
    folder
        .line(&format!("{commit} --signer ./sign --signer-key {} --out d", "0".repeat(63)))
        .fails_with(&["public key"]);
    assert!(!folder.path("d").exists());
}

/// A throw-away time-stamping authority answers the request that `key commit` wrote.
#[test]
fn time_stamps_are_checked_offline() {
    let (folder, _) = committed();
    let Some(query) = openssl(&folder, "ts -query -in c/head.tsq -text") else { return };
    assert!(query.contains("Hash Algorithm: sha256") && query.contains("Certificate required: yes"), "{query}");
    folder.write("tsa.cnf", TSA);
    for name in ["ca", "other"] {
        openssl(
            &folder,
            &format!("req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -subj /CN={name} -days 2"),
        );
    }
    openssl(&folder, "req -new -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.csr -subj /CN=tsa");
    openssl(
        &folder,
        "x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out tsa.pem -days 2 -extfile tsa.cnf -extensions ext",
    );
    openssl(&folder, "ts -reply -config tsa.cnf -section tsa -queryfile c/head.tsq -out head.tsr");
    let check = "key check c/head.json --timestamp";
    let found = folder.line(&format!("{check} head.tsr --authority ca.pem --json")).expect(0).json().remove(0);
    assert!(found["time_stamp"].as_str().unwrap().ends_with('Z'), "{found}");

    folder.line("key commit --key k.json --profile p.json --signing-key s.json --out d").expect(0);
    let response = std::fs::read(folder.path("head.tsr")).unwrap();
    folder.write("cut.tsr", &response[..response.len() / 2]);
    let mut changed = response;
    *changed.last_mut().unwrap() ^= 1;
    folder.write("changed.tsr", changed);
    for line in [
        format!("{check} head.tsr --authority other.pem"),
        format!("{check} cut.tsr --authority ca.pem"),
        format!("{check} changed.tsr --authority ca.pem"),
        "key check d/head.json --timestamp head.tsr --authority ca.pem".to_owned(),
    ] {
        let found = folder.line(&format!("{line} --json")).expect(1).json().remove(0);
        assert_eq!(found["failures"][0]["check"], "timestamp", "{line}: {found}");
        assert_eq!(found["time_stamp"], Value::Null);
    }
    folder.line(&format!("{check} missing.tsr --authority ca.pem")).fails_with(&["missing.tsr"]);
}

/// What `tests/case.py` uses too.
const TSA: &str = include_str!("../../../tests/data/tsa.cnf");

/// Every command of custody, good and failing; the folder looks for secrets when it goes.
#[test]
fn nothing_secret_is_printed_or_published() {
    let folder = Folder::new();
    folder.secret("pass", PASSPHRASE);
    folder.line("profile new --out p.json").expect(0);
    for line in [
        "keygen --out k.json --json",
        "key signing --out s.json --json",
        "key export --key k.json --path epoch/1 --out e.json",
        "key export --key k.json --new-passphrase-file pass --out sealed.json",
        "key rotate --key k.json --profile p.json --path epoch/2 --signing-key s.json --out r --json",
        "key rotate --key e.json --profile p.json --path epoch/3 --signing-key s.json --out r2",
        "key list . --json",
        "key list .",
        "key commit --key k.json --profile p.json --signing-key s.json --out c --json",
        "key commit --key sealed.json --passphrase-file pass --profile p.json --signing-key s.json --out d",
        "key open --openings c/openings.json --key k.json --profile p.json --path epoch/1/layer/distillation --out o.json",
        "key check c/head.json --opening o.json --json",
        "key check c/head.json --opening o.json",
        "key check d/head.json --opening o.json",
        "key check k.json",
        "key check c/head.json --opening k.json",
        "key open --openings k.json --key k.json --profile p.json --path epoch/1/layer/distillation --out x.json",
        "key open --openings c/openings.json --key s.json --profile p.json --path epoch/1/layer/distillation --out x.json",
        "key commit --key o.json --profile p.json --signing-key s.json --out f",
        "profile check p.json --key sealed.json --passphrase-file k.json",
        "profile check k.json --key s.json",
        "detect --profile p.json --key pass p.json",
    ] {
        let run = folder.line(line);
        assert!(!run.stderr.contains("panicked"), "{line}: {}", run.stderr);
    }
}
