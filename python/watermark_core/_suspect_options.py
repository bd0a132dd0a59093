"""How a suspect is run along texts."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Literal

from ._lib import ParameterError
from ._suspect_candidates import CONTINUES

DTYPES = ("auto", "float32", "float16", "bfloat16")
APIS = ("vllm", "llama.cpp", *CONTINUES)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a model is run along texts."""

    #: The mark's `tokenizer.json`: ids are written if it is the model's tokenizer too.
    tokenizer: str | os.PathLike[str] | None = None
    #: The model's tokenizer is the mark's own, whatever files say.
    same_tokenizer: bool = False
    #: The model's own tokenizer, where it is not beside the weights: a folder, a `tokenizer.json`, a GGUF file.
    model_tokenizer: str | os.PathLike[str] | None = None
    #: Put each prompt into the chat template of the model's tokenizer, as one turn of a user.
    chat: bool = False
    #: Precision of the weights in memory.
    dtype: str = "auto"
    #: As torch names devices; by default a GPU if there is one.
    device: str | None = None
    #: Divides the logits.
    temperature: float = 1.0
    #: Keep so many of the likeliest tokens; by default all of at least 2^-16, at endpoints 20.
    top: int | None = None
    #: Most tokens that the model reads at once, where it says nothing itself, or fewer than it could.
    max_length: int | None = None
    #: Inputs at a time; at an endpoint, requests under way.
    batch_size: int = 8
    #: Base address of an endpoint, for example http://127.0.0.1:8000/v1; the model is then its name there.
    endpoint: str | None = None
    #: What the endpoint is. The last four are for pairs: they say how it is asked to continue an answer.
    api: Literal["vllm", "llama.cpp", "completions", "chat-prefix", "chat-partial", "chat-continue"] = "vllm"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ParameterError(f"temperature is {self.temperature}; it must be above 0")
        for name, least in (("top", 1), ("max_length", 2), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ParameterError(f"{name} is {value}; it must be at least {least}")
        if self.dtype not in DTYPES:
            raise ParameterError(f"dtype {self.dtype!r} is none of {', '.join(DTYPES)}")
        if self.api not in APIS:
            raise ParameterError(f"api {self.api!r} is none of {', '.join(APIS)}")
        if self.endpoint is None and self.api != "vllm":
            raise ParameterError(f"api {self.api} needs an endpoint")
        if self.endpoint is not None and self.temperature != 1:
            raise ParameterError("an endpoint gives the probabilities of temperature 1; leave the temperature out")
        if self.endpoint is not None and self.chat:
            raise ParameterError("an endpoint is asked with texts as they are; put the chat template into the prompts")
