use serde_json::{Value, json};
use watermark_lab::prompts::word_problems;
use watermark_lab::shipped;

use crate::support::Folder;

/// Natural logarithms of the teacher's probabilities along an answer, decoded as `mark` does: temperature .8, the 50 most likely tokens.
fn along(record: &Value) -> Value {
    let ids = |field: &str| -> Vec<u32> { serde_json::from_value(record[field].clone()).unwrap() };
    let (prompt, tokens) = (ids("prompt_tokens"), ids("tokens"));
    let all = [&prompt[..], &tokens[..tokens.len() - 1]].concat();
    let logits: Vec<Vec<f32>> = shipped::teacher().unwrap().forward(&all, 1).unwrap().to_vec2().unwrap();
    let row = |logits: &Vec<f32>| -> Value {
        let mut row: Vec<(usize, f32)> = logits.iter().map(|logit| logit / 0.8).enumerate().collect();
        row.sort_by(|a, b| b.1.total_cmp(&a.1));
        row.truncate(50);
        let ln_total = row.iter().map(|(_, logit)| (logit - row[0].1).exp()).sum::<f32>().ln() + row[0].1;
        row.iter().map(|(id, logit)| json!([id, logit - ln_total])).collect()
    };
    let choices: Vec<Value> = logits[prompt.len() - 1..].iter().map(row).collect();
    json!({"prompt_tokens": prompt, "tokens": tokens, "choices": choices})
}

/// Beside what the unmarked model expects along them more answers are found than by counts, and none of those without a mark.
#[test]
fn more_answers_are_found_beside_what_a_model_expects() {
    let folder = Folder::new();
    folder.line("profile new --out p.json --provenance none").expect(0);
    // A fixed key: how many are found differs from key to key.
    folder.fixed_key("k.json");
    folder.write("prompts.txt", word_problems(83, 160).join("\n"));
    let mark = "mark --profile p.json --key k.json --prompts prompts.txt --max-tokens 50 --seed 7";
    folder.line(&format!("{mark} --out marked.jsonl")).expect(0);
    folder.line(&format!("{mark} --out clean.jsonl --unmarked")).expect(0);
    let records: Vec<Value> = ["marked.jsonl", "clean.jsonl"]
        .iter()
        .flat_map(|name| folder.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
        .collect();
    let lines: Vec<Value> = records.iter().map(along).collect();
    let text = |lines: &[Value]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    folder.write("along.jsonl", text(&lines));
    folder.write("partly.jsonl", text(&lines[1..]));
    let detect = "detect --profile p.json --key k.json --input-format tokens --json";
    let found = |name: &str, more: &str, code: i32| {
        folder.line(&format!("{detect} --resample 0 --per-record {more} {name}")).expect(code).json()
    };
    let below = |lines: &[Value], digits: f64| {
        lines[1..].iter().filter(|line| line["log10_p"].as_f64().unwrap() <= -digits).count()
    };
    let (plain, beside) = (found("marked.jsonl", "", 0), found("marked.jsonl", "--reference along.jsonl", 0));
    assert_eq!((plain.len(), beside.len()), (161, 161));
    let [plain_found, beside_found] = [&plain, &beside].map(|lines| [below(lines, 3.0), below(lines, 6.0)]);
    assert!(
        beside_found[0] >= plain_found[0] && beside_found[1] >= plain_found[1] + 5,
        "{plain_found:?} {beside_found:?}"
    );
    assert_eq!([&beside[0]["verdict"], &beside[0]["references_agree"]], [&json!("detected"), &json!(true)]);
    let fresh = folder.line(&format!("{detect} --reference along.jsonl marked.jsonl")).expect(0).json();
    assert!(fresh[0]["log10_p_resampled"].as_f64().unwrap() <= -2.9, "{}", fresh[0]);
    assert_eq!(fresh[0]["log10_p"], beside[0]["log10_p"]);
    assert!(plain[0]["references_log10_p"].is_null() && beside[0]["smallest_effect"].is_null());

    let innocent = found("clean.jsonl", "--reference along.jsonl", 1);
    assert_eq!((&innocent[0]["verdict"], below(&innocent, 3.0)), (&json!("not_detected"), 0), "{:?}", innocent[0]);
    // What stood there is said, and how much of the tokens it covers.
    let [line] = beside[0]["references"].as_array().unwrap().as_slice() else { panic!("{}", beside[0]) };
    assert_eq!([&line["name"], &line["shows"]], ["along.jsonl", "probabilities"]);
    assert_eq!(line["covered_tokens"], line["tested_tokens"]);
    assert_eq!((&beside[0]["weights"], &plain[0]["weights"]), (&json!("residual"), &json!("none")));
    let table = folder.line(
        "detect --profile p.json --key k.json --input-format tokens --resample 0 --reference along.jsonl marked.jsonl",
    );
    for part in
        ["Reference along.jsonl: probabilities, 320 texts", "beside 100 % of the tokens", "There are no controls here"]
    {
        assert!(table.stdout.contains(part), "{part}: {table:?}");
    }
    // The same model's own answers to the prompts can stand there too, as for a suspect.
    let answers = found("marked.jsonl", "--reference clean.jsonl", 0);
    assert_eq!(answers[0]["verdict"], "detected");

    let says = |line: &str, parts: &[&str]| folder.line(&format!("{detect} marked.jsonl {line}")).fails_with(parts);
    // A text without its line is one bad record among the others.
    says("--reference partly.jsonl", &["marked.jsonl:1: partly.jsonl has no probabilities along this text of"]);
    says("--reference partly.jsonl", &["error: 1 records could not be used"]);
    let rest = folder
        .line(&format!("{detect} marked.jsonl --resample 0 --max-bad-records 1 --reference partly.jsonl"))
        .expect(0)
        .json();
    assert_eq!(rest[0]["verdict"], "detected");
    folder.write(
        "talk.jsonl",
        r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "then the man"},
        {"role": "user", "content": "b"}, {"role": "assistant", "content": "and then"}]}"#
            .replace('\n', " "),
    );
    folder
        .line("detect --profile p.json --key k.json talk.jsonl --reference clean.jsonl")
        .fails_with(&["it goes on with a conversation", "give single turns"]);
    says("--reference along.jsonl --locate", &["--locate"]);
    says("--reference marked.jsonl", &["most answers of the input are also those of marked.jsonl"]);
    folder.line("profile new --distillation tournament --provenance none --out t.json").expect(0);
    folder
        .line("detect --profile t.json --key k.json --input-format tokens marked.jsonl --reference along.jsonl")
        .fails_with(&["layer \"distillation\": tournament has no test beside a reference"]);
}
