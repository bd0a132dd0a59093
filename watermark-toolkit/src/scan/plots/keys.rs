//! `keys.svg`: the strongest tests and the level that decides.

use super::bars::{Bars, ROWS, Row};
use super::text::shorten;
use super::{DARK, KeyTest, LIGHT};
use crate::scan::result::Summary;

/// `tests` come strongest first.
pub(super) fn svg(tests: &[KeyTest<'_>], summary: &Summary) -> String {
    let level = -summary.log10_level;
    let several = summary.profiles.len() > 1;
    let rows: Vec<Row<'_>> = tests.iter().take(ROWS).map(|test| row(test, several)).collect();
    let strongest = tests.first().map_or(0.0, |test| test.digits);
    let detected = tests.iter().filter(|test| test.detected()).count();
    Bars {
        title: "Evidence by key",
        text: format!(
            "Bars: -log10 of the exact p of a key and layer over all texts, strongest first; dark: detected. If the texts \
             depended on none of the keys, at most a tenth of all bars would be expected to reach 1, a hundredth to reach \
             2 and so on, and any bar would cross the dashed line with a chance of {:e} at most.",
            summary.alpha
        ),
        header: ["key", if several { "profile/layer" } else { "layer" }, "-log10 p", "verdict"],
        axis: "-log10 p (decimal digits)",
        rows,
        high: (1.05 * strongest.max(level)).max(5.0),
        level: Some((level, format!("Holm's level, {level:.1}"))),
        rest: rest(tests, detected, summary),
    }
    .svg()
}

fn row<'a>(test: &KeyTest<'a>, several: bool) -> Row<'a> {
    let finding = test.finding;
    Row {
        name: test.name,
        detail: if several {
            format!("{}/{}", shorten(&finding.profile, 8), finding.layer)
        } else {
            finding.layer.clone()
        },
        value: test.digits,
        color: if test.detected() { DARK } else { LIGHT },
        number: format!("{:.1}", test.digits),
        word: finding.verdict.as_str().replace('_', " "),
    }
}

fn rest(tests: &[KeyTest<'_>], detected: usize, summary: &Summary) -> String {
    let mut text = String::new();
    if let Some(rest) = tests.get(ROWS..).filter(|rest| !rest.is_empty()) {
        let most = rest.first().map_or(0.0, |test| test.digits);
        let of_rest = rest.iter().filter(|test| test.detected()).count();
        text = format!("Not drawn: {} weaker tests with {most:.1} or less, {of_rest} of them detected. ", rest.len());
    }
    let repeated = summary.findings.len() - tests.len();
    if repeated > 0 {
        text += &format!("Drawn once: layers with one key for all accounts, which {repeated} lines more repeat. ");
    }
    text + &format!("Detected in all: {detected} of {}. result.json has every test.", tests.len())
}
