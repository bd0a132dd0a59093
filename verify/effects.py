"""The value of `smallest_effect` for the bundles of the tests: FORMAT.md, section 5, in mpmath alone."""
import math
import mpmath as mp
mp.mp.dps = 40
Z = mp.sqrt(2) * mp.erfinv(mp.mpf("0.6"))  # a standard normal is above -Z with probability .8
GREEN = [mp.mpf(t) for t in (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)]
SCORES = [mp.mpf(t) for t in (0.0025, 0.005, 0.01, 0.02, 0.05, 0.11)]
LN10 = mp.log(10)

def binom_sf(k, n, p):
    p = mp.mpf(p)
    return mp.betainc(k, n - k + 1, 0, p, regularized=True) if k > 0 else mp.mpf(1)

def gamma_sf(n, s): return mp.gammainc(n, s, mp.inf, regularized=True)

def root(f, low, high, halvings=160):  # f rising
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (low, middle) if f(middle) > 0 else (middle, high)
    return high

def smallest_effect(green, gamma, weights, by_e, classes, alpha):
    level, gamma = mp.log10(mp.mpf(alpha)), mp.mpf(gamma) if green else None
    merged = {}
    for count, pairs in classes:
        w = math.isqrt(count << 32) if weights == "sqrt" else 65536
        merged[w] = merged.get(w, 0) + pairs
    if by_e and not green and weights == "sqrt":
        capped = {}
        for w, pairs in merged.items(): capped[min(w, 8 * 65536)] = capped.get(min(w, 8 * 65536), 0) + pairs
        merged = capped
    rows, n = sorted(merged.items()), sum(merged.values())
    total = sum(w * k for w, k in rows)

    def log10_p(share):  # of the deciding number where the weighted mean score is `share`; whole pairs only for weights none by e
        if by_e and weights == "none":
            if green:
                g = int(mp.nint(share * n)); b = n - g
                up = 1 - binom_sf(g + 1, n + 1, gamma)  # P(Beta(1 + g, 1 + n - g) > gamma)
                return -(mp.loggamma(1 + g) + mp.loggamma(1 + b) - mp.loggamma(n + 2) - g * mp.log(gamma) - (b + 1) * mp.log(1 - gamma) + mp.log(up)) / LN10
            s = share * n
            return -(mp.loggamma(n + 1) + s - (n + 1) * mp.log(s) + mp.log(mp.gammainc(n + 1, 0, s, regularized=True))) / LN10
        if by_e:
            tilts = GREEN if green else SCORES
            mean = lambda y: mp.log1p(gamma * mp.expm1(y)) if green else -mp.log1p(-y)
            bets = [t * share * total / 65536 - sum(k * mean(t * w / 65536) for w, k in rows) for t in tilts]
            return -(max(bets) + mp.log(sum(mp.exp(b - max(bets)) for b in bets) / len(bets))) / LN10
        if weights == "none":
            return mp.log10(binom_sf(int(mp.nint(share * n)), n, gamma) if green else gamma_sf(n, share * n))
        if green and share >= 1: return n * mp.log10(gamma)
        heavy = max(w for w, _ in rows)
        tilted = (lambda y: gamma / (gamma + (1 - gamma) * mp.exp(-y))) if green else (lambda y: 1 / (1 - y))
        slope = lambda t: sum(mp.mpf(w) / heavy * k * tilted(t * w / heavy) for w, k in rows) - share * total / heavy
        high = mp.mpf(1)
        while green and slope(high) < 0: high *= 2
        t = root(slope, mp.mpf(0), high)
        mean = lambda y: mp.log1p(gamma * mp.expm1(y)) if green else -mp.log1p(-y)
        return (sum(k * mean(t * w / heavy) for w, k in rows) - t * share * total / heavy) / LN10

    if green:
        if log10_p(mp.mpf(1)) > level - mp.mpf("1e-9"): return None
        if weights == "none":
            g = next(g for g in range(int(n * gamma), n + 1) if log10_p(mp.mpf(g) / n) <= level)
            return float(root(lambda x: binom_sf(g, n, x) - mp.mpf("0.8"), gamma, mp.mpf(1), 60))
        critical = root(lambda s: level - log10_p(s), gamma, mp.mpf(1), 60) * total
        def power(q):  # the heaviest classes are enumerated while they have at most 1,000 outcomes, the others count as normal
            outcomes, rest = [(0, mp.mpf(1))], rows[:]
            while rest and len(outcomes) * (rest[-1][1] + 1) <= 1000:
                w, k = rest.pop()
                mass = [(w * i, mp.binomial(k, i) * q ** i * (1 - q) ** (k - i)) for i in range(k + 1)]
                outcomes = [(a + c, p * r) for a, p in outcomes for c, r in mass]
            mean, var = q * sum(w * k for w, k in rest), q * (1 - q) * sum(w * w * k for w, k in rest)
            lacks = [(critical * (1 - mp.mpf("1e-9")) - a - mean, p) for a, p in outcomes]
            return sum(p * (mp.ncdf(-x / mp.sqrt(var)) if var > 0 else x <= 0) for x, p in lacks)
        return float(root(lambda q: power(q) - mp.mpf("0.8"), gamma, 1 - mp.mpf("1e-16"), 50))
    high = mp.mpf(2)
    while log10_p(high) > level: high *= 2
    m = root(lambda m: level - log10_p(m), mp.mpf(1), high, 60)
    if weights == "none":
        return float(root(lambda x: gamma_sf(n, m * n / x) - mp.mpf("0.8"), mp.mpf(1), 10 * m * n, 70))
    effective = mp.mpf(total) ** 2 / sum(w * w * k for w, k in rows)
    return float(m / (1 - Z / mp.sqrt(effective)))
