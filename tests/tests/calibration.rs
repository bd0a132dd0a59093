//! What calibration on real text would show if dedup were missing.
//! Needs the corpora (`../shared/corpus` beside the repository, or `$WATERMARK_CORPUS`); skips loudly without them.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use watermark_core::detect::LayerDetector;
use watermark_core::key::fresh_keys;
use watermark_core::scheme::{Greenlist, Gumbel, Scheme};
use watermark_core::stats::{log10_binomial_sf, log10_gamma_sf_q32};
use watermark_tests::tokenizer;

/// Seed of the fresh keys.
const SEED: &[u8] = b"null calibration, 2026-11";
/// Tokens per text, as in the published false-positive measurements.
const TEXT: usize = 300;
/// Fresh keys per test and corpus.
const TRIALS: u32 = 1000;
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

/// The test of the test: counting every occurrence of a pair instead of each pair once must visibly fail on repetitive
/// text (where published tools reach 7 to 32 % at a nominal 1 %). Plain calibration is `watermark calibrate`.
#[test]
fn without_dedup_the_calibration_fails() {
    let Some(folder) = corpus() else { return };
    let greenlist = |gamma| Scheme::Greenlist(Greenlist::new(gamma, 2.0).unwrap());
    let tests = [
        ("greenlist gamma .5, width 0", greenlist(0.5), 0, -20.0),
        ("greenlist gamma .25, width 0", greenlist(0.25), 0, -20.0),
        ("greenlist gamma .5, width 1", greenlist(0.5), 1, -3.0),
        ("gumbel, width 2", Scheme::Gumbel(Gumbel), 2, 0.0),
    ];
    for (corpus, file, field) in [("PEPs", "peps.jsonl.gz", "text"), ("GSM8K", "gsm8k_train.jsonl", "answer")] {
        let texts = texts(&folder.join(file), &[field]);
        for (name, scheme, width, limit) in tests {
            let (mut rejected, mut n) = (0, 0);
            for (text, key) in texts.iter().cycle().zip(fresh_keys(&[SEED, name.as_bytes()].concat(), TRIALS)) {
                let layer = LayerDetector::from_prf_key(scheme, width, &key).unwrap();
                let mut sum = 0;
                for window in text.windows(width + 1) {
                    let mut one = layer.tally();
                    layer.add(&mut one, &[], window).unwrap();
                    sum += layer.finding(&one).unwrap().statistic;
                }
                let positions = (text.len() - width) as u64;
                let log10_p = match scheme {
                    Scheme::Greenlist(list) => log10_binomial_sf(u64::try_from(sum).unwrap(), positions, list.gamma()),
                    _ => log10_gamma_sf_q32(positions, sum),
                };
                rejected += u64::from(log10_p <= -2.0);
                n += 1;
            }
            let chance = log10_binomial_sf(rejected, n, 1e-2);
            eprintln!("without dedup, {corpus}, {name}: {rejected} of {n} at 1e-2 (log10 of the chance {chance:.1})");
            if corpus == "PEPs" {
                assert!(chance <= limit, "{name}: {rejected} of {n}");
            }
        }
    }
}
