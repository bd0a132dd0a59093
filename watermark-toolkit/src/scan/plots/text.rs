//! Sentences and names in pictures.

use std::fmt::Write;

use crate::svg::{MARGIN, escape, is_seen, label};

/// Characters of a line of a sentence, for a picture of 800 pixels and a wide font of 12.
const LINE: usize = 116;

/// Sentences, broken into lines from `y` on. Returns where the next line would be.
pub(super) fn sentences(svg: &mut String, mut y: f64, text: &str) -> f64 {
    for line in lines(text) {
        label(svg, MARGIN, y, "start", &line);
        y += 17.0;
    }
    y
}

/// Breaks text at spaces.
pub(super) fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= LINE => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A name, in as many columns of 7.2 pixels at most; the middle of a longer one is left out.
pub(super) fn name(svg: &mut String, x: f64, y: f64, text: &str, columns: usize) {
    let text = escape(&shorten(text, columns));
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-family=\"ui-monospace, monospace\" font-size=\"12\">{text}</text>"
    );
}

/// At most so many columns of what is seen: the beginning and, as paths differ there, more of the end.
pub(super) fn shorten(text: &str, columns: usize) -> String {
    let seen: Vec<char> = text.chars().filter(|&c| is_seen(c)).collect();
    if seen.iter().map(|&c| width(c)).sum::<usize>() <= columns {
        return seen.into_iter().collect();
    }
    let first = columns / 3;
    let start: String = fitting(seen.iter().copied(), first).collect();
    let end: Vec<char> = fitting(seen.iter().rev().copied(), columns - first - 1).collect();
    start + "…" + &end.into_iter().rev().collect::<String>()
}

/// Columns of a character, two for all that may be wide.
fn width(c: char) -> usize {
    if c < '\u{1100}' { 1 } else { 2 }
}

fn fitting(chars: impl Iterator<Item = char>, columns: usize) -> impl Iterator<Item = char> {
    chars
        .scan(0, |used, c| {
            *used += width(c);
            Some((*used, c))
        })
        .take_while(move |(used, _)| *used <= columns)
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_cut_in_the_middle() {
        assert_eq!(shorten("short", 5), "short");
        assert_eq!(shorten("corpus/part/long-name.jsonl", 13), "corp…me.jsonl");
        assert_eq!(shorten("ab\u{202e}c\nd", 4), "abcd");
        assert_eq!(shorten("漢字漢字漢字", 7), "漢…漢字");
    }

    #[test]
    fn sentences_are_broken_at_spaces() {
        let text = "word ".repeat(50);
        let lines = lines(text.trim_end());
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [114, 114, 19]);
        assert_eq!(lines.join(" "), text.trim_end());
    }

    proptest! {
        #[test]
        fn any_text_becomes_a_short_text_node(text in any::<String>(), columns in 4usize..60) {
            let short = shorten(&text, columns);
            prop_assert!(short.chars().map(width).sum::<usize>() <= columns + 1, "the ellipsis counts as one");
            let escaped = escape(&short);
            let raw = ['<', '>', '"', '\'', '\n', '\u{202e}', '\u{2066}', '\0', '\u{ffff}'];
            prop_assert!(!escaped.contains(raw), "{}", escaped);
            let back = escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
            prop_assert_eq!(back.replace("&amp;", "&"), short);
        }
    }
}
