//! The conclusion that follows from a suspect's preferences between served and withheld candidates.

use super::conclusion::{controls_agree, log10_p_anytime};
use crate::detect::{Judged, Verdict, decide};
use crate::stats::ln_mean_e;

/// A model's preferences over the positions of a list of requests.
///
/// Null hypothesis: the model is independent of the list's coins. Positions of one answer are a martingale and no fixed sample, so the
/// e-value decides.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedSample {
    /// Pairs of all requests of the list, and the natural logarithm of their e-value.
    pub whole: (u64, f64),
    /// The same of each account; the same accounts in the same order for all models of a test. None where
    /// the list names no accounts. Which request is whose must have been fixed without the coins.
    pub accounts: Vec<(u64, f64)>,
}

/// A suspect beside unrelated models on the same list.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedTest {
    /// The model in question.
    pub suspect: PairedSample,
    /// Unrelated models.
    pub controls: Vec<PairedSample>,
    /// Natural logarithm of the e-value that the reference prefers what was *withheld*; 0 without one. A reference that was made with the coins
    /// leans so, and would accuse anybody.
    pub reference_ln_e: f64,
    /// log10 p of [`crate::paired::DrawAudit`], where somebody says what law the candidates were drawn from; else 0.
    pub draws_log10_p: f64,
    /// Natural logarithm of the e-value that this law itself prefers what was served; 0 without one. The coins know nothing of it, unless prompts or
    /// requests were chosen after a look at what they would serve; and a suspect that is nearer to the law than its reference prefers the same.
    pub law_ln_e: f64,
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
    /// Whether the reference does not lean to what was withheld: its own p is not below 0.001.
    pub reference_agrees: bool,
    /// Whether the candidates may come from the law that they are said to come from, and it prefers neither side: neither p is below 0.001.
    pub draws_agree: bool,
    /// About the list as a whole.
    pub verdict: Verdict,
    /// About each account, in order, at a family-wise level of their own (Holm 1979). One that a control has below 0.01 / m too is inconclusive:
    /// its answers may be everybody's.
    pub accounts: Vec<Verdict>,
}

impl PairedSample {
    /// Natural logarithm of the e-value of the list: the mean of two, each with mean at most 1 under the null hypothesis. One is that of all
    /// requests together, for answers that were taken from many accounts; the other is the mean over accounts, for answers of a few, which the
    /// requests of all others would drown.
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        if self.accounts.is_empty() {
            return self.whole.1;
        }
        let accounts: Vec<f64> = self.accounts.iter().map(|&(_, ln_e)| ln_e).collect();
        ln_mean_e(&[self.whole.1, ln_mean_e(&accounts)])
    }
}

/// A reference of which the withheld side has p below this leans away from what was served, and candidates with p below it are not those of
/// their law.
const AUDIT_LOG10_P: f64 = -3.0;

/// Draws the conclusion about a list at level `alpha`, and about its accounts at family-wise level `accounts_alpha`. Controls, a reference
/// or draws that do not agree make all of it inconclusive.
#[must_use]
pub fn conclude_pairs(test: &PairedTest, alpha: f64, accounts_alpha: f64) -> PairedConclusion {
    let PairedTest { suspect, controls, reference_ln_e, draws_log10_p, law_ln_e } = test;
    let controls_log10_p: Vec<f64> = controls.iter().map(|control| log10_p_anytime(control.ln_e())).collect();
    let all_agree = controls_agree(&controls_log10_p);
    let reference_agrees = log10_p_anytime(*reference_ln_e) >= AUDIT_LOG10_P;
    let draws_agree = draws_log10_p.min(log10_p_anytime(*law_ln_e)) >= AUDIT_LOG10_P;
    let contradicted = !(all_agree && reference_agrees && draws_agree);
    let judged = |n_scored: u64, ln_e: f64, contradicted: bool| Judged {
        n_scored,
        log10_p: log10_p_anytime(ln_e),
        contradicted,
    };
    let whole = judged(suspect.whole.0, suspect.ln_e(), contradicted);
    let account = |(at, &(n, ln_e)): (usize, &(u64, f64))| {
        let of_controls = controls.iter().filter_map(|control| control.accounts.get(at));
        let of_controls: Vec<f64> = of_controls.map(|&(_, ln_e)| log10_p_anytime(ln_e)).collect();
        judged(n, ln_e, contradicted || !controls_agree(&of_controls))
    };
    let accounts: Vec<Judged> = suspect.accounts.iter().enumerate().map(account).collect();
    PairedConclusion {
        log10_p: whole.log10_p,
        controls_log10_p,
        controls_agree: all_agree,
        reference_agrees,
        draws_agree,
        verdict: decide(&[whole], alpha)[0],
        accounts: decide(&accounts, accounts_alpha),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paired::{SignFinding, Signs};

    fn finding(wins: u32, losses: u32) -> SignFinding {
        let mut signs = Signs::default();
        (0..wins).for_each(|_| signs.add(2 << 16));
        (0..losses).for_each(|_| signs.add(-2 << 16));
        signs.test()
    }

    fn sample(whole: SignFinding, accounts: &[SignFinding]) -> PairedSample {
        PairedSample {
            whole: (whole.n, whole.ln_e),
            accounts: accounts.iter().map(|finding| (finding.n, finding.ln_e)).collect(),
        }
    }

    #[test]
    fn by_hand() {
        use Verdict::{Detected, Inconclusive, NotDetected};
        let (strong, weak, lost, none) = (finding(60, 10), finding(8, 5), finding(20, 40), finding(0, 0));
        let with = |controls: &[PairedSample], suspect, reference: SignFinding, draws, law: SignFinding| {
            let suspect = sample(suspect, &[strong, weak, lost, none]);
            let test = PairedTest {
                suspect,
                controls: controls.to_vec(),
                reference_ln_e: reference.ln_e,
                draws_log10_p: draws,
                law_ln_e: law.ln_e,
            };
            conclude_pairs(&test, 1e-6, 1e-3)
        };
        let of = |controls: &[PairedSample], suspect, reference| with(controls, suspect, reference, -2.9, weak);
        let innocent = |finding| sample(finding, &[weak, weak, lost, none]);
        let found = of(&[innocent(lost), innocent(weak)], strong, weak);
        assert_eq!((found.verdict, found.controls_agree, found.reference_agrees), (Detected, true, true));
        assert_eq!(found.accounts, [Detected, NotDetected, NotDetected, Inconclusive]);
        // A control that prefers what was served says that something other than learning shows it.
        let found = of(&[innocent(lost), innocent(strong)], strong, weak);
        assert_eq!((found.verdict, found.controls_agree), (Inconclusive, false));
        assert_eq!(found.accounts, [Inconclusive; 4]);
        // One that does so in an account alone says it of that account.
        let found = of(&[sample(lost, &[finding(18, 2), weak, lost, none])], strong, weak);
        assert_eq!((found.verdict, found.accounts[0]), (Detected, Inconclusive));
        // A reference that prefers what was withheld makes anybody seem to prefer the rest.
        let found = of(&[], strong, finding(60, 20));
        assert_eq!((found.verdict, found.accounts[0], found.reference_agrees), (Inconclusive, Inconclusive, false));
        // Candidates that were not drawn from their law say nothing.
        let found = with(&[], strong, weak, -3.1, weak);
        assert_eq!((found.verdict, found.accounts[0], found.draws_agree), (Inconclusive, Inconclusive, false));
        // Nor do those that the law itself prefers, because somebody chose what was asked.
        assert_eq!(with(&[], strong, weak, -0.1, strong).verdict, Inconclusive);
        assert_eq!(of(&[], none, none).verdict, Inconclusive);
    }

    /// What one account shows is not drowned by the requests of others: it costs the logarithm of twice their number.
    #[test]
    fn few_accounts_among_many() {
        let (strong, nothing) = (finding(60, 10), finding(50, 50));
        let accounts: Vec<SignFinding> = std::iter::once(strong).chain(std::iter::repeat_n(nothing, 99)).collect();
        let found = sample(finding(60 + 99 * 50, 10 + 99 * 50), &accounts);
        assert!(found.whole.1 < 1.0, "{found:?}");
        assert!((found.ln_e() - (strong.ln_e - libm::log(200.0))).abs() < 0.01, "{}", found.ln_e());
        assert!(sample(strong, &[]).ln_e() >= strong.ln_e);
    }
}
