//! Scored tokens per second of every scheme and engine on one thread, and what one more key costs.
//!
//! `count` is what happens once a text (deduplicating its PRF inputs), `score` what happens once a key (words, scores, tail).
#![allow(missing_docs, clippy::unwrap_used, reason = "benchmark")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use watermark_core::detect::{LayerDetector, Tally, Weights};
use watermark_core::engine::{Engine, EngineKey};
use watermark_core::key::NodeKey;
use watermark_core::scheme::{Parameters, Scheme, Spec};

/// Zipf-like ids: most pairs are new, some repeat.
fn tokens(n: usize) -> Vec<u32> {
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let mut token = || {
        let range = 50_000 >> (rng.next_u32() % 12);
        rng.next_u32() % range
    };
    (0..n).map(|_| token()).collect()
}

fn layers() -> Vec<(String, LayerDetector)> {
    let key = NodeKey::root(b"benchmark").prf_key("bench", 4).unwrap();
    let of_spec = |spec: &'static Spec| {
        spec.examples.iter().map(move |example| {
            let (scheme, width) = spec.build(example).unwrap();
            let scored = scheme.parameters();
            let scored = scored.iter().filter(|(name, _)| spec.parameter(name).unwrap().scored);
            let scored: String = scored.map(|(name, value)| format!("_{name}_{value}")).collect();
            (format!("{}{scored}_width_{width}", spec.name), scheme, width)
        })
    };
    let wide = Scheme::from_name("gumbel", &Parameters::new()).unwrap();
    let own = Scheme::SPECS.iter().flat_map(of_spec).chain([("gumbel_width_8".to_owned(), wide, 8)]);
    let own = own.map(|(name, scheme, width)| (name, LayerDetector::from_prf_key(scheme, width, &key).unwrap()));
    let engines = Engine::examples(50_257).unwrap().into_iter().map(|engine| {
        let key = EngineKey::from_prf_key(&engine, &key).unwrap();
        (engine.label(), LayerDetector::from_engine(engine, &key).unwrap())
    });
    own.chain(engines).collect()
}

fn counted(layer: &LayerDetector, tokens: &[u32]) -> Tally {
    let mut tally = layer.tally();
    layer.add(&mut tally, &[], tokens).unwrap();
    tally
}

fn scorers(c: &mut Criterion) {
    for (name, layer) in layers() {
        // Torch's generator is seeded anew for nearly every pair.
        let slow = name.starts_with("hf-kgw") || name == "three-bricks";
        let tokens = tokens(if slow { 2_000 } else { 200_000 });
        let mut group = c.benchmark_group("scorer");
        group.sample_size(10).throughput(Throughput::Elements(tokens.len() as u64));
        group.bench_function(BenchmarkId::new("count", &name), |b| b.iter(|| counted(&layer, black_box(&tokens))));
        let tally = counted(&layer, &tokens);
        group
            .bench_function(BenchmarkId::new("score", &name), |b| b.iter(|| layer.finding(black_box(&tally)).unwrap()));
        group.finish();
    }
}

/// One text of 10,000 tokens under 1, 10, 100 and 1,000 fresh keys; elements are tokens times keys.
fn keys(c: &mut Criterion) {
    let tokens = tokens(10_000);
    for (name, layer) in layers() {
        if !["greenlist_gamma_0.25_width_1", "gumbel_width_4", "tournament_depth_30_width_4", "vllm", "sglang"]
            .contains(&name.as_str())
        {
            continue;
        }
        let tally = counted(&layer, &tokens);
        let log10_p = layer.finding(&tally).unwrap().log10_p;
        let mut group = c.benchmark_group(format!("keys/{name}"));
        group.sample_size(10);
        for keys in [1u32, 10, 100, 1000] {
            group.throughput(Throughput::Elements(tokens.len() as u64 * u64::from(keys)));
            group.bench_function(BenchmarkId::from_parameter(keys), |b| {
                b.iter(|| layer.resample(&tally, Weights::None, log10_p, &[7; 32], 0..keys).unwrap());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, scorers, keys);
criterion_main!(benches);
