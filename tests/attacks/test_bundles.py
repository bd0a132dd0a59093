#!/usr/bin/env python3
"""Whole bundles of somebody who signs what they like, sent through both verifiers: `WATERMARK=PATH test_bundles.py [unittest options]`, with
`cryptography`, `mpmath` and `tokenizers`. $WATERMARK names the binary beside which verify/verify.py is to find the same.
"""
import base64, copy, datetime, hashlib, json, math, pathlib, random, shutil, sys, tempfile, unittest

root = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(root / "verify"), str(root / "tests")]
from bundles import LETTERS, Case, canonical, oracle, record, sha, tokenizer, verify
from case import Authority
from test_verify import RUST, codes, run, rust


def setUpModule():
    if not RUST:
        print("SKIPPED: attacks as whole bundles ($WATERMARK names no binary)", file=sys.stderr)
        raise unittest.SkipTest("$WATERMARK names no binary")
    global folder
    folder = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(folder.cleanup)


def written(name, raw):
    """A file of these bytes, for an option."""
    path = pathlib.Path(folder.name, name)
    path.write_bytes(raw)
    return str(path)


def said(code, report):
    """Exit code, codes of faults, verdict (None without a result) and standings of the conditions."""
    result = report["result"]
    standings = result and (result.get("conditions") or {one["name"]: one["standing"] for one in report["conditions"]})
    return code, codes(report), result and result["verdict"], standings


def both(bundle, data=(), *options):
    """What verify.py says, and what the binary says."""
    return [said(*verifier(bundle, data, *options)) for verifier in (run, rust)]


def stamped(authority, raw):
    """A time-stamping authority's response over these bytes, in base64."""
    request = authority.folder / "request.tsq"
    (authority.folder / "stamped").write_bytes(raw)
    authority.openssl("ts", "-query", "-data", "stamped", "-sha256", "-cert", "-out", request)
    return base64.b64encode(authority.stamp(request).read_bytes()).decode()


def ones(layer, pairs, nodes):
    """How many of the pairs are green under each node."""
    plan = layer.plan(dict.fromkeys(pairs, 1))
    return [sum(one for _, one in layer.scores(layer.prf_key(node), plan)) for node in nodes]


class Keys(unittest.TestCase):
    """The key is not unique: of 1,024 keys the one is opened that fits an innocent model's answers."""

    N, ALPHA = 1024, 1e-3

    @classmethod
    def setUpClass(cls):
        cls.nodes = [oracle.child_key(b"n" * 32, str(i)) for i in range(cls.N)]
        cls.innocent = dict(bias=0, weights="none", alpha=cls.ALPHA, seed=4)
        answers = Case(**cls.innocent)
        cls.found = ones(verify.Layer(answers.profile, "main"), answers.suspect_pairs, cls.nodes)
        cls.best = max(range(cls.N), key=cls.found.__getitem__)
        cls.other = 0 if cls.best else 1

    def case(self, **more):
        return Case(**self.innocent | {"committed": [("main", node) for node in self.nodes], "opened": self.best} | more)

    def refused(self, case, edit, code, sign=False):
        case = copy.deepcopy(case)
        edit(case)
        if sign: case.sign()
        ours, theirs = both(case.bundle())
        self.assertEqual((ours[0], ours[2], theirs), (1, None, ours))
        self.assertIn(code, ours[1])

    def test_one_of_many(self):
        case = self.case()
        log10_p = case.predicate["suspect"]["log10_p"]
        print(f"keys: the best of {self.N}: log10 p {log10_p:.2f}, level now {math.log10(self.ALPHA / self.N):.2f}")
        self.assertLess(log10_p, -3)  # at the level undivided
        self.assertEqual(case.predicate["verdict"], "not_detected")
        for one in both(case.bundle()): self.assertEqual(one[:3], (0, set(), "not_detected"))
        p, reg, index = case.predicate, case.registration, self.other
        self.refused(case, lambda c: c.predicate.update(verdict="detected", smallest_effect=None), "E-VERDICT")
        # Fewer keys: in the family, in the registration, and in the head, whose root is then another tree's.
        self.refused(case, lambda c: c.predicate["family"].update(size=1), "E-REGISTERED")
        def fewer(c, size):
            c.registration["key"].update(tree_size=size, index=0)
            c.predicate["family"]["size"] = size
        self.refused(case, lambda c: fewer(c, 1), "E-PROOF", sign=True)
        def small(c):
            fewer(c, 1)
            c.head["tree_size"], c.predicate["key"]["proof"] = 1, []
        self.refused(case, small, "E-PROOF", sign=True)
        # Another leaf than the registered one, with its own proof; and the registered leaf with another's key.
        another = self.case(opened=index)
        self.refused(case, lambda c: c.registration["key"].update(index=index, leaf_sha256=another.hashes[index].hex()), "E-PROOF", sign=True)
        def theirs(c):
            c.registration["key"] |= {"index": index, "leaf_sha256": another.hashes[index].hex()}
            c.predicate["key"] |= {"leaf": another.predicate["key"]["leaf"], "proof": another.predicate["key"]["proof"]}
        self.refused(case, theirs, "E-OPENING", sign=True)

    def test_a_head_for_every_key(self):
        """Not refused: other heads are not in the bundle. So earlier_analyses never holds, and `detected` is said with that proviso."""
        case = self.case(committed=[("main", self.nodes[self.best])], opened=0)
        self.assertEqual(case.predicate["verdict"], "detected")
        for one in both(case.bundle()):
            self.assertEqual((one[:3], one[3]["earlier_analyses"]), ((0, set(), "detected"), "word"))
        headline = rust(case.bundle())[1]["headline"]
        self.assertTrue(headline.startswith("detected, if it is believed that ") and "no analyses or commitments are missing" in headline, headline)


class Prompts(unittest.TestCase):
    """Prompts are a filter: pairs that they hold do not count, and whoever has the key writes those that speak for an innocent model."""

    SIGNS = "0123456789_=:.,!?()[]{}<~@$^"  # of the rest of a prompt: no letters, which answers have, and nothing that quoting reads past

    @classmethod
    def setUpClass(cls):
        cls.case = Case(bias=0, weights="none", width=2, answers=20, seed=1)
        cls.rows = [json.loads(line) for line in cls.case.records[0].splitlines()]
        cls.controls = [json.loads(line) for line in cls.case.records[1].splitlines()]
        cls.tokenizer = written("tokenizer.json", tokenizer())
        cls.red = [pair for pair in cls.case.suspect_pairs if not cls.green(pair) and max(pair) < 128]

    @classmethod
    def green(cls, pair):
        return cls.case.score(cls.case.key, pair[:2], pair[2])

    def asked(self, red, copied, **more):
        """Prompts that hold these red pairs, and `copied` green ones each that the model repeats after its answer."""
        rnd, texts, used = random.Random(1), [], set()
        for i in range(20):
            walk = rnd.sample(self.SIGNS, 2) if copied else []
            while copied and len(walk) < copied + 2:
                steps = [sign for sign in self.SIGNS if self.green(pair := (*map(ord, walk[-2:]), ord(sign))) and pair not in used]
                if not steps: break
                walk.append(rnd.choice(steps))
                used.add(tuple(map(ord, walk[-3:])))
            held = "".join(bytes(pair).decode() + rnd.choice(self.SIGNS) for pair in red[i::20])
            texts.append((held, "".join(walk)))
        rows = [[record(held + walk or row["prompt"], row["text"].removesuffix("<end>") + walk * (at == 0)) for row, (held, walk) in zip(rows, texts)]
                for at, rows in enumerate((self.rows, self.controls))]
        return Case(weights="none", width=2, records=rows, **more)

    def checked(self, name, case, verdict, agrees):
        """Both derive this; and refuse who says `detected` where it is not."""
        p, data, options = case.predicate, case.records, ("--tokenizer", self.tokenizer)
        s, out = p["suspect"], p["suspect"]["left_out"]
        print(f"prompts, {name}: log10 p {s['log10_p']:.2f}, left out {out['answers_log10_p']:.1f} and {out['prompts_log10_p']:.1f}: {verdict}")
        self.assertEqual((p["verdict"], p["exclusion_agrees"]), (verdict, agrees))
        for one in both(case.bundle(), data, *options):
            self.assertEqual((one[:3], one[3]["prompts_free_of_key"]), ((0, set(), verdict), "word"))
        if verdict != "detected":
            for edit in ({"verdict": "detected"}, {"verdict": "detected", "exclusion_agrees": not agrees}):
                liar = copy.deepcopy(case)
                liar.predicate |= edit | {"smallest_effect": None}
                self.assertEqual([one[:3] for one in both(liar.bundle(), data, *options)], [(1, {"E-VERDICT"}, None)] * 2)
        return s["log10_p"], out

    def test_red_pairs_in_prompts(self):
        honest, _ = self.checked("honest", self.asked([], 0), "not_detected", True)
        self.assertGreater(honest, -1)
        log10_p, out = self.checked("half of the red pairs", self.asked(self.red[::2], 0), "inconclusive", False)
        self.assertLess(log10_p, math.log10(1e-6 / 3))  # detected, without a look at what was left out
        self.assertLess(max(out["answers_log10_p"], out["prompts_log10_p"]), -10)
        # As many as are not seen: they turn nothing.
        log10_p, _ = self.checked("nine red pairs", self.asked(self.red[:9], 0), "not_detected", True)
        self.assertGreater(log10_p, -1)

    def test_red_pairs_balanced_by_copied_green_ones(self):
        """The audit is beaten: what the model copies from the prompts was written green, and makes up for the red that they leave out. Both say
        detected, and in words on what it rests: that prompts were chosen without the key is somebody's word, data, tokenizer and pool at hand."""
        for name, red, copied, below in [("half", self.red[::2], 16, -6.5), ("all", self.red, 31, -50)]:
            case = self.asked(red, copied)
            log10_p, out = self.checked(f"{name} of the red pairs and {copied} copied signs an answer", case, "detected", True)
            self.assertLess(log10_p, below)
            self.assertGreaterEqual(min(out["answers_log10_p"], out["prompts_log10_p"]), -3)
        headline = rust(case.bundle(), case.records, "--tokenizer", self.tokenizer)[1]["headline"]
        self.assertTrue(headline.startswith("detected, if it is believed that ") and "the prompts were chosen without the key" in headline, headline)
        # A draw from a pool that was written with the key is no better: the key has no beacon that the pool is older than.
        case = self.asked(self.red, 31, draw="b7" * 32)
        pool = written("written.jsonl", b"".join(canonical({"prompt": one}) + b"\n" for one in case.pool))
        for one in both(case.bundle(), case.records, "--tokenizer", self.tokenizer, "--pool", pool):
            self.assertEqual((one[:3], one[3]["prompts_free_of_key"]), ((0, set(), "detected"), "word"))


class Spellings(unittest.TestCase):
    """Of all ids that spell an innocent model's answers, the greenest."""

    MERGES = [a + b for a in LETTERS[:26] for b in LETTERS[:26]]

    @classmethod
    def setUpClass(cls):
        raw = tokenizer(cls.MERGES)
        cls.tokenizer, texts, rnd = written("merged.json", raw), verify.Texts(raw), random.Random(6)
        cls.rows = [[texts.record(f"{i:03}", "".join(rnd.choices(LETTERS[:26], k=60)), 0) for i in range(20)] for _ in "sc"]

    def greenest(self, text):
        """The spelling of most green pairs, less the others."""
        best = {(0, None): (0, [])}  # by place and last token: how green, and the ids
        for place in range(len(text)):
            for (at_, last), (green, ids) in [*best.items()]:
                if at_ != place: continue
                for length in (1, 2)[:len(text) - place]:
                    part = text[place:place + length]
                    token = ord(part) if length == 1 else 257 + self.MERGES.index(part)
                    score = green + (0 if last is None else 2 * self.case.score(self.case.key, [last], token) - 1)
                    if score > best.get((place + length, token), (-math.inf,))[0]: best[place + length, token] = score, ids + [token]
        return max(row for (place, _), row in best.items() if place == len(text))[1]

    def made(self, rows):
        case = Case(weights="none", records=rows, merges=self.MERGES)
        case.predicate["suspect"]["collected"] = None  # a plain file of answers
        return case

    def test_the_greenest_ids(self):
        self.case = honest = self.made(self.rows)
        chosen = self.made([[row | {"tokens": self.greenest(row["text"])} for row in self.rows[0]], self.rows[1]])
        before, after = (case.predicate["suspect"]["log10_p"] for case in (honest, chosen))
        print(f"spellings: log10 p {before:.2f} of the tokenizer's ids, {after:.2f} of the greenest")
        self.assertGreater(before, -2)
        self.assertLess(after, -50)
        for one in both(honest.bundle(), honest.records, "--tokenizer", self.tokenizer): self.assertEqual(one[:3], (0, set(), "not_detected"))
        # The bundle alone is the signer's word, and the records without a tokenizer give nothing.
        for one in both(chosen.bundle()): self.assertEqual((one[:3], one[3]["tokens_recomputed"]), ((0, set(), "detected"), "word"))
        for one in both(chosen.bundle(), chosen.records): self.assertEqual(one[:3], (0, set(), None))
        for data in (chosen.records, chosen.files, chosen.records[:1], chosen.files[:1]):
            for one in both(chosen.bundle(), data, "--tokenizer", self.tokenizer): self.assertEqual(one[:3], (1, {"E-RECORDS"}, None))


class Beacons(unittest.TestCase):
    """A value that was known when the key was committed to, so that the key could be ground; and what the opening of a layer discloses."""

    # Round 123 of drand's quicknet, drawn at 15:15:33 on 23 August 2023, as its servers publish it.
    QUICKNET = ("drand/quicknet", 123, "b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92")
    BEFORE, DRAWN = "2023-08-23T15:15:32Z", "2023-08-23T15:15:33Z"

    @classmethod
    def setUpClass(cls):
        cls.innocent = dict(bias=0, weights="none", alpha=1e-3, seed=1, source=cls.QUICKNET)
        nodes = [oracle.child_key(b"g" * 32, str(i)) for i in range(1024)]
        answers = Case(**cls.innocent)
        found = ones(verify.Layer(answers.profile, "main"), answers.suspect_pairs, nodes)
        cls.ground = nodes[max(range(1024), key=found.__getitem__)]

    def case(self, signed_at, **more):
        """The one committed key is the one of 1,024 that fits under the value."""
        case = Case(**self.innocent | {"committed": [("main", self.ground)], "opened": 0} | more)
        case.head["signed_at"] = signed_at
        case.seal()
        case.conclude()
        return case

    def told(self, case, verdict, standing, faults=frozenset(), name="key_not_ground"):
        for one in both(case.bundle()):
            self.assertEqual(one[:3], (int(bool(faults)), set(faults), None if faults else verdict))
            if not faults: self.assertEqual(one[3][name], standing)

    def test_clocks_that_the_bundle_states(self):
        case = self.case(self.DRAWN)
        log10_p = case.predicate["suspect"]["log10_p"]
        print(f"beacons: the best of 1,024 keys under the known value: log10 p {log10_p:.2f}")
        self.assertLess(log10_p, -3)
        self.told(case, "inconclusive", "fails")
        for edit in (lambda p: p.update(verdict="detected"), lambda p: p["conditions"][1].update(standing="word")):
            liar = copy.deepcopy(case)
            edit(liar.predicate)
            self.told(liar, None, None, {"E-VERDICT"})
        # A second before the round it is somebody's word, and so it is under every source without known times.
        self.told(self.case(self.BEFORE), "detected", "word")
        other = self.case(self.DRAWN, source=("lottery", 123, None), beacon=sha(b"a"))
        self.told(other, other.predicate["verdict"], "word")

    def test_rounds_to_come(self):
        """Used before it is drawn, by the times that the bundle states or by the reader's clock; and a chain that nobody knows here."""
        later = lambda time: 1 + (int(datetime.datetime.fromisoformat(time + "+00:00").timestamp()) - verify.GENESIS) // verify.PERIOD
        number = later("2026-11-25T02:30:00")  # after the registration, before the signature
        self.told(self.case(self.BEFORE, source=("drand/quicknet", number, None), beacon=sha(b"a")), "inconclusive", "fails")
        drawn = Case(weights="none", draw="b7" * 32)
        drawn.registration["prompts"]["draw"]["beacon"] = {"round": later("2026-11-25T03:00:03"), "source": "drand/quicknet"}
        drawn.predicate["suspect"]["collected"] = None
        drawn.seal()
        drawn.conclude()
        self.told(drawn, "inconclusive", "fails", name="prompts_free_of_key")
        self.assertEqual(drawn.predicate["verdict"], "inconclusive")
        # All of it in 2090, in order: the bundle by itself has nothing against it, but a reader who has not lived to see it.
        late = self.case("2090-01-01T00:00:00Z", source=("drand/quicknet", later("2090-01-01T00:00:06"), None), beacon=sha(b"a"))
        late.registration["registered_at"], late.predicate["signed_at"] = "2090-01-01T00:01:00Z", "2090-01-01T00:02:00Z"
        late.predicate["suspect"]["collected"] = None
        late.seal()
        late.conclude()
        self.assertEqual(late.predicate["conditions"][1], {"name": "key_not_ground", "standing": "word"})
        self.told(late, "inconclusive", "fails")
        for source in ("drand/quicknet.", "drand/default"):
            self.told(self.case(self.BEFORE, source=(source, 123, None), beacon=sha(b"a")), None, None, {"E-PROOF"})

    def test_values_that_were_not_drawn(self):
        """Of another round; and signed by nobody, which only the binary sees: verify.py has no pairings, and says that it does not look."""
        case = self.case(self.BEFORE)
        case.predicate["key"]["beacon"]["signature"] = "8" + case.predicate["key"]["beacon"]["signature"][1:]
        self.told(case, None, None, {"E-BEACON"})
        other = self.case(self.BEFORE, source=("drand/quicknet", 124, self.QUICKNET[2]))
        ours, theirs = run(other.bundle()), rust(other.bundle())
        self.assertEqual((codes(ours[1]), codes(theirs[1]), theirs[1]["result"]), (set(), {"E-BEACON"}, None))
        self.assertIn("that the value of the key is that of round 124 of drand/quicknet", ours[1]["not_checked"])

    def test_clocks_of_others(self):
        """The head says that it is older than the round, and an authority stamped it afterwards."""
        if not shutil.which("openssl"):
            print("SKIPPED: time stamps of attacks (there is no openssl)", file=sys.stderr)
            self.skipTest("there is no openssl")
        authority = Authority(pathlib.Path(folder.name, "authority"))
        case = self.case(self.BEFORE)
        drawn = Case(weights="none", draw=sha(bytes.fromhex(self.QUICKNET[2])))
        round_ = {"round": 123, "source": "drand/quicknet"}
        drawn.registration["prompts"]["draw"]["beacon"], drawn.predicate["prompts"]["beacon"]["signature"] = round_, self.QUICKNET[2]
        drawn.head["signed_at"] = drawn.registration["registered_at"] = self.BEFORE
        drawn.seal()
        drawn.conclude()
        pool = written("drawn.jsonl", b"".join(canonical({"prompt": one}) + b"\n" for one in drawn.pool))
        # When a round is drawn is known without its signature.
        unsigned = self.case(self.BEFORE, source=("drand/quicknet", 123, None), beacon=sha(bytes.fromhex(self.QUICKNET[2])))
        for case, what, envelope, names, options in [
                (case, "head", case.predicate["key"]["head"], ["key_not_ground"], ()),
                (unsigned, "head", unsigned.predicate["key"]["head"], ["key_not_ground"], ()),
                (drawn, "registration", drawn.predicate["registration"], ["prompts_free_of_key", "registered_before_data"], ("--pool", pool))]:
            self.assertEqual(case.predicate["verdict"], "detected")
            case.predicate["time_stamps"][what] = stamped(authority, canonical(envelope))
            for one in both(case.bundle(), (), *options):  # without a look at the stamp
                self.assertEqual((one[:3], {one[3][name] for name in names}), ((0, set(), "detected"), {"word"}))
            code, report = rust(case.bundle(), (), "--authority", str(authority.folder / "ca.pem"), *options)
            self.assertEqual((code, report["faults"], report["result"]["verdict"]), (0, [], "inconclusive"))
            self.assertEqual({one["name"] for one in report["conditions"] if one["standing"] == "fails"}, set(names))
            self.assertIn("time stamps (`openssl ts -verify` can)", run(case.bundle(), (), *options)[1]["not_checked"])
            case.predicate["time_stamps"][what] = stamped(authority, b"something else")
            self.assertEqual(codes(rust(case.bundle(), (), "--authority", str(authority.folder / "ca.pem"), *options)[1]), {"E-TIMESTAMP"})

    def test_an_opening_discloses_one_layer(self):
        """Of two layers of one key the one is opened: nothing in the bundle leads to the other's node, or to the key above them."""
        above = oracle.node_key(b"m" * 32, "epoch/1/layer")
        nodes = {name: oracle.child_key(above, name) for name in ("a", "main")}
        case = Case(weights="none", committed=[*nodes.items()])
        raw = case.bundle() + base64.b64decode(json.loads(case.bundle())["payload"]) + canonical(case.registration) + canonical(case.head)
        for secret in (above, nodes["a"], oracle.prf_key(nodes["a"], "greenlist", 1), case.salts[0]):
            for shown in (secret, secret.hex().encode(), base64.b64encode(secret)): self.assertNotIn(shown, raw)
        # Whatever lies below the opened node, by any name of the profile, is not the other's; nor does the other leaf open with it or its salt.
        below, reached = [nodes["main"]], set()
        for _ in range(3): below = [oracle.child_key(node, name) for node in below for name in ("a", "main", "layer", "beacon", "epoch", "1")]; reached |= {*below}
        reached |= {oracle.prf_key(node, scheme, width) for node in [nodes["main"], *reached] for scheme in ("greenlist", "gumbel") for width in range(3)}
        self.assertFalse(reached & {above, nodes["a"], oracle.prf_key(nodes["a"], "greenlist", 1)})
        opening = case.predicate["key"]["opening"]
        for node in [bytes.fromhex(opening["node"]), *reached]:
            self.assertNotEqual(oracle.commitment(node, bytes.fromhex(opening["salt"])).hex(), case.leaves[0]["commitment"])
        # As a bundle: the other layer's leaf, registered under its own path and profile, with this opening.
        case.profile = case.predicate["profile"] = case.profile.replace('"main"', '"a"')
        case.leaves[0] |= {"profile_sha256": sha(case.profile.encode())}
        hashes = [hashlib.sha256(b"\0" + canonical(one)).digest() for one in case.leaves]
        case.head["root"] = oracle.merkle_root([canonical(one) for one in case.leaves]).hex()
        case.registration |= {"layer": "a", "profile_sha256": sha(case.profile.encode())}
        case.registration["key"] |= {"index": 0, "leaf_sha256": hashes[0].hex(), "path": "epoch/1/layer/a"}
        case.predicate["key"] |= {"leaf": case.leaves[0], "proof": [hashes[1].hex()]}
        case.sign()
        self.told(case, None, None, {"E-OPENING"})


if __name__ == "__main__":
    unittest.main()
