"""Scans of files of token ids, and which account a text is from."""

import json
import pathlib
import tempfile
import unittest
import warnings

import watermark_core as w
from support import GREEN, KEY, NODE, interrupted, profile, write


class Scan(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.key = self.folder / "k.json"
        self.key.write_text(KEY)
        self.key.chmod(0o600)
        self.options = {"input_format": "tokens", "threads": 2}

    def lay(self, layers, texts):
        path = self.folder / "p.json"
        path.write_text(json.dumps(profile(*layers)))
        records = "".join(json.dumps({"id": name, "tokens": tokens}) + "\n" for name, tokens in texts)
        (self.folder / "in.jsonl").write_text(records)
        return self.folder / "in.jsonl", path, self.key

    def test_a_scan_says_what_detect_says(self):
        texts = [(f"r{seed}", write(seed, 150, marked=seed % 2 == 0)) for seed in range(6)]
        arguments = self.lay((), texts)
        found = w.scan(*arguments, self.folder / "run", **self.options)
        report = w.Detector(arguments[1], self.key).detect([tokens for _, tokens in texts])
        for finding, line in zip(report, found.result["findings"], strict=True):
            for name in ("layer", "scheme", "n_scored", "log10_p", "verdict"):
                self.assertEqual(line[name], getattr(finding, name), name)
            self.assertEqual(int(line["statistic"]), finding.statistic)
        self.assertEqual(len(found.detected), 2)
        self.assertLessEqual({hit["id"] for hit in found.hits}, {"r0", "r2", "r4"})
        self.assertEqual(found.hits[0]["file"], str(arguments[0]))
        self.assertEqual((self.folder / "run" / "result.json").read_bytes(), found.json)
        # The same run again goes on from its end.
        self.assertEqual(w.scan(*arguments, self.folder / "run", **self.options).json, found.json)

    def test_accounts_are_named_family_wise(self):
        layers = [{**GREEN, "per": "account"}]
        marker = w.Marker(profile(*layers), NODE)
        names = [f"a{at}" for at in range(20)]
        texts = [("x", write(1, 600, marker, account="a7"))]
        arguments = self.lay(layers, texts)
        found = w.scan(*arguments, self.folder / "run", accounts=names, **self.options)
        self.assertEqual([finding["key"] for finding in found.detected], ["a7"])
        self.assertEqual(found.result["family_size"], 20)

    def test_what_cannot_be_used_is_said(self):
        arguments = self.lay((), [("x", write(1, 100))])
        with (self.folder / "in.jsonl").open("a") as lines:
            lines.write('{"tokens": [-1]}\n')
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            found = w.scan(*arguments, self.folder / "run", **self.options)
        self.assertEqual(sum(found.bad_records.values()), 1)
        self.assertIn("could not be used", str(warned[0].message))
        for options in ({"alpha": 2.0}, {"field": "text"}, {"input_format": "xml"}, {"accounts": "alice"}):
            with self.assertRaises(w.WatermarkError):
                w.scan(*arguments, self.folder / "other", **{**self.options, **options})
        with self.assertRaises(w.WatermarkError) as raised:
            w.scan(self.folder / "nothing", *arguments[1:], self.folder / "other", **self.options)
        self.assertIn("does not exist", str(raised.exception))

    def test_an_interrupt_stops_it_and_the_same_call_goes_on(self):
        texts = [(f"r{at}", write(at % 5, 120)) for at in range(400)] * 40
        arguments = self.lay((), texts)
        whole = w.scan(*arguments, self.folder / "whole", **self.options)
        with interrupted(0.02), self.assertRaises(KeyboardInterrupt):
            for at in range(100):
                w.scan(*arguments, self.folder / f"run{at}", **self.options)
        self.assertEqual(w.scan(*arguments, self.folder / f"run{at}", **self.options).json, whole.json)


if __name__ == "__main__":
    unittest.main()
