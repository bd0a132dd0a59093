use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};

use super::rule::Rule;
use crate::prf::{Pair, Position, RuleId};
use crate::{Error, ErrorKind, MAX_TOKEN_ID, Result};

/// Pairs that must not be scored because they occur in a prompt.
#[derive(Clone, Debug)]
pub struct PairSet {
    rule: RuleId,
    pairs: HashSet<Pair>,
}

impl PairSet {
    pub(super) fn new(rule: &Rule) -> Self {
        Self { rule: rule.id(), pairs: HashSet::new() }
    }

    pub(super) fn contains(&self, pair: &Pair) -> bool {
        self.pairs.contains(pair)
    }

    /// The pairs as a tally that counts each of them once.
    pub(crate) fn to_tally(&self) -> Tally {
        let counts = self.pairs.iter().map(|&pair| (pair, 1)).collect();
        Tally { rule: self.rule, counts, short_context: 0, excluded: 0 }
    }

    /// Adds all pairs of another set.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a set of another context rule.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<()> {
        self.rule.check(other.rule)?;
        self.pairs.extend(&other.pairs);
        Ok(())
    }

    /// Adds every window inside `prompt`.
    pub(super) fn add_prompt(&mut self, rule: &Rule, prompt: &[u32]) -> Result<()> {
        check(prompt)?;
        self.rule.check(rule.id())?;
        self.pairs.extend(rule.inputs(prompt));
        Ok(())
    }
}

/// How often each PRF input occurred, and why other positions do not count. Every generated position falls into
/// exactly one of `short_context`, `excluded`, `duplicate` and `scored`.
///
/// Merging is associative and commutative: any split and order of the records gives the same tally.
///
/// # Example
///
/// ```
/// use watermark_core::detect::LayerDetector;
/// use watermark_core::key::fresh_keys;
/// use watermark_core::scheme::{Gumbel, Scheme};
///
/// let key = fresh_keys(b"an example", 1).next().expect("one key");
/// let layer = LayerDetector::from_prf_key(Scheme::Gumbel(Gumbel), 1, &key)?;
/// let mut first = layer.tally();
/// layer.add(&mut first, &[7, 8], &[5, 6, 5, 6, 7, 8])?;
/// let counts = [first.n_short_context(), first.n_excluded(), first.n_duplicate(), first.n_scored()];
/// // 5 has nothing before it; (7, 8) stands in the prompt; (5, 6) comes twice; (6, 5) and (6, 7) come once.
/// assert_eq!(counts, [1, 1, 1, 3]);
///
/// // Two machines count one record each, and whoever joins their tallies gets what one machine would have counted.
/// let (mut second, mut both) = (layer.tally(), first.clone());
/// layer.add(&mut second, &[], &[6, 7, 9])?;
/// layer.add(&mut both, &[], &[6, 7, 9])?;
/// first.merge(second)?;
/// assert_eq!(first.to_bytes(), both.to_bytes());
/// # Ok::<(), watermark_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tally {
    rule: RuleId,
    counts: HashMap<Pair, u64>,
    short_context: u64,
    excluded: u64,
}

impl Tally {
    pub(super) fn new(rule: &Rule) -> Self {
        Self { rule: rule.id(), counts: HashMap::new(), short_context: 0, excluded: 0 }
    }

    pub(super) fn check_rule(&self, rule: &Rule) -> Result<()> {
        self.rule.check(rule.id())
    }

    /// Adds the generated tokens of one record. Special tokens are excluded, and so are pairs in `exclude` and positions that `counts` denies;
    /// `special` is sorted. Calls `first` with position and pair for every pair that the tally had not seen, in order.
    pub(super) fn add(
        &mut self,
        rule: &Rule,
        exclude: &PairSet,
        special: &[u32],
        record: (&[u32], &[u32]),
        counts: impl Fn(usize) -> bool,
        mut first: impl FnMut(usize, Pair),
    ) -> Result<()> {
        let (prompt, tokens) = record;
        check(prompt)?;
        check(tokens)?;
        self.check_rule(rule)?;
        self.rule.check(exclude.rule)?;
        let mut at = 0;
        rule.positions(prompt, special, tokens, |position| {
            match position {
                Position::ShortContext => self.short_context += 1,
                Position::Excluded => self.excluded += 1,
                Position::Input(pair) if !counts(at) || exclude.contains(&pair) => self.excluded += 1,
                Position::Input(pair) => {
                    let count = self.counts.entry(pair).or_insert(0);
                    if *count == 0 {
                        first(at, pair);
                    }
                    *count += 1;
                }
            }
            at += 1;
        });
        Ok(())
    }

    /// Counts the pairs of one record's generated tokens that [`Self::add`] leaves out because they are in `exclude`, and
    /// nothing else.
    pub(super) fn add_left_out(
        &mut self,
        rule: &Rule,
        exclude: &PairSet,
        special: &[u32],
        tokens: &[u32],
        counts: impl Fn(usize) -> bool,
    ) -> Result<()> {
        check(tokens)?;
        self.check_rule(rule)?;
        self.rule.check(exclude.rule)?;
        let mut at = 0;
        rule.positions(&[], special, tokens, |position| {
            if let Position::Input(pair) = position
                && counts(at)
                && exclude.contains(&pair)
            {
                self.add_pair(pair, 1);
            }
            at += 1;
        });
        Ok(())
    }

    pub(crate) fn add_pair(&mut self, pair: Pair, count: u64) {
        let counted = self.counts.entry(pair).or_insert(0);
        *counted = counted.saturating_add(count);
    }

    pub(super) fn count_excluded(&mut self) {
        self.excluded += 1;
    }

    pub(super) fn count_short_context(&mut self) {
        self.short_context += 1;
    }

    /// Adds those pairs of a later round that this tally does not hold, with their counts. A pair that it holds keeps
    /// the count of the round that showed it first. Returns how often such pairs occurred in the later round.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a tally of another context rule.
    pub(crate) fn add_round(&mut self, round: Self) -> Result<u64> {
        self.rule.check(round.rule)?;
        self.short_context += round.short_context;
        self.excluded += round.excluded;
        let mut spent: u64 = 0;
        for (pair, count) in round.counts {
            match self.counts.entry(pair) {
                Entry::Occupied(_) => spent = spent.saturating_add(count),
                Entry::Vacant(free) => {
                    free.insert(count);
                }
            }
        }
        Ok(spent)
    }

    /// Excludes every position of these pairs after they were counted. The result is the same as if they had been
    /// excluded from the start.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a set of another context rule.
    pub fn exclude(&mut self, exclude: &PairSet) -> Result<()> {
        self.take(exclude, |_, _| ())
    }

    /// As [`Self::exclude`]; `taken` gets each pair with its count.
    pub(crate) fn take(&mut self, exclude: &PairSet, mut taken: impl FnMut(Pair, u64)) -> Result<()> {
        self.rule.check(exclude.rule)?;
        for pair in &exclude.pairs {
            if let Some(count) = self.counts.remove(pair) {
                self.excluded += count;
                taken(*pair, count);
            }
        }
        Ok(())
    }

    /// Adds another tally of the same layer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a tally of another context rule.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        self.rule.check(other.rule)?;
        self.short_context += other.short_context;
        self.excluded += other.excluded;
        for (pair, count) in other.counts {
            *self.counts.entry(pair).or_insert(0) += count;
        }
        Ok(())
    }

    /// An empty set of excluded pairs for the same context rule.
    pub(crate) fn no_pairs(&self) -> PairSet {
        PairSet { rule: self.rule, pairs: HashSet::new() }
    }

    /// The context rule under which it counts.
    pub(crate) fn rule(&self) -> RuleId {
        self.rule
    }

    /// How often a pair occurred.
    pub(crate) fn count(&self, pair: &Pair) -> u64 {
        self.counts.get(pair).copied().unwrap_or(0)
    }

    /// Each distinct pair with its count, in no order.
    pub fn pairs(&self) -> impl Iterator<Item = (&Pair, u64)> {
        self.counts.iter().map(|(pair, &count)| (pair, count))
    }

    /// Distinct pairs: the sample size of the plain test.
    #[must_use]
    pub fn n_scored(&self) -> u64 {
        self.counts.len() as u64
    }

    /// Positions whose pair had occurred before.
    #[must_use]
    pub fn n_duplicate(&self) -> u64 {
        self.counts.values().fold(0, |sum: u64, &count| sum.saturating_add(count)).saturating_sub(self.n_scored())
    }

    /// Positions with a special token or a pair from a prompt.
    #[must_use]
    pub fn n_excluded(&self) -> u64 {
        self.excluded
    }

    /// Positions with fewer than `width` usable generated tokens before them.
    #[must_use]
    pub fn n_short_context(&self) -> u64 {
        self.short_context
    }

    /// The tally as bytes in one canonical order, little-endian: the same records give the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut rows: Vec<_> = self.counts.iter().collect();
        rows.sort_unstable();
        let mut bytes = Vec::with_capacity(24 + rows.len() * 48);
        bytes.extend((self.rule.width as u64 | u64::from(self.rule.kind) << 56).to_le_bytes());
        bytes.extend(self.short_context.to_le_bytes());
        bytes.extend(self.excluded.to_le_bytes());
        for (pair, count) in rows {
            bytes.extend(pair.words().flat_map(|id| id.to_le_bytes()));
            bytes.extend(count.to_le_bytes());
        }
        bytes
    }
}

pub(super) fn check(tokens: &[u32]) -> Result<()> {
    match tokens.iter().position(|&id| id > MAX_TOKEN_ID) {
        None => Ok(()),
        Some(at) => Err(Error::new(
            ErrorKind::TokenOutOfRange,
            format!("token {at} has id {}, which is not below 2^24", tokens[at]),
        )),
    }
}
