use serde_json::json;
use watermark_core::engine::hf_kgw::{HfSelfHash, hf_left_hash_seed};
use watermark_core::engine::sglang::{SglangMurmur, sglang_context_hash};
use watermark_core::engine::synthid::{SynthIdDeepMind, SynthIdHf};
use watermark_core::engine::textseal::{textseal_input, textseal_residue};
use watermark_core::engine::three_bricks::three_bricks_seed;
use watermark_core::engine::vllm::{VllmPhilox, vllm_dual_keys};
use watermark_core::engine::{torch_rand24, torch_randperm};
use watermark_core::scheme::Gumbel;

use crate::support::{Folder, ProcessOutput};

/// Tokens of one record, all ids different, so that nothing is a duplicate.
const TOKENS: std::ops::Range<u32> = 100..164;

fn detect(engine: &str) -> ProcessOutput {
    let folder = Folder::new();
    let record = json!({ "prompt_tokens": [1, 2, 3, 4, 5], "tokens": TOKENS.collect::<Vec<_>>() });
    folder.write("in.jsonl", record.to_string());
    folder.line(&format!("detect --json --input-format tokens --compare-peer --resample 99 {engine} in.jsonl"))
}

fn check(engine: &str, n: u64, statistic: u64) {
    let run = detect(engine);
    let line = &run.json()[0];
    assert_eq!(line["n_scored"], n, "{engine}");
    assert_eq!(line["statistic"], json!(statistic.to_string()), "{engine}");
    assert!(line["log10_p"].as_f64().unwrap() <= 0.0 && line["peer"]["n"].is_u64(), "{line}");
    run.expect(1);
}

/// Windows of `width` generated tokens and the token after each.
fn windows(width: usize) -> impl Iterator<Item = (Vec<u32>, u32)> {
    let tokens: Vec<u32> = TOKENS.collect();
    (width..tokens.len()).map(move |i| (tokens[i - width..i].to_vec(), tokens[i]))
}

/// vLLM begins at the first token, with -1 where there is none yet.
fn padded(width: usize) -> impl Iterator<Item = (Vec<u32>, u32)> {
    let tokens: Vec<u32> = vec![u32::MAX; width].into_iter().chain(TOKENS).collect();
    (width..tokens.len()).map(move |i| (tokens[i - width..i].to_vec(), tokens[i]))
}

/// vLLM reads 24 bits of a word.
fn vllm_score(prf: &VllmPhilox, (context, token): &(Vec<u32>, u32)) -> u64 {
    Gumbel.score_q32(prf.word(context, *token) >> 8 << 8)
}

#[test]
fn vllm() {
    let prf = VllmPhilox::new(42);
    check("--engine vllm --engine-key 42", 64, padded(4).map(|pair| vllm_score(&prf, &pair)).sum());
    let wide: u64 = padded(7).map(|pair| vllm_score(&prf, &pair)).sum();
    check("--engine vllm --engine-key 42 --context-width 7", 64, wide);
    let (a, b) = vllm_dual_keys(42);
    let (a, b) = (VllmPhilox::new(a), VllmPhilox::new(b));
    let share_b = 429_496_729u128; // floor(0.1 * 2^32)
    let mix = |a: u64, b: u64| ((u128::from(a) * ((1 << 32) - share_b) + u128::from(b) * share_b) >> 32) as u64;
    let dual: u64 = padded(4).map(|pair| mix(vllm_score(&a, &pair), vllm_score(&b, &pair))).sum();
    check("--engine vllm-dual --engine-key 42", 64, dual);
    // The largest key is one too.
    detect(&format!("--engine vllm --engine-key {}", u64::MAX)).expect(1);
}

/// Also the published run of SGLang's own detector: score 68.62269814132127, ln p -1.3009104812925651.
#[test]
fn sglang() {
    let prf = SglangMurmur::new(0x0123_4567_89ab_cdef);
    let all: Vec<u32> = [1, 2, 3, 4, 5].into_iter().chain(TOKENS).collect();
    let score = |i: usize| Gumbel.score_q32(prf.word(sglang_context_hash(&all[i - 4..i]), all[i]));
    let engine = "--engine sglang --engine-key 0123456789abcdef";
    check(engine, 64, (5..all.len()).map(score).sum());
    let run = detect(engine);
    let line = &run.json()[0];
    let close = |got: &serde_json::Value, expected: f64| (got.as_f64().unwrap() / expected - 1.0).abs() < 1e-9;
    assert!(close(&line["peer"]["statistic"], 68.622_698_141_321_27), "{line}");
    assert!(close(&line["peer"]["p_value"], (-1.300_910_481_292_565_1f64).exp()), "{line}");
    // Ours rounds 64 scores down by less than 2^-32 each, so p is the same to eight digits.
    assert!((line["log10_p"].as_f64().unwrap() * std::f64::consts::LN_10 + 1.300_910_481_3).abs() < 1e-7);
}

#[test]
fn textseal() {
    let residue =
        |token_step: u32, pair: &(Vec<u32>, u32)| textseal_residue(textseal_input(&pair.0, pair.1 + token_step), 42);
    let green = windows(2).filter(|pair| f64::from(residue(0, pair)) / 8191.0 < 0.5).count() as u64;
    let list = "--engine textseal@2025-12 --engine-key 42 --context-width 2 --algorithm greenlist";
    check(list, 62, green);
    let gumbel = detect("--engine textseal@2026 --engine-key 42 --context-width 2 --algorithm gumbel");
    let sum: f64 = windows(2).map(|pair| -(1.0 - f64::from(residue(0, &pair)) / 8191.0).ln()).sum();
    let line = &gumbel.json()[0];
    let got = line["statistic"].as_str().unwrap().parse::<f64>().unwrap() / 4_294_967_296.0;
    assert!(got <= sum && sum - got < 1e-6, "{got} {sum}");
    // Two keys, half each, since 2026.
    let dual = detect("--engine textseal@2026 --engine-key 42 --context-width 2");
    let key_b = |pair: &(Vec<u32>, u32)| textseal_residue(textseal_input(&pair.0, pair.1), 42 + 12_345);
    let other: f64 = windows(2).map(|pair| -(1.0 - f64::from(key_b(&pair)) / 8191.0).ln()).sum();
    let got = dual.json()[0]["statistic"].as_str().unwrap().parse::<f64>().unwrap() / 4_294_967_296.0;
    assert!((got - 0.5 * (sum + other)).abs() < 1e-6);
    // Rounds of neighbouring tokens are one PRF input in 2025: each counts once.
    let mut seen = std::collections::HashSet::new();
    let mut ones = 0u64;
    for (window, token) in windows(1) {
        for round in 0..5 {
            let input = textseal_input(&window, token + round);
            if seen.insert(input) && f64::from(textseal_residue(input, 42)) / 8191.0 < 0.5 {
                ones += 1;
            }
        }
    }
    check("--engine textseal@2025-12 --engine-key 42 --algorithm tournament --depth 5", 63, ones);
}

#[test]
fn synthid() {
    let keys = [654i64, 400, 836, 123];
    let deepmind = SynthIdDeepMind::new(&keys).unwrap();
    let ones = windows(4).map(|(context, token)| u64::from(deepmind.bits(&context, token).count_ones())).sum();
    check("--engine synthid-deepmind --engine-key 654,400,836,123", 60, ones);
    let hf = SynthIdHf::new(&keys).unwrap();
    let inputs: std::collections::HashSet<u16> = windows(4).map(|(context, token)| hf.input(&context, token)).collect();
    let ones = inputs.iter().map(|&input| u64::from(hf.bits_at(input).count_ones())).sum();
    check("--engine hf-synthid --engine-key 654,400,836,123", inputs.len() as u64, ones);
}

#[test]
fn torch_generators() {
    let on_list = |seed: u32, token: u32| torch_randperm(seed, 1000)[..250].contains(&token);
    let left = windows(1).filter(|(context, token)| on_list(hf_left_hash_seed(15_485_863, context[0]), *token));
    check("--engine hf-kgw-lefthash --engine-key 15485863 --vocab-size 1000", 63, left.count() as u64);
    let seeds = HfSelfHash::new(15_485_863);
    let own = windows(3).filter(|(context, token)| {
        let seed = seeds.seed(&[&context[..], &[*token]].concat());
        on_list(HfSelfHash::generator_seed(seed), *token)
    });
    let selfhash = "--engine hf-kgw-selfhash --engine-key 15485863 --context-width 4 --vocab-size 1000";
    check(selfhash, 61, own.count() as u64);
    assert!(detect(selfhash).json()[0]["log10_p_resampled"].is_null());
    let scores = windows(4)
        .map(|(ngram, token)| Gumbel.score_q32(torch_rand24(three_bricks_seed(35_317, &ngram), &[token])[0] << 8));
    check("--engine three-bricks --engine-key 35317", 60, scores.sum());
    let lists = windows(4).filter(|(ngram, token)| on_list(three_bricks_seed(35_317, ngram), *token));
    let engine = "--engine three-bricks --engine-key 35317 --algorithm greenlist --vocab-size 1000";
    check(engine, 60, lists.count() as u64);
}

#[test]
fn what_cannot_be_done_is_explained() {
    for engine in ["hf-kgw-lefthash --vocab-size 1000", "hf-synthid", "three-bricks"] {
        let run = detect(&format!("--engine {engine} --engine-key 1 --engine-device cuda"));
        run.fails_with(&["CUDA", "launch grid", "CPU generator"]);
    }
    // Counter-based engines are the same everywhere.
    detect("--engine vllm --engine-key 1 --engine-device cuda").expect(1);
    detect("--engine sparkle --engine-key 1").fails_with(&["sparkle", "textseal@2026"]);
    detect("--engine sglang --engine-key 0xzz").fails_with(&["hexadecimal"]);
    detect("--engine vllm --engine-key 2a").fails_with(&["decimal"]);
    detect("--engine hf-kgw-lefthash --engine-key 1").fails_with(&["vocab_size"]);
    detect("--engine vllm --engine-key 1 --gamma 0.5").fails_with(&["gamma does not apply"]);
    detect("--engine vllm --engine-key 1 --context-width 9").fails_with(&["context_width 9"]);
    detect("--engine sglang --engine-key 1 --context-width 64").expect(1);
    detect("--engine synthid-deepmind --engine-key 1,2 --weights sqrt").fails_with(&["--weights", "synthid-deepmind"]);
    detect("--engine hf-synthid --engine-key 1,2 --locate").fails_with(&["--locate", "tournament"]);
}

/// One line of detection over records of token ids.
fn statistic(engine: &str, records: &[&[u32]]) -> (serde_json::Value, serde_json::Value, serde_json::Value) {
    let folder = Folder::new();
    let lines: Vec<String> = records.iter().map(|tokens| json!({ "tokens": tokens }).to_string()).collect();
    folder.write("in.jsonl", lines.join("\n"));
    let run = folder.line(&format!("detect --json --input-format tokens --resample 0 {engine} in.jsonl"));
    let line = run.json()[0].clone();
    (line["n_scored"].clone(), line["statistic"].clone(), line["log10_p"].clone())
}

/// What is one draw under the engine's function counts once, however it is written: equal sums of ids and repeated layer
/// keys of SynthID, contexts that a bad key sends to one seed. Otherwise text could be written that frames nearly any key.
#[test]
fn draws_that_are_copies_count_once() {
    let flat: &[u32] = &[10_000; 5];
    // A short vector of the lattice of id changes that leave the 64-bit hash as it is.
    let moved: &[u32] = &[10_000 - 1104, 10_000 + 2190, 10_000 + 1987, 10_000 + 4546, 10_000 + 5333];
    let engine = "--engine synthid-deepmind --engine-key 654,400,836,123";
    assert_eq!(statistic(engine, &[flat, moved]).0, 1);
    assert_eq!(statistic(engine, &[flat, moved]), statistic(engine, &[flat]));
    let tokens: Vec<u32> = TOKENS.collect();
    let hf = |key: &str| statistic(&format!("--engine hf-synthid --engine-key {key}"), &[&tokens]);
    assert_eq!(hf("1,65537,2,131073,2"), hf("1,2"));
    // DeepMind's start depends on all keys, so only the number of layers can be compared.
    let thirty = ["77"; 30].join(",");
    let (n, ones, _) = statistic(&format!("--engine synthid-deepmind --engine-key {thirty}"), &[&tokens]);
    assert!(ones.as_str().unwrap().parse::<u64>().unwrap() <= n.as_u64().unwrap());
    // Key 2^32 leaves the sum of the second and the last id in the seed's low half: 2 + 4 = 1 + 5.
    let engine = "--engine three-bricks --engine-key 4294967296";
    let (_, one, p) = statistic(engine, &[&[1, 2, 3, 4, 9]]);
    assert_eq!(statistic(engine, &[&[1, 2, 3, 4, 9], &[5, 1, 7, 5, 9]]), (json!(2), one, p));
    detect("--engine synthid-deepmind --depth 2 --engine-key 11,22,33,44")
        .fails_with(&["one key a layer", "4 keys for depth 2"]);
    detect("--engine hf-synthid --depth 7 --engine-key 11,22").fails_with(&["2 keys for depth 7"]);
    detect("--engine hf-kgw-lefthash --engine-key 5 --vocab-size 150")
        .fails_with(&["tokens[50] is 150", "vocab_size 150"]);
}
