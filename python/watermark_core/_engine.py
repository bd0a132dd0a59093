"""What the adapters of engines share: a session for a row, a token forced, a profile from the environment."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._lib import InputError, Marker, Session, WatermarkError, sample_batch

if TYPE_CHECKING:
    import torch

# Names of the variables that hold paths; a key is in no request, no log and no process list.
PROFILE, KEY = "WATERMARK_PROFILE", "WATERMARK_KEY"


def marker_from_environment() -> Marker:
    """The marker of the profile and the key file at `$WATERMARK_PROFILE` and `$WATERMARK_KEY`."""
    missing = [name for name in (PROFILE, KEY) if not os.environ.get(name)]
    if missing:
        raise InputError(f"set {' and '.join(missing)} to the path of the profile and of its key file before the server starts")
    return Marker(os.environ[PROFILE], os.environ[KEY])


def profile_from_environment() -> str:
    """The text of the profile alone, for processes that need no key."""
    if not os.environ.get(PROFILE):
        raise InputError(f"set {PROFILE} to the path of the profile before the server starts")
    return pathlib.Path(os.environ[PROFILE]).read_text(encoding="utf-8")


def check_vocab_size(marker: Marker, row: int) -> None:
    """Refuses an engine whose rows of `row` logits are not those of the profile."""
    if row != marker.vocab_size:
        raise InputError(
            f"the engine's rows have {row} logits, the profile's tokenizer.vocab_size is {marker.vocab_size}; write the engine's "
            "number into the profile (models pad their rows beyond the tokenizer: config.vocab_size counts)"
        )


def row_seed(seed: int, row: int) -> int:
    """A seed [0, 2^64) of its own for every row of a batch, so that rows do not share their ordinary draws."""
    return int.from_bytes(hashlib.sha256(f"watermark-row-v1/{seed}/{row}".encode()).digest()[:8], "big")


def follow(session: Session, generated: Sequence[int]) -> bool:
    """Brings a session to exactly `generated`; whether that needed tokens taken back."""
    known = session.generated
    same = len(known) if known == list(generated[: len(known)]) else 0
    if same < len(known):
        while same < min(len(known), len(generated)) and known[same] == generated[same]:
            same += 1
        session.rollback(len(known) - same)
    for token in generated[same:]:
        session.accept(token)
    return same < len(known)


def draw(sessions: Sequence[Session], rows: Any) -> list[int | None]:
    """The next token of each row of an array [n, vocab_size]; None where a row cannot be drawn from, as its session's error says."""
    try:
        return list(sample_batch(sessions, rows))
    except WatermarkError:
        return [None if session.error else session.sample(row) for session, row in zip(sessions, rows, strict=True)]


def host_rows(logits: torch.Tensor) -> Any:
    """Logits [n, vocab_size] of any device and precision as an array in memory of the host, shared where possible."""
    import torch

    rows = logits.detach()
    if rows.dtype not in (torch.float32, torch.float16):
        rows = rows.float()
    return rows.cpu().contiguous().numpy()


def force(logits: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """Rows [n, vocab_size] that leave one token each: 0 there, -inf elsewhere."""
    import torch

    forced = torch.full_like(logits, float("-inf"))
    forced.scatter_(1, torch.tensor(tokens, dtype=torch.int64, device=logits.device).unsqueeze(1), 0.0)
    return forced
