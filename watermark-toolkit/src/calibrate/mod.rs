//! False-positive rates of every test on the user's own unmarked text, with fresh keys.

mod candidates;
mod plot;

use anyhow::{Result, bail};
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};
use watermark_core::detect::{LayerDetector, Tally};
use watermark_core::key::{PrfKey, fresh_keys};
use watermark_core::stats::{clopper_pearson, log10_binomial_sf};

pub use candidates::Test;
pub use plot::quantiles_svg;

/// Levels at which rejections are counted.
pub const LEVELS: [f64; 3] = [1e-2, 1e-3, 1e-4];

/// Error of each one-sided bound of a rate.
const BOUND_LEVEL: f64 = 1e-3;

/// Points of a quantile curve.
const QUANTILES: usize = 48;

/// Texts of equal length from one file.
#[derive(Clone, Debug)]
pub struct Corpus {
    name: String,
    texts: Vec<Vec<u32>>,
}

impl Corpus {
    /// Cuts the ids of a file's records, one after another, into texts of `length` tokens; the rest is dropped.
    ///
    /// # Errors
    /// If there is not even one text.
    pub fn new(name: &str, ids: &[u32], length: usize) -> Result<Self> {
        let texts: Vec<Vec<u32>> = ids.chunks_exact(length).map(<[u32]>::to_vec).collect();
        if texts.is_empty() {
            bail!("{name} has {} tokens; a text needs {length}", ids.len());
        }
        Ok(Self { name: name.to_owned(), texts })
    }

    /// The file's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of texts.
    #[must_use]
    pub fn texts(&self) -> usize {
        self.texts.len()
    }
}

/// One test on one corpus.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The test's name.
    pub test: String,
    /// The corpus' name.
    pub corpus: String,
    /// Trials: one fresh key and one text each.
    pub trials: u64,
    /// Different texts; they recur, keys do not.
    pub texts: u64,
    /// Trials with p at most the level.
    pub rejected: PerLevel<u64>,
    /// One-sided 99.9 % Clopper-Pearson bounds of the rate: lower and upper.
    pub rate_bounds: PerLevel<(f64, f64)>,
    /// log10 of the chance of at least so many rejections if the test is calibrated.
    pub log10_chance: PerLevel<f64>,
    /// Whether a level is exceeded by more than chance allows over all cells of the run.
    pub broken: bool,
    /// (log10 of the share of trials, log10 p that this share does not exceed).
    pub quantiles: Vec<(f64, f64)>,
}

/// A value for each of [`LEVELS`].
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PerLevel<T> {
    /// At 0.01.
    #[serde(rename = "0.01")]
    pub percent: T,
    /// At 0.001.
    #[serde(rename = "0.001")]
    pub per_mille: T,
    /// At 0.0001.
    #[serde(rename = "0.0001")]
    pub per_myriad: T,
}

impl<T> PerLevel<T> {
    fn at_each(value: impl Fn(f64) -> T) -> Self {
        let [percent, per_mille, per_myriad] = LEVELS.map(value);
        Self { percent, per_mille, per_myriad }
    }

    fn as_array(&self) -> [&T; 3] {
        [&self.percent, &self.per_mille, &self.per_myriad]
    }
}

/// Runs `trials` trials of a test on a corpus. Null hypothesis: p is super-uniform over keys. `cells` is the number of cells
/// of the whole run. Keys follow from `seed`, the test's and the corpus' name; trial i takes text i modulo their number.
///
/// # Errors
/// If scoring fails.
pub fn calibrate(test: &Test, corpus: &Corpus, trials: u32, seed: u64, cells: usize) -> Result<Cell> {
    let digest = Sha256::new()
        .chain_update(b"watermark-calibrate\0")
        .chain_update(seed.to_le_bytes())
        .chain_update(test.name.as_bytes())
        .chain_update(b"\0")
        .chain_update(corpus.name.as_bytes())
        .finalize();
    let keys: Vec<PrfKey> = fresh_keys(&digest, trials).collect();
    // Most tallies do not depend on the key, so they are counted once for all keys.
    let shared: Option<Vec<Tally>> = match keys.first() {
        None => None,
        Some(key) => {
            let layer = LayerDetector::from_prf_key(test.scheme, test.width, key)?;
            let used = corpus.texts.len().min(keys.len());
            let tallies = corpus.texts[..used].par_iter().map(|text| tally(&layer, text));
            if layer.inputs_depend_on_key() { None } else { Some(tallies.collect::<Result<_>>()?) }
        }
    };
    let trial = |(number, key): (usize, &PrfKey)| {
        let layer = LayerDetector::from_prf_key(test.scheme, test.width, key)?;
        let at = number % corpus.texts.len();
        let text = &corpus.texts[at];
        match &shared {
            Some(tallies) => test.log10_p(&layer, &tallies[at], text),
            None => test.log10_p(&layer, &tally(&layer, text)?, text),
        }
    };
    let mut values: Vec<f64> = keys.par_iter().enumerate().map(|(i, key)| trial((i, key))).collect::<Result<_>>()?;
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len() as u64;
    let rejected = PerLevel::at_each(|level| values.partition_point(|&log10_p| log10_p <= level.log10()) as u64);
    let count = |level: f64| values.partition_point(|&log10_p| log10_p <= level.log10()) as u64;
    let log10_chance = PerLevel::at_each(|level| log10_binomial_sf(count(level), n, level));
    let allowed = (1e-3 / (cells.max(1) * LEVELS.len()) as f64).log10();
    Ok(Cell {
        test: test.name.clone(),
        corpus: corpus.name.clone(),
        trials: n,
        texts: corpus.texts.len().min(values.len()) as u64,
        rejected,
        rate_bounds: PerLevel::at_each(|level| clopper_pearson(count(level), n, BOUND_LEVEL)),
        broken: log10_chance.as_array().into_iter().any(|&chance| chance < allowed),
        log10_chance,
        quantiles: quantiles(&values),
    })
}

fn tally(layer: &LayerDetector, text: &[u32]) -> Result<Tally> {
    let mut tally = layer.tally();
    layer.add(&mut tally, &[], text)?;
    Ok(tally)
}

/// Quantiles of sorted values at shares spaced evenly in logarithm, from one trial up to all.
fn quantiles(values: &[f64]) -> Vec<(f64, f64)> {
    let n = values.len();
    let spaced = |i: usize| (n as f64).powf(i as f64 / QUANTILES as f64).round();
    let mut ranks: Vec<usize> = Vec::new();
    for i in 0..=QUANTILES {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and n")]
        ranks.push((spaced(i) as usize).clamp(1, n.max(1)));
    }
    ranks.dedup();
    ranks.into_iter().filter_map(|rank| Some(((rank as f64 / n as f64).log10(), *values.get(rank - 1)?))).collect()
}
