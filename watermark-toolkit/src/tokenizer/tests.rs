//! The fast path against the library: pieces and ids, on random and on real text.
#![allow(clippy::panic, clippy::print_stderr, clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use proptest::prelude::*;
use rayon::prelude::*;
use serde_json::{Value, json};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::fast::Fast;
use super::{EMBEDDED, Kind, Tokenizer};

pub(super) const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2; Llama 3's is that of cl100k.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub(super) const O200K: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// The last of DeepSeek V3's three.
const DEEPSEEK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

fn isolated(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

fn byte_level(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

fn sequence(mut steps: Vec<Value>) -> Value {
    steps.push(byte_level(false));
    json!({"type": "Sequence", "pretokenizers": steps})
}

/// The embedded vocabulary behind other steps.
fn made(change: impl FnOnce(&mut Value)) -> Tokenizer {
    let mut file: Value = serde_json::from_slice(EMBEDDED).unwrap();
    change(&mut file);
    Tokenizer::from_bytes(file.to_string().as_bytes(), "test").unwrap()
}

fn pre_tokenized(pre_tokenizer: Value) -> Tokenizer {
    made(|file| file["pre_tokenizer"] = pre_tokenizer)
}

fn tokenizers() -> Vec<(&'static str, Tokenizer)> {
    let removed = json!({"type": "Split", "pattern": {"Regex": CL100K}, "behavior": "Removed", "invert": true});
    let cjk = "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+";
    vec![
        ("GPT-2", Tokenizer::embedded().unwrap()),
        ("cl100k", pre_tokenized(sequence(vec![isolated(CL100K)]))),
        ("cl100k, removed", pre_tokenized(sequence(vec![removed]))),
        ("o200k", pre_tokenized(sequence(vec![isolated(O200K)]))),
        (
            "DeepSeek V3",
            made(|file| {
                file["normalizer"] = json!({"type": "Sequence", "normalizers": []});
                file["pre_tokenizer"] = sequence(vec![isolated(r"\p{N}{1,3}"), isolated(cjk), isolated(DEEPSEEK)]);
            }),
        ),
        (
            "Llama 3",
            made(|file| {
                file["pre_tokenizer"] = sequence(vec![isolated(CL100K)]);
                file["model"]["ignore_merges"] = json!(true);
            }),
        ),
        (
            "Qwen 2",
            made(|file| {
                file["normalizer"] = json!({"type": "NFC"});
                file["pre_tokenizer"] = sequence(vec![isolated(QWEN2)]);
            }),
        ),
        (
            "lower case, every flag of an added token, digits by GPT-2 after another split",
            made(|file| {
                file["normalizer"] = json!({"type": "Lowercase"});
                file["pre_tokenizer"] =
                    json!({"type": "Sequence", "pretokenizers": [isolated(r"\p{N}"), byte_level(true)]});
                file["added_tokens"].as_array_mut().unwrap().push(json!({"id": 2048, "content": "<Tool>",
                    "single_word": true, "lstrip": true, "rstrip": true, "normalized": true, "special": false}));
            }),
        ),
    ]
}

fn library(tokenizer: &Tokenizer) -> &tokenizers::Tokenizer {
    let Kind::Json { library, .. } = &tokenizer.kind else { panic!("a rank file") };
    library
}

fn fast(tokenizer: &Tokenizer) -> Option<&Fast> {
    let Kind::Json { fast, .. } = &tokenizer.kind else { panic!("a rank file") };
    fast.as_deref()
}

/// Ids the library's way.
fn slow(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    library(tokenizer).encode_fast(text, false).unwrap().get_ids().to_vec()
}

/// The fast path was taken and gave the library's pieces and ids.
fn assert_same(name: &str, tokenizer: &Tokenizer, text: &str) {
    let found = fast(tokenizer).unwrap_or_else(|| panic!("{name}: no fast path"));
    let ids = found
        .encode(library(tokenizer), text)
        .unwrap_or_else(|| panic!("{name}: left {:.200} to the library", text.escape_debug()));
    assert_eq!(ids, slow(tokenizer, text), "{name}: {:.200}", text.escape_debug());
}

fn assert_same_pieces(name: &str, tokenizer: &Tokenizer, text: &str) {
    let mut expected = PreTokenizedString::from(text);
    library(tokenizer).get_pre_tokenizer().unwrap().pre_tokenize(&mut expected).unwrap();
    let splits = expected.get_splits(OffsetReferential::Original, OffsetType::Byte);
    let expected: Vec<&str> = splits.iter().map(|(_, (start, end), _)| &text[*start..*end]).collect();
    let pieces = fast(tokenizer).unwrap().pieces(text).unwrap();
    assert_eq!(pieces, expected, "{name}: {text:?}");
}

/// Text made to hit the seams of the patterns.
pub(super) fn texts() -> impl Strategy<Value = String> {
    let seams = prop::sample::select(vec![
        " ",
        "  ",
        "   ",
        "\n",
        "\r\n",
        "\r",
        "\t",
        "\u{b}",
        "\u{c}",
        "\u{85}",
        "\u{a0}",
        "\u{1680}",
        "\u{2003}",
        "\u{2028}",
        "\u{2029}",
        "\u{202f}",
        "\u{205f}",
        "\u{3000}",
        "\u{200b}",
        "\u{feff}",
        "\u{1c}",
        "\0",
        "'",
        "'s",
        "'LL",
        "'ve",
        "'\u{17f}",
        "’s",
        "don't",
        "I'M",
        "a",
        "Ab",
        "ABC",
        "the",
        " of",
        "ǅ",
        "ʰ",
        "é",
        "e\u{301}",
        "\u{301}",
        "\u{300}\u{323}",
        "ß",
        "Ω",
        "\u{212b}",
        "한",
        "\u{1100}\u{1161}",
        "中文",
        "ひらが\u{3099}な",
        "カ",
        "ไทย",
        "हिन्दी",
        "1",
        "12",
        "1234",
        "٣",
        "Ⅷ",
        "²",
        "½",
        ".",
        "...",
        "!?",
        "/",
        "//",
        "_",
        "-",
        "$",
        "😀",
        "👩\u{200d}👩",
        "\u{10ffff}",
        "<",
        "<|",
        "|>",
        "<|endoftext",
    ]);
    let piece = prop_oneof![
        6 => seams.prop_map(str::to_owned),
        2 => any::<char>().prop_map(String::from),
        1 => r"\s{1,4}",
        1 => r"\PC{1,6}",
        1 => r"[\p{M}\p{N}\p{Lt}\p{Lm}]{1,4}",
        1 => "[a-zA-Z]{1,40}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

#[test]
fn random_text_has_the_librarys_pieces_and_ids() {
    let tokenizers = tokenizers();
    let config = ProptestConfig { cases: 3000, ..ProptestConfig::default() };
    proptest!(config, |(text in texts())| {
        for (name, tokenizer) in &tokenizers {
            if !text.contains("<|endoftext|>") {
                assert_same_pieces(name, tokenizer, &text);
                assert_same(name, tokenizer, &text);
            }
        }
    });
}

#[test]
fn added_tokens_in_text_are_the_librarys() {
    let tokenizers = tokenizers();
    let added =
        prop::sample::select(vec!["<|endoftext|>", "<Tool>", "<tool>", " <TOOL> ", "<|endoftext|><|endoftext|>"]);
    proptest!(|(before in texts(), token in added, after in texts())| {
        let text = format!("{before}{token}{after}");
        for (name, tokenizer) in &tokenizers {
            prop_assert_eq!(tokenizer.encode(&text).unwrap(), slow(tokenizer, &text), "{}: {:?}", name, text);
        }
    });
    let (_, embedded) = &tokenizers[0];
    assert!(fast(embedded).unwrap().encode(library(embedded), "a<|endoftext|>b").is_none());
}

#[test]
fn every_character_alone_and_doubled_is_the_same() {
    for (name, tokenizer) in &tokenizers() {
        let mut text = String::new();
        // Beyond plane 1 there are ideographs, private characters and nothing.
        for c in ('\0'..='\u{1ffff}').chain(('\u{20000}'..=char::MAX).step_by(97)) {
            text.extend([c, c, ' ', 'a', c, '1', c, ' ', ' ', c, '.']);
            if text.len() > 1 << 13 {
                assert_same_pieces(name, tokenizer, &text);
                assert_same(name, tokenizer, &text);
                text.clear();
            }
        }
    }
}

/// What `stays_in_nfc` claims, by the library's own tables: alone and behind any other such character.
#[test]
fn nfc_leaves_the_common_characters_alone() {
    use tokenizers::{NormalizedString, Normalizer};
    let common: Vec<char> = ('\0'..=char::MAX).filter(|c| super::fast::stays_in_nfc(*c)).collect();
    // Each once behind its neighbour and once behind each of a few thousand others.
    for step in [1, 7, 101, 1009, 10007] {
        let text: String = (0..common.len()).map(|i| common[i * step % common.len()]).collect();
        let mut normalized = NormalizedString::from(text.as_str());
        tokenizers::normalizers::unicode::NFC.normalize(&mut normalized).unwrap();
        assert_eq!(normalized.get(), text);
    }
}

#[test]
fn very_long_runs_are_the_librarys() {
    let tokenizer = Tokenizer::embedded().unwrap();
    for text in ["a".repeat(100_000), " ".repeat(100_000) + "b", "\n".repeat(1_100_000) + "b 12"] {
        assert!(fast(&tokenizer).unwrap().encode(library(&tokenizer), &text).is_none());
        assert_eq!(tokenizer.encode(&text).unwrap(), slow(&tokenizer, &text));
    }
}

/// More distinct words than a cache holds, twice, from two threads.
#[test]
fn ids_do_not_depend_on_the_cache() {
    let tokenizer = Tokenizer::embedded().unwrap();
    let text: String = (0..150_000_u32).map(|i| format!(" {i:x}z")).collect();
    let expected = slow(&tokenizer, &text);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..2).for_each(|_| assert_eq!(tokenizer.encode(&text).unwrap(), expected)));
        }
    });
}

#[test]
fn other_steps_have_no_fast_path() {
    let split = |behavior: &str, invert: bool, pattern: Value| {
        sequence(vec![json!({"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert})])
    };
    let mut others = vec![
        json!(null),
        json!({"type": "Whitespace"}),
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        json!({"type": "Sequence", "pretokenizers": [byte_level(true), isolated(CL100K)]}),
        split("Removed", false, json!({"Regex": CL100K})),
        split("MergedWithNext", false, json!({"Regex": CL100K})),
        split("Isolated", false, json!({"String": " "})),
    ];
    for pattern in [
        r"\p{L}++|\s+",
        r"\p{N}{1,3}+|\s+(?!\S)|\s+",
        r"\p{L}+(?=\s)|\s+(?!\S)|\s+",
        r"(?<=a)b|.",
        r"\bfoo\b|.",
        r"^a|.",
        r"\p{L}*|\s+(?!\S)|\s+",
        r"(?x)a b|\s+(?!\S)|\s+",
        r"a|\s+(?!\S)",
        r"(\p{L})\1|\s+(?!\S)|\s+",
    ] {
        others.push(sequence(vec![isolated(pattern)]));
    }
    for other in others {
        let tokenizer = pre_tokenized(other.clone());
        assert!(fast(&tokenizer).is_none(), "{other}");
        let text = "I'm  12 words,\n naïve ones. ";
        assert_eq!(tokenizer.encode(text).unwrap(), slow(&tokenizer, text));
    }
    assert!(fast(&made(|file| file["model"]["dropout"] = json!(0.5))).is_none());
}

/// Every string in the corpora; `None`, said loudly, without them.
pub(super) fn corpus() -> Option<Vec<String>> {
    let folder = std::env::var_os("WATERMARK_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"), PathBuf::from);
    let files: Vec<PathBuf> = ["*.jsonl*", "*/*.jsonl*"]
        .iter()
        .flat_map(|pattern| glob::glob(folder.join(pattern).to_str().unwrap()).unwrap())
        .map(Result::unwrap)
        .collect();
    if files.is_empty() {
        eprintln!("SKIPPED: no corpora in {}; set WATERMARK_CORPUS", folder.display());
        return None;
    }
    let mut texts = Vec::new();
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let text = if bytes.starts_with(&[0x1f, 0x8b]) {
            std::io::read_to_string(MultiGzDecoder::new(&bytes[..])).unwrap()
        } else {
            String::from_utf8(bytes).unwrap()
        };
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            strings(serde_json::from_str(line).unwrap(), &mut texts);
        }
    }
    Some(texts)
}

fn strings(value: Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.into_iter().for_each(|item| strings(item, texts)),
        Value::Object(fields) => fields.into_iter().for_each(|(_, field)| strings(field, texts)),
        _ => (),
    }
}

#[test]
fn the_corpora_have_the_librarys_ids() {
    let Some(texts) = corpus() else { return };
    let tokenizers = tokenizers();
    for (name, tokenizer) in
        tokenizers.iter().filter(|(name, _)| ["GPT-2", "o200k", "Llama 3", "Qwen 2"].contains(name))
    {
        // The library takes long: all of it for the tokenizer that is shipped, every fourth text for the others.
        let step = if *name == "GPT-2" { 1 } else { 4 };
        texts.par_iter().step_by(step).for_each(|text| assert_same(name, tokenizer, text));
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    assert!(texts.len() > 10_000 && bytes > 10_000_000, "{} texts, {bytes} bytes", texts.len());
}

#[test]
fn other_files_of_a_model_are_named() {
    for (bytes, name) in [
        (&br#"{"config": {}, "vocab": [{"rank": 0}], "special_tokens": []}"#[..], "tekken.json"),
        (br#"{"tokenizer_class": "LlamaTokenizer"}"#, "tokenizer_config.json"),
        (br#"{"a": 0, "b": 1}"#, "vocab.json"),
        (b"\x0a\x0e\x0a\x05<unk>\x15\0\0\0\0\x18\x02\xff", "SentencePiece"),
    ] {
        let error = format!("{:#}", Tokenizer::from_bytes(bytes, "f").err().unwrap());
        assert!(error.contains(name) && error.contains("give the model's tokenizer.json"), "{error}");
    }
    assert!(format!("{:#}", Tokenizer::from_bytes(b"{}", "f").err().unwrap()).contains("not a tokenizer.json"));
}
