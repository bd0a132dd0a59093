#!/usr/bin/env python3
"""Serves an exported laboratory model with llama.cpp on 127.0.0.1 until killed. Needs: pip install xllamacpp

    watermark-lab export --model student.safetensors --tokenizer tokenizer.json --out student.gguf
    serve.py student.gguf --port 8080
"""

import argparse
import signal

import xllamacpp as xl

# Tokens that a laboratory model reads; every slot has as many.
CONTEXT = 192
STOP = {signal.SIGINT, signal.SIGTERM}


def start(model: str, port: int, alias: str, slots: int) -> xl.Server:
    """A running server; it stops when the object goes."""
    params = xl.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.model_alias = {alias}
    params.n_parallel = slots
    params.n_ctx = CONTEXT * slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    # The distribution is the model's own: llama.cpp's defaults round keys, values and attention to f16.
    params.cache_type_k = params.cache_type_v = xl.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xl.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.verbosity = 1
    return xl.Server(params)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL.gguf")
    parser.add_argument("--port", type=int, required=True, help="0 picks a free one")
    parser.add_argument("--alias", default="student", help="name under which the model is served")
    parser.add_argument("--slots", type=int, default=8, help="requests answered side by side")
    args = parser.parse_args()
    # Blocked in all threads, so that sigwait sees them.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    server = start(args.model, args.port, args.alias, args.slots)
    print(f"ready: {server.listening_address}", flush=True)
    signal.sigwait(STOP)


if __name__ == "__main__":
    main()
