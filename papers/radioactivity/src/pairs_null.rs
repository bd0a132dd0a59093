//! The null hypothesis of paired draws on students that are innocent of a key: they learned draws of another one for the very same prompts.

use anyhow::{Context, Result};
use watermark_core::paired::Signs;
use watermark_core::stats::log10_binomial_sf;
use watermark_lab::data::answered;
use watermark_lab::fine_tune::FineTuning;
use watermark_lab::shipped;

use crate::lab::{Lab, Start};
use crate::pairs::EXAMPLES;
use crate::plot::Table;
use crate::provider::Provider;
use crate::shares::{Students, among};
use crate::table::{Row, write};

/// Answers that a student learned.
const LEARNED: usize = 200;

/// A row for each student and key. Rows that `out` has already are not made again.
pub(crate) fn run(lab: &Lab, students: &Students, keys: u32, requests: usize, out: &str) -> Result<()> {
    let others = answered(&students.corpus)?;
    let (base, teacher) = (lab.base()?, shipped::teacher()?);
    let mut table = if std::path::Path::new(out).exists() { Table::read(out)?.into_rows() } else { Vec::new() };
    for &seed in &students.seeds {
        let provider = Provider::new(lab, seed)?;
        let learned = provider.harvested(LEARNED)?;
        let data = among(&others, provider.data(&learned), EXAMPLES, seed)?;
        let tuning = FineTuning { epochs: students.passes, ..FineTuning::with_seed(seed) };
        let student = lab.student(Start::Base, None, &data, &tuning)?;
        let learned = &learned[..requests.min(LEARNED)];
        let all: Vec<usize> = (0..learned.len()).collect();
        for key in 0..keys {
            let known = [("seed", seed.to_string()), ("key", key.to_string())];
            if table.iter().any(|row| known.iter().all(|(name, value)| row.get(name) == Some(value))) {
                continue;
            }
            let other = provider.again(&teacher, &format!("paired null {seed} {key}"), learned)?;
            let mut cells: Vec<(&str, String)> = known.to_vec();
            let columns =
                [["pairs_beside", "wins_beside", "log10_e_beside"], ["pairs_alone", "wins_alone", "log10_e_alone"]];
            let differences = other.differences(&student.model, &base, &all)?;
            for (at, [pairs, wins, log10_e]) in columns.into_iter().enumerate() {
                let mut signs = Signs::default();
                differences.iter().flat_map(|both| &both[at]).for_each(|&difference| signs.add_preference(difference));
                let found = signs.test();
                cells.extend([
                    (pairs, found.n.to_string()),
                    (wins, found.wins.to_string()),
                    (log10_e, format!("{:.3}", found.ln_e / std::f64::consts::LN_10)),
                ]);
            }
            table.push(Row::new(&cells));
            if key % 20 == 19 || key + 1 == keys {
                write(out, &table)?;
                eprintln!("seed {seed}: {} of {keys} keys", key + 1);
            }
        }
    }
    for kind in ["beside", "alone"] {
        summary(&table, kind)?;
    }
    Ok(())
}

/// Whether signs are those of fair coins, over all rows: z, and mid-p of the binomial tail against uniform.
fn summary(table: &[Row], kind: &str) -> Result<()> {
    let (mut z, mut mid_p, mut e) = (Vec::new(), Vec::new(), Vec::new());
    for row in table {
        let cell = |name: &str| row.get(&format!("{name}_{kind}")).context("a column of the table");
        let (n, wins): (u64, u64) = (cell("pairs")?.parse()?, cell("wins")?.parse()?);
        z.push((2.0 * wins as f64 - n as f64) / (n as f64).sqrt());
        mid_p.push(0.5 * (sf(wins, n) + sf(wins + 1, n)));
        e.push(cell("log10_e")?.parse::<f64>()?);
    }
    let n = z.len() as f64;
    let mean = z.iter().sum::<f64>() / n;
    let sd = (z.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    mid_p.sort_by(f64::total_cmp);
    let ks =
        mid_p.iter().enumerate().map(|(i, p)| ((i as f64 + 1.0) / n - p).max(p - i as f64 / n)).fold(0.0, f64::max);
    let share = |of: &dyn Fn() -> usize| of() as f64 / n;
    eprintln!(
        "{kind}: {n} keys, z {mean:.3} on average, standard deviation {sd:.3}; mid-p at or below .1 {:.3}, .01 {:.3}; Kolmogorov-Smirnov {ks:.3} \
         (5 %: {:.3}); 1 / e at or below .1 {:.3}, .01 {:.3}",
        share(&|| mid_p.iter().filter(|p| **p <= 0.1).count()),
        share(&|| mid_p.iter().filter(|p| **p <= 0.01).count()),
        1.358 / n.sqrt(),
        share(&|| e.iter().filter(|e| **e >= 1.0).count()),
        share(&|| e.iter().filter(|e| **e >= 2.0).count()),
    );
    Ok(())
}

/// P(at least so many of n fair coins).
fn sf(wins: u64, n: u64) -> f64 {
    10f64.powf(log10_binomial_sf(wins, n, 0.5))
}
