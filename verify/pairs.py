#!/usr/bin/env python3
"""Checks a `watermark-pairs-evidence/1` bundle: the part of verify.py for answers that were served with paired draws.
    verify.py evidence.json [--data list.jsonl suspect.scores.jsonl ...] [--trusted-key HEX]...
PAIRS.md beside this file has every field and the codes of faults (section 7), schema.json the types. What both kinds of bundle have in common, from
envelopes to beacons, is verify.py's. Numbers of preferences are floats, which are good to 10^-12 here; a count that depends on rounding is not left to them."""
import hmac, itertools, math, struct, sys
from collections import Counter, defaultdict
from verify import (MAX_FILE, SCHEMA, Cipher, Profile, Verifier, algorithms, canonical, fits, follow, grown, known_at, leaf, ln_bet, ln_poisson, main,
                    mp, need, parse, read_canonical, sha256, tree_root, unhex)
from residuals import GREEN, mean_of
MOST = 4 << 16  # a preference is worth four nats at most, in units of 2^-16
SAME = 1e-9  # leads of noise nearer to each other are the same
SECOND, COIN = 0x00200000, 0x00100000  # counters of the blocks of the second draw, and of the coin
RAREST = 32  # of the exponential variables of draws: the probability of a larger one is 10^-14
COUNTS = ("n_scored", "n_served_preferred", "n_ties", "n_unscored")
CONDITIONS = ("key_bound", "key_not_ground", "ledger_bound", "draws_blind", "controls_bound", "references_bound", "collection_witnessed",
              "registered_before_data", "earlier_analyses")
# ---- the profile's layer, the words of a request, and what follows from both
class Paired(Profile):
    """The layer of paired draws: the last one, once, and none beside it that draws tokens itself."""
    def __init__(self, text):
        super().__init__(text, "paired", "scheme", "paired")
        need(self.layer is self.layers[-1], "the layer of paired draws is not the last one")
        for other in self.layers[:-1]:
            need("engine" not in other and fits(other.get("scheme"), SCHEMA["reweighting"]), "a layer beside paired draws draws tokens itself")
            fits(other.get("name"), SCHEMA["segment"])
        need(len({one["name"] for one in self.layers}) == len(self.layers), "two layers have the same name")
        self.value = bytes.fromhex(self.beacon) if self.beacon else bytes(32)
class Draws:
    """The words and coins of one request, below its opened secret."""
    def __init__(self, secret, value):
        self.key = hmac.digest(secret, b"beacon\0" + value, "sha256")
    def block(self, position, counter):
        """A block of ChaCha20 (RFC 8439) under the request's key, whose nonce is the position."""
        stream = Cipher(algorithms.ChaCha20(self.key, struct.pack("<2I8x", counter, position)), None).encryptor()
        return struct.unpack("<16I", stream.update(bytes(64)))
    def coin(self, position):
        return self.block(position, COIN)[0] >> 31
    def order(self, position, served, withheld):
        """Which draw the served one of two candidates is of, and the words with which both won; None where the draws cannot be told apart. What one
        draw's noise prefers to the other's by more is that draw's candidate, whatever the law was. One token that won both is served from the coin's."""
        words = [[self.block(position, draw * SECOND | token >> 4)[token & 15] for draw in (0, 1)] for token in (served, withheld)]
        lead = more(words, math)
        if abs(abs(lead) - SAME) < 1e-11: lead = more(words, mp)  # doubles are good to 1e-13 here
        if served != withheld and abs(lead) <= SAME: return None
        draw = int(lead < 0) if served != withheld else self.coin(position)
        return draw, (words[0][draw], words[1][1 - draw])
def more(words, by):
    """By how much more the first token leads in draw 0 than in draw 1. `by` has the logarithm: math's, or mp's."""
    (a0, a1), (b0, b1) = [[-by.log(-by.log((2 * word + 1) / by.ldexp(1, 33))) for word in of_token] for of_token in words]
    return (a0 - b0) - (a1 - b1)
def variable(word, score):
    """-ln u / p for the word of a draw's winner and its log probability: floor of min(this, 32) in units of 2^-32; without a score 32."""
    if score is None: return RAREST << 32
    found = min(-math.log((2 * word + 1) / 2**33) * math.exp(min(-score / 65536, 700)), RAREST) * 2**32
    if abs(found - round(found)) < 1e-3:  # doubles are good to 1e-4 here
        found = mp.floor(min(-mp.log(mp.mpf(2 * word + 1) / 2**33) * mp.exp(-mp.mpf(score) / 65536), RAREST) * 2**32)
    return int(found)
def draws_log10_p(n, total):
    """Twice the smaller tail of the sum of n exponential variables, which were rounded down to `total`."""
    if not n: return 0
    tails = ln_poisson(n - 1, mp.mpf(total) / 2**32, False), ln_poisson(n, mp.mpf(total + n) / 2**32, True)
    return min(0, (mp.log(2) + min(tails)) / mp.log(10))
class Tally:
    """The preferences of a model in some requests: counts, and pairs by the size of their preference, [how many, how many for what was served]."""
    def __init__(self):
        self.counts, self.sizes = dict.fromkeys(COUNTS, 0), defaultdict(lambda: [0, 0])
    def add(self, preference, known=True):
        preference = max(-MOST, min(MOST, preference))
        self.counts["n_unscored"] += not known
        self.counts["n_scored" if preference else "n_ties"] += 1
        self.counts["n_served_preferred"] += preference > 0
        if preference:
            size = self.sizes[abs(preference)]
            size[0] += 1
            size[1] += preference > 0
    def bets(self):
        """ln of what each of the bets on these pairs has won, one for each of the fixed exponents."""
        rows = [(size, pairs, won) for size, (pairs, won) in self.sizes.items()]
        return [ln_bet(rows, 0.5, float(theta), by=math) for theta in GREEN]
def evidence(tallies):
    """[ln e of all tallies together, ln e of each]: bets on disjoint pairs multiply."""
    bets = [tally.bets() for tally in tallies]
    return [mean_of([*map(math.fsum, zip(*bets))]), *map(mean_of, bets)]
def log10_p(ln_e):
    return min(0, -ln_e / math.log(10))
def agree(ln_e):
    """Whether no control, of which these are the ln e, has a p below 0.01 over their number."""
    return all(log10_p(one) >= -2 - math.log10(len(ln_e)) for one in ln_e)
def holm(logs, log10_level):
    """Which of some p-values, given by their log10, are rejected at a family-wise level (Holm 1979)."""
    rejected = set()
    for at in sorted(range(len(logs)), key=logs.__getitem__):
        if logs[at] > log10_level - math.log10(len(logs) - len(rejected)): break
        rejected.add(at)
    return rejected
# ---- the bundle, in the order of PAIRS.md, section 7
class Pairs(Verifier):
    """verify.py's steps, with what is another rule here."""
    shapes, registered, texts = ("pairs_statement", "pairs_registration"), "application/vnd.watermark.pairs-registration+json", False
    def tested(self):
        return Paired(self.p["profile"])
    def ledger(self):
        return [(self.p["ledger"]["head"], self.registration["ledger"], "answers_head")]
    def named(self, reg):
        beside = [one for one in (reg["reference"], reg["law"]) if one]
        need(len({one["sha256"] for one in beside}) == len(beside), "reference and law are one file")
        return [reg["suspect"], *reg["controls"], *(one["model"] for one in beside)]
    def rounds(self):
        return [("key_not_ground", self.p["key"]["leaf"].get("beacon"), self.p["key"]["beacon"], "key")]
    def check(self):
        p, reg, accounts = self.p, self.registration, self.p["accounts"]
        self.requests, size = p["key"]["leaf"]["requests"], reg["ledger"]["size"]
        # What the subjects are of: the list, the models' scores in order, and what stands beside them.
        self.files = ["list", *range(len(self.samples)), *(what for what in ("reference", "law") if reg[what])]
        with self.step("E-PROOF"):
            need(is_name(self.requests["ledger"]), "no ledger can have the name that the key names")
            need(self.requests["count"] >= size, "the ledger has more entries than requests were committed to")
            self.check_key()
        with self.step("E-REGISTERED"):
            self.check_models()
            need((p["reference"] is None, p["draws"] is None) == (reg["reference"] is None, reg["law"] is None), "reference or law are not as registered")
            beside = [one["digest"]["sha256"] for one in self.statement["subject"][1 + len(self.samples):]]
            need(beside == [reg[what]["sha256"] for what in ("reference", "law") if reg[what]], "the file of reference or law is another")
            need(p["list"]["requests"] == size, "the list has not as many requests as the ledger has entries")
        with self.step("E-TIME"):
            times = [*(head["signed_at"] for head in self.heads), reg["registered_at"], p["signed_at"]]
            need(times == sorted(times), "key, ledger, registration and bundle are not of this order in time")
        with self.step("E-SUBJECT"):
            names, digests = ({of(one) for one in self.statement["subject"]} for of in (lambda one: one["name"], lambda one: one["digest"]["sha256"]))
            need(len(names) == len(digests) == len(self.statement["subject"]) == len(self.files), "not one file for each purpose, with its own name")
        with self.step("E-TALLY"):
            self.check_tally(p["suspect"], p["controls"], accounts)
        with self.step("E-TAIL"):
            of_accounts = [[one["ln_e"] for one in accounts], *([of[i] for of in map(self.of_controls, accounts)] for i in range(len(p["controls"])))]
            for s, logs in zip(self.samples, of_accounts) if accounts else []:
                follow([mean_of([s["whole_ln_e"], mean_of(logs)])], s, ["ln_e"], "the accounts and the whole list")
        with self.step("E-VERDICT"):
            self.check_verdict(accounts)
    def of_controls(self, account):
        need(len(account["controls_ln_e"]) == len(self.p["controls"]), "an account does not have a number for each control")
        return account["controls_ln_e"]
    def check_tally(self, suspect, controls, accounts):
        samples = [suspect, *controls]
        need(all(s["n_served_preferred"] <= s["n_scored"] for s in samples + accounts), "more is preferred than was scored")
        need(all(s["n_unscored"] <= s["n_scored"] for s in [suspect, *accounts]), "what has no score counts as lost, and so as scored")
        need(all(s["n_unscored"] <= suspect["n_unscored"] for s in controls), "a control has fewer scores than the suspect")
        need(all(sum(one[f] for one in accounts) == suspect[f] for f in COUNTS) and
             sum(one["requests"] for one in accounts) == self.p["list"]["requests"] and all(one["requests"] for one in accounts), "the accounts are not the whole list")
        positions = suspect["n_scored"] + suspect["n_ties"]
        need(all(s["n_scored"] + s["n_ties"] == positions for s in controls), "a control is not about the suspect's positions")
        order = [(-one["ln_e"], one["account"]) for one in accounts]
        need(order == sorted(order) and len({one["account"] for one in accounts}) == len(accounts), "the accounts are not in order, or one stands twice")
        n, least = self.p["draws"]["n"] if self.p["draws"] else None, positions + self.p["list"]["n_equal"]
        need(n is None or n % 2 == 0 and least <= n // 2 <= least + self.p["list"]["n_special"], "draws are not two for each position with a second candidate")
        for one in accounts:
            self.of_controls(one)
    def check_verdict(self, accounts):
        """What follows from the stated numbers, whatever they are."""
        p, reg, keys = self.p, self.registration, math.log10(self.registration["key"]["tree_size"])  # any of which could have been registered
        ground = known_at(p["key"]["leaf"].get("beacon"))
        outside = ground and not self.head["signed_at"] < ground <= self.heads[1]["signed_at"]  # known too early, or after it was used
        self.conditions = {name: "holds" if name == "key_bound" else "fails" if outside and name == "key_not_ground" else "word" for name in CONDITIONS
                           if name != "references_bound" or reg["reference"]}
        agreements = [agree([one["ln_e"] for one in p["controls"]]), log10_p(p["reference"]["ln_e"] if p["reference"] else 0) >= -3,
                      not p["draws"] or min(p["draws"]["log10_p"], log10_p(p["draws"]["law_ln_e"])) >= -3]
        need([p[f] for f in ("controls_agree", "reference_agrees", "draws_agree")] == agreements, "an agreement does not follow from the numbers")
        need([*self.conditions.items()] == [(one["name"], one["standing"]) for one in p["conditions"]], "the conditions are others")
        struck = 20 * p["list"]["n_without_candidate"] > p["suspect"]["n_scored"] + p["suspect"]["n_ties"]
        sound = all(agreements) and not outside and not struck
        verdict = "detected" if log10_p(p["suspect"]["ln_e"]) <= math.log10(reg["alpha"]) - keys else "not_detected"
        need(p["verdict"] == (verdict if sound and p["suspect"]["n_scored"] else "inconclusive"), "the verdict does not follow from the numbers")
        clear = [sound and one["n_scored"] > 0 and agree(self.of_controls(one)) for one in accounts]
        found = holm([log10_p(one["ln_e"]) if ok else 0 for one, ok in zip(accounts, clear)], math.log10(reg["accounts_alpha"]) - keys)
        verdicts = ["inconclusive" if not ok else "detected" if at in found else "not_detected" for at, ok in enumerate(clear)]
        need([one["verdict"] for one in accounts] == verdicts, "the verdict on an account does not follow from the numbers")
    # -- files
    def data(self, files, *_):
        """Opens the list's requests, and counts what the models of the scores files prefer."""
        subject, given = {one["digest"]["sha256"]: what for what, one in zip(self.files, self.statement["subject"])}, {}
        for raw in files:
            with self.step("E-DATA"):
                what = subject.get(sha256(raw).hex())
                need(what is not None, "neither the list nor a scores file of this bundle")
                given[what] = raw
        scores, sound = {}, False
        if "list" in given:
            with self.step("E-RECORDS", "list: "):
                self.open_list(given.pop("list"))
                sound = True
                with self.step("E-RECOMPUTED", "list: "):
                    self.recompute_list()
        else:
            self.unchecked.append("any number: they rest on the signer's word, because the list was not given")
        for what, raw in given.items() if sound else []:
            with self.step("E-RECORDS", f"{self.called(what)}: "):
                scores[what] = self.read_scores(raw, self.drawn if what == "law" else self.places)
        for what in scores:
            if what in ("reference", "law") or not self.registration["reference"] or "reference" in scores:
                with self.step("E-RECOMPUTED", f"{self.called(what)}: "):
                    self.recompute(what, scores)
            else:
                self.unchecked.append(f"{self.called(what)}: its numbers, which are beside a reference whose scores were not given")
        self.unchecked += [f"{self.called(what)}: its scores were not given" for what in self.files[1:] if what not in given] + [
            "that scores are those of the models named: whoever has a model makes its file again from the list", "time stamps (`openssl ts -verify` can)",
            "other layers of the profile", "that special_token_ids are the tokenizer's special tokens"]
    @staticmethod
    def called(what):
        return f"model {what}" if type(what) is int else what
    def open_list(self, raw):
        """The list opens all entries of the ledger, and the secrets of its requests. What counts of them is kept in `places`."""
        *lines, rest = raw.split(b"\n")
        need(not rest and len(lines) == self.registration["ledger"]["size"], "not a record for each entry of the ledger, each with the end of its line")
        records, entries, leaves = [read_canonical(line, MAX_FILE, "pairs_record") for line in lines], [], []
        for index, one in enumerate(records):
            need(one["request"] == self.name_of(index), "a request is not that of its place in the ledger")
            need(len(one["withheld"]) == len(one["tokens"]), "withheld tokens are not as many as tokens")
            ids = itertools.chain(one["prompt_tokens"], one["tokens"], (token for token in one["withheld"] if token is not None))
            need(max(ids, default=0) < self.layer.vocab_size, "an id past vocab_size")
            answer = canonical({field: one[field] for field in ("prompt_tokens", "request", "tokens", "withheld")}).encode()
            digest = sha256(b"watermark-answer-v1\0", bytes.fromhex(one["salt"]), answer).hex()
            entry = {"account": one["account"], "answer": digest, "index": index, "key": self.layer.path, "time_ms": one["time_ms"]}
            entries.append(leaf(canonical(entry).encode()))
            leaves.append(leaf(sha256(b"watermark-request-v1\0", bytes.fromhex(one["secret"]))))
        need(len({one["secret"] for one in records}) == len(records), "one secret is that of several requests")
        need(tree_root(entries).hex() == self.heads[1]["root"], "the entries are not those that the ledger's head was signed over")
        first, (root, *proof) = tree_root(leaves), unhex(self.requests["root"], *self.p["ledger"]["requests_proof"])
        need(grown(len(leaves), first, self.requests["count"], proof) == [first, root], "the secrets are not the committed ones")
        self.list, self.places, self.drawn = Counter(), {}, {}  # by (request's index, position): (account, candidates), (words, candidates)
        self.accounts, special = Counter(one["account"] for one in records), {*self.layer.special}
        for index, one in enumerate(records):
            draws = Draws(bytes.fromhex(one["secret"]), self.layer.value)
            for position, pair in enumerate(zip(one["tokens"][:self.registration["first_tokens"]], one["withheld"])):
                left_out = "n_without_candidate" if pair[1] is None else "n_special" if special & {*pair} else "n_equal" if pair[0] == pair[1] else None
                found = draws.order(position, *pair) if pair[1] is not None else None
                if found: self.drawn[index, position] = found[1], pair
                if left_out: self.list[left_out] += 1
                elif found:
                    need(found[0] == draws.coin(position), "the secrets say of a position that the other candidate was served")
                    self.places[index, position] = one["account"], pair
    def name_of(self, index):
        return f"{self.requests['ledger']}/{index}"
    def recompute_list(self):
        stated = self.p["list"]
        need(all(self.list[f] == stated[f] for f in ("n_equal", "n_special", "n_without_candidate")), "the counts are others")
    def read_scores(self, raw, places):
        """{(request's index, position): (score of the served candidate, of the withheld one)} of the places that count."""
        found, last = {}, -1
        index_of = {self.name_of(index): index for index in range(self.registration["ledger"]["size"])}
        for line in raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
            if not line.strip(b" \t\r\f"): continue
            one = parse(line, MAX_FILE)
            need(type(one) is dict and type(one.get("request")) is str and type(one.get("scores")) is list, "a line is not that of a request's scores")
            index = index_of.get(one["request"], -1)
            need(index > last, "a request is not of the list, or not in its order")
            last, before = index, -1
            for row in one["scores"]:
                need(type(row) is list and len(row) == 5 and all(type(field) is int for field in row), "a score is not a row of five integers")
                position, *tokens, a, b = row
                need(before < position < 1 << 32 and all(0 <= token < 1 << 24 for token in tokens) and -1 << 63 <= min(a, b) <= max(a, b) < 1 << 63,
                     "positions do not rise, or a number is out of range")
                before, (_, pair) = position, places.get((index, position), (None, None))
                need(pair is None or tuple(tokens) in (pair, pair[::-1]), "scores of other candidates than the list's")
                if pair: found[index, position] = (a, b) if pair == tuple(tokens) else (b, a)
                if pair and places is self.drawn:
                    both = [math.exp(min(score / 65536, 9)) for score in (a, b)]
                    need((sum(both) if pair[0] != pair[1] else max(both)) <= 1.001, "probabilities of a law are more than 1 together")
        return found
    def recompute(self, what, scores):
        """The numbers of one file, beside the reference where there is one."""
        p, own = self.p, scores[what]
        if what == "law":
            numbers = [variable(word, score) for at, (words, _) in self.drawn.items() for word, score in zip(words, own.get(at, (None, None)))]
            need(len(numbers) == p["draws"]["n"], "another number of draws")
            follow([draws_log10_p(len(numbers), sum(numbers))], p["draws"], ["log10_p"], "the draws")
        difference, beside = lambda of, at: of[at][0] - of[at][1], scores.get("reference")
        if what == "law":
            if self.registration["reference"] and beside is None: return self.unchecked.append("what the law prefers beyond the reference, whose scores were not given")
            alone, beyond = Tally(), Tally()
            for at in self.places:
                alone.add(difference(own, at) if at in own else 0)
                beyond.add(difference(own, at) - difference(beside, at) if at in own and at in (beside or ()) else 0)
            each = [evidence([tally])[0] for tally in ([alone, beyond] if self.registration["reference"] else [alone])]
            return follow([mean_of(each)], p["draws"], ["law_ln_e"], "what the law prefers")
        if what == "reference":
            tally = Tally()
            for at in self.places:
                tally.add(-difference(own, at) if at in own else 0)
            return follow(evidence([tally])[:1], p["reference"], ["ln_e"], "the reference's scores")
        tallies = {account: Tally() for account in self.accounts}
        for at, (account, _) in self.places.items():
            known = at in own and (beside is None or at in beside)
            preference = difference(own, at) - (difference(beside, at) if beside is not None else 0) if known else 0 if what else -MOST
            tallies[account].add(preference, known)
        s, (whole, *each) = self.samples[what], evidence(tallies.values())
        need(all(sum(tally.counts[f] for tally in tallies.values()) == s[f] for f in COUNTS), "the counts are others")
        follow([whole], s, ["whole_ln_e"], "its scores")
        need({*tallies} == {one["account"] for one in p["accounts"]}, "the accounts are others")
        each = dict(zip(tallies, each))
        for one in p["accounts"]:
            account = one["account"]
            counts = tallies[account].counts | {"requests": self.accounts[account]}
            need(what or all(one[f] == count for f, count in counts.items()), "the counts of an account are others")
            follow([each[account]], {"ln_e": one["controls_ln_e"][what - 1] if what else one["ln_e"]}, ["ln_e"], "an account's scores")
    def result(self):
        sound = "fails" not in self.conditions.values()  # a reader's clock may say that they do
        detected = [one["account"] for one in self.p["accounts"] if sound and one["verdict"] == "detected"]
        return {"verdict": self.p["verdict"], **{f: self.p["suspect"][f] for f in ("ln_e", "n_scored", "n_served_preferred", "n_unscored")},
                "accounts": {"count": len(self.p["accounts"]), "detected": detected}}
def is_name(text):
    """Whether a ledger can have this name: 1 to 200 bytes without control characters."""
    return 0 < len(text.encode()) <= 200 and not any(ord(one) < 32 or 127 <= ord(one) < 160 for one in text)
if __name__ == "__main__":
    sys.exit(main())
