"""The provider: a profile of the model's own tokenizer, and answers that are marked by the adapter for transformers."""

import hashlib
import json
import os
import random
import subprocess

SAMPLING = {"temperature": 0.8, "top_p": 0.95}
BATCH = 32
# Requests of one account, in the order of the ledger.
PER_ACCOUNT = 25


def watermark(program, *arguments, ok=(0,)):
    """Runs the program; what it prints."""
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode not in ok:
        raise SystemExit(f"{program} {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
    return done.stdout


def make_profile(folder, program, model, seed, *options):
    """`key.json` and `profile.json` for the model's tokenizer. The key follows from the seed, so that a run can be repeated: it is no
    secret."""
    node = hashlib.sha256(f"papers/real-models {seed}".encode()).hexdigest()
    with open(folder / "key.json", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        json.dump({"key": "watermark-key/1", "path": "", "node": node}, file)
    (folder / "profile.json").unlink(missing_ok=True)
    watermark(program, "profile", "new", "--tokenizer", model / "tokenizer.json", "--out", folder / "profile.json", *options)


def answer(path, model, tokenizer, marker, questions, *, tokens, seed, marked=True, request=None, account=None):
    """Writes an answer to every question: `prompt`, `completion`, `prompt_tokens`, `tokens`; with `request` and `account`, functions of the
    number of an answer, also these and `withheld`. What a run that was cut short has written stays."""
    from watermark_core import _run_files, quality

    progress = _run_files.Progress(len(questions), path.parent.name.removesuffix(".part"))

    def lines_after(there):
        progress.skip(there)
        # Batches are the same wherever a run begins, and so is each draw.
        for begin in range(there - there % BATCH, len(questions), BATCH):
            batch = range(begin, min(begin + BATCH, len(questions)))
            own = int.from_bytes(hashlib.sha256(f"{seed} {begin}".encode()).digest()[:7], "big")
            requests = None if request is None else [request(at) for at in batch]
            answers = quality.generate(
                model, tokenizer, marker, [questions[at] for at in batch], seed=own, max_tokens=tokens, marked=marked, requests=requests, **SAMPLING
            )
            lines = [
                {"prompt": questions[at], "completion": one.text, "prompt_tokens": one.prompt_tokens, "tokens": one.tokens}
                | ({} if request is None else {"request": request(at), "account": account(at), "withheld": one.withheld})
                for at, one in zip(batch, answers)
            ]
            yield [json.dumps(line, ensure_ascii=False) for line in lines][max(there - begin, 0) :]
            progress.advance(len(batch), f"answer {batch.stop} of {len(questions)}")

    _run_files.written(path, {"answers": len(questions)}, "answers", lines_after, dict, progress)


def split(prompts, tokenizer, longest=60):
    """The prompts of at most `longest` tokens in three parts that share none: to be asked of students, served but not learned, and
    the rest."""
    short = [prompt for prompt in prompts if len(tokenizer(prompt)["input_ids"]) <= longest]
    random.Random(1).shuffle(short)
    return short[:100], short[100:200], short[200:]
