//! Tables for notebooks: inline style, no script, no address outside, everything escaped, a limited number of rows.

use std::fmt::Write;

use watermark_core::detect::Verdict;
use watermark_toolkit::detect::{LayerLine, SpanLine};
use watermark_toolkit::visible::visible;

/// Rows of a table; a notebook keeps every output.
const MOST_ROWS: usize = 50;

/// The longest cell of a table of numbers, in characters: ids are somebody else's.
const MOST_CHARACTERS: usize = 80;

/// The longest sentence.
const LONGEST_SENTENCE: usize = 1000;

const CELL: &str = "padding:2px 8px;text-align:left";

/// A table of findings.
pub(crate) fn findings(lines: &[LayerLine]) -> String {
    let header = ["record", "layer", "scored", "duplicate", "excluded", "log10 p", "by fresh keys", "ln e", "verdict"];
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    let row = |line: &LayerLine| {
        let cells = [
            line.record.clone().unwrap_or_else(|| "(all)".to_owned()),
            line.layer.clone().unwrap_or_else(|| line.scheme.to_owned()),
            line.n_scored.to_string(),
            line.n_duplicate.to_string(),
            line.n_excluded.to_string(),
            number(Some(line.log10_p)),
            number(line.log10_p_resampled),
            number(line.ln_e),
        ];
        (cells.to_vec(), line.verdict)
    };
    table(&header, lines.iter().map(row), lines.len())
}

/// A table of marked stretches.
pub(crate) fn spans(lines: &[SpanLine]) -> String {
    let header = ["record", "layer", "tokens", "tested window", "log10 p", "adjusted", "verdict"];
    let range = |(from, to): (usize, usize)| format!("{from}..{to}");
    let row = |line: &SpanLine| {
        let cells = [
            line.record.clone(),
            line.layer.clone().unwrap_or_else(|| line.scheme.to_owned()),
            range(line.span.tokens),
            range(line.window.tokens),
            format!("{:.2}", line.log10_p),
            format!("{:.2}", line.log10_p_adjusted),
        ];
        (cells.to_vec(), line.verdict)
    };
    table(&header, lines.iter().map(row), lines.len())
}

/// A table of names and values.
pub(crate) fn pairs(rows: &[[&str; 2]]) -> String {
    let mut html = String::from("<table style=\"border-collapse:collapse\">");
    let cell = |text: &str| escape(text, LONGEST_SENTENCE);
    for [name, value] in rows.iter().take(MOST_ROWS) {
        let _ =
            write!(html, "<tr><th style=\"{CELL}\">{}</th><td style=\"{CELL}\">{}</td></tr>", cell(name), cell(value));
    }
    html.push_str("</table>");
    html + &more(rows.len())
}

fn table(header: &[&str], rows: impl Iterator<Item = (Vec<String>, Verdict)>, n: usize) -> String {
    let mut html = String::from("<table style=\"border-collapse:collapse;font-variant-numeric:tabular-nums\"><tr>");
    for name in header {
        let _ = write!(html, "<th style=\"{CELL};border-bottom:1px solid\">{name}</th>");
    }
    html.push_str("</tr>");
    for (cells, verdict) in rows.take(MOST_ROWS) {
        html.push_str("<tr>");
        for cell in cells {
            let _ = write!(html, "<td style=\"{CELL}\">{}</td>", escape(&cell, MOST_CHARACTERS));
        }
        let weight = if verdict == Verdict::Detected { "bold" } else { "normal" };
        let _ = write!(html, "<td style=\"{CELL};font-weight:{weight}\">{}</td></tr>", verdict.as_str());
    }
    html.push_str("</table>");
    html + &more(n)
}

fn more(n: usize) -> String {
    if n > MOST_ROWS { format!("<p>and {} more</p>", n - MOST_ROWS) } else { String::new() }
}

/// At most so many characters, with nothing that HTML would act on, and nothing hidden. Lines stay lines.
pub(crate) fn escape(text: &str, most: usize) -> String {
    let kept: String = text.chars().take(most).collect();
    let mut safe = String::with_capacity(kept.len());
    for (at, line) in kept.replace('\t', "    ").split('\n').enumerate() {
        if at > 0 {
            safe.push('\n');
        }
        for c in visible(line, usize::MAX).chars() {
            match c {
                '&' => safe.push_str("&amp;"),
                '<' => safe.push_str("&lt;"),
                '>' => safe.push_str("&gt;"),
                '"' => safe.push_str("&quot;"),
                '\'' => safe.push_str("&#39;"),
                c => safe.push(c),
            }
        }
    }
    if text.chars().nth(most).is_some() {
        safe.push('…');
    }
    safe
}
