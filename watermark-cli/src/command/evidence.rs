use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use watermark_core::detect::Verdict;
use watermark_core::evidence::beacon::DrawnValue;
use watermark_core::evidence::bundle::{Digest, TimeStamps};
use watermark_core::evidence::commitment::KeyOpening;
use watermark_core::profile::{Beacon, Profile};
#[cfg(feature = "report")]
use watermark_toolkit::evidence::Context as Given;
use watermark_toolkit::evidence::{Case, build, earlier, role};
use watermark_toolkit::files::{new_folder, read_bounded, read_private, write_new};
use watermark_toolkit::read::read_prompts;
#[cfg(feature = "report")]
use watermark_toolkit::report;
use watermark_toolkit::tokenizer::Tokenizer;

use super::key::SignerArgs;
use super::passphrase::PassphraseArgs;
use super::prompts::DrawArgs;
use super::{advance, claim, print, progress, register, say, shown};

/// Run a registered test and write its signed evidence
///
/// Exactly the registered test is run: other prompts, models, keys or numbers are refused. The folder then holds
/// evidence.json and, for verifiers without the tokenizer, the records as they were counted.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark key open --openings commitment/openings.json --key master.key.json --profile chat.profile.json \\
    --path epoch/1/layer/distillation --out opening.json
  watermark evidence --registration registration.json --profile chat.profile.json --head commitment/head.json \\
    --opening opening.json --prompts prompts.txt --answers suspect.jsonl --controls llama.jsonl --controls qwen.jsonl \\
    --signing-key signing.key.json --out evidence --kit evidence.zip
  watermark verify evidence/evidence.json --data suspect.jsonl --data llama.jsonl --data qwen.jsonl

The bundle discloses the opened key, because without it nobody can recompute the scores: whoever reads it can mark and forge
under that path. --withhold-key leaves it out.

Exit codes: 0 = detected, 1 = not detected or inconclusive (the evidence is written all the same), 2 = an error.")]
pub(crate) struct Args {
    /// The registration of `watermark register`
    #[arg(long, value_name = "FILE")]
    registration: PathBuf,
    /// The registered profile
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// head.json of `watermark key commit`
    #[arg(long, value_name = "FILE")]
    head: PathBuf,
    /// The layer's opening, from `watermark key open`
    #[arg(long, value_name = "FILE")]
    opening: PathBuf,
    /// Leave the key out of the bundle
    #[arg(long)]
    withhold_key: bool,
    /// The registered prompts, or the pool that is drawn from
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    #[command(flatten)]
    draw: DrawArgs,
    /// The source's signature of the key's beacon, 96 hexadecimal digits (drand)
    #[arg(long, value_name = "HEX")]
    beacon_signature: Option<String>,
    /// The suspect's answers, as text, or a transcript of `watermark probe`
    #[arg(long, value_name = "FILE")]
    answers: PathBuf,
    /// The same of each registered control, in the registered order (repeatable)
    #[arg(long, value_name = "FILE")]
    controls: Vec<PathBuf>,
    /// The same of each registered reference, in the registered order: the registered file (repeatable)
    #[arg(long = "reference", value_name = "FILE")]
    references: Vec<PathBuf>,
    /// evidence.json of an earlier registration that this one names (repeatable); one without was not run
    #[arg(long, value_name = "FILE")]
    earlier: Vec<PathBuf>,
    /// tokenizer.json of the mark; default: as for `watermark detect`
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Time-stamp response (RFC 3161) for the head
    #[arg(long, value_name = "FILE")]
    head_time_stamp: Option<PathBuf>,
    /// Time-stamp response (RFC 3161) for the registration
    #[arg(long, value_name = "FILE")]
    registration_time_stamp: Option<PathBuf>,
    /// The time to state, as 2026-11-25T01:02:03Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    #[command(flatten)]
    signature: SignerArgs,
    /// The folder to write; must be new or empty
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Also write a kit for others, as a folder or a ZIP: bundle, answer files as they are, tokenizer, the whole pool that prompts were
    /// drawn from, page, format, second verifier, instructions
    #[cfg(feature = "report")]
    #[arg(long, value_name = "DIR|ZIP", conflicts_with = "withhold_key")]
    kit: Option<PathBuf>,
}

/// The largest of the files that go into a bundle.
pub(super) const MAX_FILE: u64 = 1 << 22;

/// The largest earlier bundle.
pub(super) const MAX_EARLIER: u64 = 1 << 24;

/// A time-stamp response in base64, if it is one of these bytes.
pub(super) fn stamp(path: Option<&PathBuf>, stamped: &[u8]) -> Result<Option<String>> {
    let Some(path) = path else { return Ok(None) };
    let response = read_bounded(path, MAX_FILE).with_context(|| format!("reading {}", path.display()))?;
    // Whoever gives another file here would publish it.
    let digest = Sha256::digest(stamped);
    let is_of_it = response.windows(digest.len()).any(|part| part == &digest[..]);
    ensure!(is_of_it, "{} is no time stamp of that file: it does not hold its SHA-256", path.display());
    Ok(Some(STANDARD.encode(response)))
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let read =
            |path: &PathBuf, limit| read_bounded(path, limit).with_context(|| format!("reading {}", path.display()));
        let (registration, head) = (read(&self.registration, MAX_FILE)?, read(&self.head, MAX_FILE)?);
        let profile = String::from_utf8(read(&self.profile, MAX_FILE)?).context("the profile is not UTF-8")?;
        let named = || format!("opening {}", self.opening.display());
        let text = read_private(File::open(&self.opening).with_context(named)?, &self.opening).with_context(named)?;
        let opening = KeyOpening::parse(text.as_bytes()).with_context(named)?;
        let parsed = Profile::parse(&profile).with_context(|| format!("profile {}", self.profile.display()))?;
        let info = &parsed.tokenizer;
        let tokenizer = Tokenizer::for_profile(self.tokenizer.as_deref(), &self.profile, info)?;
        #[cfg(feature = "report")]
        if let Some(kit) = &self.kit {
            ensure!(*kit != self.out, "--kit and --out are one place");
            report::check_new_kit(kit, tokenizer.path())?;
        }
        let earlier = self.earlier.iter().map(|path| {
            earlier(&read(path, MAX_EARLIER)?).with_context(|| format!("earlier evidence {}", path.display()))
        });
        let earlier = earlier.collect::<Result<Vec<_>>>()?;
        let time_stamps = TimeStamps {
            head: stamp(self.head_time_stamp.as_ref(), &head)?,
            registration: stamp(self.registration_time_stamp.as_ref(), &registration)?,
        };
        let case = Case {
            registration: &registration,
            profile: &profile,
            head: &head,
            opening: &opening,
            disclose: !self.withhold_key,
            beacon: match parsed.beacon {
                Beacon::Drawn(value) => {
                    Some(DrawnValue { signature: self.beacon_signature.clone(), value: Digest(value) })
                }
                Beacon::None | Beacon::Awaited => None,
            },
            prompts: &read_prompts(&self.prompts)?,
            draw: self.draw.value()?,
            tokenizer: &tokenizer,
            suspect: &self.answers,
            controls: &self.controls,
            references: &self.references,
            earlier: &earlier,
            time_stamps,
            signed_at: register::time(self.at.as_deref())?,
        };
        let bar = progress("Fresh keys", 0);
        let written = build(case, &self.signature.signer(passphrases)?, &advance(&bar))?;
        bar.finish_and_clear();
        let predicate = &written.statement.predicate;
        new_folder(&self.out)?;
        let evidence = self.out.join("evidence.json");
        write_new(&evidence, &written.bundle)?;
        let mut data = vec![self.answers.clone()];
        data.extend(self.controls.iter().chain(&self.references).cloned());
        for (at, records) in written.records.iter().enumerate() {
            data.push(self.out.join(format!("{}.records.jsonl", role(at, self.controls.len()))));
            write_new(&data[data.len() - 1], records)?;
        }
        #[cfg(feature = "report")]
        if let Some(kit) = &self.kit {
            let pool = predicate.prompts.beacon.as_ref().map(|_| self.prompts.clone());
            let given = Given { data, pool, tokenizer: tokenizer.path().map(ToOwned::to_owned), ..Given::default() };
            report::write_kit(&evidence, &given, kit).with_context(|| format!("kit {}", kit.display()))?;
        }
        let verdict = predicate.verdict;
        print(&format!(
            "{}: {} (log10 p {:.2}, ln e {:.2}, {} pairs)\nWrote {}. {}",
            shown(&predicate.suspect.model),
            verdict.as_str(),
            predicate.suspect.log10_p,
            predicate.suspect.ln_e,
            predicate.suspect.n_scored,
            evidence.display(),
            if self.withhold_key {
                "Without the key, others can check its form and sums only."
            } else {
                "It discloses the committed key: nothing marked under it can be told from a forgery from now on."
            }
        ))?;
        for caution in &written.cautions {
            say(&format!("caution: {}", shown(caution)));
        }
        Ok(claim(verdict == Verdict::Detected))
    }
}
