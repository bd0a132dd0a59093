"""The files of a run: lines that are kept when it is cut short, what they depend on, and how far it is."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

from ._lib import InputError, WatermarkError

#: Seconds between two lines about how far a run is, where there is no terminal.
QUIET = 30.0


class Output:
    """The file OUT, complete or not there; until then OUT.part, and OUT.state.json with what its lines depend on.

    `bound` is what decides every line: a run goes on only with lines that depend on the same.
    """

    def __init__(self, out: str | os.PathLike[str], bound: Mapping[str, Any]) -> None:
        self._out = pathlib.Path(out)
        self._part = self._beside(".part")
        self._state, self._about = self._beside(".state.json"), self._beside(".about.json")
        self._bound = json.loads(json.dumps(bound))
        self._file: BinaryIO | None = None
        #: Whole lines that are there.
        self.lines = 0

    def _beside(self, end: str) -> pathlib.Path:
        return self._out.with_name(self._out.name + end)

    def finished(self) -> dict[str, Any] | None:
        """What was written about the file if it is complete and of the same run; None if it is not there.

        Raises:
            InputError: It is another one.
        """
        if not self._out.exists():
            return None
        if not self._about.exists():
            raise InputError(f"{self._out} is there, and no {self._about.name} says what it is; name another --out, or move it away")
        about = _read(self._about)
        self._compare(about, self._out, "name another --out, or move both files away")
        if about.get("output_sha256") != sha256(self._out):
            raise InputError(f"{self._out} is not the file that {self._about.name} describes; move both away to make it again")
        return about

    def open(self) -> None:
        """Opens the lines after the last whole one of a run that was cut short, or new ones."""
        if self._part.exists():
            if not self._state.exists():
                raise InputError(f"{self._part} is there, and no {self._state.name} says what it depends on; move it away")
            self._compare(_read(self._state), self._part, "give the same again, or move both away to begin anew")
        _write(self._state, self._bound)
        # Appending would write after half a line.
        self._file = open(self._part, "r+b" if self._part.exists() else "x+b")
        self.lines, end = _whole_lines(self._file)
        self._file.truncate(end)
        self._file.seek(end)

    def add(self, lines: Iterable[str]) -> None:
        """Lines that stay when the machine stops after this call."""
        file = self._opened()
        for line in lines:
            file.write(line.encode() + b"\n")
            self.lines += 1
        file.flush()
        os.fsync(file.fileno())

    def finish(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """Puts the file in its place, with what it depends on beside it."""
        self.close()
        about = {**self._bound, **more, "output_sha256": sha256(self._part)}
        # In this order a run that is killed in between finds lines that are complete, and finishes them.
        _write(self._about, about)
        os.replace(self._part, self._out)
        self._state.unlink(missing_ok=True)
        return about

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("the output is not open")
        return self._file

    def _compare(self, found: Mapping[str, Any], path: pathlib.Path, remedy: str) -> None:
        differ = [
            f"{name} ({_short(found.get(name))}, now {_short(value)})" for name, value in self._bound.items() if found.get(name) != value
        ]
        if differ:
            raise InputError(f"{path} is of another run, which had another {', '.join(differ)}; {remedy}")


def written(
    out: str | os.PathLike[str],
    bound: Mapping[str, Any],
    what: str,
    lines_after: Callable[[int], Iterable[list[str]]],
    left_out: Callable[[], Mapping[str, Any]],
    progress: Progress,
) -> tuple[dict[str, Any], bool]:
    """What OUT.about.json holds, and whether it was written now. `lines_after` gives the lines after those that are there; `bound[what]` is how
    many there are in all."""
    output = Output(out, bound)
    if (found := output.finished()) is not None:
        progress.say(f"{out} is complete; nothing to do")
        return found, False
    output.open()
    try:
        if output.lines > bound[what]:
            raise InputError(f"{out}.part has {output.lines} lines for {bound[what]} {what}; move it away to begin anew")
        if output.lines:
            progress.say(f"{output.lines} of {bound[what]} {what} were there before; going on")
        for lines in lines_after(output.lines):
            output.add(lines)
    finally:
        output.close()
    return output.finish(left_out()), True


def exit_code(run: Callable[[], object]) -> int:
    """Runs what a command does: 0, or 2 after an error or an interruption, which is said."""
    try:
        run()
    except (WatermarkError, ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 2
    return 0


def sha256(path: str | os.PathLike[str]) -> str:
    """The digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 80 else text[:77] + "..."


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path}: damaged; move it away, and the file that it stands beside")
    return found


def _write(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    """Deterministic JSON, whole or not there."""
    new = path.with_name(path.name + ".new")
    with open(new, "w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def _whole_lines(file: BinaryIO) -> tuple[int, int]:
    """How many lines end, and the byte after the last of them."""
    lines = end = at = 0
    file.seek(0)
    while block := file.read(1 << 20):
        lines += block.count(b"\n")
        if (last := block.rfind(b"\n")) >= 0:
            end = at + last + 1
        at += len(block)
    return lines, end


class Progress:
    """How far a run is, on stderr: in place on a terminal, elsewhere a line now and then."""

    def __init__(self, total: int, label: str, *, silent: bool = False) -> None:
        self._total, self._label, self._silent = max(total, 1), label, silent
        self._terminal = sys.stderr.isatty()
        self._begin = self._shown = time.monotonic()
        self._done = self._skipped = 0

    def skip(self, amount: int) -> None:
        """Counts what an earlier run did, which says nothing of the speed of this one."""
        self._done += amount
        self._skipped += amount

    def advance(self, amount: int, words: str) -> None:
        """Counts what was done now."""
        self._done += amount
        now = time.monotonic()
        if not self._silent and (self._terminal or now - self._shown >= QUIET):
            self._shown = now
            self._print(f"{self._label}: {100 * self._done // self._total} %, {words}, ETA {self._left(now)}")

    def say(self, words: str) -> None:
        """A line that stays."""
        if not self._silent:
            print(("\r\x1b[K" if self._terminal else "") + words, file=sys.stderr, flush=True)

    def _print(self, words: str) -> None:
        if self._terminal:
            print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)
        else:
            print(words, file=sys.stderr, flush=True)

    def _left(self, now: float) -> str:
        new = self._done - self._skipped
        if new <= 0:
            return "unknown"
        seconds = int((now - self._begin) * (self._total - self._done) / new)
        hours, minutes = seconds // 3600, seconds // 60 % 60
        return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
