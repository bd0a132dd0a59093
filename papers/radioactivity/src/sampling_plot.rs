//! The picture of the table of `sampling`.

use std::fmt::Write;

use anyhow::Result;

use crate::plot::{Table, head};

/// Settings in the order of the legend, each with its colour.
const LINES: [(&str, &str); 4] =
    [("greenlist after", "#c2410c"), ("greenlist before", "#1d4ed8"), ("gumbel", "#15803d"), ("unmarked", "#737373")];
const WARMEST: f64 = 1.5;
/// Largest value of the panels of nats per token.
const MOST_NATS: f64 = 4.0;
const PANEL: f64 = 190.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 110.0;

/// Digits of p over the temperature, and below what the tokens cost; a panel a top-p; means over keys.
pub(crate) fn picture(table: &Table) -> Result<String> {
    let columns = ["mark", "temperature", "top_p", "log10_p", "nats_per_token"].map(|name| table.column(name));
    let [mark, temperature, top_p, log10_p, nats] = columns;
    let (mark, temperature, top_p, log10_p, nats) = (mark?, temperature?, top_p?, log10_p?, nats?);
    let mut panels: Vec<&String> = Vec::new();
    for row in &table.rows {
        if !panels.contains(&&row[top_p]) {
            panels.push(&row[top_p]);
        }
    }
    let step = PANEL + 30.0;
    let mut svg = head(
        LEFT + step * panels.len() as f64,
        TOP + 2.0 * step + 30.0,
        "What temperature and top-p do to marks",
        "Above: digits of p (logarithmic, dashed: 1e-6). Below: nats per token to the unmarked teacher at temperature 1.",
    );
    for (i, (name, color)) in LINES.iter().enumerate() {
        let at = LEFT + 150.0 * i as f64;
        let _ = writeln!(
            svg,
            "<line x1=\"{at}\" y1=\"66\" x2=\"{}\" y2=\"66\" stroke=\"{color}\" stroke-width=\"2\"/>\n<text x=\"{}\" y=\"70\">{name}</text>",
            at + 18.0,
            at + 23.0
        );
    }
    // 0.1 to 1000 digits.
    let digits_up = |log10_p: f64| PANEL * (((-log10_p).max(0.1) / 0.1).log10() / 4.0).min(1.0);
    let nats_up = |nats: f64| PANEL * (nats / MOST_NATS).clamp(0.0, 1.0);
    let across = |temperature: f64| PANEL * temperature / WARMEST;
    for (i, panel) in panels.iter().enumerate() {
        let x = LEFT + step * i as f64;
        for (lower, column) in [(false, log10_p), (true, nats)] {
            let y = TOP + if lower { step } else { 0.0 };
            let up = |value: f64| if lower { nats_up(value) } else { digits_up(value) };
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{PANEL}\" height=\"{PANEL}\" fill=\"none\" stroke=\"#bbb\"/>"
            );
            if !lower {
                let _ = writeln!(
                    svg,
                    "<text x=\"{x}\" y=\"{:.1}\" font-weight=\"600\">top-p {panel}</text>\n\
                     <line x1=\"{x}\" y1=\"{1:.1}\" x2=\"{2:.1}\" y2=\"{1:.1}\" stroke=\"#b00\" stroke-dasharray=\"5 4\"/>",
                    y - 8.0,
                    y + PANEL - up(-6.0),
                    x + PANEL
                );
            }
            let ticks: &[(f64, &str)] = if lower {
                &[(0.0, "0"), (1.0, "1"), (2.0, "2"), (3.0, "3"), (4.0, "4")]
            } else {
                &[(-0.1, "0.1"), (-1.0, "1"), (-10.0, "10"), (-100.0, "100"), (-1000.0, "1000")]
            };
            for (value, name) in ticks.iter().filter(|_| i == 0) {
                let _ = writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                    x - 5.0,
                    y + PANEL - up(*value) + 4.0
                );
            }
            for (value, name) in [(0.0, "0"), (0.5, "0.5"), (1.0, "1"), (1.5, "1.5")].iter().filter(|_| lower) {
                let _ = writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
                    x + across(*value),
                    y + PANEL + 16.0
                );
            }
            for (name, color) in LINES {
                let mut points: Vec<(f64, f64, f64)> = Vec::new();
                for row in table.rows.iter().filter(|row| row[mark] == name && row[top_p] == **panel) {
                    let (at, value): (f64, f64) = (row[temperature].parse()?, row[column].parse()?);
                    match points.last_mut() {
                        Some((last, sum, n)) if *last >= at => (*sum, *n) = (*sum + value, *n + 1.0),
                        _ => points.push((at, value, 1.0)),
                    }
                }
                let points: Vec<String> = points
                    .iter()
                    .map(|(at, sum, n)| format!("{:.1},{:.1}", x + across(*at), y + PANEL - up(sum / n)))
                    .collect();
                let points = points.join(" ");
                let _ = writeln!(
                    svg,
                    "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"1.6\" points=\"{points}\"/>"
                );
            }
        }
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}
