#!/usr/bin/env python3
"""A corpus of two million tokens, one percent of it marked under three of two hundred keys: `watermark scan` and a real local
Spark find the three keys, nine of ten marked records and nothing else, and write the same result.json, byte for byte.

Needs PySpark, PyArrow, the wheel of `python/`, Java, and the corpora beside the repository (or $WATERMARK_CORPUS); says so and
ends if those are not there.
"""
import argparse
import base64
import gzip
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import warnings

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEYS, PLANTED = 200, (17, 101, 163)
TOKENS = 2_000_000
# Marked answers of one record are written one after the other until there are so many tokens.
LONG, RECORDS = 200, 34

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--watermark", required=True, help="the program")
arguments.add_argument("--keep", type=pathlib.Path, help="work in this folder and keep it")
arguments = arguments.parse_args()
program = pathlib.Path(arguments.watermark).resolve()
tokenizer = ROOT / "watermark-toolkit/embedded/tokenizer.json"

corpora = pathlib.Path(os.environ.get("WATERMARK_CORPUS", ROOT / "../shared/corpus"))
if not corpora.is_dir():
    print(f"SKIPPED: no corpora at {corpora}")
    sys.exit(0)
if arguments.keep:
    folder = arguments.keep
    folder.mkdir(parents=True)
else:
    kept = tempfile.TemporaryDirectory(prefix="watermark-spark-")
    folder = pathlib.Path(kept.name)
os.chdir(folder)
checks = 0


def check(holds, what):
    global checks
    if not holds:
        sys.exit(f"FAILED: {what}")
    checks += 1


def run(*words, expect=0):
    ended = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
    if ended.returncode != expect:
        sys.exit(f"{words[0]} ended with {ended.returncode} and not {expect}:\n{ended.stdout}{ended.stderr}")


# --- keys that are the same every time, so that nothing depends on luck
run("profile", "new", "--tokenizer", tokenizer, "--out", "p.json")
nodes = [hashlib.sha256(b"spark test key %d" % key).hexdigest() for key in range(KEYS)]
for key, node in enumerate(nodes):
    path = pathlib.Path(f"k{key}.json")
    path.write_text(json.dumps({"key": "watermark-key/1", "path": "", "node": node}))
    path.chmod(0o600)
pathlib.Path("keys.txt").write_text("".join(f"k{key}.json\n" for key in range(KEYS)))

# --- marked records
prompts = [json.loads(line)["question"] for line in (corpora / "gsm8k_train.jsonl").read_text().splitlines()]
prompts = [prompt for prompt in prompts if len(prompt) < 200][:3 * 200]
marked = []
for at, key in enumerate(PLANTED):
    asked = pathlib.Path(f"prompts{key}.txt")
    asked.write_text("\n".join(prompt.replace("\n", " ") for prompt in prompts[200 * at : 200 * (at + 1)]))
    run("mark", "--profile", "p.json", "--key", f"k{key}.json", "--prompts", asked, "--max-tokens", 400,
        "--temperature", 1, "--out", f"marked{key}.jsonl")
    texts, tokens, number = [], 0, 0
    for line in pathlib.Path(f"marked{key}.jsonl").read_text().splitlines():
        answer = json.loads(line)
        texts.append(answer["completion"])
        tokens += len(answer["tokens"])
        if tokens >= LONG and number < RECORDS:
            marked.append({"id": f"marked-{key}-{number}", "text": "\n".join(texts)})
            texts, tokens, number = [], 0, number + 1
    check(number == RECORDS, f"{number} marked records under key {key}")

# --- real text around them, in the shapes it comes in
source = random.Random(20261125)
plain = []
for path in sorted(corpora.glob("*.jsonl*")) + sorted((corpora / "model_outputs").glob("*.gz")):
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            record = json.loads(line)
            # A file has one kind of record for Spark; ids must be text.
            plain.append({**record, "id": f"{path.name}-{number}"})
source.shuffle(plain)
chosen, held = [], 0
for record in plain:
    # A token of the embedded tokenizer is some 2.6 bytes; the exact number is read from the result.
    text = next(record[name] for name in ("answer", "completion", "text") if isinstance(record.get(name), str))
    size = len(text.encode()) / 2.6
    if held + size < TOKENS:
        held += size
        chosen.append(record)
records = chosen + marked
source.shuffle(records)
pathlib.Path("corpus").mkdir()
for part in range(4):
    with open(f"corpus/part{part}.jsonl", "w", encoding="utf-8") as out:
        for record in records[part::4]:
            out.write(json.dumps(record) + "\n")

# --- one machine
run("scan", "--profile", "p.json", "--tokenizer", tokenizer, "--keys", "keys.txt", "--alpha", 1e-3, "--out", "run", "corpus")
local = pathlib.Path("run/result.json").read_bytes()
result = json.loads(local)
tokens = result["tokenizers"][0]["tokens"]
ids_of_marked = {record["id"]: int(record["id"].split("-")[1]) for record in marked}
check(abs(tokens - TOKENS) < TOKENS / 10, f"{tokens} tokens")
check(result["totals"]["records"] == len(records), "every record is counted")
for layer in result["positions"]:
    check(sum(layer[kind] for kind in ("short_context", "excluded", "duplicate", "scored")) == tokens, f"positions of {layer}")
found = {finding["key"] for finding in result["findings"] if finding["verdict"] == "detected"}
check(found == {f"k{key}.json" for key in PLANTED}, f"keys found: {sorted(found)}")
hits = [json.loads(line) for line in pathlib.Path("run/hits.jsonl").read_text().splitlines()]
right = {hit["id"] for hit in hits if ids_of_marked.get(hit["id"]) == int(hit["key"][1:-5])}
wrong = {hit["id"] for hit in hits} - right
check(len(right) >= 0.9 * len(marked), f"{len(right)} of {len(marked)} marked records found")
check(len(wrong) <= 0.05 * len(right), f"records that are not marked: {sorted(wrong)}")
print(f"one machine: {tokens:,} tokens, {len(found)} of {KEYS} keys, {len(right)} of {len(marked)} marked records, {len(wrong)} others")

# --- Spark
os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
from pyspark.sql import SparkSession  # noqa: E402

import watermark_core  # noqa: E402
from watermark_core.spark import scan  # noqa: E402

pathlib.Path("events").mkdir()
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .config("spark.sql.shuffle.partitions", "8")
    .config("spark.driver.memory", "4g")
    .config("spark.eventLog.enabled", "true")
    .config("spark.eventLog.dir", pathlib.Path("events").resolve().as_uri())
    .getOrCreate()
)
spark.sparkContext.setLogLevel("WARN")
names = [f"k{key}.json" for key in range(KEYS)]
lines = spark.read.text("corpus").repartition(5)
job = scan(lines, "p.json", names, tokenizer=tokenizer, alpha=1e-3)
check(job.json == local, "result.json of the Spark job is that of one machine")
ours = sorted((hit["key"], hit["layer"], hit["id"], hit["n_scored"], hit["ln_e"]) for hit in job.hits)
check(ours == sorted((hit["key"], hit["layer"], hit["id"], hit["n_scored"], hit["ln_e"]) for hit in hits), "the same hits")
check({finding["key"] for finding in job.detected} == found, "detected")
job.write("spark")
check(pathlib.Path("spark/result.json").read_bytes() == local, "as written")
print(f"Spark: {job!r}, the same bytes")

# --- columns, few keys, fresh keys, and a conversation
few = [{"id": f"c{i}", "messages": [{"role": "user", "content": "Tell me."}, {"role": "assistant", "content": record["text"]},
                                  {"role": "user", "content": "More."}, {"role": "assistant", "content": record["text"][::-1]}]}
       for i, record in enumerate(marked[:60])]
pathlib.Path("chats.jsonl").write_text("".join(json.dumps(record) + "\n" for record in few))
chats = spark.createDataFrame(few, "id string, messages array<struct<role: string, content: string>>")
chats.write.parquet("chats")
pair = [f"k{PLANTED[0]}.json", "k0.json"]
both = [word for key in pair for word in ("--key", key)]
run("scan", "--profile", "p.json", "--tokenizer", tokenizer, *both, "--out", "run-chats", "chats.jsonl")
run("scan", "--profile", "p.json", "--tokenizer", tokenizer, *both, "--out", "run-parquet", "chats")
local = pathlib.Path("run-chats/result.json").read_bytes()
check(pathlib.Path("run-parquet/result.json").read_bytes() == local, "JSONL and Parquet of the same records")
job = scan(spark.read.parquet("chats"), "p.json", pair, tokenizer=[tokenizer], id="id")
check(job.json == local, "columns of a DataFrame")
check(json.loads(local)["findings"][0]["log10_p_resampled"] is not None, "small runs are resampled in both")
check(job.hits and all(hit["id"].startswith("c") and hit["part"] == 1 for hit in job.hits), f"hits name their text: {job.hits[:1]}")

# --- one column of text, bytes, and a line that is no text
texts = spark.createDataFrame([(record["text"],) for record in marked[:40]], "text string")
pathlib.Path("texts.jsonl").write_text("".join(json.dumps({"text": record["text"]}) + "\n" for record in marked[:40]))
run("scan", "--profile", "p.json", "--tokenizer", tokenizer, *both, "--out", "run-texts", "texts.jsonl")
local = pathlib.Path("run-texts/result.json").read_bytes()
check(scan(texts, "p.json", pair, tokenizer=tokenizer).json == local, "one column of text")
as_bytes = texts.selectExpr("cast(text as binary) as text")
check(scan(as_bytes, "p.json", pair, tokenizer=tokenizer).json == local, "a column of bytes")
pathlib.Path("broken.jsonl").write_bytes(b'{"text": "abc \xff\xfe"}\n{"text": 5}\n' + pathlib.Path("texts.jsonl").read_bytes())
run("scan", "--profile", "p.json", "--tokenizer", tokenizer, *both, "--out", "run-broken", "broken.jsonl", expect=2)
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    job = scan(spark.read.text("broken.jsonl"), "p.json", pair, tokenizer=tokenizer)
check(job.json == pathlib.Path("run-broken/result.json").read_bytes(), "bad records are counted alike")
check(job.bad_records == {"InvalidUtf8": 1, "WrongType": 1} and any("InvalidUtf8" in str(w.message) for w in warned), "and told")

# --- what cannot be used is refused on the driver
def refused(says, *words, **options):
    try:
        scan(lines, *words, **options)
    except watermark_core.WatermarkError as error:
        check(says in str(error) and not any(node in str(error) for node in nodes), f"{says!r} is in {error}")
    else:
        sys.exit(f"FAILED: not refused: {says}")


refused("missing.json", "p.json", ["k0.json", "missing.json"], tokenizer=tokenizer)
refused("no keys", "p.json", [], tokenizer=tokenizer)
refused("tokenizer of profile", "p.json", "k0.json")
refused("one text", "p.json", "k0.json", tokenizer=tokenizer, accounts="alice")
refused("JSON pointer", "p.json", "k0.json", tokenizer=tokenizer, field="text")
refused("the same key", "p.json", ["k0.json", "k0.json"], tokenizer=tokenizer)
refused("alpha", "p.json", "k0.json", tokenizer=tokenizer, alpha=2)
open_key = pathlib.Path("open.json")
open_key.write_text(pathlib.Path("k1.json").read_text())
open_key.chmod(0o644)
refused("open.json", "p.json", open_key, tokenizer=tokenizer)
spark.stop()

# --- no plan, log or result holds a key
secrets = [form for node in nodes for form in (node.encode(), base64.b64encode(bytes.fromhex(node)).rstrip(b"="), bytes.fromhex(node))]
written = [path for path in folder.rglob("*") if path.is_file() and path.suffixes != [".json"] or path.name == "result.json"]
check(any("events" in path.parts for path in written), "there is an event log to search")
for path in written:
    content = path.read_bytes()
    check(not any(secret in content for secret in secrets), f"no key in {path}")
print(f"all {checks} checks passed")
