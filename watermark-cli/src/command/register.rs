use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use watermark_core::detect::{RESAMPLING_KEYS, Weights};
use watermark_core::evidence::bundle::{
    self, Digest, Prompts, REGISTRATION_TYPE, REGISTRATION_VERSION, Registration, Stopping, Time,
};
use watermark_core::evidence::commitment::KEY_COMMITMENTS;
use watermark_core::evidence::{TreeHead, timestamp};
use watermark_core::hex;
use watermark_core::model_test::Access;
use watermark_toolkit::evidence::LAX_ALPHA;
use watermark_toolkit::files::{random, read_bounded, read_profile, write_new};
use watermark_toolkit::read::read_prompts;

use super::key::SignerArgs;
use super::passphrase::PassphraseArgs;
use super::{one_of, print, shown};

/// Fix a test of a suspect model before its answers are collected
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark register --suspect acme-1 --profile chat.profile.json --layer distillation --head commitment/head.json \\
    --prompts prompts.txt --control llama --control qwen --signing-key signing.key.json --out registration.json

Beside it lies a time-stamp request (.tsq, RFC 3161): have it answered before anything is asked, because the time inside is
your own clock. Name every earlier registration about this suspect with --earlier, those that found nothing too.
Then collect one answer to every prompt, in order, from the suspect and each control, and run `watermark evidence`.")]
pub(crate) struct Args {
    /// A name for the suspect model
    #[arg(long, value_name = "NAME")]
    suspect: String,
    /// Name of an unrelated model that is asked the same (repeatable)
    #[arg(long = "control", value_name = "NAME")]
    controls: Vec<String>,
    /// The profile of the mark
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// The layer to test: greenlist or gumbel
    #[arg(long, value_name = "NAME", default_value = "distillation")]
    layer: String,
    /// head.json of `watermark key commit` for this profile
    #[arg(long, value_name = "FILE")]
    head: PathBuf,
    /// The prompts: one a line, or JSONL with `prompt`
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// The question in words
    #[arg(long, default_value = "Was the suspect trained on answers that were marked under the committed key?")]
    question: String,
    /// How much a pair counts that occurs often
    #[arg(long, value_parser = one_of([Weights::Sqrt, Weights::None], Weights::as_str), default_value = "sqrt")]
    weights: Weights,
    /// fixed: every prompt is answered, p decides; e-process: stop after any prompt, the e-value decides
    #[arg(long, value_enum, default_value = "fixed")]
    stopping: StoppingArg,
    /// Level of the verdict
    #[arg(long, default_value_t = 1e-6)]
    alpha: f64,
    /// Fresh keys beside the true one; below 999 they decide nothing
    #[arg(long, value_name = "N", default_value_t = RESAMPLING_KEYS)]
    resample: u32,
    /// An earlier registration about this suspect, in order of time (repeatable)
    #[arg(long, value_name = "FILE")]
    earlier: Vec<PathBuf>,
    /// The time to state, as 2026-11-25T01:02:03Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    #[command(flatten)]
    signature: SignerArgs,
    /// The registration to write; never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum StoppingArg {
    Fixed,
    EProcess,
}

/// A signed head, and the largest registration's envelope.
const MAX_FILE: u64 = 1 << 22;

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let file = read_profile(&self.profile)?;
        let layer = bundle::testable_layer(&file.profile, &self.layer)
            .with_context(|| format!("profile {}", self.profile.display()))?;
        let named = || format!("head {}", self.head.display());
        let head = read_bounded(&self.head, MAX_FILE).with_context(named)?;
        let (committed, _) = TreeHead::verify(&head, KEY_COMMITMENTS).with_context(named)?;
        let registered_at = time(self.at.as_deref())?;
        ensure!(
            committed.signed_at.as_str() <= registered_at.as_str(),
            "{} was signed at {}, after the registration's time, {registered_at}; keys are committed to before",
            named(),
            committed.signed_at
        );
        ensure!(
            self.alpha <= LAX_ALPHA || self.alpha >= 1.0,
            "--alpha {}: at most {LAX_ALPHA}; a level that chance reaches more often accuses nobody",
            self.alpha
        );
        names_apart(std::iter::once(&self.suspect).chain(&self.controls))?;
        let earlier = self.earlier.iter().map(|path| -> Result<Digest> {
            let named = || format!("earlier registration {}", path.display());
            let bytes = read_bounded(path, MAX_FILE).with_context(named)?;
            let (earlier, _) = Registration::verify(&bytes).with_context(named)?;
            ensure!(
                earlier.suspect == self.suspect,
                "{} is about the suspect {:?}, not {:?}",
                named(),
                earlier.suspect,
                self.suspect
            );
            ensure!(earlier.registered_at <= registered_at, "{} is later than this one", named());
            Ok(Digest(Sha256::digest(&bytes).into()))
        });
        let registration = Registration {
            registration: REGISTRATION_VERSION.to_owned(),
            question: self.question,
            suspect: self.suspect.clone(),
            controls: self.controls,
            profile_sha256: Digest(file.sha256),
            key_path: file.profile.path.join("layer")?.join(&layer.name)?.as_str().to_owned(),
            layer: layer.name,
            head_sha256: Digest(Sha256::digest(&head).into()),
            access: Access::Answers,
            weights: self.weights,
            stopping: match self.stopping {
                StoppingArg::Fixed => Stopping::Fixed,
                StoppingArg::EProcess => Stopping::EProcess,
            },
            alpha: self.alpha,
            resample: self.resample,
            prompts: Prompts::commit_to(&read_prompts(&self.prompts)?)?,
            earlier: earlier.collect::<Result<_>>()?,
            registered_at,
        };
        let envelope = self.signature.signer(passphrases)?.sign(REGISTRATION_TYPE, &registration.payload()?)?;
        let digest: [u8; 32] = Sha256::digest(&envelope).into();
        write_new(&self.out, &envelope)?;
        let request = self.out.with_extension("tsq");
        write_new(&request, &timestamp::request(&digest, *random()?))?;
        print(&format!(
            "Registered {} prompts to {:?} and {} controls in {}.\nSHA-256 {}\nHave {} answered by a time-stamping authority \
             before anything is asked.",
            registration.prompts.count,
            registration.suspect,
            registration.controls.len(),
            self.out.display(),
            hex::encode(&digest),
            request.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Names that a reader of the evidence can tell apart: nothing hidden, and more than white space and case between them.
fn names_apart<'a>(names: impl Iterator<Item = &'a String>) -> Result<()> {
    let mut known: Vec<(&String, String)> = Vec::new();
    for name in names {
        if shown(name) != *name || name.trim() != name {
            bail!("the model name {:?} has white space at its ends, or characters that are not shown", shown(name));
        }
        let plain: String = name.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
        if let Some((other, _)) = known.iter().find(|(_, known)| *known == plain) {
            bail!("the model names {other:?} and {name:?} can be taken for each other");
        }
        known.push((name, plain));
    }
    Ok(())
}

/// A given time, or now.
pub(super) fn time(given: Option<&str>) -> Result<Time> {
    match given {
        Some(text) => Time::new(text).context("--at"),
        None => Ok(Time::new(&humantime::format_rfc3339_seconds(SystemTime::now()).to_string())?),
    }
}
