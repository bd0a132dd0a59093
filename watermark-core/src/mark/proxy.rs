use super::choosing::Words;
use super::sampling::Support;
use crate::prf::{ChaCha20V1, Context};
use crate::scheme::Adfp;
use crate::{Error, ErrorKind, Result};

/// A proxy's probabilities at the next position: tokens that have any, ascending.
#[derive(Clone, Default)]
pub(super) struct Proxy {
    ids: Vec<u32>,
    probabilities: Vec<f64>,
}

impl Proxy {
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.probabilities.clear();
    }

    pub(super) fn set(&mut self, probabilities: &[f32], vocab_size: usize) -> Result<()> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidLogits, message));
        let n = probabilities.len();
        if n != vocab_size {
            return invalid(format!("{n} probabilities of a proxy for a vocabulary of {vocab_size}"));
        }
        if let Some(id) = probabilities.iter().position(|q| !(0.0..=1.0).contains(q)) {
            return invalid(format!("the proxy's probability of token {id} is {}", probabilities[id]));
        }
        let sum: f64 = probabilities.iter().map(|&q| f64::from(q)).sum();
        if (sum - 1.0).abs() > 1e-2 {
            return invalid(format!("the proxy's probabilities add up to {sum}"));
        }
        self.clear();
        for (id, &q) in (0u32..).zip(probabilities).filter(|&(_, &q)| q > 0.0) {
            self.ids.push(id);
            self.probabilities.push(q.into());
        }
        Ok(())
    }

    /// Leaves the words of the proxy's tokens in `words` and adds the bonus of each to its logit.
    pub(super) fn add_bonus(
        &self,
        scheme: &Adfp,
        (prf, context): (&ChaCha20V1, Context),
        special: &[u32],
        words: &mut Words,
        support: &mut Support,
    ) -> Result<()> {
        if self.ids.is_empty() {
            return Err(Error::new(
                ErrorKind::MissingInput,
                "a layer of scheme adfp needs the proxy's probabilities; call set_proxy before every step",
            ));
        }
        words.fill(prf, context, &self.ids)?;
        for special in special {
            if let Ok(at) = self.ids.binary_search(special) {
                words.words[at] = scheme.red_word();
            }
        }
        let green = scheme.green_mass(&self.probabilities, &words.words);
        let mut proxy = self.ids.iter().zip(&self.probabilities).zip(&words.words).peekable();
        for (&id, logit) in support.ids.iter().zip(&mut support.logits) {
            while proxy.next_if(|((other, _), _)| **other < id).is_some() {}
            let Some(((_, &q), &word)) = proxy.next_if(|((other, _), _)| **other == id) else { continue };
            if special.binary_search(&id).is_err() {
                #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
                let bonus = scheme.bonus(q, word, green) as f32;
                *logit += bonus;
            }
        }
        Ok(())
    }
}
