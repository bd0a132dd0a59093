//! Shapes and texts that every picture is drawn with. Every text is escaped here, so callers can pass names of files,
//! keys and accounts as they are, although strangers wrote them.

use std::fmt::Write;

/// Distance of a heading and its sentences from the left.
pub(crate) const MARGIN: f64 = 24.0;

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

/// Text that starts, ends or has its `middle` at x.
pub fn label(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(text));
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

/// Whether a character shows and leaves the order of those around it alone.
pub(crate) fn is_seen(c: char) -> bool {
    let hidden = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !hidden
}
