//! Null calibration on real text: p values of unmarked corpora under fresh keys are super-uniform, repeats included.
//! Needs the corpora (`../shared/corpus` beside the repository, or `$WATERMARK_CORPUS`); skips loudly without them.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use watermark_core::detect::LayerDetector;
use watermark_core::distill::closed_test;
use watermark_core::key::fresh_keys;
use watermark_core::scheme::{Greenlist, Gumbel, Scheme, Tournament};
use watermark_core::stats::log10_binomial_sf;
use watermark_tests::tokenizer;

/// Seed of the fresh keys.
const SEED: &[u8] = b"null calibration, 2026-11";
/// Tokens per text, as in the published false-positive measurements.
const TEXT: usize = 300;
/// Fresh keys per text.
const KEYS: u32 = 24;
/// Texts per corpus.
const TEXTS: usize = 120;

fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("WATERMARK_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"), PathBuf::from);
    if !folder.is_dir() {
        eprintln!("SKIPPED: no corpora in {}; set WATERMARK_CORPUS", folder.display());
        return None;
    }
    Some(folder)
}

/// Texts of `TEXT` tokens, cut from one file after another record.
fn texts(path: &Path, fields: &[&str]) -> Vec<Vec<u32>> {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    let tokenizer = tokenizer();
    let mut ids: Vec<u32> = Vec::new();
    let mut texts = Vec::new();
    for line in text.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        for field in fields {
            ids.extend(tokenizer.encode(record[*field].as_str().unwrap(), false).unwrap().get_ids());
        }
        while ids.len() >= TEXT {
            let rest = ids.split_off(TEXT);
            texts.push(std::mem::replace(&mut ids, rest));
            if texts.len() == TEXTS {
                return texts;
            }
        }
    }
    texts
}

/// log10 p of one text under one key, by the test's name.
fn log10_p(layer: &LayerDetector, text: &[u32], weighted: bool) -> f64 {
    let mut tally = layer.tally();
    layer.add(&mut tally, &[], text).unwrap();
    if weighted { closed_test(&tally, layer).unwrap().log10_p } else { layer.finding(&tally).unwrap().log10_p }
}

/// At 1e-1, 1e-2 and 1e-3 the rejections of n true nulls are at most Binomial(n, level). The critical count is exceeded
/// with probability below 1e-4 for each of the 3 levels x 5 tests (family below 1.5e-3). Trials share texts but not keys:
/// given the texts, the only randomness is the keys', so trials are independent.
#[test]
fn p_values_are_super_uniform_on_real_text() {
    let Some(folder) = corpus() else { return };
    let mut corpora = vec![
        (folder.join("gsm8k_train.jsonl"), vec!["question", "answer"]),
        (folder.join("rust_book.jsonl.gz"), vec!["text"]),
        (folder.join("peps.jsonl.gz"), vec!["text"]),
        (folder.join("gsm8k_model_solutions.jsonl.gz"), vec!["answer"]),
    ];
    for model in ["gpt4_1106_preview", "claude-2", "alpaca-7b", "Meta-Llama-3.1-8B-Instruct-Turbo"] {
        corpora.push((folder.join(format!("model_outputs/{model}.jsonl.gz")), vec!["completion"]));
    }
    let texts: Vec<Vec<u32>> = corpora.iter().flat_map(|(path, fields)| texts(path, fields)).collect();
    let greenlist = |gamma| Scheme::Greenlist(Greenlist::new(gamma, 2.0).unwrap());
    let tests = [
        ("greenlist", greenlist(0.5), 1, false),
        ("greenlist, width 0", greenlist(0.25), 0, false),
        ("gumbel", Scheme::Gumbel(Gumbel), 4, false),
        ("tournament", Scheme::Tournament(Tournament::new(30).unwrap()), 2, false),
        ("closed, count weights", greenlist(0.5), 1, true),
    ];
    for (number, (name, scheme, width, weighted)) in (0u32..).zip(tests) {
        let trials = u32::try_from(texts.len()).unwrap() * KEYS;
        assert!(trials >= 20_000, "{trials} trials");
        let mut keys = fresh_keys(&[SEED, &number.to_le_bytes()].concat(), trials);
        let mut values = Vec::new();
        for text in &texts {
            for key in keys.by_ref().take(KEYS as usize) {
                let layer = LayerDetector::from_prf_key(scheme, width, &key).unwrap();
                values.push(log10_p(&layer, text, weighted));
            }
        }
        for level in [1e-1, 1e-2, 1e-3f64] {
            let rejected = values.iter().filter(|&&p| p <= level.log10()).count() as u64;
            let n = values.len() as u64;
            eprintln!("{name}: {rejected} of {n} at {level:e}");
            assert!(log10_binomial_sf(rejected, n, level) > -4.0, "{name}: {rejected} of {n} at {level:e}");
        }
    }
}

/// The test of the test: counting every occurrence of a pair instead of each pair once must visibly fail on repetitive
/// text (Unigram, where published tools reach 12 to 32 %).
#[test]
fn without_dedup_the_calibration_fails() {
    let Some(folder) = corpus() else { return };
    let texts = texts(&folder.join("peps.jsonl.gz"), &["text"]);
    let scheme = Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap());
    let (mut rejected, mut n) = (0, 0);
    for (text, key) in texts.iter().cycle().zip(fresh_keys(SEED, 2000)) {
        let layer = LayerDetector::from_prf_key(scheme, 0, &key).unwrap();
        let mut green = 0;
        for &token in text {
            let mut one = layer.tally();
            layer.add(&mut one, &[], &[token]).unwrap();
            green += u64::try_from(layer.finding(&one).unwrap().statistic).unwrap();
        }
        rejected += u64::from(log10_binomial_sf(green, text.len() as u64, 0.5) <= -2.0);
        n += 1;
    }
    eprintln!("without dedup: {rejected} of {n} at 1e-2");
    assert!(log10_binomial_sf(rejected, n, 1e-2) < -20.0, "{rejected} of {n}");
}
