//! Paired draws: null laws of signs, anytime validity, real models that never saw the coins, and one that learned.
//! `WATERMARK_LISTS=1000000 WATERMARK_STREAMS=100000 cargo nextest run --release -E 'binary(paired)' --no-capture` is the full run.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use watermark_core::key::{NodeKey, PrfKey, fresh_keys};
use watermark_core::mark::{Marker, Sampling};
use watermark_core::paired::{Candidates, Draw, RequestKey, RequestSecret, Signs};
use watermark_core::profile::Profile;
use watermark_core::stats::log10_binomial_sf;
use watermark_lab::answer::{Answer, Answering, Requests, answer};
use watermark_lab::fine_tune::{FineTuning, fine_tune};
use watermark_lab::model::Model;
use watermark_lab::score::pair_scores;
use watermark_lab::{prompts, shipped};
use watermark_toolkit::tokenizer::Tokenizer;

/// A count above what its rate allows has a chance of 1e-4 at most.
const LEVEL: f64 = -4.0;

fn number(name: &str, usual: u32) -> u32 {
    std::env::var(name).map_or(usual, |value| value.parse().unwrap())
}

/// As many keys of requests that nobody served.
fn keys(name: &str, n: u32) -> impl Iterator<Item = RequestKey> + '_ {
    let layer = fresh_keys(name.as_bytes(), 1).next().unwrap();
    (0..n).map(move |i| RequestSecret::new(&layer, &format!("{name}/{i}")).key(None))
}

/// Counts of p at or below 1e-1 to 1e-5 must not be above what uniform p give.
fn check(name: &str, log10_p: &[f64]) {
    let n = log10_p.len() as u64;
    for k in 1..=5 {
        let count = log10_p.iter().filter(|p| **p <= -f64::from(k) + 1e-12).count() as u64;
        println!("{name}: {count} of {n} lists have p <= 1e-{k}");
        assert!(log10_binomial_sf(count, n, 10f64.powi(-k)) > LEVEL, "{name}: {count} of {n} at 1e-{k}");
    }
}

/// Lists of pairs whose signs are coins of fresh keys: equal sizes by the exact binomial tail; heavy tails, and many ties, by the bound.
#[test]
fn null_lists_never_exceed_uniform() {
    let n = number("WATERMARK_LISTS", 20_000);
    // One pair in 500 outweighs all the others together.
    let heavy = |word: u32| 1 + (1u64 << 40) / (u64::from(word) + 1);
    let many_ties = |word: u32| if word.is_multiple_of(3) { u64::from(word >> 16) } else { 0 };
    let lists = |name: &str, size: &dyn Fn(u32) -> u64, exact: bool| {
        let p = keys(name, n).map(|key| {
            let mut signs = Signs::default();
            for position in 0..40 {
                let size = size(key.word(position, Draw::First, 7).unwrap()).cast_signed();
                signs.add(if key.coin(position) == Draw::First { size } else { -size });
            }
            let found = signs.test();
            if exact { found.log10_p_wins } else { found.log10_p }
        });
        check(name, &p.collect::<Vec<f64>>());
    };
    lists("equal sizes", &|_| 1 << 16, true);
    lists("equal sizes, by the bound", &|_| 1 << 16, false);
    lists("heavy tails", &heavy, false);
    lists("ties", &many_ties, false);
}

/// The e-value of a list, looked at after every pair by somebody who chooses the size of the next pair by what came before: small while
/// behind, large while ahead.
#[test]
fn peeked_e_values_never_exceed() {
    const SIZES: [i64; 6] = [1 << 12, 1 << 14, 1 << 16, 1 << 17, 3 << 16, 4 << 16];
    let n = number("WATERMARK_STREAMS", 2000);
    let largest: Vec<f64> = keys("streams", n)
        .map(|key| {
            let (mut signs, mut ahead, mut largest) = (Signs::default(), 0i64, 0f64);
            for position in 0..200 {
                let size = SIZES[usize::try_from((ahead + 2).clamp(0, 5)).unwrap()];
                let won = key.coin(position) == Draw::First;
                ahead += if won { 1 } else { -1 };
                signs.add_preference(if won { size } else { -size });
                largest = largest.max(signs.test().ln_e);
            }
            -largest / std::f64::consts::LN_10
        })
        .collect();
    check("peeked e-values", &largest);
}

struct Served {
    layer: PrfKey,
    questions: Vec<String>,
    answers: Vec<Answer>,
}

const LEDGER: &str = "ledger/test";

/// Answers of the teacher with paired draws.
fn served(tokenizer: &Tokenizer, seed: u64, n: usize) -> Served {
    let profile = Profile {
        name: "pairs".to_owned(),
        tokenizer: tokenizer.info().unwrap(),
        paired: Some("pairs".to_owned()),
        ..Profile::default()
    };
    let key = NodeKey::root(format!("paired draws, tests {seed}").as_bytes());
    let layer = profile.paired_key(&key).unwrap().unwrap();
    let how = Answering {
        max_new_tokens: 70,
        sampling: Sampling { temperature: 0.8, top_k: Some(50), top_p: None, min_p: None },
        marked: true,
        account: None,
        seed: 0,
        requests: Some(Requests::new(LEDGER, 0, n).unwrap()),
    };
    let questions = prompts::word_problems(3000 + seed, n);
    let marker = Marker::new(profile, &key).unwrap();
    let teacher = shipped::teacher().unwrap();
    let answers = answer(&teacher, tokenizer, &marker, &questions, &how, &mut |_| ()).unwrap();
    Served { layer, questions, answers }
}

impl Served {
    fn key(&self, request: usize) -> RequestKey {
        RequestSecret::new(&self.layer, &format!("{LEDGER}/{request}")).key(None)
    }

    /// By request: what the suspect prefers beyond the reference, served minus withheld.
    fn differences(&self, suspect: &Model, reference: &Model) -> Vec<Vec<i64>> {
        let of = |(request, answer): (usize, &Answer)| -> Vec<i64> {
            let key = self.key(request);
            let [found, expected] = [suspect, reference].map(|model| {
                pair_scores(model, &answer.prompt_tokens, &answer.tokens, &answer.withheld, None).unwrap()
            });
            let pairs = found.iter().zip(&expected).filter_map(|(found, expected)| {
                // As the list leaves it out: an answer has no position where its end was served.
                if found.tokens.contains(&shipped::EOS) {
                    return None;
                }
                let Candidates { served, withheld } = key.order(found.position, found.tokens).unwrap()?;
                assert_eq!(served, answer.tokens[found.position as usize]);
                Some(found.difference(served, withheld).unwrap() - expected.difference(served, withheld).unwrap())
            });
            pairs.collect()
        };
        self.answers.iter().enumerate().map(of).collect()
    }
}

fn ln_e<'a>(differences: impl IntoIterator<Item = &'a Vec<i64>>) -> f64 {
    let mut signs = Signs::default();
    differences.into_iter().flatten().for_each(|&difference| signs.add_preference(difference));
    signs.test().ln_e
}

/// Real models on real text: what two models think of both candidates is given, and coins of fresh keys decide which was served.
#[test]
fn models_that_never_saw_the_coins() {
    let tokenizer = Tokenizer::embedded().unwrap();
    let served = served(&tokenizer, 1, 30);
    let differences = served.differences(&shipped::teacher().unwrap(), &shipped::base().unwrap());
    assert!(ln_e(&differences) < 1e6f64.ln());
    let under = |key: RequestKey| {
        let mut position = 0;
        let mut signs = Signs::default();
        for &difference in differences.iter().flatten() {
            position += 1;
            signs.add_preference(if key.coin(position) == Draw::First { difference } else { -difference });
        }
        -signs.test().ln_e.max(0.0) / std::f64::consts::LN_10
    };
    let log10_p: Vec<f64> = keys("real models", 1000).map(under).collect();
    check("e-values of real models", &log10_p);
}

/// A model that learned thirty answers prefers what was served in them, and in others of the same teacher not.
#[test]
fn a_model_that_learned_shows_it() {
    let tokenizer = Tokenizer::embedded().unwrap();
    let served = served(&tokenizer, 2, 60);
    let student = shipped::base().unwrap();
    let (questions, answers) = (&served.questions[..30], &served.answers[..30]);
    let tuning = FineTuning { epochs: 6.0, ..FineTuning::with_seed(5) };
    fine_tune(&student, &tokenizer, questions, answers, &tuning, |_| ()).unwrap();
    let differences = served.differences(&student, &shipped::base().unwrap());
    let (learned, others) = differences.split_at(30);
    println!("ln e of learned answers {:.1}, of others {:.1}", ln_e(learned), ln_e(others));
    assert!(ln_e(learned) > 1e6f64.ln(), "{}", ln_e(learned));
    assert!(ln_e(others) < 1e2f64.ln(), "{}", ln_e(others));
}

/// What an accuser could bend: a list without the requests that speak for the suspect accuses an innocent, so lists are whole.
#[test]
fn a_list_that_was_picked_accuses() {
    let tokenizer = Tokenizer::embedded().unwrap();
    let served = served(&tokenizer, 3, 60);
    let differences = served.differences(&shipped::teacher().unwrap(), &shipped::base().unwrap());
    let picked: Vec<&Vec<i64>> = differences.iter().filter(|of_request| of_request.iter().sum::<i64>() > 0).collect();
    let (whole, picked) = (ln_e(&differences), ln_e(picked));
    println!("ln e of the whole list {whole:.1}, of the requests that were picked {picked:.1}");
    assert!(whole < 1e2f64.ln() && picked > 1e3f64.ln(), "{whole} {picked}");
}
