"""Questions to a suspect model over its OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal

from . import _lib

__all__ = ["probe"]

Path = str | PathLike[str]


def probe(
    endpoint: str,
    model: str,
    prompts: Iterable[str],
    out: Path,
    *,
    profile: Path | None = None,
    key: Path | None = None,
    reference: Path | Sequence[Path] = (),
    layer: str | None = None,
    account: str | None = None,
    tokenizer: Path | None = None,
    api_key: str | None = None,
    api: Literal["chat", "completions"] = "chat",
    max_tokens: int = 128,
    temperature: float = 0.8,
    top_p: float | None = None,
    logprobs: int | None = None,
    stream: bool = False,
    extra: Mapping[str, Any] | None = None,
    round_size: int = 20,
    alpha: float = 1e-6,
    concurrency: int = 4,
    requests_per_minute: float | None = None,
    max_requests: int | None = None,
    max_completion_tokens: int | None = None,
    max_cost: float | None = None,
    price_prompt: float | None = None,
    price_completion: float | None = None,
    timeout: float = 120.0,
    max_retries: int = 5,
    futility: bool = True,
    progress: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Asks a suspect until the evidence decides or the budget ends: `watermark probe`, with its folder.

    Null hypothesis: the answers are independent of the key. The evidence is an e-value, which stays valid wherever one stops: under
    the null it ever reaches 1/alpha with probability at most alpha. Pairs that occur in a prompt of the same round or an earlier one
    do not count. Without `profile` and `key` the answers are collected for somebody else's test (`--replicate`).

    The folder holds transcript.jsonl and result.json. A run that was cut short, by Ctrl-C too, goes on with the same call.

    Args:
        endpoint: Base address, for example http://127.0.0.1:8080/v1.
        model: The suspect's name at the endpoint.
        prompts: Prompts, in the order in which they are asked.
        out: Folder of the run.
        profile: Path of the deployment's profile.
        key: Path of a key file at or above the profile's path.
        reference: Files of an unmarked model's answers to the same prompts, or a transcript that a call without `key` wrote of it. Beside
            them, small shares of marked training data show; the evidence is then looked at after 1, 2, 4, … rounds, and a p-value that pays for all
            looks decides.
        layer: The layer to test; by default the first one.
        account: The account whose keys are tested, for a layer with a key per account.
        tokenizer: Path of the deployment's tokenizer; by default the one beside the profile.
        api_key: The API token; by default that of the environment variable WATERMARK_API_KEY. It is never written.
        api: `chat` (/chat/completions) or `completions` (/completions).
        max_tokens: Longest answer in the server's tokens.
        temperature: Sampling temperature.
        top_p: Sample among the fewest tokens that hold this probability.
        logprobs: Ask for so many of the most likely tokens, and weigh pairs by their probabilities: far fewer answers are needed.
        stream: Ask for a stream of events.
        extra: Further fields of the request.
        round_size: Prompts between two looks at the evidence.
        alpha: Level of the verdict; to be fixed before the first answer.
        concurrency: Requests under way at a time.
        requests_per_minute: Most requests a minute, retries included.
        max_requests: Most requests of the whole run, retries included.
        max_completion_tokens: Most tokens of answers, by our tokenizer.
        max_cost: Most money, in the unit of the prices.
        price_prompt: Price of a million prompt tokens.
        price_completion: Price of a million answer tokens.
        timeout: Longest wait for a whole answer, in seconds.
        max_retries: Tries after the first.
        futility: Stop when the rest of the budget will hardly decide.
        progress: Called now and then, in this thread, with how far the run is: `answered` and `failed` of `prompts`, `requests`, and the
            evidence `ln_e` after the last complete round (beside references that of 1/p after the last look). What it raises stops the run, as Ctrl-C does.

    Returns:
        What result.json holds: `verdict`, `end`, `answered`, `test`, ...

    Raises:
        WatermarkError: A file or setting cannot be used, the endpoint refuses every prompt, or too many fail.
    """
    if (profile is None) != (key is None):
        raise _lib.InputError("profile and key go together; without both, the answers are collected for somebody else's test")
    if isinstance(prompts, str):
        raise _lib.InputError("prompts is one text; it must be a list of prompts")
    result = _lib.probe_endpoint(
        endpoint,
        model,
        list(prompts),
        out,
        mark=None if profile is None or key is None else (profile, key),
        references=[reference] if isinstance(reference, str | PathLike) else list(reference),
        layer=layer,
        account=account,
        tokenizer=tokenizer,
        api_key=os.environ.get("WATERMARK_API_KEY") if api_key is None else api_key,
        api=api,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        logprobs=logprobs,
        stream=stream,
        extra=json.dumps(dict(extra or {})),
        round_size=round_size,
        alpha=alpha,
        concurrency=concurrency,
        requests_per_minute=requests_per_minute,
        max_requests=max_requests,
        max_completion_tokens=max_completion_tokens,
        max_cost=max_cost,
        price_prompt=price_prompt,
        price_completion=price_completion,
        timeout=timeout,
        max_retries=max_retries,
        futility=futility,
        progress=progress,
    )
    found: dict[str, Any] = json.loads(result)
    return found
