//! What a scan of a corpus needs instead of tallies: PRF inputs as numbers that can be sorted and stored, and sums over
//! parts of them that add up.

use super::detector::Scores;
use super::pairs::check;
use super::rule::Rule;
use super::{LayerDetector, Pair};
use crate::prf::{Context, Position};
use crate::{Error, ErrorKind, Result};

/// How the PRF inputs of one layer become 128-bit numbers, without loss.
///
/// Each token of a context takes 25 bits: 24 for its id, and one more because some rules put -1 before the first token.
/// A context that counts only through a hash takes 32 bits for each word of the hash. The token takes 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    entries: usize,
    bits: u32,
}

const TOKEN_BITS: u32 = 24;

impl Packing {
    /// The pair as a number; different pairs of the layer give different numbers.
    #[must_use]
    #[inline]
    pub fn pack(self, pair: &Pair) -> u128 {
        let mask = self.mask();
        let context = pair.context(self.entries).iter();
        let context = context.fold(0, |packed: u128, &word| packed << self.bits | u128::from(word & mask));
        context << TOKEN_BITS | u128::from(pair.token())
    }

    /// The pair of a number that [`Self::pack`] made.
    #[must_use]
    #[inline]
    pub fn unpack(self, packed: u128) -> Pair {
        let mask = self.mask();
        let mut words = [0; crate::MAX_CONTEXT_WIDTH];
        #[expect(clippy::cast_possible_truncation, reason = "low bits")]
        for (at, word) in words[..self.entries].iter_mut().rev().enumerate() {
            *word = (packed >> (TOKEN_BITS + self.bits * at as u32)) as u32 & mask;
            if self.bits < 32 && *word == mask {
                *word = u32::MAX;
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "low bits")]
        let token = packed as u32 & ((1 << TOKEN_BITS) - 1);
        Pair::new(&words[..self.entries], token)
    }

    /// The context after one more token.
    #[inline]
    fn next(self, context: u128, token: u32) -> u128 {
        (context << self.bits | u128::from(token)) & ((1 << (self.entries as u32 * self.bits)) - 1)
    }

    #[inline]
    fn mask(self) -> u32 {
        u32::MAX >> (32 - self.bits)
    }
}

/// What one generated position is, before prompts and repetitions are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackedPosition {
    /// Fewer than `width` usable generated tokens before it.
    ShortContext,
    /// A special token, or one that no key could have chosen.
    Excluded,
    /// A PRF input.
    Input(u128),
}

/// Distinct pairs with the part of their scoring that does not depend on the key, so that it is done once for all keys
/// of a layer.
#[derive(Clone, Debug)]
pub struct Prepared {
    pairs: Vec<Pair>,
    inputs: Vec<(Context, u32)>,
}

/// Scores of distinct pairs under one key. Sums over disjoint parts add up to that of the whole, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Distinct pairs.
    pub n: u64,
    /// Sum of their scores, in the units of [`super::Finding::statistic`].
    pub sum: u128,
    /// Ones of each tournament layer; empty for other schemes.
    pub layer_ones: Vec<u64>,
}

impl Sums {
    /// Adds the scores of a disjoint set of pairs of the same layer.
    pub fn merge(&mut self, other: &Self) {
        self.merge_times(other, 1);
    }

    /// Adds the scores of other pairs, as if each of them occurred `times` times.
    pub fn merge_times(&mut self, other: &Self, times: u64) {
        self.n += other.n * times;
        self.sum += other.sum * u128::from(times);
        self.layer_ones.resize(self.layer_ones.len().max(other.layer_ones.len()), 0);
        for (ones, more) in self.layer_ones.iter_mut().zip(&other.layer_ones) {
            *ones += more * times;
        }
    }

    /// These scores without those of `other`; `None` if `other` cannot have been counted here.
    #[must_use]
    pub fn without(&self, other: &Self) -> Option<Self> {
        let mut layer_ones = self.layer_ones.clone();
        for (at, fewer) in other.layer_ones.iter().enumerate() {
            let ones = layer_ones.get_mut(at)?;
            *ones = ones.checked_sub(*fewer)?;
        }
        Some(Self { n: self.n.checked_sub(other.n)?, sum: self.sum.checked_sub(other.sum)?, layer_ones })
    }
}

impl LayerDetector {
    /// How this layer's PRF inputs are packed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for contexts wider than four tokens, and for engines whose inputs depend on the key or
    /// whose pairs share draws, so that sums over parts do not add up.
    pub fn packing(&self) -> Result<Packing> {
        let width = self.rule.width();
        let shared = self.engine().is_some_and(|engine| {
            let pair = [Pair::new(&[], 0)];
            engine.context_seeds(&pair).is_some() || engine.shared_draws(&pair).is_some()
        });
        if shared || self.inputs_depend_on_key() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!(
                    "what counts once under {} depends on the key or is shared by several pairs, so parts of a corpus cannot \
                     be scored apart; `detect` tests such marks",
                    self.scheme().name()
                ),
            ));
        }
        let (entries, bits) = match &self.rule {
            Rule::Generated { width } => (*width, 25),
            Rule::Engine(engine) => engine.packing(),
        };
        if u32::try_from(entries).unwrap_or(u32::MAX).saturating_mul(bits) > 128 - TOKEN_BITS {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("a context of {width} tokens does not fit 128 bits; up to 4 do"),
            ));
        }
        Ok(Packing { entries, bits })
    }

    /// Calls `visit` for every generated position of a record, in order, with its PRF input packed. Prompts are excluded by
    /// the caller, who has the inputs of [`Self::packed_prompt`]; `prompt` itself matters only to engines whose contexts
    /// reach into it.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`], before the first call.
    pub fn packed_positions(
        &self,
        packing: Packing,
        prompt: &[u32],
        tokens: &[u32],
        mut visit: impl FnMut(PackedPosition),
    ) -> Result<()> {
        check(prompt)?;
        check(tokens)?;
        let Rule::Generated { width } = self.rule else {
            self.rule.positions(prompt, &self.special, tokens, |position| {
                visit(match position {
                    Position::ShortContext => PackedPosition::ShortContext,
                    Position::Excluded => PackedPosition::Excluded,
                    Position::Input(pair) => PackedPosition::Input(packing.pack(&pair)),
                });
            });
            return Ok(());
        };
        // The same for our own rule, where one context follows from the one before.
        let (mut context, mut usable) = (0, 0);
        for &token in tokens {
            if self.special.binary_search(&token).is_ok() {
                visit(PackedPosition::Excluded);
                usable = 0;
                continue;
            }
            visit(if usable < width {
                PackedPosition::ShortContext
            } else {
                PackedPosition::Input(context << TOKEN_BITS | u128::from(token))
            });
            usable += 1;
            context = packing.next(context, token);
        }
        Ok(())
    }

    /// Calls `visit` for every PRF input inside `prompt`.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`], before the first call.
    pub fn packed_prompt(&self, packing: Packing, prompt: &[u32], mut visit: impl FnMut(u128)) -> Result<()> {
        check(prompt)?;
        let width = self.rule.width();
        if let Rule::Generated { .. } = self.rule {
            let mut context = 0;
            for (at, &token) in prompt.iter().enumerate() {
                if at >= width {
                    visit(context << TOKEN_BITS | u128::from(token));
                }
                context = packing.next(context, token);
            }
            return Ok(());
        }
        self.rule.inputs(prompt).iter().for_each(|pair| visit(packing.pack(pair)));
        Ok(())
    }

    /// Lays out distinct pairs for scoring under any key of this layer.
    #[must_use]
    pub fn prepare(&self, pairs: Vec<Pair>) -> Prepared {
        let inputs = self.prepared_inputs(&pairs);
        Prepared { pairs, inputs }
    }

    /// Scores of distinct pairs. Where [`Self::packing`] fails, the sums of parts do not add up to that of the whole.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`].
    pub fn sums(&self, prepared: &Prepared) -> Result<Sums> {
        let (sum, layer_ones) = self.prepared_sums(&prepared.pairs, &prepared.inputs)?;
        Ok(Sums { n: prepared.pairs.len() as u64, sum, layer_ones })
    }

    /// log10 P(sum at least this large) if the text is independent of the key, as [`super::Finding::log10_p`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] beyond 2^64 bits.
    pub fn sums_log10_p(&self, sums: &Sums) -> Result<f64> {
        self.log10_p(sums.sum, self.draws(sums.n)?)
    }

    /// Natural logarithm of the e-value, as [`super::Finding::ln_e`].
    ///
    /// # Errors
    /// As [`Self::sums_log10_p`].
    pub fn sums_ln_e(&self, sums: &Sums) -> Result<f64> {
        let draws = self.draws(sums.n)?;
        let scores = Scores { sum: sums.sum, draws, classes: Default::default(), layer_ones: sums.layer_ones.clone() };
        self.ln_e(&scores, sums.n)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;
    use crate::engine::{Engine, EngineKey};
    use crate::key::NodeKey;
    use crate::scheme::tests::examples;
    use crate::scheme::{Parameters, Scheme};

    fn layers() -> Vec<LayerDetector> {
        let key = NodeKey::root(b"packed").prf_key("test", 4).unwrap();
        let none = Parameters::new();
        let own = [
            ("greenlist", 1, none.clone().with("gamma", 0.5)),
            ("gumbel", 0, none.clone()),
            ("gumbel", 4, none.clone()),
            ("tournament", 3, none.with("depth", 30u32)),
        ];
        let own = own.into_iter().map(|(name, width, given)| (Scheme::from_name(name, &given).unwrap(), width));
        let examples = examples().into_iter().map(|(_, scheme, width)| (scheme, width));
        let own = own.chain(examples).map(|(scheme, width)| LayerDetector::from_prf_key(scheme, width, &key).unwrap());
        let engines = Engine::examples(50_257).unwrap().into_iter().map(|engine| {
            LayerDetector::from_engine(engine, &EngineKey::from_prf_key(&engine, &key).unwrap()).unwrap()
        });
        own.chain(engines).filter(|layer| layer.packing().is_ok()).collect()
    }

    #[test]
    fn what_does_not_pack_says_why() {
        assert!(layers().len() > 9, "{}", layers().len());
        let key = NodeKey::root(b"packed").prf_key("test", 5).unwrap();
        let wide = LayerDetector::from_prf_key(Scheme::Gumbel(crate::scheme::Gumbel), 5, &key).unwrap();
        assert!(wide.packing().unwrap_err().to_string().contains("5 tokens"));
    }

    proptest! {
        /// Packing loses nothing, and sums over any split equal the tally's finding.
        #[test]
        fn equals_the_tally(
            prompt in proptest::collection::vec(0..40u32, 0..60),
            tokens in proptest::collection::vec(prop_oneof![0..40u32, Just(crate::MAX_TOKEN_ID)], 0..200),
            cut in 0.0..1.0f64,
        ) {
            for layer in layers() {
                let packing = layer.packing().unwrap();
                let mut excluded = std::collections::BTreeSet::new();
                layer.packed_prompt(packing, &prompt, |number| { excluded.insert(number); }).unwrap();
                let mut packed = std::collections::BTreeSet::new();
                let mut n_excluded = 0;
                layer.packed_positions(packing, &prompt, &tokens, |position| match position {
                    PackedPosition::Input(number) => {
                        assert_eq!(packing.pack(&packing.unpack(number)), number);
                        if excluded.contains(&number) { n_excluded += 1 } else { packed.insert(number); }
                    }
                    PackedPosition::Excluded => n_excluded += 1,
                    PackedPosition::ShortContext => {}
                }).unwrap();
                // Special tokens, and the walk from pairs.
                let mut special = layer.clone();
                special.special = [5, 7].into();
                let (mut walked, mut rolled) = (Vec::new(), Vec::new());
                special.rule.positions(&prompt, &special.special, &tokens, |position| walked.push(match position {
                    Position::Input(pair) => {
                        assert_eq!(packing.unpack(packing.pack(&pair)), pair);
                        PackedPosition::Input(packing.pack(&pair))
                    }
                    Position::Excluded => PackedPosition::Excluded,
                    Position::ShortContext => PackedPosition::ShortContext,
                }));
                special.packed_positions(packing, &prompt, &tokens, |position| rolled.push(position)).unwrap();
                prop_assert_eq!(walked, rolled);
                let mut tally = layer.tally();
                layer.add(&mut tally, &prompt, &tokens).unwrap();
                let finding = layer.finding(&tally).unwrap();
                let pairs: Vec<Pair> = packed.iter().map(|&number| packing.unpack(number)).collect();
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below the length")]
                let (left, right) = pairs.split_at((pairs.len() as f64 * cut) as usize);
                let summed = |pairs: &[Pair]| layer.sums(&layer.prepare(pairs.to_vec())).unwrap();
                let mut sums = summed(left);
                sums.merge(&summed(right));
                prop_assert_eq!((sums.n, sums.sum, n_excluded), (finding.n_scored, finding.statistic, finding.n_excluded));
                let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
                prop_assert!(same(layer.sums_log10_p(&sums).unwrap(), finding.log10_p));
                prop_assert!(same(layer.sums_ln_e(&sums).unwrap(), finding.ln_e.unwrap()));
            }
        }
    }
}
