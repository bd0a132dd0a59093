#!/usr/bin/env python3
"""Checks a `watermark-evidence/2` or `watermark-pairs-evidence/1` bundle without any code of the program that made it, and prints one JSON document.
    verify.py evidence.json [--data FILE...] [--tokenizer tokenizer.json] [--pool FILE] [--resample N] [--trusted-key HEX]...
FORMAT.md beside this file (PAIRS.md, for pairs) has every field and the codes of faults (section 7), schema.json the types. Needs Python 3.10, the
packages `cryptography` and `mpmath`, and `tokenizers` to make ids from texts again.
Exit code 0: everything that was looked at holds, whatever the verdict; 1: something does not; 2: a file or a package cannot be read."""
import argparse, base64, contextlib, datetime, decimal, hashlib, hmac, itertools, json, math, pathlib, re, struct, sys, traceback
from collections import Counter, defaultdict
try:
    import mpmath as mp
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
except ImportError as missing: sys.exit(print(f"{missing}: install the packages cryptography and mpmath", file=sys.stderr) or 2)
try:
    import residuals
    from texts import WHITE, Texts
except ImportError as missing: sys.exit(print(f"{missing}: residuals.py and texts.py belong beside verify.py", file=sys.stderr) or 2)
mp.mp.dps = 40  # numbers must agree to 10^-9, and logarithms of factorials of a billion have ten digits before the point
MAX_BUNDLE, MAX_FILE, MAX_PAIRS, MAX_CLASSES, VERBATIM = 1 << 24, 1 << 31, 1 << 32, 20_000, 8  # VERBATIM: so many tokens again are a repetition
if not (SCHEMA := pathlib.Path(__file__).with_name("schema.json")).is_file():
    sys.exit(print(f"{SCHEMA} is missing: it belongs beside verify.py", file=sys.stderr) or 2)
SCHEMA = json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"]
TYPES = dict(string=[str], boolean=[bool], integer=[int], number=[int, float], array=[list], object=[dict], null=[type(None)])
CONVERSATIONS = {*("messages conversations conversation system system_prompt system_message history context contexts passage document documents "
                   "question problem query instruction input").split()}  # fields beside which `prompt` and `completion` are not all
COUNTS = ("n_scored", "n_duplicate", "n_excluded", "n_short_context")
CONDITIONS = ("key_bound", "key_not_ground", "prompts_free_of_key", "tokens_recomputed", "controls_bound", "references_bound",
              "collection_witnessed", "registered_before_data", "earlier_analyses")
CODES = [f"E-{code}" for code in "ENVELOPE SIGNATURE SCHEMA REGISTRATION PROFILE HEAD PROOF BEACON OPENING REGISTERED PROMPTS TIME SUBJECT TALLY TAIL "
         "VERDICT TIMESTAMP TRUST DATA RECORDS RECOMPUTED".split()]
QUICKNET, GENESIS, PERIOD = "drand/quicknet", 1_692_803_367, 3  # seconds since 1970 of round 1, and between rounds
class Refused(Exception): """What does not hold, in words. No text of a file is repeated in it: a stranger wrote that."""
class Unsigned(Refused): """A signature that does not hold."""
def need(holds, why, kind=Refused):
    if not holds: raise kind(why)
# ---- canonical JSON (RFC 8785) and the shape of objects
def canonical(value, depth=0):
    """The canonical text of a parsed value. Whatever is signed or hashed is already in this form."""
    need(depth < 32 or not isinstance(value, (list, dict)), "nested deeper than 32 levels")
    if isinstance(value, list): return "[" + ",".join(canonical(item, depth + 1) for item in value) + "]"
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(canonical(name) + ":" + canonical(value[name], depth + 1) for name in names) + "}"
    if isinstance(value, float):  # as ECMAScript writes numbers: the shortest digits, an exponent below 1e-6 and from 1e21 on
        need(math.isfinite(value), "a number is not finite")
        if 1e-6 <= abs(value) < 1e21: return f"{decimal.Decimal(repr(value)).normalize():f}"
        return re.sub("e([+-])0", r"e\1", repr(value)) if value else "0"
    need(type(value) is not int or abs(value) < 1 << 53, "an integer beyond 2^53 must be a string")
    return json.dumps(value, ensure_ascii=False)
def parse(raw, limit):
    need(len(raw) <= limit, f"longer than {limit} bytes")
    once = lambda fields: need(len(dict(fields)) == len(fields), "a field stands twice") or dict(fields)
    whole = lambda text: -0.0 if text == "-0" else int(text)  # which is no integer to other readers
    try: return json.loads(raw.decode("utf-8"), object_pairs_hook=once, parse_int=whole, parse_constant=lambda name: need(False, "a number is not finite"))
    except (ValueError, RecursionError): raise Refused("not JSON in UTF-8") from None
def read_canonical(raw, limit, shape):
    """White space and other spellings are lost in parsing, and so show when the value is written again."""
    value = parse(raw, limit)
    need(canonical(value).encode("utf-8", "surrogatepass") == raw, "the bytes are not their canonical form: they were changed")
    return fits(value, SCHEMA[shape])
def is_time(text):
    with contextlib.suppress(ValueError): return bool(datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
def fits(value, schema, name="it"):
    """The part of JSON Schema that schema.json uses; exact types, so that true is not 1."""
    if "$ref" in schema:
        fits(value, SCHEMA[schema["$ref"].split("/")[-1]], name)
        whole = schema["$ref"].endswith(("/decimal", "/signed")) and int(value)
        return need(whole < 1 << 128 if schema["$ref"].endswith("/decimal") else -1 << 127 <= whole < 1 << 127, f"{name}: beyond 128 bits") or value
    for one in schema.get("anyOf", []):
        with contextlib.suppress(Refused): return fits(value, one, name)
    allowed, limit = [schema["const"]] if "const" in schema else schema.get("enum", [value]), schema.get
    need("anyOf" not in schema and canonical(value) in map(canonical, allowed), f"{name}: not one of the values allowed")
    need("type" not in schema or type(value) in TYPES[schema["type"]], f"{name}: another type")
    written = "pattern" not in schema or re.fullmatch(schema["pattern"], value) and ("format" not in schema or is_time(value))
    need(written, f"{name}: not written as it must be, or no second of the calendar")
    size = value if type(value) in (int, float) else len(value) if type(value) is list else 0
    need(limit("minimum", size) <= size <= limit("maximum", size) and limit("exclusiveMinimum", -math.inf) < size < limit("exclusiveMaximum", math.inf), f"{name}: out of range")
    need(limit("minItems", 0) <= size <= limit("maxItems", math.inf) or "items" not in schema, f"{name}: too many or too few")
    for item in value if "items" in schema else []: fits(item, schema["items"], name)
    need("properties" not in schema or {*schema["required"]} <= value.keys() <= schema["properties"].keys(), f"{name}: a field is missing or unknown")
    for field in value if "properties" in schema else []: fits(value[field], schema["properties"][field], field)
    return value
# ---- signatures and trees
def sha256(*parts): return hashlib.sha256(b"".join(parts)).digest()
def leaf(raw): return sha256(b"\0", raw)
def node(left, right): return sha256(b"\1", left, right)
def half(size): return 1 << (size - 1).bit_length() - 1  # the largest power of two below it, where RFC 9162 splits a tree
def unhex(*texts): return [bytes.fromhex(text) for text in texts]
def unbase64(text):
    need(base64.b64encode(raw := base64.b64decode(text)).decode() == text, "base64 with stray bits at its end"); return raw
def is_small(point, p=2**255 - 19):  # whether its order divides 8, seen by its y: keys and signatures of such points need no secret
    y, d = int.from_bytes(point, "little") % 2**255, -121665 * pow(121666, -1, p)
    return y * (y * y - 1) * (d * y**4 + 2 * y * y - 1) % p == 0
def signed_payload(envelope, kind, limit=MAX_BUNDLE):
    """Ed25519 over DSSE's encoding, which puts type and lengths before the payload. What the signature does not cover is pinned:
    there is one signature, and keyid is the SHA-256 of the key."""
    need(len(canonical(envelope).encode("utf-8", "surrogatepass")) <= limit, f"longer than {limit} bytes")
    (one,), payload, stated = envelope["signatures"], unbase64(envelope["payload"]), envelope["payloadType"].encode("utf-8", "replace")
    key, signature = bytes.fromhex(one["public_key"]), unbase64(one["sig"])
    need(sha256(key).hex() == one["keyid"] and len(signature) == 64, "keyid is not the SHA-256 of public_key, or sig not 64 bytes")
    need(not is_small(key) and not is_small(signature[:32]), "a key or a signature that needs no secret", Unsigned)
    try: Ed25519PublicKey.from_public_bytes(key).verify(signature, b"DSSEv1 %d %s %d %s" % (len(stated), stated, len(payload), payload))
    except (InvalidSignature, ValueError): raise Unsigned("the signature does not hold") from None
    need(envelope["payloadType"] == kind, f"payloadType is not {kind}")
    return payload
def tree_root(leaves):
    k = half(len(leaves)) if len(leaves) > 1 else 0
    return node(tree_root(leaves[:k]), tree_root(leaves[k:])) if k else leaves[0] if leaves else sha256()
def root_above(hash, index, size, proof):
    """The root that an inclusion proof, lowest sibling first, gives a leaf's hash."""
    need(index < size and (size > 1) == bool(proof), "the inclusion proof has another length")
    if size == 1: return hash
    if index < half(size): return node(root_above(hash, index, half(size), proof[:-1]), proof[-1])
    return node(proof[-1], root_above(hash, index - half(size), size - half(size), proof[:-1]))
def grown(old, old_root, size, proof, whole=True):
    """[root of the first `old` leaves, root of all] that a consistency proof gives, if old_root is right."""
    need(old <= size and (len(proof) == (not whole) if old == size else proof), "the consistency proof has another length")
    if old == size: return [old_root if whole else proof[0]] * 2
    if old <= half(size):
        first, every = grown(old, old_root, half(size), proof[:-1], whole); return [first, node(every, proof[-1])]
    return [node(proof[-1], root) for root in grown(old - half(size), old_root, size - half(size), proof[:-1], False)]
# ---- keys, words, scores, tallies
def expand(key, info): return hmac.digest(key, info + b"\1", "sha256")  # HKDF-Expand (RFC 5869) to 32 bytes, one block of HMAC
def child(node, segment): return expand(node, b"watermark-key-v1\0child\0" + segment.encode())
class Profile:
    """What a profile says of tokenizer and beacon, and its one layer of which `field` is `value`."""
    def __init__(self, text, shape, field, value):
        try:
            profile = fits(parse(text.encode("utf-8", "replace"), 1 << 20), SCHEMA["profile"])
            layer, = (one for one in profile["layers"] if one.get(field) == value and canonical(profile).encode())
        except ValueError: raise Refused("not one such layer, or half of a letter in a text") from None
        self.layers, self.layer, tokenizer, drawn = profile["layers"], fits(layer, SCHEMA[shape]), profile["tokenizer"], profile.get("beacon")
        self.tokenizer, self.vocab_size, self.special = (tokenizer[f] for f in ("sha256", "vocab_size", "special_token_ids"))
        self.path, self.key_path, self.beacon = profile["path"], "/".join(filter(None, [profile["path"], "layer", layer["name"]])), drawn
        need("beacon" not in profile or drawn and text.count(f'"{drawn}"') == 1, "the beacon is awaited still, or stands in several places")
        self.committed = sha256(text.replace(f'"{drawn}"', "null").encode() if drawn else text.encode()).hex()  # the profile before its beacon
        need(max([-1, *self.special]) < self.vocab_size, "special ids past vocab_size")
class Layer(Profile):
    """The tested layer of a profile, and how pairs count and score under it."""
    def __init__(self, text, name):
        super().__init__(text, "layer", "name", name)
        self.width, self.green, self.gamma, block = self.layer["width"], self.layer["scheme"] == "greenlist", self.layer.get("gamma", 1), self.layer.get("block", 0)
        need(self.green or self.layer is self.layers[-1], "not the last layer")
        size = math.floor(self.gamma * 2**32)  # this many words are green, those of block 0 unless it says which
        self.first, self.end = block * size, (block + 1) * size
        need(not self.green or 0 < size < 2**32 and (not block or self.gamma * 2**32 == size and 2**32 % size == 0 and size >> 16 and self.end <= 2**32), "gamma or block")
    def law(self): return mp.mpf(self.gamma) if self.green else None
    def prf_key(self, opened):
        if self.beacon: opened = child(child(opened, "beacon"), self.beacon)
        return expand(opened, b"watermark-key-v1\0prf\0" + (b"greenlist" if self.green else b"gumbel") + bytes([0, self.width]))
    def score(self, word):
        """1 or 0 (green list), or floor(2^32 * -ln(1 - word / 2^32)) (Gumbel), which never exceeds the true score."""
        if self.green: return int(self.first <= word < self.end)
        score = -math.log1p(-word / 2**32) * 2**32
        if abs(score - round(score)) < 1e-3: score = -mp.log1p(-mp.mpf(word) / 2**32) * 2**32  # doubles are good to 1e-4 here
        return int(score)
    def plan(self, pairs):
        """Pairs by context and 1,024 ids, which share a stretch of key stream: {(*context, token >> 10): [(offset, count)]}."""
        stretches = defaultdict(list)
        for (*context, token), count in pairs.items(): stretches[(*context, token >> 10)].append((4 * (token & 1023), count))
        return stretches
    def scores(self, key, plan):
        """(count, score) of all pairs under a PRF key. Words are those of ChaCha20 (RFC 8439): the block's counter is token / 16,
        its nonce the context, and the token's word is number token % 16."""
        wide = expand(key, b"watermark-key-v1\0context\0")
        for (*context, stretch), wanted in plan.items():
            nonce = b"".join(token.to_bytes(3, "little") for token in context).ljust(12, b"\0")
            if self.width > 4: nonce = hmac.digest(wide, struct.pack(f"<{self.width}I", *context), "sha256")[:12]
            chacha = Cipher(algorithms.ChaCha20(key, struct.pack("<I", stretch << 6) + nonce), None).encryptor()
            stream = chacha.update(bytes(max(wanted)[0] + 4))
            for offset, count in wanted: yield count, self.score(int.from_bytes(stream[offset:offset + 4], "little"))
    def asked(self, records):
        """The pairs of prompts, and of what answers quote from them."""
        every = [record["prompt_tokens"] for record in records] + [r["tokens"][a:b] for r in records for a, b in r["quoted"]]
        return {tuple(ids[i - self.width:i + 1]) for ids in every for i in range(self.width, len(ids))}
    def tally(self, records, known=()):
        """The pairs that count and those of answers that are left out, with how often they occurred in the round that showed them first;
        the pairs of the prompts, and those `known` from others'; and where all tokens went."""
        w, known, pairs, left_out, totals = self.width, {*known}, {}, {}, dict.fromkeys(COUNTS, 0)
        for _, group in itertools.groupby(records, key=lambda record: record["round"]):
            group, fresh, left = list(group), Counter(), Counter()
            known |= self.asked(group)
            for record in group:
                start, seen = 0, set()  # of the record, or after its last special token; windows so far
                for i, token in enumerate(record["tokens"]):
                    pair = tuple(record["tokens"][i - w:i + 1]) if i - w >= start else None
                    if token in self.special: start = i + 1
                    window = tuple(record["tokens"][i - VERBATIM:i]) if i >= VERBATIM else None
                    skipped = start > i or pair and window in seen
                    if window: seen.add(window)
                    if pair in known and not skipped: left[pair] += 1
                    if skipped or pair in known: totals["n_excluded"] += 1
                    elif pair: fresh[pair] += 1
                    else: totals["n_short_context"] += 1
            totals["n_duplicate"] += sum(count - (pair not in pairs) for pair, count in fresh.items())
            pairs, left_out = {**fresh, **pairs}, {**left, **left_out}
        return pairs, left_out, dict.fromkeys(known, 1), {**totals, "n_scored": len(pairs)}
    def classes(self, pairs, key):
        """What a bundle says of pairs: how often they occurred, how many did, and the sum of their scores under a PRF key."""
        counts, score = Counter(pairs.values()), Counter()
        for count, one in self.scores(key, self.plan(pairs)): score[count] += one
        return [{"count": count, "pairs": n, "score": str(score[count])} for count, n in sorted(counts.items())]
# ---- tails and e-values
def ln_series(ln_first, ratio):
    """ln of first * (1 + r0 + r0 r1 + ...), whose ratios fall below 1."""
    term, total, i = mp.mpf(1), mp.mpf(1), 0
    while term > total * 1e-30: term, i = term * ratio(i), i + 1; total += term
    return ln_first + mp.log(total)
def ln_binomial(k, n, p):
    """ln P(Bin(n, p) >= k). Of the two tails, the one that lies beyond the mean is summed."""
    if k <= 0 or p >= 1: return mp.mpf(0)
    p, upper = mp.mpf(p), k > n * p; k, odds = k if upper else k - 1, p / (1 - p)
    first = mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1) + k * mp.log(p) + (n - k) * mp.log1p(-p)
    if upper: return ln_series(first, lambda i: (n - k - i) * odds / (k + 1 + i))
    return mp.log1p(-mp.exp(ln_series(first, lambda i: (k - i) / odds / (n - k + 1 + i))))
def ln_poisson(k, mean, upper):
    """ln P(N >= k), or of P(N <= k), for N of this mean. P(Gamma(n, 1) >= s) is P(N <= n - 1) at the mean s."""
    if mean == 0 or upper and k <= 0: return mp.mpf(0)
    if (k > mean) != upper: return mp.log1p(-mp.exp(ln_poisson(k - 1 if upper else k + 1, mean, not upper)))
    first = k * mp.log(mean) - mean - mp.loggamma(k + 1)
    return ln_series(first, (lambda i: mean / (k + 1 + i)) if upper else lambda i: (k - i) / mean)
def weight_of(count, weights): return 1 if weights == "none" else math.isqrt(count << 32)
def numbers(layer, weights, classes):
    """[score, statistic, weight] as whole numbers and [log10_p, log10_p_distinct, ln_e], from the classes alone."""
    rows = [(weight_of(c["count"], weights), c["pairs"], int(c["score"])) for c in classes]
    n, total = sum(pairs for _, pairs, _ in rows), sum(score for *_, score in rows)
    sums = [total, sum(w * score for w, _, score in rows), sum(w * pairs for w, pairs, _ in rows)]
    if layer.green: rows = [(w, pairs, min(score, pairs)) for w, pairs, score in rows]
    if n == 0: return sums, [0, 0, 0]
    need(n < MAX_PAIRS and total < 2**80 and len(rows) <= MAX_CLASSES, "more than this verifier sums over")
    gamma, unit = mp.mpf(layer.gamma), 1 if layer.green else 2**32  # a score's mean, and its scale
    s = mp.mpf(total) / unit; distinct = (ln_binomial(total, n, gamma) if layer.green else ln_poisson(n - 1, s, False)) / mp.log(10)
    if weights == "none" and layer.green:
        ln_e = mp.loggamma(1 + s) + mp.loggamma(1 + n - s) - mp.loggamma(n + 2) - s * mp.log(gamma) - (n - s + 1) * mp.log1p(-gamma)
        return sums, [distinct, distinct, ln_e + ln_binomial(n + 1 - total, n + 1, 1 - gamma)]
    if weights == "none": return sums, [distinct, distinct, mp.loggamma(n + 1) + s + ln_poisson(n + 1, s, True) - (n + 1) * mp.log(s) if s else -mp.log(n + 1)]
    bets = [ln_bet(rows, gamma if layer.green else None, mp.mpf(theta), math.inf if layer.green else 8) for theta in (residuals.GREEN if layer.green else residuals.SCORES)]
    return sums, [chernoff(rows, gamma if layer.green else None), distinct, residuals.mean_of(bets)]
def ln_bet(rows, gamma, theta, cap=math.inf, by=mp):
    """ln of prod e^(y score) / E[e^(y score)] at y = theta * weight: what this bet on (weight, pairs, score) has won. Without gamma,
    scores are exponential. `by` is `math` where floats are enough."""
    return sum(y * score / (1 if gamma else 2**32) - pairs * (by.log1p(gamma * by.expm1(y)) if gamma else -by.log1p(-y))
               for w, pairs, score in rows for y in [theta * min(w, 65536 * cap) / 65536])
def chernoff(rows, gamma, side=1):
    """log10 of a bound: P(a statistic this large, or with side -1 this small) <= 1 / the largest bet over theta on that side, which is
    where the slope of its logarithm changes sign."""
    if gamma and sum(pairs for _, pairs, _ in rows) == sum(score for *_, score in rows): return sum(n for _, n, _ in rows) * mp.log10(gamma)
    tilted = (lambda y: gamma / (gamma + (1 - gamma) * mp.exp(-y))) if gamma else lambda y: 1 / (1 - y) if y < 1 else mp.inf
    rises = lambda theta: side * sum(w * (mp.mpf(score) / (1 if gamma else 2**32) - pairs * tilted(side * theta * w / 65536)) for w, pairs, score in rows) > 0
    low, high = mp.mpf(0), mp.mpf(65536) / max(w for w, *_ in rows)
    while (gamma or side < 0) and rises(high): low, high = high, 2 * high
    for _ in range(80): low, high = (middle, high) if rises(middle := (low + high) / 2) else (low, middle)
    return min(0, -ln_bet(rows, gamma, side * low)) / mp.log(10)
def follow(logs, stated, fields, source="its classes"):
    need(all(abs(a - b) <= 1e-9 * max(1, abs(a)) for a, b in zip(logs, (stated[f] for f in fields))), f"a number does not follow from {source}")
def low_tail(layer, weights, classes):
    """log10 of a bound of the probability that scores are as small as these: few ones are many zeros. Pairs of one weight count together."""
    if weights == "none" and classes: classes = [{"count": 1} | {f: sum(int(c[f]) for c in classes) for f in ("pairs", "score")}]
    rows = [(math.isqrt(c["count"] << 32), c["pairs"], int(c["score"])) for c in classes]
    need(sum(n for _, n, _ in rows) < MAX_PAIRS and sum(score for *_, score in rows) < 2**80 and len(rows) <= MAX_CLASSES, "more than this verifier sums over")
    if not rows: return 0
    if layer.green: return chernoff([(w, n, max(0, n - score)) for w, n, score in rows], 1 - mp.mpf(layer.gamma))
    return chernoff([(w, n, score + n) for w, n, score in rows], None, -1)  # scores are rounded down by less than a unit
# ---- pools and rounds
def prompts_of(raw):
    """The prompts of a pool: one a line, or JSON objects with `prompt`."""
    try: text = raw.decode("utf-8-sig")
    except ValueError: raise Refused("the pool is not UTF-8") from None
    lines = [line.removesuffix("\r") for line in text.split("\n") if line.strip(WHITE)]
    if not text.lstrip(WHITE).startswith("{"): return lines
    objects = [parse(line.encode(), MAX_FILE) for line in lines]
    found = [next((one[f] for f in ("prompt", "question", "text") if type(one.get(f)) is str), None) if type(one) is dict else None for one in objects]
    return need(None not in found, "a line of the pool has no prompt") or found
def drawn(value, pool, count):
    """The prompts of a pool that a value draws: those with the smallest tickets, in the order of their tickets."""
    return [pool[i] for _, i in sorted((sha256(b"watermark-draw-v1\0", value, struct.pack("<Q", i)), i) for i in range(len(pool)))[:count]]
def prompts_root(prompts): return tree_root([leaf(canonical(prompt).encode("utf-8", "surrogatepass")) for prompt in prompts]).hex()
def known_at(beacon):
    """When a round is drawn, as times are written; None for sources without fixed times."""
    if not beacon or beacon["source"] != QUICKNET or not beacon["round"]: return None
    try: return datetime.datetime.fromtimestamp(GENESIS + PERIOD * (beacon["round"] - 1), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError): return None
def check_round(beacon):
    need(not beacon or not beacon["source"].startswith("drand") or known_at(beacon), "drand's chain quicknet has no such round, or another of its chains is named")
# ---- the bundle, in the order of FORMAT.md, section 7
class Verifier:
    shapes, registered, texts = ("statement", "registration"), "application/vnd.watermark.registration+json", True  # texts: whether any are looked at
    def __init__(self):
        self.faults, self.unchecked, self.signers, self.samples, self.references, self.node, self.conditions = [], [], [], [], [], None, {}
        self.withheld = False  # whether ids were counted whose texts could not be made ids again: then there is no result
    @contextlib.contextmanager
    def step(self, code, about=""):
        try: yield
        except Refused as refused: self.faults.append({"code": code, "what": about + str(refused)})
    def open(self, raw):
        """Takes the bundle apart, and says whether there is something to look at. Nothing is read before its signature holds."""
        try:
            code = "E-ENVELOPE"; envelope = read_canonical(raw, MAX_BUNDLE, "envelope"); payload = signed_payload(envelope, "application/vnd.in-toto+json")
            code = "E-SCHEMA"; self.statement = read_canonical(payload, MAX_BUNDLE, self.shapes[0]); self.p = p = self.statement["predicate"]
            need(all(unbase64(stamp) for stamp in p["time_stamps"].values() if stamp is not None), "an empty time stamp")
            code = "E-REGISTRATION"
            self.registration = reg = read_canonical(signed_payload(p["registration"], self.registered, 1 << 20), 1 << 20, self.shapes[1])
            key, earlier, names = reg["key"], reg["earlier"], self.named(reg)
            need(all(names) and len({*names}) == len(names) and len({*earlier}) == len(earlier) and key["index"] < key["tree_size"],
                 "a model without a name or two with one, an earlier registration twice, or no such key")
            code = "E-PROFILE"; need(sha256(p["profile"].encode()).hex() == reg["profile_sha256"], "not the registered profile")
            self.layer = self.tested(); need(self.layer.key_path == key["path"], "the layer has another key path than registered")
            code = "E-HEAD"; self.heads, signed = [], [(p["key"]["head"], key, "head"), *self.ledger()]
            for head, digest, shape in signed:
                self.heads.append(read_canonical(signed_payload(head, "application/vnd.watermark.head+json", 1 << 14), 1 << 14, shape))
                need(sha256(canonical(head).encode()).hex() == digest["head_sha256"], "a head is not the registered one")
                need(digest.get("size", self.heads[-1]["tree_size"]) == self.heads[-1]["tree_size"], "a head is of another size than registered")
        except Refused as refused:
            return self.faults.append({"code": "E-SIGNATURE" if (code, type(refused)) == ("E-ENVELOPE", Unsigned) else code, "what": str(refused)})
        self.signers = [one["signatures"][0]["public_key"] for one in (envelope, p["registration"], *(head for head, *_ in signed))]
        self.head, self.samples, self.references = self.heads[0], [p["suspect"], *p["controls"]], p.get("references", {}).get("models", []); return True
    def tested(self): return Layer(self.p["profile"], self.registration["layer"])
    def ledger(self): return []  # heads beside that of the keys
    def named(self, reg):
        """The models that a registration names, if it holds to its own rules."""
        asked, draw, beside = reg["prompts"], reg["prompts"]["draw"], reg.get("references", [])
        need((reg["weights"] == "residual") == bool(beside) and len({one["sha256"] for one in beside}) == len(beside) <= 16 and
             (not beside or reg["stopping"] == "fixed"), "residual weights go with references, each a file of its own, at most 16 and in a fixed sample")
        need(asked["count"] and (draw is None) != (asked["root"] is None) and (not draw or draw["pool"]["count"] >= asked["count"]),
             "no prompts, or neither chosen nor drawn, or both, or more than there are to draw from")
        check_round(draw and draw["beacon"])
        return [reg["suspect"], *reg["controls"], *(one["model"] for one in beside)]
    def rounds(self):
        """Rounds that a value goes with: for which condition, the round, its value, and what it is of."""
        key, draw = self.p["key"], self.registration["prompts"]["draw"]
        return [("key_not_ground", key["leaf"].get("beacon"), key["beacon"], "key"), ("prompts_free_of_key", draw and draw["beacon"], self.p["prompts"]["beacon"], "draw")]
    def check_key(self):
        """Whether the registered key is one of the committed ones, under the committed profile; and its beacon."""
        key, named, hash = self.p["key"], self.registration["key"], leaf(canonical(self.p["key"]["leaf"]).encode())
        with self.step("E-PROOF"):
            need((key["leaf"]["path"], key["leaf"]["profile_sha256"]) == (named["path"], self.layer.committed), "path or profile")
            need((hash.hex(), self.head["tree_size"]) == (named["leaf_sha256"], named["tree_size"]), "not the registered key, or another size of its tree")
            check_round(key["leaf"].get("beacon"))
            need(root_above(hash, named["index"], self.head["tree_size"], unhex(*key["proof"])).hex() == self.head["root"], "the proof does not lead to the signed root")
            with self.step("E-BEACON"):
                for _, round, value, what in self.rounds():
                    need((round is None) == (value is None), f"a value of the {what} goes with a round that was named for it")
                    if value and value["signature"]:
                        need(round["source"] == QUICKNET and sha256(bytes.fromhex(value["signature"])).hex() == value["value"], "not the value of its signature")
                    if value: self.unchecked.append(f"that the value of the {what} is that of round {round['round']} of {round['source']}")
                need((key["beacon"] or {}).get("value") == self.layer.beacon, "the profile has another value")
            return True
    def check_models(self):
        need([s["model"] for s in self.samples] == [self.registration["suspect"], *self.registration["controls"]], "suspect or controls are others")
        need([e["registration_sha256"] for e in self.p["earlier"]] == self.registration["earlier"] and
             all((e["evidence_sha256"] is None) == (e["verdict"] is None) for e in self.p["earlier"]), "earlier analyses are others")
    def check(self):
        p, reg, head, key, samples, asked = self.p, self.registration, self.head, self.p["key"], self.samples, self.registration["prompts"]
        if self.check_key():
            with self.step("E-OPENING"):
                opened = unhex(key["opening"]["node"], key["opening"]["salt"]) if key["opening"] else []
                need(not opened or sha256(b"watermark-commit-v1\0", *opened).hex() == key["leaf"]["commitment"], "not the committed key")
                self.node = opened and opened[0]
        with self.step("E-REGISTERED"):
            self.check_models()
            need(p["family"]["size"] == reg["key"]["tree_size"], "the family is not that of all committed keys")
            need(p["resampling"]["keys"] == (reg["resample"] if samples[0]["n_scored"] else 0), "another number of fresh keys")
            need(reg["stopping"] != "fixed" or all(s["records"]["count"] == asked["count"] for s in samples), "answers are missing")
            beside, files = reg.get("references", []), self.statement["subject"][len(samples):]
            need([(r["model"], one["digest"]["sha256"]) for r, one in zip(self.references, files)] == [(r["model"], r["sha256"]) for r in beside] and
                 ("references" in p) == bool(beside) and all(("residuals" in s) == bool(beside) for s in samples), "references are others")
            need(not beside or not samples[0]["stopped"], "a sample that was stopped has no test beside references")
        with self.step("E-TIME"):
            at, signed = reg["registered_at"], p["signed_at"]
            spans = [[head["signed_at"], at, signed]] + [[at, *s["collected"].values(), signed] for s in samples if s["collected"]]
            need(all(span == sorted(span) for span in spans), "key, registration, data and bundle are not of this order in time")
        with self.step("E-SUBJECT"):
            files = self.statement["subject"]; names = {one["name"] for one in files}
            need(len(names) == len(files) == len(samples + self.references), "not one file, with its own name, for each model")
            shown = [s["records"]["sha256"] for s in samples + self.references if s["records"]["count"]]; need(len({*shown}) == len(shown), "two models have the same records")
        with self.step("E-PROMPTS"): need(asked["root"] in (None, p["prompts"]["root"]), "the prompts are not the registered ones")
        most, rising = 1 if self.layer.green else self.layer.score(2**32 - 1), lambda classes: all(a["count"] < b["count"] for a, b in itertools.pairwise(classes))
        fits_in = lambda classes: len(classes) <= MAX_CLASSES and sum(c["pairs"] for c in classes) < MAX_PAIRS and all(int(c["score"]) <= c["pairs"] * most for c in classes)
        for i, s in enumerate(samples):
            with self.step("E-PROMPTS", f"sample {i} answers other prompts: "):
                old, roots, proof = s["records"]["count"], unhex(s["prompts_root"], p["prompts"]["root"]), unhex(*s["prompts_proof"])  # an empty tree begins all
                proven = grown(old, roots[0], asked["count"], proof) if old else [sha256(*proof), roots[1]]; need(proven == roots, "the consistency proof leads to other roots")
            out = s["left_out"]
            with self.step("E-TALLY", f"sample {i}: "):
                counts, pairs = ([c[f] for c in s["classes"]] for f in ("count", "pairs"))
                need(sum(s[f] for f in COUNTS) == s["tokens"] and s["n_empty"] <= s["records"]["count"], "the counts do not add up")
                need(rising(s["classes"]) and sum(pairs) == s["n_scored"] and sum((c - 1) * n for c, n in zip(counts, pairs)) <= s["n_duplicate"], "the classes do not fit the counts")
                need(all(int(c["score"]) <= c["pairs"] * most for part in (s["classes"], out["answers"], out["prompts"]) for c in part), "scores too large")
                need(rising(out["answers"]) and sum(c["count"] * c["pairs"] for c in out["answers"]) <= s["n_excluded"] and
                     all(c["count"] == 1 and c["pairs"] < MAX_PAIRS for c in out["prompts"]), "the left-out pairs do not fit the counts")
                beside = s.get("residuals", {"classes": [], "mixture": []})
                need(beside["mixture"] == samples[0].get("residuals", beside)["mixture"], "a mixture is not the suspect's")
                need(len(beside["mixture"]) == len(reg.get("references", [])) and sum(beside["mixture"]) == 16 * bool(beside["mixture"]) and
                     fits_in(beside["classes"]), "no test has such residuals")
            # Counts that do not fit leave classes to look at, if they are in order and hold no more ones than pairs.
            with self.step("E-TALLY", f"sample {i}: "):
                need(rising(s["classes"]) and (not self.layer.green or sum(int(c["score"]) for c in s["classes"]) <= sum(pairs)), "no test has such classes")
                sums, logs = self.numbers(s)
                with self.step("E-TAIL", f"sample {i}: "): follow(logs, s, ["log10_p", "log10_p_distinct", "ln_e"])
                need([s["score"], s["statistic"], s["weight"]] == [*map(str, sums)], "score, statistic or weight")
            with self.step("E-TALLY", f"sample {i}: "):
                need(rising(out["answers"]) and rising(out["prompts"]), "no test has such classes")
                logs = [low_tail(self.layer, reg["weights"], out["answers"]), low_tail(self.layer, "none", out["prompts"])]
                with self.step("E-TAIL", f"sample {i}: "): follow(logs, out, ["answers_log10_p", "prompts_log10_p"])
        with self.step("E-TALLY", "references: "):
            every, shared = p.get("references", {}).get("expected", []), sum(share > 0 for share in samples[0].get("residuals", {"mixture": []})["mixture"])
            need(len(every) == shared * (shared > 1) + ("references" in p) and all(max(r["n_prompts"], r["n_empty"]) <= r["records"]["count"] for r in self.references), "impossible counts")
            need(all(residuals.sound(one["classes"]) and fits_in(one["classes"]) and all(c["weight"] < 0 for c in one["classes"]) for one in every), "they expect what cannot be")
            lows = [residuals.numbers(self.layer.law(), one["classes"])[1][0] for one in every]
            with self.step("E-TAIL", "references: "):
                for low, one in zip([*lows, residuals.audit(*lows or [0])], [*every, *filter(None, [p.get("references")])]): follow([low], one, ["log10_p"])
        named, committed = {r["sha256"] for r in reg.get("references", [])}, {*head.get("references", [])}
        if not named <= committed: self.unchecked.append(f"{len(named - committed)} of {len(named)} references were not committed to with the keys")
        elif named and named < committed: self.unchecked.append(f"why {len(named)} of {len(committed)} committed references stand beside the suspect")
        with self.step("E-VERDICT"): self.check_verdict(p["resampling"], *samples)
    def numbers(self, s):
        """What the classes of a sample give: whole numbers, and the numbers that follow from them."""
        sums, logs = numbers(self.layer, self.registration["weights"], s["classes"])
        if "residuals" not in s: return sums, logs
        need(residuals.sound(s["residuals"]["classes"]), "no test has such residuals")
        beside, (log10_p, ln_e) = residuals.numbers(self.layer.law(), s["residuals"]["classes"])
        return [sums[0], *beside], [log10_p, logs[1], ln_e]
    def contradicted(self):
        """Conditions that times which the bundle itself states contradict: a value was known too early, or used before it was drawn."""
        reg, (ground, drawn_at) = self.registration, [known_at(round) for _, round, *_ in self.rounds()]
        first = min((s["collected"]["first"] for s in self.samples if s["collected"]), default="Z")
        outside = lambda time, after, by: time and not after < time <= by
        return {"key_not_ground": outside(ground, self.head["signed_at"], reg["registered_at"]),
                "prompts_free_of_key": outside(drawn_at, reg["registered_at"], self.p["signed_at"]),
                "registered_before_data": drawn_at and first < drawn_at}
    def to_come(self, now):
        """Conditions that the reader's clock contradicts: a round that is still to come has no value."""
        for name, round, *_ in self.rounds():
            if (time := known_at(round)) and time > now: self.conditions[name] = "fails"
    def check_verdict(self, fresh, suspect, *controls):
        p, reg, by_e = self.p, self.registration, self.registration["stopping"] == "e_process" or suspect["stopped"]
        seed = sha256(canonical(p["registration"]).encode(), bytes.fromhex(suspect["records"]["root"])).hex(); need(fresh["seed"] == seed and fresh["at_least"] <= fresh["keys"], "the fresh keys are others")
        deciding = lambda s, by_e: min(0, -s["ln_e"] / math.log(10)) if by_e else s["log10_p"]
        agree = all(deciding(c, c["stopped"] and reg["stopping"] == "e_process") >= -2 - math.log10(len(controls)) for c in controls)
        rate = mp.mpf(10) ** min(0, max(suspect["log10_p"], -300))  # it must not lie below the 99.9 % bound of the fresh keys' rate
        kept = by_e or fresh["keys"] < 999 or ln_binomial(fresh["at_least"], fresh["keys"], rate) >= -3 * mp.log(10)
        level = math.log10(reg["alpha"]) - math.log10(reg["key"]["tree_size"])  # whoever registered could have named any committed key
        present, fails = all(s["n_empty"] <= s["records"]["count"] // 20 for s in self.samples), self.contradicted()
        clean = min(suspect["left_out"]["answers_log10_p"], suspect["left_out"]["prompts_log10_p"]) >= -3
        self.conditions = {name: "fails" if fails.get(name) else "holds" if name == "key_bound" else "word" for name in CONDITIONS
                           if name != "references_bound" or self.references}
        low = p["references"]["log10_p"] if self.references else 0; need(not self.references or p["references"]["agree"] == (low >= -3), "references.agree does not follow from the numbers")
        sound = suspect["n_scored"] and agree and clean and low >= -3 and kept and present and not any(fails.values())
        verdict = "inconclusive" if not sound else "detected" if deciding(suspect, by_e) <= level else "not_detected"
        stated = [p[f] for f in ("decided_by", "controls_agree", "exclusion_agrees", "resampling_agrees", "answers_present", "verdict")]
        need(stated == ["ln_e" if by_e else "log10_p", agree, clean, kept, present, verdict], "the verdict does not follow from the numbers")
        need([*self.conditions.items()] == [(one["name"], one["standing"]) for one in p["conditions"]], "the conditions are others")
        best = numbers(self.layer, reg["weights"], [c | {"score": str(c["pairs"])} for c in suspect["classes"]])[1] if self.layer.green else 0
        able = not best or (min(0, -best[2] / math.log(10)) if by_e else best[0]) <= level - 1e-9  # all ones would have reached the level
        form = {"of": "ones_share" if self.layer.green else "mean_score", "power": 0.8} if verdict == "not_detected" and able and not self.references else {}
        form |= {"value": p["smallest_effect"]["value"]} if form and p["smallest_effect"] else {}
        need(form == (p["smallest_effect"] or {}), "smallest_effect does not go with the verdict")
    def data(self, files, tokenizer, pool, resample):
        """Reads the records of samples, or makes them from answer files, and counts and scores them again."""
        models, order, draw, why = self.samples + self.references, [], self.registration["prompts"]["draw"], "no tokenizer.json was given"
        try: texts = None if tokenizer is None else Texts(tokenizer)
        except ValueError as unreadable: texts, why = None, str(unreadable)
        for raw in files:
            digest = sha256(raw).hex()
            mine = [i for i, s in enumerate(models) if s["records"]["sha256"] == digest]
            subject = [i for i, one in enumerate(self.statement["subject"]) if one["digest"]["sha256"] == digest]
            with self.step("E-DATA"): need(mine or subject, "neither an answer file nor a records file of this bundle")
            if mine and not subject and not texts: self.withheld = True; self.unchecked.append(f"that ids are those of the texts ({why}); so there is no result")
            order += [(i, bool(subject), raw) for i in subject or mine]
        given = []  # references last: which of their answers count follows from the prompts of the others
        for i, is_answers, raw in sorted(order, key=lambda one: one[0] >= len(self.samples)):
            with self.step("E-RECORDS", f"model {i}: "):
                asked = next(({one["prompt"] for one in records} for j, records in given if j < len(self.samples)), None)  # all answer the same
                lines = self.lines_of(raw, texts, i, asked) if is_answers else raw
                if lines is not None: given.append((i, self.records(i, lines, texts, asked)))
        seen = {i for i, _ in given}
        references = [next((records for j, records in given if i == j), None) for i in range(len(self.samples), len(models))]
        if None in references: self.unchecked.append("what lies beyond the references: not all of their answers were given, so nothing was counted again")
        texts_of, done = lambda records: [(one["prompt"], one["text"]) for one in records if one["text"].strip(WHITE)], set()
        for i, records in given if None not in references else []:
            if i >= len(self.samples) or i in done: continue  # another file of the same records gives the same
            done.add(i); own = texts_of(records)
            with self.step("E-RECORDS", f"model {i}: "):
                need(all(2 * sum(map({*texts_of(one)}.__contains__, own)) <= len(own) for one in references), "most of its answers are those of a reference")
                with self.step("E-RECOMPUTED", f"model {i}: "): self.recompute(i, records, references, 0 if i else resample)
        if not self.faults and texts and self.node and len(seen) == len(models): self.conditions["tokens_recomputed"] = "holds"
        if pool is not None and draw:
            with self.step("E-PROMPTS"):
                prompts = prompts_of(pool)
                need({"count": len(prompts), "root": prompts_root(prompts)} == draw["pool"], "not the registered pool")
                need(prompts_root(drawn(bytes.fromhex(self.p["prompts"]["beacon"]["value"]), prompts, self.registration["prompts"]["count"])) == self.p["prompts"]["root"], "the value draws other prompts from the pool")
        self.unchecked += [f"model {i}: its records were not given" for i in range(len(models)) if i not in seen] + [
            "time stamps (`openssl ts -verify` can)", "who collected them, when and until when", *["the size of smallest_effect"] * bool(self.p["smallest_effect"]), "other layers of the profile",
            "that special_token_ids are the tokenizer's special tokens"] + ["that the prompts are those drawn from the pool"] * bool(draw and pool is None)
    def lines_of(self, raw, texts, i, asked):
        """The records file of an answer file: JSON lines with `prompt` and `completion`. Others are left to `watermark verify`."""
        if not texts: return self.unchecked.append(f"model {i}: its answer file, without the tokenizer")
        rows, sample = [line for line in raw.split(b"\n") if line.strip()], self.samples[i] if i < len(self.samples) else None
        try: rows = [parse(line, MAX_FILE) for line in rows]
        except Refused: rows = [None]
        plain = lambda row: type(row) is dict and type(row.get("prompt")) is type(row.get("completion")) is str and not row.keys() & CONVERSATIONS
        if sample and sample["collected"] or not all(map(plain, rows)):
            return self.unchecked.append(f"model {i}: its answer file is of a form that is not read here")
        with self.step("E-RECORDS", f"model {i}: "):
            need(not sample or [sample[f] for f in ("collection", "stopped")] == ["not independently witnessed", False],
                 "the file says nothing of who collected, or what ended it")
        if not sample:
            if not asked: return self.unchecked.append(f"model {i}: its answer file, without the suspect's prompts")
            rows = [row for row in rows if row["prompt"] in asked]
        place = (lambda at: at) if self.registration["stopping"] == "e_process" else lambda at: 0
        return b"".join(canonical(texts.record(row["prompt"], row["completion"], place(at))).encode() + b"\n" for at, row in enumerate(rows))
    def records(self, i, raw, texts, asked):
        *lines, rest = raw.split(b"\n")
        records, s = [read_canonical(line, MAX_FILE, "record") for line in lines], (self.samples + self.references)[i]
        need([len(lines), tree_root([*map(leaf, lines)]).hex(), sha256(raw).hex(), rest] == [*(s["records"][f] for f in ("count", "root", "sha256")), b""],
             "count, root, sha256 or last line")
        prompts = [one["prompt"] for one in records]
        if i < len(self.samples): need(prompts_root(prompts) == s["prompts_root"], "prompts_root")
        else: need(not asked or {*prompts} <= asked, "a reference answers other prompts than the test's")
        rounds, n_empty = [record["round"] for record in records], sum(not record["text"].strip(WHITE) for record in records)
        of_file = [i if self.registration["stopping"] == "e_process" else 0 for i in range(len(records))]
        need(rounds == (sorted(rounds) if s.get("collected") else of_file) and n_empty == s["n_empty"], "rounds, or n_empty")
        for record in records:
            edges = [0, *itertools.chain(*record["quoted"]), len(record["tokens"])]
            need(max([-1, *record["tokens"], *record["prompt_tokens"]]) < self.layer.vocab_size and edges == sorted(edges) and
                 all(a < b for a, b in record["quoted"]), "an id past vocab_size, or `quoted` is not a row of stretches")
            need(not texts or texts.record(record["prompt"], record["text"], record["round"]) == record, "the tokenizer makes other ids of prompt or text")
        return records
    def recompute(self, i, records, references, resample):
        s, known = self.samples[i], set().union(*map(self.layer.asked, references))
        pairs, left_out, asked, totals = self.layer.tally(records, known)
        beside = [self.layer.tally(one, {*asked})[0] for one in references]  # what any prompts leave out counts for nobody
        shares = self.samples[0]["residuals"]["mixture"] if beside and i else None  # of a control: a mixture of its own could avoid a reference
        weighted, expected, mixture = residuals.weights(pairs, beside, shares) if beside else (pairs, {}, None)
        plan, fresh, weights = self.layer.plan(weighted), self.p["resampling"], self.registration["weights"]
        shape, counted = lambda classes: [(c["count"], c["pairs"]) for c in classes], lambda pairs: sorted(Counter(pairs.values()).items())
        stated = [shape(s["classes"]), shape(s["left_out"]["answers"]), shape(s["left_out"]["prompts"])]
        need((totals, stated) == ({f: s[f] for f in COUNTS}, [*map(counted, (pairs, left_out, asked))]), "counts or classes are others")
        weighed = lambda classes: [(c["weight"], c["pairs"]) for c in classes]
        if beside:
            need([mixture, counted(weighted)] == [s["residuals"]["mixture"], weighed(s["residuals"]["classes"])], "the residuals are others")
            answered = [(len({record["prompt"] for record in one}), sum(len(record["tokens"]) for record in one)) for one in references]
            need(i or ([(r["n_prompts"], r["tokens"]) for r in self.references], [weighed(one["classes"]) for one in self.p["references"]["expected"]]) == (answered, [*map(counted, expected)]), "the references' counts are others")
        if not self.node: return self.unchecked.append("scores: the key is not disclosed")
        key = self.layer.prf_key(self.node)
        need([self.layer.classes(part, key) for part in (pairs, left_out, asked)] == [s["classes"], s["left_out"]["answers"], s["left_out"]["prompts"]], "the scores are others")
        if beside:
            signed = lambda pairs: [{"weight": c.pop("count"), **c} for c in self.layer.classes(pairs, key)]
            need(signed(weighted) == s["residuals"]["classes"], "the scores of the residuals are others")
            need(i or [*map(signed, expected)] == [one["classes"] for one in self.p["references"]["expected"]], "the scores of what the references expect are others")
        weight = {w: w for w in set(weighted.values())} if beside else {count: weight_of(count, weights) for count in set(pairs.values())}
        root = hmac.digest(b"watermark-resample-v1", bytes.fromhex(fresh["seed"]), "sha256")
        hits, keys, weak = 0, min(fresh["keys"], max(0, resample)), self.numbers(s)[1][0] == 0
        for at in range(keys):
            statistic = sum(weight[count] * one for count, one in self.layer.scores(expand(root, struct.pack("<I", at)), plan))
            hits += statistic >= int(s["statistic"]) or weak  # the tail falls as the statistic grows, until it is 1
        if not i and keys < fresh["keys"]: self.unchecked.append(f"{fresh['keys'] - keys} fresh keys")
        need(i or hits <= fresh["at_least"] <= hits + fresh["keys"] - keys, "at_least is another number")
    def result(self): return {f: (self.p | self.samples[0])[f] for f in ("verdict", "decided_by", "statistic", "log10_p", "ln_e", "n_empty", *COUNTS)}
def read(path):
    with open(path, "rb") as file: return file.read(MAX_FILE + 1)
def verifier_of(raw):
    """Of the kind that the payload names; what cannot be read is no other kind's. Whatever it says is believed once its signature holds."""
    with contextlib.suppress(Refused, LookupError, TypeError, ValueError):
        if parse(base64.b64decode(parse(raw, MAX_BUNDLE)["payload"]), MAX_BUNDLE)["predicateType"] == "watermark-pairs-evidence/1":
            sys.modules.setdefault("verify", sys.modules[__name__]); import pairs; return pairs.Pairs()
    return Verifier()
def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle"); parser.add_argument("--data", nargs="+", action="extend", default=[], metavar="FILE", help="records files or answer files, or list and scores files")
    parser.add_argument("--tokenizer", metavar="FILE", help="tokenizer.json, to make ids from texts again; without it records give no result")
    parser.add_argument("--pool", metavar="FILE", help="the prompts that were drawn from")
    parser.add_argument("--resample", type=int, default=1 << 20, metavar="N", help="draw the first N fresh keys only")
    parser.add_argument("--trusted-key", action="append", metavar="HEX", help="public keys that may have signed")
    asked, trust, result = parser.parse_args(arguments), None, None
    try:
        raw, files = read(asked.bundle), [*map(read, asked.data)]; v = verifier_of(raw)
        tokenizer, pool = [read(path) if path and v.texts else None for path in (asked.tokenizer, asked.pool)]
        if opened := v.open(raw): v.check()
        if opened and tokenizer and sha256(tokenizer).hex() != v.layer.tokenizer.lower(): raise OSError("not the profile's tokenizer")
        if opened and not v.faults: v.data(files, tokenizer, pool, asked.resample)
    except (OSError, ImportError) as error: parser.exit(2, f"{error}\n")
    integrity = all(fault["code"] == "E-DATA" for fault in v.faults)  # a file of something else says nothing about the bundle
    if not v.faults and not v.withheld:
        v.to_come(datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"))
        result = v.result()
        if "fails" in v.conditions.values(): result["verdict"] = "inconclusive"
        result |= {"alpha": v.registration["alpha"], "committed_keys": v.registration["key"]["tree_size"], "conditions": v.conditions}
    if asked.trusted_key and v.signers:
        with v.step("E-TRUST"):
            trust = "trusted" if {*v.signers} <= {*map(str.lower, asked.trusted_key)} else "not_trusted"
            need(trust == "trusted", "a key that was not named signed bundle, registration or a head")
    v.faults.sort(key=lambda fault: CODES.index(fault["code"]))  # the first one is what verifiers agree on
    print(json.dumps(dict(integrity=integrity, trust=trust, result=result, faults=v.faults, not_checked=v.unchecked), indent=1))
    return 1 if v.faults else 0
if __name__ == "__main__":
    if sys.version_info < (3, 10): sys.exit(print("Python 3.10 or later is needed", file=sys.stderr) or 2)
    try: sys.exit(main())
    except Exception: traceback.print_exc(); sys.exit(2)  # a mistake here says nothing about the bundle
