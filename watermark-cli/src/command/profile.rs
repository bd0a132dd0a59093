use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde::Serialize;
use watermark_cli::files::{read_key, read_profile, write_new};
use watermark_cli::tokenizer::{Tokenizer, hex};
use watermark_core::detect::Detector;
use watermark_core::key::KeyPath;
use watermark_core::profile::{Layer, Profile};
use watermark_core::scheme::{Greenlist, Gumbel, Scheme};

use super::{print, print_json};

/// Write or check a profile
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Write a profile with two layers: distillation (greenlist, width 1) and provenance (gumbel, width 4)
    #[command(after_help = "Example:\n  watermark profile new --tokenizer tokenizer.json --out chat.profile.json")]
    New(New),
    /// Check a profile, and that a key and a tokenizer belong to it
    #[command(after_help = "Example:\n  watermark profile check chat.profile.json --key master.key.json")]
    Check(Check),
}

#[derive(clap::Args)]
struct New {
    /// The deployment's tokenizer.json; without it, the tokenizer of the embedded models
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// The profile to write; never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A name for people
    #[arg(long, default_value = "default")]
    name: String,
    /// Key path below which the layer keys lie, one per epoch
    #[arg(long, default_value = "epoch/1", value_name = "PATH")]
    path: KeyPath,
    /// Share of green tokens of the distillation layer
    #[arg(long, default_value_t = 0.5)]
    gamma: f64,
    /// Logit boost of green tokens in nats
    #[arg(long, default_value_t = 2.0)]
    delta: f64,
    /// Length of a logits row where it exceeds the tokenizer's vocabulary (padding)
    #[arg(long, value_name = "N")]
    vocab_size: Option<u32>,
}

#[derive(clap::Args)]
struct Check {
    /// The profile
    profile: PathBuf,
    /// A key that must open it
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A tokenizer that must have its digest
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Checked<'a> {
    profile: &'a str,
    path: &'a str,
    profile_sha256: String,
    layers: Vec<&'a str>,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.action {
            Action::New(args) => args.run(),
            Action::Check(args) => args.run(),
        }
    }
}

impl New {
    fn run(self) -> Result<ExitCode> {
        let tokenizer = self.tokenizer.as_deref().map_or_else(Tokenizer::embedded, Tokenizer::open)?;
        let mut info = tokenizer.info()?;
        if let Some(vocab_size) = self.vocab_size {
            if vocab_size < info.vocab_size {
                bail!("--vocab-size {vocab_size} is below the tokenizer's {}", info.vocab_size);
            }
            info.vocab_size = vocab_size;
        }
        let greenlist = Scheme::Greenlist(Greenlist::new(self.gamma, self.delta)?);
        let profile = Profile {
            name: self.name,
            path: self.path,
            tokenizer: info,
            layers: Layer::defaults(greenlist, Scheme::Gumbel(Gumbel)),
        };
        profile.validate()?;
        write_new(&self.out, profile.print().as_bytes())?;
        print(&format!("Wrote {}. It holds no secret; commit to its key before use.", self.out.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Check {
    fn run(self) -> Result<ExitCode> {
        let file = read_profile(&self.profile)?;
        let profile = &file.profile;
        if let Some(path) = &self.tokenizer {
            Tokenizer::for_profile(Some(path), &self.profile, &profile.tokenizer)?;
        }
        if let Some(path) = &self.key {
            // Any account does: what is checked is that the key lies above the layers.
            Detector::new(profile, &read_key(path)?, Some("")).with_context(|| format!("key {}", path.display()))?;
        }
        let layers = profile.layers.iter().map(|layer| layer.name.as_str()).collect();
        let sha256 = hex(&file.sha256);
        if self.json {
            let path = profile.path.as_str();
            print_json(&Checked { profile: &profile.name, path, profile_sha256: sha256, layers })?;
        } else {
            print(&format!("{:?} at {:?}, SHA-256 {sha256}: valid", profile.name, profile.path.as_str()))?;
            for layer in &profile.layers {
                let per = if layer.per_account { ", key per account" } else { "" };
                print(&format!("  {}: {}, width {}{per}", layer.name, layer.scheme.name(), layer.width))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
