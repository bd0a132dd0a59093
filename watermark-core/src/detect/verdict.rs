use crate::stats;

/// What a test says at its registered level. Findings are values, not errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The null hypothesis is rejected at the level, after adjustment for the number of tests.
    Detected,
    /// It is not.
    NotDetected,
    /// Nothing was scored, or the analytic tail and the fresh keys disagree, so nothing can be said.
    Inconclusive,
}

impl Verdict {
    /// The word in JSON and on the terminal.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Detected => "detected",
            Self::NotDetected => "not_detected",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// One test of a family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Test {
    /// Distinct pairs; a test without any is inconclusive but counts in the family.
    pub n_scored: u64,
    /// log10 of its p-value.
    pub log10_p: f64,
    /// Whether fresh keys contradict the p-value ([`super::Resampling::disagrees_with`]).
    pub disagrees: bool,
}

/// Holm's step-down test at family-wise level `alpha` (Holm 1979; valid under any dependence).
#[must_use]
pub fn decide(tests: &[Test], alpha: f64) -> Vec<Verdict> {
    let log10_p: Vec<f64> = tests.iter().map(|test| if test.n_scored == 0 { 0.0 } else { test.log10_p }).collect();
    let rejected = stats::holm(&log10_p, alpha);
    tests
        .iter()
        .zip(rejected)
        .map(|(test, rejected)| match (test.n_scored == 0 || test.disagrees, rejected) {
            (true, _) => Verdict::Inconclusive,
            (false, true) => Verdict::Detected,
            (false, false) => Verdict::NotDetected,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(tests: &[(u64, f64)], alpha: f64) -> Vec<Verdict> {
        let test = |&(n_scored, log10_p): &(u64, f64)| Test { n_scored, log10_p, disagrees: false };
        decide(&tests.iter().map(test).collect::<Vec<_>>(), alpha)
    }

    #[test]
    fn holm_by_hand() {
        use Verdict::{Detected, Inconclusive, NotDetected};
        // levels at alpha .01 with three tests: .00333, .005, .01
        assert_eq!(verdicts(&[(9, -2.31), (9, -2.6), (9, -1.0)], 0.01), [Detected, Detected, NotDetected]);
        // the smallest fails at .00333, so the others are not looked at
        assert_eq!(verdicts(&[(9, -2.4), (9, -2.31), (9, -2.0)], 0.01), [NotDetected; 3]);
        assert_eq!(verdicts(&[(0, 0.0), (5, -7.0)], 1e-6), [Inconclusive, Detected]);
        assert_eq!(verdicts(&[(0, 0.0), (5, -6.1)], 1e-6), [Inconclusive, NotDetected]);
        assert_eq!(verdicts(&[], 1e-6), []);
        let contradicted = Test { n_scored: 9, log10_p: -9.0, disagrees: true };
        assert_eq!(decide(&[contradicted], 1e-6), [Inconclusive]);
    }
}
