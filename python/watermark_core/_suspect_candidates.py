"""Both candidates of paired draws where ids say nothing to the suspect: as text to a model with another tokenizer, and as what an endpoint
says next after what was served so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ._lib import InputError
from ._suspect_endpoint import Client
from ._suspect_model import LocalModel
from ._suspect_pairs import Request, Scores
from ._suspect_texts import FastVocabulary

#: Neither candidate is preferred: the position counts for neither side, whichever was served.
TIE = (0.0, 0.0)
#: After so many positions without one of both candidates nothing is to be hoped for.
ENOUGH = 300
#: How an endpoint is told to go on from a given beginning: fields of the request, and of the assistant's message.
CONTINUES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "completions": ({}, {}),
    "chat-prefix": ({}, {"prefix": True}),
    "chat-partial": ({}, {"partial": True}),
    "chat-continue": ({"continue_final_message": True, "add_generation_prompt": False}, {}),
}


def ends_inside_a_character(text: str) -> bool:
    return text.endswith("\ufffd")


class ByText:
    """A model with another tokenizer: each candidate stands as text after what was served before it, and the model's tokenizer reads prompt
    and text with nothing behind. A score is the log-likelihood from where the two readings part.
    """

    def __init__(self, model: LocalModel, mark: FastVocabulary, prompt_ids: Callable[[Request], list[int]], batch_size: int) -> None:
        self._model, self._mark, self._prompt_ids, self._batch_size = model, mark, prompt_ids, batch_size
        #: Positions that have no scores, because the model does not read so far.
        self.left_out = 0

    def score(self, request: Request) -> Scores:
        """Positions that the model does not reach have no scores; those inside a character, or of special tokens, are ties."""
        before = self._prompt_ids(request)
        found: dict[int, tuple[float, float]] = {}
        inputs: list[tuple[list[int], int]] = []
        places: list[int] = []
        for at, *both in request.pairs():
            texts = [self._mark.decode([*request.tokens[:at], token]) for token in both]
            if any(self._mark.piece(token) is None for token in both) or any(map(ends_inside_a_character, texts)):
                found[at] = TIE
                continue
            read = [[*before, *self._model.vocabulary.text_ids(text)] for text in texts]
            parted = next((n for n, (a, b) in enumerate(zip(*read, strict=False)) if a != b), min(map(len, read)))
            if all(0 < parted and len(ids) <= self._model.reach for ids in read):
                inputs.extend((ids, parted) for ids in read)
                places.append(at)
            else:
                self.left_out += 1
        values = [value for first in range(0, len(inputs), self._batch_size) for value in self._model.likelihoods(inputs[first : first + self._batch_size])]
        found.update(zip(places, zip(values[::2], values[1::2], strict=True), strict=True))
        return found


class ByNextToken:
    """An endpoint that goes on from a given beginning: one call of one token at each position with two candidates. What it says at
    temperature 0 is one of them or neither; no probabilities are needed."""

    def __init__(self, client: Client, name: str, mark: FastVocabulary, api: str, concurrency: int) -> None:
        self._client, self._name, self._mark, self._api = client, name, mark, api
        self._pool = ThreadPoolExecutor(concurrency)
        #: Positions that were asked, and those where it said one of both.
        self.asked = self.told = 0
        self.about = {"api": api, "endpoint": client.base, "name": name}

    def score(self, request: Request) -> Scores:
        """As far as the endpoint answers; where it says neither candidate it is a tie."""
        asked = [(at, self._pool.submit(self._says, request, at, both)) for at, *both in request.pairs()]
        try:
            found = {at: says.result() for at, says in asked}
        finally:
            for _, says in asked:
                says.cancel()
        self.asked += len(found)
        self.told += sum(both != TIE for both in found.values())
        if self.asked >= ENOUGH and not self.told:
            raise InputError(
                f"{self._client.base}: of {self.asked} positions it said one of both candidates at none; it does not go on from a given "
                "beginning, or says so in another way: check --api (nothing that was asked so far would show anything)"
            )
        return found

    def _says(self, request: Request, at: int, both: Sequence[int]) -> tuple[float, float]:
        begun = self._mark.decode(request.tokens[:at])
        pieces = [self._mark.decode([*request.tokens[:at], token]).removeprefix(begun) for token in both]
        if ends_inside_a_character(begun) or any(not piece or ends_inside_a_character(piece) for piece in pieces):
            return TIE
        # Some servers repeat what they go on from.
        said = self._next(self._prompt_of(request), begun).removeprefix(begun)
        # Of two that begin alike the longer one was said, if it was.
        fits = [len(piece) if said.startswith(piece) else 0 for piece in pieces]
        return TIE if fits[0] == fits[1] else (0.0, -1.0) if fits[0] > fits[1] else (-1.0, 0.0)

    def _prompt_of(self, request: Request) -> str:
        return request.prompt or self._mark.decode(request.prompt_tokens)

    def _next(self, prompt: str, begun: str) -> str:
        fields, of_message = CONTINUES[self._api]
        body: dict[str, Any] = {"model": self._name, "max_tokens": 1, "temperature": 0, **fields}
        if self._api == "completions":
            path = "/completions"
            body["prompt"] = prompt + begun
        else:
            path = "/chat/completions"
            body["messages"] = [{"role": "user", "content": prompt}]
            # An empty beginning is none: servers refuse it.
            body["messages"] += [{"role": "assistant", "content": begun, **of_message}] if begun else []
            if not begun:
                for field in fields:
                    del body[field]
        return self.read(self._client.post(path, body), path)

    def read(self, answer: Mapping[str, Any], path: str) -> str:
        """The text of an answer."""
        choices = answer.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        message = choice.get("message")
        said = choice.get("text") if path == "/completions" else message.get("content") if isinstance(message, dict) else None
        if said is None and path != "/completions" and isinstance(message, dict) and "content" in message:
            return ""
        if not isinstance(said, str):
            raise InputError(f"{self._client.base}{path}: no text in the answer; check --api")
        return said
