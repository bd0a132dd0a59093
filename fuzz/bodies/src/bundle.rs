//! Evidence bundles: as bytes, and as statements that a hostile author has changed anywhere and signed.

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use watermark_core::detect::Verdict;
use watermark_core::evidence::bundle::{Checked, Standing, Stopping, verify};
use watermark_core::evidence::canonical::to_canonical;
use watermark_core::hex;

use crate::edit::edit;
use crate::parts::{BundleParts, KINDS, other_key, signing_key};

/// Whole bundles, and instructions for changes.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let bundles = (0..KINDS).map(|kind| BundleParts::new(kind).signed(&signing_key()).unwrap());
    let changes = (0..64_u8).map(|seed| (0..32).map(|at: u8| at.wrapping_mul(seed).wrapping_add(seed)).collect());
    bundles.chain(changes).collect()
}

/// A bundle begins with a brace; anything else says what to change in a valid one.
pub fn run(bytes: &[u8]) {
    if bytes.first() == Some(&b'{') {
        let checked = verify(bytes);
        if checked.faults.is_empty() && is_original(&checked) {
            assert!(
                (0..KINDS).any(|kind| BundleParts::new(kind).signed(&signing_key()).unwrap() == bytes),
                "a change is not seen"
            );
        }
        return;
    }
    let mut u = Unstructured::new(bytes);
    let _ = changed(&mut u);
}

/// Whether the key of the seeds signed it.
fn is_original(checked: &Checked) -> bool {
    checked.bundle.as_ref().is_some_and(|bundle| bundle.signers[0] == signing_key().public_key())
}

fn changed(u: &mut Unstructured<'_>) -> Result<()> {
    let parts = hostile(BundleParts::new(u.int_in_range(0..=KINDS - 1)?), u)?;
    let (Some(payload), Some(bundle)) = (parts.payload(), parts.signed(&other_key())) else { return Ok(()) };
    sound_only_if_true(&verify(&bundle), &payload);
    unsigned(&payload);
    Ok(())
}

/// A case with a few changes, made to fit again as far as the author cared to.
pub(crate) fn hostile(mut parts: BundleParts, u: &mut Unstructured<'_>) -> Result<BundleParts> {
    let care = u.arbitrary::<u8>()?;
    for (part, bit) in
        [(&mut parts.statement, 1), (&mut parts.registration, 2), (&mut parts.profile, 4), (&mut parts.head, 8)]
    {
        if care & bit != 0 {
            edit(part, u)?;
        }
    }
    // The parts that the statement holds are strings and envelopes: changed above, they are put into it here.
    if care & 16 != 0 {
        parts.link(&other_key());
    }
    if care & 32 != 0 {
        parts.count();
    }
    Ok(parts)
}

/// What verifies says the same in other words, and its verdict is the one that its numbers give.
fn sound_only_if_true(checked: &Checked, payload: &[u8]) {
    let Some(bundle) = &checked.bundle else {
        assert!(!checked.faults.is_empty(), "neither a bundle nor a fault");
        return;
    };
    assert_eq!(bundle.statement.payload().expect("a statement that was read can be written"), payload);
    if !checked.faults.is_empty() {
        return;
    }
    let (predicate, registration) = (&bundle.statement.predicate, &bundle.registration);
    let suspect = &predicate.suspect;
    assert_eq!(suspect.model, registration.suspect);
    let by_e = suspect.stopped || registration.stopping == Stopping::EProcess;
    let log10_p = if by_e { (-suspect.ln_e / std::f64::consts::LN_10).min(0.0) } else { suspect.log10_p };
    let usable =
        suspect.n_scored > 0 && predicate.controls_agree && predicate.resampling_agrees && predicate.answers_present;
    let fails = predicate.conditions.iter().any(|condition| condition.standing == Standing::Fails);
    let usable = usable && predicate.exclusion_agrees && !fails;
    let level = (registration.alpha / registration.key.tree_size as f64).log10();
    let near = (log10_p - level).abs() < 1e-6;
    match predicate.verdict {
        Verdict::Detected => assert!(usable && (near || log10_p <= level), "{log10_p} at {level}"),
        Verdict::NotDetected => assert!(usable && (near || log10_p > level), "{log10_p} at {level}"),
        Verdict::Inconclusive => assert!(!usable, "inconclusive without a reason"),
    }
    for sample in bundle.samples() {
        for number in [sample.log10_p, sample.log10_p_distinct] {
            assert!(number <= 1e-9, "log10 p of {number}");
        }
        let pairs: u128 = sample.classes.iter().map(|class| u128::from(class.pairs)).sum();
        assert_eq!(pairs, u128::from(sample.n_scored));
    }
    if let Some(node) = &bundle.node {
        let shown = format!("{checked:?}");
        let secret = hex::encode(node.secret());
        assert!(!shown.contains(&secret), "Debug shows the key");
    }
}

/// An original's envelope around another payload.
fn unsigned(payload: &[u8]) {
    if BundleParts::new(0).payload().as_deref() == Some(payload) {
        return;
    }
    static ENVELOPE: LazyLock<Value> =
        LazyLock::new(|| serde_json::from_slice(&BundleParts::new(0).signed(&signing_key()).unwrap()).unwrap());
    let mut envelope = ENVELOPE.clone();
    envelope["payload"] = json!(STANDARD.encode(payload));
    let checked = verify(&to_canonical(&envelope).unwrap());
    assert!(!checked.faults.is_empty(), "a payload that nobody signed");
}
