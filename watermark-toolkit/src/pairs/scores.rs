use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use watermark_core::model_test::PairedSample;
use watermark_core::paired::{SignFinding, Signs};

use super::list::Request;
use crate::read::{BadRecord, Limits, PairScore, ReadError, RequestId, ScoredRecord, read_scored};

type Scored = Box<dyn Iterator<Item = Result<Result<ScoredRecord, BadRecord>, ReadError>>>;

/// A model's scores, read beside the list.
pub(super) struct Scores {
    records: Scored,
    next: Option<ScoredRecord>,
    last: Option<RequestId>,
}

impl Scores {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut scores = Self { records: Box::new(read_scored(path, Limits::default())?), next: None, last: None };
        scores.advance()?;
        Ok(scores)
    }

    fn advance(&mut self) -> Result<()> {
        self.next = match self.records.next() {
            None => None,
            Some(record) => Some(record??),
        };
        if let (Some(record), Some(last)) = (&self.next, &self.last)
            && !record.request.follows(last)
        {
            bail!(
                "{}: request {} does not follow {last}; write scores in the order of the list",
                record.location,
                record.request
            );
        }
        self.last = self.next.as_ref().map(|record| record.request.clone());
        Ok(())
    }

    /// The scores of a request of the list; none if it was left out.
    pub(super) fn take(&mut self, request: &RequestId) -> Result<Vec<PairScore>> {
        match &self.next {
            Some(record) if record.request == *request => {
                let scores = self.next.take().map(|record| record.scores).unwrap_or_default();
                self.advance()?;
                Ok(scores)
            }
            Some(record) if !record.request.follows(request) => {
                bail!("{}: request {} is not in the list", record.location, record.request)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// # Errors
    /// If there are scores of requests after the list's last one.
    pub(super) fn end(self) -> Result<()> {
        match self.next {
            None => Ok(()),
            Some(record) => bail!("{}: request {} is not in the list", record.location, record.request),
        }
    }
}

/// The signs of a model's preferences, in all and by account.
#[derive(Clone, Debug, Default)]
pub(super) struct Tallies {
    requests: u64,
    whole: Signs,
    accounts: BTreeMap<String, (u64, Signs)>,
}

impl Tallies {
    /// Counts a request. `expected` is the reference's.
    pub(super) fn add(
        &mut self,
        request: &Request,
        scores: &[PairScore],
        expected: Option<&[PairScore]>,
    ) -> Result<()> {
        let mut signs = Signs::default();
        for pair in &request.pairs {
            let of = |scores: &[PairScore]| -> Result<Option<i64>> {
                let Ok(at) = scores.binary_search_by_key(&pair.position, |score| score.position) else {
                    return Ok(None);
                };
                let candidates = pair.candidates;
                let difference = scores[at].difference(candidates.served, candidates.withheld).with_context(|| {
                    format!("request {}: the scores of position {} are of other candidates", request.id, pair.position)
                })?;
                Ok(Some(difference))
            };
            let expected = match expected {
                None => Some(0),
                Some(expected) => of(expected)?,
            };
            match of(scores)?.zip(expected) {
                Some((difference, expected)) => signs.add_preference(difference.saturating_sub(expected)),
                None => signs.add_unscored(),
            }
        }
        self.requests += 1;
        self.whole.merge(&signs);
        if let Some(account) = &request.account {
            let (requests, of_account) = self.accounts.entry(account.clone()).or_default();
            *requests += 1;
            of_account.merge(&signs);
        }
        Ok(())
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    pub(super) fn whole(&self) -> SignFinding {
        self.whole.test()
    }

    /// What decides about a control.
    pub(super) fn sample(&self) -> PairedSample {
        let accounts_ln_e = self.accounts.values().map(|(_, signs)| signs.test().ln_e).collect();
        PairedSample { whole: self.whole(), accounts_ln_e }
    }

    /// Each account with its requests and what they show, by name.
    pub(super) fn accounts(&self) -> Vec<(String, u64, SignFinding)> {
        self.accounts.iter().map(|(name, (requests, signs))| (name.clone(), *requests, signs.test())).collect()
    }
}
