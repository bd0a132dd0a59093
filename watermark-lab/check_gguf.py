#!/usr/bin/env python3
"""Checks that llama.cpp serves an exported model as candle computes it: the same token ids for text, the same
log-probabilities of the next token. Needs: pip install xllamacpp

    check_gguf.py --lab target/release/watermark-lab --model student.safetensors --tokenizer tokenizer.json
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import urllib.request

import serve

TOP = 20
# Both compute in f32 and differ in the order of sums and the approximation of exp: 1e-5. With anything in f16, 1e-3.
LARGEST_DIFFERENCE = 1e-4
# The token generated is the end of text, since the server leaves out the log-probabilities of one that ends inside a
# character. What it reports is the distribution before this bias.
ONE_TOKEN = {"max_tokens": 1, "temperature": 0, "logit_bias": [[0, 1000]]}
# What must be tokenized alike: characters that take one to four bytes, digits, spaces, contractions, control characters.
PIECES = """it's we'LL they've I'm don't 12345 3.14 1,000,000 $5 50% x=y foo_bar() <<48/2=24>> ... --- \\ / " ' `` [](){}
naïve Straße Ærø Łódź ñandú Ελληνικά Русский עברית العربية हिन्दी ไทย 日本語 中文 한국어 ½ ² ٣٤ Ⅷ € “quotes” – — … 😀 👩‍👩‍👧 e\u0301 \u00a0 \u200b \u3000
Question: Answer: #### <|endoftext|> <|endof \t \r\n \n\n \n  ! ?""".split(" ")


def texts() -> list[str]:
    """Lines of the project's own documents and 400 mixtures of the pieces, the same every time."""
    root = pathlib.Path(__file__).parents[1]
    names = ("README.md", "ARCHITECTURE.md", "watermark-lab/src/ops.rs")
    lines = [line for name in names for line in (root / name).read_text(encoding="utf-8").splitlines()]
    rng = random.Random(1)
    separators = ["", " ", "  ", "\n"]
    for _ in range(400):
        lines.append("".join(rng.choice(PIECES) + rng.choice(separators) for _ in range(rng.randint(1, 8))))
    return [line[:150] for line in lines if line]


def prompts() -> list[str]:
    questions = [
        "Ada buys 4 boxes of eggs at school. Each box holds 12 eggs. How many eggs are left?",
        "Ein Zug fährt 3 Stunden. Wie weit kommt er?",
        "A train to the market has 5 cars with 40 seats each. 7 seats are empty. How many people are on the train?",
    ]
    beginnings = ["", " There", " The total is 4 x 12 = 48 eggs.\n", " " + "He has 3 more. " * 12]
    asked = [f"Question: {question}\nAnswer:{beginning}" for question in questions for beginning in beginnings]
    return [*asked, "", "use std::"]


def post(server: str, path: str, body: dict) -> dict:
    request = urllib.request.Request(server + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("lab", "model", "tokenizer"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    files = ["--model", args.model, "--tokenizer", args.tokenizer]
    asked, lines = prompts(), texts()
    strings = "".join(json.dumps(text) + "\n" for text in asked + lines)
    run = subprocess.run([args.lab, "logprobs", *files], input=strings, capture_output=True, text=True, check=True)
    candle = [json.loads(line) for line in run.stdout.splitlines()]

    with tempfile.TemporaryDirectory() as folder:
        gguf = f"{folder}/model.gguf"
        subprocess.run([args.lab, "export", *files, "--out", gguf], check=True)
        server = serve.start(gguf, port=0, alias="model", slots=1)
        address = server.listening_address
        for text, expected in zip(asked + lines, candle, strict=True):
            tokens = post(address, "/tokenize", {"content": text, "add_special": True})["tokens"]
            if tokens != expected["tokens"]:
                sys.exit(f"token ids differ for {text!r}: llama.cpp {tokens}, tokenizer.json {expected['tokens']}")
        largest = 0.0
        for text, expected in zip(asked, candle):
            answer = post(address, "/v1/completions", {"prompt": text, "logprobs": TOP, **ONE_TOKEN})
            top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
            assert len(top) == TOP
            largest = max(largest, *(abs(entry["logprob"] - expected["log_probs"][entry["id"]]) for entry in top))
        # The chat template asks what prompts.rs asks.
        question = asked[0].removeprefix("Question: ").removesuffix("\nAnswer:")
        messages = [{"role": "user", "content": "before"}, {"role": "user", "content": question}]
        body = {"messages": messages, "logprobs": True, "top_logprobs": TOP, **ONE_TOKEN}
        chat = post(address, "/v1/chat/completions", body)
        for entry in chat["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            largest = max(largest, abs(entry["logprob"] - candle[0]["log_probs"][entry["id"]]))

    n = sum(len(row["tokens"]) for row in candle)
    print(f"{len(candle)} texts, {n} tokens: the same ids")
    print(f"{len(asked)} prompts and a chat, top {TOP}: log-probabilities differ by at most {largest:.2e}")
    if largest >= LARGEST_DIFFERENCE:
        sys.exit(f"more than {LARGEST_DIFFERENCE}")


if __name__ == "__main__":
    main()
