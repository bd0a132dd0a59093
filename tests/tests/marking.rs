//! Marking against theory: distortion-freeness, expected scores, layers that do not disturb each other.
#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp, reason = "tests")]

use watermark_core::detect::Detector;
use watermark_core::key::{KeyPath, NodeKey};
use watermark_core::mark::{Marker, Sampling, Session, SessionOptions};
use watermark_core::profile::{Layer, Profile, TokenizerInfo};
use watermark_core::scheme::{Greenlist, Gumbel, Scheme};
use watermark_core::{ErrorKind, stats};

const VOCAB: u32 = 64;

fn profile(layers: Vec<Layer>, special: &[u32]) -> Profile {
    Profile {
        name: "test".to_owned(),
        path: KeyPath::root(),
        tokenizer: TokenizerInfo { sha256: [0; 32], vocab_size: VOCAB, special_token_ids: special.to_vec() },
        layers,
        ..Profile::default()
    }
}

fn layer(name: &str, scheme: Scheme, width: usize) -> Layer {
    Layer { name: name.to_owned(), scheme: scheme.into(), width, per_account: false }
}

fn greenlist() -> Scheme {
    Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap())
}

fn key(n: u32) -> NodeKey {
    NodeKey::root(&n.to_le_bytes())
}

fn options(seed: u64) -> SessionOptions {
    SessionOptions { marked: true, seed, ..SessionOptions::default() }
}

/// A row whose shape depends on the step, so that the sequences are not trivial.
fn row(step: usize) -> Vec<f32> {
    (0..VOCAB).map(|v| ((v as usize * 7 + step * 13) % 19) as f32 / 6.0).collect()
}

fn generate(session: &mut Session, steps: usize) -> Vec<u32> {
    for step in 0..steps {
        let token = session.sample(&row(step)).unwrap();
        session.accept(token).unwrap();
    }
    session.generated().to_vec()
}

/// Averaged over keys, gumbel draws from the model's distribution, truncation included.
/// 60,000 keys, 5 cells after top-k, chi-square critical value 18.47 (4 degrees of freedom, 1e-3).
#[test]
fn gumbel_is_unbiased_over_keys() {
    let logits: Vec<f32> = (0..VOCAB).map(|v| if v < 6 { 1.5 - 0.5 * v as f32 } else { -1.0 }).collect();
    let sampling = Sampling { temperature: 0.7, top_k: Some(5), ..Sampling::default() };
    let trials = 60_000u32;
    let mut counts = [0u32; 5];
    for trial in 0..trials {
        let marker = Marker::new(profile(vec![layer("p", Scheme::Gumbel(Gumbel), 1)], &[]), &key(trial)).unwrap();
        let mut session = marker.session(&SessionOptions { sampling, ..options(0) }).unwrap();
        session.accept(9).unwrap();
        counts[session.sample(&logits).unwrap() as usize] += 1;
    }
    let weights: Vec<f64> = (0..5).map(|v| (f64::from(logits[v]) / f64::from(0.7f32)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let chi_square: f64 = counts
        .iter()
        .zip(&weights)
        .map(|(&count, weight)| {
            let expected = f64::from(trials) * weight / total;
            (f64::from(count) - expected).powi(2) / expected
        })
        .sum();
    assert!(chi_square < 18.47, "{chi_square} {counts:?}");
}

/// E[score] = sum p H(1/p): 1.5 for two equal tokens, and the value for (.7, .2, .1), where H is the harmonic number
/// continued by the digamma function. 40,000 keys; the bound is 5 standard errors (standard deviation below 1.5).
#[test]
fn gumbel_expected_score() {
    // H(x) for real x by its series sum_k x / (k (k + x)), with the integral of the rest.
    let harmonic = |x: f64| (1..100_000).map(|k| x / (f64::from(k) * (f64::from(k) + x))).sum::<f64>() + x / 100_000.0;
    for p in [&[0.5, 0.5][..], &[0.7, 0.2, 0.1]] {
        let expected: f64 = p.iter().map(|&p| p * harmonic(1.0 / p)).sum();
        let mut logits = vec![f32::NEG_INFINITY; VOCAB as usize];
        for (logit, p) in logits.iter_mut().zip(p) {
            *logit = p.ln() as f32;
        }
        let (trials, mut sum) = (40_000u32, 0.0);
        for trial in 0..trials {
            let profile = profile(vec![layer("p", Scheme::Gumbel(Gumbel), 0)], &[]);
            let mut session = Marker::new(profile.clone(), &key(trial)).unwrap().session(&options(0)).unwrap();
            let token = session.sample(&logits).unwrap();
            let detector = Detector::new(&profile, &key(trial), None).unwrap();
            let layer = &detector.layers()[0];
            let mut tally = layer.tally();
            layer.add(&mut tally, &[], &[token]).unwrap();
            sum += stats::q32_to_f64(layer.finding(&tally).unwrap().statistic);
        }
        let mean = sum / f64::from(trials);
        assert!((mean - expected).abs() < 5.0 * 1.5 / f64::from(trials).sqrt(), "{mean} {expected}");
    }
    assert!((0.5 * harmonic(2.0) * 2.0 - 1.5).abs() < 1e-4);
}

/// Both layers of one text are found under their key, and under 200 other keys neither is: with 400 tests at 1e-3 the
/// chance of more than 5 rejections is below 1e-5.
#[test]
fn two_layers_on_the_same_tokens() {
    let profile = profile(vec![layer("d", greenlist(), 1), layer("p", Scheme::Gumbel(Gumbel), 4)], &[]);
    let marker = Marker::new(profile.clone(), &key(0)).unwrap();
    let texts: Vec<Vec<u32>> =
        (0..10).map(|seed| generate(&mut marker.session(&options(seed)).unwrap(), 200)).collect();
    let log10_p = |k: u32| -> Vec<f64> {
        let detector = Detector::new(&profile, &key(k), None).unwrap();
        let findings = detector.layers().iter().map(|layer| {
            let mut tally = layer.tally();
            for text in &texts {
                layer.add(&mut tally, &[], text).unwrap();
            }
            layer.finding(&tally).unwrap().log10_p
        });
        findings.collect()
    };
    let own = log10_p(0);
    assert!(own[0] < -20.0 && own[1] < -20.0, "{own:?}");
    let rejections = (1..=200).flat_map(log10_p).filter(|&p| p < -3.0).count();
    assert!(rejections <= 5, "{rejections} of 400 at 1e-3");
}

#[test]
fn sessions_are_reproducible_and_roll_back() {
    let profile = profile(vec![layer("d", greenlist(), 1), layer("p", Scheme::Gumbel(Gumbel), 2)], &[]);
    let marker = Marker::new(profile, &key(1)).unwrap();
    let text = generate(&mut marker.session(&options(5)).unwrap(), 120);
    let mut session = marker.session(&options(5)).unwrap();
    for (step, &token) in text.iter().enumerate() {
        // a wrong turn of three tokens, taken back
        let mut wrong = session.fork();
        for draft in [1, 1, 2] {
            session.accept(draft).unwrap();
            wrong.accept(draft).unwrap();
        }
        session.rollback(3);
        assert_eq!(session.sample(&row(step)).unwrap(), token);
        session.accept(token).unwrap();
    }
    session.reset();
    assert_eq!(generate(&mut session, 120), text);
}

/// A context that was used is sampled without the choosing layer: with one context only, the keyed choice would repeat
/// one token for ever.
#[test]
fn repeated_contexts_are_unmarked() {
    let profile = profile(vec![layer("p", Scheme::Gumbel(Gumbel), 0)], &[]);
    let mut session = Marker::new(profile, &key(3)).unwrap().session(&options(7)).unwrap();
    let mut text = Vec::new();
    for _ in 0..50 {
        text.push(session.sample(&vec![0.0f32; VOCAB as usize]).unwrap());
        session.accept(text[text.len() - 1]).unwrap();
    }
    text.sort_unstable();
    text.dedup();
    assert!(text.len() > 20, "{} distinct tokens", text.len());
}

/// `process` gives the distribution that `sample` draws from; special tokens get no boost and end the context.
#[test]
fn process_shows_the_marked_distribution() {
    let special = 3;
    let profile = profile(vec![layer("d", greenlist(), 1)], &[special]);
    let mut session = Marker::new(profile, &key(2)).unwrap().session(&options(1)).unwrap();
    let base = vec![0.0f32; VOCAB as usize];
    let boosted = |session: &mut Session| {
        let mut logits = base.clone();
        session.process(&mut logits).unwrap();
        assert!(logits.iter().all(|&l| l == 0.0 || l == 2.0));
        assert_eq!(logits[special as usize], 0.0);
        logits.iter().filter(|&&l| l > 0.0).count()
    };
    assert_eq!(boosted(&mut session), 0); // no context yet
    session.accept(5).unwrap();
    assert!((15..50).contains(&boosted(&mut session)));
    session.accept(special).unwrap();
    assert_eq!(boosted(&mut session), 0);
}

#[test]
fn greedy_and_opted_out_sequences_carry_no_mark() {
    let profile = profile(vec![layer("d", greenlist(), 1), layer("p", Scheme::Gumbel(Gumbel), 2)], &[]);
    let text = |k: u32, options: &SessionOptions| {
        generate(&mut Marker::new(profile.clone(), &key(k)).unwrap().session(options).unwrap(), 60)
    };
    let greedy = SessionOptions { sampling: Sampling { temperature: 0.0, ..Sampling::default() }, ..options(1) };
    assert_eq!(text(1, &greedy), text(2, &greedy));
    let plain = SessionOptions { marked: false, ..options(1) };
    assert_eq!(text(1, &plain), text(2, &plain));
    assert_ne!(text(1, &options(1)), text(2, &options(1)));
}

/// A tally of one layer is refused by a layer of another width, where its pairs would not be independent.
#[test]
fn tallies_belong_to_a_width() {
    let profile = profile(vec![layer("d", greenlist(), 1), layer("p", Scheme::Gumbel(Gumbel), 2)], &[]);
    let detector = Detector::new(&profile, &key(1), None).unwrap();
    let [narrow, wide] = detector.layers() else { panic!("two layers") };
    let mut tally = narrow.tally();
    narrow.add(&mut tally, &[], &[1, 2, 3]).unwrap();
    assert_eq!(wide.finding(&tally).unwrap_err().kind(), ErrorKind::InvalidParameter);
    assert_eq!(wide.add(&mut tally, &[], &[1]).unwrap_err().kind(), ErrorKind::InvalidParameter);
    assert_eq!(tally.merge(wide.tally()).unwrap_err().kind(), ErrorKind::InvalidParameter);
    assert!(narrow.finding(&tally).is_ok());
}

#[test]
fn errors_are_sticky_and_named() {
    let profile = profile(vec![layer("d", greenlist(), 1)], &[]);
    let marker = Marker::new(profile.clone(), &key(1)).unwrap();
    for bad in [vec![f32::NAN; 64], vec![f32::INFINITY; 64], vec![f32::NEG_INFINITY; 64], vec![0.0f32; 63], vec![]] {
        let mut session = marker.session(&options(1)).unwrap();
        assert_eq!(session.sample(&bad).unwrap_err().kind(), ErrorKind::InvalidLogits);
        assert_eq!(session.sample(&vec![0.0f32; 64]).unwrap_err().kind(), ErrorKind::InvalidLogits, "sticky");
        session.reset();
        assert!(session.sample(&vec![0.0f32; 64]).is_ok());
    }
    let mut session = marker.session(&options(1)).unwrap();
    assert_eq!(session.accept(VOCAB).unwrap_err().kind(), ErrorKind::TokenOutOfRange);
    let sampling = Sampling { temperature: f32::NAN, ..Sampling::default() };
    let error = marker.session(&SessionOptions { sampling, ..options(1) }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidParameter);
    let named = SessionOptions { account: Some("a".to_owned()), ..options(1) };
    assert_eq!(marker.session(&named).unwrap_err().kind(), ErrorKind::InvalidParameter, "it would decide nothing");
    assert_eq!(Detector::new(&profile, &key(1), Some("a")).unwrap_err().kind(), ErrorKind::InvalidParameter);
    let mut account = profile;
    account.layers[0].per_account = true;
    let marker = Marker::new(account, &key(1)).unwrap();
    assert_eq!(marker.session(&options(1)).unwrap_err().kind(), ErrorKind::MissingInput);
    assert!(marker.session(&named).is_ok());
    let nobody = SessionOptions { account: Some(String::new()), ..named };
    assert_eq!(marker.session(&nobody).unwrap_err().kind(), ErrorKind::InvalidParameter);
}

proptest::proptest! {
    /// Any split and order of the records gives the same tally bytes.
    #[test]
    fn tallies_do_not_depend_on_shards(
        records in proptest::collection::vec(
            (proptest::collection::vec(0u32..12, 0..12), proptest::collection::vec(0u32..12, 0..40)), 0..12),
        shards in proptest::collection::vec(0usize..4, 12),
        reverse in proptest::bool::ANY,
    ) {
        let profile = profile(vec![layer("d", greenlist(), 1), layer("p", Scheme::Gumbel(Gumbel), 2)], &[3]);
        for layer in Detector::new(&profile, &key(1), None).unwrap().layers() {
            let mut whole = layer.tally();
            let mut parts = vec![layer.tally(); 4];
            for ((prompt, tokens), &shard) in records.iter().zip(&shards) {
                layer.add(&mut whole, prompt, tokens).unwrap();
                layer.add(&mut parts[shard], prompt, tokens).unwrap();
            }
            if reverse {
                parts.reverse();
            }
            let mut merged = layer.tally();
            for part in parts {
                merged.merge(part).unwrap();
            }
            proptest::prop_assert_eq!(merged.to_bytes(), whole.to_bytes());
            proptest::prop_assert_eq!(layer.finding(&merged).unwrap(), layer.finding(&whole).unwrap());
            let positions: usize = records.iter().map(|(_, tokens)| tokens.len()).sum();
            let classified = whole.n_scored() + whole.n_duplicate() + whole.n_excluded() + whole.n_short_context();
            proptest::prop_assert_eq!(classified, positions as u64);
        }
    }
}
