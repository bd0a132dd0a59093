//! Batches and half precision give what single rows in single precision give.
#![allow(clippy::unwrap_used, reason = "tests")]

use half::{bf16, f16};
use ndarray::{Array2, s};
use watermark_core::key::{KeyPath, NodeKey};
use watermark_core::mark::{Logit, Marker, Sampling, Session, SessionOptions, process_batch, sample_batch};
use watermark_core::profile::{Layer, Profile, TokenizerInfo};
use watermark_core::scheme::{Greenlist, Gumbel, Scheme};
use watermark_core::{Error, ErrorKind};

const VOCAB: u32 = 500;
const ROWS: usize = 16;

fn marker() -> Marker {
    let greenlist = Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap());
    let tokenizer = TokenizerInfo { sha256: [0; 32], vocab_size: VOCAB, special_token_ids: vec![0] };
    let layers = Layer::defaults(greenlist, Scheme::Gumbel(Gumbel));
    let profile = Profile { name: "test".to_owned(), path: KeyPath::root(), tokenizer, layers, ..Profile::default() };
    Marker::new(profile, &NodeKey::root(b"batch")).unwrap()
}

/// Sessions with their own seeds, truncations and lengths; every third one is not marked.
fn sessions(marker: &Marker) -> Vec<Session> {
    let session = |i: usize| {
        let sampling = Sampling { top_k: (i % 2 == 1).then_some(20), temperature: 0.8, ..Sampling::default() };
        let options =
            SessionOptions { marked: !i.is_multiple_of(3), seed: i as u64, sampling, account: None, request: None };
        let mut session = marker.session(&options).unwrap();
        (0..i as u32).for_each(|token| session.accept(1 + token).unwrap());
        session
    };
    (0..ROWS).map(session).collect()
}

/// Values that every format holds exactly.
fn logits() -> Array2<f32> {
    Array2::from_shape_fn((ROWS, VOCAB as usize), |(i, v)| ((v * 37 + i * 11) % 61) as f32 / 8.0)
}

fn sampled<L: Logit>(rows: &Array2<L>) -> Vec<u32> {
    let (mut sessions, mut tokens) = (sessions(&marker()), vec![Ok(0); ROWS]);
    sample_batch(&mut sessions, rows.view(), &mut tokens).unwrap();
    tokens.into_iter().map(Result::unwrap).collect()
}

#[test]
fn a_batch_is_its_rows_in_every_format() {
    let rows = logits();
    let expected: Vec<u32> = sessions(&marker())
        .iter_mut()
        .zip(rows.rows())
        .map(|(session, row)| session.sample(row.as_slice().unwrap()).unwrap())
        .collect();
    assert_eq!(sampled(&rows), expected);
    assert_eq!(sampled(&rows.mapv(f16::from_f32)), expected);
    assert_eq!(sampled(&rows.mapv(bf16::from_f32)), expected);
    // Sessions that live elsewhere.
    let (mut owned, mut tokens) = (sessions(&marker()), vec![Ok(0); ROWS]);
    let mut borrowed: Vec<&mut Session> = owned.iter_mut().collect();
    sample_batch(&mut borrowed, rows.view(), &mut tokens).unwrap();
    assert_eq!(tokens.into_iter().map(Result::unwrap).collect::<Vec<_>>(), expected);
}

#[test]
fn processing_in_place_rounds_to_the_format() {
    let (mut single, mut half) = (logits(), logits().mapv(bf16::from_f32));
    let mut results = vec![Ok(()); ROWS];
    process_batch(&mut sessions(&marker()), single.view_mut(), &mut results).unwrap();
    process_batch(&mut sessions(&marker()), half.view_mut(), &mut results).unwrap();
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(half, single.mapv(bf16::from_f32));
    let mut row = logits().row(4).to_vec();
    sessions(&marker())[4].process(&mut row).unwrap();
    assert_eq!(single.row(4).to_vec(), row);
    // A tiny temperature leaves the range of f16: the likeliest tokens stay finite and ahead.
    let sampling = Sampling { temperature: 1e-6, ..Sampling::default() };
    let mut session = marker().session(&SessionOptions { sampling, ..SessionOptions::default() }).unwrap();
    let mut row: Vec<f16> = (0..VOCAB).map(|v| f16::from_f32(v as f32 / 8.0)).collect();
    session.process(&mut row).unwrap();
    assert!(row.iter().all(|logit| logit.is_finite()));
}

#[test]
fn a_bad_row_fails_alone_and_shapes_are_checked() {
    let (mut sessions, mut tokens) = (sessions(&marker()), vec![Ok(0); ROWS]);
    let mut rows = logits();
    rows[[3, 7]] = f32::NAN;
    sample_batch(&mut sessions, rows.view(), &mut tokens).unwrap();
    for (i, token) in tokens.iter().enumerate() {
        assert_eq!(token.as_ref().err().map(Error::kind), (i == 3).then_some(ErrorKind::InvalidLogits), "{i}");
    }
    let kind = |result: watermark_core::Result<()>| result.unwrap_err().kind();
    assert_eq!(kind(sample_batch(&mut sessions[1..], rows.view(), &mut tokens)), ErrorKind::InvalidLogits);
    assert_eq!(kind(sample_batch(&mut sessions, rows.view(), &mut tokens[1..])), ErrorKind::InvalidLogits);
    // A part of wider rows is a batch too; every second logit is not.
    let wide = Array2::from_elem((ROWS, 2 * VOCAB as usize), 1.0f32);
    sessions[3].reset();
    sample_batch(&mut sessions, wide.slice(s![.., ..VOCAB as usize]), &mut tokens).unwrap();
    assert!(tokens.iter().all(Result::is_ok));
    sample_batch(&mut sessions, wide.slice(s![.., ..;2]), &mut tokens).unwrap();
    assert!(tokens.iter().all(Result::is_err));
}
