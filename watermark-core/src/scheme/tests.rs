//! What holds for every scheme, and what the files of the schemes pin their outputs with.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::ErrorKind;
use crate::detect::Detector;
use crate::engine::Engine;
use crate::key::{KeyPath, NodeKey};
use crate::mark::{Marker, Session, SessionOptions};
use crate::profile::{Layer, Profile, TokenizerInfo};

const VOCAB: u32 = 40;

/// Every example of the catalogue, with its spec.
pub(crate) fn examples() -> Vec<(&'static Spec, Scheme, usize)> {
    let of_spec = |spec: &'static Spec| {
        spec.examples.iter().map(move |example| {
            let (scheme, width) = spec.build(example).unwrap();
            (spec, scheme, width)
        })
    };
    Scheme::SPECS.iter().flat_map(of_spec).collect()
}

fn profile(scheme: Scheme, width: usize) -> Profile {
    Profile {
        name: "test".to_owned(),
        path: KeyPath::root(),
        tokenizer: TokenizerInfo { sha256: [0; 32], vocab_size: VOCAB, special_token_ids: vec![0] },
        layers: vec![Layer { name: "layer".to_owned(), scheme: scheme.into(), width, per_account: false }],
        ..Profile::default()
    }
}

/// Tokens and statistic of each example of a scheme under one key: 24 positions of a made-up model, which is its own proxy, with
/// temperature 1 and without truncation. A changed output is another scheme, and needs another name.
pub(crate) fn outputs(name: &str) -> Vec<(Vec<u32>, u128)> {
    let key = NodeKey::root(b"pinned outputs");
    let of_example = |(_, scheme, width): (&Spec, Scheme, usize)| {
        let profile = profile(scheme, width);
        let options = SessionOptions { marked: true, seed: 1, ..SessionOptions::default() };
        let mut session = Marker::new(profile.clone(), &key).unwrap().session(&options).unwrap();
        for step in 0..24 {
            let token = step_of(&mut session, step);
            session.accept(token).unwrap();
        }
        let layer = Detector::new(&profile, &key, None).unwrap().layers()[0].clone();
        let mut tally = layer.tally();
        layer.add(&mut tally, &[], session.generated()).unwrap();
        (session.generated().to_vec(), layer.finding(&tally).unwrap().statistic)
    };
    examples().into_iter().filter(|(spec, ..)| spec.name == name).map(of_example).collect()
}

fn step_of(session: &mut Session, step: u32) -> u32 {
    let logits: Vec<f32> = (0..VOCAB).map(|v| ((v * 7 + step * 13) % 19) as f32 / 6.0).collect();
    let mut p = Vec::new();
    softmax(&logits, &mut p);
    #[expect(clippy::cast_possible_truncation, reason = "a proxy's probabilities are f32")]
    session.set_proxy(&p.iter().map(|&p| p as f32).collect::<Vec<_>>()).unwrap();
    session.sample(&logits).unwrap()
}

/// A spec is one that command lines and profiles can be made from.
#[test]
fn specs_are_sound() {
    for (at, spec) in Scheme::SPECS.iter().enumerate() {
        let name = spec.name;
        assert!(Scheme::SPECS[..at].iter().all(|other| other.name != name), "{name} is there twice");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{name}");
        assert!(spec.summary.ends_with('.') && !spec.source.is_empty() && !spec.examples.is_empty(), "{name}");
        assert!(Engine::names().all(|engine| engine != name), "{name} is an engine");
        for (at, parameter) in spec.parameters.iter().enumerate() {
            let twice = |other: &Parameter| other.name == parameter.name || other.option == parameter.option;
            assert!(!spec.parameters[..at].iter().any(twice), "{name}: {}", parameter.name);
            // A flag is one everywhere, so that one option of the command line serves all schemes.
            let flag = |parameter: &Parameter| parameter.domain == Domain::Flag;
            let same = |other: &&Parameter| other.name == parameter.name || other.option == parameter.option;
            let all = Scheme::SPECS.iter().flat_map(|spec| spec.parameters);
            assert!(all.filter(same).all(|other| flag(other) == flag(parameter)), "{name}: {}", parameter.name);
            let usual = parameter.usual.is_some();
            assert!(usual || matches!(parameter.need, Need::Optional(_)), "{name}: {} has no value", parameter.name);
        }
    }
}

/// Examples mark; giving back the parameters of a scheme and reading them again makes the same scheme.
#[test]
fn examples_are_complete_and_come_back() {
    for (spec, scheme, width) in examples() {
        assert!(width <= crate::MAX_CONTEXT_WIDTH, "{scheme:?}");
        spec.check_marking(&scheme.parameters()).unwrap();
        assert_eq!(Scheme::from_name(spec.name, &scheme.parameters()).unwrap(), scheme);
        assert_eq!((scheme.name(), scheme.chooses()), (spec.name, spec.kind.chooses()));
        let order: Vec<usize> = scheme
            .parameters()
            .iter()
            .map(|(name, _)| spec.parameters.iter().position(|parameter| parameter.name == name).unwrap())
            .collect();
        assert!(order.is_sorted(), "{}: a profile prints parameters in the spec's order", spec.name);
    }
}

/// Names and parameters that are wrong are errors that name them, for every scheme.
#[test]
fn wrong_parameters_are_named() {
    let refused = |name: &str, parameters: &Parameters| {
        let error = Scheme::from_name(name, parameters).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{error}");
        error.to_string()
    };
    assert!(refused("sparkle", &Parameters::new()).starts_with("unknown scheme \"sparkle\"; known are greenlist, "));
    for (spec, scheme, _) in examples() {
        let good = scheme.parameters();
        let with = |name: &'static str, value: Value| good.clone().with(name, value);
        assert_eq!(
            refused(spec.name, &with("sparkle", Value::Real(1.0))),
            format!("{} does not take sparkle", spec.name)
        );
        for parameter in spec.parameters {
            let name = parameter.name;
            let wrong = match parameter.domain {
                Domain::Real { .. } | Domain::BlockShare => vec![f64::NAN.into(), (-1.0).into(), f64::INFINITY.into()],
                Domain::Whole { low, high } => {
                    let ends = [low.checked_sub(1), high.checked_add(1)];
                    ends.into_iter().flatten().map(Value::Whole).collect()
                }
                Domain::Flag => vec![],
            };
            for value in wrong {
                assert!(refused(spec.name, &with(name, value)).contains(name), "{} {name}", spec.name);
            }
            let other = if parameter.domain == Domain::Flag { Value::Real(0.25) } else { Value::Flag(true) };
            assert!(refused(spec.name, &with(name, other)).starts_with(&format!("{name} has the wrong type")));
            if parameter.need == Need::Always {
                let mut without = Parameters::new();
                for (other, value) in good.iter().filter(|(other, _)| *other != name) {
                    without = without.with(other.to_owned(), value);
                }
                assert!(refused(spec.name, &without).starts_with(&format!("{} needs {name}", spec.name)));
            }
        }
    }
}

/// Scores of uniform words have the mean and the tail of their law. 200,000 words of the first example of each law and scheme
/// (seed: the key "law"); the mean is within 5 standard errors, and the p-values of 2,000 sums of 100 scores are at most 1e-2 no
/// more often than 43 times (binomial, 2,000 trials: P < 1e-5), and at most 0.5 at least 600 times (P < 1e-10 for an exact law;
/// laws of bits are conservative by one bit).
#[test]
fn scores_follow_their_law() {
    use crate::detect::LayerDetector;
    let key = NodeKey::root(b"law").prf_key("law", 1).unwrap();
    let prf = crate::prf::ChaCha20V1::new(&key, 1).unwrap();
    for (spec, scheme, _) in examples() {
        let layer = LayerDetector::from_prf_key(scheme, 1, &key).unwrap();
        let (mut sum, mut squares, mut at_most) = (0.0, 0.0, [0; 2]);
        for block in 0..2000u32 {
            let context = prf.context(&[block]).unwrap().unwrap();
            let mut words = [0; 200];
            prf.vocabulary_words(context, &mut words).unwrap();
            let scores: Vec<u64> = words.as_chunks::<2>().0.iter().map(|&[a, b]| scheme.score(a, b)).collect();
            for &score in &scores {
                let score = score as f64;
                (sum, squares) = (sum + score, squares + score * score);
            }
            let total: u128 = scores.iter().map(|&score| u128::from(score)).sum();
            let p = 10f64.powf(layer.log10_p(total, layer.draws(100).unwrap()).unwrap());
            at_most[0] += u32::from(p <= 1e-2);
            at_most[1] += u32::from(p <= 0.5);
        }
        let n = 200_000.0;
        let mean = sum / n;
        let deviation = (squares / n - mean * mean).sqrt();
        let expected = match scheme.null_law() {
            NullLaw::Bits { gamma, trials } => gamma * f64::from(trials),
            NullLaw::WeightedBits(scheme) => f64::from(scheme.weights().iter().sum::<u32>()) / 2.0,
            NullLaw::ExponentialQ32 | NullLaw::DualKeyQ32 { .. } => TWO_32,
            NullLaw::BitsWithoutReplacement { gamma } => gamma,
        };
        let name = spec.name;
        assert!((mean - expected).abs() < 5.0 * deviation / n.sqrt(), "{name}: mean {mean}, not {expected}");
        assert!(at_most[0] <= 43 && at_most[1] >= 600, "{name}: {at_most:?} of 2000");
    }
}
