//! Random operation sequences against the naive model.

use proptest::prelude::*;

use super::naive::{KEY, Naive, SPECIAL, VOCAB};
use super::{dual_key, greenlist, marked, marker, profile, scheme};
use crate::ErrorKind;
use crate::mark::{Marker, Session, SessionOptions};
use crate::profile::AnyScheme;

#[derive(Clone, Debug)]
enum Op {
    /// Looks at the next position in every way there is; changes nothing.
    Look(usize),
    /// Samples and accepts.
    Emit(usize),
    Accept(u32),
    Draft(usize),
    Propose(u32),
    Verify(usize),
    Rollback(usize),
    Reset,
    /// Goes on with a copy; the original stays.
    Fork,
    /// Goes on with another sequence.
    Switch(usize),
    /// A row with NaN: every call fails until a reset.
    Spoil,
}

fn op() -> impl Strategy<Value = Op> {
    let row = 0..6usize;
    prop_oneof![
        3 => row.clone().prop_map(Op::Look),
        8 => row.clone().prop_map(Op::Emit),
        2 => (0..VOCAB).prop_map(Op::Accept),
        4 => row.clone().prop_map(Op::Draft),
        2 => (0..VOCAB).prop_map(Op::Propose),
        3 => row.prop_map(Op::Verify),
        2 => (0..6usize).prop_map(Op::Rollback),
        1 => Just(Op::Reset),
        1 => Just(Op::Fork),
        1 => (0..4usize).prop_map(Op::Switch),
        1 => Just(Op::Spoil),
    ]
}

/// Six shapes of a row; the last two mask most tokens, one of them all but one.
fn row(shape: usize) -> Vec<f32> {
    let masked = |v: u32| (shape == 4 && !v.is_multiple_of(3)) || (shape == 5 && v != SPECIAL + 1);
    let logit = |v: u32| ((v as usize * 7 + shape * 5) % 11) as f32 / 4.0;
    (0..VOCAB).map(|v| if masked(v) { f32::NEG_INFINITY } else { logit(v) }).collect()
}

fn kinds() -> Vec<(Vec<(AnyScheme, usize)>, bool)> {
    let choosing = |name| (scheme(name, &[]), 2);
    vec![
        (vec![(greenlist(), 1)], true),
        (vec![(greenlist(), 1), choosing("gumbel")], true),
        (vec![(greenlist(), 1), choosing("permute_and_flip")], true),
        (vec![(greenlist(), 1), (dual_key(), 2)], true),
        (vec![(greenlist(), 1), choosing("gumbel")], false),
    ]
}

fn look(session: &mut Session, naive: &Naive, shape: usize) {
    let row = row(shape);
    let token = naive.sample(&row);
    assert_eq!(session.sample(&row).unwrap(), token);
    // Backwards, and only what is left.
    let ids: Vec<u32> = (0..VOCAB).rev().filter(|&id| row[id as usize].is_finite()).collect();
    let logits: Vec<f32> = ids.iter().map(|&id| row[id as usize]).collect();
    assert_eq!(session.sample_among(&ids, &logits).unwrap(), token);
    let mut processed = row;
    session.process(&mut processed).unwrap();
    let left: Vec<_> = (0..VOCAB).zip(processed).filter(|(_, logit)| *logit > f32::NEG_INFINITY).collect();
    assert_eq!(left, naive.distribution(&self::row(shape)));
}

fn run(marker: &Marker, kind: &(Vec<(AnyScheme, usize)>, bool), ops: &[Op]) {
    let options = SessionOptions { marked: kind.1, ..marked() };
    let new = || (marker.session(&options).unwrap(), Naive::new(&kind.0, kind.1, options.seed));
    let mut all = vec![new()];
    let mut at = 0;
    for op in ops {
        let copies = all.len();
        let (session, naive) = &mut all[at];
        let busy = !naive.drafts.is_empty();
        match *op {
            // Not while drafts wait: that is an error of its own, below.
            Op::Look(shape) if !busy => look(session, naive, shape),
            Op::Emit(shape) if !busy => {
                let token = session.sample(&row(shape)).unwrap();
                assert_eq!(token, naive.sample(&row(shape)));
                session.accept(token).unwrap();
                naive.tokens.push(token);
            }
            Op::Accept(token) if !busy => {
                session.accept(token).unwrap();
                naive.tokens.push(token);
            }
            Op::Look(_) | Op::Emit(_) | Op::Accept(_) => {
                let mut copy = session.fork();
                assert_eq!(copy.accept(0).unwrap_err().kind(), ErrorKind::InvalidParameter);
            }
            Op::Draft(shape) => assert_eq!(session.draft(&row(shape)).unwrap(), naive.draft(&row(shape))),
            Op::Propose(token) => {
                session.propose(token).unwrap();
                naive.propose(token, None);
            }
            Op::Verify(shape) => {
                let rows: Vec<Vec<f32>> = (0..=naive.drafts.len()).map(|i| row((shape + i) % 6)).collect();
                assert_eq!(session.verify(&rows.concat()).unwrap(), naive.verify(&rows));
            }
            Op::Rollback(n) => {
                session.rollback(n);
                naive.rollback(n);
            }
            Op::Reset => {
                session.reset();
                naive.rollback(usize::MAX);
            }
            Op::Fork if copies < 4 => {
                let copy = (session.fork(), naive.clone());
                all.push(copy);
                at = copies;
            }
            Op::Fork => {}
            Op::Switch(to) => at = to % copies,
            Op::Spoil => {
                let error = session.draft(&[f32::NAN; VOCAB as usize]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidLogits);
                assert_eq!(session.sample(&row(0)).unwrap_err(), error);
                assert_eq!(session.accept(0).unwrap_err(), error);
                assert_eq!(session.error(), Some(&error));
                session.reset();
                naive.rollback(usize::MAX);
            }
        }
        assert_eq!(all[at].0.generated(), all[at].1.tokens);
    }
}

/// Sampling, speculation, rollbacks, forks and resets in any order give what the definitions give.
#[test]
fn random_operations() {
    let cases = if cfg!(debug_assertions) { 2_000 } else { 100_000 };
    let kinds = kinds();
    let markers: Vec<Marker> =
        kinds.iter().map(|(schemes, _)| marker(KEY, profile(VOCAB, &[SPECIAL], schemes))).collect();
    let sequences = (0..kinds.len(), proptest::collection::vec(op(), 1..40));
    proptest!(ProptestConfig::with_cases(cases), |((kind, ops) in sequences)| {
        run(&markers[kind], &kinds[kind], &ops);
    });
}
