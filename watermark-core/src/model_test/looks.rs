//! Several looks at one sample.

use crate::stats::ln_mean_e;

/// The looks at a sample of `rounds` rounds that its own evidence may stop: after 1, 2, 4, … of them. Residuals of a pair change as answers
/// arrive, so there is no e-process of them; but a sample of so many rounds is fixed in advance at each look, and there are few looks.
#[must_use]
pub fn looks(rounds: u64) -> Vec<u64> {
    (0..64).map(|power| 1_u64 << power).take_while(|&look| look <= rounds).collect()
}

/// By how much the p-value of look `number`, from 0, is multiplied: `(k + 1) (k + 2)`, whose reciprocals sum to one over all looks that there
/// could ever be. So nobody needs to say how many there are to be.
fn price(number: usize) -> f64 {
    let k = number as f64;
    (k + 1.0) * (k + 2.0)
}

/// log10 of the p-value of looks together, `log10_p` of each in order, whatever ended the sample (Bonferroni with [`looks`]' prices). 0 without
/// a look.
#[must_use]
pub fn log10_p_of_looks(log10_p: &[f64]) -> f64 {
    log10_p.iter().enumerate().map(|(number, p)| p + libm::log10(price(number))).fold(0.0, f64::min)
}

/// Natural logarithm of the e-value of looks together, `ln_e` of each in order: their mean with the reciprocal prices as weights. What looks that
/// were never taken would have added is left out. 0 without a look.
#[must_use]
pub fn ln_e_of_looks(ln_e: &[f64]) -> f64 {
    let priced: Vec<f64> = ln_e.iter().enumerate().map(|(number, ln_e)| ln_e - libm::log(price(number))).collect();
    if priced.is_empty() { 0.0 } else { ln_mean_e(&priced) + libm::log(priced.len() as f64) }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

    use super::*;

    #[test]
    fn geometric_and_priced() {
        assert!(looks(0).is_empty());
        assert_eq!(looks(1), [1]);
        assert_eq!(looks(9), [1, 2, 4, 8]);
        assert_eq!(looks(u64::MAX).len(), 64);
        let total: f64 = (0..1_000_000).map(|number| 1.0 / price(number)).sum();
        assert!(total < 1.0 && total > 0.999_99);
        assert!((log10_p_of_looks(&[-1.0, -9.0, -3.0]) - (libm::log10(6.0) - 9.0)).abs() < 1e-12);
        assert!(log10_p_of_looks(&[-0.2]).abs() < 1e-300 && log10_p_of_looks(&[]).abs() < 1e-300);
        let e = (libm::exp(3.0) / 2.0 + libm::exp(1.0) / 6.0).ln();
        assert!((ln_e_of_looks(&[3.0, 1.0]) - e).abs() < 1e-12 && ln_e_of_looks(&[]).abs() < 1e-300);
    }

    /// Somebody who looks after each of 512 rounds and stops when it suits, without ever having said how many there would be: at most .01 of
    /// 20,000 innocent walks reach .01 (seed 5; the standard error is .0007).
    #[test]
    fn no_rule_of_stopping_helps() {
        let mut random = ChaCha20Rng::seed_from_u64(5);
        let mut ones = || u64::from(random.next_u32().count_ones());
        let mut reached = 0;
        for _ in 0..20_000 {
            let (mut sum, mut p) = (0, Vec::new());
            for round in 1..=512_u64 {
                // A round is 32 coins.
                sum += ones();
                if round.is_power_of_two() {
                    p.push(crate::stats::log10_binomial_sf(sum, 32 * round, 0.5));
                }
            }
            reached += u32::from((1..=p.len()).any(|taken| log10_p_of_looks(&p[..taken]) <= -2.0));
        }
        assert!(reached <= 200 && reached > 50, "{reached}");
    }
}
