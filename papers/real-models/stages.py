"""Steps of a long experiment, each kept in a folder that its inputs name, so that a run goes on where it stopped."""

import csv
import hashlib
import json
import pathlib
import sys
import time


def digest(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Stages:
    """`folder` holds a folder for each stage, `NAME-DIGEST`, and `NAME-DIGEST.part` while it is being made."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def run(self, name, inputs, make):
        """The folder of a stage: as it was kept, or made now. `make(folder)` may find its own unfinished work there.

        `inputs` is what the outcome follows from: numbers, texts, names of the folders of other stages.
        """
        home = self.folder / f"{name}-{digest(inputs)[:16]}"
        if home.is_dir():
            return home
        part = home.with_name(home.name + ".part")
        part.mkdir(exist_ok=True)
        say(f"{name}: begins" if not any(part.iterdir()) else f"{name}: goes on")
        begun = time.monotonic()
        make(part)
        took = time.monotonic() - begun
        (part / "inputs.json").write_text(json.dumps({"inputs": inputs, "seconds_of_last_run": round(took, 1)}, indent=2) + "\n")
        part.rename(home)
        say(f"{name}: done in {clock(took)}")
        return home


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def clock(seconds):
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def read_lines(path):
    """The values of a JSONL file."""
    # Of bytes, because texts may hold other ends of lines.
    return [json.loads(line) for line in pathlib.Path(path).read_bytes().splitlines()]


def write_lines(path, rows):
    """A JSONL file, anew."""
    pathlib.Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_table(path, columns, rows):
    """A table as CSV, numbers to four digits."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([f"{value:.4g}" if isinstance(value, float) else value for value in row])
    say(f"written: {path.name}")
