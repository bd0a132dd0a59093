use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use watermark_core::model_test::Access;
use watermark_toolkit::files::{read_profile, write_new};
use watermark_toolkit::plan::{Question, ReferenceKind, Sample, Tokens, power_svg, scale};

use super::{one_of, print, print_json, table};

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
  watermark plan --reference teacher                            # the same beside our own model without marks
  watermark plan --profile chat.profile.json --plot power.svg

Access: answers; logprobs (answers with the 20 most likely tokens); weights (answers with whole distributions); reading
(the most likely token while the suspect reads answers that you served). Samples: fixed (the size is registered) and
anytime (`watermark probe`, stopped by its e-process; reading). Reading was measured while contexts that an earlier text had shown
still counted: it needs more than its curves say, and what it can show is bounded by the number of contexts.

Beside a reference (`test-model --reference`): base, a model like the one that the suspect was trained from; teacher, our own model
without marks; answers, the unmarked answers of ours to the same prompts, which is what evidence compares with. These students learned the
share of marked answers among 4,000 texts, the rest of which others had written; without a reference all of 1,200 came from one teacher. weights are then read off along unmarked answers of ours.")]
pub(crate) struct Args {
    /// What the suspect shows (repeatable); default: every kind
    #[arg(long, value_parser = one_of(Access::ALL, Access::as_str))]
    access: Vec<Access>,
    /// What stands beside the suspect; default: nothing, a test by counts
    #[arg(long, value_parser = one_of(ReferenceKind::ALL, ReferenceKind::as_str), value_name = "KIND")]
    reference: Option<ReferenceKind>,
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

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let scale = match &self.profile {
            None => 1.0,
            Some(path) => scale(&read_profile(path)?.profile)?,
        };
        let measured = Question::beside(self.reference);
        let question = Question {
            access: if self.access.is_empty() { measured.access } else { self.access.clone() },
            reference: self.reference,
            shares: if self.share.is_empty() { measured.shares } else { self.share.clone() },
            scale,
            alpha: self.alpha,
            family: self.family,
            tokens_per_answer: self.tokens_per_answer,
            tokens_per_prompt: self.tokens_per_prompt,
            price_prompt: self.price_prompt,
            price_completion: self.price_completion,
            answers_per_minute: self.answers_per_minute,
        };
        if let Some(plot) = &self.plot {
            self.draw(plot, &question)?;
        }
        match self.budget_tokens {
            Some(tokens) => self.print_shows(&question, tokens)?,
            None => self.print_needs(&question)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn draw(&self, plot: &Path, question: &Question) -> Result<()> {
        let curves = question.curves()?;
        let named = curves.iter().filter(|(access, sample, _)| *sample == Sample::Fixed || *access == Access::Reading);
        let share = question.shares.iter().take(if self.access.len() == 1 { usize::MAX } else { 1 });
        let lines: Vec<_> = named
            .flat_map(|(access, _, curves)| {
                let beside =
                    self.reference.map_or_else(String::new, |reference| format!(" beside {}", reference.as_str()));
                let name = move |share| format!("{}{beside}, share {share}", access.as_str());
                let line = move |&share| (name(share), curves, share, question.scale);
                share.clone().map(line)
            })
            .collect();
        write_new(plot, power_svg(&lines, question.digits()).as_bytes())
    }

    fn print_needs(&self, question: &Question) -> Result<()> {
        let header = ["access", "sample", "share", "median", "80 % power", "95 % power", "prompts", "cost", "minutes"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for line in question.needs()? {
            if self.json {
                print_json(&line)?;
                continue;
            }
            let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            rows.push(vec![
                line.access.as_str().to_owned(),
                sample_text(line.sample).to_owned(),
                line.share.to_string(),
                tokens_text(line.tokens_median),
                tokens_text(line.tokens_80),
                tokens_text(line.tokens_95),
                or_dash(line.prompts_80.map(|n| n.to_string())),
                or_dash(line.cost_80.map(|cost| format!("{cost:.2}"))),
                or_dash(line.minutes_80.map(|minutes| format!("{minutes:.1}"))),
            ]);
        }
        if self.json {
            return Ok(());
        }
        print(table(&rows, 2).trim_end())?;
        let beside = self.reference.map_or("", |reference| match reference {
            ReferenceKind::Base => " beside a model like the one it was trained from",
            ReferenceKind::Teacher => " beside our own model without marks",
            ReferenceKind::Answers => " beside unmarked answers of ours",
        });
        let others = if self.reference.is_some() {
            "weights: of your own unmarked answers, along which they are read off"
        } else {
            "reading: of your served answers"
        };
        print(&format!(
            "\nTokens of the suspect's answers ({others}){beside} until p, or 1/e, is below the level; prompts, cost \
             and minutes\nfor 80 % power. From the laboratory's students; `>` is the end of what was measured.",
        ))
    }

    fn print_shows(&self, question: &Question, tokens: f64) -> Result<()> {
        let mut rows = vec![["access", "sample", "share at 80 % power", "at 95 %"].map(str::to_owned).to_vec()];
        for line in question.shows(tokens)? {
            if self.json {
                print_json(&line)?;
                continue;
            }
            let text =
                |share: Option<f64>| share.map_or_else(|| "none measured".to_owned(), |share| format!("{share:.3}"));
            let sample = sample_text(line.sample).to_owned();
            rows.push(vec![line.access.as_str().to_owned(), sample, text(line.share_80), text(line.share_95)]);
        }
        if self.json {
            return Ok(());
        }
        print(table(&rows, 2).trim_end())?;
        print(&format!(
            "\nThe smallest share of marked training answers that {tokens} tokens show. From the laboratory's students."
        ))
    }
}

fn sample_text(sample: Sample) -> &'static str {
    if sample == Sample::Fixed { "fixed" } else { "anytime" }
}

fn tokens_text(tokens: Tokens) -> String {
    match tokens {
        Tokens::Need(tokens) => tokens.to_string(),
        Tokens::MoreThan { more_than } => format!("> {more_than}"),
    }
}
