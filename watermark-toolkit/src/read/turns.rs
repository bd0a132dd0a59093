//! Conversations: which of their turns are generated text.

use serde_json::Value as Tree;

use super::error::Flaw;
use super::{BadRecordKind, Body};

/// A generated text of a record.
#[derive(Debug)]
pub(super) struct Generated {
    /// Counted from 1 where there can be several, else 0.
    pub(super) part: u32,
    /// Whether the texts before it in this record are prompt too.
    pub(super) continues: bool,
    pub(super) body: Body,
    /// The ids that it was served as.
    pub(super) issued: Option<Vec<u32>>,
}

impl Generated {
    pub(super) fn only(body: Body) -> Self {
        Self { part: 0, continues: false, body, issued: None }
    }
}

/// What datasets call the model's side: OpenAI and TRL, ShareGPT and its variants.
const ASSISTANT: [&str; 8] = ["assistant", "gpt", "model", "chatgpt", "bing", "bard", "ai", "bot"];

/// The most generated texts of a record. More are no conversation, and each costs the exclusion of those before it.
const MAX_TEXTS: usize = 4096;

/// Every text by `role` (default: the assistant), with what was said before it as prompt. Reasoning precedes content.
pub(super) fn conversation(
    name: &str,
    tree: &Tree,
    prompt: Option<String>,
    role: Option<&str>,
) -> Result<Vec<Generated>, Flaw> {
    let mut texts = Vec::new();
    let mut pending = prompt;
    for turn in turns(name, tree)? {
        let generated = turn.role.is_some_and(|given| match role {
            Some(role) => given == role,
            None => ASSISTANT.contains(&given),
        });
        for text in [turn.reasoning, turn.content].into_iter().filter(|text| !text.is_empty()) {
            if generated {
                texts.push((pending.take(), text));
            } else {
                append(&mut pending, &text);
            }
        }
    }
    if texts.is_empty() {
        let whose = role.map_or("the assistant", |_| "the role that --role names");
        return Err(Flaw::new(
            BadRecordKind::MissingField,
            format!("\"{name}\" has no turn with text by {whose}; --role NAME counts another one"),
        ));
    }
    number(texts, true)
}

/// Alternative answers of one API response.
pub(super) fn choices(tree: &Tree) -> Result<Vec<Generated>, Flaw> {
    let choices = tree.as_array().ok_or_else(|| Flaw::new(BadRecordKind::WrongType, "\"choices\" is not an array"))?;
    let mut texts = Vec::new();
    for choice in choices {
        let message = choice.get("message").unwrap_or(choice);
        let turn = turn("choices", message)?;
        texts.extend([turn.reasoning, turn.content].into_iter().filter(|text| !text.is_empty()).map(|t| (None, t)));
    }
    if texts.is_empty() {
        return Err(Flaw::new(BadRecordKind::MissingField, "\"choices\" hold no text"));
    }
    number(texts, false)
}

/// The text of all turns, as a prompt.
pub(super) fn all_text(name: &str, tree: &Tree) -> Result<String, Flaw> {
    let mut all = None;
    for turn in turns(name, tree)? {
        append(&mut all, &turn.reasoning);
        append(&mut all, &turn.content);
    }
    Ok(all.unwrap_or_default())
}

fn number(texts: Vec<(Option<String>, String)>, same: bool) -> Result<Vec<Generated>, Flaw> {
    if texts.len() > MAX_TEXTS {
        let message = format!("{} generated texts in one record, more than {MAX_TEXTS}; split it", texts.len());
        return Err(Flaw::new(BadRecordKind::TooLong, message));
    }
    let numbered = (1u32..).zip(texts).map(|(part, (prompt, text))| Generated {
        part,
        continues: same && part > 1,
        body: Body::Text { prompt, text },
        issued: None,
    });
    Ok(numbered.collect())
}

fn append(to: &mut Option<String>, text: &str) {
    match to {
        _ if text.is_empty() => {}
        Some(to) => {
            to.push('\n');
            to.push_str(text);
        }
        None => *to = Some(text.to_owned()),
    }
}

struct Turn<'a> {
    role: Option<&'a str>,
    reasoning: String,
    content: String,
}

fn turns<'a>(name: &str, tree: &'a Tree) -> Result<Vec<Turn<'a>>, Flaw> {
    match tree {
        Tree::Array(turns) => turns.iter().map(|element| turn(name, element)).collect(),
        _ => Err(Flaw::new(BadRecordKind::WrongType, format!("\"{name}\" is not an array of turns"))),
    }
}

/// `{"role", "content", "reasoning_content"}` or `{"from", "value"}`.
fn turn<'a>(name: &str, tree: &'a Tree) -> Result<Turn<'a>, Flaw> {
    let wrong = |what: &str| Flaw::new(BadRecordKind::WrongType, format!("in \"{name}\" {what}"));
    let object = tree.as_object().ok_or_else(|| wrong("a turn is not an object"))?;
    let field = |names: &[&str]| names.iter().find_map(|name| object.get(*name).filter(|value| !value.is_null()));
    let text = |value: Option<&Tree>| match value {
        None => Ok(String::new()),
        Some(Tree::String(text)) => Ok(text.clone()),
        Some(Tree::Array(parts)) => parts.iter().map(part).collect::<Option<String>>().ok_or_else(|| {
            wrong("the parts of a turn's content are not all strings or objects such as {\"type\": \"text\", \"text\"}")
        }),
        Some(_) => Err(wrong("the content of a turn is neither a string nor an array of parts")),
    };
    Ok(Turn {
        role: field(&["role", "from"]).and_then(Tree::as_str),
        reasoning: text(field(&["reasoning_content", "reasoning"]))?,
        content: text(field(&["content", "value", "text"]))?,
    })
}

/// The text of a content part; images, audio and calls have none.
fn part(part: &Tree) -> Option<&str> {
    match part {
        Tree::String(text) => Some(text),
        Tree::Object(part) => match part.get("text") {
            Some(Tree::String(text)) => Some(text),
            None | Some(Tree::Null) => Some(""),
            Some(_) => None,
        },
        _ => None,
    }
}
