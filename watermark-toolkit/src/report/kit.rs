//! A bundle with all that is needed to check it, for people who have neither this program nor its documentation.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use sha2::{Digest as _, Sha256};
use watermark_core::evidence::PublicKey;
use watermark_core::evidence::bundle::Bundle;
use watermark_core::hex;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::of_bundle;
use super::verdict::reasons;
use crate::evidence::{BundleCheck, ConditionFound, Context, MAX_BUNDLE, headline, role, verdict};
use crate::files::{new_folder, read_bounded, write_new};
use crate::read::{print_prompts, read_prompts};
use crate::tokenizer::Tokenizer;
use crate::visible::shown;

/// The largest file of a kit; a kit is made in memory.
pub(super) const MAX_FILE: u64 = 1 << 30;

pub(super) const VERIFIER: [(&str, &str); 5] = [
    ("verifier/FORMAT.md", include_str!("../../../verify/FORMAT.md")),
    ("verifier/residuals.py", include_str!("../../../verify/residuals.py")),
    ("verifier/texts.py", include_str!("../../../verify/texts.py")),
    ("verifier/schema.json", include_str!("../../../verify/schema.json")),
    ("verifier/verify.py", include_str!("../../../verify/verify.py")),
];

/// Writes a kit of the bundle at `path`: the bundle, its page, the data, tokenizer and pool of `context`, the second verifier with the
/// format, digests, and a README that tells somebody without this program what to do. `out` becomes a ZIP file where it is named so,
/// else a folder. The same inputs give the same bytes.
///
/// # Errors
/// If the bundle does not hold or withholds its key, a sample's answers and records are both missing, a file cannot be read or written;
/// as [`is_new`].
pub fn write(path: &Path, context: &Context, out: &Path) -> Result<()> {
    is_new(out, context.tokenizer.as_deref())?;
    let (found, page) = of_bundle(path, context, true)?;
    let bundle = whole(path, found.bundle.as_ref(), found.faults.first().map(|fault| fault.what.as_str()))?;
    let evidence = read_bounded(path, MAX_BUNDLE)?;
    let sha256 = hex::encode(&Sha256::digest(&evidence));
    ensure!(bundle.node.is_some(), "the key is withheld, so nobody could count again with a kit of this bundle");
    let mut files = data(bundle, &context.data)?;
    let names: Vec<String> = files.keys().cloned().collect();
    if let Some(pool) = &context.pool {
        files.insert("pool.jsonl".to_owned(), print_prompts(&read_prompts(pool)?)?);
    }
    let stamps = &bundle.statement.predicate.time_stamps;
    let signed = [
        ("head", &stamps.head, &bundle.head_bytes),
        ("registration", &stamps.registration, &bundle.registration_bytes),
    ];
    let stamped = add_stamps(&signed, &mut files)?;
    let tokenizer = Tokenizer::find(context.tokenizer.as_deref(), path, &bundle.profile.tokenizer)?;
    files.insert("tokenizer.json".to_owned(), tokenizer.bytes.into_owned());
    files.insert("evidence.json".to_owned(), evidence);
    files.insert("report.html".to_owned(), page.into_bytes());
    files.extend(VERIFIER.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())));
    let readme = readme(&found, bundle, &sha256, names, stamped, context)?;
    files.insert("README.txt".to_owned(), readme.into_bytes());
    store(files, out)
}

/// A bundle in which nothing is at fault.
pub(super) fn whole<'a, B>(path: &Path, bundle: Option<&'a B>, fault: Option<&str>) -> Result<&'a B> {
    match (bundle, fault) {
        (Some(bundle), None) => Ok(bundle),
        (_, fault) => {
            let what = fault.unwrap_or("it holds nothing");
            bail!("{} does not hold, so no kit is made of it: {what}", path.display())
        }
    }
}

/// The README of a kit, by its template.
pub(super) fn instructions(template: &str, values: Value) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.render_str(template, values).context("the kit's README")
}

/// What has been time-stamped, beside its stamp; the names of what has.
pub(super) fn add_stamps(
    signed: &[(&'static str, &Option<String>, &Vec<u8>)],
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<Vec<&'static str>> {
    let mut stamped = Vec::new();
    for &(name, stamp, bytes) in signed {
        let Some(stamp) = stamp else { continue };
        let response = STANDARD.decode(stamp).map_err(|error| anyhow!("the stamp of the {name}: {error}"))?;
        files.insert(format!("stamps/{name}.json"), bytes.clone());
        files.insert(format!("stamps/{name}.tsr"), response);
        stamped.push(name);
    }
    Ok(stamped)
}

/// Writes the files of a kit and their digests.
pub(super) fn store(mut files: BTreeMap<String, Vec<u8>>, out: &Path) -> Result<()> {
    let sums = files.iter().map(|(name, bytes)| format!("{}  {name}\n", hex::encode(&Sha256::digest(bytes))));
    let sums: String = sums.collect();
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());

    if is_zip(out) {
        return write_new(out, &zip(&files)?);
    }
    new_folder(out)?;
    for (name, bytes) in &files {
        let file = out.join(name);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        write_new(&file, bytes)?;
    }
    Ok(())
}

/// Whether a kit can be written to `out`, for callers who have long work to do first.
///
/// # Errors
/// If `out` exists, and is no empty folder where a folder is to be written; if its folder does not exist; if the tokenizer is a rank
/// file, which the second verifier does not read.
pub fn is_new(out: &Path, tokenizer: Option<&Path>) -> Result<()> {
    let is_free = match std::fs::read_dir(out) {
        Ok(mut files) => !is_zip(out) && files.next().is_none(),
        Err(_) => !out.exists(),
    };
    ensure!(is_free, "{} exists and is not overwritten; choose another name for the kit", out.display());
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        ensure!(folder.is_dir(), "{} is no folder, so no kit can be written into it", folder.display());
    }
    if let Some(path) = tokenizer.filter(|path| path.extension().is_some_and(|ending| ending == "tiktoken")) {
        bail!(
            "the second verifier does not read rank files ({}), so nobody could check a kit with it; give others the bundle, the answers \
             and the program `watermark`",
            path.display()
        );
    }
    Ok(())
}

fn is_zip(out: &Path) -> bool {
    out.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("zip"))
}

/// The data files by their names in the kit. Every model needs its answers or its records.
fn data(bundle: &Bundle, paths: &[PathBuf]) -> Result<BTreeMap<String, Vec<u8>>> {
    let subjects = &bundle.statement.subject;
    let models: Vec<_> = bundle.models().collect();
    let controls = bundle.statement.predicate.controls.len();
    let mut files = BTreeMap::new();
    let mut complete = vec![false; models.len()];
    for path in paths {
        let bytes = read_bounded(path, MAX_FILE).with_context(|| format!("reading {}", path.display()))?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        for (at, (_, records)) in models.iter().enumerate() {
            let role = role(at, controls);
            if records.sha256.0 == digest {
                files.insert(format!("records/{role}.jsonl"), bytes.clone());
            } else if subjects.get(at).is_some_and(|subject| subject.digest.sha256.0 == digest) {
                files.insert(format!("answers/{role}-{}", plain_name(path)), bytes.clone());
            } else {
                continue;
            }
            complete[at] = true;
        }
    }
    if let Some(at) = complete.iter().position(|complete| !complete) {
        bail!("the answers of {} are not among the data, so nobody could count them again", shown(models[at].0));
    }
    Ok(files)
}

/// A file's name in letters that every system takes and that need no quotes in a shell.
fn plain_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    name.chars().map(plain).collect()
}

fn readme(
    found: &BundleCheck,
    bundle: &Bundle,
    sha256: &str,
    data: Vec<String>,
    stamped: Vec<&'static str>,
    context: &Context,
) -> Result<String> {
    let predicate = &bundle.statement.predicate;
    ensure!(found.concludes(), "the data do not suffice for a result, so no kit is made");
    instructions(
        include_str!("kit.txt"),
        context! {
            question => shown(&bundle.registration.question),
            suspect => shown(&bundle.registration.suspect),
            headline => headline(predicate.verdict, &found.conditions),
            numbers => format!(
                "log10 p {:.2}, ln e {:.2}, of {} pairs; level {:?}, divided by {} committed keys",
                predicate.suspect.log10_p,
                predicate.suspect.ln_e,
                predicate.suspect.n_scored,
                bundle.registration.alpha,
                bundle.registration.key.tree_size
            ),
            verdict => verdict(predicate.verdict, &found.conditions).as_str(),
            reasons => reasons(bundle),
            cautions => found.cautions.iter().map(|caution| shown(caution)).collect::<Vec<_>>(),
            dates => format!(
                "keys committed to {}, test registered {}, evidence signed {}",
                bundle.head.signed_at, bundle.registration.registered_at, predicate.signed_at
            ),
            signers => bundle.signers.each_ref().map(PublicKey::to_hex),
            trusted => context.trusted.iter().map(PublicKey::to_hex).collect::<Vec<_>>(),
            conditions => found.conditions.iter().map(ConditionFound::line).collect::<Vec<_>>(),
            does_not_show => predicate.does_not_show.clone(),
            alternatives => predicate.alternatives.clone(),
            pool => context.pool.is_some(),
            sha256, data, stamped,
        },
    )
}

fn zip(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        // Without a time of its own, every entry has the format's first: the same files give the same archive.
        archive.start_file(name.as_str(), SimpleFileOptions::default())?;
        archive.write_all(bytes)?;
    }
    Ok(archive.finish()?.into_inner())
}
