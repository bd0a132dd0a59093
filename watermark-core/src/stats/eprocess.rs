//! Running evidence. Some types are sums of what was seen: they have `merge`, and any split and order of the scores
//! ends in the same state. Types whose bets follow earlier scores depend on the order and have no `merge`.

use super::{ln_e_dual_key, ln_e_green, ln_e_gumbel, ln_e_tournament, q32_to_f64};

/// Evidence from exponential scores ([`ln_e_gumbel`]). Mergeable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GumbelEvidence {
    n: u64,
    sum_q32: u128,
}

impl GumbelEvidence {
    /// Adds a score in units of 2^-32.
    pub fn observe(&mut self, score_q32: u64) {
        self.merge(Self { n: 1, sum_q32: score_q32.into() });
    }

    /// Joins disjoint sets of scores.
    pub fn merge(&mut self, other: Self) {
        self.n = self.n.saturating_add(other.n);
        self.sum_q32 = self.sum_q32.saturating_add(other.sum_q32);
    }

    /// Natural logarithm of the e-process.
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        ln_e_gumbel(self.n, q32_to_f64(self.sum_q32))
    }
}

/// Evidence from bits of probability gamma ([`ln_e_green`]). Mergeable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GreenEvidence {
    n: u64,
    green: u64,
}

impl GreenEvidence {
    /// Adds a bit.
    pub fn observe(&mut self, green: bool) {
        self.merge(Self { n: 1, green: green.into() });
    }

    /// Joins disjoint sets of bits.
    pub fn merge(&mut self, other: Self) {
        self.n = self.n.saturating_add(other.n);
        self.green = self.green.saturating_add(other.green);
    }

    /// Natural logarithm of the e-process.
    #[must_use]
    pub fn ln_e(&self, gamma: f64) -> f64 {
        ln_e_green(self.green, self.n, gamma)
    }
}

/// Evidence from the mean of two keys' exponential scores ([`ln_e_dual_key`]). Mergeable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DualKeyEvidence(GumbelEvidence);

impl DualKeyEvidence {
    /// Adds a score in units of 2^-32.
    pub fn observe(&mut self, score_q32: u64) {
        self.0.observe(score_q32);
    }

    /// Joins disjoint sets of scores.
    pub fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }

    /// Natural logarithm of the e-process.
    #[must_use]
    pub fn ln_e(&self, alpha: f64) -> f64 {
        ln_e_dual_key(self.0.n, q32_to_f64(self.0.sum_q32), alpha)
    }
}

/// Evidence from tournament bits ([`ln_e_tournament`]). Mergeable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TournamentEvidence {
    n: u64,
    ones: Vec<u64>,
}

impl TournamentEvidence {
    /// Evidence of no tokens, for `depth` layers (at most 32).
    #[must_use]
    pub fn new(depth: u32) -> Self {
        Self { n: 0, ones: vec![0; depth.min(u32::BITS) as usize] }
    }

    /// Adds a token, of which bit l is the bit of layer l.
    pub fn observe(&mut self, bits: u32) {
        self.n = self.n.saturating_add(1);
        for (layer, ones) in self.ones.iter_mut().enumerate() {
            *ones += u64::from(bits >> layer & 1);
        }
    }

    /// Joins disjoint sets of tokens; layers beyond this one's depth are dropped.
    pub fn merge(&mut self, other: &Self) {
        self.n = self.n.saturating_add(other.n);
        for (ones, more) in self.ones.iter_mut().zip(&other.ones) {
            *ones = ones.saturating_add(*more);
        }
    }

    /// Natural logarithm of the e-process; `weights` of the layers as in [`ln_e_tournament`].
    #[must_use]
    pub fn ln_e(&self, weights: &[u32]) -> f64 {
        ln_e_tournament(self.n, &self.ones, weights)
    }
}

/// Betting against "the mean is at most `mean`" with scores in `[0, 1]`, whatever their law: `prod 1 + lambda_t (x_t - mean)`
/// with the aGRAPA bet (Waudby-Smith and Ramdas 2023), which follows the scores before it. Ordered.
///
/// Under the null a non-negative supermartingale, so `1/E` is a p-value at every time at once (Ville 1939).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundedBetting {
    mean: f64,
    n: f64,
    sum: f64,
    squares: f64,
    ln_e: f64,
}

/// Largest part of the wealth at stake, as in the source.
const MAX_STAKE: f64 = 0.5;

impl BoundedBetting {
    /// Bets against a mean in (0, 1); any other `mean` states no null hypothesis and the evidence stays 0.
    #[must_use]
    pub fn new(mean: f64) -> Self {
        Self { mean, n: 0.0, sum: 0.0, squares: 0.0, ln_e: 0.0 }
    }

    /// Adds the next score. NaN counts as 0, other values are clamped to `[0, 1]`.
    pub fn observe(&mut self, score: f64) {
        let x = if score.is_nan() { 0.0 } else { score.clamp(0.0, 1.0) };
        if !(self.mean > 0.0 && self.mean < 1.0) {
            return;
        }
        // Both estimates start from one imaginary score of 1/2 with variance 1/4.
        let guess = (0.5 + self.sum) / (self.n + 1.0);
        let variance = (0.25 + self.squares) / (self.n + 1.0);
        let edge = guess - self.mean;
        let bet = (edge / (variance + edge * edge)).clamp(0.0, MAX_STAKE / self.mean);
        self.ln_e += libm::log1p(bet * (x - self.mean));
        self.n += 1.0;
        self.sum += x;
        let after = (0.5 + self.sum) / (self.n + 1.0);
        self.squares += (x - after) * (x - after);
    }

    /// Natural logarithm of the e-process.
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        self.ln_e + 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_split_gives_the_same_state() {
        let scores: Vec<u64> = (0..100u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 30).collect();
        let (mut whole, mut left, mut right) =
            (GumbelEvidence::default(), GumbelEvidence::default(), GumbelEvidence::default());
        for (i, &score) in scores.iter().enumerate() {
            whole.observe(score);
            if i % 3 == 0 { left.observe(score) } else { right.observe(score) }
        }
        right.merge(left);
        assert_eq!(whole, right);
        let mut bits = TournamentEvidence::new(30);
        let mut other = bits.clone();
        bits.observe(0x1555_5555);
        other.observe(7);
        bits.merge(&other);
        assert_eq!((bits.n, bits.ones[0], bits.ones[1], bits.ones[29]), (2, 2, 1, 0));
    }

    /// The mean over all outcomes of three coins of probability 1/4 is one, whatever the order-dependent bets.
    #[test]
    fn betting_is_fair() {
        let mut mean = 0.0;
        for outcome in 0u32..8 {
            let mut bets = BoundedBetting::new(0.25);
            let mut chance = 1.0;
            for i in 0..3 {
                let hit = outcome >> i & 1 == 1;
                chance *= if hit { 0.25 } else { 0.75 };
                bets.observe(f64::from(u8::from(hit)));
            }
            mean += chance * libm::exp(bets.ln_e());
        }
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
    }

    #[test]
    fn betting_finds_a_higher_mean_and_survives_anything() {
        let mut bets = BoundedBetting::new(0.5);
        for i in 0..2000 {
            bets.observe(if i % 5 < 3 { 1.0 } else { 0.0 });
        }
        assert!(bets.ln_e() > 25.0, "{}", bets.ln_e());
        for mean in [0.0, 1.0, f64::NAN, 0.3] {
            let mut bets = BoundedBetting::new(mean);
            for score in [f64::NAN, f64::INFINITY, -3.0, 0.5] {
                bets.observe(score);
            }
            assert!(bets.ln_e().is_finite());
        }
    }
}
