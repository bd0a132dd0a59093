//! Localisation: documents of 4,000 tokens of the laboratory teacher's unmarked text with 400 marked tokens inside, each
//! document under its own key, family-wise level 1e-3. 20 documents a scheme here; `WATERMARK_DOCUMENTS=300` is the run in
//! `papers/calibration`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use watermark_core::detect::{Detector, LayerDetector, Span};
use watermark_core::key::{KeyPath, NodeKey};
use watermark_core::mark::{Marker, Session, SessionOptions};
use watermark_core::profile::{Layer, Profile, TokenizerInfo};
use watermark_core::scheme::{Greenlist, Gumbel, Scheme};
use watermark_lab::generate::{Generate, generate};
use watermark_lab::model::Model;
use watermark_lab::{prompts, shipped};
use watermark_tests::tokenizer;

const DOCUMENT: usize = 4000;
const MARKED: usize = 400;
const ALPHA: f64 = 1e-3;
/// Answers that make up a marked stretch.
const ANSWERS: usize = 12;

fn documents() -> usize {
    std::env::var("WATERMARK_DOCUMENTS").map_or(20, |documents| documents.parse().unwrap())
}

fn profile(scheme: Scheme, width: usize) -> Profile {
    let tokenizer = tokenizer();
    Profile {
        name: "test".to_owned(),
        path: KeyPath::root(),
        tokenizer: TokenizerInfo {
            sha256: [0; 32],
            vocab_size: u32::try_from(tokenizer.get_vocab_size(true)).unwrap(),
            special_token_ids: Vec::new(),
        },
        layers: vec![Layer { name: "p".to_owned(), scheme: scheme.into(), width, per_account: false }],
        ..Profile::default()
    }
}

fn answers(model: &Model, sessions: &mut [Session], seed: u64) -> Vec<Vec<u32>> {
    let tokenizer = tokenizer();
    let ids = |question: &String| {
        let text = prompts::prompt_text(question);
        let encoding = tokenizer.encode(text, false).unwrap();
        [&[shipped::EOS], encoding.get_ids()].concat()
    };
    let prompts: Vec<Vec<u32>> = prompts::word_problems(seed, sessions.len()).iter().map(ids).collect();
    let options = Generate { max_new_tokens: 160, batch_size: 256, eos_token_id: shipped::EOS };
    let pick = |session: &mut Session, logits: &[f32]| {
        let token = session.sample(logits)?;
        session.accept(token)?;
        Ok(token)
    };
    generate(model, &prompts, sessions, &options, pick, |_| ()).unwrap()
}

fn session(profile: &Profile, document: usize, seed: usize, marked: bool) -> Session {
    let options = SessionOptions { marked, seed: seed as u64, ..SessionOptions::default() };
    Marker::new(profile.clone(), &key(document)).unwrap().session(&options).unwrap()
}

fn key(document: usize) -> NodeKey {
    NodeKey::root(format!("localisation {document}").as_bytes())
}

fn layer(profile: &Profile, document: usize) -> LayerDetector {
    Detector::new(profile, &key(document), None).unwrap().layers()[0].clone()
}

fn median(mut values: Vec<usize>) -> usize {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(usize::MAX)
}

#[test]
fn marked_stretches_are_found_where_they_are() {
    let model = shipped::teacher().unwrap();
    let n = documents();
    let greenlist = Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap());
    // Unmarked text that all documents are cut from.
    let plain = profile(greenlist, 1);
    let mut sessions: Vec<Session> = (0..200).map(|i| session(&plain, 0, 1_000_000 + i, false)).collect();
    let pool = answers(&model, &mut sessions, 1).concat();
    assert!(pool.len() > 2 * DOCUMENT, "{}", pool.len());
    for (name, scheme, width) in
        [("gumbel, width 4", Scheme::Gumbel(Gumbel), 4), ("greenlist, gamma .5, delta 2", greenlist, 1)]
    {
        let profile = profile(scheme, width);
        let mut sessions: Vec<Session> = (0..n * ANSWERS).map(|i| session(&profile, i / ANSWERS, i, true)).collect();
        let marked = answers(&model, &mut sessions, 2);
        let (mut found, mut elsewhere, mut whole_missed) = (0, 0, 0);
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        for document in 0..n {
            let stretch = marked[document * ANSWERS..(document + 1) * ANSWERS].concat();
            assert!(stretch.len() >= MARKED, "{}", stretch.len());
            // Places and cuts that differ from document to document.
            let from = document * 7919 % (DOCUMENT - MARKED + 1);
            let cut = document * 104_729 % (pool.len() - DOCUMENT);
            let unmarked = &pool[cut..cut + DOCUMENT - MARKED];
            let tokens = [&unmarked[..from], &stretch[..MARKED], &unmarked[from..]].concat();
            let layer = layer(&profile, document);
            let none = layer.pair_set();
            let windows = layer.count_windows(&none, &[], &tokens).unwrap();
            let spans = layer.locate(&none, &[], &tokens, windows, ALPHA).unwrap();
            let (inside, outside): (Vec<Span>, Vec<Span>) =
                spans.into_iter().partition(|span| span.window.0 < from + MARKED && from < span.window.1);
            elsewhere += outside.len();
            if !inside.is_empty() {
                found += 1;
                starts.push(inside[0].tokens.0.abs_diff(from));
                ends.push(inside[inside.len() - 1].tokens.1.abs_diff(from + MARKED));
                let mut tally = layer.tally();
                layer.add(&mut tally, &[], &tokens).unwrap();
                whole_missed += usize::from(layer.finding(&tally).unwrap().log10_p > ALPHA.log10());
            }
        }
        let (start, end) = (median(starts), median(ends));
        println!(
            "{name}: {found} of {n} found at family-wise {ALPHA}, {elsewhere} stretches elsewhere; median error of the start \
             {start}, of the end {end} tokens; the whole-document test misses {whole_missed} of those found"
        );
        assert!(10 * found >= 9 * n, "{name}: {found} of {n}");
        assert!(start <= 50 && end <= 50, "{name}: {start} {end}");
        assert!(elsewhere <= 1, "{name}: {elsewhere} stretches where nothing is marked");
    }
}
