use serde_json::{Value, json};
use watermark_lab::prompts::word_problems;

use crate::evidence::write_transcript;
use crate::support::Folder;

/// A suspect that is the teacher itself (its answers carry the mark in full), and an innocent model.
fn setup() -> Folder {
    let folder = Folder::new();
    folder.line("profile new --out p.json --provenance none").expect(0);
    folder.line("profile new --out honeypot.json --provenance none --path epoch/1/honeypot").expect(0);
    folder.line("keygen --out k.json").expect(0);
    folder.write("prompts.txt", word_problems(79, 60).join("\n"));
    let mark = "mark --profile p.json --key k.json --prompts prompts.txt --max-tokens 80 --seed 5";
    folder.line(&format!("{mark} --out suspect.jsonl")).expect(0);
    folder.line(&format!("{mark} --out clean.jsonl --unmarked")).expect(0);
    folder
}

fn records(folder: &Folder, name: &str) -> Vec<Value> {
    folder.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

#[test]
fn answers_with_controls_and_reserved_keys() {
    let folder = setup();
    let test_model = "test-model --profile p.json --key k.json --json";
    let found = folder.line(&format!("{test_model} --answers suspect.jsonl --controls clean.jsonl")).expect(0).json();
    let line = &found[0];
    assert_eq!([&line["verdict"], &line["decided_by"], &line["keys"]], ["detected", "log10_p", "shared"]);
    assert_eq!(line["controls"][0]["name"], "clean.jsonl");
    assert_eq!([&line["controls_agree"], &line["resampling_decides"]], [true, true]);
    assert!(line["log10_p"].as_f64().unwrap() < -20.0 && line["log10_p_resampled"].as_f64().unwrap() <= -2.9, "{line}");
    assert_eq!(line["collection"], "not independently witnessed");
    let positions: u64 =
        ["n_scored", "n_duplicate", "n_excluded", "n_short_context"].iter().map(|n| line[*n].as_u64().unwrap()).sum();
    assert_eq!(positions, line["tokens"].as_u64().unwrap());

    // Same bytes again, by the command's alias; a control that carries the mark; a clean suspect; keys that this traffic never had.
    let alias = test_model.replace("test-model", "distill");
    let again = folder.line(&format!("{alias} --answers suspect.jsonl --controls clean.jsonl")).expect(0);
    assert_eq!(again.json(), found);
    let odd = folder.line(&format!("{test_model} --answers suspect.jsonl --controls suspect.jsonl")).expect(1).json();
    assert_eq!([&odd[0]["verdict"], &odd[0]["controls_agree"]], [&json!("inconclusive"), &json!(false)]);
    let clean = folder.line(&format!("{test_model} --answers clean.jsonl")).expect(1).json();
    assert_eq!(clean[0]["verdict"], "not_detected");
    let effect = clean[0]["smallest_effect"]["value"].as_f64().unwrap();
    assert!(effect > 0.5 && effect < 0.65, "{clean:?}");
    assert!(line["smallest_effect"].is_null());
    let both = folder.line(&format!("{test_model} --answers suspect.jsonl --reserved honeypot.json")).expect(0).json();
    let conclusion = |line: &Value| [line["keys"].clone(), line["verdict"].clone(), line["family_size"].clone()];
    assert_eq!(conclusion(&both[0]), [json!("shared"), json!("detected"), json!(2)]);
    assert_eq!(conclusion(&both[1]), [json!("reserved"), json!("not_detected"), json!(2)]);
    let table =
        folder.line("test-model --profile p.json --key k.json --answers suspect.jsonl --reserved honeypot.json");
    for part in ["No controls", "Reserved keys served", "does not say", "not independently witnessed"] {
        assert!(table.stdout.contains(part), "{part}: {table:?}");
    }
}

/// Log-probabilities in ids and in text pieces give the same test; a choice of probability one is an answer.
#[test]
fn log_probabilities_in_ids_and_in_pieces() {
    let folder = setup();
    let suspect = records(&folder, "suspect.jsonl");
    let ids = |record: &Value| -> Vec<u32> { serde_json::from_value(record["tokens"].clone()).unwrap() };
    let in_ids: Vec<Value> = suspect
        .iter()
        .map(|record| {
            let choices: Vec<Value> = ids(record).iter().map(|id| json!([[id, 0.0]])).collect();
            json!({"prompt_tokens": record["prompt_tokens"], "tokens": record["tokens"], "choices": choices})
        })
        .collect();
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(watermark_lab::shipped::tokenizer_json()).unwrap();
    // It would trim spaces off the offsets; servers do not.
    tokenizer.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
    let in_pieces: Vec<Value> = suspect
        .iter()
        .map(|record| {
            let text = record["completion"].as_str().unwrap();
            let encoding = tokenizer.encode(text, false).unwrap();
            let at = |&(from, to): &(usize, usize)| json!({"at": from, "top": [[&text[from..to], 0.0], ["two words", -9.0]]});
            let positions: Vec<Value> = encoding.get_offsets().iter().map(at).collect();
            json!({"prompt": record["prompt"], "text": text, "positions": positions})
        })
        .collect();
    folder.write("ids.jsonl", lines(&in_ids));
    folder.write("pieces.jsonl", lines(&in_pieces));
    let test_model = |access: &str, name: &str| {
        let line = format!("test-model --profile p.json --key k.json --json --resample 0 {access} {name}");
        folder.line(&line).expect(0).json().remove(0)
    };
    // Text is tokenised anew, which need not give the ids that were drawn.
    let (answers, drawn) =
        (test_model("--answers", "suspect.jsonl"), test_model("--input-format tokens --answers", "suspect.jsonl"));
    let (ids, pieces) = (test_model("--logprobs", "ids.jsonl"), test_model("--logprobs", "pieces.jsonl"));
    for field in ["n_scored", "score", "verdict", "log10_p_distinct"] {
        assert_eq!(ids[field], drawn[field], "{field}");
    }
    // A piece that shares a character with the next one, or is no token by itself, is left out; hardly any is.
    let n = |line: &Value| line["n_scored"].as_u64().unwrap();
    assert!(n(&pieces) <= n(&answers) && n(&pieces) + 10 >= n(&answers), "{pieces} {answers}");
    assert_eq!(pieces["verdict"], answers["verdict"]);
    assert_eq!(ids["access"], "logprobs");
}

/// Beside the same model without a mark: by its answers, and by its probabilities along the texts of suspect and control, in ids or pieces.
#[test]
fn beside_references() {
    let folder = setup();
    let (suspect, clean) = (records(&folder, "suspect.jsonl"), records(&folder, "clean.jsonl"));
    let ids = |record: &Value| -> Vec<u32> { serde_json::from_value(record["tokens"].clone()).unwrap() };
    // A poor model that finds every token as likely as another one, which says enough here.
    let uniform = |records: &[Value]| -> Vec<Value> {
        let row = |id: &u32| json!([[id, -0.7], [(id + 1) % 2048, -0.7]]);
        let along = |record: &Value| {
            let choices: Vec<Value> = ids(record).iter().map(row).collect();
            json!({"prompt_tokens": record["prompt_tokens"], "tokens": record["tokens"], "choices": choices})
        };
        records.iter().map(along).collect()
    };
    folder.write("along.jsonl", lines(&[uniform(&suspect), uniform(&clean)].concat()));
    folder.write("partly.jsonl", lines(&uniform(&suspect)[1..]));
    let test_model = |line: &str| folder.line(&format!("test-model --profile p.json --key k.json --json {line}"));
    let alone = test_model("--answers suspect.jsonl").expect(0).json().remove(0);
    let line = test_model("--answers suspect.jsonl --reference clean.jsonl").expect(0).json().remove(0);
    assert_eq!([&line["verdict"], &line["weights"], &alone["weights"]], ["detected", "residual", "sqrt"]);
    let [reference] = line["references"].as_array().unwrap().as_slice() else { panic!("{line}") };
    assert_eq!(
        [&reference["name"], &reference["shows"], &reference["share"]],
        [&json!("clean.jsonl"), &json!("answers"), &json!(16)]
    );
    assert_eq!(reference["sha256"].as_str().unwrap().len(), 64);
    assert!(line["log10_p"].as_f64().unwrap() < -20.0 && line["log10_p_resampled"].as_f64().unwrap() <= -2.9, "{line}");
    assert!(line["references_agree"] == true && line["references_log10_p"].as_f64().unwrap() > -3.0, "{line}");
    assert!(alone["references_log10_p"].is_null() && line["smallest_effect"].is_null() && line["looks"].is_null());
    // The mirror: an innocent model beside one that carries the mark.
    let mirror = test_model("--answers clean.jsonl --reference suspect.jsonl").expect(1).json().remove(0);
    assert!(mirror["log10_p"].as_f64().unwrap() > -1.0, "{mirror}");

    let tokens = "--input-format tokens --answers suspect.jsonl --controls clean.jsonl --resample 0";
    let along = test_model(&format!("{tokens} --reference along.jsonl")).expect(0).json().remove(0);
    assert_eq!([&along["verdict"], &along["references"][0]["shows"]], ["detected", "probabilities"]);
    assert!(along["controls"][0]["log10_p"].as_f64().unwrap() > -2.0, "{along}");
    let alone = "--input-format tokens --answers suspect.jsonl --resample 0";
    let mixed =
        test_model(&format!("{alone} --reference along.jsonl --reference clean.jsonl")).expect(0).json().remove(0);
    let shares: u64 = mixed["references"].as_array().unwrap().iter().map(|of| of["share"].as_u64().unwrap()).sum();
    assert_eq!(shares, 16, "{mixed}");
    let table = folder.line("test-model --profile p.json --key k.json --answers suspect.jsonl --reference clean.jsonl");
    for part in
        ["Reference clean.jsonl: answers, 60 texts, 100 %", "what would show a reference that was chosen with the key"]
    {
        assert!(table.stdout.contains(part), "{part}: {table:?}");
    }

    test_model(&format!("{tokens} --reference partly.jsonl"))
        .fails_with(&["partly.jsonl has no probabilities along a text"]);
    test_model(&format!("{alone} --reference clean.jsonl --reference clean.jsonl")).fails_with(&["the same bytes"]);
    test_model(&format!("{tokens} --reference clean.jsonl"))
        .fails_with(&["most answers of clean.jsonl are also those of clean.jsonl"]);
    for (name, text, says) in [
        ("both.jsonl", lines(&[vec![clean[0].clone()], uniform(&clean)].concat()), "both answers and probabilities"),
        (
            "other.jsonl",
            lines(&[json!({"prompt_tokens": [5], "tokens": [1, 2, 3]})]),
            "answers none of the suspect's prompts",
        ),
        ("none.jsonl", String::new(), ""),
        (
            "twice.jsonl",
            lines(&[
                json!({"tokens": [1], "choices": [[[1, -0.1]]]}),
                json!({"tokens": [1], "choices": [[[2, -0.1]]]}),
            ]),
            "two different things along one text",
        ),
        ("silent.jsonl", lines(&[json!({"tokens": [1], "choices": [[]]})]), "no probabilities of any token"),
    ] {
        folder.write(name, text);
        test_model(&format!("{alone} --reference {name}")).fails_with(&[name, says]);
    }
    // Rows that are no probabilities are bad records, of a suspect too.
    folder.write("certain.jsonl", lines(&[json!({"tokens": [1], "choices": [[[1, 0.0], [2, -0.5]]]})]));
    folder.write("named.jsonl", lines(&[json!({"tokens": [1], "choices": [[[1, -1.0], [1, -2.0]]]})]));
    test_model("--logprobs certain.jsonl").fails_with(&["certain.jsonl:1", "add up to 1.6"]);
    test_model("--logprobs named.jsonl").fails_with(&["named.jsonl:1", "names a token twice"]);
    test_model("--reading along.jsonl --reference clean.jsonl")
        .fails_with(&["holds answers", "have read the same texts"]);
}

/// A transcript that ended early may have been ended by its evidence: beside a reference, p is that of all planned looks.
#[test]
fn looks_at_a_transcript_that_ended_early() {
    let folder = setup();
    let suspect = records(&folder, "suspect.jsonl");
    write_transcript(&folder.path("early.jsonl"), &suspect, 45, "2026-01-01T00:00:00Z");
    write_transcript(&folder.path("first.jsonl"), &suspect, 5, "2026-01-01T00:00:00Z");
    write_transcript(&folder.path("whole.jsonl"), &suspect, 60, "2026-01-01T00:00:00Z");
    let test_model = |name: &str| {
        let line = format!("test-model --profile p.json --key k.json --json --answers {name} --reference clean.jsonl");
        folder.line(&line).json().remove(0)
    };
    let (early, whole) = (test_model("early.jsonl"), test_model("whole.jsonl"));
    // Of 60 prompts in three rounds, two rounds are complete: looks after one and after two.
    assert_eq!(early["looks"], json!({"taken": 2, "rounds": 2}));
    assert_eq!(
        [&early["verdict"], &early["decided_by"], &whole["looks"]],
        [&json!("detected"), &json!("log10_p"), &json!(null)]
    );
    let text = |record: &Value| json!({"prompt": record["prompt"], "completion": record["completion"]});
    folder.write("forty.jsonl", lines(&suspect[..40].iter().map(text).collect::<Vec<_>>()));
    let (one, all) = (test_model("forty.jsonl")["log10_p"].as_f64().unwrap(), early["log10_p"].as_f64().unwrap());
    assert!((all - one - 6f64.log10()).abs() < 1e-9, "{all} {one}");
    let none = test_model("first.jsonl");
    assert_eq!(
        [&none["looks"]["taken"], &none["looks"]["rounds"], &none["verdict"], &none["n_scored"]],
        [&json!(0), &json!(null), &json!("inconclusive"), &json!(0)]
    );
}

/// Reading: what an innocent reader chooses is not detected, what was served there is; contexts shown before do not count.
#[test]
fn reading() {
    let folder = setup();
    let (served, clean) = (records(&folder, "suspect.jsonl"), records(&folder, "clean.jsonl"));
    let ids = |record: &Value| -> Vec<u32> { serde_json::from_value(record["tokens"].clone()).unwrap() };
    let other: Vec<u32> = clean.iter().flat_map(&ids).collect();
    let read = |choice: &dyn Fn(usize, u32) -> u32| -> String {
        let mut at = 0;
        let records = served.iter().map(|record| {
            let choices: Vec<Value> = ids(record)
                .iter()
                .map(|&id| {
                    at += 1;
                    json!([[choice(at, id), -0.7]])
                })
                .collect();
            json!({"prompt_tokens": record["prompt_tokens"], "tokens": record["tokens"], "choices": choices})
        });
        lines(&records.collect::<Vec<Value>>())
    };
    folder.write("student.jsonl", read(&|_, id| id));
    folder.write("innocent.jsonl", read(&|at, _| other[at % other.len()]));
    let test_model =
        |name: &str| folder.line(&format!("test-model --profile p.json --key k.json --json --reading {name}"));
    let student = test_model("student.jsonl").expect(0).json().remove(0);
    assert_eq!([&student["verdict"], &student["access"]], ["detected", "reading"]);
    assert_eq!([&student["resampling_decides"], &student["decided_by"]], [&json!(false), &json!("ln_e")]);
    assert!(student["n_excluded"].as_u64().unwrap() > 100, "{student}");
    assert_eq!(test_model("innocent.jsonl").expect(1).json()[0]["verdict"], "not_detected");
}

/// An innocent model that repeats marked text out of its prompt, which quotes it: cut differently into tokens at the edges, and
/// still excluded. Without prompts nothing can be, and the table says so.
#[test]
fn a_parrot_is_not_accused() {
    let folder = setup();
    let texts: Vec<String> = records(&folder, "suspect.jsonl")
        .iter()
        .map(|record| record["completion"].as_str().unwrap().to_owned())
        .collect();
    let quoting =
        texts.iter().map(|text| json!({"prompt": format!("Repeat: \"{}\"", text.trim()), "completion": text}));
    folder.write("parrot.jsonl", lines(&quoting.collect::<Vec<_>>()));
    let test_model = "test-model --profile p.json --key k.json --resample 0";
    let parrot = folder.line(&format!("{test_model} --json --answers parrot.jsonl")).expect(1).json().remove(0);
    assert!(parrot["log10_p"].as_f64().unwrap() > -2.0 && parrot["n_scored"].as_u64().unwrap() < 60, "{parrot}");
    assert_eq!(parrot["without_prompt"], 0);
    let bare = texts.iter().map(|text| json!({"text": text}));
    folder.write("bare.jsonl", lines(&bare.collect::<Vec<_>>()));
    let table = folder.line(&format!("{test_model} --answers bare.jsonl"));
    assert!(table.stdout.contains("60 of 60 texts came without a prompt"), "{table:?}");
}

/// While reading, whether the suspect's tokens end where the mark's do depends on our text: every cut needs a prediction.
#[test]
fn reading_needs_a_prediction_at_every_cut() {
    let folder = setup();
    let position = |at: usize| json!({"at": at, "top": [[" has", -0.5]]});
    let read = |cuts: &[usize]| {
        let positions: Vec<Value> = cuts.iter().map(|&at| position(at)).collect();
        json!({"prompt": "p", "text": "Ada has 3", "positions": positions})
    };
    folder.write("every.jsonl", lines(&[read(&[0, 1, 2, 3, 4, 5, 6, 7, 8])]));
    folder.write("some.jsonl", lines(&[read(&[0, 3])]));
    let test_model = "test-model --profile p.json --key k.json --json --reading";
    folder.line(&format!("{test_model} every.jsonl")).expect(1);
    folder.line(&format!("{test_model} some.jsonl")).fails_with(&["some.jsonl:1", "no prediction at byte"]);
}

#[test]
fn wrong_use_is_explained() {
    let folder = setup();
    folder.write(
        "bad.jsonl",
        "{\"tokens\":[1,2],\"choices\":[[]]}\n{\"tokens\":[5000],\"choices\":[[]]}\n{\"text\":\"a\"}\n",
    );
    let test_model = "test-model --profile p.json --key k.json";
    folder.line(&format!("{test_model} --logprobs bad.jsonl")).fails_with(&[
        "bad.jsonl:1",
        "1 rows of \"choices\" for 2 tokens",
        "bad.jsonl:2",
        "vocab_size",
        "bad.jsonl:3",
        "3 records could not be used",
    ]);
    folder.line(&format!("{test_model} --answers suspect.jsonl --reserved p.json")).fails_with(&["same key path"]);
    folder
        .line(&format!("{test_model} --answers suspect.jsonl --layer distillation --layer typo"))
        .fails_with(&["typo"]);
    folder.line(&format!("{test_model} --answers suspect.jsonl --resample 4000000000")).fails_with(&["--resample"]);
    folder.line("profile new --distillation tournament --provenance none --out t.json").expect(0);
    folder.line("test-model --profile t.json --key k.json --answers suspect.jsonl").fails_with(&[
        "distillation",
        "no test of a model",
        "watermark detect",
    ]);
    folder.line(&format!("{test_model} --answers suspect.jsonl --layer nothing")).fails_with(&["no layer", "nothing"]);
    folder.line(&format!("{test_model} --answers clean.jsonl --answers clean.jsonl")).fails_with(&["named twice"]);
    folder.line(&format!("{test_model} --answers missing.jsonl")).fails_with(&["missing.jsonl", "cannot open"]);
    folder.line(test_model).fails_with(&["--answers <FILE>|--logprobs <FILE>|--reading <FILE>"]);
    assert_eq!(folder.line(test_model).code, Some(2));
}
