use super::choosing::Words;
use crate::prf::{ChaCha20V1, Context};
use crate::scheme::ProxyRow;
use crate::{Error, ErrorKind, Result};

/// A proxy model's probabilities at the next position: the tokens whose probability is above 0, ascending.
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

    /// The probabilities with the words of their tokens, for a layer of `scheme`.
    pub(super) fn row<'a>(
        &'a self,
        scheme: &str,
        (prf, context): (&ChaCha20V1, Context),
        words: &'a mut Words,
    ) -> Result<ProxyRow<'a>> {
        if self.ids.is_empty() {
            return Err(Error::new(
                ErrorKind::MissingInput,
                format!("a layer of scheme {scheme} needs the proxy's probabilities; call set_proxy before every step"),
            ));
        }
        words.fill(prf, context, &self.ids)?;
        Ok(ProxyRow { ids: &self.ids, probabilities: &self.probabilities, words: &mut words.words })
    }
}
