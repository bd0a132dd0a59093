//! An innocent model stays innocent. The shipped base is clean by construction; keys are honest ones that marked the teacher's
//! texts, or fresh ones. Beside every valid procedure stands the broken one that accuses.
//! `WATERMARK_KEYS=200` is the run in `papers/radioactivity`; 60 keys here.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::collections::HashSet;

use watermark_core::detect::{Choice, Detector, LayerDetector};
use watermark_core::key::{KeyPath, NodeKey, fresh_keys};
use watermark_core::mark::{Marker, Sampling, Session, SessionOptions};
use watermark_core::model_test::{ModelSample, Round, log10_p_anytime};
use watermark_core::profile::{Layer, Profile, TokenizerInfo};
use watermark_core::scheme::{Greenlist, Scheme};
use watermark_lab::generate::{Generate, generate};
use watermark_lab::model::Model;
use watermark_lab::{prompts, shipped};
use watermark_tests::tokenizer;

const SAMPLING: Sampling = Sampling { temperature: 0.8, top_k: Some(50), top_p: None, min_p: None };
/// Marked texts of the teacher per key.
const TEXTS: usize = 8;

fn keys() -> usize {
    std::env::var("WATERMARK_KEYS").map_or(60, |keys| keys.parse().unwrap())
}

fn profile() -> Profile {
    let vocab_size = u32::try_from(tokenizer().get_vocab_size(true)).unwrap();
    let scheme = Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap());
    Profile {
        name: "innocent".to_owned(),
        path: KeyPath::root(),
        tokenizer: TokenizerInfo { sha256: [0; 32], vocab_size, special_token_ids: vec![shipped::EOS] },
        layers: vec![Layer { name: "distillation".to_owned(), scheme: scheme.into(), width: 1, per_account: false }],
        ..Profile::default()
    }
}

fn key(number: usize) -> NodeKey {
    NodeKey::root(format!("innocent {number}").as_bytes())
}

fn layer(number: usize) -> LayerDetector {
    Detector::new(&profile(), &key(number), None).unwrap().layers()[0].clone()
}

/// A text and what stood before it; the end-of-text token first.
struct Text {
    prompt: Vec<u32>,
    tokens: Vec<u32>,
}

/// Answers to word problems of `seed`; session i has key `i / TEXTS` if marked.
fn answers(model: &Model, seed: u64, n: usize, marked: bool, sampling: Sampling) -> Vec<Text> {
    let tokenizer = tokenizer();
    let ids = |question: &String| {
        let encoding = tokenizer.encode(prompts::prompt_text(question), false).unwrap();
        [&[shipped::EOS], encoding.get_ids()].concat()
    };
    let prompts: Vec<Vec<u32>> = prompts::word_problems(seed, n).iter().map(ids).collect();
    let marker: Vec<Marker> = (0..=n / TEXTS).map(|i| Marker::new(profile(), &key(i)).unwrap()).collect();
    let mut sessions: Vec<Session> = (0..n)
        .map(|i| {
            let options = SessionOptions { marked, seed: seed << 32 | i as u64, sampling, ..SessionOptions::default() };
            marker[i / TEXTS].session(&options).unwrap()
        })
        .collect();
    let options = Generate { max_new_tokens: 80, batch_size: 256, eos_token_id: shipped::EOS };
    let pick = |session: &mut Session, logits: &[f32]| {
        let token = session.sample(logits)?;
        session.accept(token)?;
        Ok(token)
    };
    let tokens = generate(model, &prompts, &mut sessions, &options, pick, |_| ()).unwrap();
    prompts.into_iter().zip(tokens).map(|(prompt, tokens)| Text { prompt, tokens }).collect()
}

/// The most likely token at every position of `text` after `prompt`.
fn reads(model: &Model, prompt: &[u32], text: &[u32]) -> Vec<Vec<Choice>> {
    let Some(last) = text.len().checked_sub(1) else { return Vec::new() };
    let logits = model.forward(&[prompt, &text[..last]].concat(), 1).unwrap().detach();
    let rows: Vec<Vec<f32>> = logits.narrow(0, prompt.len() - 1, text.len()).unwrap().to_vec2().unwrap();
    let best = |row: Vec<f32>| (0u32..).zip(row).max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).unwrap().0;
    rows.into_iter().map(|row| vec![Choice::certain(best(row))]).collect()
}

/// An innocent predictor that copies in context, as larger models do (the laboratory's are too small for it): at every position
/// what followed the last earlier occurrence of the token before.
fn copies(text: &[u32]) -> Vec<Vec<Choice>> {
    let copy = |at: usize| {
        let before = text[..at].split_last()?;
        let earlier = before.1.iter().rposition(|token| token == before.0)?;
        Some(vec![Choice::certain(text[earlier + 1])])
    };
    (0..text.len()).map(|at| copy(at).unwrap_or_default()).collect()
}

fn round(texts: &[Text]) -> Round<'_> {
    Round {
        prompts: texts.iter().map(|text| text.prompt.as_slice()).collect(),
        answers: texts.iter().map(|text| text.tokens.as_slice()).collect(),
        choices: Vec::new(),
    }
}

/// One-sided Dvoretzky-Kiefer-Wolfowitz at 1e-4 (Massart 1990): how far the distribution of p may exceed uniform.
fn assert_not_above_uniform(what: &str, mut log10_p: Vec<f64>) {
    log10_p.sort_unstable_by(f64::total_cmp);
    let n = log10_p.len() as f64;
    let limit = (1e4f64.ln() / (2.0 * n)).sqrt();
    let excess = (1u32..).zip(&log10_p).map(|(i, p)| f64::from(i) / n - 10f64.powf(*p)).fold(0.0, f64::max);
    println!(
        "{what}: {n} keys, largest excess over uniform {excess:.4} (allowed {limit:.4}), smallest log10 p {:.2}",
        log10_p[0]
    );
    assert!(excess <= limit, "{what}: {excess} > {limit}");
}

#[test]
fn no_distribution_of_p_exceeds_uniform() {
    let (base, teacher) = (shipped::base().unwrap(), shipped::teacher().unwrap());
    let asked = answers(&base, 11, 160, false, SAMPLING);
    let mut sample = ModelSample::of_answers(&layer(0));
    sample.add_round(&layer(0), &round(&asked)).unwrap();
    let fresh: Vec<LayerDetector> =
        fresh_keys(b"innocent", 1000).map(|key| layer(0).with_prf_key(&key).unwrap()).collect();
    let findings: Vec<_> = fresh.iter().map(|layer| sample.test(layer).unwrap()).collect();
    assert_not_above_uniform("answers, fixed sample", findings.iter().map(|f| f.log10_p).collect());
    assert_not_above_uniform("answers, distinct pairs", findings.iter().map(|f| f.log10_p_distinct).collect());
    assert_not_above_uniform("answers, e-value", findings.iter().map(|f| log10_p_anytime(f.ln_e)).collect());

    // Reading: every key has texts of its own, which it marked.
    let served = answers(&teacher, 12, keys() * TEXTS, true, SAMPLING);
    let read: Vec<Vec<Vec<Choice>>> = served.iter().map(|text| reads(&base, &text.prompt, &text.tokens)).collect();
    let mut log10_p = Vec::new();
    let (mut without_exclusion, mut with_exclusion, mut picked) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (texts, read)) in served.chunks(TEXTS).zip(read.chunks(TEXTS)).enumerate() {
        let layer = layer(number);
        let [mut sample, mut copier, mut copier_excluded] = [0; 3].map(|_| ModelSample::of_probabilities(&layer));
        let mut scores = Vec::new();
        for (text, read) in texts.iter().zip(read) {
            sample.add_reading(&layer, &text.prompt[1..], &text.tokens, read).unwrap();
            let mut one = ModelSample::of_probabilities(&layer);
            one.add_reading(&layer, &text.prompt[1..], &text.tokens, read).unwrap();
            scores.push(one.test(&layer).unwrap().log10_p_distinct);
            copier_excluded.add_reading(&layer, &text.prompt[1..], &text.tokens, &copies(&text.tokens)).unwrap();
        }
        let copied: Vec<Vec<Vec<Choice>>> = texts.iter().map(|text| copies(&text.tokens)).collect();
        let everything =
            Round { prompts: Vec::new(), choices: copied.iter().map(Vec::as_slice).collect(), ..round(texts) };
        copier.add_round(&layer, &everything).unwrap();
        log10_p.push(sample.test(&layer).unwrap().log10_p);
        without_exclusion.push(copier.test(&layer).unwrap().log10_p);
        with_exclusion.push(copier_excluded.test(&layer).unwrap().log10_p);
        picked.push(scores.iter().copied().fold(0.0, f64::min));
    }
    assert_not_above_uniform("reading", log10_p);
    assert_not_above_uniform("reading, a copier", with_exclusion);
    let rejected = |p: &[f64], level: f64| p.iter().filter(|p| **p <= level).count();
    // Texts picked by their score: the best of eight under a level for one.
    let (n, best) = (picked.len(), rejected(&picked, -1.0));
    println!("reading, the best of {TEXTS} texts: {best} of {n} at 0.1");
    assert!(best as f64 > 0.1 * n as f64 + 3.0 * (0.09 * n as f64).sqrt(), "{best} of {n}");
    let copies = rejected(&without_exclusion, -3.0);
    println!("reading, a copier, nothing excluded: {copies} of {n} at 1e-3");
    assert!(2 * copies > n, "{copies} of {n}");
}

/// A filter made from served answers has seen the key: the pairs that it keeps are green.
#[test]
fn a_filter_by_served_answers_accuses() {
    let (base, teacher) = (shipped::base().unwrap(), shipped::teacher().unwrap());
    let served = answers(&teacher, 21, TEXTS * 20, true, SAMPLING);
    let asked = answers(&base, 22, 200, false, SAMPLING);
    let mut accused = 0;
    for number in 0..20 {
        let layer = layer(number);
        let texts = &served[number * TEXTS..(number + 1) * TEXTS];
        let pairs: HashSet<(u32, u32)> =
            texts.iter().flat_map(|text| text.tokens.windows(2).map(|w| (w[0], w[1]))).collect();
        // Answers cut down to the pairs that were served, each pair a text of its own.
        let kept: Vec<[u32; 2]> = asked
            .iter()
            .flat_map(|text| text.tokens.windows(2).map(|w| [w[0], w[1]]))
            .filter(|&[a, b]| pairs.contains(&(a, b)))
            .collect();
        let mut sample = ModelSample::of_answers(&layer);
        let answers = kept.iter().map(<[u32; 2]>::as_slice).collect();
        sample.add_round(&layer, &Round { answers, ..Round::default() }).unwrap();
        accused += usize::from(sample.test(&layer).unwrap().log10_p <= -3.0);
        let mut unfiltered = ModelSample::of_answers(&layer);
        unfiltered.add_round(&layer, &round(&asked)).unwrap();
        assert!(unfiltered.test(&layer).unwrap().log10_p > -3.0, "key {number}");
    }
    println!("filtered by served answers: {accused} of 20 honest keys accuse an innocent model at 1e-3");
    assert!(accused >= 10, "{accused} of 20");
}

/// 200 probes of an innocent model, looked at after every answer, at alpha .05. The e-process crosses in at most alpha + 3
/// sigma of them; the tail of a fixed sample, read the same way, does not keep to that.
#[test]
fn peeking_after_every_answer() {
    const ALPHA: f64 = 0.05;
    let base = shipped::base().unwrap();
    let asked = answers(&base, 31, 150, false, SAMPLING);
    let (mut by_e, mut by_tail) = (0, 0);
    for key in fresh_keys(b"peeking", 200) {
        let layer = layer(0).with_prf_key(&key).unwrap();
        let mut sample = ModelSample::of_answers(&layer);
        let (mut e, mut tail) = (false, false);
        for text in &asked {
            sample.add_round(&layer, &round(std::slice::from_ref(text))).unwrap();
            let finding = sample.test(&layer).unwrap();
            e |= finding.ln_e >= -ALPHA.ln();
            tail |= finding.log10_p_distinct <= ALPHA.log10();
        }
        by_e += u32::from(e);
        by_tail += u32::from(tail);
    }
    let allowed = 200.0 * ALPHA + 3.0 * (200.0 * ALPHA * (1.0 - ALPHA)).sqrt();
    println!(
        "200 null probes, a look after each of 150 answers: e-process crosses in {by_e} (allowed {allowed:.1}), fixed tail in {by_tail}"
    );
    assert!(f64::from(by_e) <= allowed, "{by_e}");
    assert!(f64::from(by_tail) > allowed, "{by_tail}: the test of the test");
}

/// Asking again what looked green: with weights that follow the counts, old looks are bet on a second time. In rounds every pair
/// is spent after its first look.
#[test]
fn weighing_old_pairs_again_accuses_and_rounds_do_not() {
    let base = shipped::base().unwrap();
    // A server with a seed gives the same answer to the same request.
    let asked = answers(&base, 41, 300, false, SAMPLING);
    let (mut again, mut rounds) = (0, 0);
    for key in fresh_keys(b"again", 50) {
        let layer = layer(0).with_prf_key(&key).unwrap();
        let mut first = ModelSample::of_answers(&layer);
        first.add_round(&layer, &round(&asked)).unwrap();
        let mut best: Vec<(f64, &Text)> = asked
            .iter()
            .map(|text| {
                let mut one = ModelSample::of_answers(&layer);
                one.add_round(&layer, &round(std::slice::from_ref(text))).unwrap();
                (one.test(&layer).unwrap().log10_p_distinct, text)
            })
            .collect();
        best.sort_by(|a, b| a.0.total_cmp(&b.0));
        // The best quarter of the answers, a hundred times more.
        let favourites: Vec<&[u32]> = best[..asked.len() / 4].iter().map(|(_, text)| text.tokens.as_slice()).collect();
        let again_asked = Round { answers: favourites.repeat(100), ..Round::default() };
        let mut reweighted = ModelSample::of_answers(&layer);
        let mut all = round(&asked);
        all.answers.extend(&again_asked.answers);
        reweighted.add_round(&layer, &all).unwrap();
        first.add_round(&layer, &again_asked).unwrap();
        let crosses = |sample: &ModelSample| sample.test(&layer).unwrap().ln_e >= 20f64.ln();
        again += u32::from(crosses(&reweighted));
        rounds += u32::from(crosses(&first));
    }
    println!("asking again what looked green: reweighted crosses 20 in {again} of 50, rounds in {rounds}");
    assert!(again >= 15, "{again}: the harness would not notice");
    assert!(rounds <= 7, "{rounds}"); // 50 at .05: mean 2.5, 3 sigma 4.6
}
