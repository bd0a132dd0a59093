//! The conclusion that follows from a suspect's preferences between served and withheld candidates.

use super::conclusion::{controls_agree, log10_p_anytime};
use crate::detect::{Judged, Verdict, decide};
use crate::paired::SignFinding;
use crate::stats::ln_mean_e;

/// A model's preferences over the positions of a list of requests.
///
/// Null hypothesis: the model is independent of the list's coins. Positions of one answer are a martingale and no fixed sample, so the
/// e-value decides.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedSample {
    /// All requests of the list.
    pub whole: SignFinding,
    /// Natural logarithm of the e-value of each account's requests. None where the list names no accounts.
    pub accounts_ln_e: Vec<f64>,
}

/// A suspect beside unrelated models on the same list.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedTest {
    /// The model in question.
    pub suspect: PairedSample,
    /// Unrelated models.
    pub controls: Vec<PairedSample>,
}

/// The conclusion of a [`PairedTest`].
#[derive(Clone, Debug, PartialEq)]
pub struct PairedConclusion {
    /// log10 of 1 / e, the p-value that decides about the list as a whole.
    pub log10_p: f64,
    /// The same of each control.
    pub controls_log10_p: Vec<f64>,
    /// Whether none of the m controls has p below 0.01 / m.
    pub controls_agree: bool,
    /// About the list as a whole.
    pub verdict: Verdict,
    /// About each account, in order, at a family-wise level of their own (Holm 1979).
    pub accounts: Vec<Verdict>,
}

impl PairedSample {
    /// Natural logarithm of the e-value of the list: the mean of two, each with mean at most 1 under the null hypothesis. One is that of all
    /// requests together, for answers that were taken from many accounts; the other is the mean over accounts, for answers of a few, which the
    /// requests of all others would drown.
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        if self.accounts_ln_e.is_empty() {
            return self.whole.ln_e;
        }
        ln_mean_e(&[self.whole.ln_e, ln_mean_e(&self.accounts_ln_e)])
    }
}

/// Draws the conclusion about a list at level `alpha`, and about its accounts at family-wise level `accounts_alpha`. Controls that do not
/// agree make all of it inconclusive.
#[must_use]
pub fn conclude_pairs(test: &PairedTest, alpha: f64, accounts_alpha: f64) -> PairedConclusion {
    let controls_log10_p: Vec<f64> = test.controls.iter().map(|control| log10_p_anytime(control.ln_e())).collect();
    let controls_agree = controls_agree(&controls_log10_p);
    let judged =
        |n_scored: u64, ln_e: f64| Judged { n_scored, log10_p: log10_p_anytime(ln_e), contradicted: !controls_agree };
    let whole = judged(test.suspect.whole.n, test.suspect.ln_e());
    // An account without positions has e = 1 and is never detected.
    let accounts: Vec<Judged> = test.suspect.accounts_ln_e.iter().map(|&ln_e| judged(1, ln_e)).collect();
    PairedConclusion {
        log10_p: whole.log10_p,
        controls_log10_p,
        controls_agree,
        verdict: decide(&[whole], alpha)[0],
        accounts: decide(&accounts, accounts_alpha),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paired::Signs;

    fn finding(wins: u32, losses: u32) -> SignFinding {
        let mut signs = Signs::default();
        (0..wins).for_each(|_| signs.add(2 << 16));
        (0..losses).for_each(|_| signs.add(-2 << 16));
        signs.test()
    }

    fn sample(whole: SignFinding, accounts: &[SignFinding]) -> PairedSample {
        PairedSample { whole, accounts_ln_e: accounts.iter().map(|finding| finding.ln_e).collect() }
    }

    #[test]
    fn by_hand() {
        use Verdict::{Detected, Inconclusive, NotDetected};
        let (strong, weak, lost) = (finding(60, 10), finding(8, 5), finding(20, 40));
        let of = |controls: &[SignFinding], suspect| {
            let controls = controls.iter().map(|&control| sample(control, &[])).collect();
            let test = PairedTest { suspect: sample(suspect, &[strong, weak, lost]), controls };
            conclude_pairs(&test, 1e-6, 1e-3)
        };
        let found = of(&[lost, weak], strong);
        assert_eq!((found.verdict, found.controls_agree), (Detected, true));
        assert_eq!(found.accounts, [Detected, NotDetected, NotDetected]);
        // A control that prefers what was served says that something other than learning shows it.
        let found = of(&[lost, strong], strong);
        assert_eq!((found.verdict, found.accounts, found.controls_agree), (Inconclusive, vec![Inconclusive; 3], false));
        assert_eq!(of(&[], finding(0, 0)).verdict, Inconclusive);
    }

    /// What one account shows is not drowned by the requests of others: it costs the logarithm of twice their number.
    #[test]
    fn few_accounts_among_many() {
        let (strong, nothing) = (finding(60, 10), finding(50, 50));
        let accounts: Vec<SignFinding> = std::iter::once(strong).chain(std::iter::repeat_n(nothing, 99)).collect();
        let found = sample(finding(60 + 99 * 50, 10 + 99 * 50), &accounts);
        assert!(found.whole.ln_e < 1.0, "{found:?}");
        assert!((found.ln_e() - (strong.ln_e - libm::log(200.0))).abs() < 0.01, "{}", found.ln_e());
        assert!(sample(strong, &[]).ln_e() >= strong.ln_e);
    }
}
