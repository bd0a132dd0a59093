"""A real model of transformers (Llama, random weights) answers with and without marks, and what that costs is measured."""

import contextlib
import hashlib
import io
import json
import math
import pathlib
import sys
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import watermark_core as w
from support import GREEN, GUMBEL, KEY, profile
from suspect_models import BYTES, MODEL, Case, parts, torch
from watermark_core import _quality_numbers as numbers
from watermark_core import _quality_tasks, quality

HARD = {**GREEN, "delta": None, "hard": True}
PAIRS = {"name": "pairs", "scheme": "paired", "width": 0, "prf": "chacha20-v1"}
PROMPTS = ["What did the cat do?", "Wohin?", "the dog saw that", "Say it again.", "naïve Straße"]
OPTIONS = {"max_tokens": 30, "repeated_prompts": 1, "repeats": 3, "tasks": 2, "batch_size": 2, "temperature": 0.9, "quiet": True}


class Quality(Case):
    def setUp(self):
        super().setUp()
        self.model, *_ = self.lay()
        self.key = self.folder / "k.json"
        self.key.write_text(KEY)
        self.key.chmod(0o600)
        layers = {"hard": [{key: value for key, value in HARD.items() if value is not None}], "two": [GREEN, GUMBEL], "pairs": [PAIRS]}
        self.profiles = [self.profile(name, *mine) for name, mine in layers.items()]

    def profile(self, name, *layers):
        made = profile(*layers) | {"name": name}
        made["tokenizer"] = {"sha256": hashlib.sha256(BYTES.to_str().encode()).hexdigest(), "special_token_ids": [0, 1, 2]}
        made["tokenizer"]["vocab_size"] = MODEL.config.vocab_size
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(made))
        return path

    def measure(self, out="quality", **options):
        return quality.measure(self.model, PROMPTS, self.folder / out, key=self.key, profiles=self.profiles, **(OPTIONS | options))

    def rows(self, name, out="quality"):
        return [json.loads(line) for line in (self.folder / out / f"{name}.answers.jsonl").read_text().splitlines()]

    def test_what_is_said_is_what_the_answers_show(self):
        report = self.measure(judge=self.model)["profiles"]
        self.assertEqual(json.loads((self.folder / "quality" / "quality.json").read_text())["profiles"], report)
        self.assertEqual(list(report), ["unmarked", "hard", "two", "pairs"])
        # Layers that draw bend nothing, and a hard list takes exactly what it forbids.
        self.assertEqual((report["unmarked"]["kl"], report["pairs"]["kl"]), (0, 0))
        marker, lost, tokens = w.Marker(json.loads(self.profiles[0].read_text()), self.key), 0.0, 0
        for row in self.rows("hard"):
            session = marker.session(seed=9)
            with torch.no_grad():
                logits = MODEL(torch.tensor([row["prompt_tokens"] + row["tokens"]])).logits[0, len(row["prompt_tokens"]) - 1 : -1]
            for plain, token in zip(logits, row["tokens"], strict=True):
                left = plain.clone()
                session.process(left.numpy())
                session.accept(token)
                lost -= math.log(float(plain.double().softmax(-1)[left > -math.inf].sum()))
            tokens += len(row["tokens"])
        self.assertAlmostEqual(report["hard"]["kl"], lost / tokens, places=5)
        self.assertGreater(report["hard"]["kl"], 0.3)
        for name, path in zip(["hard", "two"], self.profiles, strict=False):
            records = [{"prompt_tokens": row["prompt_tokens"], "tokens": row["tokens"]} for row in self.rows(name)]
            findings = w.Detector(json.loads(path.read_text()), self.key).detect(records, resample=0)
            written = sum(len(row["tokens"]) for row in self.rows(name))
            self.assertEqual(report[name]["digits"], {finding.layer: -100 * finding.log10_p / written for finding in findings})
            self.assertGreater(sum(report[name]["digits"].values()), 3)
        self.assertEqual(report["pairs"]["digits"], {})
        self.assertLess(max(one["retokenised"] for one in report.values()), 1)
        # By one forward pass of one answer each.
        total = written = 0
        for row in self.rows("two"):
            begin = len(row["prompt_tokens"])
            with torch.no_grad():
                ln_p = MODEL(torch.tensor([row["prompt_tokens"] + row["tokens"]])).logits[0].double().log_softmax(-1)
            total -= sum(float(ln_p[begin + at - 1, token]) for at, token in enumerate(row["tokens"]))
            written += len(row["tokens"])
        self.assertAlmostEqual(report["two"]["nats_own"]["value"], total / written, places=4)
        self.assertEqual(report["unmarked"]["nats_judge"]["more"], {"value": 0, "low": 0, "high": 0})
        self.assertEqual(set(report["two"]) & {"copy", "sum", "json", "choice"}, {"copy", "sum", "json", "choice"})
        before, ids = parts(BYTES, {"prompt": PROMPTS[0], "text": ""})
        self.assertEqual((self.rows("two")[0]["prompt_tokens"], ids), (before, []))

    def test_a_run_that_was_cut_short_writes_the_same(self):
        self.measure("whole")
        real, calls = quality.generate, iter(range(3))

        def thrice(*arguments, **options):
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        with mock.patch.object(quality, "generate", thrice), self.assertRaises(KeyboardInterrupt):
            self.measure("cut")
        self.assertEqual(len(list((self.folder / "cut").glob("*.answers.jsonl"))), 1)
        self.measure("cut")
        for path in (self.folder / "whole").iterdir():
            self.assertEqual(path.read_bytes(), (self.folder / "cut" / path.name).read_bytes(), path.name)
        self.raises(w.InputError, "another run", self.measure, "cut", temperature=0.5)

    def test_the_command_line(self):
        prompts = self.folder / "prompts.jsonl"
        prompts.write_text("".join(json.dumps({"question": prompt}) + "\n" for prompt in PROMPTS) + "\n" + "As it stands\n")
        self.assertEqual(quality.read_prompts(prompts), [*PROMPTS, "As it stands"])
        command = ["--model", str(self.model), "--key", str(self.key), "--profile", str(self.profiles[0]), "--prompts", str(prompts)]
        command += ["--out", str(self.folder / "o"), "--max-tokens", "9", "--tasks", "0", "--repeated-prompts", "0", "--quiet"]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            self.assertEqual(quality.main(command), 0)
            self.assertEqual(quality.main([*command, "--profile", str(self.profiles[0])]), 2)
        self.assertEqual(out.getvalue().count("\n"), 4)
        self.assertIn("another one has", err.getvalue())
        prompts.write_text('{"no": 1}\n')
        self.raises(w.InputError, "line 1", quality.read_prompts, prompts)
        self.raises(w.ParameterError, "temperature", self.measure, "x", temperature=0)


class Numbers(Case):
    def test_intervals_and_counts(self):
        # Wilson's interval of 10 in 20.
        found = numbers.share([True, False] * 10)
        self.assertAlmostEqual(found["low"], 0.2993, places=4)
        self.assertAlmostEqual(found["high"], 0.7007, places=4)
        self.assertEqual((numbers.share([True] * 3)["high"], numbers.share([False] * 3)["low"]), (1, 0))
        self.assertEqual(numbers.mean([2.0, 2.0]), {"value": 2, "low": 2, "high": 2})
        # A nat more a token in every answer is a nat more.
        found = numbers.compared([-20.0, -40.0], [10, 20], [-10.0, -20.0], [10, 20])
        self.assertEqual((found["value"], found["more"]), (2, {"value": 1, "low": 1, "high": 1}))
        self.assertEqual(numbers.distinct([[1, 2, 1, 2], [1, 2]]), 2 / 4)
        self.assertEqual([numbers.loops([*range(8), *range(8)]), numbers.loops([*range(8)] * 3)], [False, True])
        self.assertEqual([numbers.changed([1, 2, 3], [1, 2, 3]), numbers.changed([1, 2, 3, 4], [1, 9, 4])], [0, 2])
        self.assertAlmostEqual(numbers.self_bleu(["one and two and three"] * 3), 1)
        self.assertLess(numbers.self_bleu(["one and two and three", "four or five or six", "seven with eight"]), 0.2)

    def test_right_and_wrong(self):
        copy, plus, found = _quality_tasks.tasks(1, 7)
        self.assertEqual([copy.kind, plus.kind, found.kind], ["copy", "sum", "json"])
        self.assertTrue(copy.right(copy.question.split("Words: ")[2].split("\n")[0] + "."))
        self.assertFalse(copy.right(copy.question.split("Words: ")[1].split("\n")[0]))
        first, second = plus.question.splitlines()[2].removesuffix(" =").split(" + ")
        self.assertEqual([plus.right(f"It is {int(first) + int(second)}."), plus.right("It is 1234.")], [True, False])
        name, age = found.question.splitlines()[1].split("for ")[1].split(", who is ")
        self.assertTrue(found.right(f'Here: {{"age": {age.split()[0]}, "name": "{name}"}}.'))
        self.assertFalse(found.right(f'{{"name": "{name}"}}') or found.right("{") or found.right(""))
        choices = _quality_tasks.choices(1)
        self.assertEqual(len(choices), 60)
        self.assertTrue(all(len(set(choice.ends)) == 4 for choice in choices))
        self.assertIn(("The capital of France is", " Paris"), [(choice.begin, choice.ends[choice.right]) for choice in choices])
