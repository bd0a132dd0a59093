use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use watermark_core::MAX_TOKEN_ID;

use super::container::Content;
use super::error::Flaw;
use super::lines::{self, Lines};
use super::{BadRecord, BadRecordKind, InputFormat, Limits, Location, ReadError, json};

/// A text with what a model would have chosen at its positions: its own answer, or a text of ours that it read.
#[derive(Clone, Debug, PartialEq)]
pub struct ChoiceRecord {
    /// Where it was read.
    pub location: Location,
    /// The record's own `id`.
    pub id: Option<String>,
    /// What it carries.
    pub choices: Choices,
}

/// Positions of a text and the model's next-token log-probabilities there (natural logarithms).
#[derive(Clone, Debug, PartialEq)]
pub enum Choices {
    /// In ids of the mark's own tokenizer.
    Tokens {
        /// Ids before the text.
        prompt_tokens: Vec<u32>,
        /// Ids of the text.
        tokens: Vec<u32>,
        /// [tokens]: for each position the tokens that the model could choose there, each with its log-probability.
        choices: Vec<Vec<(u32, f64)>>,
    },
    /// In bytes, for a model with its own tokenizer.
    Text {
        /// What stood before the text.
        prompt: String,
        /// The text.
        text: String,
        /// Where the model's tokens begin.
        positions: Vec<Predicted>,
    },
}

/// What a model could say next at a byte of a text.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicted {
    /// Bytes of the text before this position.
    pub at: usize,
    /// Pieces of text, each with its log-probability.
    pub top: Vec<(String, f64)>,
}

#[derive(Deserialize)]
struct ChoiceLine {
    id: Option<String>,
    prompt_tokens: Option<Vec<u32>>,
    tokens: Option<Vec<u32>>,
    choices: Option<Vec<Vec<(u32, f64)>>>,
    prompt: Option<String>,
    #[serde(alias = "completion")]
    text: Option<String>,
    positions: Option<Vec<Predicted>>,
}

/// Reads JSON lines of `{"prompt", "text", "positions": [{"at": byte, "top": [["piece", ln p], …]}, …]}`, or of
/// `{"prompt_tokens", "tokens", "choices": [[[id, ln p], …], …]}` with one row per token; plain or gzipped.
///
/// The outer error ends the input, the inner one concerns a record.
///
/// # Errors
/// If the input cannot be opened.
pub fn read_choices(
    path: &Path,
    limits: Limits,
) -> Result<impl Iterator<Item = Result<Result<ChoiceRecord, BadRecord>, ReadError>>, ReadError> {
    let record = |(location, (id, choices))| ChoiceRecord { location, id, choices };
    Ok(lines::open(path, limits, parse)?.map(move |item| item.map(|line| line.map(record))))
}

/// Which of a file's lines are records for [`read_choices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// None: it holds answers, in whatever layout.
    Answers,
    /// All that are JSON objects.
    Choices,
    /// Some.
    Both,
}

/// Whether a file holds records for [`read_choices`], which have `positions`, or `choices` beside `tokens`. What is no JSON object on a line
/// says nothing; the reader of the file says what is wrong with it.
///
/// # Errors
/// If the input cannot be opened or not be read to its end.
pub fn holds_choices(path: &Path, limits: Limits) -> Result<Holds, ReadError> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path)
        .map_err(|error| ReadError::new(super::ReadErrorKind::Io, format!("{name}: cannot open: {error}")))?;
    // A container that is no text has no such lines.
    let Ok(content) = Content::open(Box::new(file), &name, InputFormat::Jsonl, limits) else {
        return Ok(Holds::Answers);
    };
    let holds = |line: &str, _: bool| Ok::<Option<bool>, Flaw>(line_holds_choices(line));
    let mut lines = Lines::new(content, &Arc::from(name.as_str()), limits.max_record_bytes, Box::new(holds), None);
    let (mut choices, mut others) = (false, false);
    while let Some(line) = lines.next_record().transpose()? {
        match line {
            Ok((_, Some(true))) => choices = true,
            Ok((_, Some(false))) => others = true,
            Ok((_, None)) | Err(_) => {}
        }
    }
    Ok(match (choices, others) {
        (true, true) => Holds::Both,
        (true, false) => Holds::Choices,
        (false, _) => Holds::Answers,
    })
}

/// `None` for what is no JSON object.
fn line_holds_choices(line: &str) -> Option<bool> {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
    let has = |name: &str| fields.contains_key(name);
    Some(has("positions") || (has("choices") && has("tokens")))
}

fn parse(line: &str, terminated: bool) -> Result<(Option<String>, Choices), Flaw> {
    let line: ChoiceLine = serde_json::from_str(line).map_err(|error| {
        if error.is_data() {
            let message = format!(
                "at column {} a field is missing or of another type than in {{\"prompt\", \"text\", \"positions\"}} or \
                 {{\"prompt_tokens\", \"tokens\", \"choices\"}}",
                error.column()
            );
            Flaw::new(BadRecordKind::WrongType, message)
        } else if terminated {
            json::invalid(&error)
        } else {
            json::truncated()
        }
    })?;
    let missing = |what: &str| Flaw::new(BadRecordKind::MissingField, format!("no field {what}; see --help"));
    if let Some(tokens) = line.tokens {
        let choices = line.choices.ok_or_else(|| missing("\"choices\" beside \"tokens\""))?;
        if choices.len() != tokens.len() {
            let message = format!("{} rows of \"choices\" for {} tokens", choices.len(), tokens.len());
            return Err(Flaw::new(BadRecordKind::WrongType, message));
        }
        let prompt_tokens = line.prompt_tokens.unwrap_or_default();
        let ids = prompt_tokens.iter().chain(&tokens).chain(choices.iter().flatten().map(|(id, _)| id));
        if let Some(id) = ids.copied().find(|&id| id > MAX_TOKEN_ID) {
            let message = format!("token id {id}; token ids are integers from 0 to {MAX_TOKEN_ID}");
            return Err(Flaw::new(BadRecordKind::InvalidToken, message));
        }
        check(choices.iter().flatten().map(|&(_, ln_p)| ln_p))?;
        return Ok((line.id, Choices::Tokens { prompt_tokens, tokens, choices }));
    }
    let text = line.text.ok_or_else(|| missing("\"text\" or \"tokens\""))?;
    let positions = line.positions.ok_or_else(|| missing("\"positions\" beside \"text\""))?;
    check(positions.iter().flat_map(|position| &position.top).map(|(_, ln_p)| *ln_p))?;
    Ok((line.id, Choices::Text { prompt: line.prompt.unwrap_or_default(), text, positions }))
}

fn check(mut ln_p: impl Iterator<Item = f64>) -> Result<(), Flaw> {
    match ln_p.find(|ln_p| ln_p.is_nan() || *ln_p > 0.0) {
        None => Ok(()),
        Some(ln_p) => Err(Flaw::new(
            BadRecordKind::WrongType,
            format!("a log-probability is {ln_p}; natural logarithms of probabilities are not above 0"),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms() {
        let (id, choices) = parse(r#"{"id":"a","tokens":[1,2],"choices":[[],[[7,-0.5],[8,-1]]]}"#, true).unwrap();
        assert_eq!(id.as_deref(), Some("a"));
        let expected = Choices::Tokens {
            prompt_tokens: vec![],
            tokens: vec![1, 2],
            choices: vec![vec![], vec![(7, -0.5), (8, -1.0)]],
        };
        assert_eq!(choices, expected);
        let (_, choices) = parse(r#"{"prompt":"p","text":"ab","positions":[{"at":1,"top":[["b",0]]}]}"#, true).unwrap();
        let positions = vec![Predicted { at: 1, top: vec![("b".to_owned(), 0.0)] }];
        assert_eq!(choices, Choices::Text { prompt: "p".to_owned(), text: "ab".to_owned(), positions });
    }

    #[test]
    fn choices_are_told_from_answers() {
        for (line, holds) in [
            (r#"{"text":"a","positions":[]}"#, Some(true)),
            (r#"{"tokens":[1],"choices":3}"#, Some(true)),
            (r#"{"choices":[{"message":{"content":"a"}}]}"#, Some(false)),
            (r#"{"text":"a"}"#, Some(false)),
            ("positions", None),
            ("[1]", None),
        ] {
            assert_eq!(line_holds_choices(line), holds, "{line}");
        }
    }

    #[test]
    fn flaws_are_named() {
        for (line, kind) in [
            ("{\"tokens\":[1],\"choices\":[]}", BadRecordKind::WrongType),
            ("{\"tokens\":[1]}", BadRecordKind::MissingField),
            ("{\"text\":\"a\"}", BadRecordKind::MissingField),
            ("{\"tokens\":[16777216],\"choices\":[[]]}", BadRecordKind::InvalidToken),
            ("{\"tokens\":[1],\"choices\":[[[3,0.5]]]}", BadRecordKind::WrongType),
            ("{\"tokens\":\"secret\"}", BadRecordKind::WrongType),
            ("{\"tokens\":[1", BadRecordKind::InvalidJson),
        ] {
            assert_eq!(parse(line, true).unwrap_err().kind(), kind, "{line}");
        }
        let bad = parse("{\"tokens\":\"secret\"}", true).unwrap_err();
        assert!(!format!("{bad:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn no_panic_on_any_line(line in "\\PC{0,200}") {
            let _ = parse(&line, true);
        }

        #[test]
        fn no_panic_on_damaged_lines(at in 0usize..90, byte in any::<char>()) {
            let line = r#"{"prompt":"p","text":"ab","positions":[{"at":1,"top":[["b",-0.25],["c",-3e2]]}],"id":"x"}"#;
            let damaged: String = line.chars().enumerate().map(|(i, c)| if i == at { byte } else { c }).collect();
            let _ = parse(&damaged, false);
        }
    }
}
