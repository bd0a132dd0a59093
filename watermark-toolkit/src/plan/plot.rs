use std::fmt::Write;

use super::{Curves, Tokens};
use crate::svg::{heading, label, open, rule};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 56.0;
const PANEL: (f64, f64) = (480.0, 300.0);
const COLORS: [&str; 6] = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b"];
/// Decades of tokens shown: 10^2 to 10^5.
const DECADES: (f64, f64) = (2.0, 5.0);

/// Power over tokens, one line a named curve: (name, curves, share, scale). `need` is the number of digits.
#[must_use]
pub fn power_svg(lines: &[(String, &Curves, f64, f64)], need: f64) -> String {
    let title = format!("Chance of detection at p = 1e-{need:.1}, by tokens");
    let mut svg = open(WIDTH, HEIGHT, 12, &title);
    heading(&mut svg, 28.0, &title);
    let x = |tokens: f64| LEFT + PANEL.0 * (tokens.log10() - DECADES.0) / (DECADES.1 - DECADES.0);
    let y = |power: f64| TOP + PANEL.1 * (1.0 - power);
    for power in [0.0, 0.5, 0.8, 0.95, 1.0] {
        rule(&mut svg, LEFT, y(power), LEFT + PANEL.0, y(power), "#ddd", "");
        label(&mut svg, LEFT - 6.0, y(power) + 4.0, "end", &format!("{:.0} %", 100.0 * power));
    }
    for decade in 2..=5 {
        let at = x(10f64.powi(decade));
        rule(&mut svg, at, TOP, at, TOP + PANEL.1, "#eee", "");
        label(&mut svg, at, TOP + PANEL.1 + 18.0, "middle", &format!("1e{decade}"));
    }
    label(&mut svg, LEFT + PANEL.0 / 2.0, TOP + PANEL.1 + 38.0, "middle", "tokens");
    for (i, (name, curves, share, scale)) in lines.iter().enumerate() {
        let color = COLORS[i % COLORS.len()];
        let mut points = String::new();
        for step in 0..=240 {
            let tokens = 10f64.powf(DECADES.0 + (DECADES.1 - DECADES.0) * f64::from(step) / 240.0);
            if let Some(power) = curves.power(*share, tokens, need, *scale) {
                let _ = write!(points, "{:.1},{:.1} ", x(tokens), y(power));
            }
        }
        let median = match curves.tokens(*share, need, 0.5, *scale) {
            Tokens::Need(tokens) => format!("{tokens} tokens"),
            Tokens::MoreThan { more_than } => format!("over {more_than}"),
        };
        let row = TOP + 18.0 * i as f64 + 8.0;
        let legend = LEFT + PANEL.0 + 16.0;
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"1.8\" points=\"{points}\"/>\n\
             <line x1=\"{legend:.1}\" y1=\"{row:.1}\" x2=\"{:.1}\" y2=\"{row:.1}\" stroke=\"{color}\" stroke-width=\"2\"/>",
            legend + 16.0
        );
        label(&mut svg, legend + 22.0, row + 4.0, "start", &format!("{name}: {median}"));
    }
    svg.push_str("</svg>\n");
    svg
}
