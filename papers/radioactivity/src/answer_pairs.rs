//! Whole answers in pairs: of two answers to a request a coin serves one. What a student that learned the served ones prefers, and what it says.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use rayon::prelude::*;
use watermark_core::key::NodeKey;
use watermark_core::paired::{Draw, RequestSecret, Signs};
use watermark_core::scheme::{Gumbel, Scheme};
use watermark_lab::answer::Answer;
use watermark_lab::data::answered;
use watermark_lab::fine_tune::FineTuning;
use watermark_lab::model::Model;
use watermark_lab::shipped;

use crate::access::rows;
use crate::lab::{Data, Lab, Mark, Start, Student};
use crate::pairs::{CLEAN, CLEAN_PASSES, EXAMPLES};
use crate::provider::UNTRAINED;
use crate::shares::{Students, among, others_after};
use crate::table::{Row, write};

/// Temperatures at which a student is asked again: as many answers to each request.
const TEMPERATURES: [f32; 4] = [0.8, 0.7, 0.6, 0.5];
/// Longest run of tokens that two answers are compared by.
const LONGEST: usize = 4;

pub(crate) fn run(lab: &Lab, students: &Students, out: &str) -> Result<()> {
    let others = answered(&students.corpus)?;
    let base = shipped::base()?;
    let shares: &[f64] = if students.share.is_empty() { &[0.05] } else { &students.share };
    let mut table = Vec::new();
    for (&share, &seed) in shares.iter().flat_map(|share| students.seeds.iter().map(move |seed| (share, seed))) {
        let learned = (share * EXAMPLES as f64).round() as usize;
        let served = Served::new(lab, seed, learned + UNTRAINED)?;
        let data = among(&others, served.data(learned), EXAMPLES, seed)?;
        let tuning = FineTuning { epochs: students.passes, ..FineTuning::with_seed(seed) };
        let student = lab.student(Start::Base, None, &data, &tuning)?;
        for clean in CLEAN_PASSES {
            let after;
            let subject = if clean == 0 {
                &student
            } else {
                let more = others_after(&others, EXAMPLES - learned, CLEAN, seed)?;
                let tuning = FineTuning { epochs: f64::from(clean), ..FineTuning::with_seed(seed) };
                after = lab.student(Start::Base, Some(&student), &more, &tuning)?;
                &after
            };
            let says = served.says(lab, subject)?;
            for (name, requests) in [("learned", 0..learned), ("not learned", learned..learned + UNTRAINED)] {
                let tests = [
                    (
                        "answer pairs, beside the base",
                        served.preferences(lab, &subject.model, Some(&base), requests.clone())?,
                    ),
                    ("answer pairs, alone", served.preferences(lab, &subject.model, None, requests.clone())?),
                    ("answers only, four each", says[requests.clone()].to_vec()),
                ];
                for (test, differences) in tests {
                    let mut signs = Signs::default();
                    differences.iter().for_each(|&difference| signs.add(difference));
                    let found = signs.test();
                    eprintln!(
                        "share {share}, seed {seed}, {clean} clean passes, {name}: {test}, {} of {} as served, log10 p {:.2}, weighted {:.2}",
                        found.wins, found.n, found.log10_p_wins, found.log10_p
                    );
                    table.push(Row::new(&[
                        ("share", share.to_string()),
                        ("seed", seed.to_string()),
                        ("passes", students.passes.to_string()),
                        ("clean_passes", clean.to_string()),
                        ("requests", name.to_owned()),
                        ("test", test.to_owned()),
                        ("n", found.n.to_string()),
                        ("served_preferred", found.wins.to_string()),
                        ("log10_p_exact", format!("{:.2}", found.log10_p_wins)),
                        ("log10_p_weighted", format!("{:.2}", found.log10_p)),
                    ]));
                }
            }
            write(out, &table)?;
        }
    }
    Ok(())
}

/// Two answers of the teacher to each request, the served one first.
struct Served {
    seed: u64,
    questions: Vec<String>,
    answers: Vec<[Answer; 2]>,
    /// ln(answers / answers with it) of each run of tokens, over all answers, served or not.
    rarity: HashMap<Vec<u32>, f64>,
}

impl Served {
    fn new(lab: &Lab, seed: u64, n: usize) -> Result<Self> {
        // Nothing is marked: the number only names another draw.
        let draw = |key| lab.teacher(&Mark { scheme: Scheme::Gumbel(Gumbel), width: 4, key }, false, 900 + seed, n);
        let [first, second] = [draw(0)?, draw(1)?];
        let layer = NodeKey::root(format!("answer pairs {seed}").as_bytes()).prf_key("paired", 0)?;
        let coin = |request| RequestSecret::new(&layer, &format!("ledger/answers/{request}")).key(None).answer_coin();
        let two = first.answers.into_iter().zip(second.answers).enumerate();
        let answers: Vec<[Answer; 2]> =
            two.map(|(i, (a, b))| if coin(i) == Draw::First { [a, b] } else { [b, a] }).collect();
        let mut found: HashMap<Vec<u32>, f64> = HashMap::new();
        for answer in answers.iter().flatten() {
            runs(&answer.tokens).into_iter().for_each(|run| *found.entry(run.to_vec()).or_default() += 1.0);
        }
        let all = (2 * answers.len()) as f64;
        let rarity = found.into_iter().map(|(run, n)| (run, (all / n).ln())).collect();
        Ok(Self { seed, questions: first.questions, answers, rarity })
    }

    fn data(&self, n: usize) -> Data {
        let served = self.answers[..n].iter().map(|[served, _]| served.clone()).collect();
        Data { questions: self.questions[..n].to_vec(), answers: served }
    }

    /// How much likelier the served answer is than the withheld one to a model, a token, beyond what a reference finds.
    fn preferences(
        &self,
        lab: &Lab,
        model: &Model,
        reference: Option<&Model>,
        requests: std::ops::Range<usize>,
    ) -> Result<Vec<i64>> {
        let of = |request: usize| -> Result<i64> {
            let prompt = lab.prompt(&self.questions[request])?;
            let mean = |model: &Model, answer: &Answer| -> Result<f64> {
                let laws = rows(model, &prompt, &answer.tokens, 1.0, usize::MAX)?;
                let ln_p = answer.tokens.iter().zip(&laws).map(|(&token, law)| law[token as usize].1);
                Ok(ln_p.sum::<f64>() / answer.tokens.len().max(1) as f64)
            };
            let [served, withheld] = &self.answers[request];
            if served.tokens == withheld.tokens {
                return Ok(0);
            }
            let mut difference = mean(model, served)? - mean(model, withheld)?;
            if let Some(reference) = reference {
                difference -= mean(reference, served)? - mean(reference, withheld)?;
            }
            Ok((difference * 65_536.0).round() as i64)
        };
        requests.into_par_iter().map(of).collect()
    }

    /// How much more the student's own answers have in common with the served answer than with the withheld one, by request: runs of up to
    /// four tokens, weighed by their rarity.
    fn says(&self, lab: &Lab, student: &Student) -> Result<Vec<i64>> {
        let mut common = vec![0.0; self.answers.len()];
        for temperature in TEMPERATURES {
            let asked = lab.ask(student, 900 + self.seed, self.answers.len(), temperature)?;
            for ((common, [served, withheld]), answer) in common.iter_mut().zip(&self.answers).zip(&asked.answers) {
                let (served, withheld) = (runs(&served.tokens), runs(&withheld.tokens));
                let worth = |run: &&[u32]| self.rarity.get(*run).copied().unwrap_or(0.0);
                let said = runs(&answer.tokens);
                *common += said.intersection(&served).map(worth).sum::<f64>();
                *common -= said.intersection(&withheld).map(worth).sum::<f64>();
            }
        }
        Ok(common.into_iter().map(|common| (common * 65_536.0).round() as i64).collect())
    }
}

fn runs(tokens: &[u32]) -> BTreeSet<&[u32]> {
    (1..=LONGEST).flat_map(|n| tokens.windows(n)).collect()
}
