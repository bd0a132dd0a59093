"""Scan a Spark DataFrame for marks.

`scan` gives what `watermark scan` gives on one machine for the same records, byte for byte: Spark spreads the work, drops
duplicate PRF inputs exactly and adds integers; everything else is done in Rust, batch by batch.

Keys travel in a broadcast variable: they are in no plan, no log and no column. Spark writes broadcasts to the local
directories of driver and executors; set `spark.io.encryption.enabled` where others can read those.
"""

from __future__ import annotations

import json
import pathlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from . import _lib
from .corpus import Paths, ScanResult, _accounts, _paths

if TYPE_CHECKING:
    import pyarrow
    from pyspark.broadcast import Broadcast
    from pyspark.sql import DataFrame
    from pyspark.storagelevel import StorageLevel

__all__ = ["ScanResult", "scan"]

_TABLE = (
    "record long, id string, start long, end long, texts array<struct<part: int, continues: boolean, "
    "prompt_tokens: array<array<int>>, tokens: array<array<int>>>>"
)
_PAIRS = "layer int, hi long, lo long"
_GROUP = ["layer", "key", "component"]
_LIMBS = [f"limb_{at}" for at in range(4)]
_SUMS = ", ".join(f"{name} long" for name in [*_GROUP, *_LIMBS])
_CANDIDATES = "layer long, key long, part long, id string, sums string"


class _Secret:
    """What executors need. Shown nowhere, and never pickled but into the broadcast."""

    def __init__(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._arguments, self._options = arguments, options
        self._stages: _lib.Stages | None = None

    def stages(self) -> _lib.Stages:
        # Once in every worker process, which keeps the broadcast's value.
        if self._stages is None:
            self._stages = _lib.Stages(*self._arguments, **self._options)
        return self._stages

    def __getstate__(self) -> tuple[Any, ...]:
        return self._arguments, self._options

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._arguments, self._options = state
        self._stages = None

    def __repr__(self) -> str:
        return "<keys are not shown>"


def scan(
    df: DataFrame,
    profile: Paths,
    keys: Paths,
    *,
    tokenizer: Paths = (),
    accounts: Iterable[str] | None = None,
    id: str | None = None,
    field: str | None = None,
    role: str | None = None,
    input_format: str = "auto",
    alpha: float = 1e-6,
    storage: StorageLevel | None = None,
) -> ScanResult:
    """Tests whether the records of `df` are marked under any of the keys, and which of them.

    Null hypothesis of every test: the records are independent of the key. Verdicts are Holm's over keys and layers at
    `alpha`; hits are named at a false discovery rate of 1 % (e-BH).

    Args:
        df: One record a row. A DataFrame whose only column is a text named `value`, as `spark.read.text` gives, is taken for
            lines of JSON; of any other the columns are the fields of the records, bytes as UTF-8. Fields are chosen as
            `watermark scan` does (conversations, prompt/completion, text, ...).
        profile: Path or paths of profiles, on the driver.
        keys: Path or paths of key files, on the driver, mode 0600. They are called in the result as they are given here.
        tokenizer: Path or paths of the profiles' tokenizers (`tokenizer.json`); by default those beside the profiles.
        accounts: Account ids, each of which is tested in layers with a key per account.
        id: Column that identifies records in `hits`; by default the record's own `id`, if it has one.
        field: JSON pointer to the generated text of a record, for example `/data/answer`.
        role: The role whose turns count in a conversation, instead of the assistant's.
        input_format: `tokens` for records of token ids.
        alpha: Family-wise level of the verdicts.
        storage: Where the token ids stay between the stages; by default on the disks of the executors.

    Raises:
        WatermarkError: A profile, key, tokenizer or option cannot be used.
    """
    from pyspark import StorageLevel
    from pyspark.sql import functions as F

    paths = [pathlib.Path(path) for path in _paths(profile)]
    secret = _Secret(
        (
            [path.read_text(encoding="utf-8") for path in paths],
            [] if input_format == "tokens" else _tokenizers(paths, _paths(tokenizer)),
            [(str(path), _lib.key_text(path)) for path in _paths(keys)],
        ),
        {
            "accounts": None if accounts is None else _accounts(accounts),
            "field": field,
            "role": role,
            "input_format": input_format,
        },
    )
    stages = secret.stages()
    if not 0 < alpha < 1:
        raise _lib.WatermarkError(f"alpha is {alpha}; it must be between 0 and 1")
    shared = df.sparkSession.sparkContext.broadcast(secret)
    if df.dtypes == [("value", "string")] and id is None:
        record = F.col("value")
    else:
        # JSON has no bytes; Spark would write them as base64.
        fields = [F.col(f"`{c}`").cast("string").alias(c) if kind == "binary" else F.col(f"`{c}`") for c, kind in df.dtypes]
        record = F.to_json(F.struct(*fields))
    name = F.lit(None).cast("string") if id is None else F.col(f"`{id}`").cast("string")
    tokens = df.select(record.cast("binary").alias("record"), name.alias("id")).mapInArrow(_reader(shared), f"{_TABLE}, counts string")
    tokens = tokens.persist(storage or StorageLevel.DISK_ONLY)
    try:
        counts = [row.counts for row in tokens.where("counts is not null").select("counts").collect()]
        tables = tokens.where("counts is null").drop("counts")
        pairs = tables.mapInArrow(_mapper(shared, "pairs"), _PAIRS).dropDuplicates()
        sums = pairs.mapInArrow(_summer(shared), _SUMS).groupBy(*_GROUP).agg(*[F.sum(limb).alias(limb) for limb in _LIMBS])
        resampled = pairs.where(F.col("layer").isin(stages.to_resample(counts)))
        conclusion = stages.conclude(counts, _collect(sums), _collect(resampled), alpha)
        candidates = tables.mapInArrow(_mapper(shared, "texts", conclusion.tested()), _CANDIDATES)
        result, hits = conclusion.finish(stages, _collect(candidates))
    finally:
        tokens.unpersist()
        shared.destroy()
    # A row of a DataFrame has no file and no line.
    places = ("file", "record", "bytes")
    found = ScanResult(result, [{k: v for k, v in json.loads(hit).items() if k not in places} for hit in hits])
    if found.bad_records:
        warnings.warn(f"records that could not be used, by kind: {found.bad_records}; the result is of the others", stacklevel=2)
    return found


def _tokenizers(profiles: list[pathlib.Path], given: list[str | PathLike[str]]) -> list[bytes]:
    if given:
        return [pathlib.Path(path).read_bytes() for path in given]
    beside = {path.with_name("tokenizer.json") for path in profiles}
    return [path.read_bytes() for path in sorted(beside) if path.is_file()]


def _stream(batches: Iterable[pyarrow.RecordBatch], schema: pyarrow.Schema) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def _batches(stream: bytes) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow as pa

    with pa.ipc.open_stream(stream) as reader:
        yield from reader


def _collect(df: DataFrame) -> bytes:
    table = df.toArrow()
    return _stream(table.to_batches(), table.schema)


_Map = Callable[[Iterator["pyarrow.RecordBatch"]], Iterator["pyarrow.RecordBatch"]]


def _reader(shared: Broadcast[_Secret]) -> _Map:
    """Records to tables of token ids; the last row of a partition holds its counts instead."""

    def read(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        import pyarrow as pa

        stages, counts = shared.value.stages(), _lib.BatchCounts()
        schema = None
        for batch in batches:
            for table in _batches(stages.read(_stream([batch], batch.schema), counts)):
                table = table.append_column("counts", pa.nulls(table.num_rows, pa.string()))
                schema = table.schema
                yield table
        if schema is not None:
            values = {"record": -1, "texts": [], "counts": counts.counts()}
            columns = [pa.array([values.get(field.name)], field.type) for field in schema]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    return read


def _mapper(shared: Broadcast[_Secret], stage: str, *arguments: str) -> _Map:
    def run(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        work = getattr(shared.value.stages(), stage)
        for batch in batches:
            yield from _batches(work(_stream([batch], batch.schema), *arguments))

    return run


def _summer(shared: Broadcast[_Secret]) -> _Map:
    def add(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        stages = shared.value.stages()
        summing = stages.summing()
        for batch in batches:
            summing.add(stages, _stream([batch], batch.schema))
        yield from _batches(summing.finish())

    return add
