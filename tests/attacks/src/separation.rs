//! A key drawn for every document, and a verifier that accepts only what fires under exactly one key (2507.07871).

use anyhow::Result;
use watermark_lab::answer::Answer;
use watermark_lab::shipped;
use watermark_radioactivity::lab::Lab;

use crate::forge::forged;
use crate::list::StolenList;
use crate::{DOCUMENT, Documents, HARVESTED, LOG10_FOUND, Measures, TESTED, greenlist, harvested, share};

/// A second key must stay above this p.
const LOG10_SECOND: f64 = -2.0;

/// What the keys say of one document.
struct Keys {
    smallest: f64,
    second: f64,
    keys: usize,
}

impl Keys {
    /// p at most .001 under some key (Bonferroni).
    fn fires(&self) -> bool {
        self.smallest + (self.keys as f64).log10() <= LOG10_FOUND
    }

    /// Fires, and no other key comes near.
    fn accepted(&self) -> bool {
        self.fires() && self.second > LOG10_SECOND
    }
}

fn tested(lab: &Lab, keys: &[u64], answers: &[Answer]) -> Result<Vec<Keys>> {
    let by_key = keys.iter().map(|&key| Ok(Documents::tested(lab, &lab.layer(&greenlist(1, key)?)?, answers)?.log10_p));
    let by_key = by_key.collect::<Result<Vec<_>>>()?;
    let documents = (0..answers.len() / DOCUMENT).map(|document| {
        let mut log10_p: Vec<f64> = by_key.iter().map(|key| key[document]).collect();
        log10_p.sort_by(f64::total_cmp);
        Keys { smallest: log10_p[0], second: log10_p.get(1).copied().unwrap_or(0.0), keys: keys.len() }
    });
    Ok(documents.collect())
}

/// A fleet of `keys` keys, one drawn per document, and an attacker with `harvest` of its answers.
///
/// # Errors
/// If generating fails.
pub fn run(lab: &Lab, seed: u64, keys: usize, harvest: usize, n: usize) -> Result<Measures> {
    let mut measures = Measures::default();
    let base = shipped::base()?;
    let keys: Vec<u64> = (0..keys as u64).map(|key| 1000 * seed + key).collect();
    // Answer i of a harvest is marked under key i mod keys: which one, the attacker does not see.
    let part = harvest / keys.len();
    let mut mixed = Vec::new();
    for (i, &key) in keys.iter().enumerate() {
        mixed.extend(lab.teacher(&greenlist(1, key)?, true, HARVESTED + 20 * seed + i as u64, part)?.answers);
    }
    let first = keys.first().copied().unwrap_or(seed);
    let [single, unmarked] = harvested(lab, &greenlist(1, first)?, seed, harvest)?.map(|data| data.answers);
    let genuine = lab.teacher(&greenlist(1, first)?, true, TESTED + seed, n)?.answers;
    let cases = [
        ("genuine", genuine),
        ("forged from answers of all keys", forged(lab, &base, &StolenList::steal(1, &mixed, &unmarked), seed, n)?),
        (
            "forged from as many answers of one key",
            forged(lab, &base, &StolenList::steal(1, &single, &unmarked), seed, n)?,
        ),
        (
            "forged from one key's part of the answers",
            forged(lab, &base, &StolenList::steal(1, &single[..part], &unmarked), seed, n)?,
        ),
    ];
    for (setting, answers) in cases {
        let documents = tested(lab, &keys, &answers)?;
        measures.add(
            "key separation",
            &format!("{} keys, {setting}", keys.len()),
            seed,
            &[
                ("documents that fire under a key", share(&documents, Keys::fires)),
                ("accepted: under exactly one", share(&documents, Keys::accepted)),
            ],
        );
    }
    Ok(measures)
}
