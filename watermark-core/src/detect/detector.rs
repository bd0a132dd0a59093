use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Pair, PairSet, Tally};
use crate::key::{NodeKey, PrfKey};
use crate::prf::ChaCha20V1;
use crate::profile::Profile;
use crate::scheme::{NullLaw, Scheme};
use crate::{Error, ErrorKind, Result, stats};

/// Every layer of a profile under one key.
#[derive(Clone, Debug)]
pub struct Detector {
    layers: Vec<LayerDetector>,
}

impl Detector {
    /// `account` is needed if a layer has a key per account.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidProfile`], [`ErrorKind::OutsideSubtree`], [`ErrorKind::MissingInput`].
    pub fn new(profile: &Profile, key: &NodeKey, account: Option<&str>) -> Result<Self> {
        profile.validate()?;
        let mut special = profile.tokenizer.special_token_ids.clone();
        special.sort_unstable();
        let special: Arc<[u32]> = special.into();
        let layers = profile
            .layers
            .iter()
            .map(|layer| {
                let prf = ChaCha20V1::new(&profile.prf_key(layer, key, account)?, layer.width)?;
                let name = Some(layer.name.clone());
                Ok(LayerDetector { name, scheme: layer.scheme, prf, special: Arc::clone(&special) })
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
    scheme: Scheme,
    prf: ChaCha20V1,
    special: Arc<[u32]>,
}

/// The scores of a tally under one key, in integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scores {
    /// Sum over distinct pairs.
    pub(crate) sum: u128,
    /// count -> (pairs with that count, sum of their scores)
    pub(crate) classes: BTreeMap<u64, (u64, u128)>,
}

/// The plain test of one layer: every distinct pair has weight 1.
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
    /// Green tokens, ones, or the score sum in units of 2^-32.
    pub statistic: u128,
    /// log10 P(statistic at least this large) if the text is independent of the key; exact (binomial, Gamma), relative
    /// error below 1e-9.
    pub log10_p: f64,
    /// Natural logarithm of the closed-form e-value; `None` where the scheme has none yet.
    pub ln_e: Option<f64>,
}

impl LayerDetector {
    /// A layer from a raw PRF key, without a profile and without special tokens.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a context wider than 8.
    pub fn from_prf_key(scheme: Scheme, width: usize, key: &PrfKey) -> Result<Self> {
        Ok(Self { name: None, scheme, prf: ChaCha20V1::new(key, width)?, special: Arc::new([]) })
    }

    /// The same layer under another PRF key (fresh keys).
    ///
    /// # Errors
    /// As [`Self::from_prf_key`].
    pub fn with_prf_key(&self, key: &PrfKey) -> Result<Self> {
        Ok(Self { prf: ChaCha20V1::new(key, self.prf.width())?, ..self.clone() })
    }

    /// The layer's name in its profile.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Context width in tokens.
    #[must_use]
    pub fn width(&self) -> usize {
        self.prf.width()
    }

    /// An empty tally for this layer.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally::new(self.width())
    }

    /// The rule of `detect` and `scan`: counts one record's generated tokens; pairs of its own prompt are excluded.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`]; the tally is then unchanged.
    pub fn add(&self, tally: &mut Tally, prompt: &[u32], tokens: &[u32]) -> Result<()> {
        let mut exclude = PairSet::new(self.width());
        exclude.add_prompt(prompt)?;
        self.add_excluding(tally, &exclude, tokens)
    }

    /// As [`Self::add`] with any set of excluded pairs.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`]; [`ErrorKind::InvalidParameter`] for a set or tally of another context width.
    pub fn add_excluding(&self, tally: &mut Tally, exclude: &PairSet, tokens: &[u32]) -> Result<()> {
        tally.check_width(self.width())?;
        tally.add(exclude, &self.special, tokens, |_| ())
    }

    pub(crate) fn special(&self) -> &[u32] {
        &self.special
    }

    /// Words of `pairs`, in order.
    pub(crate) fn words<'a>(&self, pairs: impl IntoIterator<Item = &'a Pair>) -> Result<Vec<u32>> {
        let width = self.width();
        let mut words = Vec::new();
        let inputs = pairs.into_iter().map(|pair| (self.prf.context_unchecked(pair.context(width)), pair.token()));
        self.prf.words(inputs, &mut words)?;
        Ok(words)
    }

    pub(crate) fn scores(&self, tally: &Tally) -> Result<Scores> {
        tally.check_width(self.width())?;
        let words = self.words(tally.pairs().map(|(pair, _)| pair))?;
        let mut scores = Scores { sum: 0, classes: BTreeMap::new() };
        for ((_, count), word) in tally.pairs().zip(words) {
            let score = u128::from(self.scheme.score(word));
            let class = scores.classes.entry(count).or_insert((0, 0));
            class.0 += 1;
            class.1 += score;
            scores.sum += score;
        }
        Ok(scores)
    }

    /// Scores a tally: the plain test with its exact tail.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a tally of another context width, or if a sum leaves the domain of the tails
    /// (beyond 2^64 bits).
    pub fn finding(&self, tally: &Tally) -> Result<Finding> {
        let statistic = self.scores(tally)?.sum;
        let n_scored = tally.n_scored();
        let too_large = || Error::new(ErrorKind::InvalidParameter, "more than 2^64 bits were scored");
        let (log10_p, ln_e) = match self.scheme.null_law() {
            NullLaw::Bits { gamma, trials } => {
                let bits = n_scored.checked_mul(u64::from(trials)).ok_or_else(too_large)?;
                let ones = u64::try_from(statistic).map_err(|_| too_large())?;
                let ln_e = (trials == 1).then(|| stats::ln_e_green(ones, bits, gamma));
                (stats::log10_binomial_sf(ones, bits, gamma), ln_e)
            }
            NullLaw::ExponentialQ32 => {
                let ln_e = stats::ln_e_gumbel(n_scored, stats::q32_to_f64(statistic));
                (stats::log10_gamma_sf_q32(n_scored, statistic), Some(ln_e))
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
}

impl std::fmt::Debug for LayerDetector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerDetector")
            .field("name", &self.name)
            .field("scheme", &self.scheme)
            .field("width", &self.prf.width())
            .finish_non_exhaustive()
    }
}
