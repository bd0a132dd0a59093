//! Weighted tournament scores: exact tails on the lattice.

use core::f64::consts::LN_10;

use super::lattice::{Layers, Tail};
use super::saddlepoint::gcd;

/// Largest weight, over the common divisor, for which the tail is exact.
const MAX_WEIGHT: u64 = 64;

/// `log10 P(T >= statistic)`, `T` the sum over the layers of `weights[l]` times the ones that layer `l` has.
///
/// Null hypothesis: the text does not depend on the key, so the ones of the layers are independent Bin(n, 1/2).
/// Exact: with the law tilted by `theta`, `P(T >= k)` is the mean over the circle of
/// `E[e^((theta + iy)(T - k))] / (1 - e^(-theta - iy))`, taken as the mean over `M` equal steps. The steps only add
/// (aliases: lattice points modulo `M`, all with positive weight, below `1e-17` of Chernoff's bound by the choice of
/// `M`); nodes that are left out are bounded, range by range, by `|E e^(iyT)| = prod (1 - sech^2(theta w/2)
/// sin^2(y w/2))^(n/2)`, and that bound, below `1e-15` of the tail, is added. So the value is never below the true
/// tail by more than rounding. For statistics below the mean the same holds of the complement, bounded from below.
///
/// Relative error of the logarithm below `1e-9` for `n` up to `1e12`, also where it is close to zero.
/// In `[-inf, 0]`, never NaN, never -0.0; `n` past `2^53` is rounded.
///
/// Takes tens of microseconds for weights from 10 to 1, at worst (thirty distinct large weights, a few pairs) some
/// milliseconds.
///
/// Where a weight exceeds 64 times the common divisor of all, the peaks of the integrand are too many to bound in
/// time, and the value is Chernoff's bound, rounded upwards: still never below the tail, 0 up to the mean.
///
/// Edges: `statistic = 0` gives 0; more than `n` times the sum of the weights cannot happen and gives
/// [`f64::NEG_INFINITY`].
pub fn log10_weighted_tournament_sf(n: u64, statistic: u64, weights: &[u32]) -> f64 {
    let divisor = weights.iter().fold(0, |g, &w| gcd(g, u64::from(w))).max(1);
    let mut reduced: Vec<u64> = weights.iter().map(|&w| u64::from(w) / divisor).filter(|&w| w > 0).collect();
    reduced.sort_unstable();
    let most = u128::from(n) * reduced.iter().map(|&w| u128::from(w)).sum::<u128>();
    let k = u128::from(statistic.div_ceil(divisor));
    if k == 0 || k > most {
        return if k == 0 { 0.0 } else { f64::NEG_INFINITY };
    }
    let layers: Vec<Layers> = reduced
        .chunk_by(|a, b| a == b)
        .map(|same| Layers { weight: same[0], trials: n as f64 * same.len() as f64 })
        .collect();
    let exact = reduced.last().is_none_or(|&w| w <= MAX_WEIGHT);
    let ln = if 2 * k > most {
        let tail = Tail::new(&layers, k, most);
        if exact { tail.ln_upper_bound() } else { tail.ln_chernoff_bound() }
    } else if exact {
        // P(T < k) = P(T >= most - k + 1), the law being symmetric
        libm::log1p(-Tail::new(&layers, most - k + 1, most).lower_bound())
    } else {
        0.0
    };
    ln.min(0.0) / LN_10 + 0.0
}

#[cfg(test)]
#[expect(clippy::cast_sign_loss, reason = "tests")]
mod tests {
    use core::f64::consts::LN_2;

    /// The weights of a tournament of 30 layers (`scheme::Tournament::weights`).
    const FALLING_30: [u32; 30] =
        [10, 10, 9, 9, 9, 8, 8, 8, 8, 7, 7, 7, 6, 6, 6, 5, 5, 5, 4, 4, 4, 3, 3, 3, 3, 2, 2, 2, 1, 1];

    use super::*;
    use crate::stats::log10_binomial_sf;

    /// Numbers of outcomes by score, in integers.
    fn outcomes(n: u64, weights: &[u32]) -> Vec<u128> {
        let most = n as usize * weights.iter().sum::<u32>() as usize;
        let mut ways = vec![0u128; most + 1];
        ways[0] = 1;
        for &w in weights.iter().flat_map(|w| core::iter::repeat_n(w, n as usize)) {
            for t in (w as usize..=most).rev() {
                ways[t] += ways[t - w as usize];
            }
        }
        ways
    }

    #[test]
    fn enumeration_of_small_counts() {
        let cases: [(u64, &[u32]); 7] = [
            (1, &[1]),
            (1, &[10, 6, 1]),
            (12, &[10, 6, 1]),
            (40, &[3, 2]),
            (3, &[64, 0, 1]),
            (20, &[30, 10, 20]),
            (4, &FALLING_30),
        ];
        for (n, weights) in cases {
            let ways = outcomes(n, weights);
            let all: u128 = ways.iter().sum();
            for k in 1..ways.len() {
                let (above, below) = (ways[k..].iter().sum::<u128>() as f64, ways[..k].iter().sum::<u128>() as f64);
                let all = all as f64;
                let exact = if above < below { libm::log(above / all) } else { libm::log1p(-below / all) } / LN_10;
                let got = log10_weighted_tournament_sf(n, k as u64, weights);
                assert!((got - exact).abs() <= 1e-12 * exact.abs(), "{n} {k} {weights:?}: {got:e} {exact:e}");
            }
        }
    }

    #[test]
    fn equal_weights_are_binomial() {
        for n in [1u64, 9, 400, 1_000_000, 1_000_000_000_000] {
            for share in [1e-3, 0.3, 0.499, 0.499_999, 0.5, 0.500_001, 0.51, 0.7, 0.999_99] {
                let ones = ((3 * n) as f64 * share) as u64 + 1;
                let expected = log10_binomial_sf(ones, 3 * n, 0.5);
                let got = log10_weighted_tournament_sf(n, 7 * ones, &[7, 7, 0, 7]);
                assert!((got - expected).abs() <= 1e-10 * expected.abs(), "{n} {ones}: {got:e} {expected:e}");
            }
        }
    }

    #[test]
    fn falls_and_stays_below_chernoff() {
        let weights = [10, 9, 8, 7, 6, 5, 4, 3, 2, 1];
        for (n, step) in [(3u64, 1), (300, 37), (1_000_000, 91_193), (1_000_000_000_000, 85_199_999_981)] {
            let mut last = 0.0;
            for k in (1..=55 * n).step_by(step) {
                let got = log10_weighted_tournament_sf(n, k, &weights);
                assert!(got < last || (got > -1e-300 && got <= last), "{n} {k}: {got:e} after {last:e}");
                last = got;
            }
        }
        for k in [0, 1000, 5000, 6000, 9950] {
            let heavy = log10_weighted_tournament_sf(100, 100 * k, &[9900, 1, 50]);
            assert!((-95.0..=0.0).contains(&heavy));
        }
    }

    #[test]
    fn edges() {
        for v in [log10_weighted_tournament_sf(5, 0, &[2, 1]), log10_weighted_tournament_sf(0, 0, &[])] {
            assert!(v.abs() < 1e-300 && v.is_sign_positive());
        }
        assert!(log10_weighted_tournament_sf(5, 16, &[2, 1]).is_infinite());
        assert!(log10_weighted_tournament_sf(0, 1, &[2, 1]).is_infinite());
        assert!((log10_weighted_tournament_sf(5, 15, &[2, 1]) + 10.0 * LN_2 / LN_10).abs() < 1e-12);
        for k in [1, 1 << 40, u64::MAX / 2, u64::MAX / 2 + 2, u64::MAX - 1, u64::MAX] {
            for weights in [&[1u32][..], &[u32::MAX, 1], &[3, 2]] {
                let v = log10_weighted_tournament_sf(u64::MAX, k, weights);
                assert!(v <= 0.0 && v.is_finite() && (v < 0.0 || v.is_sign_positive()), "{k} {weights:?}: {v}");
            }
        }
    }
}
