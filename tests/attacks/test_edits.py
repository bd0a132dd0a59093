#!/usr/bin/env python3
"""Changes to bundles by somebody who can sign anew, seen by both verifiers alike: `WATERMARK=PATH test_edits.py [unittest options]`. What the
changes are for is in test_bundles.py; $EDITS and $SEED give more and other ones.
"""
import copy, contextlib, datetime, json, os, random, re, unittest
from collections import Counter

from test_bundles import both, said, setUpModule, written
from bundles import Case, canonical, effects, mp, oracle, sealed, sha, tokenizer, verify
from test_verify import arrays, codes, run, rust


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
            self.assertEqual(ours, theirs, f"{number}: byte {place} of part {part}: {ours} {theirs}")
            self.assertTrue(number >= 300 or ours[0] == 1, f"byte {place}")
            seen.update(ours[1])
        self.assertLessEqual({"E-ENVELOPE", "E-SIGNATURE", "E-SCHEMA", "E-REGISTRATION", "E-HEAD"}, set(seen), seen)


class Limits(unittest.TestCase):
    """What one of the two looks at otherwise, or not at all."""

    def setUp(self):
        self.tokenizer, self.case = written("tokenizer.json", tokenizer()), Case(weights="none")

    def test_one_file_for_two(self):
        """The control's file is the suspect's, which everybody has, and its numbers are made up: as records, and as answers."""
        suspect, control = self.case.predicate["suspect"], self.case.predicate["controls"][0]
        suspect["collected"] = None
        self.case.statement["subject"][1]["digest"] = self.case.statement["subject"][0]["digest"]
        for ours, theirs in [both(self.case.bundle(), self.case.files[:1], "--tokenizer", self.tokenizer)]:
            self.assertEqual((ours, ours[1]), (theirs, {"E-RECORDS"}))
        control["records"] = copy.deepcopy(suspect["records"])
        for data in (self.case.records[:1], self.case.files[:1]):
            ours, theirs = both(self.case.bundle(), data, "--tokenizer", self.tokenizer)
            self.assertEqual((ours, ours[1]), (theirs, {"E-SUBJECT"}))

    def test_limits_of_the_schema(self):
        zero = {"count": 2, "pairs": 1, "score": "0"}
        for edit in [lambda p: p["suspect"]["classes"][0].update(count=0), lambda p: p["suspect"]["classes"][-1].update(pairs=0),
                     lambda p: p["controls"][0]["left_out"]["answers"][0].update(pairs=0), lambda p: p["suspect"]["left_out"]["prompts"].append(zero),
                     lambda p: p["key"].update(proof=["0" * 64] * 65), lambda p: p["suspect"].update(prompts_proof=["0" * 64] * 65),
                     lambda p: p["family"].update(method="holm"), lambda p: p["prompts"].update(beacon={"signature": "00", "value": "0" * 64})]:
            case = copy.deepcopy(self.case)
            edit(case.predicate)
            ours, theirs = both(case.bundle())
            self.assertEqual((ours, ours[:3]), (theirs, (1, {"E-SCHEMA"}, None)))
        self.case.statement["subject"] = []
        ours, theirs = both(self.case.bundle())
        self.assertEqual((ours, ours[1]), (theirs, {"E-SCHEMA"}))

    def test_what_an_answer_file_says(self):
        """Its records are the stated ones to the byte, and nothing in it says that another collected it or that evidence ended it."""
        control, options = self.case.predicate["controls"][0], ("--tokenizer", self.tokenizer)
        for one in both(self.case.bundle(), self.case.files[1:], *options): self.assertEqual(one[:2], (0, set()))
        for change in [{"records": control["records"] | {"sha256": "0" * 64}}, {"stopped": True}, {"collection": "replicated without the key"}]:
            case = copy.deepcopy(self.case)
            case.predicate["controls"][0] |= change
            case.conclude()
            for one in both(case.bundle(), case.files[1:], *options): self.assertEqual(one[:3], (1, {"E-RECORDS"}, None))
        # Another form than prompt and completion is read by the binary only; verify.py leaves it unread, and says so.
        self.case.files[1] = self.case.files[1].replace(b'"completion"', b'"text"')
        self.case.statement["subject"][1]["digest"]["sha256"] = sha(self.case.files[1])
        (_, ours), (_, theirs) = run(self.case.bundle(), self.case.files[1:], *options), rust(self.case.bundle(), self.case.files[1:], *options)
        self.assertEqual((codes(ours), codes(theirs)), (set(), set()))
        self.assertNotIn("model 1: its answer file", str(theirs["not_checked"]))
        self.assertIn("model 1: its answer file is of a form that is not read here", ours["not_checked"])


if __name__ == "__main__":
    unittest.main()
