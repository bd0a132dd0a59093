use super::choosing::usable_context;
use super::reserve::reserve;
use super::sampling::Support;
use super::scratch::Scratch;
use super::{MarkState, Session};
use crate::Result;
use crate::scheme::Scheme;

/// Above this probability of one token, a mark has no room left that a 32-bit float could show.
const CERTAIN: f64 = 1.0 - f32::EPSILON as f64;

impl Session {
    /// Truncates the support in `scratch` and bends what is left by the reweighting layers.
    pub(super) fn reweight(&mut self, scratch: &mut Scratch) -> Result<()> {
        self.state = MarkState::Off;
        self.sampling.truncate(&mut scratch.support)?;
        if let Some(fixed) = self.fixed(&scratch.support) {
            self.state = fixed;
            return Ok(());
        }
        if !self.reweighting.is_empty() {
            self.state = MarkState::NoContext;
        }
        let Scratch { support, words, proxy_words, probabilities, masses, order, specials } = scratch;
        for (scheme, prf) in &self.reweighting {
            let Some(context) = usable_context(prf.width(), &self.generated, &self.special) else { continue };
            let context = prf.context_unchecked(context);
            words.fill(prf, context, &support.ids)?;
            let (words, logits) = (&mut words.words, &mut support.logits);
            match scheme {
                Scheme::Greenlist(scheme) => {
                    // Special tokens are never favoured, nor does a hard list forbid them: a text must be able to end.
                    specials.clear();
                    reserve(specials, self.special.len());
                    for &special in self.special.iter() {
                        if let Ok(at) = support.ids.binary_search(&special) {
                            words[at] = scheme.red_word();
                            specials.push((at, logits[at]));
                        }
                    }
                    scheme.reweight(logits, words);
                    for &(at, logit) in specials.iter() {
                        logits[at] = logit;
                    }
                }
                Scheme::Tournament(scheme) => {
                    softmax(logits, probabilities);
                    scheme.reweight(probabilities, words);
                    logarithms(probabilities, logits);
                }
                Scheme::Mcmark(scheme) => {
                    softmax(logits, probabilities);
                    let favoured = prf.context_words(context)[0];
                    scheme.reweight(probabilities, words, favoured, masses);
                    logarithms(probabilities, logits);
                }
                Scheme::Dipmark(scheme) => {
                    softmax(logits, probabilities);
                    scheme.reweight(probabilities, words, order);
                    logarithms(probabilities, logits);
                }
                Scheme::Adfp(scheme) => {
                    self.proxy.add_bonus(scheme, (prf, context), &self.special, proxy_words, support)?;
                }
                Scheme::Gumbel(_) | Scheme::GumbelDualKey(_) | Scheme::PermuteAndFlip(_) | Scheme::Engine(_) => {
                    continue;
                }
            }
            self.state = MarkState::Marked;
        }
        Ok(())
    }

    /// Why no layer could change anything about the truncated distribution.
    fn fixed(&self, support: &Support) -> Option<MarkState> {
        if self.reweighting.is_empty() && self.choosing.is_none() {
            return Some(MarkState::Off);
        }
        if self.sampling.is_greedy() {
            return Some(MarkState::Greedy);
        }
        support.is_certain(CERTAIN).then_some(MarkState::Certain)
    }
}

/// Probabilities of unnormalised log-probabilities. Shapes: both [n].
pub(super) fn softmax(logits: &[f32], probabilities: &mut Vec<f64>) {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    probabilities.clear();
    probabilities.extend(logits.iter().map(|&logit| libm::exp(f64::from(logit) - max)));
    let total: f64 = probabilities.iter().sum();
    probabilities.iter_mut().for_each(|p| *p /= total);
}

/// Back to logits; a token without probability becomes -inf.
pub(super) fn logarithms(probabilities: &[f64], logits: &mut [f32]) {
    for (logit, &p) in logits.iter_mut().zip(probabilities) {
        #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
        let log = if p > 0.0 { libm::log(p) as f32 } else { f32::NEG_INFINITY };
        *logit = log;
    }
}
