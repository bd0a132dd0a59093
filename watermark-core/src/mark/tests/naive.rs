//! The marking rules by definition: everything is recomputed from the whole sequence, one token at a time.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::profile;
use crate::key::{NodeKey, PrfKey};
use crate::prf::{ChaCha20V1, Context};
use crate::profile::AnyScheme;
use crate::scheme::{Gumbel, Scheme};

pub(super) const VOCAB: u32 = 12;
pub(super) const SPECIAL: u32 = 3;
pub(super) const KEY: u32 = 5;

/// A sequence under a green list of width 1 and a choosing layer of width 2; temperature 1, no truncation.
#[derive(Clone)]
pub(super) struct Naive {
    green: ChaCha20V1,
    choosing: Option<(Scheme, ChaCha20V1)>,
    draws: ChaCha20V1,
    marked: bool,
    pub(super) tokens: Vec<u32>,
    /// Pending drafts, with the distribution that each was drawn from under two keys.
    pub(super) drafts: Vec<(u32, Option<Probabilities>)>,
}

/// Tokens that are left, with their logits.
type Distribution = Vec<(u32, f32)>;
/// The same with their probabilities.
type Probabilities = Vec<(u32, f64)>;

impl Naive {
    pub(super) fn new(schemes: &[(AnyScheme, usize)], marked: bool, seed: u64) -> Self {
        let (profile, node) = (profile(VOCAB, &[SPECIAL], schemes), NodeKey::root(&KEY.to_le_bytes()));
        let prf = |at: usize| {
            let key = profile.prf_key(&profile.layers[at], &node, None).unwrap();
            ChaCha20V1::new(&key, profile.layers[at].width).unwrap()
        };
        let digest = Sha256::new().chain_update(b"watermark-draw-v1\0").chain_update(seed.to_le_bytes()).finalize();
        let draws = ChaCha20V1::new(&PrfKey::from_bytes(Zeroizing::new(digest.into())), 0).unwrap();
        let choosing = schemes.get(1).map(|(scheme, _)| (scheme.own().unwrap(), prf(1)));
        Self { green: prf(0), choosing, draws, marked, tokens: Vec::new(), drafts: Vec::new() }
    }

    fn context(width: usize, before: &[u32]) -> Option<&[u32]> {
        let tokens = &before[before.len().checked_sub(width)?..];
        (!tokens.contains(&SPECIAL)).then_some(tokens)
    }

    pub(super) fn distribution(&self, row: &[f32]) -> Distribution {
        let mut left: Distribution = (0..VOCAB).zip(row.iter().copied()).filter(|(_, l)| l.is_finite()).collect();
        if let (Some(context), true, true) = (Self::context(1, &self.tokens), self.marked, left.len() > 1) {
            let context = self.green.context(context).unwrap().unwrap();
            for (id, logit) in left.iter_mut().filter(|(id, _)| *id != SPECIAL) {
                // gamma 1/2, delta 2
                *logit += if self.green.word(context, *id).unwrap() < 1 << 31 { 2.0 } else { 0.0 };
            }
        }
        left
    }

    /// The context that the choosing layer draws under: full, and not used before.
    fn marked_context(&self) -> Option<Context> {
        let (_, prf) = self.choosing.as_ref().filter(|_| self.marked)?;
        let context = Self::context(2, &self.tokens)?;
        let used = (0..self.tokens.len()).any(|at| Self::context(2, &self.tokens[..at]) == Some(context));
        if used { None } else { prf.context(context).unwrap() }
    }

    fn position(&self) -> Context {
        Context::from_number(self.tokens.len() as u64)
    }

    fn coins(&self) -> [u32; 16] {
        self.draws.context_words(self.position())
    }

    fn is_dual(&self) -> bool {
        self.marked && matches!(self.choosing, Some((Scheme::GumbelDualKey(_), _)))
    }

    /// The best of the tokens that are left, by words of one key or the public ones.
    fn best(&self, left: &[(u32, f64)], second: bool) -> u32 {
        let (scheme, prf, context) = match (self.marked_context(), &self.choosing) {
            (Some(context), Some((scheme, prf))) => (*scheme, prf, context),
            _ => (Scheme::Gumbel(Gumbel), &self.draws, self.position()),
        };
        let prf = if second { prf.key_b() } else { prf.clone() };
        let value = |id: u32, logit: f64| {
            let u = (f64::from(prf.word(context, id).unwrap()) + 0.5) / 4_294_967_296.0;
            let permute = matches!(scheme, Scheme::PermuteAndFlip(_));
            logit + if permute { -libm::log1p(-u) } else { -libm::log(-libm::log(u)) }
        };
        let mut best = (u32::MAX, f64::NEG_INFINITY);
        for &(id, logit) in left {
            let value = value(id, logit);
            if value > best.1 {
                best = (id, value);
            }
        }
        best.0
    }

    pub(super) fn sample(&self, row: &[f32]) -> u32 {
        let left: Vec<_> = self.distribution(row).into_iter().map(|(id, logit)| (id, f64::from(logit))).collect();
        // alpha = 1/4
        let second = self.is_dual() && self.marked_context().is_some() && self.coins()[0] < 1 << 30;
        self.best(&left, second)
    }

    fn probabilities(&self, row: &[f32]) -> Probabilities {
        let left = self.distribution(row);
        let max = left.iter().map(|(_, logit)| f64::from(*logit)).fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = left.iter().map(|(_, logit)| libm::exp(f64::from(*logit) - max)).collect();
        let total: f64 = weights.iter().sum();
        left.iter().zip(weights).map(|((id, _), weight)| (*id, weight / total)).collect()
    }

    pub(super) fn draft(&mut self, row: &[f32]) -> u32 {
        let (token, distribution) = if self.is_dual() {
            let left: Vec<_> = self.distribution(row).into_iter().map(|(id, logit)| (id, f64::from(logit))).collect();
            (self.best(&left, false), Some(self.probabilities(row)))
        } else {
            (self.sample(row), None)
        };
        self.propose(token, distribution);
        token
    }

    pub(super) fn propose(&mut self, token: u32, distribution: Option<Probabilities>) {
        self.tokens.push(token);
        self.drafts.push((token, distribution));
    }

    pub(super) fn rollback(&mut self, n: usize) {
        self.tokens.truncate(self.tokens.len().saturating_sub(n));
        self.drafts.truncate(self.drafts.len().saturating_sub(n));
    }

    /// As `Session::verify`; `rows` [drafts + 1].
    pub(super) fn verify(&mut self, rows: &[Vec<f32>]) -> usize {
        let drafts = std::mem::take(&mut self.drafts);
        self.tokens.truncate(self.tokens.len() - drafts.len());
        for (at, row) in rows.iter().enumerate() {
            let token = match drafts.get(at) {
                Some((draft, Some(q))) => self.accept_or_correct(*draft, q, row),
                _ => self.sample(row),
            };
            self.tokens.push(token);
            if drafts.get(at).is_none_or(|(draft, _)| *draft != token) {
                return at + 1;
            }
        }
        unreachable!("the row past the drafts always ends it");
    }

    fn accept_or_correct(&self, draft: u32, q: &[(u32, f64)], row: &[f32]) -> u32 {
        let p = self.probabilities(row);
        let probability = |d: &[(u32, f64)], id: u32| d.iter().find(|(other, _)| *other == id).map_or(0.0, |(_, p)| *p);
        let coin = (f64::from(self.coins()[1]) + 0.5) / 4_294_967_296.0;
        if coin * probability(q, draft) < probability(&p, draft) {
            return draft;
        }
        let left = p.iter().map(|&(id, p)| (id, p - probability(q, id))).filter(|(_, p)| *p > 0.0);
        // Logits are single precision.
        let logits: Vec<_> = left.map(|(id, p)| (id, f64::from(libm::log(p) as f32))).collect();
        if logits.is_empty() {
            let left: Vec<_> = self.distribution(row).into_iter().map(|(id, logit)| (id, f64::from(logit))).collect();
            return self.best(&left, true);
        }
        self.best(&logits, true)
    }
}
