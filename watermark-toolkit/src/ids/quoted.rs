//! Which tokens of a text are quoted from its prompt.

use std::collections::HashMap;
use std::ops::Range;

#[cfg(feature = "tokenizers")]
use aho_corasick::{AhoCorasick, AhoCorasickKind};
use anyhow::Result;

use super::normalise::{forms, normalise};
use crate::tokenizer::ByteRange;

/// Stretches of tokens of which every neighbouring two, as text, stand in the prompt, both in the form of [`normalise`] and the prompt
/// in any of its [`forms`]. A quotation is cut differently at its edges than the text it quotes, and wrapped or escaped otherwise, so
/// that token pairs alone would miss them.
///
/// `offsets` [tokens] are those of `text`. Time grows with the length of the prompt plus that of the text.
///
/// # Errors
/// If the pieces are too long to be looked for: gigabytes.
pub fn quoted(prompt: &str, text: &str, offsets: &[ByteRange]) -> Result<Vec<Range<usize>>> {
    if prompt.is_empty() {
        return Ok(Vec::new());
    }
    let piece = |pair: &[ByteRange]| text.get(pair[0].0..pair[1].1).map(normalise).unwrap_or_default();
    let mut numbers = HashMap::new();
    let of_pair: Vec<Option<usize>> = offsets
        .windows(2)
        .map(piece)
        .map(|piece| {
            let next = numbers.len();
            (!piece.is_empty()).then(|| *numbers.entry(piece).or_insert(next))
        })
        .collect();
    let mut pieces = vec![String::new(); numbers.len()];
    for (piece, number) in numbers {
        pieces[number] = piece;
    }
    let stands = occurring(&pieces, &forms(prompt))?;
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, number) in of_pair.into_iter().enumerate() {
        match runs.last_mut() {
            _ if !number.is_some_and(|number| stands[number]) => {}
            Some(run) if run.end == at + 1 => run.end = at + 2,
            _ => runs.push(at..at + 2),
        }
    }
    Ok(runs)
}

/// [pieces]: whether each occurs in one of the texts.
#[cfg(feature = "tokenizers")]
fn occurring(pieces: &[String], texts: &[String]) -> Result<Vec<bool>> {
    // The automaton takes some hundred bytes for each.
    const AT_A_TIME: usize = 1 << 16;
    let mut found = vec![false; pieces.len()];
    for (pieces, found) in pieces.chunks(AT_A_TIME).zip(found.chunks_mut(AT_A_TIME)) {
        // The kind that is made fastest: most prompts are shorter than what is looked for in them.
        let automaton = AhoCorasick::builder().kind(Some(AhoCorasickKind::NoncontiguousNFA)).build(pieces)?;
        for text in texts {
            for occurrence in automaton.find_overlapping_iter(text) {
                found[occurrence.pattern()] = true;
            }
        }
    }
    Ok(found)
}

/// Without tokenizers no text has tokens.
#[cfg(not(feature = "tokenizers"))]
fn occurring(pieces: &[String], _: &[String]) -> Result<Vec<bool>> {
    Ok(vec![false; pieces.len()])
}

#[cfg(all(test, feature = "tokenizers"))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::single_range_in_vec_init, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    /// A token for each word with the white space before it, as most tokenizers cut.
    fn words(text: &str) -> Vec<ByteRange> {
        let mut offsets: Vec<ByteRange> = Vec::new();
        let mut start = 0;
        for (at, _) in text.char_indices().filter(|&(_, c)| c.is_whitespace()).chain([(text.len(), ' ')]) {
            if at > start {
                offsets.push((start, at));
            }
            start = at;
        }
        offsets
    }

    fn stretches(prompt: &str, text: &str) -> Vec<Range<usize>> {
        quoted(prompt, text, &words(text)).unwrap()
    }

    #[test]
    fn stretches_of_neighbours() {
        assert_eq!(words("one two"), [(0, 3), (3, 7)]);
        let text = "one two three four five six";
        assert_eq!(stretches("x one two three y five six", text), [0..3, 4..6]);
        assert_eq!(stretches("two three four; one two", text), [0..4]);
        assert!(stretches("one, two, three", text).is_empty() && stretches("", text).is_empty());
        assert!(stretches("one", "one").is_empty() && stretches("one", "").is_empty());
        // Half of a character is no text.
        assert_eq!(quoted("éa", "éa", &[(0, 1), (1, 3)]).unwrap(), [0..2]);
        assert!(quoted("éa", "éa", &[(1, 2), (2, 3)]).unwrap().is_empty());
    }

    #[test]
    fn quotations_in_other_forms() {
        let text = "The cat \"sat\" on R&D's mat.\nIt slept - then left.";
        let all = [0..words(text).len()];
        for prompt in [
            text.to_owned(),
            text.replace(' ', "\n"),
            text.to_uppercase(),
            text.replace(' ', "\n> "),
            text.replace(' ', "\n   // "),
            text.replace('&', "&amp;").replace('"', "&quot;").replace(' ', "&nbsp;"),
            text.replace('"', "\\\"").replace(' ', "\\n"),
            text.replace('"', "”").replace('-', "–").replace('\'', "’"),
            text.replace("cat", "c\u{ad}a\u{200b}t"),
            "\\u0054he cat \\u0022sat\\u0022 on R\\u0026D\\u0027s mat. It slept \\u002d then left.".to_owned(),
        ] {
            assert_eq!(stretches(&format!("Repeat:\n{prompt}\nNow."), text), all, "{prompt}");
        }
        assert!(stretches("T.h.e. c.a.t", text).is_empty());
    }

    proptest! {
        /// The literal rule is the least that is found; and what is found is a row of stretches of at least two tokens.
        #[test]
        fn nothing_that_stands_literally_is_missed(prompt in "[a-cA-C\\n \\\\&>]{0,30}", text in "[a-cA-C\\n \\\\&>]{0,20}") {
            let offsets: Vec<ByteRange> = (0..text.len()).map(|at| (at, at + 1)).collect();
            let found = quoted(&prompt, &text, &offsets).unwrap();
            for at in 0..text.len().saturating_sub(1) {
                let piece = text[at..at + 2].trim();
                let literal = !piece.is_empty() && prompt.contains(piece);
                prop_assert!(!literal || found.iter().any(|run| run.start <= at && at + 2 <= run.end));
            }
            prop_assert!(found.iter().all(|run| run.len() >= 2 && run.end <= text.len()));
            prop_assert!(found.windows(2).all(|runs| runs[0].end <= runs[1].start));
        }
    }
}
