//! Exact tails and e-values.
//!
//! Everything here is a pure function of counts: no keys, no text, no allocation beyond one small vector. Results do
//! not depend on the platform, since every transcendental function comes from `libm`. Probabilities travel as
//! logarithms, from `-1e9` digits up to values that differ from zero by less than `1e-300`.
//!
//! - [`ln_binomial_sf`], [`log10_binomial_sf`], [`ln_binomial_cdf`]: green counts, tournament ones
//! - [`ln_gamma_sf`], [`log10_gamma_sf`], [`log10_gamma_sf_q32`], [`ln_gamma_cdf`], [`q32_to_f64`]:
//!   sums of exponential scores
//! - [`ln_e_gumbel`], [`ln_e_green`]: e-values of the same two statistics
//! - [`log10_weighted_green_bound`], [`weight_sqrt`]: green counts weighted by repetition, a bound
//!
//! The tail that does not hold the mode is the density at the point (Loader 2000: Stirling error and deviance) times
//! a smooth integral of order one standard deviation, taken by double-exponential quadrature in the coordinate where
//! the integrand is log-concave; the other tail is its complement. One method covers every size and distance, at
//! about a hundred evaluations. Uniform expansions (Temme 1979, DLMF 8.12) would serve only near the mean, continued
//! fractions (DLMF 8.17.22) only away from it.

mod binomial;
mod evalue;
mod gamma;
mod special;
mod tail;
mod weighted;

pub use binomial::{ln_binomial_cdf, ln_binomial_sf, log10_binomial_sf};
pub use evalue::{ln_e_green, ln_e_gumbel};
pub use gamma::{ln_gamma_cdf, ln_gamma_sf, log10_gamma_sf, log10_gamma_sf_q32, q32_to_f64};
pub use weighted::{WeightClass, log10_weighted_green_bound, weight_sqrt};
