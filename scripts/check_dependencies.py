#!/usr/bin/env python3
"""The sampler-only build must stay small: no JSON, tokenizer, thread pool or table library, and few crates in all. What the
features of an inference server add is printed beside it."""
import subprocess
import sys

MAX_CRATES = 25  # without the crate itself
BANNED = {"serde", "serde_derive", "serde_json", "tokenizers", "arrow", "rayon", "ndarray", "candle-core"}


def crates(*features: str) -> list[str]:
    tree = subprocess.run(
        ["cargo", "tree", "--locked", "-p", "watermark-core", "--no-default-features", "--features", ",".join(features),
         "-e", "normal", "--prefix", "none"],
        check=True, capture_output=True, text=True,
    ).stdout
    return sorted({line.split()[0] for line in tree.splitlines() if line.strip()} - {"watermark-core"})


sampler = crates()
print(f"sampler-only build: {len(sampler)} crates: {' '.join(sampler)}")
for features in (["profile"], ["batch"], ["batch", "profile"]):
    more = sorted(set(crates(*features)) - set(sampler))
    print(f"with {' and '.join(features)}: {len(sampler) + len(more)}, also {' '.join(more)}")
banned = BANNED & set(sampler)
if banned or len(sampler) > MAX_CRATES:
    sys.exit(f"too much: {sorted(banned) or f'more than {MAX_CRATES} crates'}")
