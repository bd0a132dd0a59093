#!/usr/bin/env python3
"""Checks a `watermark-evidence/1` bundle without any code of the program that made it.

    verify.py evidence.json [--data FILE...] [--tokenizer tokenizer.json] [--resample N] [--trusted-key HEX...] [--json]

FORMAT.md beside this file says what every field means and schema.json of which type it is; codes of findings are those of
FORMAT.md, section 7. Needs `cryptography` (Ed25519, ChaCha20) and `mpmath` (tails to any precision). Exit code 0: integrity
holds, and trust where keys were named, whatever the verdict; 1: it does not; 2: a file cannot be read.
"""
import argparse, base64, contextlib, hashlib, hmac, itertools, json, math, pathlib, re, struct, sys
from collections import Counter, defaultdict
from decimal import Decimal
import mpmath as mp
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

mp.mp.dps = 40  # numbers must agree to 10^-9, and logarithms of factorials of a billion have ten digits before the point
MAX_BUNDLE, MAX_FILE, MAX_PAIRS, MAX_CLASSES = 1 << 24, 1 << 31, 1 << 32, 20_000
SCHEMA = json.loads(pathlib.Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))["$defs"]
COUNTS = ("n_scored", "n_duplicate", "n_excluded", "n_short_context")
TYPES = {"string": [str], "boolean": [bool], "integer": [int], "number": [int, float], "array": [list], "object": [dict],
         "null": [type(None)]}

class Refused(Exception):
    """What does not hold, in words. No text of a file is repeated in it: a stranger wrote that."""

def need(holds, why):
    if not holds:
        raise Refused(why)

# ---- canonical JSON (RFC 8785) and the shape of objects

def canonical(value, depth=0):
    """The canonical text of a parsed value. Whatever is signed or hashed is already in this form."""
    need(depth <= 32, "nested deeper than 32 levels")
    if isinstance(value, list):
        return "[" + ",".join(canonical(item, depth + 1) for item in value) + "]"
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(canonical(name) + ":" + canonical(value[name], depth + 1) for name in names) + "}"
    if isinstance(value, float):  # as ECMAScript writes numbers: `point` digits stand before the decimal point
        need(math.isfinite(value), "a number is not finite")
        _, digits, exponent = Decimal(repr(abs(value))).normalize().as_tuple()
        digits, point, sign = "".join(map(str, digits)), len(digits) + exponent, "-" if value < 0 else ""
        if 0 < point <= 21:
            return sign + (digits.ljust(point, "0") if len(digits) <= point else digits[:point] + "." + digits[point:])
        if -6 < point <= 0:
            return sign + "0." + "0" * -point + digits
        return sign + digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + f"e{point - 1:+d}"
    need(type(value) is not int or abs(value) < 1 << 53, "an integer beyond 2^53 must be a string")
    return json.dumps(value, ensure_ascii=False)

def parse(raw, limit, **options):
    need(len(raw) <= limit, f"longer than {limit} bytes")
    try:
        return json.loads(raw.decode("utf-8"), **options)
    except (ValueError, RecursionError):
        raise Refused("not JSON in UTF-8") from None

def read_canonical(raw, limit, shape):
    """A key given twice, white space or another spelling is lost in parsing, and so shows when the value is written again."""
    value = parse(raw, limit)
    need(canonical(value).encode("utf-8", "surrogatepass") == raw, "the bytes are not their canonical form: they were changed")
    return fits(value, SCHEMA[shape])

def fits(value, schema, where="it"):
    """The part of JSON Schema that schema.json uses; exact types, so that true is not 1."""
    if "$ref" in schema:
        return fits(value, SCHEMA[schema["$ref"].split("/")[-1]], where)
    for one in schema.get("anyOf", []):
        with contextlib.suppress(Refused):
            return fits(value, one, where)
    allowed = [schema["const"]] if "const" in schema else schema.get("enum", [value])
    need("anyOf" not in schema and canonical(value) in map(canonical, allowed), f"{where}: not one of the values allowed")
    need("type" not in schema or type(value) in TYPES[schema["type"]], f"{where}: another type")
    need("pattern" not in schema or re.fullmatch(schema["pattern"], value), f"{where}: not written as it must be")
    if type(value) in (int, float):
        need(schema.get("minimum", value) <= value <= schema.get("maximum", value), f"{where}: out of range")
        need(schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf), f"{where}: out of range")
    if "items" in schema:
        need(schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", MAX_FILE), f"{where}: too many or too few")
        for item in value:
            fits(item, schema["items"], where)
    if "properties" in schema:
        need(value.keys() == schema["properties"].keys(), f"{where}: a field is missing or unknown")
        for name, shape in schema["properties"].items():
            fits(value[name], shape, name)
    return value

# ---- signatures and trees

def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def unhex(texts):
    return [bytes.fromhex(text) for text in texts]

def unbase64(text):
    need(base64.b64encode(base64.b64decode(text)).decode() == text, "base64 with stray bits at its end")
    return base64.b64decode(text)

def check_envelope(envelope):
    """What the signature does not cover is pinned: one signature, keyid = SHA-256 of the key."""
    signature, = envelope["signatures"]
    need(sha256(bytes.fromhex(signature["public_key"])).hex() == signature["keyid"], "keyid is not the SHA-256 of public_key")
    need(len(unbase64(signature["sig"])) == 64, "sig is not 64 bytes")
    return bytes.fromhex(signature["public_key"]), unbase64(signature["sig"]), unbase64(envelope["payload"])

def signed_payload(envelope, kind):
    """The payload under Ed25519 over DSSE's encoding, which puts type and lengths before it."""
    (key, signature, payload), stated = check_envelope(envelope), envelope["payloadType"].encode("utf-8", "surrogatepass")
    try:
        message = b"DSSEv1 %d %s %d %s" % (len(stated), stated, len(payload), payload)
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Refused("the signature does not hold") from None
    need(envelope["payloadType"] == kind, f"payloadType is not {kind}")
    return payload

def leaf(raw):
    return sha256(b"\0", raw)

def node(left, right):
    return sha256(b"\1", left, right)

def half(size):
    """The largest power of two below the size of a tree, where RFC 9162 splits it."""
    return 1 << (size - 1).bit_length() - 1

def tree_root(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256()
    return node(tree_root(leaves[:half(len(leaves))]), tree_root(leaves[half(len(leaves)):]))

def root_above(hash, index, size, proof):
    """The root that an inclusion proof, lowest sibling first, gives a leaf's hash."""
    need(index < size and (size > 1) == bool(proof), "the inclusion proof has another length")
    if size == 1:
        return hash
    if index < half(size):
        return node(root_above(hash, index, half(size), proof[:-1]), proof[-1])
    return node(proof[-1], root_above(hash, index - half(size), size - half(size), proof[:-1]))

def grown(old, old_root, size, proof, whole=True):
    """(root of the first `old` leaves, root of all) that a consistency proof gives, if old_root is right."""
    need(old <= size and (len(proof) == (not whole) if old == size else proof), "the consistency proof has another length")
    if old == size:
        return (old_root, old_root) if whole else (proof[0], proof[0])
    if old <= half(size):
        first, every = grown(old, old_root, half(size), proof[:-1], whole)
        return first, node(every, proof[-1])
    first, every = grown(old - half(size), old_root, size - half(size), proof[:-1], False)
    return node(proof[-1], first), node(proof[-1], every)

# ---- keys, words, scores, tallies

def expand(key, info):
    """HKDF-Expand (RFC 5869) to 32 bytes: one block of HMAC."""
    return hmac.digest(key, info + b"\1", "sha256")

def once(fields):
    need(len(dict(fields)) == len(fields), "a field stands twice")
    return dict(fields)

class Layer:
    """The tested layer of a profile, and how pairs count and score under it."""

    def __init__(self, text, name):
        profile = parse(text.encode("utf-8", "surrogatepass"), 1 << 20, object_pairs_hook=once)
        try:
            layer, = (one for one in profile["layers"] if one["name"] == name)
            tokenizer, self.width, self.green = profile["tokenizer"], layer["width"], layer["scheme"] == "greenlist"
            self.tokenizer, self.vocab_size, self.special = (tokenizer[f] for f in ("sha256", "vocab_size", "special_token_ids"))
            self.key_path, block = "/".join(filter(None, [profile["path"], "layer", name])), layer.get("block", 0)
            fits([*self.special, self.width, self.vocab_size, block], SCHEMA["record"]["properties"]["tokens"])
            more = {"gamma", "delta", "hard", "block"} if self.green else set()
            need(layer.keys() <= {"name", "scheme", "width", "prf"} | more, "the layer has fields that this version does not test")
            need(profile["profile"] == "watermark-profile/1" and layer["scheme"] in ("greenlist", "gumbel"), "version or scheme")
            need(layer["prf"] == "chacha20-v1" and self.width <= 8 and self.vocab_size <= 1 << 24, "PRF, width or vocab_size")
            need(all(token < self.vocab_size for token in self.special), "a special token is not below vocab_size")
            self.gamma = layer["gamma"] if self.green else 1
            size = math.floor(self.gamma * 2**32)
            need(not self.green or 0 < size < 2**32 and (block == 0 or 2**32 % size == 0 and (block + 1) * size <= 2**32), "gamma")
            self.first, self.end = block * size, (block + 1) * size
        except (KeyError, TypeError, ValueError, OverflowError):
            raise Refused("the profile lacks the layer, or a field of it") from None

    def prf_key(self, opened):
        return expand(opened, b"watermark-key-v1\0prf\0" + (b"greenlist" if self.green else b"gumbel") + bytes([0, self.width]))

    def score(self, word):
        """1 or 0 (green list), or floor(2^32 * -ln(1 - word / 2^32)) (Gumbel), which never exceeds the true score."""
        if self.green:
            return int(self.first <= word < self.end)
        score = -math.log1p(-word / 2**32) * 2**32
        if abs(score - round(score)) < 1e-3:  # doubles are good to 1e-4 here: too near a whole number to say which side
            score = -mp.log1p(-mp.mpf(word) / 2**32) * 2**32
        return int(score)

    def plan(self, pairs):
        """Pairs by context and thousand of ids, which share a stretch of key stream: {(*context, token >> 10): [(offset, count)]}."""
        stretches = defaultdict(list)
        for (*context, token), count in pairs.items():
            stretches[(*context, token >> 10)].append((4 * (token & 1023), count))
        return stretches

    def scores(self, key, plan):
        """(count, score) of all pairs under a PRF key. Words are those of ChaCha20 (RFC 8439): the block's counter is token / 16,
        its nonce the context, and the token's word is number token % 16."""
        wide = expand(key, b"watermark-key-v1\0context\0")
        for (*context, stretch), wanted in plan.items():
            nonce = b"".join(token.to_bytes(3, "little") for token in context).ljust(12, b"\0")
            if self.width > 4:
                nonce = hmac.digest(wide, struct.pack(f"<{self.width}I", *context), "sha256")[:12]
            cipher = Cipher(algorithms.ChaCha20(key, struct.pack("<I", stretch << 6) + nonce), None)
            stream = cipher.encryptor().update(bytes(max(wanted)[0] + 4))
            for offset, count in wanted:
                yield count, self.score(int.from_bytes(stream[offset:offset + 4], "little"))

    def tally(self, records):
        """The pairs that count, with how often they occurred in the round that showed them first, and where all tokens went."""
        w, known, pairs, totals = self.width, set(), {}, dict.fromkeys(COUNTS, 0)
        for _, group in itertools.groupby(records, key=lambda record: record["round"]):
            group, fresh = list(group), Counter()
            for record in group:
                for ids in [record["prompt_tokens"]] + [record["tokens"][start:end] for start, end in record["quoted"]]:
                    known.update(tuple(ids[i - w:i + 1]) for i in range(w, len(ids)))
            for record in group:
                usable = 0  # tokens since the record's start or the last special token
                for i, token in enumerate(record["tokens"]):
                    pair = tuple(record["tokens"][i - w:i + 1]) if usable >= w else None
                    if token in self.special or pair in known:
                        totals["n_excluded"] += 1
                    elif pair is None:
                        totals["n_short_context"] += 1
                    else:
                        fresh[pair] += 1
                    usable = 0 if token in self.special else usable + 1
            totals["n_duplicate"] += sum(count - (pair not in pairs) for pair, count in fresh.items())
            pairs = {**fresh, **pairs}
        return pairs, {**totals, "n_scored": len(pairs)}

# ---- tails and e-values

def ln_series(ln_first, ratio):
    """ln of first * (1 + r0 + r0 r1 + ...), whose ratios fall below 1."""
    term = total = mp.mpf(1)
    for i in itertools.count():
        term *= ratio(i)
        total += term
        if term < total * 1e-30:
            return ln_first + mp.log(total)

def ln_binomial(k, n, p):
    """ln P(Bin(n, p) >= k). Of the two tails, the one that lies beyond the mean is summed."""
    if k <= 0 or p >= 1:
        return mp.mpf(0)
    p, upper = mp.mpf(p), k > n * p
    k, odds = k if upper else k - 1, p / (1 - p)
    first = mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1) + k * mp.log(p) + (n - k) * mp.log1p(-p)
    if upper:
        return ln_series(first, lambda i: (n - k - i) * odds / (k + 1 + i))
    return mp.log1p(-mp.exp(ln_series(first, lambda i: (k - i) / odds / (n - k + 1 + i))))

def ln_poisson(k, mean, upper):
    """ln P(N >= k), or of P(N <= k), for N of this mean. P(Gamma(n, 1) >= s) is P(N <= n - 1) at the mean s."""
    if mean == 0 or upper and k <= 0:
        return mp.mpf(0)
    if (k > mean) != upper:
        return mp.log1p(-mp.exp(ln_poisson(k - 1 if upper else k + 1, mean, not upper)))
    first = k * mp.log(mean) - mean - mp.loggamma(k + 1)
    return ln_series(first, (lambda i: mean / (k + 1 + i)) if upper else lambda i: (k - i) / mean)

def ln_tail(layer, n, score, mean=None):
    """ln P(sum of n scores >= score), Gumbel in nats; under the null or, for the power of a test, where scores have a mean."""
    return ln_binomial(score, n, mean or layer.gamma) if layer.green else ln_poisson(n - 1, score / (mean or 1), False)

def numbers(layer, weights, classes):
    """[score, statistic, weight] as whole numbers and [log10_p, log10_p_distinct, ln_e], from the classes alone."""
    rows = [(math.isqrt(c["count"] << 32) if weights == "sqrt" else 1, c["pairs"], int(c["score"])) for c in classes]
    n, total = sum(pairs for _, pairs, _ in rows), sum(score for *_, score in rows)
    sums = [total, sum(w * score for w, _, score in rows), sum(w * pairs for w, pairs, _ in rows)]
    if n == 0:
        return sums, [0, 0, 0]
    need(n < MAX_PAIRS and total < 2**80 and len(rows) <= MAX_CLASSES, "more than this verifier sums over")
    gamma, unit = mp.mpf(layer.gamma), 1 if layer.green else 2**32  # a score's mean, and its scale
    s = mp.mpf(total) / unit
    distinct = ln_tail(layer, n, s) / mp.log(10)
    if weights == "none":
        if layer.green:
            ln_e = (mp.loggamma(1 + s) + mp.loggamma(1 + n - s) - mp.loggamma(n + 2) - s * mp.log(gamma)
                    - (n - s + 1) * mp.log1p(-gamma) + ln_binomial(n + 1 - total, n + 1, 1 - gamma))
        else:
            ln_e = mp.loggamma(n + 1) + s + ln_poisson(n + 1, s, True) - (n + 1) * mp.log(s) if s else -mp.log(n + 1)
        return sums, [distinct, distinct, ln_e]

    def ln_bet(theta, cap=math.inf):  # ln of prod e^(y score) / E[e^(y score)] at y = theta * weight: what this bet has won
        tilts = [theta * min(mp.mpf(w) / 65536, cap) for w, *_ in rows]
        return sum(y * score / unit - pairs * (mp.log1p(gamma * mp.expm1(y)) if layer.green else -mp.log1p(-y))
                   for y, (_, pairs, score) in zip(tilts, rows))
    thetas = (".01 .02 .04 .08 .16 .32 .64 1.28" if layer.green else ".0025 .005 .01 .02 .05 .11").split()
    bets = [ln_bet(mp.mpf(theta), math.inf if layer.green else 8) for theta in thetas]
    ln_e = max(bets) + mp.log(sum(mp.exp(bet - max(bets)) for bet in bets) / len(bets))

    # Chernoff: P(a statistic this large) <= 1 / the largest bet over theta >= 0, which is where the bet's slope changes sign.
    tilted = (lambda y: gamma / (gamma + (1 - gamma) * mp.exp(-y))) if layer.green else lambda y: 1 / (1 - y) if y < 1 else mp.inf
    rises = lambda theta: sum(w * (mp.mpf(score) / unit - pairs * tilted(theta * w / 65536)) for w, pairs, score in rows) > 0
    low, high = mp.mpf(0), mp.mpf(65536) / max(w for w, *_ in rows)
    if layer.green and total == n:
        return sums, [n * mp.log10(gamma), distinct, ln_e]  # no theta is too large
    while layer.green and rises(high):
        low, high = high, 2 * high
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if rises(middle) else (low, middle)
    return sums, [-ln_bet(low) / mp.log(10), distinct, ln_e]

def power(layer, n, alpha, mean):
    """With which probability the exact tail of n pairs of this mean score is at most alpha; None if it cannot be."""
    low, high = (0, n) if layer.green else (mp.mpf(n), n + 9 * mp.sqrt(-n * mp.log(alpha)) - 9 * mp.log(alpha))
    if ln_tail(layer, n, high) > mp.log(alpha):
        return None
    for _ in range(n.bit_length() if layer.green else 80):  # the smallest sum that is significant
        middle = (low + high) // 2 if layer.green else (low + high) / 2
        low, high = (low, middle) if ln_tail(layer, n, middle) <= mp.log(alpha) else (middle, high)
    return mp.exp(ln_tail(layer, n, high, mean))

# ---- the bundle, in the order of FORMAT.md, section 7

class Verifier:
    def __init__(self):
        self.findings, self.unchecked, self.signers, self.samples, self.node = [], [], [], [], None

    @contextlib.contextmanager
    def step(self, code, about=""):
        try:
            yield
        except Refused as refused:
            self.findings.append({"code": code, "what": about + str(refused)})

    def open(self, raw):
        """Takes the bundle apart, and says whether there is something to look at. Nothing is read before its signature holds."""
        code = "E-ENVELOPE"
        try:
            envelope = read_canonical(raw, MAX_BUNDLE, "envelope")
            check_envelope(envelope)
            code = "E-SIGNATURE"
            payload = signed_payload(envelope, "application/vnd.in-toto+json")
            code = "E-SCHEMA"
            self.statement = read_canonical(payload, MAX_BUNDLE, "statement")
            self.predicate = predicate = self.statement["predicate"]
            for stamp in predicate["time_stamps"].values():
                unbase64(stamp or "")
            code, self.registered = "E-REGISTRATION", canonical(predicate["registration"]).encode()
            payload = signed_payload(predicate["registration"], "application/vnd.watermark.registration+json")
            self.registration = reg = read_canonical(payload, 1 << 20, "registration")
            names = [reg["suspect"], *reg["controls"]]
            need(all(names) and len(set(names)) == len(names), "two models have one name, or one has none")
            need(reg["prompts"]["count"] and len(set(reg["earlier"])) == len(reg["earlier"]), "no prompts, or an earlier one twice")
            code = "E-PROFILE"
            need(sha256(predicate["profile"].encode()).hex() == reg["profile_sha256"], "the profile is not the registered one")
            self.layer = Layer(predicate["profile"], reg["layer"])
            need(self.layer.key_path == reg["key_path"], "the layer has another key path than registered")
            code, head = "E-HEAD", predicate["key"]["head"]
            self.head = read_canonical(signed_payload(head, "application/vnd.watermark.head+json"), 1 << 14, "head")
            need(sha256(canonical(head).encode()).hex() == reg["head_sha256"], "the head is not the registered one")
        except Refused as refused:
            self.findings.append({"code": code, "what": str(refused)})
            return False
        self.signers = [one["signatures"][0]["public_key"] for one in (envelope, predicate["registration"], head)]
        self.samples = [predicate["suspect"], *predicate["controls"]]
        return True

    def check(self):
        predicate, reg, head, key, samples = self.predicate, self.registration, self.head, self.predicate["key"], self.samples
        with self.step("E-PROOF"):
            need((key["leaf"]["path"], key["leaf"]["profile_sha256"]) == (reg["key_path"], reg["profile_sha256"]), "path or profile")
            above = root_above(leaf(canonical(key["leaf"]).encode()), key["index"], head["tree_size"], unhex(key["proof"]))
            need(above.hex() == head["root"], "the proof does not lead from the committed key to the signed root")
            with self.step("E-OPENING"):
                if key["opening"]:
                    opened, salt = unhex([key["opening"]["node"], key["opening"]["salt"]])
                    commitment = sha256(b"watermark-commit-v1\0", opened, salt).hex()
                    need(commitment == key["leaf"]["commitment"], "the disclosed key is not the committed one")
                    self.node = opened
        with self.step("E-REGISTERED"):
            need([s["model"] for s in samples] == [reg["suspect"], *reg["controls"]], "suspect or controls are others")
            need([e["registration_sha256"] for e in predicate["earlier"]] == reg["earlier"], "earlier analyses are others")
            need(all((e["evidence_sha256"] is None) == (e["verdict"] is None) for e in predicate["earlier"]), "half an outcome")
            keys, asked = reg["resample"] if samples[0]["n_scored"] else 0, reg["prompts"]
            need(predicate["resampling"]["keys"] == keys, "the number of fresh keys is another")
            need(reg["stopping"] != "fixed" or all(s["records"]["count"] == asked["count"] for s in samples), "answers are missing")
        for i, s in enumerate(samples):
            with self.step("E-PROMPTS", f"sample {i} answers other prompts: "):
                old, roots, proof = s["records"]["count"], unhex([s["prompts_root"], asked["root"]]), unhex(s["prompts_proof"])
                need(old or not proof, "a proof for no prompts")  # an empty tree begins every tree
                proven = grown(old, roots[0], asked["count"], proof) if old else (sha256(), roots[1])
                need(list(proven) == roots, "the consistency proof leads to other roots")
        with self.step("E-TIME"):
            order = [head["signed_at"], reg["registered_at"], predicate["signed_at"]]
            need(order == sorted(order), "committed to, registered and signed in another order")
            spans = [[order[1], s["collected"]["first"], s["collected"]["last"], order[2]] for s in samples if s["collected"]]
            need(all(span == sorted(span) for span in spans), "data of before the registration or of after the signature")
        with self.step("E-SUBJECT"):
            names = [subject["name"] for subject in self.statement["subject"]]
            need(len(set(names)) == len(names) == len(samples), "not one file, with a name of its own, for each model")
        for i, s in enumerate(samples):
            with self.step("E-TALLY", f"sample {i}: "):
                classes = s["classes"]
                need(sum(s[name] for name in COUNTS) == s["tokens"], "the four counts do not add up to the tokens")
                need(all(a["count"] < b["count"] for a, b in zip(classes, classes[1:])), "the classes do not rise")
                need(sum(c["pairs"] for c in classes) == s["n_scored"], "the classes have another number of pairs")
                need(sum((c["count"] - 1) * c["pairs"] for c in classes) <= s["n_duplicate"], "the classes repeat too often")
                need(not self.layer.green or all(int(c["score"]) <= c["pairs"] for c in classes), "more green pairs than pairs")
                sums, logs = numbers(self.layer, reg["weights"], classes)
                need([s["score"], s["statistic"], s["weight"]] == [*map(str, sums)], "score, statistic or weight")
                with self.step("E-TAIL", f"sample {i}: "):
                    stated = [s["log10_p"], s["log10_p_distinct"], s["ln_e"]]
                    need(all(abs(a - b) <= 1e-9 * max(1, abs(b)) for a, b in zip(stated, logs)), "log10_p or ln_e")
        with self.step("E-VERDICT"):
            self.check_verdict(predicate, reg, predicate["resampling"], *samples)

    def check_verdict(self, predicate, reg, fresh, suspect, *controls):
        seed = sha256(self.registered, bytes.fromhex(suspect["records"]["root"])).hex()
        need(fresh["seed"] == seed and fresh["at_least"] <= fresh["keys"], "the fresh keys are others")
        by_e = reg["stopping"] == "e_process" or suspect["stopped"]
        deciding = lambda s, by_e: min(0, -s["ln_e"] / math.log(10)) if by_e else s["log10_p"]
        agree = all(deciding(c, c["stopped"]) >= -2 - math.log10(len(controls)) for c in controls)
        rate = mp.mpf(10) ** min(0, max(suspect["log10_p"], -300))
        kept = by_e or fresh["keys"] < 999 or ln_binomial(fresh["at_least"], fresh["keys"], rate) >= -3 * mp.log(10)
        shown = deciding(suspect, by_e) <= math.log10(reg["alpha"])
        verdict = "inconclusive" if not (suspect["n_scored"] and agree and kept) else "detected" if shown else "not_detected"
        stated = [predicate[name] for name in ("decided_by", "controls_agree", "resampling_agrees", "verdict")]
        need(stated == ["ln_e" if by_e else "log10_p", agree, kept, verdict], "the verdict does not follow from the numbers")
        need(not predicate["smallest_effect"] or predicate["smallest_effect"]["value"] > 0, "smallest_effect")
        effect, alpha, null = predicate["smallest_effect"], mp.mpf(reg["alpha"]), {"value": self.layer.gamma}
        reached = power(self.layer, suspect["n_scored"], alpha, (effect or null)["value"]) if verdict == "not_detected" else None
        need((reached is None) == (effect is None), "smallest_effect does not go with the verdict")
        of = {"of": "ones_share" if self.layer.green else "mean_score", "power": 0.8, "value": (effect or null)["value"]}
        need(effect is None or effect == of and abs(reached - 0.8) < 1e-7, "smallest_effect has another power")

    def data(self, files, tokenizer, resample):
        """Reads the records of samples and counts and scores them again; answer files are compared with their records."""
        pieces, answers, texts = None, {}, {}
        self.unchecked = ["whether time stamps hold (`openssl ts -verify`)", "that ids are the tokenizer's own for these texts"]
        try:
            pieces = byte_level(tokenizer)
        except Refused as refused:
            self.unchecked.append(f"whether ids spell the texts: {refused}")
        for raw in files:
            digest = sha256(raw).hex()
            answers |= {i: raw for i, subject in enumerate(self.statement["subject"]) if subject["digest"]["sha256"] == digest}
            mine = [(i, s) for i, s in enumerate(self.samples) if s["records"]["sha256"] == digest]
            with self.step("E-DATA"):
                need(mine or raw in answers.values(), "a file is neither an answer file nor a records file of this bundle")
            for i, s in mine:
                with self.step("E-RECORDS", f"sample {i}: "):
                    records = self.records(s, raw, pieces)
                    texts[i] = [(record["prompt"], record["text"]) for record in records]
                    with self.step("E-RECOMPUTED", f"sample {i}: "):
                        self.recompute(s, records, resample if i == 0 else 0)
        for i, raw in answers.items():
            with contextlib.suppress(Refused, KeyError, TypeError):
                rows = [parse(line, MAX_FILE) for line in raw.splitlines()]
                rows = [(row["prompt"], row["text"]) for row in rows]
                with self.step("E-RECORDS", f"sample {i}: "):
                    need(texts.get(i) == rows, "the records are not the answers of the answer file")
        self.unchecked += [f"sample {i}: nothing was recounted" for i in range(len(self.samples)) if i not in texts]

    def records(self, s, raw, pieces):
        *lines, rest = raw.split(b"\n")
        need(not rest, "the last record does not end in a newline")
        records = [read_canonical(line, MAX_FILE, "record") for line in lines]
        prompts = tree_root([leaf(canonical(record["prompt"]).encode()) for record in records]).hex()
        stated = [s["records"]["count"], s["records"]["root"], s["prompts_root"]]
        need([len(lines), tree_root([*map(leaf, lines)]).hex(), prompts] == stated, "count, root or prompts_root")
        need(all(a["round"] <= b["round"] for a, b in zip(records, records[1:])), "rounds fall")
        for record in records:
            ids, edges = record["tokens"], [0, *itertools.chain(*record["quoted"]), len(record["tokens"])]
            need(all(token < self.layer.vocab_size for token in ids + record["prompt_tokens"]), "an id past vocab_size")
            need(edges == sorted(edges) and all(a < b for a, b in record["quoted"]), "quoted: not a row of stretches")
            if pieces:
                need(decode(pieces, record["prompt_tokens"]) == record["prompt"].encode(), "the ids of a prompt spell another text")
                need(decode(pieces, ids) == record["text"].encode(), "the ids of an answer spell another text")
                need(quoted(pieces, record) == record["quoted"], "quoted: not what the answer quotes")
        return records

    def recompute(self, s, records, resample):
        pairs, totals = self.layer.tally(records)
        need(totals == {name: s[name] for name in COUNTS}, "the four counts are others")
        counts, plan = Counter(pairs.values()), self.layer.plan(pairs)
        need([[c["count"], c["pairs"]] for c in s["classes"]] == [[*row] for row in sorted(counts.items())], "the classes are others")
        if not self.node:
            return
        score = Counter()
        for count, one in self.layer.scores(self.layer.prf_key(self.node), plan):
            score[count] += one
        need([int(c["score"]) for c in s["classes"]] == [score[count] for count in sorted(counts)], "the scores are others")
        fresh, weights = self.predicate["resampling"], self.registration["weights"]
        weight = {count: math.isqrt(count << 32) if weights == "sqrt" else 1 for count in counts}
        root, hits = hmac.digest(b"watermark-resample-v1", bytes.fromhex(fresh["seed"]), "sha256"), 0
        for i in range(keys := min(fresh["keys"], resample)):
            statistic = sum(weight[count] * one for count, one in self.layer.scores(expand(root, struct.pack("<I", i)), plan))
            hits += statistic >= int(s["statistic"]) or s["log10_p"] == 0  # the tail falls as the statistic grows
        need(hits <= fresh["at_least"] <= hits + fresh["keys"] - keys, "at_least: the fresh keys give another number")
        if keys < fresh["keys"] and resample:
            self.unchecked.append(f"{keys} of {fresh['keys']} fresh keys were drawn, {hits} of them as good as the true one")

# ---- tokens and text, for tokenizers of byte-level BPE

def byte_level(raw):
    """What text each id stands for."""
    need(raw, "no --tokenizer")
    tokenizer = parse(raw, MAX_FILE)
    try:
        plain = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes that stand for themselves; the others follow 255
        letters = dict(zip(map(chr, plain + [256 + i for i in range(68)]), plain + sorted({*range(256)} - {*plain})))
        need(tokenizer["model"]["type"] == "BPE" and tokenizer["decoder"]["type"] == "ByteLevel", "not byte-level BPE")
        need(not tokenizer["normalizer"] and not tokenizer["pre_tokenizer"].get("add_prefix_space"), "it changes texts")
        pieces = {id: bytes(letters[letter] for letter in token) for token, id in tokenizer["model"]["vocab"].items()}
        pieces |= {token["id"]: token["content"].encode() for token in tokenizer["added_tokens"]}
        need(all(pieces.values()), "tokens without text")
        return pieces
    except (KeyError, TypeError, AttributeError, ValueError):
        raise Refused("a tokenizer that cannot be read") from None

def decode(pieces, ids):
    return b"".join(pieces.get(token, b"\xff") for token in ids)

def quoted(pieces, record):
    """Stretches of neighbouring tokens whose text, any two of them together, stands in the prompt."""
    text, ids, runs = record["text"], record["tokens"], []
    letter = [i for i, one in enumerate(text) for _ in one.encode()]  # of each byte; a token may end inside of a letter
    ends = [0, *itertools.accumulate(len(pieces[token]) for token in ids)]
    for i in range(len(ids) - 1):
        two = text[letter[ends[i]]:letter[ends[i + 2] - 1] + 1].strip(WHITE)
        if two and two in record["prompt"]:
            if runs and runs[-1][1] == i + 1:
                runs[-1][1] = i + 2
            else:
                runs.append([i, i + 2])
    return runs

WHITE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200b)))

def read(path):
    with open(path, "rb") as file:
        return file.read(MAX_FILE + 1)

def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("--data", nargs="+", default=[], metavar="FILE", help="records files, and answer files beside them")
    parser.add_argument("--tokenizer", metavar="FILE", help="tokenizer.json, to check that ids spell the texts")
    parser.add_argument("--resample", type=int, default=1 << 20, metavar="N", help="draw the first N fresh keys only")
    parser.add_argument("--trusted-key", action="append", metavar="HEX", help="public keys that may have signed")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    asked, v = parser.parse_args(arguments), Verifier()
    try:
        raw, files, tokenizer = read(asked.bundle), [*map(read, asked.data)], asked.tokenizer and read(asked.tokenizer)
        if v.open(raw):
            v.check()
            if tokenizer and sha256(tokenizer).hex() != v.layer.tokenizer.lower():
                raise OSError("the tokenizer is not the one that the profile names")
            v.data(files, tokenizer, asked.resample)
    except OSError as error:
        parser.exit(2, f"{error}\n")
    integrity, trust = not v.findings, None
    if asked.trusted_key and v.signers:
        with v.step("E-TRUST"):
            trust = set(v.signers) <= set(asked.trusted_key)
            need(trust, "bundle, registration or key commitments are signed by a key that was not named")
    result = integrity and {name: v.predicate[name] for name in ("verdict", "decided_by")} | {
        name: v.samples[0][name] for name in (*COUNTS, "statistic", "log10_p", "log10_p_distinct", "ln_e")} or None
    report = {"integrity": integrity, "trust": trust, "result": result, "findings": v.findings, "not_checked": v.unchecked}
    if asked.json:
        print(json.dumps(report, indent=1))
    else:
        print("integrity:", "holds" if integrity else "DOES NOT HOLD", "\ntrust:    ", {None: "not asked for"}.get(trust, trust))
        print("result:   ", *(f"{name} {value}" for name, value in (result or {"": "none"}).items()), sep="\n  ")
        print(*(f"{one['code']}: {one['what']}" for one in v.findings), *(f"not checked: {one}" for one in v.unchecked), sep="\n")
    return 1 if v.findings else 0

if __name__ == "__main__":
    sys.exit(main())
