use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use watermark_cli::evidence::{Context, Report, check};
use watermark_cli::files::read_bounded;
use watermark_cli::tokenizer::hex;
use watermark_core::evidence::PublicKey;
use watermark_core::evidence::bundle::{Decimal, VerdictWord};

use super::evidence::word;
use super::{claim, print, print_json};

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
2 = a file cannot be read. Codes of faults: papers/verify/FORMAT.md, section 7.")]
pub(crate) struct Args {
    /// The bundle
    evidence: PathBuf,
    /// An answer file or a records file of the case (repeatable)
    #[arg(long, value_name = "FILE")]
    data: Vec<PathBuf>,
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

/// The largest bundle; the core refuses larger ones too.
const MAX_BUNDLE: u64 = 1 << 25;

/// A public key and some white space.
const MAX_KEY: u64 = 1 << 10;

#[derive(Serialize)]
struct Output<'a> {
    evidence_sha256: String,
    integrity: bool,
    trust: Option<&'static str>,
    faults: Vec<Fault<'a>>,
    signers: Option<Signers>,
    times: Option<Times<'a>>,
    result: Option<Outcome<'a>>,
    recomputed: &'a [String],
    not_checked: &'a [String],
}

#[derive(Serialize)]
struct Fault<'a> {
    code: &'static str,
    what: &'a str,
}

#[derive(Serialize)]
struct Signers {
    bundle: String,
    registration: String,
    head: String,
}

/// The signers' clocks, and what others' time stamps say.
#[derive(Serialize)]
struct Times<'a> {
    head: &'a str,
    registration: &'a str,
    bundle: &'a str,
    head_time_stamp: Option<&'a str>,
    registration_time_stamp: Option<&'a str>,
}

#[derive(Serialize)]
struct Outcome<'a> {
    question: &'a str,
    suspect: &'a str,
    layer: &'a str,
    alpha: f64,
    n_scored: u64,
    statistic: Decimal,
    log10_p: f64,
    ln_e: f64,
    controls: usize,
    earlier: usize,
    verdict: &'static str,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let bytes =
            read_bounded(&self.evidence, MAX_BUNDLE).with_context(|| format!("reading {}", self.evidence.display()))?;
        let trusted = self.trusted_key.iter().map(|key| public_key(key)).collect::<Result<_>>()?;
        let context = Context { data: self.data, tokenizer: self.tokenizer, trusted, authority: self.authority };
        let report = check(&self.evidence, &bytes, &context)?;
        let output = output(&report, &context, hex(&Sha256::digest(&bytes)));
        if self.json {
            print_json(&output)?;
        } else {
            output.print()?;
        }
        Ok(claim(report.faults.is_empty()))
    }
}

pub(super) fn public_key(given: &str) -> Result<PublicKey> {
    let path = Path::new(given);
    let text = if path.is_file() {
        String::from_utf8(read_bounded(path, MAX_KEY)?).with_context(|| format!("{} is no text", path.display()))?
    } else {
        given.to_owned()
    };
    PublicKey::from_hex(text.trim()).context("--trusted-key")
}

fn output<'a>(report: &'a Report, context: &Context, evidence_sha256: String) -> Output<'a> {
    let bundle = report.bundle.as_ref();
    Output {
        evidence_sha256,
        integrity: report.integrity(),
        trust: report.trusted(context).map(|trusted| if trusted { "trusted" } else { "not_trusted" }),
        faults: report.faults.iter().map(|fault| Fault { code: fault.code.as_str(), what: &fault.what }).collect(),
        signers: bundle.map(|bundle| {
            let [bundle, registration, head] = bundle.signers.each_ref().map(PublicKey::to_hex);
            Signers { bundle, registration, head }
        }),
        times: bundle.map(|bundle| Times {
            head: &bundle.head.signed_at,
            registration: bundle.registration.registered_at.as_str(),
            bundle: bundle.statement.predicate.signed_at.as_str(),
            head_time_stamp: report.time_stamps[0].as_deref(),
            registration_time_stamp: report.time_stamps[1].as_deref(),
        }),
        // A result that does not follow is none.
        result: bundle.filter(|_| report.integrity()).map(|bundle| {
            let (predicate, registration) = (&bundle.statement.predicate, &bundle.registration);
            Outcome {
                question: &registration.question,
                suspect: &registration.suspect,
                layer: &registration.layer,
                alpha: registration.alpha,
                n_scored: predicate.suspect.n_scored,
                statistic: predicate.suspect.statistic,
                log10_p: predicate.suspect.log10_p,
                ln_e: predicate.suspect.ln_e,
                controls: predicate.controls.len(),
                earlier: predicate.earlier.len(),
                verdict: word(predicate.verdict),
            }
        }),
        recomputed: &report.recomputed,
        not_checked: &report.not_checked,
    }
}

impl Output<'_> {
    fn print(&self) -> Result<()> {
        let integrity = if self.integrity { "holds" } else { "DOES NOT HOLD" };
        print(&format!("integrity    {integrity}"))?;
        for fault in &self.faults {
            print(&format!("  {:<15} {}", fault.code, fault.what.escape_debug()))?;
        }
        let trust = match self.trust {
            Some("trusted") => "all who signed are among your trusted keys",
            Some(_) => "NOT ALL who signed are among your trusted keys",
            None => "not asked for",
        };
        print(&format!("trust        {trust}"))?;
        if let Some(signers) = &self.signers {
            print(&format!("  bundle        {}\n  registration  {}", signers.bundle, signers.registration))?;
            print(&format!("  key head      {}", signers.head))?;
        }
        if let Some(times) = &self.times {
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
        if let Some(result) = &self.result {
            print(&format!(
                "result       {}\n  {} ({})\n  layer {}, {} pairs, log10 p {:.2}, ln e {:.2}, at level {:e}; {} controls, {} earlier \
                 analyses",
                result.verdict,
                result.question.escape_debug(),
                result.suspect.escape_debug(),
                result.layer,
                result.n_scored,
                result.log10_p,
                result.ln_e,
                result.alpha,
                result.controls,
                result.earlier
            ))?;
            if result.verdict == word(VerdictWord::Detected) {
                print(
                    "  It says that the answers depend on the key. It does not say that anybody used the API directly or meant to: \
                     marked answers may have been\n  published, bought or proxied, a distilled model may stand in between, or \
                     somebody with a stolen list or key may have framed the accused.",
                )?;
            }
        }
        for file in self.recomputed {
            print(&format!("recomputed   {}", file.escape_debug()))?;
        }
        for open in self.not_checked {
            print(&format!("not checked  {}", open.escape_debug()))?;
        }
        Ok(())
    }
}
