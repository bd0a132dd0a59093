use std::path::Path;

use serde_json::{Value, json};
use watermark_core::model_test::Collection;
use watermark_lab::prompts::word_problems;
use watermark_toolkit::transcript::{Api, Attempt, Exchange, FORMAT, Header, Writer, prompts_sha256};

use crate::support::Folder;

const LATER: &str = "2100-01-01T00:00:00Z";

/// A suspect that is the teacher itself, a control, committed keys, and an opening of the tested layer.
pub(crate) fn setup() -> Folder {
    let folder = Folder::new();
    folder.line("profile new --out p.json").expect(0);
    // A fixed key: under one of a hundred keys an innocent control has p below 0.01.
    folder.fixed_key("k.json");
    folder.line("key signing --out s.json").expect(0);
    folder.line("key commit --key k.json --profile p.json --signing-key s.json --out commitment").expect(0);
    let open = "key open --openings commitment/openings.json --key k.json --profile p.json";
    folder.line(&format!("{open} --path epoch/1/layer/distillation --out opening.json")).expect(0);
    folder.line(&format!("{open} --path epoch/1/layer/provenance --out other.json")).expect(0);
    folder.write("questions.txt", word_problems(79, 60).join("\n"));
    let mark = "mark --profile p.json --key k.json --prompts questions.txt --max-tokens 80 --seed 5";
    folder.line(&format!("{mark} --out suspect.jsonl")).expect(0);
    folder.line(&format!("{mark} --out clean.jsonl --unmarked")).expect(0);
    let prompts: String = folder
        .json_lines("suspect.jsonl")
        .iter()
        .map(|record| format!("{}\n", json!({"prompt": record["prompt"]})))
        .collect();
    folder.write("prompts.jsonl", prompts);
    folder
}

const REGISTER: &str = "register --suspect acme --control clean --profile p.json --head commitment/head.json --prompts \
                        prompts.jsonl --signing-key s.json";

const EVIDENCE: &str = "evidence --profile p.json --head commitment/head.json --opening opening.json --prompts prompts.jsonl \
                        --answers suspect.jsonl --controls clean.jsonl --signing-key s.json";

fn codes(report: &Value) -> Vec<&str> {
    report["faults"].as_array().unwrap().iter().map(|fault| fault["code"].as_str().unwrap()).collect()
}

fn public_key(folder: &Folder) -> String {
    let head: Value = serde_json::from_str(&folder.read("commitment/head.json")).unwrap();
    head["signatures"][0]["public_key"].as_str().unwrap().to_owned()
}

pub(crate) fn payload(folder: &Folder, name: &str) -> Value {
    use base64::Engine;
    let envelope: Value = serde_json::from_str(&folder.read(name)).unwrap();
    let payload = base64::engine::general_purpose::STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[test]
fn registered_tested_and_verified() {
    let folder = setup();
    folder.line(&format!("{REGISTER} --out registration.json")).expect(0);
    let evidence = format!("{EVIDENCE} --registration registration.json --at {LATER}");
    let run = folder.line(&format!("{evidence} --out e")).expect(0);
    assert!(run.stdout.contains("acme: detected") && run.stdout.contains("discloses"), "{run:?}");
    // Same inputs, same bytes.
    folder.line(&format!("{evidence} --out again")).expect(0);
    for name in ["evidence.json", "suspect.records.jsonl", "control-1.records.jsonl"] {
        assert_eq!(folder.read(&format!("e/{name}")), folder.read(&format!("again/{name}")), "{name}");
    }

    // The numbers are those of `watermark test-model`.
    let statement = payload(&folder, "e/evidence.json");
    let predicate = &statement["predicate"];
    let test_model = "test-model --profile p.json --key k.json --alpha 5e-7 --layer distillation --json --answers suspect.jsonl --controls clean.jsonl";
    let line = folder.line(test_model).expect(0).json().remove(0);
    for field in [
        "n_scored",
        "n_duplicate",
        "n_excluded",
        "n_short_context",
        "score",
        "statistic",
        "log10_p",
        "log10_p_distinct",
        "ln_e",
    ] {
        assert_eq!(predicate["suspect"][field], line[field], "{field}");
    }
    for field in ["decided_by", "controls_agree", "verdict", "smallest_effect"] {
        assert_eq!(predicate[field], line[field], "{field}");
    }
    let control = |line: &Value| line["controls"][0]["log10_p"].as_f64().unwrap().to_bits();
    assert_eq!(control(predicate), control(&line));
    assert_eq!(predicate["resampling"]["keys"], 999);

    // Integrity, trust and result apart.
    let verify = "verify e/evidence.json --json";
    let bare = folder.line(verify).expect(0).json().remove(0);
    assert_eq!(
        [&bare["integrity"], &bare["trust"], &bare["result"]["verdict"]],
        [&json!(true), &json!(null), &json!("detected")]
    );
    assert!(bare["not_checked"].as_array().unwrap().len() >= 4, "{bare}");
    let key = public_key(&folder);
    folder.write("key.txt", format!("{key}\n"));
    let files = "--data suspect.jsonl --data e/control-1.records.jsonl --trusted-key key.txt";
    let full = folder.line(&format!("{verify} {files}")).expect(0).json().remove(0);
    assert_eq!(full["trust"], "trusted");
    assert_eq!(full["recomputed"], json!(["suspect.jsonl", "e/control-1.records.jsonl"]));
    let other = folder.line(&format!("{verify} --trusted-key {}", "d7".to_owned() + &"5a".repeat(31)));
    other.fails_with(&["--trusted-key"]);
    folder.line("key signing --out t.json").expect(0);
    let stranger = folder.line("key signing --out u.json --json").expect(0).json().remove(0);
    let stranger = stranger["public_key"].as_str().unwrap();
    let untrusted = folder.line(&format!("{verify} --trusted-key {stranger}")).expect(1).json().remove(0);
    assert_eq!([&untrusted["integrity"], &untrusted["trust"]], [&json!(true), &json!("not_trusted")]);
    assert_eq!(codes(&untrusted), ["E-TRUST"; 3]);
    let table = folder.line(&format!("verify e/evidence.json {files}")).expect(0).stdout;
    for part in [
        "integrity    holds",
        "trusted keys",
        "result       detected, if it is believed that",
        "does not say",
        "recomputed   suspect.jsonl",
    ] {
        assert!(table.contains(part), "{part} in {table}");
    }

    // Other data, other bytes, no file.
    let text = folder.read("suspect.jsonl");
    folder.write("cut.jsonl", &text[..text.trim_end().rfind('\n').unwrap() + 1]);
    let cut = folder.line(&format!("{verify} --data cut.jsonl")).expect(1).json().remove(0);
    assert_eq!([codes(&cut), vec![]], [vec!["E-DATA"], vec![]]);
    // The file is another one; the bundle is what it was.
    assert_eq!([&cut["integrity"], &cut["result"]], [&json!(true), &json!(null)]);
    let bundle = folder.read("e/evidence.json");
    folder.write("bad.json", bundle.replacen("payloadType", "payloadTypo", 1));
    assert_eq!(codes(&folder.line("verify bad.json --json").expect(1).json()[0]), ["E-ENVELOPE"]);
    folder.line("verify nothing.json").fails_with(&["nothing.json"]);
    folder.line(&format!("{verify} --data nothing.jsonl")).fails_with(&["nothing.jsonl"]);
    no_other_secret(&folder);
}

/// The bundle discloses one node and its salt; nothing holds another secret.
fn no_other_secret(folder: &Folder) {
    let secrets = |name: &str, fields: &[&str]| -> Vec<String> {
        let value: Value = serde_json::from_str(&folder.read(name)).unwrap();
        fields.iter().map(|field| value[*field].as_str().unwrap().to_owned()).collect()
    };
    let mut hidden = secrets("k.json", &["node"]);
    hidden.extend(secrets("s.json", &["seed"]));
    hidden.extend(secrets("other.json", &["node", "salt"]));
    let disclosed = secrets("opening.json", &["node", "salt"]);
    let statement = payload(folder, "e/evidence.json").to_string();
    for name in ["e/evidence.json", "e/suspect.records.jsonl", "e/control-1.records.jsonl", "registration.json"] {
        let text = folder.read(name) + if name == "e/evidence.json" { &statement } else { "" };
        for secret in &hidden {
            assert!(!text.contains(secret.as_str()), "{name}");
        }
        for secret in &disclosed {
            assert_eq!(text.contains(secret.as_str()), name == "e/evidence.json", "{name}");
        }
    }
    let registration = payload(folder, "registration.json").to_string();
    let shown = folder.line("verify e/evidence.json --json --data suspect.jsonl").stdout + &registration;
    assert!(hidden.iter().chain(&disclosed).all(|secret| !shown.contains(secret.as_str())));
}

/// Plain weights, a sample that was stopped, an earlier analysis, a withheld key.
#[test]
fn other_registered_tests() {
    let folder = setup();
    folder.line(&format!("{REGISTER} --weights none --out first.json")).expect(0);
    let verify =
        |name: &str, data: &str| folder.line(&format!("verify {name} --json {data}")).expect(0).json().remove(0);
    let both = "--data suspect.jsonl --data clean.jsonl";
    folder.line(&format!("{EVIDENCE} --registration first.json --out first --withhold-key")).expect(0);
    let report = verify("first/evidence.json", both);
    assert_eq!(report["recomputed"], json!([]));
    assert!(report["not_checked"].to_string().contains("not disclosed"), "{report}");
    let first = payload(&folder, "first/evidence.json");
    let suspect = &first["predicate"]["suspect"];
    assert_eq!([&suspect["statistic"], &suspect["log10_p"]], [&suspect["score"], &suspect["log10_p_distinct"]]);

    // Half of the prompts, with the e-value; the first analysis is named with its outcome.
    folder.line(&format!("{REGISTER} --stopping e-process --earlier first.json --out second.json")).expect(0);
    let half = |name: &str| folder.read(name).lines().take(31).map(|line| format!("{line}\n")).collect::<String>();
    folder.write("half.jsonl", half("suspect.jsonl"));
    let evidence = EVIDENCE.replace("--answers suspect.jsonl", "--answers half.jsonl");
    let evidence = format!("{evidence} --registration second.json --earlier first/evidence.json");
    folder.line(&format!("{evidence} --out second")).expect(0);
    let report = verify("second/evidence.json", "--data half.jsonl --data clean.jsonl");
    assert_eq!(report["recomputed"], json!(["half.jsonl", "clean.jsonl"]));
    let second = payload(&folder, "second/evidence.json");
    let predicate = &second["predicate"];
    assert_eq!([&predicate["decided_by"], &predicate["earlier"][0]["verdict"]], ["ln_e", "detected"]);
    assert!(!predicate["suspect"]["prompts_proof"].as_array().unwrap().is_empty());

    // An innocent suspect: evidence is written and holds, and says what it would have shown.
    let innocent = "register --suspect clean --profile p.json --head commitment/head.json --prompts prompts.jsonl --signing-key s.json";
    folder.line(&format!("{innocent} --out third.json")).expect(0);
    let evidence = EVIDENCE.replace("--answers suspect.jsonl --controls clean.jsonl", "--answers clean.jsonl");
    folder.line(&format!("{evidence} --registration third.json --out third")).expect(1);
    let report = verify("third/evidence.json", "--data clean.jsonl");
    assert_eq!(report["result"]["verdict"], "not_detected");
    assert!(payload(&folder, "third/evidence.json")["predicate"]["smallest_effect"]["value"].as_f64().unwrap() > 0.5);
}

#[test]
fn what_was_not_registered_is_refused() {
    let folder = setup();
    folder.line(&format!("{REGISTER} --out registration.json")).expect(0);
    let evidence = format!("{EVIDENCE} --registration registration.json --out never");
    let with = |from: &str, to: &str| folder.line(&evidence.replace(from, to));
    with("--controls clean.jsonl", "").fails_with(&["1 controls are registered and 0 files given"]);
    with("opening.json", "other.json").fails_with(&["the opening is of another key than registered"]);
    folder.line("profile new --out q.json --path epoch/2").expect(0);
    with("p.json", "q.json").fails_with(&["not the registered one"]);
    folder.line("key commit --key k.json --profile p.json --signing-key s.json --out commitment2").expect(0);
    with("commitment/head.json", "commitment2/head.json").fails_with(&["head is not the registered one"]);
    with("--prompts prompts.jsonl", "--prompts questions.txt").fails_with(&["prompts are not the registered ones"]);

    let lines: Vec<String> = folder.read("suspect.jsonl").lines().map(|line| format!("{line}\n")).collect();
    let mut moved = lines.clone();
    moved.swap(3, 4);
    folder.write("moved.jsonl", moved.concat());
    with("suspect.jsonl", "moved.jsonl").fails_with(&["moved.jsonl", "answer 4 is to another prompt"]);
    folder.write("fewer.jsonl", lines[..59].concat());
    with("suspect.jsonl", "fewer.jsonl").fails_with(&["E-REGISTERED", "one answer to every registered prompt"]);
    folder.write("broken.jsonl", lines[..59].concat() + "{\"prompt\": \n");
    with("suspect.jsonl", "broken.jsonl").fails_with(&["a record cannot be used", "broken.jsonl:60"]);
    let ids: String = lines
        .iter()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            format!("{}\n", json!({"tokens": record["tokens"], "prompt_tokens": record["prompt_tokens"]}))
        })
        .collect();
    folder.write("ids.jsonl", ids);
    with("suspect.jsonl", "ids.jsonl").fails_with(&["token ids and no text"]);

    // Signed before it was registered.
    folder.line(&format!("{evidence} --at 2020-01-01T00:00:00Z")).fails_with(&["E-TIME"]);
    folder.line(&format!("{evidence} --at yesterday")).fails_with(&["--at", "not a time"]);
    folder.line(&format!("{evidence} --at 2026-02-30T00:00:00Z")).fails_with(&["--at", "not a time"]);
    assert!(!Path::new(&folder.path("never")).exists());

    let register = |more: &str| folder.line(&format!("{REGISTER} --out bad.json {more}"));
    register("--at 2020-01-01T00:00:00Z").fails_with(&["commitment/head.json", "keys are committed to before"]);
    for other in ["acme", "Acme", "cle\u{200b}an"] {
        register(&format!("--control {other}")).fails_with(&["model name"]);
    }
    register("--alpha 1").fails_with(&["alpha"]);
    register("--alpha .05").fails_with(&["--alpha 0.05", "at most 0.001"]);
    folder.line(&format!("{} --out other-suspect.json", REGISTER.replace("acme", "bolt"))).expect(0);
    register("--earlier other-suspect.json").fails_with(&["other-suspect.json", "bolt"]);
    register(&format!("--question {}", "a".repeat(100_000))).expect(0);
    std::fs::remove_file(folder.path("bad.json")).unwrap();
    std::fs::remove_file(folder.path("bad.tsq")).unwrap();
    register("--layer nothing").fails_with(&["nothing", "not in the profile"]);
    register("--earlier prompts.jsonl").fails_with(&["prompts.jsonl"]);
    folder.line("profile new --distillation tournament --out t.json").expect(0);
    let tournament = REGISTER.replace("p.json", "t.json");
    folder.line(&format!("{tournament} --out bad.json")).fails_with(&["greenlist and gumbel"]);
    // Nothing is overwritten.
    folder.line(&format!("{REGISTER} --out registration.json")).fails_with(&["exists"]);
}

/// Answers without text are counted and shown; too many of them, and there is no verdict.
#[test]
fn blanked_answers_are_no_evidence() {
    let folder = setup();
    folder.line(&format!("{REGISTER} --question \"Was_it_acme's?\" --out registration.json")).expect(0);
    let verify = |name: &str, more: &str| folder.line(&format!("verify {name}/evidence.json {more}"));
    for (blank, verdict) in [(3, "detected"), (4, "inconclusive")] {
        let mut records = folder.json_lines("suspect.jsonl");
        for record in &mut records[..blank] {
            let text =
                if record["prompt"].as_str().is_some_and(|prompt| prompt.len() % 2 == 0) { "" } else { " \n\u{3000}" };
            record["completion"] = json!(text);
        }
        let lines: String = records
            .iter()
            .map(|record| format!("{}\n", json!({"prompt": record["prompt"], "completion": record["completion"]})))
            .collect();
        folder.write("blank.jsonl", lines);
        let evidence = EVIDENCE.replace("suspect.jsonl", "blank.jsonl");
        let run = folder.line(&format!("{evidence} --registration registration.json --out {verdict}"));
        assert_eq!(run.code, Some(i32::from(verdict == "inconclusive")), "{run:?}");
        assert!(run.stderr.contains(&format!("caution: {blank} of 60 answers of \"acme\" have no text")), "{run:?}");
        let report = verify(verdict, "--json --data blank.jsonl").expect(0).json().remove(0);
        assert_eq!([&report["result"]["verdict"], &report["result"]["n_empty"]], [&json!(verdict), &json!(blank)]);
        assert!(report["cautions"].to_string().contains("have no text"), "{report}");
        let text = verify(verdict, "").expect(0).stdout;
        assert!(text.contains("caution      ") && text.contains("Was_it_acme's?") && !text.contains('\\'), "{text}");
    }
    // Records that hold say nothing of who collected them.
    let claims = verify("detected", "--json --data detected/suspect.records.jsonl").expect(0).json().remove(0);
    assert!(claims["not_checked"].to_string().contains("who collected it"), "{claims}");
}

/// Tokens that a profile calls special do not count, so which ones are may have been chosen to fit the answers.
#[test]
fn ordinary_tokens_called_special_are_named() {
    let folder = setup();
    let mut profile: Value = serde_json::from_str(&folder.read("p.json")).unwrap();
    profile["tokenizer"]["special_token_ids"].as_array_mut().unwrap().extend((100..130).map(Value::from));
    folder.write("p.json", profile.to_string());
    folder.line("key commit --key k.json --profile p.json --signing-key s.json --out c2").expect(0);
    let open = "key open --openings c2/openings.json --key k.json --profile p.json --path epoch/1/layer/distillation";
    folder.line(&format!("{open} --out o2.json")).expect(0);
    folder.line(&format!("{} --out r2.json", REGISTER.replace("commitment/", "c2/"))).expect(0);
    let evidence = EVIDENCE.replace("commitment/", "c2/").replace("opening.json", "o2.json");
    let run = folder.line(&format!("{evidence} --registration r2.json --out e")).expect(0);
    let says = "calls 30 ordinary tokens special";
    assert!(run.stderr.contains(says), "{run:?}");
    assert!(folder.line("verify e/evidence.json").expect(0).stdout.contains(says));
    folder.line("report e/evidence.json -o e.html").expect(0);
    assert!(folder.read("e.html").contains(says));
}

/// An answer that says the same fifty times counts as if it had said it once: innocent text like any other.
#[test]
fn an_answer_that_repeats_itself_counts_once() {
    let folder = setup();
    let mut records = folder.json_lines("suspect.jsonl");
    let clean: Vec<Value> =
        folder.json_lines("clean.jsonl").drain(..40).map(|record| record["completion"].clone()).collect();
    let loud: String = clean.iter().filter_map(Value::as_str).collect();
    folder.line(&format!("{REGISTER} --out registration.json")).expect(0);
    let mut digits = |times: usize| {
        records[7]["completion"] = json!(loud.repeat(times));
        let record =
            |record: &Value| json!({"prompt": record["prompt"], "completion": record["completion"]}).to_string();
        folder.write("loud.jsonl", records.iter().map(record).collect::<Vec<_>>().join("\n"));
        let (evidence, out) = (EVIDENCE.replace("suspect.jsonl", "loud.jsonl"), format!("said-{times}"));
        folder.line(&format!("{evidence} --registration registration.json --out {out}")).expect(0);
        let report = folder.line(&format!("verify {out}/evidence.json --json")).expect(0).json().remove(0);
        assert_eq!(report["result"]["verdict"], "detected");
        -payload(&folder, &format!("{out}/evidence.json"))["predicate"]["suspect"]["log10_p"].as_f64().unwrap()
    };
    let (once, fifty) = (digits(1), digits(50));
    assert!((once - fifty).abs() < 2.0, "{once} {fifty}");
}

/// A file whose collection may have ended after any answer is one round an answer.
#[test]
fn a_stopped_file_is_read_answer_by_answer() {
    let folder = setup();
    folder.line(&format!("{REGISTER} --stopping e-process --out registration.json")).expect(0);
    folder.line(&format!("{EVIDENCE} --registration registration.json --out e")).expect(0);
    for name in ["e/suspect.records.jsonl", "e/control-1.records.jsonl"] {
        let rounds: Vec<u64> = folder.json_lines(name).iter().map(|record| record["round"].as_u64().unwrap()).collect();
        assert!(rounds.iter().copied().eq(0..60), "{name}: {rounds:?}");
    }
    let report =
        folder.line("verify e/evidence.json --json --data suspect.jsonl --data clean.jsonl").expect(0).json().remove(0);
    assert_eq!(report["recomputed"].as_array().unwrap().len(), 2);
}

/// A transcript that was begun for all `records` and has the first ones, in rounds of 20.
pub(crate) fn write_transcript(path: &Path, records: &[Value], answered: usize, utc: &str) {
    let text = |record: &Value, field: &str| record[field].as_str().unwrap().to_owned();
    let prompts: Vec<String> = records.iter().map(|record| text(record, "prompt")).collect();
    let header = Header {
        transcript: FORMAT.to_owned(),
        endpoint: "http://127.0.0.1:1/v1".to_owned(),
        api: Api::Completions,
        model: "m".to_owned(),
        max_tokens: 80,
        temperature: 1.0,
        top_p: None,
        logprobs: None,
        stream: false,
        extra: serde_json::Map::new(),
        prompts_sha256: prompts_sha256(&prompts),
        n_prompts: records.len() as u64,
        round_size: 20,
        collection: Collection::Replicate,
        test: None,
    };
    let mut writer = Writer::open(path, &header, |_| Ok(())).unwrap();
    for (index, record) in (0..).zip(records.iter().take(answered)) {
        let response = json!({"choices": [{"text": record["completion"], "finish_reason": "stop"}]});
        let exchange = Exchange {
            index,
            round: index / 20,
            prompt: text(record, "prompt"),
            request: header.body(&text(record, "prompt")),
            attempts: vec![Attempt { status: Some(200), error: None }],
            status: Some(200),
            response: Some(response.to_string()),
            failure: None,
            utc: utc.to_owned(),
        };
        writer.write(&exchange).unwrap();
    }
}

/// A transcript states when it was collected: before the registration is too early.
#[test]
fn transcripts_state_their_times() {
    let folder = setup();
    let run = folder.line(&format!("{REGISTER} --out registration.json"));
    run.expect(0);
    let records = folder.json_lines("suspect.jsonl");
    write_transcript(&folder.path("early.jsonl"), &records, usize::MAX, "2026-01-01T00:00:00Z");
    write_transcript(&folder.path("late.jsonl"), &records, usize::MAX, "2099-12-31T00:00:00Z");
    let evidence = format!("{EVIDENCE} --registration registration.json --at {LATER}");
    let with = |name: &str, out: &str| folder.line(&format!("{} --out {out}", evidence.replace("suspect.jsonl", name)));
    with("early.jsonl", "early").fails_with(&["E-TIME", "before the registration"]);
    with("late.jsonl", "late").expect(0);
    let suspect = &payload(&folder, "late/evidence.json")["predicate"]["suspect"];
    assert_eq!(suspect["collected"], json!({"first": "2099-12-31T00:00:00Z", "last": "2099-12-31T00:00:00Z"}));
    let report = folder.line("verify late/evidence.json --json --data late.jsonl").expect(0).json().remove(0);
    assert_eq!(report["recomputed"], json!(["late.jsonl"]));
    assert!(!report["not_checked"].to_string().contains("\\\"acme\\\""), "{report}");
}

/// The whole order: keys that await a value, a pool beside them, the value, a registered draw, its value, answers.
#[test]
fn beacons_of_key_and_prompts() {
    let folder = setup();
    folder.line("profile new --out a.json --beacon").expect(0);
    folder.line("profile check a.json --key k.json").expect(0);
    folder.write("pool.jsonl", folder.read("prompts.jsonl"));
    let commit = "key commit --key k.json --profile a.json --signing-key s.json --pool pool.jsonl --out c";
    folder.line(commit).fails_with(&["awaits a beacon", "--beacon SOURCE:ROUND"]);
    folder.line(&format!("{commit} --beacon lottery:7")).expect(0);
    let mark = "mark --key k.json --prompts questions.txt --max-tokens 80 --seed 5";
    folder.line(&format!("{mark} --profile a.json --out x.jsonl")).fails_with(&["awaits a beacon"]);
    let (value, draw) = ("5a".repeat(32), "b7".repeat(32));
    let put = |profile: &str, value: &str, out: &str| {
        folder.line(&format!("profile beacon {profile} --value {value} --out {out}"))
    };
    put("a.json", &value, "b.json").expect(0);
    put("b.json", &value, "x.json").fails_with(&["b.json", "the profile has one"]);
    put("p.json", &value, "x.json").fails_with(&["p.json", "awaits none"]);
    put("a.json", "5a", "x.json").fails_with(&["64"]);
    folder.line(&format!("{mark} --profile b.json --out beaconed.jsonl")).expect(0);
    folder.line("detect --profile p.json --key k.json beaconed.jsonl").expect(1);

    // The registration names the round that is to draw 40 of the pool's 60 prompts.
    let register = "register --suspect acme --control clean --profile b.json --head c/head.json --signing-key s.json";
    folder.line(&format!("{register} --pool pool.jsonl --out r.json")).fails_with(&["--draw"]);
    folder.line(&format!("{register} --pool pool.jsonl --draw lottery:9 --n 61 --out r.json")).fails_with(&["pool"]);
    folder.line(&format!("{register} --pool pool.jsonl --draw lottery:9 --n 40 --out r.json")).expect(0);
    folder.line(&format!("prompts draw --pool pool.jsonl --n 40 --draw-value {draw} --out drawn.jsonl")).expect(0);
    folder.line("prompts draw --pool pool.jsonl --n 40 --out x.jsonl").fails_with(&["--draw-value"]);
    let answers = |name: &str| {
        let all = folder.json_lines(name);
        let line = |prompt: &Value| all.iter().find(|record| record["prompt"] == prompt["prompt"]).unwrap().to_string();
        folder.json_lines("drawn.jsonl").iter().map(|prompt| line(prompt) + "\n").collect::<String>()
    };
    folder.write("suspect40.jsonl", answers("beaconed.jsonl"));
    folder.write("clean40.jsonl", answers("clean.jsonl"));
    let open = "key open --openings c/openings.json --key k.json --profile a.json --path epoch/1/layer/distillation";
    folder.line(&format!("{open} --out o.json")).expect(0);
    let evidence = "evidence --profile b.json --head c/head.json --opening o.json --answers suspect40.jsonl --controls clean40.jsonl \
                    --signing-key s.json --registration r.json --prompts pool.jsonl --out e";
    folder.line(evidence).fails_with(&["a draw is registered", "round 9 of lottery"]);
    folder.line(&format!("{evidence} --draw-value {value}")).fails_with(&["another prompt"]);
    folder.line(&format!("{evidence} --draw-value {draw}")).expect(0);

    let data = "--data suspect40.jsonl --data clean40.jsonl --pool pool.jsonl";
    let report = folder.line(&format!("verify e/evidence.json --json {data}")).expect(0).json().remove(0);
    assert_eq!(report["result"]["verdict"], "detected");
    assert!(
        report["not_checked"].to_string().contains(&format!("round 7 of lottery had the value {value}")),
        "{report}"
    );
    let says = |name: &str| {
        let all = report["conditions"].as_array().unwrap();
        let found = all.iter().find(|condition| condition["name"] == name).unwrap();
        format!("{} {}", found["standing"].as_str().unwrap(), found["says"].as_str().unwrap())
    };
    assert!(says("key_bound").starts_with("holds ") && says("tokens_recomputed").starts_with("holds "), "{report}");
    assert!(says("prompts_free_of_key").contains("draws from the committed pool"), "{report}");
    let headline = report["headline"].as_str().unwrap();
    assert!(
        headline.starts_with("detected, if it is believed that key and profile were not fitted to known answers; "),
        "{headline}"
    );
    // Another pool is not the registered one.
    folder.write("other.jsonl", folder.read("drawn.jsonl"));
    let other = folder.line("verify e/evidence.json --json --pool other.jsonl").expect(1).json().remove(0);
    assert_eq!(codes(&other), ["E-PROMPTS"]);
    folder.line(&format!("report e/evidence.json {data} -o page.html")).expect(0);
    let page = folder.read("page.html");
    for part in [
        "What the verdict rests on",
        "Key and profile not fitted to known answers",
        "somebody’s word",
        "drawn by round 9 of lottery",
    ] {
        assert!(page.contains(part), "{part}");
    }
}
