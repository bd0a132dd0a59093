"""Exact tails in log10, e-values in natural logarithms, many tests at once.

Pure functions of counts. A probability, level, sum or count outside its domain raises `ParameterError` (a negative count
`OverflowError`): a call with its arguments mixed up is no evidence. A finite sum that is not above 0 says what carries none: at most 0.
"""

from ._lib import (
    benjamini_yekutieli,
    clopper_pearson,
    e_bh,
    holm,
    ln_e_dual_key,
    ln_e_green,
    ln_e_gumbel,
    ln_e_tournament,
    ln_e_weighted_exponential,
    ln_e_weighted_green,
    ln_mean_e,
    log10_binomial_sf,
    log10_dual_key_sf,
    log10_gamma_sf,
    log10_gamma_sf_q32,
    log10_weighted_exponential_bound,
    log10_weighted_green_bound,
    log10_weighted_tournament_sf,
    weight_sqrt,
)

__all__ = [
    "benjamini_yekutieli",
    "clopper_pearson",
    "e_bh",
    "holm",
    "ln_e_dual_key",
    "ln_e_green",
    "ln_e_gumbel",
    "ln_e_tournament",
    "ln_e_weighted_exponential",
    "ln_e_weighted_green",
    "ln_mean_e",
    "log10_binomial_sf",
    "log10_dual_key_sf",
    "log10_gamma_sf",
    "log10_gamma_sf_q32",
    "log10_weighted_exponential_bound",
    "log10_weighted_green_bound",
    "log10_weighted_tournament_sf",
    "weight_sqrt",
]
