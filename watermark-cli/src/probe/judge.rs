//! What the answers so far say about the key.

use anyhow::{Context, Result};
use watermark_core::detect::{LayerDetector, PairSet, Tally};

use super::answer;
use super::endpoint::Api;
use super::transcript::Exchange;
use crate::tokenizer::Tokenizer;

/// The evidence after a complete round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Natural logarithm of the anytime-valid e-value.
    pub ln_e: f64,
    /// Distinct pairs behind it.
    pub n_scored: u64,
    /// Where it decides: ln(1/alpha).
    pub threshold_ln: f64,
    /// Whether it does.
    pub decided: bool,
}

/// The closed test of one layer, round by round: every pair counts once, at its first occurrence, unless it occurs in any
/// prompt of the run.
pub struct Judge<'a> {
    layer: &'a LayerDetector,
    tokenizer: &'a Tokenizer,
    api: Api,
    threshold_ln: f64,
    exclude: PairSet,
    tally: Tally,
}

impl<'a> Judge<'a> {
    /// `prompts` are all prompts of the run, asked or not.
    ///
    /// # Errors
    /// If a prompt cannot be tokenised.
    pub fn new(
        layer: &'a LayerDetector,
        tokenizer: &'a Tokenizer,
        api: Api,
        prompts: &[String],
        alpha: f64,
    ) -> Result<Self> {
        let mut exclude = layer.pair_set();
        for (index, prompt) in prompts.iter().enumerate() {
            let ids = tokenizer.encode(prompt).with_context(|| format!("prompt {index}"))?;
            layer.add_prompt(&mut exclude, &ids).with_context(|| format!("prompt {index}"))?;
        }
        Ok(Self { layer, tokenizer, api, threshold_ln: -alpha.ln(), exclude, tally: layer.tally() })
    }

    /// Adds the exchanges of one complete round, in the order of their prompts.
    ///
    /// # Errors
    /// If an answer cannot be read or tokenised.
    pub fn add_round(&mut self, exchanges: &[Exchange]) -> Result<Standing> {
        for exchange in exchanges {
            let Some(response) = &exchange.response else { continue };
            let mut add = || -> Result<()> {
                let ids = self.tokenizer.encode(&answer::parse(self.api, response)?.text)?;
                self.layer.add_excluding(&mut self.tally, &self.exclude, &[], &ids, |_, _| ())?;
                Ok(())
            };
            add().with_context(|| format!("the answer to prompt {}", exchange.index))?;
        }
        let ln_e = self.layer.finding(&self.tally)?.ln_e.unwrap_or(0.0);
        let n_scored = self.tally.n_scored();
        Ok(Standing { ln_e, n_scored, threshold_ln: self.threshold_ln, decided: ln_e >= self.threshold_ln })
    }
}
