//! Antidistillation fingerprinting (2602.03812): the bonus, its inputs, and what it is for.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use watermark_core::ErrorKind;
use watermark_core::detect::{Detector, LayerDetector};
use watermark_core::key::{KeyPath, NodeKey};
use watermark_core::mark::{Marker, Session, SessionOptions};
use watermark_core::profile::{Layer, Profile, TokenizerInfo};
use watermark_core::scheme::{Adfp, Scheme};

const VOCAB: usize = 64;
/// Never favoured, never scored.
const SPECIAL: u32 = 3;

fn profile(scheme: Scheme) -> Profile {
    Profile {
        name: "adfp".to_owned(),
        path: KeyPath::root(),
        tokenizer: TokenizerInfo { sha256: [0; 32], vocab_size: 64, special_token_ids: vec![SPECIAL] },
        layers: vec![Layer { name: "distillation".to_owned(), scheme: scheme.into(), width: 1, per_account: false }],
        ..Profile::default()
    }
}

fn key() -> NodeKey {
    NodeKey::root(b"adfp")
}

fn session(scheme: Scheme) -> Session {
    let options = SessionOptions { marked: true, ..SessionOptions::default() };
    let mut session = Marker::new(profile(scheme), &key()).unwrap().session(&options).unwrap();
    session.accept(7).unwrap();
    session
}

/// Which tokens are green after token 7.
fn green(layer: &LayerDetector) -> Vec<bool> {
    let is_green = |token: u32| {
        let mut tally = layer.tally();
        layer.add(&mut tally, &[], &[7, token]).unwrap();
        layer.finding(&tally).unwrap().statistic == 1
    };
    (0..VOCAB as u32).map(|token| token != SPECIAL && is_green(token)).collect()
}

fn adfp(lambda: f64) -> Scheme {
    Scheme::Adfp(Adfp::new(0.5, lambda).unwrap())
}

/// A distribution with a few likely tokens; `shift` makes another one.
fn distribution(shift: usize) -> Vec<f64> {
    let mut weights: Vec<f64> = (0..VOCAB).map(|i| 1.0 / (1.0 + ((i * 29 + shift * 7) % VOCAB) as f64)).collect();
    weights[SPECIAL as usize] = 1e-9;
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

fn floats(p: &[f64]) -> Vec<f32> {
    p.iter().map(|&p| p as f32).collect()
}

/// What `scheme` makes of the distribution `p` with the proxy's `q`.
fn marked(scheme: Scheme, p: &[f64], q: &[f64]) -> Vec<f64> {
    let mut session = session(scheme);
    session.set_proxy(&floats(q)).unwrap();
    let mut logits: Vec<f32> = p.iter().map(|p| p.ln() as f32).collect();
    session.process(&mut logits).unwrap();
    let weights: Vec<f64> = logits.iter().map(|&logit| f64::from(logit).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

fn divergence(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum()
}

#[test]
fn the_bonus_is_the_gradient_of_the_green_mass() {
    let layer = Detector::new(&profile(adfp(5.0)), &key(), None).unwrap().layers()[0].clone();
    let (green, q) = (green(&layer), distribution(1));
    let mass: f64 = q.iter().zip(&green).filter(|(_, green)| **green).map(|(q, _)| q).sum();
    let mut session = session(adfp(5.0));
    session.set_proxy(&floats(&q)).unwrap();
    let mut logits = vec![0.0f32; VOCAB];
    session.process(&mut logits).unwrap();
    for token in (0..VOCAB).filter(|&token| token as u32 != SPECIAL) {
        let bonus = 5.0 * q[token] * (f64::from(u8::from(green[token])) - mass);
        assert!((f64::from(logits[token]) - bonus).abs() < 1e-6, "{token}");
    }
    assert!(logits[SPECIAL as usize].abs() < 1e-9);
}

/// One step of gradient descent on a token drawn from the marked distribution changes the proxy's green mass by
/// `q_v (1[v green] - q(green))` times the rate, up to a term that is the same for all tokens. At equal divergence from the
/// teacher ADFP gains more of it than a green list does.
#[test]
fn gains_more_green_mass_than_a_green_list_at_equal_divergence() {
    let layer = Detector::new(&profile(adfp(1.0)), &key(), None).unwrap().layers()[0].clone();
    let green = green(&layer);
    for shift in 0..20 {
        let (p, q) = (distribution(shift), distribution(shift + 3));
        let mass: f64 = q.iter().zip(&green).filter(|(_, green)| **green).map(|(q, _)| q).sum();
        let gain = |marked: &[f64]| -> f64 {
            (0..VOCAB).map(|v| marked[v] * q[v] * (f64::from(u8::from(green[v])) - mass)).sum()
        };
        // A green list with the same green tokens and a delta of 1 (the scheme's own key would give others).
        let boosted: Vec<f64> =
            p.iter().zip(&green).map(|(p, green)| if *green { p * 1f64.exp() } else { *p }).collect();
        let total: f64 = boosted.iter().sum();
        let list: Vec<f64> = boosted.into_iter().map(|p| p / total).collect();
        let target = divergence(&list, &p);
        let (mut low, mut high) = (0.0, 2000.0);
        for _ in 0..40 {
            let middle = 0.5 * (low + high);
            if divergence(&marked(adfp(middle), &p, &q), &p) < target { low = middle } else { high = middle }
        }
        let tilted = marked(adfp(low), &p, &q);
        assert!((divergence(&tilted, &p) / target - 1.0).abs() < 1e-2, "shift {shift}");
        assert!(gain(&tilted) > gain(&list) && gain(&list) > gain(&p), "shift {shift}");
    }
}

#[test]
fn a_missing_or_bad_proxy_is_an_error() {
    let logits = vec![0.0f32; VOCAB];
    let kind = |mut session: Session, proxy: &[f32]| session.set_proxy(proxy).unwrap_err().kind();
    assert_eq!(session(adfp(5.0)).sample(&logits).unwrap_err().kind(), ErrorKind::MissingInput);
    let uniform = vec![1.0 / VOCAB as f32; VOCAB];
    assert_eq!(kind(session(adfp(5.0)), &uniform[1..]), ErrorKind::InvalidLogits);
    for bad in [f32::NAN, -0.1, 1.5, 0.9] {
        let mut proxy = uniform.clone();
        proxy[5] = bad;
        assert_eq!(kind(session(adfp(5.0)), &proxy), ErrorKind::InvalidLogits, "{bad}");
    }
    // It belongs to one position.
    let mut session = session(adfp(5.0));
    session.set_proxy(&uniform).unwrap();
    let token = session.sample(&logits).unwrap();
    session.accept(token).unwrap();
    assert_eq!(session.sample(&logits).unwrap_err().kind(), ErrorKind::MissingInput);
    for lambda in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(Adfp::new(0.5, lambda).is_err());
    }
}

#[test]
fn survives_a_profile_file() {
    let text = profile(adfp(12.5)).print();
    assert_eq!(Profile::parse(&text).unwrap().layers[0].scheme, adfp(12.5).into());
    assert!(Profile::parse(&text.replace("\"lambda\"", "\"delta\"")).is_err());
}
