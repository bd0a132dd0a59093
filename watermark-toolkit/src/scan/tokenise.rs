//! From records to token ids.

use anyhow::Result;
use sha2::{Digest, Sha256};

use super::counts::{Counts, IdCounts, Skipped};
use super::issued::changed;
use super::profiles::Profiles;
use super::table::{Builder, Origin, Table};
use crate::ids::{Conversation, Ids};
use crate::read::{BadRecord, Body, Record};

/// How many bad records of a shard are listed with place and reason.
const SAMPLES: usize = 100;

/// Longest `id` that is kept, in characters.
const MAX_ID: usize = 256;

pub(super) fn count_bad(counts: &mut Counts, skipped: &mut Vec<Skipped>, bad: &BadRecord) {
    let kind = format!("{:?}", bad.kind());
    skip(counts, skipped, bad.location().line(), kind, bad.to_string());
}

fn skip(counts: &mut Counts, skipped: &mut Vec<Skipped>, record: u64, kind: String, reason: String) {
    *counts.bad_records.entry(kind.clone()).or_default() += 1;
    if skipped.len() < SAMPLES {
        skipped.push(Skipped { record, kind, reason });
    }
}

/// Tokenises records for every tokenizer; those that cannot be are counted as bad.
pub(super) fn tokenise(
    records: Vec<Record>,
    profiles: &Profiles,
    counts: &mut Counts,
    skipped: &mut Vec<Skipped>,
) -> Result<Table> {
    let mut builder = Builder::new(profiles.slots());
    counts.ids.resize(profiles.slots(), IdCounts::default());
    for texts in records.chunk_by(|_, next| next.location.part() > 1) {
        let mut element = Sha256::new_with_prefix(b"watermark-record/1\0");
        let (mut begun, mut bad, mut conversation) = (false, false, Conversation::default());
        for record in texts {
            let Record { location, id, continues, body, issued, .. } = record;
            let ids = (0..profiles.slots()).map(|slot| profiles.vocabulary(slot).ids(body, false));
            let ids = match ids.collect::<Result<Vec<Ids>>>() {
                Ok(ids) => ids,
                Err(problem) => {
                    // A record counts once, however many of its texts cannot be used.
                    if !bad {
                        let reason = format!("{location}: {problem:#}");
                        skip(counts, skipped, location.line(), "NotTokenised".to_owned(), reason);
                    }
                    bad = true;
                    conversation.lose();
                    continue;
                }
            };
            if !begun {
                let id: Option<String> = id.as_ref().map(|id| id.chars().take(MAX_ID).collect());
                builder.record(Origin { record: location.line(), id: id.as_deref(), bytes: location.bytes() })?;
                begun = true;
            }
            let continues = conversation.continues(*continues);
            builder.text(location.part(), continues, &ids)?;
            counts.texts += 1;
            for (of_slot, Ids { prompt, tokens, .. }) in counts.ids.iter_mut().zip(&ids) {
                of_slot.prompt_tokens += prompt.len() as u64;
                of_slot.tokens += tokens.len() as u64;
                if let Some(issued) = issued {
                    of_slot.issued += issued.len() as u64;
                    of_slot.changed += changed(issued, tokens);
                }
            }
            identify(&mut element, location.part(), continues, body);
        }
        if begun {
            counts.read.insert(&element.finalize().into());
        }
    }
    skipped.sort_by_key(|skipped| skipped.record);
    builder.finish()
}

/// The parts of a record that do not depend on a tokenizer.
fn identify(element: &mut Sha256, part: u32, continues: bool, body: &Body) {
    element.update(part.to_le_bytes());
    element.update([u8::from(continues)]);
    let mut sides = |kind: u8, sides: [&[u8]; 2]| {
        element.update([kind]);
        for side in sides {
            element.update((side.len() as u64).to_le_bytes());
            element.update(side);
        }
    };
    match body {
        Body::Text { prompt, text } => sides(0, [prompt.as_deref().unwrap_or("").as_bytes(), text.as_bytes()]),
        Body::Tokens { prompt_tokens, tokens } => {
            let bytes = |ids: &[u32]| ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>();
            sides(1, [&bytes(prompt_tokens), &bytes(tokens)]);
        }
    }
}
