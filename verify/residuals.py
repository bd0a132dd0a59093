"""What a model wrote beyond what unmarked references expect of it: the part of verify.py for tests beside references (FORMAT.md, sections 4
and 5). Counts and weights are whole numbers in units of 2^-16; pairs are tuples of ids, the last of which is the token."""
from collections import Counter, defaultdict
from itertools import pairwise
import mpmath as mp

PARTS, MAX_WEIGHT, CAP = 16, 1 << 46, 8
GREEN = ".01 .02 .04 .08 .16 .32 .64 1.28".split()
SCORES = ".0025 .005 .01 .02 .05 .11".split()


def weight(seen, expected):
    """(seen - expected) / (1 + expected / 32), cut to its eight leading bits."""
    size = (min(abs(seen - expected), 1 << 46) << 21) // (expected + (1 << 21))
    size = leading(size)
    return size if seen >= expected else -size


def expected(reference, contexts):
    """What a model that came to `contexts` so often is expected to write: as the reference does there, with one choice more left for what
    it did not show."""
    chosen = Counter()
    for (*context, _), count in reference.items():
        chosen[tuple(context)] += count
    there = lambda pair: contexts.get(pair[:-1])
    return {pair: count * there(pair) // (chosen[pair[:-1]] + 1) for pair, count in reference.items() if there(pair) is not None}


def shares(seen, all_expected):
    """Sixteenths that bring the mixture nearest to what was seen, in the sum of squares: from the best single one, a part at a time."""
    n, unit = len(all_expected), lambda count: min(count, 1 << 48) >> 8
    product = lambda a, b: sum(unit(count) * unit(b[pair]) for pair, count in a.items() if pair in b)
    gram = [[product(a, b) for b in all_expected] for a in all_expected]
    fit = [product(a, seen) for a in all_expected]
    cost = lambda parts: sum(parts[i] * (sum(parts[j] * gram[i][j] for j in range(n)) - 2 * PARTS * fit[i]) for i in range(n))
    best = min(([PARTS * (i == at) for i in range(n)] for at in range(n)), key=cost)
    while True:
        moved = [[part - (i == a) + (i == b) for i, part in enumerate(best)] for a in range(n) if best[a] for b in range(n) if a != b]
        following = min(moved, key=cost, default=best)
        if cost(following) >= cost(best):
            return best
        best = following


def leading(count):
    """A count of which the eight leading bits are kept, so that there are few classes."""
    low = max(0, count.bit_length() - 8)
    return count >> low << low


def weights(pairs, references, mixture=None):
    """The pairs that have a weight; the weights that they would have if none had been seen, by what the mixture expects and by what each of several
    references with a share does; and the shares of the references, or `mixture`. From counts of both without what any prompts leave out."""
    seen, contexts = {pair: count << 16 for pair, count in pairs.items()}, defaultdict(int)
    for (*context, _), count in seen.items():
        contexts[tuple(context)] += count
    every = [expected(reference, contexts) for reference in references]
    parts, sums = mixture or shares(seen, every), Counter()
    for share, one in zip(parts, every):
        if share:
            for pair, count in one.items():
                sums[pair] += share * count
    sums = {pair: count // PARTS for pair, count in sums.items()}
    found = {pair: weight(seen.get(pair, 0), sums.get(pair, 0)) for pair in {**seen, **sums}}
    shared = [one for share, one in zip(parts, every) if share]
    several = [{pair: weight(0, count) for pair, count in one.items()} for one in [sums, *shared[len(shared) == 1:]]]
    return {pair: w for pair, w in found.items() if w}, [{pair: w for pair, w in one.items() if w} for one in several], parts


def sound(classes):
    """Whether weights rise, none of them 0 or larger than any, and scores have a sum that a test can have."""
    rise = all(a["weight"] < b["weight"] for a, b in pairwise(classes))
    return rise and all(0 < abs(c["weight"]) <= MAX_WEIGHT for c in classes) and sum(int(c["score"]) for c in classes) < 2**80


def audit(mixture, *each):
    """log10 of a bound for what references expect: the mixture's, or the smallest of several, any of which could have been it."""
    return min(mp.mpf(0), mixture, min(each, default=mp.mpf(0)) + mp.log10(len(each) or 1))


def numbers(gamma, classes):
    """[statistic, weight] and [log10_p, ln_e] of sound classes. Scores are exponential where gamma is None."""
    rows = [(c["weight"], c["pairs"], int(c["score"])) for c in classes]
    sums = [sum(w * score for w, _, score in rows), sum(w * pairs for w, pairs, _ in rows)]
    return sums, [bound(gamma, rows), ln_e(gamma, rows)]


def turned(gamma, rows):
    """(weight, pairs, sum of scores, gamma) of each class, so that more speaks for the mark: pairs of negative weight count by their red ones, or
    with the largest scores that they can have been rounded from."""
    for w, pairs, score in rows:
        if gamma is None:
            yield w, pairs, mp.mpf(score + (pairs if w < 0 else 0)) / 2**32, None
        else:
            green = min(score, pairs)
            yield (w, pairs, green, gamma) if w > 0 else (-w, pairs, pairs - green, 1 - gamma)


def ln_mean(y, gamma):
    return -mp.log1p(-y) if gamma is None else mp.log1p(gamma * mp.expm1(y))


def bound(gamma, rows):
    """log10 of min over theta >= 0 of e^(-theta S) E[e^(theta S)]: the slope of its logarithm rises, and is 0 at the minimum."""
    rows = list(turned(gamma, rows))
    if not rows:
        return mp.mpf(0)
    largest = max(abs(w) for w, *_ in rows)
    rows = [(mp.mpf(w) / largest, pairs, score, chance) for w, pairs, score, chance in rows]
    if gamma is not None and all(score == pairs for _, pairs, score, _ in rows):
        return sum(pairs * mp.log10(chance) for _, pairs, _, chance in rows)
    tilted = lambda y, chance: (1 / (1 - y) if y < 1 else mp.inf) if chance is None else chance / (chance + (1 - chance) * mp.exp(-y))
    falls = lambda theta: sum(w * (score - pairs * tilted(theta * w, chance)) for w, pairs, score, chance in rows) > 0
    if not falls(mp.mpf(0)):
        return mp.mpf(0)
    limited = gamma is None and any(w > 0 for w, *_ in rows)
    low, high = mp.mpf(0), 1 / max(w for w, *_ in rows) if limited else mp.mpf(1)
    while not limited and falls(high):
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if falls(middle) else (low, middle)
    value = sum(pairs * ln_mean(low * w, chance) - low * w * score for w, pairs, score, chance in rows)
    return min(mp.mpf(0), value) / mp.log(10)


def ln_e(gamma, rows):
    """The logarithm of the mean of the bets at some theta. Weights of exponential scores beyond 8 count as 8."""
    rows = list(turned(gamma, rows))
    if not rows:
        return mp.mpf(0)
    scale = lambda w: mp.mpf(w) / 65536 if gamma is not None else max(-CAP, min(CAP, mp.mpf(w) / 65536))
    bets = [sum(y * score - pairs * ln_mean(y, chance) for w, pairs, score, chance in rows for y in [mp.mpf(theta) * scale(w)])
            for theta in (GREEN if gamma is not None else SCORES)]
    return mean_of(bets)


def mean_of(logs):
    """The logarithm of the mean of what these are logarithms of; what is e^1000 times smaller than the largest is nothing."""
    return max(logs) + mp.log(sum(mp.exp(max(one - max(logs), -1000)) for one in logs) / len(logs))
