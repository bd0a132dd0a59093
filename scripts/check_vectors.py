#!/usr/bin/env python3
"""Runs the oracles of tests/vectors afresh and compares every file byte for byte, so that no vector can be edited by hand."""
import os
import pathlib
import subprocess
import sys
import tempfile

vectors = pathlib.Path(__file__).resolve().parent.parent / "tests" / "vectors"
with tempfile.TemporaryDirectory() as out:
    for oracle in sorted(vectors.glob("*oracle.py")):
        subprocess.run([sys.executable, oracle], check=True, env={**os.environ, "OUT": out})
    made = {path.name: path.read_bytes() for path in pathlib.Path(out).glob("*.json")}
kept = {path.name: path.read_bytes() for path in vectors.glob("*.json")}
wrong = sorted(name for name in made.keys() | kept.keys() if made.get(name) != kept.get(name))
if wrong:
    sys.exit(f"differs from what the oracles make: {', '.join(wrong)}")
print(f"{len(made)} vector files equal the oracles'")
