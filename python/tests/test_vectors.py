"""The shared vectors (tests/vectors) through the package."""

import array
import unittest

import watermark_core as w
from support import profile as support_profile
from support import vectors
from watermark_core import paired, prf, scheme, stats


class Vectors(unittest.TestCase):
    def close(self, got, expected, floor=1e-12):
        self.assertLessEqual(abs(got - expected), 1e-9 * abs(expected) + floor, (got, expected))

    def test_derive(self):
        vector = vectors("derive.json")
        root = w.NodeKey.root(bytes.fromhex(vector["master"]))
        self.assertEqual(len(vector["nodes"]), 5)
        for row in vector["nodes"]:
            node = root.descend(row["path"])
            self.assertEqual(node.path, row["path"])
            # No class gives a secret away; a commitment binds the node, and words the key.
            self.assertEqual(node.commitment(bytes.fromhex(row["salt"])).hex(), row["commitment"])
            for derived in row["prf"]:
                width = derived["width"]
                key = node.prf_key(derived["scheme"], width)
                words = [prf.ChaCha20V1(k, width).context_words([1] * width) for k in (key, derived["key"])]
                self.assertEqual(*words)

    def test_prf_chacha20_v1(self):
        rows = vectors("prf_chacha20_v1.json")
        self.assertEqual(len(rows), 42)
        for row in rows:
            function = prf.ChaCha20V1(w.PrfKey.from_hex(row["key"]), len(row["context"]))
            self.assertEqual(function.words(row["context"], row["tokens"]), row["words"])
            self.assertEqual(function.context_words(row["context"])[:3], row["context_words"])

    def test_paired(self):
        """Words, coins and candidates; a session serves them, and hands out the other one."""
        seen = 0
        for epoch in vectors("paired.json")["epochs"]:
            path, layer = epoch["path"].split("/layer/")
            beacon = {} if epoch["beacon"] == "0" * 64 else {"beacon": epoch["beacon"]}
            tokenizer = {"sha256": "0" * 64, "vocab_size": 131072, "special_token_ids": []}
            layers = [{"name": layer, "scheme": "paired", "width": 0, "prf": "chacha20-v1"}]
            profile = {"profile": "watermark-profile/1", "name": "p", "path": path, "tokenizer": tokenizer, "layers": layers, "repeats": "unmarked"}
            master = w.NodeKey.root(bytes.fromhex(epoch["master"]))
            for request in epoch["requests"]:
                key = paired.request_key(profile | beacon, master, request["id"])
                session = w.Marker(profile | beacon, master).session(seed=1, request=request["id"])
                for position in request["positions"]:
                    at, ids, ln_p = position["position"], *zip(*position["ln_p"], strict=True)
                    self.assertEqual([key.words(at, draw, ids) for draw in (0, 1)], position["words"])
                    self.assertEqual(key.coin(at), position["coin"])
                    both = (position["served"], position["withheld"])
                    self.assertEqual(key.candidates(at, ids, ln_p), both)
                    if at == len(session.generated):
                        row = array.array("f", [-float("inf")]) * 131072
                        for token, value in position["ln_p"]:
                            row[token] = value
                        self.assertEqual(session.sample(row), both[0])
                        session.accept(both[0])
                        self.assertEqual(session.withheld[at], both[1])
                        seen += 1
        self.assertGreater(seen, 4)
        self.assertRaises(w.ParameterError, key.words, 0, 2, [1])
        self.assertRaises(w.ParameterError, paired.request_key, support_profile(), w.NodeKey.root(b"m"), "ledger/0")

    def test_scores(self):
        vector = vectors("scores.json")
        for word, score in vector["gumbel_q32"]:
            self.assertEqual(scheme.gumbel_score_q32(word), score)
        for gamma, threshold in vector["green_threshold"]:
            self.assertEqual(scheme.green_threshold(float(gamma)), threshold)
        for word, bits in vector["tournament_bits_30"]:
            for depth in range(1, 31):
                self.assertEqual(scheme.tournament_score(word, depth), bits[:depth].count("1"))

    def test_decisions(self):
        for row in vectors("decisions.json"):
            width, blocks = len(row["context"]), row["l"]
            function = prf.ChaCha20V1(row["key"], width)
            words = function.context_words(row["context"])
            self.assertEqual(words[0] * blocks >> 32, row["favoured_block"])
            self.assertEqual(words[1] * 4096 >> 32, row["position_of_4096"])
            self.assertEqual(words[2] < 1 << 31, row["pilot_at_0.5"])
            got = [word * blocks >> 32 for word in function.words(row["context"], row["tokens"])]
            self.assertEqual(got, row["blocks"])
            detector = w.Detector.from_prf_key(scheme="mcmark", context_width=width, prf_key=row["key"], gamma=1 / blocks)
            for token, block in zip(row["tokens"], row["blocks"], strict=True):
                finding = detector.detect([[*row["context"], token]], resample=0)[0]
                self.assertEqual(finding.statistic, int(block == row["favoured_block"]))

    def test_detect(self):
        rows = vectors("detect.json")
        self.assertEqual(len(rows), 8)
        for row in rows:
            options = {"gamma": float(row["gamma"])} if "gamma" in row else {}
            if "depth" in row:
                options["depth"] = row["depth"]
            detector = w.Detector.from_prf_key(
                scheme=row["scheme"], context_width=row["width"], prf_key=row["key"], **options
            )
            statistic = {"gumbel": "sum_q32", "greenlist": "green"}.get(row["scheme"], "ones")
            tally = detector.tally()
            for doc in row["docs"]:
                tally.add(doc)
            for report in (detector.detect(row["docs"], resample=0), detector.report(tally, resample=0)):
                (finding,) = report
                self.assertEqual(finding.scheme, row["scheme"])
                self.assertEqual(finding.n_scored, row["n"])
                self.assertEqual(finding.statistic, int(row[statistic]))
                self.close(finding.log10_p, float(row["log10_p"]))
                if "ln_e" in row:
                    self.close(finding.ln_e, float(row["ln_e"]))

    def test_weighted(self):
        for row in vectors("weighted.json"):
            detector = w.Detector.from_prf_key(
                scheme="greenlist", context_width=1, prf_key=row["key"], gamma=float(row["gamma"])
            )
            (plain,) = detector.detect(row["records"], resample=0)
            totals = row["totals"]
            self.assertEqual(
                (plain.n_scored, plain.n_duplicate, plain.n_excluded, plain.n_short_context),
                (totals["scored"], totals["duplicate"], totals["excluded"], totals["short_context"]),
            )
            self.assertEqual(plain.statistic, row["green"])
            self.close(plain.log10_p, float(row["log10_p_distinct"]))
            (weighted,) = detector.detect(row["records"], weights="sqrt", resample=0)
            self.assertEqual(weighted.statistic, int(row["statistic_sqrt"]))
            self.close(weighted.log10_p, float(row["log10_p_sqrt"]))
            self.assertIsNone(weighted.ln_e)
            self.assertIsNone(weighted.e_value)

    def test_stats(self):
        vector = vectors("stats.json")
        # The oracle's direct sums leave out what is below 1e-50 of them.
        for k, n, p, log10_p in vector["log10_binom_sf"]:
            self.close(stats.log10_binomial_sf(k, n, float(p)), float(log10_p), 1e-49)
        for n, x, log10_p in vector["log10_gamma_sf"]:
            self.close(stats.log10_gamma_sf(n, float(x)), float(log10_p), 1e-49)
            self.close(stats.log10_gamma_sf_q32(n, int(x) << 32), float(log10_p), 1e-49)
        for n, s, alpha, log10_p in vector["log10_dualkey_sf"]:
            got, expected = stats.log10_dual_key_sf(n, float(s), float(alpha)), float(log10_p)
            self.assertLess(abs(got - expected), 1e-6 * abs(expected))
        for n, s, ln_e in vector["ln_e_gumbel"]:
            self.close(stats.ln_e_gumbel(n, float(s)), float(ln_e))
        for green, n, gamma, ln_e in vector["ln_e_green"]:
            self.close(stats.ln_e_green(green, n, float(gamma)), float(ln_e))

    def test_mixed_up_arguments_are_no_evidence(self):
        s = stats
        wrong = (
            lambda: s.ln_e_green(1000, 500, 0.25),
            lambda: s.ln_e_green(5, 10, 25.0),
            lambda: s.log10_binomial_sf(11, 10, 0.5),
            lambda: s.log10_binomial_sf(5, 10, float("nan")),
            lambda: s.log10_dual_key_sf(10, 20.0, 1.5),
            lambda: s.ln_e_dual_key(10, 20.0, -0.1),
            lambda: s.ln_e_tournament(10, [11, 5], [2, 1]),
            lambda: s.ln_e_tournament(10, [5], [2, 1]),
            lambda: s.log10_weighted_green_bound([(1 << 16, 10, 11)], 0.5),
            lambda: s.ln_e_weighted_green([(1 << 16, 10, 5)], 0.0),
            lambda: s.holm([-3.0], 1.0),
            lambda: s.e_bh([9.0], 0.0),
            lambda: s.clopper_pearson(11, 10, 0.025),
            lambda: s.log10_weighted_tournament_sf(60, 100, [1]),
            lambda: s.log10_weighted_tournament_sf(100, 60, []),
            lambda: s.ln_e_weighted_exponential([(1 << 16, 0, 1 << 40)]),
            lambda: s.log10_gamma_sf(5, float("inf")),
            lambda: s.ln_e_gumbel(5, float("inf")),
            lambda: s.holm([1e-8, 0.5], 1e-6),
            lambda: s.benjamini_yekutieli([float("nan")], 0.01),
        )
        for at, call in enumerate(wrong):
            with self.assertRaises(w.ParameterError, msg=str(at)):
                call()

    def test_stats_by_hand(self):
        self.close(stats.log10_weighted_tournament_sf(1, 3, [2, 1]), -0.6020599913279624)  # both bits: 1/4
        self.close(stats.log10_weighted_green_bound([(1 << 16, 10, 10)], 0.5), -3.010299956639812)  # all of ten: 2^-10
        self.assertLess(stats.log10_weighted_exponential_bound([(1 << 16, 100, 200 << 32)]), -6)
        self.assertEqual(stats.weight_sqrt(4), 2 << 16)
        self.assertEqual(stats.holm([-2.31, -2.6, -1.0], 0.01), [True, True, False])
        self.assertEqual(stats.benjamini_yekutieli([-9.0, -0.1], 0.01), [True, False])
        self.assertEqual(stats.e_bh([9.0, -1.0], 0.01), [True, False])
        self.assertEqual(stats.ln_mean_e([]), 0.0)
        self.assertEqual(stats.clopper_pearson(0, 10, 0.05)[0], 0.0)
        for level in (0.95, 0.5, 0, float("nan")):
            with self.assertRaises(w.ParameterError):
                stats.clopper_pearson(3, 10, level)
        self.assertGreater(stats.ln_e_tournament(100, [90], [1]), 10)
        self.assertGreater(stats.ln_e_dual_key(100, 180.0, 0.1), 10)
        self.assertGreater(stats.ln_e_weighted_green([(1 << 16, 100, 90)], 0.5), 10)
        self.assertGreater(stats.ln_e_weighted_exponential([(1 << 16, 100, 200 << 32)]), 5)
        # Past 2^64 as past 2^53.
        self.assertGreater(stats.log10_gamma_sf_q32(1 << 40, 1 << 72), -0.4)
        self.assertLess(stats.log10_gamma_sf_q32(1 << 40, (1 << 72) + (1 << 54)), -2)


if __name__ == "__main__":
    unittest.main()
