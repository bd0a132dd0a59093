"""Texts as they come in, as tokens of the model, and as lines that `watermark test-model --logprobs` reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

from ._lib import InputError

if TYPE_CHECKING:
    import tokenizers

#: The longest line of `watermark test-model`, in bytes.
MAX_LINE = 64 << 20
#: The largest token id of `watermark test-model`.
MAX_TOKEN_ID = (1 << 24) - 1

#: What a model could say at a position: token ids, each with the natural logarithm of its probability, likeliest first.
Row = list[tuple[int, float]]


@dataclass(frozen=True)
class Text:
    """A text and what stood before it, as characters, as ids of the mark's tokenizer, or both."""

    line: int
    id: str | None
    prompt: str
    text: str | None
    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...] | None

    @property
    def size(self) -> int:
        """About how much there is to read, in characters."""
        return len(self.prompt) + len(self.text or "") + 4 * (len(self.prompt_tokens) + len(self.tokens or ()))


@dataclass(frozen=True)
class Encoded:
    """A text in tokens of the model."""

    #: What the model reads: prompt, then text.
    ids: list[int]
    #: Where the text begins in `ids`.
    begin: int
    #: Of each token of the text the byte of the text where it begins; None where it begins inside a character, or stands for nothing.
    at: list[int | None]
    #: Tokens of the text whose own bytes are not those of the text, because the tokenizer normalises.
    changed: int = 0


class Vocabulary(Protocol):
    """What a model's tokens stand for."""

    def encode(self, prompt: str, text: str) -> Encoded:
        """Prompt and text, each by itself, so that the text's first token begins at its byte 0."""
        ...

    def piece(self, token: int) -> str | None:
        """The text of a token; None for special tokens and for those that are no UTF-8 by themselves."""
        ...


def read_texts(path: str | PathLike[str]) -> list[Text]:
    """The texts of a JSONL file; blank lines are skipped.

    Raises:
        InputError: A line cannot be used; the message says which one.
    """
    texts = [_text(record, place, number) for record, place, number in records(path)]
    if not texts:
        raise InputError(f"{path}: no texts; it must hold lines of " + '{"prompt": ..., "text": ...}')
    return texts


def records(path: str | PathLike[str]) -> Iterator[tuple[object, str, int]]:
    """The JSON of each line with its place and number; blank lines are skipped.

    Raises:
        InputError: A line is too long or no JSON.
    """
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            place = f"{path}, line {number}"
            if len(line) > MAX_LINE:
                raise InputError(f"{place}: longer than {MAX_LINE} bytes; split the text")
            if line.strip():
                yield _parse(line, place, number), place, number


def take_texts(records: Iterable[Mapping[str, Any]]) -> list[Text]:
    """Texts from memory, as the lines of a file would have them."""
    return [_text(record, f"texts[{at}]", at) for at, record in enumerate(records)]


def _parse(line: bytes, place: str, number: int) -> object:
    try:
        return json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: not UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        column = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{place}: not JSON{column}") from None


def _text(record: object, place: str, number: int) -> Text:
    if not isinstance(record, Mapping):
        raise InputError(f"{place}: not an object with the fields prompt and text, or prompt_tokens and tokens")
    text = string_of(record, "text", place)
    if text is None:
        text = string_of(record, "completion", place)
    tokens = ids_of(record, "tokens", place)
    if text is None and tokens is None:
        raise InputError(f'{place}: no field "text" or "tokens"')
    return Text(
        number,
        string_of(record, "id", place),
        string_of(record, "prompt", place) or "",
        text,
        ids_of(record, "prompt_tokens", place) or (),
        tokens,
    )


def string_of(record: Mapping[str, Any], name: str, place: str) -> str | None:
    """A field that is a string, or is not there."""
    value = record.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f'{place}: "{name}" is not a string')
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f'{place}: "{name}" has half a character (a lone surrogate) at character {error.start}') from None
    return value


def ids_of(record: Mapping[str, Any], name: str, place: str) -> tuple[int, ...] | None:
    """A field that is a list of token ids, or is not there."""
    value = record.get(name)
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not all(type(token) is int for token in value):
        raise InputError(f'{place}: "{name}" is not a list of token ids')
    if wrong := [token for token in value if not 0 <= token <= MAX_TOKEN_ID]:
        raise InputError(f'{place}: "{name}" has {wrong[0]}; token ids are integers from 0 to {MAX_TOKEN_ID}')
    return tuple(value)


class FastVocabulary:
    """A tokenizer of the `tokenizers` library: byte-level or of SentencePiece's kind, which is what open models have."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        made = json.loads(tokenizer.to_str())
        # A file may ask for both; they would cut texts short and add tokens to them.
        made["truncation"] = made["padding"] = None
        self._prompts = type(tokenizer).from_str(json.dumps(made))
        # What is left of a post-processor without special tokens trims spaces off the offsets.
        made["post_processor"] = None
        self._texts = type(tokenizer).from_str(json.dumps(made))
        self._parts = {name: made[name] for name in ("model", "normalizer", "pre_tokenizer", "added_tokens")}
        self._bytes = _token_bytes(made, self._texts.get_vocab(with_added_tokens=True))
        self._pieces = {token: utf8(value) for token, value in self._bytes.items() if value is not None}
        # Special tokens that end an input: a text follows each prompt, so they are taken off again.
        self._ending = next((at for at, added in enumerate(reversed(self._prompts.encode("a").special_tokens_mask)) if not added), 0)
        #: Its parts in one text, the same for every file with the same tokenizer.
        self.canonical = json.dumps(made, sort_keys=True)

    def equals(self, other: FastVocabulary) -> bool:
        """Whether both make the same ids of any text."""
        return self._parts == other._parts

    def prompt_ids(self, prompt: str, special: bool) -> list[int]:
        """Ids of a prompt, with the special tokens that the tokenizer begins with, or without."""
        if not special:
            return list(self._texts.encode(prompt, add_special_tokens=False).ids)
        ids = list(self._prompts.encode(prompt).ids)
        return ids[: len(ids) - self._ending]

    def text_ids(self, text: str) -> list[int]:
        """Ids of a text as `watermark detect` makes them."""
        return list(self._texts.encode(text, add_special_tokens=False).ids)

    def encode(self, prompt: str, text: str, special: bool = True) -> Encoded:
        before = self.prompt_ids(prompt, special)
        encoding = self._texts.encode(text, add_special_tokens=False)
        starts = _byte_starts(text)
        spans = [(starts[start], starts[end]) for start, end in encoding.offsets]
        ids = list(encoding.ids)
        return Encoded([*before, *ids], len(before), _cuts(spans), self._changed(ids, spans, text.encode()))

    def piece(self, token: int) -> str | None:
        return self._pieces.get(token)

    def decode(self, tokens: Sequence[int]) -> str:
        """Their text; what is no whole character at an end is U+FFFD there."""
        return str(self._texts.decode(list(tokens), skip_special_tokens=False))

    def token(self, token: int) -> bool:
        """Whether there is a token with this id; models have rows for more."""
        return token in self._bytes

    def _changed(self, ids: list[int], spans: list[tuple[int, int]], text: bytes) -> int:
        """Tokens that stand for whole characters and say something else."""
        changed = 0
        for at, (token, (start, end)) in enumerate(zip(ids, spans, strict=True)):
            shared = (at > 0 and spans[at - 1][1] > start) or (at + 1 < len(spans) and spans[at + 1][0] < end)
            value = self._bytes.get(token)
            # SentencePiece puts a space before the first word.
            said = (value, value[1:] if at == 0 and value[:1] == b" " else value) if value is not None else (None,)
            changed += not shared and text[start:end] not in said
        return changed


def utf8(value: bytes) -> str | None:
    """Bytes as text if they are whole characters, and any."""
    try:
        return value.decode() or None
    except UnicodeDecodeError:
        return None


def _byte_starts(text: str) -> list[int]:
    """The byte at which each character begins, and the number of bytes."""
    starts, at = [], 0
    for character in text:
        starts.append(at)
        at += len(character.encode())
    return [*starts, at]


def _cuts(spans: Iterable[tuple[int, int]]) -> list[int | None]:
    """Where tokens begin. Those that share a character have the same span, and only the first of them begins where it says."""
    cuts: list[int | None] = []
    reached = 0
    for start, end in spans:
        cuts.append(start if start >= reached and end > start else None)
        reached = max(reached, end)
    return cuts


def _token_bytes(made: dict[str, Any], vocab: dict[str, int]) -> dict[int, bytes | None]:
    """The bytes that each token stands for; None for special tokens."""
    decoders = list(_steps(made["decoder"], "decoders"))
    kinds = {step["type"] for step in decoders}
    if "ByteLevel" in kinds:
        byte_of = {character: byte for byte, character in enumerate(_byte_characters())}
        found = {token: _byte_level(word, byte_of) for word, token in vocab.items()}
    elif kinds & {"ByteFallback", "Metaspace"} or any(step.get("pattern") == {"String": "▁"} for step in decoders):
        found = {token: _sentence_piece(word) for word, token in vocab.items()}
    else:
        shown = ", ".join(sorted(kinds)) or "none"
        raise InputError(
            f"the model's tokenizer has the decoder {shown}; what its tokens stand for is known of byte-level tokenizers (decoder "
            "ByteLevel) and those of SentencePiece's kind (Metaspace, ByteFallback) only"
        )
    for added in made["added_tokens"]:
        found[added["id"]] = None if added["special"] else added["content"].encode()
    return found


def _steps(step: dict[str, Any] | None, name: str) -> Iterator[dict[str, Any]]:
    if step is not None and step["type"] == "Sequence":
        for inner in step[name]:
            yield from _steps(inner, name)
    elif step is not None:
        yield step


def _byte_characters() -> list[str]:
    """The characters that stand for the 256 bytes in a byte-level vocabulary: printable Latin-1 for itself, the others from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _byte_level(word: str, byte_of: dict[str, int]) -> bytes | None:
    values = [byte_of.get(character) for character in word]
    return None if None in values else bytes(value for value in values if value is not None)


def _sentence_piece(word: str) -> bytes:
    byte = re.fullmatch("<0x([0-9A-Fa-f]{2})>", word)
    return bytes.fromhex(byte[1]) if byte else word.replace("▁", " ").encode()


def line_of_pieces(text: Text, encoded: Encoded, rows: Sequence[Row], vocabulary: Vocabulary) -> str:
    """The line of a text in pieces at bytes."""
    positions = []
    for at, row in zip(encoded.at, rows, strict=True):
        if at is None or not row:
            continue
        top: dict[str, float] = {}
        for token, ln_p in row:
            if (piece := vocabulary.piece(token)) is not None:
                # Where two tokens are written alike the likelier one, which came first, counts.
                top.setdefault(piece, ln_p)
        positions.append({"at": at, "top": list(top.items())})
    return _line(text, {"prompt": text.prompt, "text": text.text, "positions": positions})


def line_of_ids(text: Text, prompt: Sequence[int], tokens: Sequence[int], rows: Sequence[Row]) -> str:
    """The line of a text in ids of the mark's tokenizer."""
    return _line(text, {"prompt_tokens": list(prompt), "tokens": list(tokens), "choices": rows})


def _line(text: Text, fields: dict[str, Any]) -> str:
    named = fields if text.id is None else {"id": text.id, **fields}
    line = json.dumps(named, ensure_ascii=False, separators=(",", ":"))
    if len(line) > MAX_LINE // 4 and len(line.encode()) > MAX_LINE:
        raise InputError(
            f"the line for text {text.line} would be longer than the {MAX_LINE} bytes that `watermark test-model` reads; keep fewer "
            "tokens of each position with --top (a restart refuses another --top, so begin anew), or split the text"
        )
    return line
