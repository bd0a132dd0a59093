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
use watermark_core::paired::SignFinding;
use watermark_core::profile::Profile;

pub use list::{List, Pair};
use scores::{Scores, Tallies};

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
    /// Positions that count: two different candidates, neither of them special.
    pub n_scored: u64,
    /// How many of them the suspect prefers as they were served, beyond the reference where there is one.
    pub n_served_preferred: u64,
    /// Positions without a preference.
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
    /// Unrelated models on the same list; of the whole list only.
    pub controls: Vec<ControlLine>,
    /// Whether none of the m controls has p below 0.01 / m.
    pub controls_agree: bool,
}

/// What an unrelated model shows on the same list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ControlLine {
    /// Its file.
    pub name: String,
    /// As for the suspect.
    pub n_scored: u64,
    /// As for the suspect.
    pub n_served_preferred: u64,
    /// As for the suspect.
    pub n_unscored: u64,
    /// As for the suspect.
    pub ln_e: f64,
}

/// What [`judge`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The whole list, then its accounts by evidence.
    pub lines: Vec<PairsLine>,
    /// Numbers that are missing between the list's first and last request.
    pub missing: u64,
    /// Positions that have no second candidate, because another token was served than the one that was drawn.
    pub without_second: u64,
}

/// Tests a suspect on a list of requests. Reads list and scores side by side, so memory grows with the accounts only.
///
/// # Errors
/// If a file cannot be read or a record not be used; if the requests are not in their ledger's order, or scores are not of this list; if the
/// key says that another candidate was served.
pub fn judge(
    profile: &Profile,
    key: &NodeKey,
    served: &[PathBuf],
    files: &Files<'_>,
    options: &Options,
    progress: impl Fn(u64) -> Result<()>,
) -> Result<Judgement> {
    let mut list = List::open(profile, key, served, options.first_tokens)?;
    let mut suspect = Scores::open(files.suspect)?;
    let mut reference = files.reference.map(Scores::open).transpose()?;
    let mut controls = files.controls.iter().map(|path| Scores::open(path)).collect::<Result<Vec<_>>>()?;
    let mut of_suspect = Tallies::default();
    let mut of_controls = vec![Tallies::default(); controls.len()];
    while let Some(request) = list.next_request()? {
        let expected = reference.as_mut().map(|scores| scores.take(&request.id)).transpose()?;
        let count = |tallies: &mut Tallies, scores: &mut Scores| -> Result<()> {
            let scores = scores.take(&request.id)?;
            tallies.add(&request, &scores, expected.as_deref())
        };
        count(&mut of_suspect, &mut suspect)?;
        for (tallies, scores) in of_controls.iter_mut().zip(&mut controls) {
            count(tallies, scores)?;
        }
        progress(1)?;
    }
    for scores in [suspect].into_iter().chain(reference).chain(controls) {
        scores.end()?;
    }
    list.check()?;
    let (missing, without_second) = (list.missing(), list.without_second());
    let names = files.controls.iter().map(|path| path.display().to_string());
    Ok(Judgement { lines: conclude(&of_suspect, &of_controls, names, options), missing, without_second })
}

fn conclude(
    suspect: &Tallies,
    controls: &[Tallies],
    names: impl Iterator<Item = String>,
    options: &Options,
) -> Vec<PairsLine> {
    let mut accounts = suspect.accounts();
    accounts.sort_by(|a, b| b.2.ln_e.total_cmp(&a.2.ln_e));
    let whole = PairedSample {
        whole: suspect.whole(),
        accounts_ln_e: accounts.iter().map(|(_, _, found)| found.ln_e).collect(),
    };
    let test = PairedTest { suspect: whole, controls: controls.iter().map(Tallies::sample).collect() };
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
    };
    let control = |(name, found): (String, &PairedSample)| ControlLine {
        name,
        n_scored: found.whole.n,
        n_served_preferred: found.whole.wins,
        n_unscored: found.whole.unscored,
        ln_e: found.ln_e(),
    };
    let whole = line(None, suspect.requests(), &test.suspect.whole, conclusion.verdict);
    let controls = names.zip(&test.controls).map(control).collect();
    let whole = PairsLine { controls, ln_e: test.suspect.ln_e(), log10_p: conclusion.log10_p, ..whole };
    let of_accounts = accounts.iter().zip(&conclusion.accounts);
    let of_accounts = of_accounts
        .map(|((account, requests, found), verdict)| line(Some(account.clone()), *requests, found, *verdict));
    std::iter::once(whole).chain(of_accounts).collect()
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
