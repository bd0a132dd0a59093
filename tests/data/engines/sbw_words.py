"""Writes sbw.json: lists, marked texts and detections of the package sbw itself, on a CPU.

    python -m venv env && env/bin/pip install torch scipy tokenizers && env/bin/pip install sbw==1.0.0
    env/bin/python tests/data/engines/sbw_words.py > tests/data/engines/sbw.json

The package's functions run as they are, without torch's compiler, which takes minutes on a CPU.
"""

import json
import os
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import torch
from sbw import WatermarkBatch, WatermarkDetector

VOCABULARY = 50_000
SCHEMES = {
    "sbw-selfhash": ("gpu-fused-selfhash-fullvocab", 4),
    "sbw-simple": ("gpu-fused-simple_4", 4),
}


class Ids:
    """What the detector asks of a tokenizer when it is given ids."""

    bos_token_id = -1


def lists(scheme, key, gamma, context, delta=1.0):
    """Which tokens of the vocabulary are green after a context, as the plug-in for vLLM asks: gamma in single precision."""
    batch = WatermarkBatch([0] * VOCABULARY, gamma=gamma, delta=delta, seeding_scheme=scheme, hash_key=key, device=torch.device("cpu"))
    row = torch.zeros((1, VOCABULARY))
    gammas, deltas = torch.full((1,), gamma), torch.full((1,), delta)
    fused = batch.apply_watermark_selfsalt_fused if batch.self_salt else batch.apply_watermark_simple_fused
    if not batch.self_salt:
        gammas, deltas = gammas[:, None], deltas[:, None]
    return fused(torch.tensor([context]), row, gammas, deltas)[0] > 0


def words(scheme, width, key, gamma, random):
    """Lists after some contexts, at some tokens."""
    rows = []
    for most in (50, VOCABULARY, VOCABULARY, 1 << 24):
        context = torch.randint(0, most, (width,), generator=random).tolist()
        candidates = sorted({0, 1, 2, 3, VOCABULARY - 1, *torch.randint(0, VOCABULARY, (40,), generator=random).tolist()})
        green = lists(scheme, key, gamma, context)
        rows.append({"prompt": context, "candidates": candidates, "scores": [int(green[id]) for id in candidates]})
    return rows


def text(scheme, width, key, gamma, delta, random, n=100):
    """A text from a source that finds 200 tokens equally likely at each position, marked or not, and the package's own result."""
    prompt = torch.randint(0, VOCABULARY, (width,), generator=random).tolist()
    tokens = []
    for _ in range(n):
        support = torch.randint(0, VOCABULARY, (200,), generator=random)
        green = lists(scheme, key, gamma, (prompt + tokens)[-width:])[support]
        weights = torch.exp(delta * green)
        tokens.append(int(support[torch.multinomial(weights, 1, generator=random)]))
    tokens += tokens[20:50]  # what the detector must not count again
    detector = WatermarkDetector(torch.device("cpu"), Ids(), [0] * VOCABULARY, gamma=gamma, seeding_scheme=scheme, hash_key=key)
    found = detector.detect(tokenized_text=torch.tensor(tokens))
    peer = {"n": found["num_tokens_scored"], "statistic": found["z_score"], "p_value": float(found["p_value"])}
    return {"prompt": prompt, "tokens": tokens, "marked": delta > 0, "peer": peer}


def case(engine, key, gamma, random):
    scheme, width = SCHEMES[engine]
    return {
        "engine": engine,
        "key": str(key),
        "gamma": gamma,
        "words": words(scheme, width, key, gamma, random),
        "texts": [text(scheme, width, key, gamma, delta, random) for delta in (3.0, 0.0)],
    }


def main():
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(20261129)
    keys = [(15485863, 0.5), (15485863, 0.25), (-6148914691236517205, 0.1)]
    cases = [case(engine, key, gamma, random) for engine in SCHEMES for key, gamma in keys]
    source = f"sbw 1.0.0 on torch {torch.__version__.split('+')[0]}, CPU: sbw_words.py beside this file"
    json.dump({"source": source, "cases": cases}, sys.stdout, indent=None, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
