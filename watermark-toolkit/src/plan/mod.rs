//! How many tokens of a suspect show a given share of marked training data, or what a given number can show.
//!
//! The numbers come from measured curves and not from a formula for how models learn: students of the laboratory, by
//! share of marked answers and kind of access (`papers/radioactivity`). Between measured shares and sizes values are
//! interpolated; beyond them there is no answer, and the plan says so. Larger models learn from far more data: the
//! order of magnitude carries over, the digits do not. The curves of reading were measured while contexts that an earlier text
//! had shown still counted, and promise too much.

mod plot;
mod question;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use watermark_core::model_test::Access;
use watermark_core::profile::{AnyScheme, Profile};
use watermark_core::scheme::{Greenlist, Scheme};

pub use plot::power_svg;
pub use question::{Need, Question, SHARES, SHARES_BESIDE, Shows};

/// Curves of the laboratory's green list (gamma .5, delta 2, width 1), all of whose training answers came from one teacher, by counts.
const CURVES: &str = include_str!("curves.csv");
/// Curves beside references, of students that learned marked answers among text of others.
const CURVES_BESIDE: &str = include_str!("curves_beside.csv");

/// What stands beside the suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReferenceKind {
    /// A model like the one that the suspect was trained from.
    Base,
    /// The provider's own model, without marks.
    Teacher,
    /// Its unmarked answers to the same prompts: what evidence compares with.
    Answers,
}

impl ReferenceKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Base, Self::Teacher, Self::Answers];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Teacher => "teacher",
            Self::Answers => "answers",
        }
    }

    /// Whether it was measured beside this kind of access: a model along the same texts, answers beside answers.
    #[must_use]
    pub fn stands_beside(self, access: Access) -> bool {
        match access {
            Access::Answers => true,
            Access::Logprobs | Access::Weights => self != Self::Answers,
            Access::Reading => false,
        }
    }
}

/// Whether the sample size is registered, or the e-process watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sample {
    /// p of a fixed sample.
    Fixed,
    /// The e-process of rounds, stopped when it decides.
    Anytime,
}

/// Digits of evidence after `tokens`, over keys and prompts: mean and standard deviation.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    tokens: f64,
    mean: f64,
    sd: f64,
}

/// The curve of one share.
#[derive(Clone, Debug)]
struct Curve {
    share: f64,
    points: Vec<Point>,
}

/// The curves of one kind of access and sample, shares descending.
#[derive(Clone, Debug)]
pub struct Curves(Vec<Curve>);

/// Which shares of marked training answers would show about as much, in the laboratory. An estimate, no part of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Dose {
    /// The share whose mean evidence is nearest.
    pub share: f64,
    /// Smallest share with the evidence within 1.96 standard deviations of its mean; 0 if that holds for the smallest measured.
    pub low: f64,
    /// Largest such share.
    pub high: f64,
}

/// How many tokens are needed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Tokens {
    /// This number of tokens.
    Need(u64),
    /// More tokens than were measured at this share.
    MoreThan {
        /// The largest size that was measured.
        more_than: u64,
    },
}

impl Curves {
    /// The measured curves of a kind of access, by counts or beside a reference.
    ///
    /// # Errors
    /// For what was not measured: the e-process beside a reference, and where [`ReferenceKind::stands_beside`] says no.
    pub fn measured(access: Access, sample: Sample, reference: Option<ReferenceKind>) -> Result<Self> {
        let measured = reference.is_none_or(|reference| sample == Sample::Fixed && reference.stands_beside(access));
        if !measured {
            bail!("{} beside a reference of this kind was not measured", access.as_str());
        }
        Self::parse(if reference.is_some() { CURVES_BESIDE } else { CURVES }, access, sample, reference)
    }

    /// Curves from such a file.
    ///
    /// # Errors
    /// If a column is missing, a cell is no number, or there are fewer than two curves of two points.
    pub fn parse(csv: &str, access: Access, sample: Sample, reference: Option<ReferenceKind>) -> Result<Self> {
        let mut lines = csv.lines();
        let columns: Vec<&str> = lines.next().context("curves: no header")?.split(',').collect();
        let column = |name: &str| {
            columns.iter().position(|column| *column == name).with_context(|| format!("curves: no {name}"))
        };
        let (mean, sd) = match sample {
            Sample::Fixed => ("digits", "digits_sd"),
            Sample::Anytime => ("digits_anytime", "digits_anytime_sd"),
        };
        let places = [column("share")?, column("tokens")?, column(mean)?, column(sd)?];
        let mut wanted = vec![(column("access")?, access.as_str())];
        if let Some(reference) = reference {
            wanted.push((column("reference")?, reference.as_str()));
        }
        let mut curves: Vec<Curve> = Vec::new();
        for line in lines {
            let cells: Vec<&str> = line.split(',').collect();
            if wanted.iter().any(|(place, value)| cells.get(*place) != Some(value)) {
                continue;
            }
            let mut numbers = [0.0; 4];
            for (number, place) in numbers.iter_mut().zip(places) {
                *number =
                    cells.get(place).and_then(|cell| cell.parse().ok()).with_context(|| format!("curves: {line}"))?;
            }
            let [share, tokens, mean, sd] = numbers;
            let point = Point { tokens, mean, sd };
            match curves.last_mut() {
                Some(curve) if curve.share.to_bits() == share.to_bits() => curve.points.push(point),
                _ => curves.push(Curve { share, points: vec![point] }),
            }
        }
        if curves.iter().any(|curve| curve.points.len() < 2) || curves.len() < 2 {
            bail!("curves: too few points for {}", access.as_str());
        }
        Ok(Self(curves))
    }

    /// Smallest and largest share that was measured.
    #[must_use]
    pub fn shares(&self) -> (f64, f64) {
        let shares = self.0.iter().map(|curve| curve.share);
        (shares.clone().fold(f64::INFINITY, f64::min), shares.fold(0.0, f64::max))
    }

    /// Mean and standard deviation of the digits after `tokens` at `share`; `None` outside what was measured. Digits grow
    /// with a power of both between neighbouring points.
    fn digits(&self, share: f64, tokens: f64) -> Option<(f64, f64)> {
        let above = self.0.iter().rposition(|curve| curve.share >= share)?;
        let upper = &self.0[above];
        let high = upper.at(tokens)?;
        if upper.share <= share {
            return Some(high);
        }
        let lower = self.0.get(above + 1)?;
        let low = lower.at(tokens)?;
        let t = (share / lower.share).ln() / (upper.share / lower.share).ln();
        Some((between(low.0, high.0, t), between(low.1, high.1, t)))
    }

    /// The largest size that was measured at `share`.
    fn largest(&self, share: f64) -> f64 {
        let near = self.0.iter().rfind(|curve| curve.share >= share).or(self.0.first());
        near.and_then(|curve| curve.points.last()).map_or(0.0, |point| point.tokens)
    }

    /// Probability of at least `need` digits after `tokens`.
    #[must_use]
    pub fn power(&self, share: f64, tokens: f64, need: f64, scale: f64) -> Option<f64> {
        let (mean, sd) = self.digits(share, tokens)?;
        Some(normal_cdf((mean * scale - need) / (sd * scale.sqrt()).max(1e-9)))
    }

    /// Tokens until the power at level `10^-need` is `power`. `scale` multiplies the digits of a layer that was measured at the
    /// centre point only.
    #[must_use]
    pub fn tokens(&self, share: f64, need: f64, power: f64, scale: f64) -> Tokens {
        let largest = self.largest(share);
        let first = self.0.first().and_then(|curve| curve.points.first()).map_or(1.0, |point| point.tokens);
        let enough = |tokens: f64| self.power(share, tokens, need, scale).is_some_and(|reached| reached >= power);
        let mut tokens = first;
        while tokens <= largest {
            if enough(tokens) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "measured sizes are small"
                )]
                return Tokens::Need(tokens.round() as u64);
            }
            tokens *= 1.02;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "measured sizes are small")]
        Tokens::MoreThan { more_than: largest as u64 }
    }

    /// The shares that agree with so many digits after `tokens`; `None` outside what was measured.
    #[must_use]
    pub fn dose(&self, tokens: f64, digits: f64) -> Option<Dose> {
        let (smallest, largest) = self.shares();
        let steps = 200;
        let grid = (0..=steps).map(|i| smallest * (largest / smallest).powf(f64::from(i) / f64::from(steps)));
        let measured: Vec<(f64, f64, f64)> =
            grid.filter_map(|share| self.digits(share, tokens).map(|(mean, sd)| (share, mean, sd))).collect();
        let away = |&(_, mean, _): &(f64, f64, f64)| (mean - digits).abs();
        let nearest = measured.iter().min_by(|a, b| away(a).total_cmp(&away(b)))?;
        let agrees = |point: &&(f64, f64, f64)| away(point) <= 1.96 * point.2;
        let (first, last) = (measured.iter().find(agrees), measured.iter().rfind(agrees));
        let low = first.map_or(nearest.0, |point| if point.0 <= smallest { 0.0 } else { point.0 });
        Some(Dose { share: nearest.0, low, high: last.map_or(nearest.0, |point| point.0) })
    }

    /// The smallest share that `tokens` show with the given power; `None` if not even the largest measured one. More tokens than were measured
    /// at a share show at least what the largest sample did.
    #[must_use]
    pub fn smallest_share(&self, tokens: f64, need: f64, power: f64, scale: f64) -> Option<f64> {
        let (low, high) = self.shares();
        let shows = |share: f64| {
            let measured = tokens.min(self.largest(share));
            self.power(share, measured, need, scale).is_some_and(|reached| reached >= power)
        };
        let steps = 400;
        (0..=steps).map(|i| low * (high / low).powf(f64::from(i) / f64::from(steps))).find(|&share| shows(share))
    }
}

/// Digits of other layers relative to the curves' green list: scheme, width, ratio of the mean log10 p of 600 answers over three
/// seeds (`papers/radioactivity/factors.csv`).
const SCALES: [(&str, usize, f64); 3] = [("gumbel", 1, 1.48), ("mcmark", 1, 0.74), ("greenlist", 2, 0.18)];

/// Whether the curves are those of this layer.
#[must_use]
pub fn is_measured(scheme: AnyScheme, width: usize) -> bool {
    width == 1 && Greenlist::new(0.5, 2.0).is_ok_and(|list| scheme == AnyScheme::Own(Scheme::Greenlist(list)))
}

/// How the digits of a profile's first reweighting layer compare with those of the curves.
///
/// # Errors
/// For a layer that was not measured.
pub fn scale(profile: &Profile) -> Result<f64> {
    let layer = profile.layers.iter().find(|layer| layer.width <= 2).or(profile.layers.first()).context("no layer")?;
    let (name, width) = (layer.scheme.name(), layer.width);
    if is_measured(layer.scheme, width) {
        return Ok(1.0);
    }
    let measured = SCALES.iter().find(|(scheme, measured, _)| *scheme == name && *measured == width);
    let usual = match layer.scheme.own() {
        Some(Scheme::Greenlist(_)) => is_measured(layer.scheme, 1),
        Some(Scheme::Mcmark(scheme)) => scheme.blocks().count() == 2,
        Some(Scheme::Gumbel(_)) => true,
        _ => false,
    };
    match measured.filter(|_| usual) {
        Some((_, _, scale)) => Ok(*scale),
        None => bail!(
            "layer {:?} ({name}, width {width}) was not measured in the laboratory with these parameters; plan without --profile \
             for the green list of gamma .5, delta 2, width 1",
            layer.name
        ),
    }
}

impl Curve {
    fn at(&self, tokens: f64) -> Option<(f64, f64)> {
        let next = self.points.iter().position(|point| point.tokens >= tokens)?;
        let right = self.points[next];
        let Some(left) = next.checked_sub(1).map(|i| self.points[i]) else {
            return (right.tokens <= tokens).then_some((right.mean, right.sd));
        };
        let t = (tokens / left.tokens).ln() / (right.tokens / left.tokens).ln();
        Some((between(left.mean, right.mean, t), between(left.sd, right.sd, t)))
    }
}

/// Between two positive values along a power law, else along a line.
fn between(left: f64, right: f64, t: f64) -> f64 {
    if left > 0.0 && right > 0.0 { left * (right / left).powf(t) } else { left + t * (right - left) }
}

/// The normal distribution function to 1e-7 (Abramowitz and Stegun 26.2.17): for planning, never for a verdict.
fn normal_cdf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let polynomial =
        t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = polynomial * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    if x >= 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    const CSV: &str = "access,share,tokens,keys,digits,digits_sd,digits_anytime,digits_anytime_sd\n\
        answers,1,100,2,4,1,3,1\nanswers,1,1000,2,40,2,30,2\n\
        answers,0.25,100,2,1,1,0,1\nanswers,0.25,1000,2,10,1,-1,1\nreading,1,1,1,1,1,1,1\n";

    #[test]
    fn interpolates_and_does_not_extrapolate() {
        let curves = Curves::parse(CSV, Access::Answers, Sample::Fixed, None).unwrap();
        let near = |got: Option<(f64, f64)>, mean: f64| assert!((got.unwrap().0 - mean).abs() < 1e-9, "{got:?}");
        near(curves.digits(1.0, 100.0), 4.0);
        near(curves.digits(1.0, 316.227_766_016_837_94), 12.649_110_640_673_518);
        near(curves.digits(0.5, 1000.0), 20.0);
        near(curves.digits(0.25, 1000.0), 10.0);
        assert!(curves.digits(0.2, 500.0).is_none() && curves.digits(1.0, 1001.0).is_none());
        assert_eq!(curves.tokens(0.25, 50.0, 0.5, 1.0), Tokens::MoreThan { more_than: 1000 });
        let Tokens::Need(median) = curves.tokens(1.0, 6.0, 0.5, 1.0) else { panic!("reached") };
        assert!((149..=153).contains(&median), "{median}"); // 100 (6/4)^1
        let share = curves.smallest_share(1000.0, 10.0, 0.5, 1.0).unwrap();
        assert!((share - 0.25).abs() < 0.01, "{share}");
        assert_eq!(curves.smallest_share(1e6, 10.0, 0.5, 1.0), Some(share));
    }

    #[test]
    fn doses() {
        let curves = Curves::parse(CSV, Access::Answers, Sample::Fixed, None).unwrap();
        let dose = curves.dose(1000.0, 20.0).unwrap();
        assert!((dose.share - 0.5).abs() < 0.01 && dose.low > 0.4 && dose.high < 0.6, "{dose:?}");
        assert!(curves.dose(1000.0, 9.0).unwrap().low < 1e-9 && curves.dose(2000.0, 9.0).is_none());
    }

    #[test]
    fn normal_values() {
        for (x, p) in [(0.0, 0.5), (0.8416, 0.8), (1.6449, 0.95), (-2.3263, 0.01)] {
            assert!((normal_cdf(x) - p).abs() < 1e-4, "{x}");
        }
    }

    #[test]
    fn the_shipped_curves_can_be_read() {
        for access in Access::ALL {
            for sample in [Sample::Fixed, Sample::Anytime] {
                let curves = Curves::measured(access, sample, None).unwrap();
                assert!(matches!(curves.tokens(1.0, 6.0, 0.5, 1.0), Tokens::Need(_)), "{access:?} {sample:?}");
            }
            for reference in ReferenceKind::ALL {
                let curves = Curves::measured(access, Sample::Fixed, Some(reference));
                let need = curves.ok().map(|curves| curves.tokens(0.2, 6.0, 0.5, 1.0));
                assert_eq!(
                    matches!(need, Some(Tokens::Need(_))),
                    reference.stands_beside(access),
                    "{access:?} {reference:?}"
                );
            }
        }
    }
}
