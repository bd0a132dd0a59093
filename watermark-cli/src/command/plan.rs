use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use watermark_cli::files::{read_profile, write_new};
use watermark_cli::plan::{Access, Curves, Sample, Tokens, power_svg, scale};

use super::{print, print_json, table};

/// How many tokens, prompts, money and minutes a test of a suspect model needs, or what a budget can show
///
/// Interpolates curves measured in the laboratory: students of a teacher whose distillation layer is a green list (gamma .5,
/// delta 2, width 1), by share of marked answers in their training data. Nothing is extrapolated: beyond what was measured it
/// says so. Larger models learn from more data; take the order of magnitude, and plan twice as much.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watermark plan                                                # every kind of access, shares from 1 to 0.1
  watermark plan --access answers --share 0.1 --tokens-per-answer 300 --price-completion 15
  watermark plan --access logprobs --budget-tokens 20000        # the smallest share that it can show
  watermark plan --profile chat.profile.json --plot power.svg

Access: answers; logprobs (answers with the 20 most likely tokens); weights (answers with whole distributions); reading
(the most likely token while the suspect reads answers that you served). Samples: fixed (the size is registered) and
anytime (`watermark probe`, stopped by its e-process; reading).")]
pub(crate) struct Args {
    /// What the suspect shows (repeatable); default: every kind
    #[arg(long, value_enum)]
    access: Vec<AccessArg>,
    /// Share of marked answers among the suspect's training answers (repeatable)
    #[arg(long, value_name = "SHARE")]
    share: Vec<f64>,
    /// A profile whose first reweighting layer is planned for; default: the green list that was measured
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Level of the verdict
    #[arg(long, default_value_t = 1e-6)]
    alpha: f64,
    /// Tests in the family (keys times layers): the level is divided by it
    #[arg(long, default_value_t = 1, value_name = "N")]
    family: u32,
    /// Say what so many tokens can show, instead of how many are needed
    #[arg(long, value_name = "N")]
    budget_tokens: Option<f64>,
    /// Tokens of an answer
    #[arg(long, default_value_t = 70.0, value_name = "N")]
    tokens_per_answer: f64,
    /// Tokens of a prompt
    #[arg(long, default_value_t = 40.0, value_name = "N")]
    tokens_per_prompt: f64,
    /// Price of a million prompt tokens
    #[arg(long, value_name = "X")]
    price_prompt: Option<f64>,
    /// Price of a million completion tokens
    #[arg(long, value_name = "X")]
    price_completion: Option<f64>,
    /// Answers that the endpoint gives in a minute
    #[arg(long, value_name = "N")]
    answers_per_minute: Option<f64>,
    /// Write the power over tokens as an SVG; never overwrites
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print JSON lines instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum AccessArg {
    Answers,
    Logprobs,
    Weights,
    Reading,
}

#[derive(Serialize)]
struct Need {
    access: &'static str,
    sample: Sample,
    share: f64,
    alpha: f64,
    tokens_median: Tokens,
    tokens_80: Tokens,
    tokens_95: Tokens,
    prompts_80: Option<u64>,
    cost_80: Option<f64>,
    minutes_80: Option<f64>,
}

#[derive(Serialize)]
struct Shows {
    access: &'static str,
    sample: Sample,
    tokens: f64,
    alpha: f64,
    share_80: Option<f64>,
    share_95: Option<f64>,
}

const SHARES: [f64; 6] = [1.0, 0.75, 0.5, 0.35, 0.2, 0.1];

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if !(self.alpha > 0.0 && self.alpha < 1.0) || self.family == 0 {
            bail!("--alpha must be between 0 and 1 and --family at least 1");
        }
        let positive = |value: f64| (1e-3..=1e12).contains(&value);
        let prices = [self.price_prompt, self.price_completion];
        if prices.into_iter().flatten().any(|price| !(price >= 0.0 && price.is_finite())) {
            bail!("prices must be numbers of 0 or more");
        }
        let numbers =
            [Some(self.tokens_per_answer), Some(self.tokens_per_prompt), self.answers_per_minute, self.budget_tokens];
        if numbers.into_iter().flatten().any(|value| !positive(value)) {
            bail!("numbers of tokens and answers must be positive and below 1e12");
        }
        let need = -(self.alpha / f64::from(self.family)).log10();
        let scale = match &self.profile {
            None => 1.0,
            Some(path) => scale(&read_profile(path)?.profile)?,
        };
        let access: Vec<Access> = if self.access.is_empty() {
            Access::ALL.to_vec()
        } else {
            self.access.iter().map(|access| (*access).into()).collect()
        };
        let shares = if self.share.is_empty() { SHARES.to_vec() } else { self.share.clone() };
        let mut curves = Vec::new();
        for access in access {
            for sample in [Sample::Fixed, Sample::Anytime] {
                // Reading is decided by its e-value, since its sample depends on the key.
                if access == Access::Reading && sample == Sample::Fixed {
                    continue;
                }
                curves.push((access, sample, Curves::measured(access, sample)?));
            }
        }
        let measured = curves.iter().map(|(_, _, curves)| curves.shares());
        let (low, high) = measured.fold((0.0f64, f64::INFINITY), |a, b| (a.0.max(b.0), a.1.min(b.1)));
        if let Some(share) = shares.iter().find(|share| !(low..=high).contains(*share)) {
            bail!("--share {share} is outside what was measured, {low} to {high}");
        }
        if let Some(plot) = &self.plot {
            let share = shares[0];
            let named =
                curves.iter().filter(|(access, sample, _)| *sample == Sample::Fixed || *access == Access::Reading);
            let lines: Vec<_> = named
                .flat_map(|(access, _, curves)| {
                    let shares = if self.access.len() == 1 { shares.clone() } else { vec![share] };
                    shares
                        .into_iter()
                        .map(move |share| (format!("{}, share {share}", access.as_str()), curves, share, scale))
                })
                .collect();
            write_new(plot, power_svg(&lines, need).as_bytes())?;
        }
        match self.budget_tokens {
            Some(tokens) => self.shows(&curves, tokens, need, scale)?,
            None => self.needs(&curves, &shares, need, scale)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn needs(&self, curves: &[(Access, Sample, Curves)], shares: &[f64], need: f64, scale: f64) -> Result<()> {
        let header = ["access", "sample", "share", "median", "80 % power", "95 % power", "prompts", "cost", "minutes"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for (access, sample, curves) in curves {
            for &share in shares {
                let tokens = |power| curves.tokens(share, need, power, scale);
                let (median, at_80, at_95) = (tokens(0.5), tokens(0.8), tokens(0.95));
                let answers = match at_80 {
                    // Reading costs our own texts, not answers.
                    Tokens::Need(tokens) => Some((tokens as f64 / self.tokens_per_answer).ceil()),
                    Tokens::MoreThan { .. } => None,
                };
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a small number of prompts"
                )]
                let line = Need {
                    access: access.as_str(),
                    sample: *sample,
                    share,
                    alpha: self.alpha,
                    tokens_median: median,
                    tokens_80: at_80,
                    tokens_95: at_95,
                    prompts_80: answers.map(|answers| answers as u64),
                    cost_80: answers.and_then(|answers| self.cost(answers)),
                    minutes_80: answers.zip(self.answers_per_minute).map(|(answers, rate)| answers / rate),
                };
                if self.json {
                    print_json(&line)?;
                    continue;
                }
                let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
                rows.push(vec![
                    line.access.to_owned(),
                    if *sample == Sample::Fixed { "fixed" } else { "anytime" }.to_owned(),
                    share.to_string(),
                    tokens_text(median),
                    tokens_text(at_80),
                    tokens_text(at_95),
                    or_dash(line.prompts_80.map(|n| n.to_string())),
                    or_dash(line.cost_80.map(|cost| format!("{cost:.2}"))),
                    or_dash(line.minutes_80.map(|minutes| format!("{minutes:.1}"))),
                ]);
            }
        }
        if self.json {
            return Ok(());
        }
        print(table(&rows, 2).trim_end())?;
        print(
            "\nTokens of the suspect's answers (reading: of your served answers) until p, or 1/e, is below the level; prompts, cost \
             and minutes\nfor 80 % power. From the laboratory's students; `>` is the end of what was measured.",
        )
    }

    fn shows(&self, curves: &[(Access, Sample, Curves)], tokens: f64, need: f64, scale: f64) -> Result<()> {
        let mut rows = vec![["access", "sample", "share at 80 % power", "at 95 %"].map(str::to_owned).to_vec()];
        for (access, sample, curves) in curves {
            let share = |power| curves.smallest_share(tokens, need, power, scale);
            let (share_80, share_95) = (share(0.8), share(0.95));
            let access = access.as_str();
            if self.json {
                print_json(&Shows { access, sample: *sample, tokens, alpha: self.alpha, share_80, share_95 })?;
                continue;
            }
            let text =
                |share: Option<f64>| share.map_or_else(|| "none measured".to_owned(), |share| format!("{share:.3}"));
            let sample = if *sample == Sample::Fixed { "fixed" } else { "anytime" };
            rows.push(vec![access.to_owned(), sample.to_owned(), text(share_80), text(share_95)]);
        }
        if self.json {
            return Ok(());
        }
        print(table(&rows, 2).trim_end())?;
        print(&format!(
            "\nThe smallest share of marked training answers that {tokens} tokens show. From the laboratory's students."
        ))
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

fn tokens_text(tokens: Tokens) -> String {
    match tokens {
        Tokens::Need(tokens) => tokens.to_string(),
        Tokens::MoreThan { more_than } => format!("> {more_than}"),
    }
}

impl From<AccessArg> for Access {
    fn from(access: AccessArg) -> Self {
        match access {
            AccessArg::Answers => Self::Answers,
            AccessArg::Logprobs => Self::Logprobs,
            AccessArg::Weights => Self::Weights,
            AccessArg::Reading => Self::Reading,
        }
    }
}
