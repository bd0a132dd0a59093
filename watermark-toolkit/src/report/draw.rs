//! What the pictures of a report are drawn with: shapes in a frame of fixed width, which the page scales.

use std::fmt::Write;

use crate::visible::visible;

/// Width of every picture. Letters of 14 stay readable where a phone shows it at three quarters.
pub(super) const WIDTH: f64 = 480.0;
/// Where plots begin and end.
pub(super) const LEFT: f64 = 44.0;
pub(super) const RIGHT: f64 = WIDTH - 16.0;

/// The colours: what is tested, what it is compared with, levels, what is behind.
pub(super) const INK: &str = "#1d2733";
pub(super) const TESTED: &str = "#0b5394";
pub(super) const COMPARED: &str = "#5f6b7a";
pub(super) const LEVEL: &str = "#a61b1b";
pub(super) const FAINT: &str = "#dfe3e8";

/// Longest name in a picture.
const MOST_OF_A_NAME: usize = 44;

/// A picture with the words that stand for it where it is not seen.
pub(super) struct Drawing {
    shapes: String,
    height: f64,
}

impl Drawing {
    pub(super) fn new(height: f64) -> Self {
        Self { shapes: String::new(), height }
    }

    /// The element; `words` say what the picture shows.
    pub(super) fn finish(self, words: &str) -> String {
        let (height, shapes, words) = (self.height, self.shapes, escape(words));
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{words}\" font-size=\"14\" fill=\"{INK}\">\n\
             {shapes}</svg>"
        )
    }

    pub(super) fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        self.colored(x, y, anchor, INK, text);
    }

    pub(super) fn colored(&mut self, x: f64, y: f64, anchor: &str, color: &str, text: &str) {
        let text = escape(&visible(text, 120));
        let _ = writeln!(
            self.shapes,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{color}\" stroke=\"#fff\" stroke-width=\"4\" \
             paint-order=\"stroke\">{text}</text>"
        );
    }

    pub(super) fn rule(&mut self, from: (f64, f64), to: (f64, f64), color: &str, dash: &str) {
        let _ = writeln!(
            self.shapes,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{color}\" stroke-dasharray=\"{dash}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    pub(super) fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, color: &str) {
        let _ = writeln!(
            self.shapes,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{color}\"/>"
        );
    }

    pub(super) fn dot(&mut self, x: f64, y: f64, color: &str, filled: bool) {
        let fill = if filled { color } else { "#fff" };
        let _ = writeln!(
            self.shapes,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{fill}\" stroke=\"{color}\" stroke-width=\"2\"/>"
        );
    }

    pub(super) fn line(&mut self, points: impl Iterator<Item = (f64, f64)>, color: &str) {
        let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.shapes,
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" points=\"{}\"/>",
            points.join(" ")
        );
    }
}

/// A name that fits above a plot.
pub(super) fn short(name: &str) -> String {
    let shown = visible(name, MOST_OF_A_NAME);
    if shown.chars().count() <= MOST_OF_A_NAME {
        shown
    } else {
        visible(&shown, MOST_OF_A_NAME - 1).split('…').next().unwrap_or("").to_owned() + "…"
    }
}

/// Round numbers within [low, high], about four of them.
pub(super) fn ticks(low: f64, high: f64) -> Vec<f64> {
    crate::svg::ticks(low, high, 4)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_short_and_escaped() {
        assert_eq!(short("a model"), "a model");
        assert!(short(&"\u{202e}".repeat(1000)).chars().count() <= MOST_OF_A_NAME);
        let mut drawing = Drawing::new(10.0);
        drawing.text(0.0, 0.0, "start", "<b>\"'&\u{202e}\0");
        let svg = drawing.finish("<script>\"");
        assert!(svg.contains(">&lt;b&gt;&quot;&#x27;&amp;[U+202E][U+0000]</text>"), "{svg}");
        assert!(svg.contains("aria-label=\"&lt;script&gt;&quot;\""), "{svg}");
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(-34.0, 0.0), [-30.0, -20.0, -10.0, 0.0]);
        assert_eq!(ticks(0.0, 1.0), [0.0, 0.5, 1.0]);
    }
}
