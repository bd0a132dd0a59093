//! Questions to a suspect's endpoint, as `watermark probe` asks them.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use pyo3::prelude::*;
use serde_json::{Map, Value, json};
use watermark_toolkit::probe::budget::{Budget, CostLimit};
use watermark_toolkit::probe::endpoint::{ApiToken, Endpoint};
use watermark_toolkit::probe::inquiry::{Ended, Inquiry, Limits, Request, Wanted};
use watermark_toolkit::probe::plan::Progress;
use watermark_toolkit::tokenizer::Tokenizer;
use watermark_toolkit::transcript::Api;
use zeroize::Zeroizing;

use crate::error::raise;
use crate::key_file::key_path;
use crate::passphrase::Asking;
use crate::work::{Watch, interruptible};

/// Asks until the evidence decides or the budget ends, and gives result.json as text. An interrupt stops it when the answers under way are finished, and the same
/// call goes on from there.
#[pyfunction]
#[pyo3(signature = (
    endpoint, model, prompts, out, *, mark, references, layer, account, tokenizer, api_key, api, max_tokens, temperature, top_p, logprobs,
    stream, extra, round_size, alpha, concurrency, requests_per_minute, max_requests, max_completion_tokens, max_cost,
    price_prompt, price_completion, timeout, max_retries, futility, progress
))]
#[expect(clippy::too_many_arguments, reason = "keywords of a Python call")]
fn probe_endpoint(
    py: Python<'_>,
    endpoint: String,
    model: String,
    prompts: Vec<String>,
    out: PathBuf,
    mark: Option<(PathBuf, PathBuf)>,
    references: Vec<PathBuf>,
    layer: Option<String>,
    account: Option<String>,
    tokenizer: Option<PathBuf>,
    api_key: Option<String>,
    api: &str,
    max_tokens: u32,
    temperature: f64,
    top_p: Option<f64>,
    logprobs: Option<u32>,
    stream: bool,
    extra: &str,
    round_size: u64,
    alpha: f64,
    concurrency: usize,
    requests_per_minute: Option<f64>,
    max_requests: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_cost: Option<f64>,
    price_prompt: Option<f64>,
    price_completion: Option<f64>,
    timeout: f64,
    max_retries: u32,
    futility: bool,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    let api_key = api_key.map(Zeroizing::new);
    for path in mark.iter().flat_map(|(profile, key)| [profile, key]) {
        key_path(path, "a probe")?;
    }
    let limits = Limits {
        concurrency,
        requests_per_minute,
        budget: Budget {
            max_requests,
            max_completion_tokens,
            cost: max_cost.map(|max| CostLimit {
                max,
                per_million_prompt: price_prompt.unwrap_or(0.0),
                per_million_completion: price_completion.unwrap_or(0.0),
            }),
        },
        timeout,
        max_retries,
        futility,
    };
    let make = || -> Result<Inquiry> {
        ensure!(
            max_cost.is_some() == price_prompt.is_some() && max_cost.is_some() == price_completion.is_some(),
            "max_cost, price_prompt and price_completion go together"
        );
        ensure!(
            mark.is_some() || (layer.is_none() && account.is_none()),
            "layer and account choose a key, so they need profile and key"
        );
        let extra: Map<String, Value> = serde_json::from_str(extra)?;
        let api = match api {
            "chat" => Api::Chat,
            "completions" => Api::Completions,
            _ => bail!("api is {api:?}; it must be \"chat\" or \"completions\""),
        };
        let (wanted, tokenizer) = match &mark {
            Some((profile, key)) => {
                let tokenizer = tokenizer.as_deref();
                let (wanted, tokenizer) =
                    Wanted::open(profile, key, &Asking, layer.as_deref(), account.as_deref(), tokenizer)?;
                (Some(wanted), Some(tokenizer))
            }
            None => (None, tokenizer.as_deref().map(Tokenizer::open).transpose()?),
        };
        let token = api_key.as_ref().map(|token| ApiToken::parse(token)).transpose()?;
        let endpoint = Endpoint::parse(&endpoint)?;
        let request =
            Request { api, model, max_tokens, temperature, top_p, logprobs, stream, extra, round_size, alpha };
        Ok(Inquiry { wanted, tokenizer, references, endpoint, token, prompts, out, request, limits })
    };
    let inquiry = py.detach(make).map_err(raise)?;
    let in_all = inquiry.prompts.len();
    let work = |watch: &Watch| {
        let mut told = |&Progress { answered, failed, requests, standing }: &Progress| {
            let ln_e = standing.map(|standing| standing.ln_e);
            watch.tell(json!({
                "answered": answered, "failed": failed, "prompts": in_all, "requests": requests, "ln_e": ln_e,
            }));
        };
        inquiry.run(&watch.stop, &mut told)
    };
    let ended = interruptible(py, progress, work)?.map_err(raise)?;
    match ended {
        Ended::Finished(result) => serde_json::to_string(&result).map_err(|error| raise(error.into())),
        Ended::Interrupted(answers) => {
            let message = format!("interrupted after {answers} answers; the same call goes on from there");
            Err(pyo3::exceptions::PyKeyboardInterrupt::new_err(message))
        }
    }
}

/// Adds the function to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(probe_endpoint, module)?)
}
