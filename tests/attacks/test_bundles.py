#!/usr/bin/env python3
"""Whole bundles of somebody who signs what they like, sent through both verifiers: `WATERMARK=PATH test_bundles.py [unittest options]`, with
`cryptography`, `mpmath` and `tokenizers`. $WATERMARK names the binary beside which verify/verify.py is to find the same; $EDITS and $SEED give
more and other edits.
"""
import base64, contextlib, copy, datetime, hashlib, json, math, os, pathlib, random, re, shutil, sys, tempfile, unittest
from collections import Counter

root = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(root / "verify"), str(root / "tests")]
from bundles import LETTERS, Case, canonical, effects, mp, oracle, record, sealed, sha, tokenizer, verify
from case import Authority
from test_verify import RUST, arrays, codes, run, rust


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


def limit(ours, theirs):
    """Whether schema.json refuses what the binary refuses at the step that uses it: Limits.limits_of_the_schema has them all."""
    return ours[1] == {"E-SCHEMA"} and theirs[0] == 1


def at(whole, path):
    for name in path:
        whole = whole[name]
    return whole


class Edits(unittest.TestCase):
    """Seeded changes by somebody who holds every key that signed."""

    maxDiff = None
    # Weights of 1 are summed over sooner, and what is edited here is the form. Some verdicts are there to be made better: one p is short of its
    # level, one control disagrees, one beacon was known when the key was committed to.
    KINDS = [{"weights": "none", "alpha": 1e-12}, {}, {"scheme": "gumbel", "weights": "none", "width": 2},
             {"weights": "none", "draw": "b7" * 32, "beacon": "5a" * 32}, {"weights": "none", "draw": "b7" * 32, "beacon": "5a" * 32, "seed": 3},
             {"stopping": "e_process", "rounds": 3, "width": 5, "quotes": True, "weights": "none"},
             {"weights": "none", "beacon": "5a" * 32, "source": ("drand/quicknet", 5, None), "seed": 3}]
    SPELLED = {"verdict": ["detected", "not_detected", "inconclusive"], "decided_by": ["log10_p", "ln_e"], "standing": ["holds", "word", "fails"],
               "weights": ["sqrt", "none"], "stopping": ["fixed", "e_process"], "source": ["drand/quicknet", "lottery"],
               "collection": ["not independently witnessed", "replicated without the key"], "layer": ["main", "a"]}
    FLAGS = ["verdict", "decided_by", "controls_agree", "exclusion_agrees", "resampling_agrees", "answers_present"]

    @classmethod
    def setUpClass(cls):
        cls.bases = [Case(**kind) for kind in cls.KINDS]
        cls.tokenizer = written("tokenizer.json", tokenizer())
        cls.pools = [written(f"pool{i}.jsonl", b"".join(canonical({"prompt": one}) + b"\n" for one in case.pool)) for i, case in enumerate(cls.bases)]

    @classmethod
    def leaves(cls, value, path=()):
        """All leaves but those of the two envelopes within, whose payloads are edited by themselves."""
        if path[1:] in (("registration",), ("key", "head")):
            return
        if isinstance(value, (dict, list)):
            for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
                yield from cls.leaves(inner, (*path, name))
        else:
            yield path, value

    @staticmethod
    def kind(value):
        """Values of one kind may stand in each other's place."""
        written_as = [("hash", "[0-9a-f]{64}"), ("time", r"\d{4}-\d\d-\d\dT.*"), ("decimal", r"\d+"), ("text", "(?s).*")]
        return next(name for name, shape in written_as if re.fullmatch(shape, value)) if isinstance(value, str) else type(value).__name__

    def nudged(self, rnd, name, value):
        """A value next to this one."""
        step, kind = rnd.choice([-1, 1]), self.kind(value)
        if name in self.SPELLED: return rnd.choice([one for one in self.SPELLED[name] if one != value])
        if kind == "time": return (datetime.datetime.fromisoformat(value[:-1]) + datetime.timedelta(seconds=step * rnd.choice([1, 3600]))).isoformat() + "Z"
        if kind == "hash": return value[:-1] + "0123456789abcdef"[int(value[-1], 16) - 1]
        if kind == "NoneType": return rnd.choice(["0" * 64, {"signature": None, "value": "5a" * 32}, {"of": "ones_share", "power": 0.8, "value": 0.7}, "AAAA"])
        return {"decimal": lambda: str(max(0, int(value) + step)), "text": lambda: value + "x", "bool": lambda: not value, "int": lambda: value + step,
                "float": lambda: value * (1 + step * rnd.choice([1e-13, 1e-6, 0.1, 0.9]))}[kind]()

    def edit(self, rnd, case):
        """One change; where it is, in words."""
        tops = {"statement": case.statement, "registration": case.registration, "head": case.head}
        top = rnd.choices(list(tops), [12, 6, 2])[0]
        whole, how = tops[top], rnd.choice(["other", "nudge", "nudge", "exchange", "array", "samples", "flag", "records", "aim"])
        every = list(self.leaves(whole))
        path, value = rnd.choice(every)
        if how == "other":
            values = [one for tree in tops.values() for _, one in self.leaves(tree) if self.kind(one) == self.kind(value) and one != value]
            at(whole, path[:-1])[path[-1]] = rnd.choice(values or [None])
        elif how == "nudge":
            at(whole, path[:-1])[path[-1]] = self.nudged(rnd, path[-1], value)
        elif how == "exchange":
            other, _ = rnd.choice([(p, one) for p, one in every if self.kind(one) == self.kind(value) and one != value] or [(path, value)])
            at(whole, path[:-1])[path[-1]], at(whole, other[:-1])[other[-1]] = at(whole, other), value
            return f"{top}/{'/'.join(map(str, path))} exchanged with {'/'.join(map(str, other))}"
        elif how == "array":
            path = rnd.choice([p for p in arrays(whole) if at(whole, p) and "signatures" not in p] or [()])
            if not path: return "none"
            array, i = at(whole, path), rnd.randrange(len(at(whole, path)))
            step = rnd.choice(["less", "twice", "turned"])
            if step == "less": del array[i]
            elif step == "twice": array.insert(i, copy.deepcopy(array[i]))
            else: array[i], array[i - 1] = array[i - 1], array[i]
        elif how == "samples":
            top, p = "statement", case.predicate
            path = rnd.choice([(), *[path[:k] for path, _ in self.leaves(p["suspect"]) for k in range(1, len(path) + 1)]])
            with contextlib.suppress(KeyError, IndexError, TypeError):
                if path: a, b, name = at(p["suspect"], path[:-1]), at(p["controls"][0], path[:-1]), path[-1]; a[name], b[name] = b[name], a[name]
                else: p["suspect"], p["controls"][0] = p["controls"][0], p["suspect"]
            path = ("predicate", "suspect and control", *path)
        elif how == "flag":
            top, p = "statement", case.predicate
            flag = rnd.choice([*self.FLAGS, "conditions"])
            place, name = (p, flag) if flag in p and flag != "conditions" else (rnd.choice(p["conditions"]), "standing")
            place[name], path = self.nudged(rnd, name, place[name]), ("predicate", flag)
        elif how == "aim":
            top, path = self.aimed(rnd, case)
        else:
            top, path = "records", self.other_records(rnd, case)
        return f"{top}/{'/'.join(map(str, path))} {how}"

    @staticmethod
    def aimed(rnd, case):
        """What would make a verdict better, if it were believed."""
        suspect, control = case.predicate["suspect"], case.predicate["controls"][0]
        def by(row, share): row["score"] = str(int(int(row["score"]) * share))
        edits = [(("predicate", "suspect", "classes"), lambda: [by(row, 1.2) for row in suspect["classes"]]),
                 (("predicate", "controls", "0", "classes"), lambda: [by(row, .9) for row in control["classes"]]),
                 (("predicate", "suspect", "left_out"), lambda: [by(row, 1.2) for row in suspect["left_out"]["answers"]]),
                 (("predicate", "controls", "0", "stopped"), lambda: control.update(stopped=not control["stopped"]))]
        others = [("registration", ("alpha",), lambda: case.registration.update(alpha=1e-3)), ("head", ("signed_at",), lambda: case.head.update(signed_at="2022-01-01T00:00:00Z")),
                  ("statement", ("predicate", "key", "leaf", "beacon"), lambda: case.predicate["key"]["leaf"]["beacon"].update(round=10**9))]
        top, path, edit = rnd.choice([("statement", *one) for one in edits] + others)
        with contextlib.suppress(KeyError): edit()
        return top, path

    @staticmethod
    def other_records(rnd, case):
        """Other records, with digests and roots that are theirs."""
        i, name = rnd.choice([(0, "s"), (1, "c")])
        rows = [json.loads(line) for line in case.records[i].splitlines()]
        prompts, how = [row["prompt"] for row in rows], rnd.choice(["prompts", "rows", "less", "twice", "id", "text", "quoted", "round"])
        a, b = rnd.sample(range(len(rows)), 2)
        if how == "prompts": rows[a]["prompt"], rows[b]["prompt"] = rows[b]["prompt"], rows[a]["prompt"]
        elif how == "rows": rows[a], rows[b] = rows[b], rows[a]
        elif how == "less": del rows[a]
        elif how == "twice": rows[a] = copy.deepcopy(rows[b])
        elif how == "id": rows[a]["tokens"][5] = rnd.randrange(98, 120)
        elif how == "text": rows[a]["text"] = rows[a]["text"][1:]
        elif how == "quoted": rows[a]["quoted"] = [[2, rnd.randrange(3, 9)]]
        else: rows[a]["round"] += 1
        # Either counted anew, as honest software would from such records, or with digests of their own and the old counts.
        old = [case.predicate["suspect"], *case.predicate["controls"]][i]
        pairs = case.suspect_pairs
        new = case.sample(name, rows, prompts, []) if case.registration["stopping"] == "fixed" else old | {}
        lines = [canonical(row) for row in rows]
        new |= {"records": {"count": len(rows), "root": oracle.merkle_root(lines).hex(), "sha256": sha(b"".join(line + b"\n" for line in lines))},
                "prompts_root": oracle.merkle_root([canonical(row["prompt"]) for row in rows]).hex()}
        if rnd.random() < .5: case.suspect_pairs, new = pairs, old | {f: new[f] for f in ("records", "prompts_root", "n_empty")}
        old.update(new)
        case.records[i] = b"".join(line + b"\n" for line in lines)
        if rnd.random() < .3: case.registration["prompts"] |= {"count": len(rows), "root": new["prompts_root"]}
        if rnd.random() < .5: case.predicate["prompts"]["root"] = new["prompts_root"]
        return name, how

    @staticmethod
    def follow(case):
        """Puts into the statement what follows from registration and head."""
        p, reg = case.predicate, case.registration
        reg["key"]["tree_size"] = case.head["tree_size"]
        p["family"]["size"], p["resampling"]["keys"] = reg["key"]["tree_size"], reg["resample"] if p["suspect"]["n_scored"] else 0
        p["prompts"]["root"] = reg["prompts"]["root"] or p["prompts"]["root"]
        for sample, name in zip([p["suspect"], *p["controls"]], [reg["suspect"], *reg["controls"]]): sample["model"] = name
        p["earlier"] = [dict(zip(("registration_sha256", "evidence_sha256", "verdict"), (one, None, None))) for one in reg["earlier"]]

    @staticmethod
    def count_up(case):
        """Sums and numbers that follow from the classes."""
        case.weights = case.registration["weights"]
        for s in [case.predicate["suspect"], *case.predicate["controls"]]:
            classes, answers, prompts = ({c["count"]: (c["pairs"], int(c["score"])) for c in part} for part in (s["classes"], s["left_out"]["answers"], s["left_out"]["prompts"]))
            s["n_scored"] = sum(pairs for pairs, _ in classes.values())
            s["tokens"] = sum(s[f] for f in verify.COUNTS)
            sums = [sum(of(c) * n for c, n in rows) for of, rows in [
                (lambda c: 1, [(c, b) for c, (_, b) in classes.items()]), (case.weight, [(c, b) for c, (_, b) in classes.items()]),
                (case.weight, [(c, a) for c, (a, _) in classes.items()])]]
            s |= dict(zip(("score", "statistic", "weight"), map(str, sums)))
            s |= dict(zip(("log10_p", "log10_p_distinct", "ln_e"), map(float, case.logs(classes))))
            s["left_out"] |= {"answers_log10_p": float(case.low(answers, case.weights)), "prompts_log10_p": float(case.low(prompts, "none"))}

    # What whoever signs can say as they like, and why. An edit that both accept is of one of these; of the second table only where the data are not given.
    WORD = {r"registration/(question|registered_at|alpha|resample|weights|suspect|controls|earlier|prompts/draw)": "chosen by whoever registers, before the data or not: registered_before_data",
            r"registration/prompts/count": "under e_process, of prompts of which the last were not asked",
            r"registration/key/(tree_size|head_sha256)": "put right again when everything is signed",
            r"head/(signed_at|prompt_pools)": "the clock and the pools of whoever signs the head: key_not_ground, prompts_free_of_key",
            r"statement/predicate/(software|signed_at|time_stamps)": "named, and no more",
            r"statement/subject": "names and digests of answer files, which show with these files",
            r"statement/predicate/[a-z 0/]*/(collection|collected|stopped)": "who collected, when, and what ended it, which answer files show: collection_witnessed",
            r"statement/predicate/[a-z 0/]*/(log10_p|ln_e|answers_log10_p|prompts_log10_p)": "changed by less than the tolerance",
            r"statement/predicate/(conditions|verdict|decided_by|[a-z]+_agrees?|answers_present)": "put right again",
            r"records/[sc]/(rows|less|twice|prompts|text|id|round|quoted)": "other answers, counted as they are"}
    UNSEEN = {r"statement/predicate/resampling/at_least": "how many fresh keys did as well",
              r"statement/predicate/prompts/beacon/value": "what a source without signatures drew; with the pool it draws other prompts",
              r"statement/predicate/(suspect|controls/0|suspect and control)/(records|classes|left_out|n_|tokens|score|statistic|weight)": "what the answers were: tokens_recomputed"}
    # The same of those that turn a verdict into `detected`.
    BETTER = {r"registration/(alpha|weights)": "a choice that is read; when it was made is the registrant's word",
              r"head/signed_at": "a clock that says a time before the round: key_not_ground is then somebody's word",
              r"statement/predicate/controls/0/stopped": "a control's e-value, which says less than its p, decides where its evidence may have ended its collection"}

    @staticmethod
    def one_sided(case, ours, theirs, report):
        """Where verify.py says that it does not look, and which limits only schema.json has: why the two may differ, or None."""
        p, reg = case.predicate, case.registration
        if limit(ours, theirs): return "limit"
        if theirs[1] - ours[1] == {"E-RECORDS"} and "form that is not read here" in str(report["not_checked"]): return "transcript"
        if theirs[1] - ours[1] != {"E-VERDICT"} or not p["smallest_effect"]: return None
        classes = [(c["count"], c["pairs"]) for c in p["suspect"]["classes"]]
        value = effects.smallest_effect(case.scheme == "greenlist", case.gamma, reg["weights"], p["decided_by"] == "ln_e", classes,
                                        mp.mpf(repr(reg["alpha"])) / reg["key"]["tree_size"])
        return "size" if abs(value - p["smallest_effect"]["value"]) > 1e-9 else None

    def test_both_find_the_same(self):
        rnd, seen, unlike, unlisted, tried = random.Random(int(os.environ.get("SEED", 20))), Counter(), [], [], 0
        odd = (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError)
        while tried < int(os.environ.get("EDITS", 200)):
            base, depth, given = rnd.choice(self.bases), rnd.randrange(4), rnd.random()
            case = copy.deepcopy(base)
            where = self.edit(rnd, case)
            if where.endswith("aim"): depth = max(depth, 2) + (rnd.random() < .7)
            with contextlib.suppress(*odd):  # of a value that is of another type now; it then stays as it is
                if where.startswith(("registration", "head")) and depth: self.follow(case)
                if depth > 1: self.count_up(case)
                if depth > 2: case.conclude()
            with contextlib.suppress(*odd): case.sign()
            if (case.statement, case.records) == (base.statement, base.records): continue
            tried += 1
            data = [] if given > .6 else case.records if given > .2 else [case.records[0], case.files[1]]
            options = ["--tokenizer", self.tokenizer] + ["--pool", self.pools[self.bases.index(base)]] * bool(base.pool) if data else []
            report = run(case.bundle(), data, *options)
            ours, theirs = said(*report), said(*rust(case.bundle(), data, *options))
            reason = ours != theirs and self.one_sided(case, ours, theirs, report[1])
            seen.update([*ours[1], *([reason] if reason else [])])
            about = f"{tried}: {where}, depth {depth}, {len(data)} files of base {self.bases.index(base)}"
            if ours != theirs and not reason: unlike.append(f"{about}: {ours} {theirs}")
            if (ours[0], theirs[0]) == (0, 0):
                was, now = base.predicate["verdict"], ours[2]
                better = now == "detected" != was
                seen.update(["accepted"] + ["made better"] * better)
                top, rest = (where if "exchanged" in where else where.rsplit(" ", 1)[0]).split("/", 1)
                paths = [f"{top}/{path}" for path in rest.split(" exchanged with ")]
                matches = lambda path, *tables: any(re.match(pattern, path) for table in tables for pattern in table)
                unseen = [self.UNSEEN] if not data else []
                listed = all(matches(path, self.WORD, *unseen) for path in paths) and (not better or any(matches(path, self.BETTER, *unseen) for path in paths))
                if not listed: unlisted.append(f"{about}: {was} {now}")
        print(seen)
        self.assertEqual((unlike, unlisted), ([], []))
        # The walk gets into every step but those that other tests are about, and some of it is believed.
        self.assertLessEqual({"accepted", "E-SCHEMA", "E-REGISTRATION", "E-PROFILE", "E-HEAD", "E-PROOF", "E-REGISTERED", "E-PROMPTS", "E-TIME", "E-TALLY", "E-TAIL", "E-VERDICT",
                              "E-RECORDS", "E-RECOMPUTED"}, set(seen))


class Bytes(unittest.TestCase):
    def test_random_bytes(self):
        """One byte another: of the bundle as it stands, and of one of the three payloads, which is then signed again."""
        rnd, case, seen = random.Random(4), Case(weights="none", quotes=True), Counter()
        payloads = [canonical(case.statement), canonical(case.registration), canonical(case.head)]
        for number in range(450):
            part = rnd.randrange(3)
            raw = case.bundle() if number < 300 else payloads[part]
            place = rnd.randrange(len(raw))
            raw = raw[:place] + bytes([raw[place] ^ rnd.randrange(1, 256)]) + raw[place + 1:]
            if number >= 300:
                changed = copy.deepcopy(case)
                if part == 2: changed.predicate["key"]["head"] = sealed(raw, "application/vnd.watermark.head+json", 7)
                if part == 1: changed.predicate["registration"] = sealed(raw, "application/vnd.watermark.registration+json", 8)
                raw = changed.bundle() if part else canonical(sealed(raw, "application/vnd.in-toto+json", 9))
            ours, theirs = both(raw)
            self.assertTrue(ours == theirs or limit(ours, theirs), f"{number}: byte {place} of part {part}: {ours} {theirs}")
            self.assertTrue(number >= 300 or ours[0] == 1, f"byte {place}")
            seen.update(ours[1])
        self.assertLessEqual({"E-ENVELOPE", "E-SIGNATURE", "E-SCHEMA", "E-REGISTRATION", "E-HEAD"}, set(seen), seen)


class Limits(unittest.TestCase):
    """What one of the two looks at otherwise, or not at all."""

    def setUp(self):
        self.tokenizer, self.case = written("tokenizer.json", tokenizer()), Case(weights="none")

    def one_file_for_two(self):
        """The control's file is the suspect's, which everybody has, and its numbers are made up: as records, and as answers."""
        suspect, control = self.case.predicate["suspect"], self.case.predicate["controls"][0]
        control["records"], suspect["collected"] = copy.deepcopy(suspect["records"]), None
        self.case.statement["subject"][1]["digest"] = self.case.statement["subject"][0]["digest"]
        return [both(self.case.bundle(), data, "--tokenizer", self.tokenizer) for data in (self.case.records[:1], self.case.files[:1])]

    def test_one_file_for_two(self):
        for ours, _ in self.one_file_for_two(): self.assertEqual(ours[:3], (1, {"E-RECOMPUTED"}, None))

    @unittest.expectedFailure  # the binary counts a file for the first sample that names it, and takes the other's numbers as they stand
    def test_one_file_for_two_alike(self):
        for ours, theirs in self.one_file_for_two(): self.assertEqual(ours, theirs)

    def limits_of_the_schema(self):
        zero = {"count": 2, "pairs": 1, "score": "0"}
        for edit in [lambda p: p["suspect"]["classes"][0].update(count=0), lambda p: p["suspect"]["classes"][-1].update(pairs=0),
                     lambda p: p["controls"][0]["left_out"]["answers"][0].update(pairs=0), lambda p: p["suspect"]["left_out"]["prompts"].append(zero),
                     lambda p: p["key"].update(proof=["0" * 64] * 65), lambda p: p["suspect"].update(prompts_proof=["0" * 64] * 65),
                     lambda p: p["family"].update(method="holm"), lambda p: p["prompts"].update(beacon={"signature": "00", "value": "0" * 64})]:
            case = copy.deepcopy(self.case)
            edit(case.predicate)
            yield both(case.bundle())
        self.case.statement["subject"] = []
        yield both(self.case.bundle())

    def test_limits_of_the_schema(self):
        for ours, theirs in self.limits_of_the_schema(): self.assertEqual((ours[:3], theirs[0], theirs[2]), ((1, {"E-SCHEMA"}, None), 1, None))

    @unittest.expectedFailure  # section 7 has all of them at E-SCHEMA; the binary refuses them where they are used
    def test_limits_of_the_schema_alike(self):
        for ours, theirs in self.limits_of_the_schema(): self.assertEqual(ours, theirs)

    def test_what_an_answer_file_says(self):
        """Its records are the stated ones to the byte, and nothing in it says that another collected it or that evidence ended it."""
        control, options = self.case.predicate["controls"][0], ("--tokenizer", self.tokenizer)
        for one in both(self.case.bundle(), self.case.files[1:], *options): self.assertEqual(one[:2], (0, set()))
        for change in [{"records": control["records"] | {"sha256": "0" * 64}}, {"stopped": True}, {"collection": "replicated without the key"}]:
            case = copy.deepcopy(self.case)
            case.predicate["controls"][0] |= change
            case.conclude()
            for one in both(case.bundle(), case.files[1:], *options): self.assertEqual(one[:3], (1, {"E-RECORDS"}, None))
        # Text beside a prompt is no answer to it for the binary; verify.py reads completions only, and says so.
        self.case.files[1] = self.case.files[1].replace(b'"completion"', b'"text"')
        self.case.statement["subject"][1]["digest"]["sha256"] = sha(self.case.files[1])
        (_, ours), (_, theirs) = run(self.case.bundle(), self.case.files[1:], *options), rust(self.case.bundle(), self.case.files[1:], *options)
        self.assertEqual((codes(ours), codes(theirs)), (set(), {"E-RECORDS"}))
        self.assertIn("sample 1: its answer file is of a form that is not read here", ours["not_checked"])


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
        for case, what, envelope, names, options in [
                (case, "head", case.predicate["key"]["head"], ["key_not_ground"], ()),
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
