use std::ops::Range;

use anyhow::Result;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use watermark_core::detect::{LayerDetector, Resampling, Tally, Weights};
use watermark_core::key::{fresh_keys, fresh_keys_in};
use watermark_core::model_test::TwoSamples;

/// Fresh keys that one thread takes at a time.
const KEYS_AT_A_TIME: u32 = 16;

/// Scores a tally under `keys` fresh keys that follow from its bytes, on all threads; none where the tally belongs to one key or is
/// empty. Calls `progress` with the number of keys done; an error of it ends the work.
///
/// # Errors
/// As [`LayerDetector::resample`], and those of `progress`.
pub fn resample(
    layer: &LayerDetector,
    tally: &Tally,
    weights: Weights,
    log10_p: f64,
    keys: u32,
    progress: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Resampling> {
    if keys == 0 || layer.inputs_depend_on_key() || tally.n_scored() == 0 {
        return Ok(Resampling::default());
    }
    let seed = seed_of(tally);
    in_parts(keys, |range| Ok(layer.resample(tally, weights, log10_p, &seed, range)?), progress)
}

/// The seed of the fresh keys that [`resample`] draws. It follows from the tally, so nobody can choose the keys.
pub(super) fn seed_of(tally: &Tally) -> [u8; 32] {
    Resampling::seed(&[], &Sha256::digest(tally.to_bytes()))
}

/// `log10_p` of the layer under each of `keys` fresh keys of a seed, on all threads; `progress` as for [`resample`].
///
/// # Errors
/// Those of `log10_p` and `progress`.
pub(crate) fn fresh_log10_p(
    seed: &[u8; 32],
    layer: &LayerDetector,
    keys: u32,
    log10_p: impl Fn(&LayerDetector) -> watermark_core::Result<f64> + Sync,
    progress: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Vec<f64>> {
    let keys: Vec<_> = fresh_keys(seed, keys).collect();
    keys.par_iter()
        .map(|key| {
            let found = log10_p(&layer.with_prf_key(key)?)?;
            progress(1)?;
            Ok(found)
        })
        .collect()
}

/// As [`resample`], of a suspect beside references: `together` makes one log10 p of those of all `samples`. The keys follow from the pairs and
/// weights of the last one.
///
/// # Errors
/// As [`TwoSamples::log10_p`], and those of `progress`.
pub fn resample_beside(
    layer: &LayerDetector,
    samples: &[TwoSamples],
    together: impl Fn(&[f64]) -> f64 + Sync,
    log10_p: f64,
    keys: u32,
    progress: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Resampling> {
    let Some(last) = samples.last().filter(|sample| sample.n_pairs() > 0) else { return Ok(Resampling::default()) };
    let seed = Resampling::seed(&[], &Sha256::digest(last.to_bytes()));
    let fresh = |key| -> Result<f64> {
        let layer = layer.with_prf_key(&key)?;
        let each = samples.iter().map(|sample| sample.log10_p(&layer)).collect::<Result<Vec<f64>, _>>()?;
        Ok(together(&each))
    };
    let part = |range| {
        let fresh = fresh_keys_in(&seed, range).map(fresh).collect::<Result<Vec<f64>>>()?;
        Ok(Resampling::among(fresh, log10_p))
    };
    in_parts(keys, part, progress)
}

/// `part` of every range of `keys` fresh keys, on all threads, put together; `progress` as for [`resample`].
pub(crate) fn in_parts(
    keys: u32,
    part: impl Fn(Range<u32>) -> Result<Resampling> + Sync,
    progress: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Resampling> {
    let starts: Vec<u32> = (0..keys).step_by(KEYS_AT_A_TIME as usize).collect();
    starts
        .into_par_iter()
        .map(|start| {
            let range = start..(start + KEYS_AT_A_TIME).min(keys);
            let done = u64::from(range.end - range.start);
            let part = part(range)?;
            progress(done)?;
            Ok(part)
        })
        .try_reduce(Resampling::default, |a, b| Ok(a.merge(b)))
}
