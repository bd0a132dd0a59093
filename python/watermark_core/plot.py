"""Pictures of the evidence, drawn into an Axes of matplotlib, by default the current one::

    from watermark_core import plan, plot

    plot.evidence(detector, records)  # how it grows, against the level that decides
    plot.fresh_keys(detector, records)  # the key among keys that have nothing to do with the records
    plot.power(plan.needs(access=["answers", "logprobs"]))  # what a test of a suspect takes

Every function returns the Axes. matplotlib is imported when one is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ._lib import Detector, ParameterError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ._lib import _Record

__all__ = ["evidence", "fresh_keys", "power"]

#: Bins of a histogram, in digits of p.
_BIN = 0.1

#: Digits of p beyond which the axis of `fresh_keys` is logarithmic, if the key is far outside of it.
_LINEAR = 4.0


def evidence(
    detector: Detector,
    records: Sequence[_Record],
    *,
    layer: str | None = None,
    alpha: float = 1e-6,
    points: int = 30,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """log10 of the e-value against the number of distinct pairs, as one record comes after another.

    Null hypothesis: the records are independent of the key. The curve then ever reaches 1/alpha, which is drawn, with probability at most
    alpha, wherever one stops. Pairs of a record's own prompt do not count; those of later prompts cannot be taken back.

    Args:
        detector: Profile or scheme, and key.
        records: Records in their order, as `Detector.detect` takes them.
        layer: Name of the layer; by default the first one.
        alpha: The level that is drawn.
        points: Looks at the evidence, each of which detects anew in the records up to there.
        label: Entry in the legend.
        ax: Where to draw.
    """
    at = _layer(detector, layer)
    if points < 1 or not 0 < alpha < 1:
        raise ParameterError(f"points is {points} and alpha {alpha}; at least 1 and between 0 and 1 are needed")
    records = _list(detector, records)
    ends = sorted({math.ceil(len(records) * look / points) for look in range(1, points + 1)})
    found = [detector.detect(records[:end], resample=0)[at] for end in ends if end]
    scored = [0, *(finding.n_scored for finding in found)]
    digits = [0.0, *((finding.ln_e or 0.0) / math.log(10) for finding in found)]
    ax = _axes(ax)
    ax.plot(scored, digits, label=label)
    level = -math.log10(alpha)
    if not any(line.get_gid() == f"level {alpha}" for line in ax.lines):
        ax.axhline(level, color="0.4", linestyle="--", linewidth=1, gid=f"level {alpha}")
        text = f"decides at alpha = {alpha:g}"
        ax.annotate(text, (0.99, level), xycoords=("axes fraction", "data"), ha="right", va="bottom", color="0.4")
    ax.set_xlabel("distinct pairs scored")
    ax.set_ylabel("log10 e-value")
    if label is not None:
        ax.legend(loc="upper left")
    return ax


def fresh_keys(
    detector: Detector,
    records: Iterable[_Record],
    *,
    layer: str | None = None,
    exclude: Literal["record", "run"] = "record",
    resample: int = 999,
    ax: Axes | None = None,
) -> Axes:
    """A histogram of -log10 p of the same records under fresh keys, and the real key marked in it.

    If the records are independent of the key, it is one of them: its place is uniform. The thin line is what an exact continuous p
    gives; discrete ones stay below it in the tail.

    Args:
        detector: Profile or scheme, and key.
        records: Records, as `Detector.detect` takes them.
        layer: Name of the layer; by default the first one.
        exclude: As for `Detector.detect`.
        resample: Fresh keys.
        ax: Where to draw.
    """
    if resample < 1:
        raise ParameterError(f"resample is {resample}; at least one fresh key is needed")
    at = _layer(detector, layer)
    records = _list(detector, records)
    fresh = detector.fresh_log10_p(records, exclude=exclude, resample=resample)[at]
    if not fresh:
        raise ParameterError("there are no fresh keys to compare with: nothing is scored, or another key would count other positions")
    digits = [max(0.0, -log10_p) for log10_p in fresh]
    real = max(0.0, -detector.detect(records, exclude=exclude, resample=0)[at].log10_p)
    bins = [_BIN * at for at in range(math.floor(max(digits) / _BIN) + 2)]
    ax = _axes(ax)
    ax.hist(digits, bins=bins, label=f"{len(fresh)} fresh keys")
    middles = [start + _BIN / 2 for start in bins[:-1]]
    expected = [len(fresh) * (10**-start - 10 ** -(start + _BIN)) for start in bins[:-1]]
    ax.plot(middles, expected, color="0.3", linewidth=1, label="independent of the key")
    ax.axvline(real, color="C3", linewidth=2, label=f"the key: log10 p = {-real:.1f}" if real else "the key: log10 p = 0")
    far = real > 3 * max(_LINEAR, max(digits))
    if far:
        ax.set_xscale("symlog", linthresh=_LINEAR, linscale=2)
        ticks = [0, 1, 2, 3, *(10**power for power in range(1, math.ceil(math.log10(real)) + 1))]
        ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        ax.set_xlim(0, 2 * real)
    ax.set_xlabel("-log10 p")
    ax.set_ylabel("keys")
    ax.legend(loc="upper center" if far else "upper right")
    return ax


def power(
    needs: Iterable[dict[str, Any]],
    *,
    tokens: Literal["tokens_median", "tokens_80", "tokens_95"] = "tokens_80",
    ax: Axes | None = None,
) -> Axes:
    """Tokens that a test of a suspect needs against the share of marked answers it was trained on, one line for each kind of access and
    sample.

    Where more is needed than was measured, an open triangle stands at the largest measured number, and no line goes there.

    Args:
        needs: What `watermark_core.plan.needs` gives.
        tokens: For which power: one half, 80 % or 95 %.
        ax: Where to draw.
    """
    if tokens not in _POWER:
        raise ParameterError(f"tokens is {tokens!r}; it must be one of {', '.join(_POWER)}")
    curves: dict[str, list[tuple[float, Any]]] = {}
    for need in needs:
        curves.setdefault(f"{need['access']}, {need['sample']}", []).append((100 * need["share"], need[tokens]))
    ax = _axes(ax)
    for name, points in curves.items():
        points.sort(key=lambda point: point[0])
        known = [point for point in points if not isinstance(point[1], dict)]
        (line,) = ax.plot([share for share, _ in known], [n for _, n in known], marker="o", label=name)
        more = [(share, n["more_than"]) for share, n in points if isinstance(n, dict)]
        ax.plot(
            [share for share, _ in more], [n for _, n in more], marker="^", linestyle="", color=line.get_color(), fillstyle="none"
        )
    ax.set_yscale("log")
    ax.set_xlabel("marked share of its training answers, %")
    ax.set_ylabel(f"tokens for a power of {_POWER[tokens]}")
    if any(isinstance(n, dict) for points in curves.values() for _, n in points):
        ax.plot([], [], marker="^", linestyle="", color="0.4", fillstyle="none", label="more than was measured")
    if curves:
        ax.legend()
    return ax


_POWER = {"tokens_median": "50 %", "tokens_80": "80 %", "tokens_95": "95 %"}


def _list(detector: Detector, records: Iterable[_Record]) -> list[_Record]:
    if isinstance(records, str | dict) or hasattr(records, "to_dict") or hasattr(records, "readline"):
        detector.detect(records, resample=0)  # raises, and says what to pass instead
    return list(records)


def _layer(detector: Detector, layer: str | None) -> int:
    if layer is None:
        return 0
    if layer not in detector.layers:
        raise ParameterError(f"no layer is called {layer!r}; there are {', '.join(map(repr, detector.layers))}")
    return detector.layers.index(layer)


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("a plot needs matplotlib: pip install matplotlib") from error
    current: Axes = pyplot.gca()
    return current
