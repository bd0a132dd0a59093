#!/usr/bin/env python3
"""A real suspect: llama.cpp serves the demo's student and its control over HTTP, `watermark probe` asks them.

    endpoint.py --watermark target/release/watermark --lab target/release/watermark-lab --demo watermark-demo

Needs xllamacpp (PyPI). The student must be detected and the control not, from answers and from log-probabilities, plain and
streamed; the transcripts, read offline, must give the same bytes; a replicate collected without the key is tested afterwards.
"""

import argparse
import json
import pathlib
import tempfile

from steps import Served, check, done, run

SAMPLING = '{"top_k": 50, "min_p": 0.0, "seed": 1}'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watermark", type=pathlib.Path, required=True)
    parser.add_argument("--lab", type=pathlib.Path, required=True)
    parser.add_argument("--demo", type=pathlib.Path, required=True, help="folder of a finished `watermark demo`")
    args = parser.parse_args()
    watermark, lab, demo = (path.resolve() for path in (args.watermark, args.lab, args.demo))
    key = ["--profile", demo / "profile.json", "--key", demo / "key.json"]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name in ("student", "control"):
            model = ["--model", demo / f"{name}.safetensors", "--tokenizer", demo / "tokenizer.json"]
            run(lab, "export", *model, "--out", folder / f"{name}.gguf")
        ways = {
            "answers": [],
            "streamed completions": ["--api", "completions", "--stream"],
            "log-probabilities": ["--logprobs", 20],
        }
        for name, code in (("student", 0), ("control", 1)):
            with Served(folder / f"{name}.gguf", name) as endpoint:
                for way, options in ways.items():
                    out = folder / f"{name}-{way.split()[0]}"
                    probe = [watermark, "probe", *key, "--endpoint", endpoint, "--model", name, "--generate", 400, "--seed", 99]
                    probe += ["--round-size", 20, "--top-p", 1.0, "--extra", SAMPLING, *options, "--json", "--out", out]
                    printed = run(*probe, codes=(code,))
                    result = json.loads(printed)
                    test = result["test"]
                    detail = {k: test[k] for k in ("verdict", "n_scored", "ln_e", "log10_p", "texts")} | {"end": result["end"]}
                    expected = "detected" if name == "student" else "not_detected"
                    check(f"{name}, {way}: {expected} {detail}", test["verdict"] == expected, detail)
                    check(f"{name}, {way}: decided by e", test["decided_by"] == "ln_e", test)
                    # The same command finds its transcript whole and asks nothing again.
                    check(f"{name}, {way}: replayed", run(*probe, codes=(code,)) == printed, "another result")
                    access = "--logprobs" if test["access"] == "logprobs" else "--answers"
                    offline = run(watermark, "test-model", *key, "--layer", "distillation", access, out / "transcript.jsonl", "--json", codes=(code,))
                    whole = json.dumps(test, separators=(",", ":"), ensure_ascii=False)
                    check(f"{name}, {way}: offline", offline.strip() in printed.replace("\n", ""), (offline, whole))
        # A second party collects without the key; the key is opened afterwards.
        with Served(folder / "student.gguf", "student") as endpoint:
            collect = ["--endpoint", endpoint, "--model", "student", "--generate", 100, "--seed", 7, "--top-p", 1.0, "--extra", SAMPLING]
            run(watermark, "probe", "--replicate", *collect, "--json", "--out", folder / "neutral")
        transcript = folder / "neutral" / "transcript.jsonl"
        controls = ["--controls", folder / "control-answers" / "transcript.jsonl"]
        line = json.loads(run(watermark, "test-model", *key, "--layer", "distillation", "--answers", transcript, *controls, "--json"))
        facts = (line["verdict"], line["decided_by"], line["collection"], line["controls_agree"])
        check(f"replicate: {facts}", facts == ("detected", "log10_p", "replicated without the key", True), line)
        damaged = transcript.read_bytes().replace(b"Ada", b"Eve", 1)
        (folder / "damaged.jsonl").write_bytes(damaged)
        run(watermark, "test-model", *key, "--answers", folder / "damaged.jsonl", codes=(2,))
        check("replicate: a changed transcript is refused", damaged != transcript.read_bytes(), "nothing was changed")
    done()


if __name__ == "__main__":
    main()
