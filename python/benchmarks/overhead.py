"""What marks cost per step, beside what transformers ships: a Markdown table on stdout.

    python python/benchmarks/overhead.py [--vocab 32000 128256 256000] [--batch 1 8 64] [--seconds 2] [--device cpu]

Milliseconds for one step of the whole batch, from logits to drawn tokens: the median of as many steps as fit into `--seconds`
per cell (at least 3, after one that does not count). Everything runs in this process, one after the other. With numpy alone
the table has our part; with torch and transformers also theirs. SynthID is measured up to 3 million logits, since it takes 30
64-bit integers for each, and `watermark_core.torch` on a CPU, which is not what it is for, up to 300,000. "Draw" is
temperature 0.8 and top-p 0.95, then a draw.
"""

import argparse
import os
import platform
import statistics
import sys
import time

import numpy as np

import watermark_core as w

NODE = "5a" * 32
TEMPERATURE, TOP_P = 0.8, 0.95
SYNTHID_LOGITS, TORCH_CPU_LOGITS = 3_000_000, 300_000
GREEN = {"name": "distillation", "scheme": "greenlist", "gamma": 0.5, "delta": 2.0, "width": 1, "prf": "chacha20-v1"}
GUMBEL = {"name": "provenance", "scheme": "gumbel", "width": 4, "prf": "chacha20-v1"}


def profile(vocab, *layers):
    return {
        "profile": "watermark-profile/1", "name": "bench", "path": "e", "layers": list(layers), "repeats": "unmarked",
        "tokenizer": {"sha256": "0" * 64, "vocab_size": vocab, "special_token_ids": []},
    }  # fmt: skip


def contexts(batch, length=8):
    return np.random.default_rng(5).integers(0, 4096, (batch, length))


def ours(vocab, batch, layers, **options):
    """A step of sessions on rows in memory of the host."""
    marker = w.Marker(profile(vocab, *(layers or (GREEN,))), NODE)
    sessions = []
    for row, context in enumerate(contexts(batch)):
        session = marker.session(seed=row, temperature=TEMPERATURE, top_p=TOP_P, marked=bool(layers), **options)
        for token in context:
            session.accept(int(token))
        sessions.append(session)
    return lambda logits: w.sample_batch(sessions, logits)


def torch_cases(vocab, batch, device):
    """Steps on tensors: name and function of logits [batch, vocab]. Imports are here because torch is optional."""
    import torch
    from transformers import (
        SynthIDTextWatermarkLogitsProcessor,
        TemperatureLogitsWarper,
        TopPLogitsWarper,
        WatermarkLogitsProcessor,
    )

    from watermark_core.torch import Sampler
    from watermark_core.transformers import WatermarkLogitsProcessor as Ours

    ids = torch.tensor(contexts(batch), device=device)
    warpers = [TemperatureLogitsWarper(TEMPERATURE), TopPLogitsWarper(TOP_P)]

    def draw(logits):
        return torch.multinomial(torch.softmax(logits, dim=-1), 1)

    def warped(logits):
        for warper in warpers:
            logits = warper(ids, logits)
        return logits

    yield "torch: draw, no mark", lambda logits: draw(warped(logits))
    layers = (GREEN, GUMBEL)
    processor = Ours(w.Marker(profile(vocab, *layers), NODE), seed=1)
    processor(ids[:, :1], torch.zeros(batch, vocab, device=device))  # the prompt; the other ids are generated

    def processed(logits):
        processor._ids = None  # every step follows the same ids from the start, where generate adds one
        return draw(processor(ids, warped(logits)))

    yield "watermark_core.transformers, green list and Gumbel, and draw", processed
    if device != "cpu" or vocab * batch <= TORCH_CPU_LOGITS:
        sampler = Sampler(profile(vocab, *layers), NODE, seeds=range(batch), device=device)
        for column in ids.T:
            sampler.accept(column)
        yield "watermark_core.torch, green list and Gumbel", lambda logits: sampler.sample(warped(logits))
    kgw = WatermarkLogitsProcessor(vocab_size=vocab, device=device, greenlist_ratio=0.5, bias=2.0, context_width=1)
    yield "transformers WatermarkLogitsProcessor (lefthash) and draw", lambda logits: draw(kgw(ids, warped(logits)))
    if vocab * batch > SYNTHID_LOGITS:
        return
    synthid = SynthIDTextWatermarkLogitsProcessor(ngram_len=5, keys=list(range(1, 31)), sampling_table_size=2**16,
                                                  sampling_table_seed=0, context_history_size=1024, device=device)  # fmt: skip
    yield "transformers SynthID (30 layers) and draw", lambda logits: draw(synthid(ids, warped(logits)))


def measure(step, logits, seconds, synchronize):
    """Median milliseconds. Every step gets a fresh copy, which is not timed."""
    times, start = [], time.perf_counter()
    while len(times) < 4 or time.perf_counter() - start < seconds:
        given = logits.clone() if hasattr(logits, "clone") else logits.copy()
        synchronize()
        begin = time.perf_counter()
        step(given)
        synchronize()
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times[1:])


def cases(vocab, batch, device):
    yield "host: draw, no mark", ours(vocab, batch, ()), False
    yield "host: Gumbel", ours(vocab, batch, (GUMBEL,)), False
    yield "host: green list and Gumbel", ours(vocab, batch, (GREEN, GUMBEL)), False
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError:
        return
    for name, step in torch_cases(vocab, batch, device):
        yield name, step, True


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vocab", type=int, nargs="+", default=[32000, 128256, 256000])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--device", default="cpu", help="of the tensors; rows of the host stay there")
    options = parser.parse_args()
    table, columns = {}, []
    for vocab in options.vocab:
        for batch in options.batch:
            columns.append(f"{vocab:,} x {batch}")
            host = (3 * np.random.default_rng(7).standard_normal((batch, vocab))).astype(np.float32)
            for name, step, tensors in cases(vocab, batch, options.device):
                logits, synchronize = host, lambda: None
                if tensors:
                    import torch

                    logits = torch.from_numpy(host).to(options.device)
                    synchronize = torch.cuda.synchronize if logits.is_cuda else synchronize
                cell = table.setdefault(name, {})[columns[-1]] = measure(step, logits, options.seconds, synchronize)
                print(f"{columns[-1]}: {name}: {cell:.2f} ms", file=sys.stderr)
    load = os.getloadavg()[0]
    where = f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, tensors on {options.device}"
    print(f"ms per step, vocabulary x batch; {where}\n")
    print("| step | " + " | ".join(columns) + " |\n|---|" + "---:|" * len(columns))
    for name, row in table.items():
        cells = (row.get(column) for column in columns)
        shown = ("not run" if cell is None else f"{cell:.2f}" if cell < 10 else f"{cell:.0f}" for cell in cells)
        print(f"| {name} | " + " | ".join(shown) + " |")


if __name__ == "__main__":
    main()
