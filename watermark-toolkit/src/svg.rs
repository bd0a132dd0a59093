//! Shapes and texts that every picture is drawn with. Every text is escaped here, so callers can pass names of files,
//! keys and accounts as they are, although strangers wrote them.

use std::fmt::Write;

/// Distance of a heading and its sentences from the left.
const MARGIN: f64 = 24.0;
/// Characters of a line of a sentence, for a picture of 800 pixels and a wide font of 12.
const LINE: usize = 116;

/// The beginning of a picture, on white. Screen readers read `title` in place of the picture.
pub fn open(width: f64, height: f64, font_size: u32, title: &str) -> String {
    let title = escape(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"{font_size}\" fill=\"#222\" \
         role=\"img\" aria-label=\"{title}\">\n\
         <title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    )
}

/// A heading with its baseline at `y`.
pub fn heading(svg: &mut String, y: f64, text: &str) {
    let text = escape(text);
    let _ = writeln!(svg, "<text x=\"{MARGIN}\" y=\"{y}\" font-size=\"16\" font-weight=\"600\">{text}</text>");
}

/// Sentences, broken into lines from `y` on. Returns where the next line would be.
pub(crate) fn sentences(svg: &mut String, mut y: f64, text: &str) -> f64 {
    for line in lines(text) {
        label(svg, MARGIN, y, "start", &line);
        y += 17.0;
    }
    y
}

/// Breaks text at spaces.
pub(crate) fn lines(text: &str) -> Vec<String> {
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

/// Text that starts, ends or has its `middle` at x.
pub fn label(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(text));
}

/// A name, in as many columns of 7.2 pixels at most; the middle of a longer one is left out.
pub(crate) fn name(svg: &mut String, x: f64, y: f64, text: &str, columns: usize) {
    let text = escape(&shorten(text, columns));
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-family=\"ui-monospace, monospace\" font-size=\"12\">{text}</text>"
    );
}

/// A straight line; `dash` is SVG's `stroke-dasharray`, empty for a solid one.
pub fn rule(svg: &mut String, x1: f64, y1: f64, x2: f64, y2: f64, color: &str, dash: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{color}\" stroke-dasharray=\"{dash}\"/>"
    );
}

/// About `about` round numbers within [low, high].
pub fn ticks(low: f64, high: f64, about: u32) -> Vec<f64> {
    let rough = (high - low) / f64::from(about);
    let power = 10f64.powi(rough.log10().floor() as i32);
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * power).find(|&step| step >= rough).unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// Text as XML. What is not seen is left out: control characters, of which XML allows hardly any, those that turn the
/// direction of writing, and those of no width, by which two names can look the same.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars().filter(|&c| is_seen(c)) {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn is_seen(c: char) -> bool {
    let hidden = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !hidden
}

/// At most so many columns of what is seen: the beginning and, as paths differ there, more of the end.
pub(crate) fn shorten(text: &str, columns: usize) -> String {
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
