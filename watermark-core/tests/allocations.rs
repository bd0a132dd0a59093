//! A step of sampling allocates nothing after a thread's first marked step, with room made for the sequence.
#![allow(clippy::unwrap_used, reason = "tests")]

use allocation_counter::measure;
use watermark_core::engine::{Engine, EngineOptions};
use watermark_core::key::{KeyPath, NodeKey};
use watermark_core::mark::{Marker, Sampling, SessionOptions};
use watermark_core::profile::{AnyScheme, Layer, Profile, TokenizerInfo};
use watermark_core::scheme::{Parameters, Scheme};

const VOCAB: u32 = 4096;
const STEPS: usize = 300;

fn row(step: usize) -> Vec<f32> {
    // The flatter it gets, the more tokens a truncation keeps.
    (0..VOCAB as usize).map(|v| ((v * 31 + step * 17) % 97) as f32 / (4 + step / 8) as f32).collect()
}

fn marker(schemes: &[(AnyScheme, usize)]) -> Marker {
    let layer = |(at, &(scheme, width))| Layer { name: format!("layer-{at}"), scheme, width, per_account: false };
    let tokenizer = TokenizerInfo { sha256: [0; 32], vocab_size: VOCAB, special_token_ids: vec![0] };
    let layers = schemes.iter().enumerate().map(layer).collect();
    let profile = Profile { name: "test".to_owned(), path: KeyPath::root(), tokenizer, layers, ..Profile::default() };
    Marker::new(profile, &NodeKey::root(b"allocations")).unwrap()
}

fn scheme(name: &str, parameters: Parameters) -> AnyScheme {
    Scheme::from_name(name, &parameters).unwrap().into()
}

#[test]
fn steps_allocate_nothing() {
    let greenlist = scheme("greenlist", Parameters::new().with("gamma", 0.25).with("delta", 2.0));
    let gumbel = scheme("gumbel", Parameters::new());
    let mut kinds: Vec<Vec<(AnyScheme, usize)>> =
        vec![vec![(greenlist, 1), (gumbel, 4)], vec![(greenlist, 8), (gumbel, 8)]];
    kinds.extend(Engine::marking().map(|name| {
        let engine = Engine::new(name, &EngineOptions::default()).unwrap();
        vec![(engine.into(), engine.context_width())]
    }));
    for spec in Scheme::SPECS {
        kinds.extend(spec.examples.iter().map(|example| {
            let (scheme, width) = spec.build(example).unwrap();
            vec![(scheme.into(), width)]
        }));
    }
    let rows: Vec<Vec<f32>> = (0..STEPS + 4).map(row).collect();
    let samplings = [
        Sampling::default(),
        Sampling { temperature: 0.7, top_k: Some(50), ..Sampling::default() },
        Sampling { top_p: Some(0.9), min_p: Some(0.01), ..Sampling::default() },
    ];
    let proxy = [1.0 / VOCAB as f32; VOCAB as usize];
    for schemes in kinds {
        let marker = marker(&schemes);
        for sampling in samplings {
            for marked in [true, false] {
                let options = SessionOptions { marked, sampling, seed: 3, account: None, request: None };
                let mut session = marker.session(&options).unwrap();
                session.reserve(STEPS + 4);
                (1..9).for_each(|token| session.accept(token).unwrap());
                session.set_proxy(&proxy).unwrap();
                session.sample(&rows[0]).unwrap();
                session.rollback(8);
                session.set_proxy(&proxy).unwrap();
                let mut buffer = rows[0].clone();
                session.process(&mut buffer).unwrap();
                let seen = measure(|| {
                    while session.generated().len() < STEPS {
                        let at = session.generated().len();
                        buffer.copy_from_slice(&rows[at]);
                        session.set_proxy(&proxy).unwrap();
                        session.process(&mut buffer).unwrap();
                        let token = session.sample(&rows[at]).unwrap();
                        session.accept(token).unwrap();
                        // A wrong turn, taken back.
                        session.accept(1 + token % 7).unwrap();
                        session.accept(2).unwrap();
                        session.rollback(2);
                    }
                });
                assert_eq!(seen.count_total, 0, "{schemes:?} {sampling:?} marked {marked}");
            }
        }
    }
}

/// Drafts too, once a round of as many has been there.
#[test]
fn speculation_allocates_nothing() {
    let none = Parameters::new();
    for scheme in [scheme("gumbel", none.clone()), scheme("gumbel_dual_key", none.with("alpha", 0.1))] {
        let options = SessionOptions { marked: true, seed: 3, ..SessionOptions::default() };
        let mut session = marker(&[(scheme, 4)]).session(&options).unwrap();
        session.reserve(STEPS + 8);
        let mut rows = row(0).repeat(5);
        let mut round = |session: &mut watermark_core::mark::Session| {
            for _ in 0..4 {
                session.draft(&rows[..VOCAB as usize]).unwrap();
            }
            rows.rotate_left(1);
            session.verify(&rows).unwrap();
        };
        round(&mut session);
        let seen = measure(|| {
            while session.generated().len() < STEPS {
                round(&mut session);
            }
        });
        assert_eq!(seen.count_total, 0, "{scheme:?}");
    }
}

/// A session is as large as its sequence, whatever the vocabulary.
#[test]
fn a_fork_copies_the_sequence_only() {
    let marker = marker(&[(scheme("greenlist", Parameters::new().with("gamma", 0.5).with("delta", 2.0)), 1)]);
    let mut session = marker.session(&SessionOptions { marked: true, ..SessionOptions::default() }).unwrap();
    for step in 0..100 {
        let token = session.sample(&row(step)).unwrap();
        session.accept(token).unwrap();
    }
    let seen = measure(|| drop(session.fork()));
    assert!(seen.bytes_total < 4096, "{} bytes", seen.bytes_total);
}
