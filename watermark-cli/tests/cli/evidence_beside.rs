//! Evidence of a suspect beside an unmarked reference.

use serde_json::{Value, json};

use crate::evidence::{payload, setup};
use crate::support::Folder;

const REGISTER: &str = "register --suspect acme --control clean --profile p.json --head c/head.json --prompts prompts.jsonl --signing-key s.json";
const EVIDENCE: &str =
    "evidence --profile p.json --head c/head.json --opening o.json --prompts prompts.jsonl --signing-key s.json";

/// Commits to keys and to the files of references, in a folder `c`, with the opening of the tested layer.
fn commit(folder: &Folder, references: &[&str]) {
    let references: String = references.iter().map(|file| format!(" --reference {file}")).collect();
    folder
        .line(&format!("key commit --key k.json --profile p.json --signing-key s.json --out c{references}"))
        .expect(0);
    let open = "key open --openings c/openings.json --key k.json --profile p.json --path epoch/1/layer/distillation";
    folder.line(&format!("{open} --out o.json")).expect(0);
}

fn condition(report: &Value) -> String {
    let all = report["conditions"].as_array().unwrap();
    let found = all.iter().find(|condition| condition["name"] == "references_bound").unwrap();
    format!("{} {}", found["standing"].as_str().unwrap(), found["says"].as_str().unwrap())
}

#[test]
fn a_reference_stands_beside_the_suspect() {
    let folder = setup();
    let mark = "mark --profile p.json --key k.json --prompts questions.txt --max-tokens 80";
    folder.line(&format!("{mark} --seed 6 --unmarked --out base.jsonl")).expect(0);
    folder.line(&format!("{mark} --seed 7 --unmarked --out spare.jsonl")).expect(0);
    commit(&folder, &["base.jsonl", "spare.jsonl"]);
    folder.line(&format!("{REGISTER} --reference base.jsonl --out r.json")).fails_with(&["NAME=FILE"]);
    folder.line(&format!("{REGISTER} --reference clean=base.jsonl --out r.json")).fails_with(&["taken for each other"]);
    folder
        .line(&format!("{REGISTER} --reference base=base.jsonl --weights sqrt --out r.json"))
        .fails_with(&["residual"]);
    folder.line(&format!("{REGISTER} --weights residual --out r.json")).fails_with(&["residual"]);
    let e_process = format!("{REGISTER} --reference base=base.jsonl --stopping e-process --out r.json");
    folder.line(&e_process).fails_with(&["fixed"]);
    folder.line(&format!("{REGISTER} --reference base=base.jsonl --out r.json")).expect(0);
    folder.write("uncommitted.jsonl", folder.read("suspect.jsonl"));
    let other = folder.line(&format!("{REGISTER} --reference base=uncommitted.jsonl --out r2.json")).expect(0);
    assert!(other.stderr.contains("not committed to with the keys"), "{}", other.stderr);
    assert_eq!(payload(&folder, "r.json")["weights"], "residual");

    let evidence = format!("{EVIDENCE} --registration r.json --answers suspect.jsonl --controls clean.jsonl");
    folder.line(&format!("{evidence} --out e")).fails_with(&["1 references are registered", "--reference"]);
    folder.line(&format!("{evidence} --reference spare.jsonl --out e")).fails_with(&["not the registered file"]);
    folder.line(&format!("{evidence} --reference base.jsonl --out e --kit kit")).expect(0);
    let predicate = &payload(&folder, "e/evidence.json")["predicate"];
    let (suspect, references) = (&predicate["suspect"], &predicate["references"]);
    assert_eq!((&suspect["residuals"]["mixture"], &references["agree"]), (&json!([16]), &json!(true)));
    assert!(suspect["residuals"]["classes"][0]["weight"].as_i64().unwrap() < 0);
    assert!(
        suspect["log10_p"].as_f64().unwrap() < -6.0 && predicate["controls"][0]["log10_p"].as_f64().unwrap() > -2.0
    );

    // Both files of every model give the same; without the reference nothing is counted again.
    let answers = "--data suspect.jsonl --data clean.jsonl";
    for (data, recomputed) in [
        (format!("{answers} --data base.jsonl"), 3),
        (
            "--data e/reference-1.records.jsonl --data e/control-1.records.jsonl --data e/suspect.records.jsonl"
                .to_owned(),
            3,
        ),
        (answers.to_owned(), 0),
        ("--data base.jsonl".to_owned(), 0),
    ] {
        let report = folder.line(&format!("verify e/evidence.json --json {data}")).expect(0).json().remove(0);
        assert_eq!(report["recomputed"].as_array().unwrap().len(), recomputed, "{data}: {report}");
        let recounted = report["conditions"].to_string().contains("made from their texts again");
        assert_eq!(recounted, recomputed == 3, "{report}");
        assert!(condition(&report).starts_with("word 1 of 2 committed references"), "{report}");
    }
    // Another choice among the reference's answers is not the registered one.
    let twice = "--data suspect.jsonl --data e/suspect.records.jsonl --data base.jsonl --data clean.jsonl";
    let report = folder.line(&format!("verify e/evidence.json --json {twice}")).expect(0).json().remove(0);
    assert_eq!(report["recomputed"].as_array().unwrap().len(), 4, "{report}");
    let changed = folder.read("e/reference-1.records.jsonl").replacen("\"round\":0", "\"round\":1", 1);
    folder.write("changed.jsonl", changed);
    let report = folder.line("verify e/evidence.json --json --data changed.jsonl").expect(1).json().remove(0);
    assert_eq!(report["faults"][0]["code"], "E-DATA");

    folder.line(&format!("report e/evidence.json {answers} --data base.jsonl -o page.html")).expect(0);
    let page = folder.read("page.html");
    for part in [
        "Unmarked models beside the suspect",
        "References bound before",
        "What the model writes beyond its references",
        "up to 1 fewer",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for file in
        ["answers/reference-1-base.jsonl", "records/reference-1.jsonl", "verifier/residuals.py", "verifier/texts.py"]
    {
        assert!(folder.path("kit").join(file).is_file(), "{file}");
    }
}

/// A reference that was made with the key, to lean away from what it favours: beside it, an innocent model looks marked. Its own test says so.
#[test]
fn a_reference_that_was_made_with_the_key_shows() {
    let folder = setup();
    let mut profile: Value = serde_json::from_str(&folder.read("p.json")).unwrap();
    profile["layers"][0]["block"] = json!(1);
    folder.write("away.json", profile.to_string());
    let mark =
        "mark --profile away.json --key k.json --prompts questions.txt --max-tokens 80 --seed 6 --out away.jsonl";
    folder.line(mark).expect(0);
    commit(&folder, &["away.jsonl"]);
    folder
        .line(&format!("{REGISTER} --reference base=away.jsonl --out r.json").replace(" --control clean", ""))
        .expect(0);
    let evidence = format!("{EVIDENCE} --registration r.json --answers clean.jsonl --reference away.jsonl --out e");
    folder.line(&evidence).expect(1);
    let predicate = &payload(&folder, "e/evidence.json")["predicate"];
    assert!(predicate["suspect"]["log10_p"].as_f64().unwrap() < -6.0, "{predicate}");
    assert_eq!((&predicate["references"]["agree"], &predicate["verdict"]), (&json!(false), &json!("inconclusive")));
    let report = folder.line("verify e/evidence.json --json").expect(0).json().remove(0);
    assert!(condition(&report).starts_with("word The files of the references were committed to"), "{report}");
    assert!(report["cautions"].to_string().contains("nothing shows whether the references accuse anybody"), "{report}");
    folder.line("report e/evidence.json -o page.html").expect(0);
    assert!(folder.read("page.html").contains("A reference leans away from the key"));
}

/// A control that is a reference in another order could not disagree, and a suspect that is one shows nothing.
#[test]
fn a_reference_is_another_model() {
    let folder = setup();
    let mut lines: Vec<String> = folder.read("clean.jsonl").lines().map(|line| format!("{line}\n")).collect();
    lines.reverse();
    folder.write("again.jsonl", lines.concat());
    commit(&folder, &["again.jsonl"]);
    folder.line(&format!("{REGISTER} --reference base=again.jsonl --out r.json")).expect(0);
    let evidence = format!("{EVIDENCE} --registration r.json --reference again.jsonl --out e");
    folder.line(&format!("{evidence} --answers suspect.jsonl --controls clean.jsonl")).fails_with(&["another model"]);
    let test = "test-model --profile p.json --key k.json --layer distillation --reference again.jsonl";
    folder.line(&format!("{test} --answers suspect.jsonl --controls clean.jsonl")).fails_with(&["another model"]);
    folder.line(&format!("{test} --answers clean.jsonl")).fails_with(&["another model"]);
}
