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
const ASSISTANT: [&str; 11] =
    ["assistant", "gpt", "model", "chatgpt", "bing", "bard", "ai", "bot", "chatbot", "function_call", "tool_call"];

/// What they call everybody else.
const OTHERS: [&str; 15] = [
    "user",
    "human",
    "system",
    "developer",
    "prompter",
    "instructor",
    "tool",
    "tools",
    "function",
    "function_response",
    "tool_response",
    "observation",
    "environment",
    "ipython",
    "context",
];

/// Words that begin a turn in a dialogue of one string, and whether it is the model's.
const MARKERS: [(&str, bool); 16] = [
    ("### Assistant:", true),
    ("### Response:", true),
    ("<|im_start|>assistant", true),
    ("<|assistant|>", true),
    ("Assistant:", true),
    ("ASSISTANT:", true),
    ("### Human:", false),
    ("### User:", false),
    ("### Instruction:", false),
    ("### Input:", false),
    ("<|im_start|>user", false),
    ("<|im_start|>system", false),
    ("<|user|>", false),
    ("<|system|>", false),
    ("Human:", false),
    ("USER:", false),
];

/// A token of a record, by what its masks say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    /// It is no padding.
    pub(super) stands: bool,
    pub(super) generated: bool,
}

/// Whether text of a role is the model's, or of the role that is `wanted`; `None` for one that nobody knows.
pub(super) fn is_generated(role: &str, wanted: Option<&str>) -> Option<bool> {
    if let Some(wanted) = wanted {
        return Some(role == wanted);
    }
    let role = role.trim().to_lowercase();
    let known = |names: &[&str]| names.contains(&role.as_str());
    if known(&ASSISTANT) { Some(true) } else { known(&OTHERS).then_some(false) }
}

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
    for (at, turn) in turns(name, tree)?.into_iter().enumerate() {
        let says = !(turn.reasoning.is_empty() && turn.content.is_empty());
        let generated = match turn.role.map(|given| is_generated(given, role)) {
            Some(Some(generated)) => generated,
            // Silently on one side or the other it would decide a test.
            Some(None) if says => {
                let message = format!(
                    "turn {} of \"{name}\" has a role that is neither known to be the model's nor somebody else's; name the model's with --role",
                    at + 1
                );
                return Err(Flaw::new(BadRecordKind::Ambiguous, message));
            }
            _ => false,
        };
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

/// Several answers to one question: an array of strings, or of turns.
pub(super) fn several(name: &str, tree: &Tree, prompt: Option<String>) -> Result<Vec<Generated>, Flaw> {
    let mut texts = Vec::new();
    for answer in tree.as_array().into_iter().flatten() {
        let turn = match answer {
            Tree::String(text) => Turn { role: None, reasoning: String::new(), content: text.clone() },
            answer => turn(name, answer)?,
        };
        let full = [turn.reasoning, turn.content].into_iter().filter(|text| !text.is_empty());
        texts.extend(full.map(|text| (prompt.clone(), text)));
    }
    if texts.is_empty() {
        return Err(Flaw::new(BadRecordKind::MissingField, format!("\"{name}\" holds no text")));
    }
    number(texts, false)
}

/// A text, which may be a dialogue of both sides in one string: then what the model said, with what was said before as prompt. One that begins
/// with no known marker of a turn is the model's as a whole.
pub(super) fn dialogue(prompt: Option<String>, text: String) -> Vec<Generated> {
    let starts = MARKERS.iter().any(|(marker, _)| text.trim_start().starts_with(marker));
    if !starts {
        return vec![Generated::only(Body::Text { prompt, text })];
    }
    let (mut texts, mut pending) = (Vec::new(), prompt.clone());
    let (mut of_model, mut begin, mut at) = (false, 0, 0);
    let mut turn = |range: &str, of_model: bool| {
        let said = range.strip_suffix("<|im_end|>").unwrap_or(range);
        if of_model && !said.trim().is_empty() {
            texts.push((pending.take(), said.to_owned()));
        } else {
            append(&mut pending, said);
        }
    };
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        if let Some((marker, model)) = MARKERS.iter().find(|(marker, _)| line[indent..].starts_with(marker)) {
            turn(text[begin..at].trim_end(), of_model);
            (of_model, begin) = (*model, at + indent + marker.len());
        }
        at += line.len();
    }
    turn(text[begin..].trim_end(), of_model);
    // Both sides, or it is no dialogue.
    match number(texts, true) {
        Ok(texts) if !texts.is_empty() => texts,
        _ => vec![Generated::only(Body::Text { prompt, text })],
    }
}

/// Texts that were not said one after the other.
pub(super) fn number_as_alternatives(texts: &mut [Generated]) {
    for (part, text) in (1u32..).zip(texts) {
        (text.part, text.continues) = (part, text.continues && part > 1);
    }
}

/// Each run of generated tokens, with the tokens before it as prompt.
pub(super) fn runs(prompt_tokens: Vec<u32>, tokens: &[u32], marked: &[Token]) -> Result<Vec<Generated>, Flaw> {
    let mut texts: Vec<Generated> = Vec::new();
    let (mut pending, mut run) = (prompt_tokens, Vec::new());
    let mut end = |pending: &mut Vec<u32>, run: &mut Vec<u32>| {
        if !run.is_empty() {
            let part = u32::try_from(texts.len() + 1).unwrap_or(u32::MAX);
            let body = Body::Tokens { prompt_tokens: std::mem::take(pending), tokens: std::mem::take(run) };
            texts.push(Generated { part, continues: part > 1, body, issued: None });
        }
    };
    for (&id, token) in tokens.iter().zip(marked).filter(|(_, token)| token.stands) {
        if token.generated {
            run.push(id);
        } else {
            end(&mut pending, &mut run);
            pending.push(id);
        }
    }
    end(&mut pending, &mut run);
    if texts.len() > MAX_TEXTS {
        let message = format!("{} generated runs in one record, more than {MAX_TEXTS}; split it", texts.len());
        return Err(Flaw::new(BadRecordKind::TooLong, message));
    }
    if texts.is_empty() {
        let body = Body::Tokens { prompt_tokens: pending, tokens: Vec::new() };
        return Ok(vec![Generated::only(body)]);
    }
    Ok(texts)
}

/// All that a prompt says: the text of its turns, or of whatever else it holds.
pub(super) fn all_text(tree: &Tree) -> String {
    let mut all = None;
    match turns("", tree) {
        Ok(turns) => {
            for turn in turns {
                append(&mut all, &turn.reasoning);
                append(&mut all, &turn.content);
            }
        }
        Err(_) => strings(tree, &mut all),
    }
    all.unwrap_or_default()
}

fn strings(tree: &Tree, all: &mut Option<String>) {
    match tree {
        Tree::String(text) => append(all, text),
        Tree::Array(elements) => elements.iter().for_each(|element| strings(element, all)),
        Tree::Object(fields) => fields.values().for_each(|field| strings(field, all)),
        _ => {}
    }
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

/// `{"role", "content", "reasoning_content"}` or `{"from", "value"}`. Reasoning has several names, and may be a part of the content.
fn turn<'a>(name: &str, tree: &'a Tree) -> Result<Turn<'a>, Flaw> {
    let wrong = |what: &str| Flaw::new(BadRecordKind::WrongType, format!("in \"{name}\" {what}"));
    let object = tree.as_object().ok_or_else(|| wrong("a turn is not an object"))?;
    // An empty field does not hide a full one.
    let is_empty =
        |value: &Tree| value.is_null() || value.as_str() == Some("") || value.as_array().is_some_and(Vec::is_empty);
    let field = |names: &[&str]| names.iter().find_map(|name| object.get(*name).filter(|value| !is_empty(value)));
    let text = |value: Option<&Tree>| match value {
        None => Ok((String::new(), String::new())),
        Some(Tree::String(text)) => Ok((String::new(), text.clone())),
        Some(Tree::Array(parts)) => parts.iter().map(part).collect::<Option<_>>().ok_or_else(|| {
            wrong("the parts of a turn's content are not all strings or objects such as {\"type\": \"text\", \"text\"}")
        }),
        Some(_) => Err(wrong("the content of a turn is neither a string nor an array of parts")),
    };
    let (thought, content) = text(field(&["content", "value", "text"]))?;
    let (more, reasoning) = text(field(&["reasoning_content", "reasoning", "thinking", "reasoning_details"]))?;
    Ok(Turn { role: field(&["role", "from"]).and_then(Tree::as_str), reasoning: more + &reasoning + &thought, content })
}

/// What a content part reasons, and what it says; images, audio and calls have neither.
fn part(part: &Tree) -> Option<(&str, &str)> {
    match part {
        Tree::String(text) => Some(("", text)),
        Tree::Object(fields) => {
            let of = |name: &str| match fields.get(name) {
                Some(Tree::String(text)) => Some(text.as_str()),
                None | Some(Tree::Null) => Some(""),
                Some(_) => None,
            };
            Some((of("thinking").unwrap_or_default(), of("text")?))
        }
        _ => None,
    }
}
