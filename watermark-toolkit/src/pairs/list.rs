use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use watermark_core::key::NodeKey;
use watermark_core::paired::{Candidates, RequestKey, RequestSecret};
use watermark_core::profile::Profile;

use super::check_profile;
use crate::read::{Limits, RequestId, ServedRecord, read_served};

/// The requests of a list with their coins, one after the other.
pub struct List<'a> {
    /// What was served, with the secret of its draws.
    requests: Box<dyn Iterator<Item = Result<(ServedRecord, RequestSecret)>> + 'a>,
    beacon: Option<[u8; 32]>,
    special: Vec<u32>,
    vocab_size: u32,
    first_tokens: Option<u32>,
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

/// A request's positions.
#[derive(Debug)]
pub struct Request {
    /// Its number in the ledger.
    pub id: RequestId,
    /// The account that asked.
    pub account: Option<String>,
    /// The key of its draws.
    pub key: RequestKey,
    /// By position: those with two different candidates, neither of them special, which say what a model prefers.
    pub pairs: Vec<Pair>,
    /// By position: all that have a second candidate, which say whether it was drawn.
    pub drawn: Vec<Pair>,
}

/// Two candidates of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The number of the generated token, from 0.
    pub position: u32,
    /// What the coin says was served, and what not.
    pub candidates: Candidates,
}

impl<'a> List<'a> {
    /// Opens the files of a list, which follow each other in the ledger's order.
    ///
    /// # Errors
    /// If the profile has no paired draws, or ones that cannot be tested; if the key is not above its path, or the beacon not drawn.
    pub fn open(profile: &Profile, key: &NodeKey, files: &'a [PathBuf], first_tokens: Option<u32>) -> Result<Self> {
        let layer = profile.paired_key(key)?;
        let layer = layer.with_context(|| format!("profile {:?} has no paired draws", profile.name))?;
        check_profile(profile)?;
        let mut waiting = files.iter();
        let mut open = None;
        let requests = std::iter::from_fn(move || {
            loop {
                if let Some(record) = open.as_mut().and_then(Iterator::next) {
                    return Some(record);
                }
                match read_served(waiting.next()?, Limits::default()) {
                    Ok(file) => open = Some(file),
                    Err(error) => return Some(Err(error)),
                }
            }
        });
        let requests = requests.map(move |record| {
            let record = record??;
            let secret = RequestSecret::new(&layer, &record.request.to_string());
            Ok((record, secret))
        });
        Self::of_requests(profile, requests, first_tokens)
    }

    /// A list whose requests have been opened.
    ///
    /// # Errors
    /// If the profile's beacon is not drawn.
    pub(crate) fn of_requests(
        profile: &Profile,
        requests: impl Iterator<Item = Result<(ServedRecord, RequestSecret)>> + 'a,
        first_tokens: Option<u32>,
    ) -> Result<Self> {
        Ok(Self {
            requests: Box::new(requests),
            beacon: profile.drawn_beacon()?,
            special: profile.tokenizer.special_token_ids.clone(),
            vocab_size: profile.tokenizer.vocab_size,
            first_tokens,
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
        let Some(next) = self.requests.next() else { return Ok(None) };
        let (record, secret) = next?;
        let place = record.location.clone();
        let request = self.take(record, &secret).with_context(|| place.to_string())?;
        Ok(Some(request))
    }

    fn take(&mut self, record: ServedRecord, secret: &RequestSecret) -> Result<Request> {
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
        let key = secret.key(self.beacon.as_ref());
        let special = |token: u32| self.special.contains(&token);
        let (mut pairs, mut drawn) = (Vec::new(), Vec::new());
        for (position, (&token, withheld)) in
            (0..self.first_tokens.unwrap_or(u32::MAX)).zip(tokens.iter().zip(withheld))
        {
            let Some(withheld) = withheld else {
                self.about.n_without_candidate += 1;
                continue;
            };
            let sides = match key.order(position, [token, withheld])? {
                None if token == withheld => Some(Candidates { served: token, withheld }),
                sides => sides,
            };
            let pair = sides.map(|candidates| Pair { position, candidates });
            drawn.extend(pair);
            if special(token) || special(withheld) {
                self.about.n_special += 1;
            } else if token == withheld {
                self.about.n_equal += 1;
            } else if let Some(pair) = pair {
                self.contradicted += u64::from(pair.candidates.served != token);
                pairs.push(pair);
            }
        }
        self.pairs += pairs.len() as u64;
        self.last = Some(id.clone());
        Ok(Request { id, account, key, pairs, drawn })
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

impl std::fmt::Debug for List<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("List").field("last", &self.last).finish_non_exhaustive()
    }
}
