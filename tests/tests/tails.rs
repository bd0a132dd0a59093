//! Every tail and bound against 10,000 high-precision points, and what has to hold of any argument.
//!
//! References: `data/tail_points.json` (made and cross-checked by `data/tail_points.py`), `vectors/stats.json` for dual
//! keys (an independent quadrature).
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::Value;
use watermark_core::scheme::Tournament;
use watermark_core::stats::{
    ExponentialClass, WeightClass, benjamini_yekutieli, clopper_pearson, e_bh, holm, ln_binomial_cdf, ln_binomial_sf,
    ln_e_green, ln_e_gumbel, ln_e_weighted_green, ln_gamma_cdf, ln_gamma_sf, ln_mean_e, log10_binomial_sf,
    log10_dual_key_sf, log10_gamma_sf, log10_gamma_sf_q32, log10_weighted_exponential_bound,
    log10_weighted_exponential_saddlepoint, log10_weighted_green_bound, log10_weighted_green_saddlepoint,
    log10_weighted_tournament_sf, weight_sqrt,
};
use watermark_tests::{number, points, vectors};

/// Below this size a value may round to zero: it is past the smallest normal number.
const UNDERFLOW: f64 = 1e-300;

/// Two values of a monotone function may stand in the wrong order by their rounding errors.
const ROUNDING: f64 = 1e-9;

fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

/// Compares every row's last field with `f(row)`, relative to it; returns the number of rows.
fn compare(rows: &Value, tolerance: f64, f: impl Fn(&Value) -> f64) -> usize {
    let rows = rows.as_array().unwrap();
    assert!(!rows.is_empty());
    let mut worst = (0.0, &Value::Null);
    for row in rows {
        let expected = number(row.as_array().unwrap().last().unwrap());
        let got = f(row);
        well_formed(got);
        let error = (got - expected).abs();
        if error > UNDERFLOW && error / expected.abs() > worst.0 {
            worst = (error / expected.abs(), row);
        }
    }
    assert!(worst.0 <= tolerance, "{:e} at {}", worst.0, worst.1);
    rows.len()
}

fn green_class(c: &Value) -> WeightClass {
    WeightClass { weight: whole(&c[0]), pairs: whole(&c[1]), green: whole(&c[2]) }
}

fn exponential_class(c: &Value) -> ExponentialClass {
    ExponentialClass { weight: whole(&c[0]), pairs: whole(&c[1]), sum_q32: c[2].as_str().unwrap().parse().unwrap() }
}

fn list<T>(values: &Value, f: impl Fn(&Value) -> T) -> Vec<T> {
    values.as_array().unwrap().iter().map(f).collect()
}

/// A logarithm of a probability: at most zero, neither NaN nor -0.0.
fn well_formed(log_p: f64) {
    assert!(log_p <= 0.0 && (log_p < 0.0 || log_p.is_sign_positive()), "{log_p:e}");
}

/// gamma = 1 - 2^-k, where sums of numbers next to 1 would lose what is left of them. References: mpmath with 60 digits, sums
/// over the numbers of red pairs, and for bounds a search of the minimum over theta.
#[test]
fn gamma_next_to_one() {
    let gamma = |k: i32| 1.0 - 2f64.powi(-k);
    // (k, green, pairs, log10 P, ln e)
    let plain = [
        (30, 100, 100, -4.044_682_552_157_77e-8, 4.656_612_912_108_671e-8),
        (30, 99, 100, -1.864_617_448_825_496_5e-15, -0.693_147_149_826_300_1),
        (30, 1_000_000_000, 1_000_000_000, -0.404_468_255_215_777_06, 0.501_543_677_994_435_3),
        (30, 999_999_999, 1_000_000_000, -0.118_613_438_167_518_15, -0.357_683_960_197_379_14),
        (30, 1_000_000_000_000, 1_000_000_000_000, -404.468_255_215_777_05, 924.485_969_350_028_2),
        (30, 999_999_999_995, 1_000_000_000_000, -391.699_600_452_479_33, 895.090_432_592_512_7),
        (40, 100, 100, -3.949_885_303_004_060_5e-11, 4.547_473_508_901_864e-11),
        (40, 999_999_999, 1_000_000_000, -1.795_111_528_888_648e-7, -0.692_843_992_681_489_3),
        (40, 2_999_999_999_998, 3_000_000_000_000, -0.312_762_867_927_099_56, -0.256_449_207_136_677_24),
        (52, 100, 100, -9.643_274_665_532_873e-15, 1.110_223_024_625_158_7e-14),
        (52, 1_000_000_000_000, 1_000_000_000_000, -9.643_274_665_532_873e-5, 0.000_111_024_356_787_788_83),
    ];
    let close = |got: f64, expected: f64, of: f64| (got - expected).abs() <= 1e-9 * of;
    for (k, green, n, log10_p, ln_e) in plain {
        let got = (log10_binomial_sf(green, n, gamma(k)), ln_e_green(green, n, gamma(k)));
        assert!(close(got.0, log10_p, log10_p.abs()), "{k} {green} {n}: {got:?}");
        assert!(close(got.1, ln_e, ln_e.abs().max(1.0)), "{k} {green} {n}: {got:?}");
    }
    // (k, [(count, pairs, green)], log10 of the bound, ln e)
    let weighted = [
        (
            30,
            [(1, 1, 0), (1_000_000_000_000, 100_000_000, 100_000_000)],
            -0.040_441_422_126_969_946,
            -0.155_685_440_277_631_7,
        ),
        (30, [(1, 1_000_000_000, 1_000_000_000), (2, 5, 5)], -0.404_468_257_238_118_3, 0.232_051_233_551_548_6),
        (30, [(1_000_000, 1_000_000_000, 999_999_999), (1, 7, 7)], 0.0, -11.148_115_847_726_544),
        (
            40,
            [(1, 1, 0), (1_000_000_000_000, 100_000_000, 100_000_000)],
            -3.710_575_837_469_798_5e-5,
            -0.248_726_748_448_513_36,
        ),
        (
            40,
            [(1, 1_000_000_000, 1_000_000_000), (2, 5, 5)],
            -0.000_394_988_532_275_348_67,
            0.000_200_365_429_745_203_46,
        ),
        (52, [(1, 1, 0), (1_000_000_000_000, 100_000_000, 100_000_000)], 0.0, -0.248_817_675_714_363_25),
        (52, [(1, 1_000_000_000, 1_000_000_000), (2, 5, 5)], -9.643_274_713_749_245e-8, 4.891_151_980_920_185e-8),
    ];
    for (k, classes, log10_p, ln_e) in weighted {
        let class = |(count, pairs, green)| WeightClass { weight: weight_sqrt(count), pairs, green };
        let classes = classes.map(class);
        let got = (log10_weighted_green_bound(&classes, gamma(k)), ln_e_weighted_green(&classes, gamma(k)));
        assert!(close(got.0, log10_p, log10_p.abs()), "{k} {classes:?}: {got:?}");
        assert!(close(got.1, ln_e, ln_e.abs().max(1.0)), "{k} {classes:?}: {got:?}");
    }
}

#[test]
fn random_points() {
    let v = points("tail_points.json");
    let rows = [
        compare(&v["binomial"], 1e-9, |r| log10_binomial_sf(whole(&r[0]), whole(&r[1]), number(&r[2]))),
        compare(&v["gamma"], 1e-9, |r| log10_gamma_sf(whole(&r[0]), number(&r[1]))),
        compare(&v["dual_key"], 1e-9, |r| log10_dual_key_sf(whole(&r[0]), number(&r[1]), number(&r[2]))),
        compare(&v["tournament"], 1e-9, |r| {
            let weights = list(&r[2], |w| u32::try_from(whole(w)).unwrap());
            log10_weighted_tournament_sf(whole(&r[0]), whole(&r[1]), &weights)
        }),
        compare(&v["weighted_green"], 1e-9, |r| log10_weighted_green_bound(&list(&r[1], green_class), number(&r[0]))),
        compare(&v["weighted_exponential"], 1e-9, |r| {
            log10_weighted_exponential_bound(&list(&r[0], exponential_class))
        }),
    ];
    assert_eq!(rows.iter().sum::<usize>(), 10_000);
}

#[test]
fn bounds_are_not_below_the_minimum() {
    let v = points("tail_points.json");
    for row in v["weighted_exponential"].as_array().unwrap() {
        let bound = log10_weighted_exponential_bound(&list(&row[0], exponential_class));
        assert!(bound >= number(&row[1]) * (1.0 + 1e-15), "{row}: {bound}");
    }
    for row in v["weighted_green"].as_array().unwrap() {
        let bound = log10_weighted_green_bound(&list(&row[1], green_class), number(&row[0]));
        assert!(bound >= number(&row[2]) * (1.0 + 1e-15), "{row}: {bound}");
    }
}

#[test]
fn dual_key_vectors() {
    let v = vectors("stats.json");
    compare(&v["log10_dualkey_sf"], 1e-6, |r| log10_dual_key_sf(whole(&r[0]), number(&r[1]), number(&r[2])));
}

#[test]
fn exact_tails_stay_below_the_bounds() {
    let mut last = 0.0;
    for k in (16_500..33_000).step_by(97) {
        let exact = log10_weighted_tournament_sf(200, k, &Tournament::new(30).unwrap().weights());
        assert!(exact < last);
        last = exact;
    }
    for green in 60..=200 {
        let class = [WeightClass { weight: 5, pairs: 200, green }];
        assert!(log10_binomial_sf(green, 200, 0.25) <= log10_weighted_green_bound(&class, 0.25));
    }
}

/// Counts of every size.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![0..100u64, any::<u64>(), (0..64u32, any::<u64>()).prop_map(|(shift, bits)| bits >> shift)]
}

/// Numbers of every kind: NaN, infinities, zeros, subnormal and ordinary ones.
fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        prop::num::f64::ANY,
        0.0..1e6,
        (-300.0..300.0f64).prop_map(|e| 10f64.powf(e)),
        prop::sample::select(vec![0.0, -0.0, 1.0, 0.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY])
    ]
}

/// Probabilities, now and then something else.
fn rate() -> impl Strategy<Value = f64> {
    prop_oneof![0.0..=1.0, any_number(), (-20.0..0.0f64).prop_map(|e| 10f64.powf(e))]
}

/// Two ordered statistics near a mean or anywhere.
fn sums(n: u64) -> impl Strategy<Value = (f64, f64)> {
    let n = n as f64;
    let one = prop_oneof![
        (-9.0..9.0f64).prop_map(move |z| n + z * n.sqrt()),
        (-9.0..9.0f64).prop_map(move |e| n * 10f64.powf(e)),
        0.0..f64::MAX
    ];
    (one, prop_oneof![0.0..1.0f64, 1e-12..1e-3f64]).prop_map(|(x, share)| (x, x + share * x.abs()))
}

/// Fresh cases in every run; a failure prints its arguments.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

fn falls(at_lower: f64, at_higher: f64) -> bool {
    at_higher <= at_lower || at_higher <= at_lower + ROUNDING * at_lower.abs() + UNDERFLOW
}

/// Up to eight classes: weight, pairs and what they hold, before and after one class gains.
fn classes() -> impl Strategy<Value = (Vec<(u64, u64, u128)>, usize, u128)> {
    let small = (1..50u64, 0..1000u64, (0..2000u128).prop_map(|s| s << 31));
    let any_size = (count(), count(), (0..128u32, any::<u128>()).prop_map(|(shift, bits)| bits >> shift));
    let class = prop_oneof![small, any_size];
    (prop::collection::vec(class, 1..8), any::<prop::sample::Index>(), 0..1u128 << 45)
        .prop_map(|(classes, at, gain)| (classes.clone(), at.index(classes.len()), gain))
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn binomial(n in count(), a in count(), b in count(), p in rate()) {
        let (k, l) = (a.min(b), a.max(b));
        for (k, l) in [(k, l), (k % n.max(1), l % n.max(1)), (n / 2, n / 2 + k % 99)] {
            let (k, l) = (k.min(l), k.max(l));
            for (upper, lower) in [(ln_binomial_sf as fn(u64, u64, f64) -> f64, ln_binomial_cdf as fn(u64, u64, f64) -> f64), (log10_binomial_sf, ln_binomial_cdf)] {
                for log_p in [upper(k, n, p), upper(l, n, p), lower(k, n, p), lower(l, n, p)] {
                    well_formed(log_p);
                }
                prop_assert!(falls(upper(k, n, p), upper(l, n, p)) && falls(lower(l, n, p), lower(k, n, p)));
            }
            if !p.is_subnormal() {
                let (e, f) = (ln_e_green(k, n, p), ln_e_green(l, n, p));
                prop_assert!(e.is_finite() && f >= e - ROUNDING * e.abs().max(1.0), "{e} {f}");
            }
        }
    }

    #[test]
    fn gamma(n in count(), x in any_number()) {
        for v in [ln_gamma_sf(n, x), ln_gamma_cdf(n, x), log10_gamma_sf(n, x)] {
            well_formed(v);
        }
        prop_assert!(ln_e_gumbel(n, x).is_finite());
    }

    #[test]
    fn gamma_falls((n, (x, y)) in count().prop_flat_map(|n| (Just(n), sums(n)))) {
        prop_assert!(falls(log10_gamma_sf(n, x), log10_gamma_sf(n, y)));
        prop_assert!(falls(ln_gamma_cdf(n, y), ln_gamma_cdf(n, x)));
        let (e, f) = (ln_e_gumbel(n, x), ln_e_gumbel(n, y));
        prop_assert!(f >= e - ROUNDING * e.abs().max(1.0));
    }

    #[test]
    fn gamma_q32_falls(n in count(), shift in 0..128u32, bits in any::<u128>(), gain in any::<u64>()) {
        for sum in [bits >> shift, (u128::from(n) << 32) + (bits >> 96)] {
            let (at, past) = (log10_gamma_sf_q32(n, sum), log10_gamma_sf_q32(n, sum.saturating_add(gain.into())));
            well_formed(at);
            well_formed(past);
            prop_assert!(falls(at, past));
        }
    }

    #[test]
    fn dual_key(n in count(), x in any_number(), alpha in rate()) {
        well_formed(log10_dual_key_sf(n, x, alpha));
    }

    #[test]
    fn dual_key_falls((n, (x, y)) in count().prop_flat_map(|n| (Just(n), sums(n))), alpha in 0.0..=1.0f64, digits in 0..16i32) {
        for alpha in [alpha, alpha * 10f64.powi(-digits), 0.5 + (alpha - 0.5) * 10f64.powi(-digits)] {
            let (at, past) = (log10_dual_key_sf(n, x, alpha), log10_dual_key_sf(n, y, alpha));
            prop_assert!(falls(at, past), "{at:e} {past:e}");
        }
    }

    #[test]
    fn tournament_falls(
        n in count(), a in count(), b in count(), gain in 0..500u64,
        weights in prop_oneof![prop::collection::vec(0..=12u32, 0..31), prop::collection::vec(0..=64u32, 0..4), (1..31u32).prop_map(|depth| Tournament::new(depth).unwrap().weights()), prop::collection::vec(any::<u32>(), 0..31)],
    ) {
        let sum: u64 = weights.iter().map(|&w| u64::from(w)).sum();
        let n = n.min(u64::MAX / sum.max(1));
        let mean = n * sum / 2;
        for (k, l) in [(a, b), (a % (n * sum).max(1), b % (n * sum).max(1)), (mean, mean + gain), (mean.saturating_sub(gain), mean + 1)] {
            let (k, l) = (k.min(l), k.max(l));
            let (at, past) = (log10_weighted_tournament_sf(n, k, &weights), log10_weighted_tournament_sf(n, l, &weights));
            well_formed(at);
            well_formed(past);
            prop_assert!(falls(at, past), "{k} {l}: {at:e} {past:e}");
        }
    }

    #[test]
    fn weighted_green((classes, at, gain) in classes(), gamma in rate()) {
        let mut classes: Vec<_> = classes.iter().map(|&(weight, pairs, s)| WeightClass { weight, pairs, green: (s >> 31) as u64 }).collect();
        let before = log10_weighted_green_bound(&classes, gamma);
        well_formed(before);
        well_formed(log10_weighted_green_saddlepoint(&classes, gamma));
        classes[at].green = classes[at].green.saturating_add((gain >> 38) as u64);
        let after = log10_weighted_green_bound(&classes, gamma);
        well_formed(after);
        prop_assert!(falls(before, after), "{before:e} {after:e}");
    }

    #[test]
    fn weighted_exponential((classes, at, gain) in classes()) {
        let mut classes: Vec<_> = classes.iter().map(|&(weight, pairs, sum_q32)| ExponentialClass { weight, pairs, sum_q32 }).collect();
        let before = log10_weighted_exponential_bound(&classes);
        well_formed(before);
        well_formed(log10_weighted_exponential_saddlepoint(&classes));
        classes[at].sum_q32 = classes[at].sum_q32.saturating_add(gain);
        let after = log10_weighted_exponential_bound(&classes);
        well_formed(after);
        prop_assert!(falls(before, after), "{before:e} {after:e}");
    }

    #[test]
    fn many_tests(values in prop::collection::vec(any_number(), 0..40), alpha in rate(), share in 0.0..=1.0f64) {
        for test in [holm, benjamini_yekutieli, e_bh] {
            let (all, fewer) = (test(&values, alpha), test(&values, alpha * share));
            prop_assert_eq!(all.len(), values.len());
            prop_assert!(all.iter().zip(&fewer).all(|(a, f)| *a || !f || alpha >= 1.0));
        }
        // whatever controls the family-wise error at alpha is no bolder than single tests
        let single = |p: &f64| *p <= alpha.log10();
        prop_assert!(holm(&values, alpha).iter().zip(&values).all(|(rejected, p)| !rejected || single(p)));
        let mean = ln_mean_e(&values);
        let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        prop_assert!(!mean.is_nan() && (values.is_empty() || mean <= top) && (mean.abs() > 0.0 || mean.is_sign_positive()));
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn confidence_bounds(n in count(), a in count(), b in count(), level in rate()) {
        let (k, l) = (a.min(b).min(n), a.max(b).min(n));
        let ((low, high), (low_next, high_next)) = (clopper_pearson(k, n, level), clopper_pearson(l, n, level));
        prop_assert!((0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high));
        prop_assert!(low <= low_next * (1.0 + ROUNDING) && high <= high_next * (1.0 + ROUNDING));
        if level < 0.4 && n > 0 {
            let rate = k as f64 / n as f64;
            prop_assert!(low <= rate * (1.0 + ROUNDING) && rate <= high * (1.0 + ROUNDING), "{low} {rate} {high}");
        }
    }
}
