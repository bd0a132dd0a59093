//! Tails and e-values against high-precision references, and what has to hold between neighbouring values.
//!
//! References: `vectors/stats.json` and `vectors/weighted.json` (direct sums), `data/stats_points.json` (random
//! parameters up to 1e12 in both tails, quadrature; made by `data/stats_points.py`).
#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::Value;
use watermark_core::stats::{
    SignedClass, WeightClass, ln_binomial_cdf, ln_binomial_sf, ln_e_green, ln_e_gumbel, ln_e_signed_exponential,
    ln_e_signed_green, ln_gamma_cdf, ln_gamma_sf, log10_binomial_sf, log10_gamma_sf, log10_gamma_sf_q32,
    log10_signed_exponential_bound, log10_signed_green_bound, log10_weighted_green_bound, q32_to_f64, weight_residual,
    weight_sqrt,
};
use watermark_tests::{number, points, vectors};

/// Below this size a value may round to zero: it is past the smallest normal number.
const UNDERFLOW: f64 = 1e-300;

fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// The direct sums of `vectors/oracle.py` leave out terms below 1e-50 of the sum, so a log10 p closer to zero than this
/// is not resolved there: the row (100000, 90000) reads -8.7e-50, its value is -8.59e-236.
const DIRECT_SUM: f64 = 1e-49;

/// Compares every row's last field with `f(row)`: 1e-9 relative, plus `floor`.
fn compare(rows: &Value, floor: f64, f: impl Fn(&Value) -> f64) {
    let rows = rows.as_array().unwrap();
    assert!(!rows.is_empty());
    for row in rows {
        let expected = number(row.as_array().unwrap().last().unwrap());
        let got = f(row);
        assert!((got - expected).abs() <= 1e-9 * expected.abs() + floor, "{row}: {got:e}");
        assert!(!(got.abs() < UNDERFLOW && got.is_sign_negative() && expected.abs() < 1e-320), "{row}: -0.0");
    }
}

fn weighted(gamma: f64, classes: &Value) -> f64 {
    let class = |c: &Value| WeightClass { weight: whole(&c[0]), pairs: whole(&c[1]), green: whole(&c[2]) };
    log10_weighted_green_bound(&classes.as_array().unwrap().iter().map(class).collect::<Vec<_>>(), gamma)
}

fn well_formed(ln_p: f64) {
    assert!(ln_p <= 0.0 && (ln_p < 0.0 || ln_p.is_sign_positive()), "{ln_p:e}");
}

#[test]
fn shared_vectors() {
    let v = vectors("stats.json");
    compare(&v["log10_binom_sf"], DIRECT_SUM, |r| log10_binomial_sf(whole(&r[0]), whole(&r[1]), number(&r[2])));
    compare(&v["log10_gamma_sf"], DIRECT_SUM, |r| log10_gamma_sf(whole(&r[0]), number(&r[1])));
    compare(&v["ln_e_gumbel"], 1e-12, |r| ln_e_gumbel(whole(&r[0]), number(&r[1])));
    compare(&v["ln_e_green"], 1e-12, |r| ln_e_green(whole(&r[0]), whole(&r[1]), number(&r[2])));
}

#[test]
fn values_next_to_zero_keep_their_digits() {
    // sum of the 922 largest Poisson(90000) masses from 100000 on, 50 digits
    let got = log10_gamma_sf(100_000, 90_000.0);
    assert!((got / -8.591_461_128_862_42e-236 - 1.0).abs() < 1e-9, "{got:e}");
}

#[test]
fn random_points() {
    let v = points("stats_points.json");
    compare(&v["binomial"], UNDERFLOW, |r| log10_binomial_sf(whole(&r[0]), whole(&r[1]), number(&r[2])));
    compare(&v["gamma"], UNDERFLOW, |r| log10_gamma_sf(whole(&r[0]), number(&r[1])));
    compare(&v["gamma_q32"], UNDERFLOW, |r| log10_gamma_sf_q32(whole(&r[0]), r[1].as_str().unwrap().parse().unwrap()));
    compare(&v["e_gumbel"], 1e-12, |r| ln_e_gumbel(whole(&r[0]), number(&r[1])));
    compare(&v["e_green"], 1e-12, |r| ln_e_green(whole(&r[0]), whole(&r[1]), number(&r[2])));
    compare(&v["weighted"], 1e-12, |r| weighted(number(&r[0]), &r[1]));
}

#[test]
fn weighted_vectors() {
    for row in vectors("weighted.json").as_array().unwrap() {
        let mut statistic = 0;
        let mut classes = Vec::new();
        for (count, class) in row["classes"].as_object().unwrap() {
            let weight = weight_sqrt(count.parse().unwrap());
            let class = WeightClass { weight, pairs: whole(&class[0]), green: whole(&class[1]) };
            statistic += class.weight * class.green;
            classes.push(class);
        }
        assert_eq!(statistic.to_string(), row["statistic_sqrt"].as_str().unwrap());
        let got = log10_weighted_green_bound(&classes, number(&row["gamma"]));
        let expected = number(&row["log10_p_sqrt"]);
        assert!((got - expected).abs() <= 1e-9 * expected.abs(), "{got} for {expected}");
        well_formed(got);
        let distinct = log10_binomial_sf(whole(&row["green"]), whole(&row["totals"]["scored"]), number(&row["gamma"]));
        let expected = number(&row["log10_p_distinct"]);
        assert!((distinct - expected).abs() <= 1e-9 * expected.abs());
    }
}

/// Signed classes of both laws against the oracle's, which minimises the signed moment generating function itself and turns no sign around.
#[test]
fn signed_classes() {
    let v = vectors("signed.json");
    let (mut green, mut exponential) = (0, 0);
    for row in v["tests"].as_array().unwrap() {
        let class = |c: &Value| SignedClass {
            weight: c[0].as_i64().unwrap(),
            pairs: whole(&c[1]),
            score: c[2].as_str().unwrap().parse().unwrap(),
        };
        let classes: Vec<SignedClass> = row["classes"].as_array().unwrap().iter().map(class).collect();
        let (log10_p, ln_e) = if row["gamma"].is_null() {
            exponential += 1;
            (log10_signed_exponential_bound(&classes), ln_e_signed_exponential(&classes))
        } else {
            green += 1;
            let gamma = number(&row["gamma"]);
            (log10_signed_green_bound(&classes, gamma), ln_e_signed_green(&classes, gamma))
        };
        for (got, expected) in [(log10_p, number(&row["log10_p"])), (ln_e, number(&row["ln_e"]))] {
            assert!((got - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{row}: {got} for {expected}");
        }
        well_formed(log10_p);
    }
    assert_eq!((green, exponential), (16, 8));
    for row in v["weights"].as_array().unwrap() {
        assert_eq!(weight_residual(whole(&row[0]), whole(&row[1])), row[2].as_i64().unwrap(), "{row}");
    }
}

#[test]
fn binomial_falls_with_the_count() {
    for (n, step) in [(1, 1), (17, 1), (1000, 1), (1_000_000, 997), (1_000_000_000_000, 999_999_937)] {
        for p in [1e-4, 0.25, 0.5, 0.9, 0.999] {
            let mut last = ln_binomial_sf(0, n, p);
            let mut k = 0;
            while k + step <= n {
                k += step;
                let ln_p = ln_binomial_sf(k, n, p);
                well_formed(ln_p);
                well_formed(ln_binomial_cdf(k, n, p));
                assert!(ln_p < last || (last > -UNDERFLOW && ln_p <= last), "{k} {n} {p}: {ln_p:e} after {last:e}");
                last = ln_p;
            }
        }
    }
}

#[test]
fn neighbours_near_the_mean_of_a_large_count() {
    let n = 1_000_000_000_000;
    let mut last = 0.0;
    for k in n / 4 - 2000..n / 4 + 2000 {
        let ln_p = ln_binomial_sf(k, n, 0.25);
        assert!(ln_p < last);
        // one more hit costs about the density: 0.92e-6 of the tail
        assert!(last > -1e-9 || ((last - ln_p) / 1.843e-6 - 1.0).abs() < 0.01, "{:e}", last - ln_p);
        last = ln_p;
    }
}

#[test]
fn gamma_falls_with_the_sum() {
    for n in [1, 2, 50, 100_000, 1_000_000_000_000u64] {
        let mean = n as f64;
        let mut last = (0.0, f64::NEG_INFINITY);
        for i in -4000..4000 {
            let x = mean * spread(i);
            let (upper, lower) = (ln_gamma_sf(n, x), ln_gamma_cdf(n, x));
            well_formed(upper);
            well_formed(lower);
            assert!(upper < last.0 || (last.0 > -UNDERFLOW && upper <= last.0), "{n} {x}");
            assert!(lower > last.1 || (lower > -UNDERFLOW && lower >= last.1), "{n} {x}");
            last = (upper, lower);
        }
    }
}

/// A growing function of `i` with `f(0) = 1`, finest around zero.
fn spread(i: i32) -> f64 {
    let t = f64::from(i) / 4000.0;
    let d = t * t * t * 0.9;
    if i < 0 { 1.0 + d } else { 1.0 / (1.0 - d) }
}

#[test]
fn tails_are_complements() {
    for (k, n, p) in [(3, 10, 0.25), (250_400, 1_000_000, 0.25), (999_000, 1_000_000, 0.999), (1, 1, 0.5)] {
        let total = ln_binomial_sf(k, n, p).exp() + ln_binomial_cdf(k - 1, n, p).exp();
        assert!((total - 1.0).abs() < 1e-12);
        let mirrored = ln_binomial_cdf(n - k, n, 1.0 - p);
        assert!((mirrored / ln_binomial_sf(k, n, p) - 1.0).abs() < 1e-9);
    }
    for (n, x) in [(1, 0.2), (10, 11.0), (1_000_000, 999_000.0), (1_000_000_000_000, 1.000_001e12)] {
        let total = ln_gamma_sf(n, x).exp() + ln_gamma_cdf(n, x).exp();
        assert!((total - 1.0).abs() < 1e-12);
    }
}

#[test]
fn enumeration_of_all_outcomes() {
    // 12 trials, hit probability 1/4: outcome `bits` has 3^(misses) of 4^12 parts
    let mut parts = [0u64; 13];
    for bits in 0u32..1 << 12 {
        parts[bits.count_ones() as usize] += 3u64.pow(12 - bits.count_ones());
    }
    for k in 0..=12 {
        let exact = parts[k..].iter().sum::<u64>() as f64 / 4f64.powi(12);
        let got = ln_binomial_sf(k as u64, 12, 0.25).exp();
        assert!((got / exact - 1.0).abs() < 1e-11, "{k}: {got} {exact}");
    }
}

#[test]
fn an_e_value_claims_no_more_than_the_p_value() {
    for green in 50..=200 {
        assert!(ln_binomial_sf(green, 200, 0.25) <= -ln_e_green(green, 200, 0.25) + 1e-9);
    }
    for tenth in 1000..4000u32 {
        let s = f64::from(tenth) / 10.0;
        assert!(ln_gamma_sf(100, s) <= -ln_e_gumbel(100, s) + 1e-9);
    }
}

#[test]
fn q32_sums_agree_with_numbers() {
    for (n, sum) in [(1, 5u128 << 32), (400, 480 << 32), (100_000, 90_000 << 32), (8_000_000_000, 8_000_100_000 << 32)]
    {
        let (exact, number) = (log10_gamma_sf_q32(n, sum), log10_gamma_sf(n, q32_to_f64(sum)));
        assert!((exact / number - 1.0).abs() < 1e-12, "{n} {sum}");
    }
    // beyond 2^53 units a single one is below the resolution, 2^17 of them are not
    let (n, sum) = (8_000_000_000, 8_000_000_000u128 << 32);
    let values = [0u128, 1 << 17, 1 << 24, 1 << 32].map(|units| log10_gamma_sf_q32(n, sum + units));
    assert!(values.windows(2).all(|w| w[1] < w[0]), "{values:?}");
}
