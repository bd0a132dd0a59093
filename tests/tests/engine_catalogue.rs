//! What engines are held to: words, texts and numbers that their own code made, where `data/engines` has a file of them (vLLM's and
//! others' are in `engine_words.rs`), and for every engine of the catalogue a row of the README.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use watermark_core::detect::LayerDetector;
use watermark_core::engine::{Engine, EngineKey, EngineOptions};
use watermark_tests::{close, ids, text};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The cases of every file in `data/engines`.
fn cases() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/engines");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let cases = |path| {
        let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        file["cases"].as_array().unwrap().clone()
    };
    files.flat_map(cases).collect()
}

fn engine(case: &Value) -> Engine {
    let size = |name: &str| case[name].as_u64();
    let options = EngineOptions {
        context_width: size("context_width").map(|width| width.try_into().unwrap()),
        algorithm: case["algorithm"].as_str().map(str::to_owned),
        gamma: case["gamma"].as_f64(),
        depth: size("depth").map(|depth| depth.try_into().unwrap()),
        alpha: case["alpha"].as_f64(),
        vocab_size: size("vocab_size").map(|size| size.try_into().unwrap()),
    };
    Engine::for_key(text(&case["engine"]), text(&case["key"]), &options).unwrap()
}

fn layer(case: &Value, key: &str) -> LayerDetector {
    let engine = engine(case);
    LayerDetector::from_engine(engine, &EngineKey::parse(&engine, key).unwrap()).unwrap()
}

/// A field of ids that may be left out.
fn tokens(row: &Value, name: &str) -> Vec<u32> {
    row.get(name).map_or_else(Vec::new, ids)
}

fn list<'a>(case: &'a Value, name: &str) -> &'a [Value] {
    case[name].as_array().map_or(&[], Vec::as_slice)
}

/// The score of each candidate after the tokens of a prompt and generated tokens before it, which make one context.
#[test]
fn words() {
    let mut n = 0;
    for case in cases() {
        let layer = layer(&case, text(&case["key"]));
        for row in list(&case, "words") {
            let scores = row["scores"].as_array().unwrap();
            let candidates = ids(&row["candidates"]);
            assert_eq!(candidates.len(), scores.len());
            for (candidate, score) in candidates.into_iter().zip(scores) {
                let mut tally = layer.tally();
                let record = [tokens(row, "before"), vec![candidate]].concat();
                layer.add(&mut tally, &tokens(row, "prompt"), &record).unwrap();
                let finding = layer.finding(&tally).unwrap();
                assert_eq!(finding.n_scored, 1, "{} {candidate}", case["engine"]);
                assert_eq!(finding.statistic, u128::from(score.as_u64().unwrap()), "{} {candidate}", case["engine"]);
                n += 1;
            }
        }
    }
    assert!(n > 0);
}

/// What the peer's own detector gives for a text.
#[test]
fn peers_numbers() {
    let mut n = 0;
    for case in cases() {
        let layer = layer(&case, text(&case["key"]));
        for row in list(&case, "texts") {
            let mut peer = layer.peer_tally().unwrap();
            peer.add(&ids(&row["prompt"]), &ids(&row["tokens"]));
            let (got, expected) = (peer.statistic(), &row["peer"]);
            assert_eq!(got.n, expected["n"].as_u64().unwrap(), "{}", case["engine"]);
            assert!(close(got.statistic, expected["statistic"].as_f64().unwrap()), "{}: {got:?}", case["engine"]);
            match (got.p_value, expected["p_value"].as_f64()) {
                (Some(got), Some(expected)) => assert!(close(got, expected), "{}: {got}", case["engine"]),
                (got, expected) => assert_eq!(got, expected),
            }
            n += 1;
        }
    }
    assert!(n > 0);
}

/// Power: texts that the engine marked are detected at 1e-6. Unmarked texts, and marked ones under another key, stay above
/// 1e-4: no more than chance, with fixed texts and keys.
#[test]
fn marked_texts_are_detected() {
    for case in cases() {
        let key = text(&case["key"]);
        for row in list(&case, "texts") {
            let Some(marked) = row["marked"].as_bool() else { continue };
            for (key, marked) in [(key, marked), ("271828182845", false)] {
                let layer = layer(&case, key);
                let mut tally = layer.tally();
                layer.add(&mut tally, &ids(&row["prompt"]), &ids(&row["tokens"])).unwrap();
                let log10_p = layer.finding(&tally).unwrap().log10_p;
                let as_expected = if marked { log10_p <= -6.0 } else { log10_p > -4.0 };
                assert!(as_expected, "{} marked {marked}: {log10_p}", case["engine"]);
            }
        }
    }
}

/// The README's table has a row for every engine and no other, and says of each whether it can be marked with.
#[test]
fn every_engine_has_a_row_in_the_readme() {
    let readme = read("../README.md");
    let section = readme.split("### Marks of other engines").nth(1).unwrap().split("\n##").next().unwrap();
    let mut rows = Vec::new();
    for line in section.lines().filter(|line| line.starts_with("| `") && !line.starts_with("| `--engine`")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        rows.extend(cells[0].split('`').skip(1).step_by(2).map(|name| (name, cells[3] == "yes")));
    }
    let marking: BTreeSet<&str> = Engine::marking().collect();
    let known: Vec<(&str, bool)> = Engine::names().map(|name| (name, marking.contains(name))).collect();
    assert_eq!(rows, known);
}

/// Names are one each, settings of every format are accepted, and an unknown name or algorithm becomes nothing else.
#[test]
fn the_catalogue_is_consistent() {
    let names: Vec<&str> = Engine::names().collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    let examples = Engine::examples(1000).unwrap();
    assert!(names.iter().all(|name| examples.iter().any(|engine| engine.name() == *name)));
    for engine in examples {
        assert_eq!(Engine::new(engine.name(), &engine.options()).unwrap(), engine);
        let unknown = EngineOptions { algorithm: Some("sparkle".to_owned()), ..EngineOptions::default() };
        let message = Engine::new(engine.name(), &unknown).unwrap_err().to_string();
        assert!(message.contains("sparkle") && message.contains(engine.score().name()), "{message}");
    }
    let message = Engine::new("sparkle", &EngineOptions::default()).unwrap_err().to_string();
    assert!(names.iter().all(|name| message.contains(name)), "{message}");
}
