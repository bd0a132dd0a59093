use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::repeats::repeated;
use super::rule::Rule;
use super::{Pair, PairSet, Tally, Weights};
use crate::engine::{Engine, EngineKey, KeyedEngine};
use crate::key::{NodeKey, PrfKey};
use crate::prf::{ChaCha20V1, Context, RuleId};
use crate::profile::{AnyScheme, Profile};
use crate::scheme::{NullLaw, Scheme, SecondWord, Tournament};
use crate::stats;
use crate::{Error, ErrorKind, Result};

/// Every layer of a profile under one key.
///
/// # Example
///
/// ```
/// use watermark_core::detect::{Detector, Resampling, Test, Verdict, Weights, conclude};
/// use watermark_core::key::{KeyPath, NodeKey};
/// use watermark_core::mark::{Marker, SessionOptions};
/// use watermark_core::profile::{Layer, Profile, TokenizerInfo};
/// use watermark_core::scheme::{Greenlist, Gumbel, Scheme};
///
/// let profile = Profile {
///     name: "chat".to_owned(),
///     path: KeyPath::root(),
///     tokenizer: TokenizerInfo { sha256: [0; 32], vocab_size: 100, special_token_ids: vec![] },
///     layers: Layer::defaults(Scheme::Greenlist(Greenlist::new(0.5, 2.0)?), Scheme::Gumbel(Gumbel)),
///     ..Profile::default()
/// };
/// let key = NodeKey::root(b"32 bytes from the system's randomness in real use");
/// let mut session =
///     Marker::new(profile.clone(), &key)?.session(&SessionOptions { marked: true, ..SessionOptions::default() })?;
/// for _ in 0..200 {
///     // In place of a model: every token is as likely as any other.
///     let token = session.sample(&[0.0_f32; 100])?;
///     session.accept(token)?;
/// }
///
/// // Both layers of the profile are tested, as one family at the level 10^-6.
/// let verdicts = |key: &NodeKey| {
///     let mut tests = Vec::new();
///     for layer in Detector::new(&profile, key, None)?.layers() {
///         let mut tally = layer.tally();
///         layer.add(&mut tally, &[], session.generated())?;
///         let finding = layer.finding(&tally)?;
///         tests.push(Test {
///             scheme: layer.scheme(),
///             n_scored: finding.n_scored,
///             log10_p: finding.log10_p,
///             weights: Weights::None,
///             references_agree: true,
///             resampling: Resampling::default(),
///         });
///     }
///     let conclusions = conclude(&tests, 1e-6);
///     Ok::<_, watermark_core::Error>(conclusions.iter().map(|conclusion| conclusion.verdict).collect::<Vec<_>>())
/// };
/// assert_eq!(verdicts(&key)?, [Verdict::Detected; 2]);
/// assert_eq!(verdicts(&NodeKey::root(b"another key"))?, [Verdict::NotDetected; 2]);
/// # Ok::<(), watermark_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Detector {
    layers: Vec<LayerDetector>,
}

impl Detector {
    /// `account` is needed if a layer has a key per account, and refused if none has.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProfile`], [`ErrorKind::OutsideSubtree`], [`ErrorKind::MissingInput`] for a missing account,
    /// [`ErrorKind::InvalidParameter`] for one that no layer has a key for.
    pub fn new(profile: &Profile, key: &NodeKey, account: Option<&str>) -> Result<Self> {
        profile.validate()?;
        profile.check_account(account)?;
        if profile.layers.is_empty() {
            let message = "the profile has paired draws only, which no text shows";
            return Err(Error::new(ErrorKind::InvalidProfile, message));
        }
        let mut special = profile.tokenizer.special_token_ids.clone();
        special.sort_unstable();
        let special: Arc<[u32]> = special.into();
        let layers = profile
            .layers
            .iter()
            .map(|layer| {
                let key = profile.prf_key(layer, key, account)?;
                let detector = LayerDetector::from_prf_key(layer.scheme, layer.width, &key)?;
                Ok(LayerDetector { name: Some(layer.name.clone()), special: Arc::clone(&special), ..detector })
            })
            .collect::<Result<_>>()?;
        Ok(Self { layers })
    }

    /// The layers in profile order.
    #[must_use]
    pub fn layers(&self) -> &[LayerDetector] {
        &self.layers
    }
}

/// One layer ready to score.
#[derive(Clone)]
pub struct LayerDetector {
    name: Option<String>,
    scheme: AnyScheme,
    prf: LayerPrf,
    pub(super) rule: Rule,
    pub(super) special: Arc<[u32]>,
}

#[derive(Clone)]
enum LayerPrf {
    Own(Scheme, ChaCha20V1),
    Engine(Arc<dyn KeyedEngine>),
}

/// What a score is drawn for under one key: a number that stands for the context, and the token.
type DrawInput = (u64, u32);

/// The scores of a tally under one key, in integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scores {
    /// Sum over distinct pairs.
    pub(crate) sum: u128,
    /// Number of independent draws behind the sum under the null hypothesis: bits where scores are bits, else pairs.
    pub(crate) draws: u64,
    /// count -> (pairs with that count, sum of their scores)
    pub(crate) classes: BTreeMap<u64, (u64, u128)>,
    /// Ones of each tournament layer; empty for other schemes.
    pub(crate) layer_ones: Vec<u64>,
}

/// The test of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The layer's name; `None` for a raw PRF key.
    pub layer: Option<String>,
    /// The scheme's name.
    pub scheme: &'static str,
    /// Distinct pairs.
    pub n_scored: u64,
    /// Positions whose pair had occurred before.
    pub n_duplicate: u64,
    /// Special tokens and pairs from prompts.
    pub n_excluded: u64,
    /// Positions without a full context.
    pub n_short_context: u64,
    /// Green tokens, ones (weighted where the scheme says so), or the score sum in units of 2^-32; with
    /// [`Weights::Sqrt`] the sum of weight times score.
    pub statistic: u128,
    /// log10 P(statistic at least this large) if the text is independent of the key; exact (binomial, Gamma, dual-key
    /// mean, tournament lattice) to a relative error of 1e-9 (dual key 1e-6), or a bound with [`Weights::Sqrt`].
    pub log10_p: f64,
    /// Natural logarithm of the e-value of the unweighted scores; `None` with [`Weights::Sqrt`].
    pub ln_e: Option<f64>,
}

fn too_large() -> Error {
    Error::new(ErrorKind::InvalidParameter, "more than 2^64 bits were scored")
}

pub(super) fn whole(sum: u128) -> Result<u64> {
    u64::try_from(sum).map_err(|_| too_large())
}

impl LayerDetector {
    /// A layer from a raw PRF key, without a profile and without special tokens. An engine's own key is derived from it
    /// ([`EngineKey::from_prf_key`]), and its width is the engine's.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a context wider than 8.
    pub fn from_prf_key(scheme: impl Into<AnyScheme>, width: usize, key: &PrfKey) -> Result<Self> {
        let scheme = scheme.into();
        let prf = match scheme {
            AnyScheme::Engine(engine) => {
                return Self::from_engine(engine, &EngineKey::from_prf_key(&engine, key)?);
            }
            AnyScheme::Own(scheme) => LayerPrf::Own(scheme, ChaCha20V1::new(key, width)?),
        };
        Ok(Self { name: None, scheme, prf, rule: Rule::Generated { width }, special: Arc::new([]) })
    }

    /// A layer in an engine's format under the engine's own key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a number of keys that the engine does not take.
    pub fn from_engine(engine: Engine, key: &EngineKey) -> Result<Self> {
        let keyed = engine.keyed(key)?;
        let scheme = AnyScheme::Engine(*keyed.engine());
        let rule = Rule::Engine(Arc::clone(&keyed));
        Ok(Self { name: None, scheme, prf: LayerPrf::Engine(keyed), rule, special: Arc::new([]) })
    }

    /// The same layer under another PRF key (fresh keys).
    ///
    /// # Errors
    /// As [`Self::from_prf_key`].
    pub fn with_prf_key(&self, key: &PrfKey) -> Result<Self> {
        let Self { name, special, .. } = self.clone();
        Ok(Self { name, special, ..Self::from_prf_key(self.scheme, self.rule.width(), key)? })
    }

    pub(super) fn engine(&self) -> Option<&Arc<dyn KeyedEngine>> {
        match &self.prf {
            LayerPrf::Engine(engine) => Some(engine),
            LayerPrf::Own(..) => None,
        }
    }

    /// The layer's name in its profile.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The scheme or engine.
    #[must_use]
    pub fn scheme(&self) -> AnyScheme {
        self.scheme
    }

    /// Context width in tokens.
    #[must_use]
    pub fn width(&self) -> usize {
        self.rule.width()
    }

    /// Whether the PRF inputs themselves depend on the key. A tally then belongs to the key that it was counted under
    /// and cannot be scored under another.
    #[must_use]
    pub fn inputs_depend_on_key(&self) -> bool {
        self.engine().is_some_and(|engine| engine.inputs_depend_on_key())
    }

    /// An empty tally for this layer.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally::new(&self.rule)
    }

    /// An empty set of excluded pairs for this layer.
    #[must_use]
    pub fn pair_set(&self) -> PairSet {
        PairSet::new(&self.rule)
    }

    /// Adds every pair inside `prompt` to a set of excluded pairs.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`]; [`ErrorKind::InvalidParameter`] for a set of another context rule.
    pub fn add_prompt(&self, exclude: &mut PairSet, prompt: &[u32]) -> Result<()> {
        exclude.add_prompt(&self.rule, prompt)
    }

    /// Counts one record's generated tokens, without the pairs that occur in the record's own prompt. This is the rule
    /// of `detect` and `scan`.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`]; the tally is then unchanged.
    pub fn add(&self, tally: &mut Tally, prompt: &[u32], tokens: &[u32]) -> Result<()> {
        let mut exclude = self.pair_set();
        self.add_prompt(&mut exclude, prompt)?;
        self.add_excluding(tally, &exclude, prompt, tokens, |_, _| ())
    }

    /// As [`Self::add`] with any set of excluded pairs. `prompt` matters only to engines whose contexts reach into it.
    /// Calls `first` with position and pair wherever a pair occurs that the tally has not counted before.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`]; [`ErrorKind::InvalidParameter`] for a set or tally of another context rule.
    pub fn add_excluding(
        &self,
        tally: &mut Tally,
        exclude: &PairSet,
        prompt: &[u32],
        tokens: &[u32],
        first: impl FnMut(usize, Pair),
    ) -> Result<()> {
        tally.add(&self.rule, exclude, &self.special, (prompt, tokens), |_| true, first)
    }

    /// As [`Self::add_excluding`] for one answer of a model, where what it repeats of itself does not count ([`repeated`]).
    pub(crate) fn add_answer(
        &self,
        tally: &mut Tally,
        exclude: &PairSet,
        tokens: &[u32],
        first: impl FnMut(usize, Pair),
    ) -> Result<()> {
        let repeated = repeated(tokens);
        tally.add(&self.rule, exclude, &self.special, (&[], tokens), |at| !repeated[at], first)
    }

    /// Counts what [`Self::add_answer`] leaves out of one answer because it is in `exclude`.
    pub(crate) fn add_left_out(&self, tally: &mut Tally, exclude: &PairSet, tokens: &[u32]) -> Result<()> {
        let repeated = repeated(tokens);
        tally.add_left_out(&self.rule, exclude, &self.special, tokens, |at| !repeated[at])
    }

    /// Scores of `pairs`, in order, in the scheme's integer units.
    pub(crate) fn pair_scores(&self, pairs: &[Pair]) -> Result<Vec<u64>> {
        let (scheme, prf) = match &self.prf {
            LayerPrf::Engine(prf) => return Ok(prf.scores(pairs)),
            LayerPrf::Own(scheme, prf) => (scheme, prf),
        };
        let (words, seconds) = words(scheme, prf, &self.prf_inputs(prf, pairs))?;
        let second = |at: usize| seconds.get(at).copied().unwrap_or(0);
        Ok(words.iter().enumerate().map(|(at, &word)| scheme.score(word, second(at))).collect())
    }

    fn prf_inputs(&self, prf: &ChaCha20V1, pairs: &[Pair]) -> Vec<(Context, u32)> {
        let width = self.width();
        pairs.iter().map(|pair| (prf.context_unchecked(pair.context(width)), pair.token())).collect()
    }

    /// The part of scoring that is the same for every key: the nonce of each context. For contexts that fit the nonce;
    /// empty for engines.
    pub(super) fn prepared_inputs(&self, pairs: &[Pair]) -> Vec<(Context, u32)> {
        match &self.prf {
            LayerPrf::Own(_, prf) => self.prf_inputs(prf, pairs),
            LayerPrf::Engine(_) => Vec::new(),
        }
    }

    /// Sum of the scores, and ones of each tournament layer, from the result of [`Self::prepared_inputs`], which may
    /// come from another key of this layer.
    pub(super) fn prepared_sums(&self, pairs: &[Pair], inputs: &[(Context, u32)]) -> Result<(u128, Vec<u64>)> {
        let (scheme, prf) = match &self.prf {
            LayerPrf::Engine(prf) => return Ok((prf.scores(pairs).into_iter().map(u128::from).sum(), Vec::new())),
            LayerPrf::Own(scheme, prf) => (scheme, prf),
        };
        let (words, seconds) = words(scheme, prf, inputs)?;
        if let Scheme::Tournament(scheme) = scheme {
            return Ok(tournament_sums(scheme, &words));
        }
        let sum = match seconds.is_empty() {
            true => words.iter().map(|&word| u128::from(scheme.score(word, 0))).sum(),
            false => words.iter().zip(seconds).map(|(&word, second)| u128::from(scheme.score(word, second))).sum(),
        };
        Ok((sum, Vec::new()))
    }

    /// The context rule.
    pub(crate) fn rule(&self) -> RuleId {
        self.rule.id()
    }

    pub(crate) fn scores(&self, tally: &Tally) -> Result<Scores> {
        tally.check_rule(&self.rule)?;
        let (pairs, counts): (Vec<Pair>, Vec<u64>) = tally.pairs().map(|(pair, count)| (*pair, count)).unzip();
        self.scores_of(&pairs, Some(&counts))
    }

    /// Scores of distinct pairs. `counts`, aligned with them, says in which class of [`Scores::classes`] each pair
    /// belongs; without it every pair counts as one that occurred once.
    pub(crate) fn scores_of(&self, pairs: &[Pair], counts: Option<&[u64]>) -> Result<Scores> {
        let draws = self.draws(pairs.len() as u64)?;
        let mut scores = Scores { sum: 0, draws, classes: BTreeMap::new(), layer_ones: Vec::new() };
        if let LayerPrf::Engine(prf) = &self.prf
            && let Some((inputs, ones)) = prf.shared_draws(pairs)
        {
            return Ok(Scores { sum: ones.into(), draws: inputs, ..scores });
        }
        if let LayerPrf::Own(own @ Scheme::Tournament(scheme), prf) = &self.prf {
            let (words, _) = words(own, prf, &self.prf_inputs(prf, pairs))?;
            (scores.sum, scores.layer_ones) = tournament_sums(scheme, &words);
            return Ok(scores);
        }
        let each = self.pair_scores(pairs)?;
        let count = |at: usize| counts.and_then(|counts| counts.get(at)).copied().unwrap_or(1);
        let mut add = |score: u64, count: u64| {
            scores.sum += u128::from(score);
            let class = scores.classes.entry(count).or_insert((0, 0));
            class.0 += 1;
            class.1 += u128::from(score);
        };
        match self.draw_inputs(pairs) {
            None => each.into_iter().enumerate().for_each(|(at, score)| add(score, count(at))),
            Some(inputs) => {
                let mut draws: HashMap<DrawInput, (u64, u64)> = HashMap::new();
                for (at, (input, score)) in inputs.into_iter().zip(each).enumerate() {
                    draws.entry(input).or_insert((score, 0)).1 += count(at);
                }
                scores.draws = draws.len() as u64;
                draws.into_values().for_each(|(score, count)| add(score, count));
            }
        }
        Ok(scores)
    }

    /// Number of independent draws behind `n` pairs under the null hypothesis.
    pub(crate) fn draws(&self, n: u64) -> Result<u64> {
        match self.scheme.null_law() {
            NullLaw::Bits { trials, .. } => n.checked_mul(trials.into()).ok_or_else(too_large),
            _ => Ok(n),
        }
    }

    /// What each pair's score is drawn for under this key, if several pairs can share a draw; such pairs count once.
    /// `None` if every pair has a draw of its own.
    pub(super) fn draw_inputs(&self, pairs: &[Pair]) -> Option<Vec<DrawInput>> {
        let seeds = self.engine()?.context_seeds(pairs)?;
        Some(seeds.into_iter().zip(pairs).map(|(seed, pair)| (seed, pair.token())).collect())
    }

    /// Scores a tally: the plain test with its exact tail.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a tally of another context rule, or if a sum leaves the domain of the tails
    /// (beyond 2^64 bits).
    pub fn finding(&self, tally: &Tally) -> Result<Finding> {
        self.finding_with(tally, Weights::None)
    }

    /// Scores a tally with weights.
    ///
    /// # Errors
    /// As [`Self::finding`]; [`ErrorKind::InvalidParameter`] too for weights where a pair is neither one bit nor one
    /// exponential score.
    pub fn finding_with(&self, tally: &Tally, weights: Weights) -> Result<Finding> {
        let scores = self.scores(tally)?;
        let n_scored = tally.n_scored();
        let (statistic, log10_p, ln_e) = match weights {
            Weights::None => {
                let log10_p = self.log10_p(scores.sum, scores.draws)?;
                (scores.sum, log10_p, Some(self.ln_e(&scores, n_scored)?))
            }
            Weights::Sqrt | Weights::Expected | Weights::Residual => {
                let (statistic, log10_p) = self.weighted_tail(&scores, weights)?;
                (statistic, log10_p, None)
            }
        };
        Ok(Finding {
            layer: self.name.clone(),
            scheme: self.scheme.name(),
            n_scored,
            n_duplicate: tally.n_duplicate(),
            n_excluded: tally.n_excluded(),
            n_short_context: tally.n_short_context(),
            statistic,
            log10_p,
            ln_e,
        })
    }

    /// log10 of the plain tail of `sum` over `draws` null draws: bits, or scores where they are not bits.
    pub(crate) fn log10_p(&self, sum: u128, draws: u64) -> Result<f64> {
        let ones = || {
            let ones = whole(sum)?;
            if ones > draws {
                return Err(Error::new(ErrorKind::InvalidParameter, format!("{ones} ones among {draws} bits")));
            }
            Ok(ones)
        };
        Ok(match self.scheme.null_law() {
            NullLaw::Bits { gamma, .. } => stats::log10_binomial_sf(ones()?, draws, gamma),
            NullLaw::BitsWithoutReplacement { gamma } => {
                let ones = ones()?;
                // Below `mean + 1` the binomial tail does not bound the true one, and p is 1: so few ones are no
                // evidence.
                let bounded = ones as f64 >= draws as f64 * gamma + 1.0;
                if bounded { stats::log10_binomial_sf(ones, draws, gamma) } else { 0.0 }
            }
            NullLaw::WeightedBits(scheme) => stats::log10_weighted_tournament_sf(draws, whole(sum)?, &scheme.weights()),
            NullLaw::ExponentialQ32 => stats::log10_gamma_sf_q32(draws, sum),
            NullLaw::DualKeyQ32 { alpha } => stats::log10_dual_key_sf(draws, stats::q32_to_f64(sum), alpha),
        })
    }

    /// ln of the e-value of `n` pairs with this sum, for schemes whose e-value follows from the sum alone.
    pub(crate) fn unweighted_ln_e(&self, sum: u128, n: u64) -> Result<f64> {
        self.ln_e(&Scores { sum, draws: n, classes: BTreeMap::new(), layer_ones: Vec::new() }, n)
    }

    /// ln of the e-value.
    pub(crate) fn ln_e(&self, scores: &Scores, n: u64) -> Result<f64> {
        Ok(match (self.scheme, self.scheme.null_law()) {
            (AnyScheme::Own(Scheme::Tournament(scheme)), _) => {
                stats::ln_e_tournament(n, &scores.layer_ones, &scheme.weights())
            }
            (_, NullLaw::Bits { gamma, .. } | NullLaw::BitsWithoutReplacement { gamma }) => {
                stats::ln_e_green(whole(scores.sum)?, scores.draws, gamma)
            }
            (_, NullLaw::DualKeyQ32 { alpha }) => {
                stats::ln_e_dual_key(scores.draws, stats::q32_to_f64(scores.sum), alpha)
            }
            _ => stats::ln_e_gumbel(scores.draws, stats::q32_to_f64(scores.sum)),
        })
    }
}

/// Words of PRF inputs and, where the scheme needs one, the second word of each.
fn words(scheme: &Scheme, prf: &ChaCha20V1, inputs: &[(Context, u32)]) -> Result<(Vec<u32>, Vec<u32>)> {
    let (mut words, mut seconds) = (Vec::new(), Vec::new());
    prf.words(inputs.iter().copied(), &mut words)?;
    match scheme.second_word() {
        SecondWord::None => {}
        SecondWord::KeyB => prf.key_b().words(inputs.iter().copied(), &mut seconds)?,
        SecondWord::Context => prf.first_context_words(inputs.iter().map(|&(context, _)| context), &mut seconds),
    }
    Ok((words, seconds))
}

/// The sum, weighted where the scheme says so, and the ones of each layer.
fn tournament_sums(scheme: &Tournament, words: &[u32]) -> (u128, Vec<u64>) {
    let mut layer_ones = vec![0; scheme.depth() as usize];
    for word in words {
        for (layer, ones) in layer_ones.iter_mut().enumerate() {
            *ones += u64::from(word >> layer & 1);
        }
    }
    let weight = |layer: u32| if scheme.is_weighted() { scheme.weight(layer) } else { 1 };
    let sum = (0..).zip(&layer_ones).map(|(layer, &ones)| u128::from(ones) * u128::from(weight(layer))).sum();
    (sum, layer_ones)
}

impl std::fmt::Debug for LayerDetector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerDetector")
            .field("name", &self.name)
            .field("scheme", &self.scheme)
            .field("width", &self.width())
            .finish_non_exhaustive()
    }
}
