use super::choosing::usable_context;
use super::pairs::Paired;
use super::sampling::Support;
use super::scratch::Scratch;
use super::{MarkState, Session};
use crate::Result;
use crate::profile::Boost;
use crate::scheme::{Position, ProxyRow};

/// Above this probability of one token, a mark has no room left that a 32-bit float could show.
const CERTAIN: f64 = 1.0 - f32::EPSILON as f64;

impl Session {
    /// Applies temperature, truncation and the reweighting layers to the distribution in `scratch`, in the order of the policy.
    pub(super) fn reweight(&mut self, scratch: &mut Scratch) -> Result<()> {
        self.state = MarkState::Off;
        self.paired.iter_mut().for_each(Paired::begin);
        scratch.support.check_not_empty()?;
        if self.admitted.boost == Boost::BeforeTemperature && !self.reweighting.is_empty() {
            self.state = MarkState::Certain;
            if !scratch.support.is_certain(CERTAIN) {
                self.apply_layers(scratch)?;
            }
            self.admitted.truncate(&mut scratch.support);
            if self.state == MarkState::NoContext {
                self.state = self.fixed(&scratch.support).unwrap_or(self.state);
            }
            return Ok(());
        }
        self.admitted.truncate(&mut scratch.support);
        match self.fixed(&scratch.support) {
            Some(fixed) => self.state = fixed,
            None => self.apply_layers(scratch)?,
        }
        Ok(())
    }

    /// Lets the reweighting layers that have a context here change the distribution, and says in the state whether one did.
    fn apply_layers(&mut self, scratch: &mut Scratch) -> Result<()> {
        if !self.reweighting.is_empty() {
            self.state = MarkState::NoContext;
        }
        let Scratch { support, words, proxy_words, buffers } = scratch;
        for (scheme, prf) in &self.reweighting {
            let Some(context) = usable_context(prf.width(), &self.generated, &self.special) else { continue };
            let context = prf.context_unchecked(context);
            words.fill(prf, context, &support.ids)?;
            let proxy = if scheme.needs_proxy() {
                self.proxy.row(scheme.name(), (prf, context), proxy_words)?
            } else {
                ProxyRow { ids: &[], probabilities: &[], words: &mut [] }
            };
            scheme.reweight(&mut Position {
                ids: &support.ids,
                logits: &mut support.logits,
                words: &mut words.words,
                prf,
                context,
                special: &self.special,
                proxy,
                buffers,
            });
            self.state = MarkState::Marked;
        }
        Ok(())
    }

    /// Why no layer can change the truncated distribution; `None` if one can.
    fn fixed(&self, support: &Support) -> Option<MarkState> {
        if self.reweighting.is_empty() && self.choosing.is_none() && self.paired.is_none() {
            return Some(MarkState::Off);
        }
        if self.admitted.sampling.is_greedy() {
            return Some(MarkState::Greedy);
        }
        support.is_certain(CERTAIN).then_some(MarkState::Certain)
    }
}
