//! The ledger of served answers: proofs, stops in the middle of a write, changed entries.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Folder, ProcessOutput};

fn setup() -> Folder {
    let folder = Folder::new();
    folder.line("keygen --out k.json --path ledger/1").expect(0);
    folder.line("key signing --out s.json").expect(0);
    folder
}

fn line(answer: &str, account: &str) -> String {
    json!({"answer": answer, "account": account, "key": "epoch/1"}).to_string() + "\n"
}

fn append(folder: &Folder, input: &str) -> ProcessOutput {
    folder.run_with_stdin("ledger append --ledger l --key k.json".split(' '), input)
}

/// Signs a head and gives its file's name.
fn head(folder: &Folder) -> String {
    let run = folder.line("ledger head --ledger l --signing-key s.json --json").expect(0);
    run.json()[0]["head_file"].as_str().unwrap().to_owned()
}

/// The leaf of a line, computed here.
fn leaf(line: &str) -> String {
    let digest = Sha256::new().chain_update([0]).chain_update(line).finalize();
    watermark_core::hex::encode(&digest)
}

#[test]
fn answers_are_proved_from_head_and_text() {
    let folder = setup();
    let texts = ["First answer.", "Second, with ü and\nlines.", "First answer."];
    let acknowledged = append(
        &folder,
        &texts.iter().zip(["yves", "bob", "yves"]).map(|(text, who)| line(text, who)).collect::<String>(),
    );
    let acknowledged = acknowledged.expect(0).json();
    let entries = folder.read("l/entries.jsonl");
    for (i, entry) in entries.lines().enumerate() {
        assert_eq!(acknowledged[i], json!({"index": i, "leaf": leaf(entry)}));
    }
    for secret in ["First", "yves", "bob"] {
        assert!(!entries.contains(secret));
    }
    let field =
        |i: usize, name: &str| serde_json::from_str::<Value>(entries.lines().nth(i).unwrap()).unwrap()[name].clone();
    assert!(field(0, "account") == field(2, "account") && field(0, "answer") != field(2, "answer"));

    let old = head(&folder);
    append(&folder, &line("Later.", "eve")).expect(0);
    let new = head(&folder);
    assert_ne!(old, new);
    folder.write("a.txt", texts[1]);
    folder.write("other.txt", texts[0]);
    let prove = format!("ledger prove --ledger l --head {new} --index 1 --key k.json");
    folder.line(&format!("{prove} --out p.json")).expect(0);
    folder.line(&format!("{prove} --account bob --out bob.json")).expect(0);
    folder.line(&format!("{prove} --account yves --out x.json")).fails_with(&["entry 1", "another account"]);
    folder
        .line(&format!("ledger prove --ledger l --head {old} --index 3 --key k.json --out x.json"))
        .fails_with(&["entry 3"]);
    let found =
        folder.line(&format!("ledger check {new} --proof bob.json --answer a.txt --account bob --json")).expect(0);
    assert_eq!((&found.json()[0]["index"], &found.json()[0]["key"]), (&json!(1), &json!("epoch/1")));
    folder.line(&format!("ledger check {new} --proof p.json --answer a.txt")).expect(0);
    for line in [
        format!("{new} --proof p.json --answer other.txt"),
        format!("{new} --proof p.json --answer a.txt --account bob"),
        format!("{new} --proof bob.json --answer a.txt --account yves"),
        format!("{old} --proof p.json --answer a.txt"),
        "a.txt".to_owned(),
    ] {
        let run = folder.line(&format!("ledger check {line}")).expect(1);
        assert!(run.stdout.contains("DOES NOT HOLD"), "{}", run.stdout);
    }
    folder.line(&format!("ledger check {new} --proof p.json")).fails_with(&["--answer or --older"]);

    folder.line(&format!("ledger prove --ledger l --head {new} --older {old} --out c.json")).expect(0);
    let key = folder.line(&format!("ledger check {new} --json")).expect(0).json()[0]["public_key"].clone();
    let trusted = key.as_str().unwrap();
    folder.line(&format!("ledger check {new} --older {old} --proof c.json --trusted-key {trusted}")).expect(0);
    folder.line(&format!("ledger check {old} --older {new} --proof c.json")).expect(1);
    let stranger = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    folder.line(&format!("ledger check {new} --trusted-key {stranger}")).expect(1);
    // The same size again: nothing is new, and the head is not overwritten.
    folder.line("ledger head --ledger l --signing-key s.json").fails_with(&["not overwritten"]);
}

/// Pseudonyms of two keys do not fit each other, and a proof under another key would not hold.
#[test]
fn another_key_is_refused() {
    let folder = setup();
    folder.line("keygen --out other.json --path ledger/1").expect(0);
    append(&folder, &line("answer", "ada")).expect(0);
    let head = head(&folder);
    let kept = folder.read("l/entries.jsonl");
    let other = folder.run_with_stdin("ledger append --ledger l --key other.json".split(' '), &line("more", "ada"));
    other.fails_with(&["ledger l", "another key's"]);
    assert_eq!(folder.read("l/entries.jsonl"), kept);
    let prove = format!("ledger prove --ledger l --head {head} --index 0 --out p.json");
    folder.line(&format!("{prove} --key other.json")).fails_with(&["another key's"]);
    folder.line(&format!("{prove} --key k.json")).expect(0);
    // Nor is it taken where the ledger no longer tells its key.
    std::fs::remove_file(folder.path("l/key.fingerprint")).unwrap();
    for key in ["other.json", "k.json"] {
        let run =
            folder.run_with_stdin(format!("ledger append --ledger l --key {key}").split(' '), &line("more", "ada"));
        run.fails_with(&["ledger l", "key.fingerprint", "restore it"]);
    }
    assert_eq!(folder.read("l/entries.jsonl"), kept);
}

#[test]
fn changed_entries_are_caught() {
    let folder = setup();
    append(&folder, &(0..9).map(|i| line(&format!("answer {i}"), "ada")).collect::<String>()).expect(0);
    let old = head(&folder);
    let kept = folder.read("l/entries.jsonl");
    let rows: Vec<&str> = kept.lines().collect();
    let swapped = [rows[1], rows[0]].into_iter().chain(rows[2..].iter().copied()).collect::<Vec<_>>().join("\n") + "\n";
    let removed = rows[1..].join("\n") + "\n";
    let digit = rows[4].replace("\"index\":4", "\"index\":5");
    let cases = [
        ("changed or removed since", kept.replacen("epoch/1", "epoch/2", 1)),
        ("changed or removed since", rows[..8].join("\n") + "\n"),
        ("entry 0: it says that it is entry 1", swapped),
        ("entry 0: it says that it is entry 1", removed),
        ("entry 4: it says that it is entry 5", kept.replace(rows[4], &digit)),
        ("entry 0", kept.replacen(':', ": ", 1)),
        ("entry 0", kept.replacen("{", "{\"a\":1,", 1)),
        ("entry 9", kept.clone() + "\n"),
        ("entry 9", kept.clone() + &"x".repeat(5000)),
    ];
    for (says, changed) in &cases {
        assert_ne!(*changed, kept);
        folder.write("l/entries.jsonl", changed);
        append(&folder, "").fails_with(&["l", says]);
        folder.line("ledger head --ledger l --signing-key s.json").fails_with(&[says]);
    }
    // Somebody who owns ledger and signing key rewrites an entry, and hides the old head: it was published.
    std::fs::rename(folder.path(&old), folder.path("published.json")).unwrap();
    folder.write("l/entries.jsonl", &cases[0].1);
    append(&folder, &line("more", "ada")).expect(0);
    let new = head(&folder);
    folder
        .line(&format!("ledger prove --ledger l --head {new} --older published.json --out c.json"))
        .fails_with(&["do not fit the heads"]);
    // A proof from before does not help either.
    folder.write("l/entries.jsonl", &kept);
    std::fs::remove_file(folder.path(&new)).unwrap();
    std::fs::remove_file(folder.path(&new).with_extension("tsq")).unwrap();
    append(&folder, &line("more", "ada")).expect(0);
    let honest = head(&folder);
    folder.line(&format!("ledger prove --ledger l --head {honest} --older published.json --out c.json")).expect(0);
    folder.line(&format!("ledger check {honest} --older published.json --proof c.json")).expect(0);
    let forged = folder.line(&format!("ledger check {honest} --older {honest} --proof c.json")).expect(1);
    assert!(forged.stdout.contains("entries were changed"), "{}", forged.stdout);
}

/// The process is killed while it writes: every acknowledged answer is there, in its place, and the ledger goes on.
/// (That acknowledged lines survive a loss of power rests on fsync, which no test here can cut.)
#[test]
fn killed_under_load_nothing_acknowledged_is_lost() {
    let folder = setup();
    let mut acknowledged: Vec<Value> = Vec::new();
    let mut torn = 0;
    for round in 0..8_u64 {
        let mut child = folder
            .command("ledger append --ledger l --key k.json".split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feeder = std::thread::spawn(move || {
            for i in 0_u64.. {
                if stdin.write_all(line(&format!("answer {round} {i}"), "ada").as_bytes()).is_err() {
                    return;
                }
            }
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            // The last line may be cut.
            stdout
                .lines()
                .map_while(Result::ok)
                .filter_map(|line| serde_json::from_str(&line).ok())
                .collect::<Vec<Value>>()
        });
        std::thread::sleep(Duration::from_millis(150 + 37 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        feeder.join().unwrap();
        let seen = reader.join().unwrap();
        acknowledged.extend(seen);
        let entries = std::fs::read_to_string(folder.path("l/entries.jsonl")).unwrap_or_default();
        torn += u32::from(!entries.ends_with('\n'));
        let rows: Vec<&str> = entries.lines().collect();
        for receipt in &acknowledged {
            let row = rows[usize::try_from(receipt["index"].as_u64().unwrap()).unwrap()];
            assert_eq!(receipt["leaf"], leaf(row), "round {round}");
        }
    }
    // A busy machine may be too slow for a round, not for all.
    assert!(!acknowledged.is_empty(), "nothing was acknowledged");
    // A torn last line by hand, since a kill between two parts of one write is rare.
    let whole = folder.read("l/entries.jsonl");
    let whole = &whole[..whole.rfind('\n').unwrap() + 1];
    folder.write("l/entries.jsonl", whole.to_owned() + "{\"account\":\"12");
    let next = append(&folder, &line("after", "ada")).expect(0).json();
    assert_eq!(next[0]["index"].as_u64().unwrap() as usize, whole.lines().count());
    assert!(folder.read("l/entries.jsonl").starts_with(whole));
    head(&folder);
    let _ = writeln!(std::io::stderr(), "killed 8 times: {} acknowledged, {torn} torn lines", acknowledged.len());
}

#[test]
fn input_that_cannot_be_kept_is_named() {
    let folder = setup();
    let input = line("good", "ada")
        + "not JSON\n{\"answer\": \"secret words\"}\n"
        + &line("good too", "ada").replace("epoch/1", "Epoch 1")
        + &line("whose", "")
        + &line("last", "ada");
    let run = append(&folder, &input).expect(2);
    assert_eq!(run.json().len(), 2);
    for says in ["line 2:", "line 3:", "line 4: \"key\" is not a key path", "line 5: \"account\" is empty"] {
        assert!(run.stderr.contains(says), "{}", run.stderr);
    }
    assert!(!run.stderr.contains("secret words"));
    folder.line("ledger append --ledger l --key s.json").fails_with(&["s.json"]);
    std::fs::set_permissions(folder.path("k.json"), PermissionsExt::from_mode(0o644)).unwrap();
    append(&folder, "").fails_with(&["k.json", "chmod 600"]);
    std::fs::set_permissions(folder.path("k.json"), PermissionsExt::from_mode(0o600)).unwrap();
    // One writer at a time.
    let mut child = folder
        .command("ledger append --ledger l --key k.json".split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(line("held", "ada").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut answer).unwrap();
    append(&folder, "").fails_with(&["another process"]);
    // Heads can be signed meanwhile.
    head(&folder);
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes for a ledger: an entry is named, or the file is an unfinished first line; no panic.
    #[test]
    fn hostile_ledgers(mut bytes in prop::collection::vec(any::<u8>(), 0..300), end in any::<bool>()) {
        thread_local!(static FOLDER: Folder = { let folder = setup(); append(&folder, "").expect(0); folder });
        FOLDER.with(|folder| {
            bytes.extend(end.then_some(b'\n'));
            folder.write("l/entries.jsonl", &bytes);
            let run = append(folder, "");
            assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
            match bytes.contains(&b'\n') {
                true => run.fails_with(&["entry 0"]),
                false => assert_eq!((run.code, folder.read("l/entries.jsonl").as_str()), (Some(0), "")),
            }
        });
    }
}
