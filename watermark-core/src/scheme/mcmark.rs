use super::{Blocks, NullLaw};
use crate::Result;

/// `MCmark` (2502.11268): the vocabulary falls into l = 1/gamma blocks, the context's key word favours one of them, and
/// that block's probability P becomes `min(1, l P)`; what another block needs to keep its mean is left to it.
///
/// Token v's block is `word * l >> 32`, the favoured one `context_word_0 * l >> 32`. Distortion-free per token: for any
/// partition, averaged over the favoured block, the token follows p.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mcmark {
    blocks: Blocks,
}

impl Mcmark {
    /// `gamma` = 1/l, l a power of two up to 2^16.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidParameter`] for any other share.
    pub fn new(gamma: f64) -> Result<Self> {
        Ok(Self { blocks: Blocks::from_gamma(gamma)? })
    }

    /// The partition.
    #[must_use]
    pub fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// Marking half: changes `p` in place. Shapes: `p` (sums to 1) and `words` [n], aligned.
    ///
    /// With l P_j of each block, the favoured block i takes `min(1, l P_i)`; the missing `(1 - l P_i)+` goes to blocks in
    /// proportion to their surplus `(l P_j - 1)+`, and inside a block to tokens in proportion to p.
    pub(crate) fn reweight(&self, p: &mut [f64], words: &[u32], context_word: u32, masses: &mut Vec<f64>) {
        let l = f64::from(self.blocks.count());
        masses.clear();
        masses.resize(self.blocks.count() as usize, 0.0);
        for (&p, &word) in p.iter().zip(words) {
            masses[self.blocks.of(word) as usize] += l * p;
        }
        let favoured = self.blocks.of(context_word) as usize;
        let missing = (1.0 - masses[favoured]).max(0.0);
        let surplus: f64 = masses.iter().map(|mass| (mass - 1.0).max(0.0)).sum();
        // Each block's mass becomes the factor on its tokens.
        for (block, mass) in masses.iter_mut().enumerate() {
            let taken = if block == favoured { mass.min(1.0) } else { 0.0 };
            let spread = if missing > 0.0 && surplus > 0.0 { missing * (*mass - 1.0).max(0.0) / surplus } else { 0.0 };
            *mass = if *mass > 0.0 { l * (taken + spread) / *mass } else { 0.0 };
        }
        for (p, &word) in p.iter_mut().zip(words) {
            *p *= masses[self.blocks.of(word) as usize];
        }
    }

    /// Scoring half: 1 if the token lies in the context's favoured block.
    #[must_use]
    pub fn score(&self, word: u32, context_word: u32) -> u64 {
        u64::from(self.blocks.of(word) == self.blocks.of(context_word))
    }

    /// A coin of probability 1/l: given the favoured block, each token's block is an independent uniform draw.
    #[must_use]
    pub fn null_law(&self) -> NullLaw {
        NullLaw::Bits { gamma: self.blocks.gamma(), trials: 1 }
    }
}
