#!/usr/bin/env python3
"""The real llama.cpp draws tokens with our sampler, the last one of a chain, through the C library.

    llama_cpp.py --watermark target/release/watermark --lab target/release/watermark-lab --library target/release/libwatermark.so

Needs xllamacpp 2026.10.11549 (PyPI), whose module exports libllama's functions; the layouts below are those of its llama.h. The
marked answers must be detected; those of the same seeds without the sampler, and of the sampler opened unmarked, must not.
"""

import argparse
import ctypes
import json
import pathlib
import random
import tempfile
from ctypes import POINTER, byref, c_bool, c_char_p, c_double, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

import xllamacpp
from steps import ROOT, check, check_no_leaks, done, run

ANSWERS = 40
LONGEST = 96
TOP_K = 50
TEMPERATURE = 1.0


class Options(ctypes.Structure):
    """WmSessionOptions."""

    _fields_ = [("struct_size", c_size_t), ("account", c_char_p), ("seed", c_uint64), ("top_k", c_uint64)]
    _fields_ += [("top_p", c_double), ("min_p", c_double), ("temperature", c_float), ("marked", c_uint32)]


class ModelParams(ctypes.Structure):
    """llama_model_params, of which nothing is changed."""

    _fields_ = [("all", c_uint64 * 10)]


class ContextParams(ctypes.Structure):
    """llama_context_params, as far as it is changed."""

    _fields_ = [("n_ctx", c_uint32), ("n_batch", c_uint32), ("others", c_uint32 * 5)]
    _fields_ += [("n_threads", c_int32), ("n_threads_batch", c_int32), ("rest", c_uint32), ("all", c_uint64 * 16)]


class Batch(ctypes.Structure):
    """llama_batch."""

    _fields_ = [("n_tokens", c_int32), ("pointers", c_void_p * 6)]


class Functions:
    """C functions by name with their types."""

    def __init__(self, path, types):
        library = ctypes.CDLL(str(path))
        for name, (result, *arguments) in types.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)


llama = Functions(
    xllamacpp.xllamacpp.__file__,
    {
        "llama_backend_init": (None,),
        "llama_log_set": (None, c_void_p, c_void_p),
        "llama_model_default_params": (ModelParams,),
        "llama_context_default_params": (ContextParams,),
        "llama_model_load_from_file": (c_void_p, c_char_p, ModelParams),
        "llama_init_from_model": (c_void_p, c_void_p, ContextParams),
        "llama_model_get_vocab": (c_void_p, c_void_p),
        "llama_vocab_n_tokens": (c_int32, c_void_p),
        "llama_vocab_is_eog": (c_bool, c_void_p, c_int32),
        "llama_tokenize": (c_int32, c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool),
        "llama_batch_get_one": (Batch, POINTER(c_int32), c_int32),
        "llama_decode": (c_int32, c_void_p, Batch),
        "llama_get_memory": (c_void_p, c_void_p),
        "llama_memory_clear": (None, c_void_p, c_bool),
        "llama_sampler_chain_default_params": (c_bool,),
        "llama_sampler_chain_init": (c_void_p, c_bool),
        "llama_sampler_chain_add": (None, c_void_p, c_void_p),
        "llama_sampler_chain_get": (c_void_p, c_void_p, c_int32),
        "llama_sampler_name": (c_char_p, c_void_p),
        "llama_sampler_init": (c_void_p, c_void_p, c_void_p),
        "llama_sampler_init_top_k": (c_void_p, c_int32),
        "llama_sampler_init_temp": (c_void_p, c_float),
        "llama_sampler_init_dist": (c_void_p, c_uint32),
        "llama_sampler_sample": (c_int32, c_void_p, c_void_p, c_int32),
        "llama_sampler_clone": (c_void_p, c_void_p),
        "llama_sampler_copy": (None, c_void_p, c_void_p),
        "llama_sampler_reset": (None, c_void_p),
        "llama_sampler_free": (None, c_void_p),
    },
)


def watermark_functions(path):
    handle = POINTER(c_void_p)
    return Functions(
        path,
        {
            "wm_last_error": (c_char_p,),
            "wm_key_open": (c_int32, c_char_p, c_size_t, c_char_p, handle),
            "wm_key_free": (None, c_void_p),
            "wm_marker_new": (c_int32, c_char_p, c_size_t, c_void_p, handle),
            "wm_marker_vocab_size": (c_uint32, c_void_p),
            "wm_marker_free": (None, c_void_p),
            "wm_session_options_default": (c_int32, POINTER(Options)),
            "wm_session_new": (c_int32, c_void_p, POINTER(Options), handle),
            "wm_session_error": (c_char_p, c_void_p),
            "wm_session_generated": (c_int32, c_void_p, POINTER(c_uint32), c_size_t, POINTER(c_size_t)),
            "wm_session_free": (None, c_void_p),
            "wm_llama_iface": (c_void_p,),
            "wm_llama_ctx_new": (c_int32, c_void_p, c_void_p, handle),
            "wm_llama_session": (c_void_p, c_void_p),
        },
    )


def questions():
    """As the laboratory model knows them, the same every time."""
    rng = random.Random(7)
    names, things, places = ["Ada", "Ben", "Clara", "Dan", "Eve"], ["eggs", "books", "apples", "pens"], ["school", "home", "the market"]
    for _ in range(ANSWERS):
        name, thing, place = rng.choice(names), rng.choice(things), rng.choice(places)
        boxes, each, gone = rng.randint(2, 9), rng.randint(3, 20), rng.randint(1, 5)
        asked = f"{name} buys {boxes} boxes of {thing} at {place}. Each box holds {each} {thing}. {gone} {thing} are lost. How many {thing} are left?"
        yield f"Question: {asked}\nAnswer:"


class Model:
    """A GGUF file in llama.cpp, one sequence at a time."""

    def __init__(self, gguf):
        self.silent = ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_void_p)(lambda *_: None)
        llama.llama_log_set(ctypes.cast(self.silent, c_void_p), None)
        llama.llama_backend_init()
        model = llama.llama_model_load_from_file(str(gguf).encode(), llama.llama_model_default_params())
        params = llama.llama_context_default_params()
        # If the layouts were others, these would not be the defaults that llama.h documents.
        check("llama.cpp's parameters are laid out as here", (params.n_ctx, params.n_batch) == (512, 2048), (params.n_ctx, params.n_batch))
        params.n_ctx = 256
        params.n_threads = params.n_threads_batch = 1
        self.context = model and llama.llama_init_from_model(model, params)
        check("the model is loaded", bool(self.context), gguf)
        self.vocab = llama.llama_model_get_vocab(model)
        self.vocab_size = llama.llama_vocab_n_tokens(self.vocab)

    def tokenize(self, text):
        raw, ids = text.encode(), (c_int32 * 256)()
        n = llama.llama_tokenize(self.vocab, raw, len(raw), ids, len(ids), True, True)
        return ids[:n]

    def decode(self, tokens):
        ids = (c_int32 * len(tokens))(*tokens)
        if llama.llama_decode(self.context, llama.llama_batch_get_one(ids, len(tokens))) != 0:
            raise SystemExit("llama_decode failed")

    def answer(self, prompt, chain, look=lambda *_: None):
        """Generated tokens; `look` is called before each one."""
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)
        self.decode(prompt)
        tokens = []
        while len(tokens) < LONGEST:
            look(self, tokens)
            token = llama.llama_sampler_sample(chain, self.context, -1)
            tokens.append(token)
            if llama.llama_vocab_is_eog(self.vocab, token):
                break
            self.decode([token])
        return tokens


def chain_with(last):
    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_top_k(TOP_K))
    llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_temp(TEMPERATURE))
    llama.llama_sampler_chain_add(chain, last)
    return chain


class Watermark:
    """The C library with a marker."""

    def __init__(self, library, profile, key):
        self.wm = watermark_functions(library)
        opened, self.marker = c_void_p(), c_void_p()
        self.ok(self.wm.wm_key_open(key, len(key), None, byref(opened)))
        self.ok(self.wm.wm_marker_new(profile, len(profile), opened, byref(self.marker)))
        self.wm.wm_key_free(opened)

    def ok(self, status):
        if status != 0:
            raise SystemExit(f"status {status}: {self.wm.wm_last_error().decode()}")

    def sampler(self, seed, marked):
        """A sampler and the session inside it."""
        options = Options(struct_size=ctypes.sizeof(Options))
        self.ok(self.wm.wm_session_options_default(byref(options)))
        options.seed, options.marked = seed, marked
        session, ctx = c_void_p(), c_void_p()
        self.ok(self.wm.wm_session_new(self.marker, byref(options), byref(session)))
        self.ok(self.wm.wm_llama_ctx_new(session, ctypes.cast(llama.llama_sampler_init, c_void_p), byref(ctx)))
        self.wm.wm_session_free(session)
        return llama.llama_sampler_init(self.wm.wm_llama_iface(), ctx), self.wm.wm_llama_session(ctx)

    def generated(self, session):
        tokens, n = (c_uint32 * LONGEST)(), c_size_t()
        self.ok(self.wm.wm_session_generated(session, tokens, LONGEST, byref(n)))
        return tokens[: n.value]


def clones_agree(chain):
    """Before token 20 the chain is cloned; what the clone draws there and after, from the same logits, must be the same."""
    clones = []

    def look(model, tokens):
        if len(tokens) == 20:
            clones.append((llama.llama_sampler_clone(chain), []))
        for clone, drawn in clones:
            drawn.append(llama.llama_sampler_sample(clone, model.context, -1))

    return clones, look


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("watermark", "lab", "library"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    args = parser.parse_args()
    watermark, lab, library = (path.resolve() for path in (args.watermark, args.lab, args.library))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        profile, key, gguf = folder / "profile.json", folder / "key.json", folder / "base.gguf"
        run(watermark, "profile", "new", "--out", profile)
        run(watermark, "keygen", "--out", key)
        models = ROOT / "watermark-lab/models"
        run(lab, "export", "--model", models / "base.safetensors", "--tokenizer", ROOT / "watermark-toolkit/embedded/tokenizer.json", "--out", gguf)
        model = Model(gguf)
        marking = Watermark(library, profile.read_bytes(), key.read_bytes())
        sizes = (model.vocab_size, marking.wm.wm_marker_vocab_size(marking.marker))
        check(f"vocabulary of model and profile: {sizes}", sizes[0] == sizes[1], sizes)

        prompts = [model.tokenize(question) for question in questions()]
        ways = {"marked": [], "unmarked": [], "without": []}
        compared = 0
        for seed, prompt in enumerate(prompts):
            for way, marked in (("marked", 1), ("unmarked", 0)):
                last, session = marking.sampler(seed, marked)
                chain = chain_with(last)
                clones, look = clones_agree(chain)
                tokens = model.answer(prompt, chain, look)
                error = marking.wm.wm_session_error(session)
                if error or marking.generated(session) != tokens:
                    check("the session holds what llama.cpp emitted", False, (error, tokens))
                for clone, drawn in clones:
                    if drawn != tokens[20:]:
                        check("a clone draws the same", False, (drawn, tokens[20:]))
                    compared += len(drawn)
                    llama.llama_sampler_copy(chain, clone)
                    llama.llama_sampler_reset(clone)
                    llama.llama_sampler_free(clone)
                ways[way].append(tokens)
                if seed == 0:
                    name = llama.llama_sampler_name(llama.llama_sampler_chain_get(chain, 2))
                    check(f"the last sampler of the chain is {name}", name == b"watermark", name)
                llama.llama_sampler_free(chain)
            chain = chain_with(llama.llama_sampler_init_dist(seed))
            ways["without"].append(model.answer(prompt, chain))
            llama.llama_sampler_free(chain)
        check(f"clones drew {compared} tokens as their chains did", compared > 500, compared)
        check("the answers end", any(len(tokens) < LONGEST for tokens in ways["marked"]), ways["marked"])
        again = chain_with(marking.sampler(0, 1)[0])
        check("the same seed gives the same answer", model.answer(prompts[0], again) == ways["marked"][0], "another answer")
        llama.llama_sampler_free(again)
        marking.wm.wm_marker_free(marking.marker)

        for way, answers in ways.items():
            lines = [{"id": i, "prompt_tokens": prompt, "tokens": tokens} for i, (prompt, tokens) in enumerate(zip(prompts, answers))]
            path = folder / f"{way}.jsonl"
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            detect = [watermark, "detect", "--profile", profile, "--key", key, "--input-format", "tokens", "--json", path]
            expected = "detected" if way == "marked" else "not_detected"
            layers = [json.loads(line) for line in run(*detect, codes=(0 if way == "marked" else 1,)).splitlines()]
            for layer in layers:
                detail = {name: layer[name] for name in ("layer", "n_scored", "log10_p", "verdict")}
                check(f"{way}: {detail}", layer["verdict"] == expected, detail)
            check(f"{way}: two layers", len(layers) == 2, layers)
        check_no_leaks(folder)
    done()


if __name__ == "__main__":
    main()
