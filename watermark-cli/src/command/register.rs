use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use watermark_core::detect::{RESAMPLING_KEYS, Weights};
use watermark_core::evidence::beacon::{BeaconRound, committed_sha256};
use watermark_core::evidence::bundle::{
    self, Digest, REGISTRATION_TYPE, REGISTRATION_VERSION, RegisteredKey, RegisteredPrompts, RegisteredReference,
    Registration, Stopping, Time,
};
use watermark_core::evidence::commitment::{KEY_COMMITMENTS, KeyLeaves, MAX_OPENINGS};
use watermark_core::evidence::prompts::{PromptDraw, Prompts};
use watermark_core::evidence::{TreeHead, timestamp};
use watermark_core::hex;
use watermark_core::model_test::Access;
use watermark_toolkit::evidence::LAX_ALPHA;
use watermark_toolkit::files::{ProfileFile, file_sha256, random, read_bounded, read_profile_text, write_new};
use watermark_toolkit::read::read_prompts;
use watermark_toolkit::timestamp::now;

use super::key::{SignerArgs, round, warn_of_known};
use super::passphrase::PassphraseArgs;
use super::{one_of, print, say, shown};

/// Fix a test of a suspect model before its answers are collected
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark register --suspect acme-1 --profile chat.profile.json --layer distillation --head commitment/head.json \\
    --prompts prompts.txt --control llama --control qwen --signing-key signing.key.json --out registration.json

  watermark register --suspect acme-1 --profile chat.profile.json --head commitment/head.json --pool pool.txt --n 600 \\
    --draw drand/quicknet:34500000 --control llama --signing-key signing.key.json --out registration.json

Prompts that you choose are a condition of the verdict: with the key at hand, they can be chosen to accuse. A round that is drawn after
the registration chooses without anybody (`watermark prompts draw`). Beside the registration lies a time-stamp request (.tsq, RFC 3161): have it answered before anything is asked, because the time inside is
your own clock. Name every earlier registration about this suspect with --earlier, those that found nothing too.
Then collect one answer to every prompt, in order, from the suspect and each control, and run `watermark evidence`.

With --reference, pairs are weighed by what the suspect wrote beyond what an unmarked model writes, which shows far smaller shares of marked
data. A reference that was chosen with the key could accuse anybody: commit to its file with the keys (`key commit --reference`), and name controls.")]
pub(crate) struct Args {
    /// A name for the suspect model
    #[arg(long, value_name = "NAME")]
    suspect: String,
    /// Name of an unrelated model that is asked the same (repeatable)
    #[arg(long = "control", value_name = "NAME")]
    controls: Vec<String>,
    /// An unmarked model and the file of its answers to the prompts, or to the whole pool (repeatable)
    #[arg(long = "reference", value_name = "NAME=FILE", value_parser = named_file)]
    references: Vec<(String, PathBuf)>,
    /// The profile of the mark
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// The layer to test: greenlist or gumbel
    #[arg(long, value_name = "NAME", default_value = "distillation")]
    layer: String,
    /// head.json of `watermark key commit` for this profile
    #[arg(long, value_name = "FILE")]
    head: PathBuf,
    /// leaves.json of the same commitment [default: beside the head]
    #[arg(long, value_name = "FILE")]
    leaves: Option<PathBuf>,
    /// The prompts, if you choose them: one a line, or JSONL with `prompt`
    #[arg(long, value_name = "FILE", required_unless_present = "pool", conflicts_with_all = ["pool", "draw", "count"])]
    prompts: Option<PathBuf>,
    /// A pool of prompts from which a public random value draws, committed to with the keys (`key commit --pool`)
    #[arg(long, value_name = "FILE", requires = "draw", requires = "count")]
    pool: Option<PathBuf>,
    /// The round that is to draw, still to come, as SOURCE:ROUND
    #[arg(long, value_name = "ROUND", value_parser = round, requires = "pool")]
    draw: Option<BeaconRound>,
    /// How many prompts it draws
    #[arg(long = "n", value_name = "N", requires = "pool")]
    count: Option<u64>,
    /// The question in words
    #[arg(long, default_value = "Was the suspect trained on answers that were marked under the committed key?")]
    question: String,
    /// How much a pair counts: sqrt, none, or residual beside references [default: sqrt; residual with --reference]
    #[arg(long, value_parser = one_of([Weights::Sqrt, Weights::None, Weights::Residual], Weights::as_str))]
    weights: Option<Weights>,
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
pub(super) const MAX_FILE: u64 = 1 << 22;

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let of_profile = || format!("profile {}", self.profile.display());
        let text = read_profile_text(&self.profile)?;
        let file = ProfileFile::parse(&text).with_context(of_profile)?;
        let layer = bundle::testable_layer(&file.profile, &self.layer).with_context(of_profile)?;
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
        let references = self.references.iter().map(|(name, _)| name);
        names_apart(std::iter::once(&self.suspect).chain(&self.controls).chain(references))?;
        let weights =
            self.weights.unwrap_or(if self.references.is_empty() { Weights::Sqrt } else { Weights::Residual });
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
        let (leaves, leaves_path) = read_leaves(self.leaves.as_deref(), &self.head)?;
        let named = || format!("leaves {}", leaves_path.display());
        let path = file.profile.layer_path(&layer.name)?;
        let before = committed_sha256(&text, &file.profile).with_context(of_profile)?;
        let (index, leaf_sha256, _) = leaves.find(&committed, &path, &before).with_context(named)?;
        let prompts = self.prompts(&committed)?;
        let references = self.references(&committed)?;
        let registration = Registration {
            registration: REGISTRATION_VERSION.to_owned(),
            question: self.question,
            suspect: self.suspect.clone(),
            controls: self.controls,
            references,
            profile_sha256: Digest(file.sha256),
            key: RegisteredKey {
                head_sha256: Digest(Sha256::digest(&head).into()),
                index,
                leaf_sha256: Digest(leaf_sha256),
                path: path.as_str().to_owned(),
                tree_size: committed.size,
            },
            layer: layer.name,
            access: Access::Answers,
            weights,
            stopping: match self.stopping {
                StoppingArg::Fixed => Stopping::Fixed,
                StoppingArg::EProcess => Stopping::EProcess,
            },
            alpha: self.alpha,
            resample: self.resample,
            prompts,
            earlier: earlier.collect::<Result<_>>()?,
            registered_at,
        };
        let envelope = self.signature.signer(passphrases)?.sign(REGISTRATION_TYPE, &registration.payload()?)?;
        let digest: [u8; 32] = Sha256::digest(&envelope).into();
        write_new(&self.out, &envelope)?;
        let request = self.out.with_extension("tsq");
        write_new(&request, &timestamp::request(&digest, *random()?))?;
        print(&format!(
            "Registered {} prompts to {:?}, {} controls and {} references in {}.\nSHA-256 {}\nThe level is {:?}: {:?} divided by {} committed keys; \
             give it to `watermark probe --alpha`.\nHave {} answered by a time-stamping authority before anything is asked.",
            registration.prompts.count,
            registration.suspect,
            registration.controls.len(),
            registration.references.len(),
            self.out.display(),
            hex::encode(&digest),
            registration.level(),
            registration.alpha,
            registration.key.tree_size,
            request.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Args {
    /// The references with the digests of their files.
    fn references(&self, head: &TreeHead) -> Result<Vec<RegisteredReference>> {
        let registered = |(model, path): &(String, PathBuf)| {
            let sha256 = Digest(file_sha256(path).with_context(|| format!("reference {}", path.display()))?);
            if !head.references.contains(&sha256) {
                say(&format!(
                    "caution: {} was not committed to with the keys, so it may have been chosen with the key",
                    path.display()
                ));
            }
            Ok(RegisteredReference { model: model.clone(), sha256 })
        };
        self.references.iter().map(registered).collect()
    }

    /// The prompts that are given, or the draw that is to choose them.
    fn prompts(&self, head: &TreeHead) -> Result<RegisteredPrompts> {
        if let Some(prompts) = &self.prompts {
            return Ok(Prompts::commit_to(&read_prompts(prompts)?)?.into());
        }
        let (Some(pool), Some(beacon), Some(count)) = (&self.pool, &self.draw, self.count) else {
            bail!("give --prompts, or --pool with --draw and --n");
        };
        warn_of_known(Some(beacon));
        let prompts = read_prompts(pool)?;
        let mut distinct = HashSet::new();
        ensure!(
            prompts.iter().all(|prompt| distinct.insert(prompt)),
            "pool {}: a prompt stands twice; every answer must be to another one",
            pool.display()
        );
        let pool = Prompts::commit_to(&prompts)?;
        if !head.prompt_pools.contains(&pool) {
            say("caution: the pool was not committed to with the keys, so it may have been written with the key");
        }
        Ok(RegisteredPrompts { count, draw: Some(PromptDraw { beacon: beacon.clone(), pool }), root: None })
    }
}

/// The leaves of a head, those beside it where no others are named, and where they stand.
pub(super) fn read_leaves(given: Option<&Path>, head: &Path) -> Result<(KeyLeaves, PathBuf)> {
    let path = given.map_or_else(|| head.with_file_name("leaves.json"), Path::to_owned);
    let named = || format!("leaves {}", path.display());
    let leaves = KeyLeaves::parse(&read_bounded(&path, MAX_OPENINGS as u64).with_context(named)?);
    Ok((leaves.with_context(named)?, path))
}

/// A model's name and its file.
pub(super) fn named_file(text: &str) -> Result<(String, PathBuf)> {
    let (name, path) =
        text.split_once('=').context("a model and its file are written NAME=FILE, e.g. base=base.jsonl")?;
    Ok((name.to_owned(), path.into()))
}

/// Names that a reader of the evidence can tell apart: nothing hidden, and more than white space and case between them.
pub(super) fn names_apart<'a>(names: impl Iterator<Item = &'a String>) -> Result<()> {
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
        None => Ok(Time::new(&now())?),
    }
}
