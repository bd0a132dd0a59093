"""Scans of corpora of any size, and which accounts texts are from."""

from __future__ import annotations

import json
import pathlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from . import _frame, _lib

if TYPE_CHECKING:
    import pandas

    from ._lib import _Key, _Profile, _Record

__all__ = ["ScanResult", "attribute", "scan"]

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

    def to_frame(self, of: Literal["findings", "hits"] = "findings") -> pandas.DataFrame:
        """A pandas DataFrame of the `findings`, one row for each key and layer, or of the `hits`."""
        return _frame.of_scan(self.result["findings"], self.hits, of)

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
    progress: Callable[[dict[str, Any]], object] | None = None,
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
        progress: Called now and then, in this thread, with how far the scan is: `phase` (`reading`, `scoring`, `ranking`), `bytes` of
            `bytes_in_all`, `records`, `tokens`, `bad_records`, `shards`, `resumed_shards`, and `ln_e` of the strongest mean of the
            texts' e-values. What it raises stops the scan, as Ctrl-C does. For a bar of tqdm::

                bar = tqdm(unit="B", unit_scale=True)

                def progress(state):
                    bar.total = state["bytes_in_all"]
                    bar.update(state["bytes"] - bar.n)

    Raises:
        WatermarkError: A file, profile, key, tokenizer or option cannot be used.
    """
    if not (files := _paths(inputs)):
        raise _lib.ParameterError("inputs is empty; name files, folders or patterns")
    folder = pathlib.Path(out)
    result = _lib.scan_files(
        files,
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
        progress=progress,
    )
    with (folder / "hits.jsonl").open(encoding="utf-8") as lines:
        found = ScanResult(result, [json.loads(line) for line in lines])
    if found.bad_records:
        warnings.warn(f"records that could not be used, by kind: {found.bad_records}; the result is of the others", stacklevel=2)
    if unread := found.result["totals"]["unread_inputs"]:
        warnings.warn(f"inputs not read to their end: {unread}; sources.jsonl says which", stacklevel=2)
    return found


def attribute(
    records: Iterable[_Record],
    profile: _Profile,
    key: _Key,
    accounts: Iterable[str],
    *,
    tokenizer: str | PathLike[str] | None = None,
    alpha: float = 1e-6,
) -> ScanResult:
    """Says whose answers these are: tests records in memory under the key of every account. The same tests as `scan(accounts=...)`.

    Null hypothesis for each account: the records are independent of its key. Verdicts are Holm's over accounts and layers at `alpha`,
    so that the chance of naming any account whose key the records do not depend on is at most `alpha`, however many are tested.
    All records are tested together; `hits` says which of them, one by one, are marked under whose key, at a false discovery rate of
    1 % (e-BH). Layers without a key per account are tested once, under `key`, and count in the family. As for `scan`, contexts have at
    most four tokens.

    An account that is named answered for some of the text: who copied it, or put it there to frame somebody, the test does not say.

    Args:
        records: As `Detector.detect` takes them: token ids, texts, or dicts.
        profile: A profile with `"per": "account"` in some layer: a dict, JSON text or a path.
        key: Path of a key file, 64 hexadecimal digits, or a `NodeKey`, at or above the profile's path.
        accounts: The account ids to test, each once.
        tokenizer: Path of the deployment's tokenizer, for texts; by default the one beside the profile.
        alpha: Family-wise level of the verdicts.

    Returns:
        Findings by `key`, which is the account's id; `detected`, `hits`.

    Raises:
        ParameterError: `alpha` is no level, or there are no accounts.
        InputError: A record cannot be used; the message says which one.
        WatermarkError: Profile, key, tokenizer or accounts cannot be used.
    """
    result, hits = _lib.attribute_records(records, profile, key, _accounts(accounts), tokenizer=tokenizer, alpha=alpha)
    return ScanResult(result, [json.loads(hit) for hit in hits])


def _accounts(given: Iterable[str]) -> list[str]:
    if isinstance(given, str):
        raise _lib.ParameterError("accounts is one text; it must be a list of account ids")
    accounts = list(given)
    if not accounts:
        raise _lib.ParameterError("accounts is empty; name those that may have been served the texts")
    return accounts


def _paths(given: Paths) -> list[str | PathLike[str]]:
    return [given] if isinstance(given, str | PathLike) else list(given)
