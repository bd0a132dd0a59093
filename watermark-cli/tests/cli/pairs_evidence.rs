use serde_json::{Value, json};
use watermark_lab::prompts::word_problems;

use crate::support::{Folder, ProcessOutput};

const REQUESTS: usize = 8;
const SERVED: &str = "served0.jsonl served1.jsonl";

/// Two accounts' requests, planned and committed to, served, written into a ledger, scored and registered. `change` edits what was served before it
/// goes into the ledger, as a provider can who cheats in time.
fn setup(change: impl Fn(&mut Value)) -> Folder {
    let folder = Folder::new();
    folder.line("profile new --distillation none --provenance none --pairs --out p.json").expect(0);
    folder.fixed_key("k.json");
    folder.line("key export --key k.json --path ledger/2026-11 --out l.json").expect(0);
    folder.line("key signing --out s.json").expect(0);
    folder
        .line("key commit --key k.json --profile p.json --requests ledger/2026-11=40 --signing-key s.json --out commitment")
        .expect(0);
    let prompts = word_problems(79, 2 * REQUESTS);
    for (account, prompts) in prompts.chunks(REQUESTS).enumerate() {
        folder.write("prompts.txt", prompts.join("\n"));
        let first = account * REQUESTS;
        let line = format!(
            "mark --profile p.json --key k.json --ledger ledger/2026-11 --max-tokens 60 --account a{account} --first-request {first} \
             --prompts prompts.txt --out drawn{account}.jsonl"
        );
        folder.line(&line).expect(0);
        let lines = folder.json_lines(&format!("drawn{account}.jsonl")).into_iter().map(|mut line| {
            change(&mut line);
            line.to_string() + "\n"
        });
        folder.write(&format!("served{account}.jsonl"), lines.collect::<String>());
    }
    let append = "ledger append --ledger answers --key l.json --profile p.json";
    folder.line(&format!("{append} --served served0.jsonl --served served1.jsonl")).expect(0);
    folder.line("ledger head --ledger answers --signing-key s.json").expect(0);
    for model in ["base", "teacher"] {
        folder.line(&format!("pairs score --model {model} --out {model}.jsonl {SERVED}")).expect(0);
    }
    folder.line(&format!("pairs score --model teacher --law --out law.jsonl {SERVED}")).expect(0);
    learned(&folder);
    folder.line(&format!("{REGISTER} --out r.json")).expect(0);
    folder
}

const REGISTER: &str = "pairs register --suspect s --control c --profile p.json --head commitment/head.json --ledger-head \
                        answers/heads/0000000000000016.json --reference base=base.jsonl --law served=law.jsonl --signing-key s.json";

/// The scores of `base` with a nat more for what was served to account 1, as a model that learned its answers has them.
fn learned(folder: &Folder) {
    let served = folder.json_lines("served1.jsonl");
    let lines = folder.json_lines("base.jsonl").into_iter().map(|mut line| {
        if let Some(served) = served.iter().find(|served| served["request"] == line["request"]) {
            for score in line["scores"].as_array_mut().unwrap() {
                let token = &served["tokens"][score[0].as_u64().unwrap() as usize];
                let side = if score[1] == *token { 3 } else { 4 };
                score[side] = (score[side].as_i64().unwrap() + 65_536).into();
            }
        }
        line.to_string() + "\n"
    });
    folder.write("suspect.jsonl", lines.collect::<String>());
}

fn evidence(folder: &Folder, served: &str, out: &str) -> ProcessOutput {
    folder.line(&format!(
        "pairs evidence --registration r.json --profile p.json --key k.json --head commitment/head.json --ledger answers --ledger-key l.json \
         --ledger-head answers/heads/0000000000000016.json --scores suspect.jsonl --controls teacher.jsonl --reference base.jsonl --law law.jsonl \
         --signing-key s.json --out {out} {served}"
    ))
}

const DATA: &str = "--data suspect.jsonl --data teacher.jsonl --data base.jsonl --data law.jsonl";

#[test]
fn a_case_from_the_commitment_to_the_verdict() {
    let folder = setup(|_| ());
    let said = evidence(&folder, SERVED, "ev --kit kit").expect(0).stdout;
    assert!(said.contains("s: detected") && said.contains("1 of 2 accounts detected"), "{said}");
    // The kit has all that the bundle names, under names of its own, and its README the command.
    let readme = folder.read("kit/README.txt");
    let scores =
        ["suspect", "control-1", "reference", "law"].map(|name| format!("--data kit/scores/{name}.jsonl")).join(" ");
    let in_kit = scores
        .split("--data kit/")
        .filter(|name| !name.is_empty())
        .all(|name| readme.contains(&format!("--data {}", name.trim())));
    assert!(in_kit && readme.contains("\"verdict\": \"detected\""), "{readme}");
    for file in ["verifier/verify.py", "verifier/pairs.py", "verifier/PAIRS.md", "report.html", "SHA256SUMS"] {
        assert!(!folder.read(&format!("kit/{file}")).is_empty(), "{file}");
    }
    folder.line(&format!("verify kit/evidence.json --data kit/list.jsonl {scores}")).expect(0);
    evidence(&folder, SERVED, "ev2 --kit kit").fails_with(&["kit exists and is not overwritten"]);
    let found =
        folder.line(&format!("verify ev/evidence.json --data ev/list.jsonl {DATA} --json")).expect(0).json().remove(0);
    assert_eq!((&found["integrity"], &found["result"]["verdict"]), (&json!(true), &json!("detected")), "{found}");
    assert_eq!(found["result"]["requests"], 2 * REQUESTS);
    assert_eq!(found["result"]["detected_accounts"].as_array().unwrap().len(), 1);
    assert_eq!(found["recomputed"].as_array().unwrap().len(), 5);
    assert!(found["headline"].as_str().unwrap().contains("without looking at the coins"), "{found}");
    let text = folder.line("verify ev/evidence.json").expect(0).stdout;
    assert!(
        text.contains("all numbers: the list is not given") && text.contains("detected, if it is believed"),
        "{text}"
    );
    folder.line(&format!("report ev/evidence.json --data ev/list.jsonl {DATA} -o page.html")).expect(0);
    let page = folder.read("page.html");
    let says = [
        "Detected: “s” prefers what was served",
        "Served against kept back",
        "Accounts by evidence",
        "as they were served",
    ];
    assert!(says.iter().all(|said| page.contains(said)), "{page}");
    folder.line("report ev/evidence.json -o short.html").expect(0);
    assert!(folder.read("short.html").contains("did not see the list"));

    // The key of the layer, the accounts' names and the ledger's key are nowhere in what is given away.
    let (bundle, list) = (folder.read("ev/evidence.json"), folder.read("ev/list.jsonl"));
    assert!(!list.contains("\"a0\"") && !list.contains("\"a1\""));
    for secret in ["k.json", "l.json"] {
        let node = serde_json::from_str::<Value>(&folder.read(secret)).unwrap()["node"].as_str().unwrap().to_owned();
        assert!(!list.contains(&node) && !bundle.contains(&node), "{secret}");
    }

    // Files that were changed afterwards are other files; a list that was changed is not the ledger.
    let list = list.replacen("\"withheld\":[", "\"withheld\":[null,", 1);
    folder.write("other.jsonl", list);
    folder.line("verify ev/evidence.json --data other.jsonl").expect(1);
    let suspect = folder.read("suspect.jsonl");
    folder.write("more.jsonl", suspect + "\n");
    let found = folder.line("verify ev/evidence.json --data more.jsonl --json").expect(1).json().remove(0);
    assert_eq!(found["faults"][0]["code"], "E-DATA");
}

/// What the accuser can no longer do once the ledger's head is signed.
#[test]
fn what_was_served_cannot_be_told_otherwise() {
    let folder = setup(|_| ());
    let served = folder.json_lines("served1.jsonl");
    let told = |name: &str, change: &dyn Fn(&mut Vec<Value>)| {
        let mut lines = served.clone();
        change(&mut lines);
        folder.write("told.jsonl", lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        evidence(&folder, "served0.jsonl told.jsonl", name)
    };
    let says = "is of other draws than the list says";
    told("a", &|lines| lines[3]["withheld"][2] = 5.into()).fails_with(&["told.jsonl", says]);
    told("b", &|lines| lines[3]["withheld"][2] = Value::Null).fails_with(&[says]);
    told("c", &|lines| lines[3]["tokens"][2] = 5.into()).fails_with(&[says]);
    told("d", &|lines| lines[3]["prompt_tokens"][0] = 5.into()).fails_with(&[says]);
    told("e", &|lines| drop(lines.remove(3))).fails_with(&["the ledger's next one is ledger/2026-11/11"]);
    told("f", &|lines| drop(lines.pop())).fails_with(&["1 requests of the ledger are not among"]);
    told("g", &|lines| lines.push(lines[0].clone())).fails_with(&["has no entry of request"]);
    // An account's name is not read from there at all: the entry has its pseudonym.
    told("h", &|lines| lines[3]["account"] = "a0".into()).expect(0);
    assert_eq!(folder.read("h/list.jsonl"), {
        evidence(&folder, SERVED, "i").expect(0);
        folder.read("i/list.jsonl")
    });
    // Nor can a reference or a law be chosen afterwards.
    folder.write("law.jsonl", folder.read("base.jsonl"));
    evidence(&folder, SERVED, "j").fails_with(&["law", "another file"]);
    // The ledger goes on with the next number, and with no other.
    let append = "ledger append --ledger answers --key l.json --profile p.json --served served1.jsonl";
    folder.line(append).fails_with(&["the ledger's next one is number 16"]);
    folder.line("pairs register --suspect s --profile p.json --head commitment/head.json --ledger-head answers/heads/0000000000000016.json --signing-key s.json --alpha 0.1 --out x.json")
        .fails_with(&["--alpha"]);
}

/// Candidates that were invented in time, before the ledger's head: the served token where the other draw gave another, which strikes a position
/// out. Custody does not see it; the law does.
#[test]
fn invented_candidates_are_not_those_of_the_law() {
    let folder = setup(|line| {
        let tokens = line["tokens"].as_array().unwrap().clone();
        for (at, withheld) in line["withheld"].as_array_mut().unwrap().iter_mut().enumerate() {
            if at % 3 == 0 {
                *withheld = tokens[at].clone();
            }
        }
    });
    let line = "pairs test --profile p.json --key k.json --scores suspect.jsonl --reference base.jsonl";
    let without = folder.line(&format!("{line} --json {SERVED}")).expect(0).json().remove(0);
    assert_eq!((&without["verdict"], &without["draws_log10_p"]), (&json!("detected"), &Value::Null));
    let found = folder.line(&format!("{line} --law law.jsonl --json {SERVED}")).expect(1).json().remove(0);
    assert!(found["draws_log10_p"].as_f64().unwrap() < -20.0, "{found}");
    assert_eq!((&found["verdict"], &found["draws_agree"]), (&json!("inconclusive"), &json!(false)), "{found}");
    let text = folder.line(&format!("{line} --law law.jsonl {SERVED}")).expect(1).stdout;
    assert!(text.contains("not those that this law draws"), "{text}");
    evidence(&folder, SERVED, "ev").expect(1);
    let found =
        folder.line(&format!("verify ev/evidence.json --data ev/list.jsonl {DATA} --json")).expect(0).json().remove(0);
    assert_eq!(found["result"]["verdict"], "inconclusive", "{found}");

    // Any other token is as often the one that the key says was served: the list contradicts itself.
    let folder = setup(|line| {
        for (at, withheld) in line["withheld"].as_array_mut().unwrap().iter_mut().enumerate() {
            *withheld = (1 + at * 37 % 900).into();
        }
    });
    folder.line(&format!("{line} {SERVED}")).fails_with(&["the key says of"]);
}
