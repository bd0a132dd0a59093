//! Scores of distinct PRF inputs: of single texts, of sources and of the whole run.
//!
//! Where every text was scored by itself, the run is not scored again. Its sum is the sum over the texts, less what was
//! counted more than once because several texts share it; so only shared inputs are scored a second time. Sums are
//! integers, so both ways give the same numbers.

use anyhow::{Context, Result};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use sha2::{Digest, Sha256};
use watermark_core::detect::{LayerDetector, Prepared, RESAMPLING_KEYS, Resampling, Sums};
use watermark_core::key::fresh_keys;

use super::distinct::{Consume, Inputs};
use super::keys::Layer;
use super::table::Table;

/// Inputs scored at a time: so many stay in a core's cache while they are scored under one key after another.
const CHUNK: usize = 4096;

/// Runs of at most this many generated tokens are scored under fresh keys too: 999 keys cost some 5 CPU seconds a layer
/// then, and would cost more than the tokenising of a large run.
pub(super) const RESAMPLED_TOKENS: u64 = 1 << 17;

/// Share of false hits among the hits that may be expected.
pub(super) const FALSE_DISCOVERY_RATE: f64 = 0.01;

/// Up to this many keys, every text is scored under every one of them; of more, only under those that are detected in
/// the run as a whole.
pub(super) const KEYS_PER_TEXT: usize = 16;

/// Result of scoring the distinct inputs of one layer.
#[derive(Clone, Debug, Default)]
pub(super) struct LayerSums {
    /// [key]
    pub(super) sums: Vec<Sums>,
    /// Distinct inputs.
    pub(super) distinct: u64,
    /// The inputs themselves in no order, if fresh keys have to score them too.
    pub(super) kept: Vec<u128>,
}

/// Scores the inputs of each bucket under every key while they are in memory.
pub(super) struct Scoring<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) keys: Vec<&'a LayerDetector>,
    /// Whether to score every input as often as it occurs beyond the first time, which is what the sums of the texts
    /// contain too much.
    pub(super) excess: bool,
    pub(super) keep: bool,
}

impl Scoring<'_> {
    fn add(&self, sums: &mut [Sums], distinct: &[u128], times: u64) -> Result<()> {
        for chunk in distinct.chunks(CHUNK) {
            let prepared = self.inputs.prepare(chunk);
            for (sums, key) in sums.iter_mut().zip(&self.keys) {
                sums.merge_times(&key.sums(&prepared)?, times);
            }
        }
        Ok(())
    }
}

impl Consume for Scoring<'_> {
    type Total = LayerSums;

    fn consume(&self, sorted: &[u128]) -> Result<LayerSums> {
        let mut made = LayerSums { sums: vec![Sums::default(); self.keys.len()], distinct: 0, kept: Vec::new() };
        let runs = sorted.chunk_by(|a, b| a == b);
        if self.excess && !self.keep {
            // Inputs are listed by the bits of the number of their extra occurrences, so that every list is scored once
            // and its sums multiplied by a power of two. Most inputs have one extra occurrence.
            let mut by_bit: Vec<Vec<u128>> = Vec::new();
            for run in runs {
                made.distinct += 1;
                let mut excess = run.len() - 1;
                while excess > 0 {
                    let bit = excess.trailing_zeros() as usize;
                    by_bit.resize(by_bit.len().max(bit + 1), Vec::new());
                    by_bit[bit].push(run[0]);
                    excess &= excess - 1;
                }
            }
            for (bit, inputs) in by_bit.iter().enumerate() {
                self.add(&mut made.sums, inputs, 1 << bit)?;
            }
            return Ok(made);
        }
        made.kept = runs.map(|run| run[0]).collect();
        made.distinct = made.kept.len() as u64;
        self.add(&mut made.sums, &made.kept, 1)?;
        if !self.keep {
            made.kept = Vec::new();
        }
        Ok(made)
    }

    fn merge(&self, mut a: LayerSums, mut b: LayerSums) -> LayerSums {
        for (sums, more) in a.sums.iter_mut().zip(&b.sums) {
            sums.merge(more);
        }
        a.distinct += b.distinct;
        a.kept.append(&mut b.kept);
        a
    }
}

/// log10 p of the same inputs under fresh keys. They do not depend on the key that is tested, so one set serves all keys.
/// The seed is the digest of the inputs in ascending order, so nobody can choose the keys.
pub(super) fn fresh(inputs: Inputs<'_>, kept: &[u128]) -> Result<Vec<f64>> {
    let mut packed: Vec<u128> = kept.iter().map(|&mixed| inputs.mix.unmix(mixed)).collect();
    packed.sort_unstable();
    let mut digest = Sha256::new();
    packed.iter().for_each(|number| digest.update(number.to_le_bytes()));
    let seed = Resampling::seed(&[], &digest.finalize());
    let prepared = prepare(inputs, kept);
    let keys: Vec<_> = fresh_keys(&seed, RESAMPLING_KEYS).collect();
    keys.into_par_iter()
        .map(|key| {
            let layer = inputs.layer.with_prf_key(&key)?;
            Ok(layer.sums_log10_p(&sums_under(&layer, &prepared)?)?)
        })
        .collect()
}

/// Distinct inputs as they are scored under any key of their layer.
pub(super) fn prepare(inputs: Inputs<'_>, distinct: &[u128]) -> Vec<Prepared> {
    distinct.chunks(CHUNK).map(|chunk| inputs.prepare(chunk)).collect()
}

/// Sums of all prepared inputs under one key.
pub(super) fn sums_under(key: &LayerDetector, prepared: &[Prepared]) -> Result<Sums> {
    let mut sums = Sums::default();
    for prepared in prepared {
        sums.merge(&key.sums(prepared)?);
    }
    Ok(sums)
}

/// [layer]: the keys under which texts and sources are scored, as numbers into the keys of the layer.
pub(super) type KeysPerLayer = Vec<Vec<usize>>;

/// A text that may be marked under a key: its e-value is not below the smallest that e-BH can reject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) layer: usize,
    /// Number of the key in the layer.
    pub(super) key: usize,
    pub(super) record: u64,
    pub(super) part: u32,
    pub(super) id: Option<String>,
    pub(super) bytes: Option<(u64, u64)>,
    pub(super) sums: Sums,
}

/// Scores of the texts of one table, each text by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct TextScores {
    /// [layer][tested key]: sums over the texts.
    pub(super) sums: Vec<Vec<Sums>>,
    /// [layer][tested key]: logarithm of the sum of the texts' e-values, whose mean is an e-value too.
    pub(super) ln_e_sums: Vec<Vec<f64>>,
    pub(super) candidates: Vec<Candidate>,
}

impl TextScores {
    pub(super) fn add(&mut self, other: &Self) {
        self.sums.resize(self.sums.len().max(other.sums.len()), Vec::new());
        self.ln_e_sums.resize(self.sums.len(), Vec::new());
        for (of_layer, more) in self.sums.iter_mut().zip(&other.sums) {
            of_layer.resize(of_layer.len().max(more.len()), Sums::default());
            of_layer.iter_mut().zip(more).for_each(|(sums, more)| sums.merge(more));
        }
        for (of_layer, more) in self.ln_e_sums.iter_mut().zip(&other.ln_e_sums) {
            of_layer.resize(of_layer.len().max(more.len()), f64::NEG_INFINITY);
            of_layer.iter_mut().zip(more).for_each(|(sum, more)| *sum = ln_add(*sum, *more));
        }
    }
}

/// ln(e^a + e^b), also where e^a or e^b overflows.
fn ln_add(a: f64, b: f64) -> f64 {
    let (less, more) = if a < b { (a, b) } else { (b, a) };
    if less == f64::NEG_INFINITY { more } else { more + (less - more).exp().ln_1p() }
}

/// Scores every text of a table under the tested keys.
pub(super) fn texts(
    table: &Table,
    layers: &[Layer],
    inputs: &[Inputs<'_>],
    tested: &KeysPerLayer,
) -> Result<TextScores> {
    let least = -FALSE_DISCOVERY_RATE.ln();
    let mut scores = TextScores::default();
    for (at, ((layer, inputs), keys)) in layers.iter().zip(inputs).zip(tested).enumerate() {
        let (mut of_keys, mut ln_e_sums) = (vec![Sums::default(); keys.len()], vec![f64::NEG_INFINITY; keys.len()]);
        if !keys.is_empty() {
            inputs.walk(table, |origin, text, distinct| {
                let prepared = inputs.prepare(distinct);
                for ((&key, total), ln_e_sum) in keys.iter().zip(&mut of_keys).zip(&mut ln_e_sums) {
                    let detector = &layer.detectors[key];
                    let sums = detector.sums(&prepared)?;
                    total.merge(&sums);
                    let ln_e = detector.sums_ln_e(&sums)?;
                    *ln_e_sum = ln_add(*ln_e_sum, ln_e);
                    if ln_e >= least {
                        scores.candidates.push(Candidate {
                            layer: at,
                            key,
                            record: origin.record,
                            part: text.part,
                            id: origin.id.map(str::to_owned),
                            bytes: origin.bytes,
                            sums,
                        });
                    }
                }
                Ok(())
            })?;
        }
        scores.sums.push(of_keys);
        scores.ln_e_sums.push(ln_e_sums);
    }
    Ok(scores)
}

/// The sums over the distinct inputs of a set of texts: the sums over the texts, less the sums over the extra
/// occurrences.
pub(super) fn less_excess(of_texts: &[Sums], excess: &[Sums]) -> Result<Vec<Sums>> {
    let pairs = of_texts.iter().zip(excess);
    pairs.map(|(texts, excess)| texts.without(excess).context("sums of texts and of the run disagree")).collect()
}
