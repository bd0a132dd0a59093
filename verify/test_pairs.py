#!/usr/bin/env python3
"""Tests of pairs.py: `test_pairs.py [unittest options]`, with `cryptography` and `mpmath`.

The bundles of pairs_bundles.py are made without the command line. A `watermark` binary in $WATERMARK is asked about every bundle too, good and tampered: it must
agree in whether there is a fault, and in the code of the first one.
"""
import base64, contextlib, copy, datetime, io, json, os, pathlib, random, subprocess, sys, tempfile, unittest
import mpmath as mp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from bundles import Case as Closed, canonical, drawn_at, here, oracle, sealed, sha, verify
from pairs_bundles import CAP, STATEMENT, TILTS, Case, at, leaves, ln_mean, other, paired, put
import pairs

RUST = os.environ.get("WATERMARK")


def asked(bundle, data=(), *options):
    """(exit code, report, the same of $WATERMARK or None) on files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, str(i)) for i in range(len(data) + 1)]
        for path, raw in zip(paths, [bundle, *data]):
            pathlib.Path(path).write_bytes(raw)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = verify.main([paths[0], *(["--data", *paths[1:]] if data else []), *options])
        theirs = None
        if RUST:
            files = [one for path in paths[1:] for one in ("--data", path)]
            done = subprocess.run([RUST, "verify", paths[0], "--json", *files, *options], capture_output=True, text=True, timeout=600)
            theirs = done.returncode, json.loads(done.stdout)
        return code, json.loads(out.getvalue()), theirs


def first(report):
    """The code of the first fault: what verifiers agree on."""
    return min((fault["code"] for fault in report["faults"]), key=verify.CODES.index, default=None)


class Vectors(unittest.TestCase):
    def test_words_coins_and_order(self):
        """The vectors of tests/vectors/paired.json, and that of two candidates the key says which was served."""
        apart = 0
        for epoch in json.loads((here.parent / "tests" / "vectors" / "paired.json").read_text())["epochs"]:
            for request in epoch["requests"]:
                draws = pairs.Draws(bytes.fromhex(request["secret"]), bytes.fromhex(epoch["beacon"]))
                self.assertEqual(draws.key.hex(), request["request_key"])
                for one in request["positions"]:
                    t, tokens, (served, withheld) = one["position"], [token for token, _ in one["ln_p"]], (one["served"], one["withheld"])
                    word = lambda d, x: draws.block(t, d * pairs.SECOND | x >> 4)[x & 15]
                    self.assertEqual(([[word(d, x) for x in tokens] for d in (0, 1)], draws.coin(t)), (one["words"], one["coin"]))
                    if served != withheld:
                        self.assertEqual(draws.order(t, withheld, served), (1 - one["coin"], (word(1 - one["coin"], withheld), word(one["coin"], served))))
                        apart += 1
                    self.assertEqual(draws.order(t, served, withheld), (one["coin"], (word(one["coin"], served), word(1 - one["coin"], withheld))))
        self.assertGreater(apart, 20)

    def test_numbers(self):
        """Floats and rounding against the same in many digits."""
        rnd = random.Random(3)
        for _ in range(2000):
            word, score = rnd.choice([0, 1, 2**32 - 1, rnd.randrange(2**32)]), rnd.choice([0, -1, -2**53, 2**52, -rnd.randrange(1 << 21)])
            exact = min(32, -mp.log((mp.mpf(word) + .5) / 2**32) * mp.exp(-mp.mpf(score) / 65536))
            self.assertEqual(pairs.variable(word, score), int(mp.floor(exact * 2**32)), (word, score))
        tally = pairs.Tally()
        values = [rnd.randrange(-1 << 19, 1 << 19) for _ in range(3000)]
        for value in values: tally.add(value)
        y = lambda t, v: mp.mpf(t) * min(CAP, abs(v)) / 65536
        exact = ln_mean([sum(y(t, v) * (v > 0) - mp.log((1 + mp.exp(y(t, v))) / 2) for v in values) for t in TILTS])
        self.assertLess(abs(pairs.evidence([tally])[0] - exact), 1e-11 * abs(exact))
        self.assertEqual(pairs.holm([-9, 0, -2.5, -2.31], -2), {0, 2, 3})
        self.assertEqual((pairs.draws_log10_p(0, 0), pairs.draws_log10_p(9, 0) < -80), (0, True))
        self.assertEqual([*map(pairs.agree, ([], [4.6], [4.61], [5.29, 0], [0, 5.3]))], [True, True, False, True, False])
        draws = pairs.Draws(bytes(32), bytes(32))
        draws.block = lambda position, counter: [7] * 16  # noise that prefers neither
        self.assertEqual((draws.order(0, 1, 2), draws.order(0, 1, 1)), (None, (0, (7, 7))))


S, REG, PROFILE, HEADS, PROOF, BEACON, REGISTERED, TIME, SUBJECT, TALLY, TAIL, VERDICT, DATA, RECORDS, RECOMPUTED = (
    f"E-{code}" for code in "SCHEMA REGISTRATION PROFILE HEAD PROOF BEACON REGISTERED TIME SUBJECT TALLY TAIL VERDICT DATA RECORDS RECOMPUTED".split())
# What another value of the same type leads to, by where it stands; the longest beginning counts. Files: list, suspect, control, reference, law.
STATEMENT_CODES = {
    "": S, "subject": None, **{f"subject/{i}/digest": DATA if i < 3 else REGISTERED for i in range(5)}, "predicate/software": None, "predicate/registration": REG,
    "predicate/profile": PROFILE, "predicate/key/head": HEADS, "predicate/key/leaf": PROOF, "predicate/key/proof": PROOF, "predicate/key/beacon": BEACON,
    "predicate/ledger/head": HEADS, "predicate/ledger/requests_proof": RECORDS, "predicate/list": RECOMPUTED, "predicate/list/requests": REGISTERED,
    "predicate/suspect": TALLY, "predicate/suspect/model": REGISTERED, "predicate/suspect/ln_e": TAIL, "predicate/suspect/whole_ln_e": TAIL,
    "predicate/controls": TALLY, "predicate/controls/0/model": REGISTERED, "predicate/controls/0/ln_e": TAIL, "predicate/controls/0/whole_ln_e": TAIL,
    "predicate/controls/0/n_served_preferred": RECOMPUTED, "predicate/controls/0/n_unscored": RECOMPUTED, "predicate/reference": RECOMPUTED,
    "predicate/draws": RECOMPUTED, "predicate/draws/n": TALLY, "predicate/controls_agree": VERDICT, "predicate/reference_agrees": VERDICT,
    "predicate/draws_agree": VERDICT, "predicate/earlier/0/registration_sha256": REGISTERED, "predicate/time_stamps": None,
    **{f"predicate/accounts/{i}/{field}": code for i in range(3) for field, code in [
        ("account", RECOMPUTED), ("requests", TALLY), ("n_", TALLY), ("ln_e", TAIL), ("controls_ln_e", TAIL)]}}
REGISTRATION_CODES = {"": REG, "question": None, "suspect": REGISTERED, "controls": REGISTERED, "reference/model": None, "law/model": None, "reference/sha256": REGISTERED,
                      "law/sha256": REGISTERED, "profile_sha256": PROFILE, "key": PROOF, "key/index": REG, "key/head_sha256": HEADS, "key/path": PROFILE,
                      "ledger": HEADS, "alpha": None, "accounts_alpha": None, "earlier": REGISTERED}
HEAD_CODES = {"": HEADS, "root": PROOF, "tree_size": PROOF}
ANSWERS_CODES = {"": HEADS, "root": RECORDS}


def expected(codes, path):
    name = "/".join(map(str, path))
    return codes[max((start for start in codes if name.startswith(start)), key=len)]


class Bundles(unittest.TestCase):
    KINDS = [{}, {"planned": 13}, {"planned": 16, "requests": 8}, {"beacon": "5a" * 32}, {"reference": False}, {"law": False}, {"controls": 0}, {"controls": 3, "requests": 6},
             {"first_tokens": 9}, {"learned": 0}, {"empty": 2, "planned": 14}, {"leans": 2}, {"invented": .5}, {"other_layer": False, "reference": False, "law": False, "controls": 0},
             {"unit": 1 << 15}, {"length": 0, "requests": 3}, {"requests": 1}]

    @classmethod
    def setUpClass(cls):
        cls.case, cls.weak = Case(), Case(learned=.3, beacon="5a" * 32, planned=12)

    def check(self, case, code, data=True, *options):
        """The first fault is this one; and the same by the other verifier."""
        files = (case.files if data is True else data) or ()
        status, report, theirs = asked(case.bundle() if isinstance(case, Case) else case, files, *options)
        self.assertEqual((status, first(report), report["result"] is None), (int(bool(code)), code, bool(code)), report["faults"])
        if theirs:
            self.assertEqual((theirs[0], first(theirs[1])), (status, code), theirs[1]["faults"])
        return report

    def change(self, edit, code, case=None, step="bundle", data=True):
        """A case after an edit; `step` is what is made anew: "measure_all" and so on, "conclude", "write", "sign", "register", or the bundle only."""
        case = copy.deepcopy(case or self.case)
        edit(case)
        if step != "bundle": getattr(case, step)()
        return self.check(case, code, data)

    def test_good_cases(self):
        for kind in self.KINDS:
            with self.subTest(kind=kind):
                case = Case(**kind)
                p, without = case.predicate, self.check(case, None, False)
                report = self.check(case, None)
                self.assertIn("any number: they rest on the signer's word, because the list was not given", without["not_checked"])
                self.assertNotIn("were not given", str(report["not_checked"]))
                self.assertEqual(report["result"], without["result"])
                found, conditions = report["result"], {one["name"]: one["standing"] for one in p["conditions"]}
                self.assertEqual([found[f] for f in ("verdict", "ln_e", "n_scored", "n_served_preferred", "n_unscored", "alpha", "committed_keys", "conditions")],
                                 [p["verdict"], *(p["suspect"][f] for f in ("ln_e", "n_scored", "n_served_preferred", "n_unscored")), 1e-3, 3, conditions])
                self.assertEqual(found["accounts"], {"count": len(p["accounts"]), "detected": [one["account"] for one in p["accounts"] if one["verdict"] == "detected"]})
        seen = lambda **kind: Case(**kind).predicate
        p = self.case.predicate
        self.assertEqual((p["verdict"], [one["verdict"] for one in p["accounts"]], {one["account"] for one in p["accounts"][:2]}),
                         ("detected", ["detected", "detected", "not_detected"], {*self.case.accounts[:2]}))
        self.assertTrue(min(p["list"].values()) > 0 < p["suspect"]["n_unscored"] and seen(unit=1 << 15)["suspect"]["n_ties"] > 0)
        self.assertEqual([seen(learned=0)["verdict"], seen(leans=2)["reference_agrees"], seen(invented=.5)["draws_agree"], seen(invented=.5)["verdict"]],
                         ["not_detected", False, False, "inconclusive"])

    def every(self, of, codes, step, missing):
        """Every value in a part of the weak case, and every field of its objects missing or one more."""
        for path in leaves(of(self.weak)):
            with self.subTest(path=path):
                self.change(lambda case: put(of(case), path, "0" * 96 if path[-1] == "signature" else other(at(of(case), path))), expected(codes, path), self.weak, step)
        for path in {path[:i] for path in leaves(of(self.weak)) for i in range(len(path))}:
            for name in [*at(of(self.weak), path), "more"] if isinstance(at(of(self.weak), path), dict) else []:
                edit = (lambda case: put(of(case), (*path, "more"), 1)) if name == "more" else lambda case: at(of(case), path).pop(name)
                self.change(edit, PROOF if name == "beacon" and path[-1:] == ("leaf",) else missing, self.weak, step)

    def test_every_field_signed_anew(self):
        self.every(lambda case: case.statement, STATEMENT_CODES, "bundle", S)
        self.every(lambda case: case.registration, REGISTRATION_CODES, "register", REG)
        self.every(lambda case: case.head, HEAD_CODES, "sign", HEADS)
        self.every(lambda case: case.answers, ANSWERS_CODES, "sign", HEADS)

    def test_every_field_not_signed_anew(self):
        good = json.loads(self.weak.bundle())
        def forged(envelope, path):
            payload = json.loads(base64.b64decode(envelope["payload"]))
            put(payload, path, other(at(payload, path)))
            return envelope | {"payload": base64.b64encode(canonical(payload)).decode()}
        for path in leaves(self.weak.statement): self.check(canonical(forged(good, path)), "E-SIGNATURE", False)
        for place, name, code in [("registration", self.weak.registration, REG), ("key", self.weak.head, HEADS), ("ledger", self.weak.answers, HEADS)]:
            for path in leaves(name):
                case = copy.deepcopy(self.weak)
                if place == "registration": case.predicate[place] = forged(case.predicate[place], path)
                else: case.predicate[place]["head"] = forged(case.predicate[place]["head"], path)
                if place != "registration": case.registration[place]["head_sha256"] = sha(canonical(case.predicate[place]["head"])); case.register()
                self.check(case, code, False)
        raw = self.weak.bundle()
        for place in random.Random(2).sample(range(len(raw)), 60):
            status, report, theirs = asked(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1:])
            self.assertEqual((status, theirs and (theirs[0], first(theirs[1]))), (1, theirs and (1, first(report))))

    def test_other_values(self):
        """Values that have the right form, and are wrong."""
        p, r = "predicate", "registration"
        for code, step, path, value in [
            (VERDICT, "bundle", (p, "verdict"), "not_detected"), (VERDICT, "bundle", (p, "verdict"), "inconclusive"), (VERDICT, "bundle", (p, "accounts", 2, "verdict"), "detected"),
            (VERDICT, "bundle", (p, "accounts", 0, "verdict"), "inconclusive"), (VERDICT, "bundle", (p, "conditions", 1, "standing"), "holds"),
            (VERDICT, "bundle", (p, "conditions", 0, "standing"), "word"), (VERDICT, "bundle", (p, "conditions", 2, "name"), "draws_blind"), (VERDICT, "bundle", (p, "conditions"), []),
            (TIME, "bundle", (p, "signed_at"), "2026-11-25T01:59:59Z"), (TIME, "register", (r, "registered_at"), "2026-11-25T01:29:59Z"),
            (TIME, "register", (r, "registered_at"), "2026-11-25T03:00:01Z"),
            (TIME, "sign", ("head", "signed_at"), "2026-11-25T01:30:01Z"), (TIME, "sign", ("answers", "signed_at"), "2026-11-25T00:59:59Z"),
            (HEADS, "sign", ("answers", "tree"), "key-commitments"),
            (HEADS, "sign", ("head", "tree"), "answers"), (HEADS, "sign", ("answers", "prompt_pools"), [{"count": 1, "root": "0" * 64}]),
            (HEADS, "sign", ("answers", "references"), ["0" * 64]),
            (None, "sign", ("head", "prompt_pools"), [{"count": 1, "root": "0" * 64}]), (HEADS, "sign", ("answers", "tree_size"), 9),
            (REGISTERED, "bundle", (p, "earlier", 0, "verdict"), "detected"), (REGISTERED, "bundle", (p, "earlier"), []), (REGISTERED, "bundle", (p, "reference"), None),
            (REGISTERED, "bundle", (p, "draws"), None), (REGISTERED, "bundle", (p, "controls"), []), (REG, "register", (r, "first_tokens"), 0),
            (RECOMPUTED, "register", (r, "first_tokens"), 7),
            (REG, "register", (r, "alpha"), 1), (REG, "register", (r, "accounts_alpha"), 0), (VERDICT, "register", (r, "alpha"), 1e-300),
            (VERDICT, "register", (r, "accounts_alpha"), 1e-30),
            (REG, "register", (r, "controls"), ["s"]), (REG, "register", (r, "controls"), ["r"]), (REG, "register", (r, "suspect"), ""), (REG, "register", (r, "law", "model"), "r"),
            (REG, "register", (r, "earlier"), ["0" * 64] * 2), (REG, "register", (r, "key", "index"), 3), (PROOF, "register", (r, "key", "index"), 1),
            (HEADS, "register", (r, "ledger", "size"), 9),
            (REG, "register", (r, "ledger", "size"), 0), (REGISTERED, "register", (r, "reference"), None), (REGISTERED, "register", (r, "law"), None),
            (PROFILE, "register", (r, "key", "path"), "epoch/1/layer/a"),
            (SUBJECT, "bundle", ("statement", "subject", 0, "name"), "1.jsonl"), (SUBJECT, "bundle", ("statement", "subject", 0, "digest", "sha256"), sha(self.case.files[1])),
            (TALLY, "bundle", (p, "accounts", 0, "controls_ln_e"), []), (TALLY, "bundle", (p, "accounts"), self.case.predicate["accounts"][::-1]),
            (TALLY, "bundle", (p, "accounts"), []),
            (TALLY, "bundle", (p, "accounts"), [*self.case.predicate["accounts"], self.case.predicate["accounts"][2]]), (TALLY, "bundle", (p, "controls", 0, "n_unscored"), 23),
            (TALLY, "bundle", (p, "controls", 0, "n_served_preferred"), 999), (S, "bundle", (p, "time_stamps", "ledger"), ""), (S, "bundle", (p, "time_stamps", "ledger"), "QR=="),
            (RECOMPUTED, "bundle", (p, "draws", "log10_p"), self.case.predicate["draws"]["log10_p"] + 3e-9),
            (RECOMPUTED, "bundle", (p, "draws", "law_ln_e"), self.case.predicate["draws"]["law_ln_e"] - 3e-9),
            (RECOMPUTED, "bundle", (p, "reference", "ln_e"), self.case.predicate["reference"]["ln_e"] - 3e-9),
            (TAIL, "bundle", (p, "suspect", "ln_e"), self.case.predicate["suspect"]["ln_e"] * (1 + 3e-9)),
        ]:
            with self.subTest(path=path, value=value):
                self.change(lambda case: put(at(vars(case), path[:1]), path[1:], value), code, step=step)
        for drop in range(1, 5): self.change(lambda case: case.statement["subject"].pop(drop), REGISTERED)
        least = sum(self.case.predicate[of][f] for of, f in (("suspect", "n_scored"), ("suspect", "n_ties"), ("list", "n_equal")))
        for n, code in [(least - 1, TALLY), (least, RECOMPUTED), (least + self.case.predicate["list"]["n_special"] + 1, TALLY)]:
            self.change(lambda case: case.predicate["draws"].update(n=2 * n), code)
        self.change(lambda case: case.statement["subject"].append({"digest": {"sha256": "0" * 64}, "name": "more"}), REGISTERED)
        self.change(lambda case: [one.update(n_unscored=one["n_unscored"] + 999) for one in (case.predicate["suspect"], case.predicate["accounts"][0])], TALLY)
        def ties(case): [one.update(n_ties=one["n_ties"] + 1) for one in [*case.predicate["controls"], case.predicate["suspect"], case.predicate["accounts"][0]]]
        self.change(lambda case: (ties(case), case.predicate["draws"].update(n=case.predicate["draws"]["n"] + 2)), RECOMPUTED, data=[self.case.files[i] for i in (0, 4)])
        for name in ("requests", "n_scored", "n_served_preferred"):  # sums that hold
            self.change(lambda case: [one.update({name: one[name] + more}) for one, more in zip(case.predicate["accounts"], (1, -1))], RECOMPUTED)
        for what, name, value, holds in [("reference", "ln_e", 6.9, True), ("reference", "ln_e", 6.91, False), ("draws", "log10_p", -3.0, True), ("draws", "log10_p", -3.01, False),
                                        ("draws", "law_ln_e", 6.9, True), ("draws", "law_ln_e", 6.91, False)]:
            edit = lambda case: (case.predicate[what].update({name: value}), case.conclude(), self.assertEqual(case.predicate["verdict"], "detected" if holds else "inconclusive"))
            self.change(edit, None, data=False)
        self.change(lambda case: case.registration.update(law=case.registration["reference"] | {"model": "l"}), REG, step="register")
        self.change(lambda case: case.predicate["ledger"].update(requests_proof=["0" * 64]), RECORDS)

    def test_leaves(self):
        """A committed leaf that paired draws cannot have; what it says of requests is looked at before its beacon."""
        def edit(change):
            return lambda case: (change(case.leaf), case.fix())
        for code, change in [(S, lambda leaf: leaf.pop("requests")), (PROOF, lambda leaf: leaf["requests"].update(count=9)),
                             (PROOF, lambda leaf: leaf.update(path="epoch/1/layer/a")),
                             *((PROOF, lambda leaf, name=name: leaf["requests"].update(ledger=name)) for name in ("", "a\nb", "a\x7f", "a\x85", "é" * 101)),
                             (RECORDS, lambda leaf: leaf["requests"].update(ledger="é" * 100)), (RECORDS, lambda leaf: leaf["requests"].update(root="0" * 64)),
                             (RECORDS, lambda leaf: leaf["requests"].update(count=11)), (None, lambda leaf: leaf.update(commitment="0" * 64)),
                             (BEACON, lambda leaf: leaf.update(beacon={"round": 5, "source": "lottery"})), (PROOF, lambda leaf: leaf.update(beacon={"round": 5, "source": "drand/x"}))]:
            self.change(edit(change), code, step="sign")
        for code, change in [(BEACON, lambda key: key.update(beacon=None)), (BEACON, lambda key: key["beacon"].update(signature="0" * 96)), (S, lambda key: key.update(opening=None))]:
            self.change(lambda case: change(case.predicate["key"]), code, self.weak)

    def test_records(self):
        """Each field of a record changed, left out or one more, and the file's form, where the digest is that of the file."""
        def rows(change):
            return lambda case: change(case.rows)
        def raw(change):
            def edit(case):
                case.files[0] = change(case.files[0])
                case.statement["subject"][0]["digest"]["sha256"] = sha(case.files[0])
            return edit
        for name, value in self.case.rows[4].items():
            with self.subTest(name=name):
                values = [other(value)] if not isinstance(value, list) else [value[1:], [*value, 7], [value[0] + 1, *value[1:]], [40, *value[1:]], [-1, *value[1:]]]
                for new in [*values, "x", None, 1.5, True]:
                    self.change(rows(lambda rows: rows[4].update({name: new})), RECORDS, step="write")
                self.change(rows(lambda rows: rows[4].pop(name)), RECORDS, step="write")
        for change in [lambda rows: rows[4].update(more=1), lambda rows: rows.pop(), lambda rows: rows.append(rows[0]), lambda rows: rows.insert(2, rows.pop(3)),
                       lambda rows: rows.clear()]:
            self.change(rows(change), RECORDS, step="write")
        for change in [lambda raw: raw[:-1], lambda raw: raw + b"\n", lambda raw: raw.replace(b":", b": ", 1), lambda raw: b"\xff" + raw, lambda raw: raw.replace(b"\n", b"\r\n"),
                       lambda raw: b"", lambda raw: b"\xef\xbb\xbf" + raw, lambda raw: raw + b"x"]:
            self.change(raw(change), RECORDS)
        self.check(self.case, DATA, [self.case.files[0].replace(b"1", b"2", 1), *self.case.files[1:]])
        # A head over a list that cannot be: the entries are the head's, and the list is not as section 4 says.
        for change in [lambda row: row["tokens"].append(1), lambda row: row["withheld"].append(None), lambda row: row["prompt_tokens"].append(40),
                       lambda row: row.update(request="ledger/2026-11/7")]:
            self.change(lambda case: (change(case.rows[4]), case.fix()), RECORDS, step="write")

    def test_scores(self):
        """What a scores file must hold to, and what it need not."""
        def lines(change, of="models"):
            return lambda case: change((case.models[0] if of == "models" else getattr(case, of))[1])
        def raw(change):
            def edit(case):
                case.files[1] = change(case.files[1])
                case.statement["subject"][1]["digest"]["sha256"] = sha(case.files[1])
            return edit
        row = lambda change: lambda rows: change(rows[4]["scores"][2])
        at_place = next(t for i, t, *_ in self.case.places()[0] if i == 4)
        seen = lambda rows: next(row for row in rows[4]["scores"] if row[0] == at_place)
        for code, change in [
            (RECOMPUTED, lambda rows: seen(rows).__setitem__(3, 0)), (RECOMPUTED, lambda rows: rows.pop(1)), (RECOMPUTED, lambda rows: rows[4]["scores"].remove(seen(rows))),
            (RECORDS, lambda rows: rows.insert(2, rows.pop(3))), (RECORDS, lambda rows: rows.append(rows[-1])), (RECORDS, lambda rows: rows[4].update(request="ledger/2026-11/04")),
            (RECORDS, lambda rows: rows[9].update(request="ledger/2026-11/10")), (RECORDS, lambda rows: rows[4].pop("request")), (RECORDS, lambda rows: rows[4].pop("scores")),
            (RECORDS, lambda rows: rows[4].update(scores=None)), (RECORDS, lambda rows: rows[4].update(request=4)),
            (RECORDS, lambda rows: rows[4]["scores"].append(rows[4]["scores"][-1])),
            (RECORDS, lambda rows: rows[4]["scores"].reverse()), (RECORDS, lambda rows: seen(rows).__setitem__(1, 39)), (RECORDS, lambda rows: seen(rows).__setitem__(2, seen(rows)[1])),
            *((RECORDS, row(lambda one, at=at, value=value: one.__setitem__(at, value))) for at in range(5) for value in (1.5, "1", None, True, 1 << 63, [])),
            (RECORDS, row(lambda one: one.append(1))), (RECORDS, row(lambda one: one.pop())), (RECORDS, row(lambda one: one.__setitem__(0, -1))),
            (RECORDS, row(lambda one: one.__setitem__(1, 1 << 24))),
            (None, lambda rows: seen(rows).__setitem__(slice(1, 5), [seen(rows)[i] for i in (2, 1, 4, 3)])), (None, lambda rows: rows[4].update(more={"x": [None, 1.5]})),
            (None, lambda rows: rows[4]["scores"].append([99, 1, 2, 3, 4])),
        ]:
            self.change(lines(change), code, step="write")
        for code, change in [(None, lambda raw: raw[:-1]), (None, lambda raw: b"\n \r\n" + raw.replace(b"\n", b"\r\n")), (None, lambda raw: b"\xef\xbb\xbf" + raw),
                             (RECORDS, lambda raw: raw + b"{"),
                             (RECORDS, lambda raw: b"[]\n" + raw), (RECORDS, lambda raw: b"\xff" + raw),
                             (RECORDS, lambda raw: raw.replace(b'{"model"', b'{"request": "ledger/2026-11/0", "model"', 1))]:
            self.change(raw(change), code)
        self.change(lines(lambda rows: rows[4]["scores"].remove(seen(rows)), "given_law"), None, step="measure_all")  # without a score it is as improbable as can be
        # Those that are registered, registered anew: a score that counts, and one too few.
        for of in ("reference", "given_law"):
            for code, change in [(RECOMPUTED, lambda rows: seen(rows).__setitem__(3, -99_999)), (RECOMPUTED, lambda rows: rows.pop(4)),
                                 (RECORDS, lambda rows: seen(rows).__setitem__(1, 39))]:
                self.change(lines(change, of), code, step="write")

    def test_attacks(self):
        """What somebody can do who signs everything anew: the head of the ledger, which others have seen, stays as it was unless something else is said."""
        swap = lambda row, t: (row["tokens"].__setitem__(t, row["withheld"][t]), row["withheld"].__setitem__(t, at(self.case.rows, (4, "tokens", t))))
        i, t, *_ = next(one for one in self.case.places()[0] if one[0] == 4)
        relabel = lambda case: case.rows[2].update(account=case.accounts[0])
        exchange = lambda case: case.rows[4]["withheld"].__setitem__(t, next(x for x in range(38) if x not in (case.rows[4]["tokens"][t], case.rows[4]["withheld"][t])))
        for change in (relabel, lambda case: case.rows[4]["withheld"].__setitem__(t, None)):
            self.change(change, RECORDS, step="measure_all")
        self.change(lambda case: (exchange(case), [one["scores"].clear() for _, rows in [*case.models, case.reference,
            case.given_law] for one in rows if one["request"].endswith("/4")]),
                    RECORDS, step="measure_all")
        for code, size in [(REGISTERED, 10), (HEADS, 9)]: self.change(lambda case: (case.rows.pop(), case.registration["ledger"].update(size=size)), code, step="measure_all")
        def less(case):  # the list has less than it says
            case.rows.pop()
            case.measure_all()
            case.predicate["list"]["requests"] += 1
            case.predicate["accounts"][0]["requests"] += 1
        self.change(less, RECORDS)
        # Before the head was signed: a side or a secret that the key or the commitment contradicts; what neither does, the law shows.
        self.change(lambda case: (swap(case.rows[4], t), case.fix()), RECORDS, step="write")
        self.change(lambda case: (case.rows[4].update(secret=case.rows[5]["secret"]), case.fix()), RECORDS, step="write")
        self.change(lambda case: (relabel(case), case.fix()), None, step="measure_all")
        case = Case(invented=.4)
        self.assertEqual([case.predicate[f] for f in ("draws_agree", "verdict")], [False, "inconclusive"])
        self.change(lambda case: case.predicate.update(draws_agree=True), VERDICT, case)
        self.change(lambda case: case.predicate.update(draws_agree=True, verdict="detected", draws=case.predicate["draws"] | {"log10_p": -1.0}), RECOMPUTED, case, "conclude")
        # Positions that speak for the suspect, made to look as if they said nothing: the law knows what was drawn there too. Models' scores of them are not read.
        def erase(case, special):
            for i, t, x, _ in case.places()[0][::3]:
                row = next(row for row in case.given_law[1][i]["scores"] if row[0] == t)
                score = row[3 + (row[2] == x)]
                case.rows[i]["withheld"][t], row[1:] = 38 if special else x, [x, 38, score, -1 << 19] if special else [x, x, score, score]
            case.fix()
            case.moved = True
            case.measure_all()
            self.assertEqual([case.predicate[f] for f in ("draws_agree", "verdict")], [False, "inconclusive"])
        for special in (True, False):
            self.change(lambda case: erase(case, special), None)
            self.change(lambda case: (erase(case, special), case.predicate.update(draws_agree=True)), VERDICT)
        # A side that does not count is not held to its coin, and its draws are those that the key tells.
        case = copy.deepcopy(self.case)
        for i, t, (x, _), (y, _) in case.places()[1]:
            if {x, y} & {38, 39} and x != y: case.rows[i]["tokens"][t], case.rows[i]["withheld"][t], case.moved = y, x, True
        self.assertTrue(case.moved)
        self.change(lambda case: case.fix(), None, case, "measure_all")
        # Files in place of those registered, and of the suspect's.
        for at_file, code in [(3, REGISTERED), (4, REGISTERED), (1, RECOMPUTED), (2, RECOMPUTED)]:
            files = [raw.replace(b"-9", b"-8") if i == at_file else raw for i, raw in enumerate(self.case.files)]
            self.change(lambda case: case.statement["subject"][at_file]["digest"].update(sha256=sha(files[at_file])), code, data=files)
            self.check(self.case, DATA, files)
        self.change(lambda case: case.models.__setitem__(slice(0, 2), [["s", case.models[1][1]], ["c0", case.models[0][1]]]), RECOMPUTED, step="write")
        # Another key's secrets, of which no commitment is: the coins would be free to choose.
        def others(case):
            case.secrets = [paired.secret(b"k" * 32, f"{case.name}/{i}") for i in range(10)]
            case.rows = [case.answer(i, 30, 0) for i in range(10)]
            case.fix()
        self.change(others, RECORDS, step="write")
        # A law that gives two candidates more than all of the probability; and a list of which too many positions were struck out.
        def certain(case): next(row for one in case.given_law[1] for row in one["scores"] if row[1] != row[2])[3:] = [0, 0]
        self.change(certain, RECORDS, step="write")
        self.change(lambda case: case.predicate["list"].update(n_without_candidate=99), VERDICT)

    def test_parts_of_the_data(self):
        """What is not given is named, and nothing is said of it."""
        files, word = self.case.files, "any number: they rest on the signer's word, because the list was not given"
        for given, says in [([0], "model 0: its scores were not given"), ([0, 1], "model 0: its numbers, which are beside a reference whose scores were not given"),
                            ([1, 3], word), ([0, 1, 3], "law: its scores were not given"),
                            ([0, 4], "reference: its scores were not given"), ([0, 0, 2, 3], "model 0: its scores were not given"), ([4, 3, 2, 1, 0], "other layers of the profile")]:
            self.assertIn(says, self.check(self.case, None, [files[i] for i in given])["not_checked"])
        # With the list its counts; with scores what is theirs, accounts and their requests too.
        def edit(case): case.predicate["controls"][0]["n_served_preferred"] -= 1
        for given, code in [([0, 1, 3], None), ([0, 2], None), ([0, 2, 3], RECOMPUTED)]:
            self.change(edit, code, data=[files[i] for i in given])
        for given, code in [([], None), ([1], None), ([0], None), ([0, 1, 3], RECOMPUTED), ([0, 2, 3], RECOMPUTED)]:
            self.change(lambda case: case.predicate["accounts"][1].update(account="0" * 64), code, data=[files[i] for i in given])
        self.change(lambda case: case.predicate["draws"].update(log10_p=-1.0), None, data=[files[i] for i in (0, 1, 2, 3)])
        # A control that is the reference prefers nothing; and one that lacks what the reference lacks has no fewer scores than the suspect, whether or not the reference is given.
        case = copy.deepcopy(self.case)
        case.models[1][1] = [one | {"model": "c"} for one in case.reference[1]]
        with self.subTest(control="is the reference"): self.change(lambda case: None, None, case, "measure_all")
        case = Case(missing={(0, 3)})
        case.models[1][1] = [one | {"scores": [row for row in one["scores"] if (i, row[0]) not in {(1, 8), (3, 0)}]} for i, one in enumerate(case.models[1][1])]
        case.measure_all()
        with self.subTest(control="lacks what the reference lacks"): self.check(case, None, [case.files[i] for i in (0, 1, 2)])
        report = self.check(self.case, DATA, [*files, b"a stranger's"])
        self.assertTrue(report["integrity"])

    def test_clocks(self):
        """A round of known time: before the key's head, after the ledger's, between them; and one that is still to come."""
        quicknet = lambda day, time: int(datetime.datetime.fromisoformat(f"{day}T{time}+00:00").timestamp() - verify.GENESIS) // 3 + 1
        for time, standing in [("00:59:59", "fails"), ("01:10:00", "word"), ("01:29:57", "word"), ("01:30:03", "fails")]:
            case = Case(beacon="5a" * 32, source=("drand/quicknet", quicknet("2024-11-25", time)), day="2024-11-25", requests=8)
            report = self.check(case, None)
            self.assertEqual((report["result"]["conditions"]["key_not_ground"], report["result"]["verdict"]), (standing, "inconclusive" if standing == "fails" else "detected"))
            self.change(lambda case: case.predicate["conditions"][1].update(standing="word" if standing == "fails" else "holds"), VERDICT, case)
        for head, standing in [("head", "fails"), ("answers", "word")]:  # at the very second
            at_once = lambda case: (getattr(case, head).update(signed_at=drawn_at(case.leaf["beacon"])), case.conclude())
            edge = Case(beacon="5a" * 32, source=("drand/quicknet", quicknet("2024-11-25", "01:10:00")), day="2024-11-25", requests=2)
            self.assertEqual(self.change(at_once, None, edge)["result"]["conditions"]["key_not_ground"], standing)
        case = Case(beacon="5a" * 32, source=("drand/quicknet", quicknet("2126-11-25", "01:10:00")), day="2126-11-25", requests=8)
        self.assertEqual(case.predicate["verdict"], "detected")
        found = self.check(case, None)["result"]
        self.assertEqual((found["verdict"], found["accounts"]["detected"], found["conditions"]["key_not_ground"]), ("inconclusive", [], "fails"))

    def test_profiles(self):
        def edit(change):
            def put_in(case):
                profile = json.loads(case.profile)
                change(profile, profile["layers"])
                case.profile = case.predicate["profile"] = json.dumps(profile)
                case.leaf["profile_sha256"] = case.registration["profile_sha256"] = sha(case.profile.encode())
                case.fix()
            return put_in
        gumbel = {"name": "g", "scheme": "gumbel", "width": 4, "prf": "chacha20-v1"}
        for code, change in [
            (None, lambda p, l: l.pop(0)), (None, lambda p, l: l.insert(0, {"name": "t", "scheme": "tournament", "width": 4, "prf": "chacha20-v1", "depth": 30})),
            *((PROFILE, lambda p, l, one=one: l.insert(0, one)) for one in (gumbel, gumbel | {"scheme": "permute_and_flip"}, gumbel | {"scheme": "gumbel_dual_key", "alpha": .5},
                gumbel | {"scheme": None},
                                                                           {"name": "v", "engine": "vllm", "algorithm": "gumbel", "context_width": 4},
                                                                               gumbel | {"scheme": "paired", "width": 0})),
            (PROFILE, lambda p, l: l.append(gumbel)), (PROFILE, lambda p, l: l.append(l.pop(0))), (PROFILE, lambda p, l: l.pop()), (PROFILE, lambda p, l: l[1].update(width=1)),
            (PROFILE, lambda p, l: l[1].update(width=0.0)),
            (PROFILE, lambda p, l: l[1].update(prf="x")), (PROFILE, lambda p, l: l[1].update(gamma=.5)), (PROFILE, lambda p, l: l[1].update(name="other")),
            (PROFILE, lambda p, l: l[0].update(name="pairs")),
            (PROFILE, lambda p, l: p.update(beacon=None)), (BEACON, lambda p, l: p.update(beacon="5a" * 32)), (PROFILE, lambda p, l: p.update(path="epoch/2")),
            (PROFILE, lambda p, l: p.update(more=1)),
            (PROFILE, lambda p, l: p["tokenizer"].update(special_token_ids=[40])), (RECORDS, lambda p, l: p["tokenizer"].update(vocab_size=30, special_token_ids=[])),
            (RECOMPUTED, lambda p, l: p["tokenizer"].update(special_token_ids=[])),
        ]:
            self.change(lambda case: edit(change)(case) if code != BEACON else (edit(change)(case),
                case.leaf.update(profile_sha256=sha(case.profile.replace(f'"{"5a" * 32}"', "null").encode())), case.fix()),
                        code, step="sign")

    def test_trust(self):
        keys = [Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key().public_bytes_raw().hex() for seed in (6, 7, 8, 9)]
        options = lambda keys: [option for key in keys for option in ("--trusted-key", key)]
        self.assertEqual(self.check(self.case, None, True, *options(keys))["trust"], "trusted")
        for i in range(4):
            status, report, theirs = asked(self.case.bundle(), self.case.files, *options(keys[:i] + keys[i + 1:]))
            self.assertEqual((status, report["trust"], report["integrity"], first(report)), (1, "not_trusted", True, "E-TRUST"))
            self.assertEqual(theirs and (theirs[0], first(theirs[1])), theirs and (1, "E-TRUST"))

    def test_kinds(self):
        """The statement's own word says which kind it is; a leaf with requests is none of a closed test; and from any folder."""
        self.change(lambda case: case.statement.update(predicateType="watermark-evidence/2"), S)
        closed = Closed()
        closed.leaves[2]["requests"] = self.case.leaf["requests"]
        self.check(closed.bundle(), S, False)
        self.check(canonical(sealed(closed.statement | {"predicateType": "watermark-pairs-evidence/1"}, STATEMENT, 9)), S, False)
        for code, raw in [("E-ENVELOPE", b'{"payload":"' + base64.b64encode(b'{"predicateType":"watermark-pairs-evidence/1"}') + b'"}'), ("E-ENVELOPE", b'{"payload":[]}'),
                          ("E-ENVELOPE", b"[]"), ("E-ENVELOPE", b""),
                          (S, canonical(sealed(b'{"predicateType":"watermark-pairs-evidence/1"}', STATEMENT, 9))),
                          (S, canonical(sealed(b'{"predicateType":["watermark-pairs-evidence/1"]}', STATEMENT, 9))),
                          (S, canonical(sealed(b"[" * 9999, STATEMENT, 9))), (S, canonical(sealed(canonical(self.case.statement) + b" ", STATEMENT, 9))),
                          ("E-ENVELOPE", canonical(sealed(self.case.statement, "text/plain", 9)))]:
            self.check(raw, code, False)
        with tempfile.TemporaryDirectory() as folder:
            for i, raw in enumerate([self.case.bundle(), *self.case.files]): pathlib.Path(folder, str(i)).write_bytes(raw)
            for script in ("verify.py", "pairs.py"):
                done = subprocess.run([sys.executable, str(here / script), "0", "--data", "1", "2", "3", "4", "5", "--tokenizer", "none"], cwd=folder, capture_output=True, text=True)
                self.assertEqual((done.returncode, json.loads(done.stdout)["result"]["verdict"]), (0, "detected"), done.stderr)

    def test_hostile_values(self):
        """Random values in place of any part of what is signed or given: an answer, and no traceback."""
        rnd, hostile = random.Random(5), [None, True, -1, 0, 2**53 - 1, 1e308, 5e-324, -1e300, "", "0" * 38, "\x1b[2J", "é" * 99, [], {}, [[]], "0" * 64, "f" * 64]
        for _ in range(300):
            case = copy.deepcopy(self.weak)
            top = rnd.choice([case.registration, case.head, case.answers, case.leaf, case.statement, case.predicate["accounts"], case.predicate, case.rows, case.models[0][1],
                              case.given_law[1]])
            place, name = top, rnd.choice([*top] if isinstance(top, dict) else range(len(top)))
            while isinstance(place[name], (dict, list)) and place[name] and rnd.random() < .8:
                place = place[name]
                name = rnd.choice(sorted(place)) if isinstance(place, dict) else rnd.randrange(len(place))
            place[name] = rnd.choice(hostile)
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, IndexError, verify.Refused):
                if top is case.leaf: case.fix()
                (case.write if top in (case.rows, case.models[0][1], case.given_law[1]) else case.sign)()
            with contextlib.suppress(verify.Refused):  # what has no canonical form cannot be signed
                status, report, theirs = asked(case.bundle(), case.files)
                self.assertIn(status, (0, 1))
                if theirs:  # limits that only schema.json has are another step of the other verifier
                    self.assertEqual((theirs[0], first(theirs[1])), (status, first(theirs[1]) if first(report) == S else first(report)), (report["faults"], name))


if __name__ == "__main__":
    unittest.main()
