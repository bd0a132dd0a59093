//! What an accuser can choose who has the key or the data: which committed key is opened, and which prompts were asked. Each is shown to
//! accuse an innocent model where nothing guards against it, and then with the guard.
#![allow(clippy::unwrap_used, reason = "tests")]

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use watermark_attacks::choosing::verdict;
use watermark_core::detect::{LayerDetector, Verdict};
use watermark_core::key::fresh_keys;
use watermark_core::model_test::{Audit, ModelNumbers, ModelSample, Round};
use watermark_core::scheme::{Greenlist, Scheme};

const VOCAB: u32 = 500;

fn layer() -> LayerDetector {
    let scheme = Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap());
    LayerDetector::from_prf_key(scheme, 1, &fresh_keys(b"the accuser's", 1).next().unwrap()).unwrap()
}

/// Answers of a model that knows no key. Small ids are frequent, as words are.
fn innocent(seed: u64, answers: usize) -> Vec<Vec<u32>> {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let mut token = || {
        let uniform = f64::from(random.next_u32()) / 4_294_967_296.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below VOCAB")]
        let token = (f64::from(VOCAB) * uniform * uniform) as u32;
        token
    };
    (0..answers).map(|_| (0..60).map(|_| token()).collect()).collect()
}

fn sample(layer: &LayerDetector, prompts: &[Vec<u32>], answers: &[Vec<u32>]) -> ModelSample {
    let mut sample = ModelSample::of_distinct_answers(layer);
    let round = Round {
        prompts: prompts.iter().map(Vec::as_slice).collect(),
        answers: answers.iter().map(Vec::as_slice).collect(),
        choices: vec![],
    };
    sample.add_round(layer, &round).unwrap();
    sample
}

/// Of 4,096 committed keys the one that fits is opened afterwards. A registration names one leaf, and its level is divided by their number
/// (`Registration::level`), which is what an accuser has left who registers after the data.
#[test]
fn the_key_that_fits_is_one_of_many() {
    let keys: u32 = 4096;
    let layer = layer();
    let counted = sample(&layer, &[], &innocent(1, 50));
    let tested = fresh_keys(b"committed keys", keys).map(|key| {
        let layer = layer.with_prf_key(&key).unwrap();
        counted.test(&layer).unwrap().numbers(false)
    });
    let best = tested.min_by(|a, b| a.log10_p.total_cmp(&b.log10_p)).unwrap();
    assert!(best.log10_p < -3.0, "{best:?}");
    assert_eq!(verdict(&layer, best, 1e-3), Verdict::Detected);
    assert_eq!(verdict(&layer, best, 1e-3 / f64::from(keys)), Verdict::NotDetected);
}

/// The prompts hold a third of the red pairs of the answers, so these do not count. Without a look at what was left out the model is
/// detected; with it nothing can be concluded.
#[test]
fn prompts_that_leave_out_red_pairs() {
    let layer = layer();
    let answers = innocent(2, 150);
    let is_red = |pair: &[u32]| {
        let alone = sample(&layer, &[], &[pair.to_vec()]);
        alone.test(&layer).unwrap().score == 0
    };
    let red: Vec<Vec<u32>> =
        answers.iter().flat_map(|answer| answer.windows(2)).filter(|pair| is_red(pair)).map(<[u32]>::to_vec).collect();
    let chosen: Vec<Vec<u32>> = red.into_iter().step_by(3).collect();
    let honest = sample(&layer, &[], &answers).test(&layer).unwrap();
    assert!(honest.log10_p > -2.0, "{honest:?}");
    let poisoned = sample(&layer, &chosen, &answers).test(&layer).unwrap();
    assert!(poisoned.log10_p < -10.0, "{poisoned:?}");
    let numbers = poisoned.numbers(false);
    let unaudited = ModelNumbers { audit: Audit::default(), ..numbers };
    assert_eq!(verdict(&layer, unaudited, 1e-6), Verdict::Detected);
    assert!(poisoned.audit.answers_log10_p < -10.0 && poisoned.audit.prompts_log10_p < -10.0, "{poisoned:?}");
    assert_eq!(verdict(&layer, numbers, 1e-6), Verdict::Inconclusive);

    // Prompts that were not chosen with the key leave out what they like, and nothing leans.
    let fair: Vec<Vec<u32>> = innocent(3, 50);
    let audit = sample(&layer, &fair, &answers).test(&layer).unwrap().audit;
    assert!(audit.agrees(), "{audit:?}");
}
