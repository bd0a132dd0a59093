#!/usr/bin/env python3
"""10,000 random points over all tails and bounds of `stats`, to 16 digits (needs mpmath and gmpy2).

`tail_points.py [SEED [FILE]]` writes tail_points.json beside itself, ten minutes on two cores. Every kind of row has two
methods that share no formula beyond the law; each sampled row is computed by both and the run stops if they differ
by more than 1e-14. Parameters are binary64 numbers, printed exactly; integers that may pass 2^53 are strings.

            rows                                   checked against
binomial    quadrature of the beta density         continued fraction, DLMF 8.17.22; integral over the circle
gamma       quadrature of the gamma density        continued fraction or series, DLMF 8.9.2, 8.7.1; contour integral
dual_key    partial fractions in exact binary      contour integral along a vertical line; quadrature over one key
            digits up to n = 60, contour above
tournament  integer enumeration of small counts,    each other where both serve; equal weights: beta quadrature
            integral over the circle above
bounds      bisection of the derivative            ternary search of the exponent
"""
import json, math, multiprocessing, os, random, sys
import mpmath as mp
from gmpy2 import mpz
import stats_points as sp

mp.mp.dps = 50
LN10 = mp.log(10)
ROWS = dict(binomial=2200, gamma=1800, dual_key=2400, tournament=2000, weighted_green=700, weighted_exponential=900)
if os.environ.get("QUICK"): ROWS = {k: v // 20 for k, v in ROWS.items()}

def complement(ln_p):
    return mp.log1p(-mp.exp(ln_p))

# ---------------------------------------------------------------- second methods for one law

def lentz(term, first, eps=mp.mpf(10) ** -40):
    """first + a1/(b1 + a2/(b2 + ...)) with (a, b) = term(i)"""
    f, c, d, i = first, first, mp.mpf(0), 0
    while True:
        i += 1
        a, b = term(i)
        d, c = 1 / (b + a * d), b + a / c
        f *= c * d
        if abs(c * d - 1) < eps:
            return f

def binomial_fraction(k, n, p):
    """ln I_p(k, n-k+1)"""
    a, b, p = mp.mpf(k), mp.mpf(n - k + 1), mp.mpf(p)
    swap = p > (a + 1) / (a + b + 2)
    if swap: a, b, p = b, a, 1 - p
    def term(i):
        m = i // 2
        if i % 2: return -(a + m) * (a + b + m) * p / ((a + 2 * m) * (a + 2 * m + 1)), mp.mpf(1)
        return m * (b - m) * p / ((a + 2 * m - 1) * (a + 2 * m)), mp.mpf(1)
    ln = a * mp.log(p) + b * mp.log(1 - p) - mp.log(a) + mp.loggamma(a + b) - mp.loggamma(a) - mp.loggamma(b)
    ln -= mp.log(lentz(term, mp.mpf(1)))
    return complement(ln) if swap else ln

def gamma_fraction(n, x):
    """ln Q(n, x)"""
    x, front = mp.mpf(x), n * mp.log(mp.mpf(x)) - mp.mpf(x) - mp.loggamma(n)
    if x > n + 1:
        return front - mp.log(lentz(lambda i: (-i * (i - n), x + 2 * i + 1 - n), x + 1 - n))
    total = term = mp.mpf(1) / n
    i = n
    while term > total * mp.mpf(10) ** -40:
        i += 1
        term *= x / i
        total += term
    return complement(front + mp.log(total))

# ---------------------------------------------------------------- dual key

def dual_fractions(n, s, alpha):
    """ln P, for alpha != 0, 1/2, 1: the law is a signed mixture of Gamma(j) over both scales"""
    low, high = sorted([mp.mpf(alpha), 1 - mp.mpf(alpha)])
    with mp.workdps(760 + int(2 * n * (1 - mp.log10(high - low)))):
        s, gap = mp.mpf(s), high - low
        def poisson(x):
            term = total = mp.exp(-x)
            yield total
            for j in range(1, n):
                term *= x / j
                total += term
                yield total
        tails = list(poisson(s / high)), list(poisson(s / low))
        p = sum(mp.binomial(n + i - 1, i) * ((high / gap) ** n * (-low / gap) ** i * tails[0][n - 1 - i]
                + (-low / gap) ** n * (high / gap) ** i * tails[1][n - 1 - i]) for i in range(n))
        return mp.log(p)

def dual_contour(n, s, alpha):
    """ln P for n > 40: trapezoidal rule on the vertical line through the saddle point, three deviations off zero"""
    s, low = mp.mpf(s), min(mp.mpf(alpha), 1 - mp.mpf(alpha))
    high = 1 - low
    c = low * high
    root = mp.sqrt((s * (high - low)) ** 2 + (2 * n * c) ** 2)
    t = 2 * (s - n) / (s - 2 * n * c + root) if s > 2 * n * c else (s - 2 * n * c - root) / (2 * s * c)
    deviation = lambda t: mp.sqrt(n * ((low / (1 - low * t)) ** 2 + (high / (1 - high * t)) ** 2))
    if abs(t) * deviation(0) < 3: t = -3 / deviation(0)
    scale, h, total, u = 1 / deviation(t), mp.mpf(1) / 5, mp.mpf(0), 0
    base = (1 - low * t) * (1 - high * t)
    with mp.workdps(40):
        while True:
            z = mp.mpc(t, u * h * scale)
            w = mp.exp(-n * mp.log((1 - low * z) * (1 - high * z) / base) - mp.mpc(0, z.imag * s)) if u else mp.mpf(1)
            term = mp.re(w / z)
            total += term if u else term / 2
            if abs(w) < mp.mpf(10) ** -34: break
            u += 1
        ln = -n * mp.log(base) - t * s + mp.log(abs(total) * h * scale / mp.pi)
    return ln if t > 0 else complement(ln)

def dual_quadrature(n, s, alpha):
    """ln P as the mean over B of the tail of A; slow"""
    s, a = mp.mpf(s), mp.mpf(alpha)
    ln = lambda y: mp.ninf if y <= 0 or y >= s / a else (n - 1) * mp.log(y) - y - mp.loggamma(n) + gamma_fraction(n, (s - a * y) / (1 - a))
    centre = max((mp.mpf(i) / 500 * s / a for i in range(1, 500)), key=ln)
    for scale in (mp.mpf(1) / 50, mp.mpf(1) / 1000): centre = max((centre * (1 + scale * i / 10) for i in range(-20, 21) if centre * (1 + scale * i / 10) < s / a), key=ln)
    top, width = ln(centre), centre / mp.sqrt(n)
    cuts = sorted({min(max(centre + width * i, mp.mpf(0)), s / a) for i in range(-16, 26)})
    with mp.workdps(25):
        inner = mp.quad(lambda y: mp.exp(ln(y) - top), cuts, method="gauss-legendre", maxdegree=4)
    return mp.log(mp.exp(top) * inner + mp.exp(gamma_fraction(n, s / a)))

def dual_key(n, s, alpha):
    low = min(alpha, 1 - alpha)
    if low == 0: return sp.gamma_tails(n, s)[1] / LN10
    if low == 0.5: return sp.gamma_tails(2 * n, 2 * mp.mpf(s))[1] / LN10
    return (dual_fractions if n <= 60 else dual_contour)(n, s, alpha) / LN10

# ---------------------------------------------------------------- weighted tournament

def enumerate_scores(n, weights, cache={}):
    """numbers of outcomes with a score of at least t, for every t: one big-integer power, a cell for each score"""
    key = n, tuple(weights)
    if key not in cache:
        size, most = (n * len(weights) + 8) // 8, n * sum(weights)
        power = mpz(1)
        for w in weights: power *= (1 + (mpz(1) << 8 * size * w)) ** n
        cells, total, tails = int(power).to_bytes(size * (most + 1), "little"), 0, []
        for t in range(most, -1, -1):
            total += int.from_bytes(cells[t * size:(t + 1) * size], "little")
            tails.append(total)
        cache.clear()
        cache[key] = tails[::-1]
    return cache[key]

def tournament_enumerated(n, k, weights):
    tails = enumerate_scores(n, weights)
    all_ = tails[0]
    return mp.log(mp.mpf(tails[k]) / all_) if 2 * tails[k] < all_ else mp.log1p(-mp.mpf(all_ - tails[k]) / all_)

class FarPeaks(Exception):
    """the integrand has peaks away from the saddle point"""

def tournament_circle(n, k, weights):
    """ln P by Gauss-Legendre panels on the circle through (or near) the saddle point"""
    most = n * sum(weights)
    if 2 * k <= most: return complement(tournament_circle(n, most - k + 1, weights))
    miss = most - k
    if miss == 0: return -n * len(weights) * mp.log(2)
    counts = [(w, weights.count(w) * n) for w in sorted(set(weights))]
    slope = lambda t: miss - sum(m * w / (1 + mp.exp(w * t)) for w, m in counts)
    low, high = mp.mpf(0), mp.mpf(1)
    while slope(high) < 0: high *= 2
    for _ in range(110):
        mid = (low + high) / 2
        low, high = (mid, high) if slope(mid) < 0 else (low, mid)
    deviation = lambda t: mp.sqrt(sum(m * w * w * mp.exp(-w * t) / (1 + mp.exp(-w * t)) ** 2 for w, m in counts))
    t = max(low, 2 / deviation(low))
    sigma = deviation(t)
    end = min(mp.pi, 14 / sigma)
    if end < mp.pi:  # nothing beyond: the modulus on a grid finer than its bumps, 1e-25 of the result or less
        modulus = lambda y: sum(m / 2 * mp.log1p(-mp.sin(w * y / 2) ** 2 / mp.cosh(w * t / 2) ** 2) for w, m in counts)
        grid = [end + (mp.pi - end) * i / 400 for i in range(401)]
        if max(map(modulus, grid)) > -60 - mp.log(sigma): raise FarPeaks
    base = mp.exp(-t)
    norm = [(w, m, mp.exp(-w * t), 1 + mp.exp(-w * t)) for w, m in counts]
    def integrand(y):
        ln = mp.mpc(0, y * miss)
        for w, m, e, total in norm: ln += m * mp.log((1 + e * mp.expj(-w * y)) / total)
        return mp.re(mp.exp(ln) / (1 - base * mp.expj(-y)))
    with mp.workdps(38):
        cuts = [end * i / 10 for i in range(11)] if end < mp.pi else [mp.pi * i / 24 for i in range(25)]
        mean = mp.quad(integrand, cuts, method="gauss-legendre", maxdegree=5) / mp.pi
    return sum(m * mp.log((1 + mp.exp(-w * t)) / 2) for w, m in counts) + t * miss + mp.log(mean)

def enumerable(n, weights):
    return n * sum(weights) * n * len(weights) < 3e7

def tournament(n, k, weights):
    unit = math.gcd(*weights)
    if all(w == weights[0] for w in weights): return sp.binomial(-(-k // unit), n * len(weights), 0.5)
    weights = [w // unit for w in weights]
    k = -(-k // unit)
    if enumerable(n, weights): return tournament_enumerated(n, k, weights) / LN10
    return tournament_circle(n, k, weights) / LN10

# ---------------------------------------------------------------- bounds

def scaled(classes):
    top = max(w for w, _, _ in classes)
    return [(mp.mpf(w) / top, n, mp.mpf(int(x))) for w, n, x in classes]

def weighted_exponential(classes):
    """minimum over theta of the Chernoff exponent, log10; classes: [weight, pairs, sum in 2^-32]"""
    terms = [(w, n, x / 2**32) for w, n, x in scaled(classes)]
    total = sum(w * x for w, _, x in terms)
    if total <= sum(n * w for w, n, _ in terms): return mp.mpf(0)
    low, high = mp.mpf(0), mp.mpf(1)
    for _ in range(120):
        mid = (low + high) / 2
        low, high = (low, mid) if sum(n * w / (1 - mid * w) for w, n, _ in terms) > total else (mid, high)
    return (-sum(n * mp.log(1 - low * w) for w, n, _ in terms) - low * total) / LN10

def lowest(value, low, high):
    """minimum of a convex function by ternary search"""
    for _ in range(140):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, right) if value(left) < value(right) else (left, high)
    return min(mp.mpf(0), value((low + high) / 2))

def exponential_searched(classes):
    terms = [(w, n, x / 2**32) for w, n, x in scaled(classes)]
    return lowest(lambda t: sum(-n * mp.log(1 - t * w) - t * w * x for w, n, x in terms), mp.mpf(0), mp.mpf(1))

def green_searched(p, classes):
    p, terms, high = mp.mpf(p), scaled(classes), mp.mpf(10) ** -14
    value = lambda t: sum(n * mp.log(1 - p + p * mp.exp(t * w)) - t * w * g for w, n, g in terms)
    while value(2 * high) < value(high): high *= 2
    return lowest(value, mp.mpf(0), 2 * high)

# ---------------------------------------------------------------- points

def deviations(rnd):
    """distance from the mean in standard deviations, by the digits of the tail: up to 5e9 above, 300 below"""
    kind = rnd.randrange(6)
    if kind < 3: return math.sqrt(4.6 * 10 ** rnd.uniform(-2, 9.7))
    if kind < 5: return -math.sqrt(4.6 * rnd.uniform(0, 300))
    return rnd.uniform(-1, 1) * 10 ** rnd.uniform(-6, 0.5)

def near(rnd, mean, deviation, most):
    """an integer in 1..most, by its distance or, where that leaves the range, anywhere"""
    k = round(mean + deviations(rnd) * deviation)
    return k if 1 <= k <= most else max(1, min(most, sp.count(rnd, most, mean / most)))

def total(rnd, n, spread=1.0):
    s = n + deviations(rnd) * math.sqrt(n * spread)
    return s if 0 < s < 1e3 * n else sp.total(rnd, n)

def weights(rnd):
    kind = rnd.randrange(4)
    if kind < 2:
        d = rnd.choice([2, 3, 5, 10, 20, 30])
        return [10 - (18 * i + d - 1) // (2 * (d - 1)) for i in range(d)]
    if kind == 2: return [rnd.randint(1, 40)] * rnd.randint(1, 30)
    return [rnd.randint(1, 12) for _ in range(rnd.randint(1, 8))] + [1]

def agree(what, row, a, b):
    assert abs(a - b) <= mp.mpf(10) ** -14 * abs(b), (what, row, mp.nstr(a, 20), mp.nstr(b, 20))

def points(seed, only):
    rnd, out, checks = random.Random(f"{seed} {only}"), {k: [] for k in ROWS}, {k: 0 for k in ROWS}
    text = lambda v: mp.nstr(v, 16) if v else "0"
    def add(kind, row, value, *others):
        for other in others:
            agree(kind, row, value * LN10, other())
            checks[kind] += 1
        out[kind].append(row + [text(value)])
    def more(kind):
        return kind == only and len(out[kind]) < ROWS[kind]
    sample = lambda often: rnd.randrange(often) == 0
    while more("binomial"):
        n, p = sp.size(rnd), sp.chance(rnd)
        k = near(rnd, n * p, math.sqrt(n * p * (1 - p)), n)
        second = [lambda: binomial_fraction(k, n, p)] if n < 10**7 and sample(8) else []
        second += [lambda: tournament_circle(n, k, [1])] if p == 0.5 and n > 600 and n - k > 90 and sample(3) else []
        add("binomial", [k, n, repr(p)], sp.binomial(k, n, p), *second)
    while more("gamma"):
        n = sp.size(rnd)
        x = total(rnd, n)
        second = [lambda: gamma_fraction(n, x)] if n < 10**7 and sample(8) else []
        second += [lambda: dual_contour(n, x, 0)] if n > 40 and sample(8) else []
        add("gamma", [n, repr(x)], sp.gamma(n, x), *second)
    while more("dual_key"):
        n = rnd.randint(1, 60) if sample(3) else sp.size(rnd)
        alpha = rnd.choice([0.0, 1.0, 0.5, 0.1, 0.2, 0.9]) if sample(3) else rnd.choice([rnd.uniform(0, 1), 10 ** rnd.uniform(-9, -0.4)])
        if n <= 60 and abs(alpha - 0.5) < 1e-6: continue
        s = total(rnd, n, alpha**2 + (1 - alpha) ** 2)
        second = [lambda: dual_contour(n, s, alpha)] if 40 < n <= 60 and sample(3) else []
        second += [lambda: dual_fractions(n, s, alpha)] if 60 < n < 200 and 0 < alpha < 1 and alpha != 0.5 and sample(2) else []
        second += [lambda: dual_quadrature(n, s, alpha)] if 20 < n < 3000 and 0 < alpha < 1 and 4 * abs(s - n) ** 2 > n and s > n and sample(60) else []
        add("dual_key", [n, repr(s), repr(alpha)], dual_key(n, s, alpha), *second)
    while more("tournament"):
        w = weights(rnd)
        small = sample(12)
        n = rnd.randint(1, max(1, math.isqrt(int(3e7 / sum(w) / len(w))) // rnd.choice([1, 1, 4, 20]))) if small else sp.size(rnd)
        most, deviation = n * sum(w), math.sqrt(n * sum(v * v for v in w)) / 2
        for _ in range(12 if small else 1):
            k = near(rnd, most / 2, deviation, most)
            try:
                value, second = tournament(n, k, w), []
                if small and len(set(w)) > 1 and math.gcd(*w) == 1 and n * len(w) > 600 and sample(4):
                    other = tournament_circle(n, k, w)
                    second = [lambda: other]
            except FarPeaks:
                if not small: continue
            if more("tournament"): add("tournament", [n, str(k), w], value, *second)
    while more("weighted_green"):
        p, classes = sp.chance(rnd), []
        for _ in range(rnd.choice([1, 2, 3, 6])):
            n = sp.size(rnd, rnd.choice([2, 9, 12]))
            g = near(rnd, n * p, math.sqrt(n * p * (1 - p)), n)
            classes.append([math.isqrt(sp.size(rnd) << 32), n, g])
        value = sp.weighted(p, classes)
        if value or sample(8):
            second = [lambda: green_searched(p, classes)] if sample(12) and any(g < n for _, n, g in classes) else []
            add("weighted_green", [repr(p), classes], value, *second)
    while more("weighted_exponential"):
        classes = []
        for _ in range(rnd.choice([1, 2, 3, 6])):
            n = sp.size(rnd, rnd.choice([2, 9, 12]))
            classes.append([math.isqrt(sp.size(rnd) << 32), n, str(int(total(rnd, n) * 2**32))])
        value = weighted_exponential(classes)
        if value or sample(8):
            second = [lambda: exponential_searched(classes)] if sample(12) else []
            add("weighted_exponential", [classes], value, *second)
    print(only, "rows computed twice:", checks[only], flush=True)
    assert checks[only] >= ROWS[only] // 60
    values = [abs(float(row[-1])) for row in out[only]]
    assert max(values) > 1e9 and ("weighted" in only or 0 < min(v for v in values if v) < 1e-200), only
    return out[only]

def main():
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tail_points.json")
    lines = lambda rows: ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows)
    with multiprocessing.Pool() as pool:
        jobs = {k: pool.apply_async(points, (seed, k)) for k in sorted(ROWS, key=ROWS.get, reverse=True)}
        data = {k: jobs[k].get() for k in ROWS}
    with open(sys.argv[2] if len(sys.argv) > 2 else beside, "w") as file:
        file.write("{" + ",\n".join(f'"{k}":[\n{lines(v)}]' for k, v in data.items()) + "}\n")

if __name__ == "__main__":
    main()
