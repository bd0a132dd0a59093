//! Evidence from paired draws with all that is needed to check it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use minijinja::context;
use sha2::{Digest as _, Sha256};
use watermark_core::evidence::PublicKey;
use watermark_core::evidence::pairs::Bundle;
use watermark_core::hex;

use super::kit::{MAX_FILE, VERIFIER, add_stamps, instructions, is_new, store, whole};
use super::pairs::of_bundle;
use crate::evidence::pairs::PairsCheck;
use crate::evidence::{ConditionFound, Context, headline, verdict};
use crate::files::read_bounded;
use crate::visible::shown;

const OF_PAIRS: [(&str, &str); 2] = [
    ("verifier/PAIRS.md", include_str!("../../../verify/PAIRS.md")),
    ("verifier/pairs.py", include_str!("../../../verify/pairs.py")),
];

/// Writes a kit of the bundle at `path`: the bundle, its page, the list and all scores of `context`, the second verifier with the formats,
/// digests, and a README that tells somebody without this program what to do. `out` becomes a ZIP file where it is named so, else a
/// folder. The same inputs give the same bytes.
///
/// # Errors
/// If the bundle does not hold, one of its files is missing, a file cannot be read or written; as [`is_new`].
pub fn write(path: &Path, context: &Context, out: &Path) -> Result<()> {
    is_new(out, None)?;
    let (bytes, found, page) = of_bundle(path, context)?;
    let bundle = whole(path, found.bundle.as_ref(), found.faults.first().map(|fault| fault.what.as_str()))?;
    let mut files = data(bundle, context)?;
    let names: Vec<String> = files.keys().cloned().collect();
    let stamps = &bundle.statement.predicate.time_stamps;
    let [head, ledger, registration] = &bundle.envelopes;
    let signed = [
        ("head", &stamps.head, head),
        ("ledger", &stamps.ledger, ledger),
        ("registration", &stamps.registration, registration),
    ];
    let stamped = add_stamps(&signed, &mut files)?;
    let sha256 = hex::encode(&Sha256::digest(&bytes));
    let readme = readme(&found, bundle, &sha256, names, stamped, context)?;
    files.insert("evidence.json".to_owned(), bytes);
    files.insert("report.html".to_owned(), page.into_bytes());
    files.extend(VERIFIER.into_iter().chain(OF_PAIRS).map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())));
    files.insert("README.txt".to_owned(), readme.into_bytes());
    store(files, out)
}

/// The list and all scores by their names in the kit.
fn data(bundle: &Bundle, context: &Context) -> Result<BTreeMap<String, Vec<u8>>> {
    let registration = &bundle.registration;
    let mut names = vec!["list.jsonl".to_owned(), "scores/suspect.jsonl".to_owned()];
    names.extend((1..=registration.controls.len()).map(|at| format!("scores/control-{at}.jsonl")));
    names.extend(registration.reference.as_ref().map(|_| "scores/reference.jsonl".to_owned()));
    names.extend(registration.law.as_ref().map(|_| "scores/law.jsonl".to_owned()));
    let mut files = BTreeMap::new();
    for path in &context.data {
        let bytes = read_bounded(path, MAX_FILE).with_context(|| format!("reading {}", path.display()))?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let of = bundle.statement.subject.iter().zip(&names).find(|(subject, _)| subject.digest.sha256.0 == digest);
        let (_, name) = of.with_context(|| format!("{}: not a file of this bundle", path.display()))?;
        files.insert(name.clone(), bytes);
    }
    if let Some(missing) = names.iter().find(|name| !files.contains_key(*name)) {
        bail!("{missing} is not among the data, so nobody could count it again");
    }
    Ok(files)
}

fn readme(
    found: &PairsCheck,
    bundle: &Bundle,
    sha256: &str,
    data: Vec<String>,
    stamped: Vec<&'static str>,
    context: &Context,
) -> Result<String> {
    let (predicate, registration) = (&bundle.statement.predicate, &bundle.registration);
    instructions(
        include_str!("kit_pairs.txt"),
        context! {
            question => shown(&registration.question),
            suspect => shown(&registration.suspect),
            headline => headline(predicate.verdict, &found.conditions),
            numbers => format!(
                "ln e {:.2}; {} of {} positions preferred as they were served, in {} requests; level {:?}, divided by {} committed keys",
                predicate.suspect.ln_e,
                predicate.suspect.n_served_preferred,
                predicate.suspect.n_scored,
                predicate.list.requests,
                registration.alpha,
                registration.key.tree_size
            ),
            verdict => verdict(predicate.verdict, &found.conditions).as_str(),
            cautions => found.cautions.iter().map(|caution| shown(caution)).collect::<Vec<_>>(),
            dates => format!(
                "keys committed to {}, ledger signed {}, test registered {}, evidence signed {}",
                bundle.head.signed_at, bundle.ledger.signed_at, registration.registered_at, predicate.signed_at
            ),
            signers => bundle.signers.each_ref().map(PublicKey::to_hex),
            trusted => context.trusted.iter().map(PublicKey::to_hex).collect::<Vec<_>>(),
            conditions => found.conditions.iter().map(ConditionFound::line).collect::<Vec<_>>(),
            does_not_show => predicate.does_not_show.clone(),
            alternatives => predicate.alternatives.clone(),
            sha256, data, stamped,
        },
    )
}
