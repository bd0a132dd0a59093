//! What a PRF word means under a scheme, for whoever recomputes a statistic.

use pyo3::prelude::*;
use watermark_core::scheme::{Greenlist, Gumbel, Tournament};

use crate::error::raise_core;

/// Score of a word under `gumbel`, in units of 2^-32: `floor(2^32 * -ln(1 - word / 2^32))`, exact.
#[pyfunction]
fn gumbel_score_q32(word: u32) -> u64 {
    Gumbel.score_q32(word)
}

/// A token is green under `greenlist` if its word is below this: `floor(gamma * 2^32)`.
#[pyfunction]
fn green_threshold(gamma: f64) -> PyResult<u32> {
    Ok(Greenlist::new(gamma, 0.0).map_err(raise_core)?.threshold())
}

/// Ones among the lowest `depth` bits of a word, as `tournament` scores it.
#[pyfunction]
fn tournament_score(word: u32, depth: u32) -> PyResult<u64> {
    Ok(Tournament::new(depth).map_err(raise_core)?.score(word))
}

/// Adds the functions to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(gumbel_score_q32, module)?)?;
    module.add_function(wrap_pyfunction!(green_threshold, module)?)?;
    module.add_function(wrap_pyfunction!(tournament_score, module)?)
}
