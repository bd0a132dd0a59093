"""Keyed statistical watermarks of language models.

Mark while tokens are sampled::

    marker = Marker("chat.profile.json", "master.key.json")
    session = marker.session(seed=7, temperature=0.8)
    token = session.sample(logits)  # a float32 row, numpy or any other buffer
    session.accept(token)

Detect in records, with exact tails::

    detector = Detector("chat.profile.json", "master.key.json")
    report = detector.detect([tokens, {"prompt_tokens": prompt, "tokens": tokens}])
    report.detected, report[0].log10_p

`attribute` says whose answers they are; `scan` looks for marks in files and `watermark_core.spark.scan` in a DataFrame, of any
size; `probe` asks a suspect model, `test_model` tests files of what one showed, and `watermark_core.plan` says what that takes;
`watermark_core.suspect` runs a model of open weights along texts; `Evidence` checks a bundle. Pictures are in `watermark_core.plot`,
tails in `watermark_core.stats`, the keys' words in `watermark_core.prf`, and what they mean in `watermark_core.scheme`.
"""

from . import plan, plot, prf, scheme, stats
from ._lib import (
    Detector,
    Evidence,
    EvidenceError,
    Finding,
    Highlight,
    InputError,
    KeyFileError,
    Marker,
    NodeKey,
    ParameterError,
    PrfKey,
    ProfileError,
    Report,
    Session,
    Span,
    Tally,
    Verified,
    WatermarkError,
    __version__,
    process_batch,
    sample_batch,
)
from .corpus import ScanResult, attribute, scan
from .endpoint import probe
from .model import test_model

__all__ = [
    "Detector",
    "Evidence",
    "EvidenceError",
    "Finding",
    "Highlight",
    "InputError",
    "KeyFileError",
    "Marker",
    "NodeKey",
    "ParameterError",
    "PrfKey",
    "ProfileError",
    "Report",
    "ScanResult",
    "Session",
    "Span",
    "Tally",
    "Verified",
    "WatermarkError",
    "__version__",
    "attribute",
    "plan",
    "plot",
    "prf",
    "probe",
    "process_batch",
    "sample_batch",
    "scan",
    "scheme",
    "stats",
    "test_model",
]
