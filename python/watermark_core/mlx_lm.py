"""Marks in MLX-LM, as the sampler of a call::

    from mlx_lm import generate
    from watermark_core.mlx_lm import WatermarkSampler

    mark = WatermarkSampler("chat.profile.json", "master.key.json", seed=7, temperature=0.8, top_p=0.95)
    text = generate(model, tokenizer, prompt, sampler=mark)

One sampler is one sequence: make a new one, or call `reset`, for the next prompt; `BatchGenerator.insert` takes one for each prompt
(`samplers=[...]`). MLX-LM does not tell a sampler whose row it gets, so one that is shared or reused loses the mark without an error.

It applies temperature and truncation itself, after MLX-LM's logits processors, and brings every row of log-probabilities to the host.
What MLX-LM computes ahead of the tokens it yields changes nothing: every row is sampled once. A draft model is refused, because there
tokens are sampled that are not emitted.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import mlx.core as mx

from ._engine import check_vocab_size
from ._lib import InputError, Marker, NodeKey, ParameterError

__all__ = ["WatermarkSampler"]


class WatermarkSampler:
    """`(logprobs [1, vocab_size]) -> token [1]`."""

    def __init__(
        self, profile: dict[str, Any] | str | PathLike[str], key: NodeKey | str | PathLike[str], *, seed: int, **options: Any
    ) -> None:
        """`options` are those of `Marker.session`: account, marked, temperature, top_k, top_p, min_p, and request for paired draws."""
        self._marker = Marker(profile, key)
        self._session = self._marker.session(seed=seed, **options)
        #: What the profile's sampling policy raised, as `Session.raised`.
        self.raised = self._session.raised

    @property
    def withheld(self) -> list[int | None]:
        """What paired draws withheld at each token so far, as `Session.withheld`."""
        return self._session.withheld

    def reset(self) -> None:
        """Ready for the next prompt."""
        if self._session.withheld:
            raise ParameterError("a request has one answer; make a new one of this for the next request")
        self._session.reset()

    def __call__(self, logprobs: mx.array) -> mx.array:
        if logprobs.ndim != 2 or logprobs.shape[0] != 1:
            raise InputError(
                f"log-probabilities are {list(logprobs.shape)}; one sampler is for one sequence, so give each prompt of a batch its own, "
                "and use no draft model"
            )
        if logprobs.shape[1] != self._session.vocab_size:
            check_vocab_size(self._marker, logprobs.shape[1])
        token = self._session.sample(logprobs[0].astype(mx.float32))
        self._session.accept(token)
        return mx.array([token], dtype=mx.uint32)
