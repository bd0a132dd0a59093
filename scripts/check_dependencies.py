#!/usr/bin/env python3
"""The sampler-only build must stay small: no JSON, tokenizer, thread pool or table library, and few crates in all."""
import subprocess
import sys

MAX_CRATES = 25  # without the crate itself
BANNED = {"serde", "serde_derive", "serde_json", "tokenizers", "arrow", "rayon", "ndarray", "candle-core"}

tree = subprocess.run(
    ["cargo", "tree", "--locked", "-p", "watermark-core", "--no-default-features", "-e", "normal", "--prefix", "none"],
    check=True, capture_output=True, text=True,
).stdout
crates = sorted({line.split()[0] for line in tree.splitlines() if line.strip()} - {"watermark-core"})
print(f"sampler-only build: {len(crates)} crates: {' '.join(crates)}")
banned = BANNED & set(crates)
if banned or len(crates) > MAX_CRATES:
    sys.exit(f"too much: {sorted(banned) or f'more than {MAX_CRATES} crates'}")
