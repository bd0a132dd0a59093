//! Text that is none: tables, event streams, web pages and JSON behind a heading, which would be read as one plain text.

use super::fields::{IDS, NAMES};

/// Bytes of an input that are looked at.
pub(super) const LOOKED_AT: usize = 1 << 16;
/// Lines that are looked at.
const LINES: usize = 50;
/// Fields of answers beside those that are read.
const OTHER_FIELDS: [&str; 5] = ["content", "generation", "generated_text", "model_output", "prediction"];

/// What the beginning of an input that is no JSON and was not said to be text looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Nothing but text.
    Plain,
    /// JSON objects, one a line, after something else.
    Lines,
    /// Something that is not read, with what to do instead.
    Foreign(&'static str, &'static str),
}

/// Looks at a beginning. Only what is clear counts: nearly all lines, or a heading with a known column.
pub(super) fn of(head: &[u8]) -> Layout {
    let text = String::from_utf8_lossy(head);
    let whole =
        if head.len() < LOOKED_AT { text.as_ref() } else { text.rsplit_once('\n').map_or("", |(lines, _)| lines) };
    let lines: Vec<&str> = whole.lines().map(str::trim).filter(|line| !line.is_empty()).take(LINES).collect();
    let start: String = whole.trim_start().chars().take(15).collect::<String>().to_lowercase();
    if start.starts_with("<!doctype html") || start.starts_with("<html") {
        return Layout::Foreign("a web page", "get the file itself");
    }
    let nearly_all = |of: &dyn Fn(&str) -> bool| {
        let n = lines.iter().filter(|line| of(line)).count();
        n >= 2 && n + 1 >= lines.len()
    };
    if nearly_all(&|line| line.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok()) {
        return Layout::Lines;
    }
    if nearly_all(&|line| serde_json::from_str::<String>(line).is_ok()) {
        return Layout::Foreign("JSON strings, one a line", "write each as {\"text\": …}");
    }
    if nearly_all(&|line| ["data:", "event:", "id:", ":"].iter().any(|begin| line.starts_with(begin)))
        && lines.iter().any(|line| line.starts_with("data:"))
    {
        return Layout::Foreign("a stream of events", "write the text of each answer as {\"text\": …}");
    }
    if lines.len() >= 2 && is_heading(lines[0], lines[1]) {
        return Layout::Foreign("a table (CSV or TSV)", "convert it to JSONL, one object per line");
    }
    Layout::Plain
}

/// Whether a line is the heading of a table with a column of texts, and the next one a row.
fn is_heading(line: &str, next: &str) -> bool {
    [',', '\t', ';', '|'].into_iter().filter(|separator| next.contains(*separator)).any(|separator| {
        let cells: Vec<&str> = line.split(separator).map(|cell| cell.trim().trim_matches('"')).collect();
        let name = |cell: &&str| {
            let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
            (1..=40).contains(&cell.len()) && cell.chars().all(fits)
        };
        let known = |cell: &&str| {
            let cell = cell.to_lowercase();
            (NAMES.contains(&cell.as_str()) && !IDS.contains(&cell.as_str())) || OTHER_FIELDS.contains(&cell.as_str())
        };
        cells.len() >= 2 && cells.iter().all(name) && cells.iter().any(known)
    })
}
