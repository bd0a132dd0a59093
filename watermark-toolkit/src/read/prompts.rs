use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Limits;

#[derive(Deserialize)]
struct Line {
    prompt: Option<String>,
    question: Option<String>,
    text: Option<String>,
}

/// Prompts to answer: one a line, or JSONL with `prompt`, `question` or `text` (in this order of preference). Blank
/// lines are skipped.
///
/// # Errors
/// If the file cannot be read, is not UTF-8, is larger than a record may be, holds no prompt, or a JSON line has none;
/// prompts are our own input, so the first bad line ends the run.
pub fn read_prompts(path: &Path) -> Result<Vec<String>> {
    let named = || format!("prompts {}", path.display());
    let limit = Limits::default().max_record_bytes as u64;
    let mut text = String::new();
    File::open(path).with_context(named)?.take(limit + 1).read_to_string(&mut text).with_context(named)?;
    if text.len() as u64 > limit {
        bail!("{}: larger than {limit} bytes; split it", named());
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let json = text.trim_start().starts_with('{');
    let mut prompts = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("{}:{}", path.display(), i + 1);
        prompts.push(if json {
            let line: Line = serde_json::from_str(line).with_context(|| format!("{}: not a JSON object", place()))?;
            let prompt = line.prompt.or(line.question).or(line.text);
            prompt.with_context(|| format!("{}: no `prompt`, `question` or `text`", place()))?
        } else {
            line.to_owned()
        });
    }
    if prompts.is_empty() {
        bail!("{}: no prompts; write one a line", named());
    }
    Ok(prompts)
}

/// Prompts as JSONL that [`read_prompts`] reads.
///
/// # Errors
/// Never for strings. Writing JSON can fail for other values, hence the result type.
pub fn print_prompts<'a>(prompts: impl IntoIterator<Item = &'a String>) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for prompt in prompts {
        serde_json::to_writer(&mut lines, &serde_json::json!({ "prompt": prompt }))?;
        lines.push(b'\n');
    }
    Ok(lines)
}
