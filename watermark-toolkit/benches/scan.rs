//! What a scan costs: against tokenising alone, from token ids, through the disk, and per key.
//!
//! `cargo bench -p watermark-toolkit --bench scan -- [TEXT.jsonl …]`; without files, text of random words of the embedded
//! vocabulary. Prints one JSON line per measurement, with the CPU seconds of all threads beside the wall time: on a busy
//! machine only the former can be compared.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "benchmark")]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use rayon::prelude::*;
use serde_json::json;
use watermark_core::key::NodeKey;
use watermark_core::profile::Profile;
use watermark_toolkit::files::ProfileFile;
use watermark_toolkit::read::{self, Body, InputFormat, Limits, Select};
use watermark_toolkit::scan::{Keys, Marks, Options, Profiles, ScanEnd, scan};
use watermark_toolkit::tokenizer::Tokenizer;

const THREADS: usize = 2;

/// Seconds of CPU that this process has taken, all threads; 100 ticks a second on every Linux.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit(')').next().unwrap();
    let ticks: u64 = after.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn timed<T>(what: &str, tokens: u64, work: impl FnOnce() -> T) -> T {
    let (begun, before) = (Instant::now(), cpu());
    let made = work();
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu() - before);
    let rate = if tokens > 0 { json!((tokens as f64 / cpu).round()) } else { json!(null) };
    println!(
        "{}",
        json!({"what": what, "wall_s": wall, "cpu_s": cpu, "tokens": tokens, "tokens_per_cpu_s": rate, "peak_mib": peak_mib()})
    );
    made
}

struct Bench {
    folder: PathBuf,
    profile: Profile,
    tokenizer: Tokenizer,
    ids: Profiles,
    texts: Profiles,
}

impl Bench {
    fn keys(&self, n: usize) -> Keys {
        let nodes: Vec<_> = (0..n).map(|i| (i.to_string(), NodeKey::root(&i.to_le_bytes()))).collect();
        Keys::new(&self.ids, &nodes, None).unwrap()
    }

    fn scan(&self, name: &str, inputs: &[PathBuf], format: InputFormat, keys: &Keys, memory: u64) -> u64 {
        let options = Options {
            inputs: inputs.to_vec(),
            out: self.folder.join(name),
            input_format: format,
            select: Select::default(),
            alpha: 1e-6,
            memory,
            threads: THREADS,
            shard_bytes: 8 << 20,
        };
        let profiles = if format == InputFormat::Tokens { &self.ids } else { &self.texts };
        let marks = Marks { profiles, keys };
        match scan(&options, &marks, &AtomicBool::new(false), &|_| ()).unwrap() {
            ScanEnd::Finished(finished) => finished.summary.tokenizers[0].tokens,
            ScanEnd::Stopped => 0,
        }
    }
}

/// Tokens of every text and prompt, and nothing else.
fn tokenise(inputs: &[PathBuf], tokenizer: &Tokenizer) -> u64 {
    let records = inputs.iter().flat_map(|path| read::open(path, InputFormat::Auto, Limits::default()).unwrap());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build().unwrap();
    let tokens = records.par_bridge().map(|record| match record.unwrap().unwrap().body {
        Body::Text { prompt, text } => {
            tokenizer.encode(prompt.as_deref().unwrap_or("")).unwrap();
            tokenizer.encode(&text).unwrap().len() as u64
        }
        Body::Tokens { tokens, .. } => tokens.len() as u64,
    });
    pool.install(|| tokens.sum())
}

/// A step of a linear congruential generator (Knuth), upper half.
fn random(state: &mut u64) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 32) as u32
}

/// Records of 500 random ids, each as frequent as any other, so that hardly a pair repeats: the worst case.
fn write_ids(path: &Path, tokens: u64, vocab_size: u32) {
    use std::io::Write;
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let mut state = 7;
    for _ in 0..tokens / 500 {
        let ids: Vec<String> = (0..500).map(|_| (3 + random(&mut state) % (vocab_size - 3)).to_string()).collect();
        writeln!(file, "{{\"tokens\":[{}]}}", ids.join(",")).unwrap();
    }
    file.flush().unwrap();
}

fn write_text(path: &Path, tokenizer: &Tokenizer, vocab_size: u32) {
    use std::io::Write;
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let mut state = 7;
    for _ in 0..4000 {
        let ids: Vec<u32> = (0..500)
            .map(|_| {
                let range = (vocab_size - 300) >> (random(&mut state) % 8);
                256 + random(&mut state) % range.max(1)
            })
            .collect();
        writeln!(file, "{}", json!({ "text": tokenizer.decode(&ids).unwrap() })).unwrap();
    }
    file.flush().unwrap();
}

fn main() {
    let given: Vec<PathBuf> = std::env::args_os().skip(1).filter(|a| a != "--bench").map(PathBuf::from).collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("scan-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let tokenizer = Tokenizer::embedded().unwrap();
    let info = tokenizer.info().unwrap();
    let vocab_size = info.vocab_size;
    let profile = serde_json::from_value::<serde_json::Value>(json!({
        "profile": "watermark-profile/1", "name": "bench", "path": "bench",
        "tokenizer": {"sha256": watermark_core::hex::encode(&info.sha256), "vocab_size": vocab_size,
            "special_token_ids": info.special_token_ids},
        "layers": [{"name": "provenance", "scheme": "gumbel", "width": 4, "prf": "chacha20-v1"}],
        "repeats": "unmarked"
    }));
    let profile = Profile::parse(&profile.unwrap().to_string()).unwrap();
    let file = ProfileFile { profile: profile.clone(), sha256: [0; 32] };
    let ids = Profiles::of_ids(vec![file.clone()]).unwrap();
    let of_texts = Profiles::of_text(vec![(folder.join("profile.json"), file)], &[]).unwrap();
    let bench = Bench { folder: folder.clone(), profile, tokenizer, ids, texts: of_texts };

    let mut texts = given;
    if texts.is_empty() {
        texts.push(folder.join("text.jsonl"));
        write_text(&texts[0], &bench.tokenizer, vocab_size);
    }
    texts.sort();
    let key = bench.keys(1);
    let tokens = tokenise(&texts, &bench.tokenizer);
    timed("tokenising alone", tokens, || tokenise(&texts, &bench.tokenizer));
    timed("scan from text, 1 key", tokens, || bench.scan("text", &texts, InputFormat::Auto, &key, 1 << 30));
    timed("the same from its token ids", tokens, || bench.scan("text", &texts, InputFormat::Auto, &key, 1 << 30));

    let ids = [folder.join("ids.jsonl")];
    let millions: u64 = std::env::var("SCAN_BENCH_MILLIONS").map_or(20, |n| n.parse().unwrap());
    let tokens = millions * 1_000_000;
    write_ids(&ids[0], tokens, vocab_size);
    // The spilled run first: the peak of a process only grows.
    let scan_ids = |memory| bench.scan("ids", &ids, InputFormat::Tokens, &key, memory);
    timed("random ids from JSON, scanned with 512 MiB", tokens, || scan_ids(512 << 20));
    timed("the same from shards with 512 MiB", tokens, || scan_ids(512 << 20));
    timed("the same from shards with 64 MiB", tokens, || scan_ids(64 << 20));
    timed("the same from shards in memory", tokens, || scan_ids(16 << 30));

    // Far above the size up to which fresh keys are drawn, which would be timed as well.
    let ids = [folder.join("few.jsonl")];
    let tokens = 1_100_000;
    write_ids(&ids[0], tokens, vocab_size);
    let many = std::env::var("SCAN_BENCH_KEYS").map_or(1000, |keys| keys.parse().unwrap());
    let keys = timed(&format!("deriving {many} keys"), 0, || bench.keys(many));
    let cost = |name: &str, keys: &Keys| {
        let before = cpu();
        bench.scan(name, &ids, InputFormat::Tokens, keys, 1 << 30);
        cpu() - before
    };
    let (one, all) = (cost("few1", &key), cost("many", &keys));
    // Four positions of 500 have no full context.
    let (per_key, kernel) = ((all - one) / (many - 1) as f64, kernel(&bench, 1_100_000 / 500 * 496));
    println!(
        "{}",
        json!({"what": format!("1.1 M tokens under {many} keys"), "cpu_s": all, "cpu_s_per_key": per_key,
            "kernel_cpu_s_per_key": kernel, "ratio": per_key / kernel})
    );
    std::fs::remove_dir_all(folder).unwrap();
}

/// CPU seconds of the PRF alone for `n` scattered pairs.
fn kernel(bench: &Bench, n: usize) -> f64 {
    let node = NodeKey::root(b"kernel");
    let key = bench.profile.prf_key(&bench.profile.layers[0], &node, None).unwrap();
    let prf = watermark_core::prf::ChaCha20V1::new(&key, 4).unwrap();
    let mut state = 3;
    let pairs: Vec<_> = (0..n)
        .map(|_| {
            let window = [0; 4].map(|_: u32| random(&mut state) % 2048);
            (prf.context(&window).unwrap().unwrap(), random(&mut state) % 2048)
        })
        .collect();
    let mut words = Vec::new();
    let before = cpu();
    let repeat = 50;
    for _ in 0..repeat {
        for chunk in pairs.chunks(4096) {
            prf.words(chunk.iter().copied(), &mut words).unwrap();
            std::hint::black_box(&words);
        }
    }
    (cpu() - before) / f64::from(repeat)
}
