//! One rule decides, whichever way the same data go: what the terminal says, what a `result.json` holds and what a signed bundle
//! holds cannot differ.

use std::collections::HashMap;

use serde_json::{Value, json};
use watermark_core::detect::Resampling;
use watermark_core::evidence::bundle::STATEMENT_TYPE;
use watermark_core::evidence::canonical::to_canonical;
use watermark_core::evidence::{SigningKey, dsse};
use watermark_core::model_test::{self, Access, Audit, ModelNumbers, ModelTest};
use watermark_toolkit::files::read_profile;

use crate::evidence::{payload, setup};
use crate::server::{Server, chat, ok};
use crate::support::Folder;

/// A registered level of 1e-6, divided by the two committed keys of [`setup`].
const LEVEL: f64 = 5e-7;

/// A test of a model: its layer, the file of answers, and those of controls.
struct Question<'a> {
    layer: &'a str,
    answers: &'a str,
    controls: &'a [&'a str],
}

impl Question<'_> {
    fn files(&self) -> String {
        let controls: String = self.controls.iter().map(|file| format!(" --controls {file}")).collect();
        format!("--answers {}{controls}", self.answers)
    }

    /// The line of `watermark test-model --json`, whose verdict the table repeats.
    fn line(&self, folder: &Folder) -> Value {
        let test_model =
            format!("test-model --profile p.json --key k.json --alpha {LEVEL} --layer {} {}", self.layer, self.files());
        let line = folder.line(&format!("{test_model} --json")).json().remove(0);
        let table = folder.line(&test_model).stdout;
        let row = table.lines().find(|row| row.starts_with(self.layer)).unwrap();
        assert_eq!(row.split_whitespace().last(), line["verdict"].as_str(), "{table}");
        line
    }

    /// Registers it, as `<name>.r.json`.
    fn register(&self, folder: &Folder, name: &str, more: &str) {
        let controls: String = (0..self.controls.len()).map(|at| format!(" --control other-{at}")).collect();
        folder
            .line(&format!(
                "register --suspect acme{controls} --profile p.json --layer {} --head commitment/head.json --prompts prompts.jsonl \
                 --signing-key s.json --out {name}.r.json {more}",
                self.layer
            ))
            .expect(0);
    }

    /// The predicate of the bundle `<name>` that is made under its registration.
    fn predicate(&self, folder: &Folder, name: &str) -> Value {
        let opening = if self.layer == "provenance" { "other.json" } else { "opening.json" };
        let run = folder.line(&format!(
            "evidence --profile p.json --head commitment/head.json --opening {opening} --prompts prompts.jsonl {} --signing-key \
             s.json --registration {name}.r.json --out {name}",
            self.files()
        ));
        let predicate = payload(folder, &format!("{name}/evidence.json"))["predicate"].clone();
        let code = if predicate["verdict"] == "detected" { 0 } else { 1 };
        run.expect(code);
        predicate
    }
}

/// What a bundle says is what the terminal says, and `verify` repeats it.
#[track_caller]
fn agree(folder: &Folder, name: &str, line: &Value, predicate: &Value) {
    let file = format!("{name}/evidence.json");
    let report = folder.line(&format!("verify {file} --json")).expect(0).json().remove(0);
    assert_eq!(report["integrity"], true, "{report}");
    let deciding = line["decided_by"].as_str().unwrap();
    // Not a bit may differ. Canonical JSON writes 0.0 as 0.
    let bits = |number: &Value| number.as_f64().map(f64::to_bits);
    assert_eq!(bits(&line[deciding]), bits(&report["result"][deciding]), "{name}");
    for field in ["log10_p", "log10_p_distinct", "ln_e"] {
        assert_eq!(bits(&line[field]), bits(&predicate["suspect"][field]), "{name}: {field}");
    }
    for field in ["n_scored", "statistic"] {
        assert_eq!(line[field], predicate["suspect"][field], "{name}: {field}");
    }
    for field in ["decided_by", "controls_agree", "smallest_effect", "verdict"] {
        assert_eq!(line[field], predicate[field], "{name}: {field}");
    }
    assert_eq!(line["verdict"], report["result"]["verdict"], "{name}");
    let text = folder.line(&format!("verify {file}")).expect(0).stdout;
    assert!(text.contains(&format!("result       {}", line["verdict"].as_str().unwrap())), "{text}");
}

/// Detected, not detected with the effect of either kind of score, contradicted by a control, and detected although an
/// innocent text repeats itself.
#[test]
fn a_fixed_sample_on_the_terminal_and_in_a_bundle() {
    let folder = setup();
    let mut records = folder.json_lines("suspect.jsonl");
    let record = |record: &Value| json!({"prompt": record["prompt"], "completion": record["completion"]}).to_string();
    // A control is another model: not all of its answers can be the suspect's.
    let mut twins = records.clone();
    twins[0]["completion"] = json!("Yes.");
    folder.write("twin.jsonl", twins.iter().map(record).collect::<Vec<_>>().join("\n"));
    let loud: Vec<String> =
        folder.json_lines("clean.jsonl").iter().take(40).map(|record| record["completion"].to_string()).collect();
    records[7]["completion"] = json!(loud.concat().repeat(50));
    folder.write("loud.jsonl", records.iter().map(record).collect::<Vec<_>>().join("\n"));

    let question = |layer, answers, controls| Question { layer, answers, controls };
    let cases = [
        ("strong", question("distillation", "suspect.jsonl", &["clean.jsonl"]), "detected", json!(null)),
        ("green", question("distillation", "clean.jsonl", &[]), "not_detected", json!("ones_share")),
        ("gumbel", question("provenance", "clean.jsonl", &[]), "not_detected", json!("mean_score")),
        ("control", question("distillation", "suspect.jsonl", &["twin.jsonl"]), "inconclusive", json!(null)),
        ("loud", question("distillation", "loud.jsonl", &[]), "detected", json!(null)),
    ];
    for (name, question, verdict, effect) in cases {
        let line = question.line(&folder);
        question.register(&folder, name, "");
        let predicate = question.predicate(&folder, name);
        assert_eq!([&line["verdict"], &line["decided_by"]], [verdict, "log10_p"], "{name}");
        assert_eq!(line["smallest_effect"]["of"], effect, "{name}");
        agree(&folder, name, &line, &predicate);
    }
}

/// A probe stops when it has decided: by the e-value in its `result.json`, on the terminal and in a bundle of its transcript.
#[test]
fn a_probe_decides_everywhere_by_its_e_value() {
    for (answers, verdict) in [("suspect.jsonl", "detected"), ("clean.jsonl", "not_detected")] {
        let folder = setup();
        let text = |record: &Value, field: &str| record[field].as_str().unwrap().to_owned();
        let said: HashMap<String, String> = folder
            .json_lines(answers)
            .iter()
            .map(|record| (text(record, "prompt"), text(record, "completion")))
            .collect();
        let server = Server::start(move |request| ok(chat(&said[&request.prompt])));
        let question = Question { layer: "distillation", answers: "run/transcript.jsonl", controls: &[] };
        question.register(&folder, "probe", "--stopping e-process");
        let probe = format!(
            "probe --profile p.json --key k.json --alpha {LEVEL} --endpoint {} --model m --prompts prompts.jsonl --round-size 20 --out run",
            server.base
        );
        folder.line(&probe).expect(i32::from(verdict != "detected"));
        let result: Value = serde_json::from_str(&folder.read("run/result.json")).unwrap();
        let line = question.line(&folder);
        assert_eq!([&line["verdict"], &line["decided_by"]], [verdict, "ln_e"]);
        assert_eq!(result["verdict"], verdict);
        for field in ["verdict", "decided_by", "n_scored", "log10_p", "log10_p_distinct", "ln_e", "smallest_effect"] {
            assert_eq!(result["test"][field], line[field], "{field}");
        }
        agree(&folder, "probe", &line, &question.predicate(&folder, "probe"));
    }
}

/// Fresh keys never contradict a sound tail, so they are told here: whatever they say, the one verdict that verifies in a bundle is
/// the one that follows from the terminal's own numbers.
#[test]
fn fresh_keys_contradict_everywhere_or_nowhere() {
    let folder = setup();
    let question = Question { layer: "distillation", answers: "suspect.jsonl", controls: &[] };
    let line = question.line(&folder);
    let number = |field: &str| line[field].as_f64().unwrap();
    let suspect = ModelNumbers {
        n_scored: line["n_scored"].as_u64().unwrap(),
        log10_p: number("log10_p"),
        ln_e: number("ln_e"),
        stopped: false,
        audit: Audit::default(),
        answers: None,
    };
    let scheme = read_profile(&folder.path("p.json")).unwrap().profile.layers[0].scheme;
    for (keys, at_least, expected) in
        [(999, 0, "detected"), (999, 1, "inconclusive"), (999, 999, "inconclusive"), (998, 998, "detected")]
    {
        let resampling = Resampling { keys, at_least };
        let pair_weights = None;
        let test =
            ModelTest { scheme, access: Access::Answers, suspect, pair_weights, controls: Vec::new(), resampling };
        let follows = model_test::conclude(&[test], LEVEL).remove(0);
        assert_eq!(follows.verdict.as_str(), expected);
        let name = format!("b-{keys}-{at_least}");
        question.register(&folder, &name, &format!("--resample {keys}"));
        question.predicate(&folder, &name);
        for verdict in ["detected", "not_detected", "inconclusive"] {
            let mut statement = payload(&folder, &format!("{name}/evidence.json"));
            let predicate = &mut statement["predicate"];
            predicate["resampling"]["at_least"] = json!(at_least);
            predicate["resampling_agrees"] = json!(follows.resampling_agrees);
            predicate["verdict"] = json!(verdict);
            let key = SigningKey::from_seed(&[3; 32]);
            let bundle = dsse::sign(STATEMENT_TYPE, &to_canonical(&statement).unwrap(), &key).unwrap();
            folder.write("told.json", bundle);
            let sound = verdict == expected;
            let report = folder.line("verify told.json --json").expect(i32::from(!sound)).json().remove(0);
            if sound {
                assert_eq!(report["result"]["verdict"], verdict);
            } else {
                assert_eq!(report["faults"][0]["code"], "E-VERDICT", "{report}");
            }
        }
    }
}

/// A text question: `detect` and the `result.json` of a scan, over marked and unmarked texts, and over too little of either.
#[test]
fn texts_in_detect_and_in_a_scan() {
    let folder = setup();
    folder.write("short.jsonl", "{\"text\": \"a\"}\n");
    for (file, verdict, effects) in [
        ("suspect.jsonl", "detected", [json!(null), json!(null)]),
        ("clean.jsonl", "not_detected", [json!("ones_share"), json!("mean_score")]),
        ("short.jsonl", "inconclusive", [json!(null), json!(null)]),
    ] {
        let code = i32::from(verdict != "detected");
        let lines = folder.line(&format!("detect --profile p.json --key k.json --json {file}")).expect(code).json();
        folder.line(&format!("scan --profile p.json --key k.json --out scan-{verdict} {file}")).expect(code);
        let result: Value = serde_json::from_str(&folder.read(&format!("scan-{verdict}/result.json"))).unwrap();
        let findings = result["findings"].as_array().unwrap();
        assert_eq!((lines.len(), findings.len()), (2, 2));
        for ((line, finding), effect) in lines.iter().zip(findings).zip(effects) {
            assert_eq!(line["verdict"], verdict, "{line}");
            assert_eq!(line["smallest_effect"]["of"], effect, "{line}");
            for field in ["layer", "scheme", "n_scored", "statistic", "log10_p", "ln_e", "verdict", "smallest_effect"] {
                assert_eq!(line[field], finding[field], "{file}: {field}");
            }
        }
    }
}
