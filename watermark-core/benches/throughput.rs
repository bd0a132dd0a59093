//! PRF words per second (against `rand_chacha` in the same run), one marking step.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_sign_loss, reason = "benchmark")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use watermark_core::engine::{Engine, EngineOptions};
use watermark_core::key::{KeyPath, NodeKey};
use watermark_core::mark::{Marker, Sampling, SessionOptions};
use watermark_core::prf::ChaCha20V1;
use watermark_core::profile::{AnyScheme, Layer, Profile, TokenizerInfo};
use watermark_core::scheme::{Greenlist, Gumbel, Scheme, Spec};

const VOCABULARIES: [u32; 2] = [32_000, 128_256];

/// Cases in which nothing is marked.
const UNMARKED: [&str; 2] = ["unmarked", "unmarked_top_k_50"];

fn key() -> NodeKey {
    NodeKey::root(b"benchmark")
}

fn prf_words(c: &mut Criterion) {
    let mut group = c.benchmark_group("prf_words");
    let prf = ChaCha20V1::new(&key().prf_key("gumbel", 4).unwrap(), 4).unwrap();
    let context = prf.context(&[1, 2, 3, 4]).unwrap().unwrap();
    for vocab in VOCABULARIES {
        let mut words = vec![0u32; vocab as usize];
        group.throughput(Throughput::Elements(u64::from(vocab)));
        group.bench_function(BenchmarkId::new("vocabulary", vocab), |b| {
            b.iter(|| prf.vocabulary_words(context, black_box(&mut words)).unwrap());
        });
        let mut bytes = vec![0u8; 4 * vocab as usize];
        group.bench_function(BenchmarkId::new("rand_chacha_vocabulary", vocab), |b| {
            b.iter(|| ChaCha20Rng::from_seed([7; 32]).fill_bytes(black_box(&mut bytes)));
        });
    }
    let mut scattered = Vec::new();
    group.throughput(Throughput::Elements(4096));
    group.bench_function("scattered", |b| {
        b.iter(|| prf.words((0..4096u32).map(|t| (context, t * 31)), black_box(&mut scattered)).unwrap());
    });
    group.bench_function("rand_chacha_scattered", |b| {
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        b.iter(|| {
            for t in 0..4096u128 {
                rng.set_word_pos(t * 31);
                black_box(rng.next_u32());
            }
        });
    });
    group.finish();
}

/// Normal logits (standard deviation 2) with a head of 500 tokens at 16 - 1.3 ln(rank).
fn logits(vocab: u32) -> Vec<f32> {
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let mut uniform = || (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0;
    let mut row: Vec<f32> = (0..vocab)
        .map(|_| (2.0 * (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()) as f32)
        .collect();
    for rank in 1..=500 {
        let at = (uniform() * f64::from(vocab)) as usize;
        row[at] = (16.0 - 1.3 * f64::from(rank).ln()) as f32;
    }
    row
}

fn marking_step(c: &mut Criterion) {
    let mut group = c.benchmark_group("marking_step");
    let greenlist = Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap());
    let plain = Sampling { temperature: 0.8, ..Sampling::default() };
    let cases = [
        ("both_layers", Layer::defaults(greenlist, Scheme::Gumbel(Gumbel)), plain),
        (
            "both_layers_top_p",
            Layer::defaults(greenlist, Scheme::Gumbel(Gumbel)),
            Sampling { top_p: Some(0.95), ..plain },
        ),
        (
            "both_layers_top_k_50",
            Layer::defaults(greenlist, Scheme::Gumbel(Gumbel)),
            Sampling { top_k: Some(50), ..plain },
        ),
        ("gumbel", Layer::defaults(greenlist, Scheme::Gumbel(Gumbel)).split_off(1), plain),
        // Without layers: paired draws, beside the one draw of an unmarked session.
        ("paired", Vec::new(), plain),
        ("paired_top_k_50", Vec::new(), Sampling { top_k: Some(50), ..plain }),
        (UNMARKED[0], Layer::defaults(greenlist, Scheme::Gumbel(Gumbel)), plain),
        (UNMARKED[1], Layer::defaults(greenlist, Scheme::Gumbel(Gumbel)), Sampling { top_k: Some(50), ..plain }),
    ];
    let layer = |scheme: AnyScheme, width| vec![Layer { name: "layer".to_owned(), scheme, width, per_account: false }];
    // Every scheme at its first example, where a deployment would have it: behind a truncation.
    let first = |spec: &'static Spec| {
        let (scheme, width) = spec.build(&spec.examples[0]).unwrap();
        (format!("{}_top_k_50", spec.name), layer(scheme.into(), width), Sampling { top_k: Some(50), ..plain })
    };
    let vllm = Engine::new("vllm", &EngineOptions::default()).unwrap().into();
    let cases = cases.map(|(name, layers, sampling): (&str, _, _)| (name.to_owned(), layers, sampling));
    let others = Scheme::SPECS.iter().map(first).chain([("vllm".to_owned(), layer(vllm, 4), plain)]);
    let cases: Vec<_> = cases.into_iter().chain(others).collect();
    for vocab in VOCABULARIES {
        let row = logits(vocab);
        for (name, layers, sampling) in &cases {
            let profile = Profile {
                name: "bench".to_owned(),
                path: KeyPath::root(),
                tokenizer: TokenizerInfo { sha256: [0; 32], vocab_size: vocab, special_token_ids: vec![0] },
                layers: layers.clone(),
                paired: layers.is_empty().then(|| "pairs".to_owned()),
                ..Profile::default()
            };
            let marker = Marker::new(profile, &key()).unwrap();
            let options = SessionOptions {
                marked: !UNMARKED.contains(&name.as_str()),
                sampling: *sampling,
                request: layers.is_empty().then(|| "ledger/bench/0".to_owned()),
                ..SessionOptions::default()
            };
            let mut session = marker.session(&options).unwrap();
            let mut step = 0;
            for token in 1..5 {
                session.accept(token).unwrap();
            }
            let proxy = vec![1.0 / vocab as f32; vocab as usize];
            let needs_proxy = layers.iter().any(|layer| layer.scheme.needs_proxy());
            group.bench_function(BenchmarkId::new(name, vocab), |b| {
                b.iter(|| {
                    // A new context each time, as in generation.
                    step += 1;
                    session.rollback(1);
                    session.accept(1 + step % 30_000).unwrap();
                    if needs_proxy {
                        session.set_proxy(&proxy).unwrap();
                    }
                    session.sample(black_box(&row)).unwrap()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, prf_words, marking_step);
criterion_main!(benches);
