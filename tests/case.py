#!/usr/bin/env python3
"""A whole case, as a provider, an investigator, a second party and a sceptic live it, on the models of a finished demo.

    case.py --watermark target/release/watermark --lab target/release/watermark-lab --demo watermark-demo [--keep DIR]

The demo has committed to its keys, served marked answers and let a student learn them. Here the provider keeps a ledger of those
answers; the investigator has the commitment time-stamped, registers two tests, and has a second party ask student and control, which
llama.cpp serves; the evidence is signed, verified by both verifiers with all data, and made into a page. The sceptic changes what can be
changed. Needs xllamacpp, cryptography and mpmath (PyPI), and the program openssl.
"""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile

from steps import ROOT, Served, check, check_no_leaks, done, payload, run, secrets_in

SAMPLING = '{"top_k": 50, "min_p": 0.0, "seed": 1}'
COUNTS = ("n_empty", "n_scored", "n_duplicate", "n_excluded", "n_short_context")


class Authority:
    """A throw-away time-stamping authority, made by openssl."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder = folder
        shutil.copy(ROOT / "tests/data/tsa.cnf", folder)
        new = ["req", "-newkey", "rsa:2048", "-nodes"]
        self.openssl(*new, "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
        self.openssl(*new, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=tsa")
        self.openssl("x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "tsa.pem",
                     "-days", "2", "-extfile", "tsa.cnf", "-extensions", "ext")

    def openssl(self, *words):
        run("sh", "-c", 'cd "$0" && exec openssl "$@"', self.folder, *words)

    def stamp(self, request):
        response = request.with_suffix(".tsr")
        self.openssl("ts", "-reply", "-config", "tsa.cnf", "-section", "tsa", "-queryfile", request, "-out", response)
        return response


def ledger(watermark, demo, folder):
    """The answers that were served, to ten accounts; the sceptic then rewrites one."""
    run(watermark, "key", "export", "--key", demo / "key.json", "--path", "ledger/demo", "--out", folder / "ledger.key.json")
    answers = [json.loads(line)["completion"] for line in (demo / "teacher.jsonl").read_text(encoding="utf-8").splitlines()]
    append = [watermark, "ledger", "append", "--ledger", folder / "ledger", "--key", folder / "ledger.key.json"]
    heads = []
    for part in (answers[:500], answers[500:]):
        served = [{"answer": answer, "account": f"user-{at % 10}", "key": "epoch/demo"} for at, answer in enumerate(part)]
        lines = run(*append, stdin="".join(json.dumps(one) + "\n" for one in served).encode()).splitlines()
        check(f"ledger: {len(lines)} answers acknowledged", len(lines) == len(part), len(lines))
        run(watermark, "ledger", "head", "--ledger", folder / "ledger", "--signing-key", folder / "provider.json")
        heads.append(max((folder / "ledger/heads").glob("*.json")))
    prove = [watermark, "ledger", "prove", "--ledger", folder / "ledger", "--head"]
    run(*prove, heads[1], "--index", 42, "--key", folder / "ledger.key.json", "--account", "user-2", "--out", folder / "served.json")
    (folder / "served.txt").write_text(answers[42], encoding="utf-8")
    proof = [watermark, "ledger", "check", heads[1], "--proof", folder / "served.json", "--answer", folder / "served.txt"]
    run(*proof, "--account", "user-2")
    check("ledger: an answer was served to the account", True, "")
    run(*proof, "--account", "user-3", codes=(1,))
    check("ledger: and to no other account", True, "")
    run(*prove, heads[1], "--older", heads[0], "--out", folder / "consistency.json")
    run(watermark, "ledger", "check", heads[1], "--older", heads[0], "--proof", folder / "consistency.json")
    log = next(path for path in sorted((folder / "ledger").iterdir()) if path.is_file() and b"epoch/demo" in path.read_bytes())
    whole = log.read_bytes()
    line = whole.splitlines()[7]
    changed = line.replace(b"epoch/demo", b"epoch/demi")
    log.write_bytes(whole.replace(line, changed))
    run(*prove, heads[1], "--older", heads[0], "--out", folder / "rewritten.json", codes=(2,))
    log.write_bytes(whole)
    check("ledger: a rewritten entry has no consistency proof", line != changed, "nothing was changed")


class Investigation:
    """Registered tests of one suspect, each with its evidence."""

    def __init__(self, watermark, demo, folder, authority, public):
        self.watermark, self.demo, self.folder, self.authority, self.public = watermark, demo, folder, authority, public
        self.opening, self.head_stamp = folder / "opening.json", authority.stamp(folder / "head.tsq")
        self.fixed = ["--profile", demo / "profile.json", "--head", demo / "head.json"]
        self.signed = ["--signing-key", folder / "investigator.json"]

    def reader(self, answers):
        """What a reader of a bundle has at hand: the answers, the keys that they trust, the authority, the tokenizer."""
        data = [word for file in answers for word in ("--data", file)]
        return [*data, *self.trusted(), "--authority", self.authority.folder / "ca.pem", "--tokenizer", self.demo / "tokenizer.json"]

    def trusted(self):
        return [word for key in self.public for word in ("--trusted-key", key)]

    def register(self, name, prompts, *options):
        registration = self.folder / f"{name}.json"
        run(self.watermark, "register", "--suspect", "student", "--control", "control", *self.fixed, "--prompts", prompts, *options,
            *self.signed, "--out", registration)
        return registration, self.authority.stamp(registration.with_suffix(".tsq"))

    def evidence(self, name, registered, prompts, answers, control, *options):
        registration, stamp = registered
        out = self.folder / f"{name}-evidence"
        run(self.watermark, "evidence", "--registration", registration, *self.fixed, "--opening", self.opening, "--prompts", prompts,
            "--answers", answers, "--controls", control, "--head-time-stamp", self.head_stamp, "--registration-time-stamp", stamp,
            "--tokenizer", self.demo / "tokenizer.json", *options, *self.signed, "--out", out)
        return out

    def verify(self, name, out, *answers):
        """Both verifiers, with everything at hand, say the same."""
        bundle = out / "evidence.json"
        ours = json.loads(run(self.watermark, "verify", bundle, *self.reader(answers), "--json"))
        check(f"{name}: watermark verify: integrity, trust, {ours['result']['verdict']}",
              ours["integrity"] and ours["trust"] == "trusted" and len(ours["recomputed"]) == 2, ours)
        check(f"{name}: nothing left unchecked but the beacon's and the collector's word", len(ours["not_checked"]) <= 3, ours["not_checked"])
        stamps = [ours["times"][at] for at in ("head_time_stamp", "registration_time_stamp")]
        check(f"{name}: both time stamps hold {stamps}", all(stamps), stamps)
        records = [out / "suspect.records.jsonl", out / "control-1.records.jsonl"]
        theirs = json.loads(run(sys.executable, ROOT / "verify/verify.py", bundle, "--data", *records, "--tokenizer",
                                self.demo / "tokenizer.json", *self.trusted()))
        check(f"{name}: the second verifier: integrity, trust", theirs["integrity"] and theirs["trust"] == "trusted", theirs)
        said = payload(bundle.read_text())["predicate"]
        told = {field: said["suspect"][field] for field in (*COUNTS, "statistic", "log10_p", "ln_e")}
        told |= {field: said[field] for field in ("verdict", "decided_by")}
        told |= {field: ours["result"][field] for field in ("alpha", "committed_keys")}
        found = theirs["result"].pop("conditions")
        check(f"{name}: both find the ids of the texts", found["tokens_recomputed"] == "holds", found)
        check(f"{name}: both to the last digit: statistic {told['statistic']}, {told['n_scored']} pairs, log10 p {told['log10_p']:.2f}",
              theirs["result"] == told and all(ours["result"][f] == told[f] for f in ("n_empty", "n_scored", "statistic", "log10_p", "ln_e")), told)
        return said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watermark", type=pathlib.Path, required=True)
    parser.add_argument("--lab", type=pathlib.Path, required=True)
    parser.add_argument("--demo", type=pathlib.Path, required=True, help="folder of a finished `watermark demo`")
    parser.add_argument("--keep", type=pathlib.Path, help="work in this new folder and keep it")
    args = parser.parse_args()
    paths = [path.resolve() for path in (args.watermark, args.lab, args.demo)]
    if args.keep:
        args.keep.mkdir(parents=True)
        case(*paths, args.keep.resolve())
    else:
        with tempfile.TemporaryDirectory() as folder:
            case(*paths, pathlib.Path(folder))
    done()


def case(watermark, lab, demo, folder):
    # Before anything is asked: keys, stamps, the ledger of what was served.
    public = [signer(demo / "head.json")]
    for name in ("provider", "investigator"):
        run(watermark, "key", "signing", "--out", folder / f"{name}.json")
    authority = Authority(folder / "authority")
    ledger(watermark, demo, folder)
    key = ["--key", demo / "key.json", "--profile", demo / "profile.json"]
    run(watermark, "key", "open", "--openings", demo / "openings.json", "--key", demo / "key.json", "--profile", demo / "committed.profile.json",
        "--path", "epoch/demo/layer/distillation", "--out", folder / "opening.json")
    run("openssl", "ts", "-query", "-data", demo / "head.json", "-sha256", "-cert", "-out", folder / "head.tsq")
    held_out = [json.loads(line)["prompt"] for line in (demo / "student.jsonl").read_text(encoding="utf-8").splitlines()]
    questions = [prompt.removeprefix("Question: ").removesuffix("\nAnswer:") for prompt in held_out]
    files = {}
    for name, asked in (("first", questions[:300]), ("second", questions[300:500])):
        files[name] = folder / f"{name}.txt"
        files[name].write_text("".join(f"{question}\n" for question in asked), encoding="utf-8")
    models = {}
    for name in ("student", "control"):
        models[name] = folder / f"{name}.gguf"
        run(lab, "export", "--model", demo / f"{name}.safetensors", "--tokenizer", demo / "tokenizer.json", "--out", models[name])
    looking = Investigation(watermark, demo, folder, authority, public)

    # First: every prompt is answered once, collected by somebody without the key; p decides.
    registered = looking.register("first", files["first"])
    public.append(signer(registered[0]))
    probe = ["--top-p", "1.0", "--extra", SAMPLING, "--round-size", "20"]
    def collect(model, prompts, out, *options):
        with Served(models[model], model) as endpoint:
            run(watermark, "probe", *options, "--endpoint", endpoint, "--model", model, "--prompts", prompts, *probe, "--out", out)
        return out / "transcript.jsonl"
    answers = [collect(model, files["first"], folder / f"first-{model}", "--replicate") for model in models]
    first = looking.evidence("first", registered, files["first"], *answers)
    said = looking.verify("first", first, *answers)
    facts = (said["verdict"], said["decided_by"], said["suspect"]["collection"])
    check(f"first: {facts}", facts == ("detected", "log10_p", "replicated without the key"), facts)

    # Second: stopped as soon as the evidence decides at the level of one of two committed keys; the first analysis is named with its outcome.
    registered = looking.register("second", files["second"], "--stopping", "e-process", "--earlier", folder / "first.json")
    answers = [collect("student", files["second"], folder / "second-student", *key, "--layer", "distillation", "--alpha", "5e-7"),
               collect("control", files["second"], folder / "second-control", "--replicate")]
    second = looking.evidence("second", registered, files["second"], *answers, "--earlier", first / "evidence.json")
    said = looking.verify("second", second, *answers)
    facts = (said["verdict"], said["decided_by"], said["earlier"][0]["verdict"], said["suspect"]["stopped"])
    check(f"second: {facts}", facts == ("detected", "ln_e", "detected", True), facts)

    # The page, and what a sceptic tries.
    run(watermark, "report", second / "evidence.json", *looking.reader(answers), "-o", folder / "report.html")
    page = (folder / "report.html").read_text(encoding="utf-8")
    check("the page says what was found", "student" in page and "<script" not in page, page[:500])
    sceptic(watermark, folder, first, second, answers)
    disclosed = {*secrets_in(json.loads((folder / "opening.json").read_text()))}
    check_no_leaks(folder, disclosed)


def signer(file):
    return json.loads(file.read_text())["signatures"][0]["public_key"]


def sceptic(watermark, folder, first, second, answers):
    """What was changed does not verify, in either verifier."""
    def refused(bundle, *ours):
        found = json.loads(run(watermark, "verify", bundle, *ours, "--json", codes=(1,)))
        return sorted({fault["code"] for fault in found["faults"]})
    raw = (first / "evidence.json").read_bytes()
    changed = folder / "changed.json"
    changed.write_bytes(raw.replace(b'"payload":"ey', b'"payload":"eY', 1))
    codes = refused(changed)
    run(sys.executable, ROOT / "verify/verify.py", changed, codes=(1,))
    check(f"a changed bundle is refused by both: {codes}", changed.read_bytes() != raw and codes, codes)
    text = answers[0].read_bytes()
    edited = folder / "edited.jsonl"
    edited.write_bytes(text.replace(b"####", b"###!", 1))
    said = run(watermark, "verify", second / "evidence.json", "--data", edited, "--json", codes=(1, 2))
    check("a changed transcript is refused", edited.read_bytes() != text, said)
    other = refused(second / "evidence.json", "--data", first / "suspect.records.jsonl")
    check(f"answers of another case are refused: {other}", "E-DATA" in other, other)
    records = (second / "suspect.records.jsonl").read_text(encoding="utf-8")
    (folder / "records.jsonl").write_text(records.replace('"tokens":[', '"tokens":[7,', 1), encoding="utf-8")
    run(sys.executable, ROOT / "verify/verify.py", second / "evidence.json", "--data", folder / "records.jsonl", codes=(1,))
    check("changed records are refused by the second verifier", True, "")


if __name__ == "__main__":
    main()
