"""Steps of a long experiment, each kept in a folder that its inputs name, so that a run goes on where it stopped."""

import csv
import hashlib
import json
import pathlib
import shutil
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
        self.folder, self.seconds = pathlib.Path(folder), 0.0
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

    def forget(self, home):
        shutil.rmtree(home)


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def clock(seconds):
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


class Progress:
    """Says at most every half minute how far a stage is and when it should end."""

    def __init__(self, what, total, done=0):
        self.what, self.total, self.first, self.done = what, total, done, done
        self.begun = self.said = time.monotonic()

    def advance(self, count):
        self.done += count
        now = time.monotonic()
        if now - self.said >= 30 and self.done > self.first:
            self.said = now
            left = (now - self.begun) / (self.done - self.first) * (self.total - self.done)
            say(f"{self.what}: {self.done} of {self.total}, {clock(left)} left")


def read_lines(path):
    """The whole lines of a JSONL file; a line that was cut short by a kill is dropped from the file."""
    path = pathlib.Path(path)
    if not path.exists():
        return []
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        path.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines()]


def write_lines(path, rows):
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_table(path, columns, rows):
    """A table as CSV, numbers to four digits."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([f"{value:.4g}" if isinstance(value, float) else value for value in row])
    say(f"written: {path.name}")
