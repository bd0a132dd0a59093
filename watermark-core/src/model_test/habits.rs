//! An innocent reader with habits stays innocent: what reading mode leaves out, and what the rule without memory made of it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::collections::{HashMap, HashSet};

use super::{ModelSample, Round};
use crate::detect::{Choice, Detector};
use crate::key::{KeyPath, NodeKey};
use crate::mark::{Marker, SessionOptions};
use crate::profile::{Layer, Profile, TokenizerInfo};
use crate::scheme::{Greenlist, Scheme};

/// A language of contexts after which two tokens are equally likely, so that which of them a marked text took says what the key
/// prefers. Context `c` allows `2 c` and `2 c + 1`, modulo the vocabulary.
const WORDS: u32 = 256;

fn either(context: u32) -> [u32; 2] {
    [0, 1].map(|i| (2 * context + i) % WORDS)
}

/// What an innocent reader with a habit predicts at each position of `text`. It has learned nothing but the language and takes
/// the first of the two tokens, until an earlier text has shown how the context goes on: then it predicts the same, if it
/// `imitates`, or else the other one. `taught` holds what was last seen after each context of earlier texts.
fn habitual(text: &[u32], taught: &HashMap<u32, u32>, imitates: bool) -> Vec<Vec<Choice>> {
    let predict = |context: u32| {
        let [first, second] = either(context);
        match taught.get(&context) {
            Some(&shown) if (shown == first) == imitates => first,
            Some(_) => second,
            None => first,
        }
    };
    let choice = |at: usize| at.checked_sub(1).map(|before| Choice::certain(predict(text[before])));
    (0..text.len()).map(|at| choice(at).into_iter().collect()).collect()
}

/// What an earlier text has shown about a coin is worth a bet in a later one. Half of the readers imitate what earlier texts
/// taught them and half do the opposite, so z has a mean near 0 over keys and readers; but its variance, and with it the mean
/// of e, is too large, unless contexts that any earlier text has shown are left out.
///
/// Keys 0 to 1,999, each with three texts of 400 tokens at gamma .25. The mean of min(e, 100), which is at most 1 for a true
/// e-value, may exceed 1, and the standard deviation of z may exceed 1, by 4 standard errors (probability 3e-5 each).
#[test]
fn habits_from_earlier_texts_are_no_evidence() {
    const KEYS: usize = 2000;
    const CAP: f64 = 100.0;
    const GAMMA: f64 = 0.25;
    let scheme = Scheme::Greenlist(Greenlist::new(GAMMA, 2.0).unwrap());
    let tokenizer = TokenizerInfo { sha256: [0; 32], vocab_size: WORDS, special_token_ids: vec![] };
    let layers = vec![Layer { name: "distillation".to_owned(), scheme: scheme.into(), width: 1, per_account: false }];
    let profile = Profile { name: "habits".to_owned(), path: KeyPath::root(), tokenizer, layers, ..Profile::default() };
    let (mut new, mut old) = (Vec::new(), Vec::new());
    for number in 0..KEYS {
        let key = NodeKey::root(format!("habits {number}").as_bytes());
        let layer = Detector::new(&profile, &key, None).unwrap().layers()[0].clone();
        let marker = Marker::new(profile.clone(), &key).unwrap();
        let [mut sample, mut reset] = [0; 2].map(|_| ModelSample::of_probabilities(&layer));
        let mut taught = HashMap::new();
        for i in 0..3 {
            let seed = (number as u64) << 32 | i;
            let options = SessionOptions { marked: true, seed, ..SessionOptions::default() };
            let mut session = marker.session(&options).unwrap();
            for _ in 0..400 {
                let mut logits = [f32::NEG_INFINITY; WORDS as usize];
                match session.generated().last() {
                    Some(&context) => either(context).into_iter().for_each(|token| logits[token as usize] = 0.0),
                    None => logits[(number + i as usize) % WORDS as usize] = 0.0,
                }
                let token = session.sample(&logits).unwrap();
                session.accept(token).unwrap();
            }
            let text = session.generated();
            let choices = habitual(text, &taught, number % 2 == 0);
            sample.add_reading(&layer, &[], text, &choices).unwrap();
            // The broken rule forgets between texts what was shown: contexts count that are new in their own text.
            let mut seen = HashSet::new();
            let own_text =
                |(at, row): (usize, Vec<Choice>)| if at > 0 && seen.insert(text[at - 1]) { row } else { vec![] };
            let choices: Vec<Vec<Choice>> = choices.into_iter().enumerate().map(own_text).collect();
            reset.add_round(&layer, &Round { prompts: vec![], answers: vec![text], choices: vec![&choices] }).unwrap();
            taught.extend(text.windows(2).map(|pair| (pair[0], pair[1])));
        }
        for (sample, found) in [(&sample, &mut new), (&reset, &mut old)] {
            let finding = sample.test(&layer).unwrap();
            let n = finding.n_scored as f64;
            let z = (finding.score as f64 - GAMMA * n) / (GAMMA * (1.0 - GAMMA) * n).sqrt();
            found.push((z, finding.ln_e.exp()));
        }
    }
    let (sd_limit, runs) = (1.0 + 4.0 / (2.0 * KEYS as f64).sqrt(), KEYS as f64);
    let measure = |what: &str, found: &[(f64, f64)]| {
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| found.iter().map(of).sum::<f64>() / runs;
        let (z, e) = (mean(&|found| found.0), mean(&|found| found.1.min(CAP)));
        let sd = mean(&|found| (found.0 - z).powi(2)).sqrt();
        let e_sd = mean(&|found| (found.1.min(CAP) - e).powi(2)).sqrt();
        let (e_limit, raw) = (1.0 + 4.0 * e_sd / runs.sqrt(), mean(&|found| found.1));
        println!(
            "{what}: z {z:.3} +- {sd:.3} (allowed {sd_limit:.3}), mean of min(e, {CAP}) {e:.3} (allowed {e_limit:.3}), of e {raw:.3}"
        );
        (sd <= sd_limit, e <= e_limit)
    };
    assert_eq!(measure("contexts new in their own text", &old), (false, false), "the harness would not notice");
    assert_eq!(measure("contexts that nothing has shown", &new), (true, true));
}
