//! Rank files against `tiktoken-rs`, which carries the four of OpenAI.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use rayon::prelude::*;
use tiktoken_rs::CoreBPE;

use super::ranks::{KNOWN, Known, Ranks};
use super::tests::{corpus, texts};
use super::{Kind, Tokenizer};

/// The file from which `tiktoken-rs` read its ranks: byte for byte, or its digest would not be known.
fn file(oracle: &CoreBPE, last: u32) -> Vec<u8> {
    let mut lines = String::new();
    for rank in 0..=last {
        // A special token may sit in between, as in p50k.
        if rank != 50256 || last > 60_000 {
            lines += &format!("{} {rank}\n", STANDARD.encode(oracle.decode_bytes(&[rank]).unwrap()));
        }
    }
    lines.into_bytes()
}

fn pairs() -> Vec<(&'static str, CoreBPE, Tokenizer)> {
    let oracles = [
        ("r50k", tiktoken_rs::r50k_base().unwrap(), 50255),
        ("p50k", tiktoken_rs::p50k_base().unwrap(), 50280),
        ("cl100k", tiktoken_rs::cl100k_base().unwrap(), 100_255),
        ("o200k", tiktoken_rs::o200k_base().unwrap(), 199_997),
    ];
    let read = |(name, oracle, last)| {
        let tokenizer = Tokenizer::from_bytes(&file(&oracle, last), name).unwrap();
        assert!(matches!(tokenizer.kind, Kind::Ranks(_)));
        (name, oracle, tokenizer)
    };
    oracles.into_par_iter().map(read).collect()
}

fn assert_same(name: &str, oracle: &CoreBPE, tokenizer: &Tokenizer, text: &str) {
    let (ids, offsets) = tokenizer.encode_with_offsets(text).unwrap();
    assert_eq!(ids, oracle.encode_ordinary(text), "{name}: {:.200}", text.escape_debug());
    assert_eq!(tokenizer.encode(text).unwrap(), ids);
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    let mut end = 0;
    for (id, (first, past)) in ids.iter().zip(offsets) {
        let covered = &text[first..past];
        let piece = oracle.decode_bytes(&[*id]).unwrap();
        assert!(covered.as_bytes().windows(piece.len()).any(|window| window == piece) && first <= end && past >= end);
        end = past;
    }
    assert_eq!(end, text.len());
}

#[test]
fn known_files_have_tiktokens_ids() {
    let pairs = pairs();
    let sizes: Vec<(u32, usize)> = pairs
        .iter()
        .map(|(_, _, tokenizer)| tokenizer.info().unwrap())
        .map(|info| (info.vocab_size, info.special_token_ids.len()))
        .collect();
    assert_eq!(sizes, [(50257, 1), (50281, 1), (100_277, 5), (200_019, 2)]);
    proptest!(ProptestConfig { cases: 3000, ..ProptestConfig::default() }, |(text in texts())| {
        for (name, oracle, tokenizer) in &pairs {
            assert_same(name, oracle, tokenizer, &text);
        }
    });
    for (name, oracle, tokenizer) in &pairs {
        let run = "ab!".repeat(40) + &"a".repeat(3000) + "<|endoftext|> \n\n  \t" + &" ".repeat(200);
        for end in 0..run.len() {
            if end < 140 || end % 37 == 0 || end > 3100 {
                assert_same(name, oracle, tokenizer, &run[..end]);
            }
        }
        assert_eq!(tokenizer.decode(&[u32::MAX, tokenizer.info().unwrap().special_token_ids[0]]).unwrap(), "");
        assert_eq!(tokenizer.single_token(" the").unwrap(), Some(oracle.encode_ordinary(" the")[0]));
        assert_eq!(tokenizer.single_token(" the the").unwrap(), None);
    }
    let Some(corpus) = corpus() else { return };
    for (name, oracle, tokenizer) in &pairs {
        corpus.par_iter().for_each(|text| assert_same(name, oracle, tokenizer, text));
    }
}

/// A million letters in one word: neither slow nor deep.
#[test]
fn one_endless_word() {
    let oracle = tiktoken_rs::cl100k_base().unwrap();
    let tokenizer = Tokenizer::from_bytes(&file(&oracle, 100_255), "cl100k").unwrap();
    let text = "abcdefg".repeat(150_000);
    assert_eq!(tokenizer.decode(&tokenizer.encode(&text).unwrap()).unwrap(), text);
}

#[test]
fn an_unknown_rank_file_says_what_to_do() {
    let error = Tokenizer::from_bytes(b"IQ== 0\nIg== 1\n", "some.tiktoken").err().unwrap();
    let message = format!("{error:#}");
    assert!(message.contains("some.tiktoken") && message.contains("use the model's tokenizer.json"), "{message}");
}

/// All bytes in order, then `more`.
fn small(more: &[(&[u8], u32)]) -> Vec<u8> {
    let bytes: Vec<[u8; 1]> = (0..=u8::MAX).map(|byte| [byte]).collect();
    let single = bytes.iter().map(|byte| &byte[..]).zip(0_u32..);
    let line = |(token, rank)| format!("{} {rank}\n", STANDARD.encode(token));
    single.chain(more.iter().copied()).map(line).collect::<String>().into_bytes()
}

fn error(bytes: &[u8], known: &Known) -> String {
    format!("{:#}", Ranks::parse(bytes, known).err().unwrap())
}

#[test]
fn faults_of_a_rank_file_are_named() {
    let known = &KNOWN[2];
    assert!(error(b"IQ== 0\nfoo\n", known).contains("line 2"));
    assert!(error(&small(&[(b"ab", 300), (b"ab", 301)]), known).contains("line 258"));
    assert!(error(&small(&[(b"ab", 300), (b"cd", 300)]), known).contains("twice"));
    assert!(error(&small(&[(b"ab", 16_000_000)]), known).contains("beyond"));
    assert!(error(&small(&[(b"ab", 1 << 24)]), known).contains("line 257"));
    assert!(error(b"IQ== 0\n", known).contains("0x00"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        lines in prop::collection::vec("[A-Za-z+/=]{0,8} ?[0-9+-]{0,11}\r?\n?", 0..20),
        flip in any::<(u16, u8)>(),
    ) {
        let mut whole = small(&[(b"ab", 256), (b"abc", 257)]);
        let at = usize::from(flip.0) % whole.len();
        whole[at] = flip.1;
        bytes.extend(lines.concat().into_bytes());
        for bytes in [&bytes, &whole] {
            Ranks::sniff(bytes);
            if let Ok(ranks) = Ranks::parse(bytes, &KNOWN[3]) {
                ranks.encode("abc ab\u{301} c").unwrap();
            }
            // Not read as JSON either.
            prop_assert!(Tokenizer::from_bytes(bytes, "fuzz").is_err());
        }
    }

    /// Small vocabularies with every overlap, against a direct reading of the rule.
    #[test]
    fn merges_are_lowest_rank_leftmost(
        tokens in prop::collection::btree_set("[ab]{2,5}", 0..25).prop_map(Vec::from_iter).prop_shuffle(),
        text in "[ab]{1,40}",
    ) {
        let more: Vec<(&[u8], u32)> = tokens.iter().map(|token| token.as_bytes()).zip(256..).collect();
        let ranks = Ranks::parse(&small(&more), &KNOWN[2]).unwrap();
        let rank = |piece: &str| match piece.as_bytes() {
            [byte] => Some(u32::from(*byte)),
            bytes => more.iter().find(|(token, _)| *token == bytes).map(|(_, rank)| *rank),
        };
        let mut parts: Vec<String> = if rank(&text).is_some() { vec![text.clone()] } else { text.chars().map(String::from).collect() };
        while let Some((_, i)) = (1..parts.len()).filter_map(|i| Some((rank(&parts[i - 1..=i].concat())?, i))).min() {
            let right = parts.remove(i);
            parts[i - 1] += &right;
        }
        let expected: Vec<u32> = parts.iter().map(|part| rank(part).unwrap()).collect();
        prop_assert_eq!(ranks.encode(&text).unwrap(), expected);
    }
}
