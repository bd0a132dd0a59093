use serde_json::{Value, json};

use crate::support::Folder;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors");

fn vector(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(format!("{VECTORS}/{name}")).unwrap()).unwrap()
}

fn close(got: &Value, expected: &str) -> bool {
    let (got, expected) = (got.as_f64().unwrap(), expected.parse::<f64>().unwrap());
    (got - expected).abs() <= 1e-9 * expected.abs()
}

/// `detect.json` through the command line with raw PRF keys.
#[test]
fn vectors_with_raw_keys() {
    let folder = Folder::new();
    for (i, row) in vector("detect.json").as_array().unwrap().iter().enumerate() {
        let scheme = row["scheme"].as_str().unwrap();
        let lines: Vec<String> =
            row["docs"].as_array().unwrap().iter().map(|doc| json!({ "tokens": doc }).to_string()).collect();
        let input = folder.write(&format!("{i}.jsonl"), lines.join("\n"));
        let key = folder.write(&format!("{i}.hex"), row["key"].as_str().unwrap());
        let mut arguments = vec![
            "detect".to_owned(),
            format!("--scheme={scheme}"),
            format!("--context-width={}", row["width"]),
            format!("--prf-key-hex=@{}", key.display()),
            "--input-format=tokens".to_owned(),
            "--json".to_owned(),
            input.display().to_string(),
        ];
        match scheme {
            "greenlist" => arguments.push(format!("--gamma={}", row["gamma"].as_str().unwrap())),
            "tournament" => arguments.push(format!("--depth={}", row["depth"])),
            _ => {}
        }
        let run = folder.run(&arguments);
        let [line] = &run.json()[..] else { panic!("one line expected: {run:?}") };
        let statistic = ["sum_q32", "green", "ones"].iter().find_map(|name| row.get(*name)).unwrap();
        let statistic = statistic.as_str().map_or_else(|| statistic.to_string(), str::to_owned);
        assert_eq!(line["statistic"], json!(statistic));
        assert_eq!(line["n_scored"], row["n"]);
        assert_eq!(line["scheme"], row["scheme"]);
        assert!(close(&line["log10_p"], row["log10_p"].as_str().unwrap()), "{line} {row}");
        match row.get("ln_e") {
            Some(ln_e) => assert!(close(&line["ln_e"], ln_e.as_str().unwrap())),
            None => assert!(line["ln_e"].is_f64()),
        }
        let resampled = line["log10_p_resampled"].as_f64().unwrap();
        assert!((-3.0..=0.0).contains(&resampled) && line["layer"].is_null());
        let detected = line["log10_p"].as_f64().unwrap() <= -6.0;
        assert_eq!(line["verdict"], if detected { "detected" } else { "not_detected" });
        run.expect(if detected { 0 } else { 1 });
    }
}

/// Where nothing can be read there is no table that looks like a result.
#[test]
fn no_result_without_input() {
    let folder = Folder::new();
    folder.line("profile new --out p.json").expect(0);
    folder.line("keygen --out k.json").expect(0);
    folder.write("empty.txt", "");
    for input in ["missing.txt", "empty.txt", "missing.txt empty.txt"] {
        let run = folder.line(&format!("detect --profile p.json --key k.json {input}")).expect(2);
        assert!(run.stdout.is_empty() && run.stderr.contains("there is no result"), "{run:?}");
    }
    folder.write("some.txt", "Some text with more than a few words in it, and nothing else.");
    let run = folder.line("detect --profile p.json --key k.json missing.txt some.txt").expect(2);
    assert!(run.stdout.contains("distillation") && run.stderr.contains("the results are of the rest"), "{run:?}");
    // Which places were looked at for a tokenizer.
    let mut other: Value = serde_json::from_str(&folder.read("p.json")).unwrap();
    other["tokenizer"]["sha256"] = "0".repeat(64).into();
    folder.write("o.json", other.to_string());
    folder
        .line("detect --profile o.json --key k.json some.txt")
        .fails_with(&["tokenizer.json is not there", "embedded one"]);
}

/// `weighted.json` through the command line: totals, weighted statistic and bound.
#[test]
fn weighted_vectors() {
    let folder = Folder::new();
    for (i, row) in vector("weighted.json").as_array().unwrap().iter().enumerate() {
        let lines: Vec<String> = row["records"].as_array().unwrap().iter().map(Value::to_string).collect();
        let input = folder.write(&format!("{i}.jsonl"), lines.join("\n"));
        let key = folder.write(&format!("{i}.hex"), row["key"].as_str().unwrap());
        let arguments = format!(
            "detect --scheme greenlist --gamma 0.5 --context-width 1 --prf-key-hex @{} --input-format tokens --json \
             --exclude record --weights sqrt {}",
            key.display(),
            input.display()
        );
        let run = folder.line(&arguments);
        let line = &run.json()[0];
        for (total, field) in [
            ("scored", "n_scored"),
            ("duplicate", "n_duplicate"),
            ("excluded", "n_excluded"),
            ("short_context", "n_short_context"),
        ] {
            assert_eq!(line[field], row["totals"][total], "{field}");
        }
        assert_eq!(line["statistic"], row["statistic_sqrt"]);
        assert!(close(&line["log10_p"], row["log10_p_sqrt"].as_str().unwrap()), "{line}");
        assert!(line["ln_e"].is_null());
        let plain = folder.line(&arguments.replace("--weights sqrt", "--weights none"));
        assert_eq!(plain.json()[0]["statistic"], json!(row["green"].to_string()));
        assert!(close(&plain.json()[0]["log10_p"], row["log10_p_distinct"].as_str().unwrap()));
    }
}

const RAW: &str =
    "detect --scheme greenlist --gamma 0.5 --context-width 1 --prf-key-hex @key --input-format tokens --json";

fn folder_with_key() -> Folder {
    let folder = Folder::new();
    folder.write("key", "0b".repeat(32));
    folder
}

/// Every position falls into exactly one class; prompts exclude in their own record only.
#[test]
fn per_record_lines_and_prompt_exclusion() {
    let folder = folder_with_key();
    folder.write(
        "in.jsonl",
        "{\"id\": \"a\", \"prompt_tokens\": [1, 2, 3], \"tokens\": [1, 2, 7, 1, 2]}\n{\"tokens\": [1, 2, 9]}\n{\"id\": 5, \"tokens\": []}\n",
    );
    let run = folder.line(&format!("{RAW} --per-record in.jsonl")).expect(1);
    let counts = |line: &Value| {
        ["n_scored", "n_duplicate", "n_excluded", "n_short_context"].map(|name| line[name].as_u64().unwrap())
    };
    let lines = run.json();
    assert_eq!(lines.len(), 4);
    assert_eq!(counts(&lines[0]), [4, 0, 2, 2]); // (2,7) (7,1) (1,2) of the second record, (2,9)
    assert_eq!((counts(&lines[1]), &lines[1]["record"]), ([2, 0, 2, 1], &json!("a")));
    assert_eq!((counts(&lines[2]), &lines[2]["record"]), ([2, 0, 0, 1], &json!("in.jsonl:2")));
    assert_eq!((counts(&lines[3]), &lines[3]["verdict"]), ([0, 0, 0, 0], &json!("inconclusive")));
}

/// `--exclude run`: a pair of any prompt is out in every record, whatever comes first.
#[test]
fn prompts_of_the_whole_run() {
    let folder = folder_with_key();
    folder.write("in.jsonl", "{\"tokens\": [1, 2, 1, 2, 9]}\n{\"prompt_tokens\": [1, 2], \"tokens\": [1, 2, 3]}\n");
    let run = folder.line(&format!("{RAW} --exclude run --per-record in.jsonl")).expect(1);
    let counts = |line: &Value| {
        ["n_scored", "n_duplicate", "n_excluded", "n_short_context"].map(|name| line[name].as_u64().unwrap())
    };
    let lines = run.json();
    assert_eq!(counts(&lines[0]), [3, 0, 3, 2]); // (2,1) (2,9) (2,3); (1,2) three times
    assert_eq!(counts(&lines[1]), [2, 0, 2, 1]);
    assert_eq!(counts(&lines[2]), [1, 0, 1, 1]);
    let own = folder.line(&format!("{RAW} in.jsonl")).expect(1);
    assert_eq!(counts(&own.json()[0]), [4, 1, 1, 2]);
}

#[test]
fn standard_input_and_gzip() {
    let folder = folder_with_key();
    let tokens = "{\"tokens\": [1, 2, 3, 1, 2]}\n";
    let piped = folder.run_with_stdin(format!("{RAW} -").split(' '), tokens).expect(1);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, tokens.as_bytes()).unwrap();
    folder.write("in.bin", gzip.finish().unwrap());
    assert_eq!(folder.line(&format!("{RAW} in.bin")).expect(1).stdout, piped.stdout);
    folder.line(&format!("{RAW} - -")).fails_with(&["named twice"]);
}

/// Bad records never stop a run: the results of the others come first, then exit 2.
#[test]
fn bad_records_are_named_and_counted() {
    let folder = folder_with_key();
    folder.write("in.jsonl", "{\"tokens\": [1, 2]}\n{\"tokens\": [1, 16777216]}\nnot json\n{\"tokens\": [1, 2\n");
    let run = folder.line(&format!("{RAW} in.jsonl"));
    assert_eq!(run.json().len(), 1);
    run.fails_with(&["in.jsonl:2", "16777216", "in.jsonl:3", "in.jsonl:4", "3 records could not be used"]);
    folder.line(&format!("{RAW} --max-bad-records 3 in.jsonl")).expect(1);
}

#[test]
fn bad_input_is_explained() {
    let folder = folder_with_key();
    folder.write("empty", "");
    folder.write("ok.jsonl", "{\"tokens\": [1]}");
    folder.write("text.txt", "some text");
    folder.write("latin", b"caf\xe9 au lait");
    folder.write("badkey", "xyz");
    folder.line(&format!("{RAW} empty")).fails_with(&["empty", "no records"]);
    folder.line(&format!("{RAW} missing.jsonl")).fails_with(&["missing.jsonl"]);
    // What could be read is reported all the same.
    let some = folder.line(&format!("{RAW} ok.jsonl missing.jsonl"));
    assert_eq!(some.json().len(), 1);
    some.fails_with(&["missing.jsonl"]);
    let raw = RAW.replace("--input-format tokens", "--tokenizer tok.json");
    folder.write("tok.json", "{}");
    folder.line(&format!("{raw} text.txt")).fails_with(&["tok.json", "tokenizer"]);
    folder.line(&RAW.replace("--input-format tokens", "text.txt")).fails_with(&["--tokenizer"]);
    folder.line(&format!("{} ok.jsonl", RAW.replace("@key", "@badkey"))).fails_with(&["64 hexadecimal digits"]);
    folder
        .line(&format!("{} ok.jsonl", RAW.replace("greenlist", "sparkle")))
        .fails_with(&["sparkle", "greenlist, gumbel, gumbel_dual_key"]);
    folder.line(&format!("{} ok.jsonl", RAW.replace("0.5", "1.5"))).fails_with(&["gamma is 1.5"]);
    folder.line(&format!("{} ok.jsonl", RAW.replace("width 1", "width 9"))).fails_with(&["context width 9"]);
    folder.line(&format!("{} ok.jsonl", RAW.replace("--gamma 0.5", ""))).fails_with(&["needs gamma"]);
    folder.line(&format!("{RAW} --locate --weights sqrt ok.jsonl")).fails_with(&["--locate", "--weights"]);
    folder.line(&format!("{RAW} --alpha 2 ok.jsonl")).fails_with(&["--alpha: alpha is 2"]);
    folder.line(&format!("{RAW} --resample 1000001 ok.jsonl")).fails_with(&["--resample", "at most 1000000"]);
    let gumbel = "detect --input-format tokens --engine vllm --engine-key 7";
    folder.line(&format!("{gumbel} --weighted ok.jsonl")).fails_with(&["--weighted does not apply"]);
    folder.line(&format!("{gumbel} --depth 2.5 ok.jsonl")).fails_with(&["--depth has the wrong type"]);
    folder.line("detect ok.jsonl").fails_with(&["--scheme"]);
    let profile_new = folder.line("profile new --out lab.profile.json").expect(0);
    assert!(profile_new.stdout.contains("lab.profile.json"));
    folder.line("keygen --out lab.key.json").expect(0);
    folder.line("detect --profile lab.profile.json --key lab.key.json latin").fails_with(&["latin", "UTF-8"]);
    folder.line("detect --profile lab.profile.json --key lab.key.json --input-format tokens ok.jsonl --json").expect(1);
    folder.write("large.jsonl", "{\"tokens\": [1, 999999]}");
    folder
        .line("detect --profile lab.profile.json --key lab.key.json --input-format tokens large.jsonl")
        .fails_with(&["large.jsonl:1", "tokens[1] is 999999", "vocab_size"]);
}

#[test]
fn a_key_on_the_command_line_is_warned_about_and_never_repeated() {
    let folder = folder_with_key();
    folder.write("in.jsonl", "{\"tokens\": [1, 2]}");
    let hex = "0b".repeat(32);
    let run = folder.line(&format!("{} in.jsonl", RAW.replace("@key", &hex))).expect(1);
    assert!(run.stderr.contains("process list"));
    let wrong = folder.line(&format!("{} in.jsonl", RAW.replace("@key", &format!("{hex}0b"))));
    assert!(!format!("{run:?}{wrong:?}").contains("0b0b"));
    wrong.fails_with(&["64 hexadecimal digits"]);
}
