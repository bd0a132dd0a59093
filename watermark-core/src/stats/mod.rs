//! Exact tails and e-values.
//!
//! Everything here is a pure function of counts: no keys, no text, no allocation beyond one small vector. Results do
//! not depend on the platform, since every transcendental function comes from `libm`. Probabilities travel as
//! logarithms, from `-1e9` digits up to values that differ from zero by less than `1e-300`.
//!
//! - [`ln_binomial_sf`], [`log10_binomial_sf`], [`ln_binomial_cdf`]: green counts, tournament ones
//! - [`ln_gamma_sf`], [`log10_gamma_sf`], [`log10_gamma_sf_q32`], [`ln_gamma_cdf`], [`q32_to_f64`]:
//!   sums of exponential scores
//! - [`ln_e_gumbel`], [`ln_e_green`], [`ln_e_dual_key`], [`ln_e_tournament`]: e-values of these statistics
//! - [`GumbelEvidence`], [`GreenEvidence`], [`DualKeyEvidence`], [`TournamentEvidence`] (mergeable), [`BoundedBetting`]
//!   (ordered): the same as running evidence
//! - [`log10_dual_key_sf`]: exponential scores of two keys, weighted
//! - [`log10_weighted_tournament_sf`]: tournament ones weighted by layer
//! - [`log10_weighted_green_bound`], [`log10_weighted_exponential_bound`], [`weight_sqrt`], [`weight_expected`]: green
//!   counts and exponential scores weighted by repetition or probability, bounds; [`ln_e_weighted_green`],
//!   [`ln_e_weighted_exponential`]: their e-values; [`log10_weighted_green_saddlepoint`],
//!   [`log10_weighted_exponential_saddlepoint`]: the same approximated, for planning only
//! - [`log10_signed_green_bound`], [`log10_signed_exponential_bound`], [`ln_e_signed_green`], [`ln_e_signed_exponential`],
//!   [`weight_residual`]: green counts and exponential scores weighted by what was chosen beyond what a reference expects
//! - [`holm`], [`holm_with_level`], [`log10_holm_level`], [`benjamini_yekutieli`], [`e_bh`], [`e_bh_among`],
//!   [`ln_mean_e`]: many tests at once
//! - [`clopper_pearson`]: confidence bounds of a rate
//!
//! The tail that does not hold the mode is the density at the point (Loader 2000: Stirling error and deviance) times
//! a smooth integral of order one standard deviation, taken by double-exponential quadrature in the coordinate where
//! the integrand is log-concave; the other tail is its complement. One method covers every size and distance, at
//! about a hundred evaluations. Uniform expansions (Temme 1979, DLMF 8.12) would serve only near the mean, continued
//! fractions (DLMF 8.17.22) only away from it. The sums of unequal laws, dual-key scores and weighted tournament ones,
//! have no such density: their tails are contour integrals through the saddle point, at a similar cost.

mod binomial;
mod critical;
mod dual_key;
mod eprocess;
mod evalue;
mod gamma;
mod lattice;
mod multiple;
mod root;
mod saddlepoint;
mod signed;
mod special;
mod tail;
mod tournament;
mod weighted;
mod weighted_evidence;
mod weighted_exponential;

pub use binomial::{ln_binomial_cdf, ln_binomial_sf, log10_binomial_sf};
pub(crate) use critical::{
    excess_exponential_by_bound, excess_exponential_by_e, excess_green_by_bound, excess_green_by_e,
};
pub use dual_key::log10_dual_key_sf;
pub use eprocess::{BoundedBetting, DualKeyEvidence, GreenEvidence, GumbelEvidence, TournamentEvidence};
pub use evalue::{ln_e_dual_key, ln_e_green, ln_e_gumbel, ln_e_tournament};
pub use gamma::{ln_gamma_cdf, ln_gamma_sf, log10_gamma_sf, log10_gamma_sf_q32, q32_to_f64};
pub use multiple::{
    benjamini_yekutieli, clopper_pearson, e_bh, e_bh_among, holm, holm_with_level, ln_mean_e, log10_holm_level,
};
pub use saddlepoint::{log10_weighted_exponential_saddlepoint, log10_weighted_green_saddlepoint};
pub(crate) use signed::MAX_RESIDUAL;
pub use signed::{
    SignedClass, ln_e_signed_exponential, ln_e_signed_green, log10_signed_exponential_bound, log10_signed_green_bound,
    weight_residual,
};
pub use tournament::log10_weighted_tournament_sf;
pub use weighted::{WeightClass, log10_weighted_green_bound, weight_expected, weight_sqrt};
pub(crate) use weighted_evidence::exponential_weight;
pub use weighted_evidence::{ln_e_weighted_exponential, ln_e_weighted_green};
pub use weighted_exponential::{
    ExponentialClass, log10_weighted_exponential_bound, log10_weighted_exponential_low_bound,
};
