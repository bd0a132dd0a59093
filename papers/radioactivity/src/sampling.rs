//! Marks over temperature and top-p, for both places of the boost, and what they cost.

use anyhow::{Context, Result};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use watermark_core::detect::{Detector, Finding};
use watermark_core::mark::{Marker, Sampling, Session, SessionOptions};
use watermark_core::profile::{Boost, Profile, SamplingPolicy};
use watermark_core::scheme::{Greenlist, Gumbel, Scheme};
use watermark_lab::answer::{Answer, Answering, answer, answer_by};
use watermark_lab::{prompts, shipped};

use crate::lab::{Lab, MAX_NEW_TOKENS, Mark, SAMPLING};
use crate::table::{Row, write};

const TEMPERATURES: [f32; 7] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5];
const TOP_PS: [f64; 4] = [0.3, 0.6, 0.9, 1.0];

/// What is measured: a mark, or the same answers without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Unmarked answers, tested under the green list's key.
    Unmarked,
    /// Green list of width 1, gamma .5, delta 2.
    Greenlist(Boost),
    /// Gumbel-max of width 4, which leaves the distribution as it is.
    Gumbel,
}

impl Setting {
    const ALL: [Self; 4] = [
        Self::Unmarked,
        Self::Greenlist(Boost::AfterTemperature),
        Self::Greenlist(Boost::BeforeTemperature),
        Self::Gumbel,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Unmarked => "unmarked",
            Self::Greenlist(Boost::AfterTemperature) => "greenlist after",
            Self::Greenlist(Boost::BeforeTemperature) => "greenlist before",
            Self::Gumbel => "gumbel",
        }
    }

    fn profile(self, lab: &Lab, key: u64) -> Result<Profile> {
        let policy = match self {
            Self::Greenlist(boost) => Some(SamplingPolicy { boost, ..SamplingPolicy::default() }),
            _ => None,
        };
        Ok(Profile { sampling: policy, ..lab.profile(&self.mark(key)?)? })
    }

    /// The exact test of texts' distinct pairs; each text with its prompt.
    fn finding<'a>(self, lab: &Lab, key: u64, texts: impl Iterator<Item = (&'a [u32], Vec<u32>)>) -> Result<Finding> {
        let detector = Detector::new(&self.profile(lab, key)?, &Lab::key(&self.mark(key)?), None)?;
        let layer = detector.layers().first().context("a layer")?;
        let mut tally = layer.tally();
        for (prompt, tokens) in texts {
            layer.add(&mut tally, prompt, &tokens)?;
        }
        Ok(layer.finding(&tally)?)
    }

    fn mark(self, key: u64) -> Result<Mark> {
        Ok(match self {
            Self::Gumbel => Mark { scheme: Scheme::Gumbel(Gumbel), width: 4, key },
            _ => Mark { scheme: Scheme::Greenlist(Greenlist::new(0.5, 2.0)?), width: 1, key },
        })
    }
}

/// What some answers show, and what they cost.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Generated tokens.
    pub tokens: usize,
    /// Distinct pairs that were scored.
    pub pairs: u64,
    /// Exact tail of the distinct test.
    pub log10_p: f64,
    /// Mean of -ln p of the tokens under the unmarked teacher at temperature 1, without truncation.
    pub nats: f64,
    /// The answers themselves.
    pub answers: Vec<Answer>,
}

/// Asks the teacher `n` word problems and tests its answers. The key says which ones, and which draws.
///
/// # Errors
/// If generating, reading or writing fails.
pub fn cell(lab: &Lab, setting: Setting, sampling: Sampling, key: u64, n: usize) -> Result<Cell> {
    let profile = setting.profile(lab, key)?;
    let what = format!("sampling {} {sampling:?} {key} {n}", setting.name());
    let data = lab.kept(&what, prompts::word_problems(7000 + key, n), |questions| {
        let marker = Marker::new(profile.clone(), &Lab::key(&setting.mark(key)?))?;
        let how = Answering {
            max_new_tokens: MAX_NEW_TOKENS,
            sampling,
            marked: setting != Setting::Unmarked,
            account: None,
            seed: seed(&what)?,
            requests: None,
        };
        answer(&shipped::teacher()?, &lab.tokenizer, &marker, questions, &how, &mut |_| ())
    })?;
    let tokens = data.answers.iter().map(|answer| answer.tokens.len()).sum();
    let nats = surprise(lab, &data.questions, &data.answers)? / tokens as f64;
    let texts = data.answers.iter().map(|answer| (&answer.prompt_tokens[..], answer.tokens.clone()));
    let finding = setting.finding(lab, key, texts)?;
    Ok(Cell { tokens, pairs: finding.n_scored, log10_p: finding.log10_p, nats, answers: data.answers })
}

/// Draws that no key decides differ between any two runs.
fn seed(what: &str) -> Result<u64> {
    Ok(u64::from_le_bytes(Sha256::digest(what)[..8].try_into()?))
}

/// Sum of -ln p of the answers' tokens under the teacher at temperature 1.
fn surprise(lab: &Lab, questions: &[String], answers: &[Answer]) -> Result<f64> {
    let teacher = shipped::teacher()?;
    let one = |(question, answer): (&String, &Answer)| -> Result<f64> {
        let Some((_, before)) = answer.tokens.split_last() else { return Ok(0.0) };
        let prompt = lab.prompt(question)?;
        let ids = [prompt.as_slice(), before].concat();
        let rows: Vec<Vec<f32>> =
            teacher.forward(&ids, 1)?.detach().narrow(0, prompt.len() - 1, answer.tokens.len())?.to_vec2()?;
        let nats = rows.iter().zip(&answer.tokens).map(|(row, &token)| {
            let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let total: f64 = row.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
            total.ln() + max - f64::from(row[token as usize])
        });
        Ok(nats.sum())
    };
    questions.par_iter().zip(answers).map(one).try_reduce(|| 0.0, |a, b| Ok(a + b))
}

/// The whole table, a row a key.
///
/// # Errors
/// As [`cell`].
pub fn run(lab: &Lab, keys: u64, n: usize, out: &str) -> Result<()> {
    let mut rows = Vec::new();
    for setting in Setting::ALL {
        for temperature in TEMPERATURES {
            for top_p in TOP_PS {
                for key in 1..=keys {
                    let sampling = Sampling { temperature, top_p: Some(top_p), ..SAMPLING };
                    let cell = cell(lab, setting, sampling, key, n)?;
                    rows.push(Row::new(&[
                        ("mark", setting.name().to_owned()),
                        ("temperature", temperature.to_string()),
                        ("top_p", top_p.to_string()),
                        ("key", key.to_string()),
                        ("answers", n.to_string()),
                        ("tokens", cell.tokens.to_string()),
                        ("pairs", cell.pairs.to_string()),
                        ("log10_p", format!("{:.2}", cell.log10_p)),
                        ("nats_per_token", format!("{:.4}", cell.nats)),
                    ]));
                    write(out, &rows)?;
                }
            }
        }
    }
    Ok(())
}

/// What a prompt about the form of an answer does to marks: a separator between tokens that is taken out afterwards, and capitals.
/// The teacher follows no instructions, so what a model does that follows them is imitated: the sampler sees a separator after every
/// token, the teacher does not; and a text is put into capitals after it was written in the teacher's own letters.
///
/// # Errors
/// As [`cell`].
pub fn styles(lab: &Lab, keys: u64, n: usize, out: &str) -> Result<()> {
    let mut rows = Vec::new();
    let sampling = Sampling { top_p: Some(1.0), ..SAMPLING };
    let separator = *lab.tokenizer.encode("*")?.first().context("a token")?;
    for setting in Setting::ALL.into_iter().filter(|setting| *setting != Setting::Unmarked) {
        for key in 1..=keys {
            let plain = cell(lab, setting, sampling, key, n)?;
            let capitals = plain.answers.iter().map(|answer| {
                let ids = lab.tokenizer.encode(&answer.text.to_uppercase());
                ids.map(|ids| (&answer.prompt_tokens[..], ids))
            });
            let capitals = capitals.collect::<std::result::Result<Vec<_>, _>>()?;
            let separated = separated(lab, setting, sampling, key, n, separator)?;
            let texts = |with: bool| {
                separated.iter().map(move |answer| {
                    let one = |&token| std::iter::once(token).chain(with.then_some(separator));
                    (&answer.prompt_tokens[..], answer.tokens.iter().flat_map(one).collect::<Vec<u32>>())
                })
            };
            for (form, finding) in [
                ("in capitals", setting.finding(lab, key, capitals.into_iter())?),
                ("with separators", setting.finding(lab, key, texts(true))?),
                ("separators taken out", setting.finding(lab, key, texts(false))?),
            ] {
                let row = |form: &str, pairs: u64, log10_p: f64| {
                    Row::new(&[
                        ("mark", setting.name().to_owned()),
                        ("form", form.to_owned()),
                        ("key", key.to_string()),
                        ("pairs", pairs.to_string()),
                        ("log10_p", format!("{log10_p:.2}")),
                    ])
                };
                if form == "in capitals" {
                    rows.push(row("as written", plain.pairs, plain.log10_p));
                }
                rows.push(row(form, finding.n_scored, finding.log10_p));
            }
            write(out, &rows)?;
        }
    }
    Ok(())
}

/// Answers of which the sampler believed that a separator stands after every token.
fn separated(
    lab: &Lab,
    setting: Setting,
    sampling: Sampling,
    key: u64,
    n: usize,
    separator: u32,
) -> Result<Vec<Answer>> {
    let what = format!("separated {} {sampling:?} {key} {n}", setting.name());
    let data = lab.kept(&what, prompts::word_problems(7000 + key, n), |questions| {
        let marker = Marker::new(setting.profile(lab, key)?, &Lab::key(&setting.mark(key)?))?;
        let first = seed(&what)?;
        let open = |i: u64| {
            let seed = first.wrapping_add(i);
            marker.session(&SessionOptions { marked: true, seed, sampling, account: None, request: None })
        };
        let mut sessions = (0..questions.len() as u64).map(open).collect::<std::result::Result<Vec<Session>, _>>()?;
        let pick = |session: &mut Session, [row]: [&[f32]; 1]| {
            let token = session.sample(row)?;
            session.accept(token)?;
            session.accept(separator)?;
            Ok(token)
        };
        answer_by([&shipped::teacher()?], &lab.tokenizer, questions, &mut sessions, MAX_NEW_TOKENS, pick, |_| ())
    })?;
    Ok(data.answers)
}
