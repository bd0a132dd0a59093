//! From records to token ids.

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

use super::counts::{Counts, IdCounts, Skipped};
use super::profiles::Profiles;
use super::table::{Builder, Origin, Table};
use crate::read::{BadRecord, Body, Record};

/// Bad records that a shard keeps the places of.
const SAMPLES: usize = 100;

/// Longest `id` that is kept, in characters.
const MAX_ID: usize = 256;

/// Ids of prompt and generated text.
type Ids = (Vec<u32>, Vec<u32>);

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
        let (mut begun, mut bad, mut after_bad) = (false, false, false);
        for record in texts {
            let Record { location, id, continues, body, issued, .. } = record;
            let ids = match (0..profiles.slots()).map(|slot| ids(body, profiles, slot)).collect::<Result<Vec<Ids>>>() {
                Ok(ids) => ids,
                Err(problem) => {
                    // A record counts once, however many of its texts cannot be used.
                    if !bad {
                        let reason = format!("{location}: {problem:#}");
                        skip(counts, skipped, location.line(), "NotTokenised".to_owned(), reason);
                    }
                    (bad, after_bad) = (true, true);
                    continue;
                }
            };
            if !begun {
                let id: Option<String> = id.as_ref().map(|id| id.chars().take(MAX_ID).collect());
                builder.record(Origin { record: location.line(), id: id.as_deref(), bytes: location.bytes() })?;
                begun = true;
            }
            // What continues a text that was left out must not continue the conversation before it.
            let continues = *continues && !after_bad;
            after_bad = false;
            builder.text(location.part(), continues, &ids)?;
            counts.texts += 1;
            for (of_slot, (prompt, tokens)) in counts.ids.iter_mut().zip(&ids) {
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

fn ids(body: &Body, profiles: &Profiles, slot: usize) -> Result<Ids> {
    let (prompt, tokens) = match body {
        Body::Tokens { prompt_tokens, tokens } => (prompt_tokens.clone(), tokens.clone()),
        Body::Text { prompt, text } => {
            let Some(tokenizer) = profiles.tokenizers().get(slot) else { bail!("text needs a tokenizer") };
            let encode = |text: &str| if text.is_empty() { Ok(Vec::new()) } else { tokenizer.encode(text) };
            (encode(prompt.as_deref().unwrap_or(""))?, encode(text)?)
        }
    };
    let vocab_size = profiles.vocab_size(slot);
    for (side, ids) in [("prompt_tokens", &prompt), ("tokens", &tokens)] {
        if let Some(at) = ids.iter().position(|&id| id >= vocab_size) {
            bail!("{side}[{at}] is {}, not below vocab_size {vocab_size}", ids[at]);
        }
    }
    Ok((prompt, tokens))
}

/// What was read of a record, whatever the tokenizer.
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

/// How far apart the two sides of an alignment are looked for; a text that is tokenised otherwise is so for a word or two.
const APART: usize = 32;

/// How many of the issued ids came out otherwise: those without a partner where both sides are walked together, and the
/// nearest two equal neighbours resume the walk after a difference.
fn changed(issued: &[u32], made: &[u32]) -> u64 {
    let (mut left, mut right, mut kept) = (0, 0, 0);
    while left < issued.len() && right < made.len() {
        if issued[left] == made[right] {
            (left, right, kept) = (left + 1, right + 1, kept + 1);
            continue;
        }
        let equal = |a: usize, b: usize| {
            let (a, b) = (&issued[issued.len().min(left + a)..], &made[made.len().min(right + b)..]);
            !a.is_empty() && a.first() == b.first() && a.get(1) == b.get(1)
        };
        let near = (1..=APART).find_map(|far| (0..=far).map(|a| (a, far - a)).find(|&(a, b)| equal(a, b)));
        let Some((a, b)) = near else { break };
        (left, right) = (left + a, right + b);
    }
    (issued.len() - kept) as u64
}

#[cfg(test)]
mod tests {
    use super::changed;

    #[test]
    fn issued_ids_that_came_out_otherwise() {
        let issued: Vec<u32> = (0..100).collect();
        assert_eq!(changed(&issued, &issued), 0);
        assert_eq!(changed(&issued, &[]), 100);
        // Two ids became one, and elsewhere one became two.
        let mut made = issued.clone();
        made.splice(10..12, [500]);
        made.splice(50..51, [501, 502]);
        assert_eq!(changed(&issued, &made), 3);
        // The text was cut.
        assert_eq!(changed(&issued, &made[..40]), 61);
        let other: Vec<u32> = (1000..1100).collect();
        assert_eq!(changed(&issued, &other), 100);
    }
}
