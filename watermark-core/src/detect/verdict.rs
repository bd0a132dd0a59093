/// What a test says at its registered level. Findings are values, not errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The null hypothesis is rejected at the level, after adjustment for the number of tests.
    Detected,
    /// It is not.
    NotDetected,
    /// Nothing was scored, so nothing was tested.
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

/// Holm's step-down test at family-wise level `alpha` (Holm 1979; valid under any dependence). `tests` holds
/// (n_scored, log10 p) of every test of the family; tests with nothing scored count in the family all the same.
#[must_use]
pub fn decide(tests: &[(u64, f64)], alpha: f64) -> Vec<Verdict> {
    let mut order: Vec<usize> = (0..tests.len()).collect();
    order.sort_by(|&a, &b| tests[a].1.total_cmp(&tests[b].1));
    let mut verdicts: Vec<_> = tests
        .iter()
        .map(|&(n_scored, _)| if n_scored == 0 { Verdict::Inconclusive } else { Verdict::NotDetected })
        .collect();
    for (rank, &test) in order.iter().enumerate() {
        let (n_scored, log10_p) = tests[test];
        let level = libm::log10(alpha) - libm::log10((tests.len() - rank) as f64);
        if n_scored == 0 || log10_p > level {
            break;
        }
        verdicts[test] = Verdict::Detected;
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holm_by_hand() {
        use Verdict::{Detected, Inconclusive, NotDetected};
        // levels at alpha .01 with three tests: .00333, .005, .01
        let tests = [(9, -2.31), (9, -2.6), (9, -1.0)];
        assert_eq!(decide(&tests, 0.01), [Detected, Detected, NotDetected]);
        // the smallest fails at .00333, so the others are not looked at
        assert_eq!(decide(&[(9, -2.4), (9, -2.31), (9, -2.0)], 0.01), [NotDetected; 3]);
        assert_eq!(decide(&[(0, 0.0), (5, -7.0)], 1e-6), [Inconclusive, Detected]);
        assert_eq!(decide(&[(0, 0.0), (5, -6.1)], 1e-6), [Inconclusive, NotDetected]);
        assert_eq!(decide(&[], 1e-6), []);
    }
}
