use std::collections::BTreeMap;

use crate::stats::{WeightClass, ln_e_weighted_green, log10_binomial_sf, log10_weighted_green_bound};

/// Larger preferences count as this one, 4 nats in units of 2^-16: no single pair can decide much, and a pair that was left out has a
/// worst case. Chosen on a student of its own (`papers/paired-draws`).
pub const MAX_DIFFERENCE: u64 = 4 << 16;

/// Differences of scores, served minus withheld, by their size. Mergeable: any split and order gives the same state.
///
/// Null hypothesis: given their sizes, the signs are fair coins. A size may follow from anything but the coin of its own pair: positions of
/// one answer, whose later candidates follow from what was served, form a martingale, so of them only the e-value decides; whole requests
/// that were fixed beforehand are independent, and their tails are exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Size -> pairs of that size, and how many of them the served side won.
    classes: BTreeMap<u64, (u64, u64)>,
    ties: u64,
    unscored: u64,
}

/// What the signs say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignFinding {
    /// Pairs with a difference.
    pub n: u64,
    /// Pairs that the served side won.
    pub wins: u64,
    /// Pairs without one, which count for neither side.
    pub ties: u64,
    /// Pairs among `n` that have no scores and count as lost.
    pub unscored: u64,
    /// log10 P(at least so many wins), exact: every pair counts as much.
    pub log10_p_wins: f64,
    /// log10 of an upper bound of P(sum of differences at least this large), given their sizes: `min over theta of
    /// e^(-theta S) prod cosh(theta w)`.
    pub log10_p: f64,
    /// Natural logarithm of the e-value of the differences: a mixture over fixed bets, valid at any time in the order of the pairs. In units
    /// of 2^-16, so scores are nats times 2^16.
    pub ln_e: f64,
}

impl Signs {
    /// Adds a pair by the difference of its scores, served minus withheld, in units of `2^-16`.
    pub fn add(&mut self, difference: i64) {
        if difference == 0 {
            self.ties = self.ties.saturating_add(1);
            return;
        }
        self.count(difference.unsigned_abs(), difference > 0);
    }

    /// As [`Self::add`] for what a model thinks of both candidates: a difference of more than [`MAX_DIFFERENCE`] counts as that.
    pub fn add_preference(&mut self, difference: i64) {
        let most = MAX_DIFFERENCE.cast_signed();
        self.add(difference.clamp(-most, most));
    }

    /// Adds a pair that belongs to the list and has no scores. It counts as lost by [`MAX_DIFFERENCE`], so that nothing is gained by leaving
    /// out what the suspect would have said.
    pub fn add_unscored(&mut self) {
        self.unscored = self.unscored.saturating_add(1);
        self.count(MAX_DIFFERENCE, false);
    }

    fn count(&mut self, size: u64, won: bool) {
        let class = self.classes.entry(size).or_default();
        *class = (class.0.saturating_add(1), class.1.saturating_add(u64::from(won)));
    }

    /// Sizes of differences, ascending, with the pairs of each and how many of them the served side won.
    pub fn classes(&self) -> impl Iterator<Item = (u64, u64, u64)> + use<'_> {
        self.classes.iter().map(|(&size, &(pairs, wins))| (size, pairs, wins))
    }

    /// Joins disjoint sets of pairs.
    pub fn merge(&mut self, other: &Self) {
        for (size, (pairs, wins)) in &other.classes {
            let class = self.classes.entry(*size).or_default();
            *class = (class.0.saturating_add(*pairs), class.1.saturating_add(*wins));
        }
        self.ties = self.ties.saturating_add(other.ties);
        self.unscored = self.unscored.saturating_add(other.unscored);
    }

    /// Tests the signs. A win is a pair of weight |difference| whose coin fell on the served side; its bound is that of green pairs with
    /// gamma 1/2, because `cosh(theta w) = e^(-theta w) (1 + e^(2 theta w)) / 2`.
    #[must_use]
    pub fn test(&self) -> SignFinding {
        let class = |(&weight, &(pairs, green)): (&u64, &(u64, u64))| WeightClass { weight, pairs, green };
        let classes: Vec<WeightClass> = self.classes.iter().map(class).collect();
        let (n, wins) = classes
            .iter()
            .fold((0u64, 0u64), |(n, wins), class| (n.saturating_add(class.pairs), wins.saturating_add(class.green)));
        SignFinding {
            n,
            wins,
            ties: self.ties,
            unscored: self.unscored,
            log10_p_wins: log10_binomial_sf(wins, n, 0.5),
            log10_p: log10_weighted_green_bound(&classes, 0.5),
            ln_e: ln_e_weighted_green(&classes, 0.5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(differences: impl IntoIterator<Item = i64>) -> Signs {
        differences.into_iter().fold(Signs::default(), |mut signs, difference| {
            signs.add(difference);
            signs
        })
    }

    fn preferences(differences: impl IntoIterator<Item = i64>) -> Signs {
        differences.into_iter().fold(Signs::default(), |mut signs, difference| {
            signs.add_preference(difference);
            signs
        })
    }

    /// Every outcome of coins over unequal sizes: the tails are those of an enumeration or above it, and the mean of e is one.
    #[test]
    fn by_enumeration() {
        let sizes: [i64; 8] = [1 << 16, 3 << 16, 3 << 16, 1 << 14, 7, 1 << 18, 90_000, 90_000];
        let outcomes: Vec<Vec<i64>> = (0..1u32 << sizes.len())
            .map(|bits| {
                sizes.iter().enumerate().map(|(i, &size)| if bits >> i & 1 == 1 { size } else { -size }).collect()
            })
            .collect();
        let total = |outcome: &[i64]| outcome.iter().sum::<i64>();
        let wins = |outcome: &[i64]| outcome.iter().filter(|difference| **difference > 0).count();
        let chance = 1.0 / outcomes.len() as f64;
        let mut mean = 0.0;
        for outcome in &outcomes {
            let found = signs(outcome.iter().copied()).test();
            let share = |at_least: &dyn Fn(&[i64]) -> bool| {
                libm::log10(outcomes.iter().filter(|other| at_least(other)).count() as f64 * chance)
            };
            let exact = share(&|other| wins(other) >= wins(outcome));
            assert!((found.log10_p_wins - exact).abs() < 1e-9, "{found:?} {exact}");
            let exact = share(&|other| total(other) >= total(outcome));
            assert!(found.log10_p >= exact - 1e-9 && found.log10_p <= 0.0, "{found:?} {exact}");
            mean += chance * libm::exp(found.ln_e);
        }
        assert!((mean - 1.0).abs() < 1e-9, "{mean}");
    }

    /// Pairs that were left out cost at least what they would have cost with scores, whatever these were.
    #[test]
    fn leaving_pairs_out_gains_nothing() {
        let scored = [3 << 16, -1 << 16, 5000, -i64::MAX, 1 << 20, -40];
        for at in 0..scored.len() {
            let mut without =
                preferences(scored.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, difference)| *difference));
            without.add_unscored();
            let (found, whole) = (without.test(), preferences(scored).test());
            assert!(found.ln_e <= whole.ln_e + 1e-12, "{at}: {found:?} {whole:?}");
            assert_eq!((found.unscored, found.n), (1, 6));
        }
    }

    #[test]
    fn any_split_gives_the_same_state() {
        let differences: Vec<i64> = (0..100).map(|i: i64| (i * 37) % 11 - 5).collect();
        let (left, right) = differences.split_at(33);
        let mut merged = signs(right.iter().copied());
        merged.merge(&signs(left.iter().copied()));
        assert_eq!(merged, signs(differences.iter().copied()));
        let found = merged.test();
        assert_eq!(found.ties, differences.iter().filter(|difference| **difference == 0).count() as u64);
        assert_eq!(found.n + found.ties, 100);
        let none = Signs::default().test();
        assert!(none.n == 0 && none.log10_p.abs() + none.log10_p_wins.abs() + none.ln_e.abs() < 1e-300);
        assert!(signs([i64::MIN, i64::MAX]).test().log10_p <= 0.0);
    }
}
