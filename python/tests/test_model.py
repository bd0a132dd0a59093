"""A suspect model, tested from files of what it showed, alone and beside references; a text beside them."""

import json
import pathlib
import tempfile
import unittest

import watermark_core as w
from support import GREEN, NODE, lay, profile, write


class TestModel(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.profile, self.key = lay(self.folder, GREEN)
        marker = w.Marker(profile(GREEN), NODE)
        self.marked = [write(seed, 60, marker) for seed in range(20)]
        self.unmarked = [write(seed, 60, marker, marked=False) for seed in range(20)]

    def file(self, name, answers, row=None):
        """Answers in ids, with `row(id)` as what a model could have said in place of each."""
        path = self.folder / name
        records = [{"prompt_tokens": [1, 2, at + 3], "tokens": tokens} for at, tokens in enumerate(answers)]
        if row:
            records = [{**record, "choices": [row(token) for token in record["tokens"]]} for record in records]
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    def judge(self, **options):
        (line,) = w.test_model(self.profile, self.key, **{"input_format": "tokens", **options})
        return line

    def test_alone_and_beside_references(self):
        marked, unmarked = self.file("marked.jsonl", self.marked), self.file("unmarked.jsonl", self.unmarked)
        told = []
        alone = self.judge(answers=marked, controls=[unmarked], progress=told.append)
        self.assertEqual((alone["verdict"], alone["weights"], alone["references"]), ("detected", "sqrt", []))
        self.assertEqual(told[-1], {"fresh_keys": 999, "fresh_keys_in_all": 999})
        beside = self.judge(answers=marked, reference=unmarked)
        self.assertEqual((beside["verdict"], beside["weights"]), ("detected", "residual"))
        self.assertEqual([of["shows"] for of in beside["references"]], ["answers"])
        self.assertEqual(self.judge(answers=unmarked, reference=marked)["verdict"], "not_detected")

    def test_probabilities_along_the_texts(self):
        def either(token):
            return [[token, -0.7], [(token + 1) % 255 + 1, -0.7]]

        marked, control = self.file("marked.jsonl", self.marked), self.file("control.jsonl", self.unmarked)
        reference = self.folder / "along.jsonl"
        along = [self.file(name, answers, either).read_text() for name, answers in (("a", self.marked), ("b", self.unmarked))]
        reference.write_text("".join(along))
        found = self.judge(answers=marked, controls=control, reference=[reference])
        self.assertEqual((found["verdict"], found["references"][0]["shows"]), ("detected", "probabilities"))
        shown = self.file("shown.jsonl", self.marked, lambda token: [[token, 0.0]])
        self.assertEqual(self.judge(logprobs=shown, reference=reference)["verdict"], "detected")
        short = self.file("short.jsonl", self.marked[1:], either)
        with self.assertRaisesRegex(w.WatermarkError, "no probabilities along a text"):
            self.judge(answers=marked, reference=short)

    def test_a_text_beside_what_a_model_expects(self):
        def likely(token):
            return [[token, -0.7], [(token + 1) % 255 + 1, -0.7]]

        along = self.file("along.jsonl", self.marked + self.unmarked, likely)
        detector = w.Detector(profile(GREEN), NODE)
        records = [{"prompt_tokens": [1, 2, at + 3], "tokens": tokens} for at, tokens in enumerate(self.marked + self.unmarked)]
        marked, unmarked = records[:20], records[20:]
        found = detector.detect(marked, reference=along, per_record=True)
        self.assertEqual((found.pooled[0].verdict, found.pooled[0].references_agree), ("detected", True))
        self.assertEqual(len(found.per_record), 20)
        self.assertGreater(found.pooled[0].references_log10_p, -3)
        (beside,) = found.pooled[0].references
        self.assertEqual((beside["shows"], beside["covered_tokens"], beside["share"]), ("probabilities", 20 * 60, 16))
        alone = detector.detect(marked).pooled[0]
        self.assertEqual((alone.weights, alone.references, alone.references_log10_p), ("none", [], None))
        innocent = detector.detect(unmarked, reference=[along]).pooled[0]
        self.assertEqual((innocent.verdict, innocent.smallest_effect), ("not_detected", None))
        self.assertLess(innocent.statistic, found.pooled[0].statistic)
        with self.assertRaisesRegex(w.WatermarkError, "leave locate"):
            detector.detect(marked, reference=along, locate=True)
        with self.assertRaisesRegex(w.WatermarkError, "no probabilities along this text"):
            detector.detect([{"tokens": [5, 6, 7]}], reference=along)
        with self.assertRaisesRegex(w.WatermarkError, "leave exclude out"):
            detector.detect(marked, reference=along, exclude="record")

    def test_mistakes(self):
        marked = self.file("marked.jsonl", self.marked)
        (self.folder / "bad.jsonl").write_text('{"tokens": [1, 999]}\n')
        for says, options in [
            ("one of answers, logprobs and reading", {}),
            ("one of answers, logprobs and reading", {"answers": marked, "reading": marked}),
            ("a record cannot be used", {"answers": self.folder / "bad.jsonl"}),
            ("no layer", {"answers": marked, "layers": ["none"]}),
            ("xml", {"answers": marked, "input_format": "xml"}),
            ("alpha", {"answers": marked, "alpha": 2.0}),
        ]:
            with self.assertRaises(w.WatermarkError) as raised:
                self.judge(**options)
            self.assertIn(says, str(raised.exception))
            self.assertNotIn(NODE, str(raised.exception))

        def stop(_):
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            self.judge(answers=marked, resample=100_000, progress=stop)


if __name__ == "__main__":
    unittest.main()
