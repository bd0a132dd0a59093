//! Quoting: prompts show marked text, wrapped or escaped, and ask for it back; an innocent model repeats it as it was written.

use std::ops::Range;

use anyhow::{Context, Result};
use watermark_core::detect::LayerDetector;
use watermark_core::model_test::{Access, ModelFinding, ModelSample};
use watermark_radioactivity::lab::Lab;
use watermark_toolkit::ids::Vocabulary;
use watermark_toolkit::model_test::{Item, add_round, item_of_text};

use crate::{DOCUMENT, Measures, TESTED, greenlist};

/// Columns at which marked text is wrapped.
const COLUMNS: usize = 40;

/// What stands in a prompt for a text.
type Disguise = fn(&str) -> String;

const DISGUISES: [(&str, Disguise); 8] = [
    ("as it is", str::to_owned),
    ("wrapped", |text| lines(text).join("\n")),
    ("a word a line", |text| text.replace(' ', "\n")),
    ("wrapped, \"> \" in front of lines", |text| format!("> {}", lines(text).join("\n> "))),
    ("wrapped, \" * \" in front of lines", |text| format!(" * {}", lines(text).join("\n * "))),
    ("upper-cased", str::to_uppercase),
    ("wrapped, as JSON", |text| json(&lines(text).join("\n"))),
    ("as HTML, spaces as &nbsp;", |text| {
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        escaped.replace('\'', "&#39;").replace(' ', "&nbsp;")
    }),
];

/// `asked` prompts, each with five marked answers to repeat. The model that answers has never seen the key: it repeats them and adds
/// nothing.
///
/// # Errors
/// If generating fails.
pub fn run(lab: &Lab, seed: u64, asked: usize) -> Result<Measures> {
    let mut measures = Measures::default();
    let mark = greenlist(1, seed)?;
    let layer = lab.layer(&mark)?;
    let shown = lab.teacher(&mark, true, TESTED + 600 + seed, DOCUMENT * asked)?.answers;
    let shown = shown.chunks_exact(DOCUMENT).map(|answers| {
        let words: Vec<&str> = answers.iter().flat_map(|answer| answer.text.split_whitespace()).collect();
        words.join(" ")
    });
    let shown: Vec<String> = shown.collect();
    for (name, disguise) in DISGUISES {
        let prompt = |text: &String| format!("Write this again, as one paragraph:\n\n{}\n", disguise(text));
        let asked: Vec<(String, &str)> = shown.iter().map(|text| (prompt(text), text.as_str())).collect();
        let before = tested(lab, &layer, &asked, literally)?;
        let after = tested(lab, &layer, &asked, |_, item| Ok(item.quoted.clone()))?;
        let values = [
            ("pairs, compared literally", before.n_scored as f64),
            ("log10 p, compared literally", before.log10_p),
            ("pairs", after.n_scored as f64),
            ("log10 p", after.log10_p),
            ("log10 p of `detect`, which compares ids", of_detect(lab, &layer, &asked)?),
        ];
        measures.add("quoting", name, seed, &values);
    }
    Ok(measures)
}

/// Greedy lines of whole words.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// As a JSON string with every character escaped that may be.
fn json(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"").replace('\'', "\\u0027");
    format!("\"{escaped}\"")
}

type Quoted = fn(&Lab, &Item) -> Result<Vec<Range<usize>>>;

/// The closed test of a model, leaving out what `quoted` says.
fn tested(lab: &Lab, layer: &LayerDetector, asked: &[(String, &str)], quoted: Quoted) -> Result<ModelFinding> {
    let vocabulary = Vocabulary { tokenizer: Some(&lab.tokenizer), size: None };
    let items = asked.iter().map(|(prompt, answer)| {
        let item = item_of_text(vocabulary, prompt, answer)?;
        Ok(Item { quoted: quoted(lab, &item)?, ..item })
    });
    let mut sample = ModelSample::of_answers(layer);
    add_round(&mut sample, layer, Access::Answers, &items.collect::<Result<Vec<Item>>>()?)?;
    Ok(sample.test(layer)?)
}

/// The rule that was: neighbouring tokens whose text, without white space at its ends, stands in the prompt to the letter.
fn literally(lab: &Lab, item: &Item) -> Result<Vec<Range<usize>>> {
    let (prompt, text) = item.texts.as_ref().context("an answer in text")?;
    let (_, offsets) = lab.tokenizer.encode_with_offsets(text)?;
    let stands = |at: &usize| {
        let piece = text.get(offsets[*at].0..offsets[*at + 1].1).unwrap_or_default().trim();
        !piece.is_empty() && prompt.contains(piece)
    };
    Ok((0..offsets.len().saturating_sub(1)).filter(stands).map(|at| at..at + 2).collect())
}

/// The test of texts, which leaves out what ids a prompt shows.
fn of_detect(lab: &Lab, layer: &LayerDetector, asked: &[(String, &str)]) -> Result<f64> {
    let mut tally = layer.tally();
    for (prompt, answer) in asked {
        layer.add(&mut tally, &lab.tokenizer.encode(prompt)?, &lab.tokenizer.encode(answer)?)?;
    }
    Ok(layer.finding(&tally)?.log10_p)
}
