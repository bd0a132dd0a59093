"""Tests of a suspect model over files of what it showed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

from . import _lib

__all__ = ["test_model"]

Path = str | PathLike[str]


def test_model(
    profile: Path,
    key: Path,
    *,
    answers: Path | Sequence[Path] = (),
    logprobs: Path | Sequence[Path] = (),
    reading: Path | Sequence[Path] = (),
    controls: Path | Sequence[Path] = (),
    reference: Path | Sequence[Path] = (),
    reserved: Path | Sequence[Path] = (),
    layers: Sequence[str] = (),
    account: str | None = None,
    tokenizer: Path | None = None,
    input_format: str = "auto",
    resample: int = 999,
    alpha: float = 1e-6,
    progress: Callable[[dict[str, Any]], object] | None = None,
) -> list[dict[str, Any]]:
    """Was a model trained on marked answers? `watermark test-model`: one result for each layer.

    Null hypothesis: the model is independent of the key. Pairs are weighted by how often or how probably the suspect chose them, and beside
    a reference by how far that is beyond what the reference expects, which sees marks that were a small part of the training data. A
    reference has seen neither key nor marked answers, and is fixed before the key is drawn: one that was chosen with the key would accuse
    anybody.

    Args:
        profile: Path of the deployment's profile.
        key: Path of a key file at or above the profile's path.
        answers: Files of the suspect's answers, or one transcript of `probe`.
        logprobs: Files of its answers with next-token log-probabilities, as `watermark_core.suspect` writes them.
        reading: Files of its choices while it read marked texts.
        controls: Files of unrelated models, one a model.
        reference: Files of unmarked models, one a model: their answers to the same prompts, or, much better, their probabilities along the
            texts of suspect and controls, as `watermark_core.suspect` writes them. Several are mixed as fits the suspect best.
        reserved: Profiles whose keys only ever served quarantined or honeypot accounts.
        layers: Names of the layers that are tested; by default all.
        account: The account whose keys are tested, for layers with a key per account.
        tokenizer: Path of the deployment's tokenizer; by default the one beside the profile.
        input_format: What answers hold: `auto`, `text`, `jsonl` or `tokens`.
        resample: Fresh keys to score the same material under; below 999 they decide nothing.
        alpha: Family-wise level of a verdict.
        progress: Called now and then, in this thread, with `fresh_keys` of `fresh_keys_in_all`. What it raises stops the test.

    Returns:
        What `test-model --json` prints, a dict for each layer: `verdict`, `log10_p`, `decided_by`, `references`, `controls`, ...

    Raises:
        WatermarkError: A file or setting cannot be used, a record is bad, or a reference does not fit the texts.
    """
    shown = {"answers": _paths(answers), "logprobs": _paths(logprobs), "reading": _paths(reading)}
    given = [name for name, paths in shown.items() if paths]
    if len(given) != 1:
        raise _lib.InputError(f"one of answers, logprobs and reading says what the suspect shows; given: {', '.join(given) or 'none'}")
    found = _lib.test_model_files(
        profile,
        key,
        given[0],
        shown[given[0]],
        controls=_paths(controls),
        references=_paths(reference),
        reserved=_paths(reserved),
        layers=list(layers),
        account=account,
        tokenizer=tokenizer,
        input_format=input_format,
        resample=resample,
        alpha=alpha,
        progress=progress,
    )
    return [json.loads(line) for line in found]


# The name says what it tests; runners that collect functions by name are not to run it.
test_model.__test__ = False  # type: ignore[attr-defined]


def _paths(paths: Path | Sequence[Path]) -> list[Path]:
    return [paths] if isinstance(paths, str | PathLike) else list(paths)
