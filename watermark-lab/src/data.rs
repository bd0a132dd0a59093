//! The training corpora: GSM8K, The Rust Programming Language, Python Enhancement Proposals.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use tokenizers::Tokenizer;

use crate::prompts::prompt_text;
use crate::shipped::EOS;

/// Every n-th document is held out.
const HELD_OUT_EVERY: usize = 50;
/// Longest piece of a chapter or proposal that becomes one document, in bytes: about one row of training.
const PIECE: usize = 550;

#[derive(Deserialize)]
struct Problem {
    question: String,
    answer: String,
}

#[derive(Deserialize)]
struct Chapter {
    text: String,
}

/// Documents as text, split into training and held-out ones.
pub struct Corpus {
    /// To learn from.
    pub training: Vec<String>,
    /// To measure the loss on.
    pub held_out: Vec<String>,
}

impl Corpus {
    /// Reads `gsm8k_train.jsonl`, `rust_book.jsonl.gz` and `peps.jsonl.gz` in `folder`. `prose_share` of the bytes come
    /// from the latter two, taken evenly over their length.
    ///
    /// # Errors
    /// If a file is missing or malformed.
    pub fn read(folder: &Path, prose_share: f64) -> Result<Self> {
        let mut problems = Vec::new();
        for problem in jsonl::<Problem>(&folder.join("gsm8k_train.jsonl"))? {
            problems.push(format!("{} {}", prompt_text(&problem.question), plain(&problem.answer)));
        }
        let mut prose = Vec::new();
        for name in ["rust_book.jsonl.gz", "peps.jsonl.gz"] {
            for chapter in jsonl::<Chapter>(&folder.join(name))? {
                prose.extend(pieces(&chapter.text));
            }
        }
        let bytes = |documents: &[String]| documents.iter().map(String::len).sum::<usize>() as f64;
        let wanted = bytes(&problems) * prose_share / (1.0 - prose_share);
        let keep = (wanted / bytes(&prose)).min(1.0);
        let prose =
            prose.into_iter().enumerate().filter(|(i, _)| ((i + 1) as f64 * keep).floor() > (*i as f64 * keep).floor());
        let mut corpus = Self { training: Vec::new(), held_out: Vec::new() };
        for (i, document) in problems.into_iter().chain(prose.map(|(_, piece)| piece)).enumerate() {
            let side = if i % HELD_OUT_EVERY == 0 { &mut corpus.held_out } else { &mut corpus.training };
            side.push(document);
        }
        Ok(corpus)
    }
}

/// Questions with answers that people (`gsm8k_train.jsonl`) and other models (`gsm8k_model_solutions.jsonl.gz`) wrote, in this order,
/// without calculator annotations.
///
/// # Errors
/// If a file in `folder` is missing or malformed.
pub fn answered(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut answered = Vec::new();
    for name in ["gsm8k_train.jsonl", "gsm8k_model_solutions.jsonl.gz"] {
        let problems = jsonl::<Problem>(&folder.join(name))?;
        answered.extend(problems.into_iter().map(|Problem { question, answer }| (question, plain(&answer))));
    }
    Ok(answered)
}

/// Ids of documents, each between two end-of-text tokens, cut to `longest`.
///
/// # Errors
/// If the tokenizer fails.
pub fn encode(tokenizer: &Tokenizer, documents: &[String], longest: usize) -> Result<Vec<Vec<u32>>> {
    let encodings =
        tokenizer.encode_batch_fast(documents.to_vec(), false).map_err(|error| anyhow!("tokenizing: {error}"))?;
    let ids = encodings.iter().map(|encoding| {
        let mut ids = vec![EOS];
        ids.extend(encoding.get_ids());
        ids.push(EOS);
        ids.truncate(longest);
        ids
    });
    Ok(ids.collect())
}

/// The answer without calculator annotations (`<<48/2=24>>`).
fn plain(answer: &str) -> String {
    let mut out = String::with_capacity(answer.len());
    let mut rest = answer;
    while let Some((before, after)) = rest.split_once("<<") {
        out += before;
        rest = after.split_once(">>").map_or("", |(_, rest)| rest);
    }
    out + rest
}

/// Paragraphs joined up to [`PIECE`] bytes.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for paragraph in text.split("\n\n") {
        if piece.len() + paragraph.len() > PIECE && !piece.is_empty() {
            pieces.push(std::mem::take(&mut piece));
        }
        if !piece.is_empty() {
            piece += "\n\n";
        }
        piece += paragraph;
    }
    pieces.push(piece);
    pieces
}

fn jsonl<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Vec<T>> {
    let named = || format!("corpus file {}", path.display());
    let file = File::open(path).with_context(named)?;
    let reader: Box<dyn Read> = if path.extension().is_some_and(|ext| ext == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let lines = BufReader::new(reader).lines().enumerate();
    lines
        .map(|(i, line)| {
            serde_json::from_str(&line.with_context(named)?).with_context(|| format!("{}:{}", path.display(), i + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_and_pieces() {
        assert_eq!(plain("sold 48/2 = <<48/2=24>>24 clips"), "sold 48/2 = 24 clips");
        assert_eq!(plain("no end <<1"), "no end ");
        let long = vec!["x".repeat(PIECE / 2 - 10); 5].join("\n\n");
        let cut = pieces(&long);
        assert_eq!(cut.len(), 3);
        assert_eq!(cut.join("\n\n"), long);
    }
}
