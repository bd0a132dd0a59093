use serde_json::Value;
use watermark_lab::model::{Config, Model};
use watermark_lab::prompts::word_problems;

use crate::support::Folder;

fn setup() -> Folder {
    let folder = Folder::new();
    folder.line("profile new --out p.json").expect(0);
    folder.line("keygen --out k.json").expect(0);
    folder.line("keygen --out wrong.json").expect(0);
    folder.write("prompts.txt", word_problems(77, 40).join("\n"));
    folder
}

fn verdicts(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["verdict"].as_str().unwrap()).collect()
}

/// `detect` finds `mark`'s output from text (tokenised anew) and from ids, under its key only; the same model and seed
/// without the mark is clean.
#[test]
fn marked_text_is_detected_and_nothing_else() {
    let folder = setup();
    let mark = "mark --profile p.json --key k.json --prompts prompts.txt --max-tokens 80 --seed 5";
    folder.line(&format!("{mark} --out marked.jsonl")).expect(0);
    folder.line(&format!("{mark} --out plain.jsonl --unmarked")).expect(0);
    folder.line(&format!("{mark} --out marked.jsonl")).fails_with(&["marked.jsonl", "not overwritten"]);
    assert_eq!(folder.read("marked.jsonl").lines().count(), 40);
    for format in ["auto", "tokens"] {
        let detect = format!("detect --profile p.json --input-format {format} --json");
        let own = folder.line(&format!("{detect} --key k.json marked.jsonl")).expect(0).json();
        assert_eq!(verdicts(&own), ["detected", "detected"], "{format}: {own:?}");
        assert_eq!([&own[0]["layer"], &own[1]["layer"]], ["distillation", "provenance"]);
        for (key, input) in [("wrong.json", "marked.jsonl"), ("k.json", "plain.jsonl")] {
            let lines = folder.line(&format!("{detect} --key {key} {input}")).expect(1).json();
            assert_eq!(verdicts(&lines), ["not_detected", "not_detected"], "{key} {input} {lines:?}");
        }
    }
}

/// What stands in the prompt is not scored, however marked it is.
#[test]
fn prompts_are_not_scored() {
    let folder = setup();
    folder
        .line("mark --profile p.json --key k.json --prompts prompts.txt --max-tokens 80 --out marked.jsonl")
        .expect(0);
    let repeated: Vec<String> = folder
        .read("marked.jsonl")
        .lines()
        .map(|line| {
            let mut record: Value = serde_json::from_str(line).unwrap();
            record["prompt_tokens"] = record["tokens"].clone();
            record["prompt"] = record["completion"].clone();
            record.to_string()
        })
        .collect();
    folder.write("repeated.jsonl", repeated.join("\n"));
    for format in ["auto", "tokens"] {
        let detect = format!("detect --profile p.json --key k.json --json --input-format {format} repeated.jsonl");
        let lines = folder.line(&detect).expect(1).json();
        assert!(lines.iter().all(|line| line["n_scored"] == 0 && line["verdict"] == "inconclusive"), "{lines:?}");
    }
}

#[test]
fn models_and_prompts_that_cannot_be_used() {
    let folder = setup();
    let mark = "mark --profile p.json --key k.json --out out.jsonl";
    let config = Config { vocab_size: 2048, d_model: 8, n_layers: 1, n_heads: 1, d_ff: 8, context_len: 64 };
    let bytes = Model::new(&config, 1).unwrap().to_safetensors_f16().unwrap();
    folder.write("cut.safetensors", &bytes[..bytes.len() / 2]);
    folder.line(&format!("{mark} --prompts prompts.txt --model cut.safetensors")).fails_with(&["cut.safetensors"]);
    // The last bytes are weights: 0x7e00 is NaN in f16.
    let mut nan = bytes;
    for pair in nan.rchunks_mut(2).take(64) {
        pair.copy_from_slice(&[0x00, 0x7e]);
    }
    folder.write("nan.safetensors", nan);
    folder
        .line(&format!("{mark} --prompts prompts.txt --model nan.safetensors"))
        .fails_with(&["logits cannot be sampled from", "the logit of token 0 is NaN"]);
    folder.write("empty.txt", "\n\n");
    folder.line(&format!("{mark} --prompts empty.txt")).fails_with(&["empty.txt", "no prompts"]);
    folder.write("long.txt", "word ".repeat(500));
    folder.line(&format!("{mark} --prompts long.txt")).fails_with(&["prompt 0", "tokens"]);
    folder.write("bad.jsonl", "{\"completion\": \"x\"}");
    folder.line(&format!("{mark} --prompts bad.jsonl")).fails_with(&["bad.jsonl:1", "prompt"]);
    folder.line(&format!("{mark} --prompts prompts.txt --top-p 0")).fails_with(&["top_p"]);
    assert!(!folder.path("out.jsonl").exists(), "a failed run leaves no output file");
}
