"""Marked answers of a real model found again by the program, from their text, with the model's own tokenizer."""

import gzip
import json
import pathlib
import tempfile

from serve import watermark
from stages import read_lines, write_lines

COLUMNS = ["command", "of", "tokens", "scored", "log10_p", "detail"]
# A text of other models' answers with this many marked ones in its middle.
PLANTED = 6


def rows(experiment):
    """Rows of found.csv: the first block of requests as text and as ids, a stretch in a long text, a data set with other models' answers."""
    from watermark_core import _quality_numbers as numbers

    served = read_lines(experiment.served(100)[0])
    tokenizer = experiment.open(experiment.model)[1]
    tokens = sum(len(line["tokens"]) for line in served)
    changed = sum(numbers.changed(line["tokens"], tokenizer(line["completion"], add_special_tokens=False)["input_ids"]) for line in served)
    with gzip.open(pathlib.Path(experiment.corpus, "model_outputs", "claude-2.jsonl.gz"), "rt", encoding="utf-8") as file:
        others = [json.loads(line)["completion"] for line in file]
    keys = [*experiment.keys, "--tokenizer", experiment.model / "tokenizer.json"]
    json_of = lambda command, *arguments: [
        json.loads(line) for line in watermark(experiment.program, command, *keys, *arguments, "--json", ok=(0, 1)).splitlines()
    ]

    def make(folder):
        write_lines(folder / "text.jsonl", ({"prompt": line["prompt"], "completion": line["completion"]} for line in served))
        write_lines(folder / "ids.jsonl", ({"prompt_tokens": line["prompt_tokens"], "tokens": line["tokens"]} for line in served))
        marked = "\n\n".join(line["completion"] for line in served[:PLANTED])
        (folder / "long.txt").write_text("\n\n".join([*others[:4], marked, *others[4:8]]))
        (folder / "set").mkdir(exist_ok=True)
        write_lines(folder / "set/answers.jsonl", [{"completion": text} for text in others[8:]] + [{"completion": line["completion"]} for line in served])

    folder = experiment.stages.run("found", {"served": [line["completion"] for line in served]}, make)
    (text,) = json_of("detect", folder / "text.jsonl")
    (ids,) = json_of("detect", "--input-format", "tokens", folder / "ids.jsonl")
    yield ["detect", "100 answers as text", tokens, text["n_scored"], text["log10_p"], f"{changed} of {tokens} tokens are others in the text"]
    yield ["detect", "the same as token ids", tokens, ids["n_scored"], ids["log10_p"], ""]
    *_, stretch = json_of("detect", "--locate", folder / "long.txt")
    begin = len("\n\n".join(others[:4]).encode()) + 2
    end = begin + len("\n\n".join(line["completion"] for line in served[:PLANTED]).encode())
    found = "bytes {} to {}, with p adjusted for all windows".format(*stretch["span"]["bytes"])
    yield ["detect --locate", f"bytes {begin} to {end} of a text", "", stretch["n_scored"], stretch["log10_p_adjusted"], found]
    with tempfile.TemporaryDirectory() as out:
        *_, last = json_of("scan", "--out", pathlib.Path(out, "scan"), folder / "set")
    (finding,) = last["result"]["findings"]
    yield ["scan", f"{len(others) - 8} answers of claude-2 and the 100", "", finding["n_scored"], finding["log10_p"], ""]
