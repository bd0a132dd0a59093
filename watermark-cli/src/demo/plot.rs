//! The demo's picture: evidence over scored tokens, and where the true key stands among fresh keys.

use std::fmt::Write;

use watermark_toolkit::svg::{heading, label, open, rule, ticks};

/// An evidence curve: (scored tokens, ln e).
pub(super) struct Curve<'a> {
    /// Legend entry.
    pub(super) label: &'a str,
    /// Stroke colour.
    pub(super) color: &'a str,
    /// Points in order.
    pub(super) points: &'a [(u64, f64)],
}

/// log10 p values on one row of the lower panel.
pub(super) struct Strip<'a> {
    /// Row label.
    pub(super) label: &'a str,
    /// Dot colour.
    pub(super) color: &'a str,
    /// One dot each.
    pub(super) log10_p: &'a [f64],
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 132.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const PANEL: f64 = 250.0;
const STRIPS: f64 = 400.0;
const ROW: f64 = 34.0;

/// A self-contained SVG. `alpha` is the level of both thresholds.
#[must_use]
pub(super) fn evidence_svg(curves: &[Curve<'_>], strips: &[Strip<'_>], alpha: f64) -> String {
    let height = STRIPS + ROW * strips.len() as f64 + 62.0;
    let title = "Evidence that the answers depend on the key, as distinct pairs arrive (each of weight 1)";
    let mut svg = open(WIDTH, height, 13, title);
    heading(&mut svg, 26.0, title);
    e_panel(&mut svg, curves, alpha);
    heading(&mut svg, STRIPS - 24.0, "The same test with other keys (log10 p; further left is stronger)");
    p_panel(&mut svg, strips, alpha);
    svg.push_str("</svg>\n");
    svg
}

fn e_panel(svg: &mut String, curves: &[Curve<'_>], alpha: f64) {
    let per_decade = std::f64::consts::LN_10;
    let values = || curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1 / per_decade));
    let threshold = -alpha.log10();
    let high = values().fold(threshold, f64::max) * 1.08;
    let low = values().fold(0.0, f64::min).max(-high) * 1.08;
    let most = curves.iter().filter_map(|curve| curve.points.last()).map(|point| point.0).max().unwrap_or(1).max(1);
    let x = |n: u64| LEFT + (WIDTH - LEFT - RIGHT) * n as f64 / most as f64;
    let y = |v: f64| TOP + PANEL * (high - v.max(low)) / (high - low);
    for tick in ticks(low, high, 5) {
        rule(svg, LEFT, y(tick), WIDTH - RIGHT, y(tick), "#e4e4e4", "");
        label(svg, LEFT - 8.0, y(tick) + 4.0, "end", &format!("{tick}"));
    }
    rule(svg, LEFT, y(threshold), WIDTH - RIGHT, y(threshold), "#b00", "6 4");
    label(svg, WIDTH - RIGHT, y(threshold) - 6.0, "end", &format!("1 / alpha = 10^{threshold:.0}"));
    for tick in ticks(0.0, most as f64, 5) {
        label(
            svg,
            LEFT + (WIDTH - LEFT - RIGHT) * tick / most as f64,
            TOP + PANEL + 18.0,
            "middle",
            &format!("{tick}"),
        );
    }
    label(svg, LEFT + (WIDTH - LEFT - RIGHT) / 2.0, TOP + PANEL + 36.0, "middle", "distinct pairs scored");
    label(svg, LEFT - 36.0, TOP + PANEL / 2.0, "end", "log10 e-value");
    for (i, curve) in curves.iter().enumerate() {
        let path: Vec<String> =
            curve.points.iter().map(|&(n, ln_e)| format!("{:.1},{:.1}", x(n), y(ln_e / per_decade))).collect();
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"2\" points=\"{}\"/>",
            curve.color,
            path.join(" ")
        );
        let at = LEFT + 12.0 + 230.0 * i as f64;
        rule(svg, at, TOP - 16.0, at + 22.0, TOP - 16.0, curve.color, "");
        label(svg, at + 28.0, TOP - 12.0, "start", curve.label);
    }
}

fn p_panel(svg: &mut String, strips: &[Strip<'_>], alpha: f64) {
    let threshold = alpha.log10();
    let low = strips.iter().flat_map(|strip| strip.log10_p).fold(threshold, |low, &p| low.min(p)) * 1.06;
    let x = |v: f64| WIDTH - RIGHT - (WIDTH - LEFT - RIGHT) * v / low;
    let bottom = STRIPS + ROW * strips.len() as f64;
    for tick in ticks(low, 0.0, 5) {
        rule(svg, x(tick), STRIPS - 8.0, x(tick), bottom, "#e4e4e4", "");
        label(svg, x(tick), bottom + 18.0, "middle", &format!("{tick}"));
    }
    rule(svg, x(threshold), STRIPS - 8.0, x(threshold), bottom, "#b00", "6 4");
    label(svg, x(threshold) - 4.0, bottom + 36.0, "middle", &format!("alpha = 10^{threshold:.0}"));
    for (i, strip) in strips.iter().enumerate() {
        let y = STRIPS + ROW * (i as f64 + 0.5);
        label(svg, LEFT - 12.0, y + 4.0, "end", strip.label);
        for &p in strip.log10_p {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"6\" fill=\"{}\" fill-opacity=\"0.55\"/>",
                x(p),
                strip.color
            );
        }
    }
}
