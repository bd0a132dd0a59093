"""Findings as pandas DataFrames and matplotlib's pictures of them. Skipped where these are not installed."""

import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

import watermark_core as w
from support import GREEN, NODE, lay, profile, text_of, write
from watermark_core import plan, plot

try:
    import matplotlib
    import pandas as pd
except ImportError:
    raise unittest.SkipTest("pandas or matplotlib is not installed") from None

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402


class Frames(unittest.TestCase):
    def test_a_report_is_a_frame(self):
        texts = [write(1, 300), write(2, 300, marked=False)]
        report = w.Detector(profile(), NODE).detect(texts, per_record=True, locate=True)
        pooled, per_record, spans = report.to_frame(), report.to_frame("per_record"), report.to_frame("spans")
        self.assertEqual(list(pooled["layer"]), ["distillation", "provenance"])
        self.assertEqual(list(per_record["record"]), ["0", "0", "1", "1"])
        for frame, findings in ((pooled, report.pooled), (per_record, report.per_record)):
            for (_, row), finding in zip(frame.iterrows(), findings, strict=True):
                for name in set(finding.to_dict()) - {"smallest_effect", "peer", "statistic", "references"}:
                    value = getattr(finding, name)
                    self.assertTrue(pd.isna(row[name]) if value is None else row[name] == value, name)
                self.assertEqual(int(row["statistic"]), finding.statistic)
        self.assertEqual(pooled["n_scored"].dtype.kind, "i")
        self.assertEqual(pooled["log10_p"].dtype.kind, "f")
        self.assertEqual([(row.tokens_start, row.tokens_end) for row in spans.itertuples()], [span.tokens for span in report.spans])
        self.assertTrue(spans["bytes_start"].isna().all())
        self.assertGreater(len(spans), 0)
        # Without a row the columns are there all the same.
        empty = w.Detector(profile(), NODE).detect(texts).to_frame("per_record")
        self.assertEqual((len(empty), list(empty.columns)), (0, list(pooled.columns)))
        with self.assertRaises(w.ParameterError):
            report.to_frame("records")

    def test_a_frame_is_no_list_of_records(self):
        detector = w.Detector(profile(), NODE)
        with self.assertRaises(w.InputError) as raised:
            detector.detect(pd.DataFrame({"tokens": [[1, 2, 3]]}))
        self.assertIn('to_dict("records")', str(raised.exception))

    def test_attribution_is_a_frame(self):
        layers = [{**GREEN, "per": "account"}]
        text = write(1, 400, w.Marker(profile(*layers), NODE), account="b")
        found = w.attribute([text], profile(*layers), NODE, ["a", "b", "c"])
        frame = found.to_frame().set_index("key")
        self.assertEqual(list(frame.index), ["a", "b", "c"])
        self.assertEqual(frame.index[frame["verdict"] == "detected"].tolist(), ["b"])
        self.assertEqual(frame.loc["b", "log10_p"], found.detected[0]["log10_p"])
        self.assertEqual(int(frame.loc["b", "statistic"]), int(found.detected[0]["statistic"]))
        self.assertEqual(found.to_frame("hits")["key"].tolist(), ["b"])
        with self.assertRaises(w.ParameterError):
            found.to_frame("texts")

    def test_what_is_missing_is_named(self):
        for missing, call in [
            ("pandas", "w.Detector(P, N).detect([[1, 2]]).to_frame()"),
            ("matplotlib", "plot.power(plan.needs())"),
        ]:
            code = (
                f"import sys; sys.modules[{missing!r}] = None\n"
                "import watermark_core as w\nfrom watermark_core import plan, plot\n"
                f"P, N = {profile()!r}, {NODE!r}\n"
                f"try: {call}\nexcept ImportError as error: print(error)\n"
            )
            said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
            self.assertIn(f"pip install {missing}", said)


class Plots(unittest.TestCase):
    def setUp(self):
        _, self.ax = plt.subplots()
        self.addCleanup(plt.close, "all")
        self.detector = w.Detector(profile(), NODE)

    def test_evidence(self):
        marked = [write(seed, 60) for seed in range(20)]
        unmarked = [write(seed, 60, marked=False) for seed in range(20)]
        self.assertIs(plot.evidence(self.detector, marked, points=5, label="marked", ax=self.ax), self.ax)
        plot.evidence(self.detector, unmarked, points=100, label="unmarked", ax=self.ax)
        first, level, second = self.ax.lines
        whole = self.detector.detect(marked, resample=0)[0]
        self.assertEqual(first.get_xdata()[-1], whole.n_scored)
        self.assertAlmostEqual(first.get_ydata()[-1], whole.ln_e / math.log(10))
        self.assertEqual((len(first.get_xdata()), len(second.get_xdata())), (6, 21))
        self.assertEqual(list(level.get_ydata()), [6, 6])
        self.assertGreater(first.get_ydata()[-1], 6)
        self.assertLess(max(second.get_ydata()), 6)
        self.assertEqual([text.get_text() for text in self.ax.get_legend().get_texts()], ["marked", "unmarked"])

    def test_fresh_keys_are_those_of_the_verdict(self):
        for marked in (True, False):
            records = [write(3, 200, marked=marked)]
            finding = self.detector.detect(records)[1]
            self.ax.clear()
            plot.fresh_keys(self.detector, records, layer="provenance", ax=self.ax)
            counts = [bar.get_height() for bar in self.ax.patches]
            self.assertEqual(sum(counts), 999)
            self.assertAlmostEqual(self.ax.lines[1].get_xdata()[0], -finding.log10_p)
            fresh = self.detector.fresh_log10_p(records)[1]
            at_least = sum(log10_p <= finding.log10_p for log10_p in fresh)
            self.assertAlmostEqual(finding.log10_p_resampled, math.log10((1 + at_least) / 1000))
        with self.assertRaises(w.ParameterError):
            plot.fresh_keys(self.detector, [[1]], ax=self.ax)
        with self.assertRaises(w.ParameterError):
            plot.evidence(self.detector, records, layer="none", ax=self.ax)
        with self.assertRaises(w.ParameterError):
            plot.fresh_keys(self.detector, records, resample=0, ax=self.ax)
        for call in (plot.evidence, plot.fresh_keys):
            with self.assertRaises(w.InputError) as raised:
                call(self.detector, "abc", ax=self.ax)
            self.assertIn("iterable of records", str(raised.exception))

    def test_power(self):
        needs = plan.needs(access=["answers", "logprobs"])
        plot.power(needs, ax=self.ax)
        names = [text.get_text() for text in self.ax.get_legend().get_texts()]
        self.assertEqual(names, ["answers, fixed", "answers, anytime", "logprobs, fixed", "logprobs, anytime", "more than was measured"])
        line, more = self.ax.lines[:2]
        of_first = [need for need in needs if (need["access"], need["sample"]) == ("answers", "fixed")]
        known = {100 * need["share"]: need["tokens_80"] for need in of_first if not isinstance(need["tokens_80"], dict)}
        self.assertEqual(dict(zip(line.get_xdata(), line.get_ydata(), strict=True)), known)
        self.assertEqual(len(more.get_xdata()), len(of_first) - len(known))
        with self.assertRaises(w.ParameterError):
            plot.power(needs, tokens="prompts_80")
        self.assertIs(plot.power(needs), plt.gca())

    def test_texts_and_prompts(self):
        with tempfile.TemporaryDirectory() as folder:
            detector = w.Detector(*lay(pathlib.Path(folder), GREEN))
            tokens = write(1, 200, w.Marker(profile(GREEN), NODE))
            records = [{"prompt": "w1 w2 w3", "completion": text_of(tokens)}]
            plot.evidence(detector, records, ax=self.ax)
            self.assertEqual(self.ax.lines[0].get_xdata()[-1], detector.detect(records)[0].n_scored)
            self.assertEqual(len(detector.fresh_log10_p(records, exclude="run", resample=7)[0]), 7)


if __name__ == "__main__":
    unittest.main()
