"""Bundles for the tests of pairs.py: a second telling of PAIRS.md on the formulas of tests/vectors/oracle.py and paired_oracle.py; nothing of pairs.py,
and of verify.py what bundles.py takes."""
import hashlib, json, math, random
import mpmath as mp
from bundles import canonical, drawn_at, inclusion, oracle, sealed, sha, verify
import paired_oracle as paired

HEAD, REGISTRATION, STATEMENT = ("application/vnd.watermark.head+json", "application/vnd.watermark.pairs-registration+json", "application/vnd.in-toto+json")
TILTS, CAP, SPECIAL = [".01", ".02", ".04", ".08", ".16", ".32", ".64", "1.28"], 4 << 16, [38, 39]
digest = lambda *parts: hashlib.sha256(b"".join(parts))


def consistency(hashes, old, known=True):
    """SUBPROOF of RFC 9162, 2.1.4.1, and the root of the hashes."""
    root = inclusion(hashes, 0)[1]
    if old == len(hashes):
        return ([] if known else [root]), root
    k = 1 << (len(hashes) - 1).bit_length() - 1
    part, rest = (hashes[:k], hashes[k:]) if old <= k else (hashes[k:], hashes[:k])
    return consistency(part, old if old <= k else old - k, known and old <= k)[0] + [inclusion(rest, 0)[1]], root


def ln_mean(logs):
    return mp.log(sum(map(mp.exp, logs)) / len(logs))


class Case:
    """Answers of `requests` requests, three accounts in turn, what the models think of both candidates, and the bundle. The suspect learned accounts 0
    and 1; with `empty` there are two accounts more, whose requests ended without an answer. `planned` requests were committed to."""

    def __init__(self, requests=10, planned=None, beacon="", source=("lottery", 5), day="2026-11-25", reference=True, law=True, controls=1, first_tokens=None,
                 learned=2.5, leans=0, empty=0, alpha=1e-3, seed=1, invented=0, other_layer=True, length=30, unit=1, missing=None):
        self.rnd, self.first, self.beacon, self.law, self.moved = random.Random(seed), first_tokens, beacon, [], False  # moved: a side may be another than was served
        self.node, self.accounts = hashlib.sha256(b"pairs").digest(), [sha(b"account %d" % i) for i in range(3 + 2 * bool(empty))]
        key, size, self.name = oracle.prf_key(self.node, "paired", 0), requests + empty, "ledger/2026-11"
        self.secrets = [paired.secret(key, f"{self.name}/{i}") for i in range(planned or size)]
        green = [{"name": "a", "scheme": "greenlist", "width": 1, "prf": "chacha20-v1", "gamma": 0.5, "delta": 2.0}] * other_layer
        awaiting, self.profile = (json.dumps({"profile": "watermark-profile/1", "name": "t", "path": "epoch/1"} | ({"beacon": value} if beacon else {}) | {
            "layers": green + [{"name": "pairs", "scheme": "paired", "width": 0, "prf": "chacha20-v1"}], "repeats": "unmarked",
            "tokenizer": {"sha256": sha(b"tokenizer"), "vocab_size": 40, "special_token_ids": SPECIAL}}, indent=1) for value in (None, beacon))
        round_ = {"beacon": {"round": source[1], "source": source[0]}} if beacon else {}
        self.leaf = round_ | {"commitment": oracle.commitment(self.node, b"s" * 32).hex(), "path": "epoch/1/layer/pairs", "profile_sha256": sha(awaiting.encode()),
                              "requests": {"count": len(self.secrets), "ledger": self.name, "root": oracle.merkle_root([*map(paired.leaf, self.secrets)]).hex()}}
        self.rows = [self.answer(i, length if i < requests else 0, invented) for i in range(size)]
        who = lambda row: self.accounts.index(row["account"])
        think = lambda row, t, x: mp.log(self.law[int(row["request"].split("/")[-1])][t].get(x, 3e-4))
        def scores(model, learned=lambda row: 0, noise=.5, left_out=(), equal=False):
            lines = []
            for i, row in enumerate(self.rows):
                rows = []
                for t, (x, y) in enumerate(zip(row["tokens"], row["withheld"])):
                    if y is None or x == y and not equal or (i, t) in left_out:
                        continue
                    both = [think(row, t, z) + self.rnd.gauss(0, noise) + learned(row) * (z == x) for z in (x, y)]
                    rows.append([t, x, y, *(unit * round(65536 * float(score) / unit) for score in both)])
                lines.append({"model": model, "request": row["request"], "scores": [row[:1] + row[2:0:-1] + row[:2:-1] if row[0] % 3 else row for row in rows]})
            return lines
        missing = {(2, t) for t in range(length)} | {(0, 3), (1, 7)} if missing is None else missing
        self.models = [["s", scores("s", lambda row: learned * (who(row) < 2), left_out=missing)]]
        self.models += [[f"c{i}", scores("c", left_out={(0, 3)})] for i in range(controls)]
        self.reference = ["r", scores("r", lambda row: -leans, .2, {(1, 8), (3, 0)})] if reference else None
        self.given_law = ["l", scores("l", noise=0, equal=True)] if law else None
        self.head = {"head": "watermark-head/2", "prompt_pools": [], "signed_at": f"{day}T01:00:00Z", "tree": "key-commitments", "tree_size": 3}
        self.answers = {"head": "watermark-head/2", "prompt_pools": [], "signed_at": f"{day}T01:30:00Z", "tree": "answers"}
        self.registration = {
            "registration": "watermark-pairs-registration/1", "registered_at": f"{day}T02:00:00Z", "question": "Learned from \"it\"? é", "suspect": "s",
            "controls": [f"c{i}" for i in range(controls)], "reference": None, "law": None, "profile_sha256": sha(self.profile.encode()),
            "key": {"index": 2, "path": "epoch/1/layer/pairs", "tree_size": 3}, "ledger": {}, "first_tokens": first_tokens, "alpha": alpha,
            "accounts_alpha": 1e-2, "earlier": [sha(b"earlier")]}
        shapes = verify.SCHEMA["pairs_predicate"]["properties"]
        self.predicate = {name: shape["const"] for name, shape in shapes.items() if "const" in shape} | {
            "signed_at": f"{day}T03:00:00Z", "software": "test 0", "profile": self.profile, "ledger": {},
            "key": {"beacon": {"signature": None, "value": beacon} if beacon else None}, "time_stamps": {"head": None, "ledger": None, "registration": None},
            "earlier": [{"registration_sha256": sha(b"earlier"), "evidence_sha256": None, "verdict": None}]}
        self.statement = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "watermark-pairs-evidence/1", "predicate": self.predicate, "subject": []}
        self.fix()
        self.measure_all()

    # -- what is served
    def key(self, i):
        return paired.request_key(self.secrets[i], bytes.fromhex(self.beacon) if self.beacon else bytes(32))

    def answer(self, i, length, invented):
        key, tokens, withheld, laws = self.key(i), [], [], []
        for t in range(length):
            options = self.rnd.sample(range(38), 6) + [38] * (self.rnd.random() < .1)
            raw = [self.rnd.random() + .02 for _ in options]
            laws.append({x: p / sum(raw) for x, p in zip(options, raw)})
            both = paired.candidates(key, t, {x: math.log(p) for x, p in laws[-1].items()})
            coin = paired.coin(key, t)
            tokens.append(both[coin])
            withheld.append(both[1 - coin] if self.rnd.random() > .03 else None)
            if self.rnd.random() < invented:  # what no law gives, chosen so that the key's order is kept
                fits = [x for x in range(38) if x not in laws[-1] and x != both[coin] and self.served_of(key, t, (both[coin], x)) == coin]
                withheld[-1] = self.rnd.choice(fits) if fits else withheld[-1]
        self.law.append(laws)
        return {"account": self.accounts[i % 3] if length else self.accounts[-1 - i % 2], "prompt_tokens": [i, 5][:i], "request": f"{self.name}/{i}",
                "salt": sha(b"salt %d" % i), "secret": self.secrets[i].hex(), "time_ms": 1_795_000_000_000 + i, "tokens": tokens, "withheld": withheld}

    @staticmethod
    def served_of(key, t, two):
        """Which draw the first of two candidates is of."""
        g = [[-mp.log(-mp.log((mp.mpf(paired.word(key, t, d, x)) + .5) / 2**32)) for d in (0, 1)] for x in two]
        return int((g[0][0] - g[1][0]) < (g[0][1] - g[1][1]))

    # -- what follows
    def entries(self):
        for i, row in enumerate(self.rows):
            answer = canonical({name: row[name] for name in ("prompt_tokens", "request", "tokens", "withheld")})
            yield canonical({"account": row["account"], "answer": digest(b"watermark-answer-v1\0", bytes.fromhex(row["salt"]), answer).hexdigest(),
                             "index": i, "key": "epoch/1", "time_ms": row["time_ms"]})

    def fix(self):
        """The two trees, of the keys and of the ledger, as they are before the registration."""
        other = [{"commitment": sha(name), "path": f"epoch/1/layer/{name.decode()}", "profile_sha256": sha(name)} for name in (b"a", b"b")]
        hashes = [digest(b"\0", canonical(one)).digest() for one in [*other, self.leaf]]
        proof, root = inclusion(hashes, 2)
        self.head["root"], self.registration["key"]["leaf_sha256"] = root.hex(), hashes[2].hex()
        self.predicate["key"] |= {"leaf": self.leaf, "proof": [one.hex() for one in proof]}
        self.answers |= {"root": oracle.merkle_root([*self.entries()]).hex(), "tree_size": len(self.rows)}
        self.registration["ledger"]["size"] = len(self.rows)
        leaves = [digest(b"\0", paired.leaf(one)).digest() for one in self.secrets]
        self.predicate["ledger"]["requests_proof"] = [one.hex() for one in consistency(leaves, len(self.rows))[0]]

    def places(self):
        """(request, position, served, withheld) of the positions that count; the same of those with a second candidate, and which draws they are of;
        and counts of the others."""
        found, drawn, out = [], [], {"n_equal": 0, "n_special": 0, "n_without_candidate": 0, "requests": len(self.rows)}
        for i, row in enumerate(self.rows):
            for t, (x, y) in list(enumerate(zip(row["tokens"], row["withheld"])))[:self.first]:
                why = "n_without_candidate" if y is None else "n_special" if x in SPECIAL or y in SPECIAL else "n_equal" if x == y else ""
                if why:
                    out[why] += 1
                else:
                    found.append((i, t, x, y))
                if y is not None:
                    side = paired.coin(self.key(i), t) if x == y or not self.moved else self.served_of(self.key(i), t, (x, y))
                    drawn.append((i, t, (x, side), (y, 1 - side)))
        return found, drawn, out

    def measure(self):
        """Everything that is counted, from the rows and the scores as they are."""
        found, drawn, self.predicate["list"] = self.places()
        table = lambda lines: {(one["request"], row[0]): dict(zip(row[1:3], row[3:])) for one in lines for row in one["scores"]}
        beside = table(self.reference[1]) if self.reference else None
        limit = lambda value: max(-CAP, min(CAP, value))
        def preferences(of, lost):
            for i, t, x, y in found:
                at = (self.rows[i]["request"], t)
                values = [one[at][x] - one[at][y] if at in one else None for one in [of, beside] if one is not None]
                known = None not in values
                yield self.rows[i]["account"], limit(values[0] - sum(values[1:])) if known else lost, known
        def ln_e(values):
            win = lambda y, won: (mp.exp(y) if won else 1) / (mp.mpf(1) / 2 + mp.exp(y) / 2)
            return float(ln_mean([sum(mp.log(win(mp.mpf(t) * abs(v) / 65536, v > 0)) for v in values if v) for t in TILTS]))
        count = lambda rows: {"n_scored": sum(v != 0 for _, v, _ in rows), "n_served_preferred": sum(v > 0 for _, v, _ in rows),
                              "n_ties": sum(v == 0 for _, v, _ in rows), "n_unscored": sum(not known for *_, known in rows)}
        used, samples, by_account = sorted({row["account"] for row in self.rows}), [], {}
        for name, lines in self.models:
            rows = [*preferences(table(lines), 0 if samples else -CAP)]
            by_account[name] = {a: ln_e([v for b, v, _ in rows if b == a]) for a in used}
            whole = ln_e([v for _, v, _ in rows])
            samples.append({"model": name, "whole_ln_e": whole, "ln_e": float(ln_mean([whole, ln_mean([*by_account[name].values()])]))} | count(rows))
            if name == "s":
                accounts = [{"account": a, "requests": sum(row["account"] == a for row in self.rows), "ln_e": by_account["s"][a]} | count([r for r in rows if r[0] == a]) for a in used]
        for one in accounts:
            one["controls_ln_e"] = [by_account[name][one["account"]] for name, _ in self.models[1:]]
        self.predicate |= {"suspect": samples[0], "controls": samples[1:], "accounts": sorted(accounts, key=lambda one: (-one["ln_e"], one["account"])), "reference": None, "draws": None}
        if self.reference:
            own = [beside[at][y] - beside[at][x] if (at := (self.rows[i]["request"], t)) in beside else 0 for i, t, x, y in found]
            self.predicate["reference"] = {"ln_e": ln_e([limit(v) for v in own])}
        if self.given_law:
            law, total = table(self.given_law[1]), 0
            for i, t, *both in drawn:
                for token, d in both:
                    score = law.get((self.rows[i]["request"], t), {}).get(token)
                    u = (mp.mpf(paired.word(self.key(i), t, d, token)) + .5) / 2**32
                    total += int(mp.floor(min(32, -mp.log(u) / mp.exp(mp.mpf(score) / 65536)) * 2**32)) if score is not None else 32 << 32
            n, known = 2 * len(drawn), [(law.get(at, {}), (beside or {}).get(at, {}), x, y) for i, t, x, y in found for at in [(self.rows[i]["request"], t)]]
            own = lambda of, x, y: of[x] - of[y] if x in of and y in of else 0
            prefers = [ln_e([limit(own(of, x, y)) for of, _, x, y in known])]
            if beside is not None:
                prefers.append(ln_e([limit(own(of, x, y) - own(other, x, y)) if of and other else 0 for of, other, x, y in known]))
            tails = n and [mp.mpf(10) ** oracle.log10_gamma_sf(n, mp.mpf(total) / 2**32), mp.gammainc(n, 0, mp.mpf(total + n) / 2**32, regularized=True)]
            self.predicate["draws"] = {"n": n, "log10_p": float(min(0, mp.log10(2 * min(tails)))) if n else 0, "law_ln_e": float(ln_mean(prefers))}

    def measure_all(self):
        self.measure()
        self.conclude()

    def conclude(self):
        """What follows from the stated numbers, whatever they are; and files and signatures."""
        p, reg, keys = self.predicate, self.registration, self.registration["key"]["tree_size"]
        ground, p_of = drawn_at(self.leaf.get("beacon")), lambda ln_e: float(mp.exp(-max(0, ln_e)))
        early = bool(ground) and (ground <= self.head["signed_at"] or ground > self.answers["signed_at"])
        names = ["key_bound", "key_not_ground", "ledger_bound", "draws_blind", "controls_bound", *["references_bound"] * bool(self.reference), "collection_witnessed",
                 "registered_before_data", "earlier_analyses"]
        calm = lambda numbers: all(p_of(one) >= .01 / len(numbers) for one in numbers)
        p |= {"controls_agree": calm([c["ln_e"] for c in p["controls"]]), "reference_agrees": not p["reference"] or p_of(p["reference"]["ln_e"]) >= 1e-3,
              "draws_agree": not p["draws"] or p["draws"]["log10_p"] >= -3 and p_of(p["draws"]["law_ln_e"]) >= 1e-3,
              "conditions": [{"name": name, "standing": "fails" if early and i == 1 else "word" if i else "holds"} for i, name in enumerate(names)]}
        sound = p["controls_agree"] and p["reference_agrees"] and p["draws_agree"] and not early
        sound = sound and 20 * p["list"]["n_without_candidate"] <= p["suspect"]["n_scored"] + p["suspect"]["n_ties"]
        p["verdict"] = "inconclusive" if not sound or not p["suspect"]["n_scored"] else "detected" if p_of(p["suspect"]["ln_e"]) <= reg["alpha"] / keys else "not_detected"
        useful = [sound and one["n_scored"] > 0 and calm(one["controls_ln_e"]) for one in p["accounts"]]
        p_values = sorted((p_of(one["ln_e"]) if ok else 1, i) for i, (one, ok) in enumerate(zip(p["accounts"], useful)))
        adjusted = 0
        for step, (value, i) in enumerate(p_values):
            adjusted = max(adjusted, (len(p_values) - step) * value)
            p["accounts"][i]["verdict"] = "inconclusive" if not useful[i] else "detected" if adjusted <= reg["accounts_alpha"] / keys else "not_detected"
        self.write()

    def write(self):
        """Files with their digests, where these are stated and registered; then signatures."""
        lines = lambda rows: b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        self.files = [b"".join(canonical(row) + b"\n" for row in self.rows), *(lines(rows) for _, rows in self.models)]
        for name, given in (("reference", self.reference), ("law", self.given_law)):
            if given:
                self.files.append(lines(given[1]))
                self.registration[name] = {"model": given[0], "sha256": sha(self.files[-1])}
        self.statement["subject"] = [{"digest": {"sha256": sha(raw)}, "name": f"{i}.jsonl"} for i, raw in enumerate(self.files)]
        self.sign()

    def sign(self):
        self.predicate["key"]["head"], self.predicate["ledger"]["head"] = sealed(self.head, HEAD, 7), sealed(self.answers, HEAD, 6)
        for name in ("key", "ledger"):
            self.registration[name]["head_sha256"] = sha(canonical(self.predicate[name]["head"]))
        self.register()

    def register(self):
        self.predicate["registration"] = sealed(self.registration, REGISTRATION, 8)

    def bundle(self):
        return canonical(sealed(self.statement, STATEMENT, 9))


def leaves(value, path=()):
    """Paths to everything in a JSON value that is no object and no array."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    for name, one in inner or ():
        yield from leaves(one, (*path, name))
    if inner is None:
        yield path


def at(value, path):
    for name in path:
        value = value[name]
    return value


def put(value, path, new):
    at(value, path[:-1])[path[-1]] = new


def other(value):
    """Another value of the same type, as near as may be."""
    if isinstance(value, bool): return not value
    if isinstance(value, int): return value + 1
    if isinstance(value, float): return value + 1e-6 * max(1, abs(value))
    if value is None or len(value) > 64 and " " not in value: return "AAAA" + (value or "")  # base64
    return f"{15 - int(value[0], 16):x}{value[1:]}" if len(value) == 64 and not set(value) - set("0123456789abcdef") else value + "x"
