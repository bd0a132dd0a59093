use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use watermark_core::paired::{Candidates, SignFinding, Signs};

use super::list::{Pair, Request};
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
                bail!(
                    "{}: request {} is not in the list, or the list is not in the order of its ledger",
                    record.location,
                    record.request
                )
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

/// Positions preferred as they were served, and the other way round, by strength: so many steps a nat, up to the largest that counts.
pub type Sides = [(u64, u64); 4 * SIDES_PER_NAT];

/// Steps of a nat.
pub const SIDES_PER_NAT: usize = 4;

/// The signs of a model's preferences, in all and by account. Memory grows with accounts, and with the different sizes that each of them has.
#[derive(Clone, Debug, Default)]
pub(super) struct Tallies {
    requests: u64,
    /// Pairs without scores.
    pub(super) unscored: u64,
    whole: Signs,
    accounts: BTreeMap<String, (u64, Signs)>,
}

/// Scores of one request, as far as a model has them.
pub(super) type Taken<'a> = Option<&'a [PairScore]>;

/// How much likelier what was served is to a model; `None` without scores.
///
/// # Errors
/// If they are of other candidates.
pub(super) fn preference(request: &Request, pair: &Pair, scores: &[PairScore]) -> Result<Option<i64>> {
    let both = both(request, pair, scores)?;
    Ok(both.map(|[served, withheld]| served.saturating_sub(withheld)))
}

/// The scores of what was served and of what was withheld; `None` without scores.
///
/// # Errors
/// If they are of other candidates.
pub(super) fn both(request: &Request, pair: &Pair, scores: &[PairScore]) -> Result<Option<[i64; 2]>> {
    let Ok(at) = scores.binary_search_by_key(&pair.position, |score| score.position) else { return Ok(None) };
    let Candidates { served, withheld } = pair.candidates;
    let both = scores[at].of(served, withheld).with_context(|| {
        format!("request {}: the scores of position {} are of other candidates", request.id, pair.position)
    })?;
    Ok(Some(both))
}

impl Tallies {
    /// Counts a request. `expected` is the reference's. Pairs without scores are lost to a suspect, so that nobody leaves out what speaks for
    /// it; to a control they are neither, because losing them would hide that it prefers what was served.
    pub(super) fn add(
        &mut self,
        request: &Request,
        scores: &[PairScore],
        expected: Taken<'_>,
        control: bool,
    ) -> Result<()> {
        let mut signs = Signs::default();
        for pair in &request.pairs {
            let expected = match expected {
                None => Some(0),
                Some(expected) => preference(request, pair, expected)?,
            };
            match preference(request, pair, scores)?.zip(expected) {
                Some((difference, expected)) => signs.add_preference(difference.saturating_sub(expected)),
                None => {
                    self.unscored += 1;
                    if control { signs.add(0) } else { signs.add_unscored() }
                }
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

    pub(super) fn sides(&self) -> Sides {
        let mut sides = Sides::default();
        let last = sides.len() - 1;
        for (size, pairs, wins) in self.whole.classes() {
            let step = usize::try_from((size * SIDES_PER_NAT as u64) >> 16).unwrap_or(last).min(last);
            sides[step].0 += wins;
            sides[step].1 += pairs - wins;
        }
        sides
    }

    pub(super) fn whole(&self) -> SignFinding {
        self.whole.test()
    }

    /// Each account with its requests and what they show, by name.
    pub(super) fn accounts(&self) -> Vec<(String, u64, SignFinding)> {
        self.accounts.iter().map(|(name, (requests, signs))| (name.clone(), *requests, signs.test())).collect()
    }
}
