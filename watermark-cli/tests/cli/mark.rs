use serde_json::Value;
use watermark_core::scheme::Scheme;
use watermark_lab::model::{Config, Model, Positions};
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

/// A client cannot switch the marks off with the temperature: requests below the policy's floors are raised, and said to be.
#[test]
fn a_request_below_the_floors_is_raised_and_marked() {
    let folder = setup();
    folder.line("profile new --min-temperature 0.5 --min-top-p 0.75 --out held.json").expect(0);
    let check = folder.line("profile check held.json").expect(0).stdout;
    assert!(["raised to 0.5", "raised to 0.75", "top-k and min-p"].iter().all(|said| check.contains(said)), "{check}");
    let json = folder.line("profile check held.json --json").expect(0).json();
    assert_eq!([&json[0]["sampling"]["min_temperature"], &json[0]["sampling"]["min_top_p"]], [0.5, 0.75]);
    let mark = "mark --profile held.json --key k.json --prompts prompts.txt --max-tokens 80 --temperature 0";
    let said = folder.line(&format!("{mark} --top-p 0.3 --top-k 1 --out raised.jsonl")).expect(0).stdout;
    assert!(said.contains("temperature from 0 to 0.5") && said.contains("top-p from 0.3 to 0.75"), "{said}");
    let found = folder.line("detect --profile held.json --key k.json --json raised.jsonl").expect(0).json();
    assert_eq!(verdicts(&found), ["detected", "detected"], "{found:?}");
    // What asks for no less than the floors is left alone, and so is an unmarked answer.
    for options in ["--temperature 0.8 --out high.jsonl", "--unmarked --temperature 0 --out plain.jsonl"] {
        let line = format!("mark --profile held.json --key k.json --prompts prompts.txt --max-tokens 5 {options}");
        let said = folder.line(&line).expect(0).stdout;
        assert!(!said.contains("raised"), "{said}");
    }
    folder.line("profile new --min-top-p 2 --out bad.json").fails_with(&["min_top_p is 2"]);
    folder.line("profile new --min-temperature 0 --out bad.json").fails_with(&["min_temperature is 0"]);
    folder
        .line("profile new --distillation mcmark --gamma 0.5 --boost before_temperature --out bad.json")
        .fails_with(&["mcmark", "after_temperature"]);
    folder.line("profile new --boost sometimes --out bad.json").fails_with(&["sometimes"]);
    folder.line("profile new --boost after_temperature --out free.json").expect(0);
    assert!(!folder.read("free.json").contains("sampling"));
    let check = folder.line("profile check free.json").expect(0).stdout;
    assert!(check.contains("at 0 no layer leaves a mark"), "{check}");
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
    let config = Config {
        vocab_size: 2048,
        d_model: 8,
        n_layers: 1,
        n_heads: 1,
        d_ff: 8,
        context_len: 64,
        positions: Positions::Learned,
    };
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

/// A layer in an engine's format is marked by us, found with the profile and, as the engine's own users would, with the
/// integer key alone; the two agree to the last unit.
#[test]
fn a_fleet_shares_one_key_tree() {
    let folder = Folder::new();
    folder.line("keygen --out k.json").expect(0);
    folder.write("prompts.txt", word_problems(77, 20).join("\n"));
    for engine in ["vllm", "vllm-dual", "sglang"] {
        folder.line(&format!("profile new --distillation none --provenance {engine} --out {engine}.json")).expect(0);
        folder
            .line(&format!(
                "mark --profile {engine}.json --key k.json --prompts prompts.txt --max-tokens 60 --out {engine}.jsonl"
            ))
            .expect(0);
        let detect = format!("detect --input-format tokens --json --resample 99 {engine}.jsonl");
        let by_profile = folder.line(&format!("{detect} --profile {engine}.json --key k.json")).expect(0).json();
        folder.line(&format!("profile engine-key {engine}.json --key k.json --out {engine}.key")).expect(0);
        let by_key =
            folder.line(&format!("{detect} --engine {engine} --engine-key @{engine}.key --compare-peer")).expect(0);
        let by_key = by_key.json();
        assert_eq!(by_profile[0]["scheme"], *engine);
        // The profile knows special tokens, the bare engine does not; the embedded tokenizer's is not generated.
        assert_eq!(by_profile[0]["statistic"], by_key[0]["statistic"], "{engine}");
        assert!(by_key[0]["peer"]["p_value"].as_f64().unwrap() < 1e-6, "{by_key:?}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(folder.path(&format!("{engine}.key"))).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        folder
            .line(&format!("profile engine-key {engine}.json --key k.json --out {engine}.key"))
            .fails_with(&["not overwritten"]);
    }
    folder.line("profile new --out own.json").expect(0);
    folder.line("profile engine-key own.json --key k.json --out x.key").fails_with(&["engine's format"]);
    folder.line("profile new --provenance hf-synthid --out bad.json").fails_with(&["--provenance", "hf-synthid"]);
}

/// The help texts name every scheme and every parameter.
#[test]
fn help_names_the_catalogue() {
    let folder = Folder::new();
    let words = |line: &str| -> Vec<String> {
        let help = folder.line(line).expect(0).stdout;
        help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).map(str::to_owned).collect()
    };
    let (new, detect) = (words("profile new --help"), words("detect --help"));
    for spec in Scheme::SPECS {
        assert!([&new, &detect].iter().all(|help| help.iter().any(|word| word == spec.name)), "{}", spec.name);
        for parameter in spec.parameters {
            let option = format!("--{}", parameter.option);
            assert!(new.contains(&option) && detect.contains(&option) >= parameter.scored, "{option}");
        }
    }
}

/// Every scheme through profile, mark and detect: those that reweight in the layer that is inherited, those that choose in the
/// other one.
#[test]
fn every_scheme_from_profile_to_verdict() {
    let folder = Folder::new();
    folder.line("keygen --out k.json").expect(0);
    folder.write("prompts.txt", word_problems(78, 100).join("\n"));
    let names =
        |chooses: bool| Scheme::SPECS.iter().filter(move |spec| spec.kind.chooses() == chooses).map(|spec| spec.name);
    let choosing: Vec<&str> = names(true).collect();
    let pairs = names(false).zip(choosing.iter().cycle().copied());
    for (distillation, provenance) in pairs.chain([("mcmark", "tournament")]) {
        let profile = format!("{distillation}-{provenance}.json");
        let new = format!("profile new --distillation {distillation} --provenance {provenance} --out {profile}");
        folder.line(&new).expect(0);
        folder.line(&format!("profile check {profile} --key k.json")).expect(0);
        folder
            .line(&format!(
                "mark --profile {profile} --key k.json --prompts prompts.txt --max-tokens 60 --out {profile}l"
            ))
            .expect(0);
        let lines = folder.line(&format!("detect --profile {profile} --key k.json --json {profile}l")).expect(0).json();
        assert_eq!(verdicts(&lines), ["detected", "detected"], "{lines:?}");
        assert_eq!([&lines[0]["scheme"], &lines[1]["scheme"]], [distillation, provenance]);
    }
}

/// `--locate` names the marked answer inside a longer text, in tokens and in bytes.
#[test]
fn a_marked_stretch_is_located() {
    let folder = setup();
    let mark = "mark --profile p.json --key k.json --prompts prompts.txt --max-tokens 120 --seed 5";
    folder.line(&format!("{mark} --out marked.jsonl")).expect(0);
    folder.line(&format!("{mark} --out plain.jsonl --unmarked")).expect(0);
    let texts = |name: &str| -> Vec<String> {
        let text = |line: &str| serde_json::from_str::<Value>(line).unwrap()["completion"].as_str().unwrap().to_owned();
        folder.read(name).lines().map(text).collect()
    };
    let (marked, plain) = (texts("marked.jsonl"), texts("plain.jsonl"));
    let before = plain[..10].join("\n");
    let inside = marked[..5].join("\n");
    folder.write("mixed.txt", format!("{before}\n{inside}\n{}", plain[10..20].join("\n")));
    let run = folder.line("detect --profile p.json --key k.json --locate --json --alpha 1e-3 mixed.txt");
    let spans: Vec<Value> = run.json().into_iter().filter(|line| line.get("span").is_some()).collect();
    assert!(spans.iter().any(|span| span["layer"] == "provenance"), "{run:?}");
    for span in &spans {
        let bytes: Vec<usize> = serde_json::from_value(span["span"]["bytes"].clone()).unwrap();
        let (from, to) = (before.len(), before.len() + inside.len() + 2);
        assert!(bytes[0].abs_diff(from) < 400 && bytes[1].abs_diff(to) < 400, "{span} {from}..{to}");
        assert!(span["log10_p_adjusted"].as_f64().unwrap() <= -3.0 && span["family_size"].as_u64().unwrap() > 50);
    }
    let table = folder.line("detect --profile p.json --key k.json --locate --alpha 1e-3 mixed.txt");
    assert!(
        table.stdout.contains("Marked stretches") && table.stdout.contains("not independently witnessed"),
        "{table:?}"
    );
    let clean = folder.line("detect --profile p.json --key k.json --locate plain.jsonl").expect(1);
    assert!(
        clean.stdout.contains("No stretch of any record") && clean.stdout.contains("would have been detected"),
        "{clean:?}"
    );
}
