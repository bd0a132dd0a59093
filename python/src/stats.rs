//! Exact tails in log10, e-values in natural logarithms, many tests at once: pure functions of counts.
//!
//! Outside a law's domain they say what carries no evidence: 0, the logarithm of 1.

use pyo3::prelude::*;
use watermark_core::stats::{self, ExponentialClass, WeightClass};

use crate::error::ParameterError;

/// log10 P(Bin(n, p) >= k); relative error below 1e-9.
#[pyfunction]
fn log10_binomial_sf(k: u64, n: u64, p: f64) -> f64 {
    stats::log10_binomial_sf(k, n, p)
}

/// log10 P(Gamma(n, 1) >= x); relative error below 1e-9.
#[pyfunction]
fn log10_gamma_sf(n: u64, x: f64) -> f64 {
    stats::log10_gamma_sf(n, x)
}

/// log10 P(Gamma(n, 1) >= sum_q32 / 2^32) for a sum of scores in units of 2^-32, of any size.
#[pyfunction]
fn log10_gamma_sf_q32(n: u64, sum_q32: u128) -> f64 {
    stats::log10_gamma_sf_q32(n, sum_q32)
}

/// log10 P((1 - alpha) A + alpha B >= s) of two independent Gamma(n, 1) sums; relative error below 1e-6.
#[pyfunction]
fn log10_dual_key_sf(n: u64, s: f64, alpha: f64) -> f64 {
    stats::log10_dual_key_sf(n, s, alpha)
}

/// log10 of the tail of the weighted ones of n tokens' fair bits, one weight a tournament layer.
#[pyfunction]
fn log10_weighted_tournament_sf(py: Python<'_>, n: u64, statistic: u64, weights: Vec<u32>) -> f64 {
    py.detach(|| stats::log10_weighted_tournament_sf(n, statistic, &weights))
}

/// Bound on log10 of the tail of weighted green counts. Classes are (weight in units of 2^-16, pairs, green pairs).
#[pyfunction]
fn log10_weighted_green_bound(classes: Vec<(u64, u64, u64)>, gamma: f64) -> f64 {
    stats::log10_weighted_green_bound(&green(classes), gamma)
}

/// Bound on log10 of the tail of weighted exponential scores. Classes are (weight in units of 2^-16, pairs, sum in units of 2^-32).
#[pyfunction]
fn log10_weighted_exponential_bound(classes: Vec<(u64, u64, u128)>) -> f64 {
    stats::log10_weighted_exponential_bound(&exponential(classes))
}

/// ln of the e-value of n exponential scores with sum s.
#[pyfunction]
fn ln_e_gumbel(n: u64, s: f64) -> f64 {
    stats::ln_e_gumbel(n, s)
}

/// ln of the e-value of `green` ones among n bits of probability gamma.
#[pyfunction]
fn ln_e_green(green: u64, n: u64, gamma: f64) -> f64 {
    stats::ln_e_green(green, n, gamma)
}

/// ln of the e-value of n scores of two keys, weighted 1 - alpha and alpha, with sum s.
#[pyfunction]
fn ln_e_dual_key(n: u64, s: f64, alpha: f64) -> f64 {
    stats::ln_e_dual_key(n, s, alpha)
}

/// ln of the e-value of n tokens with `ones` in each tournament layer.
#[pyfunction]
fn ln_e_tournament(n: u64, ones: Vec<u64>, weights: Vec<u32>) -> f64 {
    stats::ln_e_tournament(n, &ones, &weights)
}

/// ln of the e-value of weighted green counts, in classes as `log10_weighted_green_bound`.
#[pyfunction]
fn ln_e_weighted_green(classes: Vec<(u64, u64, u64)>, gamma: f64) -> f64 {
    stats::ln_e_weighted_green(&green(classes), gamma)
}

/// ln of the e-value of weighted exponential scores, in classes as `log10_weighted_exponential_bound`.
#[pyfunction]
fn ln_e_weighted_exponential(classes: Vec<(u64, u64, u128)>) -> f64 {
    stats::ln_e_weighted_exponential(&exponential(classes))
}

/// Weight of a pair that occurred `count` times: its square root in units of 2^-16.
#[pyfunction]
fn weight_sqrt(count: u64) -> u64 {
    stats::weight_sqrt(count)
}

/// Which hypotheses Holm's test rejects at family-wise level alpha, under any dependence.
#[pyfunction]
fn holm(log10_p: Vec<f64>, alpha: f64) -> Vec<bool> {
    stats::holm(&log10_p, alpha)
}

/// Which hypotheses the test of Benjamini and Yekutieli rejects at false discovery rate alpha, under any dependence.
#[pyfunction]
fn benjamini_yekutieli(log10_p: Vec<f64>, alpha: f64) -> Vec<bool> {
    stats::benjamini_yekutieli(&log10_p, alpha)
}

/// Which hypotheses the e-BH test rejects at false discovery rate alpha, under any dependence.
#[pyfunction]
fn e_bh(ln_e: Vec<f64>, alpha: f64) -> Vec<bool> {
    stats::e_bh(&ln_e, alpha)
}

/// ln of the mean of e-values, itself an e-value.
#[pyfunction]
fn ln_mean_e(ln_e: Vec<f64>) -> f64 {
    stats::ln_mean_e(&ln_e)
}

/// Lower and upper confidence bound of a rate of which k among n were seen. Each errs with probability `level` at most, so 0.025 gives an
/// interval of 95 % confidence.
#[pyfunction]
fn clopper_pearson(k: u64, n: u64, level: f64) -> PyResult<(f64, f64)> {
    if !(level > 0.0 && level < 0.5) {
        let what = format!("level is {level}; it is the probability that a bound errs, above 0 and below 0.5");
        return Err(ParameterError::new_err(what));
    }
    Ok(stats::clopper_pearson(k, n, level))
}

fn green(classes: Vec<(u64, u64, u64)>) -> Vec<WeightClass> {
    classes.into_iter().map(|(weight, pairs, green)| WeightClass { weight, pairs, green }).collect()
}

fn exponential(classes: Vec<(u64, u64, u128)>) -> Vec<ExponentialClass> {
    classes.into_iter().map(|(weight, pairs, sum_q32)| ExponentialClass { weight, pairs, sum_q32 }).collect()
}

/// Adds the functions to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(log10_binomial_sf, module)?)?;
    module.add_function(wrap_pyfunction!(log10_gamma_sf, module)?)?;
    module.add_function(wrap_pyfunction!(log10_gamma_sf_q32, module)?)?;
    module.add_function(wrap_pyfunction!(log10_dual_key_sf, module)?)?;
    module.add_function(wrap_pyfunction!(log10_weighted_tournament_sf, module)?)?;
    module.add_function(wrap_pyfunction!(log10_weighted_green_bound, module)?)?;
    module.add_function(wrap_pyfunction!(log10_weighted_exponential_bound, module)?)?;
    module.add_function(wrap_pyfunction!(ln_e_gumbel, module)?)?;
    module.add_function(wrap_pyfunction!(ln_e_green, module)?)?;
    module.add_function(wrap_pyfunction!(ln_e_dual_key, module)?)?;
    module.add_function(wrap_pyfunction!(ln_e_tournament, module)?)?;
    module.add_function(wrap_pyfunction!(ln_e_weighted_green, module)?)?;
    module.add_function(wrap_pyfunction!(ln_e_weighted_exponential, module)?)?;
    module.add_function(wrap_pyfunction!(weight_sqrt, module)?)?;
    module.add_function(wrap_pyfunction!(holm, module)?)?;
    module.add_function(wrap_pyfunction!(benjamini_yekutieli, module)?)?;
    module.add_function(wrap_pyfunction!(e_bh, module)?)?;
    module.add_function(wrap_pyfunction!(ln_mean_e, module)?)?;
    module.add_function(wrap_pyfunction!(clopper_pearson, module)?)
}
