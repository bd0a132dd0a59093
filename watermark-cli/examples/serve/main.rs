//! A server with an OpenAI-compatible interface that marks what it answers: the laboratory's teacher behind
//! `/v1/chat/completions` and `/v1/completions`, plain and streamed.
//!
//! Every answer is marked under its account, unless the account is allowed to opt out and does, and is in the ledger of served
//! answers before the client is told that it is whole. What a stop cuts off, no client has received whole.
//!
//! ```text
//! cargo run --release -p watermark-cli --example serve -- --help
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

mod accounts;
mod api;
mod writing;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tokio::net::TcpListener;
use watermark_core::evidence::ledger::LedgerKey;
use watermark_core::key::NodeKey;
use watermark_core::mark::Marker;
use watermark_core::profile::Profile;
use watermark_lab::shipped;
use watermark_toolkit::files::read_profile;
use watermark_toolkit::keys::read_key;
use watermark_toolkit::ledger::{Ledger, RequestLedger};
use watermark_toolkit::passphrase::Environment;
use watermark_toolkit::tokenizer::Tokenizer;

use crate::accounts::Accounts;
use crate::writing::Writer;

/// Serve the embedded teacher over an OpenAI-compatible interface, marked by account
#[derive(Parser)]
#[command(after_help = "\
Example:
  watermark keygen --out master.key.json
  watermark profile new --per-account provenance --out lab.profile.json
  watermark key export --key master.key.json --path ledger/2026-11 --out ledger.key.json
  printf %s my-token | sha256sum      # → {\"DIGEST\": {\"account\": \"acme\", \"may_opt_out\": false}} in accounts.json
  cargo run --release -p watermark-cli --example serve -- --profile lab.profile.json --key master.key.json \\
    --accounts accounts.json --ledger answers --ledger-key ledger.key.json
  curl -N localhost:8080/v1/chat/completions -H 'Authorization: Bearer my-token' \\
    -d '{\"model\": \"teacher\", \"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"Ada has 12 pears. How many?\"}]}'

With paired draws (watermark profile new --pairs) each answer is a request of a second ledger, in whose folder served.jsonl has what was
served and withheld, for `watermark pairs`:
  watermark key export --key master.key.json --path ledger/2026-11/requests --out requests.key.json
  … --requests requests --requests-key requests.key.json --requests-name ledger/2026-11

A request with \"watermark\": false is answered unmarked for accounts that may opt out, and refused for others. A temperature or a
top-p below the floors of the profile's sampling policy is raised, and the answer says so in its field \"raised\". Greedy decoding
(temperature 0) that would carry no mark, because the policy neither raises it nor boosts before it, is refused unless the request opts
out.")]
struct Args {
    /// A profile for the embedded teacher
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// A key at or above the profile's path; sealed keys open with the file that $WATERMARK_PASSPHRASE_FILE names
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Who may ask: a JSON object from the SHA-256 of each token to {"account": ID, "may_opt_out": BOOL}
    #[arg(long, value_name = "FILE")]
    accounts: PathBuf,
    /// The folder of the ledger of served answers; made if it does not exist
    #[arg(long, value_name = "FOLDER")]
    ledger: PathBuf,
    /// The ledger's own key
    #[arg(long, value_name = "FILE")]
    ledger_key: PathBuf,
    /// With paired draws: the folder of the ledger of requests; made if it does not exist
    #[arg(long, value_name = "FOLDER", requires = "requests_key", requires = "requests_name")]
    requests: Option<PathBuf>,
    /// Its own key, which is not that of the ledger of answers
    #[arg(long, value_name = "FILE", requires = "requests")]
    requests_key: Option<PathBuf>,
    /// Its name, below which requests are numbered; as `watermark key commit --requests` has it
    #[arg(long, value_name = "NAME", requires = "requests")]
    requests_name: Option<String>,
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
}

impl Args {
    /// The ledger of requests that paired draws need.
    fn requests(&self, profile: &Profile, node: &NodeKey) -> Result<Option<Arc<RequestLedger>>> {
        let (Some(folder), Some(key), Some(name)) = (&self.requests, &self.requests_key, &self.requests_name) else {
            ensure!(
                profile.paired.is_none(),
                "the profile has paired draws; give --requests, --requests-key and --requests-name"
            );
            return Ok(None);
        };
        ensure!(
            profile.paired.is_some(),
            "the profile has no paired draws; leave --requests out, or make one with: watermark profile new --pairs"
        );
        ensure!(
            profile.tokenizer.special_token_ids.contains(&shipped::EOS),
            "with paired draws the token that ends an answer must be special in the profile"
        );
        let key = read_key(key, &Environment)?;
        ensure!(
            LedgerKey::new(&key).fingerprint()
                != LedgerKey::new(&read_key(&self.ledger_key, &Environment)?).fingerprint(),
            "--requests-key is the key of the ledger of answers; entries of the one would open those of the other"
        );
        let layer = profile.paired_key(node)?.context("the profile has no paired draws")?;
        RequestLedger::open(folder, LedgerKey::new(&key), name, (&profile.path, &layer)).map(Some)
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let profile = read_profile(&args.profile)?.profile;
    let tokenizer = Tokenizer::embedded()?;
    ensure!(
        tokenizer.info()?.sha256 == profile.tokenizer.sha256,
        "profile {} is for another tokenizer; make one with: watermark profile new",
        args.profile.display()
    );
    if !profile.has_account_layer() {
        eprintln!(
            "note: the profile has no layer with a key per account, so marks are alike for all and only the ledger tells them apart \
             (watermark profile new --per-account LAYER)"
        );
    }
    let ledger = Ledger::open(&args.ledger, LedgerKey::new(&read_key(&args.ledger_key, &Environment)?))?;
    let key = read_key(&args.key, &Environment)?;
    let requests = args.requests(&profile, &key)?;
    let marker = Marker::new(profile, &key)?;
    let writer = Writer { model: shipped::teacher()?, tokenizer, marker, ledger, requests };
    let accounts = Accounts::read(&args.accounts)?;
    // One thread turns sockets, the model has the others.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(args.listen).await.with_context(|| format!("listening on {}", args.listen))?;
        println!("ready: http://{}", listener.local_addr()?);
        let served = axum::serve(listener, api::router(Arc::new(writer), accounts)?);
        let stop = async {
            // Without the signal the server would only stop less politely.
            let _ = tokio::signal::ctrl_c().await;
        };
        served.with_graceful_shutdown(stop).await.context("serving")
    })
}
