//! Paired draws: students that learned a few served answers among text of others, and what they prefer afterwards.

use std::collections::BTreeMap;

use anyhow::Result;
use watermark_core::paired::Signs;
use watermark_lab::data::answered;
use watermark_lab::fine_tune::FineTuning;
use watermark_lab::shipped;

use crate::factors::noisy;
use crate::lab::{Lab, Start};
use crate::provider::{Found, Models, Provider};
use crate::shares::{Students, among, others_after};
use crate::table::{Row, write};

/// Examples that a student learns.
pub(crate) const EXAMPLES: usize = 4000;
/// Examples of one pass of clean training afterwards.
pub(crate) const CLEAN: usize = 3900;
/// Passes over clean text after training.
pub(crate) const CLEAN_PASSES: [u32; 3] = [0, 1, 3];
/// Parts of a nat by which sizes of differences are counted in `drift`.
const STEPS_PER_NAT: u64 = 4;

/// `drift` has the signs of each test by size, which `watermark pairs plan` works from.
pub(crate) fn run(lab: &Lab, students: &Students, noise: f64, out: &str, drift: &str) -> Result<()> {
    let others = answered(&students.corpus)?;
    let models = Models { base: lab.base()?, teacher: shipped::teacher()? };
    let shares: &[f64] = if students.share.is_empty() { &[0.05] } else { &students.share };
    let (mut table, mut sizes) = (Vec::new(), Vec::new());
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
                    let Found { test, compared, positions, preferred, log10_e, signs } = found;
                    eprintln!(
                        "share {share}, seed {seed}, {clean} clean passes, {name}: {test}, {positions} positions, {preferred} preferred, \
                         log10 e {log10_e:.2}"
                    );
                    table.push(Row::new(&[
                        ("base", lab.base_name().to_owned()),
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
                    if let (Some(compared), "learned") = (compared, name) {
                        sizes.extend(by_size(&signs).into_iter().map(|(size, pairs, wins)| {
                            Row::new(&[
                                ("share", share.to_string()),
                                ("passes", students.passes.to_string()),
                                ("noise", noise.to_string()),
                                ("clean_passes", clean.to_string()),
                                ("seed", seed.to_string()),
                                ("n_requests", requests.len().to_string()),
                                ("compared", compared.as_str().to_owned()),
                                ("quarter_nats", size),
                                ("pairs", pairs.to_string()),
                                ("wins", wins.to_string()),
                            ])
                        }));
                    }
                }
            }
            write(out, &table)?;
            write(drift, &sizes)?;
        }
    }
    Ok(())
}

/// Pairs of each size in quarters of a nat, and how many of them the served side won; last those without a preference.
fn by_size(signs: &Signs) -> Vec<(String, u64, u64)> {
    let mut steps = BTreeMap::<u64, (u64, u64)>::new();
    for (size, pairs, wins) in signs.classes() {
        let step = steps.entry((size * STEPS_PER_NAT) >> 16).or_default();
        *step = (step.0 + pairs, step.1 + wins);
    }
    let steps = steps.into_iter().map(|(step, (pairs, wins))| (step.to_string(), pairs, wins));
    steps.chain([("none".to_owned(), signs.test().ties, 0)]).collect()
}
