//! What a model undoes without effort when it quotes is undone before text is compared: line wraps and other white space, case,
//! typographic quotes, escapes, and marks in front of lines.
//!
//! `verify/FORMAT.md` states these rules for other verifiers; Python's `str.lower` and `str.isspace` are not them.

/// How often escapes within escapes are undone: a JSON text in a JSON text in a JSON text.
const ESCAPES: usize = 3;

/// What stands in front of quoted lines, comments and the items of lists.
const LEADERS: &[char] = &['>', '#', '*', '/', '-', '+', '|', ';', '%'];

/// The form in which text is compared. Each character becomes what [`plain`] says; then every run of white space (Unicode's
/// `White_Space`) becomes one space, and none is left at the ends.
///
/// A text that occurs in another one does so in this form too, except for white space at its ends, and the form of a form is itself.
#[must_use]
pub(super) fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_whitespace() {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
        } else {
            plain(c, &mut out);
        }
    }
    if out.ends_with(' ') {
        out.pop();
    }
    out
}

/// Invisible characters go, typographic quotes, dashes and dots become those of ASCII, and letters lower-case. Only letters
/// below U+0590 and from U+1E00 to U+1FFF change (Latin, Greek, Cyrillic, Armenian): their case is the same in all of Unicode's
/// versions that are in use. Each is taken alone, and a final sigma is a sigma.
fn plain(c: char, out: &mut String) {
    match c {
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => (),
        '\u{2018}'..='\u{201b}' => out.push('\''),
        '\u{201c}'..='\u{201f}' | '\u{ab}' | '\u{bb}' => out.push('"'),
        '\u{2010}'..='\u{2015}' | '\u{2212}' => out.push('-'),
        '\u{2026}' => out.push_str("..."),
        'ς' => out.push('σ'),
        ..='\u{58f}' | '\u{1e00}'..='\u{1fff}' => out.extend(c.to_lowercase()),
        _ => out.push(c),
    }
}

/// The forms of a prompt that a quotation may stand in: the prompt as it is, with its escapes undone once, twice and three times,
/// and each of these without what leads its lines, once and twice (a quotation in a quotation, `/*`).
#[must_use]
pub(super) fn forms(prompt: &str) -> Vec<String> {
    let mut forms = Vec::new();
    let mut text = prompt.to_owned();
    for undone in 0..=ESCAPES {
        let once = without_leaders(&text);
        for lines in [&text, &once, &without_leaders(&once)] {
            let form = normalise(lines);
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
        let next = unescape(&text);
        if undone == ESCAPES || next == text {
            break;
        }
        text = next;
    }
    forms
}

/// Without white space at the beginning of each line and, behind it, one of [`LEADERS`] as often as it is repeated without a gap: what
/// follows may be the line's own. A line ends with U+000A or U+000D.
fn without_leaders(text: &str) -> String {
    fn without(line: &str) -> &str {
        let line = line.trim_start();
        match line.chars().next() {
            Some(leader) if LEADERS.contains(&leader) => line.trim_start_matches(leader),
            _ => line,
        }
    }
    text.split(['\n', '\r']).map(without).collect::<Vec<_>>().join("\n")
}

/// Undoes the escapes of JSON (`\n`, `\r`, `\t`, `\"`, `\'`, `\\`, `\/`, `\uXXXX` and pairs of it) and of HTML (`&amp;`, `&lt;`,
/// `&gt;`, `&quot;`, `&apos;`, `&nbsp;`, `&#…;` with at most seven digits, `&#x…;` with at most six), once, from left to right.
/// What is no character or no escape stays as it is.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '&']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (c, length) = escape(rest).unwrap_or((if rest.starts_with('&') { '&' } else { '\\' }, 1));
        out.push(c);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

/// The character that `text` begins with as an escape, and the escape's length.
fn escape(text: &str) -> Option<(char, usize)> {
    if let Some(name) = text.strip_prefix('&') {
        // The longest is `&#1114111;`, and with leading zeros one may have seven digits.
        let end = name.bytes().take(9).position(|byte| byte == b';')?;
        return Some((entity(&name[..end])?, end + 2));
    }
    let c = text.chars().nth(1)?;
    Some(match c {
        'n' => ('\n', 2),
        'r' => ('\r', 2),
        't' => ('\t', 2),
        '"' | '\'' | '\\' | '/' => (c, 2),
        'u' => {
            let first = utf16(text)?;
            let second = text.get(6..).and_then(utf16);
            let pair = [first, second.unwrap_or(0)];
            let c = char::decode_utf16(pair).next()?.ok()?;
            (c, if c.len_utf16() == 2 { 12 } else { 6 })
        }
        _ => return None,
    })
}

/// The unit of `\uXXXX` at the beginning of `text`.
fn utf16(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::try_from(number(digits, 16, 4)?).ok()
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        _ => {
            let digits = name.strip_prefix('#')?;
            let value = match digits.strip_prefix(['x', 'X']) {
                Some(digits) => number(digits, 16, 6)?,
                None => number(digits, 10, 7)?,
            };
            char::from_u32(value)?
        }
    })
}

/// `from_str_radix` would take a sign.
fn number(digits: &str, radix: u32, most: usize) -> Option<u32> {
    let fits = (1..=most).contains(&digits.len()) && digits.chars().all(|digit| digit.is_digit(radix));
    fits.then(|| u32::from_str_radix(digits, radix).ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_model_undoes() {
        for (text, form) in [
            ("", ""),
            (" \u{200b}\n", ""),
            ("The cat\n  sat.\u{a0}", "the cat sat."),
            ("a\u{ad}b \u{200b} c", "ab c"),
            ("“It’s” — well…", "\"it's\" - well..."),
            ("ΟΔΟΣ οδος ÉCOLE Жук ẠẞĐ", "οδοσ οδοσ école жук ạßđ"),
            // Not below U+0590: as it is. Python's `isspace` counts U+001C as white space; Unicode does not.
            ("Ꭰ Ａ \u{1c}", "Ꭰ Ａ \u{1c}"),
            ("İ", "i\u{307}"),
        ] {
            assert_eq!(normalise(text), form, "{text:?}");
        }
    }

    #[test]
    fn escapes_are_undone_once_from_left_to_right() {
        for (text, undone) in [
            (r"a\nb\tc\rd\/e\\f", "a\nb\tc\rd/e\\f"),
            (r#"\"it\'s\""#, "\"it's\""),
            (r"\\n", r"\n"),
            (r"\u00e9\u00C9 \ud83d\ude00", "éÉ 😀"),
            (r"\ud83d \ude00 \ud83d\u0041 \u00e \u+0e9", r"\ud83d \ude00 \ud83dA \u00e \u+0e9"),
            ("&amp;lt; &lt;&gt;&quot;&apos;&nbsp;", "&lt; <>\"'\u{a0}"),
            ("&#39;&#x27;&#X1F600;&#0000039;", "''😀'"),
            (
                "&#55296; &#1114112; &#; &#x; &#+39; &#00000039; &AMP; R&D &",
                "&#55296; &#1114112; &#; &#x; &#+39; &#00000039; &AMP; R&D &",
            ),
            (r"\x \", r"\x \"),
        ] {
            assert_eq!(unescape(text), undone, "{text:?}");
        }
    }

    #[test]
    fn leaders_are_those_of_lines() {
        assert_eq!(without_leaders("> a > b\n\n> > c\r\n  // d - e\n"), " a > b\n\n > c\n\n d - e\n");
        assert_eq!(without_leaders("\n# a\n--\n#### 5"), "\n a\n\n 5");
        assert_eq!(forms("> #### 5\n> = 5"), ["> #### 5 > = 5", "#### 5 = 5", "5 = 5"]);
    }

    #[test]
    fn a_prompt_has_a_form_for_every_way_to_read_it() {
        assert_eq!(forms("A\nb"), ["a b"]);
        assert_eq!(forms("R&D"), ["r&d"]);
        assert_eq!(forms("> A\n> b"), ["> a > b", "a b"]);
        assert_eq!(forms(r#""> a\n> b""#), [r#""> a\n> b""#, "\"> a > b\"", "\"> a b\""]);
        assert_eq!(forms(r"a\\\\\\\\nb").len(), 4, "no more than three times");
    }

    /// Characters that rules are about, more often than others.
    fn text() -> impl Strategy<Value = String> {
        let rules = "[ \\n\\r\\t\\\\&;#unx0-9d-eD-E\"'/>*\u{200b}\u{ad}…—“ΣςİẞÉa-c]{0,30}";
        prop_oneof![3 => rules.boxed(), 1 => ".{0,20}".boxed()]
    }

    proptest! {
        #[test]
        fn a_form_is_its_own(text in text()) {
            let form = normalise(&text);
            prop_assert_eq!(normalise(&form), form.as_str());
            prop_assert!(!form.starts_with(' ') && !form.ends_with(' ') && !form.contains("  "));
        }

        /// So whatever stands in a prompt literally is found too.
        #[test]
        fn what_occurs_in_a_text_occurs_in_its_form(before in text(), piece in text(), after in text()) {
            let whole = format!("{before}{piece}{after}");
            prop_assert!(normalise(&whole).contains(&normalise(&piece)));
            let forms = forms(&whole);
            prop_assert_eq!(&forms[0], &normalise(&whole));
            prop_assert!(forms.len() <= 3 * (ESCAPES + 1));
        }

        /// What JSON and HTML escape is among the forms, however it is wrapped and quoted.
        #[test]
        fn escaped_text_is_found(words in prop::collection::vec("[a-zA-Zé😀'\"\\\\/&<]{1,6}", 1..8)) {
            let (text, wrapped) = (words.join(" "), words.join("\n"));
            let json = serde_json::to_string(&wrapped).unwrap();
            // JSON's escapes are undone with those of HTML, so a text that has some of its own is another.
            let plain = wrapped.replace('\\', "");
            let html = plain.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('\'', "&#39;");
            for (prompt, text) in [
                (&wrapped, &text),
                (&json, &text),
                (&serde_json::to_string(&json).unwrap(), &text),
                (&text.to_uppercase(), &text),
                (&html, &plain),
            ] {
                let form = normalise(text);
                prop_assert!(forms(prompt).iter().any(|found| found.contains(&form)), "{}", prompt);
            }
            let quoted = format!("> {}", words.join("\n> "));
            prop_assert!(forms(&quoted).contains(&normalise(&text)), "{}", quoted);
        }
    }
}
