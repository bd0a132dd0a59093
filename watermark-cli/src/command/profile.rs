use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde::Serialize;
use watermark_core::detect::Detector;
use watermark_core::engine::{Engine, EngineKey, EngineOptions};
use watermark_core::evidence::beacon::with_beacon;
use watermark_core::hex;
use watermark_core::key::KeyPath;
use watermark_core::profile::{AnyScheme, Beacon, Layer, Profile, SamplingPolicy};
use watermark_toolkit::files::{read_profile, read_profile_text, write_new, write_secret};
use watermark_toolkit::keys::read_key;
use watermark_toolkit::tokenizer::Tokenizer;

use super::parameters::{MARKING, ParameterArgs, names, summaries};
use super::passphrase::PassphraseArgs;
use super::sampling::{SamplingArgs, meaning};
use super::{print, print_json};

/// Write or check a profile
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

const NEW_EXAMPLES: &str = "\
Examples:
  watermark profile new --tokenizer tokenizer.json --out chat.profile.json
  watermark profile new --tokenizer tokenizer.json --distillation mcmark --gamma 0.125 --out unbiased.profile.json
  watermark profile new --tokenizer tokenizer.json --provenance vllm --out fleet.profile.json
  watermark profile new --tokenizer tokenizer.json --provenance none --pairs --out pairs.profile.json
  watermark profile new --tokenizer tokenizer.json --min-temperature 0.4 --min-top-p 0.6 --out held.profile.json";

#[derive(Subcommand)]
enum Action {
    /// Write a profile with two layers: distillation (greenlist, width 1) and provenance (gumbel, width 4)
    #[command(after_help = format!("Schemes:\n{}\n\n{NEW_EXAMPLES}", summaries()))]
    New(New),
    /// Write the key that the server of a layer in an engine's format is configured with
    #[command(after_help = "\
Example:
  watermark profile engine-key fleet.profile.json --key master.key.json --out vllm.key

The file holds the key as the engine's configuration writes it, mode 0600, never overwritten. Whoever has it can mark, detect
and forge in that layer, and in no other.")]
    EngineKey(EngineKeyArgs),
    /// Put the public random value into a profile that awaits it, after its keys were committed to
    #[command(after_help = "\
Example:
  watermark profile new --tokenizer tokenizer.json --beacon --out chat.profile.json
  watermark key commit --key master.key.json --profile chat.profile.json --beacon drand/quicknet:33700000 \\
    --signing-key signing.key.json --out commitment
  # publish head.json and leaves.json, have head.tsq answered before the round; then take its value (`randomness`)
  watermark profile beacon chat.profile.json --value 5a0f…64 hexadecimal digits… --out chat.drawn.profile.json

Serve under the new profile: its layers' keys lie below the value, so nobody can have picked them before the commitment.")]
    Beacon(BeaconArgs),
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
    #[arg(long, default_value = "greenlist", value_name = "SCHEME")]
    #[arg(help = format!("Scheme of the distillation layer (width 1): {}, or none", names(|spec| !spec.kind.chooses())))]
    distillation: String,
    #[arg(long, default_value = "gumbel", value_name = "SCHEME", help = provenance_help())]
    provenance: String,
    /// Give this layer (distillation or provenance) a key per account instead of one for everybody; repeatable
    #[arg(long, value_name = "LAYER")]
    per_account: Vec<String>,
    /// Let the keys lie below a public random value, drawn after they are committed to (`profile beacon`)
    #[arg(long)]
    beacon: bool,
    /// Add paired draws: of two candidates a keyed coin serves one (`watermark pairs --help`). They change no distribution; a provenance
    /// layer beside them must be gumbel_dual_key with --key-b-share 0.5, or none
    #[arg(long)]
    pairs: bool,
    #[command(flatten)]
    parameters: ParameterArgs<MARKING>,
    #[command(flatten)]
    sampling: SamplingArgs,
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

#[derive(clap::Args)]
struct BeaconArgs {
    /// The committed profile
    profile: PathBuf,
    /// The value: 64 lower-case hexadecimal digits
    #[arg(long, value_name = "HEX")]
    value: String,
    /// The profile to write; never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(clap::Args)]
struct EngineKeyArgs {
    /// The profile
    profile: PathBuf,
    /// A key at or above the profile's path
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The layer, if more than one is an engine's
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// The account, for a layer with a key per account
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// The key file to write; never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Checked<'a> {
    profile: &'a str,
    path: &'a str,
    profile_sha256: String,
    layers: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampling: Option<SamplingPolicy>,
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        match self.action {
            Action::New(args) => args.run(),
            Action::Beacon(args) => args.run(),
            Action::Check(args) => args.run(passphrases),
            Action::EngineKey(args) => args.run(passphrases),
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
        self.parameters.check_applied(&[&self.distillation, &self.provenance])?;
        let mut layers = Vec::new();
        for (name, scheme, width) in [("distillation", &self.distillation, 1), ("provenance", &self.provenance, 4)] {
            if scheme != "none" {
                let scheme = self.scheme(scheme).with_context(|| format!("--{name}"))?;
                let per_account = self.per_account.iter().any(|layer| layer == name);
                layers.push(Layer { name: name.to_owned(), scheme, width, per_account });
            }
        }
        for name in &self.per_account {
            if !layers.iter().any(|layer| layer.name == *name) {
                bail!("--per-account {name}: the profile has no such layer; it is distillation or provenance");
            }
        }
        let beacon = if self.beacon { Beacon::Awaited } else { Beacon::None };
        let sampling = self.sampling.policy(&layers);
        let paired = self.pairs.then(|| "pairs".to_owned());
        let profile = Profile { name: self.name, path: self.path, beacon, tokenizer: info, layers, paired, sampling };
        profile.validate()?;
        write_new(&self.out, profile.print().as_bytes())?;
        print(&format!("Wrote {}. It holds no secret; commit to its key before use.", self.out.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn provenance_help() -> String {
    format!(
        "Scheme of the provenance layer (width 4): {}; an engine's format: {}; or none",
        names(|_| true),
        Engine::marking().collect::<Vec<_>>().join(", ")
    )
}

impl New {
    fn scheme(&self, name: &str) -> Result<AnyScheme> {
        if Engine::marking().any(|engine| engine == name) {
            return Ok(Engine::new(name, &EngineOptions::default())?.into());
        }
        Ok(self.parameters.scheme(name)?.into())
    }
}

impl BeaconArgs {
    fn run(self) -> Result<ExitCode> {
        let text = read_profile_text(&self.profile)?;
        let changed = with_beacon(&text, &self.value).with_context(|| format!("profile {}", self.profile.display()))?;
        write_new(&self.out, changed.as_bytes())?;
        print(&format!(
            "Wrote {}. Serve under it, and keep {}, which was committed to.",
            self.out.display(),
            self.profile.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl EngineKeyArgs {
    fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let profile = read_profile(&self.profile)?.profile;
        let key = read_key(&self.key, passphrases)?;
        let mut engines = profile.layers.iter().filter_map(|layer| match layer.scheme {
            AnyScheme::Engine(engine) if self.layer.as_ref().is_none_or(|name| *name == layer.name) => {
                Some((layer, engine))
            }
            _ => None,
        });
        let (layer, engine) = match (engines.next(), engines.next()) {
            (Some(only), None) => only,
            (Some(_), Some(_)) => bail!("several layers are in an engine's format; choose one with --layer"),
            (None, _) => bail!("no such layer of {} is in an engine's format", self.profile.display()),
        };
        let key = EngineKey::from_prf_key(&engine, &profile.prf_key(layer, &key, self.account.as_deref())?)?;
        write_secret(&self.out, key.print(&engine).as_bytes())?;
        print(&format!(
            "Wrote {}: the key of {} (layer {:?}). Keep it as secret as the key file.",
            self.out.display(),
            engine.name(),
            layer.name
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Check {
    fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let file = read_profile(&self.profile)?;
        let profile = &file.profile;
        if let Some(path) = &self.tokenizer {
            Tokenizer::for_profile(Some(path), &self.profile, &profile.tokenizer)?;
        }
        if let Some(path) = &self.key {
            // Any account and any beacon do: what is checked is that the key lies above the layers.
            let any_account = profile.has_account_layer().then_some("any");
            let drawn = Profile { beacon: Beacon::None, ..profile.clone() };
            let key = read_key(path, passphrases)?;
            let named = || format!("key {}", path.display());
            profile.paired_key(&key).with_context(named)?;
            if !profile.layers.is_empty() {
                Detector::new(&drawn, &key, any_account).with_context(named)?;
            }
        }
        let layers =
            profile.layers.iter().map(|layer| &layer.name).chain(&profile.paired).map(String::as_str).collect();
        let sha256 = hex::encode(&file.sha256);
        if self.json {
            let path = profile.path.as_str();
            print_json(&Checked {
                profile: &profile.name,
                path,
                profile_sha256: sha256,
                layers,
                sampling: profile.sampling,
            })?;
        } else {
            print(&format!("{:?} at {:?}, SHA-256 {sha256}: valid", profile.name, profile.path.as_str()))?;
            match profile.beacon {
                Beacon::None => (),
                Beacon::Awaited => print("  awaits a beacon: commit to its keys, then `watermark profile beacon`")?,
                Beacon::Drawn(value) => print(&format!("  under the beacon {}", hex::encode(&value)))?,
            }
            for layer in &profile.layers {
                let per = if layer.per_account { ", key per account" } else { "" };
                print(&format!("  {}: {}, width {}{per}", layer.name, layer.scheme.name(), layer.width))?;
            }
            if let Some(name) = &profile.paired {
                print(&format!("  {name}: paired draws, keyed by request"))?;
            }
            print("What a client's request does to marks:")?;
            for line in meaning(profile) {
                print(&format!("  {line}"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
