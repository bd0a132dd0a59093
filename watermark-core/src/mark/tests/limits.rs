//! What no layer may do: bring back a token that a grammar has masked.

use super::{engine, marked, marker, profile};
use crate::engine::Engine;
use crate::mark::{Sampling, SessionOptions};
use crate::profile::AnyScheme;
use crate::scheme::tests::examples;

const VOCAB: u32 = 60;

fn every_scheme() -> Vec<AnyScheme> {
    let engines = Engine::marking().map(engine);
    examples().into_iter().map(|(_, scheme, _)| scheme.into()).chain(engines).collect()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

    /// Under every scheme, sampled, processed, drafted or corrected: what is -inf stays so, and is never drawn.
    #[test]
    fn masked_tokens_stay_masked(
        which in 0..every_scheme().len(),
        logits in proptest::collection::vec(-9f32..9.0, VOCAB as usize),
        allowed in proptest::collection::btree_set(0..VOCAB, 1..12),
        top_p in proptest::option::of(0.3..1.0f64),
        key in 0..50u32,
        before in proptest::collection::vec(0..VOCAB, 0..6),
    ) {
        let scheme = every_scheme()[which];
        let row: Vec<f32> =
            logits.iter().zip(0..).map(|(&l, id)| if allowed.contains(&id) { l } else { f32::NEG_INFINITY }).collect();
        let width = if let AnyScheme::Engine(engine) = scheme { engine.context_width() } else { 1 };
        let options = SessionOptions { sampling: Sampling { top_p, ..Sampling::default() }, ..marked() };
        let mut session = marker(key, profile(VOCAB, &[3], &[(scheme, width)])).session(&options).unwrap();
        for &token in &before {
            session.accept(token).unwrap();
        }
        let proxy = [1.0 / VOCAB as f32; VOCAB as usize];
        session.set_proxy(&proxy).unwrap();
        let token = session.sample(&row).unwrap();
        proptest::prop_assert!(allowed.contains(&token));
        let mut processed = row.clone();
        session.process(&mut processed).unwrap();
        for (id, (&before, &after)) in row.iter().zip(&processed).enumerate() {
            proptest::prop_assert!(before.is_finite() || after == f32::NEG_INFINITY, "token {}", id);
        }
        proptest::prop_assert!(processed.iter().any(|logit| logit.is_finite()));
        if !scheme.needs_proxy() {
            // The draft model knows no grammar.
            session.draft(&logits).unwrap();
            session.verify(&[&row[..], &row[..]].concat()).unwrap();
            proptest::prop_assert!(session.generated()[before.len()..].iter().all(|token| allowed.contains(token)));
        }
    }
}
