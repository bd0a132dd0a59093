"""Findings as pandas DataFrames. pandas is imported when the first is made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ._lib import ParameterError

if TYPE_CHECKING:
    import pandas

    from ._lib import Report

# As in JSON, but integers are integers and ranges are two columns.
_FINDING = (
    "record",
    "layer",
    "scheme",
    "n_scored",
    "n_duplicate",
    "n_excluded",
    "n_short_context",
    "weights",
    "statistic",
    "log10_p",
    "ln_e",
    "references_log10_p",
    "references_agree",
    "log10_p_resampled",
    "verdict",
    "family",
    "family_size",
)
_SPAN = ("record", "layer", "scheme", "n_scored", "log10_p", "log10_p_adjusted", "verdict")
_RANGES = ("tokens", "bytes", "window")
_KEY = (
    "key",
    "profile",
    "layer",
    "scheme",
    "n_scored",
    "statistic",
    "log10_p",
    "ln_e",
    "log10_p_resampled",
    "verdict",
)
_HIT = ("key", "profile", "layer", "file", "record", "part", "id", "n_scored", "statistic", "log10_p", "ln_e")


def of_report(report: Report, which: str) -> pandas.DataFrame:
    """The findings or spans of a report."""
    if which in ("pooled", "per_record"):
        findings = report.pooled if which == "pooled" else report.per_record
        return _frame(([getattr(finding, name) for name in _FINDING] for finding in findings), _FINDING)
    if which != "spans":
        raise ParameterError(f'of is {which!r}; it must be "pooled", "per_record" or "spans"')
    columns = (*_SPAN, *(f"{name}_{end}" for name in _RANGES for end in ("start", "end")))
    rows = []
    for span in report.spans:
        ends = (end for name in _RANGES for end in getattr(span, name) or (None, None))
        rows.append([*(getattr(span, name) for name in _SPAN), *ends])
    return _frame(rows, columns)


def of_scan(findings: list[dict[str, Any]], hits: list[dict[str, Any]], which: str) -> pandas.DataFrame:
    """The findings or hits of a scan."""
    if which not in ("findings", "hits"):
        raise ParameterError(f'of is {which!r}; it must be "findings" or "hits"')
    lines, columns = (findings, _KEY) if which == "findings" else (hits, _HIT)
    rows = ([int(line[name]) if name == "statistic" else line.get(name) for name in columns] for line in lines)
    return _frame(rows, columns)


def _frame(rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> pandas.DataFrame:
    try:
        import pandas
    except ImportError as error:
        raise ImportError("a DataFrame needs pandas: pip install pandas") from error
    return pandas.DataFrame(list(rows), columns=list(columns))
