use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use watermark_cli::distill::{Access, Line, Options, Source, Tested};
use watermark_cli::files::{read_key, read_profile, read_secret, replace};
use watermark_cli::probe::ask::Retries;
use watermark_cli::probe::budget::{Budget, CostLimit};
use watermark_cli::probe::client::Client;
use watermark_cli::probe::endpoint::{Api, ApiToken, Endpoint};
use watermark_cli::probe::judge::{Judge, Standing};
use watermark_cli::probe::run::{End, Outcome, Plan, Progress, run};
use watermark_cli::probe::transcript::{Collection, Exchange, FORMAT, Header, Registered, prompts_sha256};
use watermark_cli::read::{InputFormat, read_prompts};
use watermark_cli::tokenizer::{Tokenizer, hex};
use watermark_core::detect::{Detector, RESAMPLING_KEYS, Verdict};
use watermark_lab::prompts::{prompt_text, word_problems};
use zeroize::Zeroizing;

use super::distill::{check_testable, print_lines};
use super::{claim, complain, print, print_json, progress, say, table};

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

/// `result.json`: no times, so that the same transcript gives the same bytes.
#[derive(Serialize)]
struct ProbeResult<'a> {
    result: &'static str,
    collection: Collection,
    model: &'a str,
    /// Of --replicate there is none.
    verdict: Option<&'static str>,
    end: &'static str,
    threshold_ln_e: Option<f64>,
    n_prompts: u64,
    rounds: u64,
    answered: u64,
    failed: u64,
    not_judged: u64,
    requests: u64,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    cost: Option<f64>,
    profile_sha256: Option<String>,
    prompts_sha256: &'a str,
    transcript_sha256: &'a str,
    /// As `watermark distill` gives it for the transcript.
    test: Option<Line>,
}

/// Whose mark is looked for.
struct Wanted {
    tested: Tested,
    vocab_size: u32,
    profile_sha256: [u8; 32],
    path: String,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        self.check()?;
        let endpoint = Endpoint::parse(&self.endpoint)?;
        let token = self.token(&endpoint)?;
        let (wanted, tokenizer) = self.wanted()?;
        let prompts = self.prompts()?;
        let header = self.header(&endpoint, &prompts, wanted.as_ref())?;
        let client = Client::new(&endpoint, header.api, token, Duration::from_secs_f64(self.limits.timeout));
        let written = serde_json::to_string(&header)?;
        if client.leaks_token(&written) {
            bail!("the settings contain the API token, and they are written to the transcript; take it out of them");
        }
        let stop = stop_on_signal()?;
        let plan = Plan {
            header,
            prompts: &prompts,
            client: &client,
            retries: Retries { max: self.limits.max_retries, jitter_seed: getrandom::u64()? },
            concurrency: self.limits.concurrency,
            requests_per_minute: self.limits.requests_per_minute,
            budget: self.budget(),
            futility: !self.limits.no_futility && wanted.is_some(),
            tokenizer: tokenizer.as_ref(),
            stop: &stop,
        };
        let mut judge =
            wanted.as_ref().zip(tokenizer.as_ref()).map(|(wanted, tokenizer)| self.judge(wanted, tokenizer, &plan));
        prepare_folder(&self.out)?;
        let bar = progress("Asking", plan.header.n_prompts);
        let mut history = Vec::new();
        let look = |exchanges: &[Exchange]| match &mut judge {
            Some(judge) => judge.add_round(exchanges),
            // Nobody looks: there is no key.
            None => Ok(Standing { ln_e: 0.0, n_scored: 0, threshold_ln: f64::INFINITY, decided: false }),
        };
        let outcome = run(&plan, &self.out.join(TRANSCRIPT), Box::new(look), &mut |progress| {
            show(&bar, progress, &mut history, wanted.is_some());
        });
        bar.finish_and_clear();
        let outcome = outcome?;
        if outcome.end == End::Interrupted {
            say(&format!(
                "interrupted after {} answers; the same command goes on in {}",
                outcome.answered + outcome.not_judged,
                self.out.display()
            ));
            return Ok(ExitCode::from(2));
        }
        let test = judge.as_ref().map(Judge::line).transpose()?;
        let result = self.result(&plan, &outcome, wanted.as_ref(), test);
        replace(&self.out.join(RESULT), (serde_json::to_string_pretty(&result)? + "\n").as_bytes())?;
        if self.json {
            print_json(&result)?;
        } else {
            print_result(&result, &self.out)?;
        }
        Ok(claim(result.verdict.is_none_or(|verdict| verdict == Verdict::Detected.as_str())))
    }

    fn check(&self) -> Result<()> {
        let limits = &self.limits;
        ensure!(self.alpha > 0.0 && self.alpha < 1.0, "--alpha is {}; it must be between 0 and 1", self.alpha);
        ensure!(
            limits.timeout >= 0.1 && limits.timeout <= 86_400.0,
            "--timeout is {}; it must be between 0.1 and 86400 seconds",
            limits.timeout
        );
        ensure!((1..=256).contains(&limits.concurrency), "--concurrency must be between 1 and 256");
        ensure!(limits.max_retries < 100, "--max-retries must be below 100");
        for (option, value) in [
            ("--max-cost", limits.max_cost),
            ("--price-prompt", limits.price_prompt),
            ("--price-completion", limits.price_completion),
        ] {
            ensure!(value.is_none_or(|value| value.is_finite() && value >= 0.0), "{option} must be 0 or more");
        }
        let counts = limits.max_completion_tokens.is_some() || limits.max_cost.is_some();
        ensure!(
            !(counts && self.replicate && self.tokenizer.is_none()),
            "--max-completion-tokens and --max-cost count tokens; with --replicate they need --tokenizer"
        );
        Ok(())
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

    /// What to look for, unless this is a collection for somebody else; and the tokenizer.
    fn wanted(&self) -> Result<(Option<Wanted>, Option<Tokenizer>)> {
        let (Some(profile_path), Some(key_path)) = (&self.profile, &self.key) else {
            return Ok((None, self.tokenizer.as_deref().map(Tokenizer::open).transpose()?));
        };
        let file = read_profile(profile_path)?;
        let tokenizer = Tokenizer::for_profile(self.tokenizer.as_deref(), profile_path, &file.profile.tokenizer)?;
        let detector = Detector::new(&file.profile, &read_key(key_path)?, self.account.as_deref())?;
        let layers = detector.layers();
        let layer = match &self.layer {
            None => layers.first(),
            Some(name) => layers.iter().find(|layer| layer.name() == Some(name)),
        };
        let layer = layer.with_context(|| format!("no layer of {} is named so", profile_path.display()))?.clone();
        let vocab_size = file.profile.tokenizer.vocab_size;
        let name = layer.name().unwrap_or_default();
        check_testable(&layer).with_context(|| format!("layer {name:?} of {}", profile_path.display()))?;
        let tested = Tested { layer, reserved: false };
        let path = file.profile.path.as_str().to_owned();
        Ok((Some(Wanted { tested, vocab_size, profile_sha256: file.sha256, path }), Some(tokenizer)))
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

    fn header(&self, endpoint: &Endpoint, prompts: &[String], wanted: Option<&Wanted>) -> Result<Header> {
        let request = &self.request;
        let extra = match request.extra.as_deref().map(serde_json::from_str::<Map<String, Value>>) {
            None => Map::new(),
            Some(Ok(extra)) => extra,
            Some(Err(error)) => bail!("--extra is not a JSON object: {error}"),
        };
        let header = Header {
            transcript: FORMAT.to_owned(),
            endpoint: endpoint.as_str().to_owned(),
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
            prompts_sha256: prompts_sha256(prompts),
            n_prompts: prompts.len() as u64,
            round_size: request.round_size,
            collection: if self.replicate { Collection::Replicate } else { Collection::Provider },
            test: wanted.map(|wanted| Registered {
                profile_sha256: hex(&wanted.profile_sha256),
                layer: wanted.tested.layer.name().unwrap_or_default().to_owned(),
                account_sha256: self.account.as_ref().map(|account| hex(&Sha256::digest(account))),
                path: wanted.path.clone(),
                alpha: self.alpha,
            }),
        };
        header.check()?;
        Ok(header)
    }

    fn budget(&self) -> Budget {
        let limits = &self.limits;
        Budget {
            max_requests: limits.max_requests,
            max_completion_tokens: limits.max_completion_tokens,
            cost: limits.max_cost.map(|max| CostLimit {
                max,
                per_million_prompt: limits.price_prompt.unwrap_or(0.0),
                per_million_completion: limits.price_completion.unwrap_or(0.0),
            }),
        }
    }

    fn judge<'a>(&self, wanted: &'a Wanted, tokenizer: &'a Tokenizer, plan: &Plan<'_>) -> Judge<'a> {
        let access = if plan.header.logprobs.is_some() { Access::Logprobs } else { Access::Answers };
        let options = Options { access, alpha: self.alpha, resample: RESAMPLING_KEYS };
        let source =
            Source { tokenizer, vocab_size: wanted.vocab_size, input_format: InputFormat::Auto, complain: &complain };
        Judge::new(&wanted.tested, source, plan.header.api, options)
    }

    fn result<'a>(
        &self,
        plan: &'a Plan<'_>,
        outcome: &'a Outcome,
        wanted: Option<&Wanted>,
        test: Option<Line>,
    ) -> ProbeResult<'a> {
        let spent = &outcome.spent;
        let counted = plan.tokenizer.is_some();
        ProbeResult {
            result: "watermark-probe/1",
            collection: plan.header.collection,
            model: &plan.header.model,
            verdict: test.as_ref().map(|test| test.verdict),
            end: outcome.end.as_str(),
            threshold_ln_e: wanted.map(|_| -self.alpha.ln()),
            n_prompts: plan.header.n_prompts,
            rounds: outcome.rounds,
            answered: outcome.answered,
            failed: outcome.failed,
            not_judged: outcome.not_judged,
            requests: spent.requests,
            prompt_tokens: counted.then_some(spent.prompt_tokens),
            completion_tokens: counted.then_some(spent.completion_tokens),
            cost: plan.budget.cost.map(|cost| cost.of(spent.prompt_tokens, spent.completion_tokens)),
            profile_sha256: wanted.map(|wanted| hex(&wanted.profile_sha256)),
            prompts_sha256: &plan.header.prompts_sha256,
            transcript_sha256: &outcome.transcript_sha256,
            test,
        }
    }
}

/// More prompts are better given in a file.
const MAX_GENERATED: usize = 1_000_000;
const TRANSCRIPT: &str = "transcript.jsonl";
const RESULT: &str = "result.json";

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

/// A new folder, an empty one, or one with a transcript, whose result is then out of date.
fn prepare_folder(out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    if out.join(TRANSCRIPT).is_file() {
        return match fs::remove_file(out.join(RESULT)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", out.join(RESULT).display()))
            }
            _ => Ok(()),
        };
    }
    if fs::read_dir(out).with_context(|| format!("reading {}", out.display()))?.next().is_some() {
        bail!("{} is not empty and holds no {TRANSCRIPT}; choose another folder", out.display());
    }
    Ok(())
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

fn print_result(result: &ProbeResult<'_>, out: &Path) -> Result<()> {
    let header = ["model", "answers", "failed", "requests", "rounds", "end"];
    let model = result.model.escape_debug().to_string();
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
    print(&format!("ln e decides at {threshold:.2}."))?;
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
