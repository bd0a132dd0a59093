//! Counts of what was read. They add up over shards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::multiset::Multiset;

/// Counts of everything that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Lines, elements or rows, bad ones among them.
    pub(super) records: u64,
    /// Records that could not be used, by kind.
    pub(super) bad_records: BTreeMap<String, u64>,
    /// Generated texts.
    pub(super) texts: u64,
    /// Records by the fields that they were read from.
    pub(super) schemas: BTreeMap<String, u64>,
    /// Counts of ids, by tokenizer.
    pub(super) ids: Vec<IdCounts>,
    /// A digest of the texts themselves.
    pub(super) read: Multiset,
}

/// Counts of the ids that one tokenizer made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IdCounts {
    pub(super) prompt_tokens: u64,
    /// Generated tokens: positions.
    pub(super) tokens: u64,
    /// Issued tokens of texts that came with their ids, and those that came out otherwise.
    pub(super) issued: u64,
    pub(super) changed: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.texts += other.texts;
        for (to, from) in [(&mut self.bad_records, &other.bad_records), (&mut self.schemas, &other.schemas)] {
            for (name, n) in from {
                *to.entry(name.clone()).or_default() += n;
            }
        }
        self.ids.resize(self.ids.len().max(other.ids.len()), IdCounts::default());
        for (to, from) in self.ids.iter_mut().zip(&other.ids) {
            to.prompt_tokens += from.prompt_tokens;
            to.tokens += from.tokens;
            to.issued += from.issued;
            to.changed += from.changed;
        }
        self.read.add(&other.read);
    }

    pub(super) fn bad(&self) -> u64 {
        self.bad_records.values().sum()
    }

    /// Generated tokens under the first tokenizer, for onlookers.
    pub(super) fn tokens(&self) -> u64 {
        self.ids.first().map_or(0, |ids| ids.tokens)
    }
}

/// A record that could not be used: where, and why; never its text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Skipped {
    pub(super) record: u64,
    pub(super) kind: String,
    pub(super) reason: String,
}
