//! Quoting: prompts show marked text, wrapped or escaped, and ask for it back; an innocent model repeats it as it was written.

use std::ops::Range;

use anyhow::{Context, Result};
use watermark_core::detect::LayerDetector;
use watermark_core::model_test::{Access, ModelSample};
use watermark_radioactivity::lab::{Lab, Mark};
use watermark_toolkit::ids::Vocabulary;
use watermark_toolkit::model_test::{Item, add_round, item_of_text};

use crate::{DOCUMENT, Measures, TESTED, greenlist};

/// Columns at which marked text is wrapped.
const COLUMNS: usize = 40;

/// What stands in a prompt for a text.
type Disguise = fn(&str) -> String;

const DISGUISES: [(&str, Disguise); 7] = [
    ("as it is", str::to_owned),
    ("wrapped", |text| lines(text).join("\n")),
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
/// an unmarked answer of its own.
///
/// # Errors
/// If generating fails.
pub fn run(lab: &Lab, seed: u64, asked: usize) -> Result<Measures> {
    let mut measures = Measures::default();
    let mark = greenlist(1, seed)?;
    let shown = lab.teacher(&mark, true, TESTED + 600 + seed, DOCUMENT * asked)?.answers;
    let own = lab.teacher(&mark, false, TESTED + 700 + seed, asked)?.answers;
    let shown = shown.chunks_exact(DOCUMENT).map(|answers| {
        let texts: Vec<&str> = answers.iter().flat_map(|answer| answer.text.split_whitespace()).collect();
        texts.join(" ")
    });
    let cases: Vec<(String, String)> =
        shown.zip(&own).map(|(marked, own)| (format!("{marked} {}", own.text.trim()), marked)).collect();
    for (name, disguise) in DISGUISES {
        let asked: Vec<(String, &str)> = cases
            .iter()
            .map(|(answer, marked)| {
                (format!("Write this again, as one paragraph:\n\n{}\n", disguise(marked)), answer.as_str())
            })
            .collect();
        let values = [
            ("log10 p, compared literally", log10_p(lab, &mark, &asked, literally)?),
            ("log10 p", log10_p(lab, &mark, &asked, |_, item| Ok(item.quoted.clone()))?),
            ("log10 p of `detect`, which compares ids", of_detect(lab, &lab.layer(&mark)?, &asked)?),
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
fn log10_p(lab: &Lab, mark: &Mark, asked: &[(String, &str)], quoted: Quoted) -> Result<f64> {
    let vocabulary = Vocabulary { tokenizer: Some(&lab.tokenizer), size: None };
    let items = asked.iter().map(|(prompt, answer)| {
        let item = item_of_text(vocabulary, prompt, answer)?;
        Ok(Item { quoted: quoted(lab, &item)?, ..item })
    });
    let (layer, items) = (lab.layer(mark)?, items.collect::<Result<Vec<Item>>>()?);
    let mut sample = ModelSample::of_answers(&layer);
    add_round(&mut sample, &layer, Access::Answers, &items)?;
    Ok(sample.test(&layer)?.log10_p)
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
