"""Detection over records in memory, without numpy."""

import array
import concurrent.futures
import io
import json
import math
import pathlib
import random
import re
import tempfile
import time
import unittest

import watermark_core as w
from support import GREEN, GUMBEL, NODE, VOCAB, interrupted, lay, profile, text_of, tokenizer, vectors, write


class Detection(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.detector = w.Detector(profile(), NODE)
        cls.marked = [write(seed, 200) for seed in range(4)]
        draw = random.Random(5)
        cls.plain = [[draw.randrange(1, VOCAB) for _ in range(200)] for _ in range(4)]

    def test_findings(self):
        report = self.detector.detect(self.marked)
        self.assertTrue(report.detected)
        self.assertEqual(len(report), 2)
        self.assertEqual([finding.layer for finding in report], ["distillation", "provenance"])
        self.assertEqual([finding.scheme for finding in report.pooled], ["greenlist", "gumbel"])
        self.assertEqual(report[-1].layer, "provenance")
        for at in (2, -3):
            with self.assertRaises(IndexError):
                report[at]
        finding = report[0]
        self.assertIsNone(finding.record)
        self.assertEqual(finding.verdict, "detected")
        counted = finding.n_scored + finding.n_duplicate + finding.n_excluded + finding.n_short_context
        self.assertEqual(counted, sum(map(len, self.marked)))
        self.assertAlmostEqual(finding.p_value, 10**finding.log10_p)
        self.assertAlmostEqual(finding.log10_p, w.stats.log10_binomial_sf(finding.statistic, finding.n_scored, 0.5))
        self.assertAlmostEqual(finding.ln_e, w.stats.ln_e_green(finding.statistic, finding.n_scored, 0.5))
        self.assertGreater(finding.e_value, 1e6)
        self.assertLessEqual(finding.log10_p_resampled, -2.9)
        self.assertEqual(finding.family_size, 2)
        self.assertIn("2 layers", finding.family)
        self.assertIsNone(finding.smallest_effect)
        self.assertIn("detected", repr(report))
        nothing = self.detector.detect(self.plain)
        self.assertFalse(nothing.detected)
        self.assertEqual(nothing[0].verdict, "not_detected")
        self.assertEqual(nothing[0].smallest_effect["of"], "ones_share")
        self.assertEqual(self.detector.detect([])[0].verdict, "inconclusive")
        self.assertFalse(w.Detector(profile(), "00" * 32).detect(self.marked).detected)

    def test_dicts_are_what_the_terminal_prints(self):
        report = self.detector.detect(self.marked, per_record=True, locate=True)
        line = report[0].to_dict()
        self.assertEqual(
            list(line),
            "record layer scheme n_scored n_duplicate n_excluded n_short_context weights statistic log10_p ln_e "
            "references references_log10_p references_agree log10_p_resampled verdict "
            "family family_size smallest_effect peer".split(),
        )
        self.assertEqual(int(line["statistic"]), report[0].statistic)
        whole = json.loads(json.dumps(report.to_dict()))
        self.assertEqual(whole["pooled"][0], line)
        self.assertEqual(len(whole["per_record"]), 8)
        self.assertEqual(whole["spans"][0], report.spans[0].to_dict())

    def test_records_in_every_form(self):
        tokens, prompt = self.marked[0], self.marked[1][:20] + self.marked[0][40:60]
        bare = self.detector.detect([tokens], resample=0)
        for record in (
            tuple(tokens),
            array.array("i", tokens),
            array.array("Q", tokens),
            memoryview(array.array("H", tokens)),
            (token for token in tokens),
            {"tokens": tokens},
            {"input_ids": array.array("l", tokens), "prompt": None, "label": 3},
        ):
            report = self.detector.detect(iter([record]), resample=0)
            self.assertEqual(report.to_dict(), bare.to_dict())
        asked = self.detector.detect([{"tokens": tokens, "prompt_tokens": prompt}], resample=0)
        self.assertGreaterEqual(asked[0].n_excluded, 19)
        self.assertEqual(self.detector.detect([{"tokens": tokens, "prompt": prompt}], resample=0).to_dict(), asked.to_dict())
        named = self.detector.detect([{"tokens": tokens, "id": 17}, tokens], per_record=True, resample=0)
        self.assertEqual([finding.record for finding in named.per_record], ["17", "17", "1", "1"])

    def test_texts(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = lay(pathlib.Path(folder))
            detector = w.Detector(*paths)  # the tokenizer is beside the profile
            text = text_of(self.marked[0])
            ids = detector.detect([self.marked[0]], resample=0).to_dict()
            named = w.Detector(*paths, tokenizer=pathlib.Path(folder, "tokenizer.json"))
            for record in (text, {"text": text}, {"prompt": None, "completion": text}, {"messages": [{"role": "assistant", "content": text}]}):
                self.assertEqual(detector.detect([record], resample=0).to_dict(), ids)
                self.assertEqual(named.detect([record], resample=0).to_dict(), ids)
            asked = detector.detect([{"prompt": text, "completion": text, "id": "q"}], per_record=True, resample=0)
            self.assertEqual((asked[0].n_scored, asked.per_record[0].record), (0, "q"))
            turns = [{"role": role, "content": text_of(ids)} for role, ids in zip(["assistant", "user"] * 2, self.marked, strict=True)]
            talk = detector.detect([{"messages": turns}], per_record=True, resample=0)
            self.assertEqual([finding.record for finding in talk.per_record], ["0#1", "0#1", "0#2", "0#2"])
            spans = detector.detect([text_of(self.plain[0]) + " " + text], locate=True, resample=0).spans
            first, last = spans[0].bytes
            self.assertIn(text_of(self.plain[0] + self.marked[0])[first:last], text_of(self.plain[0] + self.marked[0]))
            self.assertLess(abs(first - len(text_of(self.plain[0]))), 200)
            pathlib.Path(folder, "other.json").write_text(tokenizer().replace("w7", "x7"))
            with self.assertRaises(w.WatermarkError) as raised:
                w.Detector(*paths, tokenizer=pathlib.Path(folder, "other.json"))
            self.assertIn("other.json", str(raised.exception))

    def test_records_that_cannot_be_used_are_named(self):
        for records, says in [
            ([[1, 2], [3, VOCAB]], "records[1]: tokens[1] is 256"),
            ([[1, -2]], "records[0][1]"),
            ([[1, 1 << 24]], "records[0][1]"),
            ([[1, 2.5]], "records[0][1]"),
            ([1, 2, 3], "records[0] is one number"),
            ([{"tokens": [1], "input_ids": [1]}], "both tokens and input_ids"),
            ([{"tokens": [1], "prompt": "what"}], "records[0][\"prompt\"] is str"),
            ([array.array("f", [1.0])], "'f'"),
            ([b"abc"], "bytes"),
            (["a text"], "tokenizer"),
            ([{"text": "a text"}], "tokenizer"),
            ([{"nothing": 1}], "records[0]"),
            ("a text", "iterable of records"),
            ({"tokens": [1]}, "iterable of records"),
            (7, "iterable of records"),
            (io.StringIO("{}"), "open file"),
        ]:
            with self.assertRaises(w.InputError) as raised:
                self.detector.detect(records)
            self.assertIn(says.replace("'", '"'), str(raised.exception))
        for options in ({"alpha": 0}, {"alpha": 2}, {"weights": "x"}, {"exclude": "x"}, {"resample": 2**32 - 1}):
            with self.assertRaises(w.ParameterError):
                self.detector.detect([], **options)

    def test_errors_of_an_iterable_come_through(self):
        def broken():
            yield [1, 2, 3]
            raise KeyError("mine")

        with self.assertRaises(KeyError):
            self.detector.detect(broken())

        class Interrupted:
            def __iter__(self):
                raise KeyboardInterrupt

            __index__ = __iter__

        for records in (Interrupted(), [Interrupted()], [[1, Interrupted()]]):
            with self.assertRaises(KeyboardInterrupt):
                self.detector.detect(records)

    def test_files_of_ours_have_prompts_as_text_and_as_ids(self):
        ids = self.marked[0]
        bare = {"tokens": ids, "prompt_tokens": ids[:50]}
        found, expected = (self.detector.detect([record]).to_dict() for record in ({**bare, "prompt": "as text", "text": "t"}, bare))
        self.assertEqual(found, expected)

    def test_tallies_add_up(self):
        halves = [self.detector.tally() for _ in range(2)]
        for tally, texts in zip(halves, (self.marked[:1], self.marked[1:]), strict=True):
            for text in texts:
                tally.add(text, prompt=[9, 9])
        halves[1].merge(halves[0])
        whole = self.detector.report(halves[1])
        self.assertEqual(whole.to_dict(), self.detector.detect([{"tokens": t, "prompt": [9, 9]} for t in self.marked]).to_dict())
        self.assertEqual(halves[1].n_scored, [finding.n_scored for finding in whole])
        self.assertEqual(halves[1].n_duplicate, [finding.n_duplicate for finding in whole])
        self.assertEqual(halves[1].n_excluded, [finding.n_excluded for finding in whole])
        self.assertEqual(halves[1].n_short_context, [finding.n_short_context for finding in whole])
        before = halves[0].n_scored
        with self.assertRaises(w.InputError):
            halves[0].add([1, 2, VOCAB])
        for other in (w.Detector(profile(GREEN), NODE).tally(), w.Detector(profile(GREEN, {**GUMBEL, "width": 3}), NODE).tally()):
            other.add([1, 2, 3, 4, 5, 6])
            with self.assertRaises(w.ParameterError):
                halves[0].merge(other)
        self.assertEqual(halves[0].n_scored, before)
        with self.assertRaises(w.WatermarkError):
            self.detector.report(w.Detector(profile(GREEN), NODE).tally())

    def test_spans(self):
        text = self.plain[0] + self.marked[2] + self.plain[1]
        report = self.detector.detect([{"tokens": text, "id": "<b>&"}], locate=True)
        span = next(span for span in report.spans if span.layer == "provenance")
        self.assertEqual((span.record, span.verdict, span.scheme, span.bytes), ("<b>&", "detected", "gumbel", None))
        self.assertLess(abs(span.tokens[0] - 200) + abs(span.tokens[1] - 400), 40)
        self.assertLessEqual(span.log10_p, span.log10_p_adjusted)
        self.assertGreater(span.n_scored, 30)
        self.assertLessEqual(span.window[0], span.tokens[1])
        self.assertIn("Span(", repr(span))

    def test_pages_are_escaped_and_capped(self):
        script = "<script>alert('x')</script>" + "y" * 1000
        records = [{"tokens": self.marked[0], "id": f"{script}{at}"} for at in range(60)]
        page = self.detector.detect(records, per_record=True, locate=True, resample=0)._repr_html_()
        self.assertNotIn("<script", page)
        self.assertIn("&lt;script&gt;", page)
        self.assertIn("and 70 more", page)
        self.assertNotIn("y" * 100, page)
        for address in ("http", "src=", "url("):
            self.assertNotIn(address, page)
        finding = self.detector.detect(self.marked)[0]
        self.assertIn("font-weight:bold", finding._repr_html_())

    def test_a_record_with_its_stretches(self):
        tokens = self.plain[0] + self.marked[2] + self.plain[1]
        shown = self.detector.highlight(tokens)
        expected = self.detector.detect([tokens], locate=True).spans
        self.assertEqual([span.to_dict() for span in shown.spans], [span.to_dict() for span in expected])
        page = shown._repr_html_()
        marks = re.findall("<mark [^>]*>([^<]*)</mark>", page)
        inside = [int(token) for mark in marks for token in mark.split()]
        first, last = min(s.tokens[0] for s in expected), max(s.tokens[1] for s in expected)
        self.assertLessEqual(len(inside), last - first)
        self.assertEqual(inside[:20], tokens[first : first + 20])
        whole = re.sub("<[^>]*>", "", page.split("<table")[0])
        self.assertEqual([int(token) for token in whole.split()], tokens)
        with tempfile.TemporaryDirectory() as folder:
            detector = w.Detector(*lay(pathlib.Path(folder)))
            text = "<script>&\x1b\n\t\u202e " + text_of(tokens)
            page = detector.highlight({"text": text})._repr_html_()
            self.assertTrue(page.startswith('<div style="white-space:pre-wrap">&lt;script&gt;&amp;[U+001B]\n    [U+202E] w'))
            self.assertIn("<mark", page)
            long = detector.highlight(text_of(tokens * 40))._repr_html_()
            self.assertLess(len(long), 60_000)
        self.assertNotIn("<mark", self.detector.highlight(self.plain[0])._repr_html_())
        with self.assertRaises(w.InputError):
            self.detector.highlight([VOCAB])

    def test_fresh_keys_can_be_interrupted(self):
        # A million of them take minutes; two cores are given so many seconds only so that nothing hangs.
        tally = self.detector.tally()
        for tokens in self.marked:
            tally.add(tokens)
        calls = (
            lambda: self.detector.detect(self.marked, resample=1_000_000),
            lambda: self.detector.fresh_log10_p(self.marked, resample=1_000_000),
            lambda: self.detector.highlight(self.marked[0], resample=1_000_000),
            lambda: self.detector.report(tally, resample=1_000_000),
        )
        for call in calls:
            began = time.monotonic()
            with interrupted(0.2), self.assertRaises(KeyboardInterrupt):
                call()
            self.assertLess(time.monotonic() - began, 20)

    def test_what_is_in_use_says_so(self):
        # Another thread reads a tally of which a report is being made; nobody changes it meanwhile.
        tally = self.detector.tally()
        tally.add(self.marked[0])
        expected = self.detector.report(tally, resample=99).to_dict()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            reports = list(pool.map(lambda _: self.detector.report(tally, resample=99).to_dict(), range(16)))
        self.assertTrue(all(report == expected for report in reports))
        tally.merge(tally)
        self.assertEqual(tally.n_scored, [finding["n_scored"] for finding in expected["pooled"]])

    def test_a_tally_is_of_its_layers(self):
        tally = self.detector.tally()
        for others in ([{**GREEN, "gamma": 0.25}, GUMBEL], [{**GREEN, "name": "other"}, GUMBEL], [GREEN]):
            other = w.Detector(profile(*others), NODE)
            for call in (lambda: other.report(tally), lambda: other.tally().merge(tally)):
                with self.assertRaises(w.ParameterError) as raised:
                    call()
                self.assertIn("other layers", str(raised.exception))
        # The key is no part of what is counted.
        tally.add(self.marked[0])
        self.assertFalse(w.Detector(profile(), "5b" * 32).report(tally).detected)

    def test_long_records_are_interrupted_between_them(self):
        long = [array.array("I", (at % 200 + 1 for at in range(1 << 20)))] * 30
        began = time.monotonic()
        with interrupted(0.2), self.assertRaises(KeyboardInterrupt):
            self.detector.detect(long, resample=0)
        one = time.monotonic()
        self.detector.detect(long[:5], resample=0)
        # Stopped after a few of them; all would take six times as long as these five.
        self.assertLess(one - began, 3 * (time.monotonic() - one))

    def test_advice_is_of_this_interface(self):
        with self.assertRaises(w.InputError) as raised:
            self.detector.detect([{"messages": [{"role": "user", "content": "x"}]}])
        self.assertNotIn("--", str(raised.exception))
        with self.assertRaises(w.ParameterError) as raised:
            w.Detector.from_prf_key(scheme="gumbel_dual_key", context_width=2, prf_key=NODE)
        self.assertIn("key_b_share", str(raised.exception))
        for given, error, says in (
            ({"gamma": 0.5}, w.ParameterError, "gumbel does not take gamma"),
            ({"sparkle": 1}, w.ParameterError, "gumbel does not take sparkle"),
            ({"tokenizr": "x"}, TypeError, "tokenizr is str"),
        ):
            with self.assertRaises(error) as raised:
                w.Detector.from_prf_key(scheme="gumbel", context_width=2, prf_key=NODE, **given)
            self.assertIn(says, str(raised.exception))
        w.Detector.from_prf_key(scheme="gumbel", context_width=2, prf_key=NODE, gamma=None, weighted=False)
        # Two names of one parameter, in either order: neither may win unseen.
        for given in ({"alpha": 0.5, "key_b_share": 0.25}, {"key_b_share": 0.25, "alpha": 0.5}):
            with self.assertRaises(w.ParameterError) as raised:
                w.Detector.from_prf_key(scheme="gumbel_dual_key", context_width=2, prf_key=NODE, **given)
            self.assertIn("takes key_b_share once, and alpha is the same", str(raised.exception))
        with self.assertRaises(w.WatermarkError) as raised:
            self.detector.detect(self.plain, locate=True, weights="sqrt")
        self.assertIn("leave weights out", str(raised.exception))
        self.assertNotIn("--", str(raised.exception))
        with self.assertRaises(w.InputError) as raised:
            self.detector.detect(self.plain[0])
        self.assertIn("pass [ids]", str(raised.exception))
        with tempfile.TemporaryDirectory() as folder, self.assertRaises(w.KeyFileError) as raised:
            w.Detector(profile(), folder)
        self.assertIn("is a folder", str(raised.exception))

    def test_other_engines(self):
        row = vectors("compat_engines.json")["vllm_philox4x32_10_v1"][0]
        detector = w.Detector.from_engine(engine="vllm", engine_key=row["key"], context_width=4)
        self.assertEqual(detector.layers, [None])
        # A token's score is that of vLLM's own uniform variable.
        word = row["words"][row["tokens"].index(100)]
        (finding,) = detector.detect([{"tokens": [*row["context"], 100]}], resample=0)
        (before,) = detector.detect([{"tokens": row["context"]}], resample=0)
        score = -math.log(1 - ((word >> 8) + 1) / 16_777_217.0) * 2**32
        self.assertAlmostEqual((finding.statistic - before.statistic) / score, 1, places=5)
        for options in ({"engine": "nobody"}, {"engine": "vllm", "context_width": 99}, {"engine": "vllm", "engine_key": "5a5a5a5ax"}):
            with self.assertRaises(w.WatermarkError) as raised:
                w.Detector.from_engine(**{"engine_key": "5a5a5a5a", **options})
            self.assertNotIn("5a5a", str(raised.exception))
        with self.assertRaises(w.ParameterError):
            w.Detector.from_prf_key(scheme="greenlist", context_width=1, prf_key=NODE)
        with self.assertRaises(w.ParameterError):
            w.Detector.from_prf_key(scheme="gumbel", context_width=9, prf_key=NODE)


if __name__ == "__main__":
    unittest.main()
