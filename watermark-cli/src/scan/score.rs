//! Scores of the distinct PRF inputs under every key, and of the records that can matter.

use anyhow::Result;
use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use sha2::{Digest, Sha256};
use watermark_core::detect::{LayerDetector, Prepared, RESAMPLING_KEYS, Resampling, Sums};
use watermark_core::key::fresh_keys;
use watermark_core::stats::e_bh_among;

use super::distinct::{Before, Consume, Inputs};
use super::shard::{Origin, Shard};

/// Inputs scored at a time: they stay in a core's cache while the keys pass.
const CHUNK: usize = 4096;

/// Runs of at most this many generated tokens are scored under fresh keys too: 999 keys cost some 5 CPU seconds a layer
/// then, and would cost more than the tokenising of a large run.
pub(super) const RESAMPLED_TOKENS: u64 = 1 << 17;

/// What the distinct inputs of one layer add up to.
#[derive(Default)]
pub(super) struct Made {
    /// [key]
    pub(super) sums: Vec<Sums>,
    /// The inputs themselves, in no order, if they are kept for fresh keys.
    kept: Vec<u128>,
}

/// Scores distinct inputs under every key while they are there.
pub(super) struct Scoring<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) keys: &'a [LayerDetector],
    pub(super) keep: bool,
}

impl Consume for Scoring<'_> {
    type Made = Made;

    fn consume(&self, distinct: &[u128]) -> Result<Made> {
        let mut sums = vec![Sums::default(); self.keys.len()];
        for chunk in distinct.chunks(CHUNK) {
            let prepared = self.inputs.prepare(chunk);
            for (sums, key) in sums.iter_mut().zip(self.keys) {
                sums.merge(&key.sums(&prepared)?);
            }
        }
        Ok(Made { sums, kept: if self.keep { distinct.to_vec() } else { Vec::new() } })
    }

    fn merge(&self, mut a: Made, mut b: Made) -> Made {
        for (sums, more) in a.sums.iter_mut().zip(&b.sums) {
            sums.merge(more);
        }
        a.kept.append(&mut b.kept);
        a
    }
}

/// log10 p of the same inputs under fresh keys. They do not depend on the key that is tested, so one set serves all keys.
/// The seed is the digest of the inputs in ascending order, so nobody can choose the keys.
pub(super) fn fresh(inputs: Inputs<'_>, made: &Made) -> Result<Vec<f64>> {
    let mut packed: Vec<u128> = made.kept.iter().map(|&mixed| inputs.mix.unmix(mixed)).collect();
    packed.sort_unstable();
    let mut digest = Sha256::new();
    packed.iter().for_each(|number| digest.update(number.to_le_bytes()));
    let seed = Resampling::seed(&[], &digest.finalize());
    let unpack = |chunk: &[u128]| chunk.iter().map(|&number| inputs.packing.unpack(number)).collect();
    let prepared: Vec<Prepared> = packed.chunks(CHUNK).map(|chunk| inputs.layer.prepare(unpack(chunk))).collect();
    let keys: Vec<_> = fresh_keys(&seed, RESAMPLING_KEYS).collect();
    keys.into_par_iter()
        .map(|key| {
            let layer = inputs.layer.with_prf_key(&key)?;
            let mut sums = Sums::default();
            for prepared in &prepared {
                sums.merge(&layer.sums(prepared)?);
            }
            Ok(layer.sums_log10_p(&sums)?)
        })
        .collect()
}

/// Where `log10_p` stands among those of fresh keys.
pub(super) fn resampling(fresh: &[f64], log10_p: f64) -> Resampling {
    let at_least = fresh.iter().filter(|&&other| other <= log10_p).count() as u64;
    Resampling { keys: fresh.len() as u64, at_least }
}

/// Share of false hits among the hits that may be expected.
pub(super) const FALSE_DISCOVERY_RATE: f64 = 0.01;

/// Up to this many keys, every record is scored under every one of them; of more, only under those that are detected in
/// the run as a whole.
pub(super) const KEYS_PER_RECORD: usize = 16;

/// A text that is marked under a key.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    pub(super) layer: usize,
    pub(super) key: usize,
    pub(super) file: usize,
    pub(super) origin: Origin,
    pub(super) sums: Sums,
    pub(super) ln_e: f64,
}

/// The texts that are marked, at a false discovery rate of [`FALSE_DISCOVERY_RATE`] over `tests` texts times layers times
/// keys, by the e-BH procedure, which holds under any dependence (texts share inputs).
///
/// Exact although most tests are left out. e-BH rejects nothing below `1 / rate`, so an e-value below that changes no
/// other decision; and a key that was not detected counts with e-values of zero, which are smaller than its own, so that
/// their mean stays at most one under the null hypothesis whatever they were left out for.
pub(super) fn hits(
    shards: &[&Shard],
    layers: &[Inputs<'_>],
    keys: &[&[LayerDetector]],
    tested: &[usize],
    tests: u64,
) -> Result<Vec<Hit>> {
    if tested.is_empty() {
        return Ok(Vec::new());
    }
    let of_shards: Vec<Vec<Hit>> =
        shards.par_iter().map(|shard| candidates(shard, layers, keys, tested)).collect::<Result<_>>()?;
    let candidates: Vec<Hit> = of_shards.into_iter().flatten().collect();
    let ln_e: Vec<f64> = candidates.iter().map(|hit| hit.ln_e).collect();
    let rejected = e_bh_among(&ln_e, tests, FALSE_DISCOVERY_RATE);
    let mut hits: Vec<Hit> = candidates.into_iter().zip(rejected).filter(|(_, hit)| *hit).map(|(hit, _)| hit).collect();
    // The strongest first.
    hits.sort_by(|a, b| {
        let place = |hit: &Hit| (hit.file, hit.origin.record, hit.origin.part, hit.key, hit.layer);
        b.ln_e.total_cmp(&a.ln_e).then_with(|| place(a).cmp(&place(b)))
    });
    Ok(hits)
}

fn candidates(shard: &Shard, layers: &[Inputs<'_>], keys: &[&[LayerDetector]], tested: &[usize]) -> Result<Vec<Hit>> {
    let (texts, origins) = shard.texts_and_origins()?;
    let least = -FALSE_DISCOVERY_RATE.ln();
    let mut hits = Vec::new();
    for (layer, (inputs, keys)) in layers.iter().zip(keys).enumerate() {
        let (mut before, mut numbers) = (Before::default(), Vec::new());
        for (text, origin) in texts.iter().zip(&origins) {
            numbers.clear();
            inputs.collect(text, &mut before, &mut numbers)?;
            numbers.sort_unstable();
            numbers.dedup();
            let prepared = inputs.prepare(&numbers);
            for &key in tested {
                let sums = keys[key].sums(&prepared)?;
                let ln_e = keys[key].sums_ln_e(&sums)?;
                if ln_e >= least {
                    hits.push(Hit { layer, key, file: shard.header.file, origin: origin.clone(), sums, ln_e });
                }
            }
        }
    }
    Ok(hits)
}
