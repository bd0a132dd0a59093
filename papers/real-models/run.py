#!/usr/bin/env python3
"""Marks, students and evidence with real language models; `./run` beside this file makes its environment and starts it.

Every stage is kept in --cache and named by its inputs, so the command goes on where it stopped, and a second run takes what is there.
README.md says what was measured.
"""

import argparse
import functools
import gzip
import json
import math
import pathlib
import tempfile

import costs
import found
import models
import serve
import students
from serve import watermark
from stages import Stages, read_lines, write_lines, write_table

HERE = pathlib.Path(__file__).resolve().parent
COLUMNS = ["student", "access", "tested", "n", "statistic", "value"]
# Answers are cut here, as students learn them.
TOKENS = 64
EXAMPLES = 2000
CLEAN = 1500
# Requests of the ledger whose prompts differ; the next ones ask the same again.
PROMPTS = 300
BLOCK = 100
# The first number in the ledger of what no student learns.
UNLEARNED = 100_000
# Each probe is asked so often.
TIMES = 4
PROFILE = ["--provenance", "none", "--pairs", "--name", "real-models"]

# Name: share of served answers, how it is trained, and the student that it goes on from.
STUDENTS = {
    "5 %": (0.05, students.FULL, None),
    "none": (0, students.FULL, None),
    "20 %": (0.2, students.FULL, None),
    "100 %": (1, students.FULL, None),
    "5 %, LoRA": (0.05, students.LORA, None),
    "5 %, one clean pass after it": (0, students.FULL, "5 %"),
}


class Experiment:
    def __init__(self, arguments):
        self.program, self.corpus, self.device = arguments.watermark, arguments.corpus, arguments.device
        self.stages = Stages(arguments.cache)
        self.model = models.fetch(self.stages, "smollm2")
        with gzip.open(pathlib.Path(self.corpus, "model_outputs", "alpaca-7b.jsonl.gz"), "rt", encoding="utf-8") as file:
            prompts = [json.loads(line)["prompt"] for line in file]
        self.probes, self.unlearned, self.prompts = serve.split(prompts, self.open(self.model)[1])
        self.profile = self.stages.run(
            "profile", {"model": self.model.name, "options": PROFILE, "seed": 1},
            lambda folder: serve.make_profile(folder, self.program, self.model, 1, *PROFILE),
        )
        self.keys = ["--profile", self.profile / "profile.json", "--key", self.profile / "key.json"]

    @functools.lru_cache(maxsize=1)
    def open(self, folder):
        return models.load(folder, self.device)

    def answers(self, name, model, questions, seed, first=None, marked=True):
        """A file of a model's answers to the questions; of requests of the ledger from number `first` on, if it is given."""
        from watermark_core import Marker

        def make(folder):
            marker = Marker(self.profile / "profile.json", self.profile / "key.json")
            ledger = first is not None and {
                "request": lambda at: f"ledger/1/{first + at}", "account": lambda at: f"account-{(first + at) // serve.PER_ACCOUNT}"
            }
            serve.answer(folder / "answers.jsonl", *self.open(model), marker, questions, tokens=TOKENS, seed=seed, marked=marked, **ledger or {})

        inputs = {"model": model.name, "profile": self.profile.name, "questions": questions, "seed": seed, "first": first, "marked": marked}
        return self.stages.run(name, inputs | {"tokens": TOKENS, "sampling": serve.SAMPLING}, make) / "answers.jsonl"

    def served(self, count):
        """The files of the first requests of the ledger, which students may learn."""
        asked = [self.prompts[at % PROMPTS] for at in range(count)]
        return [
            self.answers(f"served-{first // BLOCK}", self.model, asked[first : first + BLOCK], f"served {first}", first)
            for first in range(0, count, BLOCK)
        ]

    def never_learned(self):
        return [self.answers("served-unlearned", self.model, self.unlearned, "unlearned", UNLEARNED)]

    def student(self, name):
        if name == "untouched":
            return self.model
        share, how, before = STUDENTS[name]
        learned = round(share * EXAMPLES)
        mine = [(line["prompt"], line["completion"]) for path in self.served(learned) for line in read_lines(path)]
        # What goes on from another student reads text that it has not read.
        size, taken = (CLEAN, EXAMPLES - round(STUDENTS[before][0] * EXAMPLES)) if before else (EXAMPLES, 0)
        leave_out = {*self.prompts[:BLOCK if learned < PROMPTS else PROMPTS], *self.probes, *self.unlearned}
        rest = students.others(self.corpus, self.open(self.model)[1], leave_out, TOKENS)[taken : taken + size - learned]
        if len(rest) < size - learned:
            raise SystemExit(f"{len(rest)} answers of other models for {size - learned} places")
        start = self.student(before) if before else self.model
        inputs = {"start": start.name, "examples": [*mine, *rest], **how, **students.TRAINING}
        make = lambda folder: students.train(folder, start, [*mine, *rest], device=self.device, **how, **students.TRAINING)
        return self.stages.run(f"student-{name}", inputs, make)

    def scores(self, model, served):
        """A model's scores of both candidates of served answers, one file for each of theirs."""
        from watermark_core import suspect

        def one(path):
            make = lambda folder: suspect.write_pairs(path, str(model), folder / "scores.jsonl", same_tokenizer=True, device=self.device, quiet=True)
            return self.stages.run("scores", {"model": model.name, "served": path.parent.name}, make) / "scores.jsonl"

        return [one(path) for path in served]

    def along(self, model, texts):
        """What a model could say at each token of texts."""
        from watermark_core import suspect

        def make(folder):
            write_lines(folder / "texts.jsonl", [{key: line[key] for key in ("prompt_tokens", "tokens")} for line in read_lines(texts)])
            suspect.write(folder / "texts.jsonl", str(model), folder / "rows.jsonl", same_tokenizer=True, device=self.device, top=50, quiet=True)

        return self.stages.run("along", {"model": model.name, "texts": texts.parent.name, "top": 50}, make) / "rows.jsonl"

    def json_of(self, command, *arguments):
        """What a command of the program says as JSON lines; that nothing was detected is no failure."""
        return [json.loads(line) for line in watermark(self.program, *command, *self.keys, *arguments, "--json", ok=(0, 1)).splitlines()]

    def pairs(self, model, served):
        """The list's conclusion and then each account's."""
        with tempfile.TemporaryDirectory() as folder:
            def whole(name, paths):
                (pathlib.Path(folder) / name).write_bytes(b"".join(path.read_bytes() for path in paths))
                return pathlib.Path(folder) / name

            beside = [] if model == self.model else ["--reference", whole("base", self.scores(self.model, served))]
            scores = ["--scores", whole("scores", self.scores(model, served))]
            return self.json_of(["pairs", "test"], *scores, *beside, "--accounts", 1000, whole("served", served))

    def token_mark(self, model):
        """The green list in what a model could say along the untouched model's unmarked answers, and in answers of its own; beside the
        untouched model each."""
        probes = [prompt for prompt in self.probes for _ in range(TIMES)]
        plain = self.answers("unmarked", self.model, probes, "unmarked", marked=False)
        test = lambda *arguments: self.json_of(["test-model"], "--tokenizer", self.model / "tokenizer.json", "--resample", 0, *arguments)[0]
        yield "open weights", test("--logprobs", self.along(model, plain), *([] if model == self.model else ["--reference", self.along(self.model, plain)]))
        if model != self.model:
            own = self.answers("asked", model, probes, "asked", marked=False)
            yield "answers", test("--answers", own, "--reference", plain)

    def results(self, name):
        """Rows of students.csv about a student."""
        model, (share, _, before) = self.student(name), STUDENTS.get(name, (0, None, None))
        learned = min(round((STUDENTS[before][0] if before else share) * EXAMPLES), BLOCK * 4)
        lists = {"not learned": self.never_learned(), **({"learned": self.served(learned)} if learned else {"of another student": self.served(BLOCK)})}
        for which, served in lists.items():
            conclusion = self.pairs(model, served)[0]
            yield [name, "pairs", which, conclusion["n_scored"], "log10 e", conclusion["ln_e"] / math.log(10)]
            yield [name, "pairs", which, conclusion["n_scored"], "preferred", conclusion["n_served_preferred"]]
        if learned:
            whole = [*self.served(learned), *self.never_learned()]
            accounts = self.pairs(model, whole)[1:]
            guilty = [one for one in accounts if int(one["account"].removeprefix("account-")) < UNLEARNED // serve.PER_ACCOUNT]
            named = [one for one in accounts if one["verdict"] == "detected"]
            yield [name, "pairs", "accounts learned from", len(guilty), "named", sum(one in named for one in guilty)]
            yield [name, "pairs", "other accounts", len(accounts) - len(guilty), "named", sum(one not in guilty for one in named)]
        for access, conclusion in self.token_mark(model):
            yield [name, access, "token mark", conclusion["n_scored"], "log10 p", conclusion["log10_p"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watermark", default="watermark", help="the program (default: the one in PATH)")
    parser.add_argument("--corpus", required=True, help="folder with model_outputs/*.jsonl.gz: {prompt, completion, model} of ten models")
    parser.add_argument("--cache", default="target/real-models", help="where stages are kept")
    parser.add_argument("--device", default="cpu", help="as torch names it")
    parser.add_argument("--out", default=HERE, type=pathlib.Path, help="where tables and pictures go (default: the committed ones)")
    parser.add_argument(
        "--students", nargs="*", default=list(STUDENTS), choices=list(STUDENTS), metavar="NAME", help="which (default: all): " + "; ".join(STUDENTS)
    )
    parser.add_argument("--no-costs", action="store_true", help="students only, and not what marks cost")
    arguments = parser.parse_args()
    experiment = Experiment(arguments)
    rows = []
    for name in ["untouched", *arguments.students]:
        rows += experiment.results(name)
        write_table(arguments.out / "students.csv", COLUMNS, rows)
    write_table(arguments.out / "found.csv", found.COLUMNS, found.rows(experiment))
    if not arguments.no_costs:
        judge = models.fetch(experiment.stages, "gemma3")
        questions = [*experiment.probes, *experiment.unlearned]
        report = costs.measure(experiment.stages, experiment.program, experiment.model, questions, judge, arguments.device)
        write_table(arguments.out / "costs.csv", costs.COLUMNS, costs.rows(report))
        costs.draw(report, arguments.out / "frontier.svg")


if __name__ == "__main__":
    main()
