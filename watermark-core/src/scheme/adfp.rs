use super::{Greenlist, NullLaw};
use crate::{Error, ErrorKind, Result};

/// Antidistillation fingerprinting (2602.03812): a bonus `lambda q_v (1[v green] - q(green))` on the logits, q the next-token
/// probabilities of a proxy for the student that the server hands in. It is the direction in which one step of training on the
/// sampled token raises the proxy's green mass most, so little is spent where a student has nothing to learn.
///
/// Changes the distribution. Scored as a green list of the same `gamma`. The bonus is added after the temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adfp {
    list: Greenlist,
    lambda: f64,
}

impl Adfp {
    /// `gamma` in (0, 1): share of green tokens. `lambda` from 0 to 10^6; where the proxy is torn between a green token and a red
    /// one, the bonus is plus and minus a quarter of it in nats.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] outside these domains.
    pub fn new(gamma: f64, lambda: f64) -> Result<Self> {
        if !(0.0..=1e6).contains(&lambda) {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("lambda is {lambda}; it must be between 0 and 1000000"),
            ));
        }
        Ok(Self { list: Greenlist::new(gamma, 0.0)?, lambda })
    }

    /// Share of green tokens.
    #[must_use]
    pub fn gamma(&self) -> f64 {
        self.list.gamma()
    }

    /// Strength.
    #[must_use]
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// Marking half: the bonus of a token with proxy probability `q` and this word, where the proxy's green mass is `green`.
    pub(crate) fn bonus(&self, q: f64, word: u32, green: f64) -> f64 {
        self.lambda * q * (f64::from(u8::from(self.list.is_green(word))) - green)
    }

    /// The proxy's green mass. Shapes: both [n], aligned.
    pub(crate) fn green_mass(&self, q: &[f64], words: &[u32]) -> f64 {
        q.iter().zip(words).filter(|&(_, &word)| self.list.is_green(word)).map(|(q, _)| q).sum()
    }

    /// Some word that is not green.
    pub(crate) fn red_word(&self) -> u32 {
        self.list.red_word()
    }

    /// Scoring half: 1 for green, 0 for red.
    #[must_use]
    pub fn score(&self, word: u32) -> u64 {
        self.list.score(word)
    }

    /// As the green list's.
    #[must_use]
    pub fn null_law(&self) -> NullLaw {
        self.list.null_law()
    }
}
