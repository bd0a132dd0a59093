//! A whole probe: from profile, key and settings to the transcript and `result.json` in a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use watermark_core::detect::{Detector, RESAMPLING_KEYS, Verdict, check_level};
use watermark_core::hex;
use watermark_core::model_test::{Access, Collection};

use super::ask::Retries;
use super::budget::Budget;
use super::client::Client;
use super::endpoint::{ApiToken, Endpoint};
use super::judge::{Judge, Standing};
use super::plan::{End, Plan, Progress};
use super::run::{RunSummary, run};
use crate::files::{read_profile, replace};
use crate::ids::Vocabulary;
use crate::keys::read_key;
use crate::model_test::{FirstBad, ModelLine, Options, Reference, Source, TestedLayer, check_testable};
use crate::passphrase::Passphrases;
use crate::read::InputFormat;
use crate::tokenizer::Tokenizer;
use crate::transcript::{Api, Exchange, FORMAT, Header, Registered, collector, prompts_sha256};

/// Every request and answer, hash-chained.
pub const TRANSCRIPT: &str = "transcript.jsonl";

/// The result of the probe.
pub const RESULT: &str = "result.json";

/// The mark that is looked for: a layer under its key, with the digests that the transcript names.
pub struct Wanted {
    tested: TestedLayer,
    vocab_size: u32,
    profile_sha256: [u8; 32],
    path: String,
    account_sha256: Option<String>,
}

impl Wanted {
    /// The layer of a profile under a key, with the profile's tokenizer: `layer` or the first one.
    ///
    /// # Errors
    /// If a file cannot be used, there is no such layer, or it has no test of a model.
    pub fn open(
        profile: &Path,
        key: &Path,
        passphrases: &dyn Passphrases,
        layer: Option<&str>,
        account: Option<&str>,
        tokenizer: Option<&Path>,
    ) -> Result<(Self, Tokenizer)> {
        let file = read_profile(profile)?;
        let tokenizer = Tokenizer::for_profile(tokenizer, profile, &file.profile.tokenizer)?;
        let mut tested = file.profile.clone();
        match layer {
            None => tested.layers.truncate(1),
            Some(name) => tested.layers.retain(|layer| layer.name == name),
        }
        ensure!(!tested.layers.is_empty(), "no layer of {} is named so", profile.display());
        let detector = Detector::new(&tested, &read_key(key, passphrases)?, account)?;
        let layer = detector.layers().first().context("a profile has layers")?.clone();
        let name = layer.name().unwrap_or_default();
        check_testable(&layer).with_context(|| format!("layer {name:?} of {}", profile.display()))?;
        let wanted = Self {
            tested: TestedLayer { layer, reserved: false },
            vocab_size: file.profile.tokenizer.vocab_size,
            profile_sha256: file.sha256,
            path: file.profile.path.as_str().to_owned(),
            account_sha256: account.map(|account| hex::encode(&Sha256::digest(account))),
        };
        Ok((wanted, tokenizer))
    }
}

/// What is asked; fixed for a run.
#[derive(Clone, Debug)]
pub struct Request {
    /// Interface.
    pub api: Api,
    /// The suspect's name at the endpoint.
    pub model: String,
    /// Longest answer in the server's tokens.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Sample among the fewest tokens that hold this probability.
    pub top_p: Option<f64>,
    /// Ask for so many of the most likely tokens at each position.
    pub logprobs: Option<u32>,
    /// Ask for a stream of events.
    pub stream: bool,
    /// Further fields of the request.
    pub extra: Map<String, Value>,
    /// Prompts between two looks at the evidence.
    pub round_size: u64,
    /// Level of the verdict.
    pub alpha: f64,
}

/// Limits, which may change when a run goes on.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests under way at a time.
    pub concurrency: usize,
    /// Most requests a minute, retries included.
    pub requests_per_minute: Option<f64>,
    /// What the whole run may cost.
    pub budget: Budget,
    /// Longest wait for a whole answer, in seconds.
    pub timeout: f64,
    /// Tries after the first.
    pub max_retries: u32,
    /// Whether to stop when the rest of the budget will hardly decide.
    pub futility: bool,
}

/// A probe that is ready to begin, or to go on where its transcript ends.
pub struct Inquiry {
    /// `None` collects for somebody else's test, without a key and without looking at evidence.
    pub wanted: Option<Wanted>,
    /// The mark's tokenizer; counts tokens for the budget.
    pub tokenizer: Option<Tokenizer>,
    /// Files of answers of unmarked models to the prompts, beside which the suspect is tested.
    pub references: Vec<PathBuf>,
    /// The endpoint that is asked.
    pub endpoint: Endpoint,
    /// The suspect's API token.
    pub token: Option<ApiToken>,
    /// All prompts.
    pub prompts: Vec<String>,
    /// Folder of the run.
    pub out: PathBuf,
    /// What is asked.
    pub request: Request,
    /// How far it may go.
    pub limits: Limits,
}

/// `result.json`: no times, so that the same transcript gives the same bytes.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeResult {
    result: &'static str,
    #[serde(serialize_with = "collector::serialize")]
    collection: Collection,
    /// The suspect's name at the endpoint.
    pub model: String,
    /// `None` if the answers were collected for somebody else, who will test them.
    pub verdict: Option<Verdict>,
    /// Why it ended.
    pub end: &'static str,
    /// ln of the e-value that decides.
    pub threshold_ln_e: Option<f64>,
    n_prompts: u64,
    /// Rounds that were judged.
    pub rounds: u64,
    /// Prompts answered in them.
    pub answered: u64,
    /// Prompts that failed in them.
    pub failed: u64,
    not_judged: u64,
    /// HTTP requests, retries included.
    pub requests: u64,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    cost: Option<f64>,
    profile_sha256: Option<String>,
    prompts_sha256: String,
    transcript_sha256: String,
    /// As `watermark test-model` gives it for the transcript.
    pub test: Option<ModelLine>,
}

/// How a probe ended without an error.
#[derive(Debug)]
pub enum Ended {
    /// The probe has a result, which is also in the folder.
    Finished(Box<ProbeResult>),
    /// The caller stopped the probe after so many answers. Running the same inquiry again goes on from there.
    Interrupted(u64),
}

impl Inquiry {
    /// Asks until something ends it. `watch` is told how far it is.
    ///
    /// # Errors
    /// If a setting lies outside its domain, the folder belongs to something else, or as [`run`].
    pub fn run(&self, stop: &AtomicBool, watch: &mut dyn FnMut(&Progress)) -> Result<Ended> {
        self.check()?;
        let access = if self.request.logprobs.is_some() { Access::Logprobs } else { Access::Answers };
        let references = self.references(access)?;
        let header = self.header(&references)?;
        let client =
            Client::new(&self.endpoint, header.api, self.token.clone(), Duration::from_secs_f64(self.limits.timeout));
        if client.leaks_token(&serde_json::to_string(&header)?) {
            bail!("the settings contain the API token, and they are written to the transcript; take it out of them");
        }
        let plan = Plan {
            header,
            prompts: &self.prompts,
            client: &client,
            retries: Retries { max: self.limits.max_retries, jitter_seed: getrandom::u64()? },
            concurrency: self.limits.concurrency,
            requests_per_minute: self.limits.requests_per_minute,
            budget: self.limits.budget,
            // Between looks the evidence stands still, which says nothing about what is to come.
            futility: self.limits.futility && self.wanted.is_some() && references.is_empty(),
            tokenizer: self.tokenizer.as_ref(),
            stop,
        };
        let mut judge = self.wanted.as_ref().zip(self.tokenizer.as_ref()).map(|(wanted, tokenizer)| {
            let options = Options { access, alpha: self.request.alpha, resample: RESAMPLING_KEYS };
            let vocabulary = Vocabulary { tokenizer: Some(tokenizer), size: Some(wanted.vocab_size) };
            Judge::new(&wanted.tested, vocabulary, self.request.api, options, references)
        });
        prepare_folder(&self.out)?;
        let look = |exchanges: &[Exchange]| match &mut judge {
            Some(judge) => judge.add_round(exchanges),
            // Without a key nobody looks at the evidence.
            None => Ok(Standing { ln_e: 0.0, n_scored: 0, threshold_ln: f64::INFINITY, decided: false }),
        };
        let ended = run(&plan, &self.out.join(TRANSCRIPT), Box::new(look), watch)?;
        if ended.end == End::Interrupted {
            return Ok(Ended::Interrupted(ended.answered + ended.not_judged));
        }
        let test = judge.as_ref().map(Judge::line).transpose()?;
        let result = self.result(&plan, &ended, test);
        replace(&self.out.join(RESULT), (serde_json::to_string_pretty(&result)? + "\n").as_bytes())?;
        Ok(Ended::Finished(Box::new(result)))
    }

    fn check(&self) -> Result<()> {
        let limits = &self.limits;
        check_level(self.request.alpha)?;
        ensure!(
            limits.timeout >= 0.1 && limits.timeout <= 86_400.0,
            "the timeout is {}; it must be between 0.1 and 86400 seconds",
            limits.timeout
        );
        ensure!((1..=256).contains(&limits.concurrency), "the concurrency must be between 1 and 256");
        ensure!(limits.max_retries < 100, "the number of retries must be below 100");
        if let Some(cost) = &limits.budget.cost {
            let amounts = [cost.max, cost.per_million_prompt, cost.per_million_completion];
            ensure!(amounts.iter().all(|x| x.is_finite() && *x >= 0.0), "costs and prices must be 0 or more");
        }
        let counts = limits.budget.max_completion_tokens.is_some() || limits.budget.cost.is_some();
        ensure!(
            !counts || self.tokenizer.is_some(),
            "limits of completion tokens and of costs count tokens; without a profile they need a tokenizer"
        );
        Ok(())
    }

    fn references(&self, access: Access) -> Result<Vec<Reference>> {
        let Some((wanted, tokenizer)) = self.wanted.as_ref().zip(self.tokenizer.as_ref()) else {
            ensure!(self.references.is_empty(), "a reference is for a test, which needs a profile and a key");
            return Ok(Vec::new());
        };
        let bad = FirstBad::default();
        let complain = |error: &Error| bad.keep(error);
        let vocabulary = Vocabulary { tokenizer: Some(tokenizer), size: Some(wanted.vocab_size) };
        let source = Source { vocabulary, input_format: InputFormat::default(), complain: &complain };
        let read = |path: &PathBuf| -> Result<Reference> {
            let reference = Reference::read(path, access, &source)?;
            ensure!(
                reference.is_answers(),
                "reference {} has probabilities along texts, and the suspect's are still to come; give its answers to the prompts",
                path.display()
            );
            Ok(reference)
        };
        let references = self.references.iter().map(read).collect::<Result<_>>()?;
        bad.check().context("references")?;
        Ok(references)
    }

    fn header(&self, references: &[Reference]) -> Result<Header> {
        let request = &self.request;
        let header = Header {
            transcript: FORMAT.to_owned(),
            endpoint: self.endpoint.as_str().to_owned(),
            api: request.api,
            model: request.model.clone(),
            max_tokens: request.max_tokens,
            temperature: request.temperature,
            top_p: request.top_p,
            logprobs: request.logprobs,
            stream: request.stream,
            extra: request.extra.clone(),
            prompts_sha256: prompts_sha256(&self.prompts),
            n_prompts: self.prompts.len() as u64,
            round_size: request.round_size,
            collection: if self.wanted.is_some() { Collection::NotWitnessed } else { Collection::Replicate },
            test: self.wanted.as_ref().map(|wanted| Registered {
                profile_sha256: hex::encode(&wanted.profile_sha256),
                layer: wanted.tested.layer.name().unwrap_or_default().to_owned(),
                account_sha256: wanted.account_sha256.clone(),
                path: wanted.path.clone(),
                alpha: request.alpha,
                references: references.iter().map(|reference| reference.sha256.clone()).collect(),
            }),
        };
        header.check()?;
        Ok(header)
    }

    fn result(&self, plan: &Plan<'_>, ended: &RunSummary, test: Option<ModelLine>) -> ProbeResult {
        let spent = &ended.spent;
        let counted = plan.tokenizer.is_some();
        ProbeResult {
            result: "watermark-probe/1",
            collection: plan.header.collection,
            model: plan.header.model.clone(),
            verdict: test.as_ref().map(|test| test.verdict),
            end: ended.end.as_str(),
            threshold_ln_e: self.wanted.is_some().then(|| -self.request.alpha.ln()),
            n_prompts: plan.header.n_prompts,
            rounds: ended.rounds,
            answered: ended.answered,
            failed: ended.failed,
            not_judged: ended.not_judged,
            requests: spent.requests,
            prompt_tokens: counted.then_some(spent.prompt_tokens),
            completion_tokens: counted.then_some(spent.completion_tokens),
            cost: plan.budget.cost.map(|cost| cost.price(spent.prompt_tokens, spent.completion_tokens)),
            profile_sha256: self.wanted.as_ref().map(|wanted| hex::encode(&wanted.profile_sha256)),
            prompts_sha256: plan.header.prompts_sha256.clone(),
            transcript_sha256: ended.transcript_sha256.clone(),
            test,
        }
    }
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
