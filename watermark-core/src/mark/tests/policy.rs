//! The sampling policy of a profile: floors that requests are raised to, and boosts before the temperature.

use proptest::prelude::*;

use super::{engine, greenlist, marked, marker, profile, scheme};
use crate::mark::{Change, MarkState, Marker, Raised, Sampling, Session, SessionOptions};
use crate::profile::{AnyScheme, Boost, SamplingPolicy};

const VOCAB: u32 = 40;

const BEFORE: SamplingPolicy =
    SamplingPolicy { boost: Boost::BeforeTemperature, min_temperature: None, min_top_p: None };

fn under(policy: SamplingPolicy, schemes: &[(AnyScheme, usize)]) -> Marker {
    let mut profile = profile(VOCAB, &[3], schemes);
    profile.sampling = Some(policy);
    marker(1, profile)
}

fn asked(sampling: Sampling) -> SessionOptions {
    SessionOptions { sampling, ..marked() }
}

fn session(marker: &Marker, sampling: Sampling, before: &[u32]) -> Session {
    let mut session = marker.session(&asked(sampling)).unwrap();
    before.iter().for_each(|&token| session.accept(token).unwrap());
    session
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// By definition: a boost before the temperature is the boost alone, then what an unmarked session makes of that row.
    #[test]
    fn before_the_temperature_is_boost_then_sampling(
        logits in prop::collection::vec(-9f32..9.0, VOCAB as usize),
        forbidden in prop::collection::btree_set(0..VOCAB, 0..30),
        temperature in prop_oneof![Just(0f32), 0.05f32..2.0],
        top_k in prop::option::of(1..50usize),
        top_p in prop::option::of(0.05..1.0f64),
        min_p in prop::option::of(0.01..1.0f64),
        before in prop::collection::vec(0..VOCAB, 0..6),
        second in 0..3usize,
    ) {
        let row: Vec<f32> =
            logits.iter().zip(0..).map(|(&l, id)| if forbidden.contains(&id) { f32::NEG_INFINITY } else { l }).collect();
        let choosing = [None, Some((scheme("gumbel", &[]), 2)), Some((engine("vllm"), 2))][second];
        let schemes: Vec<_> = [(greenlist(), 1)].into_iter().chain(choosing).collect();
        let sampling = Sampling { temperature, top_k, top_p, min_p };

        let mut boosted = row.clone();
        session(&marker(1, profile(VOCAB, &[3], &schemes)), Sampling::default(), &before).process(&mut boosted).unwrap();
        let without = SessionOptions { marked: false, ..asked(sampling) };
        let mut plain = under(BEFORE, &schemes).session(&without).unwrap();
        let mut expected = boosted.clone();
        plain.process(&mut expected).unwrap();

        let mut session = session(&under(BEFORE, &schemes), sampling, &before);
        let mut processed = row.clone();
        session.process(&mut processed).unwrap();
        prop_assert_eq!(&processed, &expected);
        // Among candidates, backwards, and from the whole row: the same token, one of those that are left.
        let token = session.sample(&row).unwrap();
        prop_assert!(processed[token as usize].is_finite());
        let ids: Vec<u32> = (0..VOCAB).rev().filter(|&id| row[id as usize].is_finite()).collect();
        let logits: Vec<f32> = ids.iter().map(|&id| row[id as usize]).collect();
        prop_assert_eq!(session.sample_among(&ids, &logits).unwrap(), token);
        if second == 0 {
            // Ordinary draws belong to the position.
            before.iter().for_each(|&token| plain.accept(token).unwrap());
            prop_assert_eq!(plain.sample(&boosted).unwrap(), token);
        }
    }

    /// At temperature 1 without truncation the place makes no difference.
    #[test]
    fn at_temperature_one_both_places_are_one(logits in prop::collection::vec(-9f32..9.0, VOCAB as usize), last in 0..VOCAB) {
        let schemes = [(greenlist(), 1), (scheme("gumbel", &[]), 1)];
        let after = marker(1, profile(VOCAB, &[3], &schemes));
        let tokens = [after, under(BEFORE, &schemes)]
            .map(|marker| session(&marker, Sampling::default(), &[last]).sample(&logits).unwrap());
        prop_assert_eq!(tokens[0], tokens[1]);
    }
}

/// Greedy decoding takes a green token less than delta (2) behind where the boost comes first, and says that it is marked.
#[test]
fn greedy_decoding_is_marked_where_the_boost_comes_first() {
    let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    let mut after = session(&marker(1, profile(VOCAB, &[3], &[(greenlist(), 1)])), greedy, &[9]);
    let mut before = session(&under(BEFORE, &[(greenlist(), 1)]), greedy, &[9]);
    let mut equal = vec![0.0; VOCAB as usize];
    before.process(&mut equal).unwrap();
    let green: Vec<bool> = {
        let mut row = vec![0.0; VOCAB as usize];
        session(&under(BEFORE, &[(greenlist(), 1)]), Sampling::default(), &[9]).process(&mut row).unwrap();
        row.iter().map(|&logit| logit > 1.0).collect()
    };
    let at = |wanted: bool| (4..VOCAB).find(|&token| green[token as usize] == wanted).unwrap();
    for (behind, winner) in [(1.9, at(true)), (2.1, at(false))] {
        let mut row = vec![-20.0; VOCAB as usize];
        row[at(false) as usize] = 0.0;
        row[at(true) as usize] = -behind;
        assert_eq!(before.sample(&row).unwrap(), winner);
        assert_eq!(before.mark_state(), MarkState::Marked);
        assert_eq!(after.sample(&row).unwrap(), at(false));
        assert_eq!(after.mark_state(), MarkState::Greedy);
    }
    // One token with all the probability, and a position without a context, carry no mark in either place.
    let mut certain = vec![-200.0; VOCAB as usize];
    certain[7] = 0.0;
    before.sample(&certain).unwrap();
    assert_eq!(before.mark_state(), MarkState::Certain);
    let mut first = session(&under(BEFORE, &[(greenlist(), 1)]), greedy, &[]);
    first.sample(&vec![0.0; VOCAB as usize]).unwrap();
    assert_eq!(first.mark_state(), MarkState::Greedy);
    let mut first = session(&under(BEFORE, &[(greenlist(), 1)]), Sampling::default(), &[]);
    first.sample(&vec![0.0; VOCAB as usize]).unwrap();
    assert_eq!(first.mark_state(), MarkState::NoContext);
}

/// Requests below a floor become requests at the floor, to the token, and the session says what was raised.
#[test]
fn requests_are_raised_to_the_floors() {
    let policy = SamplingPolicy { boost: Boost::AfterTemperature, min_temperature: Some(0.7), min_top_p: Some(0.9) };
    let schemes = [(greenlist(), 1), (scheme("gumbel", &[]), 2)];
    let (held, free) = (under(policy, &schemes), marker(1, profile(VOCAB, &[3], &schemes)));
    let sampling = |temperature, top_p| Sampling { temperature, top_p, ..Sampling::default() };
    let row: Vec<f32> = (0..VOCAB).map(|v| (v * 7 % 19) as f32 / 6.0).collect();
    for (asked_for, at_floor, raised) in [
        (sampling(0.0, None), sampling(0.7, None), (Some((0.0, 0.7)), None)),
        (sampling(0.69, Some(0.3)), sampling(0.7, Some(0.9)), (Some((0.69, 0.7)), Some((0.3, 0.9)))),
        // At the floor, and single precision on both sides.
        (sampling(0.7, Some(0.9)), sampling(0.7, Some(0.9)), (None, None)),
        (sampling(1.3, None), sampling(1.3, None), (None, None)),
    ] {
        let mut low = session(&held, asked_for, &[8, 9]);
        let expected = Raised {
            temperature: raised.0.map(|(from, to)| Change { from, to }),
            top_p: raised.1.map(|(from, to)| Change { from, to }),
        };
        assert_eq!(low.raised(), expected);
        assert_eq!(low.fork().raised(), expected);
        assert_eq!(low.sample(&row).unwrap(), session(&free, at_floor, &[8, 9]).sample(&row).unwrap());
        assert_eq!(low.mark_state(), MarkState::Marked);
        low.reset();
        assert_eq!(low.raised(), expected);
        // An unmarked answer is what was asked for.
        let mut unmarked = held.session(&SessionOptions { marked: false, ..asked(asked_for) }).unwrap();
        assert_eq!(unmarked.raised(), Raised::default());
        let mut plain = free.session(&SessionOptions { marked: false, ..asked(asked_for) }).unwrap();
        assert_eq!(unmarked.sample(&row).unwrap(), plain.sample(&row).unwrap());
    }
    // A floor that single precision cannot hold is no way back to greedy decoding.
    let tiny = SamplingPolicy { min_temperature: Some(1e-300), ..SamplingPolicy::default() };
    let raised = session(&under(tiny, &schemes), sampling(0.0, None), &[]).raised();
    assert!(raised.temperature.is_some_and(|change| change.to > 0.0));
}
