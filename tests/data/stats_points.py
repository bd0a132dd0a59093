#!/usr/bin/env python3
"""Random points for the tails and e-values, by high-precision quadrature (mpmath).

`stats_points.py [SEED [COUNT [FILE]]]` writes stats_points.json beside itself; `stats_points.py check` compares
the quadrature with direct sums. Tails are integrals of the density over its own variable, in panels of the decay
length; the tail that holds the mode is one minus the other. Parameters are binary64 numbers, printed exactly.
"""
import json, math, os, random, sys
import mpmath as mp

mp.mp.dps = 50
LN10 = mp.log(10)

def integral(ln_ratio, width, end):
    """integral of e^ln_ratio(u) over (0, end), ln_ratio(0) = 0, concave and falling on lengths near width"""
    cuts, u = [mp.mpf(0)], width
    while u < end and ln_ratio(u) > -80:
        cuts.append(u)
        u += width * (3 if len(cuts) > 2 else 1)
    cuts.append(min(u, end))
    with mp.workdps(32):
        return mp.quad(lambda u: mp.exp(ln_ratio(u)), cuts, method="gauss-legendre", maxdegree=5)

def tails(ln_density, ln_ratio, width, end, lower):
    """(ln lower, ln upper) from the density at the point and the integral over the tail without the mode"""
    small = ln_density + mp.log(integral(ln_ratio, width, end))
    large = mp.log1p(-mp.exp(small))
    return (small, large) if lower else (large, small)

def gamma_tails(n, x):
    """ln P(Gamma(n,1) <= x), ln P(Gamma(n,1) >= x)"""
    x = mp.mpf(x)
    lower = x < n
    side = -1 if lower else 1
    slope = abs((n - 1) / x - 1) + 1 / mp.sqrt(x if lower else n)
    ratio = lambda u: (n - 1) * mp.log1p(side * u / x) - side * u if not lower or u < x else mp.mpf("-inf")
    return tails((n - 1) * mp.log(x) - x - mp.loggamma(n), ratio, 1 / slope, x if lower else mp.inf, lower)

def beta_tails(a, b, p):
    """ln I_p(a,b), ln(1 - I_p(a,b))"""
    p = mp.mpf(p)
    lower = p * (a + b) <= a
    if not lower:
        return beta_tails(b, a, 1 - p)[::-1]
    slope = abs((a - 1) / p - (b - 1) / (1 - p)) + mp.sqrt((a + b) / (p * (1 - p)))
    ratio = lambda u: (a - 1) * mp.log1p(-u / p) + (b - 1) * mp.log1p(u / (1 - p)) if u < p else mp.mpf("-inf")
    ln_b = mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
    return tails((a - 1) * mp.log(p) + (b - 1) * mp.log(1 - p) - ln_b, ratio, 1 / slope, p, True)

def binomial(k, n, p):
    return beta_tails(k, n - k + 1, p)[0] / LN10

def gamma(n, x):
    return gamma_tails(n, x)[1] / LN10

def e_gumbel(n, s):
    return mp.loggamma(n + 1) + mp.mpf(s) + gamma_tails(n + 1, s)[0] - (n + 1) * mp.log(mp.mpf(s))

def e_green(g, n, p):
    ln_b = mp.loggamma(1 + g) + mp.loggamma(1 + n - g) - mp.loggamma(n + 2)
    return ln_b - g * mp.log(mp.mpf(p)) - (n - g + 1) * mp.log(1 - mp.mpf(p)) + beta_tails(1 + g, 1 + n - g, p)[1]

def weighted(p, classes):
    """minimum over theta of the Chernoff exponent, log10; classes: [weight, pairs, green]"""
    p, top = mp.mpf(p), max(w for w, _, _ in classes)
    scaled = [(mp.mpf(w) / top, n, g) for w, n, g in classes]
    total = sum(w * g for w, _, g in scaled)
    if total <= p * sum(w * n for w, n, _ in scaled):
        return mp.mpf(0)
    if all(n == g for _, n, g in scaled):
        return sum(n for _, n, _ in scaled) * mp.log10(p)
    rises = lambda t: sum(n * w * p / (p + (1 - p) * mp.exp(-t * w)) for w, n, _ in scaled) > total
    low, high = mp.mpf(0), mp.mpf(10) ** -15
    while not rises(high):
        low, high = high, high * 2
    for _ in range(70):
        mid = (low + high) / 2
        low, high = (low, mid) if rises(mid) else (mid, high)
    return sum(n * mp.log(1 - p + p * mp.exp(low * w)) - low * w * g for w, n, g in scaled) / LN10

def size(rnd, top=12):
    return max(1, int(10 ** rnd.uniform(0, top)))

def chance(rnd):
    return rnd.choice([0.25, 0.5, 0.1, 10 ** rnd.uniform(-4, -0.01), rnd.uniform(0.01, 0.99), 0.999])

def count(rnd, n, p):
    """a count by its distance from the mean: standard deviations, a fraction of the way to either end, or anywhere"""
    kind, mean = rnd.randrange(5), n * p
    if kind < 2: k = mean + rnd.choice([0.3, 3, 12, 40]) * rnd.uniform(-1, 1) * math.sqrt(n * p * (1 - p))
    elif kind == 2: k = mean + (n - mean) * 10 ** rnd.uniform(-6, 0)
    elif kind == 3: k = mean * (1 - 10 ** rnd.uniform(-6, 0))
    else: k = rnd.choice([0, 1, n - 1, n, rnd.uniform(0, n)])
    return min(n, max(0, round(k)))

def total(rnd, n):
    kind = rnd.randrange(5)
    if kind < 2: x = n + rnd.choice([0.3, 3, 12, 40]) * rnd.uniform(-1, 1) * math.sqrt(n)
    elif kind == 2: x = n * (1 + 10 ** rnd.uniform(-6, 1.3))
    elif kind == 3: x = n * (1 - 10 ** rnd.uniform(-6, 0))
    else: x = n * 10 ** rnd.uniform(-3, 3)
    return x if x > 0 else n / 7

def points(seed, each):
    rnd = random.Random(seed)
    f = lambda v: mp.nstr(v, 17) if v else "0"
    out = {k: [] for k in ("binomial", "gamma", "gamma_q32", "e_gumbel", "e_green", "weighted")}
    while len(out["binomial"]) < each:
        n, p = size(rnd), chance(rnd)
        k = max(1, count(rnd, n, p))
        out["binomial"].append([k, n, repr(p), f(binomial(k, n, p))])
    while len(out["gamma"]) < each:
        n = size(rnd)
        x = total(rnd, n)
        out["gamma"].append([n, repr(x), f(gamma(n, x))])
    while len(out["gamma_q32"]) < each // 4:
        n = size(rnd, 11)
        s = int(total(rnd, n) * 2**32) + rnd.randrange(2**16)
        out["gamma_q32"].append([n, str(s), f(gamma(n, mp.mpf(s) / 2**32))])
    while len(out["e_gumbel"]) < each // 2:
        n = size(rnd)
        s = total(rnd, n)
        out["e_gumbel"].append([n, repr(s), f(e_gumbel(n, s))])
    while len(out["e_green"]) < each // 2:
        n, p = size(rnd), chance(rnd)
        g = count(rnd, n, p)
        out["e_green"].append([g, n, repr(p), f(e_green(g, n, p))])
    while len(out["weighted"]) < each // 4:
        p, classes = chance(rnd), []
        for _ in range(rnd.choice([1, 2, 5, 20])):
            n = size(rnd, rnd.choice([2, 9]))
            classes.append([math.isqrt(size(rnd) << 32), n, n if rnd.random() < 0.2 else count(rnd, n, p)])
        v = weighted(p, classes)
        if v or rnd.random() < 0.2:
            out["weighted"].append([repr(p), classes, f(v)])
    return out

def check():
    """quadrature against sums of masses"""
    rnd, worst = random.Random(7), mp.mpf(0)
    for _ in range(300):
        n, p = size(rnd, 3), chance(rnd)
        k = max(1, count(rnd, n, p))
        mass = lambda j: mp.binomial(n, j) * mp.mpf(p) ** j * (1 - mp.mpf(p)) ** (n - j)
        up, low = mp.fsum(map(mass, range(k, n + 1))), mp.fsum(map(mass, range(k)))
        want = mp.log(up) if up < 0.5 else mp.log1p(-low)
        worst = max(worst, abs(binomial(k, n, p) * LN10 / want - 1))
        x = mp.mpf(total(rnd, n))
        terms, j = [mp.exp(-x)], 0
        while j < n - 1 or (j < x or terms[-1] > terms[n - 1] * mp.mpf(10) ** -50):
            j += 1
            terms.append(terms[-1] * x / j)
        up, low = mp.fsum(terms[:n]), mp.fsum(terms[n:])
        want = mp.log(up) if up < 0.5 else mp.log1p(-low)
        worst = max(worst, abs(gamma(n, x) * LN10 / want - 1))
    print("largest relative difference", mp.nstr(worst, 3))

def main():
    if sys.argv[1:] == ["check"]:
        return check()
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    each = int(sys.argv[2]) if len(sys.argv) > 2 else 140
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stats_points.json")
    with open(sys.argv[3] if len(sys.argv) > 3 else beside, "w") as file:
        rows = ",\n ".join(f'"{k}": [\n  ' + ",\n  ".join(map(json.dumps, v)) + "\n ]" for k, v in points(seed, each).items())
        file.write("{\n " + rows + "\n}\n")

if __name__ == "__main__":
    main()
