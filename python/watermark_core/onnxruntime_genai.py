"""Marks in ONNX Runtime GenAI, in the caller's own loop::

    from watermark_core.onnxruntime_genai import Watermark

    mark = Watermark("chat.profile.json", "master.key.json", seed=7, temperature=0.8, top_p=0.95)
    generator.append_tokens(prompt)
    while not generator.is_done():
        mark(generator)
        generator.generate_next_token()

It draws a token for each sequence of the batch, with temperature and truncation of its own, and leaves that token alone in the
generator's logits, so that sampling and greedy search both take it; search options must not forbid it (`min_length`) or follow several
(`num_beams`). One `Watermark` is one generation: make a new one, or call `reset`, after more tokens were appended.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy

from ._engine import check_vocab_size, follow, row_seed
from ._lib import InputError, Marker, NodeKey, Session, sample_batch

if TYPE_CHECKING:
    from onnxruntime_genai import Generator

__all__ = ["Watermark"]


class Watermark:
    """Called before each `generate_next_token`."""

    def __init__(
        self, profile: dict[str, Any] | str | PathLike[str], key: NodeKey | str | PathLike[str], *, seed: int, **options: Any
    ) -> None:
        """`options` are those of `Marker.session`: account, marked, temperature, top_k, top_p, min_p."""
        self._marker, self._seed, self._options = Marker(profile, key), seed, options
        self._marker.session(seed=seed, **options)  # what is wrong with them is said here
        self.reset()

    def reset(self) -> None:
        """Ready for the next prompt."""
        self._sessions: list[Session] = []
        self._prompt = self._length = 0

    def __call__(self, generator: Generator) -> None:
        logits, length = generator.get_logits(), generator.token_count()
        rows = numpy.ascontiguousarray(logits[:, -1, :])
        if not self._sessions:
            check_vocab_size(self._marker, rows.shape[1])
            self._sessions = [self._marker.session(seed=row_seed(self._seed, row), **self._options) for row in range(len(rows))]
            self._prompt = length
        elif length > self._length + 1 or length < self._prompt or len(rows) != len(self._sessions):
            raise InputError(
                f"{len(rows)} sequences of {length} tokens after {len(self._sessions)} of {self._length}; after more tokens were appended, "
                "or for another generator, call reset"
            )
        self._length = length
        for row, session in enumerate(self._sessions):
            follow(session, generator.get_sequence(row)[self._prompt :].tolist())
        forced = numpy.full_like(logits, float("-inf"))
        forced[range(len(rows)), -1, sample_batch(self._sessions, rows)] = 0.0
        generator.set_logits(forced)
