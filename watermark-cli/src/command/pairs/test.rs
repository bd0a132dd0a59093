use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use watermark_core::detect::{Verdict, check_level};
use watermark_toolkit::files::read_profile;
use watermark_toolkit::keys::read_key;
use watermark_toolkit::pairs::{About, Files, Options, PairsLine, judge};

use super::super::passphrase::PassphraseArgs;
use super::super::{claim, print, print_json, shown, spinner, table};

/// Test a suspect's scores on a list of served answers
///
/// Null hypothesis: the suspect is independent of the list's coins. Each position with two different candidates counts by how much likelier the
/// served one is to the suspect than the withheld one, beyond what a reference finds; larger differences than 4 nats count as 4. Positions of
/// an answer follow from each other, so the e-value decides: it has a mean of at most 1 however the candidates came about. That of the list is the
/// mean of two: of all requests together, and of the accounts' mean, so that a few harvested accounts show among many others. A position without
/// scores counts as lost, so that nothing is gained by leaving one out.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark profile new --distillation none --provenance none --pairs --out pairs.profile.json
  watermark keygen --out pairs.key.json
  watermark mark --profile pairs.profile.json --key pairs.key.json --ledger ledger/2026-11 --prompts prompts.txt --out served.jsonl
  watermark pairs score --model suspect.safetensors --out suspect.scores.jsonl served.jsonl
  watermark pairs score --model base --out base.scores.jsonl served.jsonl
  watermark pairs test --profile pairs.profile.json --key pairs.key.json \\
    --scores suspect.scores.jsonl --reference base.scores.jsonl served.jsonl

The reference is a model that learned none of the answers: the base that the suspect was made from, or the provider's own before. It makes the
test several times as strong. One that was made with the coins accuses anybody; if it leans strongly, the verdict is inconclusive. Controls are unrelated
models; one that prefers what was served says that something else than learning shows it, and makes the verdict inconclusive, on the list or about
an account.

The list is the whole ledger, or part of it that was chosen without looking at scores; its first and last number and what is missing are shown.
Which side was served follows from the key and the two candidates, so sides cannot be swapped. That the candidates are the ones that were drawn,
is the provider's word, or with --law that of whoever has the serving model. That accounts were written down before shows only in evidence
(`pairs register`, `pairs evidence`).

Exit codes: 0 = the list is detected, 1 = it is not, whatever its accounts are, 2 = an error.")]
pub(crate) struct Args {
    /// Served answers in the order of the ledger (JSONL: request, account, prompt_tokens, tokens, withheld)
    #[arg(required = true, value_name = "FILE")]
    served: Vec<PathBuf>,
    /// The profile that they were served under
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// A key at or above the profile's path
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The suspect's scores
    #[arg(long, value_name = "FILE")]
    scores: PathBuf,
    /// Scores of a model that learned none of the answers
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Scores of an unrelated model (repeatable)
    #[arg(long, value_name = "FILE")]
    controls: Vec<PathBuf>,
    /// What the serving model's law says of both candidates (`pairs score --law`); candidates that it did not draw make the verdict
    /// inconclusive
    #[arg(long, value_name = "FILE")]
    law: Option<PathBuf>,
    /// Only the first N tokens of each answer count; fix it beforehand, for models that read no more
    #[arg(long, value_name = "N")]
    first_tokens: Option<u32>,
    /// Level of the verdict about the list
    #[arg(long, default_value_t = 1e-6)]
    alpha: f64,
    /// Family-wise level of the verdicts about accounts
    #[arg(long, default_value_t = 1e-3)]
    accounts_alpha: f64,
    /// Accounts to show, those with the most evidence first
    #[arg(long, default_value_t = 20, value_name = "N")]
    accounts: usize,
    /// Print JSON lines, one for the list and one for each account
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        check_level(self.alpha).context("--alpha")?;
        check_level(self.accounts_alpha).context("--accounts-alpha")?;
        let profile = read_profile(&self.profile)?.profile;
        let key = read_key(&self.key, passphrases)?;
        let files = Files {
            suspect: &self.scores,
            reference: self.reference.as_deref(),
            controls: &self.controls,
            law: self.law.as_deref(),
        };
        let options =
            Options { first_tokens: self.first_tokens, alpha: self.alpha, accounts_alpha: self.accounts_alpha };
        let bar = spinner("Requests");
        let lines = judge(&profile, &key, &self.served, &files, &options, |n| {
            bar.inc(n);
            Ok(())
        })?;
        bar.finish_and_clear();
        let detected = lines.first().is_some_and(|line| line.verdict == Verdict::Detected);
        if self.json {
            lines.iter().try_for_each(print_json)?;
        } else {
            self.print(&lines)?;
        }
        Ok(claim(detected))
    }

    fn print(&self, lines: &[PairsLine]) -> Result<()> {
        let Some((whole, accounts)) = lines.split_first() else { return Ok(()) };
        let header = ["", "requests", "positions", "served preferred", "log10 e", "verdict"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        let mut add = |name: String, line: &PairsLine| {
            let verdict = line.verdict.as_str().to_owned();
            let [n, share, e] = numbers(line.n_scored, line.n_served_preferred, line.ln_e);
            rows.push(vec![name, line.requests.to_string(), n, share, e, verdict]);
            rows.extend(line.controls.iter().map(|control| {
                let [n, share, e] = numbers(control.n_scored, control.n_served_preferred, control.ln_e);
                vec![format!("  control {}", shown(&control.name)), String::new(), n, share, e, String::new()]
            }));
        };
        add("all".to_owned(), whole);
        for line in accounts.iter().take(self.accounts) {
            add(format!("account {}", shown(line.account.as_deref().unwrap_or_default())), line);
        }
        print(table(&rows, 1).trim_end())?;
        if accounts.len() > self.accounts {
            let named = accounts.iter().skip(self.accounts).filter(|line| line.verdict == Verdict::Detected).count();
            print(&format!(
                "{} more accounts (--accounts), {named} of them detected.",
                accounts.len() - self.accounts
            ))?;
        }
        if let Some(About { first_request, last_request, n_missing, n_without_candidate, n_equal, n_special }) =
            &whole.list
        {
            print(&format!(
                "The list: {} to {}, {n_missing} numbers between them missing; beside the positions above {n_equal} whose candidates are the same, \
                 {n_special} with a special one, {n_without_candidate} without a second one, and {} without a preference.",
                shown(first_request),
                shown(last_request),
                whole.n_ties.saturating_sub(*n_equal)
            ))?;
        }
        if whole.n_unscored > 0 {
            print(&format!("{} positions have no scores and count as lost.", whole.n_unscored))?;
        }
        if !whole.controls_agree {
            print(
                "A control prefers what was served, so something else than learning shows which side that was: nothing follows.",
            )?;
        }
        if !whole.reference_agrees {
            print(
                "The reference prefers what was withheld, as one does that was made with the coins: nothing follows.",
            )?;
        }
        match whole.draws_log10_p {
            Some(log10_p) if whole.draws_agree => {
                print(&format!("The candidates fit the law that they were drawn from (log10 p {log10_p:.2})."))?;
            }
            Some(log10_p) => print(&format!(
                "The candidates are not those that this law draws (log10 p {log10_p:.2}), or it prefers what was served itself (log10 e {:.2}), as where \
                 prompts were chosen for their coins: nothing follows.",
                whole.law_ln_e.unwrap_or(0.0) / std::f64::consts::LN_10
            ))?,
            None => (),
        }
        if self.reference.is_none() {
            print(
                "No reference: what all models prefer counts as noise. Score a model that learned none of this with --reference.",
            )?;
        }
        if self.controls.is_empty() {
            print("No controls: name scores of unrelated models with --controls.")?;
        }
        print(&format!(
            "\nVerdicts by e-value (of the list: the mean of that of all requests and of the accounts' mean), at level {:e} for the list and {:e} \
             for all accounts together (Holm). A detection says that the model depends on which candidates were served. It rests on this: the \
             candidates are the ones that were drawn first, from one distribution and without looking at the coin; list, accounts, scores and \
             reference were made and chosen without the coins. It does not say that the account's owner trained the model: answers may have been \
             published, bought or proxied, or a distilled model may stand in between.",
            self.alpha, self.accounts_alpha
        ))
    }
}

fn numbers(n: u64, wins: u64, ln_e: f64) -> [String; 3] {
    let share = 100.0 * wins as f64 / n.max(1) as f64;
    [n.to_string(), format!("{share:.1} %"), format!("{:.2}", ln_e / std::f64::consts::LN_10)]
}
