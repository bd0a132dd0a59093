#!/usr/bin/env python3
"""Paired draws and a real suspect behind a port: llama.cpp serves the laboratory's base, `watermark_core.suspect --pairs` asks it.

    pairs_endpoint.py --watermark target/release/watermark --lab target/release/watermark-lab

Needs xllamacpp (PyPI) and the package with the tokenizers library. Log-probabilities must be those that `watermark pairs score` finds for the
same weights; a server that only says the next token must say the candidate that these prefer, if it says one; the program must read both files.
"""

import argparse
import json
import pathlib
import sys
import tempfile

from steps import ROOT, Served, check, done, run

PROMPTS = 12
#: llama.cpp and candle add up in another order.
NEAR = 2e-3 * 65536


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watermark", type=pathlib.Path, required=True)
    parser.add_argument("--lab", type=pathlib.Path, required=True)
    args = parser.parse_args()
    watermark, lab = args.watermark.resolve(), args.lab.resolve()
    tokenizer = ROOT / "watermark-toolkit/embedded/tokenizer.json"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        profile, key, served = folder / "pairs.profile.json", folder / "key.json", folder / "served.jsonl"
        run(watermark, "profile", "new", "--distillation", "none", "--provenance", "none", "--pairs", "--out", profile)
        run(watermark, "keygen", "--out", key)
        prompts = folder / "prompts.txt"
        prompts.write_text("".join(f"Ada has {n + 3} pears and buys {2 * n + 1} more. How many pears does she have?\n" for n in range(PROMPTS)))
        marked = ["--ledger", "ledger/1", "--account", "ann", "--prompts", prompts, "--max-tokens", 40]
        run(watermark, "mark", "--profile", profile, "--key", key, *marked, "--out", served)
        run(watermark, "pairs", "score", "--model", "base", "--out", folder / "direct.jsonl", served)
        run(lab, "export", "--model", ROOT / "watermark-lab/models/base.safetensors", "--tokenizer", tokenizer, "--out", folder / "base.gguf")
        # A model of the laboratory reads an end-of-text token first, which is not written with the prompt.
        lines = [json.loads(line) for line in served.read_text().splitlines()]
        (folder / "asked.jsonl").write_text("".join(json.dumps({**line, "prompt_tokens": [0, *line["prompt_tokens"]]}) + "\n" for line in lines))
        suspect = [sys.executable, "-m", "watermark_core.suspect", "--quiet", "--model", "base"]
        with Served(folder / "base.gguf", "base") as endpoint:
            asked = ["--pairs", folder / "asked.jsonl", "--endpoint", endpoint]
            own = ["--same-tokenizer", "--model-tokenizer", tokenizer]
            run(*suspect, *asked, *own, "--api", "llama.cpp", "--out", folder / "endpoint.jsonl")
            run(*suspect, *asked, "--tokenizer", tokenizer, "--api", "completions", "--out", folder / "next.jsonl")
        direct, there, said = (scores(folder / f"{name}.jsonl") for name in ("direct", "endpoint", "next"))
        check(f"{len(direct)} positions of {PROMPTS} requests", direct.keys() == there.keys() == said.keys() and len(direct) > 10 * PROMPTS, len(there))
        most = max(abs(a - b) for at in direct for a, b in zip(direct[at], there[at], strict=True))
        check(f"log-probabilities over the port are the model's, within {most / 65536:.1e} nats", most < NEAR, most)
        told = {at: first - second for at, (first, second) in said.items() if first != second}
        wrong = [at for at, lead in told.items() if (direct[at][0] - direct[at][1]) * lead < -NEAR]
        # It may say a third token that begins with one of both.
        enough = len(told) > PROMPTS and len(wrong) <= len(told) // 10
        check(f"what it says next is one of both at {len(told)} positions, and there the likelier one but at {len(wrong)}", enough, wrong)
        for name in ("endpoint", "next"):
            test = ["--profile", profile, "--key", key, "--scores", folder / f"{name}.jsonl", "--json", served]
            line = json.loads(run(watermark, "pairs", "test", *test, codes=(1,)).splitlines()[0])
            facts = (line["requests"], line["n_unscored"], line["verdict"])
            check(f"the program reads {name}.jsonl: {facts}", facts == (PROMPTS, 0, "not_detected"), line)
    done()


def scores(file):
    """By request and position, the scores of both candidates, the smaller token first."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return {(line["request"], at): both for line in lines for at, _, _, *both in line["scores"]}


if __name__ == "__main__":
    main()
