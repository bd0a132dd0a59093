"""Scans of corpora of any size."""

from __future__ import annotations

import json
import pathlib
import warnings
from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Any

from . import _lib

__all__ = ["ScanResult", "scan"]

Paths = str | PathLike[str] | Sequence[str | PathLike[str]]


class ScanResult:
    """What a scan has found."""

    def __init__(self, result_json: bytes, hits: list[dict[str, Any]]) -> None:
        #: The bytes of `result.json`.
        self.json = result_json
        #: The same, parsed.
        self.result: dict[str, Any] = json.loads(result_json)
        #: Marked texts, strongest first: `key`, `profile`, `layer`, `id`, `part`, `n_scored`, `statistic`, `log10_p`, `ln_e`; of
        #: files also `file`, `record` and `bytes`.
        self.hits = hits

    @property
    def bad_records(self) -> dict[str, int]:
        """Records that could not be used, by kind: nothing else says anything about them."""
        counts: dict[str, int] = self.result["totals"]["bad_records"]
        return counts

    @property
    def detected(self) -> list[dict[str, Any]]:
        """The findings whose verdict is `detected`."""
        return [finding for finding in self.result["findings"] if finding["verdict"] == "detected"]

    def write(self, folder: str | PathLike[str]) -> None:
        """Writes `result.json` and `hits.jsonl` into a folder, which is made if it is not there."""
        out = pathlib.Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        (out / "result.json").write_bytes(self.json)
        (out / "hits.jsonl").write_text("".join(json.dumps(hit) + "\n" for hit in self.hits), encoding="utf-8")

    def __repr__(self) -> str:
        tested, texts = len(self.result["findings"]), self.result["totals"]["texts"]
        return (
            f"ScanResult({len(self.detected)} of {tested} tests detected, {len(self.hits)} hits in {texts} texts, "
            f"{sum(self.bad_records.values())} bad records)"
        )


def scan(
    inputs: Paths,
    profile: Paths,
    keys: Paths,
    out: str | PathLike[str],
    *,
    tokenizer: Paths = (),
    accounts: Iterable[str] | None = None,
    field: str | None = None,
    role: str | None = None,
    input_format: str = "auto",
    alpha: float = 1e-6,
    memory: int = 1 << 30,
    threads: int | None = None,
) -> ScanResult:
    """Tests whether files are marked under any of the keys, and which of their records: `watermark scan`, with its run folder.

    Null hypothesis of every test: the records are independent of the key. Verdicts are Holm's over keys and layers at `alpha`, so
    that with `accounts` the chance of naming any innocent account is at most `alpha`; hits are named at a false discovery rate
    of 1 % (e-BH). The same call goes on with a run that was stopped.

    Args:
        inputs: Files, folders and patterns: JSONL, JSON arrays, Parquet or text, plain, gzip or zstd.
        profile: Path or paths of profiles.
        keys: Path or paths of key files, mode 0600. They are called in the result as they are given here.
        out: The run folder.
        tokenizer: Path or paths of the profiles' tokenizers (`tokenizer.json`); by default those beside the profiles.
        accounts: Account ids, each of which is tested in layers with a key per account.
        field: JSON pointer to the generated text of a record, for example `/data/answer`.
        role: The role whose turns count in a conversation, instead of the assistant's.
        input_format: `auto`, `text`, `jsonl`, or `tokens` for records of token ids.
        alpha: Family-wise level of the verdicts.
        memory: Bytes that deduplication may take; beyond that it goes through a file in the run folder.
        threads: By default one per core.

    Raises:
        WatermarkError: A file, profile, key, tokenizer or option cannot be used.
    """
    folder = pathlib.Path(out)
    result = _lib.scan_files(
        _paths(inputs),
        _paths(profile),
        _paths(keys),
        folder,
        tokenizers=_paths(tokenizer),
        accounts=None if accounts is None else _accounts(accounts),
        field=field,
        role=role,
        input_format=input_format,
        alpha=alpha,
        memory=memory,
        threads=threads,
    )
    with (folder / "hits.jsonl").open(encoding="utf-8") as lines:
        found = ScanResult(result, [json.loads(line) for line in lines])
    if found.bad_records:
        warnings.warn(f"records that could not be used, by kind: {found.bad_records}; the result is of the others", stacklevel=2)
    if unread := found.result["totals"]["unread_inputs"]:
        warnings.warn(f"inputs not read to their end: {unread}; sources.jsonl says which", stacklevel=2)
    return found


def _accounts(given: Iterable[str]) -> list[str]:
    if isinstance(given, str):
        raise _lib.WatermarkError("accounts is one text; it must be a list of account ids")
    return list(given)


def _paths(given: Paths) -> list[str | PathLike[str]]:
    return [given] if isinstance(given, str | PathLike) else list(given)
