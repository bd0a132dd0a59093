use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::mixture::{Counts, MIXTURE_PARTS, mixed, shares};
use super::residuals::{ResidualTails, law_of, log10_p};
use super::{ModelFinding, ModelSample};
use crate::detect::{LayerDetector, Pair, Weights};
use crate::stats::{SignedClass, weight_residual};
use crate::{Error, ErrorKind, Result};

/// References that can stand beside a suspect.
pub const MAX_REFERENCES: usize = 16;

/// What a suspect chose beyond what unmarked references expect of it.
///
/// A pair's weight is its residual, observed minus expected count, shrunk where much was expected ([`weight_residual`]), so pairs that were
/// expected and did not come count too, with a negative weight. Where a model leans by `e^(eps b)` towards green pairs, the residuals are what
/// its log-likelihood ratio weighs pairs with, to first order in eps (Neyman and Pearson 1933); weights that only count see most of what all
/// models prefer. The evidence goes on growing where that of counts
/// ends with the number of distinct pairs, until what a suspect prefers for other reasons outweighs what further text shows.
///
/// Null hypothesis: suspect and references are independent of the key. The weights follow from their texts alone, so bound and e-value hold
/// for any reference that has seen neither key nor marked text. One that learned marked text hides part of what there is, because it expects
/// what the mark prefers; one that was chosen to lean the other way would accuse anybody, which is why a reference is bound before the key is and
/// what it expects is tested itself ([`super::Audit`]).
///
/// ```
/// use watermark_core::detect::LayerDetector;
/// use watermark_core::key::fresh_keys;
/// use watermark_core::model_test::{ModelSample, Round};
/// use watermark_core::scheme::{Greenlist, Scheme};
///
/// let key = fresh_keys(b"an example", 1).next().expect("one key");
/// let layer = LayerDetector::from_prf_key(Scheme::Greenlist(Greenlist::new(0.5, 2.0)?), 1, &key)?;
/// let answers = |answer: &[u32]| {
///     let mut sample = ModelSample::of_answers(&layer);
///     sample.add_round(&layer, &Round { prompts: vec![&[7, 8]], answers: vec![answer], choices: vec![] })?;
///     Ok::<_, watermark_core::Error>(sample)
/// };
/// let (suspect, reference) = (answers(&[1, 2, 3, 1, 2, 4, 1, 2])?, answers(&[1, 2, 3, 1, 5, 3, 1, 2])?);
/// let finding = suspect.beside(&[reference])?.test(&layer)?;
/// assert!(finding.n_scored <= 6 && finding.log10_p <= 0.0);
/// # Ok::<(), watermark_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TwoSamples {
    suspect: ModelSample,
    /// What the mixture expects in the suspect's contexts, with the weights that pairs would have if the suspect had chosen none of them; then,
    /// where several references have a share, the same of each of these.
    expected: Vec<Vec<(Pair, i64)>>,
    /// Pairs in their order, with their weights, none of them 0.
    weights: Vec<(Pair, i64)>,
    mixture: Vec<u32>,
}

impl ModelSample {
    /// This suspect beside `references`, unmarked models: each a sample of answers to the same prompts, or of probabilities along the
    /// suspect's own texts. What the suspect is expected to choose after a context is
    ///
    /// - beside answers, what the reference chose there, as often as the suspect came to that context. One choice more than the reference made
    ///   is left for what it did not show;
    /// - beside probabilities, their sum over the positions of that context.
    ///
    /// Several references are mixed so that they fit the suspect best, by least squares with shares that are sixteenths and sum to one. What the
    /// suspect read has one reference only: shares that follow from all texts would let later ones decide about earlier ones.
    /// Pairs in prompts of any sample count in none, and are audited as left out by the suspect's. A sample of several rounds has the counts of the
    /// round that showed a pair first; give all answers as one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for no reference, more than sixteen of them, or samples of two context rules.
    pub fn beside(self, references: &[Self]) -> Result<TwoSamples> {
        self.beside_mixture(references, None)
    }

    /// As [`Self::beside`], with shares of the references that are given. A control stands beside the mixture that fits the suspect
    /// ([`TwoSamples::mixture`]): in one of its own, a reference that accuses would have no share, and the control could not show it.
    ///
    /// # Errors
    /// As [`Self::beside`]; [`ErrorKind::InvalidParameter`] for shares that are not one of each reference, which sum to 16.
    pub fn beside_mixture(mut self, references: &[Self], mixture: Option<&[u32]>) -> Result<TwoSamples> {
        let sum = |shares: &[u32]| shares.iter().map(|&share| u64::from(share)).sum::<u64>();
        if mixture.is_some_and(|shares| shares.len() != references.len() || sum(shares) != u64::from(MIXTURE_PARTS)) {
            let message = "the shares of a mixture are one of each reference, and sum to 16";
            return Err(Error::new(ErrorKind::InvalidParameter, message));
        }
        if references.is_empty() || references.len() > MAX_REFERENCES {
            let message =
                format!("{} references; between 1 and {MAX_REFERENCES} can stand beside a suspect", references.len());
            return Err(Error::new(ErrorKind::InvalidParameter, message));
        }
        let mut prompts = self.tally().no_pairs();
        self.add_prompts_to(&mut prompts)?;
        references.iter().try_for_each(|reference| reference.add_prompts_to(&mut prompts))?;
        self.exclude(&prompts)?;
        let mut references = references.to_vec();
        references.iter_mut().try_for_each(|reference| reference.exclude(&prompts))?;
        let seen = self.seen();
        let contexts = sums_by_context(&seen);
        let each: Vec<Counts> = references.iter().map(|reference| reference.expected(&contexts)).collect();
        let mixture = mixture.map_or_else(|| shares(&seen, &each), <[u32]>::to_vec);
        let expected = mixed(&each, &mixture);
        let absent = expected.keys().filter(|pair| !seen.contains_key(*pair)).map(|pair| (pair, 0));
        let mut weights: Vec<(Pair, i64)> = seen
            .iter()
            .map(|(pair, &seen)| (pair, seen))
            .chain(absent)
            .map(|(pair, seen)| (*pair, weight_residual(seen, expected.get(pair).copied().unwrap_or(0))))
            .filter(|&(_, weight)| weight != 0)
            .collect();
        weights.sort_unstable();
        let shared = each.iter().zip(&mixture).filter(|&(_, share)| *share > 0).map(|(one, _)| one);
        let several = if shared.clone().count() > 1 { shared.collect() } else { Vec::new() };
        let expected = std::iter::once(&expected).chain(several).map(unseen).collect();
        Ok(TwoSamples { suspect: self, expected, weights, mixture })
    }

    /// How often each pair was chosen, in units of 2^-16.
    fn seen(&self) -> Counts {
        let unit = |count: u64| if self.weights() == Weights::Expected { count } else { count.saturating_mul(1 << 16) };
        self.tally().pairs().map(|(pair, count)| (*pair, unit(count))).collect()
    }

    /// How often a suspect that came to `contexts` so often is expected to choose each pair, in units of 2^-16.
    fn expected(&self, contexts: &Counts) -> Counts {
        if self.weights() == Weights::Expected {
            return self.seen();
        }
        let mut chosen: HashMap<Pair, u64> = HashMap::new();
        for (pair, count) in self.tally().pairs() {
            *chosen.entry(pair.without_token()).or_default() += count;
        }
        let expected = self.tally().pairs().filter_map(|(pair, count)| {
            let context = pair.without_token();
            let suspect = *contexts.get(&context)?;
            let share = u128::from(count) * u128::from(suspect) / u128::from(chosen[&context] + 1);
            Some((*pair, u64::try_from(share).unwrap_or(u64::MAX)))
        });
        expected.collect()
    }
}

/// The weights of pairs that were expected and never seen.
fn unseen(expected: &Counts) -> Vec<(Pair, i64)> {
    let weights = expected.iter().map(|(pair, &count)| (*pair, weight_residual(0, count)));
    let mut weights: Vec<(Pair, i64)> = weights.filter(|(_, weight)| *weight != 0).collect();
    weights.sort_unstable();
    weights
}

fn sums_by_context(seen: &Counts) -> Counts {
    let mut sums = Counts::new();
    for (pair, &count) in seen {
        let sum = sums.entry(pair.without_token()).or_default();
        *sum = sum.saturating_add(count);
    }
    sums
}

impl TwoSamples {
    /// Tests the samples under the key of `layer`: what the suspect's sample is by itself, with pairs, statistic, tail and e-value by
    /// residual weights, and the audit of the references.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an engine's mark, a scheme whose pair is neither one bit nor one exponential score, or another
    /// context rule.
    pub fn test(&self, layer: &LayerDetector) -> Result<ModelFinding> {
        let law = law_of(layer.scheme())?;
        let plain = self.suspect.test(layer)?;
        let expected: Vec<f64> = self.expected_classes(layer)?.iter().map(|classes| log10_p(law, classes)).collect();
        let audit = plain.audit.beside(&expected);
        let ResidualTails { statistic, weight, log10_p, ln_e } =
            ResidualTails::of_classes(layer.scheme(), &self.classes(layer)?)?;
        Ok(ModelFinding { n_scored: self.n_pairs(), statistic, weight, log10_p, ln_e, audit, ..plain })
    }

    /// The scored pairs by weight, rising.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn classes(&self, layer: &LayerDetector) -> Result<Vec<SignedClass>> {
        self.signed(layer, &self.weights)
    }

    /// Weighted pairs with their scores, by weight, rising.
    fn signed(&self, layer: &LayerDetector, weights: &[(Pair, i64)]) -> Result<Vec<SignedClass>> {
        law_of(layer.scheme())?;
        self.suspect.tally().rule().check(layer.rule())?;
        let pairs: Vec<Pair> = weights.iter().map(|&(pair, _)| pair).collect();
        let mut classes: BTreeMap<i64, (u64, u128)> = BTreeMap::new();
        for (&(_, weight), score) in weights.iter().zip(layer.pair_scores(&pairs)?) {
            let class = classes.entry(weight).or_default();
            *class = (class.0 + 1, class.1 + u128::from(score));
        }
        Ok(classes.into_iter().map(|(weight, (pairs, score))| SignedClass { weight, pairs, score }).collect())
    }

    /// [`ModelFinding::log10_p`] alone, which is what fresh keys are asked for.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn log10_p(&self, layer: &LayerDetector) -> Result<f64> {
        Ok(log10_p(law_of(layer.scheme())?, &self.classes(layer)?))
    }

    /// Sum of weight times score, which is what fresh keys of evidence are compared by.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn statistic(&self, layer: &LayerDetector) -> Result<i128> {
        Ok(self.classes(layer)?.iter().map(|class| i128::from(class.weight) * class.score as i128).sum())
    }

    /// The suspect's sample.
    #[must_use]
    pub fn suspect(&self) -> &ModelSample {
        &self.suspect
    }

    /// What the mixture expects in the suspect's contexts, by the weight that a pair would have if the suspect had chosen none of them, rising:
    /// what the references' audit tests. Where several references have a share, also what each of these expects, because a lean of one with a
    /// small share accuses as well and hides in the mixture. These are the weights of the test itself, so nothing balances a lean that does not
    /// balance it there too; and what a reference chose where the suspect never came has no part in either.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn expected_classes(&self, layer: &LayerDetector) -> Result<Vec<Vec<SignedClass>>> {
        self.expected.iter().map(|expected| self.signed(layer, expected)).collect()
    }

    /// Pairs with a weight.
    #[must_use]
    pub fn n_pairs(&self) -> u64 {
        self.weights.len() as u64
    }

    /// The share of each reference in the mixture, in sixteenths.
    #[must_use]
    pub fn mixture(&self) -> &[u32] {
        &self.mixture
    }

    /// Pairs with their weights as bytes in one canonical order, little-endian: the same samples give the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.weights.len() * 48);
        for (pair, weight) in &self.weights {
            bytes.extend(pair.words().flat_map(|id| id.to_le_bytes()));
            bytes.extend(weight.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

    use super::*;
    use crate::detect::Choice;
    use crate::key::fresh_keys;
    use crate::model_test::Round;
    use crate::profile::AnyScheme;
    use crate::scheme::{Greenlist, Gumbel, Scheme};

    const WORDS: u32 = 300;

    fn layer_of(scheme: impl Into<AnyScheme>, width: usize, key: &[u8]) -> LayerDetector {
        LayerDetector::from_prf_key(scheme, width, &fresh_keys(key, 1).next().unwrap()).unwrap()
    }

    fn green() -> LayerDetector {
        layer_of(Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap()), 1, b"the mark")
    }

    /// A green list and a scheme of exponential scores, each with the unit of a lean: nats for a green pair, and half a nat for a score of 1.
    fn layers() -> [(LayerDetector, f64); 2] {
        let gumbel = layer_of(Scheme::Gumbel(Gumbel), 1, b"the mark");
        [(green(), 1.0), (gumbel, 0.5 / 4_294_967_296.0)]
    }

    /// A language in which a token is followed by few others, frequent ones mostly, and a model of it that takes tokens `eps` nats per unit
    /// of their score more readily. Both models of a test share the language and not its draws.
    fn answers(layer: &LayerDetector, eps: f64, seed: u64, n: usize) -> Vec<Vec<u32>> {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut uniform = move || f64::from(random.next_u32()) / 4_294_967_296.0;
        let table: Vec<Vec<(u32, f64)>> = (0..WORDS)
            .map(|context| {
                let mut language = ChaCha20Rng::seed_from_u64(u64::from(context));
                let tokens: Vec<u32> = (0..12).map(|_| language.next_u32() % WORDS).collect();
                let pairs: Vec<Pair> = tokens.iter().map(|&token| Pair::new(&[context], token)).collect();
                let scores = layer.pair_scores(&pairs).unwrap();
                let tilted = |(rank, score): (u32, u64)| libm::exp(eps * score as f64) / f64::from(rank);
                tokens.into_iter().zip((1..).zip(scores).map(tilted)).collect()
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

    fn sample(layer: &LayerDetector, answers: &[Vec<u32>]) -> ModelSample {
        let mut sample = ModelSample::of_answers(layer);
        let answers = answers.iter().map(Vec::as_slice).collect();
        sample.add_round(layer, &Round { prompts: vec![], answers, choices: vec![] }).unwrap();
        sample
    }

    fn beside(layer: &LayerDetector, suspect: &ModelSample, reference: &ModelSample) -> ModelFinding {
        suspect.clone().beside(std::slice::from_ref(reference)).unwrap().test(layer).unwrap()
    }

    /// 2,000 fresh keys on a suspect that leans towards another key: the bound's distribution never exceeds the uniform (one-sided
    /// DKW at 1e-4: .048), nor that of 1 / e or of the references' audit, and that of the mirror, the reference tested beside the suspect, neither.
    #[test]
    fn other_keys_find_nothing() {
        for (layer, unit) in layers() {
            let suspect = sample(&layer, &answers(&layer, 0.5 * unit, 1, 300));
            let reference = sample(&layer, &answers(&layer, 0.0, 2, 300));
            for (suspect, reference) in [(&suspect, &reference), (&reference, &suspect)] {
                let samples = suspect.clone().beside(std::slice::from_ref(reference)).unwrap();
                let tested = fresh_keys(b"others", 2000).map(|key| {
                    let finding = samples.test(&layer.with_prf_key(&key).unwrap()).unwrap();
                    let [p, audit] = [finding.log10_p, finding.audit.references_log10_p].map(|p| libm::pow(10.0, p));
                    [p, libm::exp(-finding.ln_e).min(1.0), audit]
                });
                let tested: Vec<[f64; 3]> = tested.collect();
                for which in [0, 1, 2] {
                    let mut p: Vec<f64> = tested.iter().map(|all| all[which]).collect();
                    p.sort_by(f64::total_cmp);
                    let excess = p.iter().zip(1..).map(|(p, at)| f64::from(at) / 2000.0 - p).fold(0.0, f64::max);
                    println!("{}, {which}: excess {excess:.4}, smallest {:.2e}", layer.scheme().name(), p[0]);
                    assert!(excess < 0.048, "{excess}");
                }
            }
        }
    }

    /// At a weak lean, counts saturate and residuals go on; a marked reference takes evidence away and adds none; one that leans away is
    /// caught. Seeds 3 to 6.
    #[test]
    fn residuals_see_what_counts_do_not() {
        for (layer, unit) in layers() {
            let suspect = sample(&layer, &answers(&layer, 0.15 * unit, 3, 2000));
            let unmarked = sample(&layer, &answers(&layer, 0.0, 4, 2000));
            let innocent = sample(&layer, &answers(&layer, 0.0, 5, 2000));
            let leaning_away = sample(&layer, &answers(&layer, -0.8 * unit, 6, 2000));
            let counts = suspect.test(&layer).unwrap().log10_p;
            let found = beside(&layer, &suspect, &unmarked);
            let marked = beside(&layer, &innocent, &suspect).log10_p;
            let rigged = beside(&layer, &innocent, &leaning_away);
            println!(
                "{}: log10 p: residuals {:.1}, ln e {:.1}, counts {counts:.1}; innocent beside a marked reference {marked:.2}, beside one \
                 that leans away {:.1}, whose audit is {:.1}",
                layer.scheme().name(),
                found.log10_p,
                found.ln_e,
                rigged.log10_p,
                rigged.audit.references_log10_p
            );
            assert!(found.log10_p < -20.0 && found.log10_p < 3.0 * counts && found.ln_e > 30.0, "{found:?} {counts}");
            assert!(found.audit.references_agree() && marked > -1.0, "{marked}");
            assert!(rigged.log10_p < -6.0 && !rigged.audit.references_agree(), "{rigged:?}");
        }
    }

    /// An accuser with the key writes the suspect's own red pairs into a reference, and as many green ones where the suspect never comes, so that
    /// the whole does not lean away, and hides it behind an honest one. By its small share the mixture hardly leans; the reference itself
    /// does, and a control beside the same mixture shows it.
    #[test]
    fn a_lean_that_hides_in_a_mixture_is_seen() {
        let layer = green();
        let plain = |seed| sample(&layer, &answers(&layer, 0.0, seed, 300));
        let (suspect, control, honest) = (plain(9), plain(10), plain(11));
        let is_green = |pair: Pair| layer.pair_scores(&[pair]).unwrap()[0] == 1;
        let (mut rigged, mut red) = (Vec::new(), 0);
        for (pair, count) in suspect.tally().pairs().filter(|(pair, _)| !is_green(**pair)) {
            (0..count).for_each(|_| rigged.push(vec![pair.context(1)[0], pair.token()]));
            red += count;
        }
        let elsewhere = (WORDS..).filter(|&context| is_green(Pair::new(&[context], 1)));
        rigged.extend(elsewhere.take(red as usize).map(|context| vec![context, 1]));
        let references = [sample(&layer, &rigged), honest];
        let accused = suspect.beside(&references).unwrap();
        let (mixture, accused) = (accused.mixture().to_vec(), accused.test(&layer).unwrap());
        let beside = |mixture: Option<&[u32]>| control.clone().beside_mixture(&references, mixture);
        let [own, same] =
            [None, Some(mixture.as_slice())].map(|mixture| beside(mixture).unwrap().test(&layer).unwrap().log10_p);
        println!(
            "log10 p of the accused {:.1}, of the audit {:.1}; control in the same mixture {same:.1}, in its own {own:.1}; {mixture:?}",
            accused.log10_p, accused.audit.references_log10_p
        );
        assert!(accused.log10_p < -6.0 && !accused.audit.references_agree(), "{accused:?}");
        assert!(same < -6.0 && same < own, "{same} {own}");
        // By itself it has no place to hide.
        let alone = plain(9).beside(&references[..1]).unwrap().test(&layer).unwrap();
        assert!(!alone.audit.references_agree(), "{alone:?}");
        assert!(beside(Some(&[16])).is_err() && beside(Some(&[9, 9])).is_err());
    }

    /// The same reference with dust: as many green tokens as balance the red ones where each counts as much, or by a root, at hardly any mass.
    /// The audit has the weights of the test, so it sees the lean.
    #[test]
    fn dust_does_not_hide_a_lean() {
        let layer = green();
        let texts = answers(&layer, 0.0, 9, 120);
        let suspect = sample(&layer, &texts);
        let is_green = |context: u32, token: u32| layer.pair_scores(&[Pair::new(&[context], token)]).unwrap()[0] == 1;
        // At every position the token that came, if it is red, a little likelier than it was, and 100 green ones of 2^-16.
        let along = |lean: bool| -> ModelSample {
            let row = |context: u32, token: u32| {
                let mut row = vec![(token, if lean && !is_green(context, token) { 0.9 } else { 0.6 })];
                let dust = (WORDS..4 * WORDS).filter(|&other| is_green(context, other)).take(100);
                row.extend(dust.map(|other| (other, 2f64.powi(-16))));
                Choice::from_log_probabilities(row.into_iter().map(|(token, p)| (token, libm::log(p))))
            };
            let choices: Vec<Vec<Vec<Choice>>> = texts
                .iter()
                .map(|text| {
                    let before = std::iter::once(&0).chain(text);
                    before.zip(text).map(|(&context, &token)| row(context, token)).collect()
                })
                .collect();
            let mut sample = ModelSample::of_probabilities(&layer);
            let round = Round {
                prompts: vec![],
                answers: texts.iter().map(Vec::as_slice).collect(),
                choices: choices.iter().map(Vec::as_slice).collect(),
            };
            sample.add_round(&layer, &round).unwrap();
            sample
        };
        let [honest, rigged] =
            [false, true].map(|lean| suspect.clone().beside(&[along(lean)]).unwrap().test(&layer).unwrap());
        println!(
            "log10 p {:.1} and {:.1} with a lean, of the audit {:.1} and {:.1}",
            honest.log10_p, rigged.log10_p, honest.audit.references_log10_p, rigged.audit.references_log10_p
        );
        assert!(rigged.log10_p < -6.0 && !rigged.audit.references_agree(), "{rigged:?}");
        assert!(honest.log10_p > -3.0 && honest.audit.references_agree(), "{honest:?}");
    }

    /// Copies of a reference have no share, and do not lower the level of the audit.
    #[test]
    fn copies_buy_nothing() {
        let layer = green();
        let (suspect, reference) =
            (sample(&layer, &answers(&layer, 0.0, 9, 60)), sample(&layer, &answers(&layer, -0.4, 11, 60)));
        let audit = |n: usize| {
            let found = suspect.clone().beside(&vec![reference.clone(); n]).unwrap().test(&layer).unwrap();
            found.audit.references_log10_p
        };
        assert!(audit(1) < -1.0 && (audit(1) - audit(16)).abs() < 1e-12, "{} {}", audit(1), audit(16));
    }

    /// Two answers of 100,000 tokens that fall into loops, among 600: by counts and by residuals, at most a quarter of the digits is lost.
    #[test]
    fn loops_cost_little() {
        for (layer, unit) in layers() {
            let plain = answers(&layer, 0.5 * unit, 7, 600);
            let reference = sample(&layer, &answers(&layer, 0.0, 8, 600));
            let looping =
                |start: usize| -> Vec<u32> { plain[start][..20].iter().copied().cycle().take(100_000).collect() };
            let diluted: Vec<Vec<u32>> = plain.iter().cloned().chain([looping(0), looping(1)]).collect();
            let [plain, diluted] = [&plain, &diluted].map(|answers| {
                let suspect = sample(&layer, answers);
                [suspect.test(&layer).unwrap().log10_p, beside(&layer, &suspect, &reference).log10_p]
            });
            println!("{}: {plain:.1?} without loops, {diluted:.1?} with them", layer.scheme().name());
            for (plain, diluted) in plain.into_iter().zip(diluted) {
                assert!(plain < -3.0 && diluted < 0.75 * plain, "{plain} {diluted}");
            }
        }
    }

    fn chosen(layer: &LayerDetector, prompt: &[u32], tokens: &[u32]) -> ModelSample {
        let certain: Vec<Vec<Choice>> = tokens.iter().map(|&token| vec![Choice::certain(token)]).collect();
        let mut sample = ModelSample::of_probabilities(layer);
        sample
            .add_round(layer, &Round { prompts: vec![prompt], answers: vec![tokens], choices: vec![&certain] })
            .unwrap();
        sample
    }

    #[test]
    fn residuals_by_hand() {
        let layer = green();
        let seen = chosen(&layer, &[], &[1, 2, 3, 1, 2, 4]);
        let same = beside(&layer, &seen, &seen);
        assert_eq!((same.n_scored, same.statistic, same.weight), (0, 0, 0));
        assert!(same.log10_p.abs() < 1e-300);
        // (1, 2) twice, (2, 3), (3, 1) and (2, 4) once.
        let alone = beside(&layer, &seen, &chosen(&layer, &[], &[]));
        assert_eq!((alone.n_scored, alone.weight), (4, 5 << 16));
        // Pairs in the prompts of either count in neither, and are audited.
        let samples = seen.clone().beside(&[chosen(&layer, &[1, 2], &[])]).unwrap();
        let alone = samples.test(&layer).unwrap();
        assert_eq!((alone.n_scored, alone.n_chosen, alone.weight), (3, 3, 3 << 16));
        let left_out = samples.suspect().left_out(&layer).unwrap();
        assert_eq!((left_out.answers[0].count, left_out.answers[0].pairs, left_out.prompts[0].pairs), (2 << 16, 1, 1));
        // So do those in prompts of another reference.
        let both = [chosen(&layer, &[], &[1, 2, 3]), chosen(&layer, &[1, 2], &[])];
        let samples = seen.beside(&both).unwrap();
        assert!(samples.weights.iter().all(|(pair, _)| *pair != Pair::new(&[1], 2)), "{:?}", samples.weights);
        // After 2, which comes twice, one answer of the reference goes on with 3 and one with 5: a third of each is expected, and of others
        // what is left. 1 goes on with 2 in both: two thirds of twice. 3 went on with 9: half of once.
        let [suspect, reference] =
            [&[1, 2, 3, 1, 2, 4][..], &[1, 2, 3, 9, 1, 2, 5]].map(|answer| sample(&layer, &[answer.to_vec()]));
        let samples = suspect.beside(std::slice::from_ref(&reference)).unwrap();
        let third = (2 << 16) / 3;
        let weights: Vec<i64> = samples.weights.iter().map(|&(_, weight)| weight).collect();
        let one = 1 << 16;
        let expected = [(2 * one, 2 * third), (one, third), (one, 0), (0, third), (one, 0), (0, one / 2)];
        assert_eq!(weights, expected.map(|(seen, expected)| weight_residual(seen, expected)));
        assert_eq!(samples.mixture(), [16]);
        assert_eq!(samples.to_bytes().len() % weights.len(), 0);
    }

    #[test]
    fn what_has_no_such_test() {
        let layer = green();
        let seen = chosen(&layer, &[], &[1, 2, 3]);
        assert!(seen.clone().beside(&[]).is_err());
        let tested = |layer: &LayerDetector| {
            let sample = ModelSample::of_answers(layer);
            sample.clone().beside(&[sample]).unwrap().test(layer)
        };
        assert!(tested(&layer).is_ok());
        // SBW's green words have a law of one bit each too, and are another engine's.
        let engine = crate::engine::Engine::new("sbw-simple", &crate::engine::EngineOptions::default()).unwrap();
        assert!(tested(&layer_of(engine, 1, b"e")).is_err());
        let wide = layer_of(Scheme::Gumbel(Gumbel), 2, b"w");
        assert!(seen.clone().beside(&[chosen(&wide, &[], &[1, 2, 3])]).is_err());
        assert!(seen.clone().beside(&[seen]).unwrap().test(&wide).is_err());
    }
}
