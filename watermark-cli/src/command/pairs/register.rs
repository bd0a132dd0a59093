use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};
use watermark_core::evidence::beacon::committed_sha256;
use watermark_core::evidence::bundle::{Digest, RegisteredKey};
use watermark_core::evidence::commitment::KEY_COMMITMENTS;
use watermark_core::evidence::ledger::ANSWERS;
use watermark_core::evidence::pairs::{
    REGISTRATION_TYPE, REGISTRATION_VERSION, RegisteredLedger, RegisteredScores, Registration, paired_profile,
};
use watermark_core::evidence::{TreeHead, timestamp};
use watermark_core::hex;
use watermark_toolkit::evidence::LAX_ALPHA;
use watermark_toolkit::files::{file_sha256, random, read_bounded, read_profile_text, write_new};

use super::super::key::SignerArgs;
use super::super::passphrase::PassphraseArgs;
use super::super::print;
use super::super::register::{MAX_FILE, named_file, names_apart, read_leaves, time};

/// Fix a test of a suspect before it is scored
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark pairs register --suspect acme-1 --profile pairs.profile.json --head commitment/head.json \\
    --ledger-head answers/heads/0000000000000200.json --control llama --reference base=base.scores.jsonl --law teacher=law.jsonl \\
    --signing-key signing.key.json --out registration.json

The list is the whole ledger that the head was signed over: nothing is left out of it, so nothing can be chosen. Scores of the reference, and what
the serving model's law says, are fixed here by the digests of their files. Beside the registration lies a time-stamp request (.tsq, RFC 3161):
have it answered, and that of the ledger's head before it, because the times inside are your own clock. Then score the suspect and each
control, and run `watermark pairs evidence`.")]
pub(crate) struct Args {
    /// A name for the suspect model
    #[arg(long, value_name = "NAME")]
    suspect: String,
    /// Name of an unrelated model that is scored on the same list (repeatable)
    #[arg(long = "control", value_name = "NAME")]
    controls: Vec<String>,
    /// A model that learned none of the answers, and the file of its scores
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file)]
    reference: Option<(String, PathBuf)>,
    /// The serving model, and the file of what its law says (`pairs score --law`)
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file)]
    law: Option<(String, PathBuf)>,
    /// The profile that served
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// head.json of `watermark key commit --requests` for this profile
    #[arg(long, value_name = "FILE")]
    head: PathBuf,
    /// leaves.json of the same commitment [default: beside the head]
    #[arg(long, value_name = "FILE")]
    leaves: Option<PathBuf>,
    /// A head of `watermark ledger head`
    #[arg(long, value_name = "FILE")]
    ledger_head: PathBuf,
    /// Only the first N tokens of each answer count, for models that read no more
    #[arg(long, value_name = "N")]
    first_tokens: Option<u32>,
    /// The question in words
    #[arg(long, default_value = "Was the suspect trained on answers that were served under the committed key?")]
    question: String,
    /// Level of the verdict about the list
    #[arg(long, default_value_t = 1e-6)]
    alpha: f64,
    /// Family-wise level of the verdicts about accounts
    #[arg(long, default_value_t = 1e-3)]
    accounts_alpha: f64,
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

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let of_profile = || format!("profile {}", self.profile.display());
        let text = read_profile_text(&self.profile)?;
        let (profile, profile_sha256) = paired_profile(&text).with_context(of_profile)?;
        let name = profile.paired.as_ref().context("the profile has no paired draws")?;
        let signed = |path: &PathBuf, tree: &str| -> Result<(TreeHead, Digest)> {
            let named = || format!("head {}", path.display());
            let bytes = read_bounded(path, MAX_FILE).with_context(named)?;
            let (head, _) = TreeHead::verify(&bytes, tree).with_context(named)?;
            Ok((head, Digest(Sha256::digest(&bytes).into())))
        };
        let (head, head_sha256) = signed(&self.head, KEY_COMMITMENTS)?;
        let (ledger, ledger_sha256) = signed(&self.ledger_head, ANSWERS)?;
        let registered_at = time(self.at.as_deref())?;
        ensure!(
            head.signed_at <= ledger.signed_at && ledger.signed_at.as_str() <= registered_at.as_str(),
            "the key was committed to at {}, the ledger signed at {}, and this is {registered_at}; they come in this order",
            head.signed_at,
            ledger.signed_at
        );
        ensure!(
            self.alpha <= LAX_ALPHA && self.accounts_alpha <= LAX_ALPHA,
            "--alpha {} and --accounts-alpha {}: at most {LAX_ALPHA}; a level that chance reaches more often accuses nobody",
            self.alpha,
            self.accounts_alpha
        );
        let (leaves, leaves_path) = read_leaves(self.leaves.as_deref(), &self.head)?;
        let named = || format!("leaves {}", leaves_path.display());
        let path = profile.layer_path(name)?;
        let before = committed_sha256(&text, &profile).with_context(of_profile)?;
        let (index, leaf_sha256, leaf) = leaves.find(&head, &path, &before).with_context(named)?;
        let requests = leaf.requests.as_ref().with_context(|| {
            format!(
                "{}: the key was committed to without requests; commit with `watermark key commit --requests`",
                named()
            )
        })?;
        ensure!(
            ledger.size <= requests.count,
            "the ledger has {} entries, and {} requests were planned",
            ledger.size,
            requests.count
        );
        let scores = |given: Option<(String, PathBuf)>| -> Result<Option<RegisteredScores>> {
            let Some((model, path)) = given else { return Ok(None) };
            let sha256 = file_sha256(&path).with_context(|| format!("scores {}", path.display()))?;
            Ok(Some(RegisteredScores { model, sha256: Digest(sha256) }))
        };
        let earlier = self.earlier.iter().map(|path| -> Result<Digest> {
            let named = || format!("earlier registration {}", path.display());
            let bytes = read_bounded(path, MAX_FILE).with_context(named)?;
            let (earlier, _) = Registration::verify(&bytes).with_context(named)?;
            ensure!(earlier.suspect == self.suspect, "{} is about another suspect", named());
            ensure!(earlier.registered_at <= registered_at, "{} is later than this one", named());
            Ok(Digest(Sha256::digest(&bytes).into()))
        });
        let registration = Registration {
            registration: REGISTRATION_VERSION.to_owned(),
            earlier: earlier.collect::<Result<_>>()?,
            registered_at,
            question: self.question,
            suspect: self.suspect,
            controls: self.controls,
            reference: scores(self.reference)?,
            law: scores(self.law)?,
            profile_sha256,
            key: RegisteredKey {
                head_sha256,
                index,
                leaf_sha256: Digest(leaf_sha256),
                path: path.as_str().to_owned(),
                tree_size: head.size,
            },
            ledger: RegisteredLedger { head_sha256: ledger_sha256, size: ledger.size },
            first_tokens: self.first_tokens,
            alpha: self.alpha,
            accounts_alpha: self.accounts_alpha,
        };
        names_apart(registration.models())?;
        let envelope = self.signature.signer(passphrases)?.sign(REGISTRATION_TYPE, &registration.payload()?)?;
        let digest: [u8; 32] = Sha256::digest(&envelope).into();
        write_new(&self.out, &envelope)?;
        let request = self.out.with_extension("tsq");
        write_new(&request, &timestamp::request(&digest, *random()?))?;
        print(&format!(
            "Registered the {} requests of {:?}, {} controls, {} and {} in {}.\nSHA-256 {}\nThe levels are {:?} and {:?} divided by {} committed \
             keys.\nHave {} answered by a time-stamping authority before the suspect is scored.",
            registration.ledger.size,
            requests.ledger,
            registration.controls.len(),
            if registration.reference.is_some() { "a reference" } else { "no reference" },
            if registration.law.is_some() { "a law" } else { "no law" },
            self.out.display(),
            hex::encode(&digest),
            registration.alpha,
            registration.accounts_alpha,
            registration.key.tree_size,
            request.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
