use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use watermark_core::detect::LayerDetector;
use watermark_core::engine::{Engine, EngineKey, EngineOptions};
use watermark_core::key::PrfKey;
use watermark_core::scheme::Scheme;
use watermark_toolkit::files::read_secret;
use zeroize::Zeroizing;

use super::parameters::{ParameterArgs, SCORING, names};
use super::say;

/// One layer without a profile: our own scheme under a raw PRF key, or what another engine serves.
#[derive(clap::Args)]
#[command(next_help_heading = "One layer without a profile")]
pub(crate) struct LayerArgs {
    #[arg(long, value_name = "NAME", requires = "prf_key_hex", group = "raw")]
    #[arg(help = format!("Our scheme: {}", names(|_| true)))]
    scheme: Option<String>,
    /// PRF key of --scheme: 64 hexadecimal digits, or @FILE
    #[arg(long, value_name = "HEX|@FILE", requires = "scheme")]
    prf_key_hex: Option<Zeroizing<String>>,
    #[arg(long, value_name = "NAME", requires = "engine_key", group = "raw", help = engine_help())]
    engine: Option<String>,
    #[arg(long, value_name = "KEY|@FILE", requires = "engine", allow_hyphen_values = true, help = engine_key_help())]
    engine_key: Option<Zeroizing<String>>,
    /// Where the engine's random generator ran; a mark made with a CUDA generator cannot be detected
    #[arg(long, value_name = "cpu|cuda", requires = "engine", default_value = "cpu")]
    engine_device: Device,
    /// Context width in tokens (engines: their default)
    #[arg(long, value_name = "N", requires = "raw")]
    context_width: Option<usize>,
    /// Which of an engine's algorithms: gumbel, gumbel_dual_key, greenlist, tournament
    #[arg(long, value_name = "NAME", requires = "engine")]
    algorithm: Option<String>,
    #[command(flatten)]
    parameters: ParameterArgs<SCORING>,
    #[arg(long, value_name = "N", requires = "engine", help = vocab_size_help())]
    vocab_size: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Device {
    Cpu,
    Cuda,
}

impl LayerArgs {
    /// The layer's detector.
    pub(crate) fn detector(&self) -> Result<LayerDetector> {
        if let Some((name, key)) = self.scheme.as_ref().zip(self.prf_key_hex.as_ref()) {
            return self.own(name, key);
        }
        let (name, key) = self
            .engine
            .as_ref()
            .zip(self.engine_key.as_ref())
            .context("give --profile and --key, or --scheme and --prf-key-hex, or --engine and --engine-key")?;
        self.peer(name, key)
    }

    /// Length of the logits row, where the layer knows it.
    pub(crate) fn vocab_size(&self) -> Option<u32> {
        self.vocab_size
    }

    /// Whether an engine is named.
    pub(crate) fn is_engine(&self) -> bool {
        self.engine.is_some()
    }

    fn own(&self, name: &str, key: &Zeroizing<String>) -> Result<LayerDetector> {
        let width = self.context_width.context("--scheme needs --context-width")?;
        let scheme = Scheme::from_options(name, self.parameters.given()).context("--scheme")?;
        let key = PrfKey::from_hex(secret(key, "--prf-key-hex")?.trim())?;
        Ok(LayerDetector::from_prf_key(scheme, width, &key)?)
    }

    fn peer(&self, name: &str, key: &Zeroizing<String>) -> Result<LayerDetector> {
        let key = secret(key, "--engine-key")?;
        let options = self.parameters.of_engine(EngineOptions {
            context_width: self.context_width,
            algorithm: self.algorithm.clone(),
            vocab_size: self.vocab_size,
            ..EngineOptions::default()
        })?;
        let engine = Engine::for_key(name, &key, &options).context("--engine")?;
        if self.engine_device == Device::Cuda && engine.uses_torch_generator() {
            bail!(
                "a {name} mark made with a CUDA generator cannot be detected: torch's CUDA generator assigns its draws to \
                 tokens by the launch grid, so the lists depend on the GPU model that made them, and no seed alone \
                 gives them back; only marks made with the CPU generator (MT19937) can be checked"
            );
        }
        if engine.uses_torch_generator() {
            say(&format!(
                "note: {name} draws from torch's generator; this tests for marks made with the CPU generator. Marks made on \
                 a GPU cannot be checked (see --engine-device)"
            ));
        }
        let key = EngineKey::parse(&engine, &key).context("--engine-key")?;
        Ok(LayerDetector::from_engine(engine, &key)?)
    }
}

fn engine_help() -> String {
    format!("Another engine's mark: {}", Engine::names().collect::<Vec<_>>().join(", "))
}

fn engine_key_help() -> String {
    format!("Key of --engine as its configuration has it ({}), or @FILE", Engine::key_forms())
}

fn vocab_size_help() -> String {
    format!("{}: length of the logits row at generation", Engine::permuting().collect::<Vec<_>>().join(", "))
}

/// A secret given on the command line, or in a file.
fn secret(given: &Zeroizing<String>, option: &str) -> Result<Zeroizing<String>> {
    match given.strip_prefix('@') {
        Some(path) => {
            let (text, shared) = read_secret(path.as_ref()).with_context(|| format!("key file {path}"))?;
            if shared {
                say(&format!("warning: others can read {path}; run: chmod 600 {path}"));
            }
            Ok(text)
        }
        None => {
            say(&format!("warning: a key on the command line shows in the process list; prefer {option} @FILE"));
            Ok(given.clone())
        }
    }
}
