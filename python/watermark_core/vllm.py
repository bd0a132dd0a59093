"""Marks in vLLM, as one logits processor for both of its model runners::

    WATERMARK_PROFILE=chat.profile.json WATERMARK_KEY=master.key.json \\
        vllm serve MODEL --logits-processors watermark_core.vllm:WatermarkLogitsProcessor

Every request is marked unless it says otherwise: `"vllm_xargs": {"watermark": false}` over HTTP, and
`{"account": "..."}` where a layer has a key per account (`SamplingParams(extra_args=...)` offline). Profile and key come from
the environment, never from a request. Strip those arguments at the gateway if clients must not choose.

The processor runs before vLLM's temperature, top-k, top-p and min-p, so it applies them itself, draws the token and leaves
that token alone in the row: what vLLM does later cannot change it. So the sampling policy of a profile holds here: a temperature and a
top-p below its floors are raised (said in the log, at level debug, and at `Session.raised`), and boosts come before the temperature where
it says so. Greedy requests carry no mark unless the policy sees to it. Logprobs that vLLM returns are of the unmarked distribution by
default (`raw_logprobs`).

Speculative decoding: the V1 runner refuses logits processors given by flag. The V2 runner has them, and its text is marked, but
drafts are accepted only when they are the drawn token. Asynchronous scheduling hides the newest tokens from processors that
are registered as entry points (they read -1), so this one is not registered: give it by the flag.
"""

from __future__ import annotations

import functools
import logging
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Any

from vllm.v1.sample.logits_processor.interface import BatchUpdate, LogitsProcessor, MoveDirectionality

from ._engine import (
    check_vocab_size,
    draw,
    force,
    host_rows,
    marker_from_environment,
    profile_from_environment,
)
from ._lib import Session, has_account_layer

try:
    from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsProcessor as LogitsProcessorV2
except ImportError:  # before the second runner
    LogitsProcessorV2 = object

if TYPE_CHECKING:
    import torch

__all__ = ["WatermarkLogitsProcessor"]

_LOG = logging.getLogger("vllm.watermark_core")
_GREEDY = 1e-5  # vLLM's own bound, below which it takes the most likely token


class _Request:
    """A marked request: its session, and the tokens that engine and session agree on."""

    def __init__(self, session: Session, params: Any, prompt: list[int] | None, output: list[int]) -> None:
        self.session, self.params, self.prompt, self.output = session, params, prompt, output
        self.accepted = 0

    def accept(self, tokens: list[int]) -> None:
        """Appends tokens that the engine sampled."""
        for token in tokens:
            if token < 0:
                raise RuntimeError(
                    "vLLM shows a placeholder (-1) in place of a sampled token, so that no context is known; give the processor "
                    "by --logits-processors, not as an entry point, or turn asynchronous scheduling off"
                )
            self.session.accept(token)
        self.accepted += len(tokens)

    def penalize(self, row: torch.Tensor) -> None:
        """What the V1 runner does only after processors: its penalties, on one row in place."""
        import torch

        params = self.params
        counts = Counter(self.output)
        if counts and (params.frequency_penalty or params.presence_penalty):
            ids = torch.tensor(list(counts), device=row.device)
            times = torch.tensor(list(counts.values()), device=row.device, dtype=row.dtype)
            row[ids] -= params.frequency_penalty * times + params.presence_penalty
        seen = counts.keys() | set(self.prompt or ())
        if seen and params.repetition_penalty != 1.0:
            ids = torch.tensor(sorted(seen), device=row.device)
            values = row[ids]
            row[ids] = torch.where(values > 0, values / params.repetition_penalty, values * params.repetition_penalty)


class WatermarkLogitsProcessor(LogitsProcessor, LogitsProcessorV2):  # type: ignore[misc]
    """vLLM makes it, with `(config, device, pin_memory)` on the V1 runner and `(config, request states)` on V2."""

    def __init__(self, vllm_config: Any, *runner: Any) -> None:
        self._marker = marker_from_environment()
        check_vocab_size(self._marker, vllm_config.model_config.get_vocab_size())
        self._states: Any = runner[0] if len(runner) == 1 else None  # of the V2 runner
        # By row of the batch on V1, by slot on V2.
        self._requests: dict[int, _Request] = {}

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuses a request whose arguments are wrong, with what to change; vLLM answers 400."""
        given = _arguments(sampling_params)
        if not given["watermark"] or (given["account"] is not None) == _needs_account():
            return
        if given["account"] is None:
            raise ValueError('the profile has a key per account: pass {"account": "..."} or {"watermark": false} in extra_args')
        raise ValueError("extra_args name an account, and the profile has no key per account: leave account out")

    def is_argmax_invariant(self) -> bool:
        return False

    # The V1 runner

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._requests.pop(row, None)
        for row, params, prompt, output in batch_update.added:
            self._begin(row, params, prompt, output)
        for source, target, direction in batch_update.moved:
            moved, replaced = self._requests.pop(source, None), self._requests.pop(target, None)
            if moved is not None:
                self._requests[target] = moved
            if replaced is not None and direction == MoveDirectionality.SWAP:
                self._requests[source] = replaced

    # The V2 runner

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        return self._begin(req_idx, sampling_params, None, [])

    # Both

    def apply(self, logits: torch.Tensor, ctx: Any = None) -> torch.Tensor:
        if not self._requests:
            return logits
        if ctx is not None:
            return self._apply_v2(logits, ctx)
        rows = sorted(row for row in self._requests if row < logits.shape[0])
        requests = [self._requests[row] for row in rows]
        for request in requests:
            request.accept(request.output[request.accepted :])
        chosen = logits[rows]
        for at, request in enumerate(requests):
            request.penalize(chosen[at])
        for row in self._force(logits, rows, chosen, [request.session for request in requests]):
            del self._requests[row]
        return logits

    def _apply_v2(self, logits: torch.Tensor, ctx: Any) -> torch.Tensor:
        import torch

        # One copy of what the host needs to know of all rows: slot, offset among the request's rows, token fed, position.
        layout = torch.stack([
            tensor[: logits.shape[0]].long()
            for tensor in (ctx.expanded_idx_mapping, ctx.expanded_local_pos, ctx.input_ids, ctx.pos)
        ]).tolist()  # fmt: skip
        rows: list[int] = []
        sessions: list[Session] = []
        for row, (slot, offset, token, position) in enumerate(zip(*layout, strict=True)):
            request = self._requests.get(slot)
            if request is None:
                continue
            if offset == 0:
                self._catch_up(request, slot, token, position)
                session = request.session
            else:
                # Behind a draft: a copy of the session of the row before, one token further.
                session = sessions[-1].fork()
                session.accept(token)
            rows.append(row)
            sessions.append(session)
        if rows:
            for row in self._force(logits, rows, logits[rows], sessions):
                self._requests.pop(layout[0][row], None)
        return logits

    def _catch_up(self, request: _Request, slot: int, token: int, position: int) -> None:
        """Accepts what the engine has committed: the tokens after the prompt up to `position`, of which `token` is the last."""
        prompt = int(self._states.prompt_len.np[slot])
        missing = position + 1 - prompt - request.accepted
        if missing == 1:
            request.accept([token])
        elif missing > 1:
            start = prompt + request.accepted
            request.accept(self._states.all_token_ids.gpu[slot, start : position + 1].tolist())

    def _begin(self, row: int, params: Any, prompt: list[int] | None, output: list[int]) -> bool:
        self._requests.pop(row, None)
        given = _arguments(params)
        greedy = params.temperature < _GREEDY
        if not given["watermark"] or (greedy and not self._marker.marks_greedy):
            return False
        session = self._marker.session(
            seed=secrets.randbits(64) if params.seed is None else params.seed % 2**64,
            account=given["account"],
            temperature=0.0 if greedy else params.temperature,
            top_k=params.top_k if params.top_k > 0 else None,
            top_p=params.top_p,
            min_p=params.min_p or None,
        )
        if session.raised:
            _LOG.debug("the profile's sampling policy raised a request: %s", session.raised)
        self._requests[row] = _Request(session, params, prompt, output)
        return True

    def _force(self, logits: torch.Tensor, rows: list[int], chosen: torch.Tensor, sessions: list[Session]) -> list[int]:
        """Leaves the drawn token in each of `rows`; returns rows that could not be drawn from, which stay as they are."""
        tokens = draw(sessions, host_rows(chosen))
        good = [at for at, token in enumerate(tokens) if token is not None]
        drawn = [token for token in tokens if token is not None]
        if good:
            logits[[rows[at] for at in good]] = force(chosen[good], drawn)
        bad = [rows[at] for at, token in enumerate(tokens) if token is None]
        for row in bad:
            # A row that is broken for every sampler must not end the server; what is wrong is said, what was written is not.
            _LOG.warning("a request goes on without a mark: %s", sessions[rows.index(row)].error)
        return bad


def _arguments(params: Any) -> dict[str, Any]:
    """What a request says of its mark."""
    extra = params.extra_args or {}
    watermark, account = extra.get("watermark", True), extra.get("account")
    if not isinstance(watermark, bool):
        raise ValueError(f"extra_args: watermark is {type(watermark).__name__}; it must be true or false")
    if account is not None and not (isinstance(account, str) and 0 < len(account) <= 1024):
        raise ValueError("extra_args: account must be a text of 1 to 1024 characters")
    return {"watermark": watermark, "account": account}


@functools.cache
def _needs_account() -> bool:
    """Read once, in the process of the front end, which has no use for the key."""
    return has_account_layer(profile_from_environment())
