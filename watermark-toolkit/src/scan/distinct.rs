//! Exact deduplication: the distinct PRF inputs of the whole run, in memory or through a file, never approximately.
//!
//! A PRF input of at most four context tokens fits 128 bits ([`Packing`]), so what is sorted is the input itself and no hash
//! of it: two inputs can never be taken for one. For even buckets the bits are mixed by a bijection whose key nobody
//! outside the run knows, so that a corpus cannot be written to fall into one bucket. Buckets are ranges of mixed numbers,
//! so their order, their number and the order of the texts change nothing about the set.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use watermark_core::detect::{LayerDetector, PackedPosition, Packing, Prepared};

use super::shard::Shard;
use super::table::{Origin, Table, Text};
use crate::ids::Conversation;

/// A keyed bijection on 128-bit numbers: odd multipliers and shifts, each of which can be undone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    factors: [u128; 2],
    inverses: [u128; 2],
}

impl Mix {
    pub(super) fn new(secret: &[u8]) -> Self {
        let digest: [u8; 32] =
            Sha256::new().chain_update(b"watermark-scan/1 mix\0").chain_update(secret).finalize().into();
        let mut factors = [0; 2];
        for (factor, bytes) in factors.iter_mut().zip(digest.as_chunks::<16>().0) {
            *factor = u128::from_le_bytes(*bytes) | 1;
        }
        // Newton's iteration: each step doubles the number of correct low bits. The start has three of them, because an
        // odd number is its own inverse modulo 8.
        let inverse = |odd: u128| (0..6).fold(odd, |x, _| x.wrapping_mul(2u128.wrapping_sub(odd.wrapping_mul(x))));
        Self { factors, inverses: factors.map(inverse) }
    }

    #[inline]
    pub(super) fn mix(&self, mut x: u128) -> u128 {
        for factor in self.factors {
            x ^= x >> 64;
            x = x.wrapping_mul(factor);
        }
        x ^ x >> 64
    }

    #[inline]
    pub(super) fn unmix(&self, mut x: u128) -> u128 {
        x ^= x >> 64;
        for inverse in self.inverses.into_iter().rev() {
            x = x.wrapping_mul(inverse);
            x ^= x >> 64;
        }
        x
    }
}

/// Mixed numbers need no further hashing.
#[derive(Default)]
pub(super) struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "low half")]
    fn write_u128(&mut self, mixed: u128) {
        self.0 = mixed as u64;
    }
}

pub(super) type MixedSet = HashSet<u128, BuildHasherDefault<Mixed>>;

/// What takes the texts of one layer to mixed PRF inputs.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) layer: &'a LayerDetector,
    pub(super) packing: Packing,
    pub(super) mix: Mix,
    /// Which tokenizer's ids.
    pub(super) slot: usize,
}

/// A conversation, with the PRF inputs that are excluded because its prompts hold them.
#[derive(Default)]
pub(super) struct Before {
    conversation: Conversation,
    /// How many of its ids have gone into `prompts`.
    asked: usize,
    prompts: MixedSet,
}

/// Tables with room for more than this are dropped and not emptied, because emptying costs the size of the table. Texts
/// so long are rare.
const KEPT_TABLE: usize = 1 << 14;

fn empty(set: &mut MixedSet) {
    if set.capacity() > KEPT_TABLE {
        *set = MixedSet::default();
    } else {
        set.clear();
    }
}

/// Where the generated positions of a layer went, before inputs that several texts share are taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Positions {
    pub(super) short_context: u64,
    /// Special tokens and pairs of the record's own prompts.
    pub(super) excluded: u64,
    /// PRF inputs, repetitions among them.
    pub(super) inputs: u64,
}

impl Positions {
    pub(super) fn add(&mut self, other: Self) {
        self.short_context += other.short_context;
        self.excluded += other.excluded;
        self.inputs += other.inputs;
    }
}

impl Inputs<'_> {
    /// Calls `visit` with the distinct mixed PRF inputs of every text, in no particular order but always the same.
    pub(super) fn walk(
        &self,
        table: &Table,
        mut visit: impl FnMut(Origin<'_>, Text<'_>, &[u128]) -> Result<()>,
    ) -> Result<Positions> {
        let (mut before, mut positions) = (Before::default(), Positions::default());
        let (mut seen, mut distinct) = (MixedSet::default(), Vec::new());
        table.each(self.slot, |origin, text| {
            empty(&mut seen);
            distinct.clear();
            positions.add(self.collect(text, &mut before, |mixed| {
                if seen.insert(mixed) {
                    distinct.push(mixed);
                }
            })?);
            visit(origin, text, &distinct)
        })?;
        Ok(positions)
    }

    /// Hands out the PRF inputs of a text's positions that its prompts do not exclude, repetitions among them.
    fn collect(&self, text: Text<'_>, before: &mut Before, mut take: impl FnMut(u128)) -> Result<Positions> {
        self.ask(before, text)?;
        let mut positions = Positions::default();
        let ids = before.conversation.ids();
        self.layer.packed_positions(self.packing, ids, text.tokens, |position| match position {
            PackedPosition::ShortContext => positions.short_context += 1,
            PackedPosition::Excluded => positions.excluded += 1,
            PackedPosition::Input(packed) => {
                let mixed = self.mix.mix(packed);
                if !before.prompts.is_empty() && before.prompts.contains(&mixed) {
                    positions.excluded += 1;
                } else {
                    positions.inputs += 1;
                    take(mixed);
                }
            }
        })?;
        // Only a conversation needs the text again, but whether this one goes on is not known yet.
        before.conversation.answer(text.tokens);
        Ok(positions)
    }

    /// Excludes the pairs of everything since the last prompt, and those of the prompt of this text.
    fn ask(&self, before: &mut Before, text: Text<'_>) -> Result<()> {
        let Before { conversation, asked, prompts } = before;
        if !text.continues {
            *asked = 0;
            empty(prompts);
        }
        conversation.ask(text.continues, text.prompt);
        let ids = conversation.ids();
        // The first new windows begin in ids that were there before.
        let seam = asked.saturating_sub(self.layer.width());
        self.layer.packed_prompt(self.packing, &ids[seam..], |packed| {
            prompts.insert(self.mix.mix(packed));
        })?;
        *asked = ids.len();
        Ok(())
    }

    /// Distinct inputs, ready to be scored.
    pub(super) fn prepare(&self, mixed: &[u128]) -> Prepared {
        self.layer.prepare(mixed.iter().map(|&mixed| self.packing.unpack(self.mix.unmix(mixed))).collect())
    }
}

/// Bytes of a number.
const WIDTH: u64 = 16;

/// Numbers that are sorted at a time: they fit a core's cache.
const BUCKET: u64 = 1 << 14;

/// Processes the sorted numbers, one bucket after another.
pub(super) trait Consume: Sync {
    /// The result for a set of buckets. Results are merged in any order.
    type Total: Send;

    /// The result for one bucket. `sorted` is ascending and holds each number as often as different texts have it.
    fn consume(&self, sorted: &[u128]) -> Result<Self::Total>;

    /// The result for two disjoint sets of buckets together.
    fn merge(&self, a: Self::Total, b: Self::Total) -> Self::Total;
}

/// Hands the PRF inputs of all texts to `consume`, equal ones together. Takes about `memory` bytes; where those do not
/// suffice, the file `spill` is written.
pub(super) fn distinct<C: Consume>(
    shards: &[&Shard],
    inputs: Inputs<'_>,
    memory: u64,
    spill: &Path,
    consume: &C,
) -> Result<(Positions, Option<C::Total>)> {
    let total: u64 = shards.iter().map(|shard| tokens(shard, inputs)).sum();
    let bits = (total / BUCKET).max(64).next_power_of_two().ilog2().min(14);
    // A group takes its memory twice for a moment: as it was collected, and sorted into buckets.
    let most = (memory / 4 / WIDTH).max(1);
    let groups = groups(shards, inputs, most);
    let mut positions = Positions::default();
    let mut spilled = None;
    for group in &groups {
        let parts = group.par_iter().map(|shard| Part::collect(shard, inputs, bits)).collect::<Result<Vec<_>>>()?;
        for part in &parts {
            positions.add(part.positions);
        }
        if groups.len() == 1 {
            return Ok((positions, each(bits, consume, |bucket| Ok(gather(&parts, bucket)))?));
        }
        match &mut spilled {
            None => spilled.insert(Spill::create(spill)?),
            Some(spill) => spill,
        }
        .write(&parts, bits)?;
    }
    let Some(spilled) = spilled else { return Ok((positions, None)) };
    let runs = spilled.finish()?;
    let made = each(bits, consume, |bucket| runs.gather(bucket))?;
    std::fs::remove_file(spill).with_context(|| spill.display().to_string())?;
    Ok((positions, made))
}

fn each<C: Consume>(
    bits: u32,
    consume: &C,
    gather: impl Fn(usize) -> Result<Vec<u128>> + Sync,
) -> Result<Option<C::Total>> {
    (0..1usize << bits).into_par_iter().map(|bucket| consume.consume(&gather(bucket)?).map(Some)).try_reduce(
        || None,
        |a, b| {
            Ok(match (a, b) {
                (Some(a), Some(b)) => Some(consume.merge(a, b)),
                (a, b) => a.or(b),
            })
        },
    )
}

/// Groups neighbouring shards of at most `most` positions together. A shard of more is a group by itself.
fn groups<'a>(shards: &'a [&'a Shard], inputs: Inputs<'_>, most: u64) -> Vec<&'a [&'a Shard]> {
    let mut groups = Vec::new();
    let (mut start, mut held) = (0, 0);
    for (at, shard) in shards.iter().enumerate() {
        let tokens = tokens(shard, inputs);
        if at > start && held + tokens > most {
            groups.push(&shards[start..at]);
            (start, held) = (at, 0);
        }
        held += tokens;
    }
    if start < shards.len() {
        groups.push(&shards[start..]);
    }
    groups
}

fn tokens(shard: &Shard, inputs: Inputs<'_>) -> u64 {
    shard.header.counts.ids.get(inputs.slot).map_or(0, |ids| ids.tokens)
}

/// The PRF inputs of one shard by bucket, unsorted within.
struct Part {
    numbers: Vec<u128>,
    /// Where each bucket begins, and the end.
    starts: Vec<usize>,
    positions: Positions,
}

impl Part {
    fn collect(shard: &Shard, inputs: Inputs<'_>, bits: u32) -> Result<Self> {
        let mut flat = Vec::new();
        let positions = inputs.walk(&shard.table()?, |_, _, distinct| {
            flat.extend_from_slice(distinct);
            Ok(())
        })?;
        let bucket = |number: u128| (number >> (128 - bits)) as usize;
        let mut starts = vec![0; (1 << bits) + 1];
        for &number in &flat {
            starts[bucket(number) + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut numbers = vec![0; flat.len()];
        for number in flat {
            let slot = &mut next[bucket(number)];
            numbers[*slot] = number;
            *slot += 1;
        }
        Ok(Self { numbers, starts, positions })
    }

    fn bucket(&self, bucket: usize) -> &[u128] {
        &self.numbers[self.starts[bucket]..self.starts[bucket + 1]]
    }
}

fn gather(parts: &[Part], bucket: usize) -> Vec<u128> {
    let mut numbers = Vec::with_capacity(parts.iter().map(|part| part.bucket(bucket).len()).sum());
    parts.iter().for_each(|part| numbers.extend_from_slice(part.bucket(bucket)));
    sort(numbers)
}

fn sort(mut numbers: Vec<u128>) -> Vec<u128> {
    numbers.sort_unstable();
    numbers
}

/// Runs of sorted buckets in one file.
struct Spill {
    file: BufWriter<File>,
    at: u64,
    /// [run][bucket]: where it lies.
    runs: Vec<Vec<Range<u64>>>,
    path: std::path::PathBuf,
}

/// Buckets that are sorted before they are written.
const AT_A_TIME: usize = 256;

impl Spill {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        Ok(Self { file: BufWriter::with_capacity(1 << 20, file), at: 0, runs: Vec::new(), path: path.to_owned() })
    }

    fn write(&mut self, parts: &[Part], bits: u32) -> Result<()> {
        let named = || format!("writing {} (is the disk full?)", self.path.display());
        let buckets = 1usize << bits;
        let mut run = Vec::with_capacity(buckets);
        for start in (0..buckets).step_by(AT_A_TIME) {
            let sorted: Vec<Vec<u128>> =
                (start..buckets.min(start + AT_A_TIME)).into_par_iter().map(|bucket| gather(parts, bucket)).collect();
            for numbers in sorted {
                for number in &numbers {
                    self.file.write_all(&number.to_le_bytes()).with_context(named)?;
                }
                let end = self.at + numbers.len() as u64 * WIDTH;
                run.push(self.at..end);
                self.at = end;
            }
        }
        self.runs.push(run);
        Ok(())
    }

    fn finish(mut self) -> Result<Self> {
        self.file.flush().with_context(|| format!("writing {}", self.path.display()))?;
        Ok(self)
    }

    fn gather(&self, bucket: usize) -> Result<Vec<u128>> {
        let read = || -> std::io::Result<Vec<u128>> {
            let mut file = File::open(&self.path)?;
            let mut numbers = Vec::new();
            let mut bytes = Vec::new();
            for range in self.runs.iter().map(|run| &run[bucket]) {
                file.seek(SeekFrom::Start(range.start))?;
                bytes.clear();
                (&file).take(range.end - range.start).read_to_end(&mut bytes)?;
                numbers.extend(bytes.as_chunks().0.iter().map(|number| u128::from_le_bytes(*number)));
            }
            Ok(sort(numbers))
        };
        read().with_context(|| format!("reading {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Nothing is lost in mixing, and near numbers land far apart.
        #[test]
        fn mixing_can_be_undone(secret in any::<[u8; 8]>(), x in any::<u128>()) {
            let mix = Mix::new(&secret);
            prop_assert_eq!(mix.unmix(mix.mix(x)), x);
            prop_assert_eq!(mix.mix(mix.unmix(x)), x);
        }
    }

    /// Counters, which is what packed inputs of one frequent context look like, spread evenly over buckets: chi-squared of
    /// 256 buckets has mean 255 and standard deviation 22.6, so 400 is beyond six of them.
    #[test]
    fn buckets_are_even() {
        for (secret, shift) in (0_u8..).zip([0, 24, 49, 74, 99]) {
            let mix = Mix::new(&[secret]);
            let mut counts = [0_u32; 256];
            for x in 0..100_000_u128 {
                counts[(mix.mix(x << shift) >> 120) as usize] += 1;
            }
            let mean = 100_000.0 / 256.0;
            let chi: f64 = counts.iter().map(|&n| (f64::from(n) - mean).powi(2) / mean).sum();
            assert!(chi < 400.0, "{chi} at shift {shift}");
        }
    }
}
