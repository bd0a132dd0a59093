use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use watermark_core::mark::{Change, Marker, Raised, Sampling, SessionOptions};
use watermark_lab::answer::{Answering, Requests, answer};
use watermark_lab::model::Model;
use watermark_lab::prompts::prompt_text;
use watermark_lab::shipped;
use watermark_toolkit::files::{read_bounded, read_profile, write_new, write_secret};
use watermark_toolkit::keys::read_key;
use watermark_toolkit::read::read_prompts;
use watermark_toolkit::tokenizer::Tokenizer;

use super::passphrase::PassphraseArgs;
use super::{print, progress};

/// Answer prompts with the embedded model, marked under a profile
///
/// Writes JSONL with `prompt` (as the model was given it: "Question: …", a line break, "Answer:"), `completion`, `prompt_tokens` and `tokens`, so that `detect` can read the file both as
/// text and with --input-format tokens. Under a profile with paired draws also `request`, `account` and `withheld`, for `watermark pairs`:
/// what must stay with the provider. The model is a small one for experiments: it shows marking, not answering. A temperature or a
/// top-p below the floors of the profile's sampling policy is raised, which the command says.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark profile new --out lab.profile.json
  watermark keygen --out lab.key.json
  watermark mark --profile lab.profile.json --key lab.key.json --prompts prompts.txt --out marked.jsonl
  watermark detect --profile lab.profile.json --key lab.key.json marked.jsonl

Under a profile with paired draws every prompt is a request, with a number of its own:
  watermark mark --profile pairs.profile.json --key lab.key.json --ledger ledger/2026-11 --account alice --prompts a.txt --out served1.jsonl
  watermark mark --profile pairs.profile.json --key lab.key.json --ledger ledger/2026-11 --first-request 40 --account bob --prompts b.txt \\
    --out served2.jsonl")]
pub(crate) struct Args {
    /// A profile made for the model's tokenizer
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// A key at or above the profile's path
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// One prompt a line, or JSONL with `prompt`, `question` or `text`
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// The JSONL file to write; never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Another model in the laboratory's safetensors format, with the same tokenizer
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Longest answer in tokens
    #[arg(long, default_value_t = 96, value_name = "N")]
    max_tokens: usize,
    /// Sampling temperature; 0 is greedy and carries no mark, unless the profile's sampling policy sees to it
    #[arg(long, default_value_t = 0.8)]
    temperature: f32,
    /// Sample among the K most likely tokens
    #[arg(long, default_value_t = 50, value_name = "K")]
    top_k: usize,
    /// Sample among the fewest tokens that hold this probability
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// Drop tokens below this share of the most likely one's probability
    #[arg(long, value_name = "P")]
    min_p: Option<f64>,
    /// Seed of the draws that no key decides
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The account that asks, for layers with a key per account and for paired draws
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Sample without any mark, for comparison
    #[arg(long)]
    unmarked: bool,
    /// For paired draws: the ledger that the prompts are requests of, for example ledger/2026-11
    #[arg(long, value_name = "NAME", conflicts_with = "unmarked")]
    ledger: Option<String>,
    /// The first prompt's number in the ledger, which no other answer may have
    #[arg(long, default_value_t = 0, value_name = "N", requires = "ledger")]
    first_request: u64,
}

/// Larger model files are refused.
const MAX_MODEL: u64 = 256 << 20;

/// A model in the laboratory's format.
pub(super) fn read_model(path: &Path) -> Result<Model> {
    let named = || format!("model {}", path.display());
    Model::from_safetensors(&read_bounded(path, MAX_MODEL).with_context(named)?).with_context(named)
}

#[derive(Serialize)]
struct AnswerLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    prompt: &'a str,
    completion: &'a str,
    prompt_tokens: &'a [u32],
    tokens: &'a [u32],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    withheld: &'a [Option<u32>],
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let profile = read_profile(&self.profile)?.profile;
        let tokenizer = Tokenizer::embedded()?;
        if tokenizer.info()?.sha256 != profile.tokenizer.sha256 {
            bail!(
                "profile {} is for another tokenizer than the embedded model's; make one with: watermark profile new",
                self.profile.display()
            );
        }
        let key = read_key(&self.key, passphrases)?;
        let prompts = read_prompts(&self.prompts)?;
        let model = self.model.as_deref().map_or_else(shipped::teacher, read_model)?;
        // Without a layer that has a key for it, an account is only written down beside its requests.
        let keyed = profile.has_account_layer() || profile.paired.is_none();
        let marker = Marker::new(profile, &key)?;
        let how = Answering {
            max_new_tokens: self.max_tokens,
            sampling: Sampling {
                temperature: self.temperature,
                top_k: Some(self.top_k),
                top_p: self.top_p,
                min_p: self.min_p,
            },
            marked: !self.unmarked,
            account: self.account.clone().filter(|_| keyed),
            seed: self.seed,
            requests: self
                .ledger
                .as_deref()
                .map(|ledger| Requests::new(ledger, self.first_request, prompts.len()))
                .transpose()?,
        };
        let request = |i: usize| how.requests.as_ref().map(|requests| requests.ids()[i].to_string());
        let options = SessionOptions {
            account: how.account.clone(),
            marked: how.marked,
            seed: how.seed,
            sampling: how.sampling,
            request: request(0),
        };
        let raised = marker.session(&options)?.raised();
        if self.out.exists() {
            bail!("{} exists and is not overwritten; choose another name", self.out.display());
        }
        let bar = progress("Answering prompts", (prompts.len() * self.max_tokens) as u64);
        let answers = answer(&model, &tokenizer, &marker, &prompts, &how, &mut |n| bar.inc(n as u64))?;
        bar.finish_and_clear();
        let (mut lines, mut tokens) = (Vec::new(), 0);
        for (i, (prompt, answer)) in prompts.iter().map(|prompt| prompt_text(prompt)).zip(&answers).enumerate() {
            tokens += answer.tokens.len();
            let line = AnswerLine {
                request: request(i),
                account: self.account.as_deref().filter(|_| how.requests.is_some()),
                prompt: &prompt,
                completion: &answer.text,
                prompt_tokens: &answer.prompt_tokens,
                tokens: &answer.tokens,
                withheld: &answer.withheld,
            };
            serde_json::to_writer(&mut lines, &line)?;
            lines.push(b'\n');
        }
        // What was withheld stays with the provider.
        let write = if how.requests.is_some() { write_secret } else { write_new };
        write(&self.out, &lines)?;
        let mark = if self.unmarked { "unmarked" } else { "marked" };
        print(&format!("Wrote {} {mark} answers, {tokens} tokens, to {}", answers.len(), self.out.display()))?;
        if let Some(last) = how.requests.as_ref().and_then(|requests| requests.ids().last()) {
            print(&format!(
                "The last request is {last}; go on with --first-request {}.",
                u128::from(last.number()) + 1
            ))?;
        }
        let Raised { temperature, top_p } = raised;
        if let Some(Change { from, to }) = temperature {
            print(&format!("The profile's sampling policy raised the temperature from {from} to {to}."))?;
        }
        if let Some(Change { from, to }) = top_p {
            print(&format!("The profile's sampling policy raised top-p from {from} to {to}."))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
