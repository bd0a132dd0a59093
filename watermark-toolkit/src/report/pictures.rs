//! The pictures of a report. What a bundle does not carry is not drawn: the caption says so.

use serde::Serialize;
use watermark_core::detect::Weights;
use watermark_core::evidence::bundle::{Bundle, ClassEvidence, Registration, SampleEvidence, SignedClassEvidence};
use watermark_core::model_test::DecidedBy;
use watermark_core::scheme::NullLaw;

use super::draw::{COMPARED, Drawing, FAINT, LEFT, LEVEL, RIGHT, TESTED, WIDTH, short, ticks};
use super::number::{apart, chance, grouped, level, log10_e, power};

/// More controls than this are in the table only.
const MOST_CONTROLS: usize = 24;

/// A picture with its caption.
#[derive(Serialize)]
pub(super) struct Figure {
    pub(super) title: String,
    /// Markup; every text in it is escaped.
    pub(super) svg: String,
    pub(super) caption: String,
}

/// Suspect and controls on one scale.
pub(super) fn models(bundle: &Bundle) -> Figure {
    const TOP: f64 = 34.0;
    const ROW: f64 = 46.0;
    let predicate = &bundle.statement.predicate;
    let conclusion = bundle.conclusion();
    let controls = predicate.controls.iter().zip(conclusion.controls_log10_p).take(MOST_CONTROLS);
    let rows: Vec<(&SampleEvidence, f64)> =
        std::iter::once((&predicate.suspect, conclusion.log10_p)).chain(controls).collect();
    let alpha = bundle.registration.level().log10();
    let low = rows.iter().fold(alpha, |low, row| low.min(row.1)) * 1.08;
    let bottom = TOP + ROW * rows.len() as f64;
    let mut drawing = Drawing::new(bottom + 44.0);
    // Leftmost is what chance does, rightmost the strongest.
    let x = |log10_p: f64| LEFT / 2.0 + (RIGHT - LEFT / 2.0) * log10_p / low;
    for tick in ticks(low, 0.0) {
        drawing.rule((x(tick), TOP), (x(tick), bottom), FAINT, "");
        let label = if tick == 0.0 { "1".to_owned() } else { power(tick) };
        drawing.text(x(tick), bottom + 18.0, "middle", &label);
    }
    drawing.text(WIDTH / 2.0, bottom + 38.0, "middle", "p-value (further right: harder to explain by chance)");
    drawing.rule((x(alpha), TOP - 8.0), (x(alpha), bottom), LEVEL, "6 4");
    let anchor = if x(alpha) > WIDTH / 2.0 { "end" } else { "start" };
    drawing.colored(
        x(alpha),
        TOP - 14.0,
        anchor,
        LEVEL,
        &format!("level of the test, {}", level(bundle.registration.level())),
    );
    for (at, (sample, log10_p)) in rows.iter().enumerate() {
        let y = TOP + ROW * at as f64;
        let (color, role) = if at == 0 { (TESTED, "suspect") } else { (COMPARED, "control") };
        drawing.colored(LEFT / 2.0, y + 16.0, "start", color, &format!("{} ({role})", short(&sample.model)));
        drawing.rule((x(0.0), y + 32.0), (x(*log10_p), y + 32.0), color, "");
        drawing.dot(x(*log10_p), y + 32.0, color, at == 0);
    }
    let words: Vec<String> =
        rows.iter().map(|(sample, p)| format!("{}: p {}", short(&sample.model), chance(*p))).collect();
    let hidden = predicate.controls.len().saturating_sub(MOST_CONTROLS);
    let more = if hidden > 0 { format!(" {hidden} more controls are in the table.") } else { String::new() };
    let caption = if predicate.controls.is_empty() {
        "No control models were registered, so the procedure was not tried on a model that is known to be independent."
            .to_owned()
    } else {
        format!(
            "A control is a model that is known not to have learned from the marked text. It goes through the same procedure, and should \
             stay on the left, above p = 0.01 / {}.{more}",
            predicate.controls.len()
        )
    };
    Figure {
        title: "Suspect and controls".to_owned(),
        svg: drawing.finish(&format!("p-values on a logarithmic scale. {}.", words.join("; "))),
        caption,
    }
}

/// Fresh keys: log10 p of each where the data are there, else only how many did as well.
pub(super) fn fresh_keys(bundle: &Bundle, log10_p: Option<&[f64]>) -> Option<Figure> {
    let fresh = &bundle.statement.predicate.resampling;
    let real = bundle.statement.predicate.suspect.log10_p;
    let (keys, at_least) = (grouped(fresh.keys), grouped(fresh.at_least));
    let title = "The real key among fresh ones".to_owned();
    match log10_p {
        _ if fresh.keys == 0 => None,
        None => {
            let mut drawing = Drawing::new(92.0);
            let width = RIGHT - LEFT / 2.0;
            let share = fresh.at_least.min(fresh.keys) as f64 / fresh.keys as f64;
            drawing.text(LEFT / 2.0, 20.0, "start", &format!("{keys} keys that mark nothing, same answers"));
            drawing.bar(LEFT / 2.0, 30.0, width, 24.0, FAINT);
            drawing.bar(LEFT / 2.0, 30.0, width * share, 24.0, LEVEL);
            drawing.text(
                LEFT / 2.0,
                76.0,
                "start",
                &format!("{at_least} of them did at least as well as the real key"),
            );
            let words = format!("{at_least} of {keys} fresh keys did at least as well as the real key.");
            let caption = "The bundle carries this count and the seed of the keys, not what each of them found. `watermark report \
                           --data` with the answers draws them all.";
            Some(Figure { title, svg: drawing.finish(&words), caption: caption.to_owned() })
        }
        Some(log10_p) => Some(Figure {
            title,
            svg: histogram(
                log10_p,
                real,
                &format!("{at_least} of {keys} fresh keys did at least as well as the real key."),
            ),
            caption: format!(
                "Each of {keys} keys that mark nothing was tried on the same answers. They show what chance does; {at_least} did at least \
                 as well as the real key, whose p is {}.",
                chance(real)
            ),
        }),
    }
}

fn histogram(log10_p: &[f64], real: f64, words: &str) -> String {
    const TOP: f64 = 40.0;
    const HEIGHT: f64 = 150.0;
    const BINS: usize = 40;
    let low = log10_p.iter().fold(real.min(-1.0), |low, &p| low.min(p)) * 1.04;
    let mut bins = [0_u64; BINS];
    for &p in log10_p {
        bins[(1..BINS).take_while(|&bin| bin as f64 <= p / low * BINS as f64).count()] += 1;
    }
    let most = bins.iter().copied().max().unwrap_or(0).max(1);
    let bottom = TOP + HEIGHT;
    let mut drawing = Drawing::new(bottom + 44.0);
    let x = |p: f64| LEFT + (RIGHT - LEFT) * p / low;
    for tick in ticks(0.0, most as f64).into_iter().filter(|tick| tick.fract() == 0.0) {
        let y = bottom - HEIGHT * tick / most as f64;
        drawing.rule((LEFT, y), (RIGHT, y), FAINT, "");
        drawing.text(LEFT - 6.0, y + 4.0, "end", &format!("{tick}"));
    }
    for (at, &count) in bins.iter().enumerate() {
        let height = HEIGHT * count as f64 / most as f64;
        let width = (RIGHT - LEFT) / BINS as f64;
        drawing.bar(LEFT + width * at as f64, bottom - height, width - 1.0, height, COMPARED);
    }
    for tick in ticks(low, 0.0) {
        let label = if tick == 0.0 { "1".to_owned() } else { power(tick) };
        drawing.text(x(tick), bottom + 18.0, "middle", &label);
    }
    drawing.text(WIDTH / 2.0, bottom + 38.0, "middle", "p-value of each key (bars: how many keys)");
    drawing.rule((x(real), TOP - 8.0), (x(real), bottom), TESTED, "");
    let anchor = if x(real) > WIDTH / 2.0 { "end" } else { "start" };
    drawing.colored(x(real), TOP - 14.0, anchor, TESTED, &format!("the real key, {}", power(real)));
    drawing.dot(x(real), bottom, TESTED, true);
    drawing.finish(words)
}

/// Mean score by how often a pair occurred, or beside references by how much oftener than expected: an inherited mark shows where a model
/// repeats itself, and where it departs from its references.
pub(super) fn classes(bundle: &Bundle) -> Option<Figure> {
    const ROW: f64 = 40.0;
    const TOP: f64 = 34.0;
    let (mean, deviation, unit) = match bundle.layer.scheme.null_law() {
        NullLaw::Bits { gamma, trials: 1 } => (gamma, (gamma * (1.0 - gamma)).sqrt(), 1.0),
        NullLaw::ExponentialQ32 => (1.0, 1.0, 2f64.powi(32)),
        _ => return None,
    };
    let suspect = &bundle.statement.predicate.suspect;
    let groups = match &suspect.residuals {
        Some(residuals) => grouped_residuals(&residuals.classes),
        None => grouped_classes(&suspect.classes),
    };
    if groups.is_empty() {
        return None;
    }
    let what = if unit > 1.0 { "mean score" } else { "share on the key's list" };
    let share = |group: &Group| group.score / unit / group.pairs as f64;
    let spread = |group: &Group| 2.0 * deviation / (group.pairs as f64).sqrt();
    let high = groups.iter().fold(mean * 1.2, |high, group| high.max(share(group))) * 1.04;
    let bottom = TOP + ROW * groups.len() as f64;
    let mut drawing = Drawing::new(bottom + 44.0);
    let start = 150.0;
    let x = |value: f64| start + (RIGHT - 30.0 - start) * value.clamp(0.0, high) / high;
    for tick in ticks(0.0, high) {
        drawing.rule((x(tick), TOP), (x(tick), bottom), FAINT, "");
        drawing.text(x(tick), bottom + 18.0, "middle", &format!("{}", (tick * 1e6).round() / 1e6));
    }
    drawing.text((start + RIGHT) / 2.0, bottom + 38.0, "middle", &format!("{what} of such pairs"));
    for (at, group) in groups.iter().enumerate() {
        let y = TOP + ROW * at as f64 + 8.0;
        drawing.text(start - 8.0, y + 10.0, "end", &group.label);
        drawing.colored(start - 8.0, y + 24.0, "end", COMPARED, &plural(group.pairs));
        drawing.bar(
            x(mean - spread(group)),
            y - 2.0,
            x(mean + spread(group)) - x(mean - spread(group)),
            28.0,
            "#c9d3de",
        );
        drawing.bar(start, y + 6.0, x(share(group)) - start, 12.0, TESTED);
    }
    drawing.rule((x(mean), TOP - 8.0), (x(mean), bottom), LEVEL, "6 4");
    drawing.colored(x(mean), TOP - 14.0, "middle", LEVEL, &format!("by chance, {mean}"));
    let words: Vec<String> = groups
        .iter()
        .map(|group| format!("{}: {:.3} of {} pairs", group.label, share(group), grouped(group.pairs)))
        .collect();
    let (title, says) = if suspect.residuals.is_some() {
        (
            "What the model writes beyond its references",
            "Pairs of neighbouring tokens, by how much oftener or more rarely the suspect wrote them than the references expect. Without a mark every \
             bar ends about at the dashed line (grey: two standard deviations). A model that learned from marked text leans to the right where it writes \
             more, and to the left where it writes less.",
        )
    } else {
        (
            "What the model repeats",
            "Pairs of neighbouring tokens in the suspect's answers, by how often it wrote them. Without a mark every bar ends about at the dashed \
             line (grey: two standard deviations). A model that learned from marked text leans to the right, most where it repeats itself.",
        )
    };
    Some(Figure {
        title: title.to_owned(),
        svg: drawing.finish(&format!("The {what}, {mean} by chance. {}.", words.join("; "))),
        caption: says.to_owned(),
    })
}

fn plural(pairs: u64) -> String {
    if pairs == 1 { "1 pair".to_owned() } else { format!("{} pairs", grouped(pairs)) }
}

/// Pairs that one bar stands for.
struct Group {
    label: String,
    pairs: u64,
    score: f64,
}

impl Group {
    /// Adds pairs to the last group if it has this label, else begins another.
    fn add(groups: &mut Vec<Self>, label: String, pairs: u64, score: u128) {
        match groups.last_mut() {
            Some(group) if group.label == label => {
                group.pairs = group.pairs.saturating_add(pairs);
                group.score += score as f64;
            }
            _ => groups.push(Self { label, pairs, score: score as f64 }),
        }
    }
}

/// Counts 1, 2, 3 to 4, 5 to 8 and so on.
fn grouped_classes(classes: &[ClassEvidence]) -> Vec<Group> {
    let mut groups = Vec::new();
    for class in classes.iter().filter(|class| class.count > 0 && class.pairs > 0) {
        let last = class.count.checked_next_power_of_two().unwrap_or(u64::MAX);
        let label = match last {
            1 => "once".to_owned(),
            2 => "twice".to_owned(),
            3..=1024 => format!("{} to {last} times", last / 2 + 1),
            _ => format!("over {} times", grouped(last / 2)),
        };
        Group::add(&mut groups, label, class.pairs, class.score.0);
    }
    groups
}

/// Weights of less than 1, 1 to 4, and more, on either side.
fn grouped_residuals(classes: &[SignedClassEvidence]) -> Vec<Group> {
    let mut groups = Vec::new();
    for class in classes.iter().filter(|class| class.weight != 0 && class.pairs > 0) {
        let side = if class.weight > 0 { "more" } else { "fewer" };
        let label = match class.weight.unsigned_abs() >> 16 {
            0 => format!("up to 1 {side}"),
            1..=3 => format!("1 to 4 {side}"),
            _ => format!("over 4 {side}"),
        };
        Group::add(&mut groups, label, class.pairs, class.score.0);
    }
    groups
}

/// The e-value as distinct pairs arrive, each of weight 1: (pairs so far, ln e).
pub(super) fn curve(points: &[(u64, f64)], registration: &Registration, decided_by: DecidedBy) -> Option<Figure> {
    const TOP: f64 = 34.0;
    const HEIGHT: f64 = 180.0;
    let &(most, last) = points.last()?;
    let needed = -registration.level().log10();
    let values = || points.iter().map(|point| log10_e(point.1));
    let high = values().fold(needed, f64::max) * 1.08;
    let low = values().fold(0.0, f64::min).max(-high);
    let bottom = TOP + HEIGHT;
    let mut drawing = Drawing::new(bottom + 44.0);
    let x = |n: f64| LEFT + (RIGHT - LEFT) * n / most.max(1) as f64;
    let y = |value: f64| TOP + HEIGHT * (high - value.max(low)) / (high - low);
    for tick in ticks(low, high) {
        drawing.rule((LEFT, y(tick)), (RIGHT, y(tick)), FAINT, "");
        drawing.text(LEFT - 6.0, y(tick) + 4.0, "end", &power(tick));
    }
    for tick in ticks(0.0, most as f64) {
        drawing.text(x(tick), bottom + 18.0, "middle", &apart(&format!("{tick:.0}")));
    }
    drawing.text(WIDTH / 2.0, bottom + 38.0, "middle", "distinct pairs scored");
    drawing.rule((LEFT, y(needed)), (RIGHT, y(needed)), LEVEL, "6 4");
    drawing.colored(RIGHT, y(needed) - 6.0, "end", LEVEL, &format!("needed at this level, {}", power(needed)));
    drawing.line(points.iter().map(|&(n, ln_e)| (x(n as f64), y(log10_e(ln_e)))), TESTED);
    let more = if registration.weights == Weights::None {
        ""
    } else {
        " Every pair counts once here; the e-value in the tables weights them by how often they occurred."
    };
    let role = match decided_by {
        DecidedBy::Tail => " It decides nothing here: the registered rule is the p-value of the whole sample.",
        DecidedBy::EValue => "",
    };
    Some(Figure {
        title: "Evidence as the answers come in".to_owned(),
        svg: drawing.finish(&format!(
            "The e-value over {} distinct pairs; it ends at {}.",
            grouped(most),
            power(log10_e(last))
        )),
        caption: format!(
            "An e-value is a bet against chance that starts with 1: multiplied by a thousand, it would have been won by chance at most once in \
             a thousand times, whenever one stops.{more}{role}"
        ),
    })
}
