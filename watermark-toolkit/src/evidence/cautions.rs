use watermark_core::detect::RESAMPLING_KEYS;
use watermark_core::evidence::bundle::Bundle;

use crate::timestamp;
use crate::tokenizer::Tokenizer;

/// Contexts of more tokens than this are seldom those of another model.
const SHARED_WIDTH: usize = 2;
/// From this level on a test is passed too often by chance: a reader is cautioned at it, and none above it is registered.
pub const LAX_ALPHA: f64 = 1e-3;

/// Tokenizers have one special token among some hundreds at most.
const SPECIAL_ONE_IN: u64 = 100;

/// What an honest reader would object to in a bundle that holds: choices of whoever registered it, and oddities of the
/// data. None of it is a fault. Without the tokenizer, the number of special tokens decides whether they are plausible.
pub(super) fn cautions(bundle: &Bundle, tokenizer: Option<&Tokenizer>) -> Vec<String> {
    let (predicate, registration) = (&bundle.statement.predicate, &bundle.registration);
    let mut cautions = Vec::new();
    let info = &bundle.profile.tokenizer;
    match tokenizer.and_then(|tokenizer| tokenizer.info().ok()) {
        Some(own) => {
            let ordinary = info.special_token_ids.iter().filter(|id| !own.special_token_ids.contains(id)).count();
            if ordinary > 0 {
                cautions.push(format!(
                    "The profile calls {ordinary} ordinary tokens special, so they do not count: which ones may have been chosen to fit the answers."
                ));
            }
        }
        None if info.special_token_ids.len() as u64 * SPECIAL_ONE_IN > info.vocab_size.into() => {
            cautions.push(format!(
                "The profile calls {} of {} tokens special, so they do not count: which ones may have been chosen to fit the answers.",
                info.special_token_ids.len(),
                info.vocab_size
            ));
        }
        None => (),
    }
    for sample in bundle.samples().filter(|sample| sample.n_empty > 0) {
        let (empty, count) = (sample.n_empty, sample.records.count);
        cautions.push(format!(
            "{empty} of {count} answers of {:?} have no text; whoever left them out may have chosen which.",
            sample.model
        ));
    }
    if registration.controls.is_empty() {
        cautions.push(if registration.references.is_empty() {
            "No unrelated model was asked the same.".to_owned()
        } else {
            "No unrelated model was asked the same, so nothing shows whether the references accuse anybody.".to_owned()
        });
    }
    if !registration.references.is_empty() && bundle.layer.width > SHARED_WIDTH {
        cautions.push(format!(
            "With contexts of {} tokens controls share few of them with the suspect, so they hardly show a reference that accuses.",
            bundle.layer.width
        ));
    }
    for reference in bundle.references() {
        let (n, n_prompts, asked) = (reference.records.count, reference.n_prompts, predicate.suspect.records.count);
        if n_prompts < asked {
            cautions.push(format!(
                "Reference {:?} answers {n_prompts} of the {asked} prompts; whoever left out the others may have chosen which.",
                reference.model
            ));
        }
        if n > n_prompts {
            cautions.push(format!(
                "Reference {:?} has {n} answers to {n_prompts} prompts; whoever repeated some may have chosen which.",
                reference.model
            ));
        }
        if reference.n_empty > 0 {
            cautions
                .push(format!("{} of {n} answers of reference {:?} have no text.", reference.n_empty, reference.model));
        }
        if reference.tokens < predicate.suspect.tokens / 2 {
            cautions.push(format!(
                "Reference {:?} has {} tokens, the suspect {}; what it did not write, it does not expect.",
                reference.model, reference.tokens, predicate.suspect.tokens
            ));
        }
    }
    let committed = &bundle.head.references;
    let uncommitted = registration.references.iter().filter(|reference| !committed.contains(&reference.sha256));
    for reference in uncommitted {
        cautions.push(format!(
            "Reference {:?} was not committed to with the keys, so it may have been chosen with the key.",
            reference.model
        ));
    }
    for control in predicate.controls.iter().filter(|control| control.n_scored < predicate.suspect.n_scored / 10) {
        cautions.push(format!(
            "Control {:?} has {} scored pairs, the suspect {}; it could hardly have disagreed.",
            control.model, control.n_scored, predicate.suspect.n_scored
        ));
    }
    if registration.resample < RESAMPLING_KEYS {
        cautions.push(format!("{} fresh keys are too few to check the p-value against.", registration.resample));
    }
    if registration.alpha >= LAX_ALPHA {
        cautions.push(format!(
            "The level is {:?}: of models that never saw the mark, this share may be detected.",
            registration.alpha
        ));
    }
    let unreported = predicate.earlier.iter().filter(|earlier| earlier.evidence_sha256.is_none()).count();
    if unreported > 0 {
        cautions.push(format!("Of {unreported} earlier registrations only the signer says that they were not run."));
    }
    if predicate.signed_at.as_str() > timestamp::now().as_str() {
        cautions.push(format!(
            "It says that it was signed at {}, which is in the future by this machine's clock.",
            predicate.signed_at
        ));
    }
    cautions
}
