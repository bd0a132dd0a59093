"""A model behind an endpoint that says what could follow each token of an input: vLLM's, or llama.cpp's server."""

from __future__ import annotations

import http.client
import ipaddress
import json
import math
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ._lib import InputError, ParameterError
from ._suspect_model import DECIMALS, FLOOR, likeliest
from ._suspect_texts import MAX_TOKEN_ID, Encoded, FastVocabulary, Row, Vocabulary, utf8

T = TypeVar("T")
#: The variable that holds the API token; it is in no argument, no file and no message.
KEY = "WATERMARK_API_KEY"
_MAX_ANSWER = 128 << 20
_RETRIES = 5
_LONGEST_WAIT = 60.0
# Servers round in their own way; more than this above 0 is no rounding.
_ROUNDING = 1e-4


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Texts and the API token reach nobody but the address that was given."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Client:
    """Posts JSON to one server."""

    def __init__(self, base: str, timeout: float = 120.0) -> None:
        parsed = urllib.parse.urlsplit(base)
        if "@" in base or "?" in base or "#" in base:
            raise ParameterError(f"--endpoint must hold no user, password, query or fragment; give the API token in {KEY}")
        if parsed.scheme not in ("http", "https") or not parsed.hostname:
            raise ParameterError(f"--endpoint {base!r} must begin with http:// or https://, for example http://127.0.0.1:8000/v1")
        self.base = base.rstrip("/")
        self._timeout = timeout
        self._key = _key()
        local = _is_local(parsed.hostname)
        if self._key and parsed.scheme == "http" and not local:
            print("warning: the endpoint is http://, so anybody on the way can read the API token", file=sys.stderr)
        self._opener = urllib.request.build_opener(_NoRedirect(), *([urllib.request.ProxyHandler({})] if local else []))

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request, which is tried again while the server is busy or not there.

        Raises:
            InputError: There is no answer, or it is no JSON object.
        """
        for tried in range(_RETRIES + 1):
            try:
                return self._parse(path, self._exchange(path, body))
            except urllib.error.HTTPError as error:
                fault = self._refusal(path, error)
                if error.code not in (408, 429) and error.code < 500:
                    raise fault from None
                wait = _retry_after(error.headers.get("Retry-After"))
            except (OSError, http.client.HTTPException) as error:
                fault, wait = InputError(self._redacted(f"{self.base}{path}: no answer: {error}")), None
            if tried == _RETRIES:
                break
            time.sleep(min(wait if wait is not None else 0.5 * 2**tried, _LONGEST_WAIT))
        raise InputError(f"{fault}; tried {_RETRIES + 1} times (what was written stays, and a restart goes on from there)")

    def _exchange(self, path: str, body: Mapping[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": "watermark"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self.base + path, json.dumps(body).encode(), headers)
        with self._opener.open(request, timeout=self._timeout) as reply:
            read: bytes = reply.read(_MAX_ANSWER + 1)
        if len(read) > _MAX_ANSWER:
            raise InputError(f"{self.base}{path}: an answer of more than {_MAX_ANSWER} bytes; ask for fewer tokens with --top")
        return read

    def _parse(self, path: str, read: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(read.decode(), parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise InputError(f"{self.base}{path}: the answer is no JSON with finite numbers") from None
        if not isinstance(answer, dict):
            raise InputError(f"{self.base}{path}: the answer is no JSON object")
        return answer

    def _refusal(self, path: str, error: urllib.error.HTTPError) -> InputError:
        hints = {
            401: f"check the API token in {KEY}",
            403: f"check the API token in {KEY}",
            404: "check --endpoint, --api and --model",
        }
        hint = hints.get(error.code) or ("redirects are not followed" if 300 <= error.code < 400 else "")
        try:
            said = error.read(2000).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            said = ""
        shown = "".join(character for character in self._redacted(said) if character.isprintable())[:300]
        return InputError("; ".join(part for part in (f"{self.base}{path}: HTTP {error.code}", hint, shown) if part))

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "[redacted]") if self._key else text


def _key() -> str | None:
    key = os.environ.get(KEY, "").strip()
    if not key:
        return None
    if not 8 <= len(key) <= 4096 or not all("!" <= character <= "~" for character in key):
        raise ParameterError(f"the API token in {KEY} must be one word of 8 to 4096 visible ASCII characters")
    return key


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _retry_after(value: str | None) -> float | None:
    return float(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 6 else None


def _no_number(name: str) -> float:
    raise ValueError(name)


def _ln_p(value: object, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{place}: a log-probability is no number")
    try:
        ln_p = float(value)
    except OverflowError:
        ln_p = math.inf
    if not math.isfinite(ln_p) or ln_p > _ROUNDING:
        raise InputError(f"{place}: a log-probability is {ln_p:.4g}; natural logarithms of probabilities are finite and not above 0")
    return min(ln_p, 0.0)


def _id(value: object, place: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_TOKEN_ID:
        raise InputError(f"{place}: a token id is not an integer from 0 to {MAX_TOKEN_ID}")
    return value


def _list(value: object, longest: int, what: str, place: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > longest:
        raise InputError(f"{place}: {what} is no list of at most {longest}")
    return value


def _bytes(value: object, place: str) -> bytes:
    if isinstance(value, str):
        return value.encode(errors="replace")
    listed = _list(value, 1 << 16, "the bytes of a token", place)
    if not all(type(byte) is int and 0 <= byte < 256 for byte in listed):
        raise InputError(f"{place}: the bytes of a token are not integers from 0 to 255")
    return bytes(listed)


class _Asked:
    """What the two kinds of server share: requests side by side, one text each."""

    vocabulary: Vocabulary

    def __init__(self, client: Client, top: int, concurrency: int, reach: int | None) -> None:
        self._client, self._top = client, top
        #: Tokens of an input, counted from its beginning, that it reads or predicts; what lies beyond is left out.
        self.reach = sys.maxsize if reach is None else reach
        #: Ids of the input must be below.
        self.size = MAX_TOKEN_ID + 1
        self._pool = ThreadPoolExecutor(concurrency)

    def predict(self, batch: Sequence[Encoded]) -> list[list[Row]]:
        """For each token of each text what the model could say there; nothing where it has read nothing, or has read its fill."""
        return self._side_by_side(self._ask, batch)

    def candidates(
        self, batch: Sequence[Encoded], wanted: Sequence[Mapping[int, tuple[int, int]]]
    ) -> list[dict[int, tuple[float, float]]]:
        """Of each input the log-probabilities of two tokens in the place of that at an index, as far as the model reads."""
        return self._side_by_side(self._two, batch, wanted)

    def _side_by_side(self, ask: Callable[..., T], *each: Sequence[Any]) -> list[T]:
        asked = [self._pool.submit(ask, *one) for one in zip(*each, strict=True)]
        try:
            return [one.result() for one in asked]
        finally:
            for one in asked:
                one.cancel()

    def _ask(self, encoded: Encoded) -> list[Row]:
        raise NotImplementedError

    def _two(self, encoded: Encoded, wanted: Mapping[int, tuple[int, int]]) -> dict[int, tuple[float, float]]:
        raise NotImplementedError

    def _row(self, pairs: Sequence[tuple[int, float]]) -> Row:
        # A server adds the token that stands in the text; kept, a list would say what the text says.
        return likeliest((token, round(ln_p, DECIMALS)) for token, ln_p in pairs if ln_p >= FLOOR)[: self._top]


class Vllm(_Asked):
    """`/completions` of vLLM with `prompt_logprobs`: one request a text, in ids."""

    def __init__(
        self, client: Client, name: str, vocabulary: FastVocabulary, *, top: int, concurrency: int, max_length: int | None
    ) -> None:
        # The server has to have room for a token after the input.
        super().__init__(client, top, concurrency, None if max_length is None else max_length - 1)
        self._name, self.vocabulary, self._known = name, vocabulary, vocabulary
        self.about = {"api": "vllm", "endpoint": client.base, "name": name}

    def _ask(self, encoded: Encoded) -> list[Row]:
        rows: list[Row] = [[] for _ in encoded.at]
        ids = encoded.ids[: self.reach]
        if len(ids) < 2 or len(ids) <= encoded.begin:
            return rows
        for at, row in enumerate(self.read(self._post(ids), len(ids))):
            if at >= encoded.begin:
                rows[at - encoded.begin] = self._row([(token, ln_p) for token, ln_p in row if self._known.token(token)])
        return rows

    def _two(self, encoded: Encoded, wanted: Mapping[int, tuple[int, int]]) -> dict[int, tuple[float, float]]:
        ids = encoded.ids[: self.reach]
        places = {at: both for at, both in wanted.items() if 0 < at < len(ids)}
        if not places:
            return {}
        # The token that stands in the text is said too, by another computation than that of a token which is put in its place: of two candidates
        # that are not both among the likeliest, both are put there, so that nothing depends on which of them was served.
        found = {}
        rows = self.read(self._post(ids), len(ids))
        for at, both in places.items():
            among = dict(likeliest(rows[at])[: self._top])
            if not all(token in among for token in both):
                among = {token: self._in_place(ids[:at], token) for token in both}
            found[at] = (among[both[0]], among[both[1]])
        return found

    def _in_place(self, before: Sequence[int], token: int) -> float:
        last = dict(self.read(self._post([*before, token]), len(before) + 1)[-1])
        if token not in last:
            raise InputError(f"{self._client.base}/completions: no log-probability of token {token}, which stands in the input")
        return last[token]

    def _post(self, ids: Sequence[int]) -> dict[str, Any]:
        body = {"model": self._name, "prompt": list(ids), "max_tokens": 1, "temperature": 0, "prompt_logprobs": self._top}
        return self._client.post("/completions", body)

    def read(self, answer: Mapping[str, Any], n: int) -> list[list[tuple[int, float]]]:
        """What an answer says of `n` tokens: of each the likeliest, and that which stands there."""
        place = f"{self._client.base}/completions"
        choices = _list(answer.get("choices"), 1, "choices", place)
        if not choices or not isinstance(choices[0], dict) or choices[0].get("prompt_logprobs") is None:
            raise InputError(f"{place}: no prompt_logprobs in the answer; only vLLM's completions give them")
        listed = _list(choices[0]["prompt_logprobs"], n, "prompt_logprobs", place)
        if len(listed) != n:
            raise InputError(f"{place}: prompt_logprobs of {len(listed)} tokens for {n}; the server must take ids as they are")
        return [self._position(entry, at, f"{place}, prompt_logprobs[{at}]") for at, entry in enumerate(listed)]

    def _position(self, entry: object, at: int, place: str) -> list[tuple[int, float]]:
        if entry is None and at == 0:
            return []
        if not isinstance(entry, dict) or len(entry) > self._top + 1:
            raise InputError(f"{place}: not an object of at most {self._top + 1} tokens")
        pairs = []
        for name, value in entry.items():
            token = _id(int(name) if name.isascii() and name.isdigit() and len(name) < 10 else None, place)
            if not isinstance(value, dict):
                raise InputError(f"{place}: a token has no object with its logprob")
            pairs.append((token, _ln_p(value.get("logprob"), place)))
        return pairs


class LlamaCpp(_Asked):
    """`/completion` of llama.cpp's server with `n_probs`: one request a token, the input cut before it."""

    def __init__(self, client: Client, vocabulary: FastVocabulary | None, *, top: int, concurrency: int, max_length: int | None) -> None:
        super().__init__(client, top, concurrency, max_length)
        client.base = client.base.removesuffix("/v1")
        self._served = _ServedVocabulary(client)
        self.vocabulary = vocabulary or self._served
        self._own = vocabulary is not None
        self.about = {"api": "llama.cpp", "endpoint": client.base}

    def _ask(self, encoded: Encoded) -> list[Row]:
        rows: list[Row] = [[] for _ in encoded.at]
        whole = self._whole(encoded.ids)
        for at, start in enumerate(encoded.at):
            read = encoded.begin + at
            # What begins inside a character is never compared with anything.
            if start is not None and 0 < read < self.reach:
                rows[at] = self._row(self._next(encoded.ids[:read], whole, self._top))
        return rows

    def _two(self, encoded: Encoded, wanted: Mapping[int, tuple[int, int]]) -> dict[int, tuple[float, float]]:
        found = {}
        whole = self._whole(encoded.ids)
        for at, both in wanted.items():
            if not 0 < at < min(self.reach, len(encoded.ids)):
                continue
            known: dict[int, float] = {}
            # A token that is not among the likeliest is among all.
            for top in (self._top, MAX_TOKEN_ID):
                if not all(token in known for token in both):
                    known = dict(self._next(encoded.ids[:at], whole, top))
            first, second = (known.get(token) for token in both)
            if first is None or second is None:
                raise InputError(f"{self._client.base}/completion: the server does not list all tokens; raise --top to its vocabulary")
            found[at] = (first, second)
        return found

    def _whole(self, ids: Sequence[int]) -> list[list[float]]:
        """A bias that makes the server draw a token of whole characters: it keeps back the probabilities beside half a one. What it
        reports is the model's own distribution, before biases.
        """
        found = next((token for token in ids if (self.vocabulary.piece(token) or "\0").isprintable()), None)
        return [] if found is None else [[found, 1000]]

    def _next(self, ids: list[int], bias: list[list[float]], top: int) -> list[tuple[int, float]]:
        body = {
            "prompt": ids,
            "n_predict": 1,
            "n_probs": top,
            "temperature": 0,
            "cache_prompt": True,
            "post_sampling_probs": False,
            "logit_bias": bias,
        }
        return self.read(self._client.post("/completion", body), top)

    def read(self, answer: Mapping[str, Any], top: int) -> list[tuple[int, float]]:
        """What an answer says of the `top` likeliest tokens."""
        place = f"{self._client.base}/completion"
        if answer.get("truncated") is True:
            raise InputError(f"{place}: the server cut the input; start it with a larger context, or give --max-length")
        listed = _list(answer.get("completion_probabilities"), 2, "completion_probabilities", place)
        if not listed or not isinstance(listed[0], dict):
            raise InputError(f"{place}: no completion_probabilities in the answer")
        pairs = []
        for other in _list(listed[0].get("top_logprobs"), top, "top_logprobs", place):
            if not isinstance(other, dict):
                raise InputError(f"{place}: top_logprobs holds something else than objects")
            token = _id(other.get("id"), place)
            pairs.append((token, _ln_p(other.get("logprob"), place)))
            self._served.learn(token, _bytes(other.get("bytes"), place))
        return pairs


class _ServedVocabulary:
    """What a llama.cpp server says of its tokens, as far as it has said it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._bytes: dict[int, bytes] = {}

    def learn(self, token: int, value: bytes) -> None:
        """Keeps what a token stands for where it could come next: nothing for special tokens, however they are written."""
        self._bytes[token] = value

    def piece(self, token: int) -> str | None:
        return utf8(self._bytes.get(token, b""))

    def encode(self, prompt: str, text: str) -> Encoded:
        before = [token for token, _ in self._pieces(prompt, special=True)]
        pieces = self._pieces(text, special=False)
        wanted, said = text.encode(), b"".join(piece for _, piece in pieces)
        # SentencePiece puts a space before the first word.
        ahead = 1 if said == b" " + wanted else 0
        if said[ahead:] != wanted:
            raise InputError(
                f"{self._client.base}/tokenize: the pieces do not make up the text, as with tokenizers that normalise; give the model's "
                "own tokenizer with --model-tokenizer"
            )
        ids, at, cuts = [*before], -ahead, []
        for token, piece in pieces:
            ids.append(token)
            # A byte that continues a character begins with the bits 10.
            inside = 0 < at < len(wanted) and wanted[at] & 0xC0 == 0x80
            cuts.append(None if inside or at + len(piece) <= max(at, 0) else max(at, 0))
            at += len(piece)
        return Encoded(ids, len(before), cuts)

    def _pieces(self, text: str, *, special: bool) -> list[tuple[int, bytes]]:
        body = {"content": text, "add_special": special, "parse_special": True, "with_pieces": True}
        answer = self._client.post("/tokenize", body)
        place = f"{self._client.base}/tokenize"
        pieces = []
        for each in _list(answer.get("tokens"), len(text.encode()) + 8, "tokens", place):
            if not isinstance(each, dict):
                raise InputError(f"{place}: tokens without pieces; the server is too old")
            token, piece = _id(each.get("id"), place), _bytes(each.get("piece"), place)
            self._bytes.setdefault(token, piece)
            pieces.append((token, piece))
        return pieces
