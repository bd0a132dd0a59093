//! Named bars, one below the other.

use std::fmt::Write;

use super::WIDTH;
use super::text::{lines, name, sentences, shorten};
use crate::svg::{escape, heading, label, open, rule, ticks};

/// Bars that are drawn; the rest is summarised.
pub(super) const ROWS: usize = 30;

const NAME: f64 = 24.0;
const DETAIL: f64 = 196.0;
const BARS: (f64, f64) = (352.0, 560.0);
const NUMBER: f64 = 690.0;
const WORD: f64 = 702.0;
const ROW: f64 = 20.0;

pub(super) struct Row<'a> {
    pub(super) name: &'a str,
    /// Text beside the name. If no row has any, names take its room.
    pub(super) detail: String,
    pub(super) value: f64,
    pub(super) color: &'static str,
    /// To the right of the bar.
    pub(super) number: String,
    pub(super) word: String,
}

pub(super) struct Bars<'a> {
    pub(super) title: &'static str,
    /// What is drawn, and how it would look under the null hypothesis.
    pub(super) text: String,
    /// Headers of name, detail, number and word.
    pub(super) header: [&'static str; 4],
    /// Name and unit of the values.
    pub(super) axis: &'static str,
    pub(super) rows: Vec<Row<'a>>,
    /// Where the axis ends.
    pub(super) high: f64,
    /// A line across all bars, and what it is.
    pub(super) level: Option<(f64, String)>,
    /// A sentence on the rows that are not drawn.
    pub(super) rest: String,
}

impl Bars<'_> {
    pub(super) fn svg(&self) -> String {
        let header = 50.0 + 17.0 * lines(&self.text).len() as f64 + 28.0;
        let (top, rows) = (header + 8.0, ROW * self.rows.len() as f64);
        let bottom = top + rows;
        let rest = bottom + 64.0;
        let height = rest + 17.0 * lines(&self.rest).len() as f64;
        let mut svg = open(WIDTH, height, 12, self.title);
        heading(&mut svg, 28.0, self.title);
        sentences(&mut svg, 50.0, &self.text);
        for (at, anchor, text) in [(NAME, "start", 0), (DETAIL, "start", 1), (NUMBER, "end", 2), (WORD, "start", 3)] {
            label(&mut svg, at, header, anchor, self.header[text]);
        }
        let x = |value: f64| BARS.0 + (BARS.1 - BARS.0) * (value / self.high).clamp(0.0, 1.0);
        for tick in ticks(0.0, self.high, 5) {
            rule(&mut svg, x(tick), top, x(tick), bottom, "#ddd", "");
            label(&mut svg, x(tick), bottom + 16.0, "middle", &format!("{tick}"));
        }
        label(&mut svg, (BARS.0 + BARS.1) / 2.0, bottom + 34.0, "middle", self.axis);
        for (at, row) in self.rows.iter().enumerate() {
            row.draw(&mut svg, top + ROW * at as f64, x(row.value) - BARS.0, self.header[1].is_empty());
        }
        if let Some((level, text)) = &self.level {
            rule(&mut svg, x(*level), header + 2.0, x(*level), bottom, "#b00", "6 4");
            // Beside the line, on the side where there is room.
            let (dx, anchor) = if x(*level) < (BARS.0 + BARS.1) / 2.0 { (4.0, "start") } else { (-4.0, "end") };
            label(&mut svg, x(*level) + dx, header, anchor, text);
        }
        sentences(&mut svg, rest, &self.rest);
        svg.push_str("</svg>\n");
        svg
    }
}

impl Row<'_> {
    fn draw(&self, svg: &mut String, y: f64, length: f64, wide: bool) {
        // Shown on hovering: more of a name than fits.
        let _ = writeln!(svg, "<g><title>{}</title>", escape(&shorten(&format!("{} {}", self.name, self.detail), 200)));
        let base = y + 14.0;
        name(svg, NAME, base, self.name, if wide { 44 } else { 23 });
        name(svg, DETAIL, base, &self.detail, 21);
        let _ = writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
            BARS.0,
            y + 3.0,
            ROW - 6.0,
            self.color
        );
        label(svg, NUMBER, base, "end", &self.number);
        label(svg, WORD, base, "start", &self.word);
        svg.push_str("</g>\n");
    }
}
