//! Inputs that are broken or were made to harm: a clear message, exit code 2, no panic, and the rest is scanned.

use std::os::unix::fs::symlink;

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;

use crate::support::Folder;

fn setup() -> Folder {
    let folder = Folder::new();
    folder.line("profile new --out p.json").expect(0);
    folder.line("keygen --out k.json").expect(0);
    folder
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const LINES: &str = "{\"text\": \"One good record before.\"}\n{\"text\": \"And another.\"}\n";

#[test]
fn every_hostile_file_is_named_and_the_rest_is_scanned() {
    let folder = setup();
    let noise: Vec<u8> = (0..60_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let long: String = noise.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    let long = format!("{LINES}{{\"text\": \"{long}\"}}\n");
    let (gz, zst) = (gzip(long.as_bytes()), zstd::encode_all(long.as_bytes(), 3).unwrap());
    let window = b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"; // a frame that asks for a window of 2 GiB
    let thrift = [&b"PAR1"[..], &[0xff; 64], &0x7fff_ffff_u32.to_le_bytes(), b"PAR1"].concat();
    let deep = format!("{LINES}{{\"messages\": {}\n{LINES}", "[".repeat(1 << 20));
    // Whoever made it can choose which of the two answers is seen.
    let both = r#"{"messages": [{"role": "assistant", "content": "Shown."}], "completion": "Hidden."}"#;
    std::fs::create_dir(folder.path("in")).unwrap();
    let files: [(&str, Vec<u8>, &str); 17] = [
        ("cut.gz", gz[..gz.len() / 2].to_vec(), "ends too early"),
        ("cut.zst", zst[..zst.len() / 2].to_vec(), "ends too early"),
        ("window.zst", window.to_vec(), "larger window"),
        ("garbage.zst", [&zst[..], b"garbage"].concat(), "damaged"),
        ("cut.parquet", b"PAR1\x15\x04\x15\x10".to_vec(), "Parquet"),
        ("claims.parquet", thrift, "Parquet"),
        ("array.json", b"[{\"text\": \"One.\"}, {\"text\": \"Tw".to_vec(), "ends early"),
        ("zip", b"PK\x03\x04\x14\0\0\0".to_vec(), "zip archive"),
        ("utf16.txt", b"\xff\xfeo\0n\0e\0".to_vec(), "UTF-16"),
        ("deep.jsonl", deep.into_bytes(), "not valid JSON"),
        ("utf8.jsonl", [LINES.as_bytes(), b"{\"text\": \"\xff\"}\n", LINES.as_bytes()].concat(), "not UTF-8"),
        ("latin.txt", b"caf\xe9 au lait".to_vec(), "not UTF-8"),
        ("surrogate.jsonl", format!("{LINES}{{\"text\": \"\\ud800 x\"}}\n").into_bytes(), "surrogate"),
        ("two.jsonl", format!("{LINES}{both}\n").into_bytes(), "both hold generated text"),
        ("nul.txt", b"text\0text".to_vec(), "NUL"),
        ("nul.jsonl", format!("{LINES}\0\0\0\0\n").into_bytes(), "JSON"),
        ("half.jsonl", format!("{LINES}{{\"text\": \"cut o").into_bytes(), "truncated"),
    ];
    for (name, bytes, _) in &files {
        folder.write(&format!("in/{name}"), bytes);
    }
    folder.write("in/empty", "");
    let run = folder.line("scan --profile p.json --key k.json --out run in").expect(2);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    let skipped = folder.read("run/skipped.jsonl");
    let result: Value = serde_json::from_str(&folder.read("run/result.json")).unwrap();
    for (name, _, says) in &files {
        let errors: Vec<&str> = run.stderr.lines().chain(skipped.lines()).filter(|line| line.contains(name)).collect();
        assert!(errors.iter().any(|line| line.contains(says)), "{name} {says:?}: {errors:?}\n{}", run.stderr);
        // Alone it fails the same way.
        folder.line(&format!("scan --profile p.json --key k.json --out only-{name} in/{name}")).expect(2);
    }
    assert_eq!(result["totals"]["unread_inputs"], 9);
    assert!(result["totals"]["texts"].as_u64() > Some(12));
    assert!(!skipped.contains("good record"), "{skipped}");
    let records: u64 =
        folder.json_lines("run/sources.jsonl").iter().map(|input| input["records"].as_u64().unwrap()).sum();
    assert_eq!(records, result["totals"]["records"].as_u64().unwrap());
}

#[test]
fn one_line_of_a_hundred_megabytes() {
    let folder = setup();
    let mut bytes = Vec::from(LINES);
    bytes.extend(b"{\"text\": \"");
    bytes.resize(100 << 20, b'x');
    bytes.extend(format!("\"}}\n{LINES}").as_bytes());
    folder.write("long.jsonl", bytes);
    folder.line("scan --profile p.json --key k.json --out run long.jsonl").fails_with(&["1 records"]);
    assert!(folder.read("run/skipped.jsonl").contains("TooLong"));
    folder.line("scan --profile p.json --key k.json --out run --max-bad-records 1 long.jsonl").expect(1);
}

#[test]
fn ids_out_of_range() {
    let folder = setup();
    folder.write(
        "ids.jsonl",
        "{\"tokens\": [5, 6, 2048]}\n{\"tokens\": [5, 6, 7]}\n{\"tokens\": [4294967296]}\n{\"input_ids\": [-1]}\n",
    );
    let run = folder.line("scan --profile p.json --key k.json --out run --input-format tokens ids.jsonl");
    run.fails_with(&["3 records"]);
    let skipped = folder.read("run/skipped.jsonl");
    assert!(skipped.contains("not below vocab_size 2048") && skipped.contains("4294967296"), "{skipped}");
    assert!(folder.read("run/result.json").contains("\"tokens\": 3"));
}

#[test]
fn inputs_that_are_no_files() {
    let folder = setup();
    std::fs::create_dir_all(folder.path("loop/below")).unwrap();
    folder.write("loop/a.txt", "text");
    symlink("..", folder.path("loop/below/up")).unwrap();
    symlink("self", folder.path("self")).unwrap();
    std::fs::create_dir(folder.path("nothing")).unwrap();
    let scan = |input: &str| folder.line(&format!("scan --profile p.json --key k.json --out run {input}"));
    scan("loop").fails_with(&["loop/below/up", "contains it"]);
    scan("self").fails_with(&["self", "leads nowhere"]);
    scan("missing.jsonl").fails_with(&["missing.jsonl does not exist"]);
    scan("*.parquet").fails_with(&["no file matches *.parquet"]);
    scan("nothing").fails_with(&["no files"]);
    scan("/dev/zero").fails_with(&["no regular file", "standard input"]);
    scan("- -").fails_with(&["named twice"]);
    scan("--field text a").fails_with(&["begins with /"]);
    scan("--memory 0 a").fails_with(&["bytes"]);
}

/// An input that somebody writes to, or takes away, while it is scanned: what was read belongs to no digest.
#[test]
fn files_that_grow_or_vanish() {
    let folder = setup();
    for (name, change, says) in [
        (
            "grows",
            (|path| std::fs::write(path, LINES).unwrap()) as fn(&std::path::Path),
            "changed while it was scanned",
        ),
        ("vanishes", |path| std::fs::remove_file(path).unwrap(), "is gone"),
    ] {
        let input = folder.write(&format!("{name}.jsonl"), LINES.repeat(40_000));
        // Small shards, each of which goes to the disk, take their time.
        let arguments = format!("scan --profile p.json --key k.json --shard-size 2K --out {name}.run {name}.jsonl");
        let child =
            folder.command(arguments.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while std::fs::read_dir(folder.path(&format!("{name}.run/shards"))).map_or(0, Iterator::count) < 4 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        change(&input);
        folder.ended(child).fails_with(&[name, says]);
        assert!(!folder.path(&format!("{name}.run/result.json")).exists());
    }
}
