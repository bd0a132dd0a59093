use std::process::ExitCode;

use anyhow::Result;
use watermark_toolkit::pairs::{Amount, Compared, PlanLine, PlanQuestion};

use super::super::{one_of, print, print_json, table};

/// How many requests, tokens, calls and how much money a test of paired draws takes
///
/// Works from the laboratory's students: how often they prefer what was served, by how much. Coins are drawn from that for lists and accounts
/// of any size, and the test itself counts them. Larger models learn from far more data; take the order of magnitude, and plan twice as much.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watermark pairs plan                                       # 24,000 accounts of 667 requests, all of them harvested and learned
  watermark pairs plan --learned 0.1 --price-prompt 0.5      # of each account a tenth of the answers was learned
  watermark pairs plan --compare next-token --price-prompt 0.5 --price-completion 2
  watermark pairs plan --accounts 500 --harvested 8 --requests-each 2000 --json

Columns: the share of served answers in what the students learned, their passes over it, how many in a hundred tokens had been replaced, and
passes over clean text afterwards; how many requests of the list, harvested and other accounts as they are on it, show it by all of them together
(`--alpha`); how many requests of one harvested account name it among all (`--accounts-alpha`), both at 80 % power with the student that shows
least; and what all requests show in one draw of the coins: log10 of the list's e-value, which its accounts give where few were harvested,
and how many of the harvested accounts are named. `>`: not by the whole list, or a million requests of an account; `-`: the laboratory's students
did not show it themselves.

Compared: base, the suspect's probabilities of both candidates beside a model like the one that it was trained from; alone, without one;
next-token, no probabilities: which token the suspect says next after what was served so far, one call a position. That was measured where the
base is uncertain by a nat or more; elsewhere calls show less.

Tokens are those of one reading of prompt and answer, as weights take it. An endpoint of prompt log-probabilities reads once more for each
position whose candidates are not both among its likeliest tokens, which were a quarter of them in the laboratory; a suspect with another tokenizer reads twice a
position. Reference and controls read as much again.

What is learned counts by its square: a tenth of it takes a hundred times as many requests, and far less than a tenth may never show, because
the smallest bet is too large for it. So put accounts on one list whose answers went the same way.")]
pub(crate) struct Args {
    /// What is compared at each position
    #[arg(long, value_parser = one_of(Compared::ALL, Compared::as_str), default_value = "base", value_name = "KIND")]
    compare: Compared,
    /// Accounts on the list
    #[arg(long, default_value_t = 24_000, value_name = "N")]
    accounts: u32,
    /// How many of them were harvested; default: all
    #[arg(long, value_name = "N")]
    harvested: Option<u32>,
    /// Requests of each account
    #[arg(long, default_value_t = 667, value_name = "N")]
    requests_each: u32,
    /// Share of a harvested account's requests whose answers the suspect learned
    #[arg(long, default_value_t = 1.0, value_name = "SHARE")]
    learned: f64,
    /// Level of the verdict about the list
    #[arg(long, default_value_t = 1e-6)]
    alpha: f64,
    /// Family-wise level of the verdicts about accounts
    #[arg(long, default_value_t = 1e-3)]
    accounts_alpha: f64,
    /// Tokens of a prompt
    #[arg(long, default_value_t = 60.0, value_name = "N")]
    tokens_per_prompt: f64,
    /// Tokens of an answer
    #[arg(long, default_value_t = PlanQuestion::default().tokens_per_answer, value_name = "N")]
    tokens_per_answer: f64,
    /// Price of a million tokens that the suspect reads
    #[arg(long, value_name = "X")]
    price_prompt: Option<f64>,
    /// Price of a million tokens that it says
    #[arg(long, value_name = "X")]
    price_completion: Option<f64>,
    /// Print JSON lines instead of a table
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let question = PlanQuestion {
            compared: self.compare,
            accounts: self.accounts,
            harvested: self.harvested.unwrap_or(self.accounts),
            requests_each: self.requests_each,
            learned: self.learned,
            alpha: self.alpha,
            accounts_alpha: self.accounts_alpha,
            tokens_per_prompt: self.tokens_per_prompt,
            tokens_per_answer: self.tokens_per_answer,
            price_prompt: self.price_prompt,
            price_completion: self.price_completion,
        };
        let lines = question.lines()?;
        if self.json {
            lines.iter().try_for_each(print_json)?;
            return Ok(ExitCode::SUCCESS);
        }
        let calls = self.compare == Compared::NextToken;
        let unit = if calls { "calls" } else { "tokens" };
        let priced = self.price_prompt.is_some() || self.price_completion.is_some();
        let mut header = ["share", "passes", "replaced", "clean", "list: requests", unit, "account: requests", unit]
            .map(str::to_owned)
            .to_vec();
        if priced {
            header.insert(6, "cost".to_owned());
            header.push("cost".to_owned());
        }
        header.extend(["all: log10 e".to_owned(), format!("named of {}", question.harvested)]);
        let mut rows = vec![header];
        for line in &lines {
            let mut row =
                vec![percent(line.share), line.passes.to_string(), percent(line.noise), line.clean_passes.to_string()];
            for amount in [line.list, line.account] {
                row.extend(cells(amount, line.shown, calls, priced));
            }
            row.extend(match line.shown {
                true => [format!("{:.0}", line.list_log10_e), named(line)],
                false => ["-".to_owned(), "-".to_owned()],
            });
            rows.push(row);
        }
        print(table(&rows, 2).trim_end())?;
        if let Some(PlanLine { fleet, .. }) = lines.first() {
            let all = if calls { format!("{} calls", fleet.calls) } else { format!("{} tokens", fleet.tokens) };
            let cost = fleet.cost.map_or_else(String::new, |cost| format!(" for {cost:.0}"));
            print(&format!(
                "\nAll {} requests of all accounts: {all}{cost}. Each row is that of the weakest of {} students in the laboratory.",
                fleet.requests, lines[0].students
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1000.0).round() / 10.0)
}

fn cells(amount: Option<Amount>, shown: bool, calls: bool, priced: bool) -> Vec<String> {
    let Some(Amount { requests, tokens, calls: asked, cost }) = amount else {
        let why = if shown { ">" } else { "-" };
        return vec![why.to_owned(); if priced { 3 } else { 2 }];
    };
    let cost = priced.then(|| format!("{:.2}", cost.unwrap_or(0.0)));
    [requests.to_string(), if calls { asked } else { tokens }.to_string()].into_iter().chain(cost).collect()
}

fn named(line: &PlanLine) -> String {
    let others = if line.others_named > 0 { format!(", {} others", line.others_named) } else { String::new() };
    format!("{}{others}", line.named)
}
