//! Paired draws over files: did a suspect learn served answers, and whose?
//!
//! A list of requests says what was served and withheld at each position ([`crate::read::read_served`]). A model's scores of both
//! candidates ([`crate::read::read_scored`]) say which of them it prefers; the scorer needs no key. [`judge`] draws the coins from the key,
//! counts the differences, served minus withheld, and concludes.

mod list;
mod measured;
mod plan;
mod scores;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::Serialize;
use watermark_core::detect::Verdict;
use watermark_core::key::NodeKey;
use watermark_core::model_test::{conclude_pairs, log10_p_anytime};
use watermark_core::paired::SignFinding;
use watermark_core::profile::Profile;

pub use list::{About, List, Pair};
pub(crate) use measured::{AccountFound, Measured, ModelFound};
pub use plan::{Amount, Compared, PlanLine, PlanQuestion};
pub use scores::{SIDES_PER_NAT, Sides};

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// The suspect's scores.
    pub suspect: &'a Path,
    /// Scores of a model that learned none of the answers: what the suspect prefers is counted beyond what this one does.
    pub reference: Option<&'a Path>,
    /// Scores of unrelated models.
    pub controls: &'a [PathBuf],
    /// What the law that the candidates were drawn from says of both.
    pub law: Option<&'a Path>,
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
    /// log10 p that the candidates were drawn from the law that was given for them; null without one.
    pub draws_log10_p: Option<f64>,
    /// Natural logarithm of the e-value that this law itself prefers what was served, as one does where prompts were chosen after a look at the coins.
    pub law_ln_e: Option<f64>,
    /// Whether the candidates fit the law and it prefers neither side: neither p is below 0.001.
    pub draws_agree: bool,
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
    let controls = files.controls.iter().map(|path| Some(path.as_path()));
    let models: Vec<_> = std::iter::once(Some(files.suspect)).chain(controls).collect();
    let measured = Measured::new(&mut list, &models, files.reference, files.law, progress)?;
    let names: Vec<String> = files.controls.iter().map(|path| path.display().to_string()).collect();
    measured.check_controls(&names)?;
    Ok(lines(&measured, names, options))
}

/// The lines of a list: about all of it, then about its accounts by evidence.
fn lines(measured: &Measured, names: Vec<String>, options: &Options) -> Vec<PairsLine> {
    let Measured { list, suspect, controls, reference_ln_e, draws, law_ln_e } = measured;
    let test = measured.test();
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
        reference_ln_e: *reference_ln_e,
        reference_agrees: conclusion.reference_agrees,
        draws_log10_p: draws.map(|draws| draws.log10_p()),
        law_ln_e: draws.map(|_| *law_ln_e),
        draws_agree: conclusion.draws_agree,
        list: None,
    };
    let control = |name: &String, found: &SignFinding, ln_e: f64| ControlLine {
        name: name.clone(),
        n_scored: found.n,
        n_served_preferred: found.wins,
        ln_e,
    };
    let of_list = names.iter().zip(controls).zip(&test.controls);
    let whole = PairsLine {
        ln_e: test.suspect.ln_e(),
        log10_p: conclusion.log10_p,
        controls: of_list.map(|((name, found), sample)| control(name, &found.whole, sample.ln_e())).collect(),
        list: Some(list.clone()),
        ..line(None, suspect.requests, &suspect.whole, conclusion.verdict)
    };
    let mut lines = vec![whole];
    for (at, (account, &verdict)) in suspect.accounts.iter().zip(&conclusion.accounts).enumerate() {
        let of_account = names.iter().zip(controls).map(|(name, found)| {
            let found = &found.accounts[at].found;
            control(name, found, found.ln_e)
        });
        let controls = of_account.collect();
        let AccountFound { account, requests, found } = account;
        lines.push(PairsLine { controls, ..line(Some(account.clone()), *requests, found, verdict) });
    }
    lines
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
