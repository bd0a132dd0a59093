"""Served answers with paired draws as they come in, and what a model thinks of both candidates: the lines of `watermark pairs test`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from ._lib import InputError
from ._suspect_texts import MAX_LINE, ids_of, records, string_of

#: Of each position the log-probabilities of both candidates, in the order of `Request.pairs`.
Scores = Mapping[int, tuple[float, float]]


@dataclass(frozen=True)
class Request:
    """An answer that was served with paired draws."""

    line: int
    id: str
    prompt: str
    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    #: Of each token the other candidate; None where there is none.
    withheld: tuple[int | None, ...]

    @property
    def size(self) -> int:
        """About how much there is to read, in characters."""
        return len(self.prompt) + 4 * (len(self.prompt_tokens) + len(self.tokens))

    def pairs(self) -> list[tuple[int, int, int]]:
        """Position and both candidates, the smaller first, wherever they differ."""
        two = zip(self.tokens, self.withheld, strict=True)
        return [(at, *sorted((token, other))) for at, (token, other) in enumerate(two) if other is not None and other != token]  # type: ignore[misc]


def read_requests(path: str | PathLike[str]) -> list[Request]:
    """The requests of a JSONL file as `watermark mark --ledger` writes them; blank lines are skipped.

    Raises:
        InputError: A line cannot be used; the message says which one.
    """
    found = [_request(record, place, number) for record, place, number in records(path)]
    if not found:
        raise InputError(f"{path}: no requests; it must hold lines of " + '{"request": ..., "tokens": [...], "withheld": [...]}')
    return found


def _request(record: object, place: str, number: int) -> Request:
    if not isinstance(record, Mapping):
        raise InputError(f"{place}: not an object with the fields request, tokens and withheld")
    name, tokens = string_of(record, "request", place), ids_of(record, "tokens", place)
    if name is None or tokens is None:
        raise InputError(f'{place}: no field "request" or "tokens"')
    withheld = record.get("withheld")
    if not isinstance(withheld, Sequence) or isinstance(withheld, str | bytes) or len(withheld) != len(tokens):
        raise InputError(f'{place}: "withheld" is no list with an entry for each token')
    known = [token for token in withheld if token is not None]
    ids_of({"withheld": known}, "withheld", place)
    prompt = string_of(record, "prompt", place) or ""
    return Request(number, name, prompt, ids_of(record, "prompt_tokens", place) or (), tokens, tuple(withheld))


def line_of_pairs(request: Request, found: Scores) -> str:
    """The line of a request: `[position, token, token, score, score]`, scores in nats times 2^16, ties to even."""
    scores: list[list[Any]] = []
    for at, first, second in request.pairs():
        if (both := found.get(at)) is not None:
            scores.append([at, first, second, *(round(value * 65536) for value in both)])
    line = json.dumps({"request": request.id, "scores": scores}, separators=(",", ":"))
    if len(line) > MAX_LINE:
        raise InputError(f"line {request.line}: the scores are longer than {MAX_LINE} bytes; split the answer")
    return line
