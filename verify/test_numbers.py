#!/usr/bin/env python3
"""Tests of verify.py's formulas against the vectors of tests/vectors: `test_numbers.py [unittest options]`."""
import json, unittest
import mpmath as mp
from bundles import here, oracle, verify


class Numbers(unittest.TestCase):
    """The formulas, against the oracle's vectors."""

    @staticmethod
    def vectors(name):
        return json.loads((here.parent / "tests" / "vectors" / f"{name}.json").read_text())

    def close(self, got, expected):
        self.assertLess(abs(got - mp.mpf(expected)), 1e-12 * max(1, abs(float(expected))))

    def test_tails(self):
        for g, n, p, expected in self.vectors("stats")["log10_binom_sf"]:
            self.close(verify.ln_binomial(g, n, mp.mpf(p)) / mp.log(10), expected)
        for n, x, expected in self.vectors("stats")["log10_gamma_sf"]:
            self.close(verify.ln_poisson(n - 1, mp.mpf(x), False) / mp.log(10), expected)

    @staticmethod
    def layer(scheme, width, gamma=None):
        layer = {"name": "x", "scheme": scheme, "width": width, "prf": "chacha20-v1"} | ({"gamma": gamma, "delta": 2} if gamma else {})
        return verify.Layer(json.dumps({"profile": "watermark-profile/1", "name": "t", "path": "", "layers": [layer], "repeats": "unmarked",
            "tokenizer": {"sha256": "0" * 64, "vocab_size": 1 << 24, "special_token_ids": []}}), "x")

    def test_scores(self):
        gumbel = self.layer("gumbel", 1)
        for word, score in self.vectors("scores")["gumbel_q32"]:
            self.assertEqual(gumbel.score(word), score)
        for gamma, size in self.vectors("scores")["green_threshold"]:
            green = self.layer("greenlist", 1, float(gamma))
            self.assertEqual([green.score(size - 1), green.score(size)], [1, 0])
        self.assertEqual([gumbel.score(word) for word in range(50)], [oracle.gumbel_q32(word) for word in range(50)])

    def test_words(self):
        for row in self.vectors("prf_chacha20_v1"):
            layer = self.layer("gumbel", len(row["context"]))
            layer.score = lambda word: word
            pairs = {(*row["context"], token): i for i, token in enumerate(row["tokens"])}
            words = dict(layer.scores(bytes.fromhex(row["key"]), layer.plan(pairs)))
            self.assertEqual([words[pairs[(*row["context"], token)]] for token in row["tokens"]], row["words"])

    def test_keys(self):
        for row in self.vectors("derive")["nodes"]:
            self.assertEqual(verify.sha256(b"watermark-commit-v1\0", bytes.fromhex(row["node"]), bytes.fromhex(row["salt"])).hex(), row["commitment"])
            for one in row["prf"]:
                if one["scheme"] in ("gumbel", "greenlist"):
                    layer = self.layer(one["scheme"], one["width"], 0.5 if one["scheme"] == "greenlist" else None)
                    self.assertEqual(layer.prf_key(bytes.fromhex(row["node"])).hex(), one["key"])

    def test_weighted(self):
        for row in self.vectors("weighted"):
            layer = self.layer("greenlist", 1, 0.5)
            # the vector excludes pairs of a record's own prompt only, so without prompts there is a tally to compare
            pairs, *_ = layer.tally([{"prompt_tokens": [], "tokens": r["tokens"], "quoted": [], "round": 0} for r in row["records"]])
            every, _ = oracle.positions([([], r["tokens"]) for r in row["records"]], 1)
            self.assertEqual(pairs, {(*context, token): count for (context, token), count in every.items()})
            classes = [{"count": int(c), "pairs": n, "score": str(g)} for c, (n, g) in sorted(row["classes"].items(), key=lambda one: int(one[0]))]
            sums, (log10_p, distinct, _) = verify.numbers(layer, "sqrt", classes)
            self.assertEqual(str(sums[1]), row["statistic_sqrt"])
            self.close(log10_p, row["log10_p_sqrt"])
            self.close(distinct, row["log10_p_distinct"])

    def test_residuals(self):
        for seen, expected, weight in self.vectors("signed")["weights"]:
            self.assertEqual(verify.residuals.weight(seen, expected), weight)
        for row in self.vectors("signed")["tests"]:
            classes = [{"weight": weight, "pairs": n, "score": score} for weight, n, score in row["classes"]]
            _, logs = verify.residuals.numbers(mp.mpf(row["gamma"]) if row["gamma"] else None, classes)
            for got, expected in zip(logs, (row["log10_p"], row["ln_e"])):
                self.close(got, expected)

    def test_trees(self):
        for row in self.vectors("merkle_rfc9162"):
            leaves = [verify.leaf(bytes.fromhex(one)) for one in row["leaves"]]
            self.assertEqual(verify.tree_root(leaves).hex(), row["root"])

    def test_canonical_numbers_of_the_rfc(self):
        """RFC 8785, appendix B."""
        for bits, text in [(0, "0"), (1 << 63, "0"), (1, "5e-324"), (1 << 63 | 1, "-5e-324"), (0x7fefffffffffffff, "1.7976931348623157e+308"),
                           (0x4430000000000000, "295147905179352830000"), (0x44b52d02c7e14af5, "9.999999999999997e+22"),
                           (0x44b52d02c7e14af6, "1e+23"), (0x444b1ae4d6e2ef4e, "999999999999999700000"), (0x444b1ae4d6e2ef50, "1e+21"),
                           (0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"), (0x3eb0c6f7a0b5ed8d, "0.000001"),
                           (0x41b3de4355555553, "333333333.3333332"), (0xbecbf647612f3696, "-0.0000033333333333333333"),
                           (0x43143ff3c1cb0959, "1424953923781206.2")]:
            self.assertEqual(verify.canonical(verify.struct.unpack(">d", bits.to_bytes(8, "big"))[0]), text)

    def test_what_is_not_canonical(self):
        for text in ['{"a":1,"b":2} ', '{"a":1, "b":2}', '{"b":2,"a":1}', '{"a":1,"a":1}', "[1.0]", "[1e2]", "[-0]", "[-0.0]", "[0.10]", '["\\u0041"]',
                     '["\\/"]', '["\\u000A"]', "[9007199254740993]", "[1e400]", "[NaN]", "[-Infinity]", "\ufeff[]", "[]\n", "", "[1e-07]",
                     "[" * 34 + "]" * 34, "[" * 100000, '{"\U0001f600":1,"\ufb33":2,"\r":3}', '["\\ud800"]', "1" * 5000]:
            with self.assertRaises(verify.Refused, msg=text[:40]):
                verify.read_canonical(text.encode(), 1 << 20, "hash")
        self.assertEqual(verify.canonical({"\U0001f600": 1, "\ufb33": 2, "\r": 3, "é": "\x1f\u2028\""}), '{"\\r":3,"é":"\\u001f\u2028\\"","\U0001f600":1,"\ufb33":2}')


if __name__ == "__main__":
    unittest.main()
