use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watermark_lab::prompts::word_problems;
use watermark_toolkit::files::read_profile;
use watermark_toolkit::keys::read_key;
use watermark_toolkit::passphrase::Environment;
use watermark_toolkit::read::{InputFormat, Limits, Record, Select, records_of};
use watermark_toolkit::scan::{Keys, Marks, Profiles, attribute};

use crate::support::Folder;

const KEYS: usize = 40;
const PLANTED: [usize; 3] = [4, 17, 31];
/// Prompts that are answered under each planted key, and texts by nobody's key.
const ANSWERS: usize = 12;

/// A corpus with answers under three of forty keys, in several layouts, and unmarked ones of the same model.
fn setup() -> Folder {
    let folder = Folder::new();
    folder.line("profile new --out p.json").expect(0);
    let keys: Vec<String> = (0..KEYS).map(|key| format!("k{key}.json")).collect();
    for (number, key) in keys.iter().enumerate() {
        // The same keys every time, so that what is found does not depend on luck.
        let node = format!("{:064x}", (number as u128 + 1) * 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let path = folder.write(key, json!({"key": "watermark-key/1", "path": "", "node": node}).to_string());
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    folder.write("keys.txt", keys.join("\n") + "\n");
    std::fs::create_dir_all(folder.path("corpus/part")).unwrap();
    let mark = |key: usize, n: usize, more: &str| -> Vec<Value> {
        let out = format!("marked{key}{more}.jsonl");
        folder.write("prompts.txt", word_problems(100 + key as u64, n).join("\n"));
        folder
            .line(&format!(
                "mark --profile p.json --key k{key}.json --prompts prompts.txt --max-tokens 240 --out {out} {more}"
            ))
            .expect(0);
        folder.read(&out).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let lines = |records: &[Value]| records.iter().map(|record| record.to_string() + "\n").collect::<String>();
    let planted = PLANTED.map(|key| mark(key, ANSWERS, ""));
    let plain = mark(0, 4 * ANSWERS, "--unmarked");

    let named: Vec<Value> = planted[0]
        .iter()
        .enumerate()
        .map(|(i, record)| json!({"id": format!("a{i}"), "prompt": record["prompt"], "completion": record["completion"]}))
        .collect();
    // The same documents once more: they must count for nothing.
    folder.write("corpus/a.jsonl", lines(&named) + &lines(&plain) + &lines(&named));
    let chats: Vec<Value> = planted[1]
        .chunks(2)
        .map(|pair| {
            let turns: Vec<Value> = pair
                .iter()
                .flat_map(|record| {
                    [
                        json!({"from": "human", "value": record["prompt"]}),
                        json!({"from": "gpt", "value": record["completion"]}),
                    ]
                })
                .collect();
            json!({ "conversations": turns })
        })
        .collect();
    folder.write("corpus/b.json", Value::from(chats).to_string());
    let zstd: Vec<u8> = zstd::encode_all(lines(&planted[2]).as_bytes(), 3).unwrap();
    folder.write("corpus/part/c.bin", zstd);
    folder.write("corpus/.hidden", "not read");
    folder
}

fn result(folder: &Folder, run: &str) -> Value {
    serde_json::from_str(&folder.read(&format!("{run}/result.json"))).unwrap()
}

/// What must not depend on how the work was done.
fn outputs(folder: &Folder, run: &str) -> [Vec<u8>; 5] {
    ["result.json", "hits.jsonl", "hits.parquet", "sources.jsonl", "skipped.jsonl"]
        .map(|name| std::fs::read(folder.path(&format!("{run}/{name}"))).unwrap())
}

const SCAN: &str = "scan --profile p.json --keys keys.txt --shard-size 8K";

/// Planted keys are found and no other, in the right records; everything adds up; the same bytes for any number of threads,
/// any memory, through standard input of the same bytes, and again from the finished shards.
#[test]
fn planted_keys_are_found_and_nothing_else() {
    let folder = setup();
    folder.line(&format!("{SCAN} --threads 1 --out one corpus")).expect(0);
    let result = result(&folder, "one");
    let detected: BTreeSet<&str> = result["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["verdict"] == "detected")
        .map(|finding| finding["key"].as_str().unwrap())
        .collect();
    let planted: Vec<String> = PLANTED.iter().map(|key| format!("k{key}.json")).collect();
    assert_eq!(detected, planted.iter().map(String::as_str).collect());
    assert_eq!(result["findings"].as_array().unwrap().len(), 2 * KEYS);
    assert_eq!(result["family_size"], 2 * KEYS);

    let totals = &result["totals"];
    assert_eq!(totals["records"], ANSWERS * 2 + 4 * ANSWERS + ANSWERS / 2 + ANSWERS);
    assert_eq!(totals["texts"], ANSWERS * 2 + 4 * ANSWERS + ANSWERS + ANSWERS);
    let tokens = result["tokenizers"][0]["tokens"].as_u64().unwrap();
    let mut sources = folder.json_lines("one/sources.jsonl");
    let strength: Vec<f64> = sources.iter().map(|source| source["marks"][0]["ln_e"].as_f64().unwrap()).collect();
    assert!(strength.is_sorted_by(|a, b| a >= b), "the strongest first: {strength:?}");
    sources.sort_by_key(|source| source["path"].as_str().unwrap().to_owned());
    for (source, key) in sources.iter().zip(&planted) {
        let marks = source["marks"].as_array().unwrap();
        assert!(!marks.is_empty() && marks.iter().all(|mark| mark["key"] == *key), "{source}");
    }
    assert_eq!(sources.iter().map(|source| source["ids"][0]["tokens"].as_u64().unwrap()).sum::<u64>(), tokens);
    let schemas: Vec<&Value> = sources.iter().map(|source| &source["schemas"]).collect();
    assert_eq!(schemas[0], &json!({"prompt/completion": ANSWERS * 6}));
    assert_eq!(schemas[1], &json!({"conversations": ANSWERS / 2}));
    for layer in result["positions"].as_array().unwrap() {
        let parts = ["short_context", "excluded", "duplicate", "scored"].map(|part| layer[part].as_u64().unwrap());
        assert_eq!(parts.iter().sum::<u64>(), tokens, "{layer}");
        assert!(parts[2] > 0, "the repeated documents are duplicates: {layer}");
    }

    let hits = folder.json_lines("one/hits.jsonl");
    let mut found = BTreeSet::new();
    for hit in &hits {
        found.insert((
            hit["key"].as_str().unwrap(),
            hit["file"].as_str().unwrap(),
            hit["record"].as_u64().unwrap(),
            hit["part"].as_u64().unwrap(),
        ));
    }
    let (mut long, mut missed) = (0, Vec::new());
    for (layout, key) in PLANTED.iter().enumerate() {
        let answers = folder.read(&format!("marked{key}.jsonl"));
        for (at, answer) in (0..).zip(answers.lines()) {
            let answer: Value = serde_json::from_str(answer).unwrap();
            // 240 tokens are asked for, but the model ends most answers before 60.
            if answer["tokens"].as_array().unwrap().len() < 40 {
                continue;
            }
            let place = match layout {
                0 => ("corpus/a.jsonl", at + 1, 0),
                1 => ("corpus/b.json", at / 2 + 1, at % 2 + 1),
                _ => ("corpus/part/c.bin", at + 1, 0),
            };
            long += 1;
            if !found.contains(&(planted[layout].as_str(), place.0, place.1, place.2)) {
                missed.push(place);
            }
        }
    }
    assert!(long > 15 && missed.len() * 10 <= long, "of {long} long answers missed: {missed:?}");
    assert!(hits.iter().all(|hit| planted.contains(&hit["key"].as_str().unwrap().to_owned())));
    let first = hits.iter().find(|hit| hit["file"] == "corpus/a.jsonl").unwrap();
    let (from, to) = (first["bytes"][0].as_u64().unwrap() as usize, first["bytes"][1].as_u64().unwrap() as usize);
    let record: Value = serde_json::from_str(&folder.read("corpus/a.jsonl")[from..to]).unwrap();
    assert_eq!((&record["id"], first["record"].as_u64().unwrap() > 0), (&first["id"], true));

    let expected = outputs(&folder, "one");
    folder.line(&format!("{SCAN} --threads 2 --out two corpus")).expect(0);
    assert_eq!(outputs(&folder, "two"), expected);
    folder.line(&format!("{SCAN} --threads 2 --memory 64K --out spilled corpus")).expect(0);
    assert_eq!(outputs(&folder, "spilled"), expected);
    assert!(!folder.path("spilled/spill").exists());
    folder.line(&format!("{SCAN} --out two corpus/b.json corpus/part corpus/a.jsonl")).expect(0);
    assert_eq!(outputs(&folder, "two"), expected);
    let status: Value = serde_json::from_str(&folder.read("two/status.json")).unwrap();
    assert!(status["resumed_shards"].as_u64() > Some(5) && status["resumed_shards"] == status["shards"], "{status}");
    folder.line(&format!("{SCAN} --shard-size 1M --out larger corpus/*.json* corpus/part")).expect(2);
    folder.line("scan --profile p.json --keys keys.txt --out larger corpus").expect(0);
    assert_eq!(outputs(&folder, "larger"), expected);
}

const KILLS: u32 = 50;

/// Killed again and again at any moment, the same command ends with the same bytes.
#[test]
fn kills_change_nothing() {
    let folder = setup();
    folder.write("corpus/a.jsonl", folder.read("corpus/a.jsonl").repeat(20));
    let arguments = format!("{SCAN} --threads 2 --out run corpus");
    let begun = Instant::now();
    folder.line(&format!("{SCAN} --threads 2 --out undisturbed corpus")).expect(0);
    let whole = begun.elapsed().as_secs_f64();
    let expected = outputs(&folder, "undisturbed");
    let (mut kills, mut midway, mut half_done) = (0, 0, false);
    // Durations that repeat nothing: an additive sequence of irrational step. A run that has ended is begun anew.
    let mut fraction = 0.1;
    while kills < KILLS || !half_done {
        kills += 1;
        if folder.path("run/result.json").exists() {
            assert_eq!(outputs(&folder, "run"), expected);
            std::fs::remove_dir_all(folder.path("run")).unwrap();
        }
        fraction = (fraction + 0.618_033_988_749_895_f64) % 1.0;
        let mut child = Command::new(env!("CARGO_BIN_EXE_watermark"))
            .args(arguments.split_whitespace())
            .current_dir(folder.path("."))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_secs_f64(0.4 * whole * fraction));
        child.kill().unwrap();
        child.wait().unwrap();
        let shards = std::fs::read_dir(folder.path("run/shards")).map_or(0, Iterator::count);
        half_done = shards > 1 && !folder.path("run/result.json").exists();
        midway += u32::from(half_done);
    }
    assert!(midway > KILLS / 4, "{midway} of {kills} kills met work half done");
    folder.line(&arguments).expect(0);
    assert_eq!(outputs(&folder, "run"), expected);
    let leftovers = std::fs::read_dir(folder.path("run/shards")).unwrap();
    let extensions: BTreeSet<_> =
        leftovers.map(|entry| entry.unwrap().path().extension().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(extensions, BTreeSet::from(["arrow", "json"].map(str::to_owned)));
    let status: Value = serde_json::from_str(&folder.read("run/status.json")).unwrap();
    assert!(status["resumed_shards"].as_u64() > Some(0), "{status}");
}

/// SIGINT ends the run at a shard boundary with exit code 2, and the run goes on from there.
#[test]
fn an_interrupt_is_a_clean_stop() {
    let folder = setup();
    folder.line(&format!("{SCAN} --out undisturbed corpus")).expect(0);
    let big = folder.read("corpus/a.jsonl").repeat(40);
    folder.write("corpus/a.jsonl", big);
    let arguments = format!("{SCAN} --threads 1 --out run corpus");
    let child =
        folder.command(arguments.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let shards = || std::fs::read_dir(folder.path("run/shards")).map_or(0, Iterator::count);
    while shards() < 6 {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    folder.ended(child).fails_with(&["goes on from here"]);
    assert!(!folder.path("run/result.json").exists());
    let status: Value = serde_json::from_str(&folder.read("run/status.json")).unwrap();
    assert_eq!(status["phase"], "stopped");
    folder.line(&arguments).expect(0);
    let status: Value = serde_json::from_str(&folder.read("run/status.json")).unwrap();
    assert!(status["resumed_shards"].as_u64() > Some(1), "{status}");
}

#[test]
fn only_the_same_run_goes_on() {
    let folder = Folder::new();
    folder.line("profile new --out p.json").expect(0);
    folder.line("profile new --out q.json --name other").expect(0);
    folder.line("keygen --out k.json").expect(0);
    folder.line("keygen --out l.json").expect(0);
    folder.write("a.txt", "Some text of nobody's.");
    folder.write("b.txt", "Another one.");
    let scan = "scan --out run --profile";
    folder.line(&format!("{scan} p.json --key k.json a.txt")).expect(1);
    for (arguments, reason) in [
        ("q.json --key k.json a.txt", "the profile"),
        ("p.json --key l.json a.txt", "keys"),
        ("p.json --key k.json --key l.json a.txt", "keys"),
        ("p.json --key k.json a.txt b.txt", "1 inputs, now there are 2"),
        ("p.json --key k.json b.txt", "b.txt in place of a.txt"),
        ("p.json --key k.json --role user a.txt", "--role"),
    ] {
        folder.line(&format!("{scan} {arguments}")).fails_with(&["cannot be continued", reason]);
    }
    folder.write("a.txt", "Some text of nobody's, changed.");
    folder.line(&format!("{scan} p.json --key k.json a.txt")).fails_with(&["a.txt has changed", "another folder"]);
    std::fs::create_dir(folder.path("full")).unwrap();
    folder.write("full/x", "");
    folder.line("scan --profile p.json --key k.json --out full b.txt").fails_with(&["not empty"]);
    // A damaged shard is done again.
    folder.line("scan --out new --profile p.json --key k.json b.txt").expect(1);
    let before = outputs(&folder, "new");
    let shard = std::fs::read_dir(folder.path("new/shards")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&shard).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    folder.line("scan --out new --profile p.json --key k.json b.txt").expect(1);
    assert_eq!(outputs(&folder, "new"), before);
}

/// One text, from a file and from standard input, gives the statistic that `detect` gives.
#[test]
fn agrees_with_detect() {
    let folder = setup();
    for input in ["corpus/a.jsonl", "corpus/b.json", "corpus/part/c.bin"] {
        let detect = folder.line(&format!("detect --profile p.json --key k17.json --json {input}")).json();
        folder.line(&format!("scan --profile p.json --key k17.json --out {}.run {input}", input.replace('/', "-")));
        let scan = result(&folder, &format!("{}.run", input.replace('/', "-")));
        for ((line, finding), positions) in
            detect.iter().zip(scan["findings"].as_array().unwrap()).zip(scan["positions"].as_array().unwrap())
        {
            for field in ["n_scored", "statistic", "log10_p", "ln_e", "verdict"] {
                assert_eq!(line[field], finding[field], "{input} {field}");
            }
            for (field, position) in
                [("n_duplicate", "duplicate"), ("n_excluded", "excluded"), ("n_short_context", "short_context")]
            {
                assert_eq!(line[field], positions[position], "{input} {field}");
            }
        }
    }
    let text = folder.read("corpus/a.jsonl");
    folder.run_with_stdin("scan --profile p.json --key k4.json --out stdin.run -".split_whitespace(), &text).expect(0);
    let finding = &result(&folder, "stdin.run")["findings"][1];
    folder.line("scan --profile p.json --key k4.json --out file.run corpus/a.jsonl").expect(0);
    assert_eq!(finding, &result(&folder, "file.run")["findings"][1]);
}

/// Three machines without a key and one with it write the bytes that one machine writes alone; whatever is missing, doubled,
/// of another run or damaged is refused with the reason.
#[test]
fn parts_of_several_machines_make_the_same_result() {
    let folder = setup();
    folder.line(&format!("{SCAN} --out alone corpus")).expect(0);
    const PARTIALS: &str = "scan --profile p.json --shard-size 8K --partials";
    for part in 1..=3 {
        folder.line(&format!("{PARTIALS} --shard {part}/3 --out part{part} corpus")).expect(0);
    }
    const MERGE: &str = "merge --profile p.json --keys keys.txt";
    folder.line(&format!("{MERGE} --out merged part3 part1 part2")).expect(0);
    assert_eq!(outputs(&folder, "merged"), outputs(&folder, "alone"));
    folder.line(&format!("{MERGE} --memory 64K --threads 1 --out small part1 part2 part3")).expect(0);
    assert_eq!(outputs(&folder, "small"), outputs(&folder, "alone"));
    // More machines than inputs.
    for part in 1..=4 {
        folder.line(&format!("{PARTIALS} --shard {part}/4 --out of4-{part} corpus")).expect(0);
    }
    folder.line(&format!("{MERGE} --out merged4 of4-1 of4-2 of4-3 of4-4")).expect(0);
    assert_eq!(outputs(&folder, "merged4"), outputs(&folder, "alone"));

    let merge = |parts: &str| folder.line(&format!("{MERGE} --out refused {parts}"));
    merge("part1 part2").fails_with(&["part 3/3 is missing"]);
    merge("part1 part2 part2").fails_with(&["2/3 is given twice"]);
    merge("part1 part2 of4-3").fails_with(&["different readings"]);
    merge("alone").fails_with(&["is no part"]);
    merge("part1 nowhere").fails_with(&["nowhere"]);
    folder.line("profile new --out q.json --name other").expect(0);
    folder
        .line("merge --profile q.json --keys keys.txt --out refused part1 part2 part3")
        .fails_with(&["other profiles"]);
    folder.line("merge --profile p.json --out refused part1 part2 part3").fails_with(&["--key"]);
    folder.line(&format!("{PARTIALS} --key k4.json --out x corpus")).fails_with(&["--partials", "--key"]);
    folder.line("scan --profile p.json --key k4.json --key k4.json --out x corpus").fails_with(&["the same key"]);
    folder.line("scan --profile p.json --key k4.json --shard 1/2 --out x corpus").fails_with(&["--partials"]);
    folder.line(&format!("{PARTIALS} --shard 3/2 --out x corpus")).fails_with(&["1/8 to 8/8"]);
    // A machine that saw one file more.
    folder.write("corpus/d.jsonl", "{\"text\": \"One more.\"}\n");
    folder.line(&format!("{PARTIALS} --shard 3/3 --out other3 corpus")).expect(0);
    merge("part1 part2 other3").fails_with(&["different lists of inputs", "3 files", "4 files"]);
    std::fs::remove_file(folder.path("corpus/d.jsonl")).unwrap();
    // A part that could not use a record says so, as a scan would.
    folder.write("bad.jsonl", "{\"text\": 5}\n");
    folder.line("scan --profile p.json --partials --out bad bad.jsonl").fails_with(&["1 records"]);
    folder.line("scan --profile p.json --partials --out bad --max-bad-records 1 bad.jsonl").expect(0);
    let header = folder.path("part2/shards/000000-000000.json");
    let kept = std::fs::read_to_string(&header).unwrap();
    std::fs::write(&header, kept.replacen("\"records\":", "\"records\":1", 1)).unwrap();
    merge("part1 part2 part3").fails_with(&["part2", "damaged"]);
    std::fs::write(&header, kept).unwrap();
    let shard = folder.path("part2/shards/000000-000000.arrow");
    let mut bytes = std::fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    merge("part1 part2 part3").fails_with(&["part2", "damaged"]);
    folder.line(&format!("{PARTIALS} --shard 2/3 --out part2 corpus")).expect(0);
    folder.line(&format!("{MERGE} --out repaired part1 part2 part3")).expect(0);
    assert_eq!(outputs(&folder, "repaired"), outputs(&folder, "alone"));
}

/// Two deployments with different tokenizers are looked for at once; the family of tests grows accordingly.
#[test]
fn several_profiles_at_once() {
    let folder = setup();
    let tokenizer = watermark_lab::shipped::tokenizer_json();
    // The same vocabulary without the merges that a later tokenizer has.
    let mut other: Value = serde_json::from_slice(tokenizer).unwrap();
    other["model"]["merges"].as_array_mut().unwrap().truncate(600);
    folder.write("other.tokenizer.json", other.to_string());
    folder.line("profile new --tokenizer other.tokenizer.json --name other --path old --out q.json").expect(0);
    let keys = "--key k4.json --key k5.json";
    let both = "scan --profile p.json --profile q.json --tokenizer other.tokenizer.json";
    folder.line(&format!("{both} {keys} --out both corpus")).expect(0);
    let result = result(&folder, "both");
    assert_eq!(result["family_size"], 8);
    assert_eq!(result["tokenizers"].as_array().unwrap().len(), 2);
    let tokens: Vec<u64> = (0..2).map(|at| result["tokenizers"][at]["tokens"].as_u64().unwrap()).collect();
    assert!(tokens[1] > tokens[0], "fewer merges make more tokens: {tokens:?}");
    for layer in result["positions"].as_array().unwrap() {
        let parts = ["short_context", "excluded", "duplicate", "scored"].map(|part| layer[part].as_u64().unwrap());
        let of_profile = tokens[usize::from(layer["profile"] == "other")];
        assert_eq!(parts.iter().sum::<u64>(), of_profile, "{layer}");
    }
    for finding in result["findings"].as_array().unwrap() {
        // The marked share is too small for the distillation layer.
        let marked = finding["key"] == "k4.json" && finding["profile"] != "other" && finding["layer"] == "provenance";
        assert_eq!(finding["verdict"] == "detected", marked, "{finding}");
    }
    // Each half is what it is alone, but for the family.
    folder.line(&format!("scan --profile p.json {keys} --out one corpus")).expect(0);
    let alone = self::result(&folder, "one");
    for finding in alone["findings"].as_array().unwrap() {
        assert!(result["findings"].as_array().unwrap().iter().any(|both| both["statistic"] == finding["statistic"]
            && both["key"] == finding["key"]
            && both["log10_p"] == finding["log10_p"]));
    }
    let scan = |line: &str| folder.line(&format!("scan {line} {keys} --out refused corpus"));
    scan("--profile p.json --profile p.json").fails_with(&["two profiles are named"]);
    scan("--profile q.json").fails_with(&["--tokenizer"]);
    scan("--profile p.json --tokenizer other.tokenizer.json")
        .fails_with(&["other.tokenizer.json", "token ids would not agree"]);
    folder.write("third.json", other.to_string().replace("\"version\":\"1.0\"", "\"version\": \"1.0\""));
    scan("--profile p.json --profile q.json --tokenizer other.tokenizer.json --tokenizer third.json")
        .fails_with(&["third.json", "no profile"]);
    scan("--profile p.json --profile q.json --tokenizer other.tokenizer.json --input-format tokens")
        .fails_with(&["different tokenizers"]);
}

/// Events as JSON lines, the result last; ids that a text was served as are compared with those that it has now.
#[test]
fn events_and_the_loss_by_tokenising_again() {
    let folder = setup();
    let answers: Vec<Value> = folder
        .json_lines("marked4.jsonl")
        .iter()
        .map(|record| json!({"prompt": record["prompt"], "completion": record["completion"], "tokens": record["tokens"]}))
        .collect();
    let issued: usize = answers.iter().map(|answer| answer["tokens"].as_array().unwrap().len()).sum();
    folder.write("answers.jsonl", answers.iter().map(|answer| format!("{answer}\n")).collect::<String>());
    let events = folder.line("scan --profile p.json --key k4.json --out run --json answers.jsonl").expect(0).json();
    let (last, progress) = events.split_last().unwrap();
    assert!(!progress.is_empty() && progress.iter().all(|event| event["event"] == "progress"), "{progress:?}");
    assert!(progress.iter().any(|event| event["mean_ln_e"].as_f64() > Some(5.0)), "evidence so far: {progress:?}");
    assert_eq!(progress.last().unwrap()["phase"], "ended");
    assert_eq!(last["event"], "result");
    assert_eq!(last["result"], result(&folder, "run"));
    let tokenizer = &last["result"]["tokenizers"][0];
    assert_eq!(tokenizer["issued_tokens"], issued);
    let changed = tokenizer["changed_tokens"].as_u64().unwrap() as usize;
    assert!(changed < issued / 4, "{changed} of {issued}");
}

/// Marked under one account's key: that account is found and no other; the layer that all accounts share is tested once.
#[test]
fn accounts_are_told_apart() {
    let folder = Folder::new();
    folder.line("profile new --out p.json").expect(0);
    folder.key_per_account("p.json", "provenance");
    let path =
        folder.write("k.json", json!({"key": "watermark-key/1", "path": "", "node": "5b".repeat(32)}).to_string());
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    folder.write("prompts.txt", word_problems(7, 24).join("\n"));
    folder
        .line(
            "mark --profile p.json --key k.json --account mallory --prompts prompts.txt --max-tokens 200 --out m.jsonl",
        )
        .expect(0);
    let accounts: Vec<String> = (0..30).map(|n| format!("account {n}")).chain(["mallory".to_owned()]).collect();
    folder.write("accounts.txt", accounts.join("\n"));
    folder.line("scan --profile p.json --key k.json --accounts accounts.txt --out run m.jsonl").expect(0);
    let result = result(&folder, "run");
    assert_eq!(result["family_size"], 32, "one test of the shared layer, and 31 accounts");
    assert_eq!(result["keys"], 32);
    for finding in result["findings"].as_array().unwrap() {
        let shared = finding["layer"] == "distillation";
        assert_eq!(finding["key"] == "k.json", shared, "{finding}");
        assert_eq!(finding["verdict"] == "detected", shared || finding["key"] == "mallory", "{finding}");
    }
    for hit in folder.json_lines("run/hits.jsonl") {
        assert!(hit["key"] == "mallory" || hit["key"] == "k.json", "{hit}");
    }
    // Records in memory have the tests of the file.
    let files = vec![(folder.path("p.json"), read_profile(&folder.path("p.json")).unwrap())];
    let profiles = Profiles::for_inputs(files, &[], false).unwrap();
    let node = read_key(&folder.path("k.json"), &Environment).unwrap();
    let keys = Keys::new(&profiles, &[("k.json".to_owned(), node)], Some(&accounts)).unwrap();
    let of_line = |(at, line): (usize, &str)| {
        records_of(line.as_bytes(), at as u64 + 1, InputFormat::Jsonl, &Select::default(), Limits::default()).unwrap()
    };
    let written = folder.read("m.jsonl");
    let records: Vec<Record> = written.lines().enumerate().flat_map(of_line).collect();
    let marks = Marks { profiles: &profiles, keys: &keys };
    let done = AtomicU64::new(0);
    let told = |keys| {
        done.fetch_add(keys, Ordering::Relaxed);
        Ok(())
    };
    let in_memory = attribute(records.clone(), &marks, 1e-6, &told).unwrap();
    let summary: Value = serde_json::from_slice(&in_memory.summary.to_json().unwrap()).unwrap();
    assert_eq!(summary["findings"], result["findings"]);
    assert_eq!(in_memory.hits.len(), folder.json_lines("run/hits.jsonl").len());
    assert_eq!((in_memory.unusable.len(), done.into_inner()), (0, 32));
    let stopped = attribute(records, &marks, 1e-6, &|_| anyhow::bail!("enough")).unwrap_err();
    assert_eq!(stopped.to_string(), "enough");

    let scan = |line: &str| folder.line(&format!("scan --key k.json --accounts accounts.txt --out no {line} m.jsonl"));
    folder.write("accounts.txt", "a\nk.json\n");
    scan("--profile p.json").fails_with(&["both called \"k.json\""]);
    folder.write("accounts.txt", "a\nb\na\n");
    scan("--profile p.json").fails_with(&["\"a\" is named twice"]);
    folder.write("accounts.txt", "a\nb\n");
    folder.line("profile new --out q.json").expect(0);
    scan("--profile q.json").fails_with(&["no layer of the profile has a key per account"]);
    folder.write("q.json", folder.read("q.json").replace("\"default\"", "\"other\""));
    folder
        .line("scan --profile q.json --profile p.json --key k.json --out no m.jsonl")
        .fails_with(&["name the account"]);

    // A test of the layer that all share needs no account, and one would decide nothing.
    let test_model = "test-model --profile p.json --key k.json --layer distillation --resample 0 --answers m.jsonl";
    folder.line(test_model).expect(0);
    folder
        .line(&format!("{test_model} --account mallory"))
        .fails_with(&["no layer that is tested has a key per account"]);
    let of_account = test_model.replace("distillation", "provenance");
    folder.line(&of_account).fails_with(&["name the account"]);
    folder.line(&format!("{of_account} --account mallory")).expect(0);
}

/// An input that ended in an error is read again when the same command is given more memory.
#[test]
fn what_failed_is_tried_again() {
    let folder = Folder::new();
    folder.line("profile new --out p.json").expect(0);
    folder.line("keygen --out k.json").expect(0);
    let text = "{\"text\": \"A record of some length, again and again.\"}\n".repeat(5_000);
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(30).unwrap();
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    folder.write("long.zst", encoder.finish().unwrap());
    let scan = |memory: &str, out: &str| {
        folder.line(&format!("scan --profile p.json --key k.json --memory {memory} --out {out} long.zst"))
    };
    scan("256M", "run").fails_with(&["--memory 2G"]);
    scan("2G", "run").expect(1);
    scan("2G", "fresh").expect(1);
    assert_eq!(outputs(&folder, "run"), outputs(&folder, "fresh"));
    std::fs::write(folder.path("run/spill"), "left by a run that was killed").unwrap();
    scan("2G", "run").expect(1);
    assert!(!folder.path("run/spill").exists());
}
