//! What speculation promises: the same text under one key; the target's distribution, both keys' marks and the best
//! acceptance under two.

use super::{dual_key, engine, greenlist, marked, marker, profile, scheme};
use crate::mark::{Session, SessionOptions};
use crate::profile::AnyScheme;

const VOCAB: u32 = 40;

fn target(step: usize) -> Vec<f32> {
    (0..VOCAB).map(|v| ((v as usize * 7 + step * 13) % 19) as f32 / 5.0).collect()
}

/// The target's row, disturbed.
fn draft(step: usize) -> Vec<f32> {
    target(step).iter().zip(0..).map(|(l, v)| l + ((v * 5 + step as u32 * 3) % 7) as f32 / 4.0).collect()
}

/// Generates with `n` drafts a round; the share of drafts that were accepted, and the sequence.
fn speculate(session: &mut Session, n: usize, length: usize) -> f64 {
    let (mut drafts, mut accepted) = (0, 0);
    while session.generated().len() < length {
        let at = session.generated().len();
        for i in 0..n {
            session.draft(&draft(at + i)).unwrap();
        }
        let rows: Vec<f32> = (0..=n).flat_map(|i| target(at + i)).collect();
        let emitted = session.verify(&rows).unwrap();
        accepted += emitted - 1;
        // Drafts past the first that does not hold were not looked at.
        drafts += (emitted).min(n);
    }
    accepted as f64 / drafts as f64
}

/// Under one key the text does not depend on drafts, their number or their model, even where they are nonsense.
#[test]
fn the_text_is_that_without_drafts() {
    let gumbel = scheme("gumbel", &[]);
    let permute = scheme("permute_and_flip", &[]);
    let kinds: [&[(AnyScheme, usize)]; 5] = [
        &[(greenlist(), 1)],
        &[(greenlist(), 1), (gumbel, 4)],
        &[(permute, 2)],
        &[(engine("vllm"), 2)],
        &[(greenlist(), 2), (gumbel, 0)],
    ];
    for schemes in kinds {
        for options in [marked(), SessionOptions { marked: false, ..marked() }] {
            let marker = marker(1, profile(VOCAB, &[2], schemes));
            let mut plain = marker.session(&options).unwrap();
            for step in 0..400 {
                let token = plain.sample(&target(step)).unwrap();
                plain.accept(token).unwrap();
            }
            for n in [0, 1, 4] {
                let mut session = marker.session(&options).unwrap();
                let share = speculate(&mut session, n, 400);
                assert_eq!(session.generated()[..400], plain.generated()[..400]);
                assert!(n == 0 || share > 0.3, "{share}");
            }
            let mut session = marker.session(&options).unwrap();
            while session.generated().len() < 400 {
                let at = session.generated().len();
                session.propose(at as u32 % VOCAB).unwrap();
                session.verify(&[target(at), target(at + 1)].concat()).unwrap();
            }
            assert_eq!(session.generated()[..400], plain.generated()[..400]);
        }
    }
}

/// Total variation distance of two rows' distributions.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let p = |row: &[f32]| {
        let weights: Vec<f64> = row.iter().map(|l| f64::from(*l).exp()).collect();
        let total: f64 = weights.iter().sum();
        weights.into_iter().map(move |w| w / total).collect::<Vec<_>>()
    };
    p(a).iter().zip(p(b)).map(|(p, q)| (p - q).abs()).sum::<f64>() / 2.0
}

/// One position under 60,000 keys: acceptance is 1 - d under two keys and at least (1 - d) / (1 + d) under one, to five
/// standard errors; emitted tokens follow the target. Chi-square with 39 degrees of freedom, critical value 72.05 at 1e-3.
#[test]
fn acceptance_and_distribution() {
    let (p, q) = (target(0), draft(0));
    let d = distance(&p, &q);
    assert!((0.2..0.6).contains(&d), "{d}");
    let gumbel = scheme("gumbel", &[]);
    for (scheme, at_least, at_most) in [
        (dual_key(), 1.0 - d, 1.0 - d),
        (engine("vllm-dual"), 1.0 - d, 1.0 - d),
        (gumbel, (1.0 - d) / (1.0 + d), 1.0 - d),
    ] {
        let keys = 60_000u32;
        let (mut accepted, mut counts) = (0u32, [0u32; VOCAB as usize]);
        for key in 0..keys {
            let options = SessionOptions { seed: key.into(), ..marked() };
            let mut session = marker(key, profile(VOCAB, &[], &[(scheme, 2)])).session(&options).unwrap();
            session.accept(1).unwrap();
            session.accept(2).unwrap();
            session.draft(&q).unwrap();
            accepted += u32::from(session.verify(&[&p[..], &p[..]].concat()).unwrap() == 2);
            counts[session.generated()[2] as usize] += 1;
        }
        let share = f64::from(accepted) / f64::from(keys);
        let error = 5.0 * (0.25 / f64::from(keys)).sqrt();
        assert!((at_least - error..at_most + error).contains(&share), "{}: {share} at d = {d}", scheme.name());
        let total: f64 = p.iter().map(|l| f64::from(*l).exp()).sum();
        let chi_square: f64 = p
            .iter()
            .zip(counts)
            .map(|(l, count)| {
                let expected = f64::from(keys) * f64::from(*l).exp() / total;
                (f64::from(count) - expected).powi(2) / expected
            })
            .sum();
        assert!(chi_square < 72.05, "{}: {chi_square}", scheme.name());
    }
}

/// A text of 2,000 tokens made with drafts under two keys is found as surely as one without, and a wrong key finds nothing.
#[cfg(feature = "detect")]
#[test]
fn drafts_under_two_keys_are_detected() {
    use crate::detect::Detector;
    use crate::key::NodeKey;
    let profile = profile(VOCAB, &[], &[(dual_key(), 4)]);
    let log10_p = |key: u32, tokens: &[u32]| {
        let detector = Detector::new(&profile, &NodeKey::root(&key.to_le_bytes()), None).unwrap();
        let layer = &detector.layers()[0];
        let mut tally = layer.tally();
        layer.add(&mut tally, &[], tokens).unwrap();
        layer.finding(&tally).unwrap().log10_p
    };
    let mut session = marker(7, profile.clone()).session(&marked()).unwrap();
    speculate(&mut session, 4, 2000);
    assert!(log10_p(7, session.generated()) < -50.0, "{}", log10_p(7, session.generated()));
    assert!(log10_p(8, session.generated()) > -4.0);
}
