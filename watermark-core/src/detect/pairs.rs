use hashbrown::{HashMap, HashSet};

use crate::{Error, ErrorKind, MAX_CONTEXT_WIDTH, MAX_TOKEN_ID, Result};

/// A PRF input: the last `width` tokens (oldest first, zero-padded) and the token that followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    context: [u32; MAX_CONTEXT_WIDTH],
    token: u32,
}

impl Pair {
    fn new(context: &[u32], token: u32) -> Self {
        let mut padded = [0; MAX_CONTEXT_WIDTH];
        padded[..context.len()].copy_from_slice(context);
        Self { context: padded, token }
    }

    /// The context at its width, which the pair itself does not know.
    #[must_use]
    pub(crate) fn context(&self, width: usize) -> &[u32] {
        &self.context[..width]
    }

    /// The token.
    #[must_use]
    pub fn token(&self) -> u32 {
        self.token
    }
}

/// Pairs that must not be scored because they occur in a prompt.
#[derive(Clone, Debug)]
pub struct PairSet {
    width: usize,
    pairs: HashSet<Pair>,
}

impl PairSet {
    /// An empty set for contexts of `width` tokens.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self { width, pairs: HashSet::new() }
    }

    /// Adds every window inside `prompt`.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`] for an id of 2^24 or more.
    pub fn add_prompt(&mut self, prompt: &[u32]) -> Result<()> {
        check(prompt)?;
        self.pairs.extend(prompt.windows(self.width + 1).map(|w| Pair::new(&w[..self.width], w[self.width])));
        Ok(())
    }
}

/// How often each PRF input occurred, and why other positions do not count. Every generated position falls into
/// exactly one of `short_context`, `excluded`, `duplicate` and `scored`.
///
/// Merging is associative and commutative: any split and order of the records gives the same tally.
#[derive(Clone, Debug)]
pub struct Tally {
    width: usize,
    counts: HashMap<Pair, u64>,
    short_context: u64,
    excluded: u64,
}

impl Tally {
    /// Nothing counted yet, for contexts of `width` tokens.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self { width, counts: HashMap::new(), short_context: 0, excluded: 0 }
    }

    /// A tally of other contexts would pass off dependent scores as independent ones.
    pub(crate) fn check_width(&self, width: usize) -> Result<()> {
        if self.width == width {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("a tally of contexts of {} tokens was used with contexts of {width}", self.width),
        ))
    }

    /// Adds the generated tokens of one record. Special tokens are excluded, and so are pairs in `exclude`; contexts
    /// never reach over the start of the record or a special token. `special` is sorted. Calls `first` for every pair
    /// that the tally had not seen, in order.
    pub(crate) fn add(
        &mut self,
        exclude: &PairSet,
        special: &[u32],
        tokens: &[u32],
        mut first: impl FnMut(Pair),
    ) -> Result<()> {
        check(tokens)?;
        let width = self.width;
        self.check_width(exclude.width)?;
        let mut usable = 0;
        for (i, &token) in tokens.iter().enumerate() {
            if special.binary_search(&token).is_ok() {
                self.excluded += 1;
                usable = 0;
                continue;
            }
            if usable < width {
                self.short_context += 1;
            } else {
                let pair = Pair::new(&tokens[i - width..i], token);
                if exclude.pairs.contains(&pair) {
                    self.excluded += 1;
                } else {
                    let count = self.counts.entry(pair).or_insert(0);
                    if *count == 0 {
                        first(pair);
                    }
                    *count += 1;
                }
            }
            usable += 1;
        }
        Ok(())
    }

    /// Adds another tally of the same layer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a tally of another context width.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        self.check_width(other.width)?;
        self.short_context += other.short_context;
        self.excluded += other.excluded;
        for (pair, count) in other.counts {
            *self.counts.entry(pair).or_insert(0) += count;
        }
        Ok(())
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
        self.counts.values().sum::<u64>() - self.n_scored()
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
        bytes.extend((self.width as u64).to_le_bytes());
        bytes.extend(self.short_context.to_le_bytes());
        bytes.extend(self.excluded.to_le_bytes());
        for (pair, count) in rows {
            bytes.extend(pair.context.iter().chain([&pair.token]).flat_map(|id| id.to_le_bytes()));
            bytes.extend(count.to_le_bytes());
        }
        bytes
    }
}

fn check(tokens: &[u32]) -> Result<()> {
    match tokens.iter().position(|&id| id > MAX_TOKEN_ID) {
        None => Ok(()),
        Some(at) => Err(Error::new(
            ErrorKind::TokenOutOfRange,
            format!("token {at} has id {}, which is not below 2^24", tokens[at]),
        )),
    }
}
