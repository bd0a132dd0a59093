use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use watermark_core::detect::Verdict;
use watermark_core::evidence::bundle::{Digest, close};
use watermark_core::evidence::pairs::{
    AccountEvidence, DrawsEvidence, ListEvidence, Predicate, ReferenceEvidence, Registration, SampleEvidence,
};
use watermark_core::hex;
use watermark_core::profile::Profile;

use super::list::{check_plain, records, served};
use crate::pairs::{List, Measured, ModelFound, Sides};

/// Files of a case, as far as they are at hand.
#[derive(Clone, Debug, Default)]
pub(super) struct Given<'a> {
    pub(super) list: Option<&'a Path>,
    /// The suspect's scores, then the controls'.
    pub(super) models: Vec<Option<&'a Path>>,
    pub(super) reference: Option<&'a Path>,
    pub(super) law: Option<&'a Path>,
}

/// The numbers of a statement, without its verdicts.
pub(super) struct Numbers {
    pub(super) list: ListEvidence,
    pub(super) suspect: SampleEvidence,
    pub(super) controls: Vec<SampleEvidence>,
    pub(super) reference: Option<ReferenceEvidence>,
    pub(super) draws: Option<DrawsEvidence>,
    pub(super) accounts: Vec<AccountEvidence>,
    /// The suspect's preferences by strength.
    pub(super) sides: Sides,
}

impl Numbers {
    /// Counts a list file beside scores. Whoever is `to_write` them into evidence has controls that could contradict it; a verifier takes what there is.
    pub(super) fn new(
        list: &Path,
        given: &Given<'_>,
        profile: &Profile,
        registration: &Registration,
        to_write: bool,
        progress: impl Fn(u64) -> Result<()>,
    ) -> Result<Self> {
        let scores = given.models.iter().copied().chain([given.reference, given.law]).flatten();
        scores.into_iter().try_for_each(check_plain)?;
        let requests = records(list)?.map(|record| served(record?));
        let mut list = List::of_requests(profile, requests, registration.first_tokens)?;
        let found = Measured::new(&mut list, &given.models, given.reference, given.law, progress)?;
        if to_write {
            found.check_controls(&registration.controls)?;
        }
        let names = std::iter::once(&registration.suspect).chain(&registration.controls);
        let mut samples = names.zip(std::iter::once(&found.suspect).chain(&found.controls)).map(sample);
        let account = |at: usize| -> Result<AccountEvidence> {
            let account = &found.suspect.accounts[at];
            let mut digest = [0; 32];
            let known = hex::decode(account.account.as_bytes(), &mut digest);
            known.ok_or_else(|| anyhow::anyhow!("an account is no digest"))?;
            Ok(AccountEvidence {
                account: Digest(digest),
                requests: account.requests,
                n_scored: account.found.n,
                n_served_preferred: account.found.wins,
                n_ties: account.found.ties,
                n_unscored: account.found.unscored,
                ln_e: account.found.ln_e,
                controls_ln_e: found.controls.iter().map(|control| control.accounts[at].found.ln_e).collect(),
                verdict: Verdict::Inconclusive,
            })
        };
        let accounts = (0..found.suspect.accounts.len()).map(account).collect::<Result<_>>()?;
        let suspect = samples.next().ok_or_else(|| anyhow::anyhow!("no suspect"))?;
        Ok(Self {
            list: ListEvidence {
                requests: found.suspect.requests,
                n_equal: found.list.n_equal,
                n_special: found.list.n_special,
                n_without_candidate: found.list.n_without_candidate,
            },
            suspect,
            controls: samples.collect(),
            reference: given.reference.map(|_| ReferenceEvidence { ln_e: found.reference_ln_e }),
            draws: found.draws.map(|draws| DrawsEvidence {
                law_ln_e: found.law_ln_e,
                log10_p: draws.log10_p(),
                n: draws.n(),
            }),
            accounts,
            sides: found.suspect.sides,
        })
    }

    /// What a statement says otherwise, of what the files at hand can say.
    pub(super) fn differences(
        &self,
        stated: &Predicate,
        registration: &Registration,
        given: &Given<'_>,
    ) -> Vec<String> {
        let mut others = Vec::new();
        let mut check = |holds: bool, what: String| {
            if !holds {
                others.push(what);
            }
        };
        check(self.list == stated.list, "the list's counts are others".to_owned());
        check(
            self.draws.is_none() || same(self.draws, stated.draws, |a, b| a.n == b.n && close(a.log10_p, b.log10_p)),
            "the draws' numbers are others".to_owned(),
        );
        check(
            self.reference.is_none() || same(self.reference, stated.reference, |a, b| close(a.ln_e, b.ln_e)),
            "the reference's number is another".to_owned(),
        );
        // What a model prefers is counted beyond the reference.
        if registration.reference.is_some() && given.reference.is_none() {
            return others;
        }
        check(
            self.draws.is_none() || same(self.draws, stated.draws, |a, b| close(a.law_ln_e, b.law_ln_e)),
            "what the law prefers is another number".to_owned(),
        );
        let of_accounts: BTreeMap<String, &AccountEvidence> =
            self.accounts.iter().map(|account| (account.account.to_string(), account)).collect();
        let samples =
            std::iter::once((&self.suspect, &stated.suspect)).chain(self.controls.iter().zip(&stated.controls));
        for (at, (found, stated_sample)) in samples.enumerate() {
            if given.models.get(at).copied().flatten().is_none() {
                continue;
            }
            let fits = |account: &AccountEvidence| {
                let Some(found) = of_accounts.get(&account.account.to_string()) else { return false };
                let ln_e = |of: &AccountEvidence| at.checked_sub(1).and_then(|at| of.controls_ln_e.get(at).copied());
                let counts =
                    |of: &AccountEvidence| [of.requests, of.n_scored, of.n_served_preferred, of.n_ties, of.n_unscored];
                match (ln_e(found), ln_e(account)) {
                    (Some(found), Some(stated)) => close(stated, found),
                    _ => counts(found) == counts(account) && close(account.ln_e, found.ln_e),
                }
            };
            let complete = stated.accounts.len() == self.accounts.len();
            check(
                same_sample(found, stated_sample) && complete && stated.accounts.iter().all(fits),
                format!("{:?}: its numbers, or those of its accounts, are others", stated_sample.model),
            );
        }
        others
    }
}

fn same<T>(a: Option<T>, b: Option<T>, equal: impl Fn(T, T) -> bool) -> bool {
    a.zip(b).is_some_and(|(a, b)| equal(a, b))
}

fn same_sample(found: &SampleEvidence, stated: &SampleEvidence) -> bool {
    let counts = |of: &SampleEvidence| [of.n_scored, of.n_served_preferred, of.n_ties, of.n_unscored];
    counts(found) == counts(stated) && close(stated.whole_ln_e, found.whole_ln_e) && close(stated.ln_e, found.ln_e)
}

fn sample((model, found): (&String, &ModelFound)) -> SampleEvidence {
    SampleEvidence {
        model: model.clone(),
        n_scored: found.whole.n,
        n_served_preferred: found.whole.wins,
        n_ties: found.whole.ties,
        n_unscored: found.unscored,
        whole_ln_e: found.whole.ln_e,
        ln_e: found.sample().ln_e(),
    }
}
