//! What tokenising costs: `Tokenizer::encode` against the `tokenizers` crate alone, on the same texts in the same run.
//!
//! `cargo bench -p watermark-toolkit --bench tokenize -- [TOKENIZER …]`: a `tokenizer.json` or rank file each (default: the
//! embedded one), on the corpora in `../shared/corpus` or `$WATERMARK_CORPUS`. One JSON line per measurement, in CPU seconds
//! of all threads: wall times mean little on a busy machine. A rank file has no library to compare with.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "benchmark")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use rayon::prelude::*;
use serde_json::json;
use watermark_toolkit::read::{self, Body, InputFormat, Limits};
use watermark_toolkit::tokenizer::Tokenizer;

/// Seconds of CPU that this process has taken, all threads; 100 ticks a second on every Linux.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit(')').next().unwrap();
    let ticks: u64 = after.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

/// Texts and prompts of every record in the corpora.
fn corpus() -> Vec<String> {
    let folder = std::env::var_os("WATERMARK_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"), PathBuf::from);
    let mut paths: Vec<PathBuf> = ["*.jsonl*", "*/*.jsonl*"]
        .iter()
        .flat_map(|pattern| glob::glob(folder.join(pattern).to_str().unwrap()).unwrap())
        .map(Result::unwrap)
        .collect();
    paths.sort();
    let records = paths.iter().flat_map(|path| read::open(path, InputFormat::Auto, Limits::default()).unwrap());
    let texts = records.filter_map(|record| match record.ok()?.ok()?.body {
        Body::Text { prompt, text } => Some([prompt.unwrap_or_default(), text]),
        Body::Tokens { .. } => None,
    });
    texts.flatten().collect()
}

/// Megabytes per CPU second of `encode`, which gives the number of tokens of a text.
fn measure(name: &str, what: &str, threads: usize, texts: &[String], encode: impl Fn(&str) -> usize + Sync) -> f64 {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let (begun, before) = (Instant::now(), cpu());
    let tokens: usize = pool.install(|| texts.par_iter().map(|text| encode(text)).sum());
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu() - before);
    let megabytes = texts.iter().map(String::len).sum::<usize>() as f64 / 1e6;
    let tokens_per_cpu_s = (tokens as f64 / cpu).round();
    println!(
        "{}",
        json!({"tokenizer": name, "what": what, "threads": threads, "mb": megabytes, "tokens": tokens, "wall_s": wall, "cpu_s": cpu,
            "mb_per_cpu_s": megabytes / cpu, "mb_per_s": megabytes / wall, "tokens_per_cpu_s": tokens_per_cpu_s})
    );
    megabytes / cpu
}

fn main() {
    let texts = corpus();
    if texts.is_empty() {
        eprintln!("no corpora; set WATERMARK_CORPUS");
        return;
    }
    let mut files: Vec<(String, Vec<u8>)> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    if files.is_empty() {
        files.push(("embedded".to_owned(), watermark_toolkit::tokenizer::EMBEDDED.to_vec()));
    }
    for (name, bytes) in &files {
        // Passes of a tenth of a second would be ten ticks.
        let passes = 8;
        for threads in [1, 2] {
            let tokenizer = Tokenizer::from_bytes(bytes, name).unwrap();
            let encode = |text: &str| tokenizer.encode(text).unwrap().len();
            measure(name, "fast path, first pass", threads, &texts, encode);
            let repeated: Vec<String> = std::iter::repeat_n(&texts, passes).flatten().cloned().collect();
            let fast = measure(name, "fast path, eight passes more", threads, &repeated, encode);
            if let Ok(library) = tokenizers::Tokenizer::from_bytes(bytes) {
                let encode = |text: &str| library.encode_fast(text, false).unwrap().len();
                let slow = measure(name, "tokenizers crate", threads, &texts, encode);
                println!("{}", json!({"tokenizer": name, "threads": threads, "times_faster": fast / slow}));
            }
        }
    }
}
