"""Marks in Hugging Face transformers::

    from watermark_core.transformers import WatermarkingConfig

    config = WatermarkingConfig("chat.profile.json", "master.key.json", seed=7)
    output = model.generate(**inputs, do_sample=True, watermarking_config=config)
    generated = output[:, inputs["input_ids"].shape[1] :]  # what `Detector.detect` takes, row by row

The processor runs after temperature, top-k and top-p, on the distribution that is sampled. A profile with a choosing layer
leaves one token in every row, which `generate` then has to draw; with reweighting layers alone `generate` draws from what they
leave. Rows are sequences of their own, `num_return_sequences` included; prompts and left padding are no context. Assistant
models work: the mark is a function of the sequence. Beam search is refused when its beams first change places, and
`do_sample=False` must not be used: nothing tells the processor, and a choosing layer would sample at temperature 1.

A profile's sampling policy cannot be kept there, because temperature and truncation have been applied, so such a profile is refused.
What keeps it is the processor alone, which `generate` runs first; with `sampling` it applies temperature and truncation itself, raises
what is below the floors, and draws the token::

    from watermark_core import Marker
    from watermark_core.transformers import WatermarkLogitsProcessor

    mark = WatermarkLogitsProcessor(
        Marker("chat.profile.json", "master.key.json"), seed=7, sampling={"temperature": 0.8, "top_p": 0.95}
    )
    output = model.generate(**inputs, do_sample=True, logits_processor=[mark])

Under a profile with paired draws each row is a request of the ledger, and what was withheld stays with the provider::

    mark = WatermarkLogitsProcessor(marker, seed=7, sampling={"temperature": 0.8}, requests=["ledger/2026-11/17", "ledger/2026-11/18"])
    output = model.generate(**inputs, do_sample=True, logits_processor=[mark])
    withheld = mark.withheld(output)
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from transformers import LogitsProcessor
from transformers.generation.configuration_utils import BaseWatermarkingConfig

from ._engine import check_vocab_size, follow, force, host_rows, row_seed
from ._lib import InputError, Marker, NodeKey, ParameterError, Session, process_batch, sample_batch

__all__ = ["WatermarkLogitsProcessor", "WatermarkingConfig"]


class WatermarkingConfig(BaseWatermarkingConfig):  # type: ignore[misc]
    """What `generate(watermarking_config=...)` takes.

    `seed` [0, 2^64) decides every draw that no key decides, and is new for each call of `generate` where it is None. The key
    is in no representation of the configuration and in no file that transformers writes of it; loading such a file is an error.
    """

    def __init__(
        self,
        profile: dict[str, Any] | str | PathLike[str],
        key: NodeKey | str | PathLike[str],
        *,
        seed: int | None = None,
        account: str | None = None,
        marked: bool = True,
    ) -> None:
        self._marker = Marker(profile, key)
        self.seed, self.account, self.marked = seed, account, marked
        self.validate()

    def validate(self) -> None:
        """Raises where no session could be opened, and where the profile's sampling policy could not be kept."""
        policy = json.loads(self._marker.profile).get("sampling", {"boost": "after_temperature"})
        if self.marked and policy != {"boost": "after_temperature"}:
            raise ParameterError(
                "the profile has a sampling policy, and WatermarkingConfig runs after temperature and truncation, where it cannot be kept; "
                "pass logits_processor=[WatermarkLogitsProcessor(marker, seed=..., sampling={...})] instead"
            )
        self._marker.session(seed=self.seed or 0, account=self.account, marked=self.marked)

    def construct_processor(self, vocab_size: int, device: Any) -> WatermarkLogitsProcessor:
        """The processor of one call of `generate`."""
        check_vocab_size(self._marker, vocab_size)
        seed = secrets.randbits(64) if self.seed is None else self.seed
        return WatermarkLogitsProcessor(self._marker, seed=seed, account=self.account, marked=self.marked)

    def __deepcopy__(self, memo: dict[int, Any]) -> WatermarkingConfig:
        # `generate` copies its configuration; this one has no state to share, and its key is copied nowhere.
        return self

    def to_dict(self) -> dict[str, Any]:
        return {"seed": self.seed, "account": self.account, "marked": self.marked}

    def to_json_string(self) -> str:
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def __iter__(self) -> Any:
        yield from self.to_dict().items()


class WatermarkLogitsProcessor(LogitsProcessor):  # type: ignore[misc]
    """The processor of one call of `generate`: a session for each row, begun when it is first called.

    `sampling` is for a processor in `logits_processor=[...]`, before temperature and truncation: temperature, top_k, top_p and min_p as
    in `Marker.session`, which it then applies itself before it draws the token. `requests` are for a profile with paired draws: the number
    of each row's answer in the ledger, never the same for two answers.

    `__call__`: ids [rows, length] with the prompt's, logits [rows, vocab_size]; returns logits of the same shape.
    """

    supports_continuous_batching = False  # its rows change places

    def __init__(
        self,
        marker: Marker,
        *,
        seed: int,
        account: str | None = None,
        marked: bool = True,
        sampling: dict[str, Any] | None = None,
        requests: Sequence[str] | None = None,
    ) -> None:
        self._marker, self._seed = marker, seed
        self._options = {"account": account, "marked": marked, **(sampling or {})}
        if "request" in self._options:
            raise ParameterError("every row is an answer of its own; give requests=, one for each")
        if requests is not None and len(set(requests)) < max(len(requests), 1):
            raise ParameterError("requests are none, or one is named twice; every answer has a number of its own")
        self._requests = requests
        #: What the profile's sampling policy raised, as `Session.raised`.
        self.raised = self._session(0).raised
        self._chooses = sampling is not None or (marker.chooses and marked)
        self._sessions: list[Session] = []
        self._ids: torch.Tensor | None = None
        self._prompt = 0

    def _session(self, row: int) -> Session:
        request = None if self._requests is None else self._requests[row]
        return self._marker.session(seed=row_seed(self._seed, row), request=request, **self._options)

    def withheld(self, output: torch.LongTensor) -> list[list[int | None]]:
        """What paired draws withheld at each token of what `generate` returned, by row: as `Session.withheld`."""
        self._follow(output)
        return [session.withheld for session in self._sessions]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        if not self._sessions:
            self._prompt = input_ids.shape[1]
            if self._requests is not None and len(self._requests) != input_ids.shape[0]:
                raise InputError(f"{len(self._requests)} requests for {input_ids.shape[0]} rows; every answer has one")
            self._sessions = [self._session(row) for row in range(input_ids.shape[0])]
        if input_ids.shape[0] != len(self._sessions) or input_ids.shape[1] < self._prompt:
            raise InputError(
                f"{input_ids.shape[0]} rows of {input_ids.shape[1]} ids after {len(self._sessions)} rows with a prompt of "
                f"{self._prompt}; a processor belongs to one call of generate"
            )
        self._follow(input_ids)
        rows = host_rows(scores)
        if self._chooses:
            return force(scores, sample_batch(self._sessions, rows))
        rows = rows.copy()
        process_batch(self._sessions, rows)
        return torch.from_numpy(rows).to(scores.device, scores.dtype)

    def _follow(self, input_ids: torch.Tensor) -> None:
        before, self._ids = self._ids, input_ids
        if before is not None and torch.equal(input_ids[:, :-1], before):
            for session, token in zip(self._sessions, input_ids[:, -1].tolist(), strict=True):
                session.accept(token)
            return
        for session, generated in zip(self._sessions, input_ids[:, self._prompt :].tolist(), strict=True):
            if follow(session, generated) and len(self._sessions) > 1:
                raise InputError("rows of the batch changed places, as in beam search; marks need sampling (num_beams=1)")
