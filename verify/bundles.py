#!/usr/bin/env python3
"""Bundles for the tests of verify.py, made from the formulas of tests/vectors/oracle.py and a second telling of FORMAT.md; nothing
of verify.py but its canonical form and the fixed texts of schema.json."""
import base64, datetime, functools, hashlib, json, math, pathlib, random, sys
import mpmath as mp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

here = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(here), str(here.parent / "tests" / "vectors")]
import effects, oracle, verify

LETTERS = "abcdefghijklmnopqrstuvwxyzé"  # the test's tokenizer has a token for every byte
NODE = hashlib.sha256(b"node").digest()


def canonical(value):
    return verify.canonical(value).encode()


def sha(raw):
    return hashlib.sha256(raw).hexdigest()


def sealed(payload, kind, seed):
    """A signed envelope; payload is a JSON value, or bytes as they are."""
    key, raw = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32), payload if isinstance(payload, bytes) else canonical(payload)
    public = key.public_key().public_bytes_raw()
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(raw), raw)
    signature = {"keyid": sha(public), "public_key": public.hex(), "sig": base64.b64encode(key.sign(message)).decode()}
    return {"payload": base64.b64encode(raw).decode(), "payloadType": kind, "signatures": [signature]}


def tokenizer(merges=()):
    """A token for every byte; and one, from 257 on, for each of some pairs of letters."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    odd = [byte for byte in range(256) if byte not in plain]
    vocab = {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(odd)} | {pair: 257 + i for i, pair in enumerate(merges)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    end = {"id": 256, "content": "<end>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return json.dumps({"version": "1.0", "truncation": None, "padding": None, "model": {"type": "BPE", "vocab": vocab, "merges": [" ".join(pair) for pair in merges]},
                       "decoder": byte_level, "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None,
                       "added_tokens": [end]}).encode()


def slow_quoted(prompt, text):
    """Two neighbouring bytes, read as the letters that they touch and without white space around, that stand in the prompt."""
    raw, out = (text + "<end>").encode(), []
    tokens = [raw[i:i + 1] for i in range(len(text.encode()))] + [b"<end>"]
    at = 0
    for i in range(len(tokens) - 1):
        start, end = at, at + len(tokens[i]) + len(tokens[i + 1])
        while start and raw[start] & 0xC0 == 0x80:
            start -= 1
        while end < len(raw) and raw[end] & 0xC0 == 0x80:
            end += 1
        two = raw[start:end].decode().strip()
        if two and two in prompt:
            if out and out[-1][1] == i + 1:
                out[-1][1] += 1
            else:
                out.append([i, i + 2])
        at += len(tokens[i])
    return out


def record(prompt, text, round_=0):
    """The record of an answer without letters of several bytes beside each other, by a tokenizer without merges."""
    return {"prompt": prompt, "text": text + "<end>", "prompt_tokens": [*prompt.encode()], "tokens": [*text.encode(), 256],
            "quoted": slow_quoted(prompt, text), "round": round_}


def inclusion(hashes, index):
    """The inclusion proof of one of a tree's leaf hashes, lowest sibling first, and the tree's root: RFC 9162, 2.1.3."""
    if len(hashes) == 1:
        return [], hashes[0]
    k = 1 << (len(hashes) - 1).bit_length() - 1
    (left, a), (right, b) = inclusion(hashes[:k], min(index, k - 1)), inclusion(hashes[k:], max(index - k, 0))
    return (left + [b] if index < k else right + [a]), hashlib.sha256(b"\1" + a + b).digest()


def drawn_at(round_):
    """When a round of drand/quicknet is drawn; None for other rounds."""
    if round_ and round_["source"] == "drand/quicknet":
        return (datetime.datetime(2023, 8, 23, 15, 9, 27) + datetime.timedelta(seconds=3 * (round_["round"] - 1))).isoformat() + "Z"


class Case:
    """A registered test of a suspect and one control, with everything that its bundle needs.

    `records` are the rows of suspect and controls where they are not to be made up; `committed` names and nodes of the committed keys, of
    which number `opened` serves; `references` unmarked models stand beside; `source` the beacon's source and round, and its signature where the beacon is that signature's value."""

    def __init__(self, scheme="greenlist", weights="sqrt", width=1, bias=0.6, gamma=0.5, stopping="fixed", rounds=1, answers=6,
                 length=60, resample=5, block=0, seed=1, quotes=False, beacon="", draw="", source=("lottery", 5, None), alpha=1e-6,
                 committed=(("a", b"a" * 32), ("b", b"b" * 32), ("main", NODE)), opened=-1, records=None, merges=(), references=0):
        self.rnd, self.width, self.scheme, self.gamma, self.block, self.weights = random.Random(seed), width, scheme, gamma, block, weights
        opened, size = opened % len(committed), len(committed)
        self.node = committed[opened][1]
        beacon = sha(bytes.fromhex(source[2])) if source[2] else beacon
        below = ["beacon", beacon] if beacon else []
        self.key = oracle.prf_key(functools.reduce(oracle.child_key, below, self.node), scheme, width)
        layer = {"name": "main", "scheme": scheme, "width": width, "prf": "chacha20-v1"}
        if scheme == "greenlist":
            layer |= {"gamma": gamma, "delta": 2.0} | ({"block": block} if block else {})
        # Before the beacon is drawn, the profile says that it awaits one; a leaf names the round.
        awaiting, self.profile = (json.dumps({
            "profile": "watermark-profile/1", "name": "t", "path": "epoch/1"} | ({"beacon": value} if beacon else {}) | {
            "layers": [layer], "tokenizer": {"sha256": sha(tokenizer(merges)), "vocab_size": 257 + len(merges), "special_token_ids": [256]},
            "repeats": "unmarked"}, indent=1) for value in (None, beacon))
        round_ = {"beacon": {"round": source[1], "source": source[0]}} if beacon else {}
        self.salts = [hashlib.sha256(b"salt %d" % i).digest() for i in range(size)]
        self.leaves = [round_ | {"commitment": oracle.commitment(node, salt).hex(), "path": f"epoch/1/layer/{name}", "profile_sha256": sha(awaiting.encode())}
                       for (name, node), salt in zip(committed, self.salts)]
        self.hashes = [hashlib.sha256(b"\0" + canonical(one)).digest() for one in self.leaves]
        proof, root = inclusion(self.hashes, opened)
        assert root == oracle.merkle_root([canonical(one) for one in self.leaves])
        self.head = {"head": "watermark-head/2", "prompt_pools": [], "root": root.hex(),
                     "signed_at": "2026-11-25T01:00:00Z", "tree": "key-commitments", "tree_size": size}
        prompts = [row["prompt"] for row in records[0]] if records else ["".join(self.rnd.choices(LETTERS, k=9)) for _ in range(answers)]
        extra = [] if stopping == "fixed" else ["unasked"] * 2
        # A pool of which the value draws just these prompts, in order: the others stand at the places of later tickets.
        self.pool, self.draw = [], draw
        if draw:
            tickets = sorted(range(20), key=lambda i: hashlib.sha256(b"watermark-draw-v1\0" + bytes.fromhex(draw) + i.to_bytes(8, "little")).digest())
            self.pool = [(prompts + extra + [f"not drawn {i}" for i in range(20)])[tickets.index(i)] for i in range(20)]
        tree = lambda texts: {"count": len(texts), "root": oracle.merkle_root([canonical(p) for p in texts]).hex()}
        self.registration = {
            "registration": "watermark-registration/2", "registered_at": "2026-11-25T02:00:00Z", "question": "Was \"it\" copied? é\n",
            "suspect": "s", "controls": ["c"] if not records or len(records) > 1 else [], "profile_sha256": sha(self.profile.encode()), "layer": "main",
            "key": {"head_sha256": None, "index": opened, "leaf_sha256": self.hashes[opened].hex(), "path": "epoch/1/layer/main", "tree_size": size},
            "access": "answers", "weights": "residual" if references else weights, "stopping": stopping, "alpha": alpha, "resample": resample, "earlier": [sha(b"earlier")],
            "prompts": tree(prompts + extra) | {"draw": None}}
        if draw:
            self.registration["prompts"] |= {"root": None, "draw": {"beacon": {"round": 9, "source": "lottery"}, "pool": tree(self.pool)}}
            self.head["prompt_pools"] = [tree(self.pool)]
        # References answer the prompts in another order, the first one twice, and something else that counts for nothing.
        self.beside = [[self.answer(prompt, 0, length, 0, quotes) for prompt in prompts[::-1] + prompts[:1]] for _ in range(references)]
        beside = [b"".join(canonical(row) + b"\n" for row in rows) for rows in self.beside]
        beside_files = [self.file(raw + canonical(self.answer("not asked", 0, 9, 0, False))) for raw in beside]
        if references:
            self.registration["references"] = [{"model": f"r{i}", "sha256": sha(raw)} for i, raw in enumerate(beside_files)]
            self.head["references"] = [sha(raw) for raw in beside_files]
        self.records, samples, self.mixture = [], [], None  # a control's mixture is the suspect's
        for at, (name, strength) in enumerate([("s", bias), ("c", 0)][:len(records or "sc")]):
            # The control's answers are a file, which says no times: one round, or one of every answer's own.
            round_ = lambda i: i * rounds // answers if name == "s" else i if extra else 0
            rows = records[at] if records else [self.answer(prompt, strength, length, round_(i), quotes) for i, prompt in enumerate(prompts)]
            self.records.append(b"".join(canonical(row) + b"\n" for row in rows))
            samples.append(self.sample(name, rows, prompts, extra))
        self.files = [*map(self.file, self.records), *beside_files]
        self.records += beside
        shapes = verify.SCHEMA["predicate"]["properties"]
        fixed = {name: shape["const"] for name, shape in shapes.items() if "const" in shape}
        self.predicate = fixed | {
            "signed_at": "2026-11-25T03:00:00Z", "software": "test 0", "registration": None, "profile": self.profile,
            "key": {"head": None, "leaf": self.leaves[opened], "proof": [one.hex() for one in proof],
                    "beacon": {"signature": source[2], "value": beacon} if beacon else None,
                    "opening": {"node": self.node.hex(), "salt": self.salts[opened].hex()}},
            "prompts": {"root": tree(prompts + extra)["root"], "beacon": {"signature": None, "value": draw} if draw else None},
            "family": {"method": "bonferroni", "size": size},
            "suspect": samples[0], "controls": samples[1:], "resampling": {"seed": None, "keys": resample, "at_least": None},
            "earlier": [{"registration_sha256": sha(b"earlier"), "evidence_sha256": None, "verdict": None}],
            "time_stamps": {"head": None, "registration": None}}
        if references:
            self.predicate["references"] = self.measured_references
        self.statement = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "watermark-evidence/2", "predicate": self.predicate,
                          "subject": [{"digest": {"sha256": sha(raw)}, "name": f"{i}.jsonl"} for i, raw in enumerate(self.files)]}
        self.seal()
        self.conclude()

    @staticmethod
    def file(raw):
        return b"".join(json.dumps({"prompt": row["prompt"], "completion": row["text"]}).encode() + b"\n" for row in map(json.loads, raw.splitlines()))

    def green(self, word):
        size = oracle.green_threshold(repr(self.gamma))
        return self.block * size <= word < (self.block + 1) * size

    def score(self, key, context, token):
        word = oracle.word(key, list(context), token)
        return int(self.green(word)) if self.scheme == "greenlist" else oracle.gumbel_q32(word)

    def answer(self, prompt, strength, length, round_, quotes):
        text = ""
        while len(text) < length:
            context = [*text.encode()][-self.width:] if self.width else []
            options = self.rnd.choices(LETTERS, k=4)
            if len(context) == self.width and self.rnd.random() < strength:
                options.sort(key=lambda letter: -self.score(self.key, context, letter.encode()[0]))
            text += options[0] + " " * (self.rnd.random() < .05)
        return record(prompt, text + prompt[:5] * quotes, round_)

    def pairs(self, rows, others=()):
        """A second telling of FORMAT.md, section 4, position by position; what stands in prompts of `others` or is quoted there is left out too."""
        w, seen, out, totals = self.width, {}, {}, dict.fromkeys(("n_scored", "n_duplicate", "n_excluded", "n_short_context"), 0)
        for row in rows:
            asked = [r for r in rows if r["round"] <= row["round"]] + [*others]
            banned = {tuple(ids[i:i + w + 1]) for r in asked for ids in [r["prompt_tokens"], *(r["tokens"][a:b] for a, b in r["quoted"])]
                      for i in range(len(ids) - w)}
            since = -1
            for i, token in enumerate(row["tokens"]):
                if token == 256:
                    totals["n_excluded"], since = totals["n_excluded"] + 1, i
                elif i - since - 1 < w:
                    totals["n_short_context"] += 1
                elif (pair := tuple(row["tokens"][i - w:i + 1])) in banned:
                    totals["n_excluded"] += 1
                    out.setdefault(pair, [row["round"], 0])[1] += out.get(pair, [row["round"]])[0] == row["round"]
                elif pair in seen:
                    totals["n_duplicate"] += 1
                    seen[pair][1] += seen[pair][0] == row["round"]
                else:
                    seen[pair] = [row["round"], 1]
                    totals["n_scored"] += 1
        counts = lambda rows: {pair: count for pair, (_, count) in rows.items()}
        return counts(seen), counts(out), dict.fromkeys(banned, 1), totals

    def classes(self, pairs, key):
        classes = {}
        for (*context, token), count in pairs.items():
            n, s = classes.get(count, (0, 0))
            classes[count] = n + 1, s + self.score(key, context, token)
        return dict(sorted(classes.items()))

    def weight(self, count):
        return oracle.weight_sqrt(count) if self.weights == "sqrt" else 1

    def logs(self, classes):
        n, g = sum(a for a, _ in classes.values()), sum(b for _, b in classes.values())
        if n == 0:
            return [0, 0, 0]
        s, gamma, green = mp.mpf(g) / 2**32, mp.mpf(self.gamma), self.scheme == "greenlist"
        distinct = oracle.log10_binom_sf(g, n, gamma) if green else oracle.log10_gamma_sf(n, s)
        if self.weights == "none":
            return [distinct, distinct, oracle.ln_e_green(g, n, gamma) if green else oracle.ln_e_gumbel(n, s)]
        if green:
            bound = oracle.log10_weighted_green(classes, repr(self.gamma))
            tilts, mean = [.01, .02, .04, .08, .16, .32, .64, 1.28], lambda y: 1 - gamma + gamma * mp.exp(y)
        else:
            rows = [(mp.mpf(oracle.weight_sqrt(c)), a, mp.mpf(b) / 2**32) for c, (a, b) in classes.items()]
            total, top = sum(w * b for w, _, b in rows), max(w for w, *_ in rows)
            value = lambda t: -t * total - sum(a * mp.log(1 - t * w) for w, a, _ in rows)
            root = mp.findroot(lambda t: mp.diff(value, t), (mp.mpf(0), mp.mpf("0.5") / top)) if total > sum(w * a for w, a, _ in rows) else 0
            bound = value(root) / mp.log(10)
            tilts, mean = [.0025, .005, .01, .02, .05, .11], lambda y: 1 / (1 - y)
        product = lambda t: mp.fprod(mp.exp(y * mp.mpf(b) / (1 if green else 2**32)) / mean(y) ** a for c, (a, b) in classes.items()
                                     for y in [mp.mpf(repr(t)) * (mp.mpf(oracle.weight_sqrt(c)) / 65536 if green else min(mp.mpf(oracle.weight_sqrt(c)) / 65536, 8))])
        return [bound, distinct, mp.log(sum(map(product, tilts)) / len(tilts))]

    def low(self, classes, weights):
        """Chernoff's bound of sums as small as these, by Newton's search for the stationary point."""
        green, gamma = self.scheme == "greenlist", mp.mpf(self.gamma)
        weight = {"sqrt": oracle.weight_sqrt, "none": lambda count: 65536}[weights]
        rows = [(mp.mpf(weight(c)) / 65536, a, mp.mpf(b) if green else mp.mpf(b + a) / 2**32)
                for c, (a, b) in classes.items()]
        if sum(w * b for w, _, b in rows) >= sum(w * a * (gamma if green else 1) for w, a, _ in rows):
            return mp.mpf(0)
        if green and not sum(b for *_, b in rows):
            return sum(a for _, a, _ in rows) * mp.log10(1 - gamma)
        value = lambda t: sum(t * w * b + a * mp.log(1 - gamma + gamma * mp.exp(-t * w) if green else 1 / (1 + t * w)) for w, a, b in rows)
        return value(mp.findroot(lambda t: mp.diff(value, t), (mp.mpf("0.01"), mp.mpf("0.2")))) / mp.log(10)

    def residuals(self, rows):
        """A second telling of what lies beyond the references, context by context: the weights of pairs, and the references' shares."""
        everybody = [rows, *self.beside]
        counts = [self.pairs(one, [r for other in everybody if other is not one for r in other])[0] for one in everybody]
        contexts, expected = {pair[:-1] for pair in counts[0]}, []
        for own in counts[1:]:
            expected.append({})
            for context in contexts:
                n = sum(count for pair, count in counts[0].items() if pair[:-1] == context) * 65536
                there = {pair: count for pair, count in own.items() if pair[:-1] == context}
                expected[-1] |= {pair: count * n // (sum(there.values()) + 1) for pair, count in there.items()}
        # All mixtures in sixteenths, for the nearest: the sum of squares is convex, and these are few.
        every = sorted({*counts[0], *(pair for one in expected for pair in one)})
        def distance(parts):
            return sum((16 * 256 * counts[0].get(pair, 0) - sum(k * (one.get(pair, 0) // 256) for k, one in zip(parts, expected))) ** 2 for pair in every)
        mixtures = [[16]] if len(expected) == 1 else [[16 - k, k] for k in range(17)]
        self.mixture = min(mixtures, key=distance) if self.mixture is None else self.mixture
        mixed = {pair: sum(k * one.get(pair, 0) for k, one in zip(self.mixture, expected)) // 16 for pair in every}
        weights = {pair: oracle.weight_residual(65536 * counts[0].get(pair, 0), mixed[pair]) for pair in every}
        told = [one for k, one in zip(self.mixture, expected) if k] if sum(k > 0 for k in self.mixture) > 1 else []
        unseen = [{pair: oracle.weight_residual(0, n) for pair, n in one.items()} for one in [mixed, *told]]
        return {pair: w for pair, w in weights.items() if w}, [{pair: w for pair, w in one.items() if w} for one in unseen]

    def signed(self, weights, key):
        classes = {}
        for (*context, token), w in weights.items():
            n, s = classes.get(w, (0, 0))
            classes[w] = n + 1, s + self.score(key, context, token)
        return [(w, n, s) for w, (n, s) in sorted(classes.items())]

    def signed_log10_p(self, classes):
        return oracle.log10_signed(classes, repr(self.gamma) if self.scheme == "greenlist" else None)

    def sample(self, name, rows, prompts, extra):
        pairs, out, asked, totals = self.pairs(rows, [row for one in self.beside for row in one])
        classes, out, asked = (self.classes(part, self.key) for part in (pairs, out, asked))
        listed = lambda classes: [{"count": c, "pairs": a, "score": str(b)} for c, (a, b) in classes.items()]
        log10_p, distinct, ln_e = map(float, self.logs(classes))
        lines = [canonical(row) for row in rows]
        proof = self.grown(prompts, extra) if extra else []
        self.suspect_pairs = pairs if name == "s" else self.suspect_pairs
        beside = {}
        if self.beside:
            weights, counts = self.residuals(rows)
            signed = self.signed(weights, self.key)
            weighed = lambda classes: [{"weight": w, "pairs": n, "score": str(s)} for w, n, s in classes]
            beside = {"residuals": {"classes": weighed(signed), "mixture": self.mixture},
                      "statistic": str(sum(w * s for w, _, s in signed)), "weight": str(sum(w * n for w, n, _ in signed)), "log10_p": float(self.signed_log10_p(signed)),
                      "ln_e": float(oracle.ln_e_signed(signed, repr(self.gamma) if self.scheme == "greenlist" else None))}
            if name == "s":
                self.suspect_weights = weights
                expected = [self.signed(one, self.key) for one in counts]
                first, *lows = [float(self.signed_log10_p(one)) for one in expected]
                low = min(0.0, first, *[min(lows) + math.log10(len(lows))] if lows else [])
                models = [{"model": f"r{i}", "tokens": sum(len(row["tokens"]) for row in rows), "n_prompts": len({row["prompt"] for row in rows}),
                           "n_empty": sum(not row["text"].strip() for row in rows), "records": self.digests([canonical(row) for row in rows])}
                          for i, rows in enumerate(self.beside)]
                self.measured_references = {"agree": None, "log10_p": low, "models": models,
                                            "expected": [{"classes": weighed(one), "log10_p": p} for one, p in zip(expected, [first, *lows])]}
        return totals | {
            "model": name, "n_empty": sum(not row["text"].strip() for row in rows), "collection": "not independently witnessed", "stopped": bool(extra) and name == "s", "tokens": sum(len(row["tokens"]) for row in rows),
            "collected": {"first": "2026-11-25T02:00:00Z", "last": "2026-11-25T02:30:00Z"} if name == "s" else None,
            "records": self.digests(lines),
            "prompts_proof": proof, "prompts_root": oracle.merkle_root([canonical(p) for p in prompts]).hex(),
            "classes": listed(classes), "left_out": {"answers": listed(out), "answers_log10_p": float(self.low(out, self.weights)),
                                                     "prompts": listed(asked), "prompts_log10_p": float(self.low(asked, "none"))},
            "score": str(sum(b for _, b in classes.values())), "statistic": str(sum(self.weight(c) * b for c, (_, b) in classes.items())),
            "weight": str(sum(self.weight(c) * a for c, (a, _) in classes.items())), "log10_p": log10_p, "log10_p_distinct": distinct, "ln_e": ln_e} | beside

    @staticmethod
    def digests(lines):
        return {"count": len(lines), "root": oracle.merkle_root(lines).hex(), "sha256": sha(b"".join(line + b"\n" for line in lines))}

    @staticmethod
    def grown(prompts, extra):
        """The consistency proof from 6 to 8 leaves: the old tree is the complete tree of 4 and one of 2."""
        assert (len(prompts), len(extra)) == (6, 2)
        part = lambda texts: oracle.merkle_root([canonical(text) for text in texts]).hex()
        return [part(prompts[4:]), part(extra), part(prompts[:4])]

    def sign(self):
        """Signs head and registration again, and puts into the statement what follows from their bytes."""
        self.predicate["key"]["head"] = sealed(self.head, "application/vnd.watermark.head+json", 7)
        self.registration["key"]["head_sha256"] = sha(canonical(self.predicate["key"]["head"]))
        self.predicate["registration"] = sealed(self.registration, "application/vnd.watermark.registration+json", 8)
        seed = hashlib.sha256(canonical(self.predicate["registration"]) + bytes.fromhex(self.predicate["suspect"]["records"]["root"])).digest()
        self.predicate["resampling"]["seed"] = seed.hex()
        return seed

    def seal(self):
        """The same, and asks the fresh keys that go with those bytes."""
        fresh = oracle.fresh_keys(self.sign(), self.registration["resample"])
        total = lambda key: sum(w * s for w, _, s in self.signed(self.suspect_weights, key)) if self.beside else sum(
            self.weight(c) * s for c, (_, s) in self.classes(self.suspect_pairs, key).items())
        suspect = self.predicate["suspect"]
        least = sum(total(key) >= int(suspect["statistic"]) or suspect["log10_p"] == 0 for key in fresh)
        self.predicate["resampling"]["at_least"] = least

    def conclude(self):
        """What follows from the stated numbers, whatever they are: a second telling of FORMAT.md, section 5."""
        p, reg, suspect, controls = self.predicate, self.registration, self.predicate["suspect"], self.predicate["controls"]
        by_e = reg["stopping"] == "e_process" or suspect["stopped"]
        p_of = lambda sample, by_e: min(0, -sample["ln_e"] / math.log(10)) if by_e else sample["log10_p"]
        key, draw = p["key"]["leaf"].get("beacon"), reg["prompts"]["draw"] and reg["prompts"]["draw"]["beacon"]
        started = [s["collected"]["first"] for s in [suspect, *controls] if s["collected"]]
        fails = {"key_not_ground": drawn_at(key) and (drawn_at(key) <= self.head["signed_at"] or drawn_at(key) > reg["registered_at"]),
                 "prompts_free_of_key": drawn_at(draw) and (drawn_at(draw) <= reg["registered_at"] or drawn_at(draw) > p["signed_at"]),
                 "registered_before_data": drawn_at(draw) and any(first < drawn_at(draw) for first in started)}
        names = ["key_bound", "key_not_ground", "prompts_free_of_key", "tokens_recomputed", "controls_bound", *["references_bound"] * bool(self.beside),
                 "collection_witnessed", "registered_before_data", "earlier_analyses"]
        agree = not self.beside or p["references"]["log10_p"] >= -3
        if self.beside:
            p["references"]["agree"] = agree
        fresh = p["resampling"]
        p |= {"conditions": [{"name": name, "standing": "fails" if fails.get(name) else "word" if i else "holds"} for i, name in enumerate(names)],
              "decided_by": "ln_e" if by_e else "log10_p", "smallest_effect": None,
              "controls_agree": all(p_of(c, c["stopped"] and reg["stopping"] == "e_process") >= -2 - math.log10(len(controls)) for c in controls),
              "exclusion_agrees": min(suspect["left_out"]["answers_log10_p"], suspect["left_out"]["prompts_log10_p"]) >= -3,
              "resampling_agrees": by_e or fresh["keys"] < 999 or fresh["at_least"] == 0
              or oracle.log10_binom_sf(fresh["at_least"], fresh["keys"], mp.mpf(10) ** suspect["log10_p"]) >= -3,
              "answers_present": all(20 * s["n_empty"] <= s["records"]["count"] for s in [suspect, *controls])}
        sound = suspect["n_scored"] and agree and not any(fails.values()) and all(p[f] for f in ("controls_agree", "exclusion_agrees", "resampling_agrees", "answers_present"))
        level = mp.mpf(repr(reg["alpha"])) / reg["key"]["tree_size"]
        p["verdict"] = "inconclusive" if not sound else "detected" if p_of(suspect, by_e) <= mp.log10(level) else "not_detected"
        if p["verdict"] == "not_detected" and not self.beside:
            green, classes = self.scheme == "greenlist", [(c["count"], c["pairs"]) for c in suspect["classes"]]
            value = effects.smallest_effect(green, self.gamma, self.weights, by_e, classes, level)
            p["smallest_effect"] = value and {"of": "ones_share" if green else "mean_score", "power": 0.8, "value": value}

    def bundle(self, seed=9):
        return canonical(sealed(self.statement, "application/vnd.in-toto+json", seed))
