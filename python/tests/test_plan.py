"""Planning."""

import unittest

import watermark_core as w
from support import GREEN, GUMBEL, profile
from watermark_core import plan


class Plan(unittest.TestCase):
    def test_needs(self):
        lines = plan.needs()
        self.assertEqual(len(lines), 7 * 6)  # four kinds of access in two samples, but reading in one; six shares
        (line,) = [line for line in plan.needs(access=["answers"], share=[1.0]) if line["sample"] == "anytime"]
        self.assertIn(line, lines)
        self.assertLess(line["tokens_median"], line["tokens_80"])
        self.assertIsNone(line["cost_80"])
        self.assertIn("more_than", lines[5]["tokens_95"])  # a tenth of the answers: past what was measured
        priced = plan.needs(access=["answers"], share=[1.0], price_completion=15, tokens_per_answer=300, answers_per_minute=10)
        prompts = priced[0]["prompts_80"]
        self.assertAlmostEqual(priced[0]["cost_80"], prompts * 300 * 15 / 1e6)
        self.assertAlmostEqual(priced[0]["minutes_80"], prompts / 10)
        stricter = plan.needs(access=["answers"], share=[1.0], family=1000)[0]
        self.assertGreater(stricter["tokens_80"], priced[0]["tokens_80"])

    def test_a_profile_scales(self):
        plain = plan.needs(access=["answers"], share=[1.0])
        self.assertEqual(plan.needs(access=["answers"], share=[1.0], profile=profile(GREEN)), plain)
        stronger = plan.needs(access=["answers"], share=[1.0], profile=profile({**GUMBEL, "width": 1}))
        self.assertLess(stronger[0]["tokens_80"], plain[0]["tokens_80"])

    def test_beside_references(self):
        (line,) = plan.needs(access="answers", share=[0.2], reference="teacher")
        self.assertEqual((line["reference"], line["sample"]), ("teacher", "fixed"))
        self.assertIsNone(plan.needs()[0]["reference"])
        self.assertLessEqual(plan.shows(20_000, access="answers", reference="base")[0]["share_80"], 0.5)
        with self.assertRaisesRegex(w.WatermarkError, "known are base, teacher, answers"):
            plan.needs(reference="x")

    def test_shows(self):
        few, many = (plan.shows(tokens, access=["logprobs"])[0]["share_80"] for tokens in (300, 3000))
        self.assertGreater(few, many)

    def test_errors(self):
        for options in (
            {"access": ["x"]},
            {"alpha": 1},
            {"family": 0},
            {"share": [2.0]},
            {"price_prompt": -1},
            {"tokens_per_answer": 0},
            {"profile": profile({**GREEN, "gamma": 0.25})},
        ):
            with self.assertRaises(w.ParameterError):
                plan.needs(**options)
        with self.assertRaises(w.ParameterError):
            plan.shows(0)


if __name__ == "__main__":
    unittest.main()
