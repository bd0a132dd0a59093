"""A deployment and rows of logits for the tests."""

import array
import contextlib
import hashlib
import json
import os
import pathlib
import random
import signal
import threading

import watermark_core as w

NODE = "5a" * 32
KEY = json.dumps({"key": "watermark-key/1", "path": "", "node": NODE})
VOCAB = 256
VECTORS = pathlib.Path(__file__).resolve().parents[2] / "tests" / "vectors"

GREEN = {"name": "distillation", "scheme": "greenlist", "gamma": 0.5, "delta": 2.0, "width": 1, "prf": "chacha20-v1"}
GUMBEL = {"name": "provenance", "scheme": "gumbel", "width": 4, "prf": "chacha20-v1"}


def profile(*layers):
    return {
        "profile": "watermark-profile/1",
        "name": "t",
        "path": "e",
        "tokenizer": {"sha256": "0" * 64, "vocab_size": VOCAB, "special_token_ids": [0]},
        "layers": list(layers or (GREEN, GUMBEL)),
        "repeats": "unmarked",
    }


def tokenizer():
    """A tokenizer.json of one word for each id, and of a text of ids."""
    vocab = {f"w{at}": at for at in range(VOCAB)}
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "w0"},
        }
    )


def text_of(ids):
    return " ".join(f"w{at}" for at in ids)


def lay(folder, *layers):
    """Profile, key and tokenizer as files; the paths of the first two."""
    (folder / "tokenizer.json").write_text(tokenizer())
    made = profile(*layers)
    made["tokenizer"]["sha256"] = hashlib.sha256(tokenizer().encode()).hexdigest()
    (folder / "p.json").write_text(json.dumps(made))
    (folder / "k.json").write_text(KEY)
    (folder / "k.json").chmod(0o600)
    return folder / "p.json", folder / "k.json"


def rows(seed, n):
    """`n` rows of logits with some entropy."""
    draw = random.Random(seed)
    return [array.array("f", (draw.gauss(0, 1.5) for _ in range(VOCAB))) for _ in range(n)]


def write(seed, n, marker=None, **options):
    """Token ids that a session writes."""
    session = (marker or w.Marker(profile(), NODE)).session(seed=seed, **options)
    for row in rows(seed, n):
        session.accept(session.sample(row))
    return session.generated


def vectors(name):
    return json.loads((VECTORS / name).read_text())


@contextlib.contextmanager
def interrupted(seconds):
    """Sends this process an interrupt, as Ctrl-C does, after so long; also where whoever started it ignores interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
