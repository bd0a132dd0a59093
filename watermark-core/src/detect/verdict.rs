//! The conclusions that follow from tests of texts. This is the one rule for records, families of spans, whole inputs
//! and corpora.

use std::collections::HashMap;

use super::effect::{Effect, smallest_effect};
use super::{Resampling, Weights};
use crate::profile::AnyScheme;
use crate::{Error, ErrorKind, Result, stats};

/// What a test says at its registered level. Findings are values, not errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Verdict {
    /// The null hypothesis is rejected at the level, after adjustment for the number of tests.
    Detected,
    /// The null hypothesis is not rejected.
    NotDetected,
    /// Nothing was scored, or something contradicts the p-value (fresh keys, controls), so nothing can be said.
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

/// One test of a text under one key and layer: what [`conclude`] looks at. The text may be a record, an input as a whole or a
/// corpus.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Test {
    /// The layer's scheme.
    pub scheme: AnyScheme,
    /// Distinct pairs; a test without any is inconclusive but counts in the family.
    pub n_scored: u64,
    /// log10 of its p-value.
    pub log10_p: f64,
    /// How pairs were weighted.
    pub weights: Weights,
    /// Whether no reference beside the text leans away from the key; true without any.
    pub references_agree: bool,
    /// The same pairs under fresh keys. If none were drawn, nothing can contradict the p-value.
    pub resampling: Resampling,
}

/// Refuses a level that no test can have. Callers ask before they read anything, because a level outside the domain would only
/// make every verdict negative.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] unless `alpha` lies strictly between 0 and 1.
pub fn check_level(alpha: f64) -> Result<()> {
    if alpha > 0.0 && alpha < 1.0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidParameter, format!("alpha is {alpha}; it must be between 0 and 1")))
}

/// The conclusion of one test of a family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conclusion {
    /// The verdict, after adjustment for the family.
    pub verdict: Verdict,
    /// With `not_detected`: the smallest effect that the family's strictest level would have shown. `None` if no effect
    /// would have been shown, and for weighted tests, for which no effect is computed.
    pub smallest_effect: Option<Effect>,
}

/// Draws the conclusions of a family of tests of texts at family-wise level `alpha` (Holm 1979; valid under any dependence).
///
/// Null hypothesis of each test: its text is independent of its key. A test whose p-value the fresh keys contradict
/// ([`Resampling::contradicts`]) is inconclusive.
#[must_use]
pub fn conclude(tests: &[Test], alpha: f64) -> Vec<Conclusion> {
    conclude_with_level(tests, alpha).0
}

/// As [`conclude`], with log10 of the level at which Holm's procedure stopped: what it rejected is at or below it, and nothing
/// else is. A test without pairs counts with p = 1.
#[must_use]
pub fn conclude_with_level(tests: &[Test], alpha: f64) -> (Vec<Conclusion>, f64) {
    let judged: Vec<Judged> = tests
        .iter()
        .map(|test| Judged {
            n_scored: test.n_scored,
            log10_p: test.log10_p,
            contradicted: !test.references_agree || test.resampling.contradicts(test.log10_p),
        })
        .collect();
    let log10_level = stats::log10_holm_level(alpha, tests.len());
    // Finding an effect takes a search. Tests of one layer under several keys score the same pairs, so they share the
    // result.
    let mut known: HashMap<u64, Vec<(AnyScheme, Option<Effect>)>> = HashMap::new();
    let mut effect = |test: &Test| {
        let of_size = known.entry(test.n_scored).or_default();
        if let Some((_, effect)) = of_size.iter().find(|(scheme, _)| *scheme == test.scheme) {
            return *effect;
        }
        let effect = smallest_effect(test.scheme.null_law(), test.n_scored, log10_level);
        of_size.push((test.scheme, effect));
        effect
    };
    let conclusion = |(test, verdict): (&Test, Verdict)| {
        let missed = verdict == Verdict::NotDetected && test.weights == Weights::None;
        Conclusion { verdict, smallest_effect: if missed { effect(test) } else { None } }
    };
    let (verdicts, log10_stopped) = decide_with_level(&judged, alpha);
    (tests.iter().zip(verdicts).map(conclusion).collect(), log10_stopped)
}

/// The facts that decide about one test of any family, of texts or of models.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Judged {
    /// Distinct pairs.
    pub(crate) n_scored: u64,
    /// log10 of the p-value that decides.
    pub(crate) log10_p: f64,
    /// Whether something contradicts that p-value.
    pub(crate) contradicted: bool,
}

/// Holm's step-down test at family-wise level `alpha`: the verdicts of a family.
pub(crate) fn decide(tests: &[Judged], alpha: f64) -> Vec<Verdict> {
    decide_with_level(tests, alpha).0
}

/// As [`decide`], with log10 of the level at which the procedure stopped.
fn decide_with_level(tests: &[Judged], alpha: f64) -> (Vec<Verdict>, f64) {
    let log10_p: Vec<f64> = tests.iter().map(|test| if test.n_scored == 0 { 0.0 } else { test.log10_p }).collect();
    let (rejected, log10_level) = stats::holm_with_level(&log10_p, alpha);
    let verdict = |(test, rejected): (&Judged, bool)| match (test.n_scored == 0 || test.contradicted, rejected) {
        (true, _) => Verdict::Inconclusive,
        (false, true) => Verdict::Detected,
        (false, false) => Verdict::NotDetected,
    };
    (tests.iter().zip(rejected).map(verdict).collect(), log10_level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::{Gumbel, Scheme};

    fn verdicts(tests: &[(u64, f64)], alpha: f64) -> Vec<Verdict> {
        let judged = |&(n_scored, log10_p): &(u64, f64)| Judged { n_scored, log10_p, contradicted: false };
        decide(&tests.iter().map(judged).collect::<Vec<_>>(), alpha)
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
        let contradicted = Judged { n_scored: 9, log10_p: -9.0, contradicted: true };
        assert_eq!(decide(&[contradicted], 1e-6), [Inconclusive]);
    }

    /// Fresh keys decide from 999 on; an effect is that of the family's strictest level, and of plain tests only.
    #[test]
    fn texts_by_hand() {
        let test = |log10_p, weights, keys| Test {
            scheme: AnyScheme::Own(Scheme::Gumbel(Gumbel)),
            n_scored: 100,
            log10_p,
            weights,
            references_agree: true,
            resampling: Resampling { keys, at_least: keys / 10 },
        };
        let few = test(-9.0, Weights::None, 998);
        let tests = [few, test(-9.0, Weights::None, 999), test(-1.0, Weights::None, 999), test(-1.0, Weights::Sqrt, 0)];
        let (found, log10_level) = conclude_with_level(&tests, 1e-6);
        // The second test was rejected, although its verdict is another one.
        assert!((log10_level - stats::log10_holm_level(1e-6, 2)).abs() < 1e-12);
        use Verdict::{Detected, Inconclusive, NotDetected};
        assert_eq!(
            found.iter().map(|found| found.verdict).collect::<Vec<_>>(),
            [Detected, Inconclusive, NotDetected, NotDetected]
        );
        let strictest = stats::log10_holm_level(1e-6, 4);
        let effect = smallest_effect(few.scheme.null_law(), 100, strictest);
        assert!(effect.is_some() && effect != smallest_effect(few.scheme.null_law(), 100, -6.0));
        assert_eq!(found.iter().map(|found| found.smallest_effect).collect::<Vec<_>>(), [None, None, effect, None]);
    }
}
