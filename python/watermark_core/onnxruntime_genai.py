"""Marks in ONNX Runtime GenAI, in the caller's own loop::

    from watermark_core.onnxruntime_genai import Watermark

    mark = Watermark("chat.profile.json", "master.key.json", seed=7, temperature=0.8, top_p=0.95)
    generator.append_tokens(prompt)
    while not generator.is_done():
        mark(generator)
        generator.generate_next_token()

It draws a token for each sequence of the batch, with temperature and truncation of its own, and leaves that token alone in the
generator's logits, so that sampling and greedy search both take it. Search options that forbid tokens (`min_length`,
`no_repeat_ngram_size`) do not fit, and neither does beam search: it is told when the engine took another token. One `Watermark` is one
generation: make a new one, or call `reset`, after more tokens were appended or for another generator.
"""

from __future__ import annotations

import json
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy

from ._engine import check_vocab_size, follow, row_seed
from ._lib import InputError, Marker, NodeKey, ParameterError, Session, sample_batch

if TYPE_CHECKING:
    from onnxruntime_genai import Generator

__all__ = ["Watermark"]


class Watermark:
    """Called before each `generate_next_token`."""

    def __init__(
        self,
        profile: dict[str, Any] | str | PathLike[str],
        key: NodeKey | str | PathLike[str],
        *,
        seed: int,
        batch_size: int = 1,
        **options: Any,
    ) -> None:
        """`batch_size` is the generator's; `options` are those of `Marker.session`: account, marked, temperature, top_k, top_p, min_p."""
        if "request" in options:
            raise ParameterError("rows of a batch would share the request, and every answer has a number of its own; use a Session for each")
        self._marker, self._seed, self._rows, self._options = Marker(profile, key), seed, batch_size, options
        #: What the profile's sampling policy raised, as `Session.raised`. What is wrong with the options is said here.
        self.raised = self._marker.session(seed=seed, **options).raised
        self._special = frozenset(json.loads(self._marker.profile)["tokenizer"]["special_token_ids"])
        self.reset()

    def reset(self) -> None:
        """Ready for the next prompt."""
        self._generator: Generator | None = None
        self._sessions: list[Session] = []
        self._drawn: list[int] = []
        self._prompt = self._length = 0

    def __call__(self, generator: Generator) -> None:
        length = generator.token_count()
        if not length:
            raise InputError("the generator has no tokens yet; append the prompt first")
        logits = generator.get_logits()
        rows = numpy.ascontiguousarray(logits[:, -1, :])
        if len(rows) != self._rows:
            # The engine itself does not say which of the two it is, and beams have no sequences yet.
            raise InputError(f"{len(rows)} rows of logits for batch_size={self._rows}; give the generator's, and num_beams must be 1")
        if self._generator is None:
            check_vocab_size(self._marker, rows.shape[1])
            self._generator, self._prompt = generator, length
            self._sessions = [self._marker.session(seed=row_seed(self._seed, row), **self._options) for row in range(len(rows))]
        elif generator is not self._generator or length > self._length + 1 or length < self._prompt:
            raise InputError(
                f"{length} tokens after {self._length}: after more tokens were appended, and for another generator, call reset"
            )
        for row, session in enumerate(self._sessions):
            generated = generator.get_sequence(row)[self._prompt :].tolist()
            if length == self._length + 1:
                self._check(row, generated)
            follow(session, generated)
        self._length, self._drawn = length, sample_batch(self._sessions, rows)
        forced = numpy.full_like(logits, float("-inf"))
        forced[range(len(rows)), -1, self._drawn] = 0.0
        generator.set_logits(forced)

    def _check(self, row: int, generated: list[int]) -> None:
        """Whether the engine took what was drawn; a sequence that has ended, by a special token, is padded with what it likes."""
        if generated[-1] != self._drawn[row] and not self._special.intersection(generated):
            raise InputError(
                f"row {row}: token {self._drawn[row]} was drawn and the generator took {generated[-1]}; search options must not forbid "
                "tokens (min_length, no_repeat_ngram_size), and logits must not change in between"
            )
