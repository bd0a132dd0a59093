use anyhow::{Result, bail};
use serde::Serialize;
use watermark_core::detect::check_level;
use watermark_core::model_test::Access;

use super::{Curves, ReferenceKind, Sample, Tokens};

/// Shares of marked training answers that a plan shows unless others are asked for.
pub const SHARES: [f64; 6] = [1.0, 0.75, 0.5, 0.35, 0.2, 0.1];
/// The same beside a reference, which shows smaller ones.
pub const SHARES_BESIDE: [f64; 2] = [0.5, 0.2];

/// What is planned.
#[derive(Clone, Debug)]
pub struct Question {
    /// What the suspect shows.
    pub access: Vec<Access>,
    /// What stands beside the suspect; nothing for a test by counts.
    pub reference: Option<ReferenceKind>,
    /// Shares of marked answers among the suspect's training answers.
    pub shares: Vec<f64>,
    /// How the digits of the layer compare with those of the curves ([`super::scale`]).
    pub scale: f64,
    /// Level of the verdict.
    pub alpha: f64,
    /// Tests in the family; the level is divided by it.
    pub family: u32,
    /// Tokens of an answer.
    pub tokens_per_answer: f64,
    /// Tokens of a prompt.
    pub tokens_per_prompt: f64,
    /// Price of a million prompt tokens.
    pub price_prompt: Option<f64>,
    /// Price of a million completion tokens.
    pub price_completion: Option<f64>,
    /// Answers that the endpoint gives in a minute.
    pub answers_per_minute: Option<f64>,
}

impl Default for Question {
    fn default() -> Self {
        Self {
            access: Access::ALL.to_vec(),
            reference: None,
            shares: SHARES.to_vec(),
            scale: 1.0,
            alpha: 1e-6,
            family: 1,
            tokens_per_answer: 70.0,
            tokens_per_prompt: 40.0,
            price_prompt: None,
            price_completion: None,
            answers_per_minute: None,
        }
    }
}

/// How many tokens a test needs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Need {
    /// What the suspect shows.
    pub access: Access,
    /// What stands beside it.
    pub reference: Option<ReferenceKind>,
    /// Fixed or anytime.
    pub sample: Sample,
    /// Share of marked answers among its training answers.
    pub share: f64,
    /// Level of the verdict.
    pub alpha: f64,
    /// Tokens for a power of one half.
    pub tokens_median: Tokens,
    /// Tokens for a power of 80 %.
    pub tokens_80: Tokens,
    /// Tokens for a power of 95 %.
    pub tokens_95: Tokens,
    /// Prompts for a power of 80 %.
    pub prompts_80: Option<u64>,
    /// Their cost, where there are prices.
    pub cost_80: Option<f64>,
    /// Their minutes, where there is a rate.
    pub minutes_80: Option<f64>,
}

/// What a number of tokens shows.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Shows {
    /// What the suspect shows.
    pub access: Access,
    /// What stands beside it.
    pub reference: Option<ReferenceKind>,
    /// Fixed or anytime.
    pub sample: Sample,
    /// The number of tokens.
    pub tokens: f64,
    /// Level of the verdict.
    pub alpha: f64,
    /// The smallest share with a power of 80 %; null if no measured one has it.
    pub share_80: Option<f64>,
    /// The smallest share with a power of 95 %.
    pub share_95: Option<f64>,
}

impl Question {
    /// By counts, or beside a reference, with the kinds of access and the shares that this was measured for.
    #[must_use]
    pub fn beside(reference: Option<ReferenceKind>) -> Self {
        let Some(one) = reference else { return Self::default() };
        let access = Access::ALL.into_iter().filter(|&access| one.stands_beside(access)).collect();
        Self { reference, access, shares: SHARES_BESIDE.to_vec(), ..Self::default() }
    }

    /// Digits of evidence that a verdict takes.
    #[must_use]
    pub fn digits(&self) -> f64 {
        -(self.alpha / f64::from(self.family)).log10()
    }

    /// The measured curves that answer it, one for each kind of access and sample.
    ///
    /// # Errors
    /// For numbers outside their domain, or shares outside what was measured.
    pub fn curves(&self) -> Result<Vec<(Access, Sample, Curves)>> {
        check_level(self.alpha)?;
        if self.family == 0 {
            bail!("family must be at least 1");
        }
        let prices = [self.price_prompt, self.price_completion];
        if prices.into_iter().flatten().any(|price| !(price >= 0.0 && price.is_finite())) {
            bail!("prices must be numbers of 0 or more");
        }
        let numbers = [Some(self.tokens_per_answer), Some(self.tokens_per_prompt), self.answers_per_minute];
        if numbers.into_iter().flatten().any(|value| !is_positive(value)) {
            bail!("numbers of tokens and answers must be positive and below 1e12");
        }
        if let Some(reference) = self.reference
            && let Some(access) = self.access.iter().find(|access| !reference.stands_beside(**access))
        {
            bail!("{} beside {} was not measured", access.as_str(), reference.as_str());
        }
        if self.reference.is_some() && self.scale.to_bits() != 1f64.to_bits() {
            bail!("beside references only the green list of gamma .5, delta 2, width 1 was measured");
        }
        let mut curves = Vec::new();
        for &access in &self.access {
            for sample in [Sample::Fixed, Sample::Anytime] {
                // Reading is decided by its e-value, since its sample depends on the key; what lies beyond references has no e-process.
                if (access == Access::Reading && sample == Sample::Fixed)
                    || (self.reference.is_some() && sample == Sample::Anytime)
                {
                    continue;
                }
                curves.push((access, sample, Curves::measured(access, sample, self.reference)?));
            }
        }
        let measured = curves.iter().map(|(_, _, curves)| curves.shares());
        let (low, high) = measured.fold((0.0f64, f64::INFINITY), |a, b| (a.0.max(b.0), a.1.min(b.1)));
        if let Some(share) = self.shares.iter().find(|share| !(low..=high).contains(*share)) {
            bail!("share {share} is outside what was measured, {low} to {high}");
        }
        Ok(curves)
    }

    /// How many tokens, prompts, money and minutes are needed, for each curve and share.
    ///
    /// # Errors
    /// As [`Self::curves`].
    pub fn needs(&self) -> Result<Vec<Need>> {
        let need = self.digits();
        let mut lines = Vec::new();
        for (access, sample, curves) in self.curves()? {
            for &share in &self.shares {
                let tokens = |power| curves.tokens(share, need, power, self.scale);
                let (tokens_median, tokens_80, tokens_95) = (tokens(0.5), tokens(0.8), tokens(0.95));
                let answers = match tokens_80 {
                    // Reading costs our own texts, not answers.
                    Tokens::Need(tokens) => Some((tokens as f64 / self.tokens_per_answer).ceil()),
                    Tokens::MoreThan { .. } => None,
                };
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a small number of prompts"
                )]
                lines.push(Need {
                    access,
                    reference: self.reference,
                    sample,
                    share,
                    alpha: self.alpha,
                    tokens_median,
                    tokens_80,
                    tokens_95,
                    prompts_80: answers.map(|answers| answers as u64),
                    cost_80: answers.and_then(|answers| self.cost(answers)),
                    minutes_80: answers.zip(self.answers_per_minute).map(|(answers, rate)| answers / rate),
                });
            }
        }
        Ok(lines)
    }

    /// The smallest share that so many tokens show, for each curve.
    ///
    /// # Errors
    /// As [`Self::curves`].
    pub fn shows(&self, tokens: f64) -> Result<Vec<Shows>> {
        if !is_positive(tokens) {
            bail!("numbers of tokens and answers must be positive and below 1e12");
        }
        let need = self.digits();
        let line = |(access, sample, curves): (Access, Sample, Curves)| {
            let share = |power| curves.smallest_share(tokens, need, power, self.scale);
            let (share_80, share_95) = (share(0.8), share(0.95));
            Shows { access, reference: self.reference, sample, tokens, alpha: self.alpha, share_80, share_95 }
        };
        Ok(self.curves()?.into_iter().map(line).collect())
    }

    fn cost(&self, answers: f64) -> Option<f64> {
        if self.price_prompt.is_none() && self.price_completion.is_none() {
            return None;
        }
        let per_answer = self.tokens_per_prompt * self.price_prompt.unwrap_or(0.0)
            + self.tokens_per_answer * self.price_completion.unwrap_or(0.0);
        Some(answers * per_answer / 1e6)
    }
}

fn is_positive(value: f64) -> bool {
    (1e-3..=1e12).contains(&value)
}
