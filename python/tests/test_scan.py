"""Scans of files of token ids, and which account a text is from: in files and in memory."""

import json
import pathlib
import tempfile
import unittest
import warnings

import watermark_core as w
from support import GREEN, GUMBEL, KEY, NODE, VOCAB, interrupted, lay, profile, text_of, write


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

    def test_attribution_in_memory_is_the_scan_of_a_file(self):
        layers = [{**GREEN, "per": "account"}, {**GUMBEL, "width": 2}]
        marker = w.Marker(profile(*layers), NODE)
        # More accounts than are tested text by text, two of them in the data, a text twice, and one that nobody marked.
        names = [f"a{at}" for at in range(40)]
        made = [("x", write(1, 500, marker, account="a7")), ("y", write(2, 500, marker, account="a31")), ("z", write(3, 200, marked=False))]
        texts = [*made, ("x again", made[0][1])]
        arguments = self.lay(layers, texts)
        scanned = w.scan(*arguments, self.folder / "run", accounts=names, **self.options)
        records = [{"id": name, "tokens": tokens} for name, tokens in texts]
        found = w.attribute(records, arguments[1], self.key, names)
        for name in ("findings", "family", "family_size", "positions", "hits", "keys", "does_not_show"):
            self.assertEqual(found.result[name], scanned.result[name], name)
        self.assertEqual({line["key"] for line in found.detected if line["layer"] == "distillation"}, {"a7", "a31"})
        self.assertEqual({(hit["id"], hit["key"]) for hit in found.hits if hit["layer"] == "distillation"}, {("x", "a7"), ("x again", "a7"), ("y", "a31")})
        for hit, other in zip(found.hits, scanned.hits, strict=True):
            self.assertEqual({**hit, "file": None, "bytes": None}, {**other, "file": None, "bytes": None})
        # The key's name is all that depends on how it is given, and only where it is no account.
        other = w.attribute(iter(records), profile(*layers), w.NodeKey.from_file(self.key), names)
        self.assertEqual([{**line, "key": ""} for line in other.result["findings"]], [{**line, "key": ""} for line in found.result["findings"]])
        self.assertNotIn(NODE, w.attribute(records, profile(*layers), NODE, names).json.decode())
        # An account may have the name of a key that has none.
        self.assertIn("key (the key)", w.attribute(records, profile(*layers), NODE, ["key", *names]).json.decode())

    def test_texts_are_attributed_with_their_tokenizer(self):
        path, key = lay(self.folder, {**GREEN, "per": "account"})
        tokens = write(1, 400, w.Marker(path, key), account="bob")
        names = ["alice", "bob", "carol"]
        of_ids = w.attribute([tokens], path, key, names)
        of_text = w.attribute([{"prompt": "w1 w2", "completion": text_of(tokens)}], path, key, names)
        self.assertEqual([line["key"] for line in of_text.detected], ["bob"])
        self.assertAlmostEqual(of_text.detected[0]["log10_p"], of_ids.detected[0]["log10_p"], delta=1)
        given = w.attribute([text_of(tokens)], json.loads(path.read_text()), key, names, tokenizer=self.folder / "tokenizer.json")
        self.assertEqual(given.result["findings"], of_ids.result["findings"])

    def test_innocent_accounts_are_not_named(self):
        # 40 runs at a family-wise level of .05 over 50 accounts whose keys the text does not depend on: P(more than 8 runs that name
        # one) < .0001, binomial(40, .05). Named without the adjustment, nearly every run would.
        layers = [{**GREEN, "per": "account"}]
        text, wrong, raw = write(5, 300, marked=False), 0, 0
        for seed in range(40):
            names = [f"{seed}-{at}" for at in range(50)]
            found = w.attribute([text], profile(*layers), NODE, names, alpha=0.05)
            wrong += bool(found.detected)
            raw += any(line["log10_p"] < -1.31 for line in found.result["findings"])
        self.assertLessEqual(wrong, 8)
        self.assertGreater(raw, 20)

    def test_errors_of_attribution_have_their_kinds(self):
        layers = [{**GREEN, "per": "account"}]
        text = write(1, 100, marked=False)
        for kind, says, arguments, options in [
            (w.ParameterError, "alpha", ([text], profile(*layers), NODE, ["a"]), {"alpha": 1.0}),
            (w.ParameterError, "one text", ([text], profile(*layers), NODE, "alice"), {}),
            (w.ParameterError, "empty", ([text], profile(*layers), NODE, []), {}),
            (w.WatermarkError, "named twice", ([text], profile(*layers), NODE, ["a", "a"]), {}),
            (w.WatermarkError, "no layer", ([text], profile(GREEN), NODE, ["a"]), {}),
            (w.ProfileError, "", ([text], {"profile": "x"}, NODE, ["a"]), {}),
            (w.KeyFileError, "64 hexadecimal digits", ([text], profile(*layers), NODE[:-2], ["a"]), {}),
            (w.InputError, "records[1]", ([text, "w1 w2"], profile(*layers), NODE, ["a"]), {}),
            (w.InputError, "records[1]", ([text, [VOCAB]], profile(*layers), NODE, ["a"]), {}),
            (w.InputError, "iterable", ("w1", profile(*layers), NODE, ["a"]), {}),
        ]:
            with self.assertRaises(kind) as raised:
                w.attribute(*arguments, **options)
            self.assertIn(says, str(raised.exception))
            self.assertNotIn(NODE[:-2], str(raised.exception))

    def test_progress(self):
        texts = [(f"r{at}", write(at % 5, 120)) for at in range(400)] * 20
        arguments = self.lay((), texts)
        told = []
        found = w.scan(*arguments, self.folder / "run", progress=told.append, **self.options)
        self.assertEqual(told[-1]["phase"], "ranking")
        self.assertEqual(told[-1]["records"], found.result["totals"]["records"])
        self.assertTrue(all(state["bytes"] <= state["bytes_in_all"] for state in told))

        def stop(state):
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            w.scan(*arguments, self.folder / "stopped", progress=stop, **self.options)
        self.assertEqual(w.scan(*arguments, self.folder / "stopped", **self.options).json, found.json)

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
        with self.assertRaises(w.ParameterError):
            w.scan(*arguments, self.folder / "other", **{**self.options, "threads": 10**6})
        for secret in ("ab" * 32, KEY):
            with self.assertRaises(w.KeyFileError) as raised:
                w.scan(*arguments[:2], secret, self.folder / "other", **self.options)
            self.assertIn("path of a key file", str(raised.exception))
            self.assertNotIn(secret[-40:-10], str(raised.exception))
        with self.assertRaises(w.WatermarkError) as raised:
            w.scan(self.folder / "nothing", *arguments[1:], self.folder / "other", **self.options)
        self.assertIn("does not exist", str(raised.exception))
        with self.assertRaises(w.ParameterError) as raised:
            w.scan([], *arguments[1:], self.folder / "other", **self.options)
        self.assertIn("inputs is empty", str(raised.exception))
        with self.assertRaises(w.ParameterError):
            w.scan(*arguments, self.folder / "other", **self.options, memory=0)
        with self.assertRaises(w.WatermarkError) as raised:
            w.scan(arguments[0], *lay(self.folder), self.folder / "other", input_format="text", field="/x")
        self.assertIn("leave out field and role", str(raised.exception))

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
