//! Paired draws: students that learned a few served answers among text of others, and what they prefer afterwards.

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use watermark_core::key::NodeKey;
use watermark_core::mark::Marker;
use watermark_core::model_test::{PairedSample, PairedTest, conclude_pairs};
use watermark_core::paired::{RequestKey, RequestSecret, Seen, ServedLaw, Signs};
use watermark_core::profile::Profile;
use watermark_lab::answer::{Answering, Requests, answer};
use watermark_lab::data::answered;
use watermark_lab::fine_tune::FineTuning;
use watermark_lab::model::Model;
use watermark_lab::score::pair_scores;
use watermark_lab::{prompts, shipped};

use crate::access::rows;
use crate::factors::noisy;
use crate::lab::{Data, Lab, MAX_NEW_TOKENS, SAMPLING, Start, Student};
use crate::shares::{Students, among, others_after};
use crate::table::{Row, write};

/// Accounts of a provider in the laboratory, each with as many requests, in turn.
const ACCOUNTS: usize = 64;
const REQUESTS_EACH: usize = 50;
/// Accounts whose answers are harvested.
const HARVESTED: usize = 4;
/// Examples that a student learns.
pub(crate) const EXAMPLES: usize = 4000;
/// Examples of one pass of clean training afterwards.
pub(crate) const CLEAN: usize = 3900;
/// Passes over clean text after training.
pub(crate) const CLEAN_PASSES: [u32; 3] = [0, 1, 3];
/// Requests that the student never saw.
pub(crate) const UNTRAINED: usize = 400;
/// Positions count for the likeliest token where the base is at least so uncertain, in nats.
const UNCERTAIN: f64 = 1.0;
const LEDGER: &str = "ledger/lab";
/// Levels of the list and of all accounts together.
const LEVELS: [f64; 2] = [1e-6, 1e-3];

pub(crate) fn run(lab: &Lab, students: &Students, noise: f64, out: &str) -> Result<()> {
    let others = answered(&students.corpus)?;
    let models = Models { base: shipped::base()?, teacher: shipped::teacher()? };
    let shares: &[f64] = if students.share.is_empty() { &[0.05] } else { &students.share };
    let mut table = Vec::new();
    for (&share, &seed) in shares.iter().flat_map(|share| students.seeds.iter().map(move |seed| (share, seed))) {
        let provider = Provider::new(lab, seed)?;
        let learned = provider.harvested((share * EXAMPLES as f64).round() as usize)?;
        let mut harvested = provider.data(&learned);
        if noise > 0.0 {
            harvested = noisy(lab, &harvested, noise, seed)?;
        }
        let data = among(&others, harvested, EXAMPLES, seed)?;
        let tuning = FineTuning { epochs: students.passes, ..FineTuning::with_seed(seed) };
        let student = lab.student(Start::Base, None, &data, &tuning)?;
        let untrained = provider.untrained();
        for clean in CLEAN_PASSES {
            let after;
            let subject = if clean == 0 {
                &student
            } else {
                let more = others_after(&others, EXAMPLES - learned.len(), CLEAN, seed)?;
                let tuning = FineTuning { epochs: f64::from(clean), ..FineTuning::with_seed(seed) };
                after = lab.student(Start::Base, Some(&student), &more, &tuning)?;
                &after
            };
            for (requests, name) in [(&learned, "learned"), (&untrained, "not learned")] {
                for found in provider.test(subject, &models, requests)? {
                    let Found { test, positions, preferred, log10_e } = found;
                    eprintln!(
                        "share {share}, seed {seed}, {clean} clean passes, {name}: {test}, {positions} positions, {preferred} preferred, \
                         log10 e {log10_e:.2}"
                    );
                    table.push(Row::new(&[
                        ("share", share.to_string()),
                        ("seed", seed.to_string()),
                        ("noise", noise.to_string()),
                        ("passes", students.passes.to_string()),
                        ("clean_passes", clean.to_string()),
                        ("requests", name.to_owned()),
                        ("n_requests", requests.len().to_string()),
                        ("test", test.to_owned()),
                        ("positions", positions.to_string()),
                        ("served_preferred", preferred.to_string()),
                        ("log10_e", format!("{log10_e:.2}")),
                    ]));
                }
            }
            write(out, &table)?;
        }
    }
    Ok(())
}

/// Which accounts are named, a row a student, and how often an account that was not harvested is, over many draws of its coins.
pub(crate) fn accounts(lab: &Lab, students: &Students, repetitions: u32, out: &str) -> Result<()> {
    let others = answered(&students.corpus)?;
    let base = shipped::base()?;
    let mut table = Vec::new();
    for &seed in &students.seeds {
        let provider = Provider::new(lab, seed)?;
        let learned = provider.harvested(HARVESTED * REQUESTS_EACH)?;
        let data = among(&others, provider.data(&learned), EXAMPLES, seed)?;
        let tuning = FineTuning { epochs: students.passes, ..FineTuning::with_seed(seed) };
        let student = lab.student(Start::Base, None, &data, &tuning)?;
        let all: Vec<usize> = (0..ACCOUNTS * REQUESTS_EACH).collect();
        let differences = provider.differences(&student.model, Some(&base), &all)?;
        let named = |differences: &[Vec<i64>]| {
            let mut signs = vec![Signs::default(); ACCOUNTS];
            for (request, differences) in differences.iter().enumerate() {
                differences.iter().for_each(|&difference| signs[request % ACCOUNTS].add_preference(difference));
            }
            let mut whole = Signs::default();
            signs.iter().for_each(|signs| whole.merge(signs));
            let accounts = signs.iter().map(Signs::test).map(|found| (found.n, found.ln_e)).collect();
            let whole = whole.test();
            let suspect = PairedSample { whole: (whole.n, whole.ln_e), accounts };
            let controls = Vec::new();
            let test = PairedTest { suspect, controls, reference_ln_e: 0.0, draws_log10_p: 0.0, law_ln_e: 0.0 };
            let conclusion = conclude_pairs(&test, LEVELS[0], LEVELS[1]);
            let detected =
                |verdict: &watermark_core::detect::Verdict| *verdict == watermark_core::detect::Verdict::Detected;
            let named: Vec<bool> = conclusion.accounts.iter().map(detected).collect();
            let log10_e: Vec<f64> =
                test.suspect.accounts.iter().map(|(_, ln_e)| ln_e / std::f64::consts::LN_10).collect();
            (named, log10_e, test.suspect.ln_e() / std::f64::consts::LN_10)
        };
        let (first, log10_e, whole) = named(&differences);
        let right = first.iter().take(HARVESTED).filter(|named| **named).count();
        let wrong = first.iter().skip(HARVESTED).filter(|named| **named).count();
        // Given what a suspect thinks of both candidates, only the coins are random: those of accounts that were not harvested are drawn again.
        let again = |repetition: u32| {
            let coins = RequestSecret::new(&provider.layer, &format!("repetition/{repetition}")).key(None);
            let mut position = 0;
            let flipped: Vec<Vec<i64>> = differences
                .iter()
                .enumerate()
                .map(|(request, differences)| {
                    let mut flip = |difference: i64| {
                        position += 1;
                        let keep = request % ACCOUNTS < HARVESTED
                            || coins.coin(position) == watermark_core::paired::Draw::First;
                        if keep { difference } else { -difference }
                    };
                    differences.iter().map(|&difference| flip(difference)).collect()
                })
                .collect();
            let (named, ..) = named(&flipped);
            let [right, wrong] = [true, false]
                .map(|of| named.iter().enumerate().filter(|(at, named)| (*at < HARVESTED) == of && **named).count());
            (right == HARVESTED, wrong > 0)
        };
        let again: Vec<(bool, bool)> = (0..repetitions).into_par_iter().map(again).collect();
        let [all_right, some_wrong] =
            [again.iter().filter(|both| both.0).count(), again.iter().filter(|both| both.1).count()];
        let least = log10_e.iter().take(HARVESTED).copied().fold(f64::INFINITY, f64::min);
        let most = log10_e.iter().skip(HARVESTED).copied().fold(f64::NEG_INFINITY, f64::max);
        eprintln!(
            "seed {seed}: {right} of {HARVESTED} named, {wrong} others; log10 e of those {least:.2} or more, of others {most:.2} or less, of all \
             requests {whole:.2}; in {repetitions} repetitions all four in {all_right}, another in {some_wrong}"
        );
        table.push(Row::new(&[
            ("seed", seed.to_string()),
            ("accounts", ACCOUNTS.to_string()),
            ("requests_each", REQUESTS_EACH.to_string()),
            ("harvested", HARVESTED.to_string()),
            ("named", right.to_string()),
            ("others_named", wrong.to_string()),
            ("least_log10_e_harvested", format!("{least:.2}")),
            ("most_log10_e_others", format!("{most:.2}")),
            ("log10_e_all_requests", format!("{whole:.2}")),
            ("repetitions", repetitions.to_string()),
            ("all_named", all_right.to_string()),
            ("another_named", some_wrong.to_string()),
        ]));
        write(out, &table)?;
    }
    Ok(())
}

/// What tests compare a suspect with.
struct Models {
    base: Model,
    teacher: Model,
}

/// A provider that serves paired draws.
struct Provider {
    layer: watermark_core::key::PrfKey,
    served: Data,
    prompts: Vec<Vec<u32>>,
}

struct Found {
    test: &'static str,
    positions: u64,
    preferred: u64,
    log10_e: f64,
}

/// What models say along an answer.
#[derive(Default)]
struct Along {
    /// By position: the law that it was drawn from, and which of its tokens was served.
    laws: Vec<(Vec<Seen>, usize)>,
    /// 2^16 where the student's likeliest token was served, its negative where it was withheld.
    says: Vec<i64>,
}

impl Provider {
    fn new(lab: &Lab, seed: u64) -> Result<Self> {
        let profile = Profile {
            name: "pairs".to_owned(),
            tokenizer: lab.tokenizer.info()?,
            paired: Some("pairs".to_owned()),
            ..Profile::default()
        };
        let key = NodeKey::root(format!("paired draws {seed}").as_bytes());
        let layer = profile.paired_key(&key)?.context("paired draws")?;
        let marker = Marker::new(profile, &key)?;
        let n = ACCOUNTS * REQUESTS_EACH;
        let what = format!("teacher, paired draws {seed} {n}");
        let served = lab.kept(&what, prompts::word_problems(700 + seed, n), |questions| {
            let how = Answering {
                max_new_tokens: MAX_NEW_TOKENS,
                sampling: SAMPLING,
                marked: true,
                account: None,
                seed: u64::from_le_bytes(Sha256::digest(&what)[..8].try_into()?),
                requests: Some(Requests::new(LEDGER, 0, questions.len())?),
            };
            answer(&shipped::teacher()?, &lab.tokenizer, &marker, questions, &how, &mut |_| ())
        })?;
        let prompts = served.questions.iter().map(|question| lab.prompt(question)).collect::<Result<_>>()?;
        Ok(Self { layer, served, prompts })
    }

    /// The first requests of the harvested accounts.
    fn harvested(&self, n: usize) -> Result<Vec<usize>> {
        let of: Vec<usize> =
            (0..self.served.questions.len()).filter(|request| request % ACCOUNTS < HARVESTED).collect();
        ensure!(n <= of.len(), "{n} requests of harvested accounts, and there are {}", of.len());
        Ok(of[..n].to_vec())
    }

    /// Requests of other accounts.
    fn untrained(&self) -> Vec<usize> {
        (0..self.served.questions.len()).filter(|request| request % ACCOUNTS >= HARVESTED).take(UNTRAINED).collect()
    }

    fn data(&self, requests: &[usize]) -> Data {
        let questions = requests.iter().map(|&request| self.served.questions[request].clone()).collect();
        Data { questions, answers: requests.iter().map(|&request| self.served.answers[request].clone()).collect() }
    }

    fn key(&self, request: usize) -> RequestKey {
        RequestSecret::new(&self.layer, &format!("{LEDGER}/{request}")).key(None)
    }

    /// How much likelier the served candidate is than the withheld one to a model, beyond what a reference finds; by request.
    fn differences(&self, model: &Model, reference: Option<&Model>, requests: &[usize]) -> Result<Vec<Vec<i64>>> {
        let of = |&request: &usize| -> Result<Vec<i64>> {
            let answer = &self.served.answers[request];
            let key = self.key(request);
            let scores = |model| pair_scores(model, &answer.prompt_tokens, &answer.tokens, &answer.withheld, None);
            let expected = reference.map(scores).transpose()?;
            let mut differences = Vec::new();
            for (at, score) in scores(model)?.iter().enumerate() {
                let Some(sides) = key.order(score.position, score.tokens)? else { continue };
                ensure!(sides.served == answer.tokens[score.position as usize], "the coin served another token");
                let of = |score: &watermark_toolkit::read::PairScore| score.difference(sides.served, sides.withheld);
                let expected = expected.as_ref().map_or(Some(0), |expected| of(&expected[at]));
                differences
                    .push(of(score).zip(expected).map(|(found, expected)| found - expected).context("one position")?);
            }
            Ok(differences)
        };
        requests.par_iter().map(of).collect()
    }

    fn along(&self, student: &Model, models: &Models, request: usize) -> Result<Along> {
        let (prompt, answer) = (&self.prompts[request], &self.served.answers[request]);
        let (temperature, keep) = (f64::from(SAMPLING.temperature), SAMPLING.top_k.unwrap_or(usize::MAX));
        let laws = rows(&models.teacher, prompt, &answer.tokens, temperature, keep)?;
        let of_student = rows(student, prompt, &answer.tokens, 1.0, usize::MAX)?;
        let of_base = rows(&models.base, prompt, &answer.tokens, 1.0, usize::MAX)?;
        let mut found = Along::default();
        let pairs = answer.tokens.iter().zip(&answer.withheld);
        for ((law, (q, r)), (&token, withheld)) in laws.iter().zip(of_student.iter().zip(&of_base)).zip(pairs) {
            let total: f64 = law.iter().map(|(_, ln_p)| ln_p.exp()).sum();
            let listed = law.iter().map(|&(id, ln_p)| Seen {
                law: ln_p.exp() / total,
                suspect: q[id as usize].1.exp(),
                reference: r[id as usize].1.exp(),
            });
            let at = law.iter().position(|(id, _)| *id == token).context("a served token outside the law")?;
            found.laws.push((listed.collect(), at));
            let entropy = -r.iter().map(|(_, ln_p)| ln_p * ln_p.exp()).sum::<f64>();
            let likeliest = q.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(id, _)| *id);
            if let Some(withheld) = withheld.filter(|&withheld| withheld != token && entropy > UNCERTAIN) {
                found.says.extend((likeliest == Some(token)).then_some(1 << 16));
                found.says.extend((likeliest == Some(withheld)).then_some(-1 << 16));
            }
        }
        Ok(found)
    }

    fn test(&self, student: &Student, models: &Models, requests: &[usize]) -> Result<Vec<Found>> {
        let base = &models.base;
        let mut found = Vec::new();
        for (test, reference) in [("token pairs, beside the base", Some(base)), ("token pairs, alone", None)] {
            let mut signs = Signs::default();
            let differences = self.differences(&student.model, reference, requests)?;
            differences.iter().flatten().for_each(|&difference| signs.add_preference(difference));
            found.push(Found::of_signs(test, &signs));
        }
        let along: Vec<Along> =
            requests.par_iter().map(|&request| self.along(&student.model, models, request)).collect::<Result<_>>()?;
        let mut served_law = ServedLaw::default();
        let mut signs = Signs::default();
        for Along { laws, says } in along {
            laws.iter().try_for_each(|(listed, at)| served_law.observe(listed, Some(*at)))?;
            says.iter().for_each(|&difference| signs.add_preference(difference));
        }
        let log10_e = served_law.ln_e() / std::f64::consts::LN_10;
        found.push(Found { test: "served law, beside the base", positions: served_law.n(), preferred: 0, log10_e });
        found.push(Found::of_signs("likeliest token only", &signs));
        Ok(found)
    }
}

impl Found {
    fn of_signs(test: &'static str, signs: &Signs) -> Self {
        let found = signs.test();
        Self { test, positions: found.n, preferred: found.wins, log10_e: found.ln_e / std::f64::consts::LN_10 }
    }
}
