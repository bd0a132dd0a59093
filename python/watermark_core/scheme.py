"""What a PRF word means under a scheme, for whoever recomputes a statistic."""

from ._lib import green_threshold, gumbel_score_q32, tournament_score

__all__ = ["green_threshold", "gumbel_score_q32", "tournament_score"]
