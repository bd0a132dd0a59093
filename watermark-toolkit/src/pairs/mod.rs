//! Paired draws over files: did a suspect learn served answers, and whose?
//!
//! A list of requests says what was served and withheld at each position ([`crate::read::read_served`]). A model's scores of both
//! candidates ([`crate::read::read_scored`]) say which of them it prefers; the scorer needs no key. [`judge`] draws the coins from the key,
//! counts the differences, served minus withheld, and concludes.

mod list;
mod scores;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::Serialize;
use watermark_core::detect::Verdict;
use watermark_core::key::NodeKey;
use watermark_core::model_test::{PairedSample, PairedTest, conclude_pairs, log10_p_anytime};
use watermark_core::paired::{SignFinding, Signs};
use watermark_core::profile::Profile;

pub use list::{About, List, Pair};
use scores::{Scores, Tallies, preference};

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// The suspect's scores.
    pub suspect: &'a Path,
    /// Scores of a model that learned none of the answers: what the suspect prefers is counted beyond what this one does.
    pub reference: Option<&'a Path>,
    /// Scores of unrelated models.
    pub controls: &'a [PathBuf],
}

/// How it is concluded.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Only so many tokens of each answer count. Fixed beforehand, for models that read no more.
    pub first_tokens: Option<u32>,
    /// Level of the verdict about the list.
    pub alpha: f64,
    /// Family-wise level of the accounts' verdicts.
    pub accounts_alpha: f64,
}

/// What a list of requests shows about a suspect, or an account's part of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairsLine {
    /// The account; null for the whole list.
    pub account: Option<String>,
    /// Requests in the list.
    pub requests: u64,
    /// Positions with a preference, or without scores.
    pub n_scored: u64,
    /// How many of them the suspect prefers as they were served, beyond the reference where there is one.
    pub n_served_preferred: u64,
    /// Positions without a preference, which count for neither side.
    pub n_ties: u64,
    /// Positions without scores, which count as lost.
    pub n_unscored: u64,
    /// Natural logarithm of the e-value, which decides. That of the list is the mean of two: of all requests together, and of the accounts'
    /// mean.
    pub ln_e: f64,
    /// log10 of 1 / e.
    pub log10_p: f64,
    /// The conclusion: about the list at its level, about accounts after Holm's adjustment.
    pub verdict: Verdict,
    /// Unrelated models on the same requests.
    pub controls: Vec<ControlLine>,
    /// Whether none of the m controls has p below 0.01 / m on the whole list.
    pub controls_agree: bool,
    /// Natural logarithm of the e-value that the reference prefers what was withheld, as one does that was made with the coins.
    pub reference_ln_e: f64,
    /// Whether it does not: its p is not below 0.001.
    pub reference_agrees: bool,
    /// What was read; of the whole list only.
    pub list: Option<About>,
}

/// What an unrelated model shows on the same requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ControlLine {
    /// Its file.
    pub name: String,
    /// As for the suspect.
    pub n_scored: u64,
    /// As for the suspect.
    pub n_served_preferred: u64,
    /// As for the suspect.
    pub ln_e: f64,
}

/// Tests a suspect on a list of requests: the whole list, then its accounts by evidence. Reads list and scores side by side.
///
/// # Errors
/// If a file cannot be read or a record not be used; if the requests are not in their ledger's order, or scores are not of this list; if the
/// key says that another candidate was served; if a control has fewer scores than the suspect, or differs from the reference nowhere.
pub fn judge(
    profile: &Profile,
    key: &NodeKey,
    served: &[PathBuf],
    files: &Files<'_>,
    options: &Options,
    progress: impl Fn(u64) -> Result<()>,
) -> Result<Vec<PairsLine>> {
    let mut list = List::open(profile, key, served, options.first_tokens)?;
    let mut suspect = Scores::open(files.suspect)?;
    let mut reference = files.reference.map(Scores::open).transpose()?;
    let mut controls = files.controls.iter().map(|path| Scores::open(path)).collect::<Result<Vec<_>>>()?;
    let mut of_suspect = Tallies::default();
    let mut of_controls = vec![Tallies::default(); controls.len()];
    let mut of_reference = Signs::default();
    while let Some(request) = list.next_request()? {
        let expected = reference.as_mut().map(|scores| scores.take(&request.id)).transpose()?;
        for pair in &request.pairs {
            let found = expected.as_ref().map(|scores| preference(&request, pair, scores)).transpose()?;
            of_reference.add_preference(found.flatten().unwrap_or(0).saturating_neg());
        }
        of_suspect.add(&request, &suspect.take(&request.id)?, expected.as_deref(), false)?;
        for (tallies, scores) in of_controls.iter_mut().zip(&mut controls) {
            tallies.add(&request, &scores.take(&request.id)?, expected.as_deref(), true)?;
        }
        progress(1)?;
    }
    for scores in [suspect].into_iter().chain(reference).chain(controls) {
        scores.end()?;
    }
    list.check()?;
    let names = files.controls.iter().map(|path| path.display().to_string());
    let found = Found {
        suspect: &of_suspect,
        controls: names.zip(&of_controls).collect(),
        reference_ln_e: of_reference.test().ln_e,
        about: list.about().clone(),
    };
    found.conclude(options)
}

struct Found<'a> {
    suspect: &'a Tallies,
    controls: Vec<(String, &'a Tallies)>,
    reference_ln_e: f64,
    about: About,
}

impl Found<'_> {
    fn conclude(self, options: &Options) -> Result<Vec<PairsLine>> {
        let whole = self.suspect.whole();
        let mut accounts = self.suspect.accounts();
        // Every model has the same accounts, in the order of their names.
        let mut order: Vec<usize> = (0..accounts.len()).collect();
        order.sort_by(|&a, &b| accounts[b].2.ln_e.total_cmp(&accounts[a].2.ln_e));
        let sample = |whole: SignFinding, accounts: &[(String, u64, SignFinding)]| PairedSample {
            whole,
            accounts: order.iter().map(|&at| (accounts[at].2.n, accounts[at].2.ln_e)).collect(),
        };
        let (mut controls, mut of_controls) = (Vec::new(), Vec::new());
        for (name, tallies) in &self.controls {
            let (found, by_account) = (tallies.whole(), tallies.accounts());
            if found.n == 0 && whole.n > 0 {
                bail!(
                    "control {name} prefers nothing beyond the reference; it must be an unrelated model, scored on the whole list"
                );
            }
            // One that says less than the suspect could not contradict it.
            if tallies.unscored > self.suspect.unscored {
                bail!("control {name} has fewer scores than the suspect; score the whole list with it");
            }
            controls.push(sample(found, &by_account));
            of_controls.push((name, found, by_account));
        }
        let test = PairedTest { suspect: sample(whole, &accounts), controls, reference_ln_e: self.reference_ln_e };
        let conclusion = conclude_pairs(&test, options.alpha, options.accounts_alpha);
        let line = |account: Option<String>, requests: u64, found: &SignFinding, verdict: Verdict| PairsLine {
            account,
            requests,
            n_scored: found.n,
            n_served_preferred: found.wins,
            n_ties: found.ties,
            n_unscored: found.unscored,
            ln_e: found.ln_e,
            log10_p: log10_p_anytime(found.ln_e),
            verdict,
            controls: Vec::new(),
            controls_agree: conclusion.controls_agree,
            reference_ln_e: self.reference_ln_e,
            reference_agrees: conclusion.reference_agrees,
            list: None,
        };
        let control = |name: &str, found: &SignFinding, ln_e: f64| ControlLine {
            name: name.to_owned(),
            n_scored: found.n,
            n_served_preferred: found.wins,
            ln_e,
        };
        let of_list = of_controls.iter().zip(&test.controls);
        let whole = PairsLine {
            ln_e: test.suspect.ln_e(),
            log10_p: conclusion.log10_p,
            controls: of_list.map(|((name, found, _), sample)| control(name, found, sample.ln_e())).collect(),
            list: Some(self.about),
            ..line(None, self.suspect.requests(), &whole, conclusion.verdict)
        };
        let mut lines = vec![whole];
        for (&at, &verdict) in order.iter().zip(&conclusion.accounts) {
            let (account, requests, found) = &mut accounts[at];
            let of_account =
                of_controls.iter().map(|(name, _, accounts)| control(name, &accounts[at].2, accounts[at].2.ln_e));
            let controls = of_account.collect();
            lines.push(PairsLine { controls, ..line(Some(std::mem::take(account)), *requests, found, verdict) });
        }
        Ok(lines)
    }
}

/// Refuses a profile whose pairs cannot be tested here.
fn check_profile(profile: &Profile) -> Result<()> {
    if let Some(layer) = profile.layers.iter().find(|layer| layer.scheme.chooses()) {
        bail!(
            "profile {:?}: beside its layer {:?} candidates are drawn with that layer's keys, and only ordinary paired draws can be tested so far",
            profile.name,
            layer.name
        );
    }
    Ok(())
}
