//! Whose answers a student learned, by account.

use anyhow::Result;
use rayon::prelude::*;
use watermark_core::detect::Verdict;
use watermark_core::model_test::{PairedSample, PairedTest, conclude_pairs};
use watermark_core::paired::{Draw, RequestSecret, Signs};
use watermark_lab::data::answered;
use watermark_lab::fine_tune::FineTuning;

use crate::lab::{Lab, Start};
use crate::pairs::EXAMPLES;
use crate::provider::{ACCOUNTS, HARVESTED, Provider, REQUESTS_EACH};
use crate::shares::{Students, among};
use crate::table::{Row, write};

/// Levels of the list and of all accounts together.
const LEVELS: [f64; 2] = [1e-6, 1e-3];

/// Which accounts are named, a row a student, and how often an account that was not harvested is, over many draws of its coins.
pub(crate) fn run(lab: &Lab, students: &Students, repetitions: u32, out: &str) -> Result<()> {
    let others = answered(&students.corpus)?;
    let base = lab.base()?;
    let mut table = Vec::new();
    for &seed in &students.seeds {
        let provider = Provider::new(lab, seed)?;
        let learned = provider.harvested(HARVESTED * REQUESTS_EACH)?;
        let data = among(&others, provider.data(&learned), EXAMPLES, seed)?;
        let tuning = FineTuning { epochs: students.passes, ..FineTuning::with_seed(seed) };
        let student = lab.student(Start::Base, None, &data, &tuning)?;
        let all: Vec<usize> = (0..ACCOUNTS * REQUESTS_EACH).collect();
        let differences = provider.differences(&student.model, &base, &all)?;
        let differences: Vec<Vec<i64>> = differences.into_iter().map(|[beside, _]| beside).collect();
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
            let named: Vec<bool> = conclusion.accounts.iter().map(|verdict| *verdict == Verdict::Detected).collect();
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
                        let keep = request % ACCOUNTS < HARVESTED || coins.coin(position) == Draw::First;
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
