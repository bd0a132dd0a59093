//! Several references as one.

use hashbrown::HashMap;

use crate::detect::Pair;

/// Shares of references in a mixture are multiples of one in so many.
pub const MIXTURE_PARTS: u32 = 16;

/// Counts of pairs in units of 2^-16.
pub(super) type Counts = HashMap<Pair, u64>;

/// The mixture of `expected` counts with these shares.
pub(super) fn mixed(expected: &[Counts], shares: &[u32]) -> Counts {
    let mut sums: HashMap<Pair, u128> = HashMap::new();
    for (expected, &share) in expected.iter().zip(shares).filter(|(_, share)| **share > 0) {
        for (pair, &count) in expected {
            *sums.entry(*pair).or_default() += u128::from(count) * u128::from(share);
        }
    }
    let part = |sum: u128| u64::try_from(sum / u128::from(MIXTURE_PARTS)).unwrap_or(u64::MAX);
    sums.into_iter().map(|(pair, sum)| (pair, part(sum))).collect()
}

/// The shares whose mixture of `expected` counts is near to `seen` in the sum of squares, in [`MIXTURE_PARTS`]. They are never negative: a negative one
/// would turn a reference that leans towards green pairs into one that leans away. Integer, so the same everywhere.
///
/// From the best single reference, one part at a time to where it helps most. The sum of squares is convex, so this ends near its minimum.
pub(super) fn shares(seen: &Counts, expected: &[Counts]) -> Vec<u32> {
    let n = expected.len();
    let product = |a: &Counts, b: &Counts| -> i128 {
        // Cut to 2^40 in units of 2^-8, so that no sum overflows.
        let unit = |count: u64| i128::from(count.min(1 << 48) >> 8);
        a.iter().filter_map(|(pair, &count)| Some(unit(count) * unit(*b.get(pair)?))).sum()
    };
    let gram: Vec<Vec<i128>> = expected.iter().map(|a| expected.iter().map(|b| product(a, b)).collect()).collect();
    let fit: Vec<i128> = expected.iter().map(|a| product(a, seen)).collect();
    let cost = |shares: &[u32]| -> i128 {
        let term = |i: usize| {
            let mixed: i128 = (0..n).map(|j| i128::from(shares[j]) * gram[i][j]).sum();
            i128::from(shares[i]) * (mixed - 2 * i128::from(MIXTURE_PARTS) * fit[i])
        };
        (0..n).map(term).sum()
    };
    let single = |at: usize| -> Vec<u32> { (0..n).map(|i| if i == at { MIXTURE_PARTS } else { 0 }).collect() };
    let mut best = (0..n).map(single).min_by_key(|shares| cost(shares)).unwrap_or_default();
    loop {
        let moves = (0..n).flat_map(|from| (0..n).map(move |to| (from, to))).filter(|&(from, to)| from != to);
        let moved = moves.filter(|&(from, _)| best[from] > 0).map(|(from, to)| {
            let mut shares = best.clone();
            shares[from] -= 1;
            shares[to] += 1;
            shares
        });
        match moved.min_by_key(|shares| cost(shares)) {
            Some(next) if cost(&next) < cost(&best) => best = next,
            _ => return best,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mixture() {
        let counts = |values: &[u64]| -> Counts {
            (0..).zip(values).map(|(token, &value)| (Pair::new(&[1], token), value << 16)).collect()
        };
        let (a, b, c) = (counts(&[160, 0, 0, 40]), counts(&[0, 160, 0, 40]), counts(&[0, 0, 900, 0]));
        let all = [a, b, c];
        let found = shares(&counts(&[40, 120, 0, 41]), &all);
        assert_eq!(found, [4, 12, 0]);
        assert_eq!(mixed(&all, &found), counts(&[40, 120, 0, 40]));
        assert_eq!(shares(&counts(&[0, 1, 0, 0]), &all[2..]), [16]);
        // What leans the other way is not subtracted.
        let [a, ..] = all;
        assert_eq!(shares(&counts(&[160, 0, 0, 40]), &[a, counts(&[80, 80, 0, 40])]), [16, 0]);
    }
}
