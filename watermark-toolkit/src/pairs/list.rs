use std::collections::VecDeque;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use watermark_core::key::{NodeKey, PrfKey};
use watermark_core::paired::{Candidates, RequestSecret};
use watermark_core::profile::Profile;

use super::check_profile;
use crate::read::{BadRecord, Limits, ReadError, RequestId, ServedRecord, read_served};

type Served = Box<dyn Iterator<Item = Result<Result<ServedRecord, BadRecord>, ReadError>>>;

/// The requests of a list with their coins, one after the other.
pub struct List {
    layer: PrfKey,
    beacon: Option<[u8; 32]>,
    special: Vec<u32>,
    vocab_size: u32,
    first_tokens: Option<u32>,
    files: VecDeque<PathBuf>,
    open: Option<Served>,
    last: Option<RequestId>,
    about: About,
    pairs: u64,
    contradicted: u64,
}

/// What a list holds, and what of it does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// The first request.
    pub first_request: String,
    /// The last one.
    pub last_request: String,
    /// Numbers between them that are not in the list.
    pub n_missing: u64,
    /// Positions without a second candidate, because another token was served than the one that was drawn.
    pub n_without_candidate: u64,
    /// Positions whose candidates are the same token.
    pub n_equal: u64,
    /// Positions with a special candidate.
    pub n_special: u64,
}

/// A request's positions with two candidates.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its number in the ledger.
    pub id: RequestId,
    /// The account that asked.
    pub account: Option<String>,
    /// By position.
    pub pairs: Vec<Pair>,
}

/// A position with two different candidates, neither of them special.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The number of the generated token, from 0.
    pub position: u32,
    /// What the coin says was served, and what not.
    pub candidates: Candidates,
}

impl List {
    /// Opens the files of a list, which follow each other in the ledger's order.
    ///
    /// # Errors
    /// If the profile has no paired draws, or ones that cannot be tested; if the key is not above its path, or the beacon not drawn.
    pub fn open(profile: &Profile, key: &NodeKey, files: &[PathBuf], first_tokens: Option<u32>) -> Result<Self> {
        let layer = profile.paired_key(key)?;
        let layer = layer.with_context(|| format!("profile {:?} has no paired draws", profile.name))?;
        check_profile(profile)?;
        Ok(Self {
            layer,
            beacon: profile.drawn_beacon()?,
            special: profile.tokenizer.special_token_ids.clone(),
            vocab_size: profile.tokenizer.vocab_size,
            first_tokens,
            files: files.iter().cloned().collect(),
            open: None,
            last: None,
            about: About::default(),
            pairs: 0,
            contradicted: 0,
        })
    }

    /// The next request.
    ///
    /// # Errors
    /// If a file cannot be read, a record not be used, or it does not follow the one before it in the ledger.
    pub fn next_request(&mut self) -> Result<Option<Request>> {
        let record = loop {
            if let Some(record) = self.open.as_mut().and_then(Iterator::next) {
                break record??;
            }
            match self.files.pop_front() {
                Some(path) => self.open = Some(Box::new(read_served(&path, Limits::default())?)),
                None => return Ok(None),
            }
        };
        let place = record.location.clone();
        let request = self.take(record).with_context(|| place.to_string())?;
        Ok(Some(request))
    }

    fn take(&mut self, record: ServedRecord) -> Result<Request> {
        let ServedRecord { request: id, account, prompt_tokens, tokens, withheld, .. } = record;
        match self.last.take() {
            None => self.about.first_request = id.to_string(),
            Some(last) if id.follows(&last) => self.about.n_missing += id.number() - last.number() - 1,
            Some(last) => {
                bail!(
                    "request {id} does not follow {last}; write the list in the order of one ledger, each request once"
                )
            }
        }
        self.about.last_request = id.to_string();
        let ids = prompt_tokens.iter().chain(&tokens).chain(withheld.iter().flatten());
        if let Some(token) = ids.copied().find(|&token| token >= self.vocab_size) {
            bail!("token id {token} is not below the profile's vocab_size {}", self.vocab_size);
        }
        let key = RequestSecret::new(&self.layer, &id.to_string()).key(self.beacon.as_ref());
        let special = |token: u32| self.special.contains(&token);
        let mut pairs = Vec::new();
        for (position, (&token, withheld)) in
            (0..self.first_tokens.unwrap_or(u32::MAX)).zip(tokens.iter().zip(withheld))
        {
            let Some(withheld) = withheld else {
                self.about.n_without_candidate += 1;
                continue;
            };
            if special(token) || special(withheld) {
                self.about.n_special += 1;
                continue;
            }
            self.about.n_equal += u64::from(token == withheld);
            let Some(candidates) = key.order(position, [token, withheld])? else { continue };
            self.contradicted += u64::from(candidates.served != token);
            pairs.push(Pair { position, candidates });
        }
        self.pairs += pairs.len() as u64;
        self.last = Some(id.clone());
        Ok(Request { id, account, pairs })
    }

    /// What was read so far.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// # Errors
    /// If the key says of any position that the other candidate was served.
    pub fn check(&self) -> Result<()> {
        if self.contradicted > 0 {
            bail!(
                "the key says of {} of {} positions that the other candidate was served: these draws were made with another key, profile or \
                 beacon, or the list was changed",
                self.contradicted,
                self.pairs
            );
        }
        Ok(())
    }
}

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("List").field("last", &self.last).finish_non_exhaustive()
    }
}
