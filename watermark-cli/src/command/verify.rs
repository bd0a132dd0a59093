use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use watermark_core::detect::Verdict;
use watermark_core::evidence::PublicKey;
use watermark_toolkit::evidence::{ConditionFound, Context, Fault, MAX_BUNDLE, Verification, check, pairs};
use watermark_toolkit::files::read_bounded;

use super::{advance, claim, print, print_json, shown, spinner};

/// Check an evidence bundle, and recompute it from the data
///
/// Integrity (signatures, proofs, sums, tails and, with --data, the records), trust in the signers, and the result are
/// three things, and are told apart.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watermark verify evidence.json
  watermark verify evidence.json --data suspect.jsonl --data control.jsonl --trusted-key HEX
  watermark verify evidence.json --authority tsa.pem --json

Exit codes: 0 = integrity and signatures hold, whatever the verdict, and with --trusted-key the signers are trusted; 1 = not;
2 = a file cannot be read. Codes of faults: section 7 of verify/FORMAT.md and of verify/PAIRS.md.")]
pub(crate) struct Args {
    /// The bundle
    evidence: PathBuf,
    /// An answer file or a records file of the case; for evidence from pairs the list or a scores file (repeatable)
    #[arg(long, value_name = "FILE")]
    data: Vec<PathBuf>,
    /// The pool that the prompts were drawn from
    #[arg(long, value_name = "FILE")]
    pool: Option<PathBuf>,
    /// A key whose signature you trust, 64 hexadecimal digits or a file with them (repeatable); all who signed must be named
    #[arg(long, value_name = "HEX|FILE")]
    trusted_key: Vec<String>,
    /// tokenizer.json of the mark; default: beside the bundle, else the embedded one
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Certificates (PEM) that time stamps must chain to, checked by the program openssl
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A public key and some white space.
const MAX_KEY: u64 = 1 << 10;

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let bytes =
            read_bounded(&self.evidence, MAX_BUNDLE).with_context(|| format!("reading {}", self.evidence.display()))?;
        let trusted = self.trusted_key.iter().map(|key| public_key(key)).collect::<Result<_>>()?;
        let context =
            Context { data: self.data, pool: self.pool, tokenizer: self.tokenizer, trusted, authority: self.authority };
        if pairs::is_of_pairs(&bytes) {
            return check_pairs(&bytes, &context, self.json);
        }
        let bar = spinner("Recomputing under fresh keys");
        let report = check(&self.evidence, &bytes, &context, &advance(&bar));
        bar.finish_and_clear();
        let report = report?;
        let found = Verification::new(&report, &bytes, &context);
        if self.json {
            print_json(&found)?;
        } else {
            print_tables(&found)?;
        }
        Ok(claim(report.faults.is_empty()))
    }
}

fn check_pairs(bytes: &[u8], context: &Context, json: bool) -> Result<ExitCode> {
    let bar = spinner("Requests");
    let report = pairs::check(bytes, context, |n| {
        bar.inc(n);
        Ok(())
    });
    bar.finish_and_clear();
    let report = report?;
    let found = pairs::Verification::new(&report, bytes, context);
    if json {
        print_json(&found)?;
    } else {
        print_pairs(&found)?;
    }
    Ok(claim(report.faults.is_empty()))
}

pub(super) fn public_key(given: &str) -> Result<PublicKey> {
    let path = Path::new(given);
    let text = if path.is_file() {
        String::from_utf8(read_bounded(path, MAX_KEY)?).with_context(|| format!("{} is no text", path.display()))?
    } else {
        given.to_owned()
    };
    PublicKey::from_hex(&text.trim().to_lowercase()).context("--trusted-key")
}

fn print_tables(found: &Verification<'_>) -> Result<()> {
    print_integrity(found.integrity, &found.faults, found.trust)?;
    if let Some(signers) = &found.signers {
        print(&format!("  bundle        {}\n  registration  {}", signers.bundle, signers.registration))?;
        print(&format!("  key head      {}", signers.head))?;
    }
    if let Some(times) = &found.times {
        let stamp = |stamp: Option<&str>| stamp.map(|time| format!(" (time stamp: {time})")).unwrap_or_default();
        print(&format!(
            "times        key committed {}{}, registered {}{}, bundle {}",
            times.head,
            stamp(times.head_time_stamp),
            times.registration,
            stamp(times.registration_time_stamp),
            times.bundle
        ))?;
    }
    if let (Some(result), Some(headline)) = (&found.result, &found.headline) {
        print(&format!(
            "result       {headline}\n  {} ({})\n  layer {}, {} pairs, log10 p {:.2}, ln e {:.2}, at level {:?} for {} committed keys; {} \
             controls, {} references, {} earlier analyses",
            shown(result.question),
            shown(result.suspect),
            result.layer,
            result.n_scored,
            result.log10_p,
            result.ln_e,
            result.alpha,
            result.committed_keys,
            result.controls,
            result.references,
            result.earlier
        ))?;
        if result.verdict == Verdict::Detected {
            print(
                "  It says that the answers depend on the key. It does not say that anybody used the API directly or meant to: marked \
                 answers may\n  have been published, bought or proxied, the prompts may have dictated them, a distilled model may stand \
                 in between, or somebody with\n  a stolen list or key may have framed the accused.",
            )?;
        }
    }
    print_conditions(found.conditions)?;
    print_rest(found.recomputed, found.cautions, found.not_checked)
}

fn print_pairs(found: &pairs::Verification<'_>) -> Result<()> {
    print_integrity(found.integrity, &found.faults, found.trust)?;
    for (signer, signed) in found.signers.iter().zip(["bundle", "registration", "key head", "ledger head"]) {
        print(&format!("  {signed:<13} {signer}"))?;
    }
    if let (Some(result), Some(headline)) = (&found.result, &found.headline) {
        print(&format!(
            "result       {headline}\n  {} ({})\n  {} requests, {} positions, {} preferred as they were served, {} without scores; ln e {:.2}, at level \
             {:?} for {} committed keys; {} controls, {} earlier analyses\n  {} of {} accounts detected, at level {:?} for all together",
            shown(result.question),
            shown(result.suspect),
            result.requests,
            result.n_scored,
            result.n_served_preferred,
            result.n_unscored,
            result.ln_e,
            result.alpha,
            result.committed_keys,
            result.controls,
            result.earlier,
            result.detected_accounts.len(),
            result.accounts,
            result.accounts_alpha
        ))?;
        for account in &result.detected_accounts {
            print(&format!("  account {account}"))?;
        }
        if result.verdict == Verdict::Detected {
            print(
                "  It says that the model depends on which candidates were served. It does not say that an account's owner trained it or meant to: \
                 answers\n  may have been published, bought or proxied, a distilled model may stand in between, or somebody who knew what was \
                 withheld may have\n  trained it so.",
            )?;
        }
    }
    print_conditions(found.conditions)?;
    print_rest(found.recomputed, found.cautions, found.not_checked)
}

fn print_integrity(holds: bool, faults: &[Fault<'_>], trust: Option<&str>) -> Result<()> {
    let integrity = if holds { "holds" } else { "DOES NOT HOLD" };
    print(&format!("integrity    {integrity}"))?;
    for fault in faults {
        print(&format!("  {:<15} {}", fault.code, shown(fault.what)))?;
    }
    let trust = match trust {
        Some("trusted") => "all who signed are among your trusted keys",
        Some(_) => "NOT ALL who signed are among your trusted keys",
        None => "not asked for",
    };
    print(&format!("trust        {trust}"))
}

fn print_conditions(conditions: &[ConditionFound]) -> Result<()> {
    conditions.iter().try_for_each(|condition| print(&format!("condition    {}", condition.line())))
}

fn print_rest(recomputed: &[String], cautions: &[String], not_checked: &[String]) -> Result<()> {
    let rest = [("recomputed ", recomputed), ("caution    ", cautions), ("not checked", not_checked)];
    let lines = rest.iter().flat_map(|(what, lines)| lines.iter().map(move |line| format!("{what}  {}", shown(line))));
    lines.into_iter().try_for_each(|line| print(&line))
}
