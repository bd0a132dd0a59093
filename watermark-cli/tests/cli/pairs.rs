use serde_json::{Value, json};
use watermark_lab::prompts::word_problems;

use crate::support::Folder;

const REQUESTS: usize = 12;

/// Two accounts with some requests each, served with paired draws in one ledger, and scores of two models that know nothing of the coins.
fn setup() -> Folder {
    let folder = Folder::new();
    folder.line("profile new --distillation none --provenance none --pairs --out p.json").expect(0);
    folder.fixed_key("k.json");
    let prompts = word_problems(78, 2 * REQUESTS);
    let mark = "mark --profile p.json --key k.json --ledger ledger/2026-11 --max-tokens 60";
    for (account, prompts) in prompts.chunks(REQUESTS).enumerate() {
        folder.write("prompts.txt", prompts.join("\n"));
        let first = account * REQUESTS;
        let line = format!(
            "{mark} --account a{account} --first-request {first} --prompts prompts.txt --out served{account}.jsonl"
        );
        folder.line(&line).expect(0);
    }
    for model in ["base", "teacher"] {
        folder.line(&format!("pairs score --model {model} --out {model}.jsonl served0.jsonl served1.jsonl")).expect(0);
    }
    folder
}

/// The scores of `base` with as many nats more for what was served to one account, as a model that learned its answers has them.
fn learned(folder: &Folder, account: usize, nats: f64) {
    let served = folder.json_lines(&format!("served{account}.jsonl"));
    let lines = folder.json_lines("base.jsonl").into_iter().map(|mut line| {
        if let Some(served) = served.iter().find(|served| served["request"] == line["request"]) {
            for score in line["scores"].as_array_mut().unwrap() {
                let token = &served["tokens"][score[0].as_u64().unwrap() as usize];
                let side = if score[1] == *token { 3 } else { 4 };
                score[side] = (score[side].as_i64().unwrap() + (nats * 65_536.0) as i64).into();
            }
        }
        line.to_string() + "\n"
    });
    folder.write("learned.jsonl", lines.collect::<String>());
}

fn test(folder: &Folder, options: &str, served: &str) -> crate::support::ProcessOutput {
    folder.line(&format!("pairs test --profile p.json --key k.json {options} {served}"))
}

const BOTH: &str = "served0.jsonl served1.jsonl";

#[test]
fn an_account_whose_answers_were_learned_is_named() {
    let folder = setup();
    learned(&folder, 1, 1.0);
    let line = "--scores learned.jsonl --reference base.jsonl --controls teacher.jsonl --json";
    let found = test(&folder, line, BOTH).expect(0).json();
    let verdicts: Vec<&Value> = found.iter().map(|line| &line["verdict"]).collect();
    assert_eq!(verdicts, ["detected", "detected", "inconclusive"], "{found:?}");
    assert_eq!(
        [&found[0]["account"], &found[1]["account"], &found[2]["account"]],
        [&Value::Null, &json!("a1"), &json!("a0")]
    );
    assert_eq!((&found[0]["requests"], &found[1]["requests"]), (&json!(2 * REQUESTS), &json!(REQUESTS)));
    // The account that was not learned differs from the reference nowhere.
    assert_eq!((&found[2]["n_scored"], &found[2]["ln_e"]), (&json!(0), &json!(0.0)));
    assert_eq!(found[1]["n_served_preferred"], found[1]["n_scored"]);
    assert_eq!(found[0]["controls"][0]["name"], "teacher.jsonl");
    // A table for people says the same, and what it rests on.
    let text = test(&folder, line.trim_end_matches(" --json"), BOTH).expect(0).stdout;
    assert!(["account a1", "100.0 %", "without looking at the coin"].iter().all(|said| text.contains(said)), "{text}");
    assert_eq!(found[0]["list"]["first_request"], "ledger/2026-11/0");
    assert_eq!((&found[0]["list"]["n_missing"], &found[0]["list"]["n_without_candidate"]), (&json!(0), &json!(0)));
    // A control that prefers what was served is no control of learning, or the sides show.
    let line = "--scores learned.jsonl --reference base.jsonl --controls learned.jsonl --json";
    let found = test(&folder, line, BOTH).expect(1).json();
    assert_eq!((&found[0]["verdict"], &found[1]["verdict"]), (&json!("inconclusive"), &json!("inconclusive")));
    // One that says less than the suspect, or nothing, is none.
    let part: String = folder.read("teacher.jsonl").lines().take(3).map(|line| format!("{line}\n")).collect();
    folder.write("part.jsonl", part);
    for (control, says) in [("part.jsonl", "fewer scores"), ("base.jsonl", "prefers nothing beyond the reference")] {
        let line = format!("--scores learned.jsonl --reference base.jsonl --controls {control}");
        test(&folder, &line, BOTH).fails_with(&[control, says]);
    }
}

/// A reference that knows the coins makes anybody prefer what was served. Its own test sees a strong lean, controls beside it a weaker one.
#[test]
fn a_reference_that_knows_the_coins_is_caught() {
    let folder = setup();
    for (nats, controls, says) in
        [(-2.0, "", "prefers what was withheld"), (-0.5, "--controls teacher.jsonl", "something else than learning")]
    {
        learned(&folder, 0, nats);
        let line = format!("--scores base.jsonl --reference learned.jsonl {controls}");
        let found = test(&folder, &format!("{line} --json"), BOTH).expect(1).json();
        assert_eq!(found[0]["verdict"], "inconclusive", "{nats}: {found:?}");
        assert_eq!(found[0]["reference_agrees"], nats > -1.0, "{nats}: {found:?}");
        assert!(found[0]["ln_e"].as_f64().unwrap() > 14.0, "{nats}: {found:?}");
        let text = test(&folder, &line, BOTH).expect(1).stdout;
        assert!(text.contains(says), "{nats}: {text}");
    }
}

/// What of the list does not count is shown, in whatever way it was left out.
#[test]
fn what_was_left_out_of_the_list_is_shown() {
    let folder = setup();
    let mut served = folder.json_lines("served0.jsonl");
    served.remove(4);
    served.remove(4);
    let equal = served[0]["tokens"][0].clone();
    served[0]["withheld"][0] = equal;
    served[0]["withheld"][1] = 0.into();
    served[0]["withheld"][2] = Value::Null;
    folder.write("less.jsonl", served.iter().map(|line| format!("{line}\n")).collect::<String>());
    let scores = folder.read("base.jsonl");
    let kept = |line: &&str| !line.contains("2026-11/4\"") && !line.contains("2026-11/5\"");
    folder.write("kept.jsonl", scores.lines().filter(kept).map(|line| format!("{line}\n")).collect::<String>());
    let whole = test(&folder, "--scores base.jsonl --json", BOTH).json()[0]["list"].clone();
    let list = test(&folder, "--scores kept.jsonl --json", "less.jsonl served1.jsonl").json()[0]["list"].clone();
    assert_eq!((&list["n_missing"], &list["n_without_candidate"]), (&json!(2), &json!(1)), "{list}");
    assert!(list["n_special"].as_u64() > whole["n_special"].as_u64(), "{list} {whole}");
    let text = test(&folder, "--scores kept.jsonl", "less.jsonl served1.jsonl").stdout;
    assert!(text.contains("2 numbers between them missing") && text.contains("1 without a second one"), "{text}");
}

#[test]
fn models_that_learned_nothing_are_not_detected() {
    let folder = setup();
    for line in ["--scores teacher.jsonl --reference base.jsonl", "--scores teacher.jsonl", "--scores base.jsonl"] {
        let found = test(&folder, &format!("{line} --json"), BOTH).expect(1).json();
        assert_eq!(found[0]["verdict"], "not_detected", "{found:?}");
        assert!(found[0]["n_scored"].as_u64().unwrap() > 300 && found[0]["n_unscored"] == 0, "{found:?}");
    }
}

/// Whoever leaves out what speaks against learning gains nothing: what has no scores counts as lost.
#[test]
fn what_has_no_scores_counts_as_lost() {
    let folder = setup();
    learned(&folder, 1, 1.0);
    let whole = test(&folder, "--scores learned.jsonl --reference base.jsonl --json", BOTH).expect(0).json();
    let lines = folder.read("learned.jsonl");
    let without: String = lines.lines().skip(1).map(|line| format!("{line}\n")).collect();
    folder.write("without.jsonl", without);
    let found = test(&folder, "--scores without.jsonl --reference base.jsonl --json", BOTH).json();
    assert!(found[0]["n_unscored"].as_u64().unwrap() > 10, "{found:?}");
    assert!(found[0]["ln_e"].as_f64().unwrap() < whole[0]["ln_e"].as_f64().unwrap());
    // A bound on what counts is no such thing, because it is the same for all answers.
    let found = test(&folder, "--scores learned.jsonl --reference base.jsonl --first-tokens 8 --json", BOTH).json();
    assert!(found[0]["n_unscored"] == 0 && found[0]["n_scored"].as_u64() < whole[0]["n_scored"].as_u64(), "{found:?}");
}

#[test]
fn a_list_that_does_not_fit_is_an_error() {
    let folder = setup();
    let scores = "--scores teacher.jsonl --reference base.jsonl";
    // Another key, another beacon, or answers that say the other candidate was served: the key alone tells.
    folder.secret("other.json", json!({"key": "watermark-key/1", "path": "", "node": "2b".repeat(32)}).to_string());
    folder
        .line(&format!("pairs test --profile p.json --key other.json {scores} {BOTH}"))
        .fails_with(&["the other candidate was served", "another key"]);
    let mut served = folder.json_lines("served0.jsonl");
    let at = (0..20).find(|&at| served[0]["tokens"][at] != served[0]["withheld"][at]).unwrap();
    let (token, withheld) = (served[0]["tokens"][at].clone(), served[0]["withheld"][at].clone());
    served[0]["tokens"][at] = withheld;
    served[0]["withheld"][at] = token;
    folder.write("swapped.jsonl", served.iter().map(|line| format!("{line}\n")).collect::<String>());
    test(&folder, scores, "swapped.jsonl served1.jsonl").fails_with(&["1 of ", "the other candidate was served"]);
    // Requests in another order, twice, or not in the list.
    test(&folder, scores, "served1.jsonl served0.jsonl").fails_with(&["not in the list"]);
    test(&folder, scores, "served0.jsonl served0.jsonl").fails_with(&["does not follow", "each request once"]);
    test(&folder, scores, "served1.jsonl").fails_with(&["ledger/2026-11/0 is not in the list"]);
    test(&folder, scores, "served0.jsonl").fails_with(&["is not in the list"]);
    // Scores of other draws.
    let lines = folder.read("teacher.jsonl");
    let mut first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    first["scores"][0][1] = 2000.into();
    first["scores"][0][2] = 2001.into();
    folder.write("others.jsonl", format!("{first}\n{}", lines.split_once('\n').unwrap().1));
    test(&folder, "--scores others.jsonl", BOTH).fails_with(&["ledger/2026-11/0", "other candidates"]);
    // A line that cannot be read is not passed over.
    folder.write("broken.jsonl", lines.replacen("[", "{", 1));
    test(&folder, "--scores broken.jsonl", BOTH).fails_with(&["broken.jsonl:1", "of another type"]);
    // A profile without paired draws, and one whose candidates are of another layer.
    folder.line("profile new --out plain.json").expect(0);
    folder.line("profile new --provenance gumbel_dual_key --key-b-share 0.5 --pairs --out dual.json").expect(0);
    folder
        .line("profile new --provenance gumbel_dual_key --alpha 0.5 --pairs --out none.json")
        .fails_with(&["--alpha", "no layer"]);
    for (profile, says) in [("plain.json", "has no paired draws"), ("dual.json", "only ordinary paired draws")] {
        folder.line(&format!("pairs test --profile {profile} --key k.json {scores} {BOTH}")).fails_with(&[says]);
    }
}

#[test]
fn requests_have_numbers() {
    let folder = setup();
    let served = folder.json_lines("served1.jsonl");
    assert_eq!(served[0]["request"], format!("ledger/2026-11/{REQUESTS}"));
    let check = folder.line("profile check p.json --key k.json").expect(0).stdout;
    assert!(check.contains("paired draws"), "{check}");
    folder
        .line("mark --profile p.json --key k.json --prompts prompts.txt --out none.jsonl")
        .fails_with(&["paired draws", "name the request"]);
    let mark = "mark --profile p.json --key k.json --prompts prompts.txt --out none.jsonl";
    for (options, says) in [
        ("--ledger l --first-request 18446744073709551614", "pass the last number"),
        ("--ledger l --unmarked", "cannot be used with"),
    ] {
        folder.line(&format!("{mark} {options}")).fails_with(&[says]);
    }
    let said = folder.line(&format!("{mark} --ledger l --max-tokens 5")).expect(0).stdout;
    assert!(said.contains(&format!("--first-request {REQUESTS}")), "{said}");
    folder.line("pairs score --model base --out base.jsonl served0.jsonl").fails_with(&["not overwritten"]);
    folder.line("detect --profile p.json --key k.json served0.jsonl").fails_with(&["paired draws only"]);
}

/// A plan says what it takes, as a table and as JSON, and refuses what makes no plan.
#[test]
fn a_plan_says_requests_calls_and_money() {
    let folder = Folder::new();
    let plan = "pairs plan --accounts 200 --harvested 50 --requests-each 100";
    let table = folder.line(&format!("{plan} --price-prompt 2")).expect(0).stdout;
    assert!(table.contains("named of 50") && table.contains("cost"), "{table}");
    let lines = folder.line(&format!("{plan} --compare next-token --price-completion 3 --json")).expect(0).json();
    assert!(lines.len() > 5, "{lines:?}");
    let first = &lines[0];
    assert_eq!((&first["compared"], &first["others_named"]), (&json!("next-token"), &json!(0)), "{first}");
    let list = &first["list"];
    assert!(list["calls"].as_u64() > list["requests"].as_u64() && list["cost"].as_f64() > Some(0.0), "{first}");
    folder.line(&format!("{plan} --learned 0")).fails_with(&["above 0 and at most 1"]);
    folder.line("pairs plan --accounts 5 --harvested 6").fails_with(&["6 of 5 accounts"]);
}
