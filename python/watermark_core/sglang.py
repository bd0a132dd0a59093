"""Marks in SGLang, as a sampling backend that a plugin registers::

    WATERMARK_PROFILE=chat.profile.json WATERMARK_KEY=master.key.json \\
        python -m sglang.launch_server --model-path MODEL --sampling-backend watermark

The package's entry point in the group `sglang.srt.plugins` does nothing where `WATERMARK_PROFILE` is not set. Every request
with a temperature is marked, and a greedy one if the profile's sampling policy sees to it. Profile and key come from the environment,
never from a request; layers with a key per account are refused, because SGLang does not tell its sampler who asks.

The sampler draws each token itself, after penalties and grammars, with the request's temperature, top-k, top-p and min-p, and
leaves that token alone in the row that SGLang then samples from. So the sampling policy of a profile holds here: what lies below its
floors is raised (said in the log, at level debug). SGLang turns temperature 0 into top-k 1, which this adapter takes for greedy decoding:
a floor for top-p without one for the temperature does not reach it. Returned logprobs are of the unmarked distribution. The context
is what the sampler itself put out for a request, so that overlap scheduling may stay on. Custom logit processors run later and
must not forbid the drawn token; with speculative decoding most tokens never pass this sampler, so do not combine them.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ._engine import PROFILE, check_vocab_size, draw, force, host_rows, marker_from_environment
from ._lib import InputError, Marker, Session

if TYPE_CHECKING:
    import torch

__all__ = ["BACKEND", "Requests", "register"]

BACKEND = "watermark"
_LOG = logging.getLogger("sglang.watermark_core")
_KEPT = 65536  # requests whose tokens are remembered; SGLang does not say when one ends

# Ids of the requests of the batch being sampled, which SGLang does not hand to its sampler.
_BATCH: ContextVar[Sequence[str] | None] = ContextVar("watermark_core_sglang_batch", default=None)


class _Request:
    def __init__(self, session: Session, prompt: int) -> None:
        self.session, self.prompt, self.accepted = session, prompt, 0


class Requests:
    """Sessions of the requests that a sampler has seen, and the tokens it put out for each."""

    def __init__(self, marker: Marker) -> None:
        if marker.has_account_layer:
            raise InputError("the profile has a layer with a key per account; SGLang does not tell its sampler who asks")
        self._marker = marker
        self._known: OrderedDict[str, _Request] = OrderedDict()
        self._current: list[_Request | None] = []
        self._emitted: tuple[list[_Request | None], torch.Tensor] | None = None

    def draw(self, ids: Sequence[str], logits: torch.Tensor, info: Any, positions: torch.Tensor) -> dict[int, int]:
        """Row and token of every row that is marked; logits [rows, vocab_size] before temperature, `positions` [rows] of the
        last known token."""
        self._accept_emitted()
        places = positions.tolist()
        current = [self._request(at, rid, place, info) for at, (rid, place) in enumerate(zip(ids, places, strict=True))]
        self._current = current
        rows = [at for at, request in enumerate(current) if request is not None]
        if not rows:
            return {}
        sessions = [request.session for request in current if request is not None]
        drawn = {}
        for row, session, token in zip(rows, sessions, draw(sessions, host_rows(logits[rows])), strict=True):
            if token is not None:
                drawn[row] = token
                continue
            # A row that is broken for every sampler must not end the server.
            _LOG.warning("a request goes on without a mark at one position: %s", session.error)
            self._reopen(session)
        return drawn

    def emitted(self, tokens: torch.Tensor) -> None:
        """Notes what the engine took, [rows] of the last `draw`; read at the next one, when it is there without waiting."""
        self._emitted = (self._current, tokens)

    def _accept_emitted(self) -> None:
        if self._emitted is None:
            return
        requests, tokens = self._emitted
        self._emitted = None
        for request, token in zip(requests, tokens.tolist(), strict=True):
            if request is not None:
                request.session.accept(token)
                request.accepted += 1

    def _request(self, row: int, rid: str, position: int, info: Any) -> _Request | None:
        request = self._known.get(rid)
        if request is None:
            temperature, top_k = float(info.temperatures[row]), int(info.top_ks[row])
            # SGLang writes temperature 0 as top-k 1 at temperature 1.
            greedy = top_k <= 1 or temperature <= 0.0
            if greedy and not self._marker.marks_greedy:
                return None
            top_p, min_p = float(info.top_ps[row]), float(info.min_ps[row])
            # The id of the request is the same on all ranks of a tensor-parallel group, so they draw the same tokens.
            seed = int.from_bytes(hashlib.sha256(b"watermark-sglang-v1/" + rid.encode()).digest()[:8], "big")
            session = self._marker.session(
                seed=seed,
                temperature=0.0 if greedy else temperature,
                top_k=None if greedy else top_k,
                top_p=top_p,
                min_p=min_p if min_p > 0.0 else None,
            )
            if session.raised:
                _LOG.debug("the profile's sampling policy raised a request: %s", session.raised)
            request = self._known[rid] = _Request(session, position + 1)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(rid)
        generated = position + 1 - request.prompt
        if 0 <= generated < request.accepted:
            # Taken back: the request was retracted and computed again up to here.
            request.session.rollback(request.accepted - generated)
            request.accepted = generated
        elif generated != request.accepted:
            # The prompt came in pieces, after each of which a token was drawn that nobody keeps.
            request.session.reset()
            request.prompt, request.accepted = position + 1, 0
        return request

    def _reopen(self, session: Session) -> None:
        tokens = session.generated
        session.reset()
        for token in tokens:
            session.accept(token)


def _make_sampler() -> Any:
    """SGLang's sampler with marks; made in the process that samples."""
    from sglang.srt.layers.sampler import Sampler

    class WatermarkSampler(Sampler):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._marker = marker_from_environment()
            self._requests = Requests(self._marker)
            self._checked = False

        def forward(
            self,
            logits_output: Any,
            sampling_info: Any,
            return_logprob: bool,
            top_logprobs_nums: list[int],
            token_ids_logprobs: list[list[int]],
            positions: torch.Tensor,
            **options: Any,
        ) -> torch.Tensor:
            logits = logits_output.next_token_logits
            arguments = (logits_output, sampling_info, return_logprob, top_logprobs_nums, token_ids_logprobs, positions)
            if (sampling_info.is_all_greedy and not self._marker.marks_greedy) or logits.shape[0] == 0:
                return super().forward(*arguments, **options)
            if not self._checked:
                check_vocab_size(self._marker, logits.shape[1])
                self._checked = True
            ids = _BATCH.get()
            if ids is None or len(ids) != logits.shape[0]:
                raise RuntimeError("SGLang's batch does not say which requests it holds; this adapter was written for 0.5.23")
            drawn = self._requests.draw(ids, logits, sampling_info, positions)
            if drawn:
                if return_logprob and "logprob_logits" not in options:
                    options["logprob_logits"] = logits.clone()
                rows = list(drawn)
                logits[rows] = force(logits[rows], list(drawn.values()))
            tokens = super().forward(*arguments, **options)
            self._requests.emitted(tokens)
            return tokens

    return WatermarkSampler()


def _sample(original: Callable[..., Any], runner: Any, logits_output: Any, forward_batch: Any, *rest: Any, **named: Any) -> Any:
    """Around `ModelRunner.sample`: says which requests are in the batch."""
    token = _BATCH.set(forward_batch.rids)
    try:
        return original(runner, logits_output, forward_batch, *rest, **named)
    finally:
        _BATCH.reset(token)


def register() -> None:
    """The plugin: offers the sampling backend `watermark` where a profile is configured."""
    if not os.environ.get(PROFILE):
        return
    from sglang.srt.layers.sampler import register_sampler_backend
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    register_sampler_backend(BACKEND, _make_sampler)
    HookRegistry.register("sglang.srt.model_executor.model_runner.ModelRunner.sample", _sample, HookType.AROUND)
