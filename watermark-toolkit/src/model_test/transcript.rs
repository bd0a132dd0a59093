use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result};
use watermark_core::model_test::{Access, Collection};

use super::item::{Item, item_of_pieces, item_of_text};
use super::material::Material;
use crate::ids::Vocabulary;
use crate::read::Predicted;
use crate::transcript::answer::{self, Answer};
use crate::transcript::{Api, Exchange, Reader};

/// The complete rounds of a transcript. A prompt without an answer adds nothing; if a prompt was tried several times,
/// its last line counts.
pub(super) fn read(path: &Path, access: Access, vocabulary: Vocabulary<'_>) -> Result<Material> {
    let named = || format!("transcript {}", path.display());
    let mut reader = Reader::new(BufReader::new(File::open(path).with_context(named)?)).with_context(named)?;
    let mut rounds: BTreeMap<u64, BTreeMap<u64, Exchange>> = BTreeMap::new();
    let mut material = Material { name: path.display().to_string(), ..Material::default() };
    let Some(reader) = &mut reader else { return Ok(material) };
    for exchange in reader.by_ref() {
        let exchange = exchange.with_context(named)?;
        rounds.entry(exchange.round).or_default().insert(exchange.index, exchange);
    }
    let header = reader.header();
    let mut times: Option<(String, String)> = None;
    for (number, (round, exchanges)) in (0..).zip(rounds) {
        let size = header.round(round);
        // Rounds are looked at in order, so whoever left one out must not choose the others.
        if round != number {
            break;
        }
        if exchanges.len() as u64 == size.end - size.start {
            let exchanges: Vec<Exchange> = exchanges.into_values().collect();
            for utc in exchanges.iter().map(|exchange| &exchange.utc) {
                let (first, last) = times.get_or_insert_with(|| (utc.clone(), utc.clone()));
                *first = std::mem::take(first).min(utc.clone());
                *last = std::mem::take(last).max(utc.clone());
            }
            material.rounds.push(items(header.api, &exchanges, access, vocabulary).with_context(named)?);
        }
    }
    // Somebody may have ended or cut a replicate because of what it showed, so one that ends early counts as stopped.
    let complete = material.rounds.len() as u64 == header.n_prompts.div_ceil(header.round_size);
    material.collection = header.collection;
    material.stopped = match header.collection {
        Collection::NotWitnessed => true,
        Collection::Replicate => !complete,
    };
    material.collected = times;
    Ok(material)
}

/// What the answers of a round show, in the order of their prompts.
///
/// # Errors
/// If an answer cannot be read or tokenised.
pub fn items(api: Api, exchanges: &[Exchange], access: Access, vocabulary: Vocabulary<'_>) -> Result<Vec<Item>> {
    let mut items = Vec::with_capacity(exchanges.len());
    for exchange in exchanges {
        let Some(response) = &exchange.response else { continue };
        let item = || -> Result<Item> {
            let answer = answer::parse(api, response)?;
            if access == Access::Answers {
                item_of_text(vocabulary, &exchange.prompt, &answer.text)
            } else {
                item_of_pieces(vocabulary, access, &exchange.prompt, &answer.text, &predicted(&answer))
            }
        };
        items.push(item().with_context(|| format!("the answer to prompt {}", exchange.index))?);
    }
    Ok(items)
}

/// Where the server's tokens begin in the text and what could have stood there, as far as they follow the text. Pieces that are
/// no UTF-8 by themselves are left out.
fn predicted(answer: &Answer) -> Vec<Predicted> {
    let mut predicted = Vec::with_capacity(answer.positions.len());
    let mut rest = answer.text.as_bytes();
    for position in &answer.positions {
        let at = answer.text.len() - rest.len();
        let Some(after) = rest.strip_prefix(position.bytes.as_slice()) else { break };
        rest = after;
        let mut top: Vec<(String, f64)> = Vec::with_capacity(position.top.len() + 1);
        let listed = position.top.iter().map(|other| (&other.bytes, other.logprob));
        for (bytes, logprob) in listed.chain([(&position.bytes, position.logprob)]) {
            if let Ok(piece) = std::str::from_utf8(bytes)
                && top.iter().all(|(other, _)| other != piece)
            {
                top.push((piece.to_owned(), logprob));
            }
        }
        predicted.push(Predicted { at, top });
    }
    predicted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::answer::{Alternative, Position};

    #[test]
    fn positions_follow_the_text() {
        let other = |bytes: &[u8], logprob| Alternative { bytes: bytes.to_vec(), id: None, logprob };
        let position = |bytes: &[u8], top| Position { bytes: bytes.to_vec(), id: None, logprob: -3.0, top };
        let positions = vec![
            position(b" she", vec![other(b" She", -0.5), other(&[0xc3], -1.0)]),
            position("é".as_bytes(), vec![other("é".as_bytes(), -3.0)]),
            position(b"not in the text", vec![]),
            position(b"!", vec![]),
        ];
        let answer = Answer { text: " sheé!".to_owned(), positions, ..Answer::default() };
        let piece = |piece: &str, logprob| (piece.to_owned(), logprob);
        let expected = vec![
            Predicted { at: 0, top: vec![piece(" She", -0.5), piece(" she", -3.0)] },
            Predicted { at: 4, top: vec![piece("é", -3.0)] },
        ];
        assert_eq!(predicted(&answer), expected);
    }
}
