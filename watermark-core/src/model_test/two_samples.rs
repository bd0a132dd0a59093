use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::detect::{LayerDetector, Pair, Tally};
use crate::prf::RuleId;
use crate::scheme::NullLaw;
use crate::stats::{SignedClass, log10_signed_green_bound, weight_residual};
use crate::{Error, ErrorKind, Result};

/// What a suspect chose beyond what an unmarked reference expects of it.
///
/// A pair's weight is its residual, observed minus expected count over the square root of their sum and one
/// ([`weight_residual`]), so pairs that were expected and did not come count too, with a negative weight. Where a model leans by
/// `e^(eps b)` towards green pairs, the residuals are what its log-likelihood ratio weighs pairs with, to first order in eps (Neyman and
/// Pearson 1933); weights that only count see most of what all models prefer. The evidence grows with every token, where that of counts ends with
/// the number of distinct pairs.
///
/// Null hypothesis: suspect and reference are independent of the key. The weights follow from their texts alone, so the bound holds for
/// any reference that has seen neither key nor marked text. One that learned marked text errs on the safe side, because it expects what
/// the mark prefers; one that was chosen to lean the other way would accuse anybody.
///
/// ```
/// use watermark_core::detect::LayerDetector;
/// use watermark_core::key::fresh_keys;
/// use watermark_core::model_test::TwoSamples;
/// use watermark_core::scheme::{Greenlist, Scheme};
///
/// let key = fresh_keys(b"an example", 1).next().expect("one key");
/// let layer = LayerDetector::from_prf_key(Scheme::Greenlist(Greenlist::new(0.5, 2.0)?), 1, &key)?;
/// let (mut suspect, mut reference) = (layer.tally(), layer.tally());
/// layer.add(&mut suspect, &[], &[1, 2, 3, 1, 2, 4, 1, 2])?;
/// layer.add(&mut reference, &[], &[1, 2, 3, 1, 5, 3, 1, 2])?;
/// let finding = TwoSamples::of_answers(&suspect, &reference)?.test(&layer)?;
/// assert!(finding.n_pairs <= 6 && finding.log10_p <= 0.0);
/// # Ok::<(), watermark_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TwoSamples {
    /// Pairs in their order, with their weights, none of them 0.
    weights: Vec<(Pair, i64)>,
    rule: RuleId,
}

/// The test of two samples under one key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TwoSampleFinding {
    /// Distinct pairs that were chosen or expected, and not exactly as often as expected.
    pub n_pairs: u64,
    /// Sum of weight times score, in units of 2^-16.
    pub statistic: i128,
    /// Sum of the weights: `gamma` times this is the mean of `statistic`.
    pub weight: i128,
    /// log10 of a rigorous (Chernoff) upper bound of P(statistic at least this large).
    pub log10_p: f64,
}

impl TwoSamples {
    /// From counts of answers: the suspect's and those of an unmarked model to the same prompts. What the suspect is expected to
    /// choose after a context is what the reference chose there, as often as the suspect came to that context. One choice more than the
    /// reference made is left for what it did not show.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for tallies of two context rules.
    pub fn of_answers(suspect: &Tally, reference: &Tally) -> Result<Self> {
        let mut contexts: HashMap<Pair, [u64; 2]> = HashMap::new();
        for (at, tally) in [suspect, reference].into_iter().enumerate() {
            for (pair, count) in tally.pairs() {
                contexts.entry(pair.without_token()).or_default()[at] += count;
            }
        }
        Self::new(suspect, reference, |pair, seen, counted| {
            let [suspect, reference] = contexts.get(&pair.without_token()).copied().unwrap_or_default();
            let share = (u128::from(counted) * u128::from(suspect)) << 16;
            let expected = share / (u128::from(reference) + 1);
            (seen.saturating_mul(1 << 16), u64::try_from(expected).unwrap_or(u64::MAX))
        })
    }

    /// From expected counts in units of 2^-16 ([`LayerDetector::add_preferences`]): those of the suspect's next-token probabilities,
    /// or of its choices as certain ones, and those of the reference's probabilities along the same texts.
    ///
    /// # Errors
    /// As [`Self::of_answers`].
    pub fn of_probabilities(suspect: &Tally, reference: &Tally) -> Result<Self> {
        Self::new(suspect, reference, |_, seen, expected| (seen, expected))
    }

    /// `residual` gives seen and expected counts in units of 2^-16 from those of both tallies.
    fn new(suspect: &Tally, reference: &Tally, residual: impl Fn(&Pair, u64, u64) -> (u64, u64)) -> Result<Self> {
        suspect.rule().check(reference.rule())?;
        let only_expected = reference.pairs().filter(|(pair, _)| suspect.count(pair) == 0).map(|(pair, _)| (pair, 0));
        let mut weights: Vec<(Pair, i64)> = suspect
            .pairs()
            .chain(only_expected)
            .map(|(pair, seen)| {
                let (seen, expected) = residual(pair, seen, reference.count(pair));
                (*pair, weight_residual(seen, expected))
            })
            .filter(|&(_, weight)| weight != 0)
            .collect();
        weights.sort_unstable();
        Ok(Self { weights, rule: suspect.rule() })
    }

    /// Tests the samples under the key of `layer`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an engine's mark, a scheme whose pair is not one bit, or another context rule.
    pub fn test(&self, layer: &LayerDetector) -> Result<TwoSampleFinding> {
        // Pairs of an engine's mark can share a draw, and would pass for independent ones here.
        let (NullLaw::Bits { gamma, trials: 1 }, Some(_)) = (layer.scheme().null_law(), layer.scheme().own()) else {
            let message = format!("{} has no test beside a reference; a green list of ours has", layer.scheme().name());
            return Err(Error::new(ErrorKind::InvalidParameter, message));
        };
        self.rule.check(layer.rule())?;
        let pairs: Vec<Pair> = self.weights.iter().map(|&(pair, _)| pair).collect();
        let mut classes: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        for (&(_, weight), score) in self.weights.iter().zip(layer.pair_scores(&pairs)?) {
            let class = classes.entry(weight).or_default();
            *class = (class.0 + 1, class.1 + score);
        }
        let sum =
            |of: fn((u64, u64)) -> u64| classes.iter().map(|(&w, &class)| i128::from(w) * i128::from(of(class))).sum();
        let signed: Vec<SignedClass> =
            classes.iter().map(|(&weight, &(pairs, green))| SignedClass { weight, pairs, green }).collect();
        Ok(TwoSampleFinding {
            n_pairs: self.weights.len() as u64,
            statistic: sum(|(_, green)| green),
            weight: sum(|(pairs, _)| pairs),
            log10_p: log10_signed_green_bound(&signed, gamma),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

    use super::*;
    use crate::key::fresh_keys;
    use crate::model_test::{ModelSample, Round};
    use crate::scheme::{Greenlist, Gumbel, Scheme};

    const WORDS: u32 = 300;

    fn layer(key: &[u8]) -> LayerDetector {
        let scheme = Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap());
        LayerDetector::from_prf_key(scheme, 1, &fresh_keys(key, 1).next().unwrap()).unwrap()
    }

    /// A language in which a token is followed by few others, frequent ones mostly, and a model of it that takes green ones `eps` nats
    /// more readily. Both models of a test share the language and not its draws.
    fn answers(layer: &LayerDetector, eps: f64, seed: u64, n: usize) -> Vec<Vec<u32>> {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut uniform = move || f64::from(random.next_u32()) / 4_294_967_296.0;
        let next = |context: u32| -> Vec<(u32, f64)> {
            let mut language = ChaCha20Rng::seed_from_u64(u64::from(context));
            (0..12).map(|rank| (language.next_u32() % WORDS, 1.0 / f64::from(rank + 1))).collect()
        };
        let table: Vec<Vec<(u32, f64)>> = (0..WORDS)
            .map(|context| {
                let tilted = next(context).into_iter().map(|(token, mass)| {
                    let mut pair = layer.tally();
                    layer.add(&mut pair, &[], &[context, token]).unwrap();
                    let green = layer.finding(&pair).unwrap().statistic;
                    (token, mass * libm::exp(eps * green as f64))
                });
                tilted.collect()
            })
            .collect();
        let mut choose = |options: &[(u32, f64)]| {
            let mut left = uniform() * options.iter().map(|(_, mass)| mass).sum::<f64>();
            options
                .iter()
                .find(|(_, mass)| {
                    left -= mass;
                    left < 0.0
                })
                .map_or(0, |(token, _)| *token)
        };
        (0..n)
            .map(|_| {
                let mut text = vec![choose(&table[0])];
                (1..60).for_each(|at| text.push(choose(&table[text[at - 1] as usize])));
                text
            })
            .collect()
    }

    fn tally(layer: &LayerDetector, answers: &[Vec<u32>]) -> Tally {
        let mut tally = layer.tally();
        answers.iter().for_each(|answer| layer.add(&mut tally, &[], answer).unwrap());
        tally
    }

    /// 2,000 fresh keys on a suspect that leans towards another key: the bound's distribution never exceeds the uniform (one-sided
    /// DKW at 1e-4: .048), and that of its mirror, the reference tested beside the suspect, neither.
    #[test]
    fn other_keys_find_nothing() {
        let layer = layer(b"the mark");
        let (suspect, reference) = (answers(&layer, 0.5, 1, 300), answers(&layer, 0.0, 2, 300));
        let (suspect, reference) = (tally(&layer, &suspect), tally(&layer, &reference));
        for samples in [TwoSamples::of_answers(&suspect, &reference), TwoSamples::of_answers(&reference, &suspect)] {
            let samples = samples.unwrap();
            let tested = fresh_keys(b"others", 2000).map(|key| {
                let finding = samples.test(&layer.with_prf_key(&key).unwrap()).unwrap();
                libm::pow(10.0, finding.log10_p)
            });
            let mut p: Vec<f64> = tested.collect();
            p.sort_by(f64::total_cmp);
            let excess = p.iter().zip(1..).map(|(p, at)| f64::from(at) / 2000.0 - p).fold(0.0, f64::max);
            assert!(excess < 0.048, "{excess}");
        }
    }

    /// At a weak lean, counts saturate and residuals go on; a marked reference takes evidence away and adds none. Seeds 3 to 12.
    #[test]
    fn residuals_see_what_counts_do_not() {
        let layer = layer(b"the mark");
        let weak = answers(&layer, 0.15, 3, 2000);
        let unmarked = tally(&layer, &answers(&layer, 0.0, 4, 2000));
        let beside = |suspect: &Tally, reference: &Tally| {
            TwoSamples::of_answers(suspect, reference).unwrap().test(&layer).unwrap().log10_p
        };
        let suspect = tally(&layer, &weak);
        let mut counts = ModelSample::of_answers(&layer);
        let round = Round { prompts: vec![], answers: weak.iter().map(Vec::as_slice).collect(), choices: vec![] };
        counts.add_round(&layer, &round).unwrap();
        let (residuals, counts) = (beside(&suspect, &unmarked), counts.test(&layer).unwrap().log10_p);
        let innocent = tally(&layer, &answers(&layer, 0.0, 5, 2000));
        let marked = beside(&innocent, &suspect);
        println!(
            "log10 p: residuals {residuals:.1}, counts {counts:.1}; innocent beside a marked reference {marked:.2}"
        );
        assert!(residuals < -20.0 && residuals < 3.0 * counts, "{residuals} {counts}");
        assert!(marked > -1.0, "{marked}");
    }

    #[test]
    fn expected_counts_of_probabilities() {
        let layer = layer(b"the mark");
        let tokens = [1, 2, 3, 1, 2, 4];
        let certain: Vec<Vec<crate::detect::Choice>> =
            tokens.iter().map(|&token| vec![crate::detect::Choice::certain(token)]).collect();
        let (mut seen, none) = (layer.tally(), layer.pair_set());
        layer.add_preferences(&mut seen, &none, &tokens, &certain).unwrap();
        let same = TwoSamples::of_probabilities(&seen, &seen).unwrap().test(&layer).unwrap();
        assert_eq!((same.n_pairs, same.statistic, same.weight), (0, 0, 0));
        assert!(same.log10_p.abs() < 1e-300);
        let alone = TwoSamples::of_probabilities(&seen, &layer.tally()).unwrap().test(&layer).unwrap();
        // (1, 2) twice, (2, 3), (3, 1) and (2, 4) once: 2 / sqrt 3 and 1 / sqrt 2 in units of 2^-16.
        assert_eq!((alone.n_pairs, alone.weight), (4, 75_264 + 3 * 46_336));
        let gumbel =
            LayerDetector::from_prf_key(Scheme::Gumbel(Gumbel), 1, &fresh_keys(b"g", 1).next().unwrap()).unwrap();
        assert!(TwoSamples::of_probabilities(&seen, &seen).unwrap().test(&gumbel).is_err());
        // SBW's green words have a law of one bit each too, and are another engine's.
        let engine = crate::engine::Engine::new("sbw-simple", &crate::engine::EngineOptions::default()).unwrap();
        let engine = LayerDetector::from_prf_key(engine, 1, &fresh_keys(b"e", 1).next().unwrap()).unwrap();
        assert!(TwoSamples::of_answers(&engine.tally(), &engine.tally()).unwrap().test(&engine).is_err());
        let wide = LayerDetector::from_prf_key(
            Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap()),
            2,
            &fresh_keys(b"w", 1).next().unwrap(),
        );
        assert!(TwoSamples::of_answers(&seen, &wide.as_ref().unwrap().tally()).is_err());
        assert!(TwoSamples::of_probabilities(&seen, &seen).unwrap().test(&wide.unwrap()).is_err());
    }
}
