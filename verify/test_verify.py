#!/usr/bin/env python3
"""Tests of verify.py: `test_verify.py [unittest options]`, with `cryptography`, `mpmath` and `tokenizers`.

The bundles of bundles.py are made without the command line; a `watermark` binary in $WATERMARK adds bundles that it made, and both
verifiers must then agree on all of them, good and tampered.
"""
import base64, contextlib, copy, hashlib, io, json, os, pathlib, random, subprocess, sys, tempfile, unittest, zipfile
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from bundles import Case, canonical, here, oracle, sealed, sha, tokenizer, verify


def run(bundle, data=(), *options):
    """(exit code, report) of the command line, on files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for i, raw in enumerate([bundle, *data]):
            paths.append(os.path.join(folder, str(i)))
            pathlib.Path(paths[-1]).write_bytes(raw)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = verify.main([paths[0], *(["--data", *paths[1:]] if data else []), *options])
        return code, json.loads(out.getvalue())


RUST = os.environ.get("WATERMARK")


def rust(bundle, data=(), *options):
    """(exit code, report) of `watermark verify --json` on the same files."""
    with tempfile.TemporaryDirectory() as folder:
        for i, raw in enumerate([bundle, *data]):
            pathlib.Path(folder, str(i)).write_bytes(raw)
        files = [one for i in range(1, len(data) + 1) for one in ("--data", str(i))]
        done = subprocess.run([RUST, "verify", "0", "--json", *files, *options], cwd=folder, capture_output=True, text=True, timeout=600)
        return done.returncode, json.loads(done.stdout)


def codes(report):
    return {fault["code"] for fault in report["faults"]}


def opened(raw):
    """Codes of faults without data."""
    v = verify.Verifier()
    if v.open(raw):
        v.check()
    return {fault["code"] for fault in v.faults}


def arrays(value, path=()):
    """Paths to all arrays in a JSON value."""
    if isinstance(value, list):
        yield path
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from arrays(inner, (*path, name))


def altered(value, path):
    """The value with one element of the array at `path` missing, two elements exchanged, or one twice."""
    def at(whole):
        for name in path:
            whole = whole[name]
        return whole
    for i in range(len(at(value))):
        less, twice, swapped = copy.deepcopy(value), copy.deepcopy(value), copy.deepcopy(value)
        del at(less)[i]
        at(twice).insert(i, at(twice)[i])
        row = at(swapped)
        row[i], row[i - 1] = row[i - 1], row[i]
        yield from (one for one in (less, twice, swapped) if one != value)


class Bundles(unittest.TestCase):
    KINDS = [{}, {"weights": "none"}, {"scheme": "gumbel", "width": 2}, {"scheme": "gumbel", "weights": "none"}, {"bias": 0},
             {"scheme": "gumbel", "bias": 0, "weights": "none"}, {"stopping": "e_process", "rounds": 3, "width": 5, "quotes": True},
             {"gamma": 0.25, "block": 2, "rounds": 2}, {"scheme": "gumbel", "weights": "none", "width": 0, "length": 9},
             {"beacon": "5a" * 32}, {"draw": "b7" * 32, "beacon": "5a" * 32}, {"references": 1, "quotes": True},
             {"scheme": "gumbel", "references": 2}, {"references": 2, "gamma": 0.25, "bias": 0}, {"references": 1, "scheme": "gumbel", "width": 0, "beacon": "5a" * 32}]

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.tokenizer = os.path.join(cls.folder.name, "tokenizer.json")
        pathlib.Path(cls.tokenizer).write_bytes(tokenizer())
        cls.case = Case()

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_good_bundles_with_all_data(self):
        """Made from the oracle's formulas and a second telling of the tally; floats within 1e-9, all else equal."""
        for kind in self.KINDS:
            case = Case(**kind)
            code, report = run(case.bundle(), case.records + case.files, "--tokenizer", self.tokenizer)
            self.assertEqual((code, report["faults"]), (0, []), kind)
            if RUST:
                other, theirs = rust(case.bundle(), case.records, "--tokenizer", self.tokenizer)
                self.assertEqual((other, theirs["faults"], len(theirs["recomputed"])), (0, [], len(case.records)), kind)
                standing = {one["name"]: one["standing"] for one in theirs["conditions"]}
                self.assertEqual((standing, standing["tokens_recomputed"]), (report["result"]["conditions"], "holds"), kind)
                for name in ("verdict", "statistic", "n_scored", "log10_p", "ln_e"):
                    self.assertEqual(theirs["result"][name], report["result"][name], kind)
            suspect, v = case.predicate["suspect"], verify.Verifier()
            v.open(case.bundle())
            sums, logs = v.numbers(suspect)
            for got, stated in zip(logs, (suspect["log10_p"], suspect["log10_p_distinct"], suspect["ln_e"])):
                self.assertLess(abs(got - stated), 1e-12 * max(1, abs(stated)), kind)

    def test_every_changed_byte(self):
        raw = self.case.bundle()
        for at in range(len(raw)):
            for flip in (1, 0x20, 0x80):
                changed = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1:]
                self.assertTrue(opened(changed), f"byte {at} ^ {flip}")
            self.assertTrue(opened(raw[:at] + raw[at + 1:]), f"without byte {at}")
        self.assertTrue(opened(raw + b"\n") and opened(b"") and not opened(raw))

    def test_every_array(self):
        """Elements missing, twice or exchanged: with the old signature nothing is accepted; signed anew by a stranger, the
        bundle contradicts itself, but for the order of answer files and for what was left out, which are the signer's word
        without the data."""
        envelope = json.loads(self.case.bundle())
        for path in arrays(envelope):
            for other in altered(envelope, path):
                self.assertEqual(opened(canonical(other)), {"E-ENVELOPE"})
        seen = 0
        for path in arrays(self.case.statement):
            for other in altered(self.case.statement, path):
                old = json.loads(self.case.bundle())
                old["payload"] = base64.b64encode(canonical(other)).decode()
                self.assertEqual(opened(canonical(old)), {"E-SIGNATURE"})
                found = opened(canonical(sealed(other, "application/vnd.in-toto+json", 3)))
                word = path == ("subject",) and len(other["subject"]) == 2 or "left_out" in path
                self.assertTrue(found or word, path)
                self.assertFalse(found and path == ("subject",) and word)
                seen += 1
        self.assertGreater(seen, 20)

    def test_beacon(self):
        """A key committed to without the beacon is that of the profile without it, and of no other."""
        for edit in [lambda leaf: leaf.update(path="epoch"), lambda leaf: leaf.pop("beacon"), lambda leaf: leaf["beacon"].update(round=6),
                     lambda leaf: leaf.update(profile_sha256="0" * 64), lambda leaf: leaf["beacon"].update(source="other")]:
            self.change(lambda case: edit(case.predicate["key"]["leaf"]), "E-PROOF", case=Case(beacon="5a" * 32))
        for edit in [lambda key: key.update(beacon=None), lambda key: key["beacon"].update(value="5b" * 32), lambda key: key["beacon"].update(signature="0" * 96)]:
            self.change(lambda case: edit(case.predicate["key"]), "E-BEACON", case=Case(beacon="5a" * 32))

    def test_pool(self):
        """The value draws the prompts from the registered pool, and from no other."""
        case = Case(draw="b7" * 32)
        for change, found in [(lambda pool: pool, set()), (lambda pool: pool[::-1], {"E-PROMPTS"}), (lambda pool: pool[1:], {"E-PROMPTS"})]:
            pool = os.path.join(self.folder.name, "pool.jsonl")
            pathlib.Path(pool).write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in change(case.pool)))
            for verifier in (run, rust) if RUST else (run,):
                self.assertEqual(codes(verifier(case.bundle(), (), "--pool", pool)[1]), found)
        self.change(lambda case: case.predicate["prompts"]["beacon"].update(signature="0" * 96), "E-BEACON", case=case)

    def test_ids_without_texts(self):
        """Whoever made a records file may have chosen its ids: without the tokenizer there is no result."""
        for verifier in (run, rust) if RUST else (run,):
            code, report = verifier(self.case.bundle(), self.case.records)
            self.assertEqual((code, report["integrity"], report["result"]), (0, True, None))
            self.assertIn("so there is no result", str(report["not_checked"]))

    def change(self, edit, code, reseal=False, data=True, case=None):
        case = copy.deepcopy(case or self.case)
        edit(case)
        if reseal:
            case.seal()
        status, report = run(case.bundle(), case.records if data else ())
        self.assertEqual(status, 1)
        if RUST:
            other, theirs = rust(case.bundle(), case.records if data else ())
            self.assertEqual((other, codes(theirs), theirs["result"]), (1, codes(report), None))
        self.assertIn(code, codes(report))
        self.assertIsNone(report["result"])

    def test_each_code(self):
        """Changes by somebody who can sign anew."""
        def put(*path, value):
            def edit(case):
                place = case
                for name in path[:-1]:
                    place = getattr(place, name) if isinstance(name, str) and hasattr(place, name) else place[name]
                place[path[-1]] = value(place[path[-1]]) if callable(value) else value
            return edit
        p = "predicate"
        up = lambda x: str(int(x) + 1)
        for code, reseal, edit in [
            ("E-SCHEMA", False, put(p, "suspect", "stopped", value=0)), ("E-SCHEMA", False, put(p, "family", "size", value=True)),
            ("E-SCHEMA", False, put(p, "rules", "filter", value="some")), ("E-SCHEMA", False, put(p, "alternatives", value=[])),
            ("E-SCHEMA", False, put(p, "suspect", "score", value="01")), ("E-SCHEMA", False, lambda c: c.predicate.update(more=1)),
            ("E-SCHEMA", False, lambda c: c.predicate.pop("controls")), ("E-SCHEMA", False, put(p, "signed_at", value="2026-11-25T03:00:00Z\n")),
            ("E-SCHEMA", False, put(p, "time_stamps", "head", value="QR==")), ("E-SCHEMA", False, put(p, "time_stamps", "head", value="")),
            ("E-SCHEMA", False, put(p, "signed_at", value="2026-13-25T03:00:00Z")), ("E-SCHEMA", False, put(p, "signed_at", value="2027-02-29T03:00:00Z")),
            ("E-SCHEMA", False, put(p, "signed_at", value="2026-11-25T23:59:60Z")), ("E-SCHEMA", False, put(p, "signed_at", value="2026-11-25T24:00:00Z")),
            ("E-REGISTRATION", True, put("registration", "question", value="a" * 900_000)), ("E-REGISTRATION", True, put("registration", "registered_at", value="0000-11-25T02:00:00Z")),
            ("E-REGISTRATION", True, put("registration", "alpha", value=1)), ("E-REGISTRATION", True, put("registration", "controls", value=["s"])),
            ("E-REGISTRATION", False, put(p, "registration", "payloadType", value="x")),
            ("E-PROFILE", False, put(p, "profile", value=lambda x: x + " ")), ("E-PROFILE", True, put("registration", "key", "path", value="epoch/1/layer/a")),
            ("E-HEAD", False, lambda c: c.predicate["key"].update(head=sealed(c.head, "application/vnd.watermark.head+json", 5))),
            ("E-HEAD", True, put("head", "tree", value="ledger")),
            ("E-PROOF", True, put("registration", "key", "index", value=1)), ("E-PROOF", True, put("registration", "key", "leaf_sha256", value="0" * 64)),
            ("E-REGISTRATION", True, put("registration", "key", "index", value=3)), ("E-REGISTRATION", True, put("registration", "prompts", "root", value=None)), ("E-PROOF", False, put(p, "key", "leaf", "path", value="epoch/1")),
            ("E-PROOF", False, put(p, "key", "leaf", "commitment", value="0" * 64)), ("E-PROOF", True, put("head", "tree_size", value=2)),
            ("E-OPENING", False, put(p, "key", "opening", "salt", value="0" * 64)), ("E-OPENING", False, put(p, "key", "opening", "node", value="0" * 64)),
            ("E-REGISTERED", False, put(p, "suspect", "model", value="t")), ("E-REGISTERED", False, put(p, "resampling", "keys", value=6)),
            ("E-REGISTERED", False, put(p, "earlier", value=[])), ("E-REGISTERED", False, put(p, "earlier", 0, "verdict", value="detected")),
            ("E-REGISTERED", True, put("registration", "prompts", "count", value=7)),
            ("E-REGISTERED", False, put(p, "family", "size", value=1)), ("E-PROMPTS", False, put(p, "prompts", "root", value="0" * 64)),
            ("E-BEACON", False, put(p, "prompts", "beacon", value={"signature": None, "value": "0" * 64})),
            ("E-PROMPTS", False, put(p, "suspect", "prompts_root", value="0" * 64)), ("E-PROMPTS", False, put(p, "controls", 0, "prompts_proof", value=["0" * 64])),
            ("E-TIME", True, put("registration", "registered_at", value="2026-11-25T02:00:01Z")), ("E-TIME", True, put("head", "signed_at", value="2026-11-25T02:00:01Z")),
            ("E-TIME", False, put(p, "signed_at", value="2026-11-25T02:29:59Z")), ("E-TIME", False, put(p, "suspect", "collected", "last", value="2026-11-25T01:59:00Z")),
            ("E-SUBJECT", False, put("statement", "subject", 0, "name", value="1.jsonl")),
            ("E-TALLY", False, put(p, "suspect", "n_duplicate", value=lambda x: x + 1)), ("E-TALLY", False, put(p, "suspect", "score", value=up)),
            ("E-TALLY", False, put(p, "suspect", "statistic", value=up)), ("E-TALLY", False, put(p, "controls", 0, "weight", value=up)),
            ("E-TALLY", False, put(p, "suspect", "classes", 0, "score", value="999")), ("E-TALLY", False, put(p, "suspect", "n_empty", value=7)),
            # Sums that do not fit leave classes to look at, from which the numbers do not follow either.
            ("E-TALLY", False, put(p, "suspect", "classes", 0, "score", value=up)), ("E-TAIL", False, put(p, "suspect", "classes", 0, "score", value=up)),
            ("E-TAIL", False, put(p, "suspect", "log10_p", value=lambda x: x * (1 + 2e-9))), ("E-TAIL", False, put(p, "suspect", "ln_e", value=lambda x: x * (1 + 2e-9))),
            ("E-TALLY", False, put(p, "suspect", "left_out", "prompts", 0, "pairs", value=1)), ("E-TALLY", False, put(p, "suspect", "left_out", "prompts", 0, "count", value=2)),
            ("E-TAIL", False, put(p, "suspect", "left_out", "prompts_log10_p", value=lambda x: x - 1e-6)), ("E-TAIL", False, put(p, "suspect", "left_out", "answers_log10_p", value=lambda x: x - 1e-6)),
            ("E-VERDICT", False, put(p, "conditions", 1, "standing", value="holds")), ("E-VERDICT", False, put(p, "exclusion_agrees", value=False)),
            ("E-TAIL", False, put(p, "controls", 0, "log10_p_distinct", value=lambda x: x - 1e-6)),
            ("E-VERDICT", False, put(p, "resampling", "seed", value="0" * 64)), ("E-VERDICT", False, put(p, "resampling", "at_least", value=6)),
            ("E-VERDICT", False, put(p, "verdict", value="not_detected")), ("E-VERDICT", False, put(p, "controls_agree", value=False)),
            ("E-VERDICT", False, put(p, "answers_present", value=False)), ("E-VERDICT", False, put(p, "controls", 0, "n_empty", value=1)),
            ("E-VERDICT", False, put(p, "resampling_agrees", value=False)), ("E-VERDICT", False, put(p, "decided_by", value="ln_e")),
            ("E-VERDICT", False, put(p, "smallest_effect", value={"of": "ones_share", "power": 0.8, "value": 0.6})),
            ("E-RECOMPUTED", False, put(p, "resampling", "at_least", value=1)),
        ]:
            with self.subTest(code=code, edit=edit):
                self.change(edit, code, reseal)

    def test_records(self):
        """Other records than the bundle's, or records that contradict themselves."""
        def edit(change):
            def change_rows(case):
                rows = [json.loads(line) for line in case.records[0].splitlines()]
                change(rows)
                self.resign(case, rows)
            return change_rows
        self.change(lambda case: case.records.__setitem__(0, case.records[0].replace(b'"round":0', b'"round":1', 1)), "E-DATA")
        for code, change in [("E-RECOMPUTED", lambda rows: rows[0]["tokens"].pop()), ("E-RECOMPUTED", lambda rows: rows[1].update(quoted=[[0, 50]])),
                             ("E-RECORDS", lambda rows: rows[0].update(round=1)), ("E-RECORDS", lambda rows: rows[0]["tokens"].append(257)),
                             ("E-RECORDS", lambda rows: rows[0].update(quoted=[[3, 3]])), ("E-RECORDS", lambda rows: rows[0].update(quoted=[[0, 999]]))]:
            self.change(edit(change), code, True)
        for change in (lambda rows: rows[0]["tokens"].__setitem__(3, 256), lambda rows: rows[0]["prompt_tokens"].pop(), lambda rows: rows[1].update(quoted=[[0, 50]])):
            case = copy.deepcopy(self.case)
            edit(change)(case)
            self.assertIn("E-RECORDS", codes(run(case.bundle(), case.records, "--tokenizer", self.tokenizer)[1]))

    def test_missing_answers(self):
        """One empty answer of six is too many to conclude from; how many there are, the records say."""
        def edit(case):
            case.predicate["suspect"]["n_empty"], case.predicate["answers_present"], case.predicate["verdict"] = 1, False, "inconclusive"
        case = copy.deepcopy(self.case)
        edit(case)
        self.assertEqual(opened(case.bundle()), set())
        self.change(edit, "E-RECORDS")

    def test_rounds_of_a_file(self):
        """Where every answer may have been the last look, answers without times are not one round."""
        def edit(case):
            case.predicate["suspect"]["collected"] = None
        self.change(edit, "E-RECORDS", case=Case(stopping="e_process", rounds=1))

    def test_signatures_without_a_secret(self):
        """The neutral point as key and R signs everything; a point of order 8 is no better."""
        p = 2**255 - 19
        d = -121665 * pow(121666, -1, p) % p
        root = lambda a: next((r for r in (pow(a, (p + 3) // 8, p), pow(a, (p + 3) // 8, p) * pow(2, (p - 1) // 4, p) % p) if r * r % p == a % p), None)
        eighth = next(y for s in [root(1 + d)] for y2 in ((s - 1) * pow(d, -1, p), (-s - 1) * pow(d, -1, p)) for y in [root(y2 % p)] if y)
        for y in (0, 1, p - 1, eighth, p - eighth, p + 1):
            for sign in (0, 1 << 255):
                self.assertTrue(verify.is_small((y + sign).to_bytes(32, "little")))
        self.assertFalse(any(verify.is_small(Ed25519PrivateKey.generate().public_key().public_bytes_raw()) for _ in range(50)))
        neutral = (1).to_bytes(32, "little")
        envelope = json.loads(self.case.bundle())
        envelope["signatures"] = [{"keyid": sha(neutral), "public_key": neutral.hex(), "sig": base64.b64encode(neutral + bytes(32)).decode()}]
        raw = canonical(envelope)
        self.assertTrue(opened(raw) and opened(raw) <= {"E-SIGNATURE", "E-ENVELOPE"})
        if RUST:
            self.assertEqual(rust(raw)[0], 1)

    def test_profiles(self):
        """Whatever one verifier refuses of a profile, the other refuses."""
        def put(change):
            def edit(case):
                profile = json.loads(case.profile)
                change(profile, profile["layers"][0])
                case.profile = case.predicate["profile"] = json.dumps(profile)
                case.registration["profile_sha256"] = sha(case.profile.encode())
                case.predicate["key"]["leaf"]["profile_sha256"] = case.registration["profile_sha256"]
            return edit
        for change in [lambda p, l: p.update(name=3), lambda p, l: p.update(name="\ud800"), lambda p, l: p.pop("repeats"), lambda p, l: p.update(more=1),
                       lambda p, l: p.update(repeats="marked"), lambda p, l: p.update(path="é"), lambda p, l: p.update(path="a//b"),
                       lambda p, l: p.update(path="epoch/.."), lambda p, l: p["tokenizer"].update(sha256="0" * 63), lambda p, l: p["tokenizer"].update(x=1),
                       lambda p, l: p["tokenizer"].update(special_token_ids={}), lambda p, l: p["tokenizer"].update(vocab_size=0),
                       lambda p, l: p["tokenizer"].update(special_token_ids=[257]), lambda p, l: l.update(delta=-1), lambda p, l: l.update(delta=None),
                       lambda p, l: l.pop("delta"), lambda p, l: l.update(delta=float("nan")), lambda p, l: l.update(hard=True), lambda p, l: l.update(hard="x"),
                       lambda p, l: l.update(gamma=[0]), lambda p, l: l.update(gamma="0.5"), lambda p, l: l.update(gamma=1), lambda p, l: l.update(gamma=1e-12),
                       lambda p, l: l.update(block=2), lambda p, l: l.update(block=None), lambda p, l: l.update(width=9), lambda p, l: l.update(width=True),
                       lambda p, l: l.update(per="account"), lambda p, l: l.update(alpha=.1), lambda p, l: p.update(layers=[]), lambda p, l: p.update(layers=[l, l])]:
            with self.subTest(change=change):
                self.change(put(change), "E-PROFILE", reseal=True)

    def test_a_pair_that_occurs_very_often(self):
        """e^y beyond a float: both compute the same evidence."""
        case = copy.deepcopy(self.case)
        suspect = case.predicate["suspect"]
        (total, pairs), often = (sum(int(c[f]) for c in suspect["classes"]) for f in ("score", "pairs")), 400_000
        last = suspect["classes"][-1]
        suspect["classes"] = [{"count": 1, "pairs": pairs - 1, "score": str(total - 1)}, {"count": often, "pairs": 1, "score": "1"}]
        suspect["n_duplicate"], suspect["tokens"] = often - 1, suspect["tokens"] - suspect["n_duplicate"] + often - 1
        sums, logs = verify.numbers(verify.Layer(case.profile, "main"), "sqrt", suspect["classes"])
        suspect.update(zip(("score", "statistic", "weight"), map(str, sums)), **dict(zip(("log10_p", "log10_p_distinct", "ln_e"), map(float, logs))))
        faults = opened(case.bundle())
        self.assertLessEqual(faults, {"E-VERDICT"}, last)
        if RUST:
            self.assertEqual(codes(rust(case.bundle())[1]), faults)

    def test_a_part_is_missing(self):
        parts = ["verify.py", "residuals.py", "texts.py", "schema.json"]
        for missing in parts[1:]:
            with tempfile.TemporaryDirectory() as folder:
                for part in parts:
                    if part != missing:
                        pathlib.Path(folder, part).write_bytes(here.joinpath(part).read_bytes())
                done = subprocess.run([sys.executable, os.path.join(folder, "verify.py"), "x"], capture_output=True, text=True)
            self.assertEqual((done.returncode, missing in done.stderr, "Traceback" in done.stderr), (2, True, False), missing)

    @staticmethod
    def resign(case, rows):
        lines = [canonical(row) for row in rows]
        case.records[0] = b"".join(line + b"\n" for line in lines)
        case.predicate["suspect"]["records"] = {"count": len(rows), "root": oracle.merkle_root(lines).hex(), "sha256": sha(case.records[0])}
        case.seal()

    def test_envelopes(self):
        raw = self.case.bundle()
        other = json.loads(raw)
        other["signatures"][0]["keyid"] = "0" * 64
        self.assertEqual(opened(canonical(other)), {"E-ENVELOPE"})
        other = json.loads(raw)
        other["payloadType"] += "x"
        self.assertEqual(opened(canonical(other)), {"E-SIGNATURE"})
        self.assertEqual(opened(canonical(sealed(self.case.statement, "text/plain", 9))), {"E-ENVELOPE"})
        spaced = json.dumps(self.case.statement).encode()
        self.assertEqual(opened(canonical(sealed(spaced, "application/vnd.in-toto+json", 9))), {"E-SCHEMA"})

    def test_trust_and_undisclosed_keys(self):
        raw = self.case.bundle()
        keys = [Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key().public_bytes_raw().hex() for seed in (7, 8, 9)]
        all_, two = ([option for key in part for option in ("--trusted-key", key)] for part in (keys, keys[:2]))
        self.assertEqual([run(raw, (), *all_)[0], run(raw, (), *all_)[1]["trust"]], [0, "trusted"])
        code, report = run(raw, (), *two)
        self.assertEqual([code, report["trust"], report["integrity"], codes(report)], [1, "not_trusted", True, {"E-TRUST"}])
        case = copy.deepcopy(self.case)
        case.predicate["key"]["opening"] = None
        code, report = run(case.bundle(), case.records)
        self.assertEqual(code, 0)
        self.assertIn("scores: the key is not disclosed", report["not_checked"])

    def test_part_of_the_fresh_keys(self):
        code, report = run(self.case.bundle(), self.case.records, "--resample", "2")
        self.assertEqual(code, 0)
        self.assertTrue(any("3 fresh keys" in one for one in report["not_checked"]))

    def test_unreadable_files(self):
        with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as exit_:
            verify.main([os.path.join(self.folder.name, "none")])
        self.assertEqual(exit_.exception.code, 2)

    def test_hostile_bundles_end_without_a_traceback(self):
        """Random values in place of any part of a bundle that is signed anew, and of records."""
        rnd, hostile = random.Random(5), [None, True, -1, 0, 2**53 - 1, 1e308, 5e-324, -1e300, "", "0" * 38, "\x1b[2J", "é" * 99, [], {}, [[]], "0" * 64, "f" * 64]
        for _ in range(400):
            case = copy.deepcopy(self.case)
            top = rnd.choice([case.registration, case.head, case.statement, case.predicate["suspect"], case.predicate])
            place, name = top, rnd.choice(sorted(top))
            while isinstance(place[name], (dict, list)) and place[name] and rnd.random() < .8:
                place = place[name]
                name = rnd.choice(sorted(place)) if isinstance(place, dict) else rnd.randrange(len(place))
            place[name] = rnd.choice(hostile)
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, IndexError):
                if top in (case.registration, case.head):
                    case.predicate["key"]["head"] = sealed(case.head, "application/vnd.watermark.head+json", 7)
                    case.registration["key"]["head_sha256"] = sha(canonical(case.predicate["key"]["head"]))
                    case.predicate["registration"] = sealed(case.registration, "application/vnd.watermark.registration+json", 8)
            self.assertIn(run(case.bundle(), case.records)[0], (0, 1))
        for profile in ["{}", "[]", '{"layers":5}', '{"layers":[5]}', '{"layers":[{"name":"main"}]}', "[" * 9999, self.case.profile.replace("0.5", "1e999"),
                        self.case.profile.replace("0.5", '"x"'), self.case.profile.replace("256", "1e9"), self.case.profile.replace("epoch/1", "\\ud800")]:
            case = copy.deepcopy(self.case)
            case.profile = case.predicate["profile"] = profile
            case.registration["profile_sha256"] = sha(profile.encode())
            case.seal()
            self.assertEqual(opened(case.bundle()), {"E-PROFILE"}, profile[:60])


class Example(unittest.TestCase):
    """The bundle that `cargo verify-demo` checks."""

    def test_it_holds_and_every_record_matters(self):
        example, tokenizer_json = here / "example", str(here.parent / "watermark-toolkit" / "embedded" / "tokenizer.json")
        bundle = (example / "evidence.json").read_bytes()
        records = [(example / f"{model}.records.jsonl").read_bytes() for model in ("student", "control")]
        signer = ["--trusted-key", (example / "signer.hex").read_text().strip()]
        for data, fault in (records, set()), ([records[0].replace(b" people", b" persons", 1), records[1]], {"E-DATA"}):
            reports = [run(bundle, data, "--resample", "20", "--tokenizer", tokenizer_json, *signer)]
            reports += [rust(bundle, data, "--tokenizer", tokenizer_json, *signer)] if RUST else []
            for code, report in reports:
                self.assertEqual((code, codes(report)), (int(bool(fault)), fault))
                self.assertTrue(fault or report["result"]["verdict"] == "detected")


@unittest.skipUnless(RUST, "$WATERMARK names no binary")
class CommandLine(unittest.TestCase):
    """Bundles that `watermark evidence` made of the embedded teacher's answers; the key is fixed, so nothing is left to chance."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.at = pathlib.Path(cls.folder.name)
        cls.line("profile new --out p.json")
        cls.at.joinpath("k.json").write_text(json.dumps({"key": "watermark-key/1", "path": "", "node": "2a" * 32}))
        cls.at.joinpath("k.json").chmod(0o600)
        questions = [f"{name} has {i + 3} books and buys {2 * i + 1} more. How many are there?" for i, name in enumerate(["Anna", "Ben", "Clara"] * 20)]
        cls.at.joinpath("questions.txt").write_text("\n".join(questions) + "\n")
        cls.line("key signing --out s.json")
        cls.line("mark --profile p.json --key k.json --prompts questions.txt --max-tokens 60 --seed 6 --unmarked --out base.jsonl")
        cls.line("key commit --key k.json --profile p.json --reference base.jsonl --signing-key s.json --out commitment")
        for layer in ("distillation", "provenance"):
            cls.line(f"key open --openings commitment/openings.json --key k.json --profile p.json --path epoch/1/layer/{layer} --out {layer}.json")
        cls.line("mark --profile p.json --key k.json --prompts questions.txt --max-tokens 60 --seed 5 --out suspect.jsonl")
        cls.line("mark --profile p.json --key k.json --prompts questions.txt --max-tokens 60 --seed 5 --unmarked --out clean.jsonl")
        lines = cls.at.joinpath("suspect.jsonl").read_text().splitlines(keepends=True)
        cls.at.joinpath("prompts.jsonl").write_text("".join(json.dumps({"prompt": json.loads(line)["prompt"]}) + "\n" for line in lines))
        cls.at.joinpath("half.jsonl").write_text("".join(lines[:31]))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def line(cls, words, codes=(0,)):
        done = subprocess.run([RUST, *words.split()], cwd=cls.at, capture_output=True, text=True, timeout=600)
        if done.returncode not in codes:
            raise AssertionError(f"{words}: {done.returncode} {done.stderr}")

    def evidence(self, name, suspect, control, *options, layer="distillation", reference=None):
        """The bundle and records files of a registered test."""
        beside = [f"--reference base={reference}", f"--reference {reference}"] if reference else ["", ""]
        controls = [f"--control {pathlib.Path(control).stem}", f"--controls {control}"] if control else ["", ""]
        common = "--profile p.json --head commitment/head.json --prompts prompts.jsonl --signing-key s.json"
        self.line(f"register {common} --suspect x --layer {layer} {controls[0]} {beside[0]} {' '.join(options)} --out {name}.json")
        self.line(f"evidence {common} --opening {layer}.json --answers {suspect} {controls[1]} {beside[1]} --registration {name}.json --out {name}", (0, 1))
        folder = self.at / name
        return (folder / "evidence.json").read_bytes(), [path.read_bytes() for path in sorted(folder.glob("*.records.jsonl"))]

    def test_both_verifiers_agree(self):
        tokenizer_json = str(here.parent / "watermark-toolkit" / "embedded" / "tokenizer.json")
        for name, suspect, control, verdict, options, layer in [
            ("beside", "suspect.jsonl", "clean.jsonl", "detected", "", "distillation"),
            ("beside-scores", "suspect.jsonl", "clean.jsonl", "detected", "", "provenance"),
            ("beside-innocent", "clean.jsonl", "", "not_detected", "--resample 9", "distillation"),
            ("sqrt", "suspect.jsonl", "clean.jsonl", "detected", "", "distillation"),
            ("none", "suspect.jsonl", "clean.jsonl", "detected", "--weights none", "distillation"),
            ("gumbel", "suspect.jsonl", "clean.jsonl", "detected", "", "provenance"),
            ("exact", "suspect.jsonl", "clean.jsonl", "detected", "--weights none", "provenance"),
            ("half", "half.jsonl", "clean.jsonl", "detected", "--stopping e-process --resample 3", "distillation"),
            ("innocent", "clean.jsonl", "", "not_detected", "", "distillation"),
            ("unread", "clean.jsonl", "suspect.jsonl", "inconclusive", "--resample 9", "distillation"),
        ]:
            with self.subTest(name=name):
                reference = "base.jsonl" if name.startswith("beside") else None
                bundle, records = self.evidence(name, suspect, control, *options.split(), layer=layer, reference=reference)
                code, report = run(bundle, records, "--tokenizer", tokenizer_json)
                self.assertEqual((code, report["faults"], report["result"]["verdict"]), (0, [], verdict))
                other, theirs = rust(bundle, records)
                self.assertEqual((other, theirs["faults"], len(theirs["recomputed"])), (0, [], len(records)))
                v = verify.Verifier()
                v.open(bundle)
                for s in v.samples:
                    sums, logs = v.numbers(s)
                    self.assertEqual([*map(str, sums)], [s["score"], s["statistic"], s["weight"]])
                    for ours, stated in zip(logs, (s["log10_p"], s["log10_p_distinct"], s["ln_e"])):
                        self.assertLess(abs(ours - stated), 1e-11 * max(1, abs(stated)))
                for at in random.Random(1).sample(range(len(bundle)), 20):
                    changed = bundle[:at] + bytes([bundle[at] ^ 1]) + bundle[at + 1:]
                    self.assertEqual((1, opened(changed)), (lambda code, report: (code, codes(report)))(*rust(changed)), f"byte {at}")
                bad = records[0].replace(b'"round":0', b'"round":1', 1)
                self.assertEqual(codes(run(bundle, [bad])[1]), codes(rust(bundle, [bad])[1]))
                if reference:
                    # Without the reference nothing is counted again; its file may be given in place of its records.
                    for data, n in [(records[-1:], 0), ([records[-1], self.at.joinpath(reference).read_bytes()], 2)]:
                        code, theirs = rust(bundle, data, "--tokenizer", tokenizer_json)
                        self.assertEqual((code, theirs["faults"], len(theirs["recomputed"])), (0, [], n))
                        self.assertEqual(codes(run(bundle, data, "--tokenizer", tokenizer_json)[1]), set())

    def test_kit(self):
        """A kit holds what its README's commands need, and the same bytes as a folder and as an archive."""
        self.line("register --profile p.json --head commitment/head.json --prompts prompts.jsonl --signing-key s.json --suspect x --layer distillation --control clean --out kit.json")
        for kit in ("kit", "kit.zip"):
            self.line(f"evidence --profile p.json --head commitment/head.json --prompts prompts.jsonl --signing-key s.json --opening distillation.json --answers suspect.jsonl "
                      f"--controls clean.jsonl --registration kit.json --at 2027-01-01T00:00:00Z --out {kit}.out --kit {kit}")
        kit, archive = self.at / "kit", zipfile.ZipFile(self.at / "kit.zip")
        files = {str(path.relative_to(kit)): path.read_bytes() for path in kit.rglob("*") if path.is_file()}
        self.assertEqual({name: archive.read(name) for name in archive.namelist()}, files)
        sums = dict(line.split("  ")[::-1] for line in files.pop("SHA256SUMS").decode().splitlines())
        self.assertEqual({name: hashlib.sha256(raw).hexdigest() for name, raw in files.items()}, sums)
        readme = files["README.txt"].decode()
        self.assertIn(sums["evidence.json"], readme)
        command = readme[readme.index("checking/bin/python") :].split("\n\n")[0].replace("\\\n", " ").split()[1:]
        done = subprocess.run([sys.executable, *command], cwd=kit, capture_output=True, text=True, timeout=600)
        report = json.loads(done.stdout)
        self.assertEqual((done.returncode, report["faults"], report["result"]["verdict"], report["result"]["conditions"]["tokens_recomputed"]), (0, [], "detected", "holds"), done.stderr)
        self.line("evidence --profile p.json --head commitment/head.json --prompts prompts.jsonl --signing-key s.json --opening distillation.json --answers suspect.jsonl "
                  "--controls clean.jsonl --registration kit.json --out kit.again --kit kit.zip", (2,))
        # What cannot be a kit, or would publish a secret as a time stamp, is refused before anything is signed.
        for refused in ("--kit kit", "--kit nowhere/kit.zip", "--kit kit.again", "--kit new.zip --withhold-key", "--head-time-stamp k.json"):
            self.line("evidence --profile p.json --head commitment/head.json --prompts prompts.jsonl --signing-key s.json --opening distillation.json --answers suspect.jsonl "
                      f"--controls clean.jsonl --registration kit.json --out kit.again {refused}", (2,))
            self.assertFalse((self.at / "kit.again" / "evidence.json").exists(), refused)

    def test_every_changed_byte(self):
        raw, _ = self.evidence("bytes", "suspect.jsonl", "clean.jsonl", "--resample", "0")
        for at in range(len(raw)):
            for flip in (1, 0x20):
                self.assertTrue(opened(raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1:]), f"byte {at} ^ {flip}")


if __name__ == "__main__":
    unittest.main()
