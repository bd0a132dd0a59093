//! The page of an evidence bundle whose author wants it to act on its readers.

use std::path::Path;

use arbitrary::{Result, Unstructured};
use serde_json::{Value, json};
use watermark_toolkit::evidence::{Context, check};
use watermark_toolkit::report::{Insight, Source, page};

use crate::bundle::hostile;
use crate::edit::{set, text};
use crate::parts::{BundleParts, KINDS, other_key};

/// Every element that a page has of itself.
const ELEMENTS: [&str; 36] = [
    "blockquote",
    "body",
    "br",
    "caption",
    "circle",
    "code",
    "div",
    "figcaption",
    "figure",
    "footer",
    "h1",
    "h2",
    "h3",
    "head",
    "header",
    "html",
    "li",
    "line",
    "main",
    "mark",
    "p",
    "polyline",
    "pre",
    "q",
    "rect",
    "section",
    "span",
    "svg",
    "table",
    "tbody",
    "td",
    "text",
    "th",
    "thead",
    "tr",
    "ul",
];

/// Instructions for hostile texts and changes.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    (0..64_u8).map(|seed| (0..48).map(|at: u8| at.wrapping_mul(seed | 1).wrapping_add(seed)).collect()).collect()
}

/// A page of a case with hostile texts, and sometimes with other changes.
pub fn run(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let _ = changed(&mut u);
}

fn changed(u: &mut Unstructured<'_>) -> Result<()> {
    let mut parts = BundleParts::new(u.int_in_range(0..=KINDS - 1)?);
    for place in ["/question", "/suspect", "/controls/0"] {
        if u.arbitrary()? {
            set(&mut parts.registration, place, json!(text(u)?));
        }
    }
    for place in ["/subject/0/name", "/subject/1/name", "/predicate/software"] {
        if u.arbitrary()? {
            set(&mut parts.statement, place, json!(text(u)?));
        }
    }
    if u.arbitrary()? {
        set(&mut parts.profile, "/name", json!(text(u)?));
    }
    for (model, name) in [("/predicate/suspect/model", "/suspect"), ("/predicate/controls/0/model", "/controls/0")] {
        if let Some(name) = parts.registration.pointer(name).and_then(Value::as_str).map(str::to_owned) {
            set(&mut parts.statement, model, json!(name));
        }
    }
    parts.link(&other_key());
    if u.ratio(1, 3)? {
        parts = hostile(parts, u)?;
    }
    let file = text(u)?;
    if let Some(bundle) = parts.signed(&other_key()) {
        let html = rendered(&bundle, &file, &Context::default());
        harmless(&html);
    }
    Ok(())
}

/// The page as `watermark report` makes it; the same twice.
fn rendered(bundle: &[u8], name: &str, context: &Context) -> String {
    let report = check(Path::new("evidence.json"), bundle, context, &|_| Ok(())).expect("no file is read");
    let source = Source { name, bytes: bundle, check: &report, context, insight: None::<&Insight> };
    let html = page(&source).expect("a page");
    assert_eq!(page(&source).expect("a page"), html);
    html
}

/// Nothing in the page acts, hides, or is an element or attribute that the page does not have of itself.
pub(crate) fn harmless(html: &str) {
    let hidden = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    assert!(!html.contains(hidden), "a character that is not seen");
    let body = html.split_once("</style>").map_or(html, |(_, body)| body);
    for after in body.split('<').skip(1) {
        let Some((tag, _)) = after.split_once('>') else { panic!("an open tag: {after:.60}") };
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap_or_default();
        assert!(ELEMENTS.contains(&name), "an element <{tag:.60}>");
        // Outside of quotation marks: names of attributes.
        assert!(tag.matches('"').count() % 2 == 0, "a quotation mark in <{tag:.60}>");
        for name in tag.split('"').step_by(2).flat_map(str::split_whitespace) {
            assert!(!name.starts_with("on") && !name.starts_with("href") && !name.starts_with("src"), "<{tag:.60}>");
        }
    }
}
