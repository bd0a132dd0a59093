//! Strangers' texts, made safe to show on a page or a terminal.

use std::fmt::Write;

/// The most marks above or below one letter that are shown, because more of them would cover other lines.
const MOST_MARKS: usize = 3;

/// Characters of a name or a message on the terminal.
const MOST_ON_A_LINE: usize = 1000;

/// A text of which nothing is hidden and nothing acts: at most `most` characters of it, and every character that is not printed
/// (control, bidirectional, of no width, unassigned) by its number, as `[U+202E]`. Of white space, only the space is left.
/// Markup is left as it is: escaping is the page's.
#[must_use]
pub fn visible(text: &str, most: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most));
    let mut marks = 0;
    for c in text.chars().take(most) {
        marks = if is_mark(c) { marks + 1 } else { 0 };
        match c {
            c if is_hidden(c) || marks > MOST_MARKS => {
                let _ = write!(shown, "[U+{:04X}]", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    let left = text.chars().skip(most).count();
    if left > 0 {
        let _ = write!(shown, "… ({left} more characters)");
    }
    shown
}

/// As [`visible`], for a line of the terminal.
#[must_use]
pub fn shown(text: &str) -> String {
    visible(text, MOST_ON_A_LINE)
}

/// Whether it cannot be seen: the standard library would not print it inside a text, or it is a letter or symbol that looks like
/// nothing (fillers of Hangul, the blank Braille cell, a place holder, vowels and selectors without a shape).
fn is_hidden(c: char) -> bool {
    if matches!(
        c,
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'
            ..='\u{180f}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' | '\u{fffc}'
    ) {
        return true;
    }
    let is_escaped = || ['a', c].iter().collect::<String>().escape_debug().nth(1) == Some('\\');
    !matches!(c, '"' | '\'' | '\\') && is_escaped()
}

/// Whether it is drawn onto the letter before it: printed inside a text, but not by itself.
fn is_mark(c: char) -> bool {
    !matches!(c, '"' | '\'' | '\\') && c.escape_debug().len() > 1 && !is_hidden(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_hidden() {
        assert_eq!(visible("a\0b\x1b[31m\n\t", 99), "a[U+0000]b[U+001B][31m[U+000A][U+0009]");
        assert_eq!(visible("\u{202e}exe\u{2066}\u{200b}\u{feff}\u{7f}\u{85}", 99), {
            "[U+202E]exe[U+2066][U+200B][U+FEFF][U+007F][U+0085]"
        });
        assert_eq!(visible("\u{3164}\u{2800}x\u{34f}", 9), "[U+3164][U+2800]x[U+034F]");
        assert_eq!(visible("\u{e0041}\u{ffff}\u{e000}", 9), "[U+E0041][U+FFFF][U+E000]");
        assert_eq!(
            visible("naïve cafe\u{301} \"日本\" 'it' \\ العربية 🙂", 99),
            "naïve cafe\u{301} \"日本\" 'it' \\ العربية 🙂"
        );
        assert_eq!(visible(&format!("a{}", "\u{301}".repeat(5)), 9), "a\u{301}\u{301}\u{301}[U+0301][U+0301]");
    }

    #[test]
    fn long_texts_are_shortened() {
        assert_eq!(visible("abcdef", 6), "abcdef");
        assert_eq!(visible(&"é".repeat(1 << 20), 2), "éé… (1048574 more characters)");
        assert_eq!(visible("", 5), "");
    }

    proptest! {
        #[test]
        fn any_text(text in any::<String>(), most in 1_usize..50) {
            let shown = visible(&text, most);
            prop_assert!(shown.chars().all(|c| !c.is_control() && !is_hidden(c)), "{:?}", shown);
            prop_assert!(shown.chars().count() <= 10 * most + 40);
            prop_assert_eq!(visible(&shown, 1000), shown);
        }
    }
}
