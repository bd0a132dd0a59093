use super::{
    Blocks, Domain, Entry, Example, Given, Kind, NullLaw, Parameter, Parameters, Position, SecondWord, Spec, Value,
};
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
}

impl Entry for Mcmark {
    const SPEC: Spec = Spec {
        name: "mcmark",
        source: "MCmark 2025, arXiv 2502.11268",
        summary: "Fills one of 1/gamma keyed blocks of the vocabulary, which the context picks.",
        kind: Kind::Reweighting,
        distortion_free: true,
        parameters: &[Parameter::new("gamma", "share of a block", Domain::BlockShare).usual(Value::Real(0.5))],
        examples: &[
            Example { width: 2, parameters: &[("gamma", Value::Real(0.0625))] },
            Example { width: 1, parameters: &[("gamma", Value::Real(0.5))] },
        ],
    };

    const SECOND_WORD: SecondWord = SecondWord::Context;

    fn build(given: &Given<'_>) -> Result<Self> {
        Self::new(given.real("gamma")?)
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with("gamma", self.blocks.gamma())
    }

    /// With l P_j of each block, the favoured block i takes `min(1, l P_i)`; the missing `(1 - l P_i)+` goes to blocks in
    /// proportion to their surplus `(l P_j - 1)+`, and inside a block to tokens in proportion to p.
    fn reweight(&self, position: &mut Position<'_>) {
        let l = f64::from(self.blocks.count());
        let favoured = self.blocks.containing(position.context_word()) as usize;
        position.change_probabilities(|p, words, work| {
            let masses = &mut work.numbers;
            masses.clear();
            masses.resize(self.blocks.count() as usize, 0.0);
            for (p, &word) in p.iter().zip(words) {
                masses[self.blocks.containing(word) as usize] += l * p;
            }
            let missing = (1.0 - masses[favoured]).max(0.0);
            let surplus: f64 = masses.iter().map(|mass| (mass - 1.0).max(0.0)).sum();
            // Each block's mass becomes the factor on its tokens.
            for (block, mass) in masses.iter_mut().enumerate() {
                let taken = if block == favoured { mass.min(1.0) } else { 0.0 };
                let spread =
                    if missing > 0.0 && surplus > 0.0 { missing * (*mass - 1.0).max(0.0) / surplus } else { 0.0 };
                *mass = if *mass > 0.0 { l * (taken + spread) / *mass } else { 0.0 };
            }
            for (p, &word) in p.iter_mut().zip(words) {
                *p *= masses[self.blocks.containing(word) as usize];
            }
        });
    }

    /// 1 if the token lies in the context's favoured block; `second` is word 0 of the context.
    fn score(&self, word: u32, second: u32) -> u64 {
        u64::from(self.blocks.containing(word) == self.blocks.containing(second))
    }

    /// A coin of probability 1/l: given the favoured block, each token's block is an independent uniform draw.
    fn null_law(&self) -> NullLaw {
        NullLaw::Bits { gamma: self.blocks.gamma(), trials: 1 }
    }
}

#[cfg(all(test, feature = "detect"))]
mod tests {
    use crate::scheme::tests::outputs;

    #[test]
    fn outputs_are_pinned() {
        let expected = [
            (vec![1, 5, 6, 10, 30, 32, 5, 35, 28, 17, 30, 11, 2, 19, 0, 10, 29, 14, 12, 10, 11, 23, 31, 25], 13),
            (vec![1, 5, 31, 5, 8, 16, 14, 3, 28, 32, 2, 20, 2, 35, 21, 37, 29, 17, 34, 34, 32, 23, 21, 19], 22),
        ];
        assert_eq!(outputs("mcmark"), expected);
    }
}
