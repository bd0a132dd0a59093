#!/usr/bin/env python3
"""Turns the JSON lines of `watermark calibrate --json` into the Markdown table of README.md.

`table.py table.jsonl` prints one row a test, over all corpora; standard library only.
"""
import json
import sys

LEVELS = ["0.01", "0.001", "0.0001"]


def main():
    cells = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
    corpora = sorted({cell["corpus"] for cell in cells})
    print(f"{len(cells)} cells: {len(cells) // len(corpora)} tests on {len(corpora)} corpora, "
          f"{min(cell['trials'] for cell in cells):,} trials or more each; broken: {sum(cell['broken'] for cell in cells)}.\n")
    print("| test | trials | 1e-2 | 1e-3 | 1e-4 | highest cell at 1e-2 | least likely cell, log10 |")
    print("|---|---|---|---|---|---|---|")
    for test in dict.fromkeys(cell["test"] for cell in cells):
        own = [cell for cell in cells if cell["test"] == test]
        trials = sum(cell["trials"] for cell in own)
        rates = [sum(cell["rejected"][level] for cell in own) / trials for level in LEVELS]
        highest = max(own, key=lambda cell: cell["rejected"]["0.01"] / cell["trials"])
        chance = min(cell["log10_chance"][level] for cell in own for level in LEVELS)
        rate = 100 * highest["rejected"]["0.01"] / highest["trials"]
        print(f"| {test} | {trials:,} | {100 * rates[0]:.3f} % | {100 * rates[1]:.4f} % | {100 * rates[2]:.5f} % "
              f"| {rate:.3f} % ({highest['corpus'].split('.jsonl')[0]}) | {chance:.2f} |")


if __name__ == "__main__":
    main()
