use std::fmt::Write;

use super::Cell;
use crate::svg::{escape, heading, open};

const PANEL: f64 = 190.0;
const GAP_X: f64 = 70.0;
const GAP_Y: f64 = 64.0;
const COLUMNS: usize = 4;
const LEFT: f64 = 64.0;
const TOP: f64 = 96.0;
/// Decades of p that a panel shows.
const DECADES: f64 = 5.0;
const COLORS: [&str; 13] = [
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
    "#1b4f72", "#7d6608", "#4a235a",
];

/// Quantiles of p, one panel a test and one line a corpus, both axes logarithmic: a calibrated test stays on or above the
/// diagonal (p is at least as large as its rank says). Broken cells are drawn thick.
#[must_use]
pub fn quantiles_svg(cells: &[Cell]) -> String {
    let mut tests: Vec<&str> = Vec::new();
    let mut corpora: Vec<&str> = Vec::new();
    for cell in cells {
        for (names, name) in [(&mut tests, &cell.test), (&mut corpora, &cell.corpus)] {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    let legend_rows = corpora.len().div_ceil(COLUMNS);
    let top = TOP + 18.0 * legend_rows as f64;
    let width = LEFT + COLUMNS as f64 * (PANEL + GAP_X);
    let height = top + tests.len().div_ceil(COLUMNS) as f64 * (PANEL + GAP_Y) + 20.0;
    let title = "p of unmarked text under fresh keys";
    let mut svg = open(width, height, 11, title);
    heading(&mut svg, 28.0, title);
    svg.push_str(
        "<text x=\"24\" y=\"48\">Across: share of trials. Up: the p that this share does not exceed. On or above the \
         diagonal is calibrated; below it a test would accuse too often. Thick: beyond chance.</text>\n",
    );
    for (i, corpus) in corpora.iter().enumerate() {
        let (x, y) = (LEFT + (i % COLUMNS) as f64 * (PANEL + GAP_X), 72.0 + 18.0 * (i / COLUMNS) as f64);
        let color = COLORS[i % COLORS.len()];
        let _ = writeln!(svg, "<line x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{color}\"/>", x + 18.0);
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\">{}</text>", x + 24.0, y + 4.0, escape(corpus));
    }
    for (i, test) in tests.iter().enumerate() {
        let x = LEFT + (i % COLUMNS) as f64 * (PANEL + GAP_X);
        let y = top + (i / COLUMNS) as f64 * (PANEL + GAP_Y);
        frame(&mut svg, x, y, test);
        for cell in cells.iter().filter(|cell| cell.test == *test) {
            let color = corpora.iter().position(|name| *name == cell.corpus).unwrap_or(0) % COLORS.len();
            line(&mut svg, x, y, cell, COLORS[color]);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Position of log10 p between 0 (right, top) and -[`DECADES`].
fn scale(log10_p: f64) -> f64 {
    PANEL * (log10_p.clamp(-DECADES, 0.0) + DECADES) / DECADES
}

fn frame(svg: &mut String, x: f64, y: f64, test: &str) {
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{:.1}\" font-size=\"10\">{}</text>", y - 8.0, escape(test));
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{PANEL}\" height=\"{PANEL}\" fill=\"none\" stroke=\"#bbb\"/>\n\
         <line x1=\"{x}\" y1=\"{}\" x2=\"{}\" y2=\"{y}\" stroke=\"#b00\" stroke-dasharray=\"5 4\"/>",
        y + PANEL,
        x + PANEL
    );
    for decade in 0..=DECADES as i32 {
        let at = scale(-f64::from(decade));
        let tick = if decade == 0 { "1".to_owned() } else { format!("1e-{decade}") };
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
            x + at,
            y + PANEL + 14.0,
            x - 5.0,
            y + PANEL - at + 4.0
        );
    }
}

fn line(svg: &mut String, x: f64, y: f64, cell: &Cell, color: &str) {
    let points: Vec<String> = cell
        .quantiles
        .iter()
        .map(|&(share, log10_p)| format!("{:.1},{:.1}", x + scale(share), y + PANEL - scale(log10_p)))
        .collect();
    let _ = writeln!(
        svg,
        "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"{}\" points=\"{}\"/>",
        if cell.broken { 4.0 } else { 1.2 },
        points.join(" ")
    );
}
