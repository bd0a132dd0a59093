//! Served answers, one by one: how many are found by the exact tail of distinct pairs, and beside what a model expects along them.

use anyhow::Result;
use watermark_core::scheme::{Greenlist, Gumbel, Scheme};
use watermark_lab::shipped;

use crate::beside::Asked;
use crate::lab::{Lab, Mark};
use crate::table::{Row, write};

/// Keys, with the questions of each, which no other experiment has.
const KEYS: std::ops::Range<u64> = 900..910;
/// Temperature of the answers, and of what models expect along them.
const TEMPERATURE: f64 = 0.8;
/// Answers of a key.
const ANSWERS: usize = 30;

pub(crate) fn run(lab: &Lab, out: &str) -> Result<()> {
    let models = [("the base", shipped::base()?), ("the unmarked teacher", shipped::teacher()?)];
    let mut rows = Vec::new();
    for (name, scheme, width) in [
        ("greenlist gamma .5 delta 2, width 1", Scheme::Greenlist(Greenlist::new(0.5, 2.0)?), 1),
        ("greenlist gamma .25 delta 2, width 1", Scheme::Greenlist(Greenlist::new(0.25, 2.0)?), 1),
        ("greenlist gamma .5 delta 1, width 1", Scheme::Greenlist(Greenlist::new(0.5, 1.0)?), 1),
        ("gumbel, width 4", Scheme::Gumbel(Gumbel), 4),
    ] {
        for marked in [true, false] {
            let (mut tokens, mut found) = (0, [const { Vec::new() }; 3]);
            for key in KEYS {
                let mark = Mark { scheme, width, key };
                let layer = lab.layer(&mark)?;
                let asked = Asked::new(lab, &lab.teacher(&mark, marked, 95_000 + key, ANSWERS)?)?;
                tokens += asked.tokens();
                let expected = models.iter().map(|(_, model)| asked.decoded(model, TEMPERATURE));
                let expected = expected.collect::<Result<Vec<_>>>()?;
                for i in 0..asked.len() {
                    let part = vec![(i, usize::MAX)];
                    found[0].push(asked.exact_log10_p(&layer, i)?);
                    for (found, expected) in found[1..].iter_mut().zip(&expected) {
                        let reference = asked.probabilities_of(&layer, &part, expected)?;
                        found.push(asked.counts_of(&layer, &part)?.beside(&[reference])?.log10_p(&layer)?);
                    }
                }
            }
            let names = std::iter::once("nothing").chain(models.iter().map(|(name, _)| *name));
            for (beside, mut log10_p) in names.zip(found) {
                log10_p.sort_by(f64::total_cmp);
                let below = |level: f64| log10_p.iter().filter(|p| **p <= level).count().to_string();
                rows.push(Row::new(&[
                    ("mark", if marked { name } else { "none" }.to_owned()),
                    ("tested_for", name.to_owned()),
                    ("beside", beside.to_owned()),
                    ("answers", log10_p.len().to_string()),
                    ("tokens", tokens.to_string()),
                    ("median_log10_p", format!("{:.2}", log10_p[log10_p.len() / 2] + 0.0)),
                    ("at_1e-1", below(-1.0)),
                    ("at_1e-3", below(-3.0)),
                    ("at_1e-6", below(-6.0)),
                ]));
            }
        }
        write(out, &rows)?;
    }
    Ok(())
}
