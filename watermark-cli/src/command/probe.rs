use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use indicatif::ProgressBar;
use serde_json::{Map, Value};
use watermark_core::detect::Verdict;
use watermark_lab::prompts::{prompt_text, word_problems};
use watermark_toolkit::files::read_secret;
use watermark_toolkit::probe::budget::{Budget, CostLimit};
use watermark_toolkit::probe::endpoint::{ApiToken, Endpoint};
use watermark_toolkit::probe::inquiry::{Ended, Inquiry, Limits, ProbeResult, RESULT, Request, TRANSCRIPT, Wanted};
use watermark_toolkit::probe::plan::Progress;
use watermark_toolkit::read::read_prompts;
use watermark_toolkit::tokenizer::Tokenizer;
use watermark_toolkit::transcript::Api;
use zeroize::Zeroizing;

use super::passphrase::PassphraseArgs;
use super::test_model::print_lines;
use super::{claim, print, print_json, progress, say, shown, table};

/// Ask a suspect's endpoint until the evidence decides or the budget ends
///
/// Null hypothesis: the answers are independent of the key. The evidence is an e-value, which may be looked at after
/// every round and stays valid wherever one stops: under the null it ever reaches 1/alpha with probability at most alpha.
/// Pairs that occur in a prompt of the same round or an earlier one do not count.
///
/// The folder --out holds transcript.jsonl (every request and answer, hash-chained) and result.json, a function of the
/// transcript, profile, key and options. If a run is cut short, the same command goes on where the transcript ends.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  export WATERMARK_API_KEY=...
  watermark probe --profile P --key K --endpoint http://127.0.0.1:8080/v1 --model suspect \\
      --prompts held-out.txt --out probe-1
  watermark probe ... --generate 2000 --seed 7 --max-requests 2500 --requests-per-minute 60
  watermark probe ... --max-cost 20 --price-prompt 0.5 --price-completion 1.5   # per million tokens
  watermark probe --replicate --endpoint URL --model suspect --prompts held-out.txt --out neutral
  watermark probe --replicate --endpoint URL --model unmarked --prompts held-out.txt --out base
  watermark probe ... --prompts held-out.txt --reference base/transcript.jsonl --out probe-2

Beside a reference, small shares of marked training data show. The evidence is then looked at after 1, 2, 4, ... rounds, and a p-value decides
that pays for all looks; the rest of the budget is not judged for futility. A reference that was chosen with the key could accuse anybody.

The API token comes from WATERMARK_API_KEY or --api-key-file. It is never written, and removed where
a server repeats it. Tokens and costs are counted by our own tokenizer; what the server says about
usage is not used. Only complete rounds are judged, so a round that may not fit into the budget is
not begun.

Exit codes: 0 = detected (--replicate: all answers collected), 1 = not detected, 2 = an error, too
many failed prompts, or interrupted (the same command goes on).")]
pub(crate) struct Args {
    /// The deployment's profile
    #[arg(long, value_name = "FILE", required_unless_present = "replicate")]
    profile: Option<PathBuf>,
    /// A key at or above the profile's path
    #[arg(long, value_name = "FILE", required_unless_present = "replicate")]
    key: Option<PathBuf>,
    /// The layer to test; default: the first one
    #[arg(long, value_name = "NAME", conflicts_with = "replicate")]
    layer: Option<String>,
    /// The account whose keys are tested, for a layer with a key per account
    #[arg(long, value_name = "ID", conflicts_with = "replicate")]
    account: Option<String>,
    /// tokenizer.json of the deployment; default: the one beside the profile, else the embedded one, if its digest matches
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Base address, for example http://127.0.0.1:8080/v1
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// The suspect's name at the endpoint
    #[arg(long, value_name = "NAME")]
    model: String,
    /// One prompt a line, or JSONL with `prompt`, `question` or `text`
    #[arg(long, value_name = "FILE", required_unless_present = "generate", conflicts_with = "generate")]
    prompts: Option<PathBuf>,
    /// Make so many word problems as prompts
    #[arg(long, value_name = "N", requires = "seed")]
    generate: Option<usize>,
    /// Seed of --generate
    #[arg(long, value_name = "S", requires = "generate")]
    seed: Option<u64>,
    /// Folder of the run; a run that was cut short in it goes on
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A file with the API token, if it is not in WATERMARK_API_KEY
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Collect the whole budget for somebody else's test, without a key and without looking at evidence
    #[arg(long, conflicts_with_all = ["profile", "key"])]
    replicate: bool,
    /// Answers of an unmarked model to the same prompts: a file, or the transcript that `probe --replicate` wrote of it (repeatable)
    #[arg(long = "reference", value_name = "FILE", conflicts_with = "replicate")]
    references: Vec<PathBuf>,
    /// Level of the verdict; to be fixed before the first answer
    #[arg(long, value_name = "P", default_value = "1e-6")]
    alpha: f64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(clap::Args)]
#[command(next_help_heading = "What is asked (fixed for a run)")]
struct RequestArgs {
    /// Interface: chat (/chat/completions) or completions (/completions)
    #[arg(long, value_enum, default_value = "chat")]
    api: ApiArg,
    /// Longest answer in the server's tokens
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_tokens: u32,
    /// Sampling temperature
    #[arg(long, value_name = "T", default_value_t = 0.8)]
    temperature: f64,
    /// Sample among the fewest tokens that hold this probability
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// Ask for the K most likely tokens at each position, and weigh pairs by their probabilities: far fewer answers are needed
    #[arg(long, value_name = "K")]
    logprobs: Option<u32>,
    /// Ask for a stream of events
    #[arg(long)]
    stream: bool,
    /// Further fields of the request, for example '{"top_k": 50, "seed": 1}'
    #[arg(long, value_name = "JSON")]
    extra: Option<String>,
    /// Prompts between two looks at the evidence
    #[arg(long, value_name = "N", default_value_t = 20)]
    round_size: u64,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Limits (may change when a run goes on)")]
struct LimitArgs {
    /// Requests under way at a time
    #[arg(long, value_name = "N", default_value_t = 4)]
    concurrency: usize,
    /// Most requests a minute, retries included
    #[arg(long, value_name = "R")]
    requests_per_minute: Option<f64>,
    /// Most requests of the whole run, retries included
    #[arg(long, value_name = "N")]
    max_requests: Option<u64>,
    /// Most tokens of answers, by our tokenizer
    #[arg(long, value_name = "N")]
    max_completion_tokens: Option<u64>,
    /// Most money, in the unit of the prices
    #[arg(long, value_name = "X", requires = "price_prompt", requires = "price_completion")]
    max_cost: Option<f64>,
    /// Price of a million prompt tokens
    #[arg(long, value_name = "X", requires = "max_cost")]
    price_prompt: Option<f64>,
    /// Price of a million answer tokens
    #[arg(long, value_name = "X", requires = "max_cost")]
    price_completion: Option<f64>,
    /// Longest wait for a whole answer, in seconds
    #[arg(long, value_name = "S", default_value_t = 120.0)]
    timeout: f64,
    /// Tries after the first
    #[arg(long, value_name = "N", default_value_t = 5)]
    max_retries: u32,
    /// Go on even when the rest of the budget will hardly decide
    #[arg(long)]
    no_futility: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ApiArg {
    Chat,
    Completions,
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let endpoint = Endpoint::parse(&self.endpoint)?;
        let token = self.token(&endpoint)?;
        let (wanted, tokenizer) = match (&self.profile, &self.key) {
            (Some(profile), Some(key)) => {
                let (layer, account) = (self.layer.as_deref(), self.account.as_deref());
                let (wanted, tokenizer) =
                    Wanted::open(profile, key, passphrases, layer, account, self.tokenizer.as_deref())?;
                (Some(wanted), Some(tokenizer))
            }
            _ => (None, self.tokenizer.as_deref().map(Tokenizer::open).transpose()?),
        };
        let judged = wanted.is_some();
        let (prompts, request) = (self.prompts()?, self.request()?);
        let limits = self.limits();
        let inquiry = Inquiry {
            wanted,
            tokenizer,
            references: self.references.clone(),
            endpoint,
            token,
            prompts,
            out: self.out.clone(),
            request,
            limits,
        };
        let stop = stop_on_signal()?;
        let bar = progress("Asking", inquiry.prompts.len() as u64);
        let mut history = Vec::new();
        let ended = inquiry.run(&stop, &mut |progress| show(&bar, progress, &mut history, judged));
        bar.finish_and_clear();
        let result = match ended? {
            Ended::Finished(result) => result,
            Ended::Interrupted(answers) => {
                let out = self.out.display();
                say(&format!("interrupted after {answers} answers; the same command goes on in {out}"));
                return Ok(ExitCode::from(2));
            }
        };
        if self.json {
            print_json(&result)?;
        } else {
            print_result(&result, &self.out)?;
        }
        Ok(claim(result.verdict.is_none_or(|verdict| verdict == Verdict::Detected)))
    }

    fn token(&self, endpoint: &Endpoint) -> Result<Option<ApiToken>> {
        let token = match &self.api_key_file {
            Some(path) => {
                let (text, shared) = read_secret(path).with_context(|| format!("API key file {}", path.display()))?;
                if shared {
                    say(&format!("warning: others can read {0}; run: chmod 600 {0}", path.display()));
                }
                Some(ApiToken::parse(&text).with_context(|| format!("API key file {}", path.display()))?)
            }
            None => match std::env::var("WATERMARK_API_KEY").map(Zeroizing::new) {
                Ok(text) => Some(ApiToken::parse(&text).context("WATERMARK_API_KEY")?),
                Err(std::env::VarError::NotPresent) => None,
                Err(std::env::VarError::NotUnicode(_)) => bail!("WATERMARK_API_KEY is not UTF-8"),
            },
        };
        if token.is_some() && endpoint.is_unprotected() {
            say("warning: the endpoint is http://, so anybody on the way can read the API token");
        }
        Ok(token)
    }

    fn prompts(&self) -> Result<Vec<String>> {
        if let Some(path) = &self.prompts {
            return read_prompts(path);
        }
        let (n, seed) = (self.generate.unwrap_or(0), self.seed.unwrap_or(0));
        ensure!(n > 0 && n <= MAX_GENERATED, "--generate must be between 1 and {MAX_GENERATED}");
        let problems = word_problems(seed, n);
        Ok(match self.request.api {
            ApiArg::Chat => problems,
            // A model that continues text needs to be told that an answer comes.
            ApiArg::Completions => problems.iter().map(|problem| prompt_text(problem)).collect(),
        })
    }

    fn request(&self) -> Result<Request> {
        let request = &self.request;
        let extra = match request.extra.as_deref().map(serde_json::from_str::<Map<String, Value>>) {
            None => Map::new(),
            Some(Ok(extra)) => extra,
            Some(Err(error)) => bail!("--extra is not a JSON object: {error}"),
        };
        Ok(Request {
            api: match request.api {
                ApiArg::Chat => Api::Chat,
                ApiArg::Completions => Api::Completions,
            },
            model: self.model.clone(),
            max_tokens: request.max_tokens,
            temperature: request.temperature,
            top_p: request.top_p,
            logprobs: request.logprobs,
            stream: request.stream,
            extra,
            round_size: request.round_size,
            alpha: self.alpha,
        })
    }

    fn limits(&self) -> Limits {
        let limits = &self.limits;
        Limits {
            concurrency: limits.concurrency,
            requests_per_minute: limits.requests_per_minute,
            budget: Budget {
                max_requests: limits.max_requests,
                max_completion_tokens: limits.max_completion_tokens,
                cost: limits.max_cost.map(|max| CostLimit {
                    max,
                    per_million_prompt: limits.price_prompt.unwrap_or(0.0),
                    per_million_completion: limits.price_completion.unwrap_or(0.0),
                }),
            },
            timeout: limits.timeout,
            max_retries: limits.max_retries,
            futility: !limits.no_futility,
        }
    }
}

/// More prompts are better given in a file.
const MAX_GENERATED: usize = 1_000_000;

/// Set by the first SIGINT or SIGTERM; a second one ends the process. Every line of the transcript is whole either way.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(2);
        }
        say("stopping when the answers under way are finished; once more to stop at once");
    })
    .context("catching interrupts")?;
    Ok(stop)
}

/// Rounds that the live curve shows.
const CURVE: usize = 24;

/// ln e after the last rounds as bars, the full block at its threshold; below 0 a low line.
fn curve(history: &[f64], threshold: f64) -> String {
    const BARS: [char; 9] = ['_', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bar = |ln_e: &f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 8")]
        let height = (8.0 * (ln_e / threshold).clamp(0.0, 1.0)).floor() as usize;
        BARS[height]
    };
    history[history.len().saturating_sub(CURVE)..].iter().map(bar).collect()
}

/// `history` holds ln e after every round so far.
fn show(bar: &ProgressBar, progress: &Progress, history: &mut Vec<(u64, f64)>, judged: bool) {
    let mut message = format!("{} answers", progress.answered);
    if progress.failed > 0 {
        message += &format!(", {} failed", progress.failed);
    }
    if let Some(standing) = progress.standing.filter(|_| judged) {
        if history.last() != Some(&(standing.n_scored, standing.ln_e)) {
            history.push((standing.n_scored, standing.ln_e));
        }
        let values: Vec<f64> = history.iter().map(|(_, ln_e)| *ln_e).collect();
        message += &format!(
            ", {} scored, ln e {:.2} of {:.2} {}",
            standing.n_scored,
            standing.ln_e,
            standing.threshold_ln,
            curve(&values, standing.threshold_ln)
        );
    }
    bar.set_position(progress.answered + progress.failed);
    bar.set_message(message);
}

fn print_result(result: &ProbeResult, out: &Path) -> Result<()> {
    let header = ["model", "answers", "failed", "requests", "rounds", "end"];
    let model = shown(&result.model);
    let numbers = [result.answered, result.failed, result.requests, result.rounds].map(|n| n.to_string());
    let row = [vec![model], numbers.to_vec(), vec![result.end.to_owned()]].concat();
    print(table(&[header.map(str::to_owned).to_vec(), row], 1).trim_end())?;
    let why = match result.end {
        "decided" => "The evidence reached its threshold.",
        "futile" => "Stopped: the rest of the budget would hardly decide (--no-futility goes on).",
        "budget" => "The next round does not fit into the budget; the same command with a larger one goes on.",
        _ => "All prompts were asked.",
    };
    print(&format!("{why} {TRANSCRIPT} and {RESULT} are in {}.\n", out.display()))?;
    let (Some(test), Some(threshold)) = (&result.test, result.threshold_ln_e) else {
        return print(
            "Collected without a key: nothing was tested, and nothing about the evidence was known meanwhile.",
        );
    };
    if test.looks.is_some() {
        print(&format!("log10 p over all looks decides at {:.2}.", test.alpha.log10()))?;
    } else {
        print(&format!("ln e decides at {threshold:.2}."))?;
    }
    print_lines(std::slice::from_ref(test), test.alpha)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_rises_to_its_threshold() {
        assert_eq!(curve(&[-3.0, 0.0, 2.0, 7.0, 13.9, 14.0, 99.0], 14.0), "__▁▄▇██");
        assert_eq!(curve(&[14.0; 60], 14.0).chars().count(), CURVE);
        assert_eq!(curve(&[], 14.0), "");
    }
}
