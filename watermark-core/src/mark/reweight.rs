use super::choosing::usable_context;
use super::sampling::Support;
use super::scratch::Scratch;
use super::{MarkState, Session};
use crate::Result;
use crate::scheme::{Position, ProxyRow};

/// Above this probability of one token, a mark has no room left that a 32-bit float could show.
const CERTAIN: f64 = 1.0 - f32::EPSILON as f64;

impl Session {
    /// Truncates the distribution in `scratch`, then lets the reweighting layers change what is left.
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
        if self.reweighting.is_empty() && self.choosing.is_none() {
            return Some(MarkState::Off);
        }
        if self.sampling.is_greedy() {
            return Some(MarkState::Greedy);
        }
        support.is_certain(CERTAIN).then_some(MarkState::Certain)
    }
}
