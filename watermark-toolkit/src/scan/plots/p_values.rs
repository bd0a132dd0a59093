//! `p_values.svg`: the p-values of all tests against uniform ones.

use std::fmt::Write;

use watermark_core::stats::clopper_pearson;

use super::text::{lines, sentences};
use super::{DARK, KeyTest, WIDTH};
use crate::svg::{heading, label, open, rule, ticks};

const PANEL: (f64, f64) = (510.0, 400.0);
const LEFT: f64 = 82.0;
/// Chance that a rank of uniform p-values falls beyond its band on one side: 99.9 % are within.
const OUTSIDE: f64 = 0.0005;
/// So many of the first ranks are all drawn. Beyond them, each step is the rank divided by this number.
const DENSE: usize = 24;

/// `tests` come strongest first, and are not empty.
pub(super) fn svg(tests: &[&KeyTest<'_>]) -> String {
    let n = tests.len();
    let detected = tests.iter().filter(|test| test.detected()).count();
    let mut text = "Every test's p by its rank. If the texts depended on none of the keys, each point would be in the grey band \
                    with a chance of 99.9 % (the exact quantiles of independent uniform p-values, each rank by itself), or \
                    below it where few texts make p coarse. Above the band p is smaller than chance explains."
        .to_owned();
    if detected > 0 {
        text += " Detected tests lift the points of the ranks right after theirs, too.";
    }
    let scale = Scale { top: 66.0 + 17.0 * lines(&text).len() as f64, high: digits(1, n) + 0.2, strong: strong(n) };
    let bottom = scale.top + PANEL.1;
    let title = "p-values of keys against chance";
    let mut svg = open(WIDTH, bottom + 60.0, 12, title);
    heading(&mut svg, 28.0, title);
    sentences(&mut svg, 50.0, &text);
    scale.band(&mut svg, n);
    scale.axes(&mut svg);
    let beyond = tests.iter().take_while(|test| test.digits > scale.strong).count();
    for rank in ranks(n).into_iter().rev() {
        scale.point(&mut svg, digits(rank, n), tests[rank - 1]);
    }
    legend(&mut svg, scale.top, detected, n - detected, beyond);
    svg.push_str("</svg>\n");
    svg
}

/// -log10 of the expected p at a rank, counted from 1, the smallest.
fn digits(rank: usize, n: usize) -> f64 {
    ((n + 1) as f64 / rank as f64).log10()
}

/// Where the axis of p ends: a digit beyond what chance reaches.
fn strong(n: usize) -> f64 {
    (digits(1, n) - OUTSIDE.log10() + 1.0).ceil()
}

/// -log10 of the two p-values between which the one of a rank is with 99.9 %, weaker first. The one of rank k among n is below x
/// if and only if k or more of n are, which is what Clopper and Pearson's bounds solve.
fn band(rank: usize, n: usize) -> (f64, f64) {
    let (rank, n) = (rank as u64, n as u64);
    let low = clopper_pearson(rank, n, OUTSIDE).0;
    let high = clopper_pearson(rank - 1, n, OUTSIDE).1;
    (-high.log10(), -low.log10())
}

/// The ranks that are drawn: all of the first ones, then ever fewer, evenly on the logarithmic axis, and the last.
fn ranks(n: usize) -> Vec<usize> {
    let mut ranks: Vec<usize> = std::iter::successors(Some(1), |rank| Some(rank + (rank / DENSE).max(1)))
        .take_while(|&rank| rank < n)
        .collect();
    ranks.push(n);
    ranks
}

struct Scale {
    top: f64,
    /// Ends of the axes, in digits: of the expected p and of p.
    high: f64,
    strong: f64,
}

impl Scale {
    fn x(&self, digits: f64) -> f64 {
        LEFT + PANEL.0 * digits / self.high
    }

    fn y(&self, digits: f64) -> f64 {
        self.top + PANEL.1 * (1.0 - digits.min(self.strong) / self.strong)
    }

    fn band(&self, svg: &mut String, n: usize) {
        let (mut points, mut back) = (String::new(), Vec::new());
        for rank in ranks(n) {
            let (weak, strong) = band(rank, n);
            let x = self.x(digits(rank, n));
            let _ = write!(points, "{x:.1},{:.1} ", self.y(strong));
            back.push((x, self.y(weak)));
        }
        for (x, y) in back.into_iter().rev() {
            let _ = write!(points, "{x:.1},{y:.1} ");
        }
        let _ = writeln!(svg, "<polygon fill=\"#ddd\" points=\"{}\"/>", points.trim_end());
        rule(svg, self.x(0.0), self.y(0.0), self.x(self.high), self.y(self.high), "#b00", "6 4");
    }

    fn axes(&self, svg: &mut String) {
        let (right, bottom) = (LEFT + PANEL.0, self.top + PANEL.1);
        rule(svg, LEFT, bottom, right, bottom, "#666", "");
        rule(svg, LEFT, self.top, LEFT, bottom, "#666", "");
        for tick in ticks(0.0, self.high, 5).into_iter().filter(|tick| tick.fract() == 0.0) {
            label(svg, self.x(tick), bottom + 18.0, "middle", &format!("{tick}"));
        }
        for tick in ticks(0.0, self.strong, 5) {
            label(svg, LEFT - 8.0, self.y(tick) + 4.0, "end", &format!("{tick}"));
        }
        let middle = (self.top + bottom) / 2.0;
        label(
            svg,
            LEFT + PANEL.0 / 2.0,
            bottom + 40.0,
            "middle",
            "-log10 of the p expected at the rank (decimal digits)",
        );
        let _ = writeln!(
            svg,
            "<text transform=\"translate(36 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">-log10 p (decimal digits)</text>"
        );
    }

    fn point(&self, svg: &mut String, expected: f64, test: &KeyTest<'_>) {
        let shape = match (test.digits > self.strong, test.detected()) {
            (true, _) => Shape::Beyond,
            (false, true) => Shape::Detected,
            (false, false) => Shape::Other,
        };
        shape.draw(svg, self.x(expected), self.y(test.digits));
    }
}

#[derive(Clone, Copy)]
enum Shape {
    /// Drawn at the end of the axis.
    Beyond,
    Detected,
    Other,
}

impl Shape {
    fn draw(self, svg: &mut String, x: f64, y: f64) {
        let _ = match self {
            Self::Beyond => writeln!(
                svg,
                "<polygon fill=\"{DARK}\" points=\"{x:.1},{:.1} {:.1},{:.1} {:.1},{:.1}\"/>",
                y - 5.0,
                x - 5.0,
                y + 5.0,
                x + 5.0,
                y + 5.0
            ),
            Self::Detected => writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"8\" height=\"8\" fill=\"{DARK}\"/>",
                x - 4.0,
                y - 4.0
            ),
            Self::Other => {
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#fff\" stroke=\"#334155\"/>")
            }
        };
    }
}

fn legend(svg: &mut String, top: f64, detected: usize, others: usize, beyond: usize) {
    let x = LEFT + PANEL.0 + 24.0;
    let mut y = top + 12.0;
    let shapes = [
        (Shape::Beyond, "beyond the axis", beyond),
        (Shape::Detected, "detected", detected),
        (Shape::Other, "not detected", others),
    ];
    for (shape, text, n) in shapes {
        if n > 0 {
            shape.draw(svg, x + 9.0, y - 4.0);
            label(svg, x + 26.0, y, "start", &format!("{text}: {n}"));
            y += 22.0;
        }
    }
    rule(svg, x, y - 4.0, x + 18.0, y - 4.0, "#b00", "6 4");
    label(svg, x + 26.0, y, "start", "uniform p");
    let _ = writeln!(svg, "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"18\" height=\"12\" fill=\"#ddd\"/>", y + 12.0);
    label(svg, x + 26.0, y + 22.0, "start", "99.9 % by chance");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_ranks_are_drawn_of_many() {
        assert_eq!(ranks(1), [1]);
        assert_eq!(ranks(40), (1..=40).collect::<Vec<_>>());
        for n in [20, 49, 80, 1000, 48_000, 1 << 40] {
            let ranks = ranks(n);
            assert!(ranks.is_sorted_by(|a, b| a < b) && ranks[0] == 1 && ranks.last() == Some(&n), "{n}");
            assert!(ranks.len() <= 800 && (n > 50_000 || ranks.len() <= 250), "{n}: {}", ranks.len());
            let gaps = ranks.windows(2).map(|pair| digits(pair[0], n) - digits(pair[1], n));
            assert!(gaps.skip(DENSE).all(|gap| gap < 0.02), "{n}: a gap can be seen");
        }
    }

    /// The extremes have closed forms: P(min > x) = (1 - x)^n, P(max < x) = x^n. The others are mirror images, and as often
    /// left by uniform numbers as they should be.
    #[test]
    fn the_band_is_that_of_uniform_order_statistics() {
        for n in [20, 48_000] {
            let (weak, strong) = band(1, n);
            let bound = |outside: f64| -(-(outside.ln() / n as f64).exp_m1()).log10();
            assert!((weak - bound(OUTSIDE)).abs() < 1e-6, "{n}: {weak}");
            assert!((strong - bound(1.0 - OUTSIDE)).abs() < 1e-6, "{n}: {strong}");
            let (weak, strong) = band(n, n);
            assert!((strong + (OUTSIDE.ln() / n as f64) / std::f64::consts::LN_10).abs() < 1e-6, "{n}: {strong}");
            assert!((weak + ((-OUTSIDE).ln_1p() / n as f64) / std::f64::consts::LN_10).abs() < 1e-6, "{n}: {weak}");
        }
        for (rank, mirror) in [(3, 18), (10, 11)] {
            let ((weak, strong), (of_weak, of_strong)) = (band(rank, 20), band(mirror, 20));
            assert!((10f64.powf(-weak) + 10f64.powf(-of_strong) - 1.0).abs() < 1e-6);
            assert!((10f64.powf(-strong) + 10f64.powf(-of_weak) - 1.0).abs() < 1e-6);
        }
        // Rank 5 of 25 in 40,000 samples from a fixed generator: 20 of them expected below, and as many above.
        let mut state = 7u64;
        let mut uniform = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        };
        let (weak, strong) = band(5, 25);
        let mut outside = [0, 0];
        for _ in 0..40_000 {
            let mut p: Vec<f64> = (0..25).map(|_| uniform()).collect();
            p.sort_by(f64::total_cmp);
            outside[0] += u32::from(-p[4].log10() < weak);
            outside[1] += u32::from(-p[4].log10() > strong);
        }
        assert!(outside.iter().all(|n| (5..40).contains(n)), "{outside:?}");
    }
}
