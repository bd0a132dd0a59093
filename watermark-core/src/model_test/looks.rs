//! Several looks at one sample.

/// The looks at a sample of `rounds` rounds that its own evidence may stop: after 1, 2, 4, … rounds and after the last. Residuals of a pair
/// change as answers arrive, so there is no e-process of them; but a sample of so many rounds is fixed in advance at each look, and there are
/// few looks.
#[must_use]
pub fn looks(rounds: u64) -> Vec<u64> {
    let powers = (0..64).map(|power| 1_u64 << power).take_while(|&look| look < rounds);
    powers.chain((rounds > 0).then_some(rounds)).collect()
}

/// log10 of the p-value of several looks together, `log10_p` of those that were taken out of `planned`: the smallest times the number of all that
/// were planned (Bonferroni), whatever ended the sample. 0 without a look.
#[must_use]
pub fn log10_p_of_looks(log10_p: &[f64], planned: usize) -> f64 {
    let smallest = log10_p.iter().copied().fold(0.0, f64::min);
    (smallest + libm::log10(planned.max(1) as f64)).min(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometric_and_few() {
        assert!(looks(0).is_empty());
        assert_eq!(looks(1), [1]);
        assert_eq!(looks(8), [1, 2, 4, 8]);
        assert_eq!(looks(9), [1, 2, 4, 8, 9]);
        assert_eq!(looks(u64::MAX).len(), 65);
        assert!((log10_p_of_looks(&[-1.0, -9.0, -3.0], 10) + 8.0).abs() < 1e-12);
        assert!(log10_p_of_looks(&[-0.5], 10).abs() < 1e-300 && log10_p_of_looks(&[], 0).abs() < 1e-300);
    }
}
