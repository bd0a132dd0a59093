"""Marks on the device that holds the logits, which stay there::

    from watermark_core.torch import Sampler

    sampler = Sampler("chat.profile.json", "master.key.json", seeds=range(batch), device="cuda")
    tokens = sampler.sample(logits)  # [batch, vocab_size] after temperature and truncation; -inf is a token that is out
    sampler.accept(tokens)

Where the profile's sampling policy applies boosts before the temperature, that is for the caller to do, between two calls::

    tokens = sampler.draw(truncate(sampler.process(logits) / temperature))

The policy's floors are the caller's to keep too: temperature and truncation have been applied before this module sees a row.

Words are those of `watermark_core.prf.ChaCha20V1`, bit for bit, and tokens those of `Session.sample` at temperature 1 with the
same seed, except where two tokens are equal to the last bit of a double. Only token ids come back to the host, one per row, or two with
paired draws. Profiles of the schemes `greenlist` and `gumbel`, and of paired draws; use `Session` for the others.

With paired draws each row is a request, `Sampler(..., requests=[...])`, and `sampler.withheld` has what the coins did not serve.

The layers' ChaCha20 keys, and no other secret, are copied to the device, as a tensor that is overwritten when the `Sampler` goes. The
memory of a device is shared with whatever else runs there; where that is too open, use `Session`.
"""

from __future__ import annotations

import hashlib
import json
import operator
import weakref
from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch

from ._lib import (
    ChaCha20V1,
    InputError,
    Marker,
    NodeKey,
    ParameterError,
    RequestKey,
    green_threshold,
    layer_prf,
    node_key,
    request_key,
    write_key_words,
)

__all__ = ["Sampler", "chacha20_words"]

_MASK = 0xFFFFFFFF
_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)  # "expand 32-byte k", RFC 8439 section 2.3
_KEY_B = 0x00200000  # where the words of a second draw under the same key begin, in blocks
_CERTAIN = 1.0 - 2.0**-23  # as the library: above it no mark has room in single precision


def chacha20_words(key: torch.Tensor, nonce: torch.Tensor, n: int, second: torch.Tensor | None = None) -> torch.Tensor:
    """Words of the tokens 0..n of every row, int64 in [0, 2^32), shape [rows, n].

    `key` [rows, 8] and `nonce` [rows, 3] are int64 with 32-bit little-endian words, on one device. RFC 8439's block function:
    token t has word t % 16 of block t / 16; rows where `second` [rows] is true have the words of a second draw instead, which begin at
    block 2^21. On CUDA with Triton in one kernel, else in torch's integer arithmetic.
    """
    first = torch.zeros(key.shape[0], dtype=torch.int64, device=key.device) if second is None else second.to(torch.int64) * _KEY_B
    if key.is_cuda:
        try:
            from ._chacha20_triton import words
        except ImportError:
            pass
        else:
            return words(key, nonce, first, n)
    return _chacha20_words(key, nonce, first, n)


def _rotate(x: torch.Tensor, bits: int) -> torch.Tensor:
    return ((x << bits) & _MASK) | (x >> (32 - bits))


def _chacha20_words(key: torch.Tensor, nonce: torch.Tensor, first: torch.Tensor, n: int) -> torch.Tensor:
    rows, blocks = key.shape[0], -(-n // 16)
    shape = (4, rows, blocks)
    constants = torch.tensor(_CONSTANTS, dtype=torch.int64, device=key.device)
    counter = (torch.arange(blocks, dtype=torch.int64, device=key.device) + first.unsqueeze(1)).unsqueeze(0)
    start = (
        constants.view(4, 1, 1).expand(shape),
        key[:, :4].T.unsqueeze(2).expand(shape),
        key[:, 4:].T.unsqueeze(2).expand(shape),
        torch.cat([counter, nonce.T.unsqueeze(2).expand(3, rows, blocks)]),
    )
    # The four rows of the state; a quarter round of each column at once, then of each diagonal.
    a, b, c, d = start
    for _ in range(10):
        for diagonal in (False, True):
            if diagonal:
                b, c, d = b.roll(-1, 0), c.roll(-2, 0), d.roll(-3, 0)
            a = (a + b) & _MASK
            d = _rotate(d ^ a, 16)
            c = (c + d) & _MASK
            b = _rotate(b ^ c, 12)
            a = (a + b) & _MASK
            d = _rotate(d ^ a, 8)
            c = (c + d) & _MASK
            b = _rotate(b ^ c, 7)
            if diagonal:
                b, c, d = b.roll(1, 0), c.roll(2, 0), d.roll(3, 0)
    words = torch.cat([(row + before) & _MASK for row, before in zip((a, b, c, d), start, strict=True)])
    return words.permute(1, 2, 0).reshape(rows, 16 * blocks)[:, :n]


def _draw_key(seed: int) -> list[int]:
    """The key of draws that no secret decides, as the library makes it of the seed."""
    draw = hashlib.sha256(b"watermark-draw-v1\0" + seed.to_bytes(8, "little")).digest()
    return [int.from_bytes(draw[at : at + 4], "little") for at in range(0, len(draw), 4)]


class _Layer:
    """A layer under one row's key, which is row `key` of the sampler's keys."""

    def __init__(self, scheme: str, prf: ChaCha20V1, width: int, key: int) -> None:
        self.scheme, self.width, self.key, self._prf = scheme, width, key, prf

    def nonce(self, context: Sequence[int]) -> list[int]:
        return self._prf.nonce(context)

    def write_key(self, out: torch.Tensor) -> None:
        write_key_words(self._prf, out.numpy())


class _Row:
    """What the host knows of one sequence."""

    def __init__(self, draw_key: int, layers: list[_Layer], request: RequestKey | None = None) -> None:
        #: With paired draws `draw_key` is the request's.
        self.draw_key, self.layers, self.request = draw_key, layers, request
        self.generated: list[int] = []
        self.withheld: list[int | None] = []
        self.used: set[tuple[int, ...]] = set()

    @property
    def choosing(self) -> _Layer | None:
        return next((layer for layer in self.layers if layer.scheme == "gumbel"), None)

    def choosing_context(self, special: frozenset[int]) -> tuple[int, ...] | None:
        return None if self.choosing is None else self.context(self.choosing.width, special)

    def accept(self, token: int, special: frozenset[int], drawn: Sequence[int] | None = None) -> None:
        """`drawn` are the candidates of this position, served and withheld, if they have been drawn."""
        context = self.choosing_context(special)
        if context is not None:
            self.used.add(context)
        self.generated.append(token)
        if self.request is not None:
            self.withheld.append(drawn[1] if drawn is not None and drawn[0] == token else None)

    def context(self, width: int, special: frozenset[int]) -> tuple[int, ...] | None:
        """The last `width` generated tokens, unless there are fewer or one of them is special."""
        if len(self.generated) < width:
            return None
        context = tuple(self.generated[len(self.generated) - width :])
        return None if special.intersection(context) else context

    def position(self) -> list[int]:
        return [len(self.generated) & _MASK, len(self.generated) >> 32, 0]


class Sampler:
    """A batch of sequences, row i of every tensor being sequence i; `seeds` [rows] in [0, 2^64) as for `Session`.

    `accounts` [rows] where a layer has a key per account, and nowhere else; `marked` [rows] is true for every row where it is None.
    `requests` [rows] where the profile has paired draws: each marked row's number in the ledger, which no other answer has.
    """

    def __init__(
        self,
        profile: dict[str, Any] | str | PathLike[str],
        key: NodeKey | str | PathLike[str],
        *,
        seeds: Sequence[int],
        accounts: Sequence[str] | None = None,
        requests: Sequence[str | None] | None = None,
        marked: Sequence[bool] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        node = node_key(key)
        marker = Marker(profile, node)  # all checks of profile and key
        read = json.loads(marker.profile)
        self._device = torch.device(device)
        self._vocab_size = marker.vocab_size
        self._special = frozenset(read["tokenizer"]["special_token_ids"])
        # Paired draws come last; they are no layer of logits or contexts.
        self._layers = [layer for layer in read["layers"] if layer.get("scheme") != "paired"]
        if isinstance(requests, str):
            raise ParameterError("requests is one text; it must be a list with the request of each row")
        if requests is not None and not marker.has_paired_draws:
            raise ParameterError("requests are named, but the profile has no paired draws; leave them out")
        ledgered = [request for request in requests or () if request is not None]
        if len(set(ledgered)) < len(ledgered):
            raise InputError("two rows are of the same request; each answer has a number of its own")
        policy = read.pop("sampling", None)
        self._boosts_first = policy is not None and policy["boost"] == "before_temperature"
        for layer in self._layers:
            if layer.get("scheme") not in ("greenlist", "gumbel"):
                has = layer.get("scheme") or layer.get("engine")
                raise ParameterError(f"layer {layer['name']!r} is {has}; on a device greenlist and gumbel are, use Session")
            if layer.get("per") == "account" and accounts is None and (marked is None or any(marked)):
                raise InputError(f"layer {layer['name']!r} has a key per account; name the account of each row")
        if isinstance(accounts, str):
            raise ParameterError("accounts is one text; it must be a list with the account of each row")
        seeds = [operator.index(seed) for seed in seeds]
        if accounts is not None and not marker.has_account_layer:
            raise ParameterError("accounts are named, but no layer of the profile has a key per account; leave them out")
        rows = len(seeds)
        for name, given in (("accounts", accounts), ("requests", requests), ("marked", marked)):
            if given is not None and len(given) != rows:
                raise InputError(f"{len(given)} {name} for {rows} seeds")
        known: dict[tuple[str, str | None], _Layer] = {}
        self._rows: list[_Row] = []
        for row in range(rows):
            layers = []
            is_marked = marked is None or marked[row]
            request = None
            if is_marked and marker.has_paired_draws:
                named = requests[row] if requests is not None else None
                if not named:
                    raise InputError(f"row {row}: the profile has paired draws; name the request by its number in the ledger")
                request = request_key(read, node, named)
            for layer in self._layers if is_marked else ():
                account = accounts[row] if accounts is not None and layer.get("per") == "account" else None
                name = layer["name"]
                if (name, account) not in known:
                    prf = layer_prf(read, node, name, account)
                    known[name, account] = _Layer(layer["scheme"], prf, layer["width"], rows + 1 + len(known))
                layers.append(known[name, account])
            self._rows.append(_Row(row, layers, request))
        # Keys of draws by row, that of seed 0 for the comparison, and those of the layers.
        keys = torch.tensor([*map(_draw_key, seeds), _draw_key(0), *([[0] * 8] * len(known))], dtype=torch.int64)
        for layer_key in known.values():
            layer_key.write_key(keys[layer_key.key])
        for row, of_row in enumerate(self._rows):
            if of_row.request is not None:
                write_key_words(of_row.request, keys[row].numpy())
        self._keys = keys.to(self._device, copy=True)
        keys.zero_()
        weakref.finalize(self, self._keys.zero_).atexit = False
        special = sorted(token for token in self._special if token < self._vocab_size)
        self._special_columns = torch.tensor(special, dtype=torch.int64, device=self._device)
        #: Candidates of the next position, served and withheld, [rows] each; with paired draws, once they are drawn.
        self._drawn: tuple[torch.Tensor, torch.Tensor] | None = None
        marked_rows = (at for at, row in enumerate(self._rows) if row.layers or row.request is not None)
        if (at := next(marked_rows, None)) is not None:
            like = self._rows[at]
            compared = _Row(rows if like.request is None else at, like.layers, like.request)
            names = (None if accounts is None else accounts[at], None if requests is None else requests[at])
            # Without the policy: what is compared is words and draws at temperature 1.
            self._compare(Marker(read, node), compared, *names)

    def __repr__(self) -> str:
        return f"Sampler(<{len(self._rows)} rows>, device={str(self._device)!r}, key=<not shown>)"

    def __reduce__(self) -> Any:
        raise TypeError("a Sampler holds keys and is not pickled or copied; make it anew from profile and key")

    @property
    def generated(self) -> list[list[int]]:
        """Tokens accepted so far, row by row."""
        return [list(row.generated) for row in self._rows]

    @property
    def withheld(self) -> list[list[int | None]]:
        """With paired draws, what the coins did not serve at each accepted token, row by row; None where another token than the drawn one was
        accepted. Special candidates are returned too, and count for nothing."""
        return [list(row.withheld) for row in self._rows]

    def process(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits [rows, vocab_size] in float32 as the reweighting layers leave them, for an engine that draws itself, or for `draw`.

        They take the model's own logits where the profile's policy applies boosts before the temperature, else those after temperature
        and truncation.
        """
        self._check(logits)
        self._drawn = None
        return self._bend(logits.float(), self._rows)

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """The next token of each row, int64 [rows] on the device, of logits that `process`, temperature and truncation have left."""
        self._check(logits)
        return self._serve(logits.float())

    def sample(self, logits: torch.Tensor) -> torch.Tensor:
        """The next token of each row, int64 [rows] on the device, of logits [rows, vocab_size] after temperature and truncation.

        Does not advance the sequences: calling it again gives the same tokens.
        """
        if self._boosts_first:
            raise InputError(
                "the profile's sampling policy applies boosts before the temperature: call process with the model's logits, then "
                "temperature and truncation, then draw"
            )
        self._check(logits)
        return self._serve(self._bend(logits.float(), self._rows))

    def accept(self, tokens: torch.Tensor | Sequence[int]) -> None:
        """Appends the emitted token of each row."""
        ids = [int(token) for token in (tokens.tolist() if isinstance(tokens, torch.Tensor) else tokens)]
        if len(ids) != len(self._rows):
            raise InputError(f"{len(ids)} tokens for {len(self._rows)} rows")
        for at, token in enumerate(ids):
            if not 0 <= token < self._vocab_size:
                raise InputError(f"row {at}: token {token} is outside a vocabulary of {self._vocab_size}")
        drawn, self._drawn = self._drawn, None
        both = [None] * len(ids) if drawn is None else list(zip(*(side.tolist() for side in drawn), strict=True))
        for row, token, candidates in zip(self._rows, ids, both, strict=True):
            row.accept(token, self._special, candidates)

    def _check(self, logits: torch.Tensor) -> None:
        if not isinstance(logits, torch.Tensor):
            raise InputError(f"logits are {type(logits).__name__}; a torch.Tensor is needed")
        if tuple(logits.shape) != (len(self._rows), self._vocab_size):
            raise InputError(f"logits are {list(logits.shape)}; [{len(self._rows)}, {self._vocab_size}] is needed")
        if logits.device.type != self._device.type:
            raise InputError(f"logits are on {logits.device}, this sampler is on {self._device}")
        # A maximum is NaN if an entry is, +inf if one is, and -inf if no token is left.
        wrong = ~torch.isfinite(logits.amax(1)) if logits.numel() else torch.zeros(0, dtype=torch.bool)
        if bool(wrong.any()):
            raise InputError(f"row {int(wrong.nonzero()[0])}: a logit is NaN or +inf, or none is finite")

    def _tensor(self, values: Sequence[Any]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)

    def _words(self, inputs: Sequence[tuple[int, list[int]]], second: Sequence[bool] | None = None) -> torch.Tensor:
        keys, nonces = zip(*inputs, strict=True)
        other = None if second is None else torch.tensor(second, device=self._device)
        return chacha20_words(self._keys[self._tensor(keys)], self._tensor(nonces), self._vocab_size, other)

    def _bend(self, logits: torch.Tensor, rows: Sequence[_Row]) -> torch.Tensor:
        greens = [(at, layer) for at, layer in enumerate(self._layers) if layer["scheme"] == "greenlist"]
        if not greens or not rows:
            return logits
        left = logits > float("-inf")
        free = torch.softmax(logits.double(), 1).amax(1) < _CERTAIN
        for at, parameters in greens:
            active, inputs = [], []
            for index, row in enumerate(rows):
                context = row.context(row.layers[at].width, self._special) if row.layers else None
                if context is not None:
                    active.append(index)
                    inputs.append((row.layers[at].key, row.layers[at].nonce(context)))
            if not active:
                continue
            index = self._tensor(active)
            before, support = logits[index], left[index]
            green = (self._words(inputs) < green_threshold(parameters["gamma"])) & support
            # Special tokens are never favoured, nor does a hard list forbid them: a text must be able to end.
            green[:, self._special_columns] = False
            if parameters.get("hard"):
                kept = green | ~green.any(1, keepdim=True)
                kept[:, self._special_columns] = True
                after = before.masked_fill(~kept, float("-inf"))
            else:
                after = torch.where(green, before + parameters["delta"], before)
            logits = logits.index_copy(0, index, torch.where(free[index].unsqueeze(1), after, before))
        return logits

    def _serve(self, logits: torch.Tensor) -> torch.Tensor:
        served = self._draw(logits, self._rows)
        if any(row.request is not None for row in self._rows):
            self._drawn = (served, self._draw(logits, self._rows, withheld=True))
        return served

    def _draw(self, logits: torch.Tensor, rows: Sequence[_Row], *, withheld: bool = False) -> torch.Tensor:
        """The tokens that are served, or those that paired draws withhold; rows without them have one draw."""
        if not rows:
            return self._tensor([])
        inputs, second = [], []
        for row in rows:
            context = row.choosing_context(self._special)
            layer = row.choosing
            if layer is None or context is None or context in row.used:
                inputs.append((row.draw_key, row.position()))
            else:
                inputs.append((layer.key, layer.nonce(context)))
            second.append(row.request is not None and bool(row.request.coin(len(row.generated))) != withheld)
        # The Gumbel variable of (word + 1/2) / 2^32, in place: a batch of words is large.
        noise = self._words(inputs, second).double().add_(0.5).mul_(2.0**-32).log_().neg_().log_()
        return (logits.double() - noise).argmax(1)

    def _compare(self, marker: Marker, row: _Row, account: str | None, request: str | None) -> None:
        """Refuses a device, or a key derived here, that does not give what the library gives on a row of equal logits."""
        usual = [token for token in range(min(self._vocab_size, 4096)) if token not in self._special]
        session = marker.session(seed=0, account=account, request=request)
        for token in usual[: max((layer["width"] for layer in self._layers), default=1)]:
            row.accept(token, self._special)
            session.accept(token)
        equal = torch.zeros(1, self._vocab_size)
        here = self._bend(equal.to(self._device), [row])
        expected, bent = [session.sample(equal[0].numpy())], equal.clone()
        session.process(bent[0].numpy())
        drawn = [int(self._draw(here, [row]))]
        if row.request is not None:
            # What was sampled is drawn again after `process`, which forgets it.
            expected = [session.sample(equal[0].numpy())]
            session.accept(expected[0])
            expected += [token for token in session.withheld if token is not None][-1:]
            drawn.append(int(self._draw(here, [row], withheld=True)))
        if drawn != expected or not torch.equal(here.cpu(), bent):
            raise ParameterError(f"device {self._device} does not compute what the library computes; use Session")
