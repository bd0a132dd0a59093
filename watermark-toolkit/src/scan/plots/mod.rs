//! `plots/*.svg`. Functions of the results; however many keys and inputs there are, the pictures stay small.

mod bars;
mod keys;
mod p_values;
mod sources;
mod text;

use anyhow::Result;
use watermark_core::detect::Verdict;

use super::folder::Folder;
use super::hits::Hit;
use super::result::{FindingLine, Summary};
use super::sources::Source;

const WIDTH: f64 = 800.0;
/// What is above zero and detected, and what is not.
const DARK: &str = "#1d4ed8";
const LIGHT: &str = "#94a3b8";

/// Fewer p-values than this say nothing about their distribution.
const MIN_P_VALUES: usize = 20;

/// A finding as a test of its own.
struct KeyTest<'a> {
    /// The key's.
    name: &'a str,
    finding: &'a FindingLine,
    /// -log10 p; what nothing was scored for has p = 1.
    digits: f64,
}

impl KeyTest<'_> {
    fn detected(&self) -> bool {
        self.finding.verdict == Verdict::Detected
    }
}

/// Every test, strongest first.
fn tests(findings: &[FindingLine]) -> Vec<KeyTest<'_>> {
    let mut tests: Vec<KeyTest<'_>> = findings
        .iter()
        .map(|finding| {
            let digits = if finding.n_scored == 0 { 0.0 } else { digits(finding.log10_p) };
            KeyTest { name: &finding.key, finding, digits }
        })
        .collect();
    tests.sort_by(|a, b| b.digits.total_cmp(&a.digits));
    tests
}

/// -log10 p, finite and without a negative zero.
fn digits(log10_p: f64) -> f64 {
    (-log10_p).clamp(0.0, 1e15) + 0.0
}

/// Writes the pictures for which there is something to show.
pub(super) fn write(folder: &Folder, summary: &Summary, of_sources: &[Source], hits: &[(usize, Hit)]) -> Result<()> {
    folder.create("plots")?;
    let tests = tests(&summary.findings);
    folder.write("plots/keys.svg", keys::svg(&tests, summary).as_bytes())?;
    let scored: Vec<&KeyTest<'_>> = tests.iter().filter(|test| test.finding.n_scored > 0).collect();
    if scored.len() >= MIN_P_VALUES {
        folder.write("plots/p_values.svg", p_values::svg(&scored).as_bytes())?;
    }
    if of_sources.len() > 1 {
        folder.write("plots/sources.svg", sources::svg(of_sources, hits).as_bytes())?;
    }
    Ok(())
}
