//! One factor at a time around a centre point.

use anyhow::Result;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use watermark_core::detect::Verdict;
use watermark_core::scheme::{Adfp, Greenlist, Gumbel, Mcmark, Scheme};
use watermark_lab::answer::Answer;
use watermark_lab::fine_tune::FineTuning;

use crate::access::{Access, LOG10_ALPHA, Shown};
use crate::lab::{Data, Lab, Mark, Start, Student};
use crate::table::{Row, write};

/// Answers that a student learns at the centre point.
const LEARNED: usize = 1200;
/// Most answers that any student learns.
const MOST: usize = 2400;
/// Questions that a student is asked.
const ASKED: usize = 600;
/// Served answers that it reads.
const READ: usize = 150;

/// What differs from the centre point.
struct Point {
    factor: &'static str,
    level: String,
    scheme: Scheme,
    width: usize,
    /// What the student learns, in order.
    learns: Vec<Learns>,
    start: Start,
    temperature: f32,
}

/// Answers of one pass of training.
#[derive(Clone, Copy)]
enum Learns {
    /// The first answers marked (this share), the rest of the same teacher unmarked.
    Marked { share: f64, answers: usize },
    /// Half of the answers marked under another key.
    TwoKeys,
    /// Marked answers in which tokens are replaced at random with this probability.
    Noisy(f64),
    /// Unmarked answers, so many passes.
    Clean(f64),
}

fn centre() -> Result<Point> {
    Ok(Point {
        factor: "centre",
        level: "greenlist width 1, 1200 answers, all marked, fine-tuned".to_owned(),
        scheme: Scheme::Greenlist(Greenlist::new(0.5, 2.0)?),
        width: 1,
        learns: vec![Learns::Marked { share: 1.0, answers: LEARNED }],
        start: Start::Base,
        temperature: 0.8,
    })
}

fn points() -> Result<Vec<Point>> {
    let mut points = vec![centre()?];
    let mut add = |factor: &'static str, level: &str, change: &dyn Fn(&mut Point)| -> Result<()> {
        let mut point = Point { factor, level: level.to_owned(), ..centre()? };
        change(&mut point);
        points.push(point);
        Ok(())
    };
    for width in [2, 4] {
        add("width", &width.to_string(), &|point| point.width = width)?;
    }
    for (level, scheme) in [
        ("gumbel", Scheme::Gumbel(Gumbel)),
        ("mcmark gamma .5", Scheme::Mcmark(Mcmark::new(0.5)?)),
        ("adfp lambda 20", Scheme::Adfp(Adfp::new(0.5, 20.0)?)),
    ] {
        add("scheme", level, &|point| point.scheme = scheme)?;
    }
    for share in [0.5, 0.2, 0.1, 0.05, 0.01, 0.0] {
        add("share", &share.to_string(), &|point| point.learns = vec![Learns::Marked { share, answers: LEARNED }])?;
    }
    for answers in [300, MOST] {
        add("answers", &answers.to_string(), &|point| point.learns = vec![Learns::Marked { share: 1.0, answers }])?;
    }
    add("start", "from scratch", &|point| point.start = Start::Scratch)?;
    for epochs in [1.0, 3.0] {
        add("clean training after", &format!("{epochs} passes"), &|point| point.learns.push(Learns::Clean(epochs)))?;
    }
    for temperature in [0.4, 1.3] {
        add("temperature", &temperature.to_string(), &|point| point.temperature = temperature)?;
    }
    add("two teachers", "half of another key", &|point| point.learns = vec![Learns::TwoKeys])?;
    for noise in [0.1, 0.3] {
        add("token noise", &noise.to_string(), &|point| point.learns = vec![Learns::Noisy(noise)])?;
    }
    Ok(points)
}

/// The centre point's student with this share of marked answers, the marked answers, and the mark.
pub(crate) fn of_share(lab: &Lab, share: f64, seed: u64) -> Result<(Student, Data, Mark)> {
    let learns = vec![Learns::Marked { share, answers: LEARNED }];
    let (student, served, mark) = student(lab, &Point { learns, ..centre()? }, seed)?;
    Ok((student, served.slice(0, (share * LEARNED as f64).round() as usize), mark))
}

/// What the student of `point` learns first to last, and the marked answers that were served.
fn student(lab: &Lab, point: &Point, seed: u64) -> Result<(Student, Data, Mark)> {
    let mark = Mark { scheme: point.scheme, width: point.width, key: seed };
    let prompts = 500 + seed;
    let served = lab.teacher(&mark, true, prompts, MOST)?;
    let unmarked = || lab.teacher(&Mark { key: seed, ..plain()? }, false, prompts, MOST);
    let mut student: Option<Student> = None;
    for what in &point.learns {
        let (data, epochs) = match *what {
            Learns::Marked { share, answers } if share >= 1.0 => (served.slice(0, answers), 3.0),
            Learns::Marked { share, answers } => {
                (served.slice(0, answers).mixed(&unmarked()?.slice(0, answers), share), 3.0)
            }
            Learns::TwoKeys => {
                let other = lab.teacher(&Mark { key: seed + 1000, ..mark }, true, prompts, MOST)?;
                (served.slice(0, LEARNED).mixed(&other.slice(0, LEARNED), 0.5), 3.0)
            }
            Learns::Noisy(share) => (noisy(lab, &served.slice(0, LEARNED), share, seed)?, 3.0),
            Learns::Clean(epochs) => (unmarked()?.slice(LEARNED, LEARNED), epochs),
        };
        let tuning = FineTuning { epochs, ..FineTuning::with_seed(seed) };
        student = Some(lab.student(point.start, student.as_ref(), &data, &tuning)?);
    }
    let student = student.ok_or_else(|| anyhow::anyhow!("a point without lessons"))?;
    Ok((student, served, mark))
}

fn plain() -> Result<Mark> {
    Ok(Mark { scheme: Scheme::Greenlist(Greenlist::new(0.5, 2.0)?), width: 1, key: 0 })
}

/// Replaces tokens by ones drawn from all answers.
pub(crate) fn noisy(lab: &Lab, data: &Data, share: f64, seed: u64) -> Result<Data> {
    let all: Vec<u32> = data.answers.iter().flat_map(|answer| answer.tokens.clone()).collect();
    let limit = (share * 4_294_967_296.0) as u64;
    let answers = data.answers.par_iter().enumerate().map(|(i, answer)| {
        let mut rng = ChaCha20Rng::seed_from_u64(seed << 32 | i as u64);
        let mut replace = |token: u32| {
            let other = all.get(rng.next_u32() as usize % all.len().max(1)).copied().unwrap_or(token);
            if u64::from(rng.next_u32()) < limit { other } else { token }
        };
        let tokens: Vec<u32> = answer.tokens.iter().map(|&token| replace(token)).collect();
        let text = lab.tokenizer.decode(&tokens)?;
        Ok(Answer { prompt_tokens: answer.prompt_tokens.clone(), tokens, text, ..Answer::default() })
    });
    Ok(Data { questions: data.questions.clone(), answers: answers.collect::<Result<_>>()? })
}

/// Every point with `seeds` seeds.
pub(crate) fn run(lab: &Lab, seeds: u64, only: Option<&str>, out: &str) -> Result<()> {
    let mut rows = Vec::new();
    for point in points()?.iter().filter(|point| only.is_none_or(|only| point.factor == only)) {
        for seed in 1..=seeds {
            let (student, served, mark) = student(lab, point, seed)?;
            let layer = lab.layer(&mark)?;
            let asked = lab.ask(&student, 9000 + seed, ASKED, point.temperature)?;
            let closed = Shown::new(lab, Access::Closed, &student, &asked)?;
            let finding = closed.sample(&layer, closed.tokens(), usize::MAX)?.test(&layer)?;
            let read = Shown::new(lab, Access::Reading, &student, &served.slice(0, READ))?;
            let reading = read.sample(&layer, read.tokens(), usize::MAX)?.test(&layer)?;
            let unit = if matches!(point.scheme, Scheme::Gumbel(_)) { 4_294_967_296.0 } else { 1.0 };
            let verdict = if finding.log10_p <= LOG10_ALPHA { Verdict::Detected } else { Verdict::NotDetected };
            eprintln!(
                "{}, {}, seed {seed}: {} tokens, {} pairs, mean score {:.4}, log10 p {:.2} (distinct {:.2}), ln e {:.2}; reading {} tokens {:.2}",
                point.factor,
                point.level,
                closed.tokens(),
                finding.n_scored,
                finding.score as f64 / unit / finding.n_scored as f64,
                finding.log10_p,
                finding.log10_p_distinct,
                finding.ln_e,
                read.tokens(),
                reading.log10_p
            );
            rows.push(Row::new(&[
                ("factor", point.factor.to_owned()),
                ("level", point.level.clone()),
                ("seed", seed.to_string()),
                ("tokens", closed.tokens().to_string()),
                ("pairs", finding.n_scored.to_string()),
                ("mean_score", format!("{:.5}", finding.score as f64 / unit / finding.n_scored as f64)),
                ("weighted_mean", format!("{:.5}", finding.weighted_mean() / unit)),
                ("log10_p", format!("{:.3}", finding.log10_p)),
                ("log10_p_distinct", format!("{:.3}", finding.log10_p_distinct)),
                ("ln_e", format!("{:.3}", finding.ln_e)),
                ("verdict", verdict.as_str().to_owned()),
                ("reading_tokens", read.tokens().to_string()),
                ("reading_log10_p", format!("{:.3}", reading.log10_p)),
            ]));
            write(out, &rows)?;
        }
    }
    Ok(())
}
