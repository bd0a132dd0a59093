"""A model whose weights are at hand, run along texts with transformers."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ._lib import InputError, ParameterError
from ._suspect_texts import Encoded, FastVocabulary, Row

if TYPE_CHECKING:
    import tokenizers
    import torch

T = TypeVar("T")
#: ln 2^-16: what `watermark test-model` can still tell from nothing.
FLOOR = -16 * math.log(2)
#: Decimals of a log-probability that are kept.
DECIMALS = 6
# Positions are sorted in parts of this many numbers, 256 MiB as float32, beside the logits themselves.
_PART = 1 << 26
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
_SETTINGS = (".json", ".jinja", ".model", ".tiktoken", ".txt")


class LocalModel:
    """A causal language model in memory."""

    def __init__(
        self,
        model: Any,
        vocabulary: FastVocabulary,
        *,
        temperature: float = 1.0,
        top: int | None = None,
        max_length: int | None = None,
    ) -> None:
        self._model = model.eval()
        self.vocabulary = vocabulary
        self._temperature, self._top = temperature, top
        self._longest = _longest(model, max_length)
        #: Tokens of an input, counted from its beginning, that it reads or predicts; what lies beyond is left out.
        self.reach = self._longest + 1
        #: Rows of the model's logits; ids of the input must be below.
        self.size: int = model.get_input_embeddings().weight.shape[0]
        self._unused: list[int] | None = None
        self.about = {"dtype": str(model.dtype).removeprefix("torch."), "device": _device_name(model.device)}

    def predict(self, batch: Sequence[Encoded]) -> list[list[Row]]:
        """For each token of each text what the model could say there; nothing where it has read nothing, or has read its fill."""
        return self._read(batch, [[[] for _ in encoded.at] for encoded in batch], lambda at, logits, read: self._rows(logits, batch[at], read))

    def candidates(
        self, batch: Sequence[Encoded], wanted: Sequence[Mapping[int, tuple[int, int]]]
    ) -> list[dict[int, tuple[float, float]]]:
        """Of each input the log-probabilities of two tokens in the place of that at an index, as far as the model reads."""
        return self._read(batch, [{} for _ in batch], lambda at, logits, read: self._two(logits, wanted[at], read))

    def likelihoods(self, inputs: Sequence[tuple[list[int], int]]) -> list[float]:
        """Of each input the log-probability of its tokens from an index on, which is not 0; none of them is longer than `reach`."""
        batch = [Encoded(ids, begin, []) for ids, begin in inputs]
        return self._read(batch, [0.0] * len(batch), lambda at, logits, read: self._from(logits, batch[at], read))

    def _from(self, logits: torch.Tensor, encoded: Encoded, read: int) -> float:
        import torch

        ln_p = torch.log_softmax(logits[encoded.begin - 1 : read].double() / self._temperature, dim=-1)
        tokens = torch.tensor(encoded.ids[encoded.begin :], dtype=torch.int64, device=logits.device)
        return float(self._finite(ln_p.gather(1, tokens.unsqueeze(1))).sum())

    @staticmethod
    def _finite(found: torch.Tensor) -> torch.Tensor:
        if not found.isfinite().all():
            raise InputError("the model's logits are no numbers (NaN or infinite); try --dtype float32, and whether its files are whole")
        return found

    def _read(self, batch: Sequence[Encoded], nothing: list[T], each: Callable[[int, torch.Tensor, int], T]) -> list[T]:
        import torch

        # The last token of an input is predicted, and not read.
        read = [encoded.ids[: min(len(encoded.ids) - 1, self._longest)] for encoded in batch]
        width = max((len(ids) for ids in read), default=0)
        if width == 0:
            return nothing
        # Padding stands on the right, so each input has the positions 0, 1, ... and sees nothing of it.
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in read], device=self._model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in read], device=self._model.device)
        try:
            with torch.inference_mode():
                logits = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits
                return [each(at, row, len(taken)) for at, (row, taken) in enumerate(zip(logits, read, strict=True))]
        except RuntimeError as error:
            # On a processor there is no error of its own for this.
            if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
                raise
            raise InputError(
                f"out of memory with {len(batch)} inputs of up to {width} tokens; take a smaller --batch-size, or --max-length if it is 1 "
                "already (what was written stays, and a restart goes on from there)"
            ) from None

    def _two(self, logits: torch.Tensor, wanted: Mapping[int, tuple[int, int]], read: int) -> dict[int, tuple[float, float]]:
        import torch

        # Logits at i are about the token at i + 1.
        places = [at for at in wanted if 0 < at <= read]
        if not places:
            return {}
        ln_p = torch.log_softmax(logits[torch.tensor(places, device=logits.device) - 1].double() / self._temperature, dim=-1)
        tokens = torch.tensor([wanted[at] for at in places], device=logits.device)
        found = self._finite(ln_p.gather(1, tokens)).cpu()
        return {at: (first, second) for at, (first, second) in zip(places, found.tolist(), strict=True)}

    def _rows(self, logits: torch.Tensor, encoded: Encoded, read: int) -> list[Row]:
        rows: list[Row] = [[] for _ in encoded.at]
        first = max(encoded.begin, 1)
        # Logits at i are about the token at i + 1.
        useful = logits[first - 1 : read]
        step = max(_PART // logits.shape[-1], 1)
        found = [row for at in range(0, len(useful), step) for row in self._likeliest(useful[at : at + step])]
        rows[first - encoded.begin : first - encoded.begin + len(found)] = found
        return rows

    def _likeliest(self, logits: torch.Tensor) -> list[Row]:
        import torch

        ln_p = torch.log_softmax(logits.float() / self._temperature, dim=-1)
        if ln_p.isnan().any():
            raise InputError("the model's logits are no numbers (NaN or infinite); try --dtype float32, and whether its files are whole")
        if self._unused is None:
            self._unused = [token for token in range(ln_p.shape[-1]) if not self.vocabulary.token(token)]
        # Rows without a token, which models have for padding, must take no other's place.
        ln_p[:, self._unused] = -torch.inf
        kept = (ln_p >= FLOOR).sum(dim=-1).clamp(max=self._top or ln_p.shape[-1])
        values, tokens = ln_p.topk(int(kept.max()), dim=-1)
        rounded = values.cpu().double().clamp(max=0.0).round(decimals=DECIMALS)
        return [
            likeliest(zip(ids[:n], row[:n], strict=True))
            for ids, row, n in zip(tokens.tolist(), rounded.tolist(), kept.tolist(), strict=True)
        ]


def likeliest(row: Iterable[tuple[int, float]]) -> Row:
    """Pairs of id and log-probability, likeliest first, in one order for all machines."""
    falling = sorted((-ln_p, token) for token, ln_p in row)
    # Not the negative, which would be -0.0 for 0.
    return [(token, 0.0 - cost) for cost, token in falling]


def _longest(model: Any, asked: int | None) -> int:
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    names = ("max_position_embeddings", "n_positions", "seq_length")
    known = next((value for name in names if isinstance(value := getattr(config, name, None), int) and value > 0), None)
    if asked is not None:
        if known is not None and asked > known:
            raise ParameterError(f"--max-length is {asked}; the model reads {known} tokens at most")
        return asked
    if known is None:
        raise ParameterError("the model's configuration does not say how many tokens it reads; give --max-length")
    return known


def _device_name(device: torch.device) -> str:
    import torch

    return str(torch.cuda.get_device_name(device) if device.type == "cuda" else device.type)


def load(path: str, *, dtype: str, device: str | None, model_tokenizer: str | None) -> tuple[Any, Any, dict[str, Any]]:
    """Model and tokenizer of a folder, a GGUF file or a name at Hugging Face, and the digests of their files."""
    transformers = _transformers()
    import torch

    home, gguf = _place(path)
    named = {} if gguf is None else {"gguf_file": gguf}
    files = [home / gguf] if gguf is not None else [file for file in sorted(home.iterdir()) if file.is_file() and file.suffix != ".gguf"]
    about = digests(files)
    kind = "auto" if dtype == "auto" else getattr(torch, dtype)
    try:
        # Code that comes with weights is never run.
        model = transformers.AutoModelForCausalLM.from_pretrained(str(home), dtype=kind, trust_remote_code=False, **named)
        tokenizer = load_tokenizer(model_tokenizer) if model_tokenizer else _auto_tokenizer(str(home), named)
        model = model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except (AssertionError, ImportError, KeyError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: it cannot be loaded with dtype {dtype} and device {device}: {str(error).strip()[:1000]}") from None
    return model, tokenizer, about


def _transformers() -> Any:
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise ImportError(
            f"a model on this machine needs torch and transformers ({error}): pip install 'watermark-core[transformers]'"
        ) from None
    return transformers


def _place(path: str) -> tuple[pathlib.Path, str | None]:
    """The folder of a model, and the name of its GGUF file if it is one."""
    place = pathlib.Path(path)
    if place.is_dir():
        if not any(file.suffix in _WEIGHTS for file in place.iterdir()):
            ggufs = sorted(file.name for file in place.glob("*.gguf"))
            hint = f"name one of its GGUF files: {', '.join(ggufs[:5])}" if ggufs else "it must hold *.safetensors or *.bin"
            raise InputError(f"{path}: no weights in this folder; {hint}")
        return place, None
    if place.is_file():
        if place.suffix != ".gguf":
            raise InputError(f"{path}: give the model's folder, or a file that ends in .gguf")
        for name in ("gguf", "accelerate"):
            if importlib.util.find_spec(name) is None:
                raise ImportError("transformers needs gguf and accelerate for GGUF files: pip install 'watermark-core[gguf]'")
        return place.parent, place.name
    if path.count("/") > 1 or place.suffix == ".gguf":
        raise InputError(f"{path}: no such file or folder")
    import huggingface_hub

    try:
        return pathlib.Path(huggingface_hub.snapshot_download(path, ignore_patterns=["*.gguf", "*.onnx", "*.msgpack", "*.h5"])), None
    except Exception as error:
        raise InputError(f"{path}: no folder here, and Hugging Face gives no such model: {str(error).strip()[:300]}") from None


def digests(files: Sequence[pathlib.Path]) -> dict[str, Any]:
    """SHA-256 of each file of weights, and of all of them and of all settings as `sha256sum` would list them."""
    weights = {file.name: _sha256(file) for file in files if file.suffix in (*_WEIGHTS, ".gguf")}
    settings = {file.name: _sha256(file) for file in files if file.suffix in _SETTINGS}
    return {"weights": weights, "weights_sha256": _of_list(weights), "settings_sha256": _of_list(settings)}


def _sha256(file: pathlib.Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _of_list(named: Mapping[str, str]) -> str:
    listed = "".join(f"{named[name]}  {name}\n" for name in sorted(named))
    return hashlib.sha256(listed.encode()).hexdigest()


def _auto_tokenizer(home: str, named: Mapping[str, str]) -> Any:
    return _transformers().AutoTokenizer.from_pretrained(home, trust_remote_code=False, **named)


def load_tokenizer(path: str) -> Any:
    """A tokenizer: a `tokenizer.json`, or by transformers from a folder or a GGUF file."""
    place = pathlib.Path(path)
    if place.is_dir() and (place / "tokenizer_config.json").is_file():
        return _auto_tokenizer(path, {})
    if place.suffix == ".gguf":
        return _auto_tokenizer(str(place.parent), {"gguf_file": place.name})
    return read_tokenizer(place / "tokenizer.json" if place.is_dir() else place)


def read_tokenizer(path: pathlib.Path) -> tokenizers.Tokenizer:
    """A `tokenizer.json`."""
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError(f"a tokenizer.json needs the tokenizers library ({error}): pip install tokenizers") from None
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"{path}: not a tokenizer.json that can be read: {str(error)[:300]}") from None


def vocabulary_of(tokenizer: Any) -> FastVocabulary:
    """What a tokenizer of either library says of its tokens."""
    fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(fast, "to_str"):
        raise InputError(f"the model's tokenizer ({type(tokenizer).__name__}) has no tokenizer.json form; give one with --model-tokenizer")
    return FastVocabulary(fast)


def versions() -> dict[str, str]:
    """Versions of what computes, as far as it is installed."""
    found = {}
    for name in ("accelerate", "gguf", "tokenizers", "torch", "transformers"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
