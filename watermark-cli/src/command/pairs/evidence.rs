use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use watermark_core::detect::Verdict;
use watermark_core::evidence::TreeHead;
use watermark_core::evidence::beacon::{DrawnValue, committed_sha256};
use watermark_core::evidence::bundle::Digest;
use watermark_core::evidence::commitment::KEY_COMMITMENTS;
use watermark_core::evidence::ledger::{ANSWERS, LedgerKey};
use watermark_core::evidence::pairs::{TimeStamps, paired_profile};
use watermark_core::profile::Beacon;
#[cfg(feature = "report")]
use watermark_toolkit::evidence::Context as Given;
use watermark_toolkit::evidence::pairs::{Case, build, earlier, open_list};
use watermark_toolkit::files::{new_folder, read_bounded, read_profile_text, write_new};
use watermark_toolkit::keys::read_key;
#[cfg(feature = "report")]
use watermark_toolkit::report;

use super::super::evidence::{MAX_EARLIER, MAX_FILE, stamp};
use super::super::key::SignerArgs;
use super::super::passphrase::PassphraseArgs;
use super::super::{claim, print, register, say, shown, spinner};

/// Run a registered test and write its signed evidence
///
/// The folder then holds evidence.json and list.jsonl: the whole ledger, opened. The list shows what was asked, served and withheld, the
/// coins of these requests and no others, and pseudonyms in place of accounts (`watermark ledger prove` shows whose an answer was).
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watermark profile new --distillation none --provenance none --pairs --out pairs.profile.json
  watermark key commit --key pairs.key.json --profile pairs.profile.json --requests ledger/2026-11=1000 --signing-key signing.key.json --out commitment
  watermark mark --profile pairs.profile.json --key pairs.key.json --ledger ledger/2026-11 --account alice --prompts prompts.txt --out served.jsonl
  watermark ledger append --ledger answers --key ledger.key.json --profile pairs.profile.json --served served.jsonl
  watermark ledger head --ledger answers --signing-key signing.key.json
  watermark pairs register …
  watermark pairs evidence --registration registration.json --profile pairs.profile.json --key pairs.key.json --head commitment/head.json \\
    --ledger answers --ledger-key ledger.key.json --ledger-head answers/heads/0000000000000200.json \\
    --scores suspect.scores.jsonl --controls llama.scores.jsonl --reference base.scores.jsonl --law law.jsonl \\
    --signing-key signing.key.json --out evidence served.jsonl
  watermark verify evidence/evidence.json --data evidence/list.jsonl --data suspect.scores.jsonl --data llama.scores.jsonl \\
    --data base.scores.jsonl --data law.jsonl

Exit codes: 0 = the list is detected, 1 = it is not (the evidence is written all the same), 2 = an error.")]
pub(crate) struct Args {
    /// All that was served, in the order of the ledger (JSONL of `watermark mark --ledger`)
    #[arg(required = true, value_name = "FILE")]
    served: Vec<PathBuf>,
    /// The registration of `watermark pairs register`
    #[arg(long, value_name = "FILE")]
    registration: PathBuf,
    /// The registered profile
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// A key at or above the profile's path
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// head.json of `watermark key commit`
    #[arg(long, value_name = "FILE")]
    head: PathBuf,
    /// leaves.json of the same commitment [default: beside the head]
    #[arg(long, value_name = "FILE")]
    leaves: Option<PathBuf>,
    /// The ledger's folder
    #[arg(long, value_name = "FOLDER")]
    ledger: PathBuf,
    /// The ledger's own key
    #[arg(long, value_name = "FILE")]
    ledger_key: PathBuf,
    /// The registered head of the ledger
    #[arg(long, value_name = "FILE")]
    ledger_head: PathBuf,
    /// The suspect's scores
    #[arg(long, value_name = "FILE")]
    scores: PathBuf,
    /// The same of each registered control, in the registered order (repeatable)
    #[arg(long, value_name = "FILE")]
    controls: Vec<PathBuf>,
    /// The registered reference's scores
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// What the registered law says
    #[arg(long, value_name = "FILE")]
    law: Option<PathBuf>,
    /// The source's signature of the key's beacon, 96 hexadecimal digits (drand)
    #[arg(long, value_name = "HEX")]
    beacon_signature: Option<String>,
    /// evidence.json of an earlier registration that this one names (repeatable); one without was not run
    #[arg(long, value_name = "FILE")]
    earlier: Vec<PathBuf>,
    /// Time-stamp response (RFC 3161) for the head
    #[arg(long, value_name = "FILE")]
    head_time_stamp: Option<PathBuf>,
    /// Time-stamp response (RFC 3161) for the ledger's head
    #[arg(long, value_name = "FILE")]
    ledger_time_stamp: Option<PathBuf>,
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
    #[cfg(feature = "report")]
    /// Also write a kit for others, as a folder or a ZIP: bundle, list, all scores, page, formats, the second verifier, and a README whose
    /// commands somebody without this program follows
    #[arg(long, value_name = "FOLDER|ZIP")]
    kit: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, passphrases: &PassphraseArgs) -> Result<ExitCode> {
        let read =
            |path: &PathBuf, limit| read_bounded(path, limit).with_context(|| format!("reading {}", path.display()));
        let (registration, head) = (read(&self.registration, MAX_FILE)?, read(&self.head, MAX_FILE)?);
        let ledger_head = read(&self.ledger_head, MAX_FILE)?;
        let text = read_profile_text(&self.profile)?;
        let of_profile = || format!("profile {}", self.profile.display());
        let (profile, _) = paired_profile(&text).with_context(of_profile)?;
        let (leaves, leaves_path) = register::read_leaves(self.leaves.as_deref(), &self.head)?;
        let named = || format!("leaves {}", leaves_path.display());
        let key = read_key(&self.key, passphrases)?;
        let layer = profile.paired_key(&key)?.context("the profile has no paired draws")?;
        let earlier = self.earlier.iter().map(|path| {
            earlier(&read(path, MAX_EARLIER)?).with_context(|| format!("earlier evidence {}", path.display()))
        });
        let earlier = earlier.collect::<Result<Vec<_>>>()?;

        let (committed, _) = TreeHead::verify(&head, KEY_COMMITMENTS).context("head of the key commitments")?;
        let (ledger, _) = TreeHead::verify(&ledger_head, ANSWERS).context("head of the ledger")?;
        let name = profile.paired.as_ref().context("the profile has no paired draws")?;
        let before = committed_sha256(&text, &profile).with_context(of_profile)?;
        let (_, _, leaf) = leaves.find(&committed, &profile.layer_path(name)?, &before).with_context(named)?;
        let requests = leaf.requests.as_ref().context("the key was committed to without requests")?;
        let ledger_key = LedgerKey::new(&read_key(&self.ledger_key, passphrases)?);
        let list = open_list(&self.served, (&self.ledger, &ledger_key), &ledger, (requests, &layer))?;
        #[cfg(feature = "report")]
        if let Some(kit) = &self.kit {
            anyhow::ensure!(*kit != self.out, "--kit and --out are one place");
            report::check_new_kit(kit, None)?;
        }
        new_folder(&self.out)?;
        let list_path = self.out.join("list.jsonl");
        write_new(&list_path, &list)?;

        let case = Case {
            registration: &registration,
            profile: &text,
            key: &key,
            head: &head,
            leaves: &leaves,
            ledger_head: &ledger_head,
            list: &list_path,
            suspect: &self.scores,
            controls: &self.controls,
            reference: self.reference.as_deref(),
            law: self.law.as_deref(),
            beacon: match profile.beacon {
                Beacon::Drawn(value) => {
                    Some(DrawnValue { signature: self.beacon_signature.clone(), value: Digest(value) })
                }
                Beacon::None | Beacon::Awaited => None,
            },
            earlier: &earlier,
            time_stamps: TimeStamps {
                head: stamp(self.head_time_stamp.as_ref(), &head)?,
                ledger: stamp(self.ledger_time_stamp.as_ref(), &ledger_head)?,
                registration: stamp(self.registration_time_stamp.as_ref(), &registration)?,
            },
            signed_at: register::time(self.at.as_deref())?,
        };
        let bar = spinner("Requests");
        let written = build(&case, &self.signature.signer(passphrases)?, |n| {
            bar.inc(n);
            Ok(())
        })?;
        bar.finish_and_clear();
        let evidence = self.out.join("evidence.json");
        write_new(&evidence, &written.bundle)?;
        let predicate = &written.statement.predicate;
        let named = predicate.accounts.iter().filter(|account| account.verdict == Verdict::Detected).count();
        print(&format!(
            "{}: {} (ln e {:.2}, {} of {} positions as they were served); {named} of {} accounts detected\nWrote {} and {}. They disclose what was \
             asked and answered in these {} requests, and their coins: whoever knows what was withheld can train a model to prefer it.",
            shown(&predicate.suspect.model),
            predicate.verdict.as_str(),
            predicate.suspect.ln_e,
            predicate.suspect.n_served_preferred,
            predicate.suspect.n_scored,
            predicate.accounts.len(),
            evidence.display(),
            list_path.display(),
            predicate.list.requests
        ))?;
        for caution in &written.cautions {
            say(&format!("caution: {}", shown(caution)));
        }
        #[cfg(feature = "report")]
        if let Some(kit) = &self.kit {
            let beside = self.reference.iter().chain(&self.law);
            let data = [&list_path, &self.scores].into_iter().chain(&self.controls).chain(beside).cloned().collect();
            let given = Given { data, ..Given::default() };
            report::write_kit_of_pairs(&evidence, &given, kit).with_context(|| format!("kit {}", kit.display()))?;
            print(&format!("Wrote the kit {}.", kit.display()))?;
        }
        Ok(claim(predicate.verdict == Verdict::Detected))
    }
}
