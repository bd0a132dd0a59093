//! Exact tails in log10, e-values in natural logarithms, many tests at once: pure functions of counts.
//!
//! A probability, level, sum or count outside its domain raises `ParameterError` (a negative count `OverflowError`): a call with its
//! arguments mixed up is no evidence. A finite sum that is not above 0 says what carries none: at most 0.

use pyo3::prelude::*;
use watermark_core::stats::{self, ExponentialClass, WeightClass};

use crate::error::ParameterError;
use crate::given::{level, probability};

/// log10 P(Bin(n, p) >= k); relative error below 1e-9.
#[pyfunction]
fn log10_binomial_sf(k: u64, n: u64, p: f64) -> PyResult<f64> {
    Ok(stats::log10_binomial_sf(among("k", k, n)?, n, probability("p", p)?))
}

/// log10 P(Gamma(n, 1) >= x); relative error below 1e-9.
#[pyfunction]
fn log10_gamma_sf(n: u64, x: f64) -> PyResult<f64> {
    Ok(stats::log10_gamma_sf(n, finite("x", x)?))
}

/// log10 P(Gamma(n, 1) >= sum_q32 / 2^32) for a sum of scores in units of 2^-32, of any size.
#[pyfunction]
fn log10_gamma_sf_q32(n: u64, sum_q32: u128) -> f64 {
    stats::log10_gamma_sf_q32(n, sum_q32)
}

/// log10 P((1 - alpha) A + alpha B >= s) of two independent Gamma(n, 1) sums; relative error below 1e-6.
#[pyfunction]
fn log10_dual_key_sf(n: u64, s: f64, alpha: f64) -> PyResult<f64> {
    Ok(stats::log10_dual_key_sf(n, finite("s", s)?, share(alpha)?))
}

/// log10 of the tail of the weighted ones of n tokens' fair bits, one weight a tournament layer.
#[pyfunction]
fn log10_weighted_tournament_sf(py: Python<'_>, n: u64, statistic: u64, weights: Vec<u32>) -> PyResult<f64> {
    let of_token: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    if weights.is_empty() {
        return Err(ParameterError::new_err("weights is empty; one for each layer is needed"));
    }
    among("statistic", statistic, n.saturating_mul(of_token))?;
    Ok(py.detach(|| stats::log10_weighted_tournament_sf(n, statistic, &weights)))
}

/// Bound on log10 of the tail of weighted green counts. Classes are (weight in units of 2^-16, pairs, green pairs).
#[pyfunction]
fn log10_weighted_green_bound(classes: Vec<(u64, u64, u64)>, gamma: f64) -> PyResult<f64> {
    Ok(stats::log10_weighted_green_bound(&green(classes)?, probability("gamma", gamma)?))
}

/// Bound on log10 of the tail of weighted exponential scores. Classes are (weight in units of 2^-16, pairs, sum in units of 2^-32).
#[pyfunction]
fn log10_weighted_exponential_bound(classes: Vec<(u64, u64, u128)>) -> PyResult<f64> {
    Ok(stats::log10_weighted_exponential_bound(&exponential(classes)?))
}

/// ln of the e-value of n exponential scores with sum s.
#[pyfunction]
fn ln_e_gumbel(n: u64, s: f64) -> PyResult<f64> {
    Ok(stats::ln_e_gumbel(n, finite("s", s)?))
}

/// ln of the e-value of `green` ones among n bits of probability gamma.
#[pyfunction]
fn ln_e_green(green: u64, n: u64, gamma: f64) -> PyResult<f64> {
    Ok(stats::ln_e_green(among("green", green, n)?, n, probability("gamma", gamma)?))
}

/// ln of the e-value of n scores of two keys, weighted 1 - alpha and alpha, with sum s.
#[pyfunction]
fn ln_e_dual_key(n: u64, s: f64, alpha: f64) -> PyResult<f64> {
    Ok(stats::ln_e_dual_key(n, finite("s", s)?, share(alpha)?))
}

/// ln of the e-value of n tokens with `ones` in each tournament layer.
#[pyfunction]
fn ln_e_tournament(n: u64, ones: Vec<u64>, weights: Vec<u32>) -> PyResult<f64> {
    if ones.len() != weights.len() {
        let (of_ones, of_weights) = (ones.len(), weights.len());
        return Err(ParameterError::new_err(format!(
            "{of_ones} ones for {of_weights} weights; one for each layer is needed"
        )));
    }
    ones.iter().try_for_each(|&ones| among("ones", ones, n).map(drop))?;
    Ok(stats::ln_e_tournament(n, &ones, &weights))
}

/// ln of the e-value of weighted green counts, in classes as `log10_weighted_green_bound`.
#[pyfunction]
fn ln_e_weighted_green(classes: Vec<(u64, u64, u64)>, gamma: f64) -> PyResult<f64> {
    Ok(stats::ln_e_weighted_green(&green(classes)?, probability("gamma", gamma)?))
}

/// ln of the e-value of weighted exponential scores, in classes as `log10_weighted_exponential_bound`.
#[pyfunction]
fn ln_e_weighted_exponential(classes: Vec<(u64, u64, u128)>) -> PyResult<f64> {
    Ok(stats::ln_e_weighted_exponential(&exponential(classes)?))
}

/// Weight of a pair that occurred `count` times: its square root in units of 2^-16.
#[pyfunction]
fn weight_sqrt(count: u64) -> u64 {
    stats::weight_sqrt(count)
}

/// Which hypotheses Holm's test rejects at family-wise level alpha, under any dependence.
#[pyfunction]
fn holm(log10_p: Vec<f64>, alpha: f64) -> PyResult<Vec<bool>> {
    Ok(stats::holm(&logarithms(log10_p)?, level(alpha)?))
}

/// Which hypotheses the test of Benjamini and Yekutieli rejects at false discovery rate alpha, under any dependence.
#[pyfunction]
fn benjamini_yekutieli(log10_p: Vec<f64>, alpha: f64) -> PyResult<Vec<bool>> {
    Ok(stats::benjamini_yekutieli(&logarithms(log10_p)?, level(alpha)?))
}

/// Which hypotheses the e-BH test rejects at false discovery rate alpha, under any dependence.
#[pyfunction]
fn e_bh(ln_e: Vec<f64>, alpha: f64) -> PyResult<Vec<bool>> {
    Ok(stats::e_bh(&ln_e, level(alpha)?))
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
    Ok(stats::clopper_pearson(among("k", k, n)?, n, level))
}

/// A count among `n`.
fn among(name: &str, count: u64, n: u64) -> PyResult<u64> {
    if count > n {
        return Err(ParameterError::new_err(format!("{name} is {count}, more than the {n} it is counted among")));
    }
    Ok(count)
}

/// The share of the second of two keys.
fn share(alpha: f64) -> PyResult<f64> {
    if (0.0..=1.0).contains(&alpha) {
        return Ok(alpha);
    }
    Err(ParameterError::new_err(format!("alpha is {alpha}; it must be from 0 to 1")))
}

fn green(classes: Vec<(u64, u64, u64)>) -> PyResult<Vec<WeightClass>> {
    let class = |(weight, pairs, green)| Ok(WeightClass { weight, pairs, green: among("green", green, pairs)? });
    classes.into_iter().map(class).collect()
}

fn exponential(classes: Vec<(u64, u64, u128)>) -> PyResult<Vec<ExponentialClass>> {
    let class = |(weight, pairs, sum_q32)| {
        if pairs == 0 && sum_q32 > 0 {
            return Err(ParameterError::new_err(format!("a sum of {sum_q32} of no pairs")));
        }
        Ok(ExponentialClass { weight, pairs, sum_q32 })
    };
    classes.into_iter().map(class).collect()
}

/// A sum of scores.
fn finite(name: &str, sum: f64) -> PyResult<f64> {
    if sum.is_finite() {
        return Ok(sum);
    }
    Err(ParameterError::new_err(format!("{name} is {sum}; it must be a finite number")))
}

/// Logarithms of probabilities.
fn logarithms(log10_p: Vec<f64>) -> PyResult<Vec<f64>> {
    match log10_p.iter().position(|&log10_p| log10_p > 0.0 || log10_p.is_nan()) {
        Some(at) => Err(ParameterError::new_err(format!(
            "log10_p[{at}] is {}; the logarithm of a p-value is at most 0",
            log10_p[at]
        ))),
        None => Ok(log10_p),
    }
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
