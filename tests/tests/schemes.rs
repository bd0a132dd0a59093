//! Every scheme against its theory: the mean over keys, the expected score, the power, and what happens at the edges.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use watermark_core::detect::{Detector, Weights};
use watermark_core::engine::{Engine, EngineOptions};
use watermark_core::key::{KeyPath, NodeKey};
use watermark_core::mark::{MarkState, Marker, Sampling, Session, SessionOptions};
use watermark_core::prf::ChaCha20V1;
use watermark_core::profile::{AnyScheme, Layer, Profile, TokenizerInfo};
use watermark_core::scheme::{
    Dipmark, Greenlist, Gumbel, GumbelDualKey, Mcmark, PermuteAndFlip, Scheme, Spec, Tournament,
};

const VOCAB: u32 = 64;

fn profile(scheme: impl Into<AnyScheme>, width: usize) -> Profile {
    Profile {
        name: "test".to_owned(),
        path: KeyPath::root(),
        tokenizer: TokenizerInfo { sha256: [0; 32], vocab_size: VOCAB, special_token_ids: Vec::new() },
        layers: vec![Layer { name: "p".to_owned(), scheme: scheme.into(), width, per_account: false }],
        ..Profile::default()
    }
}

fn engine(name: &str, width: usize) -> AnyScheme {
    let options = EngineOptions { context_width: Some(width), ..EngineOptions::default() };
    Engine::new(name, &options).unwrap().into()
}

/// Every example of the catalogue, named, as far as `wanted`.
fn examples(wanted: impl Fn(&Spec) -> bool) -> Vec<(String, AnyScheme, usize)> {
    let mut examples = Vec::new();
    for spec in Scheme::SPECS.iter().filter(|spec| wanted(spec)) {
        for example in spec.examples {
            let (scheme, width) = spec.build(example).unwrap();
            examples.push((format!("{scheme:?}"), scheme.into(), width));
        }
    }
    examples
}

/// Hands in the model's own distribution as the proxy's, where the scheme needs one.
fn with_proxy(session: &mut Session, scheme: AnyScheme, logits: &[f32]) {
    if scheme.needs_proxy() {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = logits.iter().map(|logit| (logit - max).exp()).collect();
        let total: f32 = weights.iter().sum();
        session.set_proxy(&weights.iter().map(|weight| weight / total).collect::<Vec<_>>()).unwrap();
    }
}

fn key(n: u32) -> NodeKey {
    NodeKey::root(&n.to_le_bytes())
}

fn session(profile: &Profile, k: u32, options: &SessionOptions) -> Session {
    Marker::new(profile.clone(), &key(k)).unwrap().session(options).unwrap()
}

fn options(seed: u64) -> SessionOptions {
    SessionOptions { marked: true, seed, ..SessionOptions::default() }
}

/// Logits of a row that has the given probabilities first and nothing else.
fn row(p: &[f64]) -> Vec<f32> {
    let mut logits = vec![f32::NEG_INFINITY; VOCAB as usize];
    for (logit, p) in logits.iter_mut().zip(p) {
        *logit = p.ln() as f32;
    }
    logits
}

/// Draws from one row after one accepted token, under `trials` keys.
fn draws(scheme: impl Into<AnyScheme>, logits: &[f32], trials: u32) -> Vec<u32> {
    let profile = profile(scheme, 1);
    let draw = |trial: u32| {
        // Another public seed each, for the coin between two keys.
        let mut session = session(&profile, trial, &options(trial.into()));
        session.accept(9).unwrap();
        session.sample(logits).unwrap()
    };
    (0..trials).map(draw).collect()
}

fn chi_square(draws: &[u32], p: &[f64]) -> f64 {
    let n = draws.len() as f64;
    let cell = |(v, p): (usize, &f64)| {
        let count = draws.iter().filter(|&&draw| draw as usize == v).count() as f64;
        (count - n * p).powi(2) / (n * p)
    };
    p.iter().enumerate().map(cell).sum()
}

const P: [f64; 5] = [0.4, 0.3, 0.15, 0.1, 0.05];

/// Averaged over keys, every distortion-free scheme draws from the model's distribution. 60,000 keys, 5 cells; the
/// chi-square critical value 25.5 (4 degrees of freedom) is exceeded with probability 4e-5, for any of 20 schemes below 8e-4.
#[test]
fn the_mean_over_keys_is_the_models_distribution() {
    let more = [
        ("two keys, alpha .3", Scheme::GumbelDualKey(GumbelDualKey::new(0.3).unwrap()).into()),
        ("tournament of one layer", Scheme::Tournament(Tournament::new(1).unwrap()).into()),
        ("vllm", engine("vllm", 1)),
        ("sglang", engine("sglang", 1)),
    ];
    let more = more.map(|(name, scheme)| (name.to_owned(), scheme, 1));
    for (name, scheme, _) in examples(|spec| spec.distortion_free).into_iter().chain(more) {
        let chi = chi_square(&draws(scheme, &row(&P), 60_000), &P);
        println!("{name}: chi-square {chi:.2}");
        assert!(chi < 25.5, "{name}: {chi}");
    }
}

/// The same harness notices a scheme that is not distortion-free: one block's distribution is not the model's mean when
/// the list is hard (a red token of .4 goes to the others).
#[test]
fn the_harness_notices_distortion() {
    let hard = Scheme::Greenlist(Greenlist::new(0.5, f64::INFINITY).unwrap());
    let chi = chi_square(&draws(hard, &row(&P), 60_000), &P);
    assert!(chi > 100.0, "{chi}");
}

/// Permute-and-flip draws from its own law: tokens in random order, each taken with probability `e^(l - max)`.
/// 60,000 keys, 3 cells, critical value 18.4 (2 degrees of freedom, 1e-4).
#[test]
fn permute_and_flip_keeps_its_law() {
    let p = [0.6, 0.3, 0.1];
    let accept = p.map(|p| p / 0.6);
    let mut law = [0.0; 3];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut left = 1.0 / 6.0;
        for v in order {
            law[v] += left * accept[v];
            left *= 1.0 - accept[v];
        }
    }
    let draws = draws(Scheme::PermuteAndFlip(PermuteAndFlip), &row(&p), 60_000);
    let chi = chi_square(&draws, &law);
    assert!(chi < 18.4, "{chi} {law:?}");
}

/// Mean score of one drawn token under its own key.
fn mean_score(scheme: impl Into<AnyScheme>, p: &[f64], trials: u32) -> f64 {
    let profile = profile(scheme, 1);
    let logits = row(p);
    let total: f64 = (0..trials)
        .map(|trial| {
            let mut session = session(&profile, trial, &options(trial.into()));
            session.accept(9).unwrap();
            let token = session.sample(&logits).unwrap();
            let detector = Detector::new(&profile, &key(trial), None).unwrap();
            let layer = &detector.layers()[0];
            let mut tally = layer.tally();
            layer.add(&mut tally, &[], &[9, token]).unwrap();
            layer.finding(&tally).unwrap().statistic as f64
        })
        .sum();
    total / f64::from(trials)
}

/// Expected scores equal theory; 40,000 keys, bounds of five standard errors.
#[test]
fn expected_scores() {
    let trials = 40_000;
    let near = |name: &str, got: f64, expected: f64, deviation: f64| {
        println!("{name}: {got:.4} for {expected:.4}");
        assert!((got - expected).abs() < 5.0 * deviation / f64::from(trials).sqrt(), "{name}: {got} {expected}");
    };
    let two = [0.5, 0.5];
    let bit = |depth| Scheme::Tournament(Tournament::new(depth).unwrap());
    // First layer: 1/2 + (1 - sum p^2) / 4.
    near("tournament, two equal tokens", mean_score(bit(1), &two, trials), 0.625, 0.5);
    let collision: f64 = P.iter().map(|p| p * p).sum();
    near("tournament", mean_score(bit(1), &P, trials), 0.5 + 0.25 * (1.0 - collision), 0.5);
    // Two keys: the share that drew the token scores 1.5 for two equal tokens, the other key's word is independent (1).
    let dual = Scheme::GumbelDualKey(GumbelDualKey::new(0.25).unwrap());
    let expected = 0.75 * (0.75 * 1.5 + 0.25) + 0.25 * (0.25 * 1.5 + 0.75);
    near("gumbel_dual_key", mean_score(dual, &two, trials) / 4_294_967_296.0, expected, 1.5);
    // mcmark with l = 2: the favoured block has probability min(1, 2 P). Two equal tokens fall into one block or into two
    // (half the time each): then P is 1 or 0 or, split, 1/2.
    let mcmark = Scheme::Mcmark(Mcmark::new(0.5).unwrap());
    near("mcmark", mean_score(mcmark, &two, trials), 0.5 * 0.5 + 0.5 * 1.0, 0.5);
    // Permute-and-flip with two equal tokens: the larger of two exponentials.
    let flip = Scheme::PermuteAndFlip(PermuteAndFlip);
    near("permute_and_flip", mean_score(flip, &two, trials) / 4_294_967_296.0, 1.5, 1.5);
    // dipmark at alpha .45 gives the upper of two equal tokens .95; upper part: a word of at least 1/2, which the larger of
    // two words is with probability 3/4, the smaller with 1/4.
    let dipmark = Scheme::Dipmark(Dipmark::new(0.45, 0.5).unwrap());
    near("dipmark", mean_score(dipmark, &two, trials), 0.95 * 0.75 + 0.05 * 0.25, 0.5);
    let vllm = engine("vllm", 1);
    // vLLM scores the first token too, which did not depend on the key.
    near("vllm", mean_score(vllm, &two, trials) / 4_294_967_296.0, 1.0 + 1.5, 2.0);
}

/// `P(i, V_i) = min(1, l P(V_i))` exactly, for every key: the favoured block's mass after `process`.
#[test]
fn mcmark_fills_the_favoured_block() {
    for gamma in [0.5, 0.25, 0.0625] {
        let scheme = Mcmark::new(gamma).unwrap();
        let profile = profile(Scheme::Mcmark(scheme), 1);
        for k in 0..200 {
            let mut session = session(&profile, k, &options(0));
            session.accept(9).unwrap();
            let mut logits = row(&P);
            session.process(&mut logits).unwrap();
            let prf_key = profile.prf_key(&profile.layers[0], &key(k), None).unwrap();
            let prf = ChaCha20V1::new(&prf_key, 1).unwrap();
            let context = prf.context(&[9]).unwrap().unwrap();
            let favoured = scheme.blocks().containing(prf.context_words(context)[0]);
            let inside =
                |token: usize| scheme.blocks().containing(prf.word(context, token as u32).unwrap()) == favoured;
            let mass = |p: &dyn Fn(usize) -> f64| (0..5).filter(|&v| inside(v)).map(p).sum::<f64>();
            let before = mass(&|v| P[v]);
            let after = mass(&|v| f64::from(logits[v]).exp());
            assert!((after - (before / gamma).min(1.0)).abs() < 1e-6, "{gamma} {k}: {before} {after}");
            let total: f64 = (0..5).map(|v| f64::from(logits[v]).exp()).sum();
            assert!((total - 1.0).abs() < 1e-6);
        }
    }
}

fn generate(scheme: AnyScheme, session: &mut Session, steps: usize) -> Vec<u32> {
    for step in 0..steps {
        let logits: Vec<f32> = (0..VOCAB).map(|v| ((v as usize * 7 + step * 13) % 19) as f32 / 6.0).collect();
        with_proxy(session, scheme, &logits);
        let token = session.sample(&logits).unwrap();
        session.accept(token).unwrap();
    }
    session.generated().to_vec()
}

/// Ten texts of 200 tokens are found under their key whatever the scheme, and under another key they are not (p > 1e-4, so
/// the chance of a false alarm in 25 tests is below 2.5e-3).
#[test]
fn every_scheme_is_detected_under_its_key() {
    let more = [("greenlist, width 8".to_owned(), Scheme::Greenlist(Greenlist::new(0.25, 3.0).unwrap()).into(), 8)];
    let engines = Engine::marking().map(|name| (name.to_owned(), engine(name, 4), 4));
    for (name, scheme, width) in examples(|_| true).into_iter().chain(more).chain(engines) {
        // With width 0 distinct pairs of so small a vocabulary say nothing: `unigram_is_detected_by_counts`.
        let width = width.max(1);
        let profile = profile(scheme, width);
        let texts: Vec<Vec<u32>> =
            (0..10).map(|seed| generate(scheme, &mut session(&profile, 1, &options(seed)), 200)).collect();
        let finding = |k: u32| {
            let detector = Detector::new(&profile, &key(k), None).unwrap();
            let layer = &detector.layers()[0];
            let mut tally = layer.tally();
            for text in &texts {
                layer.add(&mut tally, &[], text).unwrap();
            }
            layer.finding(&tally).unwrap()
        };
        let (own, other) = (finding(1), finding(2));
        println!(
            "{name}: n {} log10 p {:.1}, ln e {:?}; other key {:.2}",
            own.n_scored, own.log10_p, own.ln_e, other.log10_p
        );
        assert!(own.log10_p < -12.0 && own.ln_e.unwrap() > 12.0, "{name}: {own:?}");
        assert!(other.log10_p > -4.0, "{name}: {other:?}");
        assert!(own.ln_e.unwrap() / std::f64::consts::LN_10 < -own.log10_p, "an e-value claims no more than p");
    }
}

/// Unigram (width 0): once every token of a small vocabulary has occurred, distinct pairs say nothing and counts say it all.
#[test]
fn unigram_is_detected_by_counts() {
    let scheme = Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap());
    let profile = profile(scheme, 0);
    let text = generate(scheme.into(), &mut session(&profile, 1, &options(3)), 2000);
    let log10_p = |k: u32, weights| {
        let layer = Detector::new(&profile, &key(k), None).unwrap().layers()[0].clone();
        let mut tally = layer.tally();
        layer.add(&mut tally, &[], &text).unwrap();
        layer.finding_with(&tally, weights).unwrap().log10_p
    };
    let (plain, counted) = (log10_p(1, Weights::None), log10_p(1, Weights::Sqrt));
    println!("distinct {plain:.2}, weighted by counts {counted:.2}");
    assert!(plain > -2.0 && counted < -3.0, "{plain} {counted}");
    assert!(log10_p(2, Weights::Sqrt) > -3.0);
}

#[test]
fn positions_without_a_mark_say_so() {
    let p = profile(Scheme::Gumbel(Gumbel), 1);
    let flat = vec![0.0f32; VOCAB as usize];
    let mut marked = session(&p, 1, &options(1));
    assert_eq!(marked.mark_state(), MarkState::Off);
    marked.sample(&flat).unwrap();
    assert_eq!(marked.mark_state(), MarkState::NoContext);
    marked.accept(5).unwrap();
    marked.sample(&flat).unwrap();
    assert_eq!(marked.mark_state(), MarkState::Marked);
    let mut certain = vec![-30.0; VOCAB as usize];
    certain[7] = 0.0;
    assert_eq!(marked.sample(&certain).unwrap(), 7);
    assert_eq!(marked.mark_state(), MarkState::Certain);
    marked.sample(&row(&[1.0])).unwrap();
    assert_eq!(marked.mark_state(), MarkState::Certain);
    marked.accept(5).unwrap();
    marked.sample(&flat).unwrap();
    assert_eq!(marked.mark_state(), MarkState::Repeated);
    marked.reset();
    assert_eq!(marked.mark_state(), MarkState::Off);
    let greedy = SessionOptions { sampling: Sampling { temperature: 0.0, ..Sampling::default() }, ..options(1) };
    let mut greedy = session(&p, 1, &greedy);
    greedy.accept(5).unwrap();
    // Ties go to the lower id.
    assert_eq!(greedy.sample(&flat).unwrap(), 0);
    assert_eq!(greedy.mark_state(), MarkState::Greedy);
    let mut plain = session(&p, 1, &SessionOptions { marked: false, ..options(1) });
    plain.accept(5).unwrap();
    plain.sample(&flat).unwrap();
    assert_eq!(plain.mark_state(), MarkState::Off);
    // A reweighting layer acts on `process` too.
    let mut list = session(&profile(Scheme::Greenlist(Greenlist::new(0.5, 1.0).unwrap()), 0), 1, &options(1));
    list.process(&mut flat.clone()).unwrap();
    assert_eq!(list.mark_state(), MarkState::Marked);
}

/// A hard list leaves green tokens only, unless none is possible; other schemes survive rows of one, equal and huge logits.
#[test]
fn rows_at_the_edge() {
    let hard = profile(Scheme::Greenlist(Greenlist::new(0.25, f64::INFINITY).unwrap()), 0);
    let mut s = session(&hard, 1, &options(1));
    let mut logits = vec![0.0; VOCAB as usize];
    s.process(&mut logits).unwrap();
    let (green, red): (Vec<usize>, Vec<usize>) = (0..VOCAB as usize).partition(|&v| logits[v] > f32::NEG_INFINITY);
    assert!((4..30).contains(&green.len()), "{green:?}");
    let mut only_red = vec![f32::NEG_INFINITY; VOCAB as usize];
    for &v in &red[..3] {
        only_red[v] = 1.0;
    }
    let token = s.sample(&only_red).unwrap();
    assert!(red[..3].contains(&(token as usize)));
    // Special tokens stay possible, and are not forced where nothing else is green.
    let mut with_end = hard;
    with_end.tokenizer.special_token_ids = vec![red[0] as u32, green[0] as u32];
    let mut s = session(&with_end, 1, &options(1));
    let mut logits = vec![0.0; VOCAB as usize];
    s.process(&mut logits).unwrap();
    assert!(logits[red[0]] == 0.0 && logits[green[0]] == 0.0 && logits[red[1]] == f32::NEG_INFINITY);
    let mut no_green = vec![f32::NEG_INFINITY; VOCAB as usize];
    (no_green[red[0]], no_green[red[1]]) = (0.0, 1.0);
    let before = no_green.clone();
    s.process(&mut no_green).unwrap();
    assert_eq!(no_green, before);
    let more = [
        Scheme::Mcmark(Mcmark::new(0.5f64.powi(16)).unwrap()).into(),
        Scheme::Dipmark(Dipmark::new(0.5, 0.5).unwrap()).into(),
        Scheme::Dipmark(Dipmark::new(0.0, 0.5).unwrap()).into(),
        engine("vllm", 8),
    ];
    for scheme in examples(|_| true).into_iter().map(|(_, scheme, _)| scheme).chain(more) {
        let width = if matches!(scheme, AnyScheme::Engine(_)) { 8 } else { 0 };
        let profile = profile(scheme, width);
        for k in 0..50 {
            let mut s = session(&profile, k, &options(1));
            for logits in [
                vec![f32::MAX; VOCAB as usize],
                vec![f32::MIN; VOCAB as usize],
                vec![-0.0; VOCAB as usize],
                (0..VOCAB).map(|v| if v < 2 { 0.0 } else { f32::NEG_INFINITY }).collect(),
                (0..VOCAB).map(|v| v as f32 * 1e36).collect(),
            ] {
                with_proxy(&mut s, scheme, &logits);
                let token = s.sample(&logits).unwrap();
                assert!(logits[token as usize] > f32::NEG_INFINITY);
                let mut row = logits.clone();
                s.process(&mut row).unwrap();
                assert!(row.iter().all(|l| !l.is_nan() && *l < f32::INFINITY) && row.iter().any(|l| l.is_finite()));
            }
        }
    }
}
