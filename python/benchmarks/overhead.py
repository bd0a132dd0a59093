"""What marks cost per step, beside what transformers ships: a Markdown table on stdout, ready to paste.

    python python/benchmarks/overhead.py [--vocab 32000 128256 256000] [--batch 1 8 64] [--seconds 2] [--device cpu]

Milliseconds for one step of the whole batch, from logits to drawn tokens: temperature 0.8 and top-p 0.95, then a draw. The median of
as many steps as fit into `--seconds` per cell, and at least 3 after one that does not count; of a step that takes longer than that,
one, after one that does not count. Everything runs in this process, one after the other, on the same rows. With numpy alone the table
has our part; with torch and transformers also theirs. A cell that would not fit into free memory says so: SynthID takes a kilobyte for
each logit, so 256,000 x 64 needs 16 GB.
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
SYNTHID_BYTES, OTHER_BYTES = 1000, 80  # for each logit: peaks of resident memory of one step on the CPU, rounded up
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

    yield "torch, unmarked", lambda logits: draw(warped(logits)), OTHER_BYTES
    layers = (GREEN, GUMBEL)
    processor = Ours(w.Marker(profile(vocab, *layers), NODE), seed=1)
    processor(ids[:, :1], torch.zeros(batch, vocab, device=device))  # the prompt; the other ids are generated

    def processed(logits):
        processor._ids = None  # every step follows the same ids from the start, where generate adds one
        return draw(processor(ids, warped(logits)))

    yield "watermark_core.transformers, both layers", processed, OTHER_BYTES
    sampler = Sampler(profile(vocab, *layers), NODE, seeds=range(batch), device=device)
    for column in ids.T:
        sampler.accept(column)
    yield "watermark_core.torch, both layers", lambda logits: sampler.sample(warped(logits)), OTHER_BYTES
    kgw = WatermarkLogitsProcessor(vocab_size=vocab, device=device, greenlist_ratio=0.5, bias=2.0, context_width=1)
    yield "transformers' green list (lefthash)", lambda logits: draw(kgw(ids, warped(logits))), OTHER_BYTES
    synthid = SynthIDTextWatermarkLogitsProcessor(ngram_len=5, keys=list(range(1, 31)), sampling_table_size=2**16,
                                                  sampling_table_seed=0, context_history_size=1024, device=device)  # fmt: skip
    yield "transformers' SynthID (30 layers)", lambda logits: draw(synthid(ids, warped(logits))), SYNTHID_BYTES


def free_bytes(device):
    """Of the device, or of the host, where nothing has to be swapped out for them."""
    if device != "cpu":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    with open("/proc/meminfo", encoding="ascii") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))


def measure(step, logits, seconds, synchronize):
    """Median milliseconds, and of how many steps. Every step gets a fresh copy, which is not timed."""
    times, start = [], time.perf_counter()
    while len(times) < 2 or (len(times) < 4 and times[0] < 1e3 * seconds) or time.perf_counter() - start < seconds:
        given = logits.clone() if hasattr(logits, "clone") else logits.copy()
        synchronize()
        begin = time.perf_counter()
        step(given)
        synchronize()
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times[1:]), len(times) - 1


def cases(vocab, batch, device):
    """Name, function of logits [batch, vocab], whether they are a tensor, and bytes for each logit."""
    yield "host rows, unmarked", ours(vocab, batch, ()), False, OTHER_BYTES
    yield "host rows, Gumbel", ours(vocab, batch, (GUMBEL,)), False, OTHER_BYTES
    yield "host rows, both layers", ours(vocab, batch, (GREEN, GUMBEL)), False, OTHER_BYTES
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError:
        return
    for name, step, needs in torch_cases(vocab, batch, device):
        yield name, step, True, needs


def versions():
    """Of what was measured."""
    installed = {"Python": platform.python_version(), "watermark_core": w.__version__, "numpy": np.__version__}
    for name in ("torch", "transformers"):
        if name in sys.modules:
            installed[name] = sys.modules[name].__version__
    return ", ".join(f"{name} {version}" for name, version in installed.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vocab", type=int, nargs="+", default=[32000, 128256, 256000])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--device", default="cpu", help="of the tensors; rows of the host stay there")
    options = parser.parse_args()
    table, names = {}, []
    for vocab in options.vocab:
        for batch in options.batch:
            cells = table.setdefault(f"{vocab:,} x {batch}", {})
            host = (3 * np.random.default_rng(7).standard_normal((batch, vocab))).astype(np.float32)
            for name, step, tensors, needs in cases(vocab, batch, options.device):
                if name not in names:
                    names.append(name)
                if needs * vocab * batch > free_bytes(options.device if tensors else "cpu"):
                    cells[name] = f"needs {needs * vocab * batch / 1e9:.0f} GB"
                    continue
                logits, synchronize = host, lambda: None
                if tensors:
                    import torch

                    logits = torch.from_numpy(host).to(options.device)
                    synchronize = torch.cuda.synchronize if logits.is_cuda else synchronize
                cell, steps = measure(step, logits, options.seconds, synchronize)
                cells[name] = (f"{cell:.1f}" if cell < 10 else f"{cell:,.0f}") + (" (1)" if steps == 1 else "")
                print(f"{vocab:,} x {batch}: {name}: {cell:.2f} ms, {steps} steps", file=sys.stderr)
    load = os.getloadavg()[0]
    where = f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} at the end, tensors on {options.device}"
    print(f"ms for a step, (1) where one was timed; {where}; {versions()}\n")
    print("| vocabulary x batch | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    for name, cells in table.items():
        print(f"| {name} | " + " | ".join(cells[column] for column in names) + " |")


if __name__ == "__main__":
    main()
