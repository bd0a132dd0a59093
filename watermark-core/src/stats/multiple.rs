//! Many tests at once, and confidence bounds of a rate.

use super::binomial::{is_probability, ln_binomial_cdf, ln_binomial_sf};

/// Holm's step-down test (1979): which hypotheses are rejected.
///
/// Takes `log10 p` of each hypothesis. Under any dependence, the probability of rejecting even one true hypothesis is
/// at most `alpha`. The `i`-th smallest p-value is compared with `alpha / (m - i + 1)`, up to the first that exceeds.
///
/// NaN counts as a p-value of one; `alpha` outside `(0, 1)` or NaN rejects nothing.
pub fn holm(log10_p: &[f64], alpha: f64) -> Vec<bool> {
    holm_with_level(log10_p, alpha).0
}

/// As [`holm`], with log10 of the level at which the procedure stopped: it rejected what is at or below it, and nothing else.
pub fn holm_with_level(log10_p: &[f64], alpha: f64) -> (Vec<bool>, f64) {
    let order = ascending(log10_p);
    let level = |rank: usize| log10_holm_level(alpha, order.len() - rank);
    if !is_probability(alpha) {
        return (vec![false; order.len()], level(0));
    }
    let rejected = order.iter().enumerate().take_while(|&(rank, &at)| log10_p[at] <= level(rank)).count();
    (mark(&order[..rejected], order.len()), level(rejected))
}

/// log10 of the level with which Holm's test compares a p-value while `m` hypotheses are left. With all hypotheses of a
/// family it is the strictest level, which an effect that stands alone has to pass.
pub fn log10_holm_level(alpha: f64, m: usize) -> f64 {
    libm::log10(alpha) - libm::log10(m.max(1) as f64)
}

/// The step-up test of Benjamini and Yekutieli (2001): which hypotheses are rejected.
///
/// Takes `log10 p` of each hypothesis. Under any dependence, the expected share of true hypotheses among the rejected
/// is at most `alpha`. With `h = 1 + 1/2 + ... + 1/m`, the `k` smallest p-values are rejected for the largest `k` with
/// `p_(k) <= alpha k / (m h)`.
///
/// NaN counts as a p-value of one; `alpha` outside `(0, 1)` or NaN rejects nothing.
pub fn benjamini_yekutieli(log10_p: &[f64], alpha: f64) -> Vec<bool> {
    let harmonic: f64 = (1..=log10_p.len()).rev().map(|i| 1.0 / i as f64).sum();
    step_up(log10_p, log10_p.len() as u64, alpha / harmonic, libm::log10)
}

/// The e-BH test (Wang and Ramdas 2022, "False discovery rate control with e-values"): which hypotheses are rejected.
///
/// Takes the natural logarithm of each e-value. Under any dependence, the expected share of true hypotheses among the
/// rejected is at most `alpha`. The `k` largest e-values are rejected for the largest `k` with
/// `e_(k) >= m / (alpha k)`.
///
/// NaN counts as an e-value of zero; `alpha` outside `(0, 1)` or NaN rejects nothing.
pub fn e_bh(ln_e: &[f64], alpha: f64) -> Vec<bool> {
    e_bh_among(ln_e, ln_e.len() as u64, alpha)
}

/// As [`e_bh`], where `ln_e` holds some of `m` e-values and all others count as zero. Zeros only make e-values smaller,
/// so the test stays valid however the choice was made. Nothing is lost if every e-value of at least `1 / alpha` is
/// among them: no threshold is lower, since that is the one with all `m` rejected.
pub fn e_bh_among(ln_e: &[f64], m: u64, alpha: f64) -> Vec<bool> {
    let inverse: Vec<f64> = ln_e.iter().map(|&e| -e).collect();
    step_up(&inverse, m.max(ln_e.len() as u64), alpha, libm::log)
}

/// Rejects the `k` smallest values for the largest `k` whose value is at most `log(alpha k / m)`.
fn step_up(values: &[f64], m: u64, alpha: f64, log: fn(f64) -> f64) -> Vec<bool> {
    if !is_probability(alpha) {
        return vec![false; values.len()];
    }
    let order = ascending(values);
    let level = |rank: usize| log(alpha) + log((rank + 1) as f64) - log(m as f64);
    let last = order.iter().enumerate().rposition(|(rank, &at)| values[at] <= level(rank));
    mark(&order[..last.map_or(0, |rank| rank + 1)], order.len())
}

/// Logarithm of the average of e-values, from their natural logarithms: again an e-value, under any dependence
/// (Vovk and Wang 2021, "E-values: calibration, combination and applications").
///
/// Never NaN or -0.0. No e-values give 0 (`E = 1`, no evidence); NaN counts as an e-value of zero; one infinite
/// e-value makes the average infinite.
pub fn ln_mean_e(ln_e: &[f64]) -> f64 {
    if ln_e.is_empty() {
        return 0.0;
    }
    let top = ln_e.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top.is_infinite() {
        return top;
    }
    let sum: f64 = ln_e.iter().filter(|e| !e.is_nan()).map(|e| libm::exp(e - top)).sum();
    top + libm::log(sum / ln_e.len() as f64) + 0.0
}

/// Clopper and Pearson's bounds (1934) of the rate behind `k` hits among `n`: `(lower, upper)`, each one-sided with
/// error at most `level`, so that both together err at most twice as often.
///
/// `lower` is the rate at which `P(Bin(n, rate) >= k) = level`, `upper` the one at which `P(Bin(n, rate) <= k) =
/// level`; both come from bisecting the exact tails over the binary64 numbers and are rounded outwards. Their relative
/// error is that of the tails, `1e-9` times `-ln level` at most.
///
/// `k = 0` has lower bound 0 and `k >= n` upper bound 1. `level` outside `(0, 1)` or NaN gives `(0, 1)`.
pub fn clopper_pearson(k: u64, n: u64, level: f64) -> (f64, f64) {
    if !is_probability(level) {
        return (0.0, 1.0);
    }
    let (k, ln_level) = (k.min(n), libm::log(level));
    let lower = if k == 0 { 0.0 } else { bisect(|rate| ln_binomial_sf(k, n, rate) <= ln_level).0 };
    let upper = if k == n { 1.0 } else { bisect(|rate| ln_binomial_cdf(k, n, rate) > ln_level).1 };
    (lower, upper)
}

/// The neighbouring numbers in `[0, 1]` between which `holds` turns from true to false: non-negative numbers are
/// ordered as their bits are.
fn bisect(holds: impl Fn(f64) -> bool) -> (f64, f64) {
    let (mut low, mut high) = (0, 1f64.to_bits());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(f64::from_bits(middle)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    (f64::from_bits(low), f64::from_bits(high))
}

/// Indices in ascending order of the values, NaN last.
fn ascending(values: &[f64]) -> Vec<usize> {
    let key = |at: usize| if values[at].is_nan() { f64::INFINITY } else { values[at] };
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| key(a).total_cmp(&key(b)));
    order
}

fn mark(rejected: &[usize], len: usize) -> Vec<bool> {
    let mut marks = vec![false; len];
    for &at in rejected {
        marks[at] = true;
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [f64; 6] = [0.009, 0.6, 0.001, 0.0125, 0.02, 0.04];

    #[test]
    fn holm_by_hand() {
        // a little below 0.001 <= 0.05/6, 0.009 <= 0.05/5 = 0.01, 0.0125 = 0.05/4, 0.02 > 0.05/3
        let log = P.map(|p| libm::log10(p * 0.9999));
        assert_eq!(holm(&log, 0.05), [true, false, true, true, false, false]);
        assert_eq!(holm(&log, 0.01), [false, false, true, false, false, false]); // 0.001 <= 0.01/6, 0.009 > 0.01/5
        // the smallest fails, so the rest is not looked at
        assert_eq!(holm(&[libm::log10(0.03), libm::log10(0.04)], 0.05), [false, false]);
        assert_eq!(holm(&[libm::log10(0.02), libm::log10(0.04)], 0.05), [true, true]);
        // three of six are rejected, so the fourth was compared with 0.05/3; where all are, or there are none, it is alpha
        let stops = |log10_p: &[f64], level| (holm_with_level(log10_p, 0.05).1 - libm::log10(level)).abs() < 1e-12;
        assert!(stops(&log, 0.05 / 3.0) && stops(&[-9.0], 0.05) && stops(&[], 0.05));
    }

    #[test]
    fn benjamini_yekutieli_by_hand() {
        // h = 2.45; levels 0.05 k / 14.7 = 0.0034, 0.0068, 0.0102, 0.0136, 0.0170, 0.0204
        let rejected = |p: [f64; 6]| benjamini_yekutieli(&p.map(libm::log10), 0.05);
        assert_eq!(rejected(P), [false, false, true, false, false, false]);
        // the fourth holds, and carries the second and third, which alone would not
        assert_eq!(rejected([0.0101, 0.6, 0.001, 0.0103, 0.0135, 0.04]), [true, false, true, true, true, false]);
        assert_eq!(rejected([0.0035; 6]), [true; 6]);
    }

    #[test]
    fn e_bh_by_hand() {
        // m = 4, alpha = 0.05: levels 80, 40, 26.7, 20
        let rejected = |e: [f64; 4]| e_bh(&e.map(libm::log), 0.05);
        assert_eq!(rejected([81.0, 39.0, 26.0, 19.0]), [true, false, false, false]);
        assert_eq!(rejected([41.0, 27.0, 30.0, 19.0]), [true, true, true, false]);
        assert_eq!(rejected([79.0, 39.0, 26.0, 19.0]), [false; 4]);
        assert_eq!(rejected([21.0; 4]), [true; 4]);
        assert_eq!(rejected([f64::INFINITY, 0.0, f64::NAN, 1.0]), [true, false, false, false]);
        // the same with those below 1 / alpha = 20 left out
        let kept = |e: &[f64]| e_bh_among(&e.iter().map(|&e| libm::log(e)).collect::<Vec<_>>(), 4, 0.05);
        assert_eq!(kept(&[41.0, 27.0, 30.0]), [true; 3]);
        assert_eq!(kept(&[81.0, 39.0, 26.0]), [true, false, false]);
    }

    #[test]
    fn mean_of_e_values() {
        assert!(
            (ln_mean_e(&[libm::log(3.0), libm::log(5.0), f64::NEG_INFINITY, f64::NAN]) - libm::log(2.0)).abs() < 1e-15
        );
        assert!((ln_mean_e(&[1e300, 1e300]) - 1e300).abs() < 1e285);
        assert!((ln_mean_e(&[5000.0, 0.0]) - 5000.0 + core::f64::consts::LN_2).abs() < 1e-12);
        let one = [ln_mean_e(&[]), ln_mean_e(&[0.0, -0.0])];
        assert!(one.iter().all(|v| v.abs() < 1e-300 && v.is_sign_positive()));
        assert!(ln_mean_e(&[1.0, f64::INFINITY]) > 1e308 && ln_mean_e(&[f64::NAN]) < -1e308);
    }

    #[test]
    fn clopper_pearson_in_closed_form() {
        let near = |got: f64, exact: f64| (got - exact).abs() <= 1e-12 * exact;
        let root = |x: f64, n: u64| libm::exp(libm::log(x) / n as f64);
        for n in [1, 10, 1000, 1_000_000_000_000] {
            let (lower, upper) = clopper_pearson(0, n, 0.05);
            assert!(lower < 1e-300 && near(upper, -libm::expm1(libm::log(0.05) / n as f64)), "{n} {upper}");
            let (lower, upper) = clopper_pearson(n, n, 0.05);
            assert!(upper > 1.0 - 1e-16 && near(lower, root(0.05, n)), "{n} {lower}");
        }
        // one of two: 1 - (1-p)^2 = level, and 1 - p^2 = level
        let (lower, upper) = clopper_pearson(1, 2, 0.19);
        assert!(near(lower, 0.1) && near(upper, 0.9));
        // 5 of 10 at 2.5 % each (Clopper and Pearson's table)
        let (lower, upper) = clopper_pearson(5, 10, 0.025);
        assert!((lower - 0.187_086).abs() < 1e-6 && (upper - 0.812_914).abs() < 1e-6);
        // hits that never happen: 1 - e^(-n p)
        assert!(near(clopper_pearson(1, 1 << 50, 1e-9).0 * libm::pow(2.0, 50.0), 1.000_000_000_5e-9));
    }

    #[test]
    fn edges() {
        for alpha in [0.0, 1.0, -1.0, f64::NAN, f64::INFINITY] {
            for rejected in [holm(&[f64::NEG_INFINITY], alpha), e_bh(&[f64::INFINITY], alpha)] {
                assert_eq!(rejected, [false]);
            }
            assert_eq!(benjamini_yekutieli(&[f64::NEG_INFINITY], alpha), [false]);
            let (lower, upper) = clopper_pearson(3, 9, alpha);
            assert!(lower < 1e-300 && upper > 1.0 - 1e-16);
        }
        assert!(holm(&[], 0.05).is_empty() && benjamini_yekutieli(&[], 0.05).is_empty() && e_bh(&[], 0.05).is_empty());
        // NaN is a p-value of one: it counts among the tests and is not rejected
        assert_eq!(holm(&[libm::log10(0.03), f64::NAN], 0.05), [false, false]);
        assert_eq!(benjamini_yekutieli(&[-9.0, f64::NAN], 0.05), [true, false]);
        let (lower, upper) = clopper_pearson(0, 0, 0.05);
        assert!(lower < 1e-300 && upper > 1.0 - 1e-16);
        assert!((clopper_pearson(9, 5, 0.05).0 - clopper_pearson(5, 5, 0.05).0).abs() < 1e-300);
    }
}
