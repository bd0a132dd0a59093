"""Marks in llama-cpp-python::

    from llama_cpp import LogitsProcessorList
    from watermark_core.llama_cpp import WatermarkLogitsProcessor

    mark = WatermarkLogitsProcessor("chat.profile.json", "master.key.json", seed=7, temperature=0.8, top_p=0.95)
    llm.create_completion(prompt, logits_processor=LogitsProcessorList([mark]), temperature=1.0)

llama-cpp-python runs processors first, so this one applies temperature and truncation itself, draws the token and leaves it
alone in the row; call the model with a temperature above 0 (with 0 it takes the same token, the only one left). One processor
is one call: make a new one, or call `reset`, for the next prompt.

llama-cpp-python asks from inside a C callback, where an exception is printed and ignored, and the text goes on unmarked: after a call look
at `mark.error`, which is None if all went well.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy

from ._engine import check_vocab_size, follow
from ._lib import Marker, NodeKey, ParameterError

__all__ = ["WatermarkLogitsProcessor"]


class WatermarkLogitsProcessor:
    """`(input_ids [length], scores [vocab_size]) -> scores`; ids are prompt and output, the first call being the prompt."""

    def __init__(
        self, profile: dict[str, Any] | str | PathLike[str], key: NodeKey | str | PathLike[str], *, seed: int, **options: Any
    ) -> None:
        """`options` are those of `Marker.session`: account, marked, temperature, top_k, top_p, min_p, and request for paired draws."""
        self._marker = Marker(profile, key)
        self._session = self._marker.session(seed=seed, **options)
        #: What the profile's sampling policy raised, as `Session.raised`.
        self.raised = self._session.raised
        self._prompt: int | None = None
        #: The first exception since the last `reset`, which llama-cpp-python has ignored.
        self.error: Exception | None = None

    @property
    def withheld(self) -> list[int | None]:
        """What paired draws withheld at each token so far, as `Session.withheld`."""
        return self._session.withheld

    def reset(self) -> None:
        """Ready for the next prompt."""
        if self._session.withheld:
            raise ParameterError("a request has one answer; make a new one of this for the next request")
        self._session.reset()
        self._prompt = self.error = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        try:
            return self._draw(input_ids, scores)
        except Exception as error:
            self.error = self.error or error
            raise

    def _draw(self, input_ids: Any, scores: Any) -> Any:
        if self._prompt is None:
            check_vocab_size(self._marker, len(scores))
            self._prompt = len(input_ids)
        follow(self._session, [int(token) for token in input_ids[self._prompt :]])
        # A field of an array of structures: its numbers do not stand side by side.
        token = self._session.sample(numpy.ascontiguousarray(scores))
        scores[:] = float("-inf")
        scores[token] = 0.0
        return scores
