//! The words of other people's text watermarks, against `vectors/compat_engines.json` and values that the engines'
//! own code gave.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests")]

use serde_json::Value;
use watermark_core::engine::hf_kgw::{HfSelfHash, hf_left_hash_seed};
use watermark_core::engine::sglang::{SglangMurmur, sglang_coin, sglang_context_hash};
use watermark_core::engine::synthid::{SynthIdDeepMind, SynthIdHf};
use watermark_core::engine::textseal::{textseal_input, textseal_residue};
use watermark_core::engine::three_bricks::three_bricks_seed;
use watermark_core::engine::vllm::{VllmPhilox, vllm_dual_keys};
use watermark_core::engine::{torch_in_prefix, torch_rand24, torch_randperm};
use watermark_tests::{close, ids, text, vectors};

/// The key of most published vLLM and SGLang vectors.
const KEY: u64 = 0x0123_4567_89ab_cdef;
const PADDING: u32 = u32::MAX;
/// The hashing key that `transformers` has by default.
const HF_KEY: u64 = 15_485_863;
const GPT2_VOCABULARY: u32 = 50_257;

fn rows<'a>(file: &'a Value, name: &str, n: usize) -> &'a [Value] {
    let rows = file[name].as_array().unwrap();
    assert_eq!(rows.len(), n);
    rows
}

fn integer(value: &Value) -> u64 {
    text(value).parse().unwrap()
}

/// Ids of a context in which -1 is padding.
fn padded_ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap());
    ids.map(|id| if id == -1 { PADDING } else { id.try_into().unwrap() }).collect()
}

#[test]
fn vllm_words() {
    for row in rows(&vectors("compat_engines.json"), "vllm_philox4x32_10_v1", 24) {
        let prf = VllmPhilox::new(integer(&row["key"]));
        let context = padded_ids(&row["context"]);
        let tokens = ids(&row["tokens"]);
        let words: Vec<u32> = tokens.iter().map(|&token| prf.word(&context, token)).collect();
        assert_eq!(words, ids(&row["words"]));
        let state = prf.state(&context);
        let mut sweep = vec![0; 128_256];
        prf.vocabulary_words(&context, &mut sweep);
        for (&token, word) in tokens.iter().zip(words) {
            assert_eq!(prf.word_at(state, token), word);
            assert_eq!(sweep[token as usize], word);
        }
    }
}

#[test]
fn vllm_dual() {
    for row in rows(&vectors("compat_engines.json"), "vllm_dual_keys", 4) {
        assert_eq!(vllm_dual_keys(integer(&row["key"])), (integer(&row["key_a"]), integer(&row["key_b"])));
    }
    assert_eq!(vllm_dual_keys(KEY), (0x69a6_c70a_7e43_d99e, 0xd554_c11e_b04c_6c5c));
    assert_eq!(vllm_dual_keys(42).0, 37_150_756_557_148_556);
}

/// vLLM's uniform: a fraction of two exact integers, rounded to single precision.
fn vllm_uniform(word: u32) -> f32 {
    let ratio = f64::from((word >> 8) + 1) / f64::from((1 << 24) + 1);
    #[allow(clippy::cast_possible_truncation, reason = "rounding is the point")]
    let ratio = ratio as f32;
    ratio
}

/// `0x1.<digits>p<exponent>` with six digits.
fn hexadecimal(digits: u32, exponent: i32) -> f32 {
    let ulps = f64::from(0x0100_0000 | digits);
    let value = ulps * 2f64.powi(exponent - 24);
    #[allow(clippy::cast_possible_truncation, reason = "25 bits, the last of them zero")]
    let single = value as f32;
    assert_eq!(f64::from(single), value);
    single
}

#[test]
fn vllm_uniforms() {
    let u = |key, context: &[u32], token| vllm_uniform(VllmPhilox::new(key).word(context, token));
    assert_eq!(u(42, &[PADDING; 4], 7), hexadecimal(0x77_d2f8, -1));
    assert_eq!(u(42, &[PADDING, PADDING, PADDING, 5], 7), hexadecimal(0x4b_6a0e, -2));
    assert_eq!(u(42, &[1, 2, 3, 4], 7), hexadecimal(0x95_b89e, -4));
    assert_eq!(u(KEY, &[1, 2, 3, 4], 0), hexadecimal(0xc6_dc22, -1));
    assert_eq!(u(KEY, &[1, 2, 3, 4], 1), hexadecimal(0x9f_373e, -1));
    assert_eq!(u(KEY, &[1, 2, 3, 4], 2), hexadecimal(0x52_8b84, -1));
    assert_eq!(u(KEY, &[PADDING, PADDING, PADDING, 7], 0), hexadecimal(0x58_32f4, -1));
    assert_eq!(u(KEY, &[1, 2, 3, 4, 5], 0), hexadecimal(0xf5_17c6, -1));
}

#[test]
fn sglang_words() {
    for row in rows(&vectors("compat_engines.json"), "sglang_murmur3", 16) {
        let prf = SglangMurmur::new(u64::from_str_radix(text(&row["key_hex"]), 16).unwrap());
        let context = sglang_context_hash(&ids(&row["context"]));
        assert_eq!(u64::from(context), row["context_hash"].as_u64().unwrap());
        let tokens = ids(&row["tokens"]);
        let words: Vec<u32> = tokens.iter().map(|&token| prf.word(context, token)).collect();
        assert_eq!(words, ids(&row["words"]));
        let mut sweep = vec![0; 128_256];
        prf.vocabulary_words(context, &mut sweep);
        assert!(tokens.iter().zip(words).all(|(&token, word)| sweep[token as usize] == word));
    }
    let prf = SglangMurmur::new(0x2a);
    let context = sglang_context_hash(&[1, 2, 3, 4]);
    assert_eq!(context, 0x4445_ad00);
    assert_eq!(prf.word(context, 7), 2_531_167_527);
    assert_eq!(sglang_coin(&prf, &SglangMurmur::new(0x2b), context), 185_428_782);
    let prf = SglangMurmur::new(KEY);
    assert_eq!(prf.word(context, 42), 0x467f_4d5b);
    assert_eq!(sglang_coin(&prf, &SglangMurmur::new(0xfedc_ba98_7654_3210), context), 0x7561_7683);
}

/// SGLang's own detector on tokens 100..163 after prompt 1..5.
#[test]
fn sglang_score() {
    let prf = SglangMurmur::new(KEY);
    let tokens: Vec<u32> = (1..=5).chain(100..=163).collect();
    let scores = (5..tokens.len()).map(|at| {
        let word = prf.word(sglang_context_hash(&tokens[at - 4..at]), tokens[at]);
        -f64::ln_1p(-(f64::from(word) + 0.5) / 2f64.powi(32))
    });
    assert!(close(scores.sum(), 68.622_698_141_321_27));
}

#[test]
fn textseal() {
    assert_eq!(textseal_residue(textseal_input(&[1, 2], 3), 42), 2796);
    assert_eq!(textseal_residue(textseal_input(&[1, 2], 100_000), 42), 183);
    assert_eq!(textseal_residue(textseal_input(&[1, 2], 3), 1234), 935);
}

#[test]
fn synthid() {
    let keys = [654, 400, 836, 123];
    // Layers 0 to 3 are 1, 1, 0, 0 and 0, 0, 1, 0.
    assert_eq!(SynthIdDeepMind::new(&keys).unwrap().bits(&[1, 2, 3, 4], 5), 0b0011);
    let prf = SynthIdHf::new(&keys).unwrap();
    assert_eq!(prf.bits_at(prf.input(&[1, 2, 3, 4], 5)), 0b0100);
    assert_eq!(prf.ones_share() * 65_536.0, 32_743.0);
}

#[test]
fn lists_of_torch() {
    // The table of lm-watermarking and that of Hugging Face's selfhash.
    assert_eq!(torch_randperm(2_971_215_073, 1_000_003)[..5], [250_534, 296_009, 268_311, 356_494, 845_733]);
    assert_eq!(torch_randperm(15_485_863, 1_000_003)[..3], [138_280, 994_103, 467_886]);
}

#[test]
fn green_lists_of_transformers() {
    let seed = HfSelfHash::new(HF_KEY).seed(&[11, 22, 33, 44]);
    assert_eq!(seed, -8_732_380_403_358_078_560);
    let heads = [
        (HfSelfHash::generator_seed(seed), [13_480, 46_772, 44_205]),
        (hf_left_hash_seed(HF_KEY, 44), [2_942, 24_863, 37_892]),
    ];
    let k = GPT2_VOCABULARY / 4;
    let vocabulary: Vec<u32> = (0..GPT2_VOCABULARY).collect();
    for (seed, head) in heads {
        let list = torch_randperm(seed, GPT2_VOCABULARY);
        assert_eq!(list[..3], head);
        let mut green: Vec<u32> = list[..k as usize].to_vec();
        green.sort_unstable();
        let inside = torch_in_prefix(seed, GPT2_VOCABULARY, k, &vocabulary);
        assert!(vocabulary.iter().filter(|&&token| inside[token as usize]).eq(&green));
        let some: Vec<u32> = (0..GPT2_VOCABULARY).step_by(1000).collect();
        let followed = torch_in_prefix(seed, GPT2_VOCABULARY, k, &some);
        assert!(some.iter().zip(followed).all(|(&token, followed)| inside[token as usize] == followed));
    }
}

#[test]
fn three_bricks() {
    let seed = three_bricks_seed(35_317, &[1, 2, 3]);
    assert_eq!(seed, 1_247_361_126);
    let draws = torch_rand24(seed, &[0, 1]);
    let singles = draws.iter().map(|&draw| f64::from(draw) / 2f64.powi(24));
    assert!(singles.eq([hexadecimal(0x5e_92d2, -1), hexadecimal(0x29_08d0, -2)].map(f64::from)));
}
