//! Anytime validity: over null streams of 10,000 scores, an e-process reaches 1/alpha at any time in at most a share alpha of
//! the streams (Ville 1939). 4,000 streams here; `WATERMARK_STREAMS=100000 cargo nextest run --release -E
//! 'binary(eprocesses)' --no-capture` is the full run, with its table in `papers/calibration`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use watermark_core::key::fresh_keys;
use watermark_core::prf::ChaCha20V1;
use watermark_core::scheme::{Gumbel, GumbelDualKey, Tournament};
use watermark_core::stats::{BoundedBetting, ln_e_dual_key, ln_e_green, ln_e_gumbel, q32_to_f64};

const LENGTH: usize = 10_000;
const ALPHAS: [f64; 3] = [0.05, 0.01, 0.001];

fn streams() -> u32 {
    std::env::var("WATERMARK_STREAMS").map_or(4000, |streams| streams.parse().unwrap())
}

/// Streams of uniform words, each under its own fresh key; `crossed` says which thresholds a stream reaches.
/// At most alpha n + 3 sigma streams may cross (chance 1.4e-3 a bound, if the rate were alpha itself).
fn check(name: &str, crossed: impl Fn(&[u32]) -> [bool; 3] + Sync) {
    let n = streams();
    let run = |from: u32, to: u32| {
        let mut counts = [0u32; 3];
        let mut words = vec![0; 2 * LENGTH];
        for key in fresh_keys(name.as_bytes(), to).skip(from as usize) {
            let prf = ChaCha20V1::new(&key, 0).unwrap();
            prf.vocabulary_words(prf.context(&[]).unwrap().unwrap(), &mut words).unwrap();
            for (count, crossed) in counts.iter_mut().zip(crossed(&words)) {
                *count += u32::from(crossed);
            }
        }
        counts
    };
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(n / 2, n));
        (run(0, n / 2), other.join().unwrap())
    });
    for ((alpha, a), b) in ALPHAS.iter().zip(first).zip(second) {
        let (count, mean) = (f64::from(a + b), alpha * f64::from(n));
        let bound = mean + 3.0 * (mean * (1.0 - alpha)).sqrt();
        println!("{name}: {count} of {n} streams reach 1/{alpha} ({:.5})", count / f64::from(n));
        assert!(count <= bound, "{name}: {count} of {n} at {alpha}");
    }
}

/// For each n the smallest sum whose e-value reaches 1/alpha; `ln_e` grows with the sum. Found from the one before.
fn critical_sums(alpha: f64, ln_e: impl Fn(u64, f64) -> f64) -> Vec<f64> {
    let goal = -alpha.ln();
    let mut last = 0.0;
    let step = |n: usize| {
        let (mut low, mut high) = (last, last + 1.0);
        while ln_e(n as u64, high) < goal {
            (low, high) = (high, high + 2.0 * (high - last));
        }
        while high - low > 1e-7 {
            let middle = 0.5 * (low + high);
            if ln_e(n as u64, middle) < goal { low = middle } else { high = middle }
        }
        // The lower end counts as crossed: no crossing is missed.
        last = low;
        low
    };
    (1..=LENGTH).map(step).collect()
}

/// Which critical values a stream of scores reaches at any time.
fn sums_cross(critical: &[Vec<f64>; 3], scores: impl Iterator<Item = u64>) -> [bool; 3] {
    let mut sum = 0u128;
    let mut crossed = [false; 3];
    for (n, score) in scores.enumerate() {
        sum += u128::from(score);
        let value = q32_to_f64(sum);
        for (crossed, critical) in crossed.iter_mut().zip(critical) {
            *crossed |= value >= critical[n];
        }
    }
    crossed
}

#[test]
fn gumbel() {
    let critical = ALPHAS.map(|alpha| critical_sums(alpha, ln_e_gumbel));
    check("gumbel", |words| sums_cross(&critical, words[..LENGTH].iter().map(|&word| Gumbel.score_q32(word))));
}

#[test]
fn gumbel_dual_key() {
    let scheme = GumbelDualKey::new(0.1).unwrap();
    let critical = ALPHAS.map(|alpha| critical_sums(alpha, |n, s| ln_e_dual_key(n, s, 0.1)));
    check("gumbel_dual_key", |words| {
        sums_cross(&critical, words.as_chunks::<2>().0.iter().map(|&[a, b]| scheme.score_q32(a, b)))
    });
}

#[test]
fn greenlist() {
    for (name, gamma, threshold) in [("greenlist, gamma 1/2", 0.5, 1 << 31), ("greenlist, gamma 1/4", 0.25, 1 << 30)] {
        let critical: [Vec<u64>; 3] = ALPHAS.map(|alpha| {
            let mut green = 0;
            let step = |n: usize| {
                while green <= n as u64 && ln_e_green(green, n as u64, gamma) < -alpha.ln() {
                    green += 1;
                }
                green
            };
            (1..=LENGTH).map(step).collect()
        });
        check(name, |words| {
            let (mut green, mut crossed) = (0, [false; 3]);
            for (n, &word) in words[..LENGTH].iter().enumerate() {
                green += u64::from(word < threshold);
                for (crossed, critical) in crossed.iter_mut().zip(&critical) {
                    *crossed |= green >= critical[n];
                }
            }
            crossed
        });
    }
}

/// The tournament mixture, followed by its factors: one product for each strength, as `ln_e_tournament` defines them.
#[test]
fn tournament() {
    let scheme = Tournament::new(30).unwrap();
    let weights = scheme.weights();
    let bets = [0.01, 0.02, 0.04, 0.08, 0.16, 0.3, 0.5, 0.8];
    let table: Vec<[f64; 8]> = (0..4 * 256usize)
        .map(|entry| {
            bets.map(|bet| {
                let layers = (entry / 256 * 8..30).take(8);
                let factors = layers.map(|layer| {
                    let lambda = bet * f64::from(weights[layer]) / 10.0;
                    if entry >> (layer % 8) & 1 == 1 { 1.0 + lambda } else { 1.0 - lambda }
                });
                factors.product()
            })
        })
        .collect();
    let factors = |word: u32, products: &mut [f64; 8]| {
        for (byte, value) in word.to_le_bytes().into_iter().enumerate() {
            for (product, factor) in products.iter_mut().zip(&table[byte * 256 + usize::from(value)]) {
                *product *= factor;
            }
        }
    };
    // The same as the library's closed form.
    let mut evidence = watermark_core::stats::TournamentEvidence::new(30);
    let mut products = [1.0; 8];
    for i in 0..40u32 {
        let word = i.wrapping_mul(0x9e37_79b9) ^ 0x0f0f_3355;
        evidence.observe(word);
        factors(word, &mut products);
    }
    let mean = products.iter().sum::<f64>() / 8.0;
    assert!((evidence.ln_e(&weights) - mean.ln()).abs() < 1e-9, "{} {}", evidence.ln_e(&weights), mean.ln());
    check("tournament, depth 30", |words| {
        let mut products = [1.0f64; 8];
        let mut crossed = [false; 3];
        for &word in &words[..LENGTH] {
            factors(word, &mut products);
            // A product this small will not matter again; it must not slow the rest down as a subnormal.
            for product in &mut products {
                *product = product.max(1e-200);
            }
            let e = products.iter().sum::<f64>() / 8.0;
            for (crossed, alpha) in crossed.iter_mut().zip(ALPHAS) {
                *crossed |= e >= 1.0 / alpha;
            }
        }
        crossed
    });
}

#[test]
fn bounded_betting() {
    check("bounded betting, uniform scores", |words| {
        let mut bets = BoundedBetting::new(0.5);
        let mut crossed = [false; 3];
        for &word in &words[..LENGTH] {
            bets.observe(f64::from(word) / 4_294_967_296.0);
            for (crossed, alpha) in crossed.iter_mut().zip(ALPHAS) {
                *crossed |= bets.ln_e() >= -alpha.ln();
            }
        }
        crossed
    });
    check("bounded betting, bits of probability 1/4", |words| {
        let mut bets = BoundedBetting::new(0.25);
        let mut crossed = [false; 3];
        for &word in &words[..LENGTH] {
            bets.observe(if word < 1 << 30 { 1.0 } else { 0.0 });
            for (crossed, alpha) in crossed.iter_mut().zip(ALPHAS) {
                *crossed |= bets.ln_e() >= -alpha.ln();
            }
        }
        crossed
    });
}

/// The test of the test: a p-value that is looked at after every score (here the fixed-sample normal tail) crosses its level
/// far too often.
#[test]
fn peeking_at_a_p_value_is_noticed() {
    let n = 500u32;
    let crossed = fresh_keys(b"peeking", n).filter(|key| {
        let prf = ChaCha20V1::new(key, 0).unwrap();
        let mut words = vec![0; LENGTH];
        prf.vocabulary_words(prf.context(&[]).unwrap().unwrap(), &mut words).unwrap();
        let mut green = 0.0;
        words.iter().zip(1..).any(|(&word, n)| {
            green += if word < 1 << 31 { 1.0 } else { 0.0 };
            // z of 1.645 is p = .05
            n >= 30 && (green - 0.5 * f64::from(n)) / (0.25 * f64::from(n)).sqrt() > 1.645
        })
    });
    let share = crossed.count() as f64 / f64::from(n);
    println!("peeking at p = .05: {share:.3} of streams");
    assert!(share > 0.3, "{share}");
}
