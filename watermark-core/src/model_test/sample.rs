use super::audit::{Audit, LeftOut};
use super::tails::{ScoreClass, Tails, classes};
use crate::Result;
use crate::detect::{Choice, LayerDetector, Pair, PairSet, PairWeights, ShownContexts, Tally, Weights};

/// What a suspect model showed of its preferences, in rounds.
///
/// A pair that occurs in a prompt of its round or of an earlier one is excluded: prompts may carry the mark, and a
/// model repeats them. Every other pair is scored once, with the weight of the round that showed it first: that weight
/// is fixed before the score is seen. So the e-value stays a fair bet after every round, whatever was decided between
/// the rounds. Weighing old pairs again as their counts grow would not be fair. A fixed sample is one round.
///
/// The sample depends on text and probabilities alone, so one sample can be tested under the true key and under fresh keys.
///
/// # Example
///
/// The e-value may be looked at after every round, and the collection may stop as soon as it suffices.
///
/// ```
/// use watermark_core::detect::LayerDetector;
/// use watermark_core::model_test::{ModelSample, Round, e_process_decides};
/// use watermark_core::key::{KeyPath, NodeKey};
/// use watermark_core::mark::{Marker, SessionOptions};
/// use watermark_core::profile::{Layer, Profile, TokenizerInfo};
/// use watermark_core::scheme::{Greenlist, Scheme};
///
/// let scheme = Scheme::Greenlist(Greenlist::new(0.5, 1.0)?);
/// let profile = Profile {
///     name: "chat".to_owned(),
///     path: KeyPath::root(),
///     tokenizer: TokenizerInfo { sha256: [0; 32], vocab_size: 200, special_token_ids: vec![] },
///     layers: vec![Layer { name: "distillation".to_owned(), scheme: scheme.into(), width: 1, per_account: false }],
///     ..Profile::default()
/// };
/// let key = NodeKey::root(b"32 bytes from the system's randomness in real use");
/// let prf_key = profile.prf_key(&profile.layers[0], &key, None)?;
/// let layer = LayerDetector::from_prf_key(scheme, 1, &prf_key)?;
/// let marker = Marker::new(profile, &key)?;
///
/// // In place of a model: one that prefers green tokens as a student of marked text does, or one that does not.
/// let rounds_until_decided = |inherited: bool| {
///     let mut sample = ModelSample::of_answers(&layer);
///     for round in 1..=10 {
///         let options = SessionOptions { marked: inherited, seed: round, ..SessionOptions::default() };
///         let mut session = marker.session(&options)?;
///         for _ in 0..200 {
///             let token = session.sample(&[0.0_f32; 200])?;
///             session.accept(token)?;
///         }
///         let (prompts, answers) = (vec![&[1, 2, 3][..]], vec![session.generated()]);
///         sample.add_round(&layer, &Round { prompts, answers, choices: vec![] })?;
///         if e_process_decides(sample.test(&layer)?.ln_e, 1e-6) {
///             return Ok(Some(round));
///         }
///     }
///     Ok::<_, watermark_core::Error>(None)
/// };
/// assert!(rounds_until_decided(true)?.is_some_and(|rounds| rounds < 10));
/// assert_eq!(rounds_until_decided(false)?, None);
/// # Ok::<(), watermark_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ModelSample {
    tally: Tally,
    prompts: PairSet,
    /// Pairs of answers that prompts keep from being scored.
    left_out: Tally,
    /// What texts that the model read have shown.
    shown: ShownContexts,
    weights: Weights,
    /// Occurrences of pairs that an earlier round had shown.
    spent: u64,
    /// Pairs of answers in order of first occurrence.
    order: Vec<Pair>,
}

/// One round of answers of a suspect model.
#[derive(Clone, Debug, Default)]
pub struct Round<'a> {
    /// The prompts of the round.
    pub prompts: Vec<&'a [u32]>,
    /// Generated tokens, one slice an answer.
    pub answers: Vec<&'a [u32]>,
    /// With next-token probabilities: for each answer a row of choices per token. Empty for answers only.
    pub choices: Vec<&'a [Vec<Choice>]>,
}

/// The test of one sample under one key.
///
/// Null hypothesis: answers and probabilities are independent of the key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelFinding {
    /// Distinct pairs that the statistic weighs: all that the suspect chose, or beside references all whose residual is not 0.
    pub n_scored: u64,
    /// Distinct pairs that the suspect chose, of which `score` and `log10_p_distinct` are.
    pub n_chosen: u64,
    /// Further occurrences of chosen pairs; 0 for probabilities.
    pub n_duplicate: u64,
    /// Special tokens, pairs in a prompt, what an answer repeats of itself, and in reading mode contexts that an earlier text or the input had
    /// shown.
    pub n_excluded: u64,
    /// Positions without a full context.
    pub n_short_context: u64,
    /// Unweighted sum of scores of the chosen pairs: green ones, or units of 2^-32.
    pub score: u128,
    /// Sum of weight times score; weights in units of 2^-16, without weights 1.
    pub statistic: i128,
    /// Sum of the weights: under the null `statistic` has the mean `gamma` (bits) or 2^32 (exponential scores) times this.
    pub weight: i128,
    /// log10 of a rigorous (Chernoff) upper bound of P(statistic at least this large) for a sample fixed in advance; without
    /// weights, of the exact tail.
    pub log10_p: f64,
    /// log10 of the exact tail of `score`, every pair of weight 1, for comparison.
    pub log10_p_distinct: f64,
    /// Natural logarithm of the anytime-valid e-value after the last round.
    pub ln_e: f64,
    /// Whether what the prompts leave out leans away from the key.
    pub audit: Audit,
}

impl ModelFinding {
    /// The weighted mean score: `gamma` (bits) or 2^32 (exponential scores) under the null. 0 if nothing was scored. Of a sample without
    /// references; residuals of both signs have no mean to compare.
    #[must_use]
    pub fn weighted_mean(&self) -> f64 {
        if self.weight == 0 { 0.0 } else { self.statistic as f64 / self.weight as f64 }
    }
}

impl ModelSample {
    /// A sample with nothing counted yet, for answers only. A pair's weight is the square root of its count in its
    /// round.
    #[must_use]
    pub fn of_answers(layer: &LayerDetector) -> Self {
        Self::new(layer, Weights::Sqrt)
    }

    /// A sample with nothing counted yet, for answers only. Every pair counts once, however often it occurs, and the
    /// exact tail decides.
    #[must_use]
    pub fn of_distinct_answers(layer: &LayerDetector) -> Self {
        Self::new(layer, Weights::None)
    }

    /// A sample with nothing counted yet, for next-token probabilities. A pair's weight is the square root of its
    /// expected count in its round.
    #[must_use]
    pub fn of_probabilities(layer: &LayerDetector) -> Self {
        Self::new(layer, Weights::Expected)
    }

    fn new(layer: &LayerDetector, weights: Weights) -> Self {
        let (tally, prompts, left_out) = (layer.tally(), layer.pair_set(), layer.tally());
        Self { tally, prompts, left_out, shown: layer.shown_contexts(), weights, spent: 0, order: Vec::new() }
    }

    /// Adds a round of answers. After an error nothing of the round counts except its prompts. Only the context rule
    /// and the special tokens of `layer` matter, not its key.
    ///
    /// # Errors
    /// [`crate::ErrorKind::TokenOutOfRange`]; as [`LayerDetector::add_preferences`] with probabilities.
    pub fn add_round(&mut self, layer: &LayerDetector, round: &Round<'_>) -> Result<()> {
        for prompt in &round.prompts {
            layer.add_prompt(&mut self.prompts, prompt)?;
        }
        let (mut tally, mut left_out) = (layer.tally(), layer.tally());
        if self.weights == Weights::Expected {
            for (answer, choices) in round.answers.iter().zip(&round.choices) {
                layer.add_preferences(&mut tally, &self.prompts, answer, choices)?;
                layer.add_left_out_preferences(&mut left_out, &self.prompts, answer, choices)?;
            }
        } else {
            let mut fresh = Vec::new();
            for answer in &round.answers {
                layer.add_answer(&mut tally, &self.prompts, answer, |_, pair| {
                    if self.tally.count(&pair) == 0 {
                        fresh.push(pair);
                    }
                })?;
                layer.add_left_out(&mut left_out, &self.prompts, answer)?;
            }
            self.order.append(&mut fresh);
        }
        self.left_out.add_round(left_out)?;
        self.close(tally)
    }

    /// Adds what a model chooses while it reads `text` of ours after `prompt`: a round of reading mode. `choices` [tokens of
    /// `text`] are its next-token probabilities at each position, as for [`LayerDetector::add_preferences`].
    ///
    /// A position counts only if neither an earlier text or its prompt, nor this one so far, has shown its context. The token
    /// that followed there tells a reader something about the key, and what the reader has made of it since would pass for
    /// training. So texts must be added in the order in which the model read them, all of them. The draws of a context that
    /// nothing has shown yet are independent of everything before: the e-value is a fair bet at every position, whatever the
    /// model makes of what it reads. A context counts once in a sample, so its size is bounded by their number.
    ///
    /// After an error nothing of the text counts or has been shown.
    ///
    /// # Errors
    /// As [`LayerDetector::add_preferences`].
    pub fn add_reading(
        &mut self,
        layer: &LayerDetector,
        prompt: &[u32],
        text: &[u32],
        choices: &[Vec<Choice>],
    ) -> Result<()> {
        let mut tally = layer.tally();
        layer.add_reading(&mut tally, &mut self.shown, prompt, text, choices)?;
        self.close(tally)
    }

    fn close(&mut self, round: Tally) -> Result<()> {
        let spent = self.tally.add_round(round)?;
        self.spent = self.spent.saturating_add(spent);
        Ok(())
    }

    /// The pairs that are scored, each with its (expected) count in the round that showed it first.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How pairs are weighted.
    #[must_use]
    pub fn weights(&self) -> Weights {
        self.weights
    }

    /// How many of the pairs that are scored have each weight.
    #[must_use]
    pub fn pair_weights(&self) -> PairWeights {
        PairWeights::new(self.weights, self.tally.pairs().map(|(_, count)| (count, 1)))
    }

    /// Tests the sample under the key of `layer`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidParameter`] for a scheme whose pair is neither one bit nor one exponential score, or another
    /// context rule.
    pub fn test(&self, layer: &LayerDetector) -> Result<ModelFinding> {
        let tails = Tails::from_scores(layer, &layer.scores(&self.tally)?, self.weights)?;
        let counted = self.weights != Weights::Expected;
        Ok(ModelFinding {
            n_scored: self.tally.n_scored(),
            n_chosen: self.tally.n_scored(),
            n_duplicate: if counted { self.tally.n_duplicate().saturating_add(self.spent) } else { 0 },
            n_excluded: self.tally.n_excluded(),
            n_short_context: self.tally.n_short_context(),
            score: tails.score,
            statistic: i128::try_from(tails.statistic).unwrap_or(i128::MAX),
            weight: i128::try_from(tails.weight).unwrap_or(i128::MAX),
            log10_p: tails.log10_p,
            log10_p_distinct: tails.log10_p_distinct,
            ln_e: tails.ln_e,
            audit: self.left_out(layer)?.audit(layer.scheme(), self.weights)?,
        })
    }

    /// Adds this sample's excluded pairs to `prompts`.
    pub(super) fn add_prompts_to(&self, prompts: &mut PairSet) -> Result<()> {
        prompts.merge(&self.prompts)
    }

    /// Leaves the pairs of `prompts` out, as if its own prompts had held them: what that takes away is audited too.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidParameter`] for pairs of another context rule.
    pub(super) fn exclude(&mut self, prompts: &PairSet) -> Result<()> {
        let left_out = &mut self.left_out;
        self.tally.take(prompts, |pair, count| left_out.add_pair(pair, count))?;
        self.prompts.merge(prompts)
    }

    /// The pairs that prompts keep from being scored, with what their scores would be.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn left_out(&self, layer: &LayerDetector) -> Result<LeftOut> {
        let of = |tally: &Tally| Ok::<_, crate::Error>(classes(&layer.scores(tally)?));
        Ok(LeftOut { answers: of(&self.left_out)?, prompts: of(&self.prompts.to_tally())? })
    }

    /// The scored pairs by how often they occurred, rising; [`Tails::of_classes`] gives the test's numbers from them.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn classes(&self, layer: &LayerDetector) -> Result<Vec<ScoreClass>> {
        Ok(classes(&layer.scores(&self.tally)?))
    }

    /// The e-value of answers as distinct pairs arrive, each of weight 1: (pairs so far, ln e) at about `points` places, the
    /// last one included. Anytime-valid too, and usually weaker than [`ModelFinding::ln_e`].
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn evidence_curve(&self, layer: &LayerDetector, points: usize) -> Result<Vec<(u64, f64)>> {
        let scores = layer.pair_scores(&self.order)?;
        let step = scores.len().div_ceil(points.max(1)).max(1);
        let mut curve = vec![(0, 0.0)];
        let mut sum = 0;
        for (n, &score) in (1u64..).zip(&scores) {
            sum += u128::from(score);
            if n % step as u64 == 0 || n == scores.len() as u64 {
                curve.push((n, layer.unweighted_ln_e(sum, n)?));
            }
        }
        Ok(curve)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::key::fresh_keys;
    use crate::scheme::{Greenlist, Scheme};

    fn layer() -> LayerDetector {
        let scheme = Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap());
        LayerDetector::from_prf_key(scheme, 1, &fresh_keys(b"sample", 1).next().unwrap()).unwrap()
    }

    fn round<'a>(prompt: &'a [u32], answer: &'a [u32]) -> Round<'a> {
        Round { prompts: vec![prompt], answers: vec![answer], choices: Vec::new() }
    }

    #[test]
    fn a_pair_keeps_the_count_of_its_first_round() {
        let layer = layer();
        let mut sample = ModelSample::of_answers(&layer);
        sample.add_round(&layer, &round(&[8, 9], &[1, 2, 1, 2, 3])).unwrap();
        sample.add_round(&layer, &round(&[3, 4], &[1, 2, 1, 2, 1, 2, 3, 4, 5, 8, 9])).unwrap();
        let mut counts: Vec<(u32, u32, u64)> =
            sample.tally().pairs().map(|(pair, count)| (pair.context(1)[0], pair.token(), count)).collect();
        counts.sort_unstable();
        // (3, 4) is in the second prompt, (8, 9) in the first; both rounds know them
        assert_eq!(counts, [(1, 2, 2), (2, 1, 1), (2, 3, 1), (4, 5, 1), (5, 8, 1)]);
        let finding = sample.test(&layer).unwrap();
        assert_eq!((finding.n_scored, finding.n_duplicate, finding.n_excluded, finding.n_short_context), (5, 7, 2, 2));
        assert_eq!(sample.evidence_curve(&layer, 100).unwrap().len(), 6);
        // (3, 4) and (8, 9) occur once each, and the prompts have no other pairs.
        let left_out = sample.left_out(&layer).unwrap();
        let pairs = |classes: &[ScoreClass]| classes.iter().map(|c| (c.count, c.pairs)).collect::<Vec<_>>();
        assert_eq!((pairs(&left_out.answers), pairs(&left_out.prompts)), (vec![(1, 2)], vec![(1, 2)]));
    }

    /// Whoever is told the classes finds the same numbers without a key; without weights they are the exact tail's.
    #[test]
    fn classes_are_enough() {
        let layer = layer();
        let tokens: Vec<u32> = (0..4000_u32).map(|i| i * i % 61 % 17).collect();
        for mut sample in [ModelSample::of_answers(&layer), ModelSample::of_distinct_answers(&layer)] {
            sample.add_round(&layer, &round(&[1, 2], &tokens)).unwrap();
            let (finding, classes) = (sample.test(&layer).unwrap(), sample.classes(&layer).unwrap());
            let tails = Tails::of_classes(layer.scheme(), &classes, sample.weights()).unwrap();
            assert_eq!(classes.iter().map(|class| class.pairs).sum::<u64>(), finding.n_scored);
            assert_eq!(
                [tails.score, tails.statistic, tails.weight].map(|sum| sum as i128),
                [finding.score as i128, finding.statistic, finding.weight]
            );
            let bits = |numbers: [f64; 3]| numbers.map(f64::to_bits);
            assert_eq!(
                bits([tails.log10_p, tails.log10_p_distinct, tails.ln_e]),
                bits([finding.log10_p, finding.log10_p_distinct, finding.ln_e])
            );
            let plain = sample.weights() == Weights::None;
            assert_eq!(tails.statistic == tails.score, plain);
            assert_eq!(tails.log10_p.to_bits() == tails.log10_p_distinct.to_bits(), plain);
            let reversed: Vec<ScoreClass> = classes.iter().rev().copied().collect();
            assert!(Tails::of_classes(layer.scheme(), &reversed, sample.weights()).is_err());
            let green = ScoreClass { count: 1, pairs: 2, score: 3 };
            assert!(Tails::of_classes(layer.scheme(), &[green], sample.weights()).is_err());
        }
    }
}
