//! One self-contained page that says what an evidence bundle shows, what was checked of it and what was not.
//!
//! Names, questions and answers are strangers' text: the template engine escapes every value and shows what would be hidden
//! ([`visible`](crate::visible::visible)), so that no part of a page can forget it. The page has no script and loads nothing.

mod claims;
mod draw;
mod insight;
mod kit;
mod kit_pairs;
mod number;
mod pairs;
mod pictures;
mod steps;
mod tables;
mod verdict;

use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, escape_formatter};
use serde::Serialize;
use sha2::{Digest, Sha256};
use watermark_core::hex;

use crate::evidence::{BundleCheck, Context, MAX_BUNDLE, check};
use crate::files::{read_bounded, write_new};
use crate::visible::visible;
use claims::Claims;
pub use insight::Insight;
pub use kit::{is_new as check_new_kit, write as write_kit};
pub use kit_pairs::write as write_kit_of_pairs;
pub use pairs::write as write_of_pairs;
use steps::Checked;
use verdict::VerdictText;

/// Characters of one text that are shown.
const MOST_OF_A_TEXT: usize = 1500;

/// Checks the bundle at `path` and writes its page to a new file; `texts` says whether answers among the data may be shown.
///
/// # Errors
/// If a file cannot be read, or `out` exists. What does not hold is no error: the page says it.
pub fn write(path: &Path, context: &Context, texts: bool, out: &Path) -> Result<BundleCheck> {
    let (found, page) = of_bundle(path, context, texts)?;
    write_new(out, page.as_bytes())?;
    Ok(found)
}

/// The check of the bundle at `path`, and its page.
fn of_bundle(path: &Path, context: &Context, texts: bool) -> Result<(BundleCheck, String)> {
    let bytes = read_bounded(path, MAX_BUNDLE).with_context(|| format!("reading {}", path.display()))?;
    let found = check(path, &bytes, context, &|_| Ok(()))?;
    let insight = match &found.bundle {
        Some(_) if found.integrity() => Insight::read(path, &found, context, texts)?,
        _ => None,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let source = Source { name: &name, bytes: &bytes, check: &found, context, insight: insight.as_ref() };
    let page = page(&source)?;
    Ok((found, page))
}

/// What a page is made from.
pub struct Source<'a> {
    /// Name of the bundle's file.
    pub name: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// What was found in them.
    pub check: &'a BundleCheck,
    /// What the reader brought along.
    pub context: &'a Context,
    /// What the suspect's answers add; only of a bundle that holds.
    pub insight: Option<&'a Insight>,
}

#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    style: &'static str,
    style_hash: String,
    verdict: VerdictText,
    checked: Checked,
    claims: Option<Claims>,
    source: Origin<'a>,
}

#[derive(Serialize)]
struct Origin<'a> {
    name: &'a str,
    sha256: String,
    software: &'static str,
}

/// The page in UTF-8; the same source gives the same bytes.
///
/// # Errors
/// If the template fails, which it does not.
pub fn page(source: &Source<'_>) -> Result<String> {
    let (style, style_hash) = style();
    let bundle = source.check.bundle.as_ref();
    let page = Page {
        title: "Evidence report",
        style,
        style_hash,
        verdict: VerdictText::new(source.check),
        checked: Checked::new(source.check, source.context),
        claims: bundle.map(|bundle| Claims::new(bundle, source)),
        source: Origin {
            name: source.name,
            sha256: hex::encode(&Sha256::digest(source.bytes)),
            software: concat!("watermark ", env!("CARGO_PKG_VERSION")),
        },
    };
    render("page.html", &page)
}

/// A page of a template.
fn render(template: &str, page: &impl Serialize) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_formatter(|out, state, value| match value.as_str() {
        Some(text) if !value.is_safe() => escape_formatter(out, state, &Value::from(visible(text, MOST_OF_A_TEXT))),
        _ => escape_formatter(out, state, value),
    });
    // The ending switches escaping on.
    for (name, source) in [
        ("page.html", concat!(include_str!("macros.html"), include_str!("page.html"))),
        ("pairs.html", concat!(include_str!("macros.html"), include_str!("pairs.html"))),
    ] {
        environment.add_template(name, source).context("the report's template")?;
    }
    let html = environment.get_template(template).and_then(|template| template.render(Serde(page)));
    html.context("the report's template")
}

/// The style of every page, and its digest: no other style may act, whatever a text brings along.
fn style() -> (&'static str, String) {
    let style = include_str!("style.css");
    (style, format!("sha256-{}", STANDARD.encode(Sha256::digest(style))))
}
